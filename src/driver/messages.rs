//! Messages from the driver and the workers to the committer.

use std::time::Duration;

use connectors::DeadLetter;
use crossbeam_channel::{Receiver, Sender};
use dataflows::runtime::epoch::WorkerEpoch;
use dataflows::runtime::worker::Command;
use dataflows::source::progress::SourceHead;

use super::encode::Encoded;

/// Most epochs that are closed and not yet committed.
pub const IN_FLIGHT: usize = 4;
/// Most committed epochs that wait for the publisher; beyond it the committer blocks.
pub const UNPUBLISHED: usize = 64;
/// Most messages that wait for a worker.
pub const INBOX: usize = 32;

/// A message to the committer.
pub enum ToCommitter {
    /// A worker has restored the committed epoch.
    Ready,
    /// The driver closed an epoch.
    Head(EpochHead),
    /// A worker completed an epoch.
    Report(u64, Box<Report>),
}

/// The driver's part of an epoch's commit.
#[derive(Debug, Default)]
pub struct EpochHead {
    /// The epoch.
    pub epoch: u64,
    /// By source: records read and the next offset of each partition that was read.
    pub sources: Vec<SourceHead>,
    /// Timestamps of some of its records, milliseconds, for the latency histogram.
    pub samples: Vec<i64>,
}

/// One worker's report of an epoch.
pub struct Report {
    /// Its share of the commit.
    pub share: WorkerEpoch,
    /// Serialised output by target.
    pub encoded: Encoded,
    /// Records in the output.
    pub output_rows: u64,
    /// Dead letters.
    pub dead: Vec<DeadLetter>,
    /// Time spent decoding and validating.
    pub decode: Duration,
    /// Time spent stepping the dataflow and encoding.
    pub step: Duration,
}

/// The driver's ends of the channels.
pub struct Channels {
    /// The workers' inboxes.
    pub workers: Vec<Sender<Command>>,
    /// The committer's inbox.
    pub committer: Sender<ToCommitter>,
    /// Permits to close an epoch.
    pub permits: Receiver<()>,
    /// Tells once that all workers are ready.
    pub ready: Receiver<()>,
}

impl Channels {
    /// The inbox of the worker that owns a partition of a source.
    pub fn worker_of(&self, partition: i32) -> &Sender<Command> {
        &self.workers[partition as usize % self.workers.len()]
    }
}
