//! The input of a backfill: a range of one source, or files, while all sources stand still.
//!
//! A range is told from what was read by offsets alone. A record whose offset was read has its outcome, so it is
//! counted as a duplicate and goes no further: not to its table, whose row may have been deleted or forgotten since,
//! and not to the dead letters again. A record whose offset was not read goes where any record goes, and its offset is
//! committed as read with what it changed. So a backfill that is killed is given again, and an append-only source is
//! read again as safely as a keyed one. The offsets that the source reads on from do not move.
//!
//! BackfillLines of files have no offsets of the source. They are for tables whose rows tell by key and version what is newer.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use connectors::file::{FileReader, FileSource};
use connectors::{RangeReader, ReadRange, SourceConnector};
use dataflows::plan::formats::{Encoding, Format};
use dataflows::plan::{Conflict, Source};
use dataflows::runtime::worker::Setup;
use dataflows::source::progress::SourceHead;
use schemas::Records;
use state::{PartitionProgress, Progress};

use super::{POLL_BYTES, POLL_RECORDS, source_config, source_error};
use crate::driver::messages::EpochHead;
use crate::driver::{DriverConfig, SourceStatus};
use crate::exit::{mistake, unknown_name};

/// Partition of the lines of files, below those of all topics: of equal versions a topic's record wins.
const FILES_PARTITION: i32 = -1;

/// The input that a backfill is to read.
#[derive(Clone, Debug)]
pub enum BackfillInput {
    /// A range of the source itself.
    Range(ReadRange),
    /// BackfillLines of other files.
    Files(Vec<PathBuf>),
}

/// Order of a backfill.
#[derive(Clone, Debug)]
pub struct BackfillOrder {
    /// The source's name.
    pub source: String,
    /// The input.
    pub input: BackfillInput,
}

/// The open input.
enum RangeInput {
    Range(Box<RangeReader>),
    Files(BackfillLines),
}

/// An open backfill.
pub struct Backfill {
    /// Index of the source in the plan.
    at: usize,
    name: String,
    input: RangeInput,
    /// Partitions of the source as committed.
    partitions: BTreeMap<i32, PartitionProgress>,
    /// The heads of all sources while they stand still.
    standing: Vec<SourceHead>,
    /// Records read before, since the last head.
    duplicates: u64,
    announced: bool,
}

impl Backfill {
    /// Opens the input of an order; `progress` is that of the state. This reads, and changes nothing.
    ///
    /// # Errors
    /// When the input cannot be read, or its records could change what later ones have made.
    pub fn open(config: &DriverConfig, order: &BackfillOrder, progress: &Progress) -> Result<Backfill> {
        let sources = &config.plan.sources;
        let Some(at) = sources.iter().position(|source| source.name == order.source) else {
            let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            return Err(unknown_name(&format!("there is no source {}", order.source), &order.source, &known));
        };
        let (source, held) = (&sources[at], progress.sources.get(&order.source));
        let Some(held) = held.filter(|held| !held.partitions.is_empty()) else {
            return Err(mistake(format!(
                "nothing of source {} was read yet in {}\n  start the topology with `herald run` first: it reads from \
                 where the source's options say; a backfill then gets what lies before",
                order.source,
                config.state_dir.display()
            )));
        };
        let mut partitions = held.partitions.clone();
        let input = match &order.input {
            BackfillInput::Range(range) => {
                RangeInput::Range(Box::new(open_range(config, source, &mut partitions, range.clone())?))
            }
            BackfillInput::Files(files) => RangeInput::Files(BackfillLines::open(source, files)?),
        };
        let mut standing = Vec::with_capacity(sources.len());
        for source in sources {
            let mut head = SourceHead::default();
            if let Some(held) = progress.sources.get(&source.name) {
                (head.partitions, head.ended) = (held.partitions.keys().copied().collect(), held.ended);
            }
            standing.push(head);
        }
        let name = order.source.clone();
        Ok(Backfill { at, name, input, partitions, standing, duplicates: 0, announced: false })
    }

    /// Reads records, at most `limit`; those that were read before are counted and left out.
    ///
    /// # Errors
    /// When the input fails for good.
    pub fn poll(&mut self, limit: usize) -> Result<Vec<(usize, Records)>> {
        let (limit, mut out) = (limit.min(POLL_RECORDS), Vec::new());
        match &mut self.input {
            RangeInput::Range(reader) => {
                let polled = reader.poll(limit, POLL_BYTES, Duration::ZERO);
                for records in polled.with_context(|| format!("source {}", self.name))? {
                    let Some(range) = reader.ranges().get(&records.partition) else { continue };
                    let Some(at) = self.partitions.get(&records.partition) else { continue };
                    let (unread, duplicates) = split_records(records, range, at);
                    self.duplicates += duplicates;
                    if !unread.is_empty() {
                        out.push((self.at, unread));
                    }
                }
            }
            RangeInput::Files(lines) => {
                for records in lines.poll(limit)? {
                    out.push((self.at, records));
                }
            }
        }
        Ok(out)
    }

    /// The partition of files, once, with the source's watermark: a table with a retention forgets by it.
    pub fn take_new_partition(&mut self, setup: &Setup) -> Option<(usize, i32, Option<i64>)> {
        if self.announced || matches!(self.input, RangeInput::Range(_)) {
            return None;
        }
        self.announced = true;
        Some((self.at, FILES_PARTITION, setup.progress.sources.get(&self.name)?.watermark_us))
    }

    /// Returns true once all is read.
    pub fn is_done(&self) -> bool {
        match &self.input {
            RangeInput::Range(reader) => reader.is_done(),
            RangeInput::Files(lines) => lines.left.is_empty(),
        }
    }

    /// Returns true if records were read that no worker will report.
    pub fn has_duplicates(&self) -> bool {
        self.duplicates > 0
    }

    /// Adds what was read to an epoch's head. All sources keep their offsets.
    pub fn fill_head(&mut self, head: &mut EpochHead) {
        for (source, standing) in head.sources.iter_mut().zip(&self.standing) {
            *source = SourceHead { read: source.read, ..standing.clone() };
        }
        let source = &mut head.sources[self.at];
        source.duplicates = std::mem::take(&mut self.duplicates);
        source.read += source.duplicates;
        if let RangeInput::Range(reader) = &self.input {
            source.backfilled = reader.read_ranges();
        }
    }

    /// Shows how far it has come. Returns the error that keeps the source from being read, if one does.
    pub fn report(&self, sources: &mut [SourceStatus]) -> Option<String> {
        let RangeInput::Range(reader) = &self.input else { return None };
        if let Some(source) = sources.get_mut(self.at) {
            (source.lag, source.to_backfill) = (reader.left(), reader.total());
        }
        Some(format!("source {}: {}", self.name, reader.last_error()?))
    }
}

/// Opens a range of a source, and refuses one whose records could undo what later ones have done.
fn open_range(
    config: &DriverConfig,
    source: &Source,
    partitions: &mut BTreeMap<i32, PartitionProgress>,
    range: ReadRange,
) -> Result<RangeReader> {
    let mut wanted = source_config(&config.name, source, partitions)?;
    if let SourceConnector::Kafka(kafka) = &mut wanted.connector {
        kafka.skip_lost = config.skip_lost_records;
    }
    if !matches!(wanted.connector, SourceConnector::Kafka(_)) {
        // Files and generators are read from their beginning, by every release.
        for at in partitions.values_mut() {
            at.first_offset.get_or_insert(0);
        }
    }
    if partitions.values().any(|at| at.first_offset.is_none()) {
        return Err(mistake(format!(
            "source {} was begun by an earlier release, which did not note where: which offsets it has read is not \
             known\n  to read all of them, start over with `herald run FILE --fresh` and scan.startup.mode = 'earliest'",
            source.name
        )));
    }
    let next: BTreeMap<i32, i64> = partitions.iter().map(|(p, at)| (*p, at.next_offset)).collect();
    let reader = RangeReader::open(&wanted, range, &next);
    let reader = reader.map_err(|error| source_error(&source.name, error.into()))?;
    for (partition, range) in reader.ranges() {
        let Some(at) = partitions.get(partition) else { continue };
        if at.has_read(range) {
            continue;
        }
        if source.format != Format::Plain {
            return Err(mistake(format!(
                "source {}: partition {partition} has records in the range that were never read, and its later records \
                 may delete their keys: a delete of a key that was not held leaves no trace, so the rows would come \
                 back\n  read the table from its beginning: `herald run FILE --fresh` with scan.startup.mode = 'earliest'",
                source.name
            )));
        }
        if at.backfilled.len() >= PartitionProgress::MOST_BACKFILLED {
            return Err(mistake(format!(
                "source {}: partition {partition} has been read in {} ranges with gaps between them, which is the most \
                 that is kept\n  backfill the gaps first: leave out --from and --to",
                source.name,
                at.backfilled.len()
            )));
        }
    }
    Ok(reader)
}

/// The records of `range` that were not read before, and the number of those that were.
fn split_records(records: Records, range: &Range<i64>, at: &PartitionProgress) -> (Records, u64) {
    let span = match (records.offsets.first(), records.offsets.last()) {
        (Some(first), Some(last)) => *first..last + 1,
        _ => return (records, 0),
    };
    let inside = records.offsets.iter().filter(|offset| range.contains(offset)).count();
    let unread = if inside == records.len() && !at.has_any_of(&span) {
        records
    } else {
        records.select(|offset| range.contains(&offset) && !at.has_read(&(offset..offset + 1)))
    };
    let duplicates = (inside - unread.len()) as u64;
    (unread, duplicates)
}

/// BackfillLines of files, one file after the other.
struct BackfillLines {
    left: VecDeque<FileReader>,
    /// Number of lines in the files before.
    before: i64,
}

impl BackfillLines {
    /// Opens the files.
    ///
    /// # Errors
    /// When one cannot be opened, or the source is not one whose rows tell by key and version what is newer.
    fn open(source: &Source, files: &[PathBuf]) -> Result<BackfillLines> {
        if let Some(why) = reason_against_files(source) {
            return Err(mistake(format!("source {}: {why}", source.name)));
        }
        let mut left = VecDeque::with_capacity(files.len());
        for path in files {
            let file = FileSource { path: path.clone(), follow: false, keyed: false, last: None };
            let reader = FileReader::open(&file, 0);
            left.push_back(reader.map_err(|error| source_error(&source.name, error.into()))?);
        }
        Ok(BackfillLines { left, before: 0 })
    }

    /// The next lines.
    fn poll(&mut self, limit: usize) -> Result<Vec<Records>> {
        let Some(reader) = self.left.front_mut() else { return Ok(Vec::new()) };
        let mut lines = reader.poll(limit, POLL_BYTES, Duration::ZERO)?;
        for records in &mut lines {
            records.partition = FILES_PARTITION;
            for offset in &mut records.offsets {
                *offset += self.before;
            }
        }
        if reader.done() {
            self.before += reader.position();
            self.left.pop_front();
        }
        Ok(lines)
    }
}

/// The reason why lines of files cannot be read into a source, with what to do instead; None if they can.
fn reason_against_files(source: &Source) -> Option<&'static str> {
    let Some(keyed) = &source.keyed else {
        return Some(
            "it is append-only, and a line of a file has no offset by which a second reading would be known: rows would \
             count twice\n  give a range of the source itself (--from, --to), or make it a TABLE with a PRIMARY KEY and ON \
             CONFLICT DO NOTHING",
        );
    };
    if source.format != Format::Plain {
        return Some(
            "its records may delete, and a line of a file has no place among them: a row that was deleted since would \
             come back\n  send the lines to its topic, or read the table from its beginning with `herald run FILE --fresh`",
        );
    }
    if keyed.conflict == (Conflict::Overwrite { version: None }) {
        return Some(
            "it has no version column, so the last record of a key wins: an older line would take the place of a newer \
             row\n  declare ON CONFLICT OVERWRITE WITH VERSION COLUMN (...), or DO NOTHING",
        );
    }
    if source.encoding != Encoding::Json && !source.encoding.is_whole() {
        return Some(
            "its records are Avro, and lines of files are not\n  give a range of the source itself (--from, --to)",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Network, Variables};
    use dataflows::sql::SqlFile;

    #[test]
    fn a_record_is_new_or_read_before_by_its_offset_alone() {
        let at = PartitionProgress {
            next_offset: 20,
            first_offset: Some(12),
            backfilled: vec![(3, 5)],
            ..PartitionProgress::default()
        };
        let split = |offsets: &[i64], range: Range<i64>| {
            let mut records = Records::new(0);
            for offset in offsets {
                records.push(*offset, Some(*offset), Some(b"k"), Some(offset.to_string().as_bytes()));
                records.headers.push(records.len() - 1, "h", Some(offset.to_string().as_bytes()));
            }
            let (unread, duplicates) = split_records(records, &range, &at);
            for (place, offset) in unread.offsets.iter().enumerate() {
                let text = offset.to_string();
                assert_eq!(unread.values.get(place), Some(text.as_bytes()));
                let headers: Vec<_> = unread.headers.of_record(place).collect();
                assert_eq!(headers, [(&b"h"[..], Some(text.as_bytes()))]);
            }
            (unread.offsets.clone(), duplicates)
        };
        assert_eq!(split(&[0, 1, 2], 0..20), (vec![0, 1, 2], 0));
        assert_eq!(split(&[1, 2, 3, 4, 5, 9], 2..9), (vec![2, 5], 2));
        assert_eq!(split(&[10, 11, 12, 13, 20], 0..20), (vec![10, 11], 2));
        assert_eq!(split(&[3, 4], 0..20), (vec![], 2));
        assert_eq!(split(&[], 0..20), (vec![], 0));
    }

    #[test]
    fn files_are_for_tables_that_know_what_is_newer() {
        let plan = |table: &str| {
            let text = format!("{table}; CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t;");
            let file = SqlFile { name: "test.sql".to_owned(), text };
            topology::plan_topology(&[file], &Variables::only(&[]), Network::Refused).unwrap()
        };
        let table = |conflict: &str, format: &str| {
            plan(&format!(
                "CREATE TABLE t (id INT NOT NULL, v INT, PRIMARY KEY (id)) {conflict} \
                 WITH (connector = 'file', path = 'x') FORMAT {format} ENCODE JSON"
            ))
        };
        let source =
            plan("CREATE SOURCE t (id INT) WITH (connector = 'file', path = 'x') FORMAT PLAIN ENCODE JSON");
        let why = |plan: &dataflows::plan::Plan| reason_against_files(&plan.sources[0]).unwrap_or("none");
        assert_eq!(why(&table("ON CONFLICT OVERWRITE WITH VERSION COLUMN (v)", "PLAIN")), "none");
        assert_eq!(why(&table("ON CONFLICT DO NOTHING", "PLAIN")), "none");
        assert!(why(&table("ON CONFLICT OVERWRITE", "PLAIN")).contains("no version column"));
        assert!(why(&table("", "UPSERT")).contains("may delete"));
        assert!(why(&source).contains("append-only"));
    }
}
