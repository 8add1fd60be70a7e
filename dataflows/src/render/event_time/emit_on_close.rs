//! EMIT ON WINDOW CLOSE: rows wait until they are final, and then come out once.
//!
//! Rows that are not final are kept by their time at the worker their bytes hash to, and counted in
//! the state under the same epoch. When the horizon passes a time at the end of an epoch, its rows
//! come out in that epoch and leave the state with the same commit. Rows without a time are never
//! final and never come out. A change of a final row breaks the plan's promise and stops the worker
//! before the commit.

use std::collections::BTreeMap;

use schemas::{RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, Concat, Input};

use super::watermark::{Levels, Reach, time_in};
use crate::arrange::updates::{Outgoing, Updates, by_key};
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Horizon, RelId};
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::{Shared, stored_key};
use crate::render::linear::{Deltas, to_updates};
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// The rows of `input` that are final by `horizon`.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(in crate::render) fn close(
        &mut self,
        id: RelId,
        input: RelId,
        horizon: &Horizon,
    ) -> Result<Deltas<'s>, RunError> {
        let (shape, space) = (self.shapes[input].clone(), self.spaces.part(id, Part::Waiting)?);
        let stream = self.input(true, self.streams[input].clone());
        let mut rows = whole(stream, shape.clone(), self.collector.clone());
        if self.start.restored() {
            let (handle, restored) = self.scope.new_input();
            rows = rows.concat(restored);
            self.restores.push(Restore::Rows { space, key: shape.codec.clone(), handle });
        }
        let close = Close {
            column: horizon.column,
            codec: shape.codec,
            space,
            after: self.start.epoch,
            name: self.named(id, "waiting"),
            collector: self.collector.clone(),
        };
        Ok(run(rows, self.levels()?, Waiting::new(horizon), close))
    }
}

/// Rows as keys of counts.
fn whole<'s>(stream: Deltas<'s>, shape: Shape, collector: Shared) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "CloseRows", collector, move |epoch, peers, mut batch| {
        let diffs = std::mem::take(&mut batch.diffs);
        let mut outgoing = Outgoing::new(epoch, peers);
        for (row, diff) in shape.packed(batch)?.iter().zip(diffs) {
            outgoing.key(row);
            outgoing.value(&[], diff);
        }
        Ok(outgoing)
    })
}

/// What the operator needs.
struct Close {
    column: usize,
    codec: RowCodec,
    space: u32,
    /// What came at or before this epoch is in the state already.
    after: u64,
    name: String,
    collector: Shared,
}

/// Rows that are not final, by time, and how often each is there.
struct Waiting {
    rows: BTreeMap<i64, BTreeMap<Vec<u8>, i64>>,
    held: u64,
    reach: Reach,
}

/// What came for an epoch.
struct Arrived {
    /// To emit at it.
    capability: Capability<u64>,
    rows: Vec<Updates<i64>>,
    levels: Vec<(usize, i64)>,
}

impl Arrived {
    fn new(capability: Capability<u64>) -> Arrived {
        Arrived { capability, rows: vec![], levels: vec![] }
    }
}

fn run<'s>(
    rows: Stream<'s, u64, Vec<Updates<i64>>>,
    levels: Levels<'s>,
    mut waiting: Waiting,
    close: Close,
) -> Deltas<'s> {
    let exchange = Exchange::new(|updates: &Updates<i64>| updates.owner);
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        levels,
        exchange,
        Pipeline,
        "Close",
        move |_, _| {
            let mut epochs: BTreeMap<u64, Arrived> = BTreeMap::new();
            move |(rows, rows_frontier), (levels, levels_frontier), output| {
                rows.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| Arrived::new(time.retain(0))).rows.append(updates);
                });
                levels.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| Arrived::new(time.retain(0))).levels.append(moved);
                });
                while let Some(entry) = epochs.first_entry() {
                    if rows_frontier.less_equal(entry.key()) || levels_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, arrived) = entry.remove_entry();
                    let Arrived { capability, rows, levels } = arrived;
                    match close.epoch(epoch, &mut waiting, (rows, levels)) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => output.session(&capability).give(batch),
                        Err(error) => close.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

impl Waiting {
    fn new(horizon: &Horizon) -> Waiting {
        Waiting { rows: BTreeMap::new(), held: 0, reach: Reach::new(horizon) }
    }

    /// Adds `diff` of a row.
    fn add(&mut self, time: i64, row: &[u8], diff: i64) {
        let rows = self.rows.entry(time).or_default();
        let total = rows.get(row).copied().unwrap_or(0) + diff;
        if total == 0 {
            rows.remove(row);
            self.held -= 1;
        } else if rows.insert(row.to_vec(), total).is_none() {
            self.held += 1;
        }
        if rows.is_empty() {
            self.rows.remove(&time);
        }
    }

    /// Takes out the rows below the horizon.
    fn final_rows(&mut self) -> Vec<(Vec<u8>, i64)> {
        let Some(horizon) = self.reach.now() else { return vec![] };
        let later = self.rows.split_off(&horizon);
        let done = std::mem::replace(&mut self.rows, later);
        let rows: Vec<_> = done.into_values().flatten().collect();
        self.held -= rows.len() as u64;
        rows
    }
}

impl Close {
    /// Works through one epoch; gives the rows that are final at its end.
    fn epoch(
        &self,
        epoch: u64,
        waiting: &mut Waiting,
        (mut rows, levels): (Vec<Updates<i64>>, Vec<(usize, i64)>),
    ) -> Result<DeltaBatch, RunError> {
        let mut collector = self.collector.borrow_mut();
        let passed = waiting.reach.now();
        let mut failed = None;
        by_key(&mut rows, |row, entries| match time_in(&self.codec, row, self.column) {
            Ok(None) => {}
            Ok(Some(time)) if passed.is_some_and(|passed| time < passed) => {
                failed = Some(RunError::Broken(format!("{}: a row changed that was final", self.name)));
            }
            Ok(Some(time)) => {
                waiting.add(time, row, entries[0].2);
                if epoch > self.after {
                    collector.at(epoch).count(self.space, &stored_key(row), entries[0].2);
                }
            }
            Err(error) => failed = Some(error),
        });
        levels.into_iter().for_each(|level| waiting.reach.raise(level));
        let (mut done, mut diffs) = (Rows::new(), Vec::new());
        for (row, count) in waiting.final_rows() {
            if count < 0 {
                failed = Some(RunError::Broken(format!("{}: a row is final that never came", self.name)));
            }
            collector.at(epoch).count(self.space, &stored_key(&row), -count);
            done.push(&row);
            diffs.push(count);
        }
        collector.held(&self.name, waiting.held);
        match failed {
            Some(error) => Err(error),
            None => Ok(DeltaBatch { data: Data::Packed(done), diffs }),
        }
    }
}
