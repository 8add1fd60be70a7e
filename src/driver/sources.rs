//! The open sources of a topology, polled in turn by the driver; of a backfill, its input in their stead.

pub mod again;
pub mod backfill;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use connectors::{ConnectorError, LastRecord, Reader, SourceConfig, SourceConnector};
use dataflows::plan::formats::{Format, IncludeKind};
use dataflows::plan::{Plan, Source};
use dataflows::runtime::worker::Setup;
use dataflows::source::progress::LastRead;
use schemas::Records;
use state::{PartitionProgress, SourceProgress};

use super::messages::EpochHead;
use super::{DriverConfig, DriverHandle};
use crate::exit::mistake;
use crate::metrics::Metrics;

use again::SecondReaders;
pub use backfill::Backfill;

/// Most bytes of one poll of one source.
const POLL_BYTES: usize = 8 << 20;
/// Most records of one poll of one source.
const POLL_RECORDS: usize = 16_384;

/// The last record read of a partition, as the state has it.
fn last_record(at: &PartitionProgress) -> Option<LastRecord> {
    if at.last_ms.is_none() && at.last_digest.is_none() {
        return None;
    }
    let offset = at.last_offset.unwrap_or(at.next_offset - 1);
    Some(LastRecord { offset, ms: at.last_ms, digest: at.last_digest })
}

/// The same, as an epoch's head holds it.
fn last_read(last: &LastRecord) -> LastRead {
    LastRead { offset: last.offset, ms: last.ms, digest: last.digest }
}

/// The last records read of all partitions, where the state has them.
fn last_records(partitions: &BTreeMap<i32, PartitionProgress>) -> BTreeMap<i32, LastRecord> {
    let mut last = BTreeMap::new();
    for (partition, at) in partitions {
        if let Some(record) = last_record(at) {
            last.insert(*partition, record);
        }
    }
    last
}

/// Warns of conditions on now() that let no row pass: their sources have ended before, or are among `ending`.
pub fn warn_of_ends(setup: &Setup, ending: &[(usize, i32)]) {
    let mut ended: BTreeSet<usize> = ending.iter().map(|(source, _)| *source).collect();
    for (source, watermark) in setup.watermarks.iter().enumerate() {
        if watermark.load(Ordering::Acquire) == i64::MAX {
            ended.insert(source);
        }
    }
    let emptied = setup.plan.emptied_by_end(&ended);
    if emptied.is_empty() {
        return;
    }
    tracing::warn!(
        "{}: no row passes the condition on now(). The sources have ended with --once, which puts now() beyond all \
         time, and rows that have an end leave. A run without --once, over a new state, keeps the last ones",
        emptied.join(", ")
    );
}

/// The error of a source that cannot be opened, with its name. A file that is not there is a mistake.
pub fn source_error(name: &str, error: Error) -> Error {
    if let Some(ConnectorError::Io { path, source }) = error.downcast_ref()
        && source.kind() == ErrorKind::NotFound
    {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        return mistake(format!(
            "source {name}: {} is not there\n  a relative path counts from the directory that `herald run` starts in",
            path.display()
        ));
    }
    error.context(format!("source {name}"))
}

/// State of a source.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SourceStatus {
    /// Name.
    pub name: String,
    /// Records by outcome, as committed.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Of these, the records of earlier runs.
    #[serde(skip)]
    pub before: BTreeMap<&'static str, u64>,
    /// Records in the source that are not read yet; of a backfill, offsets of its range.
    pub lag: i64,
    /// Offsets in the range of a backfill.
    #[serde(skip)]
    pub to_backfill: i64,
    /// Committed watermark.
    pub watermark: Option<String>,
    /// The partition with the lowest watermark, which holds the source's back.
    pub held_by: Option<i32>,
}

/// Open sources, in the plan's order.
pub struct Sources {
    readers: Vec<(String, Reader)>,
    known: Vec<BTreeSet<i32>>,
    /// Number of partitions of each source that `take_new_partitions` has seen.
    seen: Vec<usize>,
    /// For each source, the sources that must be read to their end before it.
    awaited: Vec<BTreeSet<usize>>,
    /// The input of a backfill: then no source is open.
    backfill: Option<Backfill>,
    /// Second readers of sources. These are the plan's last.
    seconds: SecondReaders,
    /// True once all that is left of a filling is the second reading.
    ends_filling: bool,
}

/// Configuration of a source's reader in the topology `name`; `partitions` are those that the state knows.
fn source_config(
    name: &str,
    source: &Source,
    partitions: &BTreeMap<i32, PartitionProgress>,
) -> Result<SourceConfig> {
    let mut connector = SourceConnector::from_options(&source.options)?;
    match &mut connector {
        SourceConnector::File(file) => {
            file.keyed = source.format == Format::Upsert;
            file.last = partitions.get(&0).and_then(last_record);
        }
        SourceConnector::Kafka(kafka) => {
            kafka.last = last_records(partitions);
        }
        _ => {}
    }
    // A replay of dead letters sends the headers again.
    let want_headers = source.dead_letter_topic.is_some()
        || source.includes.iter().any(|include| matches!(include, IncludeKind::Header(_)));
    Ok(SourceConfig { name: name.to_owned(), connector, want_headers, want_keys: true })
}

/// A source opened at the offsets of the state.
pub struct OpenSource {
    name: String,
    reader: Reader,
    /// The partitions that the state knows.
    known: BTreeSet<i32>,
    /// True if records of it were read before.
    begun: bool,
}

impl OpenSource {
    /// Opens a source; `held` is its progress in the state. This reads, and changes nothing.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is not the one that the state has read.
    pub fn open(config: &DriverConfig, source: &Source, held: Option<&SourceProgress>) -> Result<OpenSource> {
        let none = BTreeMap::new();
        let partitions = match held {
            Some(held) => &held.partitions,
            None => &none,
        };
        let mut wanted = source_config(&config.name, source, partitions)?;
        if let SourceConnector::Kafka(kafka) = &mut wanted.connector {
            kafka.skip_lost = config.skip_lost_records;
        }
        let start: BTreeMap<i32, i64> = partitions.iter().map(|(p, at)| (*p, at.next_offset)).collect();
        if held.is_some_and(|held| held.watermark_us == Some(i64::MAX)) {
            tracing::warn!(
                "source {} has ended in an earlier run with --once: rows that came after its end are late",
                source.name
            );
        }
        let mut reader = Reader::open(&wanted, &start)?;
        if config.once {
            reader.stop_at_end()?;
        }
        Ok(OpenSource {
            name: source.name.clone(),
            reader,
            known: partitions.keys().copied().collect(),
            begun: held.is_some_and(|held| held.read > 0),
        })
    }
}

impl Sources {
    /// All sources, in the plan's order.
    pub fn new(plan: &Plan, open: Vec<OpenSource>, seconds: SecondReaders) -> Sources {
        let (mut awaited, seen) = (plan.sources_read_first(), vec![0; open.len()]);
        let (mut readers, mut known) = (Vec::new(), Vec::new());
        for (source, awaited) in open.into_iter().zip(&mut awaited) {
            if source.begun {
                awaited.clear();
            }
            readers.push((source.name, source.reader));
            known.push(source.known);
        }
        Sources { readers, known, seen, awaited, backfill: None, seconds, ends_filling: false }
    }

    /// The input of a backfill; all sources stand still. None is one that was refused.
    pub fn of_backfill(plan: &Plan, backfill: Option<Backfill>) -> Sources {
        Sources { backfill, ..Sources::new(plan, Vec::new(), SecondReaders::default()) }
    }

    /// Lets the first readers wait for the second ones once little is left: the rest of a filling is done.
    pub fn end_filling(&mut self) {
        self.ends_filling = true;
    }

    /// Returns true if the second readers are where the first are, which wait.
    pub fn are_level(&self) -> bool {
        self.seconds.are_level(&|at| self.readers[at].1.positions())
    }

    /// The partitions of second readers whose end is to be told.
    pub fn second_ends(&mut self, setup: &Setup) -> Vec<(usize, i32)> {
        self.seconds.ended(setup, &|at| self.readers[at].1.positions())
    }

    /// Ends the second reading: the records of the first readers are for both.
    pub fn end_second_reading(&mut self) {
        self.seconds.end();
    }

    /// The sources that must not be read yet. Sources that only await each other are all read, or none ever
    /// would be.
    fn blocked_sources(&mut self) -> Vec<bool> {
        let positions = |at: usize| self.readers[at].1.positions();
        for awaited in &mut self.awaited {
            awaited.retain(|other| match self.readers.get(*other) {
                Some((_, reader)) => !reader.caught_up(),
                None => !self.seconds.caught_up(*other, &positions),
            });
        }
        let waiting: Vec<bool> = self.awaited.iter().map(|awaited| !awaited.is_empty()).collect();
        let stuck = self.awaited.iter().flatten().all(|other| waiting[*other]);
        if stuck { vec![false; waiting.len()] } else { waiting }
    }

    /// Reads the records that are available now, at most `limit`, with the index of their source.
    ///
    /// # Errors
    /// When a source fails for good, with its name.
    pub fn poll(&mut self, limit: usize) -> Result<Vec<(usize, Records)>> {
        if let Some(backfill) = &mut self.backfill {
            return backfill.poll(limit);
        }
        let mut out = Vec::new();
        let mut left = limit;
        let waiting = self.blocked_sources();
        self.seconds.learn(&|at| self.readers[at].1.begins());
        self.seconds.advance(&|at| self.readers[at].1.positions(), &waiting, self.ends_filling)?;
        for (at, (name, reader)) in self.readers.iter_mut().enumerate() {
            if left == 0 {
                break;
            }
            if waiting[at] || self.seconds.hold(at) {
                continue;
            }
            let batches = reader
                .poll(left.min(POLL_RECORDS), POLL_BYTES, Duration::ZERO)
                .with_context(|| format!("source {name}"))?;
            for records in batches {
                if !records.is_empty() {
                    left = left.saturating_sub(records.len());
                    out.push((at, records));
                }
            }
        }
        self.seconds.poll(&waiting, &mut out)?;
        Ok(out)
    }

    /// Partitions that appeared since the last call, each with its source and the watermark it starts at.
    pub fn take_new_partitions(&mut self, setup: &Setup) -> Vec<(usize, i32, Option<i64>)> {
        let mut joined = Vec::new();
        if let Some(backfill) = &mut self.backfill {
            joined.extend(backfill.take_new_partition(setup));
        }
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
        self.seconds.take_new_partitions(setup, &|at| self.readers[at].1.positions(), &mut joined);
        joined
    }

    /// The partitions whose watermark must be advanced to the maximum at the end: those of bounded sources,
    /// or with `all` of any source, whose watermark is not there yet.
    pub fn partitions_to_end(&self, setup: &Setup, all: bool) -> Vec<(usize, i32)> {
        let mut ended = Vec::new();
        for (at, (_, reader)) in self.readers.iter().enumerate() {
            let marked = setup.plan.sources[at].watermark.is_some();
            let moved = setup.watermarks[at].load(Ordering::Acquire) == i64::MAX;
            if marked && !moved && (all || reader.is_bounded()) {
                for partition in reader.partitions() {
                    ended.push((at, partition));
                }
            }
        }
        self.seconds.end_with(&mut ended);
        ended
    }

    /// Returns true once all records have been read that a bounded source has, or an unbounded one had at
    /// opening.
    pub fn all_read(&self) -> bool {
        let backfilled = self.backfill.as_ref().is_none_or(Backfill::is_done);
        backfilled && self.readers.iter().all(|(_, reader)| reader.bounded_done())
    }

    /// Returns true if a position has advanced without a record, past the end marker of a transaction. That
    /// needs an epoch of its own: otherwise the marker would look like an unread record after a restart. So do
    /// records that a backfill found to have been read before, and the end of a source that is read again.
    pub fn positions_moved(&self) -> bool {
        let counted = self.backfill.as_ref().is_some_and(Backfill::has_duplicates);
        counted
            || self.seconds.are_ending(&|at| self.readers[at].1.positions())
            || self.readers.iter().any(|(_, reader)| reader.moved())
    }

    /// Adds positions and partitions to an epoch's head.
    pub fn fill_head(&mut self, head: &mut EpochHead) {
        for ((_, reader), source) in self.readers.iter_mut().zip(&mut head.sources) {
            reader.take_moved();
            (source.first, source.next) = (reader.begins(), reader.positions());
            let last = reader.last().into_iter();
            source.last = last.map(|(p, last)| (p, last_read(&last))).collect();
            source.partitions = reader.partitions().into_iter().collect();
            source.ended = reader.is_bounded() && reader.bounded_done();
        }
        if let Some(backfill) = &mut self.backfill {
            backfill.fill_head(head);
        }
        self.seconds.fill_heads(&mut head.sources);
    }

    /// Exports the lag of every source. Returns the error that keeps a source from being read, if one does.
    pub fn report_lag(&self, metrics: &Metrics, handle: &DriverHandle) -> Option<String> {
        for (name, reader) in &self.readers {
            let lag = reader.lag();
            for (partition, n) in &lag {
                metrics.set_lag(name, *partition, *n);
            }
            let total = lag.values().sum();
            handle.update_status(|status| {
                if let Some(source) = status.source_mut(name) {
                    source.lag = total;
                }
            });
        }
        if let Some(backfill) = &self.backfill {
            return backfill.report(&mut handle.lock_status().sources);
        }
        let positions = |at: usize| self.readers[at].1.positions();
        let second = self.seconds.report(&positions, &mut handle.lock_status().sources);
        let mut readers = self.readers.iter();
        readers.find_map(|(name, reader)| Some(format!("source {name}: {}", reader.last_error()?))).or(second)
    }

    /// Commits the positions to Kafka's consumer group, for tools that show lag. Herald never reads them.
    pub fn commit_offsets(&mut self) {
        for (_, reader) in &mut self.readers {
            let positions = reader.positions();
            reader.commit_offsets(&positions);
        }
    }
}
