//! Reading a range of a source again, for a backfill: from a place to a place, and no further than the state has
//! read each partition. What lies beyond is left to the source's own reader.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use schemas::Records;

use crate::kafka::KafkaReader;
use crate::{ConnectorError, Reader, SourceConfig, SourceConnector};

/// A place in each partition of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The record at this offset; of files, the line with this number, counted from 0 across all of them.
    Offset(i64),
    /// The first record whose timestamp, in milliseconds since 1970, is not before this one.
    Time(i64),
}

/// A range of each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRange {
    /// Its first record; None for the first that the source holds.
    pub from: Option<Place>,
    /// The record behind its last; None for the first that the state has not read.
    pub to: Option<Place>,
    /// Offsets before which nothing is read, by partition.
    pub begin: BTreeMap<i32, i64>,
}

/// Reader of a range.
pub struct RangeReader {
    reader: Reader,
    ranges: BTreeMap<i32, Range<i64>>,
}

impl RangeReader {
    /// Opens a source; `next` holds the next offset of each partition that the state knows. Others are not read.
    ///
    /// # Errors
    /// When the source cannot be read, holds less than the state has read or other records, or has no timestamps and the
    /// range has.
    pub fn open(
        config: &SourceConfig,
        range: ReadRange,
        next: &BTreeMap<i32, i64>,
    ) -> Result<RangeReader, ConnectorError> {
        if let SourceConnector::Kafka(source) = &config.connector {
            let mut source = source.clone();
            source.range = Some(range);
            let group = format!("herald-{}", config.name);
            let reader = KafkaReader::open(&source, &group, next, (config.want_headers, config.want_keys))?;
            return Ok(RangeReader { ranges: reader.ranges(), reader: Reader::Kafka(reader) });
        }
        let end = next.get(&0).copied().unwrap_or(0);
        let to = offset_of(range.to)?.map_or(end, |to| to.min(end)).max(0);
        let begin = range.begin.get(&0).copied().unwrap_or(0);
        let from = offset_of(range.from)?.unwrap_or(0).max(begin).clamp(0, to);
        let mut config = config.clone();
        let is_file = if let SourceConnector::File(file) = &mut config.connector {
            // The last record that the state has read may lie behind the range.
            file.last = None;
            true
        } else {
            false
        };
        let mut reader = Reader::open(&config, &BTreeMap::from([(0, from)]))?;
        if is_file {
            reader.stop_at_end()?;
        }
        Ok(RangeReader { reader, ranges: BTreeMap::from([(0, from..to)]) })
    }

    /// The ranges, by partition.
    pub fn ranges(&self) -> &BTreeMap<i32, Range<i64>> {
        &self.ranges
    }

    /// The next records, at most one `Records` a partition. The last of a partition may go beyond its range.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        if self.is_done() { Ok(Vec::new()) } else { self.reader.poll(max_records, max_bytes, timeout) }
    }

    /// The part of each range that is read.
    pub fn read_ranges(&self) -> BTreeMap<i32, Range<i64>> {
        let (mut read, positions) = (BTreeMap::new(), self.reader.positions());
        let ended = !matches!(self.reader, Reader::Kafka(_)) && self.reader.bounded_done();
        for (partition, range) in &self.ranges {
            let position = positions.get(partition).copied().unwrap_or(range.start);
            let to = if ended { range.end } else { position.clamp(range.start, range.end) };
            read.insert(*partition, range.start..to);
        }
        read
    }

    /// Offsets of the ranges that are not read yet.
    pub fn left(&self) -> i64 {
        self.total() - offsets_in(&self.read_ranges())
    }

    /// Offsets of the ranges: as many records or, where a topic has been compacted, fewer.
    pub fn total(&self) -> i64 {
        offsets_in(&self.ranges)
    }

    /// Returns true when all is read.
    pub fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// Error that keeps the source from being read at present; None while all is well.
    pub fn last_error(&self) -> Option<String> {
        self.reader.last_error()
    }
}

/// Number of offsets in ranges.
fn offsets_in(ranges: &BTreeMap<i32, Range<i64>>) -> i64 {
    ranges.values().map(|range| range.end - range.start).sum()
}

/// The offset of a place in a source whose records have no timestamps.
fn offset_of(place: Option<Place>) -> Result<Option<i64>, ConnectorError> {
    match place {
        None => Ok(None),
        Some(Place::Offset(offset)) => Ok(Some(offset)),
        Some(Place::Time(_)) => Err(ConnectorError::NoTimestamps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileSource;

    /// The offsets that a range of a file of ten lines gives, of which the state has read `next`.
    fn read(range: ReadRange, next: i64) -> Result<Vec<i64>, ConnectorError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        std::fs::write(&path, "1\n2\n\n4\n5\n6\n7\n8\n9\n10\n").unwrap();
        let file = FileSource { path, follow: true, keyed: false, last: None };
        let config = SourceConfig {
            name: "t".to_owned(),
            connector: SourceConnector::File(file),
            want_headers: false,
            want_keys: true,
        };
        let mut reader = RangeReader::open(&config, range, &BTreeMap::from([(0, next)]))?;
        let (mut offsets, mut before) = (Vec::new(), reader.left());
        assert_eq!(before, reader.total());
        while !reader.is_done() {
            for records in reader.poll(2, usize::MAX, Duration::ZERO)? {
                offsets.extend(records.offsets.iter().filter(|at| reader.ranges()[&0].contains(*at)));
            }
            assert!(reader.left() < before, "each poll reads on");
            before = reader.left();
        }
        assert!(reader.poll(2, usize::MAX, Duration::ZERO)?.is_empty());
        Ok(offsets)
    }

    #[test]
    fn a_range_ends_where_the_state_has_read_to() {
        let at = |from: Option<i64>, to: Option<i64>| ReadRange {
            from: from.map(Place::Offset),
            to: to.map(Place::Offset),
            ..ReadRange::default()
        };
        assert_eq!(read(at(None, None), 5).unwrap(), [0, 1, 3, 4]);
        assert_eq!(read(at(Some(1), Some(4)), 8).unwrap(), [1, 3]);
        assert_eq!(read(at(Some(7), Some(100)), 8).unwrap(), [7]);
        assert!(read(at(Some(8), None), 8).unwrap().is_empty());
        assert!(read(at(Some(6), Some(2)), 8).unwrap().is_empty());
    }

    #[test]
    fn a_file_has_no_timestamps() {
        let range = ReadRange { from: Some(Place::Time(7)), ..ReadRange::default() };
        assert!(matches!(read(range, 5), Err(ConnectorError::NoTimestamps)));
    }
}
