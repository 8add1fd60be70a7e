//! Format version, id and owner of a database, in the `meta` family.
//!
//! They are written once, when a state is created, and checked before any other content is used.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use rocksdb::{DB, WriteBatch};

use crate::catalogue::{Catalogue, StateTableKind};
use crate::error::StateError;
use crate::layout::{FORMAT_VERSION, Layout};
use crate::store::read::Reads;
use crate::table;

/// Writes format version, state id and owner into a new database.
pub(crate) fn initialise_database(db: &DB, dir: &Path, topology: Option<&str>) -> Result<(), StateError> {
    let meta = table::family(db, table::META)?;
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

/// Makes a copied state a state of its own, owned by another topology: all records of earlier publishing are
/// dropped, and its sinks get its content again.
pub(crate) fn adopt_copy(db: &DB, dir: &Path, topology: &str, epoch: u64) -> Result<String, StateError> {
    let (meta, outbox) = (table::family(db, table::META)?, table::family(db, table::OUTBOX)?);
    let mut batch = WriteBatch::new();
    let id = new_state_id();
    batch.put_cf(meta, "state_id", &id);
    batch.put_cf(meta, "topology", topology);
    batch.put_cf(meta, REPUBLISH, epoch.to_be_bytes());
    let reads = Reads { db, dir, snapshot: None };
    if let Some(mut catalogue) = reads.meta_json::<Catalogue>("catalogue")? {
        catalogue.topology = topology.to_owned();
        // The new topology may define its sinks anew, but an entry of a source keeps its fingerprint.
        let sinks = catalogue.entries.iter_mut().filter(|entry| entry.kind == StateTableKind::Sink);
        for sink in sinks.filter(|entry| !entry.name.starts_with("source ")) {
            sink.fingerprint.clear();
        }
        let text = serde_json::to_vec(&catalogue)
            .map_err(|error| StateError::io(dir, "encode", Path::new("catalogue"), error.into()))?;
        batch.put_cf(meta, "catalogue", text);
    }
    let mut delete_all = |family: &rocksdb::ColumnFamily, prefix: &[u8]| {
        reads.scan(family, prefix, 0).each(|key, _| -> Result<(), StateError> {
            batch.delete_cf(family, key);
            Ok(())
        })
    };
    delete_all(meta, b"published/")?;
    delete_all(outbox, &[])?;
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(batch, &synced).map_err(|source| StateError::database(dir, source))?;
    Ok(id)
}

/// The key of the epoch whose content sinks get again.
pub(crate) const REPUBLISH: &str = "republish";

/// Reads state id and topology, after checking the format version.
pub(crate) fn read_identity(
    reads: &Reads<'_>,
    layout: &Layout,
) -> Result<(String, Option<String>), StateError> {
    let version = reads.meta("format")?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let damaged = |what| StateError::corrupt(&layout.root, what);
    layout.check_version(version.ok_or_else(|| damaged("it has no format version"))?)?;
    let text = |key| Ok::<_, StateError>(reads.meta(key)?.and_then(|bytes| String::from_utf8(bytes).ok()));
    let state_id = text("state_id")?.ok_or_else(|| damaged("it has no state id"))?;
    Ok((state_id, text("topology")?))
}

/// Generates a unique id of 128 bits. `RandomState` is seeded by the operating system.
fn new_state_id() -> String {
    let random_half = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    format!("{:016x}{:016x}", random_half(), random_half())
}
