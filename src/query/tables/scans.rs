//! Scans of views while a query runs: the threads that read the epoch, and the requests to them.
//!
//! The query engine keeps its tables as long as it likes, and an epoch borrows its reader. So tables do not hold the
//! epoch: they send requests to [`ScanServer`], which lives in a scope of threads beside the query. Each scan has a
//! thread of its own that sends batches through a bounded channel and ends when nobody receives them any more. A scan
//! that fails sends its failure, which the server keeps as well: the query engine's errors lose what kind it was.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use anyhow::{Context, Error, Result};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use crossbeam_channel::Receiver;
use dataflows::plan::explain::failure;
use dataflows::runtime::retention::Served;
use dataflows::runtime::state_tables::ERRORS;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::Count;
use schemas::{KEY_GROUPS, RowCodec, Rows, stored_group, without_group};
use state::{CatalogueEntry, IndexLayout, count_of};
use tokio::sync::mpsc::Sender;

use super::conditions::Bounds;
use super::epoch::EpochReads;
use crate::exit::mistake;

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8192;
/// Bytes of packed rows after which a batch is full, however few they are.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait until the query takes them.
pub(super) const BATCHES_AHEAD: usize = 2;
/// Most scans of a query at a time.
pub(in crate::query) const MAX_SCANS: usize = 64;
/// Stack bytes of a scan's thread.
const STACK_BYTES: usize = 1 << 20;
/// Entries from which the size of a view is estimated: those of the first groups of keys that have so many.
const SAMPLED_ENTRIES: u64 = 256;
/// Most entries that are counted for it.
const COUNTED_ENTRIES: u64 = 8192;
/// Entries after which a scan looks whether somebody still receives.
const ENTRIES_BETWEEN_LOOKS: usize = 1024;

/// A view in the state.
#[derive(Debug)]
pub(super) struct StoredView {
    /// Its entry in the catalogue.
    pub entry: CatalogueEntry,
    /// Its columns.
    pub schema: SchemaRef,
    /// About its size.
    pub size: ViewSize,
}

/// An index of a view in the state.
#[derive(Debug)]
pub(super) struct StoredIndex {
    /// Its name.
    pub name: String,
    /// The form of its entries.
    pub layout: IndexLayout,
}

/// Estimated size of a view, by which a join chooses the side that it holds in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ViewSize {
    /// Bytes of its entries.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
}

impl ViewSize {
    /// Estimates from the entries of the first groups of keys; a small view is counted. Keys are spread over groups by a
    /// hash, so that a few groups tell of all, in files and in memory.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn estimate(epoch: &dyn EpochReads, table_id: u32) -> Result<ViewSize> {
        let all = Arc::new(Bounds::All);
        let mut scan = epoch.open_scan(table_id, &all)?;
        let (mut counted, mut group) = (ViewSize::default(), None);
        while counted.rows < COUNTED_ENTRIES {
            if !scan.advance()? {
                return Ok(counted);
            }
            let Some((key, value)) = scan.entry() else { break };
            let next = stored_group(key);
            if let (true, Some(groups)) = (group.is_some() && next != group, next)
                && counted.rows >= SAMPLED_ENTRIES
            {
                return Ok(counted.times(KEY_GROUPS as u64, u64::from(groups)));
            }
            group = next;
            counted.rows += 1;
            counted.bytes += (key.len() + value.len()) as u64;
        }
        // So many of one group: the files tell, though not what is in none of them yet.
        let in_files = epoch.estimated_bytes(table_id, &all)?.max(counted.bytes);
        Ok(counted.times(in_files, counted.bytes))
    }

    /// The size of an index, whose keys are in no groups: it has an entry for each of its view.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn of_index(epoch: &dyn EpochReads, table_id: u32, view: ViewSize) -> Result<ViewSize> {
        let mut scan = epoch.open_scan(table_id, &Arc::new(Bounds::All))?;
        let mut counted = ViewSize::default();
        while counted.rows < SAMPLED_ENTRIES && scan.advance()? {
            let Some((key, value)) = scan.entry() else { break };
            counted.rows += 1;
            counted.bytes += (key.len() + value.len()) as u64;
        }
        Ok(counted.times(view.rows, counted.rows))
    }

    /// The size as a share of another: `whole` for each `part`.
    fn times(self, whole: u64, part: u64) -> ViewSize {
        let grown = |n: u64| (u128::from(n) * u128::from(whole) / u128::from(part.max(1))) as u64;
        ViewSize { bytes: grown(self.bytes), rows: grown(self.rows) }
    }

    /// The size of at most so many rows.
    pub fn at_most(self, rows: u64) -> ViewSize {
        let rows = self.rows.min(rows);
        ViewSize { bytes: self.bytes / self.rows.max(1) * rows, rows }
    }
}

/// Counters of a scan, which EXPLAIN ANALYZE shows.
#[derive(Debug)]
pub(super) struct Counters {
    /// Entries that were read from the state.
    pub entries: Count,
    /// Places in the state that were looked up.
    pub seeks: Count,
    /// Rows that were sent.
    pub rows: Count,
}

/// A request of a query's tables, which do not hold the epoch.
#[derive(Debug)]
pub(crate) enum EpochRequest {
    /// For the rows of a view.
    Rows(ScanRequest),
    /// For the estimated size of entries.
    Size(SizeRequest),
}

/// A request for the estimated bytes of a state table within bounds.
#[derive(Debug)]
pub(crate) struct SizeRequest {
    /// The id of the state table.
    pub(super) table_id: u32,
    /// The entries that count.
    pub(super) bounds: Arc<Bounds>,
    /// The receiver's other end; it gets nothing where the state cannot be read.
    pub(super) bytes: crossbeam_channel::Sender<u64>,
}

/// A request for the rows of a view.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    /// The view.
    pub(super) view: Arc<StoredView>,
    /// The index to read instead of the view's own entries.
    pub(super) index: Option<Arc<StoredIndex>>,
    /// The wanted columns, by index.
    pub(super) columns: Vec<usize>,
    /// The schema of the batches.
    pub(super) schema: SchemaRef,
    /// The entries to read.
    pub(super) bounds: Arc<Bounds>,
    /// Most rows to send.
    pub(super) limit: Option<usize>,
    /// Its counters.
    pub(super) counters: Counters,
    /// The receiver's other end.
    pub(super) rows: Sender<datafusion::error::Result<RecordBatch>>,
}

/// Server of a query's scans of one epoch.
pub(crate) struct ScanServer<'a> {
    epoch: &'a dyn EpochReads,
    running: AtomicUsize,
    /// The first failure of a scan.
    failure: Mutex<Option<Error>>,
}

impl<'a> ScanServer<'a> {
    /// A server without scans.
    pub(crate) fn new(epoch: &'a dyn EpochReads) -> ScanServer<'a> {
        ScanServer { epoch, running: AtomicUsize::new(0), failure: Mutex::new(None) }
    }

    /// Starts a scan for each request for rows and answers the others, until all their senders are gone.
    pub(crate) fn serve<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        requests: Receiver<EpochRequest>,
    ) {
        for request in requests {
            let request = match request {
                EpochRequest::Rows(request) => request,
                EpochRequest::Size(asked) => {
                    if let Ok(bytes) = self.epoch.estimated_bytes(asked.table_id, &asked.bounds) {
                        // Nobody waits if the query has ended.
                        let _ = asked.bytes.send(bytes);
                    }
                    continue;
                }
            };
            if self.running.load(Ordering::Acquire) >= MAX_SCANS {
                let mistake = mistake(format!(
                    "the query cannot be run: it reads views in more than {MAX_SCANS} places. Ask it in parts"
                ));
                self.fail_scan(&request.rows, mistake);
                continue;
            }
            let rows = request.rows.clone();
            if let Err(error) = self.start_scan(scope, request) {
                // Without this, the end of the channel would pass for the end of the rows.
                self.fail_scan(&rows, Error::from(error).context("a scan cannot be started"));
            }
        }
    }

    /// The first failure of a scan, if one failed.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Starts the thread of a scan.
    fn start_scan<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        request: ScanRequest,
    ) -> io::Result<()> {
        self.running.fetch_add(1, Ordering::AcqRel);
        let thread = Builder::new().name("herald-scan".to_owned()).stack_size(STACK_BYTES);
        let started = thread.spawn_scoped(scope, move || self.run_scan(request));
        if started.is_err() {
            self.running.fetch_sub(1, Ordering::AcqRel);
        }
        started.map(drop)
    }

    /// Runs a scan to its end.
    fn run_scan(&self, request: ScanRequest) {
        if let Err(error) = send_rows(self.epoch, &request) {
            self.fail_scan(&request.rows, error);
        }
        // Before the channel ends: who has read to the end may start another scan.
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    /// Keeps the failure of a scan, and tells it to the receiver.
    fn fail_scan(&self, rows: &Sender<datafusion::error::Result<RecordBatch>>, error: Error) {
        let told = DataFusionError::Execution(format!("{error:#}"));
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        // Nobody is left to be told if the receiver is gone.
        let _ = rows.blocking_send(Err(told));
    }
}

/// Sends the rows that a request asks for.
fn send_rows(epoch: &dyn EpochReads, request: &ScanRequest) -> Result<()> {
    let entry = &request.view.entry;
    let mut output = ScanOutput {
        request,
        codec: RowCodec::of(&request.view.schema)?,
        served: Served::of(entry, &epoch.committed().progress)?,
        packed: Rows::new(),
        wanted: request.limit.unwrap_or(usize::MAX),
        read: 0,
    };
    if output.wanted == 0 {
        return Ok(());
    }
    let table_id = request.index.as_ref().map_or(entry.id, |index| index.layout.table_id);
    let mut scan = epoch.open_scan(table_id, &request.bounds)?;
    let mut seeks = 0;
    while scan.advance()? {
        request.counters.seeks.add(scan.seeks() - seeks);
        seeks = scan.seeks();
        let Some((key, value)) = scan.entry() else { break };
        if !output.take_entry(key, value)? {
            break;
        }
    }
    request.counters.seeks.add(scan.seeks() - seeks);
    output.send_batch()?;
    Ok(())
}

/// Rows of a scan on their way into batches.
struct ScanOutput<'r> {
    request: &'r ScanRequest,
    codec: RowCodec,
    /// Predicate of a view with retention.
    served: Option<Served>,
    /// Rows of the next batch.
    packed: Rows,
    /// Rows that are still wanted.
    wanted: usize,
    /// Entries that were read.
    read: usize,
}

impl ScanOutput<'_> {
    /// Takes an entry; false if no more are wanted.
    fn take_entry(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let request = self.request;
        request.counters.entries.add(1);
        self.read += 1;
        if self.read.is_multiple_of(ENTRIES_BETWEEN_LOOKS) && request.rows.is_closed() {
            return Ok(false);
        }
        // An entry of a keyed view is a key and its row; of another, a row and its count.
        let keyed = request.view.entry.key.is_some();
        let row = match &request.index {
            _ if keyed => value,
            Some(index) => index.layout.view_key(key)?,
            None => without_group(key),
        };
        if let Some(served) = &self.served
            && !served.is_served(row)?
        {
            // Expired, and not deleted from the state yet.
            return Ok(true);
        }
        let copies = if keyed { 1 } else { self.copies_of(value)? };
        for _ in 0..copies {
            self.packed.push(row);
            self.wanted -= 1;
            let full = self.packed.len() >= BATCH_ROWS || self.packed.bytes_len() >= BATCH_BYTES;
            if full && !self.send_batch()? {
                return Ok(false);
            }
            if self.wanted == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of copies of a row, as its entry holds it.
    fn copies_of(&self, value: &[u8]) -> Result<i64> {
        let count = count_of(value).filter(|count| *count > 0);
        count.with_context(|| format!("view {} holds a row without a count", self.request.view.entry.name))
    }

    /// Unpacks the collected rows and sends them; false if nobody receives them.
    fn send_batch(&mut self) -> Result<bool> {
        if self.packed.is_empty() {
            return Ok(true);
        }
        let (request, rows) = (self.request, self.packed.len());
        let name = &request.view.entry.name;
        let mut columns = self
            .codec
            .decode_columns(self.packed.iter(), &request.columns)
            .with_context(|| format!("the rows of view {name} cannot be read"))?;
        if name == ERRORS {
            failure::spell_columns(&request.schema, &mut columns);
        }
        // Without columns, a batch is its number of rows: count(*) asks for nothing else.
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(request.schema.clone(), columns, &options)
            .with_context(|| format!("the rows of view {name} do not fit its columns"))?;
        self.packed.clear();
        request.counters.rows.add(rows);
        Ok(request.rows.blocking_send(Ok(batch)).is_ok())
    }
}
