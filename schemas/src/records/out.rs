//! Output chunks: the serialised output of an epoch, as stored in the outbox.
//!
//! A chunk is a format byte followed by records. Integers are LEB128. Topics and header sets are
//! written at their first use and referred to afterwards, because nearly all records of a chunk
//! share them. A record is: topic (0 and the name, or 1 + its index among the names so far),
//! partition (zigzag), key, value (0 for null, else 1 + length and the bytes), headers (0: those of
//! the preceding record; else 1 + count and name and value of each). A chunk refers to no other chunk.

use xxhash_rust::xxh3::Xxh3;

use crate::error::SchemaError;

/// The least number of an export among the outbox's targets; files count up from 1. The numbers are part of the stored
/// form of a state.
pub const EXPORT_TARGETS: u16 = 0x4000;

/// The first byte of a chunk; it changes with the layout.
const FORMAT: u8 = 1;

/// One borrowed record of the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutRecord<'a> {
    /// The topic to write to.
    pub topic: &'a str,
    /// The partition to write to.
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
    /// The range in `bytes` of the encoded headers written last.
    headers: Option<std::ops::Range<usize>>,
    scratch: Vec<u8>,
    records: usize,
}

impl OutChunk {
    /// Creates a chunk without records.
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
        // Zigzag, so that small negative numbers are short too.
        let partition = (record.partition << 1) ^ (record.partition >> 31);
        put_int(&mut self.bytes, u64::from(partition as u32));
        put_nullable(&mut self.bytes, record.key);
        put_nullable(&mut self.bytes, record.value);
        self.push_headers(&record.headers);
        self.records += 1;
    }

    /// Appends the headers, or a 0 if they equal those written last.
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

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns the number of bytes so far.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of the finished chunk.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.bytes.is_empty() { vec![FORMAT] } else { self.bytes }
    }

    /// Iterates over the records of a finished chunk, in order. The iterator ends after an error.
    pub fn read(
        bytes: &[u8],
    ) -> Result<impl Iterator<Item = Result<OutRecord<'_>, SchemaError>>, SchemaError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                Ok(ChunkReader { rest, topics: Vec::new(), headers: Vec::new(), failed: false })
            }
            Some((format, _)) => Err(bad_chunk(&format!("its format is {format}, not {FORMAT}"))),
            None => Err(bad_chunk("it is empty")),
        }
    }
}

/// Computes the XXH3-128 of the concatenated chunks.
pub fn digest(chunks: &[&[u8]]) -> u128 {
    let mut state = Xxh3::new();
    for chunk in chunks {
        state.update(chunk);
    }
    state.digest128()
}

/// An iterator over the records of a chunk.
struct ChunkReader<'a> {
    rest: &'a [u8],
    topics: Vec<&'a str>,
    headers: Vec<(&'a str, &'a [u8])>,
    failed: bool,
}

impl<'a> Iterator for ChunkReader<'a> {
    type Item = Result<OutRecord<'a>, SchemaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let record = self.read_record();
        self.failed = record.is_err();
        Some(record)
    }
}

impl<'a> ChunkReader<'a> {
    fn read_record(&mut self) -> Result<OutRecord<'a>, SchemaError> {
        let topic = match self.read_int()? {
            0 => {
                let name = self.read_text()?;
                self.topics.push(name);
                name
            }
            place => {
                let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
                *self.topics.get(place).ok_or_else(|| bad_chunk("a topic was never named"))?
            }
        };
        let zigzag = u32::try_from(self.read_int()?).map_err(|_| bad_chunk("a partition is too large"))?;
        let partition = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        let (key, value) = (self.read_nullable()?, self.read_nullable()?);
        let count = self.read_int()?;
        if count > 0 {
            self.headers.clear();
            for _ in 1..count {
                let header = (self.read_text()?, self.read_bytes()?);
                self.headers.push(header);
            }
        }
        Ok(OutRecord { topic, partition, key, value, headers: self.headers.clone() })
    }

    fn read_int(&mut self) -> Result<u64, SchemaError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(ends_early)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad_chunk("a number is too long"))
    }

    fn take_bytes(&mut self, len: u64) -> Result<&'a [u8], SchemaError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(head)
    }

    fn read_bytes(&mut self) -> Result<&'a [u8], SchemaError> {
        let len = self.read_int()?;
        self.take_bytes(len)
    }

    fn read_text(&mut self) -> Result<&'a str, SchemaError> {
        std::str::from_utf8(self.read_bytes()?).map_err(|_| bad_chunk("a name is not UTF-8"))
    }

    fn read_nullable(&mut self) -> Result<Option<&'a [u8]>, SchemaError> {
        match self.read_int()? {
            0 => Ok(None),
            len => self.take_bytes(len - 1).map(Some),
        }
    }
}

fn ends_early() -> SchemaError {
    bad_chunk("it ends too early")
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

fn bad_chunk(message: &str) -> SchemaError {
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
