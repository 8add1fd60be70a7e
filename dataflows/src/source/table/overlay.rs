//! Rows of a table in epochs that are not committed yet.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use schemas::memory::{HeapBytes, allocated_bytes, table_bytes, vector_bytes};
use schemas::{MemoryPart, MemoryShare};

use crate::render::aggregates::input::KeyHasher;
use crate::source::held::Held;

/// Packed key, which the map and the lists of epochs share.
type SharedKey = Rc<[u8]>;
/// Last epoch that changed a key, and the row it left; None for a deleted key.
type LeftRow = (u64, Option<Held>);

/// Rows of epochs that are not committed yet.
#[derive(Default)]
pub(super) struct Overlay {
    /// Rows by key.
    pub(super) rows: HashMap<SharedKey, LeftRow, BuildHasherDefault<KeyHasher>>,
    /// Keys that the running epoch changed, each once.
    changed: Vec<SharedKey>,
    /// Keys changed by epoch, oldest first.
    epochs: VecDeque<(u64, Vec<SharedKey>)>,
    /// Bytes of the keys and rows, and of the lists.
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
                if self.rows.get(&key).is_some_and(|(at, _)| *at == epoch)
                    && let Some((_, row)) = self.rows.remove(&key)
                {
                    self.bytes -= key_bytes(&key) + row_bytes(&row);
                }
            }
        }
    }

    /// Sets the row that the running epoch leaves of a key.
    pub(super) fn set_row(&mut self, key: &[u8], epoch: u64, row: Option<Held>) {
        self.bytes += row_bytes(&row);
        let held = self
            .rows
            .get_key_value(key)
            .map(|(key, (at, replaced))| (key.clone(), *at == epoch, row_bytes(replaced)));
        let key: SharedKey = match held {
            Some((key, is_noted, replaced)) => {
                // A key is noted once an epoch, by the first change.
                self.bytes -= replaced;
                if !is_noted {
                    self.changed.push(key.clone());
                }
                key
            }
            None => {
                let key: SharedKey = key.into();
                self.bytes += key_bytes(&key);
                self.changed.push(key.clone());
                key
            }
        };
        self.rows.insert(key, (epoch, row));
    }

    /// Visits the rows that the running epoch has left, by their keys; None for a deleted key.
    pub(super) fn visit_changed(&self, mut visit: impl FnMut(&[u8], Option<&Held>)) {
        for key in &self.changed {
            if let Some((_, row)) = self.rows.get(key) {
                visit(key, row.as_ref());
            }
        }
    }

    /// Ends the running epoch, and reports the memory of the overlay.
    pub(super) fn end_epoch(&mut self, epoch: u64) {
        let keys = std::mem::take(&mut self.changed);
        self.bytes += vector_bytes(&keys);
        self.epochs.push_back((epoch, keys));
        let places = table_bytes(self.rows.capacity(), size_of::<(SharedKey, LeftRow)>());
        self.memory.set(MemoryPart::Overlay, places + self.bytes);
    }
}

/// Bytes of a shared key with its counts of references.
fn key_bytes(key: &SharedKey) -> usize {
    allocated_bytes(2 * size_of::<usize>() + key.len())
}

fn row_bytes(row: &Option<Held>) -> usize {
    row.as_ref().map_or(0, HeapBytes::heap_bytes)
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
        let mut overlay = Overlay::default();
        overlay.set_row(b"a", 1, Some(held(100)));
        overlay.set_row(b"b", 1, Some(held(500)));
        overlay.set_row(b"b", 1, Some(held(50)));
        let mut changed = Vec::new();
        overlay.visit_changed(|key, row| changed.push((key.to_vec(), row.map(|row| row.row.len()))));
        assert_eq!(
            changed,
            [(b"a".to_vec(), Some(100)), (b"b".to_vec(), Some(50))],
            "each once, as it is now"
        );
        overlay.end_epoch(1);
        let first = overlay.bytes;
        assert!(first > 150 && overlay.memory.bytes() > first, "{first}");
        // The next epoch replaces one row and deletes the other.
        overlay.set_row(b"a", 2, Some(held(1000)));
        overlay.set_row(b"b", 2, None);
        overlay.end_epoch(2);
        assert!(overlay.bytes > first + 800, "{}", overlay.bytes);
        overlay.drop_through(1);
        assert_eq!(overlay.rows.len(), 2);
        overlay.drop_through(2);
        assert_eq!((overlay.rows.len(), overlay.bytes), (0, 0));
    }
}
