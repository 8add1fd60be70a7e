//! The filling of an edit's additions, piece by piece: which parts are behind gates, and how many key groups each epoch
//! opens.
//!
//! | epoch | content |
//! | --- | --- |
//! | the first after the edit | the catalogue, with marks of parts that are being filled, and all that is filled at once |
//! | that and later ones | records of sources, and the rows of more key groups at every gate |
//! | the last | the catalogue without marks, and the output of sinks; no records |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fail::fail_point;
use schemas::KEY_GROUPS;
use state::{CatalogueEntry, Progress};

use super::{SentBefore, SinkFill};
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Plan, RelId};
use crate::runtime::state_tables::StateTables;

/// Rows that one epoch lets through all gates of all workers together, about: at least one key group. A piece of that
/// size takes as long as an epoch of records at full load, so that records do not wait longer than they do under load.
pub const PIECE_ROWS: u64 = 50_000;

/// The number of open key groups at which everything is filled.
pub const ALL_GROUPS: u16 = KEY_GROUPS as u16;

/// Step of a filling that an epoch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillStep {
    /// The first so many key groups are open at every gate.
    Open(u16),
    /// Everything is filled: its views are served from this epoch on, in which their sinks send.
    Finish,
}

/// Parts of a topology that are filled piece by piece.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Operators and those of their inputs that pass a gate.
    inputs: BTreeSet<(RelId, RelId)>,
    /// Tables of views whose rows pass a gate.
    gated_views: BTreeSet<u32>,
    /// Tables of views that are not whole yet.
    pub views: BTreeSet<u32>,
    /// Sinks that send nothing until all is filled, with their work then.
    pub sinks: BTreeMap<usize, SinkFill>,
    /// True while sources are read a second time: the filling ends once those are where the first readings are.
    pub reads_again: bool,
    /// Rows that wait at the gates.
    pub waiting: Arc<WaitingRows>,
}

impl Pieces {
    /// The parts whose catalogue entries say that they are being filled; None if there are none.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn of(plan: &Plan, tables: &StateTables) -> Result<Option<Pieces>, RunError> {
        let mut pieces = Pieces::default();
        for (rel, role, entry) in tables.roles() {
            if is_gated(entry) {
                let inputs = plan.rels[rel].op.inputs();
                let input = if role == StateRole::Right { inputs.get(1) } else { inputs.first() };
                pieces.inputs.extend(input.map(|input| (rel, *input)));
            }
        }
        for entry in tables.entries().iter().filter(|entry| tables.views.contains(&entry.id)) {
            if entry.facts.filling.is_some() {
                pieces.views.insert(entry.id);
            }
            if is_gated(entry) {
                pieces.gated_views.insert(entry.id);
            }
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            let table_id = tables.sink(&sink.name);
            let mut entries = tables.entries().iter().filter(|entry| Some(entry.id) == table_id);
            let Some(facts) = entries.find_map(|entry| entry.facts.filling.as_ref()) else { continue };
            let mut views = plan.views.iter().zip(&tables.views);
            let Some((view, now)) =
                views.find(|(view, id)| view.rel == sink.rel && pieces.views.contains(id))
            else {
                return Err(RunError::Broken(format!("sink {} waits for no view", sink.name)));
            };
            let before = match &facts.before {
                Some(before) => Some(sent_before(&tables.leaving, before)?),
                None => None,
            };
            pieces.sinks.insert(at, SinkFill { now: Some((*now, view.key.is_some())), before });
        }
        pieces.reads_again = plan.again.is_some();
        let none = pieces.inputs.is_empty() && pieces.views.is_empty() && pieces.sinks.is_empty();
        let none = none && !pieces.reads_again;
        Ok((!none).then_some(pieces))
    }

    /// Returns true if an input of an operator passes a gate.
    pub fn gates_input(&self, rel: RelId, input: RelId) -> bool {
        self.inputs.contains(&(rel, input))
    }

    /// Returns true if operators get rows through gates, beside views.
    pub fn fills_operators(&self) -> bool {
        !self.inputs.is_empty()
    }

    /// Returns true if the rows of a view pass a gate.
    pub fn gates_view(&self, table_id: u32) -> bool {
        self.gated_views.contains(&table_id)
    }
}

fn is_gated(entry: &CatalogueEntry) -> bool {
    entry.facts.filling.as_ref().is_some_and(|facts| facts.gated)
}

/// The rows that a sink sent before, in a view that is leaving.
fn sent_before(leaving: &[CatalogueEntry], before: &state::RowsBefore) -> Result<SentBefore, RunError> {
    let entry = leaving.iter().find(|entry| entry.id == before.table_id);
    let Some((entry, json)) = entry.and_then(|entry| Some((entry, entry.schema.as_ref()?))) else {
        return Err(RunError::Damaged("a view that a sink has sent is not in the state".into()));
    };
    let schema = Arc::new(schemas::schema_from_json(json)?);
    Ok(SentBefore { table_id: entry.id, schema, keyed: entry.key.is_some(), key: before.key.clone() })
}

/// Rows that waited at gates when the workers had started, by key group.
#[derive(Debug)]
pub struct WaitingRows {
    groups: Box<[AtomicU64]>,
    /// Workers that have counted theirs.
    workers: AtomicUsize,
}

impl Default for WaitingRows {
    fn default() -> WaitingRows {
        let mut groups = Vec::with_capacity(KEY_GROUPS);
        groups.resize_with(KEY_GROUPS, AtomicU64::default);
        WaitingRows { groups: groups.into(), workers: AtomicUsize::new(0) }
    }
}

impl WaitingRows {
    /// Adds rows of a group.
    pub fn add(&self, group: u16, rows: u64) {
        if let Some(counted) = self.groups.get(usize::from(group)) {
            counted.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Notes that a worker has counted its rows.
    pub fn worker_counted(&self) {
        self.workers.fetch_add(1, Ordering::Release);
    }

    /// Rows of a group.
    pub fn of(&self, group: u16) -> u64 {
        self.groups.get(usize::from(group)).map_or(0, |rows| rows.load(Ordering::Relaxed))
    }

    /// Returns true once so many workers have counted theirs.
    fn is_counted(&self, workers: usize) -> bool {
        self.workers.load(Ordering::Acquire) >= workers
    }
}

/// Decides how many key groups each epoch opens.
#[derive(Debug)]
pub struct Pacer {
    waiting: Arc<WaitingRows>,
    workers: usize,
    /// Rows of a piece.
    rows: u64,
    open: u16,
    /// True while sources are read a second time.
    is_reading: bool,
    is_finished: bool,
}

impl Pacer {
    /// The pacer of a filling that the committed `progress` has brought so far; None without one.
    pub fn new(tables: &StateTables, progress: &Progress, workers: usize, rows: u64) -> Option<Pacer> {
        let pieces = tables.pieces.as_ref()?;
        let open = progress.filled_groups.unwrap_or(0);
        Some(Pacer {
            waiting: pieces.waiting.clone(),
            workers,
            rows: piece_rows(rows),
            open,
            is_reading: pieces.reads_again,
            is_finished: false,
        })
    }

    /// Notes that the second reading of all sources is where the first is. No record may come before the next epoch,
    /// which is the last.
    pub fn end_reading(&mut self) {
        self.is_reading = false;
    }

    /// Returns true if the next epoch is the last, which has no records.
    pub fn is_last_next(&self) -> bool {
        self.open >= ALL_GROUPS && !self.is_reading && !self.is_finished
    }

    /// Returns true once all gates are open, and the second reading of sources alone is left.
    pub fn is_open(&self) -> bool {
        self.open >= ALL_GROUPS
    }

    /// Returns true if an epoch can go on with the filling; it cannot before all workers have started.
    pub fn is_due(&self) -> bool {
        self.is_last_next() || (!self.is_open() && self.waiting.is_counted(self.workers))
    }

    /// Returns true once the last epoch is closed.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The step of the next epoch, which is closed now; None once all is done.
    pub fn next_step(&mut self) -> Option<FillStep> {
        if self.is_finished {
            return None;
        }
        if self.is_last_next() {
            self.is_finished = true;
            return Some(FillStep::Finish);
        }
        if self.waiting.is_counted(self.workers) {
            self.open_more();
        }
        Some(FillStep::Open(self.open))
    }

    /// Opens groups whose rows make a piece: one at least, and those without rows that follow.
    fn open_more(&mut self) {
        let mut rows = 0_u64;
        while self.open < ALL_GROUPS {
            let more = self.waiting.of(self.open);
            if rows > 0 && rows.saturating_add(more) > self.rows {
                return;
            }
            rows = rows.saturating_add(more);
            self.open += 1;
        }
    }
}

/// Rows of a piece; tests make it small.
fn piece_rows(rows: u64) -> u64 {
    fail_point!("edition.pieces", |told| told.and_then(|told| told.parse().ok()).unwrap_or(rows));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(rows_of: &[(u16, u64)], rows: u64, open: u16) -> Pacer {
        let waiting = Arc::new(WaitingRows::default());
        for (group, rows) in rows_of {
            waiting.add(*group, *rows);
        }
        Pacer { waiting, workers: 2, rows, open, is_reading: false, is_finished: false }
    }

    fn steps(pacer: &mut Pacer) -> Vec<FillStep> {
        std::iter::from_fn(|| pacer.next_step()).collect()
    }

    #[test]
    fn pieces_are_bounded_in_rows_and_begin_when_all_have_started() {
        let mut pacer = pacer(&[(0, 3), (1, 3), (7, 50), (8, 1), (4000, 2)], 6, 0);
        pacer.waiting.worker_counted();
        assert!(!pacer.is_due());
        assert_eq!(pacer.next_step(), Some(FillStep::Open(0)));
        pacer.waiting.worker_counted();
        assert!(pacer.is_due());
        let all = [FillStep::Open(7), FillStep::Open(8), FillStep::Open(ALL_GROUPS), FillStep::Finish];
        assert_eq!(steps(&mut pacer), all);
        assert!(pacer.is_finished() && !pacer.is_due());
    }

    #[test]
    fn a_filling_does_not_end_before_the_second_reading() {
        let mut pacer = pacer(&[(9, 1)], 6, 0);
        (0..2).for_each(|_| pacer.waiting.worker_counted());
        pacer.is_reading = true;
        let steps: Vec<_> = (0..3).map(|_| pacer.next_step()).collect();
        assert_eq!(steps, [Some(FillStep::Open(ALL_GROUPS)); 3]);
        assert!(!pacer.is_due() && !pacer.is_last_next());
        pacer.end_reading();
        assert!(pacer.is_due());
        assert_eq!(pacer.next_step(), Some(FillStep::Finish));
        assert_eq!(pacer.next_step(), None);
    }

    #[test]
    fn a_filling_goes_on_where_it_was() {
        let mut resumed = pacer(&[(9, 1)], 6, ALL_GROUPS);
        assert!(resumed.is_last_next());
        assert_eq!(steps(&mut resumed), [FillStep::Finish]);
        let mut resumed = pacer(&[(9, 1)], 6, 9);
        resumed.waiting.worker_counted();
        resumed.waiting.worker_counted();
        assert_eq!(steps(&mut resumed), [FillStep::Open(ALL_GROUPS), FillStep::Finish]);
    }
}
