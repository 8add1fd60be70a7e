//! Temporal joins: each left row finds right rows as of a time.
//!
//! Both sides are held in ordered maps by key, at the key's owner, and updated once for each complete epoch.
//! As of PROCTIME(), a left row finds the right rows of its key at the end of the epoch of its insertion, and
//! is held only if it may be retracted. As of a time, it finds the latest right row that is not after it, or
//! the first that is not before it; when the right changes at a time, only the left rows between there and
//! the next time of the right on that side are looked up again. A right row counts while its multiplicity is
//! positive; a left row is emitted with its multiplicity. State that no future row can match is dropped: left
//! rows below the horizon; right rows below it except the latest of each key.

use std::collections::{BTreeMap, BTreeSet};

use schemas::memory::{allocated_bytes, tree_bytes};
use schemas::{MemoryPart, MemoryShare, RowCodec, Rows, stored_key};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Concat, Input};

use super::kinds::{KeyedStream, key_columns, one_key};
use super::proctime::{LookupState, RememberedLookups};
use super::timed_rows::{NO_TIME, TimedRows, packed_time, row_of, time_of};
use crate::arrange::updates::{Updates, ValueUpdate, by_key};
use crate::collect::{Collector, Shared};
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Nearest, Op, RelId, Scalar, When};
use crate::render::batch::{DeltaBatch, RelationType, null_in};
use crate::render::event_time::rule::with_name;
use crate::render::event_time::time_index::KeySchedule;
use crate::render::event_time::watermark::{CurrentHorizon, WatermarkUpdates};
use crate::render::linear::Deltas;
use crate::render::operators::{OpenEpochs, is_beyond_previous, owner_of};
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// Renders a temporal join.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(in crate::render) fn render_temporal_join(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::TemporalJoin { left, right, left_keys, right_keys, outer, when } = &self.plan.rels[id].op
        else {
            return Err(RunError::Broken("not a lookup".into()));
        };
        let nulls = self.plan.rels[*right].schema.fields().len();
        let mut operator = TemporalJoinOperator {
            left: self.shapes[*left].codec.clone(),
            right: self.shapes[*right].codec.clone(),
            key: RowCodec::of(&key_columns(&self.plan.rels[*left].schema, &keys_of(left_keys))?)?,
            when: *when,
            outer: *outer,
            nulls,
            lookup_table_id: None,
            after: self.held_until(id),
            name: self.counter_name(id, "lookup"),
            collector: self.collector.clone(),
        };
        let codec = operator.key.clone();
        let keys = (keys_of(left_keys), codec.clone());
        let durable = self.plan.rels[id].durable;
        let found = match when {
            When::ProcTime => {
                // Left rows from before the restart have been looked up already, durable or not.
                let stream = self.new_input(id, *left, true);
                let shape: RelationType = self.shapes[*left].clone();
                let side =
                    super::pairs::JoinSide { shape, keys: keys.0, key_codec: keys.1, keep_null_keys: *outer };
                let mut keyed =
                    super::pairs::key_rows(stream, side, self.error_table(id)?, self.collector.clone());
                if !self.plan.rels[*left].is_append_only() {
                    let table_id = self.state_tables.table_of(id, StateRole::Left)?;
                    operator.lookup_table_id = Some(table_id);
                    if self.is_restored(id) {
                        let (handle, restored) = self.scope.new_input();
                        self.restores.push(Restore::Rows { table_id, key: codec.clone(), handle });
                        keyed = keyed.concat(restored);
                    }
                }
                keyed
            }
            When::AsOf { .. } => {
                let updates = self.keyed_input((id, StateRole::Left), *left, keys, *outer)?;
                self.persist_rows(updates, (id, StateRole::Left), &codec)?
            }
        };
        let right =
            self.keyed_input((id, StateRole::Right), *right, (keys_of(right_keys), codec.clone()), false)?;
        let right = self.persist_rows(right, (id, StateRole::Right), &codec)?;
        let due = match self.plan.expiry.get(&(id, StateRole::Left)) {
            Some(horizon) => {
                let mut table_ids = [None, None];
                if durable {
                    let left = self.state_tables.table_of(id, StateRole::Left)?;
                    table_ids = [Some(left), Some(self.state_tables.table_of(id, StateRole::Right)?)];
                }
                let horizon = CurrentHorizon::new(horizon);
                let expiry = JoinExpiry { horizon, table_ids, ..JoinExpiry::default() };
                Some((self.watermark_updates()?, expiry))
            }
            None => None,
        };
        Ok(build_operator(found, right, due, operator))
    }
}

/// Returns the keys, or the single key of all rows if there are none.
fn keys_of(keys: &[Scalar]) -> Vec<Scalar> {
    if keys.is_empty() { vec![one_key()] } else { keys.to_vec() }
}

/// Configuration of the operator.
struct TemporalJoinOperator {
    left: RowCodec,
    right: RowCodec,
    key: RowCodec,
    when: When,
    outer: bool,
    /// Number of right columns.
    nulls: usize,
    /// State table of the lookups as of PROCTIME(), if left rows may be retracted.
    lookup_table_id: Option<u32>,
    /// Last epoch whose rows are restored ones.
    after: u64,
    name: String,
    collector: Shared,
}

/// Changes of the left and of the right: rows with their times in front, and diffs.
type TimedChanges = (Vec<(Vec<u8>, i64)>, Vec<(Vec<u8>, i64)>);

/// Both sides of a key.
#[derive(Default)]
struct KeyRows {
    left: TimedRows,
    right: TimedRows,
    /// Lookups of left rows as of PROCTIME().
    lookups: RememberedLookups,
}

impl KeyRows {
    /// Returns true if nothing is held. Recorded lookups count: their left rows may still be retracted.
    fn is_empty(&self) -> bool {
        self.left.is_empty() && self.right.is_empty() && self.lookups.is_empty()
    }

    /// Returns the rows of a side.
    fn rows_of(&self, side: StateRole) -> &TimedRows {
        if side == StateRole::Left { &self.left } else { &self.right }
    }

    /// Removes and returns the rows of a side that no future row can match: left rows before the horizon, and
    /// right rows before the latest one before it.
    fn take_final(&mut self, side: StateRole, horizon: &[u8]) -> Vec<(Vec<u8>, i64)> {
        if side == StateRole::Left {
            return self.left.take_before(horizon);
        }
        let Some(latest) = self.right.latest_before(horizon).map(<[u8]>::to_vec) else { return vec![] };
        self.right.take_before(&latest)
    }

    /// Returns the bytes of the rows and of their `key`.
    fn held_bytes(&self, key: &[u8]) -> usize {
        let of_key = if self.is_empty() { 0 } else { allocated_bytes(key.len()) };
        of_key + self.left.held_bytes() + self.right.held_bytes() + self.lookups.held_bytes()
    }
}

/// State of all keys.
#[derive(Default)]
struct JoinState {
    groups: BTreeMap<Vec<u8>, KeyRows>,
    /// Number of held rows of both sides.
    held: i64,
    /// Bytes of all keys and their rows.
    bytes: usize,
    memory: MemoryShare,
}

impl JoinState {
    /// Notes that a key, whose rows took `before` bytes, has changed, and removes it if it has no rows.
    fn note_change(&mut self, key: &[u8], before: usize) {
        let Some(group) = self.groups.get(key) else { return };
        self.bytes = self.bytes + group.held_bytes(key) - before;
        if group.is_empty() {
            self.groups.remove(key);
        }
    }

    fn report_memory(&mut self) {
        let keys = tree_bytes(self.groups.len(), size_of::<(Vec<u8>, KeyRows)>());
        self.memory.set(MemoryPart::Joins, keys + self.bytes);
    }
}

/// Changes of a key in an epoch, as rows with diffs.
#[derive(Default)]
struct KeyChanges {
    left: Vec<(Vec<u8>, i64)>,
    right: Vec<(Vec<u8>, i64)>,
}

/// Keys of either side by the earliest time of a row that may be dropped.
#[derive(Default)]
struct JoinExpiry {
    horizon: CurrentHorizon,
    /// State tables of the left and of the right, where they are durable.
    table_ids: [Option<u32>; 2],
    left: KeySchedule,
    right: KeySchedule,
    memory: MemoryShare,
    /// Time below which everything is dropped.
    passed: Option<i64>,
}

impl JoinExpiry {
    /// Records the time of a row.
    ///
    /// # Errors
    /// When a row arrives below the horizon: state that it would match may have been dropped.
    fn note_time(&mut self, side: StateRole, time: &[u8], key: &[u8]) -> Result<(), RunError> {
        let Some(us) = time_us(time) else { return Ok(()) };
        if self.passed.is_some_and(|passed| us < passed) {
            return Err(RunError::Broken("a row reached what was final".into()));
        }
        self.keys_of(side).schedule_key(key, us);
        Ok(())
    }

    /// Schedules the next look at a key's rows, where there is a next time.
    fn note_next(&mut self, side: StateRole, time: Option<&[u8]>, key: &[u8]) {
        if let Some(us) = time.and_then(time_us) {
            self.keys_of(side).schedule_key(key, us);
        }
    }

    fn keys_of(&mut self, side: StateRole) -> &mut KeySchedule {
        if side == StateRole::Left { &mut self.left } else { &mut self.right }
    }

    fn report_memory(&mut self) {
        self.memory.set(MemoryPart::Expiry, self.left.held_bytes() + self.right.held_bytes());
    }

    /// Moves the horizon, and returns it if there is one. Afterwards a row with a time below it is an error.
    fn raise_horizon(&mut self, moved: Vec<(usize, i64)>) -> Option<i64> {
        self.horizon.raise_watermarks(moved);
        let horizon = self.horizon.final_below()?;
        self.passed = self.passed.max(Some(horizon));
        Some(horizon)
    }
}

/// Returns a time in its packed form.
fn packed_us(us: i64) -> Vec<u8> {
    [&[1], &(us ^ i64::MIN).to_be_bytes()[..]].concat()
}

/// Returns a packed time in microseconds; None for NULL.
fn time_us(time: &[u8]) -> Option<i64> {
    let (_, body) = time.split_first().filter(|(tag, _)| **tag != 0)?;
    Some(i64::from_be_bytes(*body.first_chunk::<8>()?) ^ i64::MIN)
}

/// Input of an epoch.
#[derive(Default)]
struct JoinInput {
    /// Watermarks that moved in the epoch before.
    moved: Vec<(usize, i64)>,
    left: Vec<Updates<i64>>,
    right: Vec<Updates<i64>>,
}

/// Builds the operator. Watermarks of an epoch are applied at the start of the next one.
fn build_operator<'s>(
    left: KeyedStream<'s>,
    right: KeyedStream<'s>,
    due: Option<(WatermarkUpdates<'s>, JoinExpiry)>,
    operator: TemporalJoinOperator,
) -> Deltas<'s> {
    let (watermarks, mut due) = due.unzip();
    let mut builder = OperatorBuilder::new("Lookup".to_owned(), left.scope());
    let mut left = builder.new_input(left, Exchange::new(owner_of));
    let mut right = builder.new_input(right, Exchange::new(owner_of));
    let mut watermarks = watermarks.map(|watermarks| builder.new_input(watermarks, Pipeline));
    let (output, found) = builder.new_output::<Vec<DeltaBatch>>();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<DeltaBatch>>>::from(output);
    builder.build(move |_| {
        let mut groups = JoinState::default();
        let mut epochs = OpenEpochs::<JoinInput>::new();
        move |frontiers| {
            let mut output = output.activate();
            left.for_each(|time, updates| epochs.input_at(&time).left.append(updates));
            right.for_each(|time, updates| epochs.input_at(&time).right.append(updates));
            if let Some(watermarks) = &mut watermarks {
                watermarks.for_each(|time, moved| {
                    // Applied one epoch later, when the rows of the watermark's own epoch are in.
                    epochs.delayed_input(&time, *time.time() + 1).moved.append(moved);
                });
            }
            while let Some(epoch) = epochs.first_epoch() {
                // An epoch needs its own rows, and the watermarks of the previous epoch.
                let (rows, marks) = frontiers.split_at(2);
                if rows.iter().any(|frontier| frontier.less_equal(&epoch))
                    || !marks.iter().all(|frontier| is_beyond_previous(frontier, epoch))
                {
                    break;
                }
                let Some((_, capability, arrived)) = epochs.take_first() else { break };
                match operator.process_epoch(&mut groups, due.as_mut(), (epoch, arrived)) {
                    Ok(out) if out.diffs.is_empty() => {}
                    Ok(out) => {
                        let touched = out.diffs.len() as u64;
                        operator.collector.borrow_mut().at(epoch).count_touched(&operator.name, touched);
                        output.session(&capability).give(DeltaBatch::from_packed(out.rows, out.diffs));
                    }
                    Err(error) => operator.collector.borrow_mut().fail(error),
                }
            }
        }
    });
    found
}

/// Output rows.
#[derive(Default)]
struct JoinOutput {
    rows: Rows,
    diffs: Vec<i64>,
}

impl TemporalJoinOperator {
    /// Processes one epoch: drops final state, then applies the changes key by key, in ascending order.
    fn process_epoch(
        &self,
        all: &mut JoinState,
        mut due: Option<&mut JoinExpiry>,
        (epoch, arrived): (u64, JoinInput),
    ) -> Result<JoinOutput, RunError> {
        let JoinInput { moved, mut left, mut right } = arrived;
        if let Some(due) = due.as_deref_mut() {
            self.drop_final(all, due, (epoch, moved));
        }
        let mut changed: BTreeMap<Vec<u8>, KeyChanges> = BTreeMap::new();
        by_key(&mut left, |key, rows| {
            add_changes(&mut changed.entry(key.to_vec()).or_default().left, rows);
        });
        by_key(&mut right, |key, rows| {
            add_changes(&mut changed.entry(key.to_vec()).or_default().right, rows);
        });
        let mut out = JoinOutput::default();
        for (key, changes) in changed {
            // The key's state is created on demand and removed again if nothing remains.
            let group = all.groups.entry(key.clone()).or_default();
            let before = group.held_bytes(&key);
            all.held += match self.when {
                When::ProcTime => self.join_proctime(group, changes, (epoch, &key), &mut out)?,
                When::AsOf { left, right, nearest } => {
                    let timed = self.with_times((left, right), changes, (&key, due.as_deref_mut()))?;
                    self.join_as_of(group, nearest, timed, &mut out)
                }
            };
            all.note_change(&key, before);
        }
        all.report_memory();
        if let Some(due) = due {
            due.report_memory();
        }
        self.collector.borrow_mut().record_size(&self.name, all.held.unsigned_abs());
        Ok(out)
    }

    /// Joins left rows inserted in this epoch with the right at its end, and retracts the recorded results of
    /// retracted left rows. Returns the increase in held rows.
    fn join_proctime(
        &self,
        group: &mut KeyRows,
        changes: KeyChanges,
        (epoch, key): (u64, &[u8]),
        out: &mut JoinOutput,
    ) -> Result<i64, RunError> {
        let mut more = 0;
        for (row, diff) in changes.right {
            more += group.right.change_count(row, diff);
        }
        let mut collector = self.collector.borrow_mut();
        for (row, diff) in changes.left {
            // A restored entry is a lookup: the left row followed by its epoch and a row found.
            if self.lookup_table_id.is_some() && epoch <= self.after {
                let (row, rest) = row.split_at(self.left.prefix_len(&row, self.left.columns())?);
                more += group.lookups.restore_entry(row, rest, diff)?;
                continue;
            }
            let found = group.right.iter().filter(|(_, count)| **count > 0);
            let Some(table_id) = self.lookup_table_id else {
                self.emit_found(&row, found, diff, out);
                continue;
            };
            let mut place = LookupState { out: collector.at(epoch), table_id, key };
            if diff < 0 {
                let show =
                    |found: &[(Vec<u8>, i64)], n: i64| self.emit_found(&row, row_counts(found), -n, out);
                let taken = group.lookups.take_back(&row, -diff, &mut place, show);
                more += taken.map_err(|error| with_name(&self.name, error))?;
            } else {
                let found: Vec<_> = found.map(|(row, count)| (row.clone(), *count)).collect();
                self.emit_found(&row, row_counts(&found), diff, out);
                more += group.lookups.remember_lookup(&row, (epoch, diff), found, &mut place);
            }
        }
        Ok(more)
    }

    /// Emits a left row with each right row found, `diff` times its count.
    fn emit_found<'a>(
        &self,
        row: &[u8],
        found: impl Iterator<Item = (&'a Vec<u8>, &'a i64)>,
        diff: i64,
        out: &mut JoinOutput,
    ) {
        let mut none = true;
        for (right, count) in found {
            none = false;
            out.rows.push_joined(row, right);
            out.diffs.push(diff * count);
        }
        // An outer join emits an unmatched row with NULLs, packed as zero bytes.
        if none && self.outer {
            out.rows.push_joined(row, &vec![0; self.nulls]);
            out.diffs.push(diff);
        }
    }

    /// Drops final state by the watermarks that moved: left rows below the horizon, and right rows before the
    /// latest one of their key below the horizon.
    fn drop_final(
        &self,
        all: &mut JoinState,
        due: &mut JoinExpiry,
        (epoch, moved): (u64, Vec<(usize, i64)>),
    ) {
        let Some(horizon) = due.raise_horizon(moved) else { return };
        let packed = packed_us(horizon);
        let mut collector = self.collector.borrow_mut();
        let mut dropped = 0;
        for side in [StateRole::Left, StateRole::Right] {
            let table_id = due.table_ids[usize::from(side == StateRole::Right)];
            for key in due.keys_of(side).take_below(horizon) {
                let Some(group) = all.groups.get_mut(&key[..]) else { continue };
                let before = group.held_bytes(&key);
                let rows = group.take_final(side, &packed);
                dropped += uncount_rows(&mut collector, (epoch, table_id), &key, rows);
                due.note_next(side, group.rows_of(side).earliest_from(&packed), &key);
                all.note_change(&key, before);
            }
        }
        all.held -= dropped.cast_signed();
        if dropped > 0 {
            collector.at(epoch).count_touched(&format!("{} expired", self.name), dropped);
        }
    }

    /// Adds their times to the rows of both sides, and records the times for expiry.
    fn with_times(
        &self,
        (left, right): (usize, usize),
        changes: KeyChanges,
        (key, mut due): (&[u8], Option<&mut JoinExpiry>),
    ) -> Result<TimedChanges, RunError> {
        let (left, right) = ((&self.left, left), (&self.right, right));
        let lefts = add_times(left, changes.left, (StateRole::Left, key), due.as_deref_mut())?;
        let mut rights = add_times(right, changes.right, (StateRole::Right, key), due)?;
        // A right row without a time, or under a key with a NULL, is found by none.
        let null_key = null_in(&self.key, key)?;
        rights.retain(|(timed, _)| !timed.starts_with(NO_TIME) && !null_key);
        Ok((lefts, rights))
    }

    /// Emits the changed results of left rows, whichever side changed. Returns the increase in held rows.
    fn join_as_of(
        &self,
        group: &mut KeyRows,
        nearest: Nearest,
        (lefts, rights): TimedChanges,
        out: &mut JoinOutput,
    ) -> i64 {
        let mut again: BTreeSet<Vec<u8>> = BTreeSet::new();
        let times: BTreeSet<&[u8]> = rights.iter().map(|(timed, _)| time_of(timed)).collect();
        // A changed right time affects the left rows for which it is, or becomes, the nearest one.
        for time in times {
            again.extend(group.left.rows_within(group.right.affected_times(time, nearest)).cloned());
        }
        again.extend(lefts.iter().map(|(timed, _)| timed.clone()));
        // Results are compared before and after the changes of both sides are applied.
        let before: Vec<_> = again.iter().map(|timed| self.find_row(group, timed, nearest)).collect();
        let mut more = 0;
        for (timed, diff) in lefts {
            more += group.left.change_count(timed, diff);
        }
        for (timed, diff) in rights {
            more += group.right.change_count(timed, diff);
        }
        for (timed, before) in again.iter().zip(before) {
            let after = self.find_row(group, timed, nearest);
            if before != after {
                for (found, sign) in [(before, -1), (after, 1)] {
                    let Some((found, count)) = found else { continue };
                    out.rows.push_joined(row_of(timed), &found);
                    out.diffs.push(sign * count);
                }
            }
        }
        more
    }

    /// Returns the right row that a left row, with its time in front, finds, with the left row's multiplicity;
    /// None without output.
    fn find_row(&self, group: &KeyRows, timed: &[u8], nearest: Nearest) -> Option<(Vec<u8>, i64)> {
        let count = group.left.count_of(timed)?;
        let time = time_of(timed);
        let found = if time == NO_TIME { None } else { group.right.nearest_row(time, nearest) };
        match found {
            Some(found) => Some((found.to_vec(), count)),
            None if self.outer => Some((vec![0; self.nulls], count)),
            None => None,
        }
    }
}

/// Adds the rows of a key with their diffs.
fn add_changes(changes: &mut Vec<(Vec<u8>, i64)>, rows: &[ValueUpdate<'_, i64>]) {
    changes.extend(rows.iter().map(|row| (row.0.to_vec(), row.2)));
}

/// Adds their times, which are in a column, to the changed rows of one side of a key, and records the times
/// for expiry.
fn add_times(
    (codec, column): (&RowCodec, usize),
    rows: Vec<(Vec<u8>, i64)>,
    (side, key): (StateRole, &[u8]),
    mut due: Option<&mut JoinExpiry>,
) -> Result<Vec<(Vec<u8>, i64)>, RunError> {
    let mut timed = Vec::with_capacity(rows.len());
    for (row, diff) in rows {
        let time = packed_time(codec, &row, column)?;
        if let Some(due) = due.as_deref_mut() {
            due.note_time(side, time, key)?;
        }
        timed.push(([time, &row].concat(), diff));
    }
    Ok(timed)
}

/// Deletes rows of a key, with their times in front, from their state table, where they are durable; returns
/// the number of rows.
fn uncount_rows(
    collector: &mut Collector,
    (epoch, table_id): (u64, Option<u32>),
    key: &[u8],
    rows: Vec<(Vec<u8>, i64)>,
) -> u64 {
    let dropped = rows.len() as u64;
    let Some(table_id) = table_id else { return dropped };
    for (timed, count) in rows {
        let stored = [&stored_key(key), row_of(&timed)].concat();
        collector.at(epoch).add_count(table_id, &stored, -count);
    }
    dropped
}

fn row_counts(rows: &[(Vec<u8>, i64)]) -> impl Iterator<Item = (&Vec<u8>, &i64)> {
    rows.iter().map(|(row, count)| (row, count))
}
