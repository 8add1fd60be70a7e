//! One worker's running topology: records in, a complete epoch out.
//!
//! The driver feeds records to [`Topology::feed`] and closes an epoch with [`Topology::close`], which
//! steps the dataflow until the probe has passed it. This module knows no clock, no broker and no
//! thread other than its own.

mod orders;

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use schemas::memory::{Counted, HeapBytes};
use schemas::{Decoder, Outcome, Ownership, Records, RowCodec};
use state::{Progress, Store};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Concat, Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, Stream};
pub use timely::worker::Worker;

use self::orders::{OrderInput, order_input};
use super::edition::{first_epoch::add_filled, last_epoch};
use super::fill::FillStep;
use super::restore::{restore_arrangement, restore_table, rows_needed};
use super::state_tables::StateTables;
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::collect::{Collector, EpochOut, Shared};
use crate::error::RunError;
use crate::plan::{Conflict, Plan, Source};
use crate::render::aggregates::{cache::CacheRoom, totals::StateReads};
use crate::render::batch::{DeltaBatch, RelationType};
use crate::render::event_time::watermark::{self, CurrentWatermarks, PartitionWatermark};
use crate::render::linear::Deltas;
use crate::render::operators::{each_message, owner_of};
use crate::render::{Renderer, Restore, Start};
use crate::source::erasure::filter::RowFilter;
use crate::source::erasure::{Erasing, SharedErasing};
use crate::source::ingest::{Ingest, Rejected};
use crate::source::table::{Chunk, Packer, Table, table};
use crate::source::watermark::PartitionMark;

/// Worker threads; joining them waits for all.
pub type Workers = timely::communication::WorkerGuards<()>;

/// Starts `peers` worker threads, each running `body`. A worker that fails or panics passes its error to
/// `failed`, then sets `abort`, so that the others stop.
///
/// A worker whose body has ended, in whatever way, drops its dataflows and ends: every epoch that was closed
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
            Err(panic) => Some(RunError::Panicked(panic_message(panic.as_ref())).into()),
        };
        // The cause first, then the flag: the workers that the flag stops report only that they were aborted.
        if let Some(error) = failure {
            failed(error);
            abort.store(true, Ordering::Release);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop_dataflows(worker))) {
            failed(RunError::Panicked(panic_message(panic.as_ref())).into());
            abort.store(true, Ordering::Release);
            // The rest of the dataflow is in an unknown state and must not be stepped.
            resume_unwind(panic);
        }
    };
    timely::execute(config, run).map_err(|e| RunError::Broken(format!("workers could not be started: {e}")))
}

/// Drops a worker's dataflows without completing them.
fn drop_dataflows(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

/// The message of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    match panic.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => "without a word".to_owned(),
    }
}

/// Makes a source's decoder; each worker has its own.
pub type MakeDecoder = dyn Fn(&Source) -> Result<Decoder, schemas::SchemaError> + Send + Sync;

/// Commands to a worker, for each epoch in this order.
pub enum Command {
    /// Records of one partition of a source, for the open epoch.
    Records(usize, Box<Counted<Records>>),
    /// A partition of a source appears and starts at this watermark.
    Join(usize, i32, Option<i64>),
    /// The open epoch has all its records; with all partitions at its end, and the step of a filling, if there is one.
    Close(u64, Arc<Partitions>, Option<FillStep>),
}

/// Everything that the workers of a topology share.
#[derive(Clone)]
pub struct Setup {
    /// The plan.
    pub plan: Arc<Plan>,
    /// State tables of the plan.
    pub state_tables: Arc<StateTables>,
    /// The state.
    pub store: Arc<Store>,
    /// The epoch the dataflow starts from, and how it is restored.
    pub start: Start,
    /// Progress at the committed epoch.
    pub progress: Arc<Progress>,
    /// The last committed epoch, kept up to date by the driver.
    pub committed: Arc<AtomicU64>,
    /// Each source's committed watermark, microseconds; `i64::MIN` without one.
    pub watermarks: Vec<Arc<AtomicI64>>,
    /// Set when another part of the process failed.
    pub abort: Arc<AtomicBool>,
    /// Makes the decoders of sources.
    pub decoder: Arc<MakeDecoder>,
    /// Limit on the bytes of rows that the joins of one worker make in an epoch; not applied while restoring.
    pub joined_bytes: u64,
    /// Room for the cached totals of all workers.
    pub totals: Arc<CacheRoom>,
}

/// Longest time a worker sleeps while it waits for the dataflow.
const MAX_PARK: Duration = Duration::from_millis(1);

pub(super) type Handle<D> = InputHandle<u64, CapacityContainerBuilder<Vec<D>>>;

/// The input of a source.
enum Feed {
    /// Rows of an append-only source.
    Rows(Handle<DeltaBatch>),
    /// Candidates of a table, packed for the workers that own their keys.
    Chunks(Handle<Chunk>, Packer),
}

/// One worker's part of a running topology.
pub struct Topology {
    feeds: Vec<Feed>,
    ingests: Vec<Ingest>,
    marks: Handle<PartitionWatermark>,
    watermarks: CurrentWatermarks,
    probe: ProbeHandle<u64>,
    collector: Shared,
    epoch: u64,
    ownership: Ownership,
    /// Index of the worker.
    index: usize,
    errors: ErrorInput,
    orders: OrderInput,
    abort: Arc<AtomicBool>,
    restored: Option<EpochOut>,
    /// Output of the restored state for the additions of an edited topology, until the first epoch takes it.
    filled: Option<(Setup, EpochOut)>,
    /// The topology, while parts of it are filled piece by piece.
    filling: Option<Setup>,
    /// The step of the filling that the open epoch takes.
    step: Option<FillStep>,
    /// Persons erased so far, if the topology erases any.
    erasing: Option<SharedErasing>,
}

/// Input of the rows of the error table, on their way to the workers that own them.
struct ErrorInput {
    handle: Handle<Updates<i64>>,
    probe: ProbeHandle<u64>,
    /// The error table.
    table_id: u32,
}

/// A rendered plan, with the inputs that fill it.
struct Dataflow {
    feeds: Vec<Feed>,
    /// Inputs of the restored rows of tables, by source.
    tables: Vec<Option<Handle<DeltaBatch>>>,
    marks: Handle<PartitionWatermark>,
    errors: ErrorInput,
    orders: OrderInput,
    probe: ProbeHandle<u64>,
    restores: Vec<Restore>,
}

impl Dataflow {
    /// Renders the plan in a dataflow of the worker.
    fn build(
        worker: &mut Worker,
        setup: &Setup,
        (collector, erasing): (&Shared, &Option<SharedErasing>),
        watermarks: CurrentWatermarks,
    ) -> Result<Dataflow, RunError> {
        worker.dataflow(|scope: Scope<'_, u64>| {
            let (mut feeds, mut tables, mut streams) = (vec![], vec![], vec![]);
            for (at, source) in setup.plan.sources.iter().enumerate() {
                let (feed, restored, stream) =
                    source_stream(scope, setup, (at, source), (collector, erasing))?;
                feeds.push(feed);
                tables.push(restored);
                streams.push(stream);
            }
            let (marks, stream) = scope.new_input();
            let updates = watermark::combine_watermarks(stream, setup.start.epoch, watermarks);
            let renderer =
                Renderer::new(scope, &setup.plan, &setup.state_tables, setup.start, collector.clone())?;
            let reads = StateReads::new(&setup.store, &setup.committed, &setup.totals);
            let (probe, restores) = renderer.with_watermarks(updates).with_state(reads).render(&streams)?;
            let errors = error_input(scope, setup.state_tables.errors, collector.clone());
            let orders = order_input(scope, erasing.clone());
            Ok(Dataflow { feeds, tables, marks, errors, orders, probe, restores })
        })
    }
}

/// All partitions of each source, by source index, as of the end of an epoch.
pub type Partitions = Vec<BTreeSet<i32>>;

impl Topology {
    /// Builds the dataflow and brings it to the committed epoch.
    ///
    /// # Errors
    /// When the state cannot be read, or does not fit the plan.
    pub fn build(worker: &mut Worker, setup: &Setup) -> Result<Topology, RunError> {
        let ownership = Ownership::even(worker.peers());
        let collector: Shared = Rc::new(RefCell::new(Collector::new(ownership.clone())));
        collector.borrow_mut().open_gates(setup.start.epoch, setup.progress.filled_groups.unwrap_or(0));
        let watermarks = restored_watermarks(setup);
        let erasing = Erasing::of(&setup.plan, &setup.store)?;
        let dataflow = Dataflow::build(worker, setup, (&collector, &erasing), watermarks.clone())?;
        let Dataflow { feeds, tables, marks, errors, orders, probe, restores } = dataflow;
        let mut ingests = Vec::with_capacity(setup.plan.sources.len());
        for (at, source) in setup.plan.sources.iter().enumerate() {
            let decoder = (setup.decoder)(source)?;
            let marks = committed_marks(&setup.progress, &source.name);
            ingests.push(Ingest::new((at, source.clone()), decoder, marks, erasing.clone())?);
        }
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
            ownership,
            index: worker.index(),
            errors,
            orders,
            abort,
            restored: None,
            filled: None,
            filling: setup.state_tables.pieces.is_some().then(|| setup.clone()),
            step: None,
            erasing,
        };
        topology.restore(worker, setup, tables, restores)?;
        // Like a start, a filling may join more rows of the state than records ever do at once.
        let pieces = setup.state_tables.pieces.as_ref();
        if !pieces.is_some_and(|pieces| pieces.fills_operators()) {
            topology.collector.borrow_mut().limit_joined_bytes(setup.joined_bytes);
        }
        Ok(topology)
    }

    /// Returns the packed form of the key of each durable arrangement, by its state table.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub fn arrangement_keys(worker: &mut Worker, setup: &Setup) -> Result<HashMap<u32, RowCodec>, RunError> {
        let collector: Shared = Rc::new(RefCell::new(Collector::new(Ownership::even(worker.peers()))));
        let built = Dataflow::build(worker, setup, (&collector, &None), restored_watermarks(setup));
        let keys =
            built.map(|dataflow| dataflow.restores.into_iter().filter_map(Restore::into_key).collect());
        drop_dataflows(worker);
        keys
    }

    /// Feeds the state's rows of the committed epoch into the dataflow and waits until they have passed it.
    fn restore(
        &mut self,
        worker: &mut Worker,
        setup: &Setup,
        tables: Vec<Option<Handle<DeltaBatch>>>,
        restores: Vec<Restore>,
    ) -> Result<(), RunError> {
        let owned = self.ownership.ranges(self.index);
        // Restored rows carry the committed epoch; the first open epoch is the next one.
        let epoch = self.epoch;
        self.advance_inputs(epoch);
        for (at, handle) in tables.into_iter().enumerate() {
            let (Some(mut handle), Some(table_id)) = (handle, setup.state_tables.tables.get(&at)) else {
                continue;
            };
            handle.advance_to(epoch);
            // Rows read only by operators with durable state need not be fed: that state is restored itself.
            if setup.start.is_restored() && (setup.start.whole || rows_needed(setup, at)) {
                restore_table(&setup.store, (*table_id, &owned), &mut handle, worker)?;
            }
        }
        for restore in restores {
            restore_arrangement(&setup.store, restore, &owned, (epoch, &self.ownership), worker)?;
        }
        self.advance_inputs(epoch + 1);
        self.run_through(worker, epoch)?;
        if let Some(pieces) = &setup.state_tables.pieces {
            pieces.waiting.worker_counted();
        }
        // Views and sinks have this output already; it is kept only where the start asks for it.
        let restored = self.take_complete(worker, epoch)?;
        if setup.state_tables.fill.is_some() {
            self.filled = Some((setup.clone(), restored));
        } else {
            self.restored = setup.start.whole.then_some(restored);
        }
        Ok(())
    }

    /// Takes the output of the restored state for views and sinks, where the start asked for it.
    pub fn take_restored(&mut self) -> Option<EpochOut> {
        self.restored.take()
    }

    /// Validates records of one partition and feeds the rows into the open epoch; returns the rejected
    /// records.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn feed(&mut self, source: usize, records: &Records) -> Result<Vec<Rejected>, RunError> {
        let (Some(ingest), Some(feed)) = (self.ingests.get_mut(source), self.feeds.get_mut(source)) else {
            return Err(RunError::Broken(format!("there is no source {source}")));
        };
        let mut candidates = ingest.candidates(records)?;
        let rejected = std::mem::take(&mut candidates.rejected);
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(self.epoch);
        for reject in &rejected {
            out.count_outcome(source, reject.outcome, 1);
        }
        let rows = candidates.batch.num_rows();
        if rows == 0 {
            return Ok(rejected);
        }
        out.count_fed(candidates.batch.get_array_memory_size());
        match feed {
            Feed::Rows(handle) => {
                out.count_outcome(source, Outcome::Accepted, rows as u64);
                handle.send(DeltaBatch::from_columns(candidates.batch, vec![1; rows]));
            }
            Feed::Chunks(handle, packer) => {
                for chunk in packer.pack(candidates, records, &self.ownership)? {
                    out.count_fed(chunk.heap_bytes());
                    handle.send(chunk);
                }
            }
        }
        Ok(rejected)
    }

    /// The marks of a source's partitions, as of all records fed.
    pub fn marks(&self, source: usize) -> HashMap<i32, PartitionMark> {
        self.ingests.get(source).map(Ingest::marks).cloned().unwrap_or_default()
    }

    /// Adds a partition to a source. It starts at `floor_us`, or at the source's watermark of the last closed
    /// epoch where that is higher: rows that were final stay final.
    pub fn join_partition(&mut self, source: usize, partition: i32, floor_us: Option<i64>) {
        let reached = self.watermarks.borrow().get(&source).copied();
        if let Some(ingest) = self.ingests.get_mut(source) {
            ingest.join_partition(partition, floor_us.max(reached));
        }
    }

    /// Warnings of decoders, once each.
    pub fn warnings(&mut self) -> Vec<String> {
        self.ingests.iter_mut().flat_map(Ingest::warnings).collect()
    }

    /// Takes a step of a filling with the open epoch, which is closed next.
    pub fn fill(&mut self, step: FillStep) {
        if let FillStep::Open(groups) = step {
            self.collector.borrow_mut().open_gates(self.epoch, groups);
        }
        self.step = Some(step);
    }

    /// Closes the open epoch, which must be `epoch`, and steps the dataflow until it is complete.
    /// `partitions` are all that exist at its end.
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
        // Every worker gets the marks of every other, so that all compute the same watermarks.
        for (source, (ingest, partitions)) in self.ingests.iter().zip(partitions).enumerate() {
            let Some(reached) = ingest.partition_watermarks() else { continue };
            let partitions: Vec<i32> = partitions.iter().copied().collect();
            for to in 0..self.ownership.workers() as u64 {
                let (partitions, reached) = (partitions.clone(), reached.clone());
                self.marks.send(PartitionWatermark { to, source, partitions, reached });
            }
        }
        let orders = self.share_orders(worker, epoch)?;
        self.advance_inputs(epoch + 1);
        self.run_through(worker, epoch)?;
        let mut out = self.take_complete(worker, epoch)?;
        out.orders = orders;
        if let Some(erasing) = &self.erasing {
            erasing.borrow_mut().settle();
        }
        if let Some((setup, filled)) = self.filled.take() {
            add_filled(&setup, filled, &mut out, (self.index, self.ownership.workers()))?;
        }
        self.end_fill_step(epoch, &mut out)?;
        Ok(out)
    }

    /// Holds back the output of a filling, or ends it.
    fn end_fill_step(&mut self, epoch: u64, out: &mut EpochOut) -> Result<(), RunError> {
        let Some(setup) = &self.filling else { return Ok(()) };
        let (place, step) = ((self.index, self.ownership.workers()), self.step.take());
        match step {
            Some(FillStep::Finish) => {
                last_epoch::finish(setup, epoch, out, place)?;
                self.collector.borrow_mut().limit_joined_bytes(setup.joined_bytes);
                self.filling = None;
            }
            Some(FillStep::Open(_)) | None => last_epoch::hold_back(setup, out),
        }
        out.fill = step;
        Ok(())
    }

    /// Takes the output of an epoch that the dataflow has passed. Rows of the error table arise at any worker
    /// and are counted at their owner, so that each row has one place that holds its count.
    fn take_complete(&mut self, worker: &mut Worker, epoch: u64) -> Result<EpochOut, RunError> {
        if self.ownership.workers() > 1 {
            let (rows, diffs) = std::mem::take(&mut self.collector.borrow_mut().at(epoch).errors);
            self.errors.handle.advance_to(epoch);
            let mut outgoing = ExchangeBuffer::new(epoch, &self.ownership);
            for (row, diff) in rows.iter().zip(diffs) {
                outgoing.push_key(row);
                outgoing.push_value(&[], diff);
            }
            for updates in outgoing.into_updates() {
                self.errors.handle.send(updates);
            }
            self.errors.handle.advance_to(epoch + 1);
            self.step_through(worker, &self.errors.probe.clone(), epoch)?;
        }
        let mut out = self.collector.borrow_mut().take(epoch);
        out.count_errors(self.errors.table_id);
        Ok(out)
    }

    /// Moves all inputs of records to `epoch`, which becomes the open one.
    fn advance_inputs(&mut self, epoch: u64) {
        for feed in &mut self.feeds {
            match feed {
                Feed::Rows(handle) => handle.advance_to(epoch),
                Feed::Chunks(handle, _) => handle.advance_to(epoch),
            }
        }
        self.marks.advance_to(epoch);
        self.epoch = epoch;
    }

    /// Steps the worker until `epoch` is complete on all of them, or something failed.
    fn run_through(&mut self, worker: &mut Worker, epoch: u64) -> Result<(), RunError> {
        self.step_through(worker, &self.probe.clone(), epoch)
    }

    fn step_through(
        &mut self,
        worker: &mut Worker,
        probe: &ProbeHandle<u64>,
        epoch: u64,
    ) -> Result<(), RunError> {
        while probe.less_equal(&epoch) {
            // A short park: failures of other workers show in `abort` only, which wakes nobody.
            worker.step_or_park(Some(MAX_PARK));
            if let Some(error) = self.collector.borrow_mut().take_failure() {
                return Err(error);
            }
            if self.abort.load(Ordering::Relaxed) {
                return Err(RunError::Aborted);
            }
        }
        match self.collector.borrow_mut().take_failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The sources' watermarks of the committed epoch.
fn restored_watermarks(setup: &Setup) -> CurrentWatermarks {
    let mut watermarks = BTreeMap::new();
    for (at, source) in setup.plan.sources.iter().enumerate() {
        if let Some(held) = setup.progress.sources.get(&source.name)
            && let Some(watermark_us) = held.watermark_us
        {
            watermarks.insert(at, watermark_us);
        }
    }
    Rc::new(RefCell::new(watermarks))
}

/// A source's input, the input of its restored rows (tables only), and the stream of its deltas.
type SourceStream<'s> = (Feed, Option<Handle<DeltaBatch>>, Deltas<'s>);

fn source_stream<'s>(
    scope: Scope<'s, u64>,
    setup: &Setup,
    (at, source): (usize, &Source),
    (collector, erasing): (&Shared, &Option<SharedErasing>),
) -> Result<SourceStream<'s>, RunError> {
    let Some(keyed) = &source.keyed else {
        let (handle, stream) = scope.new_input();
        return Ok((Feed::Rows(handle), None, stream));
    };
    let Some(&table_id) = setup.state_tables.tables.get(&at) else {
        return Err(RunError::Broken(format!("table {} has no space", source.name)));
    };
    let (handle, chunks) = scope.new_input();
    let (restored, rows) = scope.new_input();
    let types: Vec<_> = keyed.key.iter().map(|at| source.schema.field(*at).data_type().clone()).collect();
    let operator = Table {
        source: at,
        shape: RelationType::new(&source.schema)?,
        declared: source.schema.fields().len() - source.includes.len(),
        key: RowCodec::new(&types)?,
        filter: RowFilter::new(source)?.zip(erasing.clone()),
        do_nothing: keyed.conflict == Conflict::DoNothing,
        retention_us: keyed.retention_us,
        table_id,
        groups: collector.borrow().ownership().ranges(scope.index()),
        store: setup.store.clone(),
        committed: setup.committed.clone(),
        watermark: setup.watermarks[at].clone(),
        collector: collector.clone(),
    };
    let stream = table(chunks, operator).concat(rows);
    Ok((Feed::Chunks(handle, Packer::new(source)?), Some(restored), stream))
}

/// Builds the way of error rows from the workers where they arise to the workers that own them, which count
/// them.
fn error_input(scope: Scope<'_, u64>, table_id: u32, collector: Shared) -> ErrorInput {
    let probe = ProbeHandle::new();
    let (handle, stream): (Handle<Updates<i64>>, _) = scope.new_input();
    let counted: Stream<'_, u64, Vec<()>> =
        each_message(stream, Exchange::new(owner_of), "CountErrors", move |time, updates, _output| {
            let mut collector = collector.borrow_mut();
            let out = collector.at(*time.time());
            for (row, _, diff) in updates.iter().flat_map(Updates::iter) {
                out.add_error(row, *diff);
            }
        });
    counted.probe_with(&probe);
    ErrorInput { handle, probe, table_id }
}

/// The committed marks of a source's partitions.
fn committed_marks(progress: &Progress, source: &str) -> HashMap<i32, PartitionMark> {
    let Some(held) = progress.sources.get(source) else { return HashMap::new() };
    held.partitions
        .iter()
        .map(|(partition, committed)| (*partition, PartitionMark::from(committed)))
        .collect()
}
