//! Worker threads: each runs one timely worker, decodes and judges the records it is given, steps
//! the dataflow when an epoch is closed, encodes its share of the sinks' output, and sends its part
//! of the epoch to the committer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use connectors::DeadLetter;
use crossbeam_channel::{Receiver, Sender};
use dataflows::render::collect::EpochOut;
use dataflows::source::ingest::{PartitionMark, Rejected};
use dataflows::topology::{self, Partitions, Setup, Topology, Worker, Workers};
use dataflows::verify::{self, Derived};
use fail::fail_point;
use schemas::Records;

use super::commit::ToCommitter;
use super::encode::{Encoded, Outputs};

/// What the driver tells a worker.
pub enum ToWorker {
    /// Records of one partition, for the open epoch.
    Records(usize, Box<Records>),
    /// A partition joins with this watermark.
    Join(usize, i32, Option<i64>),
    /// The open epoch is complete; all partitions at its end.
    Close(u64, Arc<Partitions>),
}

/// One worker's part of an epoch.
pub struct Part {
    /// The epoch.
    pub epoch: u64,
    /// State changes and counts.
    pub out: EpochOut,
    /// Serialised output by target.
    pub encoded: Encoded,
    /// Dead letters.
    pub dead: Vec<DeadLetter>,
    /// Marks of the partitions read here, by source.
    pub marks: Vec<HashMap<i32, PartitionMark>>,
    /// Time spent decoding and judging.
    pub decode: Duration,
    /// Time spent stepping the dataflow and encoding.
    pub step: Duration,
}

/// Runs workers until their channels close; the first failure aborts the others.
///
/// # Errors
/// When threads cannot be started.
pub fn start(
    setup: Setup,
    outputs: Arc<Outputs>,
    inboxes: Vec<Receiver<ToWorker>>,
    to_committer: Sender<ToCommitter>,
) -> Result<Workers> {
    let peers = inboxes.len();
    let abort = setup.abort.clone();
    let workers = topology::start(peers, move |worker| {
        let inbox = inboxes[worker.index()].clone();
        let guard = AbortOnPanic(abort.clone(), to_committer.clone());
        let result = work(worker, &setup, &outputs, &inbox, &to_committer);
        drop(guard);
        if let Err(error) = result {
            abort.store(true, Ordering::Relaxed);
            // The committer may be gone already; then the driver knows.
            let _ = to_committer.send(ToCommitter::Failed(error));
            topology::abandon(worker);
        }
    })?;
    Ok(workers)
}

/// Tells the others when a worker panics: they would wait for it for ever.
struct AbortOnPanic(Arc<AtomicBool>, Sender<ToCommitter>);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
            let _ = self
                .1
                .send(ToCommitter::Failed(anyhow!("a worker panicked; nothing of its epoch is committed")));
        }
    }
}

fn work(
    worker: &mut Worker,
    setup: &Setup,
    outputs: &Outputs,
    inbox: &Receiver<ToWorker>,
    to_committer: &Sender<ToCommitter>,
) -> Result<()> {
    fail_point!("recover.restore.before");
    let mut topology = Topology::build(worker, setup)?;
    fail_point!("recover.restore.after");
    let mut encoder = outputs.encoder(&setup.plan)?;
    let (mut dead, mut decode) = (Vec::new(), Duration::ZERO);
    let _ = to_committer.send(ToCommitter::Ready);
    while let Ok(message) = inbox.recv() {
        match message {
            ToWorker::Records(source, records) => {
                let begun = Instant::now();
                let rejected = topology.feed(source, &records)?;
                dead.extend(rejected.into_iter().map(|r| dead_letter(setup, source, &records, r)));
                decode += begun.elapsed();
                for warning in topology.warnings() {
                    tracing::warn!(source = setup.plan.sources[source].name, "{warning}");
                }
            }
            ToWorker::Join(source, partition, floor) => topology.join(source, partition, floor),
            ToWorker::Close(epoch, partitions) => {
                let begun = Instant::now();
                fail_point!("worker.step.before");
                let mut out = topology.close(worker, epoch, &partitions)?;
                fail_point!("worker.step.after");
                let mut sinks = std::mem::take(&mut out.sinks);
                // Nothing entered in such an epoch. What cannot be derived again is not sent again either.
                if let Some(restored) = topology.restored() {
                    let plan = &setup.plan;
                    sinks = restored.sinks;
                    sinks.retain(|at, _| verify::derived(plan, plan.sinks[*at].rel) != Derived::Nothing);
                }
                let encoded = encoder.encode(epoch, sinks, &mut out, setup.spaces.errors)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let part = Part {
                    epoch,
                    out,
                    encoded,
                    dead: std::mem::take(&mut dead),
                    marks,
                    decode: std::mem::take(&mut decode),
                    step: begun.elapsed(),
                };
                fail_point!("worker.encode.after");
                if to_committer.send(ToCommitter::Part(Box::new(part))).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn dead_letter(setup: &Setup, source: usize, records: &Records, rejected: Rejected) -> DeadLetter {
    let source = &setup.plan.sources[source];
    let at = rejected.record as usize;
    DeadLetter {
        topic: place(&source.options),
        partition: records.partition,
        offset: records.offsets[at],
        timestamp: records.timestamps[at],
        source: source.name.clone(),
        outcome: rejected.outcome,
        constraint: rejected.constraint,
        message: rejected.message,
        schema_id: rejected.schema_id,
        key: records.keys.get(at).map(<[u8]>::to_vec),
        value: records.values.get(at).map(<[u8]>::to_vec),
    }
}

/// Where a source reads, as dead letters and messages call it: its topic, path, or connector.
pub fn place(options: &BTreeMap<String, String>) -> String {
    ["topic", "path", "connector"].iter().find_map(|name| options.get(*name)).cloned().unwrap_or_default()
}
