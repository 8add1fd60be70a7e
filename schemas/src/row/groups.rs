//! Key groups: the fixed number of parts into which the hash of a key divides every stored table.
//!
//! A stored key is its group, in two big-endian bytes, and the packed key, so that the keys of a group are
//! one range of a table. Workers own groups, not keys: state moves between workers by group, and any number
//! of workers up to [`KEY_GROUPS`] reads a state that any other number wrote. Number and form of the groups
//! are part of the state's format.

use std::ops::Range;
use std::sync::Arc;

use super::hash;

/// The number of groups into which keys are hashed.
pub const KEY_GROUPS: usize = 4096;

/// The number of bytes that a stored key's group takes.
pub const GROUP_BYTES: usize = 2;

/// Returns the group of a packed key: its hash modulo [`KEY_GROUPS`].
#[inline]
pub fn key_group(key: &[u8]) -> u16 {
    (hash(key) % KEY_GROUPS as u64) as u16
}

/// Returns a key in its stored form: behind its group.
pub fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(GROUP_BYTES + key.len());
    stored.extend_from_slice(&key_group(key).to_be_bytes());
    stored.extend_from_slice(key);
    stored
}

/// Returns a stored key without its group; empty if it has none.
#[inline]
pub fn without_group(stored: &[u8]) -> &[u8] {
    stored.get(GROUP_BYTES..).unwrap_or_default()
}

/// Returns the group of a stored key; None for fewer than [`GROUP_BYTES`] bytes.
#[inline]
pub fn stored_group(stored: &[u8]) -> Option<u16> {
    stored.first_chunk().map(|group| u16::from_be_bytes(*group))
}

/// The owner of each key group: a table from group to worker, cheap to clone.
///
/// ```
/// let ownership = schemas::Ownership::even(3);
/// let owner = ownership.owner_of(b"anna");
/// let group = schemas::key_group(b"anna");
/// assert!(ownership.ranges(owner).iter().any(|groups| groups.contains(&group)));
/// ```
#[derive(Clone, Debug)]
pub struct Ownership {
    workers: usize,
    /// The worker of each group; empty if one worker owns all of them.
    owners: Arc<[u16]>,
}

impl Default for Ownership {
    /// A single worker owns every group.
    fn default() -> Ownership {
        Ownership::even(1)
    }
}

impl Ownership {
    /// Divides the groups evenly: each of `workers` (1 to [`KEY_GROUPS`]) owns one contiguous range.
    pub fn even(workers: usize) -> Ownership {
        let workers = workers.clamp(1, KEY_GROUPS);
        let groups = if workers == 1 { 0 } else { KEY_GROUPS };
        let owners = (0..groups).map(|group| (group * workers / KEY_GROUPS) as u16).collect();
        Ownership { workers, owners }
    }

    /// Returns the number of workers.
    #[inline]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the index of the worker that owns a packed key.
    #[inline]
    pub fn owner_of(&self, key: &[u8]) -> usize {
        // A single worker owns every key: the hash is not needed.
        if self.owners.is_empty() { 0 } else { usize::from(self.owners[usize::from(key_group(key))]) }
    }

    /// Returns the groups of a worker, as ranges in ascending order that do not touch.
    pub fn ranges(&self, worker: usize) -> Vec<Range<u16>> {
        let mut ranges: Vec<Range<u16>> = Vec::new();
        for group in 0..KEY_GROUPS as u16 {
            let owner = self.owners.get(usize::from(group)).map_or(0, |owner| usize::from(*owner));
            if owner != worker {
                continue;
            }
            match ranges.last_mut().filter(|range| range.end == group) {
                Some(range) => range.end = group + 1,
                None => ranges.push(group..group + 1),
            }
        }
        ranges
    }
}
