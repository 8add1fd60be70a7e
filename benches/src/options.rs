//! Options of the bench.

use anyhow::{Context, Result, bail};

/// Amounts to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Records of the topic.
    pub events: u64,
    /// Whole events measured over a state that holds keys already.
    pub keyed_events: u64,
    /// Keys held, from few to many.
    pub keys: Vec<u64>,
    /// Rows of the view that is queried.
    pub rows: u64,
    /// Worker threads of the topology.
    pub workers: usize,
    /// Runs of each line but those with keys. The best counts, since load on the machine can only raise the
    /// cost of a run.
    pub repeat: usize,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When one is not known.
    pub fn parse(arguments: &[String]) -> Result<Options> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let keys = vec![10_000, 100_000, 1_000_000];
        let (events, rows) = (200_000, 5_000_000);
        let mut options = Options { events, keyed_events: 0, keys, rows, workers, repeat: 2 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => {
                    options.events = 20_000;
                    options.keys = vec![1_000, 10_000, 100_000];
                    options.rows = 100_000;
                    options.repeat = 1;
                }
                "--events" => options.events = parse_number(value()?)?,
                "--keys" => options.keys = value()?.split(',').map(parse_number).collect::<Result<_>>()?,
                "--workers" => options.workers = parse_number(value()?)? as usize,
                "--repeat" => options.repeat = parse_number(value()?)? as usize,
                other => bail!(
                    "{other} is not known; there are --quick, --events N, --keys N,N,.., --workers N, --repeat N"
                ),
            }
        }
        if let Ok(rows) = std::env::var("HERALD_BENCH_ROWS") {
            options.rows = parse_number(&rows).context("HERALD_BENCH_ROWS")?;
        }
        options.keyed_events = (options.events / 20).max(1);
        Ok(options)
    }
}

/// A whole number above 0; `k` and `m` may stand behind it.
///
/// # Errors
/// When it is something else.
pub fn parse_number(text: &str) -> Result<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    number.with_context(|| format!("{text} is not a whole number above 0"))
}
