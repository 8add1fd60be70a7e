//! The first bench: the cost of Herald compared with the cost of reading and decoding alone.
//!
//! One run prints one table. Its unit is events per CPU-second, user and system time of the process
//! that does the work and of no other, so every measured thing is a process of its own and neither
//! the broker nor the generator counts. The limit reads and decodes the same topic and does nothing
//! else; everything is a ratio to it, since ratios travel between machines and seconds do not.
//!
//! ```text
//! herald-benches [view | kernels] [--quick] [--events N] [--keys N,N,..] [--workers N] [--repeat N]
//! ```
//!
//! With `experiment NAME` a design is measured before it is built ([`experiments`]).
//! With `kernels` only the instructions of kernels are counted ([`kernels`]), without Kafka.
//! With `view` only the queries of a large view are measured ([`view`]), without Kafka. `HERALD_BENCH_ROWS` is the number
//! of its rows; with `HERALD_UPDATE=1` their table is written to `docs/queries.md`. With `peers` one job
//! is measured in Herald, Kafka Streams and Flink ([`peers`]), which has options of its own; with `match` that job in Herald over
//! records of three sizes, few and many keys, and one and two workers ([`match_job`]). With `nexmark` NEXMark's queries are
//! measured in Herald and Flink ([`nexmark`]). With `serve` latency, starts, bytes of a key and queries beside a load are
//! measured ([`serve`]). Both have options of their own, too.
//!
//! It starts Kafka through `scripts/kafka.sh` and stops it again. A line that has a bar prints PASS or
//! FAIL and the process exits 1 when one failed; the table is printed either way. Bars are for events of
//! the size that a match-v5 body has; lean events show the engine's own cost, since decoding them costs
//! next to nothing.

mod child;
mod experiments;
mod input;
mod kafka;
mod kernels;
mod keys;
mod limit;
mod match_job;
mod nexmark;
mod options;
mod paths;
mod peers;
mod serve;
mod spine;
mod table;
mod view;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use child::Measured;
use input::Size;
use kafka::Kafka;
use keys::OverKeys;
use options::Options;
use paths::Paths;
use table::profile::Profile;
use table::{Line, Table};

/// The least share of the limit that the topology must reach through Kafka.
const SHARE_OF_LIMIT: f64 = 0.25;
/// The least share of the throughput with the fewest keys that the most keys must keep.
const SHARE_WITH_KEYS: f64 = 0.80;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("limit") => limit::run_child(&arguments[1..]).map(|()| true),
        Some("kernel") => kernels::run_child(&arguments[1..]).map(|()| true),
        Some("experiment") => experiments::run(&arguments[1..]).map(|()| true),
        Some("kernels") => kernels::compare(),
        Some("receive") => peers::receive::run_child(&arguments[1..]).map(|()| true),
        Some("match") => match_job::run(&arguments[1..]).map(|()| true),
        Some("nexmark") => nexmark::run(&arguments[1..]).map(|()| true),
        Some("serve") => serve::run(&arguments[1..]).map(|()| true),
        Some("peers") => peers::run(&arguments[1..]).map(|()| true),
        Some("view") => Options::parse(&arguments[1..])
            .and_then(|options| Paths::find().and_then(|paths| measure_view(&paths, &options))),
        _ => Options::parse(&arguments).and_then(|options| run_bench(&options)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Measures everything and prints the tables; returns true if every bar was reached.
fn run_bench(options: &Options) -> Result<bool> {
    let begun = Instant::now();
    let paths = Paths::find()?;
    let mut table = Table::default();
    let mut profiles = Vec::new();
    let kafka = Kafka::start(&paths)?;
    input::champion_topic(&kafka.bootstrap)?;
    for (size, what) in [(Size::Lean, "3 kB events"), (Size::Whole, "70 kB events")] {
        let spine = spine::measure(&paths, options, &kafka, size)?;
        let limit = spine.limit.rate();
        table.push(Line::new(format!("{what}: the limit, read and decode"), spine.limit));
        let line = Line::new(format!("{what}: through Kafka, exactly once"), spine.kafka.measured.clone());
        let line = line.against("the limit", limit);
        table.push(if size == Size::Whole { line.at_least(SHARE_OF_LIMIT) } else { line });
        let line = Line::new(format!("{what}: in process with state"), spine.inside);
        table.push(line.against("the limit", limit));
        profiles.push((what, Profile::of(&spine.kafka)));
    }
    drop(kafka);
    measure_keys(&paths, options, &mut table)?;
    println!("{}\n{table}", table::title(options));
    for (what, profile) in profiles {
        println!("### Through Kafka, {what}\n\n{profile}");
    }
    let view_passed = measure_view(&paths, options)?;
    eprintln!("Took {:.0} s.", begun.elapsed().as_secs_f64());
    Ok(table.passed() && view_passed)
}

/// Measures the queries of a large view and prints their table, which is also written to the page of queries where
/// that is asked for; returns true if every bound was kept.
fn measure_view(paths: &Paths, options: &Options) -> Result<bool> {
    let report = view::measure(paths, options)?;
    println!("### Queries of a view\n\n{report}");
    if std::env::var_os("HERALD_UPDATE").is_some() {
        report.write_into(&paths.queries_page)?;
    }
    Ok(report.passed())
}

/// Measures throughput over more and more keys, and adds the lines.
fn measure_keys(paths: &Paths, options: &Options, table: &mut Table) -> Result<()> {
    let mut measured = Vec::new();
    for keys in &options.keys {
        measured.push(keys::measure(paths, options, *keys)?);
    }
    type Series = (&'static str, Option<f64>, fn(&OverKeys) -> &Measured);
    let series: [Series; 3] = [
        ("70 kB events, the same players", Some(SHARE_WITH_KEYS), |over| &over.same),
        ("70 kB events, all players", Some(SHARE_WITH_KEYS), |over| &over.all),
        ("3 kB events, the same players", None, |over| &over.lean),
    ];
    for (what, bar, series_of) in series {
        let fewest = measured.first().map_or(0.0, |over| series_of(over).rate());
        let last = measured.len() - 1;
        for (at, (keys, over)) in options.keys.iter().zip(&measured).enumerate() {
            let name = format!("{what}: in process, {} keys held", table::short(*keys));
            let mut line = Line::new(name, series_of(over).clone());
            if at > 0 {
                line = line.against(&format!("{} keys", table::short(options.keys[0])), fewest);
            }
            table.push(match bar {
                Some(bar) if at > 0 && at == last => line.at_least(bar),
                _ => line,
            });
        }
    }
    Ok(())
}
