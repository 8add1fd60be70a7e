//! Dead letters: records that were refused, with their bytes unchanged and their origin.
//!
//! A dead letter has two forms. In the dead-letter topic, its coordinates are headers named
//! `herald.*`, beside the record's own; in the state's table, all of it is one byte string. That string is: a
//! format byte, the outcome's index, the integers as big-endian, then every text and byte string
//! with its length before it, `u32::MAX` standing for null; where the record had headers, the number of those left
//! out, that of the others, and their names and values.

mod headers;

use schemas::{ERASED_MESSAGE, OutChunk, OutRecord, Outcome};

use crate::murmur2_partition;
use headers::header_bytes;
pub use headers::{HeaderRef, KeptHeaders};

/// First byte of a stored dead letter without headers, the only one that earlier releases know.
const FORMAT: u8 = 1;
/// First byte of a stored dead letter with headers.
const FORMAT_WITH_HEADERS: u8 = 2;
/// The length that stands for null.
const NULL: u32 = u32::MAX;
/// Header of a dead letter that is not whole.
const CUT: &str = "herald.cut";

/// The outcomes that make a record a dead letter.
pub const REJECTED: [Outcome; 3] = [Outcome::Constraint, Outcome::Decode, Outcome::Late];

/// A topic for dead letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Most bytes of one record with its headers.
    pub max_bytes: usize,
}

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Topic it was read from, or the file.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The source that refused it.
    pub source: String,
    /// The reason: decode, constraint or late.
    pub outcome: Outcome,
    /// The constraint that is false.
    pub constraint: Option<String>,
    /// Description of the fault.
    pub message: String,
    /// The schema id of its bytes.
    pub schema_id: Option<u32>,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers of the record.
    pub headers: KeptHeaders,
}

impl DeadLetter {
    /// Returns it without the record's bytes, for one that names a person who was erased: where it came from and why it
    /// was refused stay. The message goes as well where it quotes one of `identities`.
    pub fn without_payload(mut self, identities: &[Vec<u8>]) -> DeadLetter {
        if schemas::contains_any(self.message.as_bytes(), identities) {
            self.message = ERASED_MESSAGE.to_owned();
        } else if !self.is_erased() {
            self.message = format!("{}; {ERASED_MESSAGE}", self.message);
        }
        DeadLetter { key: None, value: None, headers: KeptHeaders::default(), ..self }
    }

    /// Returns true if it is without the record's bytes, because it named a person who was erased.
    pub fn is_erased(&self) -> bool {
        self.message.ends_with(ERASED_MESSAGE)
    }

    /// Its coordinates as headers.
    pub fn coordinates(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut headers = vec![
            ("herald.source", self.source.clone()),
            ("herald.topic", self.topic.clone()),
            ("herald.partition", self.partition.to_string()),
            ("herald.offset", self.offset.to_string()),
            ("herald.outcome", self.outcome.name().to_string()),
            ("herald.message", self.message.clone()),
        ];
        if let Some(at) = self.timestamp {
            headers.push(("herald.timestamp", at.to_string()));
        }
        if let Some(name) = &self.constraint {
            headers.push(("herald.constraint", name.clone()));
        }
        if let Some(id) = self.schema_id {
            headers.push(("herald.schema_id", id.to_string()));
        }
        headers.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
    }

    /// Parses the form of the dead-letter topic, of the record's headers, key and value; None when the record is
    /// not a dead letter.
    pub fn from_topic(
        headers: &[HeaderRef<'_>],
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Option<DeadLetter> {
        let text = |name: &str| text_of(headers, name);
        let outcome = text("herald.outcome")?;
        Some(DeadLetter {
            topic: text("herald.topic")?.to_owned(),
            partition: text("herald.partition")?.parse().ok()?,
            offset: text("herald.offset")?.parse().ok()?,
            timestamp: match text("herald.timestamp") {
                Some(at) => Some(at.parse().ok()?),
                None => None,
            },
            source: text("herald.source")?.to_owned(),
            outcome: REJECTED.into_iter().find(|rejected| rejected.name() == outcome)?,
            constraint: text("herald.constraint").map(str::to_owned),
            message: text("herald.message")?.to_owned(),
            schema_id: text("herald.schema_id").and_then(|id| id.parse().ok()),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: KeptHeaders::from_topic(headers),
        })
    }

    /// Identity of the rejected record: a digest of topic, partition, offset, timestamp, key and value. A
    /// record that two sources refused has one; the record at the same offset of a topic that was made anew has
    /// another.
    pub fn record_id(&self) -> u128 {
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        schemas::digest(&[
            &length_bytes(Some(self.topic.as_bytes())),
            self.topic.as_bytes(),
            &self.partition.to_be_bytes(),
            &self.offset.to_be_bytes(),
            &self.timestamp.unwrap_or(-1).to_be_bytes(),
            &length_bytes(key),
            key.unwrap_or_default(),
            &length_bytes(value),
            value.unwrap_or_default(),
        ])
    }

    /// Appends it to the output for `to`. Without a key it keeps its own partition (modulo the topic's), so
    /// that its order stays. Where the topic would refuse the record, its headers are left out, and key and value
    /// are cut if that is not enough; the state's table holds them whole. The header `herald.cut` tells that the
    /// record is not whole.
    pub fn push_to(&self, chunk: &mut OutChunk, to: &DeadLetterTopic) {
        let partition = match &self.key {
            Some(key) => murmur2_partition(key, to.partitions),
            None => self.partition.rem_euclid(to.partitions.max(1)),
        };
        let (coordinates, own, mark) = (self.coordinates(), self.headers.to_topic(), self.cut_mark());
        let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(coordinates.len() + own.len() + 1);
        for (name, value) in &coordinates {
            headers.push((*name, &value[..]));
        }
        if self.headers.left_out > 0 {
            headers.push((CUT, mark.as_bytes()));
        }
        let taken: usize = headers.iter().map(|(name, value)| header_bytes(name, value)).sum();
        let room = to.max_bytes.saturating_sub(taken);
        let own_bytes: usize = own.iter().map(|(name, value)| header_bytes(name, value)).sum();
        let (mut key, mut value) = (self.key.as_deref(), self.value.as_deref());
        let (key_bytes, value_bytes) = (key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len));
        if own_bytes + key_bytes + value_bytes <= room {
            for (name, value) in &own {
                headers.push((&**name, *value));
            }
        } else {
            if self.headers.left_out == 0 {
                headers.push((CUT, mark.as_bytes()));
            }
            let left = room.saturating_sub(header_bytes(CUT, mark.as_bytes()));
            if key_bytes + value_bytes > left {
                // The key gets at most half, so that a part of the value stays.
                key = cut_bytes(key, left / 2);
                value = cut_bytes(value, left - key.map_or(0, <[u8]>::len));
            }
        }
        chunk.push(&OutRecord { topic: &to.name, partition, key, value, headers });
    }

    /// Value of the header `herald.cut`: the lengths of key and value, and the number of headers.
    fn cut_mark(&self) -> String {
        let [key, value] = [&self.key, &self.value].map(|bytes| bytes.as_ref().map_or(0, Vec::len));
        match self.headers.count() {
            0 => format!("key {key}, value {value}"),
            headers => format!("key {key}, value {value}, headers {headers}"),
        }
    }

    /// The form of the state's table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let format = if self.headers.is_empty() { FORMAT } else { FORMAT_WITH_HEADERS };
        let mut out = vec![format, self.outcome.index() as u8, u8::from(self.timestamp.is_some())];
        out.extend(self.timestamp.unwrap_or(0).to_be_bytes());
        out.extend(self.partition.to_be_bytes());
        out.extend(self.offset.to_be_bytes());
        out.push(u8::from(self.schema_id.is_some()));
        out.extend(self.schema_id.unwrap_or(0).to_be_bytes());
        let texts = [Some(&self.topic), Some(&self.source), self.constraint.as_ref(), Some(&self.message)];
        for text in texts {
            push_bytes(&mut out, text.map(String::as_bytes));
        }
        push_bytes(&mut out, self.key.as_deref());
        push_bytes(&mut out, self.value.as_deref());
        if format == FORMAT_WITH_HEADERS {
            out.extend(self.headers.left_out.to_be_bytes());
            out.extend((self.headers.list.len() as u32).to_be_bytes());
            for (name, value) in &self.headers.list {
                push_bytes(&mut out, Some(name.as_bytes()));
                push_bytes(&mut out, value.as_deref());
            }
        }
        out
    }

    /// Parses the form of the state's table; None when the bytes are not a dead letter.
    pub fn from_bytes(bytes: &[u8]) -> Option<DeadLetter> {
        let mut rest = Bytes(bytes);
        let [format @ (FORMAT | FORMAT_WITH_HEADERS), outcome, timed] = rest.take_array()? else {
            return None;
        };
        let outcome = *Outcome::ALL.get(usize::from(outcome))?;
        let timestamp = i64::from_be_bytes(rest.take_array()?);
        let partition = i32::from_be_bytes(rest.take_array()?);
        let offset = i64::from_be_bytes(rest.take_array()?);
        let [has_schema] = rest.take_array()?;
        let schema_id = u32::from_be_bytes(rest.take_array()?);
        let (topic, source) = (rest.take_text()??, rest.take_text()??);
        let (constraint, message) = (rest.take_text()?, rest.take_text()??);
        let (key, value) = (rest.take_bytes()?, rest.take_bytes()?);
        let headers = if format == FORMAT { KeptHeaders::default() } else { rest.take_headers()? };
        rest.0.is_empty().then_some(DeadLetter {
            topic,
            partition,
            offset,
            timestamp: (timed == 1).then_some(timestamp),
            source,
            outcome,
            constraint,
            message,
            schema_id: (has_schema == 1).then_some(schema_id),
            key,
            value,
            headers,
        })
    }
}

/// The text of the first header of this name.
fn text_of<'h>(headers: &[HeaderRef<'h>], name: &str) -> Option<&'h str> {
    let (_, value) = headers.iter().find(|(held, _)| *held == name)?;
    std::str::from_utf8((*value)?).ok()
}

/// The number of bytes, in eight of them; the greatest number stands for NULL.
pub(crate) fn length_bytes(bytes: Option<&[u8]>) -> [u8; 8] {
    bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes()
}

/// The first bytes, at most `most`.
fn cut_bytes(bytes: Option<&[u8]>, most: usize) -> Option<&[u8]> {
    bytes.map(|bytes| &bytes[..bytes.len().min(most)])
}

fn push_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend(bytes.map_or(NULL, |bytes| bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// Bytes that are left to read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn take_bytes(&mut self) -> Option<Option<Vec<u8>>> {
        let length = u32::from_be_bytes(self.take_array()?);
        if length == NULL {
            return Some(None);
        }
        let (head, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(Some(head.to_vec()))
    }

    fn take_text(&mut self) -> Option<Option<String>> {
        match self.take_bytes()? {
            Some(bytes) => String::from_utf8(bytes).ok().map(Some),
            None => Some(None),
        }
    }

    fn take_headers(&mut self) -> Option<KeptHeaders> {
        let left_out = u32::from_be_bytes(self.take_array()?);
        let mut kept = KeptHeaders { left_out, ..KeptHeaders::default() };
        for _ in 0..u32::from_be_bytes(self.take_array()?) {
            kept.list.push((self.take_text()??, self.take_bytes()?));
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter() -> DeadLetter {
        DeadLetter {
            topic: "match.completed".into(),
            partition: 3,
            offset: 42,
            timestamp: Some(1_700_000_000_000),
            source: "matches".into(),
            outcome: Outcome::Constraint,
            constraint: Some("sane_duration".into()),
            message: "sane_duration is false".into(),
            schema_id: None,
            key: None,
            value: Some(vec![0, 1, 255]),
            headers: KeptHeaders::default(),
        }
    }

    fn with_headers() -> DeadLetter {
        let list = vec![
            ("trace".to_owned(), Some(vec![7])),
            ("herald.topic".to_owned(), None),
            ("trace".to_owned(), Some(vec![])),
        ];
        DeadLetter { headers: KeptHeaders { list, left_out: 0 }, ..dead_letter() }
    }

    #[test]
    fn bytes_come_back() {
        let other = DeadLetter {
            timestamp: None,
            constraint: None,
            schema_id: Some(7),
            key: Some(vec![]),
            value: None,
            outcome: Outcome::Decode,
            ..dead_letter()
        };
        let left_out = KeptHeaders { left_out: 3, ..KeptHeaders::default() };
        let cut = DeadLetter { headers: left_out, ..dead_letter() };
        for dead_letter in [dead_letter(), other, with_headers(), cut] {
            assert_eq!(DeadLetter::from_bytes(&dead_letter.to_bytes()), Some(dead_letter));
        }
    }

    /// The bytes that an earlier release wrote of a record, whatever its headers, and that this one writes of a record
    /// without.
    #[test]
    fn bytes_of_an_earlier_release_have_no_headers() {
        let mut bytes = vec![1, Outcome::Constraint.index() as u8, 1];
        bytes.extend(1_700_000_000_000_i64.to_be_bytes());
        bytes.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0]);
        for text in ["match.completed", "matches", "sane_duration", "sane_duration is false"] {
            bytes.extend((text.len() as u32).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend([255, 255, 255, 255, 0, 0, 0, 3, 0, 1, 255]);
        assert_eq!(DeadLetter::from_bytes(&bytes), Some(dead_letter()));
        assert_eq!(dead_letter().to_bytes(), bytes);
        assert_eq!(with_headers().to_bytes()[0], 2);
    }

    /// The dead letter as a reader of the topic parses it, with some of its headers changed or left out.
    fn parsed(letter: &DeadLetter, other: &[(&str, Option<&str>)]) -> Option<DeadLetter> {
        let (coordinates, own) = (letter.coordinates(), letter.headers.to_topic());
        let mut headers: Vec<HeaderRef<'_>> = Vec::new();
        for (name, value) in &coordinates {
            match other.iter().find(|(changed, _)| changed == name) {
                Some((_, value)) => headers.extend(value.map(|value| (*name, Some(value.as_bytes())))),
                None => headers.push((*name, Some(&value[..]))),
            }
        }
        headers.extend(own.iter().map(|(name, value)| (&**name, Some(*value))));
        DeadLetter::from_topic(&headers, letter.key.as_deref(), letter.value.as_deref())
    }

    #[test]
    fn headers_come_back() {
        let full = DeadLetter { schema_id: Some(7), key: Some(vec![]), ..dead_letter() };
        let bare = DeadLetter { timestamp: None, constraint: None, value: None, ..dead_letter() };
        for letter in [full, bare, with_headers()] {
            assert_eq!(parsed(&letter, &[]), Some(letter));
        }
        // The failure of a view's expression has no record, and stands in the same topic.
        for outcome in ["expression", "replayed", "accepted"] {
            assert_eq!(parsed(&dead_letter(), &[("herald.outcome", Some(outcome))]), None, "{outcome}");
        }
        for needed in ["source", "topic", "partition", "offset", "outcome"] {
            let needed = format!("herald.{needed}");
            assert_eq!(parsed(&dead_letter(), &[(&needed, None)]), None, "{needed}");
        }
        assert_eq!(parsed(&dead_letter(), &[("herald.timestamp", Some("soon"))]), None);
    }

    #[test]
    fn a_record_has_one_id_whoever_refused_it() {
        let (one, id) = (dead_letter(), dead_letter().record_id());
        let elsewhere = DeadLetter {
            source: "other".into(),
            outcome: Outcome::Late,
            message: "late".into(),
            constraint: None,
            ..one.clone()
        };
        assert_eq!(elsewhere.record_id(), id);
        let others = [
            DeadLetter { topic: "match.complete".into(), ..one.clone() },
            DeadLetter { partition: 4, ..one.clone() },
            DeadLetter { offset: 43, ..one.clone() },
            DeadLetter { timestamp: None, ..one.clone() },
            DeadLetter { key: Some(vec![]), ..one.clone() },
            DeadLetter { value: None, ..one.clone() },
            DeadLetter { value: Some(vec![0, 1]), ..one },
        ];
        for other in others {
            assert_ne!(other.record_id(), id, "{other:?}");
        }
        // Markers of an earlier release hold.
        assert_eq!(with_headers().record_id(), id);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [dead_letter().to_bytes(), with_headers().to_bytes()] {
            for cut in 0..bytes.len() {
                assert_eq!(DeadLetter::from_bytes(&bytes[..cut]), None);
            }
            assert_eq!(DeadLetter::from_bytes(&[&bytes[..], b"x"].concat()), None);
            assert_eq!(DeadLetter::from_bytes(&[&[9], &bytes[1..]].concat()), None);
        }
    }

    fn topic(max_bytes: usize) -> DeadLetterTopic {
        DeadLetterTopic { name: "dead".into(), partitions: 2, max_bytes }
    }

    #[test]
    fn what_the_topic_would_not_take_is_cut() {
        let long = DeadLetter { key: Some(vec![1; 700]), value: Some(vec![2; 5000]), ..dead_letter() };
        let mut chunk = OutChunk::new();
        long.push_to(&mut chunk, &topic(2000));
        let bytes = chunk.into_bytes();
        let record = OutChunk::read(&bytes).unwrap().next().unwrap().unwrap();
        let held = |bytes: Option<&[u8]>| bytes.unwrap().len();
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let whole = held(record.key) + held(record.value) + headers;
        assert!(held(record.key) == 700 && (1500..2000).contains(&whole), "{whole}");
        assert!(record.headers.contains(&("herald.cut", b"key 700, value 5000")), "{:?}", record.headers);
        assert_eq!(record.partition, murmur2_partition(&[1; 700], 2));
    }

    #[test]
    fn the_topic_gets_bytes_unchanged_and_coordinates() {
        let mut chunk = OutChunk::new();
        dead_letter().push_to(&mut chunk, &topic(1 << 20));
        let bytes = chunk.into_bytes();
        let record = OutChunk::read(&bytes).unwrap().next().unwrap().unwrap();
        assert_eq!((record.topic, record.partition), ("dead", 1));
        assert_eq!((record.key, record.value), (None, Some(&[0, 1, 255][..])));
        let header = |name| record.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        assert_eq!(header("herald.offset"), Some(&b"42"[..]));
        assert_eq!(header("herald.outcome"), Some(&b"constraint"[..]));
        assert_eq!(header("herald.schema_id"), None);
    }

    /// The record of a dead letter in a topic: names of its headers, `herald.cut`, and the length of its value.
    fn in_topic(letter: &DeadLetter, max_bytes: usize) -> (Vec<String>, Option<String>, usize) {
        let mut chunk = OutChunk::new();
        letter.push_to(&mut chunk, &topic(max_bytes));
        let bytes = chunk.into_bytes();
        let record = OutChunk::read(&bytes).unwrap().next().unwrap().unwrap();
        let names = record.headers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let cut = record.headers.iter().find(|(name, _)| *name == "herald.cut");
        let cut = cut.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        (names, cut, record.value.map_or(0, <[u8]>::len))
    }

    #[test]
    fn headers_go_to_the_topic_where_there_is_room() {
        let (names, cut, _) = in_topic(&with_headers(), 1 << 20);
        assert_eq!(names[names.len() - 3..], ["trace", "herald.null.herald.topic", "trace"]);
        assert_eq!(cut, None);
        let own = |names: &[String]| names.iter().filter(|name| !name.starts_with("herald.")).count();

        // The value is worth more than the headers.
        let long = DeadLetter { value: Some(vec![2; 1000]), ..with_headers() };
        let (whole, value) = (in_topic(&long, 1 << 20), 1000);
        assert_eq!((own(&whole.0), whole.1, whole.2), (2, None, value));
        let bytes = |letter: &DeadLetter| {
            let coordinates = letter.coordinates();
            coordinates.iter().map(|(name, value)| header_bytes(name, value)).sum::<usize>()
        };
        let mark = "key 0, value 1000, headers 3";
        let without = bytes(&long) + value + header_bytes(CUT, mark.as_bytes());
        for (room, kept) in [(without, value), (without - 1, value - 1)] {
            let (names, cut, held) = in_topic(&long, room);
            assert_eq!((own(&names), cut.as_deref(), held), (0, Some(mark), kept), "{room}");
        }

        // A record of which not all headers are kept is marked.
        let mut partly = with_headers();
        partly.headers.left_out = 2;
        let (names, cut, value) = in_topic(&partly, 1 << 20);
        assert_eq!((own(&names), cut.as_deref(), value), (2, Some("key 0, value 3, headers 5"), 3));
    }
}
