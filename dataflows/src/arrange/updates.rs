//! Packed updates sent to an arrangement or to an export: keys, values and diffs.
//!
//! [`Updates`] is the message exchanged between workers: updates of one epoch for one worker, the keys and
//! the values each in one byte vector, a key's values side by side. Messages are not sorted. [`by_key`]
//! sorts once, when the epoch is complete, by eight bytes of the keys at a time, and adds up equal updates.

use schemas::memory::{HeapBytes, vector_bytes};
use schemas::{MemoryPart, MemoryShare, Ownership, Rows};
use serde::{Deserialize, Serialize};

use super::rows::{Diff, diffs_heap_bytes};

/// Updates of one epoch for one worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Updates<R> {
    /// Index of the receiving worker.
    pub owner: u64,
    /// Epoch of all updates.
    pub epoch: u64,
    keys: Rows,
    /// End of the values of each key.
    ends: Vec<u32>,
    values: Rows,
    diffs: Vec<R>,
    /// Memory of the message, reported from its completion to its end.
    #[serde(skip)]
    memory: MemoryShare,
}

impl<R> Updates<R> {
    fn new(owner: u64, epoch: u64) -> Updates<R> {
        Updates {
            owner,
            epoch,
            keys: Rows::new(),
            ends: vec![],
            values: Rows::new(),
            diffs: vec![],
            memory: MemoryShare::default(),
        }
    }

    /// Returns the number of updates.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Returns true if there are no updates.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }

    /// Returns the number of keys and of their bytes.
    pub fn keys_room(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.bytes_len())
    }

    /// Returns the number of values and of their bytes.
    pub fn values_room(&self) -> (usize, usize) {
        (self.values.len(), self.values.bytes_len())
    }

    /// Returns key, value and diff of every update, in the order pushed.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &R)> {
        (0..self.keys.len()).flat_map(move |key| self.updates_of_key(key))
    }

    /// Returns key, value and diff of every update of one key.
    fn updates_of_key(&self, key: usize) -> impl Iterator<Item = (&[u8], &[u8], &R)> {
        let values = self.values_of_key(key);
        values.map(move |at| (self.keys.get(key), self.values.get(at), &self.diffs[at]))
    }

    fn values_of_key(&self, key: usize) -> std::ops::Range<usize> {
        let start = if key == 0 { 0 } else { self.ends[key - 1] as usize };
        start..self.ends[key] as usize
    }
}

/// Updates of one epoch, partitioned by the worker that owns their key.
pub struct ExchangeBuffer<R> {
    parts: Vec<Updates<R>>,
    ownership: Ownership,
    at: usize,
}

impl<R> ExchangeBuffer<R> {
    /// Creates an empty buffer for the owners of all key groups.
    pub fn new(epoch: u64, ownership: &Ownership) -> ExchangeBuffer<R> {
        let parts = (0..ownership.workers() as u64).map(|owner| Updates::new(owner, epoch)).collect();
        ExchangeBuffer { parts, ownership: ownership.clone(), at: 0 }
    }

    /// Adds a key, to which the values pushed next belong; at least one must follow.
    pub fn push_key(&mut self, key: &[u8]) {
        self.at = self.ownership.owner_of(key);
        let part = &mut self.parts[self.at];
        part.keys.push(key);
        // The key has no values yet; pushing one moves this end.
        part.ends.push(part.diffs.len() as u32);
    }

    /// Adds a value of the last key.
    pub fn push_value(&mut self, value: &[u8], diff: R) {
        self.push_concatenated(&[], value, diff);
    }

    /// Adds a value of the last key, given in two parts.
    pub fn push_concatenated(&mut self, head: &[u8], tail: &[u8], diff: R) {
        let part = &mut self.parts[self.at];
        part.values.push_joined(head, tail);
        part.diffs.push(diff);
        if let Some(end) = part.ends.last_mut() {
            *end += 1;
        }
    }
}

impl<R: Diff> ExchangeBuffer<R> {
    /// Adds a diff to the update pushed last if that is of the same key and value; returns false if it is not.
    pub fn add_to_last(&mut self, (key, value): (&[u8], &[u8]), diff: &R) -> bool {
        let part = &mut self.parts[self.at];
        let (keys, values) = (&part.keys, &part.values);
        let Some(last) = part.diffs.last_mut() else { return false };
        let same = keys.get(keys.len() - 1) == key && values.get(values.len() - 1) == value;
        if same {
            last.plus_equals(diff);
        }
        same
    }
}

impl<R: HeapBytes> ExchangeBuffer<R> {
    /// Returns the updates, one item for each worker that has any.
    pub fn into_updates(self) -> impl Iterator<Item = Updates<R>> {
        self.parts.into_iter().filter(|part| !part.is_empty()).map(Updates::into_complete)
    }
}

impl<R: HeapBytes> Updates<R> {
    /// Completes the message: reports its memory.
    fn into_complete(mut self) -> Updates<R> {
        let bytes = self.heap_bytes();
        self.memory.set(MemoryPart::Epochs, bytes);
        self
    }
}

impl<R: HeapBytes> HeapBytes for Updates<R> {
    fn heap_bytes(&self) -> usize {
        let rows = self.keys.heap_bytes() + self.values.heap_bytes() + vector_bytes(&self.ends);
        rows + vector_bytes(&self.diffs) + diffs_heap_bytes(&self.diffs)
    }
}

/// Value with its epoch and its diff.
pub type ValueUpdate<'a, R> = (&'a [u8], u64, R);

/// Visits keys in ascending order with their values in ascending order of value and epoch.
///
/// Diffs of equal value and epoch are added up, and zero sums left out; a key without values left is not
/// visited.
pub fn by_key<R: Diff + Default>(
    parts: &mut [Updates<R>],
    mut visit: impl FnMut(&[u8], &mut Vec<ValueUpdate<'_, R>>),
) {
    // Diffs are moved out once, so that none is cloned while `parts` is borrowed by the entries.
    let (mut diffs, mut keys) = (Vec::with_capacity(parts.len()), 0);
    for part in parts.iter_mut() {
        diffs.push(std::mem::take(&mut part.diffs));
        keys += part.keys.len();
    }
    let parts = &*parts;
    let mut order: Vec<KeyPlace> = Vec::with_capacity(keys);
    for (at, part) in parts.iter().enumerate() {
        order.extend((0..part.keys.len()).map(|key| (0, at as u32, key as u32)));
    }
    sort_places(parts, &mut order, 0);
    let mut entries: Vec<ValueUpdate<'_, R>> = Vec::new();
    let mut rest = &order[..];
    while let Some(first) = rest.first() {
        // The same key may come from several messages: its values are consolidated together.
        let key = key_at(parts, first);
        let same = 1 + rest[1..].iter().take_while(|e| e.0 == first.0 && key_at(parts, e) == key).count();
        for (_, at, place) in &rest[..same] {
            let part = &parts[*at as usize];
            for value in part.values_of_key(*place as usize) {
                let diff = std::mem::take(&mut diffs[*at as usize][value]);
                entries.push((part.values.get(value), part.epoch, diff));
            }
        }
        consolidate_entries(&mut entries);
        if !entries.is_empty() {
            visit(key, &mut entries);
            entries.clear();
        }
        rest = &rest[same..];
    }
}

/// Some bytes of a key, index of its message, and index of the key there.
type KeyPlace = (u64, u32, u32);

/// Keys that are compared themselves where their numbers are equal.
const FEW_KEYS: usize = 8;

/// Returns the bytes of a key.
fn key_at<'p, R>(parts: &'p [Updates<R>], place: &KeyPlace) -> &'p [u8] {
    parts[place.1 as usize].keys.get(place.2 as usize)
}

/// Sorts keys by the eight bytes behind their common beginning, which are compared as numbers without reading the keys, and
/// those that these do not tell apart among themselves in the same way. All begin alike for `known` bytes. Equal keys end up
/// with equal numbers.
fn sort_places<R>(parts: &[Updates<R>], places: &mut [KeyPlace], known: usize) {
    let common = common_length(parts, places, known);
    for place in places.iter_mut() {
        place.0 = key_prefix(&key_at(parts, place)[common..]);
    }
    places.sort_unstable_by_key(|place| place.0);
    let all = places.len();
    for alike in places.chunk_by_mut(|a, b| a.0 == b.0) {
        // Few are mostly one key out of several messages. All are equal, or end in zeros, which a number does not tell
        // from none.
        if alike.len() <= FEW_KEYS || alike.len() == all {
            alike.sort_unstable_by(|a, b| key_at(parts, a).cmp(key_at(parts, b)));
        } else {
            sort_places(parts, alike, common);
        }
    }
}

/// Returns the number of bytes with which all these keys begin, which is `known` at least.
fn common_length<R>(parts: &[Updates<R>], places: &[KeyPlace], known: usize) -> usize {
    let Some((first, rest)) = places.split_first() else { return 0 };
    let first = key_at(parts, first);
    let mut common = first.len();
    for place in rest {
        let key = key_at(parts, place);
        // Mostly nothing changes, which one comparison of bytes tells.
        if key.get(known..common) != Some(&first[known..common]) {
            let more = key[known..].iter().zip(&first[known..common]).take_while(|(a, b)| a == b);
            common = known + more.count();
        }
    }
    common
}

/// Returns the first eight bytes as a number of the same order; a shorter key is padded with zeros.
fn key_prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

fn consolidate_entries<R: Diff>(entries: &mut Vec<ValueUpdate<'_, R>>) {
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
        for round in 0..300 {
            let beginnings = [&b"all begin so"[..round % 13], &b"all\0\0"[..round % 6]];
            let mut parts = Vec::new();
            let mut expected: BTreeMap<(Vec<u8>, Vec<u8>, u64), i64> = BTreeMap::new();
            let mut bytes = |longest: usize| -> Vec<u8> {
                let len = rng.random_range(0..=longest);
                (0..len).map(|_| rng.random_range(0..3u8)).collect()
            };
            for part in 0..4u64 {
                let mut outgoing = ExchangeBuffer::new(part % 2, &Ownership::default());
                for at in 0..30i64 {
                    let (key, value) = ([beginnings[at as usize % 2], &bytes(11)].concat(), bytes(2));
                    let diff = at % 3 - 1;
                    outgoing.push_key(&key);
                    outgoing.push_value(&value, diff);
                    outgoing.push_value(&[9], 1);
                    *expected.entry((key.clone(), value, part % 2)).or_default() += diff;
                    *expected.entry((key, vec![9], part % 2)).or_default() += 1;
                }
                parts.extend(outgoing.into_updates());
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
