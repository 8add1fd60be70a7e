//! The assembly of an epoch: one commit from the reports of the sources and of the workers.
//!
//! The driver and the engine in process share it, so that tests and users run the same code. An epoch is
//! complete once its head (offsets and counts of the sources) and a report of every worker have arrived
//! ([`Pending`]); complete epochs are assembled in order ([`Assembler`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use schemas::{Digest, OutcomeCounts};
use state::{Commit, Counts, Edited, Progress, ViewChanges, ViewProgress, Writes};

use super::fill::FillStep;
use super::retention::{Expired, Sweep};
use super::worker::Setup;
use crate::collect::EpochOut;
use crate::error::RunError;
use crate::plan::sources::is_second;
use crate::plan::{Plan, View};
use crate::source::erasure::{RowsTaken, paths_of, receipts};
use crate::source::progress::{SourceHead, advance};
use crate::source::watermark::PartitionMark;

/// One worker's report of an epoch.
#[derive(Debug, Default)]
pub struct WorkerEpoch {
    /// Changes of the state and of the sinks, and counts.
    pub out: EpochOut,
    /// Marks of the partitions read by this worker, by source.
    pub marks: Vec<HashMap<i32, PartitionMark>>,
}

/// Epochs that wait for a head `H` or for a report `R` of a worker.
#[derive(Debug)]
pub struct Pending<H, R> {
    workers: usize,
    epochs: BTreeMap<u64, (Option<H>, Vec<R>)>,
}

impl<H, R> Pending<H, R> {
    /// Makes an empty queue for a topology with `workers` workers.
    pub fn new(workers: usize) -> Pending<H, R> {
        Pending { workers, epochs: BTreeMap::new() }
    }

    /// Adds the head of an epoch.
    pub fn add_head(&mut self, epoch: u64, head: H) {
        self.epochs.entry(epoch).or_default().0 = Some(head);
    }

    /// Adds a worker's report.
    pub fn add_report(&mut self, epoch: u64, report: R) {
        self.epochs.entry(epoch).or_default().1.push(report);
    }

    /// Number of epochs that wait.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Tells whether no epoch waits.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Takes the earliest epoch if it is complete: commits are made in order.
    pub fn take_complete(&mut self) -> Option<(u64, H, Vec<R>)> {
        let mut entry = self.epochs.first_entry()?;
        let (head, reports) = entry.get_mut();
        // The head is left in place while reports are missing.
        let head = if reports.len() < self.workers { None } else { head.take() }?;
        let (epoch, (_, reports)) = entry.remove_entry();
        Some((epoch, head, reports))
    }
}

/// Advance of a source in one epoch.
#[derive(Clone, Debug)]
pub struct SourceAdvance {
    /// Records of the epoch by outcome, in the order of [`schemas::Outcome::ALL`].
    pub outcomes: OutcomeCounts,
    /// The partition with the least watermark, once every partition has one.
    pub held_by: Option<i32>,
}

/// A complete epoch.
#[derive(Debug, Default)]
pub struct Assembled {
    /// The commit, without dead letters and output.
    pub commit: Commit,
    /// Advance of each source, in the plan's order; None for one without a head.
    pub sources: Vec<Option<SourceAdvance>>,
    /// Rows touched by operator, all workers together.
    pub touched: BTreeMap<String, u64>,
    /// Totals that were looked up by operator: found in its cache, and read from the state.
    pub lookups: BTreeMap<String, [u64; 2]>,
    /// Rows touched by worker.
    pub touched_by_worker: Vec<u64>,
    /// Updates held by arrangement, all workers together.
    pub held: BTreeMap<String, u64>,
    /// By arrangement: updates of the key with the most on one worker, and of all keys.
    pub hottest: BTreeMap<String, (u64, u64)>,
    /// The persons that the epoch erases. Nothing of them may be kept.
    pub identities: BTreeMap<Digest, Vec<u8>>,
}

/// Assembles complete epochs into commits, one after the other.
pub struct Assembler {
    progress: Progress,
    sweep: Sweep,
    /// The catalogue of an edited topology, until the first epoch takes it.
    edited: Option<Edited>,
    /// Indices of the sources of each view, in the plan's order of views.
    view_sources: Vec<BTreeSet<usize>>,
    /// True once a filling has ended that this run went on with.
    is_filled: bool,
    /// The paths by which tables are filtered, until the first epoch has filtered what they hold.
    erase_paths: Option<BTreeMap<String, String>>,
}

impl Assembler {
    /// Makes an assembler that goes on from the committed epoch of `setup`.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn new(setup: &Setup) -> Result<Assembler, RunError> {
        let views = setup.plan.views.iter();
        let (wanted, held) = (paths_of(&setup.plan), setup.store.erase_paths()?);
        let erase_paths = (wanted != held).then_some(wanted);
        Ok(Assembler {
            progress: (*setup.progress).clone(),
            sweep: Sweep::new(&setup.state_tables)?,
            edited: setup.state_tables.edited(),
            view_sources: views.map(|view| setup.plan.sources_of(view.rel)).collect(),
            is_filled: false,
            erase_paths,
        })
    }

    /// Progress at the end of the last epoch assembled.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Gathers the commit of the next epoch and moves progress to its end.
    ///
    /// # Errors
    /// When the state cannot be read for rows past their retention.
    pub fn assemble(
        &mut self,
        setup: &Setup,
        (epoch, commit_ms): (u64, i64),
        heads: &[SourceHead],
        workers: Vec<WorkerEpoch>,
    ) -> Result<Assembled, RunError> {
        let written = workers.iter().map(|worker| worker.out.changes()).sum();
        // The sweep goes by the watermarks of the last epoch: rows it deletes are final in every epoch in
        // flight.
        let expired = self.sweep.expired_rows(&setup.store, &self.progress, written)?;
        let mut sources = self.advance_sources(&setup.plan, heads, &workers);
        self.advance_views(&setup.plan, epoch, commit_ms);
        let edited = self.advance_fill(setup, &workers)?;
        let mut progress = self.progress.clone();
        if self.is_filled {
            // The second reading of a source is the first from here on.
            progress.sources.retain(|name, _| !is_second(name));
            for (at, advance) in sources.iter_mut().enumerate() {
                advance.take_if(|_| setup.plan.first_reader(at).is_some());
            }
        }
        let Expired { writes, counts, changes } = expired;
        let commit =
            Commit { epoch, commit_ms, progress, writes, counts, changes, edited, ..Commit::default() };
        let mut assembled = Assembled { commit, sources, ..Assembled::default() };
        self.add_erasures(setup, &workers, &mut assembled);
        for worker in workers {
            assembled.add_worker(worker.out);
        }
        Ok(assembled)
    }

    /// Adds the receipts of the persons that the epoch erases, and the paths by which tables are filtered by now.
    fn add_erasures(&mut self, setup: &Setup, workers: &[WorkerEpoch], assembled: &mut Assembled) {
        let (mut orders, mut taken) = (Vec::new(), RowsTaken::new());
        // A row has one owner, so no two workers count the same.
        for worker in workers {
            orders.extend_from_slice(&worker.out.orders);
            for (of, rows) in &worker.out.rows_taken {
                let held = taken.entry(*of).or_default();
                held.rewritten += rows.rewritten;
                held.removed += rows.removed;
            }
        }
        let commit = &mut assembled.commit;
        commit.erasures = receipts(&setup.plan, (commit.epoch, commit.commit_ms), &orders, &taken);
        commit.erase_paths = self.erase_paths.take();
        assembled.identities = orders.into_iter().map(|order| (order.digest, order.identity)).collect();
    }

    /// Notes how far a filling is. Returns the change of the catalogue: by an edit, or by the end of its filling.
    fn advance_fill(&mut self, setup: &Setup, workers: &[WorkerEpoch]) -> Result<Option<Edited>, RunError> {
        let mut edited = self.edited.take();
        match workers.first().and_then(|worker| worker.out.fill) {
            None => {}
            Some(FillStep::Open(groups)) => self.progress.filled_groups = Some(groups),
            Some(FillStep::Finish) => {
                let Some(topology) = setup.store.catalogue()?.map(|held| held.topology) else {
                    return Err(RunError::Broken("a filling ends that was never begun".into()));
                };
                self.progress.filled_groups = None;
                self.is_filled = true;
                edited = Some(setup.state_tables.finished(&topology));
            }
        }
        Ok(edited)
    }

    /// Moves each source's progress to the end of the epoch.
    fn advance_sources(
        &mut self,
        plan: &Plan,
        heads: &[SourceHead],
        workers: &[WorkerEpoch],
    ) -> Vec<Option<SourceAdvance>> {
        let mut advances = Vec::with_capacity(plan.sources.len());
        for (at, source) in plan.sources.iter().enumerate() {
            let held = self.progress.sources.entry(source.name.clone()).or_default();
            let Some(head) = heads.get(at) else {
                advances.push(None);
                continue;
            };
            // Progress counts since the state began: the epoch's share is the difference.
            let before = held.outcomes;
            let shares = workers.iter().map(|worker| (worker.out.outcomes.get(&at), worker.marks.get(at)));
            let held_by = advance(held, source, head, shares);
            let outcomes = std::array::from_fn(|outcome| held.outcomes[outcome] - before[outcome]);
            advances.push(Some(SourceAdvance { outcomes, held_by }));
        }
        advances
    }

    /// Sets each view's epoch, time, watermark (the least of its sources' watermarks, once each has one) and
    /// end of final windows.
    fn advance_views(&mut self, plan: &Plan, epoch: u64, commit_ms: i64) {
        for (view, sources) in plan.views.iter().zip(&self.view_sources) {
            let watermark_us = view_watermark(&self.progress, plan, sources);
            let final_us = final_end(&self.progress, plan, view);
            let advanced = ViewProgress { epoch, commit_ms, watermark_us, final_us };
            match self.progress.views.get_mut(&view.name) {
                Some(held) => *held = advanced,
                None => {
                    self.progress.views.insert(view.name.clone(), advanced);
                }
            }
        }
    }
}

/// The watermark of a source, where it has one.
pub(super) fn source_watermark(progress: &Progress, source: &str) -> Option<i64> {
    progress.sources.get(source)?.watermark_us
}

/// The watermark of a view of `sources`: their least; None while one of them has none, and without sources.
fn view_watermark(progress: &Progress, plan: &Plan, sources: &BTreeSet<usize>) -> Option<i64> {
    let mut least: Option<i64> = None;
    for at in sources {
        let watermark_us = source_watermark(progress, &plan.sources[*at].name)?;
        least = Some(least.map_or(watermark_us, |least| least.min(watermark_us)));
    }
    least
}

/// The latest end of windows of a view that are final; None while a source that it waits for has no
/// watermark, and for a view whose rows are never final.
fn final_end(progress: &Progress, plan: &Plan, view: &View) -> Option<i64> {
    let mut least: Option<i64> = None;
    for (source, lag) in view.final_marks.as_ref()? {
        let end = source_watermark(progress, &plan.sources[*source].name)?.saturating_sub(*lag);
        least = Some(least.map_or(end, |least| least.min(end)));
    }
    least
}

impl Assembled {
    /// Adds one worker's changes and counts.
    fn add_worker(&mut self, out: EpochOut) {
        for (table_id, (keys, values)) in out.writes {
            self.commit.writes.push(Writes { table_id, keys, values });
        }
        for (table_id, (rows, diffs)) in out.counts {
            self.commit.counts.push(Counts { table_id, rows, diffs });
        }
        // A row has one owner, so the workers' changes together are consolidated as each worker's are.
        for (view, changes) in out.changes {
            self.commit.changes.push(ViewChanges { view, changes });
        }
        self.touched_by_worker.push(out.touched.values().sum());
        for (operator, rows) in out.touched {
            *self.touched.entry(operator).or_default() += rows;
        }
        for (operator, lookups) in out.lookups {
            let held = self.lookups.entry(operator).or_default();
            *held = [held[0] + lookups[0], held[1] + lookups[1]];
        }
        for (arrangement, updates) in out.held {
            *self.held.entry(arrangement).or_default() += updates;
        }
        for (arrangement, (most, all)) in out.hottest {
            let total = self.hottest.entry(arrangement).or_default();
            *total = (total.0.max(most), total.1 + all);
        }
    }
}

/// Makes a committed epoch visible to the operators that read the state: its watermarks first, then its
/// number.
pub fn make_visible(setup: &Setup, epoch: u64, progress: &Progress) {
    for (source, shown) in setup.plan.sources.iter().zip(&setup.watermarks) {
        if let Some(us) = source_watermark(progress, &source.name) {
            shown.store(us, Ordering::Release);
        }
    }
    setup.committed.store(epoch, Ordering::Release);
}
