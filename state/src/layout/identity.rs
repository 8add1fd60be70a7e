//! What a database says of itself: format version, identity and owner, in the `meta` family.
//!
//! Written once, when a state is created, and read before anything else is believed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use rocksdb::{DB, WriteBatch};

use crate::catalogue::{Catalogue, SpaceKind};
use crate::error::StateError;
use crate::layout::{FORMAT_VERSION, Layout};
use crate::space;
use crate::store::read::Reads;

/// Gives a new database its format version, its identity and its owner.
pub(crate) fn initialise(db: &DB, dir: &Path, topology: Option<&str>) -> Result<(), StateError> {
    let meta = space::family(db, space::META)?;
    let mut batch = WriteBatch::new();
    batch.put_cf(meta, "format", FORMAT_VERSION.to_be_bytes());
    batch.put_cf(meta, "state_id", new_state_id());
    if let Some(topology) = topology {
        batch.put_cf(meta, "topology", topology);
    }
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced).map_err(|source| StateError::database(dir, source))
}

/// Makes a copied state one of its own, of another topology: what it published elsewhere counts for nothing,
/// and its sinks get its content once more.
pub(crate) fn adopt(db: &DB, dir: &Path, topology: &str, epoch: u64) -> Result<String, StateError> {
    let (meta, outbox) = (space::family(db, space::META)?, space::family(db, space::OUTBOX)?);
    let mut batch = WriteBatch::new();
    let id = new_state_id();
    batch.put_cf(meta, "state_id", &id);
    batch.put_cf(meta, "topology", topology);
    batch.put_cf(meta, REPUBLISH, epoch.to_be_bytes());
    let reads = Reads { db, dir, snapshot: None };
    if let Some(mut catalogue) = reads.meta_json::<Catalogue>("catalogue")? {
        catalogue.topology = topology.to_owned();
        // Its sinks are to be others. What stands for a source keeps its fingerprint.
        let sinks = catalogue.entries.iter_mut().filter(|entry| entry.kind == SpaceKind::Sink);
        for sink in sinks.filter(|entry| !entry.name.starts_with("source ")) {
            sink.fingerprint.clear();
        }
        let text = serde_json::to_vec(&catalogue)
            .map_err(|error| StateError::io(dir, "encode", Path::new("catalogue"), error.into()))?;
        batch.put_cf(meta, "catalogue", text);
    }
    let mut gone = |family: &rocksdb::ColumnFamily, prefix: &[u8]| {
        reads.scan(family, prefix, 0).each(|key, _| -> Result<(), StateError> {
            batch.delete_cf(family, key);
            Ok(())
        })
    };
    gone(meta, b"published/")?;
    gone(outbox, &[])?;
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced).map_err(|source| StateError::database(dir, source))?;
    Ok(id)
}

/// The key of the epoch whose content sinks get once more.
pub(crate) const REPUBLISH: &str = "republish";

/// State id and topology, once the format version is known to be ours.
pub(crate) fn identity(reads: &Reads<'_>, layout: &Layout) -> Result<(String, Option<String>), StateError> {
    let version = reads.meta("format")?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let damaged = |what| StateError::corrupt(&layout.root, what);
    layout.check_version(version.ok_or_else(|| damaged("it has no format version"))?)?;
    let text = |key| Ok::<_, StateError>(reads.meta(key)?.and_then(|bytes| String::from_utf8(bytes).ok()));
    let state_id = text("state_id")?.ok_or_else(|| damaged("it has no state id"))?;
    Ok((state_id, text("topology")?))
}

/// 128 bits that no other state has. `RandomState` is seeded by the operating system.
fn new_state_id() -> String {
    let half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(), half())
}
