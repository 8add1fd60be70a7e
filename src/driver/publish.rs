//! The publisher: copies committed epochs from the outbox to the sinks, in order, each once.
//!
//! Epochs that a crash left in the outbox go out first. Waiting epochs are published together, in one
//! transaction. The Kafka publisher retries transient failures itself; an error that it returns is final and
//! ends the run, with the outbox kept. Exports keep their epochs in the outbox for longer, and have a thread of their
//! own (`exports`).

pub mod erasing;
pub mod exports;
pub mod settled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::ConnectorError;
use connectors::clock::now_ms;
use connectors::file::FileWriter;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::{EpochOutput, Publisher, has_records};
use connectors::sink::is_export;
use crossbeam_channel::Receiver;
use fail::fail_point;
use schemas::MemoryShare;
use state::{OutboxDepth, Published, StateError, Store};

use super::DriverHandle;
use crate::metrics::Metrics;
use crate::run::failpoints;

/// A committed epoch's output.
pub struct ToPublisher {
    /// The epoch.
    pub epoch: u64,
    /// Time of its commit, milliseconds since 1970.
    pub commit_ms: i64,
    /// Chunks by target, without those of exports.
    pub chunks: BTreeMap<u16, Vec<Vec<u8>>>,
    /// Timestamps of some of its records, milliseconds.
    pub samples: Vec<i64>,
    /// Memory of the chunks.
    pub _memory: MemoryShare,
}

/// All targets of a topology.
pub struct Targets {
    /// The sink cluster, target 0.
    pub kafka: Option<Publisher>,
    /// File sinks by target.
    pub files: BTreeMap<u16, FileWriter>,
    /// The state with the outbox.
    pub store: Arc<Store>,
    /// Set when the process must end without waiting for a broker.
    pub stop: Arc<AtomicBool>,
    /// The last epoch that is published to all targets.
    pub published: Arc<AtomicU64>,
    /// The topic positions that the state last recorded.
    pub remembered: Remembered,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Status.
    pub handle: DriverHandle,
}

/// Time of the last write of topic positions to the state, and the number of topics with records then.
#[derive(Debug, Default)]
pub struct Remembered {
    at: Option<Instant>,
    topics: usize,
}

/// Interval at which topic positions are written to the state.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(10);

/// Committed and unpublished output of some targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpublished {
    /// The epochs of the target that is furthest behind.
    pub epochs: u64,
    /// The bytes of all of them.
    pub bytes: u64,
}

/// Bytes that each epoch of an export takes beside its chunks: of a copy nothing else is in the outbox, which has an entry
/// in memory for it.
pub const EPOCH_BYTES: u64 = 256;

/// Bytes of an export's epochs in the outbox, as the bound on them counts.
pub fn export_bytes(held: &OutboxDepth) -> u64 {
    held.bytes + EPOCH_BYTES * held.epochs
}

/// The unpublished output of the sinks that publish each epoch at once, which is also shown, and that of the exports.
pub fn unpublished_output(store: &Store, metrics: &Metrics) -> [Unpublished; 2] {
    let (mut sinks, mut exports) = (Unpublished::default(), Unpublished::default());
    for (target, depth) in store.outbox_depth() {
        let (of, bytes) = match is_export(target) {
            true => (&mut exports, export_bytes(&depth)),
            false => (&mut sinks, depth.bytes),
        };
        of.epochs = depth.epochs.max(of.epochs);
        of.bytes += bytes;
    }
    metrics.set_outbox_depth(sinks.epochs, sinks.bytes);
    [sinks, exports]
}

/// Most epochs that are published in one transaction.
const MAX_EPOCHS_PER_TRANSACTION: usize = 64;

impl Targets {
    /// Publishes the outbox of a previous run, up to the epoch that this one starts from. `after` is the last
    /// published epoch of each target. Records are stamped with the commit time of their own epoch.
    ///
    /// # Errors
    /// When a target refuses for good.
    pub fn catch_up(&mut self, after: &BTreeMap<u16, u64>, upto: u64) -> Result<()> {
        fail_point!("recover.outbox.before");
        let store = self.store.clone();
        let without_time_ms = store.meta().commit_ms;
        for (target, after) in after {
            // Deletes only up to the last epoch sent, not to `upto`: later epochs had no output for this
            // target, and its marker does not cover them.
            let mut sent = *after;
            let mut left = store.outbox_after(*target, *after)?;
            while let Some(epoch) = left.next().transpose()? {
                if epoch.epoch > upto {
                    break;
                }
                tracing::info!(epoch = epoch.epoch, target, "publishing what was left in the outbox");
                let commit_ms = epoch.commit_ms.unwrap_or(without_time_ms);
                fail_point!("recover.outbox.epoch");
                self.send_to_target(*target, &[(epoch.epoch, commit_ms, &epoch.parts)])?;
                sent = epoch.epoch;
            }
            self.store.delete_outbox(*target, sent)?;
        }
        self.handle.update_status(|status| status.published = status.published.max(upto));
        self.metrics.set_published(upto);
        self.published.store(upto, Ordering::Release);
        failpoints::epochs_published(upto);
        fail_point!("recover.outbox.after");
        Ok(())
    }

    /// Publishes epochs as they are committed, until the channel closes.
    ///
    /// # Errors
    /// When a target refuses for good.
    pub fn run(&mut self, inbox: &Receiver<ToPublisher>) -> Result<()> {
        while let Ok(first) = inbox.recv() {
            let mut epochs = vec![first];
            while epochs.len() < MAX_EPOCHS_PER_TRANSACTION {
                let Ok(next) = inbox.try_recv() else { break };
                epochs.push(next);
            }
            self.publish_epochs(&epochs)?;
        }
        self.remember_offsets(true)
    }

    /// Writes the end offsets of topics to the state: when a topic gets its first records, every
    /// [`REMEMBER_INTERVAL`], and at the end (`last`).
    fn remember_offsets(&mut self, last: bool) -> Result<()> {
        let Some(publisher) = &self.kafka else { return Ok(()) };
        let reached = publisher.reached();
        let topics = reached.values().filter(|ends| has_records(ends)).count();
        let due = self.remembered.at.is_none_or(|at| at.elapsed() > REMEMBER_INTERVAL);
        if !last && !due && topics == self.remembered.topics {
            return Ok(());
        }
        self.remembered = Remembered { at: Some(Instant::now()), topics };
        let held = self.store.known_topics()?;
        let mut known = held.clone();
        for (topic, known) in &mut known {
            for (held, now) in known.reached.iter_mut().zip(reached.get(topic).into_iter().flatten()) {
                *held = (*held).max(*now);
            }
        }
        if known != held {
            self.store.set_known_topics(&known)?;
        }
        Ok(())
    }

    /// Publishes a group of epochs to every target they have output for.
    fn publish_epochs(&mut self, epochs: &[ToPublisher]) -> Result<()> {
        fail_point!("publish.before");
        let begun = Instant::now();
        let mut targets: Vec<u16> = epochs.iter().flat_map(|e| e.chunks.keys().copied()).collect();
        targets.sort_unstable();
        targets.dedup();
        for target in targets {
            let outputs: Vec<(u64, i64, &Vec<Vec<u8>>)> =
                epochs.iter().filter_map(|e| Some((e.epoch, e.commit_ms, e.chunks.get(&target)?))).collect();
            self.send_to_target(target, &outputs)?;
        }
        let (now, last) = (now_ms(), epochs.last().map_or(0, |e| e.epoch));
        let first = epochs.first().map_or(last, |e| e.epoch);
        self.metrics.observe_publish(first..=last, begun.elapsed());
        for ms in epochs.iter().flat_map(|e| &e.samples) {
            self.metrics.observe_end_to_end(now - ms);
        }
        fail_point!("publish.after");
        self.metrics.set_published(last);
        self.published.store(last, Ordering::Release);
        failpoints::epochs_published(last);
        unpublished_output(&self.store, &self.metrics);
        self.handle.update_status(|status| {
            status.published = last;
            status.broker_ok = true;
        });
        Ok(())
    }

    /// Sends epochs to one target and records them as published.
    fn send_to_target(&mut self, target: u16, outputs: &[(u64, i64, &Vec<Vec<u8>>)]) -> Result<()> {
        let Some((last, _, chunks)) = outputs.last() else { return Ok(()) };
        match (target, &mut self.kafka) {
            (0, Some(publisher)) => {
                let epochs: Vec<EpochOutput<'_>> = outputs
                    .iter()
                    .map(|(epoch, commit_ms, chunks)| EpochOutput {
                        epoch: *epoch,
                        commit_ms: *commit_ms,
                        chunks,
                    })
                    .collect();
                publisher
                    .publish_all(&epochs, &self.stop)
                    .inspect_err(|error| remember_lost(&self.store, error))
                    .with_context(|| format!("epoch {last} is committed and stays in the outbox"))?;
            }
            _ => {
                if let Some(file) = self.files.get_mut(&target) {
                    for (epoch, _, chunks) in outputs {
                        file.publish(*epoch, chunks)?;
                    }
                }
            }
        }
        self.store.set_published(target, &Published { epoch: *last, digest: Some(digest(chunks)) })?;
        if target == 0 { self.remember_offsets(false) } else { Ok(()) }
    }
}

/// Marks a topic as lost in the state. Records of the failed attempt may make the new topic look like the old
/// one, so the next start could not detect the loss itself.
fn remember_lost(store: &Store, error: &ConnectorError) {
    let (ConnectorError::GoneTopic { topic } | ConnectorError::RemadeSink { topic, .. }) = error else {
        return;
    };
    if let Err(error) = mark_lost(store, topic) {
        tracing::warn!(topic, %error, "the state does not know that the topic is lost");
    }
}

/// Marks a topic as lost.
fn mark_lost(store: &Store, topic: &str) -> Result<(), StateError> {
    let mut known = store.known_topics()?;
    if let Some(known) = known.get_mut(topic) {
        known.lost = true;
    }
    store.set_known_topics(&known)
}
