//! The committer: gathers the workers' parts of each epoch and makes one commit of them, in order.
//!
//! An epoch is committed when its head (offsets and counts, from the driver) and every worker's part
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
use dataflows::retention::Sweep;
use dataflows::source::progress::{SourceHead, advance};
use dataflows::worker::Setup;
use fail::fail_point;
use schemas::OutChunk;
use state::{Commit, Counts, OutboxChunk, Progress, ViewProgress, Writes};

use super::encode::CHUNK_BYTES;
use super::failures::Failures;
use super::publish::{ToPublisher, unpublished};
use super::workers::Part;
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
    /// A worker completed its part.
    Part(Box<Part>),
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
        let mut progress = (*self.setup.progress).clone();
        let mut sweep = Sweep::new(self.setup.spaces.retained());
        let mut last = self.setup.start.epoch;
        let mut ready = 0;
        let mut pending: BTreeMap<u64, (Option<Head>, Vec<Part>)> = BTreeMap::new();
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
                ToCommitter::Head(head) => {
                    let epoch = head.epoch;
                    pending.entry(epoch).or_default().0 = Some(head);
                }
                ToCommitter::Part(part) => pending.entry(part.epoch).or_default().1.push(*part),
            }
            while let Some(entry) = pending.first_entry() {
                if entry.get().0.is_none() || entry.get().1.len() < self.workers {
                    break;
                }
                let (epoch, (head, parts)) = entry.remove_entry();
                let Some(head) = head else { break };
                debug_assert!(epoch > last);
                let written = parts.iter().map(|part| part.out.changes()).sum();
                let swept = sweep.next(&self.setup.store, &progress, written)?;
                self.commit((head, parts), swept, &mut progress)?;
                last = epoch;
            }
        }
        Ok(())
    }

    fn commit(
        &self,
        (head, parts): (Head, Vec<Part>),
        (writes, counts): (Vec<Writes>, Vec<Counts>),
        progress: &mut Progress,
    ) -> Result<()> {
        let (epoch, commit_ms) = (head.epoch, now_ms());
        self.advance(progress, &head, &parts, commit_ms);
        let mut commit =
            Commit { epoch, commit_ms, progress: progress.clone(), writes, counts, ..Commit::default() };
        let mut chunks: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        let mut dead = Vec::new();
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        let touched = |part: &Part| part.out.touched.values().sum();
        self.metrics.workers(&parts.iter().map(touched).collect::<Vec<u64>>());
        let mut busiest: BTreeMap<&String, (u64, u64)> = BTreeMap::new();
        for (name, (most, all)) in parts.iter().flat_map(|part| &part.out.busiest) {
            let of = busiest.entry(name).or_default();
            *of = (of.0.max(*most), of.1 + all);
        }
        busiest.into_iter().for_each(|(name, share)| self.metrics.busiest_key(name, share));
        for part in parts {
            part.out.held.iter().for_each(|(name, n)| *held.entry(name.clone()).or_default() += n);
            self.metrics.epoch_phase(Phase::Decode, part.decode);
            self.metrics.epoch_phase(Phase::Step, part.step);
            for (operator, rows) in &part.out.touched {
                self.metrics.rows_touched(operator, *rows);
            }
            let writes = part.out.writes.into_iter();
            commit.writes.extend(writes.map(|(space, (keys, values))| Writes { space, keys, values }));
            let counts = part.out.counts.into_iter();
            commit.counts.extend(counts.map(|(space, (rows, diffs))| Counts { space, rows, diffs }));
            for (target, encoded) in part.encoded {
                chunks.entry(target).or_default().extend(encoded);
            }
            dead.extend(part.dead);
        }
        held.iter().for_each(|(name, n)| self.metrics.rows_in_arrangement(name, *n as i64));
        dead.sort_by(|a, b| (&a.source, a.partition, a.offset).cmp(&(&b.source, b.partition, b.offset)));
        let mut more = self.dead_chunks(&dead);
        more.extend(self.failing(&mut commit)?);
        if !more.is_empty() {
            chunks.entry(0).or_default().append(&mut more);
        }
        commit.dead_letters = dead.iter().map(DeadLetter::to_bytes).collect();
        for (cluster, parts) in &chunks {
            for (part, bytes) in parts.iter().enumerate() {
                commit.outbox.push(OutboxChunk {
                    cluster: *cluster,
                    part: part as u32,
                    bytes: bytes.clone(),
                });
            }
        }
        fail_point!("commit.gathered");
        let begun = Instant::now();
        self.setup.store.commit(commit).with_context(|| format!("epoch {epoch} was not committed"))?;
        self.metrics.epoch_phase(Phase::Commit, begun.elapsed());
        show(&self.setup, &self.handle, progress);
        self.setup.committed.store(epoch, Ordering::Release);
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

    /// Moves progress to the end of the epoch.
    fn advance(&self, progress: &mut Progress, head: &Head, parts: &[Part], commit_ms: i64) {
        for (at, source) in self.setup.plan.sources.iter().enumerate() {
            let held = progress.sources.entry(source.name.clone()).or_default();
            let Some(read) = head.sources.get(at) else { continue };
            let before = held.outcomes;
            let shares = parts.iter().map(|part| (part.out.outcomes.get(&at), part.marks.get(at)));
            let holder = advance(held, source, read, shares);
            for outcome in schemas::Outcome::ALL {
                let n = held.outcomes[outcome.index()] - before[outcome.index()];
                if n > 0 {
                    self.metrics.outcomes(&source.name, outcome.name(), n);
                }
            }
            self.metrics.watermark(&source.name, held.watermark_us, commit_ms);
            self.metrics.watermark_held_by(&source.name, holder);
            self.handle.update(|status| {
                if let Some(shown) = status.sources.get_mut(at) {
                    shown.held_by = holder;
                }
            });
        }
        for view in &self.setup.plan.views {
            let sources = self.setup.plan.sources_of(view.rel).into_iter();
            let marks =
                sources.map(|at| progress.sources.get(&self.setup.plan.sources[at].name)?.watermark_us);
            let watermark_us = marks.collect::<Option<Vec<_>>>().and_then(|marks| marks.into_iter().min());
            let held = ViewProgress { epoch: head.epoch, commit_ms, watermark_us };
            progress.views.insert(view.name.clone(), held);
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

/// Makes committed progress visible to operators and to the status.
pub fn show(setup: &Setup, handle: &DriverHandle, progress: &Progress) {
    for (at, source) in setup.plan.sources.iter().enumerate() {
        let Some(held) = progress.sources.get(&source.name) else { continue };
        if let Some(us) = held.watermark_us {
            setup.watermarks[at].store(us, Ordering::Release);
        }
        handle.update(|status| {
            let Some(shown) = status.sources.iter_mut().find(|s| s.name == source.name) else { return };
            for outcome in schemas::Outcome::ALL {
                shown.outcomes.insert(outcome.name(), held.outcomes[outcome.index()]);
            }
            shown.watermark = held.watermark_us.map(shown_watermark);
        });
    }
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
