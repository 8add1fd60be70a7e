//! One worker's running topology: records in, a complete epoch out.
//!
//! The driver feeds records to [`Topology::feed`] and closes an epoch with [`Topology::close`], which
//! steps the dataflow until the probe has passed it. Nothing in here knows a clock, a broker or a
//! thread other than its own.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use schemas::{Decoder, Outcome, Records, Rows};
use state::{Progress, Store};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Concat, Input};
use timely::dataflow::{InputHandle, ProbeHandle, Scope};
pub use timely::worker::Worker;

use crate::arrange::trace::Diff;
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::{Conflict, Op, Plan, Source};
use crate::render::aggregates::accum::Accums;
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::{Collector, EpochOut, Shared};
use crate::render::event_time::watermark::{self, Known, Mark};
use crate::render::linear::Deltas;
use crate::render::{Renderer, Restore, Start};
use crate::source::held::Held;
use crate::source::ingest::{Ingest, PartitionMark, Rejected};
use crate::source::table::{Chunk, Packer, Table, table};
use crate::state_tables::Spaces;

/// Threads that run workers; joining them waits for all.
pub type Workers = timely::communication::WorkerGuards<()>;

/// Starts `peers` worker threads, each running `body`. A worker that fails or panics gives its reason to
/// `failed`, then sets `abort`, so that the others give up.
///
/// A worker whose body has ended, in whatever way, gives up its dataflows and ends: every epoch that was closed
/// is complete on all workers by then or never will be, and a worker that waited for the dataflow itself to
/// complete would wait for ever once another has failed.
///
/// # Errors
/// When threads cannot be started.
pub fn start<E: From<RunError>>(
    peers: usize,
    abort: Arc<AtomicBool>,
    body: impl Fn(&mut Worker) -> Result<(), E> + Send + Sync + 'static,
    failed: impl Fn(E) + Send + Sync + 'static,
) -> Result<Workers, RunError> {
    let config = if peers == 1 { timely::Config::thread() } else { timely::Config::process(peers) };
    let run = move |worker: &mut Worker| {
        let ended = catch_unwind(AssertUnwindSafe(|| body(worker)));
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(panic) => Some(RunError::Panicked(said(panic.as_ref())).into()),
        };
        if let Some(error) = failure {
            failed(error);
            abort.store(true, Ordering::Release);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| abandon(worker))) {
            failed(RunError::Panicked(said(panic.as_ref())).into());
            abort.store(true, Ordering::Release);
            // What is left of the dataflow must not be stepped.
            resume_unwind(panic);
        }
    };
    timely::execute(config, run).map_err(|e| RunError::Broken(format!("workers could not be started: {e}")))
}

/// Gives up a worker's dataflows.
fn abandon(worker: &mut Worker) {
    worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
}

/// The words of a panic.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// Makes a source's decoder; each worker has its own.
pub type MakeDecoder = dyn Fn(&Source) -> Result<Decoder, schemas::SchemaError> + Send + Sync;

/// What a worker is told, in this order for each epoch.
pub enum Command {
    /// Records of one partition of a source, for the open epoch.
    Records(usize, Box<Records>),
    /// A partition of a source appears, with this watermark.
    Join(usize, i32, Option<i64>),
    /// The open epoch is complete; all partitions at its end.
    Close(u64, Arc<Partitions>),
}

/// What all workers of a topology share.
#[derive(Clone)]
pub struct Setup {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its spaces.
    pub spaces: Arc<Spaces>,
    /// The state.
    pub store: Arc<Store>,
    /// Where the dataflow starts.
    pub start: Start,
    /// Progress at the committed epoch.
    pub progress: Arc<Progress>,
    /// The last committed epoch, kept up to date by the driver.
    pub committed: Arc<AtomicU64>,
    /// Each source's committed watermark, microseconds; `i64::MIN` without one.
    pub watermarks: Vec<Arc<AtomicI64>>,
    /// Set when another part of the process failed.
    pub abort: Arc<AtomicBool>,
    /// Makes decoders.
    pub decoder: Arc<MakeDecoder>,
    /// Bytes of rows that the joins of one worker may make in one epoch. A start is not held to it.
    pub joined_bytes: u64,
}

type Handle<D> = InputHandle<u64, CapacityContainerBuilder<Vec<D>>>;

enum Feed {
    Rows(Handle<DeltaBatch>),
    Chunks(Handle<Chunk>, Packer),
}

/// One worker's part of a topology.
pub struct Topology {
    feeds: Vec<Feed>,
    ingests: Vec<Ingest>,
    marks: Handle<Mark>,
    watermarks: Known,
    probe: ProbeHandle<u64>,
    collector: Shared,
    epoch: u64,
    peers: usize,
    abort: Arc<AtomicBool>,
    restored: Option<EpochOut>,
}

/// All partitions of each source, by source index, as of the end of an epoch.
pub type Partitions = Vec<BTreeSet<i32>>;

impl Topology {
    /// Builds the dataflow and brings it to the committed epoch.
    ///
    /// # Errors
    /// When the state cannot be read, or does not fit the plan.
    pub fn build(worker: &mut Worker, setup: &Setup) -> Result<Topology, RunError> {
        let collector: Shared = Rc::new(RefCell::new(Collector::default()));
        let (index, peers) = (worker.index(), worker.peers());
        let (shared, watermarks) = (collector.clone(), restored_watermarks(setup));
        let (known, start) = (watermarks.clone(), setup.start.epoch);
        let built = worker.dataflow(|scope: Scope<'_, u64>| -> Result<_, RunError> {
            let (mut feeds, mut tables, mut streams) = (vec![], vec![], vec![]);
            for (at, source) in setup.plan.sources.iter().enumerate() {
                let (feed, restored, stream) = source_stream(scope, setup, (at, source), &shared)?;
                feeds.push(feed);
                tables.push(restored);
                streams.push(stream);
            }
            let (marks, stream) = scope.new_input();
            let levels = watermark::levels(stream, start, known);
            let renderer = Renderer::new(scope, &setup.plan, &setup.spaces, setup.start, shared.clone())?;
            let (probe, restores) = renderer.with_levels(levels).render(&streams)?;
            Ok((feeds, tables, marks, probe, restores))
        });
        let (feeds, tables, marks, probe, restores) = built?;
        let ingests = setup
            .plan
            .sources
            .iter()
            .map(|source| {
                Ingest::new(
                    source.clone(),
                    (setup.decoder)(source)?,
                    held_marks(&setup.progress, &source.name),
                )
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        let abort = setup.abort.clone();
        let epoch = setup.start.epoch;
        let mut topology = Topology {
            feeds,
            ingests,
            marks,
            watermarks,
            probe,
            collector,
            epoch,
            peers,
            abort,
            restored: None,
        };
        topology.restore(worker, setup, (index, peers), tables, restores)?;
        topology.collector.borrow_mut().limit(setup.joined_bytes);
        Ok(topology)
    }

    /// Enters what the state holds at the committed epoch and works it through.
    fn restore(
        &mut self,
        worker: &mut Worker,
        setup: &Setup,
        (index, peers): (usize, usize),
        tables: Vec<Option<Handle<DeltaBatch>>>,
        restores: Vec<Restore>,
    ) -> Result<(), RunError> {
        let owned = owned_groups(index, peers);
        let epoch = self.epoch;
        self.advance(epoch);
        for (at, handle) in tables.into_iter().enumerate() {
            let (Some(mut handle), Some(space)) = (handle, setup.spaces.tables.get(&at)) else { continue };
            handle.advance_to(epoch);
            if setup.start.restored() && (setup.start.whole || rows_needed(&setup.plan, at)) {
                for group in &owned {
                    restore_table(&setup.store, *space, *group, &mut handle)?;
                    worker.step();
                }
            }
        }
        for restore in restores {
            restore_arrangement(&setup.store, restore, (epoch, &owned), worker)?;
        }
        self.advance(epoch + 1);
        self.settle(worker, epoch)?;
        let restored = self.collector.borrow_mut().take(epoch);
        self.restored = setup.start.whole.then_some(restored);
        Ok(())
    }

    /// What the restored state gave views and sinks, once, where the start asked for it.
    pub fn restored(&mut self) -> Option<EpochOut> {
        self.restored.take()
    }

    /// Judges records of one partition and enters what they give into the open epoch.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn feed(&mut self, source: usize, records: &Records) -> Result<Vec<Rejected>, RunError> {
        let (Some(ingest), Some(feed)) = (self.ingests.get_mut(source), self.feeds.get_mut(source)) else {
            return Err(RunError::Broken(format!("there is no source {source}")));
        };
        let mut candidates = ingest.judge(records)?;
        let rejected = std::mem::take(&mut candidates.rejected);
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(self.epoch);
        for reject in &rejected {
            out.outcome(source, reject.outcome, 1);
        }
        let rows = candidates.batch.num_rows();
        if rows == 0 {
            return Ok(rejected);
        }
        match feed {
            Feed::Rows(handle) => {
                out.outcome(source, Outcome::Accepted, rows as u64);
                handle.send(DeltaBatch::arrow(candidates.batch, vec![1; rows]));
            }
            Feed::Chunks(handle, packer) => {
                for chunk in packer.pack(candidates, records, self.peers)? {
                    handle.send(chunk);
                }
            }
        }
        Ok(rejected)
    }

    /// The marks of a source's partitions, as of all records fed.
    pub fn marks(&self, source: usize) -> HashMap<i32, PartitionMark> {
        self.ingests.get(source).map(|i| i.marks().clone()).unwrap_or_default()
    }

    /// Tells a source that a partition joins at a watermark, or at the source's as of the last closed
    /// epoch where that is higher: what was final stays so.
    pub fn join(&mut self, source: usize, partition: i32, floor_us: Option<i64>) {
        let reached = self.watermarks.borrow().get(&source).copied();
        if let Some(ingest) = self.ingests.get_mut(source) {
            ingest.join(partition, floor_us.max(reached));
        }
    }

    /// Warnings of decoders, once each.
    pub fn warnings(&mut self) -> Vec<String> {
        self.ingests.iter_mut().flat_map(|i| i.warnings()).collect()
    }

    /// Closes the open epoch, which must be `epoch`, and works until it is complete. `partitions` are
    /// those there are at its end.
    ///
    /// # Errors
    /// When an operator failed; nothing of the epoch may be committed.
    pub fn close(
        &mut self,
        worker: &mut Worker,
        epoch: u64,
        partitions: &Partitions,
    ) -> Result<EpochOut, RunError> {
        if epoch != self.epoch {
            return Err(RunError::Broken(format!("epoch {epoch} is closed while {} is open", self.epoch)));
        }
        for (source, (ingest, partitions)) in self.ingests.iter().zip(partitions).enumerate() {
            let Some(reached) = ingest.reached() else { continue };
            let partitions: Vec<i32> = partitions.iter().copied().collect();
            for to in 0..self.peers as u64 {
                let (partitions, reached) = (partitions.clone(), reached.clone());
                self.marks.send(Mark { to, source, partitions, reached });
            }
        }
        self.advance(epoch + 1);
        self.settle(worker, epoch)?;
        Ok(self.collector.borrow_mut().take(epoch))
    }

    fn advance(&mut self, epoch: u64) {
        for feed in &mut self.feeds {
            match feed {
                Feed::Rows(handle) => handle.advance_to(epoch),
                Feed::Chunks(handle, _) => handle.advance_to(epoch),
            }
        }
        self.marks.advance_to(epoch);
        self.epoch = epoch;
    }

    fn settle(&mut self, worker: &mut Worker, epoch: u64) -> Result<(), RunError> {
        while self.probe.less_equal(&epoch) {
            worker.step_or_park(Some(Duration::from_millis(1)));
            if let Some(error) = self.collector.borrow_mut().failure() {
                return Err(error);
            }
            if self.abort.load(Ordering::Relaxed) {
                return Err(RunError::Aborted);
            }
        }
        match self.collector.borrow_mut().failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The watermarks of the committed epoch.
fn restored_watermarks(setup: &Setup) -> Known {
    let held = |source: &Source| setup.progress.sources.get(&source.name)?.watermark_us;
    let sources = setup.plan.sources.iter().enumerate();
    Rc::new(RefCell::new(sources.filter_map(|(at, source)| Some((at, held(source)?))).collect()))
}

type SourceStream<'s> = (Feed, Option<Handle<DeltaBatch>>, Deltas<'s>);

fn source_stream<'s>(
    scope: Scope<'s, u64>,
    setup: &Setup,
    (at, source): (usize, &Source),
    collector: &Shared,
) -> Result<SourceStream<'s>, RunError> {
    let Some(keyed) = &source.keyed else {
        let (handle, stream) = scope.new_input();
        return Ok((Feed::Rows(handle), None, stream));
    };
    let space = *setup
        .spaces
        .tables
        .get(&at)
        .ok_or_else(|| RunError::Broken(format!("table {} has no space", source.name)))?;
    let (handle, chunks) = scope.new_input();
    let (restored, rows) = scope.new_input();
    let judge = Table {
        source: at,
        shape: Shape::new(&source.schema)?,
        do_nothing: keyed.conflict == Conflict::DoNothing,
        retention_us: keyed.retention_us,
        space,
        groups: owned_groups(scope.index(), scope.peers()),
        store: setup.store.clone(),
        committed: setup.committed.clone(),
        watermark: setup.watermarks[at].clone(),
        collector: collector.clone(),
    };
    let stream = table(chunks, judge).concat(rows);
    Ok((Feed::Chunks(handle, Packer::new(source)?), Some(restored), stream))
}

/// The key groups whose keys live at a worker, ascending.
pub(crate) fn owned_groups(index: usize, peers: usize) -> Vec<u8> {
    (0..=255u8).filter(|group| schemas::owner(*group, peers) == index).collect()
}

fn held_marks(progress: &Progress, source: &str) -> HashMap<i32, PartitionMark> {
    let Some(held) = progress.sources.get(source) else { return HashMap::new() };
    held.partitions
        .iter()
        .map(|(p, mark)| (*p, PartitionMark { max_event_us: mark.max_event_us, floor_us: mark.floor_us }))
        .collect()
}

/// Whether anything that is recomputed on a restart reads the source's rows.
fn rows_needed(plan: &Plan, source: usize) -> bool {
    let mut reached = vec![false; plan.rels.len()];
    for (id, rel) in plan.rels.iter().enumerate() {
        let from = rel.op.inputs().iter().any(|input| reached[*input]);
        if from && rel.op.stateful() && !rel.durable {
            return true;
        }
        reached[id] = matches!(rel.op, Op::Source(at) if at == source) || (from && !rel.op.stateful());
    }
    false
}

fn restore_table(
    store: &Store,
    space: u32,
    group: u8,
    handle: &mut Handle<DeltaBatch>,
) -> Result<(), RunError> {
    let mut rows = Rows::new();
    let mut send = |rows: &mut Rows| {
        let rows = std::mem::take(rows);
        let diffs = vec![1; rows.len()];
        handle.send(DeltaBatch { data: Data::Packed(rows), diffs });
    };
    store.scan(space, &[group], |_, value| -> Result<(), RunError> {
        if let Some(row) = Held::row_of(value) {
            rows.push(row);
            if rows.len() >= 4096 {
                send(&mut rows);
            }
        }
        Ok(())
    })?;
    if !rows.is_empty() {
        send(&mut rows);
    }
    Ok(())
}

/// How many restored updates go into the dataflow at once.
const RESTORED: usize = 4096;

fn restore_arrangement(
    store: &Store,
    restore: Restore,
    (epoch, owned): (u64, &[u8]),
    worker: &mut Worker,
) -> Result<(), RunError> {
    match restore {
        Restore::Totals { space, key, handle } => {
            let from = (store, space, &key);
            restore_updates(from, handle, (epoch, owned), worker, Accums::from_bytes)
        }
        Restore::Rows { space, key, handle } => {
            let from = (store, space, &key);
            restore_updates(from, handle, (epoch, owned), worker, state::count_of)
        }
    }
}

fn restore_updates<R: Diff>(
    (store, space, codec): (&Store, u32, &schemas::RowCodec),
    mut handle: Handle<Updates<R>>,
    (epoch, owned): (u64, &[u8]),
    worker: &mut Worker,
    read: impl Fn(&[u8]) -> Option<R>,
) -> Result<(), RunError> {
    let unreadable = || RunError::Broken("an arrangement in the state is not readable".into());
    let peers = worker.peers();
    handle.advance_to(epoch);
    for group in owned {
        let mut outgoing = Outgoing::new(epoch, peers);
        let mut held = 0;
        store.scan(space, &[*group], |stored, value| -> Result<(), RunError> {
            let stored = &stored[1..];
            let (key, rest) = stored.split_at(codec.prefix_len(stored, codec.columns())?);
            outgoing.key(key);
            outgoing.value(rest, read(value).ok_or_else(unreadable)?);
            held += 1;
            if held % RESTORED == 0 {
                let full = std::mem::replace(&mut outgoing, Outgoing::new(epoch, peers));
                full.finish().for_each(|updates| handle.send(updates));
            }
            Ok(())
        })?;
        outgoing.finish().for_each(|updates| handle.send(updates));
        worker.step();
    }
    Ok(())
}
