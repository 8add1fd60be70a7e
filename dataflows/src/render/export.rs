//! Export of a relation to the views and sinks that share a key.
//!
//! Deltas are gathered by key at the key's owner until their epoch is complete, consolidated, and
//! handed to the collector once: as the new content of view tables and of their indexes, as the changes that
//! histories of views keep, and as the change that sinks send. Two rows at once under a key proven unique
//! break an invariant of the plan and stop the worker before the commit.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::batch::{DeltaBatch, RelationType};
use super::linear::Deltas;
use super::operators::{OpenEpochs, each_message, owner_of};
use schemas::{RowCodec, stored_key};
use state::IndexLayout;

use crate::arrange::updates::{ExchangeBuffer, Updates, ValueUpdate, by_key};
use crate::collect::{EpochOut, Shared};
use crate::error::RunError;

/// Destination of a relation's changes.
pub struct Export {
    /// Type of the rows.
    pub shape: RelationType,
    /// Key columns; None: the whole row.
    pub key: Option<Vec<usize>>,
    /// Set when `key` is proven unique.
    pub unique: bool,
    /// State tables of the views shown.
    pub views: Vec<u32>,
    /// State tables of the views whose changes are kept, with the most bytes of an epoch's.
    pub histories: Vec<(u32, u64)>,
    /// Indexes of those views.
    pub indexes: Vec<IndexLayout>,
    /// Sinks fed.
    pub sinks: Vec<usize>,
    /// Last epoch whose output is already in the state and is dropped.
    pub after: u64,
    /// Name of the relation in messages.
    pub name: String,
    /// Collector that changes are handed to.
    pub collector: Shared,
}

/// Key columns of an export.
struct ExportKey {
    columns: Vec<usize>,
    /// Packed form of the key; None where the columns lead the row, whose packed form begins with the key's.
    codec: Option<RowCodec>,
}

impl ExportKey {
    fn new(shape: &RelationType, columns: &[usize]) -> Result<ExportKey, RunError> {
        let leads = columns.iter().copied().eq(0..columns.len());
        let types: Vec<_> = columns.iter().map(|c| shape.schema.field(*c).data_type().clone()).collect();
        let codec = if leads { None } else { Some(RowCodec::new(&types)?) };
        Ok(ExportKey { columns: columns.to_vec(), codec })
    }
}

/// Gathers, consolidates and hands over the changes of each epoch. The returned stream is empty; the probe
/// is attached to it.
///
/// # Errors
/// When a column of the key has no packed form.
pub fn export<'s>(stream: Deltas<'s>, export: Export) -> Result<Stream<'s, u64, Vec<()>>, RunError> {
    let ownership = export.collector.borrow().ownership();
    let (shape, after) = (export.shape.clone(), export.after);
    let key = match &export.key {
        Some(columns) => Some(ExportKey::new(&shape, columns)?),
        None => None,
    };
    let fail = export.collector.clone();
    let packed: Stream<'s, u64, Vec<Updates<i64>>> =
        each_message(stream, Pipeline, "ExportKeys", move |time, batches, output| {
            // Dropped before the exchange: the restored state already contains this output.
            if *time.time() <= after {
                return;
            }
            let mut session = output.session(&time);
            for batch in batches.drain(..) {
                let mut outgoing = ExchangeBuffer::new(*time.time(), &ownership);
                match split_keys(&shape, key.as_ref(), batch, &mut outgoing) {
                    Ok(()) => {
                        for updates in outgoing.into_updates() {
                            session.give(updates);
                        }
                    }
                    Err(error) => fail.borrow_mut().fail(error),
                }
            }
        });
    let done = packed.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Exchange::new(owner_of),
        "Export",
        move |_, _| {
            let mut pending = OpenEpochs::<Vec<Updates<i64>>>::new();
            move |(input, frontier), _output| {
                input.for_each(|time, updates| pending.input_at(&time).append(updates));
                // The capability is held until the hand-over: the probe must not pass the epoch before.
                while let Some((epoch, _capability, updates)) = pending.take_complete(&[frontier]) {
                    if let Err(error) = export.hand_over(epoch, updates) {
                        export.collector.borrow_mut().fail(error);
                    }
                }
            }
        },
    );
    Ok(done)
}

/// Adds packed key, packed row and diff of each row to `outgoing`; the key of a whole-row export is the row.
fn split_keys(
    shape: &RelationType,
    key: Option<&ExportKey>,
    mut delta: DeltaBatch,
    outgoing: &mut ExchangeBuffer<i64>,
) -> Result<(), RunError> {
    let diffs = std::mem::take(&mut delta.diffs);
    let keys = match key {
        Some(ExportKey { columns, codec: Some(codec) }) => {
            let batch = shape.decode_columns(&delta)?;
            let columns: Vec<_> = columns.iter().map(|c| batch.column(*c).clone()).collect();
            Some(super::aggregates::input::encode_keys(codec, &columns, diffs.len())?)
        }
        _ => None,
    };
    let rows = shape.pack_rows(delta)?;
    for (at, diff) in diffs.into_iter().enumerate() {
        let row = rows.get(at);
        match (key, &keys) {
            (None, _) => {
                outgoing.push_key(row);
                outgoing.push_value(&[], diff);
            }
            (_, Some(keys)) => {
                outgoing.push_key(keys.get(at));
                outgoing.push_value(row, diff);
            }
            (Some(key), None) => {
                outgoing.push_key(&row[..shape.codec.prefix_len(row, key.columns.len())?]);
                outgoing.push_value(row, diff);
            }
        }
    }
    Ok(())
}

impl Export {
    /// Hands the consolidated changes of an epoch to the collector, in ascending order of key.
    fn hand_over(&self, epoch: u64, mut updates: Vec<Updates<i64>>) -> Result<(), RunError> {
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(epoch);
        let (mut broken, mut failure, mut entry) = (false, None, Vec::new());
        by_key(&mut updates, |key, rows| {
            // Recorded here and reported after the loop, before the epoch can be committed.
            broken |= self.unique && !one_row_at_most(rows);
            for table_id in &self.views {
                let stored = stored_key(key);
                // A whole-row view counts its rows; a keyed view stores the key's new row or deletes it.
                if self.key.is_none() {
                    out.add_count(*table_id, &stored, rows[0].2);
                } else {
                    let row = rows.iter().find_map(|row| (row.2 > 0).then_some(row.0));
                    out.write_total(*table_id, &stored, row);
                }
            }
            for (view, limit) in &self.histories {
                let changes = out.changes.entry(*view).or_default();
                if self.key.is_none() {
                    changes.push(key, rows[0].2, *limit);
                    continue;
                }
                // The row that goes first: who keeps rows by their key may apply one change after the other.
                for row in rows.iter().filter(|row| row.2 < 0).chain(rows.iter().filter(|row| row.2 > 0)) {
                    changes.push(row.0, row.2, *limit);
                }
            }
            for index in &self.indexes {
                let written = match &self.key {
                    None => count_in_index(out, index, (key, rows[0].2), &mut entry),
                    Some(_) => write_index(out, index, (key, rows.as_slice()), &mut entry),
                };
                failure = failure.take().or(written.err());
            }
            for sink in &self.sinks {
                let delta = out.sinks.entry(*sink).or_default();
                for (row, _, diff) in rows.iter() {
                    if self.key.is_none() {
                        delta.keys.push(&[]);
                        delta.rows.push(key);
                    } else {
                        delta.keys.push(key);
                        delta.rows.push(row);
                    }
                    delta.diffs.push(*diff);
                }
            }
        });
        if broken {
            return Err(RunError::Broken(format!("{}: a key proven unique has several rows", self.name)));
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Writes the changes of a keyed view's key to an index; `entry` is a buffer for keys.
fn write_index(
    out: &mut EpochOut,
    index: &IndexLayout,
    (key, rows): (&[u8], &[ValueUpdate<'_, i64>]),
    entry: &mut Vec<u8>,
) -> Result<(), RunError> {
    for (row, _, diff) in rows {
        if *diff < 0 {
            index.entry_key(key, row, entry)?;
            out.write_total(index.table_id, entry, None);
        }
    }
    // Last, because a row may keep its place in the index: of two writes of a key the last one counts.
    for (row, _, diff) in rows {
        if *diff > 0 {
            index.entry_key(key, row, entry)?;
            out.write_total(index.table_id, entry, Some(row));
        }
    }
    Ok(())
}

/// Counts copies of a row of a view without a key in an index; `entry` is a buffer for keys.
fn count_in_index(
    out: &mut EpochOut,
    index: &IndexLayout,
    (row, diff): (&[u8], i64),
    entry: &mut Vec<u8>,
) -> Result<(), RunError> {
    index.entry_key(row, &[], entry)?;
    out.add_count(index.table_id, entry, diff);
    Ok(())
}

/// Returns true if a key's changes remove at most one row and insert at most one.
fn one_row_at_most(rows: &[ValueUpdate<'_, i64>]) -> bool {
    let (mut inserted, mut removed) = (0, 0);
    for (_, _, diff) in rows {
        match *diff {
            1 => inserted += 1,
            -1 => removed += 1,
            _ => return false,
        }
    }
    inserted <= 1 && removed <= 1
}
