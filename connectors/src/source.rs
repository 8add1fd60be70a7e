//! One interface to all sources: records come as [`Records`] by partition and offset.
//!
//! A [`SourceConnector`] is parsed from the options; a [`Reader`] is opened from it at the offsets of
//! the state and polled. Reading the same offsets again gives the same records, which is all that
//! recovery requires of a source.

pub mod range;

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::Records;

use crate::ConnectorError;
use crate::dead_letter::length_bytes;
use crate::file::{FileReader, FileSource};
use crate::generate::datagen::Datagen;
use crate::generate::nexmark::Nexmark;
use crate::generate::reader::GeneratedReader;
use crate::kafka::{KafkaReader, KafkaSource};
use crate::options::nearest_name;

/// A source to open.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Name, for messages and the consumer group.
    pub name: String,
    /// The connector and its options.
    pub connector: SourceConnector,
    /// True if headers are read. Asking for them costs a little even where a record has none.
    pub want_headers: bool,
    /// True if keys are kept. Dead letters carry the key, so only benches leave it out.
    pub want_keys: bool,
}

/// Origin of a source's records, from its options.
#[derive(Clone, Debug)]
pub enum SourceConnector {
    /// A topic.
    Kafka(KafkaSource),
    /// JSON lines in files.
    File(FileSource),
    /// Generated records.
    Datagen(Datagen),
    /// Generated events of an auction.
    Nexmark(Nexmark),
}

impl SourceConnector {
    /// Reads the options of the connector that the option `connector` names.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<SourceConnector, ConnectorError> {
        match options.get("connector").map(String::as_str) {
            Some("kafka") => KafkaSource::from_options(options).map(SourceConnector::Kafka),
            Some("file") => FileSource::from_options(options).map(SourceConnector::File),
            Some("datagen") => Datagen::from_options(options).map(SourceConnector::Datagen),
            Some("nexmark") => Nexmark::from_options(options).map(SourceConnector::Nexmark),
            other => Err(unknown_connector(other, &["kafka", "file", "datagen", "nexmark"], "source")),
        }
    }
}

/// Error for a missing or unknown connector; `what` is source or sink.
pub(crate) fn unknown_connector(name: Option<&str>, known: &[&str], what: &str) -> ConnectorError {
    let all = known.join(", ");
    let Some(name) = name else {
        return ConnectorError::config("connector", format!("is required; a {what} may be {all}"));
    };
    let near = nearest_name(name, known.iter().copied());
    let hint = near.map_or(format!("a {what} may be {all}"), |near| format!("did you mean '{near}'?"));
    ConnectorError::config("connector", format!("'{name}' is not known; {hint}"))
}

/// Identity of the last record that was read of a partition: a topic that holds another record at its offset
/// was deleted and created again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub ms: Option<i64>,
    /// A digest of its key and value; None when an earlier release read it.
    pub digest: Option<u64>,
}

impl LastRecord {
    /// The record at `offset`.
    pub fn new(offset: i64, ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> LastRecord {
        LastRecord { offset, ms, digest: Some(record_digest(key, value)) }
    }

    /// Returns true if a record with this timestamp, key and value may be it.
    pub fn may_be(&self, ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        self.ms.is_none_or(|at| ms == Some(at))
            && self.digest.is_none_or(|held| held == record_digest(key, value))
    }
}

/// Digest of key and value, with their lengths, so that NULL, empty and a shifted border all differ.
fn record_digest(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let lengths = [length_bytes(key), length_bytes(value)];
    schemas::digest(&[&lengths[0], key.unwrap_or_default(), &lengths[1], value.unwrap_or_default()]) as u64
}

/// An open source.
pub enum Reader {
    /// Of a topic.
    Kafka(KafkaReader),
    /// Of files.
    File(FileReader),
    /// Of generated records.
    Datagen(GeneratedReader<Datagen>),
    /// Of generated events of an auction.
    Nexmark(GeneratedReader<Nexmark>),
}

impl Reader {
    /// Opens a source; `start` holds the next offset of each partition the state knows.
    pub fn open(config: &SourceConfig, start: &BTreeMap<i32, i64>) -> Result<Reader, ConnectorError> {
        let first = start.get(&0).copied().unwrap_or(0);
        Ok(match &config.connector {
            SourceConnector::Kafka(source) => {
                let group = format!("herald-{}", config.name);
                let want = (config.want_headers, config.want_keys);
                Reader::Kafka(KafkaReader::open(source, &group, start, want)?)
            }
            SourceConnector::File(source) => Reader::File(FileReader::open(source, first)?),
            SourceConnector::Datagen(datagen) => {
                Reader::Datagen(GeneratedReader::open(datagen.clone(), first))
            }
            SourceConnector::Nexmark(nexmark) => {
                Reader::Nexmark(GeneratedReader::open(nexmark.clone(), first))
            }
        })
    }

    /// The partitions.
    pub fn partitions(&self) -> Vec<i32> {
        match self {
            Reader::Kafka(reader) => reader.partitions(),
            Reader::File(_) | Reader::Datagen(_) | Reader::Nexmark(_) => vec![0],
        }
    }

    /// Number of partitions, which are numbered from 0.
    pub fn partition_count(&self) -> usize {
        match self {
            Reader::Kafka(reader) => reader.partition_count(),
            Reader::File(_) | Reader::Datagen(_) | Reader::Nexmark(_) => 1,
        }
    }

    /// The next records, at most one `Records` a partition; waits for the first up to `timeout`.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        match self {
            Reader::Kafka(reader) => reader.poll(max_records, max_bytes, timeout),
            Reader::File(reader) => reader.poll(max_records, max_bytes, timeout),
            Reader::Datagen(reader) => Ok(reader.poll(max_records, max_bytes, timeout)),
            Reader::Nexmark(reader) => Ok(reader.poll(max_records, max_bytes, timeout)),
        }
    }

    /// Returns true if this source ends by itself, so that its watermark may then go to the end of time.
    pub fn is_bounded(&self) -> bool {
        match self {
            Reader::Kafka(_) => false,
            Reader::File(reader) => !reader.follows(),
            Reader::Datagen(reader) => reader.is_bounded(),
            Reader::Nexmark(reader) => reader.is_bounded(),
        }
    }

    /// Returns true when all was read: of a bounded source, everything; of Kafka, after
    /// [`Reader::stop_at_end`], everything up to the ends at opening.
    pub fn bounded_done(&self) -> bool {
        match self {
            Reader::Kafka(reader) => reader.bounded_done(),
            Reader::File(reader) => reader.done(),
            Reader::Datagen(reader) => reader.done(),
            Reader::Nexmark(reader) => reader.done(),
        }
    }

    /// Returns true when everything up to the ends at opening was read; always, for an endless generator.
    pub fn caught_up(&self) -> bool {
        match self {
            Reader::Kafka(reader) => reader.caught_up(),
            Reader::File(reader) => reader.caught_up(),
            Reader::Datagen(reader) => !reader.is_bounded() || reader.done(),
            Reader::Nexmark(reader) => !reader.is_bounded() || reader.done(),
        }
    }

    /// Makes an unbounded source done once everything up to the ends at opening is read.
    pub fn stop_at_end(&mut self) -> Result<(), ConnectorError> {
        let endless =
            |option| ConnectorError::config(option, "is required to stop at the end: this source has none");
        match self {
            Reader::Kafka(reader) => reader.stop_at_end(),
            Reader::File(reader) => reader.stop_at_end(),
            Reader::Datagen(reader) if !reader.is_bounded() => return Err(endless("rows.total")),
            Reader::Nexmark(reader) if !reader.is_bounded() => return Err(endless("nexmark.event.num")),
            Reader::Datagen(_) | Reader::Nexmark(_) => {}
        }
        Ok(())
    }

    /// Next offset of every partition. Each commit must store all of them in the state.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        match self {
            Reader::Kafka(reader) => reader.positions(),
            Reader::File(reader) => BTreeMap::from([(0, reader.position())]),
            Reader::Datagen(reader) => BTreeMap::from([(0, reader.position())]),
            Reader::Nexmark(reader) => BTreeMap::from([(0, reader.position())]),
        }
    }

    /// The offset at which reading of each partition began, where the state does not know the partition.
    pub fn begins(&self) -> BTreeMap<i32, i64> {
        match self {
            Reader::Kafka(reader) => reader.begins(),
            Reader::File(_) | Reader::Datagen(_) | Reader::Nexmark(_) => BTreeMap::from([(0, 0)]),
        }
    }

    /// The last records before these positions, by partition; only Kafka and files have them.
    pub fn last(&self) -> BTreeMap<i32, LastRecord> {
        match self {
            Reader::Kafka(reader) => reader.last(),
            Reader::File(reader) => reader.last(),
            Reader::Datagen(_) | Reader::Nexmark(_) => BTreeMap::new(),
        }
    }

    /// Returns true if positions have moved on without a record: they are worth a commit of their own.
    pub fn moved(&self) -> bool {
        matches!(self, Reader::Kafka(reader) if reader.moved())
    }

    /// Marks the moves of positions as committed; returns true if there were any.
    pub fn take_moved(&mut self) -> bool {
        match self {
            Reader::Kafka(reader) => reader.take_moved(),
            Reader::File(_) | Reader::Datagen(_) | Reader::Nexmark(_) => false,
        }
    }

    /// Records that are not read yet, by partition, as of the last look at the ends; empty where unknown.
    pub fn lag(&self) -> BTreeMap<i32, i64> {
        match self {
            Reader::Kafka(reader) => reader.lag(),
            Reader::File(_) => BTreeMap::new(),
            Reader::Datagen(reader) => BTreeMap::from([(0, reader.lag())]),
            Reader::Nexmark(reader) => BTreeMap::from([(0, reader.lag())]),
        }
    }

    /// Commits the state's offsets for lag tools; nothing depends on them.
    pub fn commit_offsets(&mut self, offsets: &BTreeMap<i32, i64>) {
        if let Reader::Kafka(reader) = self {
            reader.commit_offsets(offsets);
        }
    }

    /// Error that keeps the source from being read at present; None while all is well.
    pub fn last_error(&self) -> Option<String> {
        match self {
            Reader::Kafka(reader) => reader.last_error(),
            Reader::File(_) | Reader::Datagen(_) | Reader::Nexmark(_) => None,
        }
    }

    /// The topic, or its substitute in dead letters.
    pub fn topic(&self) -> &str {
        match self {
            Reader::Kafka(reader) => reader.topic(),
            Reader::File(reader) => reader.path(),
            Reader::Datagen(_) => "datagen",
            Reader::Nexmark(_) => "nexmark",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_by_time_key_and_value() {
        let last = LastRecord::new(4, Some(7), Some(b"k"), Some(b"v"));
        assert!(last.may_be(Some(7), Some(b"k"), Some(b"v")));
        type Known<'a> = (Option<i64>, Option<&'a [u8]>, Option<&'a [u8]>);
        let others: [Known<'_>; 6] = [
            (Some(8), Some(b"k"), Some(b"v")),
            (None, Some(b"k"), Some(b"v")),
            (Some(7), Some(b"kv"), Some(b"")),
            (Some(7), None, Some(b"kv")),
            (Some(7), Some(b"k"), None),
            (Some(7), Some(b""), Some(b"v")),
        ];
        for (ms, key, value) in others {
            assert!(!last.may_be(ms, key, value), "{ms:?} {key:?} {value:?}");
        }
        // An earlier release kept the time alone.
        assert!(LastRecord { digest: None, ..last }.may_be(Some(7), None, None));
    }
}
