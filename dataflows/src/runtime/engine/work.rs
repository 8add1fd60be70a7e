//! The threads of an engine: each runs one timely worker and executes commands in order.
//!
//! A worker that fails or panics reports it and makes the others stop ([`worker::start`]), which would
//! otherwise wait for it for ever.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use fail::fail_point;

use super::DeadLetter;
use crate::error::RunError;
use crate::runtime::epoch::WorkerEpoch;
use crate::runtime::worker::{self, Command, Setup, Topology, Worker, Workers};

/// Events that workers report.
pub enum WorkerEvent {
    /// The worker has restored the committed epoch.
    Ready,
    /// The worker completed an epoch.
    Report(u64, Box<Report>),
    /// The worker failed.
    Failed(RunError),
}

/// One worker's report of an epoch.
pub struct Report {
    /// Its share of the commit.
    pub share: WorkerEpoch,
    /// Dead letters.
    pub dead_letters: Vec<DeadLetter>,
}

/// Channels to the workers, one each; their events; their threads.
pub type Started = (Vec<Sender<Command>>, Receiver<WorkerEvent>, Workers);

/// Starts the workers and waits until all are at the committed epoch.
pub fn start_workers(setup: &Setup, peers: usize) -> Result<Started, RunError> {
    let (mut commands, mut inboxes) = (Vec::with_capacity(peers), Vec::with_capacity(peers));
    for _ in 0..peers {
        let (command, inbox) = channel();
        commands.push(command);
        // Each inbox is taken once, by its worker.
        inboxes.push(Mutex::new(Some(inbox)));
    }
    let (events, received) = channel();
    let (setup, failures) = (setup.clone(), events.clone());
    let abort = setup.abort.clone();
    let body = move |worker: &mut Worker| {
        let Some(inbox) = inboxes.get(worker.index()) else { return Ok(()) };
        let taken = inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(inbox) => run_worker(worker, &setup, &inbox, &events),
            None => Ok(()),
        }
    };
    let failed = move |error| drop(failures.send(WorkerEvent::Failed(error)));
    let workers = worker::start(peers, abort.clone(), body, failed)?;
    if let Err(error) = await_workers(&received, peers) {
        // Workers that are ready wait for commands: dropping the channels ends them.
        abort.store(true, Ordering::Release);
        drop(commands);
        let _ = workers.join();
        return Err(error);
    }
    Ok((commands, received, workers))
}

/// Waits until all workers are at the committed epoch.
fn await_workers(events: &Receiver<WorkerEvent>, peers: usize) -> Result<(), RunError> {
    for _ in 0..peers {
        match events.recv() {
            Ok(WorkerEvent::Failed(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => return Err(RunError::Broken("a worker did not start".into())),
        }
    }
    Ok(())
}

/// Body of a worker thread: builds the topology, then executes commands until their channel closes.
fn run_worker(
    worker: &mut Worker,
    setup: &Setup,
    inbox: &Receiver<Command>,
    events: &Sender<WorkerEvent>,
) -> Result<(), RunError> {
    fail_point!("engine.build");
    let mut topology = Topology::build(worker, setup)?;
    let _ = events.send(WorkerEvent::Ready);
    let mut dead_letters = Vec::new();
    while let Ok(message) = inbox.recv() {
        match message {
            Command::Records(source, records) => {
                for rejected in topology.feed(source, &records)? {
                    dead_letters.push(DeadLetter {
                        source,
                        partition: records.partition,
                        offset: records.offsets.get(rejected.record as usize).copied().unwrap_or(-1),
                        outcome: rejected.outcome,
                        constraint: rejected.constraint,
                        message: rejected.message,
                    });
                }
            }
            Command::Join(source, partition, floor) => topology.join_partition(source, partition, floor),
            Command::Close(epoch, partitions, step) => {
                fail_point!("engine.close");
                if let Some(step) = step {
                    topology.fill(step);
                }
                let out = topology.close(worker, epoch, &partitions)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let share = WorkerEpoch { out, marks };
                let report = Report { share, dead_letters: std::mem::take(&mut dead_letters) };
                let _ = events.send(WorkerEvent::Report(epoch, Box::new(report)));
            }
        }
    }
    Ok(())
}
