//! The threads of an engine: each runs one timely worker and does what it is told, in order.
//!
//! A worker that fails or panics says so and makes the others give up: they would wait for it for
//! ever.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::Records;

use super::Letter;
use crate::error::RunError;
use crate::render::collect::EpochOut;
use crate::source::ingest::PartitionMark;
use crate::topology::{self, Partitions, Setup, Topology, Worker, Workers};

/// What a worker is told.
pub enum Tell {
    /// Records of one partition, for the open epoch.
    Records(usize, Box<Records>),
    /// A partition joins with this watermark.
    Join(usize, i32, Option<i64>),
    /// The open epoch is complete; all partitions at its end.
    Close(u64, Arc<Partitions>),
}

/// What a worker tells.
pub enum Told {
    /// It is at the committed epoch.
    Ready,
    /// It completed its part of an epoch.
    Part(Box<Part>),
    /// It failed.
    Failed(RunError),
}

/// One worker's part of an epoch.
pub struct Part {
    /// The epoch.
    pub epoch: u64,
    /// State changes and counts.
    pub out: EpochOut,
    /// Dead letters.
    pub letters: Vec<Letter>,
    /// Marks of the partitions read here, by source.
    pub marks: Vec<HashMap<i32, PartitionMark>>,
}

/// Lines to the workers, one each; what they tell; their threads.
pub type Started = (Vec<Sender<Tell>>, Receiver<Told>, Workers);

/// Starts the workers and waits until all are at the committed epoch.
pub fn start(setup: &Setup, peers: usize) -> Result<Started, RunError> {
    let (lines, inboxes): (Vec<_>, Vec<_>) = (0..peers).map(|_| channel()).unzip();
    // Each inbox is taken once, by its worker.
    let inboxes: Vec<_> = inboxes.into_iter().map(|inbox| Mutex::new(Some(inbox))).collect();
    let (tell, told) = channel();
    let setup = setup.clone();
    let workers = topology::start(peers, move |worker| {
        let place = inboxes.get(worker.index());
        let taken = place.and_then(|inbox| inbox.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(inbox) = taken else { return };
        let guard = AbortOnPanic(setup.abort.clone(), tell.clone());
        let result = work(worker, &setup, &inbox, &tell);
        drop(guard);
        if let Err(error) = result {
            setup.abort.store(true, Ordering::Relaxed);
            let _ = tell.send(Told::Failed(error));
            topology::abandon(worker);
        }
    })?;
    for _ in 0..peers {
        match told.recv() {
            Ok(Told::Failed(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => return Err(RunError::Broken("a worker did not start".into())),
        }
    }
    Ok((lines, told, workers))
}

/// Tells the others when a worker panics.
struct AbortOnPanic(Arc<AtomicBool>, Sender<Told>);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
            let _ = self.1.send(Told::Failed(RunError::Broken("a worker panicked".into())));
        }
    }
}

fn work(
    worker: &mut Worker,
    setup: &Setup,
    inbox: &Receiver<Tell>,
    tell: &Sender<Told>,
) -> Result<(), RunError> {
    let mut topology = Topology::build(worker, setup)?;
    let _ = tell.send(Told::Ready);
    let mut letters = Vec::new();
    while let Ok(message) = inbox.recv() {
        match message {
            Tell::Records(source, records) => {
                for rejected in topology.feed(source, &records)? {
                    letters.push(Letter {
                        source,
                        partition: records.partition,
                        offset: records.offsets.get(rejected.record as usize).copied().unwrap_or(-1),
                        outcome: rejected.outcome,
                        constraint: rejected.constraint,
                        message: rejected.message,
                    });
                }
            }
            Tell::Join(source, partition, floor) => topology.join(source, partition, floor),
            Tell::Close(epoch, partitions) => {
                let out = topology.close(worker, epoch, &partitions)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let part = Part { epoch, out, letters: std::mem::take(&mut letters), marks };
                let _ = tell.send(Told::Part(Box::new(part)));
            }
        }
    }
    Ok(())
}
