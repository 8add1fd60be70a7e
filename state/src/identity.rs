//! What a database says of itself: format version, identity and owner, in the `meta` family.
//!
//! Written once, when a state is created, and read before anything else is believed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use rocksdb::{DB, WriteBatch};

use crate::error::StateError;
use crate::layout::{FORMAT_VERSION, Layout};
use crate::read::Reads;
use crate::space;

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
