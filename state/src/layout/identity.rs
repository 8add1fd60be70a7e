//! Format version, id and owner of a database, in the `meta` family.
//!
//! They are written once, when a state is created, and checked before any other content is used.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use rocksdb::{DB, WriteBatch};

use crate::catalogue::StateTableKind;
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
    db.write_opt(batch, &synced).map_err(StateError::database_in(dir))
}

/// Makes a copied state a state of its own, owned by another topology: all records of earlier publishing are
/// dropped, and its sinks get its content again.
pub(crate) fn adopt_copy(reads: &Reads<'_>, topology: &str, epoch: u64) -> Result<String, StateError> {
    let (meta, outbox) = (reads.family(table::META)?, reads.family(table::OUTBOX)?);
    let mut batch = WriteBatch::new();
    let id = new_state_id();
    batch.put_cf(meta, "state_id", &id);
    batch.put_cf(meta, "topology", topology);
    batch.put_cf(meta, REPUBLISH, epoch.to_be_bytes());
    if let Some(mut catalogue) = reads.catalogue()? {
        catalogue.topology = topology.to_owned();
        // The new topology may define its sinks anew, but an entry of a source keeps its fingerprint.
        for entry in &mut catalogue.entries {
            if entry.kind == StateTableKind::Sink && !entry.name.starts_with("source ") {
                entry.fingerprint.clear();
            }
        }
        batch.put_cf(meta, "catalogue", table::encode_json(&reads.dir, "catalogue", &catalogue)?);
    }
    delete_all(reads, &mut batch, meta, b"published/")?;
    delete_all(reads, &mut batch, outbox, &[])?;
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    reads.db.write_opt(batch, &synced).map_err(StateError::database_in(&reads.dir))?;
    Ok(id)
}

/// Deletes all keys of a family that begin with `prefix`.
fn delete_all(
    reads: &Reads<'_>,
    batch: &mut WriteBatch,
    family: &rocksdb::ColumnFamily,
    prefix: &[u8],
) -> Result<(), StateError> {
    let mut scan = reads.scan_family(family, prefix, 0);
    while let Some((key, _)) = scan.next_entry()? {
        batch.delete_cf(family, key);
    }
    Ok(())
}

/// The key of the epoch whose content sinks get again.
pub(crate) const REPUBLISH: &str = "republish";

/// Reads state id and topology, after checking the format version.
pub(crate) fn read_identity(
    reads: &Reads<'_>,
    layout: &Layout,
) -> Result<(String, Option<String>), StateError> {
    let Some(version) = reads.meta_array("format")?.map(u32::from_be_bytes) else {
        return Err(StateError::corrupt(&layout.root, "it has no format version"));
    };
    layout.check_version(version)?;
    let Some(state_id) = reads.meta_text("state_id")? else {
        return Err(StateError::corrupt(&layout.root, "it has no state id"));
    };
    Ok((state_id, reads.meta_text("topology")?))
}

/// Generates a unique id of 128 bits. `RandomState` is seeded by the operating system.
fn new_state_id() -> String {
    format!("{:016x}{:016x}", random_half(), random_half())
}

/// Generates 64 bits of an id.
fn random_half() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
