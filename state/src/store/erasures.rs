//! Erasures of persons: their receipts, the salt of their digests, and the rewriting of files that may hold identities.
//!
//! A receipt stands under the digest of the identity, and is all that is kept of it: records that come later are
//! compared with the digests. The commit that removes a person's rows writes the receipt, in its batch. What the
//! commit has removed is still in histories, logs and old files then, so the receipt stays unfinished until they are
//! gone ([`Store::forget_histories`], [`Store::rewrite_files`]); whoever is killed in between begins that work anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rocksdb::{BottommostLevelCompaction, CompactOptions, WriteBatch};
use schemas::{Digest, Digester, ErasedSet, SALT_BYTES, contains_any};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::layout::entry_name;
use crate::store::Store;
use crate::store::read::Reads;
use crate::table;

/// The prefix of receipts in `meta`.
const PREFIX: &[u8] = b"erasure/";
/// The key of the salt in `meta`.
const SALT_KEY: &str = "erasure_salt";
/// The key of the paths by which the rows of each table were filtered, in `meta`.
const PATHS_KEY: &str = "erase_paths";

/// Rows of a table that an erasure has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowsErased {
    /// Rows that lost an element and stay.
    pub rewritten: u64,
    /// Rows that are gone.
    pub removed: u64,
}

/// The receipt of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The digest of the identity.
    pub digest: Digest,
    /// The hash of the identity by which records are screened.
    pub screen: u64,
    /// The table that had the order.
    pub ordered_in: String,
    /// The number of orders; none in one that adds to an earlier receipt for rows that other paths have reached.
    pub orders: u64,
    /// The epoch of the last one.
    pub epoch: u64,
    /// The time of the first order, in microseconds since 1970, if it has one.
    pub requested_us: Option<i64>,
    /// The time of the commit of that epoch, in milliseconds since 1970.
    pub committed_ms: i64,
    /// The time at which no file of the state held the identity any more, in milliseconds since 1970.
    pub finished_ms: Option<i64>,
    /// Rows by table.
    #[serde(default)]
    pub tables: BTreeMap<String, RowsErased>,
    /// Dead letters whose bytes were removed.
    #[serde(default)]
    pub dead_letters: u64,
    /// Rows of `herald.errors` that were removed.
    #[serde(default)]
    pub errors: u64,
    /// Places that may hold the identity and are not the state's, in words.
    #[serde(default)]
    pub left: Vec<String>,
}

impl Erasure {
    /// Adds a later order for the same identity.
    fn add(&mut self, later: Erasure) {
        self.orders += later.orders;
        self.epoch = later.epoch;
        self.committed_ms = later.committed_ms;
        self.finished_ms = None;
        self.requested_us = [self.requested_us, later.requested_us].into_iter().flatten().min();
        for (table, rows) in later.tables {
            let held = self.tables.entry(table).or_default();
            held.rewritten += rows.rewritten;
            held.removed += rows.removed;
        }
        self.dead_letters += later.dead_letters;
        self.errors += later.errors;
        self.left = later.left;
    }

    fn key(&self) -> Vec<u8> {
        [PREFIX, self.digest.to_string().as_bytes()].concat()
    }
}

impl Reads<'_> {
    /// Reads all receipts, in the order of their digests.
    pub fn erasures(&self) -> Result<Vec<Erasure>, StateError> {
        let mut erasures = Vec::new();
        let mut scan = self.scan_family(self.family(table::META)?, PREFIX, 0);
        while let Some((_, text)) = scan.next_entry()? {
            let erasure = serde_json::from_slice(text);
            erasures.push(erasure.map_err(|error| {
                StateError::corrupt(&self.dir, format!("the receipt of an erasure is not readable ({error})"))
            })?);
        }
        Ok(erasures)
    }

    /// Returns the families that have an entry with any of some patterns in its key or value, for tests and audits. Reads
    /// all of the state.
    pub fn families_with(&self, patterns: &[Vec<u8>]) -> Result<Vec<&'static str>, StateError> {
        let mut found = Vec::new();
        for name in table::FAMILIES {
            let mut scan = self.scan_family(self.family(name)?, &[], 0);
            while let Some((key, value)) = scan.next_entry()? {
                if contains_any(key, patterns) || contains_any(value, patterns) {
                    found.push(name);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Reads the paths by which the rows of each table were filtered, as texts by table.
    pub fn erase_paths(&self) -> Result<BTreeMap<String, String>, StateError> {
        Ok(self.meta_json(PATHS_KEY)?.unwrap_or_default())
    }
}

impl Store {
    /// Returns the function from identities to digests, whose salt is drawn when it is first asked for.
    ///
    /// # Errors
    /// When the salt cannot be read or written.
    pub fn digester(&self) -> Result<Digester, StateError> {
        // Two workers that ask at once must get the same one.
        let _writer = self.lock_writer();
        if let Some(salt) = self.meta_array::<SALT_BYTES>(SALT_KEY)? {
            return Ok(Digester::new(&salt));
        }
        self.refuse_poisoned()?;
        let drawn = self.erasure_salt.or_else(Digester::new_salt);
        let Some(salt) = drawn else {
            let error = std::io::Error::other("the operating system has no random numbers");
            return Err(StateError::io(&self.dir, "draw a salt for", &self.dir, error));
        };
        let mut batch = WriteBatch::new();
        batch.put_cf(table::family(&self.db, table::META)?, SALT_KEY, salt);
        self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        Ok(Digester::new(&salt))
    }

    /// Returns all erased identities.
    ///
    /// # Errors
    /// As [`Store::digester`] and [`Reads::erasures`].
    pub fn erased_set(&self) -> Result<ErasedSet, StateError> {
        let mut set = ErasedSet::new(self.digester()?);
        for erasure in self.erasures()? {
            set.insert(erasure.digest, erasure.screen);
        }
        Ok(set)
    }

    /// Returns the number of erasures whose identities may still be in files of the state, with the last epoch of
    /// theirs; None without any.
    pub fn unfinished_erasures(&self) -> Option<(usize, u64)> {
        let open = self.lock_unfinished();
        open.values().max().map(|last| (open.len(), *last))
    }

    /// Adds the receipts of an epoch to its batch.
    pub(crate) fn put_erasures(
        &self,
        batch: &mut WriteBatch,
        erasures: &[Erasure],
    ) -> Result<(), StateError> {
        let family = table::family(&self.db, table::META)?;
        for later in erasures {
            let key = later.key();
            let held = self.db.get_pinned_cf(family, &key).map_err(StateError::database_in(&self.dir))?;
            let held = held.and_then(|text| serde_json::from_slice::<Erasure>(&text).ok());
            let erasure = match held {
                Some(mut held) => {
                    held.add(later.clone());
                    held
                }
                None if later.orders > 0 => later.clone(),
                // Without an order there is a receipt, which this adds to.
                None => {
                    let what = format!("the receipt of {} is missing or not readable", later.digest);
                    return Err(StateError::corrupt(&self.dir, what));
                }
            };
            batch.put_cf(family, &key, table::encode_json(&self.dir, "erasure", &erasure)?);
        }
        Ok(())
    }

    /// Adds the paths by which tables are filtered from an epoch on to its batch.
    pub(crate) fn put_erase_paths(
        &self,
        batch: &mut WriteBatch,
        paths: &BTreeMap<String, String>,
    ) -> Result<(), StateError> {
        self.put_meta_json(batch, PATHS_KEY, paths)
    }

    /// Notes that erasures are written, and not finished.
    pub(crate) fn note_unfinished(&self, erasures: &[Erasure]) {
        let mut open = self.lock_unfinished();
        open.extend(erasures.iter().map(|erasure| (erasure.digest, erasure.epoch)));
    }

    /// Marks all erasures up to an epoch as finished. Returns their receipts.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn finish_erasures(&self, through: u64, now_ms: i64) -> Result<Vec<Erasure>, StateError> {
        let _writer = self.lock_writer();
        self.refuse_poisoned()?;
        let family = table::family(&self.db, table::META)?;
        let (mut batch, mut finished) = (WriteBatch::new(), Vec::new());
        for mut erasure in self.erasures()? {
            if erasure.finished_ms.is_none() && erasure.epoch <= through {
                erasure.finished_ms = Some(now_ms);
                batch.put_cf(family, erasure.key(), table::encode_json(&self.dir, "erasure", &erasure)?);
                finished.push(erasure);
            }
        }
        self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        let mut open = self.lock_unfinished();
        for erasure in &finished {
            open.remove(&erasure.digest);
        }
        Ok(finished)
    }

    /// Rewrites every file of the database that there is now, so that nothing that was deleted or overwritten before
    /// is in any file. Returns false if `is_stopped` returned true, which it asks between two pieces, or if readers
    /// of earlier epochs keep files or values alive: then it has to be called again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rewrite_files(&self, is_stopped: &dyn Fn() -> bool) -> Result<bool, StateError> {
        let failed = StateError::database_in(&self.dir);
        let now = self.db.latest_sequence_number();
        self.flush()?;
        let old = self.database_files()?;
        if !self.snapshots_are_since(now)? {
            return Ok(false);
        }
        let mut ids: BTreeSet<u32> = self.table_kinds().keys().copied().collect();
        ids.insert(table::STAMP);
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for name in table::FAMILIES {
            let family = table::family(&self.db, name)?;
            // Piece by piece, a state table each: that needs no room for a second copy of all.
            let ends = ids.iter().filter(|_| table::TABLE_FAMILIES.contains(&name));
            let mut from: Option<[u8; 4]> = None;
            for end in ends.map(|id| Some(id.to_be_bytes())).chain([None]) {
                if is_stopped() {
                    return Ok(false);
                }
                self.db.compact_range_cf_opt(family, from, end, &options);
                from = end;
            }
        }
        // Every change of the files begins a new manifest, which lists the least and the greatest key of each.
        let mut batch = WriteBatch::new();
        batch.put_cf(table::family(&self.db, table::META)?, "rewritten", now.to_be_bytes());
        self.write_synced(batch)?;
        self.db.flush_cf(table::family(&self.db, table::META)?).map_err(&failed)?;
        if !self.snapshots_are_since(now)? {
            return Ok(false);
        }
        Ok(self.database_files()?.is_disjoint(&old))
    }

    /// Returns true if no reader sees the state as it was before a sequence number.
    fn snapshots_are_since(&self, sequence: u64) -> Result<bool, StateError> {
        let family = table::family(&self.db, table::META)?;
        let oldest = self.db.property_int_value_cf(family, "rocksdb.oldest-snapshot-sequence");
        let oldest = oldest.map_err(StateError::database_in(&self.dir))?;
        Ok(oldest.is_none_or(|oldest| oldest == 0 || oldest >= sequence))
    }

    /// The names of the files of the database that hold keys or values.
    fn database_files(&self) -> Result<BTreeSet<String>, StateError> {
        let path: PathBuf = self.db.path().to_owned();
        let failed = StateError::io_at(&self.dir, "list", &path);
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let name = entry_name(entry.map_err(failed)?);
            let holds_keys = [".sst", ".log", ".blob"].iter().any(|end| name.ends_with(end));
            if holds_keys || name.starts_with("MANIFEST") {
                names.insert(name);
            }
        }
        Ok(names)
    }
}
