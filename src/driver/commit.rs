//! The committer: gathers the workers' reports of each epoch and makes one commit of them, in order.
//!
//! An epoch is committed when its head (offsets and counts, from the driver) and every worker's report
//! are here. After the commit its number is visible to the table overlays, its output goes to the
//! publisher, and a permit returns to the driver. The first failure of any thread ends the run; nothing of
//! the failed epoch, or of a later one, is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::{DeadLetter, LetterTopic};
use crossbeam_channel::{Receiver, Sender};
use dataflows::epoch::{Assembled, Assembler, Pending, make_visible};
use dataflows::source::progress::SourceHead;
use dataflows::worker::Setup;
use fail::fail_point;
use schemas::OutChunk;
use state::{Commit, OutboxChunk, Progress};

use super::encode::CHUNK_BYTES;
use super::failures::Failures;
use super::publish::{ToPublisher, unpublished};
use super::workers::Report;
use super::{DriverHandle, now_ms};
use crate::metrics::{Metrics, Phase};

/// What the driver knows of an epoch.
#[derive(Debug, Default)]
pub struct Head {
    /// The epoch.
    pub epoch: u64,
    /// By source: records read and the next offset of each partition that was read.
    pub sources: Vec<SourceHead>,
    /// Timestamps of some of its records, milliseconds, for the latency histogram.
    pub samples: Vec<i64>,
}

/// What arrives at the committer.
pub enum ToCommitter {
    /// A worker is at the committed epoch.
    Ready,
    /// The driver closed an epoch.
    Head(Head),
    /// A worker completed an epoch.
    Report(u64, Box<Report>),
}

/// Everything the committer needs.
pub struct Committer {
    /// The topology.
    pub setup: Setup,
    /// Workers.
    pub workers: usize,
    /// Topic and partitions of each source's dead letters.
    pub dead_letters: BTreeMap<String, LetterTopic>,
    /// The error table's way to the same topics.
    pub failures: Failures,
    /// Permits of epochs in flight, given back one a commit.
    pub permits: Sender<()>,
    /// Bytes of output that may wait, beyond one epoch's.
    pub unpublished: u64,
    /// Where output goes.
    pub to_publisher: Sender<ToPublisher>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Status.
    pub handle: DriverHandle,
    /// Told once all workers are ready.
    pub ready: Sender<()>,
}

impl Committer {
    /// Runs until the channel closes or something fails.
    ///
    /// # Errors
    /// The failure that ends the run.
    pub fn run(self, inbox: &Receiver<ToCommitter>) -> Result<()> {
        let mut assembler = Assembler::new(&self.setup);
        let mut pending: Pending<Head, Report> = Pending::new(self.workers);
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
                ToCommitter::Head(head) => pending.head(head.epoch, head),
                ToCommitter::Report(epoch, report) => pending.report(epoch, *report),
            }
            while let Some((_, head, reports)) = pending.complete() {
                self.commit(&mut assembler, head, reports)?;
            }
        }
        Ok(())
    }

    /// Commits an epoch and hands its output to the publisher.
    fn commit(&self, assembler: &mut Assembler, head: Head, reports: Vec<Report>) -> Result<()> {
        let (epoch, commit_ms) = (head.epoch, now_ms());
        let (mut chunks, mut dead, mut workers) = (Chunks::new(), Vec::new(), Vec::new());
        for report in reports {
            self.metrics.epoch_phase(Phase::Decode, report.decode);
            self.metrics.epoch_phase(Phase::Step, report.step);
            for (target, encoded) in report.encoded {
                chunks.entry(target).or_default().extend(encoded);
            }
            dead.extend(report.dead);
            workers.push(report.share);
        }
        let mut assembled = assembler.assemble(&self.setup, (epoch, commit_ms), &head.sources, workers)?;
        self.measure(&assembled, assembler.progress(), commit_ms);
        dead.sort_by(|a, b| (&a.source, a.partition, a.offset).cmp(&(&b.source, b.partition, b.offset)));
        let commit = &mut assembled.commit;
        let mut rejected = self.dead_chunks(&dead);
        rejected.extend(self.failing(commit)?);
        if !rejected.is_empty() {
            chunks.entry(0).or_default().append(&mut rejected);
        }
        commit.dead_letters = dead.iter().map(DeadLetter::to_bytes).collect();
        commit.outbox = outbox(&chunks);
        fail_point!("commit.gathered");
        let begun = Instant::now();
        let written = self.setup.store.commit(assembled.commit);
        written.with_context(|| format!("epoch {epoch} was not committed"))?;
        self.metrics.epoch_phase(Phase::Commit, begun.elapsed());
        show(&self.setup, &self.handle, assembler.progress());
        make_visible(&self.setup, epoch, assembler.progress());
        self.metrics.epoch(epoch);
        self.handle.update(|status| status.epoch = epoch);
        fail_point!("commit.visible");
        let _ = self.permits.try_send(());
        let output = ToPublisher { epoch, commit_ms, chunks, samples: head.samples };
        self.wait_for_room();
        // A publisher that is gone has reported why; the output is in the outbox.
        let _ = self.to_publisher.send(output);
        fail_point!("commit.after");
        Ok(())
    }

    /// Exports what the workers and the sources did in an epoch.
    fn measure(&self, assembled: &Assembled, progress: &Progress, commit_ms: i64) {
        self.metrics.workers(&assembled.touched_by_worker);
        for (operator, rows) in &assembled.touched {
            self.metrics.rows_touched(operator, *rows);
        }
        for (arrangement, share) in &assembled.busiest {
            self.metrics.busiest_key(arrangement, *share);
        }
        for (arrangement, updates) in &assembled.held {
            self.metrics.rows_in_arrangement(arrangement, *updates as i64);
        }
        for (at, (source, advance)) in self.setup.plan.sources.iter().zip(&assembled.sources).enumerate() {
            let Some(advance) = advance else { continue };
            for outcome in schemas::Outcome::ALL {
                let n = advance.outcomes[outcome.index()];
                if n > 0 {
                    self.metrics.outcomes(&source.name, outcome.name(), n);
                }
            }
            let watermark = progress.sources.get(&source.name).and_then(|held| held.watermark_us);
            self.metrics.watermark(&source.name, watermark, commit_ms);
            self.metrics.watermark_held_by(&source.name, advance.held_by);
            self.handle.update(|status| {
                if let Some(shown) = status.sources.get_mut(at) {
                    shown.held_by = advance.held_by;
                }
            });
        }
    }

    /// Holds the changes of the error table to its bound; those that stay, as chunks of the outbox.
    fn failing(&self, commit: &mut Commit) -> Result<Vec<Vec<u8>>> {
        let space = self.setup.spaces.errors;
        if commit.counts.iter().all(|counts| counts.space != space) {
            return Ok(Vec::new());
        }
        let kept = self.setup.store.bound(space, &commit.counts)?;
        let chunks = self.failures.chunks(&kept)?;
        if kept.totals.not_kept > 0 && self.setup.store.bounded_totals(space)?.not_kept == 0 {
            tracing::warn!(
                "the table herald.errors is full: rows that fail from now on are counted and not kept"
            );
        }
        self.metrics.errors(kept.totals.bytes, kept.totals.not_kept);
        commit.counts.retain(|counts| counts.space != space);
        commit.counts.push(kept.counts);
        commit.bounded = Some(kept.totals);
        Ok(chunks)
    }

    /// Waits while more output is committed and not published than may be held.
    fn wait_for_room(&self) {
        let full = || {
            let (epochs, bytes) = unpublished(&self.setup.store, &self.metrics);
            epochs > 1 && bytes > self.unpublished
        };
        while full() && !self.setup.abort.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The dead letters whose source names a topic.
    fn dead_chunks(&self, dead: &[DeadLetter]) -> Vec<Vec<u8>> {
        let (mut chunks, mut open) = (Vec::new(), OutChunk::new());
        for letter in dead {
            if let Some(topic) = self.dead_letters.get(&letter.source) {
                letter.push_to(&mut open, topic);
            }
            full(&mut open, &mut chunks, CHUNK_BYTES);
        }
        full(&mut open, &mut chunks, 1);
        chunks
    }
}

/// Shows committed progress in the status.
pub fn show(setup: &Setup, handle: &DriverHandle, progress: &Progress) {
    for source in &setup.plan.sources {
        let Some(held) = progress.sources.get(&source.name) else { continue };
        handle.update(|status| {
            let Some(shown) = status.sources.iter_mut().find(|s| s.name == source.name) else { return };
            for outcome in schemas::Outcome::ALL {
                shown.outcomes.insert(outcome.name(), held.outcomes[outcome.index()]);
            }
            shown.watermark = held.watermark_us.map(shown_watermark);
        });
    }
}

/// Output by cluster, in chunks.
type Chunks = BTreeMap<u16, Vec<Vec<u8>>>;

fn outbox(chunks: &Chunks) -> Vec<OutboxChunk> {
    let mut outbox = Vec::new();
    for (cluster, chunks) in chunks {
        for (part, bytes) in chunks.iter().enumerate() {
            outbox.push(OutboxChunk { cluster: *cluster, part: part as u32, bytes: bytes.clone() });
        }
    }
    outbox
}

/// Moves an open chunk to the others once it has so many bytes.
pub fn full(open: &mut OutChunk, chunks: &mut Vec<Vec<u8>>, bytes: usize) {
    if !open.is_empty() && open.len_bytes() >= bytes {
        chunks.push(std::mem::replace(open, OutChunk::new()).into_bytes());
    }
}

/// A watermark as people see it.
fn shown_watermark(us: i64) -> String {
    if us == i64::MAX {
        crate::run::monitor::ENDED.to_owned()
    } else {
        schemas::types::time::format_timestamp(us, true)
    }
}
