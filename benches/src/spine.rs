//! The first three lines of the table: the limit, the topology through Kafka, and the topology in
//! process, each over the same records.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::child::{self, Measured, Seen};
use crate::input;
use crate::kafka::Kafka;
use crate::options::Options;
use crate::place::Place;

/// The run through Kafka, with what was seen of it.
pub struct Observed {
    /// What it cost.
    pub measured: Measured,
    /// Where the time went.
    pub seen: Seen,
}

/// Measures limit, Kafka, and in process.
///
/// # Errors
/// When the broker does not start or a run fails.
pub fn measure(place: &Place, options: &Options) -> Result<(Measured, Observed, Measured)> {
    let kafka = Kafka::start(place)?;
    let copy = place.room("matches.jsonl");
    eprintln!("filling the topic with {} events", options.events);
    input::topics(&kafka.bootstrap, options.events, &copy)?;
    let champions = place.room("champions.jsonl");
    input::champions(&champions)?;
    let inside = place.topology_without_kafka()?;
    let mut best: Option<(Measured, Observed, Measured)> = None;
    for run in 0..options.repeat {
        eprintln!("run {} of {}: limit, Kafka, in process", run + 1, options.repeat);
        let limit = limit(place, options, &kafka.bootstrap)?;
        let through = through_kafka(place, options, &kafka.bootstrap, run)?;
        let name = format!("inside_{run}");
        let mut command = herald(place, options, &inside, &name);
        command.args(["--listen", "off"]).env("MATCHES", &copy).env("CHAMPIONS", &champions);
        let cost = child::run(&mut command, &place.room(&format!("{name}.log")))?;
        complete(&cost.said, options.events)?;
        let memory = Measured { events: options.events, cpu_s: cost.cpu_s, wall_s: cost.wall_s };
        best = Some(match best {
            None => (limit, through, memory),
            Some((l, t, m)) => {
                let better = through.measured.rate() > t.measured.rate();
                (l.better(limit), if better { through } else { t }, m.better(memory))
            }
        });
    }
    drop(kafka);
    std::fs::remove_file(&copy)?;
    best.ok_or_else(|| anyhow::anyhow!("--repeat 0 measures nothing"))
}

fn limit(place: &Place, options: &Options, bootstrap: &str) -> Result<Measured> {
    let mut command = Command::new(&place.bench);
    command.arg("limit").arg(&place.topology).arg(bootstrap);
    let cost = child::run(&mut command, &place.room("limit.log"))?;
    let wanted = format!("{} read", options.events);
    ensure!(cost.said.starts_with(&wanted), "the limit read something else: {}", cost.said);
    Ok(Measured { events: options.events, cpu_s: cost.cpu_s, wall_s: cost.wall_s })
}

fn through_kafka(place: &Place, options: &Options, bootstrap: &str, run: usize) -> Result<Observed> {
    // Its own name: the markers of an earlier run in the broker belong to another state.
    let name = format!("bench_{run}");
    let port = child::free_port()?;
    let mut command = herald(place, options, &place.topology, &name);
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).env("KAFKA_BOOTSTRAP", bootstrap);
    let (cost, seen) = child::run_seen(&mut command, &place.room(&format!("{name}.log")), port)?;
    complete(&cost.said, options.events)?;
    let measured = Measured { events: options.events, cpu_s: cost.cpu_s, wall_s: cost.wall_s };
    Ok(Observed { measured, seen })
}

/// `herald run --once` of a topology under a name, on a state of its own.
pub fn herald(place: &Place, options: &Options, topology: &std::path::Path, name: &str) -> Command {
    let mut command = Command::new(&place.herald);
    command.arg("run").arg(topology).args(["--once", "--name", name, "--state"]).arg(place.room(name));
    command.arg("--workers").arg(options.workers.to_string());
    command
}

/// Whether a run read what it should, by its own account.
///
/// # Errors
/// When it did not.
pub fn complete(said: &str, events: u64) -> Result<()> {
    ensure!(said.contains(&format!("matches: {events} read")), "a run did not read {events} events: {said}");
    Ok(())
}
