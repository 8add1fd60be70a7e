//! The driver: opens everything, feeds records to the workers epoch by epoch, and ends cleanly.
//!
//! | thread | what it does | module |
//! | --- | --- | --- |
//! | driver | polls sources, closes epochs by time, rows or bytes | this file, `sources` |
//! | workers | decode, judge, step the dataflow, encode | `workers`, `encode` |
//! | committer | one write an epoch, in order | `commit` |
//! | publisher | outbox to sinks, in order | `publish` |
//!
//! Every queue between them is bounded, and epochs in flight are bounded by permits, so a slow sink
//! slows the source. The end of any thread, by an error, a panic or without a word, ends the run with its
//! reason (`fate`): nothing later is committed, and what is committed stays in the outbox for the next start.

mod again;
pub mod budget;
mod commit;
mod encode;
mod failures;
mod fate;
mod open;
mod publish;
mod sources;
mod topics;
mod workers;

pub use fate::Fate;
pub use open::decoders;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded};
use dataflows::plan::Plan;
use dataflows::render::Start;
use dataflows::repair::owed::Owed;
use dataflows::source::progress::SourceHead;
use dataflows::worker::{Command, Setup};
use fail::fail_point;
use state::Store;

use crate::failpoints;
use crate::metrics::Metrics;
use again::Again;
use budget::Budget;
use commit::{Committer, Head, ToCommitter, show};
use failures::Failures;
use sources::Sources;

/// Epochs closed and not yet committed, at most.
const IN_FLIGHT: usize = 4;
/// Rows after which an epoch is closed whatever the time; and bytes, see [`Budget`].
const EPOCH_ROWS: usize = 100_000;
/// Committed epochs that wait for the publisher, at most; behind it the committer waits.
const UNPUBLISHED: usize = 64;
/// Messages that wait for a worker, at most.
const INBOX: usize = 32;

/// How to run a topology.
#[derive(Clone)]
pub struct DriverConfig {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The topology's name, its identity together with the sink cluster.
    pub name: String,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Workers, at least one.
    pub workers: usize,
    /// How long an epoch collects records.
    pub epoch_interval: Duration,
    /// Stop when everything there is has been read; the watermarks of bounded sources are then beyond all time.
    pub once: bool,
    /// With `once`: the watermarks of all sources.
    pub close_windows: bool,
    /// Drop the state first.
    pub fresh: bool,
    /// Go on where a topic starts when records before that are gone.
    pub skip_lost_records: bool,
    /// Bytes for caches, epochs and queues.
    pub memory: u64,
}

/// How a running topology fares.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Status {
    /// Whether the workers are at the committed epoch and records are read.
    pub started: bool,
    /// The last committed epoch.
    pub epoch: u64,
    /// The last published epoch.
    pub published: u64,
    /// Whether brokers answer.
    pub broker_ok: bool,
    /// Why the topology ended, if it did.
    pub fatal: Option<String>,
    /// By source, in the plan's order.
    pub sources: Vec<SourceStatus>,
    /// The last error that passed or will pass.
    pub last_error: Option<String>,
}

/// How a source fares.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SourceStatus {
    /// Name.
    pub name: String,
    /// Records by outcome, as committed.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Records that are there and not read.
    pub lag: i64,
    /// Committed watermark.
    pub watermark: Option<String>,
    /// The partition that holds it.
    pub held_by: Option<i32>,
}

/// What a run that ended did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The last committed epoch.
    pub epoch: u64,
    /// By source: records by outcome, in the order of `schemas::Outcome::ALL`.
    pub outcomes: BTreeMap<String, [u64; 6]>,
}

/// Stops a running topology and tells how it fares.
#[derive(Clone, Default)]
pub struct DriverHandle {
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    store: Arc<Mutex<Weak<Store>>>,
    fate: Fate,
}

impl DriverHandle {
    /// Asks the topology to finish its epoch, publish, and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How it fares now.
    pub fn status(&self) -> Status {
        let mut status = self.locked().clone();
        status.fatal = status.fatal.or_else(|| self.fate.reason());
        status
    }

    /// What becomes of the run; whatever goes on beside it is watched there.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// The state, while the topology runs.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn locked(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.locked());
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    fail_point!("clock.ahead_ms", |by: Option<String>| now + by.and_then(|by| by.parse().ok()).unwrap_or(0));
    now
}

/// Runs a topology until it is asked to stop, has read everything (`once`), or fails.
///
/// # Errors
/// The first failure of any part. Nothing of the epoch it happened in is committed.
pub fn run(config: DriverConfig, metrics: Arc<Metrics>, handle: DriverHandle) -> Result<Summary> {
    let sources = config.plan.sources.iter();
    let sources = sources.map(|s| SourceStatus { name: s.name.clone(), ..SourceStatus::default() }).collect();
    handle.update(|status| *status = Status { broker_ok: true, sources, ..Status::default() });
    let result = Fate::run("driver", || Driver::open(config, metrics, handle.clone()).and_then(Driver::run));
    // What failed beside a start may be why that failed.
    let result = result.map_err(|error| handle.fate.first().unwrap_or(error));
    if let Err(error) = &result {
        handle.update(|status| status.fatal = Some(format!("{error:#}")));
    }
    result
}

struct Driver {
    config: DriverConfig,
    handle: DriverHandle,
    metrics: Arc<Metrics>,
    setup: Setup,
    sources: Sources,
    opened: open::Opened,
    /// What sinks get again, as a whole, in the first epoch.
    again: Again,
    /// What a repair of the state owes sinks, until a worker takes it.
    owed: Option<Owed>,
    fate: Fate,
}

/// The driver's ends of the channels.
struct Lines {
    workers: Vec<Sender<Command>>,
    committer: Sender<ToCommitter>,
    permits: Receiver<()>,
    ready: Receiver<()>,
}

impl Driver {
    fn open(config: DriverConfig, metrics: Arc<Metrics>, handle: DriverHandle) -> Result<Driver> {
        let fate = handle.fate.clone();
        let failed = fate.flag();
        let (opened, spaces) = open::state_and_targets(&config, &metrics, &handle, &failed)?;
        *handle.store.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&opened.store);
        let committed = opened.store.meta();
        let again = Again::of(&config.plan, &opened.store)?;
        let owed = Owed::read(&opened.store, &config.plan, &spaces)?;
        let failing = opened.store.bounded_totals(spaces.errors)?;
        metrics.errors(failing.bytes, failing.not_kept);
        let watermark = |name: &String| {
            let held = committed.progress.sources.get(name).and_then(|s| s.watermark_us);
            Arc::new(AtomicI64::new(held.unwrap_or(i64::MIN)))
        };
        let setup = Setup {
            plan: config.plan.clone(),
            spaces: Arc::new(spaces),
            store: opened.store.clone(),
            start: Start { epoch: committed.epoch, whole: again.derives(), anew: false },
            watermarks: config.plan.sources.iter().map(|s| watermark(&s.name)).collect(),
            progress: Arc::new(committed.progress),
            committed: Arc::new(AtomicU64::new(committed.epoch)),
            abort: failed.clone(),
            decoder: open::decoders(failed.clone()),
            joined_bytes: Budget::of(config.memory).joined / config.workers.max(1) as u64,
        };
        show(&setup, &handle, &setup.progress);
        metrics.epoch(setup.start.epoch);
        handle.update(|status| status.epoch = setup.start.epoch);
        fail_point!("recover.sources.before");
        let sources = Sources::open(&config, &setup)?;
        fail_point!("recover.sources.after");
        let owed = (!owed.is_empty()).then_some(owed);
        Ok(Driver { config, handle, metrics, setup, sources, opened, again, owed, fate })
    }

    /// Starts the threads, feeds them, and waits for them.
    fn run(mut self) -> Result<Summary> {
        let workers = self.config.workers.max(1);
        let (to_committer, committer_inbox) = bounded(workers * 4);
        let (to_publisher, publisher_inbox) = bounded(UNPUBLISHED);
        let (permit, permits) = bounded(IN_FLIGHT);
        let (ready_tx, ready) = bounded(1);
        (0..IN_FLIGHT).try_for_each(|_| permit.send(()))?;
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(INBOX)).unzip();
        let dead_letters = self.opened.dead_letters.clone();
        let failures = Failures::new(&self.setup.plan, &dead_letters)?;
        let committer = Committer {
            setup: self.setup.clone(),
            workers,
            dead_letters,
            failures,
            permits: permit,
            unpublished: Budget::of(self.config.memory).unpublished,
            to_publisher,
            metrics: self.metrics.clone(),
            handle: self.handle.clone(),
            ready: ready_tx,
        };
        let mut targets = self.opened.targets.take().ok_or_else(|| anyhow!("the sinks are open twice"))?;
        let (after, upto) = (self.opened.after.clone(), self.setup.start.epoch);
        let fate = self.fate.clone();
        let publisher = fate.spawn("publisher", move || {
            targets.catch_up(&after, upto)?;
            targets.run(&publisher_inbox)
        })?;
        let committer = fate.spawn("committer", move || committer.run(&committer_inbox))?;
        let (setup, owes) = ((self.setup.clone(), self.again.clone()), self.owed.is_some());
        let outputs = (self.opened.outputs.clone(), self.owed.take());
        let guards = workers::start(setup, outputs, receivers, to_committer.clone(), fate.clone())?;
        let mut lines = Lines { workers: inboxes, committer: to_committer, permits, ready };
        if let Err(error) = Fate::run("driver", || self.feed(&mut lines, owes)) {
            fate.fail(error);
        }
        let hurry = fate.hurry();
        // Closing the channels in the order of the flow lets every thread finish what it has.
        fate.let_end();
        drop(lines);
        let worked = guards.join();
        let _ = committer.join();
        let _ = publisher.join();
        drop(hurry);
        if let Some(failure) = fate.take() {
            return Err(failure);
        }
        worked
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(|e| anyhow!("a worker ended abnormally: {e}"))?;
        self.sources.commit_offsets();
        let committed = self.opened.store.meta();
        self.opened.store.flush()?;
        let outcomes = committed.progress.sources.into_iter().map(|(name, s)| (name, s.outcomes)).collect();
        Ok(Summary { epoch: committed.epoch, outcomes })
    }

    /// The loop: read, hand over, close epochs.
    fn feed(&mut self, lines: &mut Lines, owes: bool) -> Result<()> {
        let mut epoch = self.setup.start.epoch + 1;
        let mut head = self.new_head(epoch);
        let begins = !self.setup.start.restored() && self.config.plan.begins();
        if self.again.any() || owes || begins {
            // What a restored state gives its new sinks, what is sent again, what a repair owes them, and what there
            // is before the first record, goes out in an epoch of its own.
            while !self.permit(lines, true) && !self.fate.failed() {}
            self.close(lines, std::mem::replace(&mut head, self.new_head(epoch + 1)))?;
            epoch += 1;
        }
        let budget = Budget::of(self.config.memory);
        let (mut rows, mut bytes, mut opened) = (0usize, 0usize, Instant::now());
        let mut told = Instant::now();
        loop {
            if self.fate.failed() {
                return Ok(());
            }
            let stopping = self.handle.stopping();
            let full = rows >= EPOCH_ROWS || bytes >= budget.epoch;
            let mut idle = true;
            if !full && !stopping {
                let polled = self.sources.poll(EPOCH_ROWS - rows)?;
                // A partition's floor goes ahead of its first record.
                for (source, partition, floor) in self.sources.joined(&self.setup) {
                    let worker = partition as usize % lines.workers.len();
                    let _ = lines.workers[worker].send(Command::Join(source, partition, floor));
                }
                for (source, records) in polled {
                    if rows == 0 {
                        opened = Instant::now();
                    }
                    idle = false;
                    rows += records.len();
                    bytes += records.bytes_len();
                    head.sources[source].read += records.len() as u64;
                    head.samples.extend(
                        [records.timestamps.first(), records.timestamps.last()]
                            .into_iter()
                            .flatten()
                            .flatten(),
                    );
                    fail_point!("driver.poll.after");
                    let worker = records.partition as usize % lines.workers.len();
                    if lines.workers[worker].send(Command::Records(source, Box::new(records))).is_err() {
                        return Ok(());
                    }
                }
            }
            let done = stopping || (self.config.once && self.sources.done());
            let moved = rows == 0 && self.sources.moved();
            if (rows > 0 || moved)
                && (done || full || opened.elapsed() >= self.config.epoch_interval)
                && self.permit(lines, done || full)
            {
                self.close(lines, std::mem::replace(&mut head, self.new_head(epoch + 1)))?;
                epoch += 1;
                (rows, bytes) = (0, 0);
            } else if done && rows == 0 && !moved {
                return if stopping { Ok(()) } else { self.end(lines, epoch) };
            } else if idle {
                std::thread::sleep(Duration::from_millis(1));
            }
            if told.elapsed() > Duration::from_millis(200) {
                told = Instant::now();
                self.tell(lines);
            }
        }
    }

    /// Takes the watermarks of sources that have ended beyond all time, in an epoch of its own.
    fn end(&mut self, lines: &Lines, epoch: u64) -> Result<()> {
        let ended = self.sources.ended(&self.setup, self.config.close_windows);
        for (source, partition) in &ended {
            let worker = *partition as usize % lines.workers.len();
            let _ = lines.workers[worker].send(Command::Join(*source, *partition, Some(i64::MAX)));
        }
        while !ended.is_empty() && !self.permit(lines, true) {
            if self.fate.failed() {
                return Ok(());
            }
        }
        if ended.is_empty() { Ok(()) } else { self.close(lines, self.new_head(epoch)) }
    }

    /// Takes a permit for an epoch; with `wait`, for a while. An epoch that is not full is closed
    /// beside one other at most: under load epochs grow, and large ones cost less a row.
    fn permit(&self, lines: &Lines, wait: bool) -> bool {
        match wait {
            true => lines.permits.recv_timeout(Duration::from_millis(100)).is_ok(),
            false => lines.permits.len() + 1 >= IN_FLIGHT && lines.permits.try_recv().is_ok(),
        }
    }

    fn new_head(&self, epoch: u64) -> Head {
        let sources = self.config.plan.sources.iter().map(|_| SourceHead::default()).collect();
        Head { epoch, sources, samples: Vec::new() }
    }

    fn close(&mut self, lines: &Lines, mut head: Head) -> Result<()> {
        failpoints::closed(head.epoch);
        fail_point!("driver.close.before");
        self.sources.fill(&mut head);
        let partitions = Arc::new(head.sources.iter().map(|source| source.partitions.clone()).collect());
        for worker in &lines.workers {
            if worker.send(Command::Close(head.epoch, Arc::clone(&partitions))).is_err() {
                return Ok(());
            }
        }
        fail_point!("driver.close.halfway");
        // A committer that is gone has reported why.
        let _ = lines.committer.send(ToCommitter::Head(head));
        fail_point!("driver.close.after");
        Ok(())
    }

    /// Status and metrics that nobody else has.
    fn tell(&mut self, lines: &Lines) {
        if lines.ready.try_recv().is_ok() {
            tracing::info!(epoch = self.setup.start.epoch, workers = lines.workers.len(), "running");
            self.handle.update(|status| status.started = true);
        }
        let trouble = self.sources.tell(&self.metrics, &self.handle).or_else(|| {
            let publisher = self.opened.publisher.as_ref()?;
            publisher.trouble().map(|(_, why)| why)
        });
        self.handle.update(|status| {
            status.broker_ok = trouble.is_none();
            if trouble.is_some() {
                status.last_error = trouble;
            }
        });
        if let Ok(stats) = self.opened.store.stats() {
            self.metrics.state_bytes(stats.state_bytes);
            self.metrics.dead_letter_bytes(stats.dead_letters.bytes);
        }
    }
}
