//! The highest steady rate, and the time from a record to its answer at shares of it.
//!
//! Loads are tried, each half as fast again as the one before, until the backlog grows twice: the last one before is the
//! highest steady rate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::contender::{Contender, PATIENCE, Run};
use super::options::ServeOptions;
use super::report::Part;
use crate::peers::games::Law;
use crate::table::spread::quantile_ms;

/// Players whose games come.
pub const PLAYERS: u64 = 100_000;
/// Records a second of the first load that is tried, and the ratio of each to the one before.
const FIRST_TRIED: f64 = 1000.0;
const NEXT_TRIED: f64 = 1.5;
/// Shares of the highest steady rate that are measured.
const SHARES: [f64; 3] = [0.1, 0.5, 0.8];
/// Time that the rest of a load may take to be seen.
const REST: Duration = Duration::from_secs(60);

/// A load, by its name in tables.
pub struct Rate {
    name: String,
    /// Records a second.
    pub rate: f64,
}

/// Finds the highest steady rate of a contender. A load that is not steady has a second try: one pause of the machine looks like
/// a backlog.
fn find_highest(bench: &Bench, contender: &Contender) -> Result<f64> {
    let mut run = Run::prepare(bench, contender, PLAYERS, Law::Alike)?;
    warm_up(bench, &mut run, FIRST_TRIED)?;
    let (mut rate, mut highest) = (FIRST_TRIED, None);
    while try_rate(bench, &mut run, rate)? || try_rate(bench, &mut run, rate)? {
        highest = Some(rate);
        rate *= NEXT_TRIED;
    }
    run.finish()?;
    highest.with_context(|| {
        format!("{rate:.0} a second are not held; see that the machine is idle, or give --rate")
    })
}

/// Drives a load and waits until it is answered; returns true if it was steady.
fn try_rate(bench: &Bench, run: &mut Run<'_>, rate: f64) -> Result<bool> {
    let driven = run.drive(rate, bench.options.length, |_| Ok(true))?;
    ensure!(run.drain(PATIENCE, |_| ())?, "a backlog was not drained");
    let held = if driven.steady { "steady" } else { "not held" };
    let contender = run.contender;
    eprintln!("{}, {}: {:.0} a second: {held}", contender.system.title(), contender.shown(), driven.rate());
    Ok(driven.steady)
}

/// Starts a contender and drives a load that does not count.
fn warm_up(bench: &Bench, run: &mut Run<'_>, rate: f64) -> Result<()> {
    run.start()?;
    // A first record waits for the start; then what is compiled late is compiled.
    run.drive(100.0, Duration::from_secs(1), |_| Ok(true))?;
    ensure!(run.drain(PATIENCE, |_| ())?, "the first records were not answered");
    run.drive(rate, bench.options.length / 2, |_| Ok(true))?;
    ensure!(run.drain(PATIENCE, |_| ())?, "the first load was not answered");
    run.load.take_times();
    Ok(())
}

/// The loads to measure, ascending: those that are given, or shares of Herald's highest steady rate and half of
/// Streams'.
///
/// # Errors
/// When a run fails.
pub fn choose_rates(bench: &Bench, parts: &mut Vec<Part>) -> Result<Vec<Rate>> {
    let ServeOptions { rates, peers, .. } = &bench.options;
    if !rates.is_empty() {
        return Ok(rates.iter().map(|rate| Rate { name: "given".to_owned(), rate: *rate as f64 }).collect());
    }
    let figures = [("records/s", 0)];
    let mut part = Part::new("Highest steady rate", &["system", "settings"], &figures);
    let mut add = |contender: Contender| -> Result<f64> {
        let steady = find_highest(bench, &contender)?;
        part.add(&[contender.system.title(), &contender.shown()], &[Some(steady)]);
        Ok(steady)
    };
    let highest = add(Contender::herald(&[]))?;
    let named =
        |share: f64| Rate { name: format!("{:.0}% of Herald's", share * 100.0), rate: highest * share };
    let mut rates: Vec<Rate> = SHARES.map(named).into();
    if *peers {
        let rate = add(Contender::streams(&[]))? / 2.0;
        rates.push(Rate { name: "50% of Streams'".to_owned(), rate });
    }
    rates.sort_by(|left, right| left.rate.total_cmp(&right.rate));
    parts.push(part);
    Ok(rates)
}

/// The load of half the highest rate, or the given one in the middle.
pub fn half(rates: &[Rate]) -> f64 {
    let half = rates.iter().find(|rate| rate.name == "50% of Herald's");
    half.or(rates.get(rates.len() / 2)).map_or(1.0, |rate| rate.rate)
}

/// Measures the latency of all contenders at all rates.
///
/// # Errors
/// When a run fails.
pub fn measure(bench: &Bench, rates: &[Rate]) -> Result<Part> {
    let options = &bench.options;
    let mut contenders: Vec<Contender> =
        options.intervals.iter().map(|interval| Contender::herald(&["--epoch-interval", interval])).collect();
    contenders.push(Contender::herald(&["--latency-target", &options.target]));
    if options.peers {
        contenders.push(Contender::streams(&[]));
    }
    let labels = ["system", "settings", "load", "asked, records/s"];
    let figures = [("sent, records/s", 0), ("p50 ms", 1), ("p99 ms", 1), ("p99.9 ms", 1), ("held", 2)];
    let mut part = Part::new("Latency: record sent to answer visible, read committed", &labels, &figures);
    for turn in 0..options.repeat {
        for contender in &contenders {
            eprintln!("latency, turn {}: {}, {}", turn + 1, contender.system.title(), contender.shown());
            measure_once(bench, contender, rates, &mut part)?;
        }
    }
    part.notes.push(
        "held: the share of the runs in which the rate was reached and the backlog did not grow. Times of a load that \
         is not held tell its length, and higher loads are left out."
            .to_owned(),
    );
    if options.peers {
        compare(&mut part, &contenders, rates);
    }
    Ok(part)
}

/// Measures a contender once at all rates, up to the first that it does not hold.
fn measure_once(bench: &Bench, contender: &Contender, rates: &[Rate], part: &mut Part) -> Result<()> {
    let mut run = Run::prepare(bench, contender, PLAYERS, Law::Alike)?;
    warm_up(bench, &mut run, rates.first().map_or(1.0, |rate| rate.rate))?;
    for Rate { name, rate } in rates {
        let driven = run.drive(*rate, bench.options.length, |_| Ok(true))?;
        let held = run.drain(REST, |_| ())? && driven.steady;
        let times = run.load.take_times();
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| Some(quantile_ms(&times, share)));
        let labels = [contender.system.title(), &contender.shown(), name, &format!("{rate:.0}")];
        part.add(&labels, &[Some(driven.rate()), half, most, nearly_all, Some(f64::from(u8::from(held)))]);
        if !held {
            break;
        }
    }
    run.finish()
}

/// Adds the ratio of each setting's p99 to that of Streams, at half of either's highest rate.
fn compare(part: &mut Part, contenders: &[Contender], rates: &[Rate]) {
    let Some((streams, others)) = contenders.split_last() else { return };
    for Rate { name, rate } in rates.iter().filter(|rate| rate.name.starts_with("50%")) {
        let asked = format!("{rate:.0}");
        let p99 = |of: &Contender| {
            let labels = [of.system.title(), &of.shown(), name, &asked];
            let held = part.median(&labels, "held").is_some_and(|held| held > 0.5);
            part.median(&labels, "p99 ms").filter(|_| held)
        };
        let peer = p99(streams);
        let notes = others.iter().map(|of| match (p99(of), peer) {
            (Some(own), Some(peer)) => {
                format!("p99 at {name}, {}: {:.2} of Kafka Streams'.", of.shown(), own / peer)
            }
            (Some(_), None) => {
                format!("p99 at {name}, {}: Kafka Streams does not hold the load.", of.shown())
            }
            _ => format!("p99 at {name}, {}: not held.", of.shown()),
        });
        let notes: Vec<String> = notes.collect();
        part.notes.extend(notes);
    }
}
