//! Updates on their way into an arrangement or out of the dataflow: keys, values and diffs as bytes.
//!
//! [`Updates`] is what crosses between workers: all of one epoch and for one worker, one heap of keys
//! and one of values, a key's values side by side. Nothing is sorted on the way. [`by_key`] sorts once,
//! when the epoch is complete, by the first eight bytes of the keys and then by the rest, and adds up
//! what is equal.

use schemas::Rows;
use serde::{Deserialize, Serialize};

use super::trace::{Diff, owner_of};

/// Updates of one epoch for one worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Updates<R> {
    /// The worker they are for.
    pub owner: u64,
    /// Their epoch.
    pub epoch: u64,
    keys: Rows,
    /// For each key, where its values end.
    ends: Vec<u32>,
    values: Rows,
    diffs: Vec<R>,
}

impl<R> Updates<R> {
    /// How many updates there are.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// True without updates.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }

    /// How many keys there are, and their bytes.
    pub fn keys_room(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.bytes_len())
    }

    /// How many values there are, and their bytes.
    pub fn values_room(&self) -> (usize, usize) {
        (self.values.len(), self.values.bytes_len())
    }

    /// Key, value and diff of every update, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &R)> {
        (0..self.keys.len()).flat_map(move |key| {
            self.range(key).map(move |at| (self.keys.get(key), self.values.get(at), &self.diffs[at]))
        })
    }

    fn range(&self, key: usize) -> std::ops::Range<usize> {
        let start = if key == 0 { 0 } else { self.ends[key - 1] as usize };
        start..self.ends[key] as usize
    }
}

/// Updates of one epoch, sorted out by the worker that owns their key.
pub struct Outgoing<R> {
    parts: Vec<Updates<R>>,
    at: usize,
}

impl<R> Outgoing<R> {
    /// Nothing yet, for `peers` workers.
    pub fn new(epoch: u64, peers: usize) -> Outgoing<R> {
        let part = |owner| Updates {
            owner,
            epoch,
            keys: Rows::new(),
            ends: vec![],
            values: Rows::new(),
            diffs: vec![],
        };
        Outgoing { parts: (0..peers as u64).map(part).collect(), at: 0 }
    }

    /// Adds a key, to which the values that follow belong; at least one must.
    pub fn key(&mut self, key: &[u8]) {
        self.at = if self.parts.len() == 1 { 0 } else { owner_of(key, self.parts.len()) as usize };
        let part = &mut self.parts[self.at];
        part.keys.push(key);
        part.ends.push(part.diffs.len() as u32);
    }

    /// Adds a value of the last key.
    pub fn value(&mut self, value: &[u8], diff: R) {
        self.joined(&[], value, diff);
    }

    /// Adds a value of the last key, of two parts.
    pub fn joined(&mut self, head: &[u8], tail: &[u8], diff: R) {
        let part = &mut self.parts[self.at];
        part.values.push_joined(head, tail);
        part.diffs.push(diff);
        if let Some(end) = part.ends.last_mut() {
            *end += 1;
        }
    }

    /// What there is, one item a worker.
    pub fn finish(self) -> impl Iterator<Item = Updates<R>> {
        self.parts.into_iter().filter(|part| !part.is_empty())
    }
}

/// A value, its epoch and its diff.
pub type Entry<'a, R> = (&'a [u8], u64, R);

/// Visits keys in ascending order with their values in ascending order, equal ones added up and what
/// cancels left out. A key without values left is not visited.
pub fn by_key<R: Diff + Default>(
    parts: &mut [Updates<R>],
    mut visit: impl FnMut(&[u8], &mut Vec<Entry<'_, R>>),
) {
    let mut diffs: Vec<Vec<R>> = parts.iter_mut().map(|part| std::mem::take(&mut part.diffs)).collect();
    let mut order: Vec<(u64, u32, u32)> = Vec::with_capacity(parts.iter().map(|p| p.keys.len()).sum());
    for (at, part) in parts.iter().enumerate() {
        order.extend((0..part.keys.len()).map(|key| (prefix(part.keys.get(key)), at as u32, key as u32)));
    }
    let key = |entry: &(u64, u32, u32)| parts[entry.1 as usize].keys.get(entry.2 as usize);
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a).cmp(key(b))));
    let mut entries: Vec<Entry<'_, R>> = Vec::new();
    let mut rest = &order[..];
    while let Some(first) = rest.first() {
        let same = 1 + rest[1..].iter().take_while(|e| e.0 == first.0 && key(e) == key(first)).count();
        for (_, at, key) in &rest[..same] {
            let part = &parts[*at as usize];
            for value in part.range(*key as usize) {
                let diff = std::mem::take(&mut diffs[*at as usize][value]);
                entries.push((part.values.get(value), part.epoch, diff));
            }
        }
        consolidate(&mut entries);
        if !entries.is_empty() {
            visit(key(first), &mut entries);
            entries.clear();
        }
        rest = &rest[same..];
    }
}

/// The first eight bytes as a number that sorts as they do; a shorter key sorts with zeros behind it.
fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

fn consolidate<R: Diff>(entries: &mut Vec<Entry<'_, R>>) {
    if entries.len() > 1 {
        entries.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        entries.dedup_by(|next, held| {
            let equal = next.0 == held.0 && next.1 == held.1;
            if equal {
                held.2.plus_equals(&next.2);
            }
            equal
        });
    }
    entries.retain(|entry| !entry.2.is_zero());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};

    #[test]
    fn by_key_is_an_ordered_map_of_sums() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        for _ in 0..300 {
            let mut parts = Vec::new();
            let mut expected: BTreeMap<(Vec<u8>, Vec<u8>, u64), i64> = BTreeMap::new();
            let mut bytes = |longest: usize| -> Vec<u8> {
                let len = rng.random_range(0..=longest);
                (0..len).map(|_| rng.random_range(0..3u8)).collect()
            };
            for part in 0..4u64 {
                let mut outgoing = Outgoing::new(part % 2, 1);
                for at in 0..30i64 {
                    let (key, value) = (bytes(11), bytes(2));
                    let diff = at % 3 - 1;
                    outgoing.key(&key);
                    outgoing.value(&value, diff);
                    outgoing.value(&[9], 1);
                    *expected.entry((key.clone(), value, part % 2)).or_default() += diff;
                    *expected.entry((key, vec![9], part % 2)).or_default() += 1;
                }
                parts.extend(outgoing.finish());
            }
            expected.retain(|_, diff| *diff != 0);
            let mut found = Vec::new();
            by_key(&mut parts, |key, entries| {
                let entries = entries.iter().map(|e| ((key.to_vec(), e.0.to_vec(), e.1), e.2));
                found.extend(entries);
            });
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
