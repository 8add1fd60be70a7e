//! Exports: a thread that writes the epochs of each export to files when enough of them are in the outbox.
//!
//! The outbox is the only queue: the thread looks at it every [`TICK`], and what it needs it reads from the state. So
//! neither a large file nor an object store that is away delays the other sinks. A file is closed when its rows have
//! the size or the age that the sink names, when they are many epochs, when they take half of what the outbox may hold,
//! and at the end of a run. Commits wait once the exports have filled the outbox (`commit`).
//!
//! Failures that may pass are tried again for as long as the run lasts, and a few times at its end: those of the store and
//! of the export's disk. What the state or another process are the cause of ends the run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use connectors::ConnectorError;
use connectors::export::{
    ExportMode, ExportShape, ExportWriter, ParquetSink, ReadChunks, Step, VisitChunk, Written,
};
use connectors::kafka::Marker;
use connectors::options::names_connector;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataflows::plan::Sink;
use dataflows::plan::explain::export_path;
use dataflows::plan::formats::Format;
use dataflows::plan::sources::first_of;
use dataflows::runtime::retention::Served;
use dataflows::runtime::state_tables::StateTables;
use fail::fail_point;
use schemas::{Backoff, OutChunk, OutRecord, Pseudonyms, RowCodec, without_group};
use state::{CatalogueEntry, OutboxDepth, Snapshot, Store};

use super::export_bytes;
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
    /// The view's entry in the catalogue, in mode `current`.
    view: Option<CatalogueEntry>,
    /// The pseudonyms of a copied view's rows, which the state has as they are.
    pseudonyms: Option<(Pseudonyms, RowCodec)>,
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

/// Looks at the export of a sink, which is target `number`, and changes nothing.
///
/// # Errors
/// When it cannot be read or written, belongs to another state, or another sink writes there.
pub fn look(
    config: &DriverConfig,
    (sink, parquet): (&Sink, &ParquetSink),
    (held, tables): (Option<&Store>, &StateTables),
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
        settled_export(held, newest.as_ref(), &parquet.path, start_of(config, sink, tables, number))?;
    }
    Ok(())
}

/// The start of a sink's export.
fn start_of(config: &DriverConfig, sink: &Sink, tables: &StateTables, number: u16) -> ExportStart {
    let at = config.plan.sinks.iter().position(|other| other.name == sink.name);
    ExportStart::of(tables, at.unwrap_or(usize::MAX), number)
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

/// The view whose rows are copied for a sink: a whole one, where several have them.
fn copied_view(config: &DriverConfig, sink: &Sink, tables: &StateTables) -> Option<CatalogueEntry> {
    let mut shown = Vec::new();
    for (view, table_id) in config.plan.views.iter().zip(&tables.views) {
        if view.rel == sink.rel {
            shown.extend(tables.entries().iter().find(|entry| entry.id == *table_id));
        }
    }
    let whole = shown.iter().find(|entry| entry.facts.filling.is_none());
    let mut view = whole.or(shown.first()).map(|entry| (*entry).clone())?;
    // Once it is whole, the first reading of a source is the only one.
    for (source, _) in view.retention.iter_mut().flat_map(|retention| &mut retention.marks) {
        if let Some(first) = first_of(source) {
            *source = first.to_owned();
        }
    }
    Some(view)
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
        let scratch = store.export_dir().join(number.to_string());
        let (mut writer, _) = ExportWriter::open(parquet, shape, (store.state_id(), &scratch))?;
        if config.fresh {
            writer.claim()?;
        } else {
            let start = start_of(config, sink, state_tables, number);
            let at = settled_export(Some(store), writer.newest(), &parquet.path, start)?;
            writer.recover()?;
            if at > 0 {
                store.delete_outbox(number, at)?;
            }
        }
        fail_point!("export.recovered");
        let view = if mode == ExportMode::Current { copied_view(config, sink, state_tables) } else { None };
        let pseudonyms = match &sink.pseudonyms {
            Some(of) => Some((of.clone(), RowCodec::of(&config.plan.rels[sink.rel].schema)?)),
            None => None,
        };
        Ok(Export {
            sink: sink.name.clone(),
            number,
            writer,
            view,
            pseudonyms,
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
        large || export_bytes(held) >= room || held.epochs >= MAX_EPOCHS || age >= sink.max_age
    }

    /// Time for which epochs have waited.
    fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Writes the epochs that wait: in one step, or in several where that would have too many files.
    fn write(&mut self, store: &Store, metrics: &Metrics, held: &OutboxDepth) -> Result<()> {
        if self.broken {
            // An attempt may have come further than its answer said.
            self.writer.resume()?;
            self.broken = false;
            store.delete_outbox(self.number, self.writer.published())?;
        }
        let snapshot = store.snapshot()?;
        let epochs = store.waiting_epochs(self.number, self.writer.published(), snapshot.epoch());
        let (mut left, mut most, mut bytes) = (&epochs[..], epochs.len(), 0);
        while !left.is_empty() {
            let (step, rest) = left.split_at(most.min(left.len()));
            match self.write_step(store, &snapshot, step) {
                Ok(written) => {
                    metrics.exports().count_files(&self.sink, written.files, written.bytes);
                    bytes += written.bytes;
                    left = rest;
                }
                // A copy is always whole.
                Err(error) if step.len() > 1 && self.view.is_none() && has_too_many_files(&error) => {
                    most = step.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        if self.view.is_none() && held.bytes > 0 && !epochs.is_empty() {
            self.ratio = (bytes as f64 / held.bytes as f64).clamp(LEAST_RATIO, 1.0);
        }
        Ok(())
    }

    /// Writes some epochs, the first that wait, as one step.
    fn write_step(&mut self, store: &Store, snapshot: &Snapshot<'_>, epochs: &[u64]) -> Result<Written> {
        let Some(last) = epochs.last().copied() else { return Ok(Written::default()) };
        let digest = outbox_digest(store, self.number, last).context("an epoch has left the outbox")?;
        let marker = Marker { state_id: store.state_id().to_owned(), epoch: last, part: 0, parts: 0, digest };
        let range = (self.writer.published(), last);
        self.broken = true;
        let written = match &self.view {
            Some(view) => {
                let step = Step { last: snapshot.epoch(), marker };
                let hidden = self.pseudonyms.as_ref();
                self.writer.write(step, &|visit: &mut VisitChunk<'_>| match hidden {
                    None => read_view(snapshot, view, visit),
                    Some((pseudonyms, codec)) => read_view(snapshot, view, &mut |epoch, chunk| {
                        visit(epoch, &pseudonyms.apply_to_chunk(codec, chunk).map_err(unreadable)?)
                    }),
                })?
            }
            None => {
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
        Ok(written)
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
        if !error.downcast_ref().is_some_and(ConnectorError::passes_for_export) {
            return Err(error.context(format!("sink {}: its epochs stay in the outbox", self.sink)));
        }
        metrics.exports().count_failure(&self.sink);
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

/// Tells whether a step failed since it would have too many files.
fn has_too_many_files(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectorError::TooManyFiles { .. }))
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

/// Visits the rows of a view as chunks, as of a snapshot: those within its retention, as queries read them.
fn read_view(
    snapshot: &Snapshot<'_>,
    view: &CatalogueEntry,
    visit: &mut VisitChunk<'_>,
) -> Result<(), ConnectorError> {
    let served = Served::of(view, &snapshot.committed().progress).map_err(unreadable)?;
    let mut scan = snapshot.iter(view.id, &[]).map_err(unreadable)?;
    let mut chunk = OutChunk::new();
    while let Some((stored, value)) = scan.next_entry().map_err(unreadable)? {
        // With a key, rows are values; else they are keys, each with its count.
        let (row, copies) = if view.key.is_some() {
            (value, 1)
        } else {
            (without_group(stored), state::count_of(value).unwrap_or(0))
        };
        if let Some(served) = &served
            && !served.is_served(row).map_err(unreadable)?
        {
            continue;
        }
        for _ in 0..copies {
            chunk.push(&OutRecord { value: Some(row), ..OutRecord::default() });
            if chunk.len_bytes() >= CHUNK_BYTES {
                visit(snapshot.epoch(), &std::mem::take(&mut chunk).into_bytes())?;
            }
        }
    }
    if chunk.is_empty() { Ok(()) } else { visit(snapshot.epoch(), &chunk.into_bytes()) }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> ConnectorError {
    ConnectorError::ExportRows(Box::new(error))
}

#[cfg(test)]
mod tests;
