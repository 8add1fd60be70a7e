//! The outbox: output that is committed and not yet known to be published.
//!
//! Entries are written by the commit and deleted by [`Store::set_published`], which records in the same batch
//! the last epoch known to be published to the cluster. The deletion is not synced: after a crash, entries
//! that are published already may reappear, and the marker in the cluster decides. In addition to its chunks
//! each epoch has the time of its commit, which its records carry; epochs written by an earlier release have
//! none.

pub(crate) mod topics;

use std::collections::{BTreeMap, BTreeSet};

use fail::fail_point;
use rocksdb::{WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use crate::commit::OutboxChunk;
use crate::error::StateError;
use crate::store::Store;
use crate::store::read::{Reads, Scan};
use crate::table;

/// The output of one epoch for one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEpoch {
    /// The epoch.
    pub epoch: u64,
    /// Its chunks, in the order of their part numbers.
    pub parts: Vec<Vec<u8>>,
    /// The time of its commit, in milliseconds since 1970, if known.
    pub commit_ms: Option<i64>,
}

/// The part number of the entry that holds the time of the commit; it sorts behind all chunks.
const TIME_PART: u32 = u32::MAX;

/// The last epoch that this state knows to be published to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The last published epoch.
    pub epoch: u64,
    /// The digest of its output, if known.
    #[serde(default, with = "hex_digest")]
    pub digest: Option<u128>,
}

/// The unpublished output of one cluster in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// The number of epochs with output.
    pub epochs: u64,
    /// The number of their chunks.
    pub chunks: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
}

/// Parts and their bytes by cluster and epoch, kept in memory so that neither depth nor deletion needs a
/// scan.
pub(crate) type Waiting = BTreeMap<(u16, u64), Vec<(u32, u64)>>;

impl Store {
    /// Records that a cluster has all output up to an epoch, and deletes that output from the outbox.
    pub fn set_published(&self, cluster: u16, published: &Published) -> Result<(), StateError> {
        self.refuse_poisoned()?;
        fail_point!("store.published.before");
        let family = table::family(&self.db, table::OUTBOX)?;
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, &published_key(cluster), published)?;
        let (from, to) = ((cluster, 0), (cluster, published.epoch));
        // The lock is not held while the disk is written: the committer notes its output under it. It adds later epochs
        // only, so the entries of these stay as they are.
        for (&(_, epoch), chunks) in self.lock_waiting().range(from..=to) {
            for &(part, _) in chunks {
                batch.delete_cf(family, table::outbox_key(cluster, epoch, part));
            }
        }
        self.db.write_opt(batch, &WriteOptions::default()).map_err(StateError::database_in(&self.dir))?;
        fail_point!("store.published.after");
        self.lock_waiting().retain(|key, _| !(from..=to).contains(key));
        Ok(())
    }

    /// Deletes the output up to an epoch and records it as published. A digest that the state has of that epoch is kept.
    pub fn delete_outbox(&self, cluster: u16, up_to_epoch: u64) -> Result<(), StateError> {
        let known = self.published(cluster)?.filter(|known| known.epoch == up_to_epoch);
        let digest = known.and_then(|known| known.digest);
        self.set_published(cluster, &Published { epoch: up_to_epoch, digest })
    }

    /// Returns the amount of unpublished output by cluster.
    pub fn outbox_depth(&self) -> BTreeMap<u16, OutboxDepth> {
        let mut depths: BTreeMap<u16, OutboxDepth> = BTreeMap::new();
        for ((cluster, _), chunks) in self.lock_waiting().iter() {
            let depth = depths.entry(*cluster).or_default();
            depth.epochs += 1;
            depth.chunks += chunks.iter().filter(|chunk| chunk.0 != TIME_PART).count() as u64;
            depth.bytes += chunks.iter().map(|chunk| chunk.1).sum::<u64>();
        }
        depths
    }

    /// Returns the epochs with unpublished output for a cluster, of those behind `after` and up to `upto`.
    pub fn waiting_epochs(&self, cluster: u16, after: u64, upto: u64) -> Vec<u64> {
        if after >= upto {
            return Vec::new();
        }
        self.lock_waiting()
            .range((cluster, after + 1)..=(cluster, upto))
            .map(|((_, epoch), _)| *epoch)
            .collect()
    }

    /// Notes the chunks of an epoch that is about to be written.
    pub(crate) fn outbox_grew(&self, epoch: u64, chunks: &[OutboxChunk]) {
        let mut waiting = self.lock_waiting();
        for chunk in chunks {
            let chunks = waiting.entry((chunk.cluster, epoch)).or_default();
            if chunks.is_empty() {
                chunks.push((TIME_PART, 0));
            }
            chunks.push((chunk.part, chunk.bytes.len() as u64));
        }
    }
}

/// Adds the chunks of an epoch and its time to a batch.
pub(crate) fn put_chunks(
    batch: &mut WriteBatch,
    family: &rocksdb::ColumnFamily,
    (epoch, commit_ms): (u64, i64),
    chunks: &[OutboxChunk],
) {
    for chunk in chunks {
        batch.put_cf(family, table::outbox_key(chunk.cluster, epoch, chunk.part), &chunk.bytes);
    }
    let clusters: BTreeSet<u16> = chunks.iter().map(|chunk| chunk.cluster).collect();
    for cluster in clusters {
        batch.put_cf(family, table::outbox_key(cluster, epoch, TIME_PART), commit_ms.to_be_bytes());
    }
}

impl Reads<'_> {
    /// Reads the last epoch that this state knows to be published to a cluster; None before the first one.
    pub fn published(&self, cluster: u16) -> Result<Option<Published>, StateError> {
        self.meta_json(&published_key(cluster))
    }

    /// Iterates over the unpublished epochs of a cluster above `epoch`, in order.
    pub fn outbox_after(&self, cluster: u16, epoch: u64) -> Result<OutboxEpochs<'_>, StateError> {
        let family = self.family(table::OUTBOX)?;
        let from = table::outbox_key(cluster, epoch.saturating_add(1), 0);
        let scan = self.scan_family_from(family, &cluster.to_be_bytes(), &from);
        Ok(OutboxEpochs { scan, dir: self.dir.clone(), held: None, ended: false })
    }

    /// Reads the last epoch up to which a cluster has all output: the one before its first unpublished epoch, or
    /// `committed`, the epoch that is read.
    pub fn published_until(&self, cluster: u16, committed: u64) -> Result<u64, StateError> {
        let after = self.published(cluster)?.map_or(0, |published| published.epoch);
        let from = table::outbox_key(cluster, after.saturating_add(1), 0);
        let family = self.family(table::OUTBOX)?;
        match self.scan_family_from(family, &cluster.to_be_bytes(), &from).next_entry()? {
            Some((key, _)) => Ok(split_outbox_key(&self.dir, key)?.1.saturating_sub(1)),
            None => Ok(committed),
        }
    }

    /// Reads the parts in the outbox; done once, when a state is opened.
    pub(crate) fn read_waiting(&self) -> Result<Waiting, StateError> {
        let mut waiting = Waiting::new();
        let mut scan = self.scan_family(self.family(table::OUTBOX)?, &[], 0);
        while let Some((key, bytes)) = scan.next_entry()? {
            let (cluster, epoch, part) = split_outbox_key(&self.dir, key)?;
            let chunks = waiting.entry((cluster, epoch)).or_default();
            chunks.push((part, if part == TIME_PART { 0 } else { bytes.len() as u64 }));
        }
        Ok(waiting)
    }
}

/// An iterator over unpublished epochs. It keeps one epoch's chunks in memory at a time.
pub struct OutboxEpochs<'a> {
    scan: Scan<'a>,
    dir: std::path::PathBuf,
    /// The epoch being assembled; it is complete when a chunk of the next one is read.
    held: Option<OutboxEpoch>,
    ended: bool,
}

impl OutboxEpochs<'_> {
    /// Reads the next chunk with its epoch. A commit time met on the way is stored in the held epoch.
    fn next_chunk(&mut self) -> Result<Option<(u64, Vec<u8>)>, StateError> {
        while let Some((key, bytes)) = self.scan.next_entry()? {
            let (_, epoch, part) = split_outbox_key(&self.dir, key)?;
            if part != TIME_PART {
                return Ok(Some((epoch, bytes.to_vec())));
            }
            if let Some(held) = self.held.as_mut().filter(|held| held.epoch == epoch) {
                held.commit_ms = bytes.try_into().ok().map(i64::from_be_bytes);
            }
        }
        Ok(None)
    }
}

impl Iterator for OutboxEpochs<'_> {
    type Item = Result<OutboxEpoch, StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.next_chunk() {
                Ok(Some((epoch, bytes))) => match &mut self.held {
                    Some(held) if held.epoch == epoch => held.parts.push(bytes),
                    held => {
                        let full = held.replace(OutboxEpoch { epoch, parts: vec![bytes], commit_ms: None });
                        if let Some(full) = full {
                            return Some(Ok(full));
                        }
                    }
                },
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.held = None;
                    return Some(Err(error));
                }
            }
        }
        self.held.take().map(Ok)
    }
}

fn split_outbox_key(dir: &std::path::Path, key: &[u8]) -> Result<(u16, u64, u32), StateError> {
    table::outbox_key_parts(key).ok_or_else(|| StateError::corrupt(dir, "an outbox entry has no epoch"))
}

pub(crate) fn published_key(cluster: u16) -> String {
    format!("published/{cluster}")
}

/// The JSON form of a digest: hex, because JSON numbers are limited to 64 bits.
mod hex_digest {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(digest: &Option<u128>, to: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => to.serialize_some(&format!("{digest:032x}")),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u128>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| u128::from_str_radix(&text, 16).map_err(D::Error::custom)).transpose()
    }
}
