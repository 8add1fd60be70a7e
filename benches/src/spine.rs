//! The limit, the topology through Kafka, and the topology in process, each over the same records.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::child::{self, Measured, Samples};
use crate::input::{self, Size};
use crate::kafka::Kafka;
use crate::options::Options;
use crate::paths::Paths;

/// Costs of one size of event.
pub struct Spine {
    /// Reading and decoding only.
    pub limit: Measured,
    /// Through Kafka.
    pub kafka: Observed,
    /// From a file to blackholes.
    pub inside: Measured,
}

/// A run with its samples.
pub struct Observed {
    /// Its cost.
    pub measured: Measured,
    /// Threads and metrics while it ran.
    pub seen: Samples,
}

impl Spine {
    /// The cheaper of each.
    fn better(self, other: Spine) -> Spine {
        let limit = self.limit.better(other.limit);
        let inside = self.inside.better(other.inside);
        let swap = other.kafka.measured.rate() > self.kafka.measured.rate();
        Spine { limit, kafka: if swap { other.kafka } else { self.kafka }, inside }
    }
}

/// Measures one size.
///
/// # Errors
/// When a topic cannot be filled or a run fails.
pub fn measure(paths: &Paths, options: &Options, kafka: &Kafka, size: Size) -> Result<Spine> {
    let events = match size {
        Size::Lean => options.events,
        // About as many bytes as lean events.
        Size::Whole => (options.events / 20).max(1),
    };
    let copy = paths.work_path("matches.jsonl");
    eprintln!("filling {} with {events} events", size.topic());
    input::match_topic(&kafka.bootstrap, size, events, &copy)?;
    let mut best: Option<Spine> = None;
    for run in 0..options.repeat {
        eprintln!("run {} of {}: limit, through Kafka, in process", run + 1, options.repeat);
        let spine = measure_once(paths, options, (kafka, size, events, &copy), run)?;
        best = Some(match best {
            None => spine,
            Some(best) => best.better(spine),
        });
    }
    std::fs::remove_file(&copy)?;
    best.ok_or_else(|| anyhow::anyhow!("--repeat 0 measures nothing"))
}

/// Runs the limit, the topology through Kafka and the topology in process once.
fn measure_once(
    paths: &Paths,
    options: &Options,
    (kafka, size, events, copy): (&Kafka, Size, u64, &Path),
    run: usize,
) -> Result<Spine> {
    // Each run has its own name, since markers and topics of an earlier run in the broker belong to another state.
    let name = format!("{size:?}_{run}").to_lowercase();
    let topology = paths.topology_over(size.topic(), &name)?;
    let mut command = Command::new(&paths.bench);
    command.arg("limit").arg(&topology).arg(&kafka.bootstrap);
    let cost = child::run(&mut command, &paths.work_path("limit.log"))?;
    ensure!(cost.said.starts_with(&format!("{events} read")), "the limit read something else: {}", cost.said);
    let limit = Measured { events, cpu_s: cost.cpu_s, wall_s: cost.wall_s };

    let port = child::free_port()?;
    let mut command = herald(paths, options, &topology, &name);
    command
        .args(["--once", "--listen", &format!("127.0.0.1:{port}")])
        .env("KAFKA_BOOTSTRAP", &kafka.bootstrap);
    let (cost, seen) = child::run_sampled(&mut command, &paths.work_path("kafka.log"), port)?;
    verify_complete(&cost.said, events)?;
    let measured = Measured { events, cpu_s: cost.cpu_s, wall_s: cost.wall_s };
    let through = Observed { measured, seen };

    let champions = paths.work_path("champions.jsonl");
    input::write_champions(&champions)?;
    let mut command = herald(paths, options, &paths.topology_without_kafka()?, &format!("{name}_inside"));
    command.args(["--once", "--listen", "off"]).env("MATCHES", copy).env("CHAMPIONS", &champions);
    let cost = child::run(&mut command, &paths.work_path("inside.log"))?;
    verify_complete(&cost.said, events)?;
    let inside = Measured { events, cpu_s: cost.cpu_s, wall_s: cost.wall_s };
    Ok(Spine { limit, kafka: through, inside })
}

/// `herald run` of a topology under a name, on a state of its own.
pub fn herald(paths: &Paths, options: &Options, topology: &Path, name: &str) -> Command {
    let mut command = Command::new(&paths.herald);
    command.arg("run").arg(topology).args(["--name", name, "--state"]).arg(paths.work_path(name));
    command.arg("--workers").arg(options.workers.to_string());
    command
}

/// Verifies by its output that a run read all events.
fn verify_complete(said: &str, events: u64) -> Result<()> {
    ensure!(said.contains(&format!("matches: {events} read")), "a run did not read {events} events: {said}");
    Ok(())
}
