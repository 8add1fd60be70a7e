//! Exports: a thread that writes the epochs of each export to files when enough of them are in the outbox.
//!
//! The outbox is the only queue: the thread looks at it every [`TICK`], and what it needs it reads from the state. So
//! neither a large file nor an object store that is away delays the other sinks. A file is closed when its rows have
//! the size or the age that the sink names, when they are many epochs, when they take half of what the outbox may hold,
//! and at the end of a run. Commits wait once the exports have filled the outbox (`commit`).
//!
//! Failures that may pass are tried again for as long as the run lasts, and a few times at its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::ConnectorError;
use connectors::export::{ExportMode, ExportShape, ExportWriter, ParquetSink, ReadChunks, Step, VisitChunk};
use connectors::kafka::Marker;
use connectors::options::names_connector;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataflows::plan::Sink;
use dataflows::plan::explain::export_path;
use dataflows::plan::formats::Format;
use dataflows::runtime::fill::Fill;
use dataflows::runtime::state_tables::StateTables;
use fail::fail_point;
use schemas::{Backoff, OutChunk, OutRecord, without_group};
use state::{OutboxDepth, Snapshot, StateError, Store};

use super::settled::{ExportStart, outbox_digest, settled_export};
use crate::driver::encode::CHUNK_BYTES;
use crate::driver::{DriverConfig, Fate};
use crate::exit::mistake;
use crate::metrics::Metrics;

/// Interval at which the outbox is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Most epochs of a file: so many entries the outbox has in memory.
const MAX_EPOCHS: u64 = 8192;
/// Pauses after a failure that may pass: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Attempts at the end of a run.
const LAST_ATTEMPTS: u32 = 5;
/// Least share of the outbox's bytes that a file is expected to have.
const LEAST_RATIO: f64 = 0.02;

/// An export of a topology.
pub struct Export {
    sink: String,
    number: u16,
    writer: ExportWriter,
    /// The view's state table, in mode `current`.
    view: Option<ExportedTable>,
    /// The time at which the first of the epochs that wait was seen.
    since: Option<Instant>,
    /// Bytes of the last file for each byte of the outbox.
    ratio: f64,
    /// Set while a step may be half written.
    broken: bool,
    backoff: Backoff,
    /// The time of the next attempt, after a failure.
    retry_at: Option<Instant>,
}

/// A view's rows in the state.
struct ExportedTable {
    table_id: u32,
    /// Rows are values, each under its key; else they are keys, each with its count.
    keyed: bool,
}

/// Looks at the export of a sink, which is target `number`, and changes nothing. `fill` is the work of an edited
/// topology's first epoch.
///
/// # Errors
/// When it cannot be read or written, belongs to another state, or another sink writes there.
pub fn look(
    config: &DriverConfig,
    (sink, parquet): (&Sink, &ParquetSink),
    (held, fill): (Option<&Store>, Option<&Fill>),
    number: u16,
) -> Result<()> {
    refuse_shared_path(&config.plan.sinks, sink, &parquet.path)?;
    if let Some(directory) = parquet.directory() {
        // The directory itself is made later.
        let nearest = directory.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
        tempfile::tempfile_in(nearest)
            .with_context(|| format!("no file can be written in directory {}", nearest.display()))?;
    }
    let newest = ExportWriter::peek(parquet, &std::env::temp_dir())?;
    if !config.fresh {
        settled_export(held, newest.as_ref(), &parquet.path, start_of(config, sink, fill, number))?;
    }
    Ok(())
}

/// The start of a sink's export.
fn start_of(config: &DriverConfig, sink: &Sink, fill: Option<&Fill>, number: u16) -> ExportStart {
    let at = config.plan.sinks.iter().position(|other| other.name == sink.name);
    ExportStart::of(fill, at.unwrap_or(usize::MAX), number)
}

/// Refuses two exports to one path, and one within the other's.
fn refuse_shared_path(sinks: &[Sink], sink: &Sink, path: &str) -> Result<()> {
    let own = whole_path(path);
    for other in sinks.iter().filter(|other| other.name != sink.name) {
        let Some(path) = other.options.get("path") else { continue };
        if !names_connector(&other.options, "parquet") {
            continue;
        }
        let theirs = whole_path(path);
        let how = match (lies_in(&own, &theirs), lies_in(&theirs, &own)) {
            (true, true) => format!("to one path, {own}"),
            (true, false) => format!("into each other: {own} is within {theirs}"),
            (false, true) => format!("into each other: {theirs} is within {own}"),
            (false, false) => continue,
        };
        return Err(mistake(format!(
            "the sinks {} and {} export {how}\n  give each a path of its own",
            sink.name, other.name
        )));
    }
    Ok(())
}

/// A path in one spelling, from the root on.
fn whole_path(path: &str) -> String {
    if path.contains("://") {
        return export_path(path);
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    export_path(&whole.to_string_lossy())
}

/// Tells whether a path is another, or below it.
fn lies_in(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

impl Export {
    /// Opens the export of a sink, which is target `number`, and completes or takes back what a crash left.
    ///
    /// # Errors
    /// As [`look`].
    pub fn open(
        config: &DriverConfig,
        (sink, parquet): (&Sink, &ParquetSink),
        (store, state_tables): (&Store, &StateTables),
        number: u16,
    ) -> Result<Export> {
        let mode = parquet.mode(sink.format == Format::Upsert);
        let shape = ExportShape::new(&config.plan.rels[sink.rel].schema, mode, &parquet.partition_by)?;
        let scratch = scratch_folder(store.state_id(), number);
        let (mut writer, _) = ExportWriter::open(parquet, shape, (store.state_id(), &scratch))?;
        if config.fresh {
            writer.claim()?;
        } else {
            let start = start_of(config, sink, state_tables.fill.as_deref(), number);
            let at = settled_export(Some(store), writer.newest(), &parquet.path, start)?;
            writer.recover()?;
            if at > 0 {
                store.delete_outbox(number, at)?;
            }
        }
        fail_point!("export.recovered");
        let mut views = config.plan.views.iter().zip(&state_tables.views);
        let view = match views.find(|(view, _)| view.rel == sink.rel) {
            Some((view, table_id)) if mode == ExportMode::Current => {
                Some(ExportedTable { table_id: *table_id, keyed: view.key.is_some() })
            }
            _ => None,
        };
        Ok(Export {
            sink: sink.name.clone(),
            number,
            writer,
            view,
            since: None,
            ratio: 1.0,
            broken: false,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            retry_at: None,
        })
    }

    /// The content of the export.
    pub fn mode(&self) -> ExportMode {
        self.writer.mode()
    }

    /// Tells whether the epochs that wait are to be written now. `room` is the most that they may take in the outbox.
    fn is_due(&self, held: &OutboxDepth, room: u64) -> bool {
        let (sink, age) = (self.writer.sink(), self.age());
        let expected = (held.bytes as f64 * self.ratio) as u64;
        let large = self.mode() != ExportMode::Current && expected >= sink.target_bytes;
        large || held.bytes >= room || held.epochs >= MAX_EPOCHS || age >= sink.max_age
    }

    /// Time for which epochs have waited.
    fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Writes the epochs that wait.
    fn write(&mut self, store: &Store, metrics: &Metrics, held: &OutboxDepth) -> Result<()> {
        if self.broken {
            // An attempt may have come further than its answer said.
            self.writer.resume()?;
            self.broken = false;
            store.delete_outbox(self.number, self.writer.published())?;
        }
        let snapshot = store.snapshot()?;
        let after = self.writer.published();
        let Some(last) = store.last_in_outbox(self.number, snapshot.epoch()).filter(|last| *last > after)
        else {
            return Ok(());
        };
        let digest = outbox_digest(store, self.number, last).context("an epoch has left the outbox")?;
        let marker = Marker { state_id: store.state_id().to_owned(), epoch: last, part: 0, parts: 0, digest };
        self.broken = true;
        let written = match &self.view {
            Some(view) => {
                let step = Step { last: snapshot.epoch(), marker };
                self.writer.write(step, &|visit: &mut VisitChunk<'_>| read_view(&snapshot, view, visit))?
            }
            None => {
                let range = (after, last);
                let rows: &ReadChunks<'_> = &|visit| read_outbox(store, self.number, range, visit);
                self.writer.write(Step { last, marker }, rows)?
            }
        };
        self.broken = false;
        store.delete_outbox(self.number, last)?;
        fail_point!("export.acknowledged");
        tracing::debug!(
            sink = self.sink,
            epoch = last,
            files = written.files,
            rows = written.rows,
            "exported"
        );
        metrics.exports().count_files(&self.sink, written.files, written.bytes);
        if self.view.is_none() && held.bytes > 0 {
            self.ratio = (written.bytes as f64 / held.bytes as f64).clamp(LEAST_RATIO, 1.0);
        }
        Ok(())
    }

    /// Writes the epochs that wait; a failure that may pass is noted, to be tried again.
    ///
    /// # Errors
    /// A failure that does not pass.
    fn try_write(&mut self, store: &Store, metrics: &Metrics, held: &OutboxDepth) -> Result<()> {
        let error = match self.write(store, metrics, held) {
            Ok(()) => {
                self.backoff.reset();
                (self.since, self.retry_at) = (None, None);
                return Ok(());
            }
            Err(error) => error,
        };
        if !error.downcast_ref().is_some_and(ConnectorError::is_transient) {
            return Err(error.context(format!("sink {}: its epochs stay in the outbox", self.sink)));
        }
        let pause = self.backoff.jittered();
        tracing::warn!(
            sink = self.sink,
            ?pause,
            "the export waits, and its epochs stay in the outbox: {error:#}"
        );
        self.retry_at = Some(Instant::now() + pause);
        Ok(())
    }
}

/// The exports of a run, and the thread's view of it.
pub struct Exporter {
    /// The exports.
    pub exports: Vec<Export>,
    /// The state with the outbox.
    pub store: Arc<Store>,
    /// Set when the run has failed.
    pub failed: Arc<AtomicBool>,
    /// Bytes of the outbox that the exports may fill before commits wait.
    pub unpublished: u64,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

impl Exporter {
    /// Writes files until `ended` closes, which is when all epochs are committed, and then what is left.
    ///
    /// # Errors
    /// When an export cannot go on. Its epochs stay in the outbox.
    pub fn run(mut self, ended: &Receiver<()>) -> Result<()> {
        let room = self.unpublished / 2 / self.exports.len().max(1) as u64;
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let mut held = self.store.outbox_depth();
            for export in &mut self.exports {
                if self.failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let held = held.remove(&export.number).unwrap_or_default();
                if held.epochs > 0 && export.since.is_none() {
                    export.since = Some(Instant::now());
                }
                self.metrics.exports().set_open(&export.sink, held.bytes, export.age().as_secs_f64());
                let waits = export.retry_at.is_some_and(|at| at > Instant::now());
                if held.epochs > 0 && !waits && export.is_due(&held, room) {
                    export.try_write(&self.store, &self.metrics, &held)?;
                }
            }
        }
        self.write_rest()
    }

    /// Writes what waits at the end of a run.
    fn write_rest(&mut self) -> Result<()> {
        let held = self.store.outbox_depth();
        for export in &mut self.exports {
            let Some(held) = held.get(&export.number) else { continue };
            for attempt in 1..=LAST_ATTEMPTS {
                if self.failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if attempt == LAST_ATTEMPTS {
                    export.write(&self.store, &self.metrics, held).with_context(|| {
                        format!(
                            "sink {}: its last epochs stay in the outbox, for the next start",
                            export.sink
                        )
                    })?;
                    break;
                }
                export.try_write(&self.store, &self.metrics, held)?;
                let Some(at) = export.retry_at else { break };
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
            }
            self.metrics.exports().set_open(&export.sink, 0, 0.0);
        }
        Ok(())
    }
}

/// The thread of the exports.
pub struct ExporterThread {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ExporterThread {
    /// Starts the thread, unless there are no exports.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(exporter: Exporter, fate: &Fate) -> Result<ExporterThread> {
        if exporter.exports.is_empty() {
            return Ok(ExporterThread { running: None });
        }
        let (sender, ended) = bounded::<()>(0);
        let thread = fate.spawn("exporter", move || exporter.run(&ended))?;
        Ok(ExporterThread { running: Some((sender, thread)) })
    }

    /// Has the thread write what waits, now that everything is committed, and waits for its end.
    pub fn join(self) {
        if let Some((sender, thread)) = self.running {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// A local folder for files on their way to an object store.
fn scratch_folder(state_id: &str, number: u16) -> PathBuf {
    std::env::temp_dir().join(format!("herald-export-{state_id}-{number}"))
}

/// Visits the chunks of a target in the outbox, of the epochs behind the first and up to the second of `range`.
fn read_outbox(
    store: &Store,
    number: u16,
    (after, last): (u64, u64),
    visit: &mut VisitChunk<'_>,
) -> Result<(), ConnectorError> {
    for epoch in store.outbox_after(number, after).map_err(unreadable)? {
        let epoch = epoch.map_err(unreadable)?;
        if epoch.epoch > last {
            break;
        }
        for chunk in &epoch.parts {
            visit(epoch.epoch, chunk)?;
        }
    }
    Ok(())
}

/// Visits the rows of a view as chunks, as of a snapshot.
fn read_view(
    snapshot: &Snapshot<'_>,
    view: &ExportedTable,
    visit: &mut VisitChunk<'_>,
) -> Result<(), ConnectorError> {
    let mut scan = snapshot.iter(view.table_id, &[]).map_err(unreadable)?;
    let mut chunk = OutChunk::new();
    while let Some((stored, value)) = scan.next_entry().map_err(unreadable)? {
        let (row, copies) = if view.keyed {
            (value, 1)
        } else {
            (without_group(stored), state::count_of(value).unwrap_or(0))
        };
        for _ in 0..copies {
            chunk.push(&OutRecord { value: Some(row), ..OutRecord::default() });
            if chunk.len_bytes() >= CHUNK_BYTES {
                visit(snapshot.epoch(), &std::mem::take(&mut chunk).into_bytes())?;
            }
        }
    }
    if chunk.is_empty() { Ok(()) } else { visit(snapshot.epoch(), &chunk.into_bytes()) }
}

fn unreadable(error: StateError) -> ConnectorError {
    ConnectorError::ExportRows(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_their_place() {
        let lies = |path: &str, above: &str| lies_in(&whole_path(path), &whole_path(above));
        assert!(lies("out/a", "./out//a/") && lies("./out/a/", "out/a"));
        assert!(lies("out/a/b", "out/a") && !lies("out/a", "out/a/b"));
        assert!(!lies("out/ab", "out/a") && lies("out", "/"));
        assert!(lies("s3://b/x/y", "s3://b/x/") && lies("s3://b/x", "s3://b") && !lies("s3://bc", "s3://b"));
    }
}
