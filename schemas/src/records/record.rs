//! Records, as a connector read them: bytes with partition and offset; and their outcomes.
//!
//! [`Records`] belongs to one partition and keeps the order of offsets, in which lateness and
//! conflicts are decided. [`Outcome`] lists the six possible outcomes of a record; per source their
//! counts add up to the records read.

use super::blobs::Blobs;
use super::headers::BatchHeaders;
use super::memory::{HeapBytes, vector_bytes};

/// Records of one partition, in the order of their offsets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// The partition all of them come from.
    pub partition: i32,
    /// Offset of each record.
    pub offsets: Vec<i64>,
    /// Timestamp of each record in milliseconds since 1970, where it has one.
    pub timestamps: Vec<Option<i64>>,
    /// Key bytes.
    pub keys: Blobs,
    /// Value bytes.
    pub values: Blobs,
    /// Headers of the records, if the source's are read.
    pub headers: BatchHeaders,
}

impl Records {
    /// Creates an empty list of records of `partition`.
    pub fn new(partition: i32) -> Records {
        Records { partition, ..Records::default() }
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Appends one record; the caller pushes its headers, if they are read.
    #[inline]
    pub fn push(&mut self, offset: i64, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.keys.push(key);
        self.values.push(value);
    }

    /// Returns the records whose offsets `keeps` takes, in their order.
    pub fn select(&self, keeps: impl Fn(i64) -> bool) -> Records {
        let mut kept = Records::new(self.partition);
        for (at, offset) in self.offsets.iter().enumerate() {
            if keeps(*offset) {
                kept.push(*offset, self.timestamps[at], self.keys.get(at), self.values.get(at));
                kept.headers.copy(kept.len() - 1, &self.headers, at);
            }
        }
        kept
    }

    /// Returns the bytes of keys, values and headers together.
    pub fn bytes_len(&self) -> usize {
        self.keys.bytes_len() + self.values.bytes_len() + self.headers.bytes_len()
    }
}

impl HeapBytes for Records {
    fn heap_bytes(&self) -> usize {
        let coordinates = vector_bytes(&self.offsets) + vector_bytes(&self.timestamps);
        coordinates + self.keys.heap_bytes() + self.values.heap_bytes() + self.headers.heap_bytes()
    }
}

/// The outcome of a record: of those that apply, the one listed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The record became a row.
    Accepted,
    /// The held row is the same, or its key is held and the first one wins.
    Duplicate,
    /// The held row has a higher version.
    Superseded,
    /// NOT NULL, a CHECK or the bound on event time refused the record.
    Constraint,
    /// The record's bytes do not decode to a row.
    Decode,
    /// The record's time is below the watermark or the horizon.
    Late,
    /// The record's row is that of a person who was erased.
    Erased,
}

/// Records by outcome, in the order of [`Outcome::ALL`].
pub type OutcomeCounts = [u64; Outcome::ALL.len()];

impl Outcome {
    /// All outcomes, in the order of [`Outcome::index`].
    pub const ALL: [Outcome; 7] = [
        Outcome::Accepted,
        Outcome::Duplicate,
        Outcome::Superseded,
        Outcome::Constraint,
        Outcome::Decode,
        Outcome::Late,
        Outcome::Erased,
    ];

    /// Returns the outcomes to tell of some counts: all, but that of erased persons only where there are any.
    pub fn told(counts: &OutcomeCounts) -> impl Iterator<Item = Outcome> + '_ {
        let is_told = |outcome: &Outcome| *outcome != Outcome::Erased || counts[outcome.index()] > 0;
        Outcome::ALL.into_iter().filter(is_told)
    }

    /// Returns its index in counters and in the state; it never changes.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns its name in metrics, headers and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Duplicate => "duplicate",
            Outcome::Superseded => "superseded",
            Outcome::Constraint => "constraint",
            Outcome::Decode => "decode",
            Outcome::Late => "late",
            Outcome::Erased => "erased",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_indexed_by_place() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
        }
        assert_eq!(Outcome::ALL.map(Outcome::name)[1], "duplicate");
    }

    #[test]
    fn records_keep_their_coordinates() {
        let mut records = Records::new(3);
        records.push(7, Some(1), None, Some(b"abc"));
        assert_eq!((records.len(), records.bytes_len(), records.partition), (1, 3, 3));
    }
}
