//! Reading one type of event out of the sequence.

use std::time::Duration;

use schemas::Records;

use super::Nexmark;
use super::shape::ROUND;
use crate::generate::pace::Pace;

/// Reads a [`Nexmark`].
#[derive(Debug)]
pub struct NexmarkReader {
    nexmark: Nexmark,
    next: u64,
    pace: Pace,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl NexmarkReader {
    /// Starts at event `next`.
    pub fn open(nexmark: Nexmark, next: i64) -> NexmarkReader {
        let next = next.max(0) as u64;
        let pace = Pace::start(next, nexmark.gap_ns.map(|ns| ns as f64 / 1e9));
        NexmarkReader { nexmark, next, pace, key: Vec::new(), value: Vec::new() }
    }

    /// The next records that are due; waits for the next event up to `timeout`.
    pub fn poll(&mut self, max_records: usize, max_bytes: usize, timeout: Duration) -> Vec<Records> {
        let mut due = self.due();
        if due <= self.next && !self.done() {
            std::thread::sleep(self.pace.until(self.next).min(timeout));
            due = self.due();
        }
        let mut records = Records::new(0);
        while self.next < due && records.len() < max_records && records.bytes_len() < max_bytes {
            self.key.clear();
            self.value.clear();
            if let Some(timestamp) = self.nexmark.write(self.next, &mut self.key, &mut self.value) {
                records.push(self.next as i64, Some(timestamp), Some(&self.key), Some(&self.value));
            }
            self.next += 1;
        }
        if records.is_empty() { vec![] } else { vec![records] }
    }

    /// True when all of a bounded sequence was read.
    pub fn done(&self) -> bool {
        self.nexmark.event_num.is_some_and(|total| self.next >= total)
    }

    /// Whether it ends by itself.
    pub fn is_bounded(&self) -> bool {
        self.nexmark.event_num.is_some()
    }

    /// The next event, of whatever type.
    pub fn position(&self) -> i64 {
        self.next as i64
    }

    /// About how many records are due and not read; 0 without a pace or an end.
    pub fn lag(&self) -> i64 {
        if !self.pace.is_set() && !self.is_bounded() {
            return 0;
        }
        let events = self.due().saturating_sub(self.next);
        (events / ROUND * self.nexmark.table.share()) as i64
    }

    /// One past the last event that is due.
    fn due(&self) -> u64 {
        self.pace.due().min(self.nexmark.event_num.unwrap_or(u64::MAX))
    }
}
