//! Rules by which state expires, and the keys that did.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use schemas::memory::{allocated_bytes, table_bytes};

use crate::arrange::rows::Diff;
use crate::arrange::trace::{PackedTrace, SharedBatch};
use crate::arrange::updates::ExchangeBuffer;
use crate::collect::Shared;
use crate::error::RunError;
use crate::render::aggregates::input::KeyHasher;

/// Rule for the content that leaves an arrangement, and for the time of its removal.
pub(in crate::render) trait ExpiryRule<R: Diff> {
    /// Records the changes of a batch.
    fn note_batch(&mut self, batch: &SharedBatch<R>) -> Result<(), RunError>;

    /// Returns the removals of the content below the horizon as of `epoch`, to be applied one epoch later.
    fn remove_due(&mut self, trace: &PackedTrace<R>, epoch: u64, horizon: Option<i64>) -> DueRemovals<R>;

    /// Returns the collector that failures are reported to.
    fn collector(&self) -> &Shared;
}

/// Adds the name of the arrangement to a failure.
pub(in crate::render) fn with_name(name: &str, error: RunError) -> RunError {
    match error {
        RunError::Broken(what) => RunError::Broken(format!("{name}: {what}")),
        other => other,
    }
}

/// Removals that were sent and have not come back through the feedback edge yet.
#[derive(Default)]
pub(super) struct SentRemovals {
    /// Key and row of each in one, with the key's length in front; the row is empty for a group.
    removals: HashSet<Box<[u8]>, BuildHasherDefault<KeyHasher>>,
    bytes: usize,
    /// The removal that is sought.
    sought: Vec<u8>,
}

impl SentRemovals {
    /// Records that a removal has been sent.
    pub(super) fn insert(&mut self, key: &[u8], row: &[u8]) {
        self.seek(key, row);
        if self.removals.insert(self.sought[..].into()) {
            self.bytes += allocated_bytes(self.sought.len());
        }
    }

    /// Takes a removal back; returns false if it was not sent.
    pub(super) fn take(&mut self, key: &[u8], row: &[u8]) -> bool {
        self.seek(key, row);
        let sent = self.removals.remove(&self.sought[..]);
        if sent {
            self.bytes -= allocated_bytes(self.sought.len());
        }
        sent
    }

    fn seek(&mut self, key: &[u8], row: &[u8]) {
        self.sought.clear();
        self.sought.extend_from_slice(&key.len().to_be_bytes());
        self.sought.extend_from_slice(key);
        self.sought.extend_from_slice(row);
    }

    /// Returns the bytes that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + table_bytes(self.removals.capacity(), size_of::<Box<[u8]>>())
    }
}

/// Keys of expired groups, by the epoch of their removal.
#[derive(Clone, Default)]
pub struct ExpiredKeys(Rc<RefCell<BTreeMap<u64, HashSet<Vec<u8>>>>>);

impl ExpiredKeys {
    /// Records that the group of `key` is removed at `epoch`.
    pub(super) fn record(&self, epoch: u64, key: &[u8]) {
        self.0.borrow_mut().entry(epoch).or_default().insert(key.to_vec());
    }

    /// Returns true if the change of `key` at `epoch` is its removal, as [`ExpiredKeys::take_expired`] does,
    /// for keys that may never expire.
    pub fn take_from(expired: &Option<ExpiredKeys>, epoch: u64, key: &[u8]) -> bool {
        match expired {
            Some(expired) => expired.take_expired(epoch, key),
            None => false,
        }
    }

    /// Returns true if the change of `key` at `epoch` is its removal, once for each removal.
    pub fn take_expired(&self, epoch: u64, key: &[u8]) -> bool {
        let mut epochs = self.0.borrow_mut();
        let Some(keys) = epochs.get_mut(&epoch) else { return false };
        let expired = keys.remove(key);
        // An epoch without pending removals is not kept.
        if keys.is_empty() {
            epochs.remove(&epoch);
        }
        expired
    }
}

/// Removals that are due at the end of an epoch.
pub(in crate::render) type DueRemovals<R> = Result<ExchangeBuffer<R>, RunError>;
