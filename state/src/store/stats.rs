//! Sizes of a state, for metrics and for `state inspect`. Cheap enough for a call per second.

use std::collections::BTreeMap;
use std::path::Path;

use rocksdb::ColumnFamily;
use rocksdb::properties::{self, PropName};

use crate::dead_letter::DeadLetterTotals;
use crate::error::StateError;
use crate::outbox::OutboxDepth;
use crate::store::Store;
use crate::table;

/// The sizes of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of all its files.
    pub state_bytes: u64,
    /// Sizes of each column family.
    pub families: Vec<FamilyStats>,
    /// Output that waits to be published, by cluster.
    pub outbox: BTreeMap<u16, OutboxDepth>,
    /// The totals of the dead letter table.
    pub dead_letters: DeadLetterTotals,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
    /// Bytes of cached blocks, indexes and filters.
    pub block_cache_bytes: u64,
}

/// Bytes that the database holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMemory {
    /// Cached blocks, indexes and filters.
    pub block_cache_bytes: u64,
    /// Memtables, those included that are being written to files.
    pub memtable_bytes: u64,
    /// Open table files, beside their cached blocks.
    pub table_reader_bytes: u64,
}

/// The sizes of a column family.
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
    /// Measures the memory of the database; files are not looked at.
    pub fn memory(&self) -> Result<StoreMemory, StateError> {
        let mut memory =
            StoreMemory { block_cache_bytes: self.cache.get_usage() as u64, ..StoreMemory::default() };
        for name in table::FAMILIES {
            let family = table::family(&self.db, name)?;
            memory.memtable_bytes += self.property(family, properties::SIZE_ALL_MEM_TABLES)?;
            memory.table_reader_bytes += self.property(family, properties::ESTIMATE_TABLE_READERS_MEM)?;
        }
        Ok(memory)
    }

    /// Measures the state.
    pub fn stats(&self) -> Result<StoreStats, StateError> {
        let mut families = Vec::new();
        for name in table::FAMILIES {
            let family = table::family(&self.db, name)?;
            families.push(FamilyStats {
                name,
                estimated_keys: self.property(family, properties::ESTIMATE_NUM_KEYS)?,
                table_bytes: self.property(family, properties::TOTAL_SST_FILES_SIZE)?,
                memtable_bytes: self.property(family, properties::SIZE_ALL_MEM_TABLES)?,
            });
        }
        Ok(StoreStats {
            state_bytes: bytes_in(&self.dir),
            memtable_bytes: families.iter().map(|family| family.memtable_bytes).sum(),
            families,
            outbox: self.outbox_depth(),
            // Read from the database, not from behind the lock: a commit holds the lock while it syncs.
            dead_letters: self.meta_json("dead_letter")?.unwrap_or_default(),
            block_cache_bytes: self.cache.get_usage() as u64,
        })
    }

    /// Reads a number that RocksDB keeps of a column family; 0 for one that it does not know.
    fn property(&self, family: &ColumnFamily, name: &PropName) -> Result<u64, StateError> {
        let value = self.db.property_int_value_cf(family, name);
        Ok(value.map_err(StateError::database_in(&self.dir))?.unwrap_or_default())
    }
}

/// Adds up the bytes of the files below a directory. Files may vanish meanwhile: an unreadable one counts as
/// 0.
fn bytes_in(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    bytes
}
