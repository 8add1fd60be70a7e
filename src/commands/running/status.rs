//! `herald status`: shows the state of a running topology, from its `/v1/topology`.

use std::fmt::Write;
use std::io::IsTerminal;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cli::{StatusArgs, StatusFormat};
use crate::driver::FailingRows;
use crate::query;

/// Time between two requests, over which rates are measured.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Topology {
    name: String,
    #[serde(default)]
    version: Option<String>,
    sinks: Vec<Sink>,
    status: StatusReport,
}

#[derive(Debug, Deserialize)]
struct Sink {
    name: String,
}

#[derive(Debug, Deserialize)]
struct StatusReport {
    started: bool,
    epoch: u64,
    published: u64,
    broker_ok: bool,
    fatal: Option<String>,
    sources: Vec<Source>,
    #[serde(default)]
    failing: FailingRows,
    last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Source {
    name: String,
    outcomes: Vec<(String, u64)>,
    lag: i64,
    watermark: Option<String>,
    held_by: Option<i32>,
}

/// `herald status`.
///
/// # Errors
/// When the topology does not answer.
pub fn command(args: &StatusArgs) -> Result<()> {
    let base = query::base_url(&args.url);
    let mut before = request_status(&base)?;
    if args.format == StatusFormat::Json {
        println!("{}", before.1);
        return Ok(());
    }
    let terminal = std::io::stdout().is_terminal();
    loop {
        let begun = Instant::now();
        std::thread::sleep(POLL_INTERVAL);
        let now = request_status(&base)?;
        let text = status_text(&base, &now.0, &before.0, begun.elapsed());
        if args.watch && terminal {
            // Moves the cursor home and clears the screen, so that the text is redrawn in place.
            print!("\x1b[H\x1b[J");
        }
        println!("{text}");
        if !args.watch {
            return Ok(());
        }
        before = now;
    }
}

/// Requests the status; also returns the response's text.
fn request_status(base: &str) -> Result<(Topology, String)> {
    let text = query::send_get(base, "/v1/topology", query::read_token()?)?;
    let value: serde_json::Value = serde_json::from_str(&text).context("the answer is no JSON")?;
    let topology = parse_status(&value).with_context(|| format!("{base} is no topology of this version"))?;
    Ok((topology, text))
}

/// Parses a response. Its outcomes are an object, and are read as a list of pairs to keep their order.
fn parse_status(value: &serde_json::Value) -> Result<Topology> {
    let mut value = value.clone();
    if let Some(sources) = value.pointer_mut("/status/sources").and_then(serde_json::Value::as_array_mut) {
        for source in sources {
            if let Some(outcomes) = source.get("outcomes").and_then(serde_json::Value::as_object) {
                source["outcomes"] = outcomes.iter().map(|(name, n)| serde_json::json!([name, n])).collect();
            }
        }
    }
    Ok(serde_json::from_value(value)?)
}

impl Source {
    /// The number of records with one of these outcomes.
    fn count_outcomes(&self, names: &[&str]) -> u64 {
        self.outcomes.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, n)| n).sum()
    }

    /// The number of records read.
    fn count_read(&self) -> u64 {
        self.outcomes.iter().map(|(_, n)| n).sum()
    }
}

/// Outcomes of records that are kept as dead letters.
const REJECTED: [&str; 3] = ["constraint", "decode", "late"];

/// The status as text; rates follow from the one before.
fn status_text(base: &str, now: &Topology, before: &Topology, passed: Duration) -> String {
    let status = &now.status;
    let state = match (&status.fatal, status.started, status.broker_ok) {
        (Some(_), ..) => "failed",
        (None, false, _) => "starting",
        (None, true, false) => "running, but the broker does not answer",
        (None, true, true) => "running",
    };
    let mut out = format!("{} at {base}: {state}\n", now.name);
    let waiting = status.epoch.saturating_sub(status.published);
    let sinks: Vec<&str> = now.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let published = match (sinks.as_slice(), waiting) {
        ([], _) => "no sinks".to_owned(),
        (_, 0) => "all published".to_owned(),
        (sinks, 1) => format!("1 epoch waits to be published to {}", sinks.join(", ")),
        (sinks, n) => format!("{n} epochs wait to be published to {}", sinks.join(", ")),
    };
    let version = now.version.as_ref().map(|version| format!("version {version}\n")).unwrap_or_default();
    let _ = writeln!(out, "epoch {}, {published}\n{version}", status.epoch);
    let mut rows =
        vec![["SOURCE", "READ/S", "ACCEPTED", "REJECTED", "LAG", "WATERMARK", "HELD BY"].map(str::to_owned)];
    for source in &status.sources {
        let earlier = before.status.sources.iter().find(|other| other.name == source.name);
        let more =
            source.count_read().saturating_sub(earlier.map_or(source.count_read(), Source::count_read));
        rows.push([
            source.name.clone(),
            format!("{:.0}", more as f64 / passed.as_secs_f64()),
            source.count_outcomes(&["accepted"]).to_string(),
            source.count_outcomes(&REJECTED).to_string(),
            source.lag.to_string(),
            source.watermark.as_deref().unwrap_or("-").to_owned(),
            match source.held_by {
                Some(partition) => format!("partition {partition}"),
                None => "-".to_owned(),
            },
        ]);
    }
    out.push_str(&align_columns(&rows, 1..5));
    for source in &status.sources {
        let mut reasons = Vec::new();
        for outcome in REJECTED {
            let count = source.count_outcomes(&[outcome]);
            if count > 0 {
                reasons.push(format!("{count} {outcome}"));
            }
        }
        if !reasons.is_empty() {
            let name = &source.name;
            let _ = writeln!(
                out,
                "\n{name} rejected {}: herald dead-letter list --source {name} --url {base}",
                reasons.join(", ")
            );
        }
    }
    if status.failing.rows > 0 {
        let _ = write!(out, "\n{}", status.failing.line(&format!(" --url {base}")));
    }
    if let Some(fatal) = &status.fatal {
        let _ = writeln!(out, "\nit ended: {fatal}");
    } else if let Some(error) = &status.last_error {
        let _ = writeln!(out, "\nlast error: {error}");
    }
    out.truncate(out.trim_end().len());
    out
}

/// Rows as a table: columns of equal width, those of `numbers` aligned to the right.
pub(crate) fn align_columns<const N: usize>(rows: &[[String; N]], numbers: Range<usize>) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut cells = Vec::with_capacity(N);
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let number = numbers.contains(&at);
            cells.push(if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        }
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_with_rates_and_reasons() {
        let at = |accepted: u64| {
            parse_status(&serde_json::json!({
                "name": "games", "version": "0123456789ab", "sinks": [{"name": "out"}],
                "status": {"started": true, "epoch": 9, "published": 4, "broker_ok": true, "fatal": null,
                    "last_error": "the broker was away", "failing": {"rows": 2, "view": "ratios",
                    "message": "division by zero"}, "sources": [{"name": "matches", "lag": 3, "held_by": 1,
                    "watermark": "2026-01-01T00:00:00Z", "outcomes": {"accepted": accepted, "late": 2, "decode": 0}}]},
            }))
            .unwrap()
        };
        let text = status_text("http://127.0.0.1:7414", &at(120), &at(100), Duration::from_secs(2));
        assert_eq!(
            text,
            "games at http://127.0.0.1:7414: running\n\
             epoch 9, 5 epochs wait to be published to out\n\
             version 0123456789ab\n\n\
             SOURCE   READ/S  ACCEPTED  REJECTED  LAG  WATERMARK             HELD BY\n\
             matches      10       120         2    3  2026-01-01T00:00:00Z  partition 1\n\n\
             matches rejected 2 late: herald dead-letter list --source matches --url http://127.0.0.1:7414\n\n\
             An expression fails on 2 rows, which are left out (view ratios: division by zero): \
             herald query \"SELECT * FROM herald.errors\" --url http://127.0.0.1:7414\n\n\
             last error: the broker was away"
        );
    }
}
