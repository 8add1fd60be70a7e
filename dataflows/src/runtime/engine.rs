//! A topology in process: workers, epochs in flight and commits, under the caller's control.
//!
//! The caller feeds records, closes epochs and commits them; the engine does nothing by itself, so that a run
//! can be repeated. An epoch is committed when every worker has completed it, in order. [`Engine::stop`]
//! loses all epochs that are not committed, as a crash would. Opening another engine over the same directory
//! goes on at the committed epoch, with any number of workers. Tests of Herald and of users' topologies run
//! on it; `herald run` has its driver, which also publishes.

mod folded;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use schemas::memory::Counted;
use schemas::{MemoryPart, Outcome, Records, Rows};
use state::{Progress, Store, StoreOptions};

pub use folded::{Folded, SinkContent};

use super::edition::{Edition, earlier::with_edition_facts};
use super::epoch::{Assembler, Pending, make_visible, source_watermark};
use super::fill::Pacer;
use super::retention::Served;
use super::state_tables::StateTables;
use super::worker::{Command, MakeDecoder, Setup, Workers};
use crate::collect::SinkDelta;
use crate::error::RunError;
use crate::plan::Plan;
use crate::render::Start;
use crate::render::aggregates::cache::CacheRoom;
use crate::source::erasure::tables_filtered_anew;
use crate::source::progress::SourceHead;
use work::{Report, WorkerEvent};

/// The name of the topology in the state.
const NAME: &str = "engine";
/// Bound on memtables, and again on cached blocks.
const MEMORY_BYTES: usize = 64 << 20;

/// Arguments of [`Engine::open`].
pub struct Opening<'a> {
    /// The plan.
    pub plan: &'a Arc<Plan>,
    /// Directory of the state, which may not exist yet.
    pub dir: &'a Path,
    /// The partitions of each source at the start.
    pub partitions: Vec<BTreeSet<i32>>,
    /// Worker threads.
    pub workers: usize,
    /// Bytes of cached totals of groups, all workers together.
    pub totals_bytes: usize,
    /// Makes the decoders of sources.
    pub decoder: Arc<MakeDecoder>,
}

/// A record that became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetter {
    /// Index of the source in the plan.
    pub source: usize,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Decode, constraint or late.
    pub outcome: Outcome,
    /// The constraint it violates.
    pub constraint: Option<String>,
    /// The reason, in a sentence.
    pub message: String,
}

/// Output of a committed epoch beside the state.
#[derive(Debug, Default)]
pub struct Committed {
    /// The epoch.
    pub epoch: u64,
    /// Changes of sinks, a worker each.
    pub sinks: Vec<BTreeMap<usize, SinkDelta>>,
    /// Dead letters, sorted.
    pub dead_letters: Vec<DeadLetter>,
    /// Rows touched by operator, all workers together.
    pub touched: BTreeMap<String, u64>,
    /// Totals that were looked up by operator: found in its cache, and read from the state.
    pub lookups: BTreeMap<String, [u64; 2]>,
    /// Updates held by arrangement, all workers together.
    pub held: BTreeMap<String, u64>,
}

/// A running topology.
pub struct Engine {
    setup: Setup,
    commands: Vec<Sender<Command>>,
    events: Receiver<WorkerEvent>,
    workers: Option<Workers>,
    open: u64,
    heads: Vec<SourceHead>,
    closed: Pending<Vec<SourceHead>, Report>,
    assembler: Assembler,
    /// Decides how many key groups each epoch fills, while an edited topology is being filled.
    pacer: Option<Pacer>,
    /// The epochs that the start committed to fill the additions of an edited topology, until they are taken.
    filled: Vec<Committed>,
}

impl Engine {
    /// Opens the state, or makes it, and brings the workers to its committed epoch. What an edited topology adds to
    /// the state of an earlier text is filled in epochs of its own, which are committed here.
    ///
    /// # Errors
    /// When the state cannot be opened, is of a topology that this one cannot go on from, or workers cannot be
    /// started.
    pub fn open(opening: Opening<'_>) -> Result<Engine, RunError> {
        let mut engine = Engine::open_filling(opening, u64::MAX)?;
        while engine.is_filling() {
            engine.close()?;
            engine.commit_fill()?;
        }
        Ok(engine)
    }

    /// Opens the state as [`Engine::open`] does, but lets each epoch fill no more than about `piece_rows` rows of the
    /// additions of an edited topology. The first of these epochs is committed here, the others are those that the caller closes.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_filling(opening: Opening<'_>, piece_rows: u64) -> Result<Engine, RunError> {
        let plan = opening.plan;
        let options = StoreOptions {
            create: true,
            topology: Some(NAME.into()),
            write_buffer_bytes: MEMORY_BYTES,
            block_cache_bytes: MEMORY_BYTES,
            erases: true,
            // The digests of a test are the same in every run.
            erasure_salt: Some([0; schemas::SALT_BYTES]),
            ..StoreOptions::default()
        };
        let store = Arc::new(Store::open(opening.dir, &options)?);
        let mut committed = store.meta();
        let (state_tables, progress) = open_state_tables(plan, &store, &committed.progress)?;
        committed.progress = progress;
        let anew = !tables_filtered_anew(plan, &store)?.is_empty();
        let fills = state_tables.fill.is_some() || anew;
        let mut watermarks = Vec::with_capacity(plan.sources.len());
        for source in &plan.sources {
            let held = source_watermark(&committed.progress, &source.name);
            watermarks.push(Arc::new(AtomicI64::new(held.unwrap_or(i64::MIN))));
        }
        let setup = Setup {
            plan: plan.clone(),
            state_tables: Arc::new(state_tables),
            store,
            start: Start { epoch: committed.epoch, whole: false, anew: false },
            watermarks,
            progress: Arc::new(committed.progress.clone()),
            committed: Arc::new(AtomicU64::new(committed.epoch)),
            abort: Arc::new(AtomicBool::new(false)),
            joined_bytes: u64::MAX,
            totals: Arc::new(CacheRoom::new(opening.totals_bytes)),
            decoder: opening.decoder,
        };
        let mut partitions = opening.partitions;
        partitions.resize(plan.sources.len(), BTreeSet::new());
        for (source, partitions) in plan.sources.iter().zip(&mut partitions) {
            if let Some(held) = committed.progress.sources.get(&source.name) {
                partitions.extend(held.partitions.keys().copied());
            }
        }
        let heads = partitions.into_iter().map(new_head).collect();
        let (commands, events, workers) = work::start_workers(&setup, opening.workers)?;
        let (open, workers, closed) = (committed.epoch + 1, Some(workers), Pending::new(opening.workers));
        let assembler = Assembler::new(&setup)?;
        let pacer = Pacer::new(&setup.state_tables, &setup.progress, opening.workers, piece_rows);
        let is_last_next = pacer.as_ref().is_some_and(Pacer::is_last_next);
        let filled = Vec::new();
        let mut engine =
            Engine { setup, commands, events, workers, open, heads, closed, assembler, pacer, filled };
        if fills || is_last_next {
            engine.close()?;
            engine.commit_fill()?;
        }
        Ok(engine)
    }

    /// Commits the epochs that are closed, and keeps their output as that of a filling.
    fn commit_fill(&mut self) -> Result<(), RunError> {
        while let Some(done) = self.commit(0)? {
            self.filled.push(done);
        }
        Ok(())
    }

    /// Takes the epochs that the start committed to fill the additions of an edited topology; none if nothing was edited.
    pub fn take_filled(&mut self) -> Vec<Committed> {
        std::mem::take(&mut self.filled)
    }

    /// Returns true while additions of an edited topology are not filled.
    pub fn is_filling(&self) -> bool {
        self.pacer.is_some()
    }

    /// The state.
    pub fn store(&self) -> &Store {
        &self.setup.store
    }

    /// State tables of the plan.
    pub fn state_tables(&self) -> &StateTables {
        &self.setup.state_tables
    }

    /// Progress as of the last committed epoch.
    pub fn progress(&self) -> &Progress {
        self.assembler.progress()
    }

    /// The last committed epoch.
    pub fn committed(&self) -> u64 {
        self.setup.committed.load(Ordering::Acquire)
    }

    /// The epoch that records are fed into.
    pub fn open_epoch(&self) -> u64 {
        self.open
    }

    /// Returns true if records were fed into the open epoch.
    pub fn fed(&self) -> bool {
        self.heads.iter().any(|head| !head.next.is_empty())
    }

    /// Feeds records of one partition into the open epoch.
    ///
    /// # Errors
    /// When the worker has ended.
    pub fn feed(&mut self, source: usize, records: Records) -> Result<(), RunError> {
        let Some(last) = records.offsets.last() else { return Ok(()) };
        let head = self.open_head(source)?;
        head.read += records.len() as u64;
        head.next.insert(records.partition, last + 1);
        let partition = records.partition;
        let records = Counted::new(MemoryPart::Epochs, records);
        self.send(partition, Command::Records(source, Box::new(records)))
    }

    /// Adds a partition to a source; it starts at the source's committed watermark.
    ///
    /// # Errors
    /// When the worker has ended.
    pub fn join(&mut self, source: usize, partition: i32) -> Result<(), RunError> {
        if !self.open_head(source)?.partitions.insert(partition) {
            return Ok(());
        }
        let name = &self.setup.plan.sources[source].name;
        let floor = source_watermark(self.progress(), name);
        self.send(partition, Command::Join(source, partition, floor))
    }

    /// Returns the head of a source in the open epoch.
    fn open_head(&mut self, source: usize) -> Result<&mut SourceHead, RunError> {
        match self.heads.get_mut(source) {
            Some(head) => Ok(head),
            None => Err(RunError::Broken(format!("there is no source {source}"))),
        }
    }

    /// Closes the open epoch. Behind the one that fills the last rows of an edited topology it closes another, which has
    /// no records and ends the filling.
    ///
    /// # Errors
    /// When a worker has ended.
    pub fn close(&mut self) -> Result<(), RunError> {
        self.close_open()?;
        if self.pacer.as_ref().is_some_and(Pacer::is_last_next) {
            self.close_open()?;
        }
        Ok(())
    }

    fn close_open(&mut self) -> Result<(), RunError> {
        let step = self.pacer.as_mut().and_then(Pacer::next_step);
        self.pacer.take_if(|pacer| pacer.is_finished());
        let (mut partitions, mut next) = (Vec::new(), Vec::new());
        for head in &self.heads {
            partitions.push(head.partitions.clone());
            next.push(new_head(head.partitions.clone()));
        }
        let partitions = Arc::new(partitions);
        self.closed.add_head(self.open, std::mem::replace(&mut self.heads, next));
        for worker in 0..self.commands.len() {
            // A worker's own number stands for a partition that it reads.
            self.send(worker as i32, Command::Close(self.open, Arc::clone(&partitions), step))?;
        }
        self.open += 1;
        Ok(())
    }

    /// Commits the oldest closed epoch if more than `left` are closed, waiting for it to be complete.
    ///
    /// # Errors
    /// When a worker or the commit fails; nothing of the epoch is committed then.
    pub fn commit(&mut self, left: usize) -> Result<Option<Committed>, RunError> {
        if self.closed.len() <= left {
            return Ok(None);
        }
        loop {
            if let Some((epoch, heads, reports)) = self.closed.take_complete() {
                return self.commit_epoch(epoch, &heads, reports).map(Some);
            }
            match self.events.recv() {
                Ok(WorkerEvent::Report(epoch, report)) => self.closed.add_report(epoch, *report),
                Ok(WorkerEvent::Ready) => {}
                Ok(WorkerEvent::Failed(error)) => return Err(error),
                Err(_) => return Err(RunError::Broken("the workers have ended".into())),
            }
        }
    }

    /// Ends the workers; epochs that are not committed are lost.
    ///
    /// # Errors
    /// When a worker ended abnormally.
    pub fn stop(mut self) -> Result<(), RunError> {
        self.join_workers().map_err(|error| RunError::Broken(format!("a worker ended abnormally: {error}")))
    }

    /// The packed rows of a view, as of the last commit, in no particular order.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn view_rows(&self, view: usize) -> Result<Rows, RunError> {
        let (plan, state_tables) = (&self.setup.plan, &self.setup.state_tables);
        match (plan.views.get(view), state_tables.views.get(view)) {
            (Some(view), Some(table_id)) => {
                let entry = state_tables.retained().find(|entry| entry.id == *table_id);
                let served = match entry {
                    Some(entry) => Served::of(entry, self.progress())?,
                    None => None,
                };
                self.table_rows(*table_id, view.key.is_some(), served.as_ref())
            }
            _ => Err(RunError::Broken(format!("there is no view {view}"))),
        }
    }

    /// The packed rows of the error table: view, expression, message and row, all of them text.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn error_rows(&self) -> Result<Rows, RunError> {
        self.table_rows(self.setup.state_tables.errors, false, None)
    }

    /// The rows of a state table, those of a counted one as often as they are held.
    fn table_rows(&self, table_id: u32, keyed: bool, served: Option<&Served>) -> Result<Rows, RunError> {
        let mut rows = Rows::new();
        let visit = |key: &[u8], value: &[u8]| -> Result<(), RunError> {
            // A keyed table maps keys to rows; a counted one maps rows, behind the key group, to counts.
            let row = if keyed { value } else { schemas::without_group(key) };
            if let Some(served) = served
                && !served.is_served(row)?
            {
                return Ok(());
            }
            if keyed {
                rows.push(value);
                return Ok(());
            }
            let Some(count @ 1..) = state::count_of(value) else {
                return Err(RunError::Damaged("a view holds a row without a count".into()));
            };
            for _ in 0..count {
                rows.push(row);
            }
            Ok(())
        };
        self.setup.store.snapshot()?.scan(table_id, &[], visit)?;
        Ok(rows)
    }

    /// Sends a command to the worker that reads a partition.
    fn send(&self, partition: i32, command: Command) -> Result<(), RunError> {
        let worker = partition.unsigned_abs() as usize % self.commands.len().max(1);
        if let Some(commands) = self.commands.get(worker)
            && commands.send(command).is_ok()
        {
            return Ok(());
        }
        Err(RunError::Broken("a worker has ended".into()))
    }

    /// Commits a complete epoch and makes it visible.
    fn commit_epoch(
        &mut self,
        epoch: u64,
        heads: &[SourceHead],
        reports: Vec<Report>,
    ) -> Result<Committed, RunError> {
        let mut done = Committed { epoch, ..Committed::default() };
        let mut workers = Vec::with_capacity(reports.len());
        for mut report in reports {
            done.sinks.push(std::mem::take(&mut report.share.out.sinks));
            done.dead_letters.extend(report.dead_letters);
            workers.push(report.share);
        }
        done.dead_letters.sort_unstable();
        let assembled = self.assembler.assemble(&self.setup, (epoch, epoch as i64), heads, workers)?;
        self.setup.store.commit(assembled.commit)?;
        make_visible(&self.setup, epoch, self.assembler.progress());
        (done.touched, done.held) = (assembled.touched, assembled.held);
        done.lookups = assembled.lookups;
        Ok(done)
    }

    /// Closes the channels to the workers, at which they end, and waits for them.
    fn join_workers(&mut self) -> Result<(), String> {
        self.commands.clear();
        // A worker may wait for a commit that does not come any more.
        if self.setup.state_tables.pieces.is_some() && !self.closed.is_empty() {
            self.setup.abort.store(true, Ordering::Release);
        }
        let Some(workers) = self.workers.take() else { return Ok(()) };
        workers.join().into_iter().collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.setup.abort.store(true, Ordering::Relaxed);
        // Callers that need the workers' errors use `stop`.
        let _ = self.join_workers();
    }
}

fn new_head(partitions: BTreeSet<i32>) -> SourceHead {
    SourceHead { partitions, ..SourceHead::default() }
}

/// The state tables of the plan with the ids of the state's catalogue, which becomes that of the plan: at once, or
/// with the first epoch of an edited topology. Also returns the progress to begin with.
fn open_state_tables(
    plan: &Plan,
    store: &Store,
    progress: &Progress,
) -> Result<(StateTables, Progress), RunError> {
    let held = store.catalogue()?.filter(|held| !held.entries.is_empty());
    let changed = match StateTables::of(plan, held.as_ref()) {
        Ok(tables) => {
            store.put_catalogue(&tables.catalogue(NAME))?;
            return Ok((tables, progress.clone()));
        }
        Err(changed) => changed,
    };
    let held = with_edition_facts(plan, &held.unwrap_or_default());
    let edition = Edition::of(plan, (&held, progress), false)?;
    if let Some(refusal) = edition.refusals.first() {
        let what = format!("{}; changed: {}", refusal.message, changed.join(", "));
        return Err(RunError::Broken(what));
    }
    if let Some(indexes) = &edition.indexes {
        store.put_catalogue(indexes)?;
    }
    store.prepare_edition(&edition.tables.catalogue(NAME))?;
    let begun = edition.progress(progress);
    Ok((edition.tables, begun))
}
