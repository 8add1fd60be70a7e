//! Herald and Kafka Streams under settings of their own, over a topic of one run.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::ledger::Ledger;
use super::load::Load;
use crate::child::{self, Running};
use crate::peers::answers;
use crate::peers::games::{Law, Shape};
use crate::peers::systems::{self, Place, System};

/// Time that a system may take until its first answer, or for a backlog of the bench's own making.
pub const PATIENCE: Duration = Duration::from_secs(1200);

/// Ports that Herald serves.
#[derive(Clone, Copy, Default)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// PostgreSQL's protocol.
    pub pg: u16,
}

/// A system under settings of its own.
#[derive(Clone, Debug)]
pub struct Contender {
    /// The system.
    pub system: System,
    /// Its settings: flags and values for Herald, `name=value` for Streams.
    pub settings: Vec<String>,
}

impl Contender {
    /// Herald with flags.
    pub fn herald(flags: &[&str]) -> Contender {
        let settings = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Contender { system: System::Herald, settings }
    }

    /// Kafka Streams with settings.
    pub fn streams(settings: &[&str]) -> Contender {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Contender { system: System::Streams, settings }
    }

    /// Its settings as tables show them.
    pub fn shown(&self) -> String {
        if self.settings.is_empty() {
            "as it comes".to_owned()
        } else {
            format!("`{}`", self.settings.join(" "))
        }
    }

    fn command(&self, bench: &Bench, place: &Place, ports: Ports) -> Result<Command> {
        if self.system == System::Herald {
            let mut command = systems::herald(&bench.paths, place)?;
            command.args(["--listen", &ports.http.to_string(), "--listen-pg", &ports.pg.to_string()]);
            command.args(&self.settings);
            return Ok(command);
        }
        let jars = bench.jars.as_ref().context("Kafka Streams needs --peers")?;
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        Ok(systems::streams(jars, place, &[], &settings))
    }
}

/// One contender over a place of its own: a topic that grows, and the process, which may be away.
pub struct Run<'a> {
    bench: &'a Bench,
    /// The system and its settings.
    pub contender: &'a Contender,
    /// Topics and state.
    pub place: Place,
    /// Ports, if it is Herald.
    pub ports: Ports,
    /// The records and their answers.
    pub load: Load,
    running: Option<Running>,
}

impl<'a> Run<'a> {
    /// Topics for a contender, which is not started.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn prepare(bench: &'a Bench, contender: &'a Contender, players: u64, law: Law) -> Result<Run<'a>> {
        let name = format!("serve-{}-{}", contender.system.name(), bench.next_run());
        let mut place = Place::new(&bench.kafka.bootstrap, &bench.paths, Shape::Flat, &name);
        place.input = format!("{name}-input");
        let ports = Ports { http: child::free_port()?, pg: child::free_port()? };
        let load = Load::open(&place, players, law)?;
        Ok(Run { bench, contender, place, ports, load, running: None })
    }

    /// Starts the process, and returns the time before it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<Instant> {
        let mut command = self.contender.command(self.bench, &self.place, self.ports)?;
        let (log, begun) = (self.bench.paths.work_path("serve.log"), Instant::now());
        self.running = Some(Running::start(&mut command, &log, self.ports.http)?);
        Ok(begun)
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// The process.
    ///
    /// # Errors
    /// When it was not started.
    pub fn process(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("the system was not started")
    }

    /// Sends records at a rate for a time.
    ///
    /// # Errors
    /// When the process ends, the broker refuses, or `look` fails.
    pub fn drive(
        &mut self,
        rate: f64,
        length: Duration,
        mut look: impl FnMut(&Ledger) -> Result<bool>,
    ) -> Result<super::load::Driven> {
        let running = &mut self.running;
        self.load.drive(rate, length, &mut |ledger| {
            running.as_mut().map_or(Ok(()), Running::verify_alive)?;
            look(ledger)
        })
    }

    /// Waits until all that was sent is seen; returns false if that takes longer than `limit`.
    ///
    /// # Errors
    /// When the process ends, or the broker refuses.
    pub fn drain(&mut self, limit: Duration, mut look: impl FnMut(&Ledger)) -> Result<bool> {
        let running = &mut self.running;
        self.load.drain(limit, &mut |ledger| {
            running.as_mut().map_or(Ok(()), Running::verify_alive)?;
            look(ledger);
            Ok(true)
        })
    }

    /// Ends the process and deletes its topics and its state.
    ///
    /// # Errors
    /// When they cannot be deleted.
    pub fn finish(mut self) -> Result<()> {
        self.kill();
        answers::delete_topics(&self.place)?;
        Ok(std::fs::remove_dir_all(&self.place.state)?)
    }
}
