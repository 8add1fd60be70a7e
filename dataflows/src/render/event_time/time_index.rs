//! Keys by the time at which they are due, with a running count of their memory.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use schemas::memory::{allocated_bytes, table_bytes, tree_bytes};

/// Bytes of the two counters in front of a shared key.
const COUNTERS: usize = 16;

/// Keys by time; a key may stand at several times.
#[derive(Default)]
pub struct TimeIndex {
    // One tree of pairs: a tree of keys for each time would take a whole node where times differ.
    entries: BTreeSet<(i64, Rc<[u8]>)>,
    /// Bytes of the keys.
    key_bytes: usize,
}

impl TimeIndex {
    /// Adds a key at a time, unless it stands there.
    pub fn insert_key(&mut self, time: i64, key: Rc<[u8]>) {
        let bytes = shared_bytes(&key);
        if self.entries.insert((time, key)) {
            self.key_bytes += bytes;
        }
    }

    /// Removes a key from a time, if it stands there.
    fn remove_key(&mut self, time: i64, key: &Rc<[u8]>) {
        if self.entries.remove(&(time, key.clone())) {
            self.key_bytes -= shared_bytes(key);
        }
    }

    /// Removes and returns the keys at times below `horizon`, in ascending order of their bytes.
    pub fn take_below(&mut self, horizon: i64) -> Vec<Rc<[u8]>> {
        let mut keys = Vec::new();
        // One by one: splitting the tree counts all entries of one part, and most epochs take few.
        while self.entries.first().is_some_and(|(time, _)| *time < horizon) {
            if let Some((_, key)) = self.entries.pop_first() {
                self.key_bytes -= shared_bytes(&key);
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys
    }

    /// Returns the bytes that the index has allocated.
    pub fn held_bytes(&self) -> usize {
        self.key_bytes + tree_bytes(self.entries.len(), size_of::<(i64, Rc<[u8]>)>())
    }
}

/// Keys by the earliest time at which some of their content may be due. Each key stands at one time, however
/// much content it has: its later content is found when the key is looked at.
#[derive(Default)]
pub struct KeySchedule {
    due: TimeIndex,
    /// Time of each key in `due`.
    times: HashMap<Rc<[u8]>, i64>,
}

impl KeySchedule {
    /// Schedules a look at a key at `time`, unless an earlier one is scheduled.
    pub fn schedule_key(&mut self, key: &[u8], time: i64) {
        let Some((held, scheduled)) = self.times.get_key_value(key) else {
            let key: Rc<[u8]> = key.into();
            self.times.insert(key.clone(), time);
            return self.due.insert_key(time, key);
        };
        if *scheduled > time {
            let (key, scheduled) = (held.clone(), *scheduled);
            self.due.remove_key(scheduled, &key);
            self.times.insert(key.clone(), time);
            self.due.insert_key(time, key);
        }
    }

    /// Removes and returns the keys scheduled below `horizon`, in ascending order.
    pub fn take_below(&mut self, horizon: i64) -> Vec<Rc<[u8]>> {
        let keys = self.due.take_below(horizon);
        for key in &keys {
            self.times.remove(key);
        }
        keys
    }

    /// Returns the bytes that the schedule has allocated.
    pub fn held_bytes(&self) -> usize {
        // Keys are shared by both, and counted in `due`.
        self.due.held_bytes() + table_bytes(self.times.capacity(), size_of::<(Rc<[u8]>, i64)>())
    }
}

/// Returns the bytes of a map of so many packed rows to their multiplicities, without the bytes of the rows.
pub fn rows_bytes(rows: usize) -> usize {
    tree_bytes(rows, size_of::<(Vec<u8>, i64)>())
}

/// Returns the bytes that a shared key has allocated.
fn shared_bytes(key: &Rc<[u8]>) -> usize {
    allocated_bytes(COUNTERS + key.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn the_count_is_that_of_the_keys_held() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut index = TimeIndex::default();
        for round in 0..5000 {
            let (time, length) = (rng.random_range(0..20i64), rng.random_range(0..60usize));
            let key: Rc<[u8]> = vec![length as u8; length].into();
            match rng.random_range(0..8) {
                0 => index.remove_key(time, &key),
                1 if round % 50 == 0 => drop(index.take_below(time)),
                _ => index.insert_key(time, key),
            }
            assert_eq!(
                index.key_bytes,
                index.entries.iter().map(|(_, key)| shared_bytes(key)).sum::<usize>()
            );
        }
        assert!(index.held_bytes() > 0);
        index.take_below(i64::MAX);
        assert_eq!(index.held_bytes(), 0);
    }

    #[test]
    fn a_key_is_scheduled_once_at_its_earliest_time() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let (mut schedule, mut model) = (KeySchedule::default(), BTreeMap::<Vec<u8>, i64>::new());
        for _ in 0..5000 {
            let (time, key) = (rng.random_range(0..1000i64), vec![rng.random_range(0..80u8); 3]);
            if rng.random_range(0..20) == 0 {
                let taken: Vec<Vec<u8>> = schedule.take_below(time).iter().map(|key| key.to_vec()).collect();
                let due: Vec<Vec<u8>> =
                    model.iter().filter(|(_, at)| **at < time).map(|(key, _)| key.clone()).collect();
                assert_eq!(taken, due);
                model.retain(|_, at| *at >= time);
            } else {
                schedule.schedule_key(&key, time);
                let at = model.entry(key).or_insert(time);
                *at = time.min(*at);
            }
            assert_eq!(schedule.due.entries.len(), model.len());
            assert_eq!(schedule.times.len(), model.len());
        }
        schedule.take_below(i64::MAX);
        assert_eq!(schedule.due.held_bytes(), 0);
    }
}
