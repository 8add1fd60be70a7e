//! One job in Herald, Kafka Streams and Flink SQL, beside each other and beside the limit, in one run.
//!
//! All read the same topic of one broker and write exactly once to topics of their own, one after another, each in a
//! process of its own. The unit is that process' CPU time, user and system, from its start until a consumer that reads
//! committed records has seen the whole answer; then it is stopped. Answers come first: each must be equal to the one
//! that the generator computed, key by key, or no time is printed. `benches/peers/README.md` says more.
//!
//! ```text
//! herald-benches peers [--events N] [--nested N] [--keys N] [--zipf] [--repeat N] [--only NAME,..] [--json FILE]
//! ```

pub mod answers;
pub mod games;
mod options;
pub mod receive;
pub mod report;
pub mod systems;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::child::{self, Running, Used};
use crate::kafka::Kafka;
use crate::paths::Paths;
use answers::Follower;
use games::{Answer, Games, Input, Law, Shape};
use options::PeerOptions;
use report::{Report, Section};
use systems::{Place, System};

/// Cost of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Wall time from the start of the process, seconds.
    pub wall_s: f64,
    /// Most memory it held at a time, KiB.
    pub peak_kib: u64,
    /// Records it wrote to the topics of answers.
    pub written: u64,
}

/// Everything that a run needs.
struct Bench {
    paths: Paths,
    kafka: Kafka,
    /// Jars and classes of the peers.
    jars: PathBuf,
    options: PeerOptions,
}

/// Measures every system over every shape of record and prints the tables.
///
/// # Errors
/// When a run fails, or when an answer differs.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = PeerOptions::parse(arguments)?;
    let paths = Paths::find()?;
    let bench = Bench { jars: fetch_peers(&paths)?, kafka: Kafka::start(&paths)?, paths, options };
    games::fill_champions(&bench.kafka.bootstrap)?;
    let mut report = Report::new(&bench.options, arguments, &bench.paths);
    for (shape, events) in [(Shape::Flat, bench.options.flat), (Shape::Nested, bench.options.nested)] {
        if events > 0 {
            report.sections.push(bench.measure(shape, events)?);
        }
    }
    println!("{report}");
    if let Some(path) = &bench.options.json {
        std::fs::write(path, report.to_json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Fetches the peers, once, and returns the directory that holds them.
pub fn fetch_peers(paths: &Paths) -> Result<PathBuf> {
    let mut command = Command::new(paths.peers.join("fetch.sh"));
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.context("benches/peers/fetch.sh cannot be run")?;
    ensure!(output.status.success(), "benches/peers/fetch.sh did not get the peers");
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

impl Bench {
    /// Measures all systems over records of one shape, in turns, so that a busy minute is shared by all.
    fn measure(&self, shape: Shape, events: u64) -> Result<Section> {
        eprintln!("filling {} with {events} events", shape.topic());
        let law = if self.options.zipf { Law::Zipf } else { Law::Alike };
        let games = Games::new(shape, self.options.keys, law);
        let (input, answer) = games.fill(&self.kafka.bootstrap, shape.topic(), events)?;
        let mut section = Section::new(input, &self.options.systems);
        for turn in 0..self.options.repeat {
            eprintln!("turn {} of {}", turn + 1, self.options.repeat);
            let name = format!("limit-{turn}");
            let place = Place::new(&self.kafka.bootstrap, &self.paths, shape, &name);
            let [receive, decode] = measure_limits(&self.paths, &place, &section.input)?;
            section.receive.push(receive);
            section.decode.push(decode);
            for (system, runs) in &mut section.runs {
                let run = self.measure_system(*system, &section.input, &answer, turn)?;
                eprintln!("  {}: {:.2} CPU s, {:.2} s", system.title(), run.cpu_s, run.wall_s);
                runs.push(run);
            }
        }
        Ok(section)
    }

    /// Runs one system until its whole answer is there, and verifies the answer.
    fn measure_system(&self, system: System, input: &Input, answer: &Answer, turn: usize) -> Result<Run> {
        let name = format!("{}-{}-{turn}", input.shape.topic(), system.name());
        let place = Place::new(&self.kafka.bootstrap, &self.paths, input.shape, &name);
        let command = system.command(&self.paths, &self.jars, &place)?;
        run_to_answer((&self.paths, &place), command, answer).with_context(|| system.title())
    }
}

/// Receives a topic with librdkafka alone, and reads and decodes it as Herald does.
///
/// # Errors
/// When a run fails, or does not see all records.
pub fn measure_limits(paths: &Paths, place: &Place, input: &Input) -> Result<[Run; 2]> {
    let log = paths.work_path("limit.log");
    let mut command = Command::new(&paths.bench);
    command.args(["receive", &place.bootstrap, &place.input]);
    let receive = child::run(&mut command, &log)?;
    let wanted = format!("{} records, {} bytes", input.records, input.bytes);
    ensure!(receive.said.trim() == wanted, "received {}, not {wanted}", receive.said.trim());
    let sql = place.write_sql(&paths.peers.join(input.shape.herald_sql()))?;
    let mut command = Command::new(&paths.bench);
    command.arg("limit").arg(&sql).arg(&place.bootstrap);
    let decode = child::run(&mut command, &log)?;
    let read = decode.said.starts_with(&format!("{} read", input.records));
    ensure!(read, "decoded {}", decode.said.trim());
    Ok([receive, decode].map(|cost| Run { cpu_s: cost.cpu_s, wall_s: cost.wall_s, ..Run::default() }))
}

/// Runs a system until its whole answer is there, verifies the answer, and deletes its topics and its state.
///
/// # Errors
/// When the system ends, or the answer is wrong.
pub fn run_to_answer((paths, place): (&Paths, &Place), mut command: Command, answer: &Answer) -> Result<Run> {
    answers::create_topics(place)?;
    let mut follower = Follower::open(place, answer)?;
    let log = paths.work_path("peer.log");
    let begun = Instant::now();
    let mut running = Running::start(&mut command, &log, 0)?;
    follower.follow(|| running.verify_alive()).with_context(|| child::log_tail(&log))?;
    let wall_s = begun.elapsed().as_secs_f64();
    let Used { cpu_s, peak_kib } = running.used()?;
    drop(running);
    follower.verify().context("the answer is wrong")?;
    answers::delete_topics(place)?;
    std::fs::remove_dir_all(&place.state)?;
    Ok(Run { cpu_s, wall_s, peak_kib, written: follower.written() })
}
