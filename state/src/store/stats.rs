//! Sizes of a state, for metrics and for `state inspect`. Cheap enough to be asked every second.

use std::collections::BTreeMap;
use std::path::Path;

use rocksdb::properties;

use crate::dead_letter::DeadLetterTotals;
use crate::error::StateError;
use crate::outbox::OutboxDepth;
use crate::space;
use crate::store::Store;

/// How large a state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of all its files.
    pub state_bytes: u64,
    /// By column family.
    pub families: Vec<FamilyStats>,
    /// What waits to be published, by cluster.
    pub outbox: BTreeMap<u16, OutboxDepth>,
    /// The dead letter table.
    pub dead_letters: DeadLetterTotals,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
    /// Bytes of cached blocks, indexes and filters.
    pub block_cache_bytes: u64,
}

/// How large a column family is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Its name.
    pub name: &'static str,
    /// RocksDB's estimate of its keys.
    pub estimated_keys: u64,
    /// Bytes of its table files.
    pub table_bytes: u64,
    /// Bytes of its memtables.
    pub memtable_bytes: u64,
}

impl Store {
    /// How large the state is.
    pub fn stats(&self) -> Result<StoreStats, StateError> {
        let failed = |source| StateError::database(&self.dir, source);
        let mut families = Vec::new();
        for name in space::FAMILIES {
            let family = space::family(&self.db, name)?;
            let property = |key| {
                self.db.property_int_value_cf(family, key).map(Option::unwrap_or_default).map_err(failed)
            };
            families.push(FamilyStats {
                name,
                estimated_keys: property(properties::ESTIMATE_NUM_KEYS)?,
                table_bytes: property(properties::TOTAL_SST_FILES_SIZE)?,
                memtable_bytes: property(properties::SIZE_ALL_MEM_TABLES)?,
            });
        }
        Ok(StoreStats {
            state_bytes: bytes_in(&self.dir),
            memtable_bytes: families.iter().map(|family| family.memtable_bytes).sum(),
            families,
            outbox: self.outbox_depth(),
            // Read, not locked for: a commit holds the lock for as long as its sync takes.
            dead_letters: self.reads().meta_json("dead_letter")?.unwrap_or_default(),
            block_cache_bytes: self.cache.get_usage() as u64,
        })
    }
}

/// Bytes of the files below a directory. Files come and go while we look: what cannot be read counts nothing.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
