//! Headers of the records of a batch, in a few buffers for all of them: a record without headers takes no memory,
//! one with headers no allocation of its own.

use std::ops::Range;

use super::blobs::{Blobs, Rows};
use super::memory::{HeapBytes, vector_bytes};

/// Bytes that a header is counted with beside its name and value: about what its places in a batch take. So headers
/// without content are bounded, too.
pub const HEADER_BYTES: usize = 24;

/// The headers of one record: names and values.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// The headers of records, by the record's index in its batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchHeaders {
    /// The record of each header, ascending.
    records: Vec<u32>,
    /// Its name, in UTF-8.
    names: Rows,
    values: Blobs,
    /// The record of each header that could not be read, ascending.
    unreadable: Vec<u32>,
}

impl BatchHeaders {
    /// Appends a header of the record at index `record`, which is that of the last header or a later one.
    pub fn push(&mut self, record: usize, name: &str, value: Option<&[u8]>) {
        self.records.push(record as u32);
        self.names.push(name.as_bytes());
        self.values.push(value);
    }

    /// Notes that a header of the record at index `record` could not be read.
    pub fn push_unreadable(&mut self, record: usize) {
        self.unreadable.push(record as u32);
    }

    /// Appends the headers of the record at index `at` of `from` to those of the record at index `record`.
    pub fn copy(&mut self, record: usize, from: &BatchHeaders, at: usize) {
        for (name, value) in from.of_record(at) {
            self.records.push(record as u32);
            self.names.push(name);
            self.values.push(value);
        }
        for _ in 0..from.unreadable_of(at) {
            self.push_unreadable(record);
        }
    }

    /// The headers of a record in its order: name, in UTF-8, and value.
    pub fn of_record(&self, record: usize) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        span_of(&self.records, record).map(|at| (self.names.get(at), self.values.get(at)))
    }

    /// Bytes of all names and values together, and [`HEADER_BYTES`] for each header.
    pub fn bytes_len(&self) -> usize {
        let count = self.records.len() + self.unreadable.len();
        self.names.bytes_len() + self.values.bytes_len() + count * HEADER_BYTES
    }

    /// Number of the record's headers that could not be read.
    pub fn unreadable_of(&self, record: usize) -> usize {
        span_of(&self.unreadable, record).len()
    }
}

/// The places of `record` in an ascending list.
fn span_of(records: &[u32], record: usize) -> Range<usize> {
    let from = records.partition_point(|held| (*held as usize) < record);
    let to = records.partition_point(|held| (*held as usize) <= record);
    from..to
}

impl HeapBytes for BatchHeaders {
    fn heap_bytes(&self) -> usize {
        let indexes = vector_bytes(&self.records) + vector_bytes(&self.unreadable);
        indexes + self.names.heap_bytes() + self.values.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &BatchHeaders, record: usize) -> Vec<(&[u8], Option<&[u8]>)> {
        headers.of_record(record).collect()
    }

    #[test]
    fn headers_come_back_by_record() {
        let mut headers = BatchHeaders::default();
        headers.push(1, "trace", Some(b"7"));
        headers.push_unreadable(1);
        headers.push(1, "trace", None);
        headers.push(4, "", Some(b""));
        headers.push_unreadable(3);
        headers.push_unreadable(3);
        let both: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"7")), (b"trace", None)];
        assert_eq!(names(&headers, 1), both);
        assert_eq!(names(&headers, 4), [(&b""[..], Some(&b""[..]))]);
        for without in [0, 2, 3, 5] {
            assert!(names(&headers, without).is_empty(), "{without}");
        }
        assert_eq!([0, 1, 2, 3, 4].map(|record| headers.unreadable_of(record)), [0, 1, 0, 2, 0]);
        assert_eq!(headers.bytes_len(), 11 + 6 * HEADER_BYTES);
    }

    #[test]
    fn records_without_headers_take_no_memory() {
        let without = BatchHeaders::default();
        assert_eq!((without.heap_bytes(), without.bytes_len()), (0, 0));
    }
}
