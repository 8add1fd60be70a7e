//! The threads of an engine: each runs one timely worker and does what it is told, in order.
//!
//! A worker that fails or panics says so and makes the others give up ([`worker::start`]): they would
//! wait for it for ever.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use fail::fail_point;

use super::Letter;
use crate::epoch::WorkerEpoch;
use crate::error::RunError;
use crate::worker::{self, Command, Setup, Topology, Worker, Workers};

/// What a worker tells.
pub enum Told {
    /// It is at the committed epoch.
    Ready,
    /// It completed an epoch.
    Report(u64, Box<Report>),
    /// It failed.
    Failed(RunError),
}

/// One worker's report of an epoch.
pub struct Report {
    /// Its share of the commit.
    pub share: WorkerEpoch,
    /// Dead letters.
    pub letters: Vec<Letter>,
}

/// Channels to the workers, one each; what they tell; their threads.
pub type Started = (Vec<Sender<Command>>, Receiver<Told>, Workers);

/// Starts the workers and waits until all are at the committed epoch.
pub fn start(setup: &Setup, peers: usize) -> Result<Started, RunError> {
    let (commands, inboxes): (Vec<_>, Vec<_>) = (0..peers).map(|_| channel()).unzip();
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
        drop(commands);
        let _ = workers.join();
        return Err(error);
    }
    Ok((commands, told, workers))
}

fn work(
    worker: &mut Worker,
    setup: &Setup,
    inbox: &Receiver<Command>,
    tell: &Sender<Told>,
) -> Result<(), RunError> {
    fail_point!("engine.build");
    let mut topology = Topology::build(worker, setup)?;
    let _ = tell.send(Told::Ready);
    let mut letters = Vec::new();
    while let Ok(message) = inbox.recv() {
        match message {
            Command::Records(source, records) => {
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
            Command::Join(source, partition, floor) => topology.join(source, partition, floor),
            Command::Close(epoch, partitions) => {
                fail_point!("engine.close");
                let out = topology.close(worker, epoch, &partitions)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let share = WorkerEpoch { out, marks };
                let report = Report { share, letters: std::mem::take(&mut letters) };
                let _ = tell.send(Told::Report(epoch, Box::new(report)));
            }
        }
    }
    Ok(())
}
