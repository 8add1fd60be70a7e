//! The first epoch of an edited topology: the rows of new tables, and the changes that sinks send.
//!
//! A start emits the content of the state at the committed epoch, as every start does. New relations take it: their
//! operators are neither restored nor cut off from it. Their output at the committed epoch, which the run would
//! drop, is put into the next epoch, which has no input and whose commit also writes the new catalogue. So the
//! edit takes effect as a whole or not at all, and a run that is killed before that commit starts it over. The rows of
//! new tables and the content of changed sinks are in memory until then. Parts behind a gate (`pieces`) have no rows at
//! that epoch: these come in later ones.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::Schema;
use schemas::{Ownership, RowCodec, Rows, without_group};

use crate::collect::{EpochOut, SinkDelta};
use crate::error::RunError;
use crate::plan::formats::Format;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::RelationType;
use crate::runtime::edition::error_rows::ErrorChanges;
use crate::runtime::fill::{SentBefore, SinkFill};
use crate::runtime::restore::scan_groups;
use crate::runtime::worker::Setup;

/// Rows that are decoded at once.
const ROWS_PER_BATCH: usize = 4096;

/// Adds the output of the dataflow at the committed epoch for new tables and sinks to the first epoch after it, as far
/// as the worker `index` of `peers` has it.
///
/// # Errors
/// When the state cannot be read, or does not fit the plan.
pub(crate) fn add_filled(
    setup: &Setup,
    mut filled: EpochOut,
    out: &mut EpochOut,
    (index, peers): (usize, usize),
) -> Result<(), RunError> {
    let Some(fill) = &setup.state_tables.fill else { return Ok(()) };
    // A state without an epoch has nothing to fill from: all is new.
    if !setup.start.is_restored() {
        return Ok(());
    }
    let errors = setup.state_tables.errors;
    let owned = Ownership::even(peers);
    let failed = ErrorChanges::new(setup, fill)?.collect(filled.counts.remove(&errors), &owned, index)?;
    for (table_id, (mut keys, mut values)) in std::mem::take(&mut filled.writes) {
        if !fill.tables.contains(&table_id) {
            continue;
        }
        // Of two totals of a key the later one counts.
        if let Some((later_keys, later_values)) = out.writes.remove(&table_id) {
            for (key, value) in later_keys.iter().zip(later_values.iter()) {
                keys.push(key);
                values.push(value);
            }
        }
        out.writes.insert(table_id, (keys, values));
    }
    for (table_id, (rows, diffs)) in std::mem::take(&mut filled.counts) {
        if fill.tables.contains(&table_id) {
            for (row, diff) in rows.iter().zip(diffs) {
                out.add_count(table_id, row, diff);
            }
        }
    }
    for (row, diff) in failed.0.iter().zip(failed.1) {
        out.add_count(errors, row, diff);
    }
    for (at, sink) in &fill.sinks {
        let emitted = filled.sinks.remove(at).unwrap_or_default();
        let delta = SinkRows { setup, at: *at, owned: &owned, index }.delta(sink, emitted)?;
        let later = out.sinks.remove(at).unwrap_or_default();
        let keyed = setup.plan.sinks[*at].format != Format::Plain;
        let sent = if keyed { followed_by(&delta, &later) } else { concatenated(delta, &later) };
        if !sent.diffs.is_empty() {
            out.sinks.insert(*at, sent);
        }
    }
    Ok(())
}

/// The row that was taken back and the one that came, of a key.
#[derive(Clone, Copy, Default)]
struct KeyChange<'a> {
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
}

/// The changes by key.
fn changes_by_key(delta: &SinkDelta) -> BTreeMap<&[u8], KeyChange<'_>> {
    let mut changes: BTreeMap<&[u8], KeyChange<'_>> = BTreeMap::new();
    for (at, diff) in delta.diffs.iter().enumerate() {
        let change = changes.entry(delta.keys.get(at)).or_default();
        let side = if *diff < 0 { &mut change.before } else { &mut change.after };
        *side = Some(delta.rows.get(at));
    }
    changes
}

/// A change of a sink with keys and the one that follows it, as one change. The first epoch has no input, but rows may
/// become final in it.
fn followed_by(first: &SinkDelta, later: &SinkDelta) -> SinkDelta {
    let mut changes = changes_by_key(first);
    for (key, later) in changes_by_key(later) {
        let before = changes.get(key).map_or(later.before, |first| first.before);
        changes.insert(key, KeyChange { before, after: later.after });
    }
    let mut delta = SinkDelta::default();
    for (key, change) in changes {
        for (row, diff) in [(change.before, -1), (change.after, 1)] {
            if let Some(row) = row {
                delta.push(key, row, diff);
            }
        }
    }
    delta
}

/// The rows of a sink that only appends, and those that follow them.
fn concatenated(mut first: SinkDelta, later: &SinkDelta) -> SinkDelta {
    for (at, diff) in later.diffs.iter().enumerate() {
        first.push(later.keys.get(at), later.rows.get(at), *diff);
    }
    first
}

/// The rows of one sink at one worker: those whose keys it owns.
pub(super) struct SinkRows<'a> {
    /// The topology.
    pub setup: &'a Setup,
    /// The sink.
    pub at: usize,
    /// The owners of keys.
    pub owned: &'a Ownership,
    /// The worker.
    pub index: usize,
}

/// Rows by packed key.
type SinkRowsByKey = BTreeMap<Vec<u8>, Vec<u8>>;

impl SinkRows<'_> {
    /// The change that the sink sends; `emitted` are the rows that the dataflow emitted for it, beside those of the
    /// view's table where there is one.
    pub fn delta(&self, fill: &SinkFill, emitted: SinkDelta) -> Result<SinkDelta, RunError> {
        let (plan, sink) = (&self.setup.plan, &self.setup.plan.sinks[self.at]);
        if sink.format == Format::Plain {
            let Some(table) = fill.now else { return Ok(emitted) };
            let mut delta = self.plain_rows(table)?;
            for (row, diff) in emitted.rows.iter().zip(emitted.diffs) {
                delta.push(&[], row, diff);
            }
            return Ok(delta);
        }
        let schema = &plan.rels[sink.rel].schema;
        let now = match fill.now {
            Some((table_id, keyed)) => {
                let (schema, key) = (schema.clone(), sink.key.clone());
                let mut now = self.rows_by_key(&SentBefore { table_id, schema, keyed, key })?;
                for at in (0..emitted.diffs.len()).filter(|at| emitted.diffs[*at] < 0) {
                    now.remove(emitted.keys.get(at));
                }
                now.extend(emitted_by_key(&emitted));
                now
            }
            None if fill.before.is_none() => return Ok(emitted),
            None => emitted_by_key(&emitted),
        };
        let (before, reshaped) = match &fill.before {
            Some(before) => (self.rows_by_key(before)?, column_texts(&before.schema) != column_texts(schema)),
            None => (SinkRowsByKey::new(), false),
        };
        Ok(difference(&before, &now, reshaped))
    }

    /// The rows of a view's table in the worker's key groups, each as often as it is held.
    fn plain_rows(&self, (table_id, keyed): (u32, bool)) -> Result<SinkDelta, RunError> {
        let mut delta = SinkDelta::default();
        let groups = self.owned.ranges(self.index);
        scan_groups(&self.setup.store, table_id, &groups, |stored, value| {
            if keyed {
                delta.push(&[], value, 1);
            } else if let Some(count) = state::count_of(value) {
                delta.push(&[], without_group(stored), count);
            }
            Ok(())
        })?;
        Ok(delta)
    }

    /// The rows of a view's table by the sink's key, in the columns that the sink has now.
    fn rows_by_key(&self, from: &SentBefore) -> Result<SinkRowsByKey, RunError> {
        let (mut found, mut rows) = (SinkRowsByKey::new(), Rows::new());
        self.setup.store.scan(from.table_id, &[], |stored, value| -> Result<(), RunError> {
            rows.push(if from.keyed { value } else { without_group(stored) });
            if rows.len() >= ROWS_PER_BATCH {
                self.add_rows(from, &std::mem::take(&mut rows), &mut found)?;
            }
            Ok(())
        })?;
        self.add_rows(from, &rows, &mut found)?;
        Ok(found)
    }

    /// Adds the rows whose keys the worker owns.
    fn add_rows(&self, from: &SentBefore, rows: &Rows, found: &mut SinkRowsByKey) -> Result<(), RunError> {
        if rows.is_empty() {
            return Ok(());
        }
        let shape = RelationType::new(&from.schema)?;
        let batch = shape.assemble(shape.codec.decode(rows.iter())?, rows.len())?;
        let key_codec = RowCodec::of(&from.schema.project(&from.key)?)?;
        let columns: Vec<ArrayRef> = from.key.iter().map(|column| batch.column(*column).clone()).collect();
        let keys = encode_keys(&key_codec, &columns, rows.len())?;
        let now = self.in_columns_of_now(&batch)?;
        for (at, key) in keys.iter().enumerate() {
            if self.owned.owner_of(key) == self.index {
                found.insert(key.to_vec(), now.get(at).to_vec());
            }
        }
        Ok(())
    }

    /// The rows in the columns that the sink has now: those of the same name and type, and NULL in others.
    fn in_columns_of_now(&self, batch: &RecordBatch) -> Result<Rows, RunError> {
        let plan = &self.setup.plan;
        let shape = RelationType::new(&plan.rels[plan.sinks[self.at].rel].schema)?;
        let mut columns = Vec::with_capacity(shape.schema.fields().len());
        for field in shape.schema.fields() {
            let before = batch.schema().index_of(field.name()).ok().map(|at| batch.column(at).clone());
            columns.push(match before.filter(|column| column.data_type() == field.data_type()) {
                Some(column) => column,
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        encode_keys(&shape.codec, &columns, batch.num_rows())
    }
}

/// Emitted rows by key.
fn emitted_by_key(emitted: &SinkDelta) -> SinkRowsByKey {
    let mut found = SinkRowsByKey::new();
    for (at, diff) in emitted.diffs.iter().enumerate() {
        if *diff > 0 {
            found.insert(emitted.keys.get(at).to_vec(), emitted.rows.get(at).to_vec());
        }
    }
    found
}

/// The names and types of the columns of what a sink sends.
fn column_texts(schema: &Schema) -> Vec<String> {
    let mut texts = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        texts.push(format!("{} {}", field.name(), schemas::sql_type(field)));
    }
    texts
}

/// The change from the rows that were sent to those of now, sorted by key. With other columns every row is another one.
fn difference(before: &SinkRowsByKey, now: &SinkRowsByKey, reshaped: bool) -> SinkDelta {
    let mut delta = SinkDelta::default();
    let keys: BTreeSet<&Vec<u8>> = before.keys().chain(now.keys()).collect();
    for key in keys {
        let sides = (before.get(key), now.get(key));
        if sides.0 == sides.1 && !reshaped {
            continue;
        }
        if let Some(row) = sides.0 {
            delta.push(key, row, -1);
        }
        if let Some(row) = sides.1 {
            delta.push(key, row, 1);
        }
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(&str, &str)]) -> SinkRowsByKey {
        of.iter().map(|(key, row)| (key.as_bytes().to_vec(), row.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_difference_is_told_by_key() {
        let before = rows(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = rows(&[("b", "2"), ("c", "4"), ("d", "5")]);
        let delta = difference(&before, &now, false);
        let keys: Vec<&[u8]> = delta.keys.iter().collect();
        assert_eq!(keys, [b"a".as_slice(), b"c", b"c", b"d"]);
        let sent: Vec<&[u8]> = delta.rows.iter().collect();
        assert_eq!(sent, [b"1".as_slice(), b"3", b"4", b"5"]);
        assert_eq!(delta.diffs, [-1, -1, 1, 1]);
        assert!(difference(&now, &now, false).diffs.is_empty());
        assert_eq!(difference(&now, &now, true).diffs.len(), 2 * now.len());
    }

    fn delta(of: &[(&str, &str, i64)]) -> SinkDelta {
        let mut delta = SinkDelta::default();
        for (key, row, diff) in of {
            delta.push(key.as_bytes(), row.as_bytes(), *diff);
        }
        delta
    }

    fn changes(delta: &SinkDelta) -> Vec<(&[u8], &[u8], i64)> {
        let rows = delta.keys.iter().zip(delta.rows.iter());
        rows.zip(&delta.diffs).map(|((key, row), diff)| (key, row, *diff)).collect()
    }

    #[test]
    fn the_output_of_the_first_epoch_follows_the_difference() {
        let first = delta(&[("a", "1", -1), ("a", "2", 1), ("b", "1", 1), ("c", "1", -1)]);
        let later = delta(&[("a", "2", -1), ("a", "3", 1), ("b", "1", -1), ("c", "2", 1), ("d", "1", -1)]);
        let wanted = delta(&[("a", "1", -1), ("a", "3", 1), ("c", "1", -1), ("c", "2", 1), ("d", "1", -1)]);
        assert_eq!(changes(&followed_by(&first, &later)), changes(&wanted));
        assert_eq!(changes(&followed_by(&first, &SinkDelta::default())), changes(&first));
        let plain = concatenated(delta(&[("", "1", 2)]), &delta(&[("", "1", 1)]));
        assert_eq!(changes(&plain), changes(&delta(&[("", "1", 2), ("", "1", 1)])));
    }
}
