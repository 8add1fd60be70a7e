//! Repair of a state that disagrees with its tables: entries that can be derived again are replaced by the
//! derived ones, in one commit, and the difference is recorded as owed to the sinks. Indexes are made to fit their
//! views.
//!
//! A sink is taken to hold the view it sends, as the state held it. Each key with a changed entry is sent as
//! it is now; surplus rows in a PLAIN sink cannot be taken back. State that cannot be derived again (over
//! append-only sources, expired rows, windows that closed, joins as of PROCTIME(), and all that follows from
//! those) stays as it is.

pub mod owed;
pub mod resend;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use schemas::{Blobs, RowCodec, Rows};
use state::{Commit, Counts, Writes, count_of};

use super::verify::{Change, Derived, Difference, Finding, Subject, derive, differences, index_differences};
use crate::collect::{EpochOut, SinkDelta};
use crate::error::RunError;
use crate::plan::formats::Format;
use crate::plan::{Plan, Sink};
use crate::runtime::worker::Setup;

/// Outcome of a repair.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Findings before the repair.
    pub findings: Vec<Finding>,
    /// The epoch of the repair; None where nothing was to be changed.
    pub epoch: Option<u64>,
    /// Keys (of PLAIN sinks: rows) that sinks are owed, by name.
    pub owed: BTreeMap<String, u64>,
    /// Surplus rows of PLAIN sinks, which cannot be taken back, by name.
    pub too_many: BTreeMap<String, u64>,
    /// Sinks whose content no view of the state shows.
    pub unknown: Vec<String>,
}

/// Derives everything again and replaces the entries that differ. Nothing else may write the state of
/// `setup`.
///
/// # Errors
/// When the state cannot be read or written, or does not fit the plan.
pub fn repair(setup: &Setup, commit_ms: i64) -> Result<Repaired, RunError> {
    let out = derive(setup)?;
    let mut found = differences(setup, &out)?;
    found.extend(index_differences(setup, &found)?);
    let mut repaired = Repaired {
        findings: found.iter().map(|difference| difference.finding.clone()).collect(),
        ..Repaired::default()
    };
    let changed: Vec<_> = found.iter().filter(|difference| !difference.changes.is_empty()).collect();
    if changed.is_empty() {
        return Ok(repaired);
    }
    let held = setup.store.meta();
    let mut commit = Commit {
        epoch: held.epoch + 1,
        commit_ms: commit_ms.max(held.commit_ms),
        progress: held.progress,
        ..Commit::default()
    };
    for difference in changed {
        add_changes(setup, difference, &mut commit)?;
    }
    for sink in &setup.plan.sinks {
        add_owed(setup, sink, (&found, &out), (&mut commit, &mut repaired))?;
    }
    repaired.epoch = Some(commit.epoch);
    setup.store.commit(commit)?;
    Ok(repaired)
}

/// Adds the changes of one state table to the commit.
fn add_changes(setup: &Setup, difference: &Difference, commit: &mut Commit) -> Result<(), RunError> {
    let table_id = difference.table_id;
    if !difference.counted {
        let (mut keys, mut values) = (Rows::new(), Blobs::new());
        for change in &difference.changes {
            keys.push(&change.key);
            values.push(change.wanted.as_deref());
        }
        commit.writes.push(Writes { table_id, keys, values });
        return Ok(());
    }
    let mut counts = Counts { table_id, ..Counts::default() };
    for change in &difference.changes {
        counts.rows.push(&change.key);
        counts.diffs.push(count_in(&change.wanted)? - count_in(&change.held)?);
    }
    // The error table keeps a bounded number of rows: new ones beyond it are only counted.
    if difference.finding.subject == Subject::Errors {
        let kept = setup.store.bound_counts(table_id, &[counts])?;
        commit.bounded = Some(kept.totals);
        counts = kept.counts;
    }
    commit.counts.push(counts);
    Ok(())
}

/// The count in an entry of a counted table; 0 for no entry.
fn count_in(count: &Option<Vec<u8>>) -> Result<i64, RunError> {
    let Some(count) = count else { return Ok(0) };
    count_of(count).ok_or_else(|| RunError::Damaged("a row in the state has no count".into()))
}

/// Adds the changes that one sink is owed to the commit.
fn add_owed(
    setup: &Setup,
    sink: &Sink,
    (found, out): (&[Difference], &EpochOut),
    (commit, repaired): (&mut Commit, &mut Repaired),
) -> Result<(), RunError> {
    let view = setup.plan.views.iter().position(|view| view.rel == sink.rel);
    let Some((view, table_id)) = view.zip(setup.state_tables.sink(&sink.name)) else {
        repaired.unknown.push(sink.name.clone());
        return Ok(());
    };
    let table_of_view = setup.state_tables.views[view];
    let Some(difference) = found.iter().find(|difference| difference.table_id == table_of_view) else {
        return Ok(());
    };
    if difference.finding.derived == Derived::Nothing || difference.changes.is_empty() {
        return Ok(());
    }
    let rows = changed_rows(difference)?;
    let delta = match sink.format {
        Format::Plain => {
            let (mut delta, mut too_many) = (SinkDelta::default(), 0_i64);
            for (row, diff) in &rows {
                match *diff {
                    1.. => delta.push(&[], row, *diff),
                    _ => too_many += -diff,
                }
            }
            if too_many > 0 {
                repaired.too_many.insert(sink.name.clone(), too_many.unsigned_abs());
            }
            delta
        }
        _ => changes_by_key(&setup.plan, sink, &rows, &derived_rows(difference, out))?,
    };
    let keys: BTreeSet<&[u8]> = delta.keys.iter().collect();
    let owed = if sink.format == Format::Plain { delta.diffs.len() } else { keys.len() };
    if owed > 0 {
        repaired.owed.insert(sink.name.clone(), owed as u64);
        commit.writes.push(owed::entries(&setup.store, table_id, &delta)?);
    }
    Ok(())
}

/// Changed rows of a view with their diffs.
fn changed_rows(difference: &Difference) -> Result<Vec<(Vec<u8>, i64)>, RunError> {
    let mut rows = Vec::new();
    for Change { key, held, wanted } in &difference.changes {
        if difference.counted {
            let row = schemas::without_group(key).to_vec();
            rows.push((row, count_in(wanted)? - count_in(held)?));
        } else {
            for (row, diff) in [(held, -1), (wanted, 1)] {
                if let Some(row) = row {
                    rows.push((row.clone(), diff));
                }
            }
        }
    }
    Ok(rows)
}

/// All rows that were derived of a view.
fn derived_rows(difference: &Difference, out: &EpochOut) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    if let Some((keys, diffs)) = out.counts.get(&difference.table_id) {
        for (key, diff) in keys.iter().zip(diffs) {
            if *diff > 0 {
                rows.push(schemas::without_group(key).to_vec());
            }
        }
    }
    if let Some((_, values)) = out.writes.get(&difference.table_id) {
        rows.extend(values.iter().flatten().map(<[u8]>::to_vec));
    }
    rows
}

/// The removed row of a key, and the inserted one.
type RowChange<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Changes that set each key with a changed row to its derived row, whatever the sink holds of the key.
fn changes_by_key(
    plan: &Plan,
    sink: &Sink,
    rows: &[(Vec<u8>, i64)],
    content: &[Vec<u8>],
) -> Result<SinkDelta, RunError> {
    let schema = &plan.rels[sink.rel].schema;
    let codec = RowCodec::of(schema)?;
    let types: Vec<DataType> = sink.key.iter().map(|at| schema.field(*at).data_type().clone()).collect();
    let key_codec = RowCodec::new(&types)?;
    let mut sides: BTreeMap<Vec<u8>, RowChange<'_>> = BTreeMap::new();
    let changed =
        encode_sink_keys(&codec, &key_codec, &sink.key, rows.iter().map(|(row, _)| row.as_slice()))?;
    for (key, (row, diff)) in changed.iter().zip(rows) {
        let (before, _) = sides.entry(key.to_vec()).or_default();
        if *diff < 0 {
            before.get_or_insert(row.as_slice());
        }
    }
    let now = encode_sink_keys(&codec, &key_codec, &sink.key, content.iter().map(Vec::as_slice))?;
    for (key, row) in now.iter().zip(content) {
        if let Some((_, after)) = sides.get_mut(key) {
            *after = Some(row.as_slice());
        }
    }
    let mut delta = SinkDelta::default();
    for (key, (before, after)) in &sides {
        for (row, diff) in [(before, -1), (after, 1)] {
            if let Some(row) = row {
                delta.push(key, row, diff);
            }
        }
    }
    Ok(delta)
}

/// The packed keys of packed rows.
fn encode_sink_keys<'a>(
    rows_codec: &RowCodec,
    key_codec: &RowCodec,
    key: &[usize],
    rows: impl Iterator<Item = &'a [u8]>,
) -> Result<Rows, RunError> {
    let columns = rows_codec.decode(rows)?;
    let key: Vec<_> = key.iter().map(|at| columns[*at].clone()).collect();
    Ok(key_codec.encode(&key)?)
}
