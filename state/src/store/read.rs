//! Batched lookups and scans, shared by the live store, snapshots and the secondary reader.
//!
//! Lookups are sorted and sent in chunks, so that RocksDB walks each memtable and each block once; keys are
//! laid into one buffer a chunk. Scans are bounded by a prefix and leave the block cache alone.

use std::ops::Deref;
use std::path::Path;

use rocksdb::{ColumnFamily, DB, DBPinnableSlice, DBRawIterator, PrefixRange, ReadOptions};

use crate::catalogue::Spaces;
use crate::error::StateError;
use crate::space;

/// Keys sent to RocksDB at a time.
const CHUNK: usize = 1024;

/// A value that was read, without a copy of its own.
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
        write!(formatter, "0x{}", crate::error::hex(&self.0))
    }
}

/// The multiplicity that a counted space holds for a row: i64, big-endian. None for other bytes.
pub fn count_of(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

/// Where to read: a database, the spaces in it, and a snapshot or the newest state.
pub(crate) struct Reads<'a> {
    pub(crate) db: &'a DB,
    pub(crate) dir: &'a Path,
    pub(crate) snapshot: Option<&'a rocksdb::Snapshot<'a>>,
}

impl<'a> Reads<'a> {
    pub(crate) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }

    pub(crate) fn family(&self, name: &str) -> Result<&'a ColumnFamily, StateError> {
        space::family(self.db, name)
    }

    pub(crate) fn failed(&self, source: rocksdb::Error) -> StateError {
        StateError::database(self.dir, source)
    }

    pub(crate) fn space(&self, spaces: &Spaces, id: u32) -> Result<&'a ColumnFamily, StateError> {
        self.family(spaces.get(&id).ok_or(StateError::UnknownSpace(id))?.family())
    }

    pub(crate) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let family = self.family(space::META)?;
        self.db.get_cf_opt(family, key, &self.options()).map_err(|error| self.failed(error))
    }

    pub(crate) fn meta_json<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StateError> {
        let Some(text) = self.meta(key)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&text);
        parsed
            .map(Some)
            .map_err(|error| StateError::corrupt(self.dir, format!("{key} is not readable ({error})")))
    }

    /// Refuses families that are not all at the committed epoch. One batch writes them all, so a family that
    /// is behind has lost a log or a table.
    pub(crate) fn check_stamps(&self, committed: u64) -> Result<(), StateError> {
        for name in space::SPACES {
            let stamp = self.get(self.family(name)?, space::STAMP, &[])?;
            let at = stamp.and_then(|stamp| stamp.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
            if at != committed {
                let what = format!("{name} is at epoch {at}, the state at epoch {committed}");
                return Err(StateError::corrupt(self.dir, what));
            }
        }
        Ok(())
    }

    pub(crate) fn get(
        &self,
        family: &ColumnFamily,
        space: u32,
        key: &[u8],
    ) -> Result<Option<Slice<'a>>, StateError> {
        let mut full = Vec::with_capacity(4 + key.len());
        space::key_into(&mut full, space, key);
        let found = self.db.get_pinned_cf_opt(family, full, &self.options());
        Ok(found.map_err(|error| self.failed(error))?.map(Slice))
    }

    /// Looks up many keys of one space; the answers are in the order of the keys.
    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        family: &ColumnFamily,
        space: u32,
        keys: &[K],
    ) -> Result<Vec<Option<Slice<'a>>>, StateError> {
        let options = self.options();
        let order = space::sorted_order(keys.len(), |index| keys[index].as_ref());
        let mut found: Vec<Option<Slice<'a>>> = Vec::new();
        found.resize_with(keys.len(), || None);
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(CHUNK));
        for chunk in order.chunks(CHUNK) {
            bytes.clear();
            ends.clear();
            for &index in chunk {
                bytes.extend_from_slice(&space.to_be_bytes());
                bytes.extend_from_slice(keys[index as usize].as_ref());
                ends.push(bytes.len());
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let full = starts.zip(&ends).map(|(start, &end)| &bytes[start..end]);
            let values = self.db.batched_multi_get_cf_opt(family, full, true, &options);
            for (&index, value) in chunk.iter().zip(values) {
                found[index as usize] = value.map_err(|error| self.failed(error))?.map(Slice);
            }
        }
        Ok(found)
    }

    /// All entries whose key begins with `prefix`, after cutting `skip` bytes off each key.
    pub(crate) fn scan(&self, family: &ColumnFamily, prefix: &[u8], skip: usize) -> Scan<'a> {
        Scan { skip, ..self.scan_from(family, prefix, prefix) }
    }

    /// All entries at or above `from` whose key begins with `prefix`.
    pub(crate) fn scan_from(&self, family: &ColumnFamily, prefix: &[u8], from: &[u8]) -> Scan<'a> {
        let mut options = self.options();
        options.fill_cache(false);
        options.set_auto_readahead_size(true);
        if !prefix.is_empty() {
            options.set_iterate_range(PrefixRange(prefix));
        }
        let mut iterator = self.db.raw_iterator_cf_opt(family, options);
        iterator.seek(from);
        Scan { iterator, dir: self.dir.to_owned(), skip: 0, started: false }
    }

    pub(crate) fn scan_space(&self, family: &ColumnFamily, space: u32, prefix: &[u8]) -> Scan<'a> {
        let mut full = Vec::with_capacity(4 + prefix.len());
        space::key_into(&mut full, space, prefix);
        self.scan(family, &full, 4)
    }

    /// All entries of a space at or above `from`.
    pub(crate) fn scan_space_from(&self, family: &ColumnFamily, space: u32, from: &[u8]) -> Scan<'a> {
        let mut full = Vec::with_capacity(4 + from.len());
        space::key_into(&mut full, space, from);
        Scan { skip: 4, ..self.scan_from(family, &space.to_be_bytes(), &full) }
    }
}

/// A key and its value, lent.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// A walk over entries in the order of their keys.
pub struct Scan<'a> {
    iterator: DBRawIterator<'a>,
    dir: std::path::PathBuf,
    skip: usize,
    started: bool,
}

impl Scan<'_> {
    /// The next key (without its space) and value; None at the end. It lends: copy what is to be kept.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, StateError> {
        if self.started {
            self.iterator.next();
        }
        self.started = true;
        if !self.iterator.valid() {
            // An iterator that failed looks like one that ended.
            self.iterator.status().map_err(|source| StateError::database(&self.dir, source))?;
            return Ok(None);
        }
        let skip = self.skip;
        Ok(self.iterator.item().map(|(key, value)| (key.get(skip..).unwrap_or_default(), value)))
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
