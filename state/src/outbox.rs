//! The outbox: output that is committed and not yet known to be published.
//!
//! Its entries are written by the commit and deleted by [`Store::set_published`], which records in the same
//! batch how far this state knows a cluster to be. The deletion is not synced: after a crash entries may be
//! there again that are published already, and the marker in the cluster decides. Beside its chunks each epoch
//! has the time of its commit, which its records carry; what an earlier release left has none.

use std::collections::{BTreeMap, BTreeSet};

use fail::fail_point;
use rocksdb::{WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use crate::commit::OutboxChunk;
use crate::error::StateError;
use crate::space;
use crate::store::Store;
use crate::store::read::{Reads, Scan};

/// The output of one epoch for one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEpoch {
    /// The epoch.
    pub epoch: u64,
    /// Its chunks, in the order of their part numbers.
    pub parts: Vec<Vec<u8>>,
    /// When it was committed, in milliseconds since 1970, where that is known.
    pub commit_ms: Option<i64>,
}

/// The part number under which the time of the commit stands, behind all chunks.
const TIME: u32 = u32::MAX;

/// How far this state knows a cluster's output to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The last published epoch.
    pub epoch: u64,
    /// The digest of its output, where it is known.
    #[serde(default, with = "hex_digest")]
    pub digest: Option<u128>,
}

/// What waits in the outbox for one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// Epochs with output.
    pub epochs: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
}

/// Parts and their bytes by cluster and epoch, kept so that neither depth nor deletion costs a scan.
pub(crate) type Waiting = BTreeMap<(u16, u64), Vec<(u32, u64)>>;

impl Store {
    /// The epochs above `epoch` that wait for a cluster, in order.
    pub fn outbox_after(&self, cluster: u16, epoch: u64) -> Result<OutboxEpochs<'_>, StateError> {
        self.reads().outbox_after(cluster, epoch)
    }

    /// How far this state knows a cluster to be published; None before the first time.
    pub fn published(&self, cluster: u16) -> Result<Option<Published>, StateError> {
        self.reads().published(cluster)
    }

    /// Records that a cluster has everything up to an epoch, and deletes that from the outbox.
    pub fn set_published(&self, cluster: u16, published: &Published) -> Result<(), StateError> {
        self.refuse_poisoned()?;
        fail_point!("store.published.before");
        let family = space::family(&self.db, space::OUTBOX)?;
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, &published_key(cluster), published)?;
        let mut waiting = self.waiting();
        let (from, to) = ((cluster, 0), (cluster, published.epoch));
        for (&(_, epoch), chunks) in waiting.range(from..=to) {
            for &(part, _) in chunks {
                batch.delete_cf(family, space::outbox_key(cluster, epoch, part));
            }
        }
        self.db
            .write_opt(batch, &WriteOptions::default())
            .map_err(|source| StateError::database(&self.dir, source))?;
        fail_point!("store.published.after");
        waiting.retain(|key, _| !(from..=to).contains(key));
        Ok(())
    }

    /// [`Store::set_published`] for an epoch whose digest is not known.
    pub fn delete_outbox(&self, cluster: u16, up_to_epoch: u64) -> Result<(), StateError> {
        self.set_published(cluster, &Published { epoch: up_to_epoch, digest: None })
    }

    /// What waits, by cluster.
    pub fn outbox_depth(&self) -> BTreeMap<u16, OutboxDepth> {
        let mut depths: BTreeMap<u16, OutboxDepth> = BTreeMap::new();
        for ((cluster, _), chunks) in self.waiting().iter() {
            let depth = depths.entry(*cluster).or_default();
            depth.epochs += 1;
            depth.chunks += chunks.iter().filter(|chunk| chunk.0 != TIME).count() as u64;
            depth.bytes += chunks.iter().map(|chunk| chunk.1).sum::<u64>();
        }
        depths
    }

    pub(crate) fn outbox_grew(&self, epoch: u64, chunks: &[OutboxChunk]) {
        let mut waiting = self.waiting();
        for chunk in chunks {
            let chunks = waiting.entry((chunk.cluster, epoch)).or_default();
            if chunks.is_empty() {
                chunks.push((TIME, 0));
            }
            chunks.push((chunk.part, chunk.bytes.len() as u64));
        }
    }
}

/// Adds the chunks of an epoch and its time to a batch.
pub(crate) fn put(
    batch: &mut WriteBatch,
    family: &rocksdb::ColumnFamily,
    (epoch, commit_ms): (u64, i64),
    chunks: &[OutboxChunk],
) {
    for chunk in chunks {
        batch.put_cf(family, space::outbox_key(chunk.cluster, epoch, chunk.part), &chunk.bytes);
    }
    let clusters: BTreeSet<u16> = chunks.iter().map(|chunk| chunk.cluster).collect();
    for cluster in clusters {
        batch.put_cf(family, space::outbox_key(cluster, epoch, TIME), commit_ms.to_be_bytes());
    }
}

impl<'a> Reads<'a> {
    pub(crate) fn published(&self, cluster: u16) -> Result<Option<Published>, StateError> {
        self.meta_json(&published_key(cluster))
    }

    pub(crate) fn outbox_after(&self, cluster: u16, epoch: u64) -> Result<OutboxEpochs<'a>, StateError> {
        let family = self.family(space::OUTBOX)?;
        let from = space::outbox_key(cluster, epoch.saturating_add(1), 0);
        let scan = self.scan_from(family, &cluster.to_be_bytes(), &from);
        Ok(OutboxEpochs { scan, dir: self.dir.to_owned(), held: None, ended: false })
    }

    /// What the outbox holds, read once when a state is opened.
    pub(crate) fn waiting(&self) -> Result<Waiting, StateError> {
        let mut waiting = Waiting::new();
        self.scan(self.family(space::OUTBOX)?, &[], 0).each(|key, bytes| {
            let (cluster, epoch, part) = parts_of(self.dir, key)?;
            let chunks = waiting.entry((cluster, epoch)).or_default();
            chunks.push((part, if part == TIME { 0 } else { bytes.len() as u64 }));
            Ok::<_, StateError>(())
        })?;
        Ok(waiting)
    }
}

/// A walk over the epochs that wait. One epoch's chunks are in memory at a time.
pub struct OutboxEpochs<'a> {
    scan: Scan<'a>,
    dir: std::path::PathBuf,
    held: Option<OutboxEpoch>,
    ended: bool,
}

impl OutboxEpochs<'_> {
    /// The next chunk with its epoch. The time that stands behind the chunks of the held epoch is kept.
    fn chunk(&mut self) -> Result<Option<(u64, Vec<u8>)>, StateError> {
        while let Some((key, bytes)) = self.scan.next_entry()? {
            let (_, epoch, part) = parts_of(&self.dir, key)?;
            if part != TIME {
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
            match self.chunk() {
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

fn parts_of(dir: &std::path::Path, key: &[u8]) -> Result<(u16, u64, u32), StateError> {
    space::outbox_key_parts(key).ok_or_else(|| StateError::corrupt(dir, "an outbox entry has no epoch"))
}

fn published_key(cluster: u16) -> String {
    format!("published/{cluster}")
}

/// JSON numbers end at 64 bits, so a digest is written in hex.
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
