//! What nobody asks a running topology and should be told: how far it is, and what stands still.
//!
//! A source whose watermark has not moved for 60 s while its records arrive is logged and exported
//! with the partition that holds it: until that partition moves, no window of the source closes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use fail::fail_point;

use crate::driver::{DriverHandle, SourceStatus, Status};
use crate::metrics::Metrics;

/// How often the status is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The watermark of a source that has ended.
pub const ENDED: &str = "infinity";
/// How long a watermark may stand still while records arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a line of progress is logged.
const PROGRESS: Duration = Duration::from_secs(30);

/// Watches until the runtime ends.
///
/// # Errors
/// None.
pub async fn watch(handle: DriverHandle, metrics: Arc<Metrics>) -> Result<()> {
    let mut still = Still::default();
    let mut told = (Instant::now(), 0);
    loop {
        fail_point!("watch.look");
        let status = handle.status();
        metrics.broker_reachable(status.broker_ok);
        metrics.registry_circuit_open(schemas::registry_trouble().is_some());
        for source in &status.sources {
            let (held, newly) = still.look(source, Instant::now());
            metrics.watermark_stalled(&source.name, held);
            if newly {
                tracing::warn!(
                    "the watermark of source {} has stood at {} for 60 s while records arrive; it is held by {}",
                    source.name,
                    source.watermark.as_deref().unwrap_or("nothing"),
                    source.held_by.map_or("no single partition".to_owned(), |p| format!("partition {p}")),
                );
            }
        }
        if told.0.elapsed() >= PROGRESS {
            told = (Instant::now(), progress(&status, told));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Logs a line of progress; gives the records read so far.
fn progress(status: &Status, (since, before): (Instant, u64)) -> u64 {
    let read: u64 = status.sources.iter().map(records).sum();
    let lag: i64 = status.sources.iter().map(|source| source.lag).sum();
    let rate = read.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(0.001);
    tracing::info!(
        epoch = status.epoch,
        published = status.published,
        read,
        records_per_s = rate.round() as u64,
        lag,
        "running"
    );
    read
}

fn records(source: &SourceStatus) -> u64 {
    source.outcomes.values().sum()
}

/// Since when, and since which record, each source's watermark stands still.
#[derive(Default)]
struct Still(BTreeMap<String, Stand>);

struct Stand {
    watermark: Option<String>,
    since: Instant,
    records: u64,
    told: bool,
}

impl Still {
    /// Whether the source's watermark is held, and whether that is news.
    fn look(&mut self, source: &SourceStatus, now: Instant) -> (bool, bool) {
        let fresh = || Stand {
            watermark: source.watermark.clone(),
            since: now,
            records: records(source),
            told: false,
        };
        let stand = self.0.entry(source.name.clone()).or_insert_with(fresh);
        if stand.watermark != source.watermark {
            *stand = fresh();
        }
        // One that has ended moves no more.
        let held = source.watermark.as_deref().is_some_and(|at| at != ENDED)
            && now.duration_since(stand.since) >= PATIENCE
            && records(source) > stand.records;
        let newly = held && !stand.told;
        stand.told |= held;
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
            lag: 0,
            watermark: Some(watermark.to_owned()),
            held_by: Some(3),
        }
    }

    #[test]
    fn a_watermark_is_held_only_while_records_arrive() {
        let (mut still, start) = (Still::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(still.look(&source(5, "a"), at(0)), (false, false));
        assert_eq!(still.look(&source(5, "a"), at(70)), (false, false), "nothing arrived");
        assert_eq!(still.look(&source(6, "a"), at(75)), (true, true));
        assert_eq!(still.look(&source(7, "a"), at(80)), (true, false), "told once");
        assert_eq!(still.look(&source(8, "b"), at(85)), (false, false), "it moved");
    }
}
