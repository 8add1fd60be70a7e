//! `herald backfill`: reads a range of a source again, or files, through the engine of `run`, and counts the outcomes.
//!
//! The driver runs on the calling thread, to the end of the input; a thread beside it shows how far it has come.
//! `driver/sources/backfill.rs` says what becomes of a record.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use connectors::{Place, ReadRange};
use schemas::Outcome;
use schemas::types::time::parse_timestamp;
use state::StateError;

use super::{TASKS_TIMEOUT, configure, create_runtime, stop_on_signals};
use crate::cli::BackfillArgs;
use crate::driver::budget::Pace;
use crate::driver::{self, BackfillInput, BackfillOrder, DriverConfig, DriverHandle, SourceStatus, Summary};
use crate::exit::{Interrupted, mistake};
use crate::metrics::Metrics;
use crate::serve::descriptors;

/// Time for which an epoch collects records. Nobody waits for the first of them.
const EPOCH_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between redraws of the bar on a terminal.
const BAR_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between lines of progress elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Width of the bar.
const BAR_WIDTH: i64 = 30;

/// `herald backfill`.
///
/// # Errors
/// When the topology is running, when the input is refused or fails, or when a signal ended it before the end.
pub fn command(args: &BackfillArgs) -> Result<()> {
    let order = BackfillOrder { source: args.source.clone(), input: parse_input(args)? };
    let (config, texts) = configure(&args.files, &args.engine, Pace::Fixed(EPOCH_INTERVAL))?;
    let config = DriverConfig { once: true, backfill: Some(order), ..config };
    descriptors::raise_limit();
    let runtime = create_runtime()?;
    let handle = DriverHandle::default();
    stop_on_signals(&runtime, handle.clone(), config.state_dir.clone())?;
    let ended = run_watched(config, &handle, &args.source);
    runtime.shutdown_timeout(TASKS_TIMEOUT);
    let summary = ended.map_err(|error| explain_failure(texts.place(error)))?;
    let status = handle.status();
    let Some(source) = status.sources.iter().find(|source| source.name == args.source) else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    out.write_all(counts_text(source, &summary).as_bytes())?;
    Ok(())
}

/// The input that the flags name.
fn parse_input(args: &BackfillArgs) -> Result<BackfillInput> {
    if !args.lines.is_empty() {
        return Ok(BackfillInput::Files(args.lines.clone()));
    }
    let from = parse_place("from", args.from.as_deref())?;
    let to = parse_place("to", args.to.as_deref())?;
    let is_empty = match (from, to) {
        (Some(Place::Offset(from)), Some(Place::Offset(to))) => from >= to,
        (Some(Place::Time(from)), Some(Place::Time(to))) => from >= to,
        _ => false,
    };
    if is_empty {
        return Err(mistake("--from is not before --to: the range has no records"));
    }
    Ok(BackfillInput::Range(ReadRange { from, to, ..ReadRange::default() }))
}

/// Parses a place in a source: an offset or a time.
fn parse_place(flag: &str, text: Option<&str>) -> Result<Option<Place>> {
    let Some(text) = text else { return Ok(None) };
    let place = match text.strip_prefix("offset:") {
        Some(offset) => offset.parse::<i64>().ok().filter(|offset| *offset >= 0).map(Place::Offset),
        // A record's timestamp is in whole milliseconds: the first that is not before the time.
        None => parse_timestamp(text).map(|us| Place::Time(us.div_euclid(1000) + i64::from(us % 1000 != 0))),
    };
    match place {
        Some(place) => Ok(Some(place)),
        None => Err(mistake(format!(
            "--{flag} {text}: write an offset such as offset:1000, or a time such as 2026-01-01T00:00:00Z"
        ))),
    }
}

/// Runs the driver to its end, while another thread shows how far it has come.
fn run_watched(config: DriverConfig, handle: &DriverHandle, source: &str) -> Result<Summary> {
    let metrics = Arc::new(Metrics::new(&config.name)?);
    let (running, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || show_progress(handle, source, &ended));
        let summary = driver::run(config, metrics, handle.clone());
        drop(running);
        summary
    })
}

/// The reason why a backfill ended early, and how to go on.
fn explain_failure(error: Error) -> Error {
    if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(StateError::Locked { .. }))) {
        return error.context(
            "a backfill needs the state for itself: stop the topology, give this command again, and start the topology",
        );
    }
    if error.is::<Interrupted>() {
        return error
            .context("the backfill is not finished; the same command goes on, and counts nothing twice");
    }
    error
}

/// Shows how far a backfill has come until it ends: a bar on a terminal, elsewhere a line now and then.
fn show_progress(handle: &DriverHandle, source: &str, ended: &Receiver<()>) {
    let terminal = std::io::stderr().is_terminal();
    let interval = if terminal { BAR_INTERVAL } else { LINE_INTERVAL };
    let mut begun: Option<(Instant, i64)> = None;
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let status = handle.status();
        let Some(shown) = status.sources.iter().find(|other| other.name == source) else { continue };
        if !status.started {
            continue;
        }
        let read = read_of(shown);
        let (since, before) = *begun.get_or_insert((Instant::now(), read));
        let passed = since.elapsed().as_secs_f64();
        let rate = if passed > 0.0 { (read - before) as f64 / passed } else { 0.0 };
        let line = progress_line(shown, rate, terminal);
        if terminal {
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{source}: {line}");
        }
    }
    if terminal && begun.is_some() {
        eprint!("\r\x1b[K");
    }
}

/// Progress of a backfill as a line. `rate` is in records a second.
fn progress_line(source: &SourceStatus, rate: f64, bar: bool) -> String {
    let (read, total) = (read_of(source), source.to_backfill);
    let done = total - source.lag;
    let mut line = match total {
        0 => format!("{read} records read"),
        total => format!("{read} records read, {done} of {total} offsets"),
    };
    line.push_str(&format!(", {rate:.0} a second"));
    if total > 0 && rate > 0.0 {
        line.push_str(&format!(", {:.0} s left", source.lag as f64 / rate));
    }
    if bar && total > 0 {
        let full = (done.clamp(0, total) * BAR_WIDTH / total) as usize;
        line = format!("[{}{}] {line}", "#".repeat(full), "-".repeat(BAR_WIDTH as usize - full));
    }
    line
}

/// Records of one outcome since the backfill began.
fn count_of(source: &SourceStatus, outcome: Outcome) -> u64 {
    let of = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        counts.get(outcome.name()).copied().unwrap_or_default()
    };
    of(&source.outcomes) - of(&source.before)
}

/// Records that were read and committed since the backfill began.
fn read_of(source: &SourceStatus) -> i64 {
    Outcome::ALL.into_iter().map(|outcome| count_of(source, outcome)).sum::<u64>() as i64
}

/// The outcomes of a backfill: a table of one row, and what came of it.
fn counts_text(source: &SourceStatus, summary: &Summary) -> String {
    let of = |outcome| count_of(source, outcome);
    let invalid = of(Outcome::Constraint) + of(Outcome::Decode);
    let mut columns = vec![
        ("READ", read_of(source) as u64),
        ("ACCEPTED", of(Outcome::Accepted)),
        ("DUPLICATE", of(Outcome::Duplicate)),
        ("SUPERSEDED", of(Outcome::Superseded)),
        ("INVALID", invalid),
        ("LATE", of(Outcome::Late)),
    ];
    if of(Outcome::Erased) > 0 {
        columns.push(("ERASED", of(Outcome::Erased)));
    }
    let width = source.name.len().max("SOURCE".len());
    let (mut head, mut row) = (format!("{:<width$}", "SOURCE"), format!("{:<width$}", source.name));
    for (name, count) in columns {
        let width = name.len().max(count.to_string().len());
        head.push_str(&format!("  {name:>width$}"));
        row.push_str(&format!("  {count:>width$}"));
    }
    let mut text = format!("{head}\n{row}\n\nEpoch {} is committed and published.\n", summary.epoch);
    if invalid + of(Outcome::Late) > 0 {
        text.push_str("Rejected records are in the dead letters: herald dead-letter list\n");
    }
    text.push_str(&summary.failing.line(""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::FailingRows;

    fn source(lag: i64, to_backfill: i64) -> SourceStatus {
        SourceStatus {
            name: "matches".to_owned(),
            outcomes: [("accepted", 12), ("duplicate", 40), ("decode", 3), ("late", 1)].into(),
            before: [("accepted", 10), ("duplicate", 0), ("decode", 2), ("late", 1)].into(),
            lag,
            to_backfill,
            ..SourceStatus::default()
        }
    }

    #[test]
    fn outcomes_are_those_of_the_backfill_alone() {
        let summary = Summary { epoch: 7, failing: FailingRows::default(), ..Summary::default() };
        assert_eq!(
            counts_text(&source(0, 50), &summary),
            "SOURCE   READ  ACCEPTED  DUPLICATE  SUPERSEDED  INVALID  LATE\nmatches    43         2         40           0        1     0\n\nEpoch 7 is committed and published.\nRejected records are in the dead letters: herald dead-letter list\n"
        );
    }

    #[test]
    fn progress_has_a_bar_on_a_terminal_only() {
        let line = "43 records read, 50 of 100 offsets, 10 a second, 5 s left";
        assert_eq!(progress_line(&source(50, 100), 10.0, false), line);
        let bar = format!("[{}{}] {line}", "#".repeat(15), "-".repeat(15));
        assert_eq!(progress_line(&source(50, 100), 10.0, true), bar);
        assert_eq!(progress_line(&source(0, 0), 0.0, true), "43 records read, 0 a second");
    }

    #[test]
    fn places_are_offsets_and_times() {
        let place = |text: &str| parse_place("from", Some(text)).ok().flatten();
        assert_eq!(place("offset:1000"), Some(Place::Offset(1000)));
        assert_eq!(place("2026-01-01T00:00:00Z"), Some(Place::Time(1_767_225_600_000)));
        assert_eq!(place("2026-01-01T00:00:00.0001Z"), Some(Place::Time(1_767_225_600_001)));
        for wrong in ["1000", "offset:-1", "offset:", "yesterday"] {
            let error = parse_place("to", Some(wrong)).unwrap_err();
            assert!(error.to_string().starts_with(&format!("--to {wrong}: write an offset")), "{error}");
            assert_eq!(crate::exit::code(&error), 2);
        }
    }
}
