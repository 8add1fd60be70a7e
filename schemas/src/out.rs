//! Output chunks: the serialised output of an epoch, as the outbox keeps it.
//!
//! A chunk is a format byte and records, appended only. Integers are LEB128; topics and header sets
//! are written when they first occur and referred to afterwards, for nearly all records of a chunk
//! share them. A record is: topic (0 and the name, or 1 + its place among the names so far),
//! partition (zigzag), key, value (0 for null, else 1 + length and the bytes), headers (0: those of
//! the record before; else 1 + count and name and value of each). A chunk is complete in itself.

use xxhash_rust::xxh3::Xxh3;

use crate::error::SchemaError;

/// First byte of a chunk; changes when the layout does.
const FORMAT: u8 = 1;

/// One record of the output, borrowed from where it lies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutRecord<'a> {
    /// Topic to write to.
    pub topic: &'a str,
    /// Partition to write to.
    pub partition: i32,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes; null deletes the key.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// A chunk under construction.
#[derive(Clone, Debug, Default)]
pub struct OutChunk {
    bytes: Vec<u8>,
    topics: Vec<String>,
    /// The encoded headers of the last record lie here in `bytes`.
    headers: Option<std::ops::Range<usize>>,
    scratch: Vec<u8>,
    records: usize,
}

impl OutChunk {
    /// A chunk without records.
    pub fn new() -> OutChunk {
        OutChunk { bytes: vec![FORMAT], ..OutChunk::default() }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &OutRecord<'_>) {
        if self.bytes.is_empty() {
            self.bytes.push(FORMAT);
        }
        match self.topics.iter().position(|topic| topic == record.topic) {
            Some(place) => put_int(&mut self.bytes, place as u64 + 1),
            None => {
                put_int(&mut self.bytes, 0);
                put_bytes(&mut self.bytes, record.topic.as_bytes());
                self.topics.push(record.topic.to_string());
            }
        }
        let partition = (record.partition << 1) ^ (record.partition >> 31);
        put_int(&mut self.bytes, u64::from(partition as u32));
        put_nullable(&mut self.bytes, record.key);
        put_nullable(&mut self.bytes, record.value);
        self.push_headers(&record.headers);
        self.records += 1;
    }

    fn push_headers(&mut self, headers: &[(&str, &[u8])]) {
        self.scratch.clear();
        put_int(&mut self.scratch, headers.len() as u64 + 1);
        for (name, value) in headers {
            put_bytes(&mut self.scratch, name.as_bytes());
            put_bytes(&mut self.scratch, value);
        }
        let same = self.headers.clone().is_some_and(|last| self.bytes[last] == self.scratch[..]);
        if same {
            self.bytes.push(0);
        } else {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&self.scratch);
            self.headers = Some(start..self.bytes.len());
        }
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes so far.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The finished chunk.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.bytes.is_empty() { vec![FORMAT] } else { self.bytes }
    }

    /// The records of a finished chunk, in order. After an error nothing follows.
    pub fn read(
        bytes: &[u8],
    ) -> Result<impl Iterator<Item = Result<OutRecord<'_>, SchemaError>>, SchemaError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                Ok(Reader { rest, topics: Vec::new(), headers: Vec::new(), failed: false })
            }
            Some((format, _)) => Err(bad(&format!("its format is {format}, not {FORMAT}"))),
            None => Err(bad("it is empty")),
        }
    }
}

/// XXH3-128 of chunks as if they were one.
pub fn digest(chunks: &[&[u8]]) -> u128 {
    let mut state = Xxh3::new();
    chunks.iter().for_each(|chunk| state.update(chunk));
    state.digest128()
}

struct Reader<'a> {
    rest: &'a [u8],
    topics: Vec<&'a str>,
    headers: Vec<(&'a str, &'a [u8])>,
    failed: bool,
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<OutRecord<'a>, SchemaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        self.failed = record.is_err();
        Some(record)
    }
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Result<OutRecord<'a>, SchemaError> {
        let topic = match self.int()? {
            0 => {
                let name = self.text()?;
                self.topics.push(name);
                name
            }
            place => usize::try_from(place - 1)
                .ok()
                .and_then(|place| self.topics.get(place).copied())
                .ok_or_else(|| bad("a topic was never named"))?,
        };
        let zigzag = u32::try_from(self.int()?).map_err(|_| bad("a partition is too large"))?;
        let partition = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        let (key, value) = (self.nullable()?, self.nullable()?);
        let count = self.int()?;
        if count > 0 {
            self.headers.clear();
            for _ in 1..count {
                let header = (self.text()?, self.bytes()?);
                self.headers.push(header);
            }
        }
        Ok(OutRecord { topic, partition, key, value, headers: self.headers.clone() })
    }

    fn int(&mut self) -> Result<u64, SchemaError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(|| bad("it ends too early"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number is too long"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], SchemaError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| bad("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn bytes(&mut self) -> Result<&'a [u8], SchemaError> {
        let len = self.int()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, SchemaError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| bad("a name is not UTF-8"))
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, SchemaError> {
        match self.int()? {
            0 => Ok(None),
            len => self.take(len - 1).map(Some),
        }
    }
}

fn put_int(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_int(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_nullable(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.push(0),
        Some(value) => {
            put_int(out, value.len() as u64 + 1);
            out.extend_from_slice(value);
        }
    }
}

fn bad(message: &str) -> SchemaError {
    SchemaError::BadChunk(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn sample(long: &[u8]) -> Vec<OutRecord<'_>> {
        let headers: Vec<(&str, &[u8])> = vec![("herald.topology", b"m"), ("herald.epoch", b"12")];
        let base = OutRecord { topic: "a", partition: 0, headers: headers.clone(), ..OutRecord::default() };
        vec![
            OutRecord { key: Some(b"k"), value: Some(b"v"), ..base.clone() },
            OutRecord { key: Some(b""), value: None, partition: -1, ..base.clone() },
            OutRecord { topic: "b", value: Some(long), partition: i32::MAX, ..base.clone() },
            OutRecord { topic: "a", partition: i32::MIN, headers: vec![], ..base.clone() },
            OutRecord { headers: vec![], ..base.clone() },
            base,
        ]
    }

    #[test]
    fn records_come_back() {
        let long = vec![7u8; 100_000];
        let records = sample(&long);
        let mut chunk = OutChunk::new();
        records.iter().for_each(|record| chunk.push(record));
        assert_eq!(chunk.len(), records.len());
        let bytes = chunk.into_bytes();
        let back: Vec<_> = OutChunk::read(&bytes).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(back, records);
        assert_eq!(OutChunk::read(&OutChunk::new().into_bytes()).unwrap().count(), 0);
    }

    #[test]
    fn damaged_chunks_are_errors_and_never_panics() {
        let mut chunk = OutChunk::new();
        sample(b"xyz").iter().for_each(|record| chunk.push(record));
        let bytes = chunk.into_bytes();
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..5000 {
            let mut broken = bytes.clone();
            broken.truncate(random.random_range(0..=bytes.len()));
            for _ in 0..random.random_range(0..4) {
                if let Some(last) = broken.len().checked_sub(1) {
                    broken[random.random_range(0..=last)] = random.random();
                }
            }
            if let Ok(records) = OutChunk::read(&broken) {
                assert!(records.count() <= broken.len());
            }
        }
    }

    #[test]
    fn digest_does_not_see_where_chunks_end() {
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"abc"]));
        assert_ne!(digest(&[b"abc"]), digest(&[b"abd"]));
        assert_eq!(digest(&[b"herald"]), xxhash_rust::xxh3::xxh3_128(b"herald"));
    }
}
