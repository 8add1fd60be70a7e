//! NEXMark's queries in Herald, in Flink SQL and, if it is named, in dbsp, beside each other, over the same files of events.
//!
//! All read the events from files to their end, one after another, each in a process of its own. The unit is that process'
//! CPU time, user and system, from its start to its end. Answers come first: those of a query must be equal, row by row
//! and digit by digit, or no time is printed. A JVM starts, plans and compiles for seconds, so each query is run in Flink
//! without events, too, and a second ratio leaves that time out. `benches/peers/nexmark/README.md` says more.
//!
//! ```text
//! herald-benches nexmark [--events N] [--queries q0,q1,..] [--repeat N] [--workers N] [--only herald,flink,dbsp]
//!     [--json FILE] [--quick]
//! ```

mod answers;
mod dbsp;
mod events;
mod options;
mod queries;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use crate::paths::Paths;
use crate::peers::{Run, fetch_peers, systems};
use dbsp::Dbsp;
use events::Events;
use options::{Engine, NexmarkOptions};
use report::{Line, Report};

/// Everything that a run needs.
struct Bench {
    paths: Paths,
    /// Jars and classes of Flink; None if it is not measured.
    jars: Option<PathBuf>,
    /// The circuits of dbsp; None if it is not measured.
    dbsp: Option<Dbsp>,
    /// The files that are read.
    events: Events,
    /// Files without a line.
    nothing: Events,
    /// Herald's worker threads.
    workers: u64,
}

/// Measures every query and prints the table.
///
/// # Errors
/// When a run fails, or when answers differ.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = NexmarkOptions::parse(arguments)?;
    let paths = Paths::find()?;
    let jars = options.has(Engine::Flink).then(|| fetch_peers(&paths)).transpose()?;
    let dbsp = options.has(Engine::Dbsp).then(|| Dbsp::build(&paths)).transpose()?;
    eprintln!("writing {} events", options.events);
    let events = Events::write(paths.work_path("events"), options.events)?;
    let nothing = Events::write(paths.work_path("nothing"), 0)?;
    let bench = Bench { paths, jars, dbsp, events, nothing, workers: options.workers };
    let mut report = Report::new(&options, arguments, &bench.events);
    for query in &options.queries {
        report.lines.push(bench.measure(query, &options)?);
    }
    println!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Bench {
    /// Compares the answers of a query, then measures it in turns, so that a busy minute is shared by all.
    fn measure(&self, query: &'static str, options: &NexmarkOptions) -> Result<Line> {
        let mut line = Line { query, rows: self.compare(query, options)?, ..Line::default() };
        let has_dbsp = self.peers_of(query, options).contains(&Engine::Dbsp);
        for turn in 0..options.repeat {
            eprintln!("{query}: turn {} of {}", turn + 1, options.repeat);
            if options.has(Engine::Herald) {
                line.herald.push(self.run_herald(query, &self.state())?);
                std::fs::remove_dir_all(self.state())?;
            }
            if options.has(Engine::Flink) {
                line.flink.push(self.run_flink(query, &self.events, &[])?.0);
                line.start.push(self.run_flink(query, &self.nothing, &[])?.0);
            }
            if has_dbsp {
                line.dbsp.push(self.run_dbsp(query, &[])?.0);
            }
        }
        Ok(line)
    }

    /// The peers that are measured and have a query.
    fn peers_of(&self, query: &str, options: &NexmarkOptions) -> Vec<Engine> {
        let mut peers = vec![];
        if options.has(Engine::Flink) {
            peers.push(Engine::Flink);
        }
        if let Some(dbsp) = &self.dbsp
            && dbsp.has(query)
        {
            peers.push(Engine::Dbsp);
        }
        peers
    }

    /// Compares Herald's answer to a query with that of each peer, and returns the number of its rows; None if there are no
    /// two answers.
    fn compare(&self, query: &str, options: &NexmarkOptions) -> Result<Option<u64>> {
        let peers = self.peers_of(query, options);
        if !options.has(Engine::Herald) || peers.is_empty() {
            return Ok(None);
        }
        self.run_herald(query, &self.state())?;
        let herald = self.herald_answer(query)?;
        std::fs::remove_dir_all(self.state())?;
        let herald = answers::rows_of(&herald).with_context(|| format!("{query}: Herald's answer"))?;
        for peer in peers {
            let (_, said) = match peer {
                Engine::Dbsp => self.run_dbsp(query, &["--answer"])?,
                _ => self.run_flink(query, &self.events, &["--answer"])?,
            };
            let name = peer.title();
            let rows = answers::rows_of(&said).with_context(|| format!("{query}: {name}'s answer"))?;
            answers::verify_equal(&herald, (name, &rows)).context(query.to_owned())?;
            eprintln!("{query}: {} rows, equal in {name}", herald.len());
        }
        Ok(Some(herald.len() as u64))
    }

    /// Runs a query in Herald, whose state is left behind.
    fn run_herald(&self, query: &str, state: &Path) -> Result<Run> {
        let text = queries::herald_text(&self.paths, query, &self.events)?;
        let mut command = Command::new(&self.paths.herald);
        command.arg("run").arg(self.write_sql(query, &text)?);
        command
            .args(["--once", "--workers", &self.workers.to_string(), "--listen", "off", "--state"])
            .arg(state);
        let (run, _) = self.run_child(&mut command).with_context(|| format!("{query} in Herald"))?;
        Ok(run)
    }

    /// The rows of a query's view in the state, as JSON.
    fn herald_answer(&self, query: &str) -> Result<String> {
        let mut command = Command::new(&self.paths.herald);
        command.arg("query").arg(format!("SELECT * FROM {query}"));
        command.args(["--format", "json", "--query-memory", "4GiB", "--query-time", "600s", "--state"]);
        let (_, said) = self.run_child(command.arg(self.state())).context("Herald's answer")?;
        Ok(said)
    }

    /// Runs a query in Flink; returns the cost and what it said.
    fn run_flink(&self, query: &str, events: &Events, options: &[&str]) -> Result<(Run, String)> {
        let text = queries::flink_text(&self.paths, query, events)?;
        let jars = self.jars.as_ref().context("Flink was not fetched")?;
        let mut command = systems::flink(jars);
        command.arg(self.write_sql(query, &text)?).args(options);
        self.run_child(&mut command).with_context(|| format!("{query} in Flink"))
    }

    /// Runs a query in dbsp; returns the cost and what it said.
    fn run_dbsp(&self, query: &str, options: &[&str]) -> Result<(Run, String)> {
        let dbsp = self.dbsp.as_ref().context("dbsp was not built")?;
        let mut command = dbsp.command(query, &self.events);
        self.run_child(command.args(options)).with_context(|| format!("{query} in dbsp"))
    }

    /// Runs a command to its end; returns its cost and what it said.
    fn run_child(&self, command: &mut Command) -> Result<(Run, String)> {
        let cost = child::run(command, &self.paths.work_path("nexmark.log"))?;
        Ok((Run { cpu_s: cost.cpu_s, wall_s: cost.wall_s, ..Run::default() }, cost.said))
    }

    /// Writes the text of a query, and returns its path.
    fn write_sql(&self, query: &str, text: &str) -> Result<PathBuf> {
        let path = self.paths.work_path(&format!("{query}.sql"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The directory of Herald's state.
    fn state(&self) -> PathBuf {
        self.paths.work_path("state")
    }
}
