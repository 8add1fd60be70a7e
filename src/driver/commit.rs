//! The committer: gathers the workers' reports of each epoch and commits them to the state as one write, in
//! order.
//!
//! An epoch is committed once its head (offsets and counts, from the driver) and the report of every worker
//! have arrived. After the commit its number is visible to the table overlays, its output goes to the
//! publisher, and a permit returns to the driver. The first failure of any thread ends the run; nothing of
//! the failed epoch, or of a later one, is committed.

mod erasures;
pub mod meter;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::clock::now_ms;
use connectors::sink::is_export;
use connectors::{DeadLetter, DeadLetterTopic};
use crossbeam_channel::{Receiver, Sender};
use dataflows::plan::sources::{first_of, is_second, records_read_again};
use dataflows::runtime::epoch::{Assembled, Assembler, Pending, make_visible};
use dataflows::runtime::fill::ALL_GROUPS;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::Setup;
use fail::fail_point;
use schemas::memory::vector_bytes;
use schemas::{Digest, MemoryPart, MemoryShare, OutChunk, Outcome};
use state::{Commit, Measured, OutboxChunk, Progress};

use super::DriverHandle;
use super::budget::RowLimit;
use super::encode::{CHUNK_BYTES, flush_chunk};
use super::failures::{FailureWatch, Failures};
use super::messages::{EpochHead, Report, ToCommitter};
use super::publish::{ToPublisher, unpublished_output};
use crate::metrics::{Metrics, Phase, whole_us};

/// Percent after which the progress of a filling is logged again.
const TOLD_PERCENT: u64 = 12;

/// The committer thread's state.
pub struct Committer {
    /// The topology.
    pub setup: Setup,
    /// Number of workers.
    pub workers: usize,
    /// Topic and partitions of each source's dead letters.
    pub dead_letters: BTreeMap<String, DeadLetterTopic>,
    /// Encoder of the error table's changes, for the same topics.
    pub failures: Failures,
    /// Most rows of the epochs to come, which goes by those that are committed.
    pub row_limit: Arc<RowLimit>,
    /// Rows that fail, for warnings and the status.
    pub watch: FailureWatch,
    /// Permits of epochs in flight; each commit returns one.
    pub permits: Sender<()>,
    /// Bytes of unpublished output above which commits wait; one epoch's output is always allowed.
    pub unpublished: u64,
    /// The publisher's inbox.
    pub to_publisher: Sender<ToPublisher>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Status.
    pub handle: DriverHandle,
    /// Signalled once all workers are ready.
    pub ready: Sender<()>,
}

impl Committer {
    /// Commits epochs until the channel closes or any thread fails.
    ///
    /// # Errors
    /// The failure that ends the run.
    pub fn run(mut self, inbox: &Receiver<ToCommitter>) -> Result<()> {
        let mut assembler = Assembler::new(&self.setup)?;
        let mut pending: Pending<EpochHead, Report> = Pending::new(self.workers);
        let mut ready = 0;
        while let Ok(message) = inbox.recv() {
            if self.setup.abort.load(Ordering::Acquire) {
                return Ok(());
            }
            match message {
                ToCommitter::Ready => {
                    ready += 1;
                    if ready == self.workers {
                        let _ = self.ready.send(());
                    }
                }
                ToCommitter::Head(head) => pending.add_head(head.epoch, head),
                ToCommitter::Report(epoch, report) => pending.add_report(epoch, *report),
            }
            while let Some((_, head, reports)) = pending.take_complete() {
                self.commit(&mut assembler, head, reports)?;
            }
        }
        Ok(())
    }

    /// Commits an epoch and hands its output to the publisher.
    fn commit(&mut self, assembler: &mut Assembler, head: EpochHead, reports: Vec<Report>) -> Result<()> {
        let (epoch, commit_ms) = (head.epoch, now_ms());
        let (mut chunks, mut dead, mut workers) = (ChunksByTarget::new(), Vec::new(), Vec::new());
        let measured = self.measured(&head, &reports);
        let joined = reports.iter().map(|report| report.share.out.joined_bytes).max();
        self.row_limit.note(measured.input_rows, joined.unwrap_or(0));
        for report in reports {
            self.metrics.observe_phase(Phase::Decode, report.decode);
            self.metrics.observe_phase(Phase::Step, report.step);
            for (target, encoded) in report.encoded {
                chunks.entry(target).or_default().extend(encoded);
            }
            // The first reading has rejected the same records.
            dead.extend(report.dead.into_iter().filter(|dead| !is_second(&dead.source)));
            workers.push(report.share);
        }
        let before = filled_percent(assembler.progress());
        let mut assembled = assembler.assemble(&self.setup, (epoch, commit_ms), &head.sources, workers)?;
        self.export_metrics(&assembled, assembler.progress(), commit_ms);
        dead.sort_by(|a, b| (&a.source, a.partition, a.offset).cmp(&(&b.source, b.partition, b.offset)));
        let identities = std::mem::take(&mut assembled.identities);
        let commit = &mut assembled.commit;
        erasures::forget_dead_letters(&self.setup.store, commit, &mut dead, &identities)?;
        let mut rejected = self.dead_chunks(&dead);
        rejected.extend(self.bound_error_table(commit, &identities)?);
        if !rejected.is_empty() {
            chunks.entry(0).or_default().append(&mut rejected);
        }
        commit.dead_letters = dead.iter().map(DeadLetter::to_bytes).collect();
        commit.outbox = outbox_chunks(chunks);
        commit.measured = Some(measured);
        fail_point!("commit.gathered");
        let begun = Instant::now();
        let erased = assembled.commit.erasures.clone();
        let written = self.setup.store.commit(assembled.commit);
        let output = written.with_context(|| format!("epoch {epoch} was not committed"))?;
        self.metrics.observe_commit(epoch, begun.elapsed());
        erasures::tell_committed(&erased);
        show_progress(&self.setup, &self.handle, assembler.progress());
        make_visible(&self.setup, epoch, assembler.progress());
        self.metrics.set_epoch(epoch);
        self.show_fill(before, assembler.progress());
        self.handle.update_status(|status| status.epoch = epoch);
        self.handle.commits.announce(epoch);
        fail_point!("commit.visible");
        // The driver may fill the next epoch while this one's output still waits for the publisher.
        let _ = self.permits.try_send(());
        let mut chunks = chunks_by_target(output);
        // Exports read theirs from the outbox.
        chunks.retain(|target, _| !is_export(*target));
        let bytes: usize = chunks.values().flatten().map(vector_bytes).sum();
        let memory = MemoryShare::of(MemoryPart::Unpublished, bytes);
        let output = ToPublisher { epoch, commit_ms, chunks, samples: head.samples, _memory: memory };
        self.wait_for_room();
        // The send fails only when the publisher has ended, which has recorded its reason; the outbox has the
        // output.
        let _ = self.to_publisher.send(output);
        fail_point!("commit.after");
        Ok(())
    }

    /// Tells how far a filling is after an epoch, of which so many percent were filled before.
    fn show_fill(&self, before: Option<u64>, progress: &Progress) {
        self.metrics.set_fill_groups(progress.filled_groups.unwrap_or(ALL_GROUPS));
        match (before, filled_percent(progress)) {
            (Some(_), None) => {
                warn_of_other_rows(progress);
                tracing::info!("what the edit added is filled");
            }
            (before, Some(percent)) if percent / TOLD_PERCENT != before.unwrap_or(0) / TOLD_PERCENT => {
                tracing::info!("{percent} % of what the edit added is filled");
            }
            _ => {}
        }
    }

    /// Measurements of an epoch for the history of epochs, with those of earlier epochs that it lacks.
    fn measured(&self, head: &EpochHead, reports: &[Report]) -> Measured {
        let mut measured = Measured { earlier: self.metrics.take_phase_notes(), ..Measured::default() };
        for source in &head.sources {
            measured.input_rows += source.read;
        }
        for report in reports {
            measured.output_rows += report.output_rows;
            // The workers run abreast: the one that takes longest is the one that an epoch waits for.
            measured.decode_us = measured.decode_us.max(whole_us(report.decode));
            measured.step_us = measured.step_us.max(whole_us(report.step));
        }
        measured
    }

    /// Exports the metrics of an epoch: rows touched, arrangement sizes, outcomes and watermarks.
    fn export_metrics(&self, assembled: &Assembled, progress: &Progress, commit_ms: i64) {
        self.metrics.set_worker_shares(&assembled.touched_by_worker);
        for (operator, rows) in &assembled.touched {
            self.metrics.count_touched_rows(operator, *rows);
        }
        for (operator, [cached, read]) in &assembled.lookups {
            self.metrics.count_lookups(operator, (*cached, *read));
        }
        for (arrangement, share) in &assembled.hottest {
            self.metrics.set_hottest_key(arrangement, *share);
        }
        for (arrangement, updates) in &assembled.held {
            self.metrics.set_arrangement_rows(arrangement, *updates as i64);
        }
        for (at, (source, advance)) in self.setup.plan.sources.iter().zip(&assembled.sources).enumerate() {
            let Some(advance) = advance else { continue };
            for outcome in Outcome::ALL {
                let n = advance.outcomes[outcome.index()];
                if n > 0 {
                    self.metrics.count_outcomes(&source.name, outcome.name(), n);
                }
            }
            let watermark = committed_watermark(progress, &source.name);
            self.metrics.set_watermark(&source.name, watermark, commit_ms);
            self.metrics.set_watermark_held_by(&source.name, advance.held_by);
            self.handle.update_status(|status| {
                if let Some(shown) = status.sources.get_mut(at) {
                    shown.held_by = advance.held_by;
                }
            });
        }
    }

    /// Applies the error table's size bound to its changes in the commit. Returns the changes that are kept,
    /// as chunks of the outbox.
    fn bound_error_table(
        &mut self,
        commit: &mut Commit,
        identities: &BTreeMap<Digest, Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>> {
        let table_id = self.setup.state_tables.errors;
        if commit.counts.iter().all(|counts| counts.table_id != table_id) && identities.is_empty() {
            return Ok(Vec::new());
        }
        let mut kept = self.setup.store.bound_counts(table_id, &commit.counts)?;
        erasures::forget_errors((&self.setup.store, table_id), commit, &mut kept, identities)?;
        let chunks = self.failures.chunks(&kept)?;
        if kept.totals.not_kept > 0 && self.setup.store.bounded_totals(table_id)?.not_kept == 0 {
            tracing::warn!(
                "the table herald.errors is full: rows that fail from now on are counted and not kept"
            );
        }
        self.metrics.set_error_table(kept.totals.bytes, kept.totals.not_kept);
        let failing = self.watch.follow(&kept, self.failures.codec())?;
        self.handle.update_status(|status| status.failing = failing);
        if let Some(warning) = self.watch.take_warning(Instant::now()) {
            tracing::warn!("{warning}");
        }
        commit.counts.retain(|counts| counts.table_id != table_id);
        commit.counts.push(kept.counts);
        commit.bounded = Some(kept.totals);
        Ok(chunks)
    }

    /// Waits while more unpublished output is held than the budget allows, unless a single epoch makes it up. Exports
    /// have as much again: their epochs wait for a file, while those of other sinks wait for this thread to hand them on.
    fn wait_for_room(&self) {
        while self.is_over_budget() && !self.setup.abort.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Tells whether more than one epoch is unpublished, and more bytes than the budget allows.
    fn is_over_budget(&self) -> bool {
        let unpublished = unpublished_output(&self.setup.store, &self.metrics);
        unpublished.iter().any(|of| of.epochs > 1 && of.bytes > self.unpublished)
    }

    /// The dead letters whose source has a dead-letter topic, as chunks of the outbox.
    fn dead_chunks(&self, dead: &[DeadLetter]) -> Vec<Vec<u8>> {
        let (mut chunks, mut open) = (Vec::new(), OutChunk::new());
        // One without its bytes could not be replayed; the table has it.
        for dead_letter in dead.iter().filter(|dead_letter| !dead_letter.is_erased()) {
            if let Some(topic) = self.dead_letters.get(&dead_letter.source) {
                dead_letter.push_to(&mut open, topic);
            }
            flush_chunk(&mut open, &mut chunks, CHUNK_BYTES);
        }
        flush_chunk(&mut open, &mut chunks, 1);
        chunks
    }
}

/// The last epoch that this run has committed, for threads that wait for the next.
#[derive(Debug, Default)]
pub struct LastCommit {
    epoch: Mutex<u64>,
    changed: Condvar,
}

impl LastCommit {
    /// Wakes all who wait for an epoch.
    pub fn announce(&self, epoch: u64) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        self.changed.notify_all();
    }

    /// Waits until an epoch after `seen` is announced, for `timeout` at most. Returns the last one; 0 before
    /// the first.
    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(epoch, timeout, |epoch| *epoch <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Warns of sources in which a second reading has accepted other rows than the first: views that were filled from them and
/// those beside them do not agree.
fn warn_of_other_rows(progress: &Progress) {
    for (name, second) in &progress.sources {
        let Some(first) = first_of(name).and_then(|name| progress.sources.get(name)) else { continue };
        let (accepted, again) =
            (first.outcomes[Outcome::Accepted.index()], second.outcomes[Outcome::Accepted.index()]);
        if accepted != again {
            tracing::warn!(
                "source {name}: {again} rows were accepted, and {accepted} at the first reading; what the edit added is made \
                 of the former"
            );
        }
    }
}

/// Notes the records that earlier runs have read, by outcome, in the status: they are no news.
pub fn note_start(setup: &Setup, handle: &DriverHandle, progress: &Progress) {
    for source in &setup.plan.sources {
        let Some(held) = progress.sources.get(&source.name) else { continue };
        handle.update_status(|status| {
            let Some(shown) = status.source_mut(&source.name) else { return };
            for outcome in Outcome::ALL {
                shown.before.insert(outcome.name(), held.outcomes[outcome.index()]);
            }
        });
    }
}

/// The key groups whose rows are in the additions of an edit: all if nothing is being filled.
pub fn fill_groups(tables: &StateTables, progress: &Progress) -> u16 {
    if tables.pieces.is_some() { progress.filled_groups.unwrap_or(0) } else { ALL_GROUPS }
}

/// The part of a filling that is done: of its key groups, or of the records that are read again. None without a filling.
fn filled_percent(progress: &Progress) -> Option<u64> {
    let groups = u64::from(progress.filled_groups?) * 100 / u64::from(ALL_GROUPS);
    Some(match records_read_again(progress) {
        Some((again, all)) => groups.min(again.min(all) * 100 / all),
        None => groups,
    })
}

/// Copies committed progress to the status.
pub fn show_progress(setup: &Setup, handle: &DriverHandle, progress: &Progress) {
    for source in &setup.plan.sources {
        let Some(held) = progress.sources.get(&source.name) else { continue };
        handle.update_status(|status| {
            let Some(shown) = status.source_mut(&source.name) else { return };
            for outcome in Outcome::ALL {
                shown.outcomes.insert(outcome.name(), held.outcomes[outcome.index()]);
            }
            shown.watermark = held.watermark_us.map(watermark_text);
        });
    }
}

/// The committed watermark of a source, in microseconds since 1970.
pub fn committed_watermark(progress: &Progress, source: &str) -> Option<i64> {
    progress.sources.get(source)?.watermark_us
}

/// Output in chunks, by target.
type ChunksByTarget = BTreeMap<u16, Vec<Vec<u8>>>;

/// The output as the outbox stores it.
fn outbox_chunks(chunks: ChunksByTarget) -> Vec<OutboxChunk> {
    let mut outbox = Vec::new();
    for (cluster, chunks) in chunks {
        for (part, bytes) in (0..).zip(chunks) {
            outbox.push(OutboxChunk { cluster, part, bytes });
        }
    }
    outbox
}

/// The output by target, each target's chunks in the order of their parts; the bytes are moved, not copied.
fn chunks_by_target(outbox: Vec<OutboxChunk>) -> ChunksByTarget {
    let mut chunks = ChunksByTarget::new();
    for chunk in outbox {
        chunks.entry(chunk.cluster).or_default().push(chunk.bytes);
    }
    chunks
}

/// A watermark as text: a timestamp, or `infinity` for a source that has ended.
fn watermark_text(us: i64) -> String {
    if us == i64::MAX {
        crate::run::monitor::ENDED.to_owned()
    } else {
        schemas::types::time::format_timestamp(us, true)
    }
}
