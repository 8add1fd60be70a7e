//! Gates: the ways on which rows that the state holds come into additions of an edit, a range of key groups at a time.
//!
//! A gate stands between a relation that emits its content at every start and a new operator or view. A group is the
//! key group of the whole packed row, and the groups are opened in their order. At every epoch the gate has let
//! through exactly the rows of the relation whose groups are open at that epoch: rows of closed groups are held, with
//! all their later changes, until an epoch opens their group. So an operator behind a gate sees a part of its input,
//! which only grows by whole groups, and the whole input in the end.
//!
//! The number of open groups is committed with each epoch. A start at the committed epoch t drops the rows at or before
//! t in open groups, which are behind the gate already, and holds the rest: a filling that was killed goes on where it
//! was. Held rows are in memory, packed; they are bounded by the content of the relation, as the rows that a start
//! derives are.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::memory::{HeapBytes, vector_bytes};
use schemas::{MemoryPart, MemoryShare, Rows, key_group};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::collect::Shared;
use crate::error::RunError;
use crate::render::batch::{DeltaBatch, RelationType};
use crate::render::linear::Deltas;
use crate::render::operators::Output;
use crate::runtime::fill::{ALL_GROUPS, WaitingRows};

/// Most rows of a message.
const ROWS_PER_BATCH: usize = 4096;
/// Changes that are added to a group before it is consolidated for the first time.
const UNSETTLED: usize = 32;

/// Lets the rows of a relation through by their groups. `start` is the committed epoch; rows that the gate begins to
/// hold are counted in `waiting`.
pub(in crate::render) fn gate<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    (start, waiting): (u64, Arc<WaitingRows>),
    collector: Shared,
) -> Deltas<'s> {
    stream.unary_frontier::<CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _>(
        Pipeline,
        "Gate",
        move |capability, _| {
            let mut operator = GateOperator::new(capability, shape, start, collector);
            move |(input, frontier), output| {
                input.for_each(|time, batches| operator.take(*time.time(), batches));
                let complete = frontier.frontier().first().copied();
                operator.run_until(complete, &waiting, output);
            }
        },
    )
}

/// A gate as an operator: input by epoch, and the capability to release rows at epochs without input.
struct GateOperator {
    /// Capability of the first epoch that is not complete; None once the input has ended.
    capability: Option<Capability<u64>>,
    /// Input of the epochs that are not complete.
    open: BTreeMap<u64, Vec<DeltaBatch>>,
    /// The next epoch.
    next: u64,
    start: u64,
    shape: RelationType,
    gate: Gate,
    collector: Shared,
    memory: MemoryShare,
}

impl GateOperator {
    fn new(capability: Capability<u64>, shape: RelationType, start: u64, collector: Shared) -> GateOperator {
        let gate = Gate::new(collector.borrow().open_groups(start));
        GateOperator {
            capability: Some(capability),
            open: BTreeMap::new(),
            next: start,
            start,
            shape,
            gate,
            collector,
            memory: MemoryShare::default(),
        }
    }

    fn take(&mut self, epoch: u64, batches: &mut Vec<DeltaBatch>) {
        // A start gives all rows at its epoch or before it.
        self.open.entry(epoch.max(self.start)).or_default().append(batches);
    }

    /// Processes the epochs before `complete`; all of them if it is None, for an input that has ended.
    fn run_until(
        &mut self,
        complete: Option<u64>,
        waiting: &WaitingRows,
        output: &mut Output<'_, u64, DeltaBatch>,
    ) {
        let Some(complete) = complete else {
            // The worker ends: epochs that are not complete are never committed.
            self.capability = None;
            return;
        };
        while self.next < complete {
            let epoch = self.next;
            let batches = self.open.remove(&epoch).unwrap_or_default();
            let passed = match epoch > self.start {
                true => self.pass(epoch, batches),
                false => self.hold(batches, waiting).map(|()| Vec::new()),
            };
            match passed {
                Ok(passed) => self.emit(epoch, passed, output),
                Err(error) => self.collector.borrow_mut().fail(error),
            }
            self.next = epoch + 1;
            // Kept without input: the next epoch may release rows.
            if let Some(capability) = &mut self.capability {
                capability.downgrade(&self.next);
            }
            self.memory.set(MemoryPart::Waiting, self.gate.heap_bytes());
        }
    }

    /// Holds the content at the committed epoch.
    fn hold(&mut self, batches: Vec<DeltaBatch>, waiting: &WaitingRows) -> Result<(), RunError> {
        for batch in batches {
            let packed = PackedDeltas::of(&self.shape, batch)?;
            self.gate.hold(&packed);
        }
        self.gate.count(waiting);
        Ok(())
    }

    /// The rows that an epoch releases, and its changes that pass.
    fn pass(&mut self, epoch: u64, batches: Vec<DeltaBatch>) -> Result<Vec<DeltaBatch>, RunError> {
        let mut passed = PackedDeltas::default();
        // Noted by this worker before it moved its inputs, and so before the epoch could be complete.
        let open = self.collector.borrow().open_groups(epoch);
        self.gate.open(open, &mut passed);
        if self.gate.open >= ALL_GROUPS {
            // Nothing is held any more.
            return Ok(passed.into_batches().into_iter().chain(batches).collect());
        }
        for batch in batches {
            self.gate.pass(&PackedDeltas::of(&self.shape, batch)?, &mut passed);
        }
        Ok(passed.into_batches())
    }

    fn emit(&self, epoch: u64, passed: Vec<DeltaBatch>, output: &mut Output<'_, u64, DeltaBatch>) {
        let Some(capability) = &self.capability else { return };
        if passed.is_empty() {
            return;
        }
        let time = capability.delayed(&epoch);
        let mut session = output.session(&time);
        for batch in passed {
            session.give(batch);
        }
    }
}

/// Packed rows with their diffs.
#[derive(Clone, Debug, Default, PartialEq)]
struct PackedDeltas {
    rows: Rows,
    diffs: Vec<i64>,
}

impl PackedDeltas {
    /// The rows of a batch.
    fn of(shape: &RelationType, mut batch: DeltaBatch) -> Result<PackedDeltas, RunError> {
        let diffs = std::mem::take(&mut batch.diffs);
        Ok(PackedDeltas { rows: shape.pack_rows(batch)?, diffs })
    }

    fn push(&mut self, row: &[u8], diff: i64) {
        self.rows.push(row);
        self.diffs.push(diff);
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.rows.iter().zip(self.diffs.iter().copied())
    }

    /// Sums up the diffs of equal rows, and leaves out those that have none.
    fn consolidate(&mut self) {
        // Sorted by references: the rows themselves are copied once.
        let mut sums: Vec<(&[u8], i64)> = self.iter().collect();
        sums.sort_unstable();
        sums.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 += later.1;
            }
            same
        });
        let mut settled = PackedDeltas::default();
        for (row, diff) in sums.into_iter().filter(|(_, diff)| *diff != 0) {
            settled.push(row, diff);
        }
        *self = settled;
    }

    fn into_batches(self) -> Vec<DeltaBatch> {
        let (mut batches, mut part) = (Vec::new(), PackedDeltas::default());
        for (row, diff) in self.iter() {
            part.push(row, diff);
            if part.diffs.len() == ROWS_PER_BATCH {
                let PackedDeltas { rows, diffs } = std::mem::take(&mut part);
                batches.push(DeltaBatch::from_packed(rows, diffs));
            }
        }
        if !part.diffs.is_empty() {
            batches.push(DeltaBatch::from_packed(part.rows, part.diffs));
        }
        batches
    }
}

/// The held changes of a group.
#[derive(Debug, Default)]
struct HeldGroup {
    deltas: PackedDeltas,
    /// Number of them after the last consolidation.
    settled: usize,
}

impl HeldGroup {
    /// Adds a change. Changes that undo each other take no more than twice the memory of the rest.
    fn add(&mut self, row: &[u8], diff: i64) {
        self.deltas.push(row, diff);
        if self.deltas.diffs.len() > 2 * self.settled + UNSETTLED {
            self.deltas.consolidate();
            self.settled = self.deltas.diffs.len();
        }
    }
}

/// The groups that are open, and the rows of the others.
#[derive(Debug, Default)]
struct Gate {
    /// Number of groups that are open, from the first on.
    open: u16,
    held: BTreeMap<u16, HeldGroup>,
}

impl Gate {
    fn new(open: u16) -> Gate {
        Gate { open, held: BTreeMap::new() }
    }

    /// Holds rows that came before the start; those of open groups have passed in an earlier run.
    fn hold(&mut self, deltas: &PackedDeltas) {
        for (row, diff) in deltas.iter() {
            let group = key_group(row);
            // Rows of open groups are in the state of the operators behind the gate.
            if group >= self.open {
                self.held.entry(group).or_default().add(row, diff);
            }
        }
    }

    /// Counts the rows that are held.
    fn count(&self, waiting: &WaitingRows) {
        for (group, held) in &self.held {
            waiting.add(*group, held.deltas.diffs.len() as u64);
        }
    }

    /// Opens the groups below `open` and releases their rows.
    fn open(&mut self, open: u16, passed: &mut PackedDeltas) {
        // A group that was open stays so: its rows have passed.
        self.open = self.open.max(open);
        let closed = self.held.split_off(&self.open);
        for (_, mut group) in std::mem::replace(&mut self.held, closed) {
            group.deltas.consolidate();
            for (row, diff) in group.deltas.iter() {
                passed.push(row, diff);
            }
        }
    }

    /// Lets changes of open groups through, and holds the others.
    fn pass(&mut self, deltas: &PackedDeltas, passed: &mut PackedDeltas) {
        for (row, diff) in deltas.iter() {
            let group = key_group(row);
            if group < self.open {
                passed.push(row, diff);
            } else {
                self.held.entry(group).or_default().add(row, diff);
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let held = self.held.values();
        held.map(|group| group.deltas.rows.heap_bytes() + vector_bytes(&group.deltas.diffs)).sum()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn deltas(of: &[(u8, i64)]) -> PackedDeltas {
        let mut deltas = PackedDeltas::default();
        for (row, diff) in of {
            deltas.push(&[*row], *diff);
        }
        deltas
    }

    fn sum(all: &mut PackedDeltas, more: &PackedDeltas) {
        for (row, diff) in more.iter() {
            all.push(row, diff);
        }
        all.consolidate();
    }

    /// The rows of a relation whose groups are open.
    fn within(of: &PackedDeltas, open: u16) -> PackedDeltas {
        let mut part = PackedDeltas::default();
        for (row, diff) in of.iter().filter(|(row, _)| key_group(row) < open) {
            part.push(row, diff);
        }
        part
    }

    /// At every epoch the sum of all that passed is the relation within the open groups, over restarts that give the
    /// gate the relation's content again; in the end it is all of it.
    #[test]
    fn what_has_passed_is_the_relation_within_the_open_groups() {
        for seed in 0..200 {
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            let (mut relation, mut passed) = (PackedDeltas::default(), PackedDeltas::default());
            let (mut open, mut gate) = (0, Gate::new(0));
            for _ in 0..draw.random_range(1..12) {
                if draw.random_bool(0.3) {
                    gate = Gate::new(open);
                    gate.hold(&relation);
                }
                let mut changes = PackedDeltas::default();
                for _ in 0..draw.random_range(0..40) {
                    changes.push(&[draw.random_range(0..60)], draw.random_range(-2..3));
                }
                sum(&mut relation, &changes);
                open = ALL_GROUPS.min(open + draw.random_range(0..1500));
                let mut now = PackedDeltas::default();
                gate.open(open, &mut now);
                gate.pass(&changes, &mut now);
                sum(&mut passed, &now);
                assert_eq!(passed, within(&relation, open), "seed {seed}");
            }
            let mut rest = PackedDeltas::default();
            gate.open(ALL_GROUPS, &mut rest);
            sum(&mut passed, &rest);
            assert_eq!(passed, relation, "seed {seed}");
            assert!(gate.held.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn held_changes_that_undo_each_other_take_no_memory() {
        let mut gate = Gate::new(0);
        for _ in 0..10_000 {
            gate.pass(&deltas(&[(7, 1), (7, -1)]), &mut PackedDeltas::default());
        }
        let held = gate.held.values().map(|group| group.deltas.diffs.len()).max().unwrap_or(0);
        assert!(held <= UNSETTLED + 2, "{held}");
    }

    #[test]
    fn rows_that_wait_are_counted_by_group() {
        let (mut gate, waiting) = (Gate::new(0), WaitingRows::default());
        gate.hold(&deltas(&[(1, 1), (2, 1), (3, 1)]));
        gate.count(&waiting);
        let counted: u64 = (0..ALL_GROUPS).map(|group| waiting.of(group)).sum();
        assert_eq!(counted, 3);
        assert_eq!(gate.heap_bytes() > 0, counted > 0);
    }

    #[test]
    fn many_rows_are_several_messages() {
        let mut many = PackedDeltas::default();
        for row in 0..10_000_u32 {
            many.push(&row.to_be_bytes(), 1);
        }
        let sizes: Vec<usize> = many.into_batches().iter().map(DeltaBatch::len).collect();
        assert_eq!(sizes, [4096, 4096, 1808]);
    }
}
