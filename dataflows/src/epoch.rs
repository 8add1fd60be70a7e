//! The assembly of an epoch: what the sources and the workers report of it becomes one commit.
//!
//! The driver and the engine in process share it, so that what tests prove is what users run. An epoch is complete
//! once its head (offsets and counts of the sources) and a report of every worker are here ([`Pending`]); complete
//! epochs are assembled in order ([`Assembler`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use schemas::Outcome;
use state::{Commit, Counts, Progress, ViewProgress, Writes};

use crate::error::RunError;
use crate::plan::Plan;
use crate::render::collect::EpochOut;
use crate::retention::Sweep;
use crate::source::ingest::PartitionMark;
use crate::source::progress::{SourceHead, advance};
use crate::worker::Setup;

/// One worker's report of an epoch.
#[derive(Debug, Default)]
pub struct WorkerEpoch {
    /// Changes of the state and of the sinks, and counts.
    pub out: EpochOut,
    /// Marks of the partitions read by this worker, by source.
    pub marks: Vec<HashMap<i32, PartitionMark>>,
}

/// Epochs that are not complete yet: a head `H` and a report `R` of each worker are waited for.
#[derive(Debug)]
pub struct Pending<H, R> {
    workers: usize,
    epochs: BTreeMap<u64, (Option<H>, Vec<R>)>,
}

impl<H, R> Pending<H, R> {
    /// Of a topology with so many workers.
    pub fn new(workers: usize) -> Pending<H, R> {
        Pending { workers, epochs: BTreeMap::new() }
    }

    /// Adds the head of an epoch.
    pub fn head(&mut self, epoch: u64, head: H) {
        self.epochs.entry(epoch).or_default().0 = Some(head);
    }

    /// Adds a worker's report.
    pub fn report(&mut self, epoch: u64, report: R) {
        self.epochs.entry(epoch).or_default().1.push(report);
    }

    /// How many epochs wait.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Tells whether no epoch waits.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Takes the earliest epoch if it is complete.
    pub fn complete(&mut self) -> Option<(u64, H, Vec<R>)> {
        let mut entry = self.epochs.first_entry()?;
        let (head, reports) = entry.get_mut();
        let head = if reports.len() < self.workers { None } else { head.take() }?;
        let (epoch, (_, reports)) = entry.remove_entry();
        Some((epoch, head, reports))
    }
}

/// How a source got ahead in one epoch.
#[derive(Clone, Debug)]
pub struct SourceAdvance {
    /// Records of the epoch by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// The partition that holds the watermark, once every partition has one.
    pub held_by: Option<i32>,
}

/// A complete epoch.
#[derive(Debug, Default)]
pub struct Assembled {
    /// The commit, without dead letters and output.
    pub commit: Commit,
    /// How each source got ahead, in the plan's order; None for one that reported nothing.
    pub sources: Vec<Option<SourceAdvance>>,
    /// Rows touched by operator, all workers together.
    pub touched: BTreeMap<String, u64>,
    /// Rows touched by worker.
    pub touched_by_worker: Vec<u64>,
    /// Updates held by arrangement, all workers together.
    pub held: BTreeMap<String, u64>,
    /// By arrangement: updates of the key with most on one worker, and all.
    pub busiest: BTreeMap<String, (u64, u64)>,
}

/// Makes commits of complete epochs, one after the other.
pub struct Assembler {
    progress: Progress,
    sweep: Sweep,
}

impl Assembler {
    /// From the committed epoch of `setup` on.
    pub fn new(setup: &Setup) -> Assembler {
        Assembler { progress: (*setup.progress).clone(), sweep: Sweep::new(setup.spaces.retained()) }
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
        let (writes, counts) = self.sweep.next(&setup.store, &self.progress, written)?;
        let sources = self.advance_sources(&setup.plan, heads, &workers);
        self.advance_views(&setup.plan, epoch, commit_ms);
        let progress = self.progress.clone();
        let commit = Commit { epoch, commit_ms, progress, writes, counts, ..Commit::default() };
        let mut assembled = Assembled { commit, sources, ..Assembled::default() };
        workers.into_iter().for_each(|worker| assembled.add(worker.out));
        Ok(assembled)
    }

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
            let before = held.outcomes;
            let shares = workers.iter().map(|worker| (worker.out.outcomes.get(&at), worker.marks.get(at)));
            let held_by = advance(held, source, head, shares);
            let outcomes = std::array::from_fn(|outcome| held.outcomes[outcome] - before[outcome]);
            advances.push(Some(SourceAdvance { outcomes, held_by }));
        }
        advances
    }

    /// A view's watermark is the least of its sources', once each has one.
    fn advance_views(&mut self, plan: &Plan, epoch: u64, commit_ms: i64) {
        for view in &plan.views {
            let sources = plan.sources_of(view.rel).into_iter();
            let marks = sources.map(|at| self.progress.sources.get(&plan.sources[at].name)?.watermark_us);
            let watermark_us = marks.collect::<Option<Vec<_>>>().and_then(|marks| marks.into_iter().min());
            self.progress.views.insert(view.name.clone(), ViewProgress { epoch, commit_ms, watermark_us });
        }
    }
}

impl Assembled {
    fn add(&mut self, out: EpochOut) {
        let writes = out.writes.into_iter();
        self.commit.writes.extend(writes.map(|(space, (keys, values))| Writes { space, keys, values }));
        let counts = out.counts.into_iter();
        self.commit.counts.extend(counts.map(|(space, (rows, diffs))| Counts { space, rows, diffs }));
        self.touched_by_worker.push(out.touched.values().sum());
        for (operator, rows) in out.touched {
            *self.touched.entry(operator).or_default() += rows;
        }
        for (arrangement, updates) in out.held {
            *self.held.entry(arrangement).or_default() += updates;
        }
        for (arrangement, (most, all)) in out.busiest {
            let of = self.busiest.entry(arrangement).or_default();
            *of = (of.0.max(most), of.1 + all);
        }
    }
}

/// Makes a committed epoch visible to the operators that read the state: its watermarks first, then its number.
pub fn make_visible(setup: &Setup, epoch: u64, progress: &Progress) {
    show_watermarks(setup, progress);
    setup.committed.store(epoch, Ordering::Release);
}

/// Makes committed watermarks visible to the operators.
pub fn show_watermarks(setup: &Setup, progress: &Progress) {
    for (source, shown) in setup.plan.sources.iter().zip(&setup.watermarks) {
        if let Some(us) = progress.sources.get(&source.name).and_then(|held| held.watermark_us) {
            shown.store(us, Ordering::Release);
        }
    }
}
