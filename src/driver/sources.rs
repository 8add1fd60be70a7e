//! The open sources of a topology, polled in turn by the driver.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use connectors::{LastRecord, Reader, SourceConfig, SourceConnector};
use dataflows::plan::formats::{Format, IncludeKind};
use dataflows::source::progress::LastRead;
use dataflows::worker::Setup;
use schemas::Records;
use state::PartitionProgress;

use super::commit::Head;
use super::{DriverConfig, DriverHandle};
use crate::metrics::Metrics;

/// Bytes one poll of one source may bring.
const POLL_BYTES: usize = 8 << 20;
/// Records one poll of one source may bring.
const POLL_RECORDS: usize = 16_384;

/// The last record of a partition, as the state has it.
fn last_record(at: &PartitionProgress) -> Option<LastRecord> {
    if at.last_ms.is_none() && at.last_digest.is_none() {
        return None;
    }
    let offset = at.last_offset.unwrap_or(at.next_offset - 1);
    Some(LastRecord { offset, ms: at.last_ms, digest: at.last_digest })
}

fn last_read(last: &LastRecord) -> LastRead {
    LastRead { offset: last.offset, ms: last.ms, digest: last.digest }
}

/// Open sources, in the plan's order.
pub struct Sources {
    readers: Vec<(String, Reader)>,
    known: Vec<BTreeSet<i32>>,
    /// How many partitions of each were looked at.
    seen: Vec<usize>,
    /// Sources that must be read to their end first.
    awaited: Vec<BTreeSet<usize>>,
}

impl Sources {
    /// Opens every source at the offsets of the state.
    ///
    /// # Errors
    /// When a source cannot be opened, with its name.
    pub fn open(config: &DriverConfig, setup: &Setup) -> Result<Sources> {
        let (mut readers, mut known) = (vec![], vec![]);
        let mut awaited = config.plan.awaited();
        for (source, awaited) in config.plan.sources.iter().zip(&mut awaited) {
            let what = || format!("source {}", source.name);
            let headers = source.includes.iter().any(|i| matches!(i, IncludeKind::Header(_)));
            let mut connector = SourceConnector::from_options(&source.options).with_context(what)?;
            match &mut connector {
                SourceConnector::File(file) => file.keyed = source.format == Format::Upsert,
                SourceConnector::Kafka(kafka) => {
                    kafka.skip_lost = config.skip_lost_records;
                    let held = setup.progress.sources.get(&source.name).map(|held| &held.partitions);
                    let last = held.into_iter().flatten().filter_map(|(p, at)| Some((*p, last_record(at)?)));
                    kafka.last = last.collect();
                }
                _ => {}
            }
            let wanted =
                SourceConfig { name: config.name.clone(), connector, want_headers: headers, want_keys: true };
            let held = setup.progress.sources.get(&source.name);
            let start = held.map(|h| h.partitions.iter().map(|(p, at)| (*p, at.next_offset)).collect());
            if held.is_some_and(|h| h.watermark_us == Some(i64::MAX)) {
                tracing::warn!(
                    "source {} has ended in an earlier run with --once: rows that came after its end are late",
                    source.name
                );
            }
            let mut reader = Reader::open(&wanted, &start.unwrap_or_default()).with_context(what)?;
            if config.once {
                reader.stop_at_end().with_context(what)?;
            }
            if held.is_some_and(|h| h.read > 0) {
                awaited.clear();
            }
            readers.push((source.name.clone(), reader));
            known.push(held.map(|h| h.partitions.keys().copied().collect()).unwrap_or_default());
        }
        let seen = vec![0; readers.len()];
        Ok(Sources { readers, known, seen, awaited })
    }

    /// Which sources are not read yet. Sources that await each other do not wait.
    fn waiting(&mut self) -> Vec<bool> {
        for awaited in &mut self.awaited {
            awaited.retain(|other| !self.readers[*other].1.caught_up());
        }
        let waiting: Vec<bool> = self.awaited.iter().map(|awaited| !awaited.is_empty()).collect();
        let stuck = self.awaited.iter().flatten().all(|other| waiting[*other]);
        if stuck { vec![false; waiting.len()] } else { waiting }
    }

    /// What is there now, at most `limit` records.
    ///
    /// # Errors
    /// When a source fails for good, with its name.
    pub fn poll(&mut self, limit: usize) -> Result<Vec<(usize, Records)>> {
        let mut out = Vec::new();
        let mut left = limit;
        let waiting = self.waiting();
        for (at, (name, reader)) in self.readers.iter_mut().enumerate() {
            if left == 0 {
                break;
            }
            if waiting[at] {
                continue;
            }
            let batches = reader
                .poll(left.min(POLL_RECORDS), POLL_BYTES, Duration::ZERO)
                .with_context(|| format!("source {name}"))?;
            for records in batches.into_iter().filter(|r| !r.is_empty()) {
                left = left.saturating_sub(records.len());
                out.push((at, records));
            }
        }
        Ok(out)
    }

    /// Partitions that were not there before, with the watermark they start at.
    pub fn joined(&mut self, setup: &Setup) -> Vec<(usize, i32, Option<i64>)> {
        let mut joined = Vec::new();
        for (at, (_, reader)) in self.readers.iter().enumerate() {
            let count = reader.partition_count();
            for partition in self.seen[at] as i32..count as i32 {
                if self.known[at].insert(partition) {
                    let watermark = setup.watermarks[at].load(Ordering::Acquire);
                    joined.push((at, partition, (watermark != i64::MIN).then_some(watermark)));
                }
            }
            self.seen[at] = count;
        }
        joined
    }

    /// Partitions of sources that are bounded (or, with `all`, of any) and whose watermark is not beyond all
    /// time yet.
    pub fn ended(&self, setup: &Setup, all: bool) -> Vec<(usize, i32)> {
        let mut ended = Vec::new();
        for (at, (_, reader)) in self.readers.iter().enumerate() {
            let marked = setup.plan.sources[at].watermark.is_some();
            let moved = setup.watermarks[at].load(Ordering::Acquire) == i64::MAX;
            if marked && !moved && (all || reader.is_bounded()) {
                ended.extend(reader.partitions().into_iter().map(|partition| (at, partition)));
            }
        }
        ended
    }

    /// Whether everything there is, or was at opening, has been read.
    pub fn done(&self) -> bool {
        self.readers.iter().all(|(_, reader)| reader.bounded_done())
    }

    /// Whether a position has moved on without a record, which is worth an epoch: without it the end of a
    /// transaction would seem to be a record that was never read.
    pub fn moved(&self) -> bool {
        self.readers.iter().any(|(_, reader)| reader.moved())
    }

    /// Adds positions and partitions to an epoch's head.
    pub fn fill(&mut self, head: &mut Head) {
        for ((_, reader), source) in self.readers.iter_mut().zip(&mut head.sources) {
            reader.take_moved();
            source.next = reader.positions();
            let last = reader.last().into_iter();
            source.last = last.map(|(p, last)| (p, last_read(&last))).collect();
            source.partitions = reader.partitions().into_iter().collect();
            source.ended = reader.is_bounded() && reader.bounded_done();
        }
    }

    /// Lag to metrics and status; what keeps a source from being read, if anything does.
    pub fn tell(&self, metrics: &Metrics, handle: &DriverHandle) -> Option<String> {
        for (name, reader) in &self.readers {
            let lag = reader.lag();
            lag.iter().for_each(|(partition, n)| metrics.lag(name, *partition, *n));
            let total = lag.values().sum();
            handle.update(|status| {
                if let Some(source) = status.sources.iter_mut().find(|s| s.name == *name) {
                    source.lag = total;
                }
            });
        }
        self.readers.iter().find_map(|(name, reader)| Some(format!("source {name}: {}", reader.trouble()?)))
    }

    /// Tells lag tools where the sources are.
    pub fn commit_offsets(&mut self) {
        for (_, reader) in &mut self.readers {
            let positions = reader.positions();
            reader.commit_offsets(&positions);
        }
    }
}
