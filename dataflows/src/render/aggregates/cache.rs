//! Totals of groups that changed of late or are used often, within a budget that all caches of the process share.
//!
//! An entry that an epoch changed stays until that epoch is committed: from then on the state has the same total. So a
//! key without an entry has its last total in the state. Beyond the budget, entries that were not used since the
//! clock's hand passed them last are dropped; every cache gives up the same part of its bytes, each at the end of its own
//! epochs, so the sum may pass the budget by what one epoch adds.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schemas::memory::{HeapBytes, allocated_bytes, table_bytes};
use schemas::{MemoryPart, MemoryShare};

use super::input::KeyHasher;
use crate::functions::sums::accum::Accums;

/// Packed key of a group, which the map and the clock share.
type GroupKey = Rc<[u8]>;

/// Bytes that all caches of the process may hold, and those that they hold.
#[derive(Debug)]
pub struct CacheRoom {
    limit: usize,
    used: AtomicUsize,
}

impl CacheRoom {
    /// Bytes of the default: six sixteenths of 2 GiB.
    pub const DEFAULT_BYTES: usize = 768 << 20;

    /// Creates room for so many bytes.
    pub fn new(limit: usize) -> CacheRoom {
        CacheRoom { limit, used: AtomicUsize::new(0) }
    }

    /// Replaces the bytes that one cache holds.
    fn replace(&self, before: usize, now: usize) {
        // Added before the old bytes are taken off, so that the sum does not fall below zero.
        self.used.fetch_add(now, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
    }

    /// Returns the bytes that a cache of so many may keep.
    fn share_of(&self, bytes: usize) -> usize {
        let used = self.used.load(Ordering::Relaxed).max(bytes);
        if used <= self.limit {
            return bytes;
        }
        // Below 2^128: two numbers of 64 bits.
        (bytes as u128 * self.limit as u128 / used as u128) as usize
    }
}

impl Default for CacheRoom {
    fn default() -> CacheRoom {
        CacheRoom::new(CacheRoom::DEFAULT_BYTES)
    }
}

/// A cached total.
struct Entry {
    /// The total as of the last epoch that was processed; None where the group has none.
    total: Option<Accums>,
    /// Last epoch that changed it; 0 for none.
    changed: u64,
    /// Used since the hand passed it.
    used: bool,
}

/// The cache of one operator at one worker.
pub(super) struct TotalsCache {
    totals: HashMap<GroupKey, Entry, BuildHasherDefault<KeyHasher>>,
    /// All keys, in the order in which the hand passes them.
    clock: VecDeque<GroupKey>,
    /// Bytes of keys and totals.
    bytes: usize,
    /// Bytes of its entries that the room knows of.
    counted: usize,
    room: Arc<CacheRoom>,
    memory: MemoryShare,
}

impl TotalsCache {
    /// Creates an empty cache.
    pub(super) fn new(room: Arc<CacheRoom>) -> TotalsCache {
        TotalsCache {
            totals: HashMap::default(),
            clock: VecDeque::new(),
            bytes: 0,
            counted: 0,
            room,
            memory: MemoryShare::default(),
        }
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.totals.len()
    }

    /// Takes the total of a key, which is set again in the same epoch, so that it is changed without a copy; the outer None
    /// stands for a key that must be looked up in the state.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Option<Accums>> {
        let entry = self.totals.get_mut(key)?;
        entry.used = true;
        self.bytes -= total_bytes(&entry.total);
        Some(entry.total.take())
    }

    /// Sets the total that an epoch leaves; the epoch is 0 for one that it did not change.
    pub(super) fn set(&mut self, key: &[u8], epoch: u64, total: Option<Accums>) {
        self.bytes += total_bytes(&total);
        // The key is allocated only once, when the group comes.
        if let Some(entry) = self.totals.get_mut(key) {
            self.bytes -= total_bytes(&entry.total);
            (entry.total, entry.changed) = (total, entry.changed.max(epoch));
            return;
        }
        let key: GroupKey = key.into();
        self.bytes += key_bytes(&key);
        self.clock.push_back(key.clone());
        self.totals.insert(key, Entry { total, changed: epoch, used: false });
    }

    /// Drops entries beyond the budget, but for those that are not committed, and reports the memory.
    pub(super) fn shrink(&mut self, committed: u64) {
        let bytes = self.entry_bytes();
        self.room.replace(self.counted, bytes);
        let keep = self.room.share_of(bytes);
        // The hand passes each entry twice at most: used ones stay the first time.
        let mut steps = 2 * self.clock.len();
        while self.entry_bytes() > keep && steps > 0 {
            steps -= 1;
            let Some(key) = self.clock.pop_front() else { break };
            let Some(entry) = self.totals.get_mut(&key) else { continue };
            // The state does not have this one yet.
            if entry.changed > committed || entry.used {
                entry.used = false;
                self.clock.push_back(key);
                continue;
            }
            self.bytes -= key_bytes(&key) + total_bytes(&entry.total);
            self.totals.remove(&key);
        }
        // A first epoch with many groups leaves room that no later one needs.
        if self.totals.capacity() > 4 * self.totals.len() {
            self.totals.shrink_to_fit();
            self.clock.shrink_to_fit();
        }
        self.counted = self.entry_bytes();
        self.room.replace(bytes, self.counted);
        let places = table_bytes(self.totals.capacity(), size_of::<(GroupKey, Entry)>());
        let clock = allocated_bytes(self.clock.capacity() * size_of::<GroupKey>());
        self.memory.set(MemoryPart::Totals, self.bytes + places + clock);
    }

    /// Returns the bytes of all entries, each with its places in the map and in the clock, of which a half may be empty.
    fn entry_bytes(&self) -> usize {
        const PLACES: usize = 2 * (size_of::<(GroupKey, Entry)>() + size_of::<GroupKey>());
        self.bytes + self.totals.len() * PLACES
    }
}

impl Drop for TotalsCache {
    fn drop(&mut self) {
        self.room.replace(self.counted, 0);
    }
}

/// Bytes of a shared key with its counts of references.
fn key_bytes(key: &GroupKey) -> usize {
    allocated_bytes(2 * size_of::<usize>() + key.len())
}

fn total_bytes(total: &Option<Accums>) -> usize {
    total.as_ref().map_or(0, HeapBytes::heap_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets the totals of some keys in an epoch, the key's number as rows.
    fn set(cache: &mut TotalsCache, keys: std::ops::Range<u32>, epoch: u64) {
        for key in keys {
            cache.set(&key.to_be_bytes(), epoch, Some(Accums::of_rows(key.into())));
        }
    }

    /// Looks up a key and sets it again as it was.
    fn rows(cache: &mut TotalsCache, key: u32, epoch: u64) -> Option<i64> {
        let total = cache.take(&key.to_be_bytes())?;
        cache.set(&key.to_be_bytes(), epoch, total.clone());
        Some(total.map_or(0, |total| total.rows))
    }

    #[test]
    fn what_is_not_committed_stays_and_the_rest_goes_by_use() {
        let room = Arc::new(CacheRoom::new(1));
        let mut cache = TotalsCache::new(room.clone());
        set(&mut cache, 0..1000, 5);
        cache.shrink(4);
        assert_eq!(cache.len(), 1000, "the state does not have them yet");
        assert_eq!(rows(&mut cache, 7, 6), Some(7));
        cache.shrink(5);
        assert_eq!((cache.len(), rows(&mut cache, 7, 6)), (1, Some(7)), "changed by the epoch in flight");
        assert_eq!(rows(&mut cache, 8, 6), None);
        cache.shrink(6);
        assert_eq!((cache.len(), cache.bytes), (0, 0));
        drop(cache);
        assert_eq!(room.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_cache_keeps_what_is_used() {
        let room = Arc::new(CacheRoom::new(64 << 10));
        let mut cache = TotalsCache::new(room.clone());
        let mut other = TotalsCache::new(room.clone());
        for epoch in 1..200u32 {
            set(&mut cache, epoch * 100..epoch * 100 + 100, epoch.into());
            set(&mut other, epoch * 10..epoch * 10 + 10, epoch.into());
            assert_eq!(rows(&mut cache, 100, epoch.into()), Some(100), "used in each epoch");
            cache.shrink(epoch.into());
            other.shrink(epoch.into());
        }
        let (mine, others) = (cache.entry_bytes(), other.entry_bytes());
        assert!((60 << 10..72 << 10).contains(&(mine + others)), "{mine} and {others}");
        assert!(mine > 2 * others && others > 0, "{mine} and {others}");
        assert_eq!(rows(&mut cache, 200, 200), None);
    }
}
