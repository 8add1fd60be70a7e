//! A topology in process: workers, epochs in flight and commits as the driver runs them.
//!
//! The caller feeds records and closes epochs; an epoch is committed when every worker has completed
//! it, in order, with up to `in_flight` epochs closed and not committed. Dropping an [`Engine`] is a
//! crash: what is not committed is gone. Opening one over the same directory goes on at the committed
//! epoch with any number of workers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use dataflows::plan::{Plan, Source};
use dataflows::render::collect::{EpochOut, SinkDelta};
use dataflows::render::{KEEP_CUT, Start};
use dataflows::source::ingest::PartitionMark;
use dataflows::spaces::Spaces;
use dataflows::sql::{SqlFile, compile};
use dataflows::topology::{self, Setup, Topology, Worker, Workers};
use schemas::{Decoder, JsonDecoder, JsonOptions, Outcome, Records};
use state::{Commit, Counts, PartitionProgress, Progress, Store, StoreOptions, Writes};

/// Held while workers build their dataflow, so that one test can build without the cut.
static BUILDING: Mutex<()> = Mutex::new(());

/// Compiles a topology; a mistake in it is the test's.
pub fn plan(text: &str) -> Arc<Plan> {
    let files = [SqlFile { name: "oracle.sql".into(), text: text.into() }];
    let compiled = compile(&files, &|_| None, &|_| Err(std::io::ErrorKind::NotFound.into()), &|_| Ok(None));
    match compiled {
        Ok(plan) => Arc::new(plan),
        Err(mistakes) => {
            let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            panic!("{}", text.join("\n"));
        }
    }
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Workers.
    pub workers: usize,
    /// Epochs closed and not committed, at most; at least one.
    pub in_flight: usize,
    /// False only for the negative control.
    pub cut: bool,
}

/// A record that became a dead letter: source, partition, offset, outcome.
pub type Letter = (usize, i32, i64, Outcome);

/// A committed epoch.
pub struct Committed {
    /// The epoch.
    pub epoch: u64,
    /// Changes of sinks, a worker each.
    pub sinks: Vec<BTreeMap<usize, SinkDelta>>,
    /// Dead letters in no particular order.
    pub letters: Vec<Letter>,
    /// Rows touched by operator, all workers together.
    pub touched: BTreeMap<String, u64>,
}

enum Tell {
    Records(usize, Box<Records>),
    Join(usize, i32, Option<i64>),
    Close(u64),
}

struct Part {
    epoch: u64,
    out: EpochOut,
    letters: Vec<Letter>,
    marks: Vec<HashMap<i32, PartitionMark>>,
}

enum Told {
    Ready,
    Part(Box<Part>),
    Failed(String),
}

/// What the driver knows of an epoch: records read and next offsets by source.
#[derive(Default)]
struct Head {
    read: BTreeMap<usize, u64>,
    next: BTreeMap<(usize, i32), i64>,
    partitions: Vec<BTreeSet<i32>>,
}

/// A running topology.
pub struct Engine {
    setup: Setup,
    options: Options,
    lines: Vec<Sender<Tell>>,
    told: Receiver<Told>,
    workers: Option<Workers>,
    open: u64,
    head: Head,
    closed: BTreeMap<u64, (Head, Vec<Part>)>,
    progress: Progress,
}

impl Engine {
    /// Opens the state in `dir`, or makes it, and brings the workers to its committed epoch.
    /// `partitions` are those of each source at the start.
    pub fn open(plan: &Arc<Plan>, dir: &Path, partitions: &[i32], options: Options) -> Engine {
        let small = StoreOptions {
            write_buffer_bytes: 64 << 20,
            block_cache_bytes: 64 << 20,
            ..StoreOptions::default()
        };
        let opened = StoreOptions { create: true, topology: Some("oracle".into()), ..small };
        let store = Arc::new(Store::open(dir, &opened).unwrap());
        let held = store.catalogue().unwrap().filter(|held| !held.entries.is_empty());
        let spaces = Spaces::of(plan, held.as_ref()).unwrap();
        if held.is_none() {
            store.put_catalogue(&spaces.catalogue("oracle")).unwrap();
        }
        let committed = store.meta();
        let watermark = |source: &Source| {
            let held = committed.progress.sources.get(&source.name).and_then(|s| s.watermark_us);
            Arc::new(AtomicI64::new(held.unwrap_or(i64::MIN)))
        };
        let setup = Setup {
            plan: plan.clone(),
            spaces: Arc::new(spaces),
            store,
            start: Start { epoch: committed.epoch },
            watermarks: plan.sources.iter().map(watermark).collect(),
            progress: Arc::new(committed.progress.clone()),
            committed: Arc::new(AtomicU64::new(committed.epoch)),
            abort: Arc::new(AtomicBool::new(false)),
            decoder: Arc::new(|source: &Source| {
                let decoder = JsonDecoder::new(source.decoded.clone(), JsonOptions { timestamp_unit: None })?;
                Ok(Decoder::Json(decoder))
            }),
        };
        let mut head = Head::default();
        for (at, source) in plan.sources.iter().enumerate() {
            let held = committed.progress.sources.get(&source.name);
            let known = held.into_iter().flat_map(|s| s.partitions.keys().copied());
            head.partitions.push((0..partitions[at]).chain(known).collect());
        }
        let (lines, told, workers) = start(&setup, options);
        Engine {
            options,
            lines,
            told,
            workers: Some(workers),
            open: committed.epoch + 1,
            head,
            closed: BTreeMap::new(),
            progress: committed.progress,
            setup,
        }
    }

    /// The state.
    pub fn store(&self) -> &Store {
        &self.setup.store
    }

    /// The spaces.
    pub fn spaces(&self) -> &Spaces {
        &self.setup.spaces
    }

    /// Progress as of the last committed epoch.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The last committed epoch.
    pub fn committed(&self) -> u64 {
        self.setup.committed.load(Ordering::Acquire)
    }

    /// The epoch that records are fed into.
    pub fn open_epoch(&self) -> u64 {
        self.open
    }

    /// Enters records into the open epoch.
    pub fn feed(&mut self, source: usize, records: Records) {
        let Some(last) = records.offsets.last() else { return };
        *self.head.read.entry(source).or_default() += records.len() as u64;
        self.head.next.insert((source, records.partition), last + 1);
        let worker = records.partition as usize % self.lines.len();
        self.lines[worker].send(Tell::Records(source, Box::new(records))).unwrap();
    }

    /// A partition appears; it starts at the source's committed watermark.
    pub fn join(&mut self, source: usize, partition: i32) {
        if self.head.partitions[source].insert(partition) {
            let name = &self.setup.plan.sources[source].name;
            let floor = self.progress.sources.get(name).and_then(|s| s.watermark_us);
            let worker = partition as usize % self.lines.len();
            self.lines[worker].send(Tell::Join(source, partition, floor)).unwrap();
        }
    }

    /// Closes the open epoch and commits what must be committed before the next is fed.
    /// `check` sees the state after each commit.
    pub fn close(&mut self, check: impl FnMut(&Engine, Committed)) {
        let partitions = self.head.partitions.clone();
        let head = std::mem::replace(&mut self.head, Head { partitions, ..Head::default() });
        self.closed.insert(self.open, (head, vec![]));
        for line in &self.lines {
            line.send(Tell::Close(self.open)).unwrap();
        }
        self.open += 1;
        self.commit_until(self.options.in_flight - 1, check);
    }

    /// Commits all closed epochs.
    pub fn finish(&mut self, check: impl FnMut(&Engine, Committed)) {
        self.commit_until(0, check);
    }

    fn commit_until(&mut self, left: usize, mut check: impl FnMut(&Engine, Committed)) {
        while self.closed.len() > left {
            while let Some(entry) = self.closed.first_entry() {
                if entry.get().1.len() < self.lines.len() {
                    break;
                }
                let (epoch, (head, parts)) = entry.remove_entry();
                let committed = self.commit(epoch, head, parts);
                check(self, committed);
            }
            if self.closed.len() > left {
                match self.told.recv().unwrap() {
                    Told::Part(part) => self.closed.get_mut(&part.epoch).unwrap().1.push(*part),
                    Told::Failed(error) => panic!("a worker failed: {error}"),
                    Told::Ready => {}
                }
            }
        }
    }

    fn commit(&mut self, epoch: u64, head: Head, parts: Vec<Part>) -> Committed {
        self.advance(&head, &parts);
        let mut commit =
            Commit { epoch, commit_ms: epoch as i64, progress: self.progress.clone(), ..Commit::default() };
        let mut done = Committed { epoch, sinks: vec![], letters: vec![], touched: BTreeMap::new() };
        for part in parts {
            let writes = part.out.writes.into_iter();
            commit.writes.extend(writes.map(|(space, (keys, values))| Writes { space, keys, values }));
            let counts = part.out.counts.into_iter();
            commit.counts.extend(counts.map(|(space, (rows, diffs))| Counts { space, rows, diffs }));
            for (operator, rows) in part.out.touched {
                *done.touched.entry(operator).or_default() += rows;
            }
            done.sinks.push(part.out.sinks);
            done.letters.extend(part.letters);
        }
        self.setup.store.commit(commit).unwrap();
        for (at, source) in self.setup.plan.sources.iter().enumerate() {
            if let Some(us) = self.progress.sources[&source.name].watermark_us {
                self.setup.watermarks[at].store(us, Ordering::Release);
            }
        }
        self.setup.committed.store(epoch, Ordering::Release);
        done
    }

    /// Moves progress to the end of the epoch, as the driver's committer does.
    fn advance(&mut self, head: &Head, parts: &[Part]) {
        for (at, source) in self.setup.plan.sources.iter().enumerate() {
            let held = self.progress.sources.entry(source.name.clone()).or_default();
            held.read += head.read.get(&at).copied().unwrap_or(0);
            for outcomes in parts.iter().filter_map(|part| part.out.outcomes.get(&at)) {
                held.outcomes.iter_mut().zip(outcomes).for_each(|(total, n)| *total += n);
            }
            for ((_, partition), next) in head.next.iter().filter(|((source, _), _)| *source == at) {
                held.partitions.entry(*partition).or_default().next_offset = *next;
            }
            for (partition, mark) in parts.iter().flat_map(|part| &part.marks[at]) {
                if let Some(held) = held.partitions.get_mut(partition) {
                    held.max_event_us = held.max_event_us.max(mark.max_event_us);
                    held.floor_us = held.floor_us.max(mark.floor_us);
                }
            }
            let Some(watermark) = source.watermark else { continue };
            let reached = |mark: &PartitionProgress| {
                mark.max_event_us.map(|max| max - watermark.delay_us).max(mark.floor_us)
            };
            let all = head.partitions[at].iter().map(|p| held.partitions.get(p).and_then(reached));
            let least = all.collect::<Option<Vec<i64>>>().and_then(|all| all.into_iter().min());
            held.watermark_us = held.watermark_us.max(least);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.lines.clear();
        self.setup.abort.store(std::thread::panicking(), Ordering::Relaxed);
        let Some(workers) = self.workers.take() else { return };
        let ended: Result<Vec<()>, String> = workers.join().into_iter().collect();
        if let (Err(error), false) = (ended, std::thread::panicking()) {
            panic!("a worker ended abnormally: {error}");
        }
    }
}

fn start(setup: &Setup, options: Options) -> (Vec<Sender<Tell>>, Receiver<Told>, Workers) {
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    KEEP_CUT.store(options.cut, Ordering::SeqCst);
    let (lines, inboxes): (Vec<_>, Vec<_>) = (0..options.workers).map(|_| unbounded()).unzip();
    let (tell, told) = unbounded();
    let setup = setup.clone();
    let workers = topology::start(options.workers, move |worker| {
        let inbox = inboxes[worker.index()].clone();
        if let Err(error) = work(worker, &setup, &inbox, &tell) {
            setup.abort.store(true, Ordering::Relaxed);
            topology::abandon(worker);
            let _ = tell.send(Told::Failed(error));
        }
    });
    for _ in 0..options.workers {
        match told.recv() {
            Ok(Told::Ready) => {}
            Ok(Told::Failed(error)) => panic!("a worker could not start: {error}"),
            _ => panic!("a worker did not start"),
        }
    }
    KEEP_CUT.store(true, Ordering::SeqCst);
    (lines, told, workers.unwrap())
}

fn work(
    worker: &mut Worker,
    setup: &Setup,
    inbox: &Receiver<Tell>,
    tell: &Sender<Told>,
) -> Result<(), String> {
    let mut topology = Topology::build(worker, setup).map_err(|e| format!("{e:?}"))?;
    let _ = tell.send(Told::Ready);
    let mut letters = Vec::new();
    while let Ok(message) = inbox.recv() {
        match message {
            Tell::Records(source, records) => {
                let rejected = topology.feed(source, &records).map_err(|e| format!("{e:?}"))?;
                letters.extend(
                    rejected
                        .into_iter()
                        .map(|r| (source, records.partition, records.offsets[r.record as usize], r.outcome)),
                );
            }
            Tell::Join(source, partition, floor) => topology.join(source, partition, floor),
            Tell::Close(epoch) => {
                let out = topology.close(worker, epoch).map_err(|e| format!("{e:?}"))?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let part = Part { epoch, out, letters: std::mem::take(&mut letters), marks };
                let _ = tell.send(Told::Part(Box::new(part)));
            }
        }
    }
    Ok(())
}
