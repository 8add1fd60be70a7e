//! Keys by the time at which they are due, with a running count of their memory.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use schemas::memory::{HeapBytes, tree_bytes};

/// Keys by time; a key may stand at several times.
#[derive(Default)]
pub struct TimeIndex<T, K> {
    times: BTreeMap<T, BTreeSet<K>>,
    /// Bytes of the sets, and of what times and keys have allocated.
    bytes: usize,
}

impl<T: Ord + HeapBytes, K: Ord + HeapBytes> TimeIndex<T, K> {
    /// Adds a key at a time, unless it stands there.
    pub fn insert_key(&mut self, time: T, key: K) {
        let (of_time, of_key) = (time.heap_bytes(), key.heap_bytes());
        let keys = self.times.entry(time).or_default();
        let before = keys.len();
        if keys.insert(key) {
            self.bytes += of_key + (set_bytes::<K>(before + 1) - set_bytes::<K>(before));
            self.bytes += if before == 0 { of_time } else { 0 };
        }
    }

    /// Removes a key from a time, if it stands there.
    pub fn remove_key<Q: Ord + ?Sized>(&mut self, time: &T, key: &Q)
    where
        K: Borrow<Q>,
    {
        let Some(keys) = self.times.get_mut(time) else { return };
        let Some(key) = keys.take(key) else { return };
        let left = keys.len();
        self.bytes -= key.heap_bytes() + (set_bytes::<K>(left + 1) - set_bytes::<K>(left));
        if left == 0 {
            self.times.remove(time);
            self.bytes -= time.heap_bytes();
        }
    }

    /// Removes and returns the keys at times below `horizon`.
    pub fn take_below(&mut self, horizon: &T) -> BTreeMap<T, BTreeSet<K>> {
        let later = self.times.split_off(horizon);
        let done = std::mem::replace(&mut self.times, later);
        for (time, keys) in &done {
            let of_keys: usize = keys.iter().map(HeapBytes::heap_bytes).sum();
            self.bytes -= time.heap_bytes() + set_bytes::<K>(keys.len()) + of_keys;
        }
        done
    }

    /// Returns the bytes that the index has allocated.
    pub fn held_bytes(&self) -> usize {
        self.bytes + tree_bytes(self.times.len(), size_of::<(T, BTreeSet<K>)>())
    }
}

/// Returns the bytes of a map of so many packed rows to their multiplicities, without the bytes of the rows.
pub fn rows_bytes(rows: usize) -> usize {
    tree_bytes(rows, size_of::<(Vec<u8>, i64)>())
}

/// Returns the bytes of a set of `keys` keys, without what they have allocated themselves.
fn set_bytes<K>(keys: usize) -> usize {
    tree_bytes(keys, size_of::<K>())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn the_count_is_that_of_the_keys_held() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut index: TimeIndex<i64, Vec<u8>> = TimeIndex::default();
        for round in 0..5000 {
            let (time, length) = (rng.random_range(0..20i64), rng.random_range(0..60usize));
            let key = vec![length as u8; length];
            match rng.random_range(0..8) {
                0 => index.remove_key(&time, &key[..]),
                1 if round % 50 == 0 => drop(index.take_below(&time)),
                _ => index.insert_key(time, key),
            }
            let of_keys = |keys: &BTreeSet<Vec<u8>>| keys.iter().map(HeapBytes::heap_bytes).sum::<usize>();
            let of_sets = index.times.values().map(|keys| set_bytes::<Vec<u8>>(keys.len()) + of_keys(keys));
            assert_eq!(index.bytes, of_sets.sum::<usize>());
            assert!(index.times.values().all(|keys| !keys.is_empty()));
        }
        assert!(index.held_bytes() > 0);
        index.take_below(&i64::MAX);
        assert_eq!(index.held_bytes(), 0);
    }

    #[test]
    fn a_key_of_its_own_time_takes_a_whole_node() {
        let mut index: TimeIndex<Vec<u8>, Vec<u8>> = TimeIndex::default();
        index.insert_key(vec![1; 9], vec![2; 20]);
        // Two nodes, of the set and of the times, and the bytes of key and time.
        let node = |entry: usize| tree_bytes(1, entry);
        assert_eq!(index.held_bytes(), node(24) + node(48) + 32 + 16);
        index.insert_key(vec![1; 9], vec![2; 20]);
        assert_eq!(index.held_bytes(), node(24) + node(48) + 32 + 16);
        index.remove_key(&vec![1; 9], &[2u8; 20][..]);
        assert_eq!(index.held_bytes(), 0);
    }
}
