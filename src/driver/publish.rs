//! The publisher: carries committed epochs from the outbox to the sinks, in order, each once.
//!
//! What a crash left in the outbox goes out first. Epochs that wait are published together, in one
//! transaction. A failure that can pass is tried again inside the Kafka publisher; what it returns
//! is final, and ends the run with the outbox kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::ConnectorError;
use connectors::file::FileWriter;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::{EpochOutput, Publisher};
use crossbeam_channel::Receiver;
use fail::fail_point;
use state::{Published, Store};

use super::{DriverHandle, now_ms};
use crate::failpoints;
use crate::metrics::{Metrics, Phase};

/// A committed epoch's output.
pub struct ToPublisher {
    /// The epoch.
    pub epoch: u64,
    /// When it was committed, milliseconds since 1970.
    pub commit_ms: i64,
    /// Chunks by target.
    pub chunks: BTreeMap<u16, Vec<Vec<u8>>>,
    /// Timestamps of some of its records, milliseconds.
    pub samples: Vec<i64>,
}

/// All targets of a topology.
pub struct Targets {
    /// The sink cluster, target 0.
    pub kafka: Option<Publisher>,
    /// File sinks by target.
    pub files: BTreeMap<u16, FileWriter>,
    /// The state with the outbox.
    pub store: Arc<Store>,
    /// Set when the process must go without waiting for a broker.
    pub stop: Arc<AtomicBool>,
    /// The last epoch that is out, everywhere.
    pub published: Arc<AtomicU64>,
    /// What the state was told of the topics.
    pub remembered: Remembered,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Status.
    pub handle: DriverHandle,
}

/// When the state was last told how far topics reached, and how many of them had records then.
#[derive(Debug, Default)]
pub struct Remembered {
    at: Option<Instant>,
    topics: usize,
}

/// How often the state is told.
const REMEMBER: Duration = Duration::from_secs(10);

/// Epochs and bytes that are committed and not published: of the target that is furthest behind, and of all.
pub fn unpublished(store: &Store, metrics: &Metrics) -> (u64, u64) {
    let depths = store.outbox_depth();
    let (epochs, bytes) = depths.values().fold((0, 0), |sum, d| (sum.0.max(d.epochs), sum.1 + d.bytes));
    metrics.outbox_depth(epochs, bytes);
    (epochs, bytes)
}

/// Epochs that are published together, at most.
const TOGETHER: usize = 64;

impl Targets {
    /// Publishes what a previous run left, up to the epoch that this one starts from; `after` is where each target
    /// is. Records have the time of their own epoch's commit.
    ///
    /// # Errors
    /// When a target refuses for good.
    pub fn catch_up(&mut self, after: &BTreeMap<u16, u64>, upto: u64) -> Result<()> {
        fail_point!("recover.outbox.before");
        let store = self.store.clone();
        let without_time_ms = store.meta().commit_ms;
        for (target, after) in after {
            // Not the committed epoch: later ones had no output here, and the target's marker knows nothing of them.
            let mut sent = *after;
            let mut left = store.outbox_after(*target, *after)?;
            while let Some(epoch) = left.next().transpose()? {
                if epoch.epoch > upto {
                    break;
                }
                tracing::info!(epoch = epoch.epoch, target, "publishing what was left in the outbox");
                let commit_ms = epoch.commit_ms.unwrap_or(without_time_ms);
                fail_point!("recover.outbox.epoch");
                self.send(*target, &[(epoch.epoch, commit_ms, &epoch.parts)])?;
                sent = epoch.epoch;
            }
            self.store.delete_outbox(*target, sent)?;
        }
        self.handle.update(|status| status.published = status.published.max(upto));
        self.published.store(upto, Ordering::Release);
        failpoints::published(upto);
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
            while epochs.len() < TOGETHER {
                let Ok(next) = inbox.try_recv() else { break };
                epochs.push(next);
            }
            self.publish(&epochs)?;
        }
        self.remember(true)
    }

    /// Tells the state how far topics reached: the first time that one has records, now and then, and at the end.
    fn remember(&mut self, last: bool) -> Result<()> {
        let Some(publisher) = &self.kafka else { return Ok(()) };
        let reached = publisher.reached();
        let topics = reached.values().filter(|ends| ends.iter().any(|end| *end > 0)).count();
        let due = self.remembered.at.is_none_or(|at| at.elapsed() > REMEMBER);
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

    fn publish(&mut self, epochs: &[ToPublisher]) -> Result<()> {
        fail_point!("publish.before");
        let begun = Instant::now();
        let mut targets: Vec<u16> = epochs.iter().flat_map(|e| e.chunks.keys().copied()).collect();
        targets.sort_unstable();
        targets.dedup();
        for target in targets {
            let outputs: Vec<(u64, i64, &Vec<Vec<u8>>)> =
                epochs.iter().filter_map(|e| Some((e.epoch, e.commit_ms, e.chunks.get(&target)?))).collect();
            self.send(target, &outputs)?;
            if let Some((epoch, ..)) = outputs.last() {
                self.store.delete_outbox(target, *epoch)?;
            }
        }
        self.metrics.epoch_phase(Phase::Publish, begun.elapsed());
        let (now, last) = (now_ms(), epochs.last().map_or(0, |e| e.epoch));
        epochs.iter().flat_map(|e| &e.samples).for_each(|ms| self.metrics.end_to_end(now - ms));
        fail_point!("publish.after");
        self.published.store(last, Ordering::Release);
        failpoints::published(last);
        unpublished(&self.store, &self.metrics);
        self.handle.update(|status| {
            status.published = last;
            status.broker_ok = true;
        });
        Ok(())
    }

    fn send(&mut self, target: u16, outputs: &[(u64, i64, &Vec<Vec<u8>>)]) -> Result<()> {
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
                let published = Published { epoch: *last, digest: Some(digest(chunks)) };
                self.store.set_published(0, &published)?;
                self.remember(false)?;
            }
            _ => {
                if let Some(file) = self.files.get_mut(&target) {
                    for (epoch, _, chunks) in outputs {
                        file.publish(*epoch, chunks)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Has the state remember that a topic is not the one it was: what was tried to send there hides it from the next start.
fn remember_lost(store: &Store, error: &ConnectorError) {
    let (ConnectorError::GoneTopic { topic } | ConnectorError::RemadeSink { topic, .. }) = error else {
        return;
    };
    let remembered = store.known_topics().and_then(|mut known| {
        if let Some(known) = known.get_mut(topic) {
            known.lost = true;
        }
        store.set_known_topics(&known)
    });
    if let Err(error) = remembered {
        tracing::warn!(topic, %error, "the state does not know that the topic is lost");
    }
}
