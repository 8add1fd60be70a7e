//! Changes that a repair of the state owes the sinks: kept in the state table of each sink, sent in an epoch
//! of their own at the next start, and deleted by the commit of that epoch, so that they are sent once.
//!
//! Stored form, stable: key: a number, u32; value: diff i64, length of the sink's key u32, packed key, packed
//! row; integers big-endian.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Blobs, Rows};
use state::{Store, Writes};

use crate::collect::{EpochOut, SinkDelta};
use crate::error::RunError;
use crate::plan::Plan;
use crate::plan::formats::Format;
use crate::runtime::state_tables::StateTables;

/// Owed changes, by sink.
#[derive(Debug, Default)]
pub struct Owed {
    /// The changes to send.
    pub sinks: BTreeMap<usize, SinkDelta>,
    /// Table and key of every stored entry, to be deleted.
    entries: Vec<(u32, Vec<u8>)>,
}

impl Owed {
    /// Reads the changes that the state owes the plan's sinks.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read(store: &Store, plan: &Plan, state_tables: &StateTables) -> Result<Owed, RunError> {
        let mut owed = Owed::default();
        for (at, sink) in plan.sinks.iter().enumerate() {
            let Some(table_id) = state_tables.sink(&sink.name) else { continue };
            let mut changes = Vec::new();
            store.scan(table_id, &[], |key, value| -> Result<(), RunError> {
                let Some(change) = parse_change(value) else { return Err(unreadable(&sink.name)) };
                changes.push(change);
                owed.entries.push((table_id, key.to_vec()));
                Ok(())
            })?;
            if !changes.is_empty() {
                owed.sinks.insert(at, net_delta(changes, sink.format != Format::Plain));
            }
        }
        Ok(owed)
    }

    /// Adds the whole content of a sink that is sent again at the same start: beside it only the owed
    /// removals of keys that the content lacks are sent. A sink without key gets the content alone.
    pub fn add_whole(&mut self, at: usize, whole: SinkDelta) {
        let owed = self.sinks.remove(&at).unwrap_or_default();
        let delta = with_whole(&owed, whole);
        self.sinks.insert(at, delta);
    }

    /// Returns true if no change is owed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Deletes the stored changes with the epoch that sends them.
    pub fn delete_stored(&self, out: &mut EpochOut) {
        for (table_id, key) in &self.entries {
            out.write_total(*table_id, key, None);
        }
    }
}

/// Entries for more changes of a sink, numbered behind those it is owed already.
///
/// # Errors
/// When the state cannot be read.
pub fn entries(store: &Store, table_id: u32, delta: &SinkDelta) -> Result<Writes, RunError> {
    let mut next = 0u32;
    store.scan(table_id, &[], |key, _| -> Result<(), RunError> {
        next = key.try_into().map_or(next, u32::from_be_bytes).saturating_add(1);
        Ok(())
    })?;
    let (mut keys, mut values) = (Rows::new(), Blobs::new());
    for (at, diff) in delta.diffs.iter().enumerate() {
        let (key, row) = (delta.keys.get(at), delta.rows.get(at));
        let mut value = diff.to_be_bytes().to_vec();
        value.extend_from_slice(&(key.len() as u32).to_be_bytes());
        value.extend_from_slice(key);
        value.extend_from_slice(row);
        keys.push(&next.to_be_bytes());
        values.push(Some(&value));
        next = next.saturating_add(1);
    }
    Ok(Writes { table_id, keys, values })
}

/// Key, row and diff.
type OwedChange = (Vec<u8>, Vec<u8>, i64);
/// The removed row of a key, and the inserted one.
type KeyChange = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads the stored form.
fn parse_change(value: &[u8]) -> Option<OwedChange> {
    let (diff, rest) = value.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (key, row) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    Some((key.to_vec(), row.to_vec(), i64::from_be_bytes(*diff)))
}

/// The changes as a sink takes them: for a key at most one removal, of its first row, and one insertion, of
/// its last.
fn net_delta(changes: Vec<OwedChange>, keyed: bool) -> SinkDelta {
    let mut out = SinkDelta::default();
    if !keyed {
        for (key, row, diff) in &changes {
            out.push(key, row, *diff);
        }
        return out;
    }
    let mut sides: BTreeMap<Vec<u8>, KeyChange> = BTreeMap::new();
    for (key, row, diff) in changes {
        let (before, after) = sides.entry(key).or_default();
        if diff > 0 {
            *after = Some(row);
        // The removal of a row inserted by an earlier repair cancels that insertion.
        } else if after.as_ref() == Some(&row) {
            *after = None;
        } else {
            before.get_or_insert(row);
        }
    }
    for (key, (before, after)) in &sides {
        for (row, diff) in [(before, -1), (after, 1)] {
            if let Some(row) = row {
                out.push(key, row, diff);
            }
        }
    }
    out
}

/// All of `whole`, merged in the order of keys with the removals of `owed` after which a key has no row. Both
/// are sorted by key.
fn with_whole(owed: &SinkDelta, whole: SinkDelta) -> SinkDelta {
    let mut stays: BTreeSet<&[u8]> = BTreeSet::new();
    for (key, diff) in owed.keys.iter().zip(&owed.diffs) {
        if *diff > 0 {
            stays.insert(key);
        }
    }
    let mut gone = Vec::new();
    for (at, key) in owed.keys.iter().enumerate() {
        if owed.diffs[at] <= 0 && !key.is_empty() && !stays.contains(key) {
            gone.push(at);
        }
    }
    if gone.is_empty() {
        return whole;
    }
    let mut gone = gone.into_iter().peekable();
    let mut out = SinkDelta::default();
    for at in 0..whole.diffs.len() {
        while let Some(before) = gone.next_if(|gone| owed.keys.get(*gone) < whole.keys.get(at)) {
            copy_change(owed, before, &mut out);
        }
        copy_change(&whole, at, &mut out);
    }
    for at in gone {
        copy_change(owed, at, &mut out);
    }
    out
}

/// Adds the change at `at` of one delta to another.
fn copy_change(from: &SinkDelta, at: usize, to: &mut SinkDelta) {
    to.push(from.keys.get(at), from.rows.get(at), from.diffs[at]);
}

fn unreadable(sink: &str) -> RunError {
    RunError::Damaged(format!("what the state owes sink {sink} is not readable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(of: &[(&str, &str, i64)]) -> Vec<OwedChange> {
        of.iter().map(|(key, row, diff)| (key.as_bytes().to_vec(), row.as_bytes().to_vec(), *diff)).collect()
    }

    fn texts(delta: &SinkDelta) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let one = |at: usize| format!("{} {:+}", text(delta.rows.get(at)), delta.diffs[at]);
        (0..delta.diffs.len()).map(one).collect()
    }

    #[test]
    fn a_key_that_is_gone_is_taken_away_beside_the_whole_content() {
        let owed = net_delta(changes(&[("a", "x", -1), ("c", "y", -1), ("c", "z", 1), ("d", "v", -1)]), true);
        let whole = || net_delta(changes(&[("b", "w", 1), ("c", "z", 1)]), true);
        assert_eq!(texts(&with_whole(&owed, whole())), ["x -1", "w +1", "z +1", "v -1"]);
        let unkeyed = net_delta(changes(&[("", "x", -1), ("", "w", 1)]), false);
        assert_eq!(texts(&with_whole(&unkeyed, whole())), ["w +1", "z +1"]);
        assert_eq!(texts(&with_whole(&SinkDelta::default(), whole())), ["w +1", "z +1"]);
    }

    #[test]
    fn two_repairs_are_one_change_of_a_key() {
        let both = changes(&[("k", "a", -1), ("k", "b", 1), ("g", "x", -1), ("k", "b", -1), ("k", "c", 1)]);
        assert_eq!(texts(&net_delta(both.clone(), true)), ["x -1", "a -1", "c +1"]);
        assert_eq!(texts(&net_delta(both, false)), ["a -1", "b +1", "x -1", "b -1", "c +1"]);
        assert_eq!(texts(&net_delta(changes(&[("k", "b", 1), ("k", "b", -1)]), true)), Vec::<String>::new());
    }
}
