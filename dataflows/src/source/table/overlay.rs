//! Rows of a table in epochs that are not committed yet.

use std::collections::{HashMap, VecDeque};

use schemas::memory::{HeapBytes, table_bytes, vector_bytes};
use schemas::{MemoryPart, MemoryShare};

use crate::source::held::Held;

/// Rows of epochs that are not committed yet.
#[derive(Default)]
pub(super) struct Overlay {
    /// By key: the last epoch that changed it, and the row it left; None for a deleted key.
    pub(super) rows: HashMap<Vec<u8>, (u64, Option<Held>)>,
    /// Keys changed by epoch, oldest first.
    epochs: VecDeque<(u64, Vec<Vec<u8>>)>,
    /// Bytes of the keys and rows in both.
    bytes: usize,
    memory: MemoryShare,
}

impl Overlay {
    /// Drops rows of committed epochs: the state has them. A key that a later epoch changed stays.
    pub(super) fn drop_through(&mut self, committed: u64) {
        while self.epochs.front().is_some_and(|(epoch, _)| *epoch <= committed) {
            let Some((epoch, keys)) = self.epochs.pop_front() else { return };
            self.bytes -= vector_bytes(&keys);
            for key in keys {
                let mut gone = key.heap_bytes();
                if self.rows.get(&key).is_some_and(|(at, _)| *at == epoch)
                    && let Some((_, row)) = self.rows.remove(&key)
                {
                    gone += key.heap_bytes() + row.as_ref().map_or(0, HeapBytes::heap_bytes);
                }
                self.bytes -= gone;
            }
        }
    }

    /// Sets the row that an epoch left of a key.
    pub(super) fn set_row(&mut self, key: Vec<u8>, epoch: u64, row: Option<Held>) {
        let of_key = key.heap_bytes();
        self.bytes += of_key + row.as_ref().map_or(0, HeapBytes::heap_bytes);
        if let Some((_, replaced)) = self.rows.insert(key, (epoch, row)) {
            self.bytes -= of_key + replaced.as_ref().map_or(0, HeapBytes::heap_bytes);
        }
    }

    /// Adds the keys that an epoch changed, and reports the memory of the overlay.
    pub(super) fn note_epoch(&mut self, epoch: u64, keys: Vec<Vec<u8>>) {
        self.bytes += vector_bytes(&keys) + keys.iter().map(HeapBytes::heap_bytes).sum::<usize>();
        self.epochs.push_back((epoch, keys));
        let places = table_bytes(self.rows.capacity(), size_of::<(Vec<u8>, (u64, Option<Held>))>());
        self.memory.set(MemoryPart::Overlay, places + self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_counts_its_rows_until_their_epochs_are_committed() {
        let held = |bytes: usize| Held {
            deleted: false,
            erased: false,
            partition: 0,
            offset: 0,
            event_us: i64::MIN,
            version: vec![1],
            declared: 0,
            row: vec![7; bytes],
        };
        let keys = || vec![b"a".to_vec(), b"b".to_vec()];
        let mut overlay = Overlay::default();
        overlay.set_row(b"a".to_vec(), 1, Some(held(100)));
        overlay.set_row(b"b".to_vec(), 1, Some(held(50)));
        overlay.note_epoch(1, keys());
        let first = overlay.bytes;
        assert!(first > 150 && overlay.memory.bytes() > first, "{first}");
        // The next epoch replaces one row and deletes the other.
        overlay.set_row(b"a".to_vec(), 2, Some(held(1000)));
        overlay.set_row(b"b".to_vec(), 2, None);
        overlay.note_epoch(2, keys());
        assert!(overlay.bytes > first + 800, "{}", overlay.bytes);
        overlay.drop_through(1);
        assert_eq!(overlay.rows.len(), 2);
        overlay.drop_through(2);
        assert_eq!((overlay.rows.len(), overlay.bytes), (0, 0));
    }
}
