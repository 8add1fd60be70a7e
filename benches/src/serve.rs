//! Herald as a server: the time from a record to its answer, starts after a kill and on an empty state, the bytes of a
//! key, and queries beside a load. Kafka Streams is measured beside it with `--peers`.
//!
//! The job is the flat one of [`crate::peers`]: games come by one topic, totals of champions and players go out exactly
//! once. `benches/README.md` has the definition of each figure.
//!
//! ```text
//! herald-benches serve [--quick] [--rate N,..] [--keys N,..] [--seconds N] [--epoch-interval TIME,..]
//!   [--latency-target TIME] [--repeat N] [--peers] [--only NAME,..] [--json FILE]
//! ```

mod contender;
mod held;
mod latency;
mod ledger;
mod load;
mod options;
mod queries;
mod report;
mod start;

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::kafka::Kafka;
use crate::paths::Paths;
use crate::peers::{fetch_peers, games};
use options::{Measure, ServeOptions};
use report::Report;

/// Everything that a run needs.
struct Bench {
    paths: Paths,
    kafka: Kafka,
    /// Jars and classes of the peers, if they are measured.
    jars: Option<PathBuf>,
    options: ServeOptions,
    runs: Cell<u64>,
}

impl Bench {
    /// A number that no other run has: names of topics and states must be new.
    fn next_run(&self) -> u64 {
        self.runs.replace(self.runs.get() + 1)
    }
}

/// Measures the parts that are asked for and prints their tables.
///
/// # Errors
/// When a run fails.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = ServeOptions::parse(arguments)?;
    let paths = Paths::find()?;
    let jars = if options.peers { Some(fetch_peers(&paths)?) } else { None };
    let bench = Bench { jars, kafka: Kafka::start(&paths)?, paths, options, runs: Cell::new(0) };
    games::fill_champions(&bench.kafka.bootstrap)?;
    let mut report = Report::new(arguments, bench.options.repeat, &bench.paths);
    let [latency, queries] = [Measure::Latency, Measure::Queries].map(|part| bench.options.measures(part));
    if bench.options.measures(Measure::Start) {
        report.parts.push(start::measure(&bench)?);
    }
    if bench.options.measures(Measure::Recovery) || bench.options.measures(Measure::Bytes) {
        held::measure(&bench, &mut report.parts)?;
    }
    if latency || queries {
        let rates = latency::choose_rates(&bench, &mut report.parts)?;
        if latency {
            report.parts.push(latency::measure(&bench, &rates)?);
        }
        if queries {
            report.parts.extend(queries::measure(&bench, latency::half(&rates))?);
        }
    }
    println!("{report}");
    if let Some(path) = &bench.options.json {
        std::fs::write(path, report.to_json()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
