//! Background monitor of a running topology: the progress log line, and warnings about rejected records and
//! stalled watermarks.
//!
//! A source whose watermark has not advanced for 60 s while its records arrive is logged and exported with
//! the partition that holds it back: until that partition's watermark advances, no window of the source
//! closes. Of rejected records the first of each source and outcome is a warning; all are counted in the
//! progress line. Those of earlier runs are no news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use connectors::dead_letter::REJECTED;
use fail::fail_point;

use crate::driver::{DriverHandle, SourceStatus, Status};
use crate::metrics::Metrics;

/// Interval at which the status is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The shown watermark of a source that has ended.
pub const ENDED: &str = "infinity";
/// Time after which a watermark that stands still while records arrive is reported.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval of the progress line.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

/// Monitors the topology until the runtime ends.
///
/// # Errors
/// Never.
pub async fn monitor_status(handle: DriverHandle, metrics: Arc<Metrics>) -> Result<()> {
    let mut watermarks = StalledWatermarks::default();
    let mut rejections = FirstRejections::default();
    let mut logged = (Instant::now(), 0);
    loop {
        fail_point!("watch.look");
        let status = handle.status();
        metrics.set_broker_reachable(status.broker_ok);
        metrics.set_registry_circuit_open(schemas::registry_last_error().is_some());
        for source in &status.sources {
            for (outcome, count) in rejections.check(source) {
                tracing::warn!(
                    "source {} has rejected records ({outcome}: {count} since the start): herald dead-letter list --source {}",
                    source.name,
                    source.name
                );
            }
            let (held, newly) = watermarks.check(source, Instant::now());
            metrics.set_watermark_stalled(&source.name, held);
            if newly {
                tracing::warn!(
                    "the watermark of source {} has stood at {} for 60 s while records arrive; it is held by {}",
                    source.name,
                    source.watermark.as_deref().unwrap_or("nothing"),
                    source.held_by.map_or("no single partition".to_owned(), |p| format!("partition {p}")),
                );
            }
        }
        if logged.0.elapsed() >= PROGRESS_INTERVAL {
            logged = (Instant::now(), log_progress(&status, logged));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Logs a line of progress. Returns the number of records read so far.
fn log_progress(status: &Status, (since, before): (Instant, u64)) -> u64 {
    let read: u64 = status.sources.iter().map(records_read).sum();
    let lag = status.total_lag();
    let rejected: u64 = status.sources.iter().flat_map(rejected_records).map(|(_, n)| n).sum();
    let rate = read.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(0.001);
    tracing::info!(
        epoch = status.epoch,
        published = status.published,
        read,
        records_per_s = rate.round() as u64,
        rejected,
        lag,
        "running"
    );
    read
}

fn records_read(source: &SourceStatus) -> u64 {
    source.outcomes.values().sum()
}

/// Rejected records of a source, by outcome.
fn rejected_records(source: &SourceStatus) -> [(&'static str, u64); 3] {
    REJECTED.map(|outcome| (outcome.name(), source.outcomes.get(outcome.name()).copied().unwrap_or(0)))
}

/// Sources and outcomes of which a rejected record was reported.
#[derive(Default)]
struct FirstRejections(BTreeSet<(String, &'static str)>);

impl FirstRejections {
    /// The outcomes with rejected records that were not reported yet, with their number since the start.
    fn check(&mut self, source: &SourceStatus) -> Vec<(&'static str, u64)> {
        let mut first = Vec::new();
        for (outcome, n) in rejected_records(source) {
            let n = n.saturating_sub(source.before.get(outcome).copied().unwrap_or(0));
            if n > 0 && self.0.insert((source.name.clone(), outcome)) {
                first.push((outcome, n));
            }
        }
        first
    }
}

/// The last change of each source's watermark.
#[derive(Default)]
struct StalledWatermarks(BTreeMap<String, LastChange>);

/// The last change of a watermark: its value, the time, and the records read by then.
struct LastChange {
    watermark: Option<String>,
    since: Instant,
    records: u64,
    reported: bool,
}

impl StalledWatermarks {
    /// Returns whether the source's watermark is stalled, and whether this was not reported yet.
    fn check(&mut self, source: &SourceStatus, now: Instant) -> (bool, bool) {
        let fresh = || LastChange {
            watermark: source.watermark.clone(),
            since: now,
            records: records_read(source),
            reported: false,
        };
        let last = self.0.entry(source.name.clone()).or_insert_with(fresh);
        if last.watermark != source.watermark {
            *last = fresh();
        }
        // The watermark of a source that has ended never advances again.
        let held = source.watermark.as_deref().is_some_and(|at| at != ENDED)
            && now.duration_since(last.since) >= STALL_TIMEOUT
            && records_read(source) > last.records;
        let newly = held && !last.reported;
        last.reported |= held;
        (held, newly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(records: u64, watermark: &str) -> SourceStatus {
        SourceStatus {
            name: "s".to_owned(),
            outcomes: BTreeMap::from([("accepted", records)]),
            before: BTreeMap::new(),
            lag: 0,
            to_backfill: 0,
            watermark: Some(watermark.to_owned()),
            held_by: Some(3),
        }
    }

    #[test]
    fn the_first_rejected_record_of_each_outcome_is_reported() {
        let mut rejections = FirstRejections::default();
        let mut source = source(5, "a");
        assert!(rejections.check(&source).is_empty());
        source.outcomes.insert("late", 2);
        assert_eq!(rejections.check(&source), [("late", 2)]);
        source.outcomes.extend([("late", 3), ("decode", 1)]);
        assert_eq!(rejections.check(&source), [("decode", 1)]);
        assert!(rejections.check(&source).is_empty());
    }

    #[test]
    fn records_that_earlier_runs_rejected_are_no_news() {
        let mut rejections = FirstRejections::default();
        let mut source = source(5, "a");
        source.outcomes.insert("decode", 65);
        source.before.insert("decode", 65);
        assert!(rejections.check(&source).is_empty());
        source.outcomes.insert("decode", 67);
        assert_eq!(rejections.check(&source), [("decode", 2)]);
    }

    #[test]
    fn a_watermark_is_held_only_while_records_arrive() {
        let (mut still, start) = (StalledWatermarks::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(still.check(&source(5, "a"), at(0)), (false, false));
        assert_eq!(still.check(&source(5, "a"), at(70)), (false, false), "nothing arrived");
        assert_eq!(still.check(&source(6, "a"), at(75)), (true, true));
        assert_eq!(still.check(&source(7, "a"), at(80)), (true, false), "told once");
        assert_eq!(still.check(&source(8, "b"), at(85)), (false, false), "it moved");
    }
}
