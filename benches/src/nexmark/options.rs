//! Options of the comparison.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::queries::QUERIES;
use crate::options::parse_number;

/// An engine that runs the queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Herald, as it comes.
    Herald,
    /// Flink SQL with the settings of `events.sql`.
    Flink,
    /// Circuits of dbsp.
    Dbsp,
}

impl Engine {
    /// All of them.
    const ALL: [Engine; 3] = [Engine::Herald, Engine::Flink, Engine::Dbsp];

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Engine::Herald => "herald",
            Engine::Flink => "flink",
            Engine::Dbsp => "dbsp",
        }
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Engine::Herald => "Herald",
            Engine::Flink => "Flink",
            Engine::Dbsp => "dbsp",
        }
    }

    /// The engine of that name.
    fn parse(name: &str) -> Result<Engine> {
        for engine in Engine::ALL {
            if engine.name() == name {
                return Ok(engine);
            }
        }
        bail!("{name} is not known; there are herald, flink and dbsp")
    }
}

/// Amounts, queries, engines and the place of the report.
pub struct NexmarkOptions {
    /// Events, of all three kinds together.
    pub events: u64,
    /// Queries to measure.
    pub queries: Vec<&'static str>,
    /// Runs of each query in each engine.
    pub repeat: usize,
    /// Herald's worker threads.
    pub workers: u64,
    /// Engines to measure.
    engines: Vec<Engine>,
    /// File that the report is written to as JSON.
    pub json: Option<PathBuf>,
}

impl NexmarkOptions {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When one is not known.
    pub fn parse(arguments: &[String]) -> Result<NexmarkOptions> {
        let mut options = NexmarkOptions {
            events: 1_000_000,
            queries: QUERIES.to_vec(),
            repeat: 5,
            workers: 1,
            engines: vec![Engine::Herald, Engine::Flink],
            json: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => (options.events, options.repeat) = (50_000, 1),
                "--events" => options.events = parse_number(value()?)?,
                "--queries" => options.queries = value()?.split(',').map(query_of).collect::<Result<_>>()?,
                "--repeat" => options.repeat = parse_number(value()?)? as usize,
                "--workers" => options.workers = parse_number(value()?)?,
                "--only" => {
                    options.engines = value()?.split(',').map(Engine::parse).collect::<Result<_>>()?
                }
                "--json" => options.json = Some(PathBuf::from(value()?)),
                other => bail!(
                    "{other} is not known; there are --events N, --queries q0,q1,.., --repeat N, \
                     --workers N, --only herald,flink,dbsp, --json FILE and --quick"
                ),
            }
        }
        Ok(options)
    }

    /// Tells whether an engine is measured.
    pub fn has(&self, engine: Engine) -> bool {
        self.engines.contains(&engine)
    }
}

fn query_of(name: &str) -> Result<&'static str> {
    let found = QUERIES.into_iter().find(|query| *query == name);
    found.with_context(|| format!("{name} is not compared; there are {}", QUERIES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NexmarkOptions> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        NexmarkOptions::parse(&arguments)
    }

    #[test]
    fn options_are_read() {
        let options = parse("--quick --queries q5,q0 --only flink --events 2m").unwrap();
        assert_eq!((options.events, options.repeat, options.queries), (2_000_000, 1, vec!["q5", "q0"]));
        assert_eq!(options.engines, [Engine::Flink]);
        assert!(
            !parse("").unwrap().has(Engine::Dbsp) && parse("--only herald,dbsp").unwrap().has(Engine::Dbsp)
        );
        for wrong in ["--queries q6", "--only streams", "--events 0", "--json", "--fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
