//! Worker threads: each runs one timely worker, decodes and validates the records it receives, steps
//! the dataflow when an epoch is closed, encodes its share of the sinks' output, and sends its report
//! of the epoch to the committer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use connectors::DeadLetter;
use connectors::dead_letter::KeptHeaders;
use crossbeam_channel::{Receiver, Sender};
use dataflows::maintenance::repair::owed::Owed;
use dataflows::runtime::epoch::WorkerEpoch;
use dataflows::runtime::worker::{self, Command, Setup, Topology, Worker, Workers};
use dataflows::source::ingest::Rejected;
use fail::fail_point;
use schemas::Records;

use super::encode::Outputs;
use super::fate::Fate;
use super::messages::{Report, ToCommitter};
use super::resends::Resends;

/// Starts workers that run until their channels close. One that fails, panics or ends early ends the run. The
/// sink deltas that a repair left (`owed`) are sent by the first worker in the first epoch.
///
/// # Errors
/// When threads cannot be started.
pub fn start(
    (setup, resends): (Setup, Resends),
    (outputs, owed): (Arc<Outputs>, Option<Owed>),
    inboxes: Vec<Receiver<Command>>,
    to_committer: Sender<ToCommitter>,
    fate: Fate,
) -> Result<Workers> {
    let peers = inboxes.len();
    // Each inbox is moved into its worker and dropped with it, so that no sender blocks on a worker that has
    // ended.
    let inboxes: Vec<_> = inboxes.into_iter().map(|inbox| Mutex::new(Some(inbox))).collect();
    let (abort, failing, owed) = (setup.abort.clone(), fate.clone(), Mutex::new(owed));
    let body = move |worker: &mut Worker| -> Result<()> {
        let Some(place) = inboxes.get(worker.index()) else { return Ok(()) };
        let taken = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(inbox) = taken else { return Ok(()) };
        let owed = owed.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| worker.index() == 0);
        run_worker(worker, (&setup, &resends), (&outputs, owed), &inbox, &to_committer)?;
        fate.part_ended("worker");
        Ok(())
    };
    Ok(worker::start(peers, abort, body, move |error: Error| failing.fail(error))?)
}

/// Runs one worker until its inbox closes.
fn run_worker(
    worker: &mut Worker,
    (setup, resends): (&Setup, &Resends),
    (outputs, mut owed): (&Outputs, Option<Owed>),
    inbox: &Receiver<Command>,
    to_committer: &Sender<ToCommitter>,
) -> Result<()> {
    fail_point!("recover.restore.before");
    let mut topology = Topology::build(worker, setup)?;
    fail_point!("recover.restore.after");
    let mut encoder = outputs.worker_encoder(&setup.plan)?;
    let (mut dead, mut decode, mut first) = (Vec::new(), Duration::ZERO, Some(resends));
    let _ = to_committer.send(ToCommitter::Ready);
    while let Ok(message) = inbox.recv() {
        match message {
            Command::Records(source, records) => {
                let begun = Instant::now();
                for rejected in topology.feed(source, &records)? {
                    dead.push(dead_letter(setup, source, &records, rejected));
                }
                decode += begun.elapsed();
                for warning in topology.warnings() {
                    tracing::warn!(source = setup.plan.sources[source].name, "{warning}");
                }
            }
            Command::Join(source, partition, floor) => topology.join_partition(source, partition, floor),
            Command::Close(epoch, partitions, step) => {
                let begun = Instant::now();
                if let Some(step) = step {
                    topology.fill(step);
                }
                fail_point!("worker.step.before");
                let mut out = topology.close(worker, epoch, &partitions)?;
                fail_point!("worker.step.after");
                let mut sinks = std::mem::take(&mut out.sinks);
                // The epoch of owed and resent content has no input, so these deltas are its whole sink
                // output.
                let resends = first.take().filter(|resends| resends.is_due());
                if owed.is_some() || resends.is_some() {
                    let mut owed = owed.take().unwrap_or_default();
                    owed.delete_stored(&mut out);
                    if let Some(resends) = resends {
                        let place = (worker.index(), worker.peers());
                        for (at, whole) in resends.sink_deltas(setup, topology.take_restored(), place)? {
                            owed.add_whole(at, whole);
                        }
                    }
                    sinks = owed.sinks;
                }
                let encoded = encoder.encode(epoch, sinks, &mut out, setup.state_tables.errors)?;
                let marks = (0..setup.plan.sources.len()).map(|s| topology.marks(s)).collect();
                let report = Report {
                    share: WorkerEpoch { out, marks },
                    encoded,
                    output_rows: encoder.take_records(),
                    dead: std::mem::take(&mut dead),
                    decode: std::mem::take(&mut decode),
                    step: begun.elapsed(),
                };
                fail_point!("worker.encode.after");
                if to_committer.send(ToCommitter::Report(epoch, Box::new(report))).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// A rejected record as a dead letter.
fn dead_letter(setup: &Setup, source: usize, records: &Records, rejected: Rejected) -> DeadLetter {
    let source = &setup.plan.sources[source];
    let (at, erased) = (rejected.record as usize, rejected.erased);
    let dead_letter = DeadLetter {
        topic: source_origin(&source.options),
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
        headers: KeptHeaders::of_record(&records.headers, at),
    };
    if erased { dead_letter.without_payload(&[]) } else { dead_letter }
}

/// The origin of a source's records in dead letters and messages: its topic, path, or connector.
pub fn source_origin(options: &BTreeMap<String, String>) -> String {
    ["topic", "path", "connector"].iter().find_map(|name| options.get(*name)).cloned().unwrap_or_default()
}
