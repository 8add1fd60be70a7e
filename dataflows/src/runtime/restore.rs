//! Reading of the state into a starting dataflow: the rows of tables and the updates of arrangements in the key
//! groups that a worker owns.

use std::ops::Range;

use arrow::array::new_null_array;
use schemas::{Ownership, RowCodec, Rows, stored_group, without_group};
use state::Store;

use super::fill::ViewRows;
use super::worker::{Handle, Setup, Worker};
use crate::arrange::rows::Diff;
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::plan::analysis::fallible::may_fail;
use crate::plan::analysis::reach::{Reach, reach};
use crate::plan::{Op, RelId};
use crate::render::Restore;
use crate::render::batch::{DeltaBatch, RelationType};
use crate::source::held::Held;

/// Restored rows or updates sent into the dataflow at once.
const RESTORED_PER_BATCH: usize = 4096;

/// Visits the stored keys of some key groups in a state table, in order.
///
/// # Errors
/// When the state cannot be read, or `visit` fails.
pub(crate) fn scan_groups(
    store: &Store,
    table_id: u32,
    groups: &[Range<u16>],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), RunError>,
) -> Result<(), RunError> {
    for range in groups {
        let mut scan = store.iter_from(table_id, &range.start.to_be_bytes())?;
        while let Some((stored, value)) = scan.next_entry()? {
            if stored_group(stored) >= Some(range.end) {
                break;
            }
            visit(stored, value)?;
        }
    }
    Ok(())
}

/// Feeds the rows of a table in the owned key groups.
pub(super) fn restore_table(
    store: &Store,
    (table_id, owned): (u32, &[Range<u16>]),
    handle: &mut Handle<DeltaBatch>,
    worker: &mut Worker,
) -> Result<(), RunError> {
    let mut rows = Rows::new();
    scan_groups(store, table_id, owned, |_, value| {
        // A tombstone has no row.
        if let Some(row) = Held::row_of(value) {
            rows.push(row);
            if rows.len() >= RESTORED_PER_BATCH {
                send_rows(&mut rows, handle, worker);
            }
        }
        Ok(())
    })?;
    if !rows.is_empty() {
        send_rows(&mut rows, handle, worker);
    }
    Ok(())
}

/// Sends rows into the dataflow, each once.
fn send_rows(rows: &mut Rows, handle: &mut Handle<DeltaBatch>, worker: &mut Worker) {
    let rows = std::mem::take(rows);
    let diffs = vec![1; rows.len()];
    handle.send(DeltaBatch::from_packed(rows, diffs));
    // Bounds the rows in flight.
    worker.step();
}

/// The stored form of an arrangement.
struct StoredArrangement<'a> {
    store: &'a Store,
    table_id: u32,
    /// Packed form of the key.
    key: &'a RowCodec,
    /// Key groups of the worker.
    owned: &'a [Range<u16>],
}

/// Feeds the stored updates of an arrangement.
pub(super) fn restore_arrangement(
    store: &Store,
    restore: Restore,
    owned: &[Range<u16>],
    to: (u64, &Ownership),
    worker: &mut Worker,
) -> Result<(), RunError> {
    match restore {
        Restore::Totals { table_id, grouping, handle } => {
            let from = StoredArrangement { store, table_id, key: &grouping.key_codec, owned };
            restore_updates(from, handle, to, worker, |rest, bytes| {
                grouping.current_update(rest, Accums::from_bytes(bytes)?)
            })
        }
        Restore::Rows { table_id, key, handle } => {
            let from = StoredArrangement { store, table_id, key: &key, owned };
            restore_updates(from, handle, to, worker, |rest, bytes| Some((rest, state::count_of(bytes)?)))
        }
        Restore::InState { .. } => Ok(()),
        Restore::View { rows, shape, handle } => {
            restore_view((store, owned), (&rows, &shape), (handle, to.0), worker)
        }
    }
}

/// Feeds the rows of a view in the owned key groups at the committed epoch.
fn restore_view(
    (store, owned): (&Store, &[Range<u16>]),
    (view, shape): (&ViewRows, &RelationType),
    (mut handle, epoch): (Handle<DeltaBatch>, u64),
    worker: &mut Worker,
) -> Result<(), RunError> {
    handle.advance_to(epoch);
    let (mut rows, mut diffs) = (Rows::new(), Vec::new());
    scan_groups(store, view.table_id, owned, |stored, value| {
        if view.keyed {
            rows.push(value);
            diffs.push(1);
        } else {
            let Some(count) = state::count_of(value) else {
                return Err(RunError::Damaged("a view holds a row without a count".into()));
            };
            rows.push(without_group(stored));
            diffs.push(count);
        }
        if rows.len() >= RESTORED_PER_BATCH {
            let full = (std::mem::take(&mut rows), std::mem::take(&mut diffs));
            handle.send(view_batch(view, shape, full)?);
            worker.step();
        }
        Ok(())
    })?;
    if !rows.is_empty() {
        handle.send(view_batch(view, shape, (rows, diffs))?);
    }
    worker.step();
    Ok(())
}

/// Rows of a view as rows of the relation that they are fed for.
fn view_batch(
    view: &ViewRows,
    shape: &RelationType,
    (rows, diffs): (Rows, Vec<i64>),
) -> Result<DeltaBatch, RunError> {
    let Some((schema, picked)) = &view.picked else { return Ok(DeltaBatch::from_packed(rows, diffs)) };
    let held = RowCodec::of(schema)?.decode(rows.iter())?;
    let mut columns = Vec::with_capacity(picked.len());
    for (column, field) in picked.iter().zip(shape.schema.fields()) {
        columns.push(match column {
            Some(at) => held[*at].clone(),
            None => new_null_array(field.data_type(), rows.len()),
        });
    }
    Ok(DeltaBatch::from_columns(shape.assemble(columns, rows.len())?, diffs))
}

/// Reads stored updates of the owned key groups, with `read` for their values and diffs, and sends them to their owners
/// as updates of the committed epoch. Neighbours of one key and value are one update.
fn restore_updates<R: Diff>(
    from: StoredArrangement<'_>,
    mut handle: Handle<Updates<R>>,
    (epoch, ownership): (u64, &Ownership),
    worker: &mut Worker,
    read: impl for<'a> Fn(&'a [u8], &[u8]) -> Option<(&'a [u8], R)>,
) -> Result<(), RunError> {
    // Updates of earlier epochs are restored as one of the committed epoch.
    handle.advance_to(epoch);
    let mut outgoing = ExchangeBuffer::new(epoch, ownership);
    let mut held = 0;
    scan_groups(from.store, from.table_id, from.owned, |stored, value| {
        // The stored key is the key group, the packed key and the rest of the row.
        let stored = without_group(stored);
        let (key, rest) = stored.split_at(from.key.prefix_len(stored, from.key.columns())?);
        let Some((rest, diff)) = read(rest, value) else {
            return Err(RunError::Damaged("an arrangement in the state is not readable".into()));
        };
        if outgoing.add_to_last((key, rest), &diff) {
            return Ok(());
        }
        // Bounds the updates in flight.
        if held == RESTORED_PER_BATCH {
            let full = std::mem::replace(&mut outgoing, ExchangeBuffer::new(epoch, ownership));
            for updates in full.into_updates() {
                handle.send(updates);
            }
            worker.step();
            held = 0;
        }
        outgoing.push_key(key);
        outgoing.push_value(rest, diff);
        held += 1;
        Ok(())
    })?;
    for updates in outgoing.into_updates() {
        handle.send(updates);
    }
    worker.step();
    Ok(())
}

/// Tells whether any state that is recomputed on a restart, or that an edit adds, reads the source's rows; of an edited
/// topology also whether a step does that can fail.
pub(super) fn rows_needed(setup: &Setup, source: usize) -> bool {
    let (plan, tables) = (&setup.plan, &setup.state_tables);
    let shown = tables.filled_exports(plan);
    let Reach { stateless, stateful } =
        reach(plan, |id| matches!(plan.rels[id].op, Op::Source(at) if at == source));
    // Durable state is restored itself.
    if stateful.into_iter().any(|id| !plan.rels[id].durable || tables.fills(id)) {
        return true;
    }
    let made = |id: RelId| stateless[id] && !matches!(plan.rels[id].op, Op::Source(_));
    (0..plan.rels.len()).any(|id| {
        plan.rels[id].op.inputs().iter().any(|input| stateless[*input] && tables.gates_input(id, *input))
            // Rows that fail stand under the texts of the plan, which an edit may change beside them.
            || (made(id) && tables.fill.is_some() && may_fail(plan, id))
            || (stateless[id] && shown.contains(&id))
    })
}
