//! Options of the serving bench.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::options::parse_number;

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Time from a record to its answer.
    Latency,
    /// Time from a start after a kill to answers.
    Recovery,
    /// Time from the first start to the first epoch.
    Start,
    /// Memory and disk of a key.
    Bytes,
    /// Queries while records come.
    Queries,
}

impl Measure {
    const ALL: [(&'static str, Measure); 5] = [
        ("latency", Measure::Latency),
        ("recovery", Measure::Recovery),
        ("start", Measure::Start),
        ("bytes", Measure::Bytes),
        ("queries", Measure::Queries),
    ];

    fn parse(name: &str) -> Result<Measure> {
        match Measure::ALL.into_iter().find(|(known, _)| *known == name) {
            Some((_, measure)) => Ok(measure),
            None => bail!("{name} is not known; there are latency, recovery, start, bytes and queries"),
        }
    }
}

/// Amounts, parts and the place of the report.
#[derive(Debug)]
pub struct ServeOptions {
    /// Records a second; empty for shares of the highest steady rate.
    pub rates: Vec<u64>,
    /// Keys of the states that are measured, ascending.
    pub keys: Vec<u64>,
    /// Length of each load.
    pub length: Duration,
    /// Epoch intervals, as Herald reads them.
    pub intervals: Vec<String>,
    /// Goal for the latency, as Herald reads it.
    pub target: String,
    /// Runs of everything but the search for the highest rate.
    pub repeat: usize,
    /// True if Kafka Streams is measured beside Herald.
    pub peers: bool,
    /// Parts to measure.
    pub only: Vec<Measure>,
    /// File that the report is written to as JSON.
    pub json: Option<PathBuf>,
}

impl ServeOptions {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When one is not known.
    pub fn parse(arguments: &[String]) -> Result<ServeOptions> {
        let mut options = ServeOptions {
            rates: vec![],
            keys: vec![10_000, 1_000_000],
            length: Duration::from_secs(15),
            intervals: vec!["20ms".to_owned(), "100ms".to_owned()],
            target: "200ms".to_owned(),
            repeat: 5,
            peers: false,
            only: Measure::ALL.map(|(_, measure)| measure).to_vec(),
            json: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => {
                    options.keys = vec![10_000, 100_000];
                    (options.length, options.repeat) = (Duration::from_secs(4), 1);
                }
                "--rate" => options.rates = parse_numbers(value()?)?,
                "--keys" => options.keys = parse_numbers(value()?)?,
                "--seconds" => options.length = Duration::from_secs(parse_number(value()?)?),
                "--epoch-interval" => options.intervals = value()?.split(',').map(str::to_owned).collect(),
                "--latency-target" => options.target = value()?.clone(),
                "--repeat" => options.repeat = parse_number(value()?)? as usize,
                "--peers" => options.peers = true,
                "--only" => options.only = value()?.split(',').map(Measure::parse).collect::<Result<_>>()?,
                "--json" => options.json = Some(PathBuf::from(value()?)),
                other => bail!(
                    "{other} is not known; there are --quick, --rate N,.., --keys N,.., --seconds N, \
                     --epoch-interval TIME,.., --latency-target TIME, --repeat N, --peers, --only NAME,.. and \
                     --json FILE"
                ),
            }
        }
        let bytes = options.measures(Measure::Bytes);
        ensure!(!bytes || options.keys.len() > 1, "bytes a key need --keys with two numbers or more");
        Ok(options)
    }

    /// Tells whether a part is asked for.
    pub fn measures(&self, measure: Measure) -> bool {
        self.only.contains(&measure)
    }
}

/// Numbers with commas between, ascending.
fn parse_numbers(text: &str) -> Result<Vec<u64>> {
    let mut numbers = text.split(',').map(parse_number).collect::<Result<Vec<u64>>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ServeOptions> {
        ServeOptions::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn parts_and_numbers_are_read() {
        let options = parse("--quick --only latency,start --rate 5k,1k --keys 10k").unwrap();
        assert_eq!((options.rates, options.keys), (vec![1000, 5000], vec![10_000]));
        assert_eq!(options.only, [Measure::Latency, Measure::Start]);
        assert_eq!(options.repeat, 1);
        let refused = |line: &str| parse(line).map(|_| ()).unwrap_err().to_string();
        assert!(refused("--only speed").contains("there are latency"));
        assert!(refused("--only bytes --keys 10k").contains("two numbers"));
        assert!(refused("--fast").contains("--seconds"));
    }
}
