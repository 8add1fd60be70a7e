//! Rewriting of a state of format version 1 as version 2.
//!
//! Version 1 put one byte of key group in front of stored keys, version 2 puts two (`schemas::GROUP_BYTES`),
//! so every key of a table, arrangement or view changes. They are written into a new database beside the old
//! one, which is kept as `format-1` until somebody deletes it: the way back to the earlier release.
//!
//! A crash at any point leaves a state of one version: until the old database is moved away nothing of it is
//! changed; between the two moves the directory holds `format-1` and no `db`, and the next start moves it
//! back and begins again; after them `db` is of version 2 whatever the file `HERALD` says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use fail::fail_point;
use rocksdb::{ColumnFamily, DB, WriteBatch, WriteOptions};
use schemas::{GROUP_BYTES, key_group};

use crate::catalogue::{Catalogue, CatalogueEntry, StateTableKind};
use crate::error::StateError;
use crate::layout::{FORMAT_VERSION, Layout, StateLock};

use crate::store::bounded::{BOUNDED_KEY, BoundedTotals};
use crate::store::options::{StoreOptions, database_options, family_descriptors, new_cache};
use crate::store::read::Reads;
use crate::table;

/// The format version that can be migrated.
const OLD_VERSION: u32 = 1;
/// The bytes of a stored key's group in version 1.
const OLD_GROUP_BYTES: usize = 1;
/// The directory of the new database until it is complete. Its prefix makes it a leftover that the next start
/// deletes.
const MIGRATING: &str = "old-migrating";
/// Bytes that are written to the new database at once.
const BATCH_BYTES: usize = 4 << 20;

/// A state of an earlier format version, locked and open for its migration.
pub struct Migration {
    reads: Reads<'static>,
    layout: Layout,
    state_id: String,
    options: StoreOptions,
    /// The last field, so that the database is closed before another process can take the lock.
    _lock: StateLock,
}

impl Migration {
    /// Opens the state in a directory if it is of version 1; None for another version, or without a state. A crash
    /// of a creation or of a wipe may have left a database without marker: its own version counts.
    ///
    /// # Errors
    /// When the state is in use, damaged, or of another topology than the options name.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Option<Migration>, StateError> {
        let layout = Layout::new(dir);
        match layout.marker_version()? {
            Some(OLD_VERSION) => {}
            None if layout.has_database() => {}
            _ => return Ok(None),
        }
        let lock = layout.take_lock()?;
        layout.clear_leftovers()?;
        if !layout.has_database() && layout.old_database_dir().exists() {
            move_dir(&layout, &layout.old_database_dir(), &layout.database_dir())?;
        }
        if !layout.has_database() {
            return Err(StateError::Wiped { dir: dir.to_owned() });
        }
        if !layout.has_all_families()? {
            // A creation that was killed between two families, which opening it will complete.
            return Ok(None);
        }
        let db = open_database(&layout, &layout.database_dir(), options, false)?;
        let reads = Reads::new(db, dir);
        if reads.meta_bytes("format")?.is_none() {
            // Not initialised yet, which opening it will do.
            return Ok(None);
        }
        let Some(state_id) = reads.meta_text("state_id")? else {
            return Err(StateError::corrupt(dir, "it has no state id"));
        };
        if reads.meta_bytes("format")?.as_deref() == Some(&FORMAT_VERSION.to_be_bytes()) {
            // Rewritten before a crash; only the marker is missing.
            layout.write_marker(&state_id)?;
            return Ok(None);
        }
        let held = reads.meta_text("topology")?;
        if let (Some(held), Some(wanted)) = (held, &options.topology)
            && held != *wanted
        {
            return Err(StateError::Foreign { dir: dir.to_owned(), held, wanted: wanted.clone() });
        }
        Ok(Some(Migration { reads, layout, state_id, options: options.clone(), _lock: lock }))
    }

    /// Reads the catalogue.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, StateError> {
        self.reads.catalogue()
    }

    /// Returns a directory in the state's own that the next start deletes, for files that migration needs.
    pub fn scratch_dir(&self) -> std::path::PathBuf {
        self.layout.root.join("old-scratch")
    }

    /// Rewrites the state. `key_len` returns, for a catalogue entry of an arrangement and a stored key without
    /// its group, the length of the key that determines the group; other tables are grouped by the whole.
    /// `bounded` is the table whose bytes are charged against a bound. Returns the number of rewritten keys.
    ///
    /// # Errors
    /// When the state cannot be read or written, or `key_len` fails; the state is then as it was.
    pub fn rewrite<E: From<StateError>>(
        self,
        bounded: u32,
        mut key_len: impl FnMut(&CatalogueEntry, &[u8]) -> Result<usize, E>,
    ) -> Result<u64, E> {
        let target = self.layout.root.join(MIGRATING);
        let new = open_database(&self.layout, &target, &self.options, true)?;
        let mut keys = 0;
        let mut copy = Copy { migration: &self, db: &new, batch: WriteBatch::new() };
        for name in [table::META, table::OUTBOX, table::DEAD_LETTER] {
            copy.family(name, |key, _| Ok::<_, E>(key.to_vec()))?;
        }
        let catalogue = self.catalogue()?.unwrap_or_default();
        let entries: BTreeMap<u32, &CatalogueEntry> =
            catalogue.entries.iter().map(|entry| (entry.id, entry)).collect();
        let mut charged = 0;
        for name in table::TABLE_FAMILIES {
            copy.family(name, |stored, _| {
                let Some(entry) = grouped_entry(&entries, stored) else {
                    // The family's epoch, and changes owed to a sink, which are numbered and not grouped.
                    return Ok(stored.to_vec());
                };
                (keys, charged) = (keys + 1, charged + u64::from(entry.id == bounded));
                let Some((head, key)) = stored.split_at_checked(4 + OLD_GROUP_BYTES) else {
                    let what = format!("{} has a key too short", entry.name);
                    return Err(E::from(StateError::corrupt(&self.layout.root, what)));
                };
                let len = match entry.kind {
                    StateTableKind::Arrangement => key_len(entry, key)?,
                    _ => key.len(),
                };
                Ok::<_, E>(regrouped(&head[..4], key, len.min(key.len())))
            })?;
        }
        copy.write()?;
        self.write_meta(&new, charged)?;
        for name in table::FAMILIES {
            let flushed = new.flush_cf(table::family(&new, name)?);
            flushed.map_err(StateError::database_in(&target))?;
        }
        drop(new);
        self.swap(&target)?;
        Ok(keys)
    }

    /// Replaces the old database by the new one, and keeps the old one aside.
    fn swap(self, target: &Path) -> Result<(), StateError> {
        let Migration { reads, layout, state_id, .. } = self;
        drop(reads);
        fail_point!("state.migrate.written");
        // An earlier migration that was undone by hand may have left its copy.
        let aside = layout.old_database_dir();
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(StateError::io_at(&layout.root, "delete", &aside))?;
        }
        move_dir(&layout, &layout.database_dir(), &aside)?;
        fail_point!("state.migrate.moved");
        move_dir(&layout, target, &layout.database_dir())?;
        fail_point!("state.migrate.swapped");
        layout.write_marker(&state_id)
    }

    /// Writes the version, and the bytes charged for `charged` rows that became longer.
    fn write_meta(&self, new: &DB, charged: u64) -> Result<(), StateError> {
        let mut batch = WriteBatch::new();
        let meta = table::family(new, table::META)?;
        batch.put_cf(meta, "format", FORMAT_VERSION.to_be_bytes());
        if let Some(mut totals) = self.reads.meta_json::<BoundedTotals>(BOUNDED_KEY)? {
            totals.bytes += charged * (GROUP_BYTES - OLD_GROUP_BYTES) as u64;
            batch.put_cf(meta, BOUNDED_KEY, table::encode_json(&self.layout.root, BOUNDED_KEY, &totals)?);
        }
        write_unlogged(new, batch, &self.layout.root)
    }
}

/// A copy of families from the old database to the new one.
struct Copy<'a> {
    migration: &'a Migration,
    db: &'a DB,
    batch: WriteBatch,
}

impl Copy<'_> {
    /// Copies a family's entries under the keys that `rekey` makes of the old ones.
    fn family<E: From<StateError>>(
        &mut self,
        name: &str,
        mut rekey: impl FnMut(&[u8], &[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let reads = &self.migration.reads;
        let family: &ColumnFamily = table::family(self.db, name)?;
        let mut scan = reads.scan_family(reads.family(name)?, &[], 0);
        while let Some((key, value)) = scan.next_entry()? {
            self.batch.put_cf(family, rekey(key, value)?, value);
            if self.batch.size_in_bytes() >= BATCH_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StateError> {
        write_unlogged(self.db, std::mem::take(&mut self.batch), &self.migration.layout.root)
    }
}

/// Returns the catalogue entry of a stored key that has a group.
fn grouped_entry<'c>(
    entries: &BTreeMap<u32, &'c CatalogueEntry>,
    stored: &[u8],
) -> Option<&'c CatalogueEntry> {
    let entry = *entries.get(&u32::from_be_bytes(*stored.first_chunk()?))?;
    (!matches!(entry.kind, StateTableKind::Sink | StateTableKind::Index)).then_some(entry)
}

/// Returns table id, new group and old key; the first `len` bytes of the key determine the group.
fn regrouped(table_id: &[u8], key: &[u8], len: usize) -> Vec<u8> {
    let mut stored = Vec::with_capacity(table_id.len() + GROUP_BYTES + key.len());
    stored.extend_from_slice(table_id);
    stored.extend_from_slice(&key_group(&key[..len]).to_be_bytes());
    stored.extend_from_slice(key);
    stored
}

/// Writes without a log: an incomplete copy is thrown away, and a complete one is flushed.
fn write_unlogged(db: &DB, batch: WriteBatch, dir: &Path) -> Result<(), StateError> {
    let mut unlogged = WriteOptions::default();
    unlogged.disable_wal(true);
    db.write_opt(batch, &unlogged).map_err(StateError::database_in(dir))
}

fn open_database(
    layout: &Layout,
    path: &Path,
    options: &StoreOptions,
    create: bool,
) -> Result<DB, StateError> {
    let cache = new_cache(options.block_cache_bytes);
    let families = family_descriptors(options, &cache);
    DB::open_cf_descriptors(&database_options(options, create), path, families)
        .map_err(StateError::database_in(&layout.root))
}

fn move_dir(layout: &Layout, from: &Path, to: &Path) -> Result<(), StateError> {
    fs::rename(from, to).and_then(|()| File::open(&layout.root)?.sync_all()).map_err(StateError::io_at(
        &layout.root,
        "move",
        from,
    ))
}
