//! The threads of an engine: each runs one timely worker and does what it is told, in order.
//!
//! A worker that fails or panics says so and makes the others give up ([`worker::start`]): they would
//! wait for it for ever.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use fail::fail_point;
use schemas::Records;

use super::Letter;
use crate::error::RunError;
use crate::render::collect::EpochOut;
use crate::source::ingest::PartitionMark;
use crate::worker::{self, Partitions, Setup, Topology, Worker, Workers};

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
    let (setup, failures) = (setup.clone(), tell.clone());
    let abort = setup.abort.clone();
    let body = move |worker: &mut Worker| {
        let place = inboxes.get(worker.index());
        let taken = place.and_then(|inbox| inbox.lock().unwrap_or_else(PoisonError::into_inner).take());
        taken.map_or(Ok(()), |inbox| work(worker, &setup, &inbox, &tell))
    };
    let failed = move |error| drop(failures.send(Told::Failed(error)));
    let workers = worker::start(peers, abort.clone(), body, failed)?;
    let ready = (0..peers).try_for_each(|_| match told.recv() {
        Ok(Told::Failed(error)) => Err(error),
        Ok(_) => Ok(()),
        Err(_) => Err(RunError::Broken("a worker did not start".into())),
    });
    if let Err(error) = ready {
        // Those that are ready wait for what they are told: nothing comes any more.
        abort.store(true, Ordering::Release);
        drop(lines);
        let _ = workers.join();
        return Err(error);
    }
    Ok((lines, told, workers))
}

fn work(
    worker: &mut Worker,
    setup: &Setup,
    inbox: &Receiver<Tell>,
    tell: &Sender<Told>,
) -> Result<(), RunError> {
    fail_point!("engine.build");
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
                fail_point!("engine.close");
                let out = topology.close(worker, epoch, &partitions)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let part = Part { epoch, out, letters: std::mem::take(&mut letters), marks };
                let _ = tell.send(Told::Part(Box::new(part)));
            }
        }
    }
    Ok(())
}
