//! The publisher: carries committed epochs from the outbox to the sinks, in order, each once.
//!
//! What a crash left in the outbox goes out first. Epochs that wait are published together, in one
//! transaction. A failure that can pass is tried again inside the Kafka publisher; what it returns
//! is final, and ends the run with the outbox kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use connectors::file::FileWriter;
use connectors::kafka::progress::digest;
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
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Status.
    pub handle: DriverHandle,
}

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
    /// Publishes what a previous run left; `after` is where each target is.
    ///
    /// # Errors
    /// When a target refuses for good.
    pub fn catch_up(&mut self, after: &BTreeMap<u16, u64>) -> Result<()> {
        for (target, after) in after {
            let store = self.store.clone();
            // Not the committed epoch: later ones had no output here, and the target's marker knows nothing of them.
            let mut upto = *after;
            let mut left = store.outbox_after(*target, *after)?;
            while let Some(epoch) = left.next().transpose()? {
                tracing::info!(epoch = epoch.epoch, target, "publishing what was left in the outbox");
                let commit_ms = store.meta().commit_ms;
                fail_point!("recover.outbox.epoch");
                self.send(*target, &[(epoch.epoch, commit_ms, &epoch.parts)])?;
                upto = epoch.epoch;
            }
            self.store.delete_outbox(*target, upto)?;
        }
        self.published.store(self.store.meta().epoch, Ordering::Release);
        failpoints::published(self.store.meta().epoch);
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
                    .with_context(|| format!("epoch {last} is committed and stays in the outbox"))?;
                let published = Published { epoch: *last, digest: Some(digest(chunks)) };
                self.store.set_published(0, &published)?;
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
