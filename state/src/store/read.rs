//! Batched lookups and scans, shared by the live store, snapshots, the secondary reader and the migration.
//!
//! Lookups are sorted and sent in chunks, so that RocksDB visits each memtable and each block once; the keys
//! of a chunk share one buffer. Scans are bounded by a prefix and do not fill the block cache.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rocksdb::{ColumnFamily, DB, DBPinnableSlice, DBRawIterator, PrefixRange, Range, ReadOptions};

use crate::catalogue::StateTableKinds;
use crate::error::{StateError, hex};
use crate::table;

/// The number of keys sent to RocksDB at a time.
const KEYS_PER_LOOKUP: usize = 1024;

/// A value read from the database without copying it.
pub struct Slice<'a>(DBPinnableSlice<'a>);

impl Deref for Slice<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Slice<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Slice<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "0x{}", hex(&self.0))
    }
}

/// Decodes the multiplicity that a counted state table holds for a row: i64, big-endian. None for other
/// bytes.
pub fn count_of(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

/// The reading half of a state, at a snapshot or at its newest content.
///
/// [`Store`](crate::Store) and [`Snapshot`](crate::Snapshot) dereference to it: its methods are theirs.
pub struct Reads<'a> {
    snapshot: Option<rocksdb::Snapshot<'a>>,
    pub(crate) db: Arc<DB>,
    pub(crate) dir: PathBuf,
    table_kinds: RwLock<Arc<StateTableKinds>>,
}

impl Reads<'_> {
    /// Reads the value of one key.
    pub fn get(&self, table_id: u32, key: &[u8]) -> Result<Option<Slice<'_>>, StateError> {
        let family = self.family_of_table(table_id)?;
        let mut full = Vec::with_capacity(4 + key.len());
        table::key_into(&mut full, table_id, key);
        let found = self.db.get_pinned_cf_opt(family, full, &self.read_options());
        Ok(found.map_err(StateError::database_in(&self.dir))?.map(Slice))
    }

    /// Reads the values of many keys of a state table, in the order of the keys. Sorted keys are a little
    /// faster.
    pub fn multi_get<'k>(
        &self,
        table_id: u32,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Slice<'_>>>, StateError> {
        let (family, options) = (self.family_of_table(table_id)?, self.read_options());
        let keys: Vec<&[u8]> = keys.into_iter().collect();
        let order = table::sorted_order(keys.len(), |index| keys[index]);
        let mut found: Vec<Option<Slice<'_>>> = Vec::new();
        found.resize_with(keys.len(), || None);
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(KEYS_PER_LOOKUP));
        for chunk in order.chunks(KEYS_PER_LOOKUP) {
            bytes.clear();
            ends.clear();
            for &index in chunk {
                bytes.extend_from_slice(&table_id.to_be_bytes());
                bytes.extend_from_slice(keys[index as usize]);
                ends.push(bytes.len());
            }
            // The keys of a chunk lie one after the other in `bytes`; each starts where the one before it
            // ends.
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let full = starts.zip(&ends).map(|(start, &end)| &bytes[start..end]);
            let values = self.db.batched_multi_get_cf_opt(family, full, true, &options);
            for (&index, value) in chunk.iter().zip(values) {
                found[index as usize] = value.map_err(StateError::database_in(&self.dir))?.map(Slice);
            }
        }
        Ok(found)
    }

    /// Scans the keys of a state table that begin with `prefix`, in order, as of now or of the snapshot.
    pub fn iter(&self, table_id: u32, prefix: &[u8]) -> Result<Scan<'_>, StateError> {
        let family = self.family_of_table(table_id)?;
        let mut full = Vec::with_capacity(4 + prefix.len());
        table::key_into(&mut full, table_id, prefix);
        Ok(self.scan_family(family, &full, 4))
    }

    /// Scans the keys of a state table from `from` on, in order, as of now or of the snapshot.
    pub fn iter_from(&self, table_id: u32, from: &[u8]) -> Result<Scan<'_>, StateError> {
        Ok(self.scan_table(self.family_of_table(table_id)?, table_id, from))
    }

    /// Estimates the bytes of a state table in files. What is only in memory and logs does not count.
    pub fn estimated_bytes(&self, table_id: u32) -> Result<u64, StateError> {
        let family = self.family_of_table(table_id)?;
        let (from, to) = (table_id.to_be_bytes(), table_id.saturating_add(1).to_be_bytes());
        let sizes = self.db.get_approximate_sizes_cf(family, &[Range::new(&from, &to)]);
        Ok(sizes.first().copied().unwrap_or(0))
    }

    /// Estimates the bytes that ranges of keys of a state table have in files, each from its first key up to and
    /// without its second. What is only in memory and logs does not count.
    pub fn estimated_bytes_within(
        &self,
        table_id: u32,
        ranges: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<u64, StateError> {
        let family = self.family_of_table(table_id)?;
        let mut full = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            let (mut first, mut end) = (Vec::new(), Vec::new());
            table::key_into(&mut first, table_id, from);
            table::key_into(&mut end, table_id, to);
            full.push((first, end));
        }
        let asked: Vec<Range<'_>> = full.iter().map(|(first, end)| Range::new(first, end)).collect();
        Ok(self.db.get_approximate_sizes_cf(family, &asked).iter().sum())
    }

    /// Visits the keys of a state table that begin with `prefix`, in order, as of now or of the snapshot.
    pub fn scan<E: From<StateError>>(
        &self,
        table_id: u32,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter(table_id, prefix)?.each(visit)
    }
}

impl Reads<'_> {
    /// A reader of the newest content, to which [`Reads::load_table_kinds`] gives its state tables.
    pub(crate) fn new(db: DB, dir: &Path) -> Self {
        let table_kinds = RwLock::default();
        Reads { snapshot: None, db: Arc::new(db), dir: dir.to_owned(), table_kinds }
    }

    /// Returns a reader of the same database at a snapshot; without one, at its newest content.
    pub(crate) fn lend<'s>(&self, snapshot: Option<rocksdb::Snapshot<'s>>) -> Reads<'s> {
        let table_kinds = RwLock::new(self.table_kinds());
        Reads { snapshot, db: Arc::clone(&self.db), dir: self.dir.clone(), table_kinds }
    }

    pub(crate) fn table_kinds(&self) -> Arc<StateTableKinds> {
        self.table_kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_table_kinds(&self, table_kinds: StateTableKinds) {
        *self.table_kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table_kinds);
    }

    /// Takes the state tables from the catalogue; without one there are none.
    pub(crate) fn load_table_kinds(&self) -> Result<(), StateError> {
        self.set_table_kinds(self.catalogue()?.unwrap_or_default().table_kinds());
        Ok(())
    }

    pub(crate) fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }

    pub(crate) fn family(&self, name: &str) -> Result<&ColumnFamily, StateError> {
        table::family(&self.db, name)
    }

    /// Returns the column family of a state table; refuses an id that the catalogue does not list.
    pub(crate) fn family_of_table(&self, id: u32) -> Result<&ColumnFamily, StateError> {
        self.family(self.table_kinds().get(&id).ok_or(StateError::UnknownStateTable(id))?.family())
    }

    /// Reads a key of the `meta` family.
    pub(crate) fn meta_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let family = self.family(table::META)?;
        self.db.get_cf_opt(family, key, &self.read_options()).map_err(StateError::database_in(&self.dir))
    }

    /// Reads a key of the `meta` family that holds `N` bytes; None for another number of them.
    pub(crate) fn meta_array<const N: usize>(&self, key: &str) -> Result<Option<[u8; N]>, StateError> {
        Ok(self.meta_bytes(key)?.and_then(|bytes| bytes.try_into().ok()))
    }

    /// Reads a key of the `meta` family that holds text; None for other bytes.
    pub(crate) fn meta_text(&self, key: &str) -> Result<Option<String>, StateError> {
        Ok(self.meta_bytes(key)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    pub(crate) fn meta_json<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StateError> {
        let Some(text) = self.meta_bytes(key)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&text);
        parsed
            .map(Some)
            .map_err(|error| StateError::corrupt(&self.dir, format!("{key} is not readable ({error})")))
    }

    /// Refuses a database whose families are not all at the committed epoch. One batch writes them all, so a
    /// family that is behind has lost a log or a table file.
    pub(crate) fn check_stamps(&self, committed: u64) -> Result<(), StateError> {
        for name in table::TABLE_FAMILIES {
            let key = table::STAMP.to_be_bytes();
            let stamp = self.db.get_cf_opt(self.family(name)?, key, &self.read_options());
            let stamp = stamp.map_err(StateError::database_in(&self.dir))?;
            let at = stamp.and_then(|stamp| stamp.try_into().ok()).map_or(0, u64::from_be_bytes);
            if at != committed {
                let what = format!("{name} is at epoch {at}, the state at epoch {committed}");
                return Err(StateError::corrupt(&self.dir, what));
            }
        }
        Ok(())
    }

    /// Decodes the multiplicity that a counted state table holds for a row; 0 where it holds none.
    pub(crate) fn held_count(
        &self,
        table_id: u32,
        row: &[u8],
        held: Option<&[u8]>,
    ) -> Result<i64, StateError> {
        let Some(held) = held else { return Ok(0) };
        count_of(held).ok_or_else(|| {
            StateError::corrupt(&self.dir, format!("row 0x{} of space {table_id} has no count", hex(row)))
        })
    }

    /// Scans all entries whose key begins with `prefix`, and cuts `skip` bytes off each key.
    pub(crate) fn scan_family(&self, family: &ColumnFamily, prefix: &[u8], skip: usize) -> Scan<'_> {
        let head = prefix.get(..skip).unwrap_or_default().to_vec();
        Scan { head, ..self.scan_family_from(family, prefix, prefix) }
    }

    /// Scans the keys of a table of a family from `from` on.
    pub(crate) fn scan_table(&self, family: &ColumnFamily, table_id: u32, from: &[u8]) -> Scan<'_> {
        let mut full = Vec::with_capacity(4 + from.len());
        table::key_into(&mut full, table_id, from);
        let table = table_id.to_be_bytes();
        Scan { head: table.to_vec(), ..self.scan_family_from(family, &table, &full) }
    }

    /// Scans all entries at or above `from` whose key begins with `prefix`.
    pub(crate) fn scan_family_from(&self, family: &ColumnFamily, prefix: &[u8], from: &[u8]) -> Scan<'_> {
        let mut options = self.read_options();
        options.fill_cache(false);
        options.set_auto_readahead_size(true);
        if !prefix.is_empty() {
            options.set_iterate_range(PrefixRange(prefix));
        }
        let mut iterator = self.db.raw_iterator_cf_opt(family, options);
        iterator.seek(from);
        Scan { iterator, dir: self.dir.clone(), head: Vec::new(), started: false }
    }
}

/// A borrowed key and its value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// A scan over entries in the order of their keys.
pub struct Scan<'a> {
    iterator: DBRawIterator<'a>,
    dir: PathBuf,
    /// The bytes with which every key begins and which are cut off: the id of a table.
    head: Vec<u8>,
    /// Set once the first entry was returned: from then on the iterator is advanced first.
    started: bool,
}

impl Scan<'_> {
    /// Returns the next key (without its table id) and value; None at the end. Both are borrowed until the
    /// next call.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, StateError> {
        Ok(if self.advance()? { self.entry() } else { None })
    }

    /// Moves to the next entry; false at the end.
    pub fn advance(&mut self) -> Result<bool, StateError> {
        if self.started {
            self.iterator.next();
        }
        self.started = true;
        if !self.iterator.valid() {
            // A failed iterator is invalid just like one at its end.
            self.iterator.status().map_err(StateError::database_in(&self.dir))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Returns the entry to which the scan was advanced: key (without its table id) and value.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let skip = self.head.len();
        self.iterator.item().map(|(key, value)| (key.get(skip..).unwrap_or_default(), value))
    }

    /// Returns the key (without its table id) of the entry to which the scan was advanced; None before the first.
    pub fn reached(&self) -> Option<&[u8]> {
        if self.started { self.entry().map(|(key, _)| key) } else { None }
    }

    /// Moves to the first key at or above `from`, forwards or backwards, within the bounds of the scan.
    pub fn seek(&mut self, from: &[u8]) {
        self.iterator.seek([self.head.as_slice(), from].concat());
        self.started = false;
    }

    /// Calls `visit` with each remaining entry.
    pub fn each<E: From<StateError>>(
        mut self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((key, value)) = self.next_entry()? {
            visit(key, value)?;
        }
        Ok(())
    }
}
