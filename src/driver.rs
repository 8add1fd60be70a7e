//! The driver: opens a topology, feeds records to the workers epoch by epoch, and shuts down cleanly.
//!
//! | thread | task | module |
//! | --- | --- | --- |
//! | driver | polls sources, closes epochs by time, rows or bytes | this file, `sources` |
//! | workers | decode and validate records, step the dataflow, encode output | `workers`, `encode` |
//! | committer | one state commit per epoch, in order | `commit` |
//! | publisher | copies the outbox to the sinks, in order | `publish` |
//! | exporter | writes the outbox of exports to files, if there are any | `publish::exports` |
//! | meter | exports the sizes of the state | `commit::meter` |
//! | eraser | rewrites files that may hold erased persons | `publish::erasing` |
//!
//! Every queue between them is bounded, and epochs in flight are bounded by permits, so a slow sink slows the
//! source. When any thread ends early, by an error, a panic or a plain return, the run ends with its reason
//! (`fate`): nothing later is committed, and committed output stays in the outbox for the next start.

pub mod budget;
mod commit;
mod encode;
mod failures;
mod fate;
pub(crate) mod messages;
mod open;
mod publish;
pub(crate) mod resends;
pub mod sources;
mod topics;
mod workers;

pub use fate::Fate;
pub use open::decoders;
pub use sources::backfill::{BackfillInput, BackfillOrder};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::bounded;
use dataflows::maintenance::repair::owed::Owed;
use dataflows::plan::Plan;
use dataflows::plan::sources::is_second;
use dataflows::render::Start;
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::fill::{FillStep, PIECE_ROWS, Pacer};
use dataflows::runtime::worker::{Command, Setup};
use dataflows::source::progress::SourceHead;
use fail::fail_point;
use schemas::memory::Counted;
use schemas::{MemoryPart, OutcomeCounts};
use state::Store;

use crate::exit::Interrupted;
use crate::metrics::Metrics;
use crate::run::failpoints;
use crate::topology::continued::Continued;
use budget::{Budget, Pace, PaceKeeper, RowLimit};
use commit::meter::StateMeter;
use commit::{Committer, LastCommit, committed_watermark, fill_groups, note_start, show_progress};
pub use failures::FailingRows;
use failures::{FailureWatch, Failures};
use messages::{Channels, EpochHead, IN_FLIGHT, INBOX, ToCommitter, UNPUBLISHED};
use publish::erasing::EraserThread;
use publish::exports::{Exporter, ExporterThread};
use resends::Resends;
pub use sources::SourceStatus;
use sources::Sources;

/// Settings of a run.
#[derive(Clone)]
pub struct DriverConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The topology's name: with the sink cluster, its identity.
    pub name: String,
    /// The state's directory.
    pub state_dir: PathBuf,
    /// Number of workers, at least one.
    pub workers: usize,
    /// Time for which an epoch collects records.
    pub pace: Pace,
    /// Stops when all present records are read. The watermarks of bounded sources then advance to the
    /// maximum.
    pub once: bool,
    /// With `once`: advances the watermarks of all sources to the maximum at the end.
    pub close_windows: bool,
    /// Drops the state once the start has found nothing wrong.
    pub fresh: bool,
    /// Continues at the start of a topic when earlier, unread records were deleted.
    pub skip_lost_records: bool,
    /// Begins what an edit adds without the rows that the state cannot give it.
    pub allow_gap: bool,
    /// Reads this alone, while all sources stand still. With `once`.
    pub backfill: Option<BackfillOrder>,
    /// Bytes granted to caches, epochs and queues.
    pub memory: u64,
}

/// State of a running topology, as health checks and `/v1/topology` show it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Status {
    /// Set once the workers have restored the committed epoch and records are read.
    pub started: bool,
    /// The last committed epoch.
    pub epoch: u64,
    /// The last published epoch.
    pub published: u64,
    /// True while the brokers answer.
    pub broker_ok: bool,
    /// The failure that ended the topology, if one did.
    pub fatal: Option<String>,
    /// The sources, in the plan's order.
    pub sources: Vec<SourceStatus>,
    /// Rows on which an expression of a view fails.
    pub failing: FailingRows,
    /// The last transient error.
    pub last_error: Option<String>,
}

impl Status {
    /// Records in all sources that are not read yet.
    pub fn total_lag(&self) -> i64 {
        self.sources.iter().map(|source| source.lag).sum()
    }

    /// Adds the sources of a plan that it does not have.
    fn add_sources(&mut self, plan: &Plan) {
        for source in plan.sources.iter().skip(self.sources.len()) {
            self.sources.push(SourceStatus { name: source.name.clone(), ..SourceStatus::default() });
        }
    }

    fn source_mut(&mut self, name: &str) -> Option<&mut SourceStatus> {
        self.sources.iter_mut().find(|source| source.name == name)
    }
}

/// Result of a run that ended without failure.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The last committed epoch.
    pub epoch: u64,
    /// By source: records by outcome, in the order of `schemas::Outcome::ALL`.
    pub outcomes: BTreeMap<String, OutcomeCounts>,
    /// Rows on which an expression of a view fails.
    pub failing: FailingRows,
}

/// Handle of a running topology: stops it and reads its status. Clones share the same run.
#[derive(Clone, Default)]
pub struct DriverHandle {
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    store: Arc<Mutex<Weak<Store>>>,
    commits: Arc<LastCommit>,
    fate: Fate,
}

impl DriverHandle {
    /// Asks the topology to finish its epoch, publish, and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The current status.
    pub fn status(&self) -> Status {
        let mut status = self.lock_status().clone();
        status.fatal = status.fatal.or_else(|| self.fate.reason());
        status
    }

    /// The run's failure record. Tasks beside the driver are watched through it.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// The state, while the topology runs.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Waits until an epoch after `seen` is committed, for `timeout` at most. Returns the last one of this
    /// run.
    pub fn wait_for_commit(&self, seen: u64, timeout: Duration) -> u64 {
        self.commits.wait(seen, timeout)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn lock_status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_status(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock_status());
    }
}

/// Runs a topology until it is asked to stop, has read all records (`once`), or fails.
///
/// # Errors
/// The first failure of any part. Nothing of the epoch it happened in is committed. [`Interrupted`] if it was
/// stopped before the end of the input that it was to read, or before it had started.
pub fn run(config: DriverConfig, metrics: Arc<Metrics>, handle: DriverHandle) -> Result<Summary> {
    handle.update_status(|status| {
        *status = Status { broker_ok: true, ..Status::default() };
        status.add_sources(&config.plan);
    });
    let result = Fate::run("driver", || Driver::open(config, metrics, handle.clone()).and_then(Driver::run));
    // A thread that failed during the start may be the cause of the start's own error: report it instead.
    let result = result.map_err(|error| handle.fate.take_known_error().unwrap_or(error));
    if let Err(error) = &result
        && !error.is::<Interrupted>()
    {
        handle.update_status(|status| status.fatal = Some(format!("{error:#}")));
    }
    result
}

/// An opened topology, ready to run.
struct Driver {
    config: DriverConfig,
    handle: DriverHandle,
    metrics: Arc<Metrics>,
    setup: Setup,
    sources: Sources,
    opened: open::Opened,
    /// Sinks whose whole content is sent again in the first epoch.
    resends: Resends,
    /// Sink deltas left by `herald state repair`, until the first worker takes them.
    owed: Option<Owed>,
    /// Rows that fail, as the state has them at the start.
    watch: FailureWatch,
    /// Decides how many rows each epoch fills, while additions of an edit are being filled.
    pacer: Option<Pacer>,
    /// Most rows of an epoch.
    row_limit: Arc<RowLimit>,
    /// Set while all workers have restored the committed epoch, and that is not told yet.
    is_restored: bool,
    fate: Fate,
}

impl Driver {
    fn open(mut config: DriverConfig, metrics: Arc<Metrics>, handle: DriverHandle) -> Result<Driver> {
        let fate = handle.fate.clone();
        let failed = fate.failed_flag();
        let (opened, continued, sources) = open::state_and_targets(&config, &metrics, &handle, &failed)?;
        *handle.store.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&opened.store);
        let Continued { plan, state_tables, progress, .. } = continued;
        config.plan = plan;
        handle.update_status(|status| status.add_sources(&config.plan));
        let epoch = opened.store.meta().epoch;
        let resends = Resends::read(&config.plan, &opened.store)?;
        let owed = Owed::read(&opened.store, &config.plan, &state_tables)?;
        let totals = opened.store.bounded_totals(state_tables.errors)?;
        metrics.set_error_table(totals.bytes, totals.not_kept);
        let failing = FailingRows::read(&opened.store, state_tables.errors, &totals)?;
        let watch = FailureWatch::new(failing.clone(), totals.not_kept);
        handle.update_status(|status| status.failing = failing);
        let mut watermarks = Vec::new();
        for source in &config.plan.sources {
            let held = committed_watermark(&progress, &source.name);
            watermarks.push(Arc::new(AtomicI64::new(held.unwrap_or(i64::MIN))));
        }
        let budget = Budget::of(config.memory);
        let setup = Setup {
            plan: config.plan.clone(),
            state_tables: Arc::new(state_tables),
            store: opened.store.clone(),
            start: Start { epoch, whole: resends.needs_restored_content(), anew: false },
            watermarks,
            progress: Arc::new(progress),
            committed: Arc::new(AtomicU64::new(epoch)),
            abort: failed.clone(),
            decoder: open::decoders(failed.clone()),
            joined_bytes: budget.joined / config.workers.max(1) as u64,
            totals: Arc::new(CacheRoom::new(budget.totals)),
        };
        note_start(&setup, &handle, &setup.progress);
        show_progress(&setup, &handle, &setup.progress);
        sources::warn_of_ends(&setup, &[]);
        metrics.set_epoch(setup.start.epoch);
        metrics.set_fill_groups(fill_groups(&setup.state_tables, &setup.progress));
        handle.update_status(|status| status.epoch = setup.start.epoch);
        let owed = (!owed.is_empty()).then_some(owed);
        let workers = config.workers.max(1);
        let pacer = Pacer::new(&setup.state_tables, &setup.progress, workers, PIECE_ROWS);
        let row_limit = Arc::new(RowLimit::new(config.memory, setup.joined_bytes));
        Ok(Driver {
            config,
            handle,
            metrics,
            setup,
            sources,
            opened,
            resends,
            owed,
            watch,
            pacer,
            row_limit,
            is_restored: false,
            fate,
        })
    }

    /// Starts the threads, feeds them until the run ends, and joins them.
    fn run(mut self) -> Result<Summary> {
        let workers = self.config.workers.max(1);
        let (to_committer, committer_inbox) = bounded(workers * 4);
        let (to_publisher, publisher_inbox) = bounded(UNPUBLISHED);
        let (permit, permits) = bounded(IN_FLIGHT);
        let (ready_tx, ready) = bounded(1);
        for _ in 0..IN_FLIGHT {
            permit.send(())?;
        }
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(INBOX)).unzip();
        let dead_letters = self.opened.dead_letters.clone();
        let failures = Failures::new(&self.setup.plan, &dead_letters)?;
        let committer = Committer {
            setup: self.setup.clone(),
            workers,
            dead_letters,
            failures,
            row_limit: self.row_limit.clone(),
            watch: self.watch.clone(),
            permits: permit,
            unpublished: Budget::of(self.config.memory).unpublished,
            to_publisher,
            metrics: self.metrics.clone(),
            handle: self.handle.clone(),
            ready: ready_tx,
        };
        let mut targets = self.opened.targets.take().context("the sinks are open twice")?;
        let (after, upto) = (self.opened.after.clone(), self.setup.start.epoch);
        let pace = PaceKeeper::new(self.config.pace, targets.published.clone());
        let fate = self.fate.clone();
        let publisher = fate.spawn("publisher", move || {
            targets.catch_up(&after, upto)?;
            targets.run(&publisher_inbox)
        })?;
        let exporter = self.start_exporter(&fate)?;
        let committer = fate.spawn("committer", move || committer.run(&committer_inbox))?;
        let (setup, owes) = ((self.setup.clone(), self.resends.clone()), self.owed.is_some());
        let outputs = (self.opened.outputs.clone(), self.owed.take());
        let meter = StateMeter::start(&fate, &self.setup, self.metrics.clone())?;
        let eraser = EraserThread::start(&fate, &self.setup.store, &self.metrics)?;
        let guards = workers::start(setup, outputs, receivers, to_committer.clone(), fate.clone())?;
        let mut channels = Channels { workers: inboxes, committer: to_committer, permits, ready };
        if let Err(error) = Fate::run("driver", || self.feed_workers(&mut channels, owes, pace)) {
            fate.fail(error);
        }
        let watchdog = fate.exit_if_stuck();
        // The channels close in the order of the data flow, so that every thread drains its queue before it
        // ends.
        fate.let_end();
        drop(channels);
        let worked = guards.join();
        let _ = committer.join();
        let _ = publisher.join();
        exporter.join();
        meter.join();
        eraser.join();
        drop(watchdog);
        if let Some(failure) = fate.take_error() {
            return Err(failure);
        }
        worked
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(|e| anyhow!("a worker ended abnormally: {e}"))?;
        self.end_well()
    }

    /// Leaves the state ready for the next start.
    fn end_well(&mut self) -> Result<Summary> {
        self.sources.commit_offsets();
        let committed = self.opened.store.meta();
        self.opened.store.flush()?;
        if self.config.once {
            publish::erasing::finish(&self.opened.store, &self.metrics, &|| self.handle.is_stopping())?;
        }
        if self.config.once && self.handle.is_stopping() {
            let left = (!self.sources.all_read()).then(|| self.handle.status().total_lag());
            Interrupted::refuse_early_end(committed.epoch, left, self.pacer.is_some())?;
        }
        let outcomes = committed.progress.sources.into_iter().map(|(name, s)| (name, s.outcomes)).collect();
        Ok(Summary { epoch: committed.epoch, outcomes, failing: self.handle.status().failing })
    }

    /// Starts the thread of the exports, if there are any.
    fn start_exporter(&mut self, fate: &Fate) -> Result<ExporterThread> {
        let exporter = Exporter {
            exports: std::mem::take(&mut self.opened.exports),
            store: self.opened.store.clone(),
            failed: fate.failed_flag(),
            unpublished: Budget::of(self.config.memory).unpublished,
            metrics: self.metrics.clone(),
        };
        ExporterThread::start(exporter, fate)
    }

    /// Closes an epoch for output that precedes the first record: what an edit adds, the content sent to resent
    /// sinks, the deltas of a repair, and the initial rows of views (such as totals over no input). Returns the number of
    /// the first epoch of records.
    fn close_owed_epoch(&mut self, channels: &mut Channels, owes: bool) -> Result<u64> {
        let epoch = self.setup.start.epoch + 1;
        let begins = !self.setup.start.is_restored() && self.config.plan.has_initial_rows();
        let edited = self.setup.state_tables.fill.is_some() || self.setup.filters_anew()?;
        if !(self.resends.is_due() || owes || begins || edited) {
            return Ok(epoch);
        }
        while !self.take_permit(channels, true) && !self.fate.failed() {}
        let head = self.new_head(epoch);
        self.close_epoch(channels, head)?;
        Ok(epoch + 1)
    }

    /// Runs the main loop: reads records, sends them to the workers, and closes epochs.
    fn feed_workers(&mut self, channels: &mut Channels, owes: bool, mut pace: PaceKeeper) -> Result<()> {
        let mut epoch = self.close_owed_epoch(channels, owes)?;
        let mut head = self.new_head(epoch);
        let budget = Budget::of(self.config.memory);
        let (mut rows, mut bytes, mut opened) = (0usize, 0usize, Instant::now());
        let mut reported_at = Instant::now();
        loop {
            if self.fate.failed() {
                return Ok(());
            }
            let stopping = self.handle.is_stopping();
            let most = self.row_limit.get();
            let full = rows >= most || bytes >= budget.epoch;
            let mut idle = true;
            if rows == 0 {
                self.try_end_reading(channels);
            }
            // The last epoch of a filling has no records.
            if !full && !stopping && !self.pacer.as_ref().is_some_and(Pacer::is_last_next) {
                let polled = self.sources.poll(most - rows)?;
                // A partition's initial watermark must reach its worker before the partition's first record.
                self.announce_partitions(channels);
                for (source, records) in polled {
                    if rows == 0 {
                        opened = Instant::now();
                    }
                    idle = false;
                    rows += records.len();
                    bytes += records.bytes_len();
                    head.sources[source].read += records.len() as u64;
                    let ends = [records.timestamps.first(), records.timestamps.last()];
                    head.samples.extend(ends.into_iter().flatten().flatten());
                    fail_point!("driver.poll.after");
                    let worker = channels.worker_of(records.partition);
                    let records = Box::new(Counted::new(MemoryPart::Epochs, records));
                    if worker.send(Command::Records(source, records)).is_err() {
                        // The worker has ended and recorded its reason in `fate`.
                        return Ok(());
                    }
                }
            }
            let fills = !stopping && self.pacer.as_ref().is_some_and(Pacer::is_due);
            let done = stopping || self.config.once && self.sources.all_read() && self.pacer.is_none();
            // Positions may advance without records (transaction markers); committing them needs an epoch
            // too.
            let moved = rows == 0 && self.sources.positions_moved();
            if (rows > 0 || moved || fills)
                && (done || full || fills || opened.elapsed() >= pace.interval())
                && self.take_permit(channels, done || full)
            {
                self.close_epoch(channels, std::mem::replace(&mut head, self.new_head(epoch + 1)))?;
                pace.note_closed(epoch);
                epoch += 1;
                (rows, bytes) = (0, 0);
            } else if done && rows == 0 && !moved {
                return if stopping { Ok(()) } else { self.end_sources(channels, epoch) };
            } else if idle {
                std::thread::sleep(Duration::from_millis(1));
            }
            if reported_at.elapsed() > Duration::from_millis(200) {
                reported_at = Instant::now();
                self.report_status(channels);
            }
        }
    }

    /// Ends the second reading of sources where it is level with the first, and all else of the filling is done.
    fn try_end_reading(&mut self, channels: &Channels) {
        let Some(pacer) = self.pacer.as_mut().filter(|pacer| pacer.is_open()) else { return };
        self.sources.end_filling();
        for (source, partition) in self.sources.second_ends(&self.setup) {
            let _ = channels.worker_of(partition).send(Command::Join(source, partition, Some(i64::MAX)));
        }
        if self.sources.are_level() {
            pacer.end_reading();
        }
    }

    /// Sends workers the partitions that are new, each with its initial watermark.
    fn announce_partitions(&mut self, channels: &Channels) {
        for (source, partition, floor) in self.sources.take_new_partitions(&self.setup) {
            let _ = channels.worker_of(partition).send(Command::Join(source, partition, floor));
        }
    }

    /// Advances the watermarks of ended sources to the maximum, in an epoch of its own.
    fn end_sources(&mut self, channels: &Channels, epoch: u64) -> Result<()> {
        let ended = self.sources.partitions_to_end(&self.setup, self.config.close_windows);
        if !ended.is_empty() {
            sources::warn_of_ends(&self.setup, &ended);
        }
        for (source, partition) in &ended {
            let worker = channels.worker_of(*partition);
            let _ = worker.send(Command::Join(*source, *partition, Some(i64::MAX)));
        }
        while !ended.is_empty() && !self.take_permit(channels, true) {
            if self.fate.failed() {
                return Ok(());
            }
        }
        if ended.is_empty() { Ok(()) } else { self.close_epoch(channels, self.new_head(epoch)) }
    }

    /// Takes a permit to close an epoch; with `wait`, waits for one up to 100 ms. An epoch that is not full
    /// is closed only while at most one other is in flight: under load epochs grow, and large ones cost less
    /// per row.
    fn take_permit(&self, channels: &Channels, wait: bool) -> bool {
        if wait {
            channels.permits.recv_timeout(Duration::from_millis(100)).is_ok()
        } else {
            channels.permits.len() + 1 >= IN_FLIGHT && channels.permits.try_recv().is_ok()
        }
    }

    fn new_head(&self, epoch: u64) -> EpochHead {
        EpochHead {
            epoch,
            sources: vec![SourceHead::default(); self.config.plan.sources.len()],
            samples: vec![],
        }
    }

    /// Closes an epoch: tells every worker to step and the committer to expect their reports.
    fn close_epoch(&mut self, channels: &Channels, mut head: EpochHead) -> Result<()> {
        failpoints::epoch_closed(head.epoch);
        fail_point!("driver.close.before");
        self.sources.fill_head(&mut head);
        let step = self.pacer.as_mut().and_then(Pacer::next_step);
        if self.pacer.take_if(|pacer| pacer.is_finished()).is_some() {
            self.sources.end_second_reading();
            self.handle.update_status(|status| status.sources.retain(|source| !is_second(&source.name)));
        }
        let partitions = Arc::new(head.sources.iter().map(|source| source.partitions.clone()).collect());
        for worker in &channels.workers {
            if worker.send(Command::Close(head.epoch, Arc::clone(&partitions), step)).is_err() {
                return Ok(());
            }
        }
        fail_point!("driver.close.halfway");
        // The send fails only when the committer has ended, which has recorded its reason.
        let _ = channels.committer.send(ToCommitter::Head(head));
        fail_point!("driver.close.after");
        match step {
            Some(FillStep::Open(_)) => fail_point!("fill.piece.closed"),
            Some(FillStep::Finish) => fail_point!("fill.end.closed"),
            None => {}
        }
        Ok(())
    }

    /// Updates the status and the metrics that only the driver knows: readiness, lag, errors.
    fn report_status(&mut self, channels: &Channels) {
        self.is_restored |= channels.ready.try_recv().is_ok();
        // Until its first epoch is committed, the state has the views of the earlier text.
        let edits = self.setup.state_tables.fill.is_some()
            && self.setup.committed.load(Ordering::Acquire) == self.setup.start.epoch;
        if self.is_restored && !edits {
            self.is_restored = false;
            tracing::info!(epoch = self.setup.start.epoch, workers = channels.workers.len(), "running");
            self.handle.update_status(|status| status.started = true);
        }
        let mut last_error = self.sources.report_lag(&self.metrics, &self.handle);
        if last_error.is_none()
            && let Some(publisher) = &self.opened.publisher
        {
            last_error = publisher.last_error().map(|(_, why)| why);
        }
        self.handle.update_status(|status| {
            status.broker_ok = last_error.is_none();
            if last_error.is_some() {
                status.last_error = last_error;
            }
        });
    }
}
