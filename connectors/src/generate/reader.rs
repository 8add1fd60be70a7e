//! Reading of generated records: offsets, pace and end, which are alike for all generators.

use std::time::Duration;

use schemas::Records;

use super::pace::Pace;

/// A sequence in which every record depends on its offset only, so that reading may start anywhere.
pub trait Generator {
    /// Number of offsets; None for an endless sequence.
    fn total(&self) -> Option<u64>;

    /// Seconds by the clock from one offset to the next; None when all are due at once.
    fn gap_s(&self) -> Option<f64>;

    /// Appends the record at `offset` to `value`, its key, if it has one, to `key`, and returns its
    /// timestamp, if it has one. None when no record stands at this offset; then nothing is appended.
    fn write(&self, offset: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<Option<i64>>;

    /// About how many records stand at so many offsets.
    fn records_in(&self, offsets: u64) -> u64 {
        offsets
    }
}

/// Reads a [`Generator`] as one partition.
#[derive(Debug)]
pub struct GeneratedReader<G> {
    generator: G,
    next: u64,
    pace: Pace,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<G: Generator> GeneratedReader<G> {
    /// Starts at offset `next`.
    pub fn open(generator: G, next: i64) -> GeneratedReader<G> {
        let next = next.max(0) as u64;
        let pace = Pace::start(next, generator.gap_s());
        GeneratedReader { generator, next, pace, key: Vec::new(), value: Vec::new() }
    }

    /// The next records that are due; waits for the next offset up to `timeout`.
    pub fn poll(&mut self, max_records: usize, max_bytes: usize, timeout: Duration) -> Vec<Records> {
        let mut due = self.due_end();
        if due <= self.next && !self.done() {
            std::thread::sleep(self.pace.time_until(self.next).min(timeout));
            due = self.due_end();
        }
        let mut records = Records::new(0);
        while self.next < due && records.len() < max_records && records.bytes_len() < max_bytes {
            self.key.clear();
            self.value.clear();
            if let Some(timestamp) = self.generator.write(self.next, &mut self.key, &mut self.value) {
                let key = (!self.key.is_empty()).then_some(&self.key[..]);
                records.push(self.next as i64, timestamp, key, Some(&self.value));
            }
            self.next += 1;
        }
        if records.is_empty() { vec![] } else { vec![records] }
    }

    /// Returns true when all of a bounded sequence was read.
    pub fn done(&self) -> bool {
        self.generator.total().is_some_and(|total| self.next >= total)
    }

    /// Returns true if the sequence has an end.
    pub fn is_bounded(&self) -> bool {
        self.generator.total().is_some()
    }

    /// The next offset.
    pub fn position(&self) -> i64 {
        self.next as i64
    }

    /// About how many records are due and not read; 0 without a pace or an end.
    pub fn lag(&self) -> i64 {
        if !self.pace.is_set() && !self.is_bounded() {
            return 0;
        }
        self.generator.records_in(self.due_end().saturating_sub(self.next)) as i64
    }

    /// One past the last offset that is due.
    fn due_end(&self) -> u64 {
        self.pace.due_end().min(self.generator.total().unwrap_or(u64::MAX))
    }
}
