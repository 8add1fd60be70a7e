//! The second reading of append-only sources, for the additions of an edit over them (`dataflows::plan::sources`).
//!
//! A second reader begins where the first began, and reads ranges up to where the first is, one after the other, until
//! little is left. Then the first waits, so that both come to stand at the same offsets: the next epoch ends the
//! filling. From there on the parts get the records of the first reader, until the next start gives them the source itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::{ConnectorError, RangeReader, ReadRange, SourceConfig, SourceConnector};
use dataflows::plan::Plan;
use dataflows::plan::explain::place_text;
use dataflows::runtime::worker::Setup;
use dataflows::source::progress::SourceHead;
use fail::fail_point;
use schemas::Records;
use state::{PartitionProgress, Progress};

use super::{POLL_BYTES, POLL_RECORDS, source_config, source_error};
use crate::driver::SourceStatus;
use crate::exit::mistake;

/// Polls of a second reader that its lag may take for the first to wait for it: more than one of the first may add.
const CLOSE_POLLS: i64 = 4;
/// Records that a poll is taken to have at least.
const LEAST_POLL: i64 = 100;
/// Time between two attempts to go on where a broker did not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Time that the broker has for the opening of a further range: all sources stand still meanwhile.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// The second readers of a run.
#[derive(Default)]
pub struct SecondReaders {
    readers: Vec<SecondReader>,
    /// Second sources, each with the first, once the parts get the records of the first readers.
    copied: Vec<(usize, usize)>,
}

/// The second reader of one source.
struct SecondReader {
    /// Its index in the plan.
    at: usize,
    /// The index of the source that it reads again.
    of: usize,
    name: String,
    config: SourceConfig,
    reader: RangeReader,
    /// Partitions of the first reading at the start.
    first: BTreeMap<i32, PartitionProgress>,
    /// Next offsets of the ranges before.
    reached: BTreeMap<i32, i64>,
    /// Partitions that this run has announced to workers.
    known: BTreeSet<i32>,
    /// Offsets that it was to read and that the source does not hold any more.
    gone: i64,
    /// Records of its largest poll.
    polled: i64,
    /// True while the first reader waits for the second, which is close.
    holds: bool,
    /// True while the first reader waits for the second to end, as the source has ended: what came behind its end is
    /// late, and both must say so.
    ends: bool,
    failed: Option<(Instant, String)>,
}

impl SecondReaders {
    /// Opens the second readers that a plan has in the topology `name`. This reads, and changes nothing.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn open(name: &str, plan: &Plan, progress: &Progress) -> Result<SecondReaders> {
        let mut all = SecondReaders::default();
        for at in 0..plan.sources.len() {
            let Some(of) = plan.first_reader(at) else { continue };
            let opened = SecondReader::open(name, plan, (at, of), progress);
            all.readers.push(opened.map_err(|error| source_error(&plan.sources[of].name, error))?);
        }
        Ok(all)
    }

    /// The records that sources do not hold any more: by the index of the second source, in words.
    pub fn gone(&self, plan: &Plan) -> BTreeMap<usize, String> {
        let mut texts = BTreeMap::new();
        for second in self.readers.iter().filter(|second| second.gone > 0) {
            let (gone, source) = (second.gone, &plan.sources[second.of]);
            let records = if gone == 1 { "record is" } else { "records are" };
            texts.insert(second.at, format!("{gone} {records} gone from {}", place_text(&source.options)));
        }
        texts
    }

    /// Returns true if the first reader of a source waits for the second.
    pub fn hold(&self, source: usize) -> bool {
        self.readers.iter().any(|second| second.of == source && (second.holds || second.ends))
    }

    /// Notes where the first readers have begun with partitions.
    pub fn learn(&mut self, begins: &dyn Fn(usize) -> BTreeMap<i32, i64>) {
        for second in &mut self.readers {
            for (partition, begin) in begins(second.of) {
                second.reached.entry(partition).or_insert(begin);
            }
        }
    }

    /// Goes on where ranges are read: to where the first readers are. With `may_end` the first readers wait once little
    /// is left, and no second reader is among the sources that are `waiting` for others.
    ///
    /// # Errors
    /// When a source is not the same any more, or has lost records.
    pub fn advance(
        &mut self,
        positions: &dyn Fn(usize) -> BTreeMap<i32, i64>,
        waiting: &[bool],
        may_end: bool,
    ) -> Result<()> {
        let close = self.readers.iter().all(|second| second.left(&positions(second.of)) <= second.close());
        let waits = self.readers.iter().any(|second| waiting[second.at]);
        for second in &mut self.readers {
            second.holds |= may_end && close && !waits;
            let to = positions(second.of);
            let left = second.left(&to);
            let goes_on = left > second.close() || left > 0 && (waits || second.holds || second.ends);
            if second.reader.is_done() && goes_on {
                second.go_on(&to)?;
            }
        }
        Ok(())
    }

    /// Returns true if the second reader of a source is about where the first is.
    pub fn caught_up(&self, source: usize, positions: &dyn Fn(usize) -> BTreeMap<i32, i64>) -> bool {
        let mut readers = self.readers.iter().filter(|second| second.at == source);
        readers.all(|second| second.left(&positions(second.of)) <= second.close())
    }

    /// Reads records, beside those that the first readers have read, but for sources that are waiting.
    ///
    /// # Errors
    /// When a source fails for good, with its name.
    pub fn poll(&mut self, waiting: &[bool], read: &mut Vec<(usize, Records)>) -> Result<()> {
        for (at, of) in &self.copied {
            let own = read.iter().filter(|(source, _)| source == of);
            let copies: Vec<_> = own.map(|(_, records)| (*at, records.clone())).collect();
            read.extend(copies);
        }
        for second in self.readers.iter_mut().filter(|second| !waiting[second.at]) {
            // Twice, or it would never come close to a first reader that has as much to read.
            for _ in 0..2 {
                second.poll(read).with_context(|| format!("source {}", second.name))?;
            }
        }
        Ok(())
    }

    /// Adds the partitions that workers do not know yet, each with the watermark that it began with in the first
    /// reading: of one that appears meanwhile the commit tells it, and its records wait for that. Once both are one, those
    /// that have `joined` the first are for both.
    pub fn take_new_partitions(
        &mut self,
        setup: &Setup,
        positions: &dyn Fn(usize) -> BTreeMap<i32, i64>,
        joined: &mut Vec<(usize, i32, Option<i64>)>,
    ) {
        for (at, of) in &self.copied {
            let own = joined.iter().filter(|(source, ..)| source == of);
            let copies: Vec<_> = own.map(|(_, partition, floor)| (*at, *partition, *floor)).collect();
            joined.extend(copies);
        }
        for second in &mut self.readers {
            let mut unknown = positions(second.of);
            unknown.retain(|partition, _| !second.known.contains(partition));
            if unknown.is_empty() {
                continue;
            }
            let committed = setup.store.meta().progress;
            let held = committed.sources.get(&setup.plan.sources[second.of].name);
            for partition in unknown.into_keys() {
                let begun = second.first.get(&partition);
                let held = held.and_then(|held| held.partitions.get(&partition));
                let Some(began) = begun.or(held) else { continue };
                second.known.insert(partition);
                joined.push((second.at, partition, began.floor_us.filter(|floor| *floor != i64::MAX)));
            }
        }
    }

    /// The partitions of second readers that have read all of a source that has ended, where that is not committed yet.
    /// The epoch that tells it must have none of their records: those would be late.
    pub fn ended(
        &mut self,
        setup: &Setup,
        positions: &dyn Fn(usize) -> BTreeMap<i32, i64>,
    ) -> Vec<(usize, i32)> {
        let mut ended = Vec::new();
        for second in &mut self.readers {
            second.ends &= setup.watermarks[second.at].load(Ordering::Acquire) != i64::MAX;
            if second.ends && second.left(&positions(second.of)) == 0 {
                ended.extend(second.known.iter().map(|partition| (second.at, *partition)));
            }
        }
        ended
    }

    /// Returns true if an end is to be told, for which there may be no record.
    pub fn are_ending(&self, positions: &dyn Fn(usize) -> BTreeMap<i32, i64>) -> bool {
        self.readers.iter().any(|second| second.ends && second.left(&positions(second.of)) == 0)
    }

    /// Returns true if all second readers are where the first are, which wait.
    pub fn are_level(&self, positions: &dyn Fn(usize) -> BTreeMap<i32, i64>) -> bool {
        let mut readers = self.readers.iter();
        readers.all(|second| second.holds && !second.ends && second.left(&positions(second.of)) == 0)
    }

    /// Lets the first readers go on, for both.
    pub fn end(&mut self) {
        self.copied = self.readers.drain(..).map(|second| (second.at, second.of)).collect();
    }

    /// The partitions of second sources that end with those of the first.
    pub fn end_with(&self, ended: &mut Vec<(usize, i32)>) {
        for (at, of) in &self.copied {
            let own = ended.iter().filter(|(source, _)| source == of);
            let copies: Vec<_> = own.map(|(_, partition)| (*at, *partition)).collect();
            ended.extend(copies);
        }
    }

    /// Adds positions and partitions to the heads of an epoch, behind those of the first readers.
    pub fn fill_heads(&self, heads: &mut [SourceHead]) {
        for (at, of) in &self.copied {
            heads[*at] = SourceHead { read: 0, ..heads[*of].clone() };
        }
        for second in &self.readers {
            let (first, read) = (heads[second.of].clone(), heads[second.at].read);
            let next = second.positions(first.next.keys().copied());
            heads[second.at] = SourceHead { read, next, last: BTreeMap::new(), ..first };
        }
    }

    /// Shows how far they are. Returns the error that keeps one from being read, if one does.
    pub fn report(
        &self,
        positions: &dyn Fn(usize) -> BTreeMap<i32, i64>,
        sources: &mut [SourceStatus],
    ) -> Option<String> {
        for second in &self.readers {
            if let Some(source) = sources.get_mut(second.at) {
                source.lag = second.left(&positions(second.of));
            }
        }
        self.readers.iter().find_map(|second| {
            let failed = second.failed.as_ref().map(|(_, error)| error.clone());
            Some(format!("source {}: {}", second.name, failed.or_else(|| second.reader.last_error())?))
        })
    }
}

impl SecondReader {
    /// Opens the second reader of a source in the topology `name`.
    fn open(name: &str, plan: &Plan, (at, of): (usize, usize), progress: &Progress) -> Result<SecondReader> {
        let source = &plan.sources[at];
        let [first, own] =
            [of, at].map(|at| progress.sources.get(&plan.sources[at].name).cloned().unwrap_or_default());
        let ends = first.watermark_us == Some(i64::MAX) && own.watermark_us != Some(i64::MAX);
        let (first, own) = (first.partitions, own.partitions);
        let mut wanted = source_config(name, source, &first)?;
        let (mut begin, mut next) = (BTreeMap::new(), BTreeMap::new());
        for (partition, held) in &first {
            let reached = own.get(partition).map(|own| own.next_offset);
            begin.insert(*partition, reached.unwrap_or_else(|| first_offset(held)));
            next.insert(*partition, held.next_offset);
        }
        let range = ReadRange { begin: begin.clone(), ..ReadRange::default() };
        let reader = RangeReader::open(&wanted, range, &next)?;
        let mut gone = 0;
        for (partition, range) in reader.ranges() {
            let wanted = begin.get(partition).copied().unwrap_or(range.start);
            gone += (range.start - wanted).max(0);
        }
        // It is compared at the first opening.
        if let SourceConnector::Kafka(kafka) = &mut wanted.connector {
            kafka.last.clear();
            kafka.open_timeout = REOPEN_TIMEOUT;
        }
        Ok(SecondReader {
            at,
            of,
            name: source.name.clone(),
            config: wanted,
            reader,
            known: BTreeSet::new(),
            first,
            reached: begin,
            gone,
            polled: LEAST_POLL,
            holds: false,
            ends,
            failed: None,
        })
    }

    /// The next offset of each partition.
    fn positions(&self, partitions: impl Iterator<Item = i32>) -> BTreeMap<i32, i64> {
        let read = self.reader.read_ranges();
        let mut next = BTreeMap::new();
        for partition in partitions {
            let reached = self.reached.get(&partition).copied().unwrap_or(0);
            next.insert(partition, read.get(&partition).map_or(reached, |range| range.end.max(reached)));
        }
        next
    }

    /// Offsets that are left up to where the first reader is.
    fn left(&self, to: &BTreeMap<i32, i64>) -> i64 {
        let own = self.positions(to.keys().copied());
        to.iter().map(|(partition, to)| (to - own.get(partition).copied().unwrap_or(0)).max(0)).sum()
    }

    /// Most records that may be left for the first reader to wait. Polls are bounded in bytes, too.
    fn close(&self) -> i64 {
        self.polled * CLOSE_POLLS
    }

    /// Opens the range up to where the first reader is.
    ///
    /// # Errors
    /// When the source is not the same any more; a broker that does not answer is asked again later.
    fn go_on(&mut self, to: &BTreeMap<i32, i64>) -> Result<()> {
        if self.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < RETRY_INTERVAL) {
            return Ok(());
        }
        let mut to = to.clone();
        to.retain(|partition, _| self.first.contains_key(partition) || self.known.contains(partition));
        let begin = self.positions(to.keys().copied());
        let range = ReadRange { begin: begin.clone(), ..ReadRange::default() };
        match RangeReader::open(&self.config, range, &to) {
            Ok(reader)
                if reader.ranges().iter().any(|(partition, range)| {
                    begin.get(partition).is_some_and(|begin| *begin < range.start)
                }) =>
            {
                Err(mistake(format!(
                    "source {}: records were deleted before they were read again\n  start again with --skip-lost-records, \
                     and the additions of the edit begin behind them",
                    self.name
                )))
            }
            Ok(reader) => {
                self.reached.extend(begin);
                (self.reader, self.failed) = (reader, None);
                Ok(())
            }
            Err(error @ ConnectorError::Unreachable { .. }) => {
                self.failed = Some((Instant::now(), error.to_string()));
                Ok(())
            }
            Err(error) => Err(source_error(&self.name, error.into())),
        }
    }

    /// Reads records of the range.
    fn poll(&mut self, read: &mut Vec<(usize, Records)>) -> Result<()> {
        let polled = self.reader.poll(piece_records(), POLL_BYTES, Duration::ZERO)?;
        self.polled = self.polled.max(polled.iter().map(|records| records.len() as i64).sum());
        for records in polled {
            let Some(range) = self.reader.ranges().get(&records.partition) else { continue };
            let held = self.first.get(&records.partition);
            // A gap before the first reading is none of its records.
            let is_read = |offset: i64| {
                held.is_none_or(|held| {
                    held.first_offset.is_none_or(|first| offset >= first)
                        || held.has_read(&(offset..offset + 1))
                })
            };
            let records = records.select(|offset| range.contains(&offset) && is_read(offset));
            if !records.is_empty() {
                read.push((self.at, records));
            }
        }
        Ok(())
    }
}

/// The offset of the first record of a partition that was read.
fn first_offset(held: &PartitionProgress) -> i64 {
    let begun = held.backfilled.first().map(|(from, _)| *from);
    let first = held.first_offset.unwrap_or(0);
    begun.map_or(first, |begun| begun.min(first))
}

/// Most records of one poll; tests make it small.
fn piece_records() -> usize {
    fail_point!("edition.again", |told| told.and_then(|told| told.parse().ok()).unwrap_or(POLL_RECORDS));
    POLL_RECORDS
}
