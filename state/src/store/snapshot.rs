//! Consistent reads of one committed epoch, in the running process and from another process.
//!
//! A [`Snapshot`] shows all state tables, the dead letters and the outbox at one epoch. In the process that
//! runs the topology it is a RocksDB snapshot. In another process a [`Reader`] opens the files of the running
//! process without its lock and without disturbing it; its snapshots show the epoch of its last refresh. It
//! may see an epoch moments before that epoch's sync has returned.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocksdb::{Cache, DB};

use super::options::{self, StoreOptions};
use super::read::{Reads, Scan, Slice};
use crate::catalogue::{Catalogue, StateTableKinds};
use crate::dead_letter::Order;
use crate::error::StateError;
use crate::layout::identity::read_identity;
use crate::layout::{Layout, entry_name};
use crate::outbox::{OutboxEpochs, Published};
use crate::progress::Committed;
use crate::store::Store;

/// The time for which a reader retries while the running process replaces its files.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A complete view of one committed epoch. A long-lived one keeps old files and versions alive.
pub struct Snapshot<'a> {
    db: &'a DB,
    dir: &'a Path,
    snapshot: Option<rocksdb::Snapshot<'a>>,
    pub(crate) table_kinds: Arc<StateTableKinds>,
    committed: Committed,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn of_primary(
        db: &'a DB,
        dir: &'a Path,
        table_kinds: Arc<StateTableKinds>,
    ) -> Result<Snapshot<'a>, StateError> {
        let mut view =
            Snapshot { db, dir, snapshot: Some(db.snapshot()), table_kinds, committed: Committed::default() };
        // Read through the snapshot itself, so that the epoch belongs to the rows.
        view.committed = view.reads().meta_json("committed")?.unwrap_or_default();
        Ok(view)
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> u64 {
        self.committed.epoch
    }

    /// Returns the epoch with its time and progress.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Reads the catalogue.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, StateError> {
        self.reads().meta_json("catalogue")
    }

    /// Reads the value of one key.
    pub fn get(&self, table_id: u32, key: &[u8]) -> Result<Option<Slice<'_>>, StateError> {
        let reads = self.reads();
        reads.get(reads.family_of_table(&self.table_kinds, table_id)?, table_id, key)
    }

    /// Reads the values of many keys of a state table, in the order of the keys.
    pub fn multi_get<'k>(
        &self,
        table_id: u32,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Slice<'_>>>, StateError> {
        let (reads, keys): (_, Vec<&[u8]>) = (self.reads(), keys.into_iter().collect());
        reads.multi_get(reads.family_of_table(&self.table_kinds, table_id)?, table_id, &keys)
    }

    /// Scans the keys of a state table that begin with `prefix`, in order.
    pub fn iter(&self, table_id: u32, prefix: &[u8]) -> Result<Scan<'_>, StateError> {
        let reads = self.reads();
        Ok(reads.scan_table(reads.family_of_table(&self.table_kinds, table_id)?, table_id, prefix))
    }

    /// Visits the keys of a state table that begin with `prefix`, in order.
    pub fn scan<E: From<StateError>>(
        &self,
        table_id: u32,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter(table_id, prefix)?.each(visit)
    }

    /// Visits up to `limit` dead letters with their sequence numbers.
    pub fn dead_letters<E: From<StateError>>(
        &self,
        order: Order,
        limit: usize,
        visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reads().dead_letters(order, limit, visit)
    }

    /// Iterates over the unpublished epochs of a cluster above `epoch`, in order.
    pub fn outbox_after(&self, cluster: u16, epoch: u64) -> Result<OutboxEpochs<'_>, StateError> {
        self.reads().outbox_after(cluster, epoch)
    }

    /// Reads the last epoch that this state knows to be published to a cluster.
    pub fn published(&self, cluster: u16) -> Result<Option<Published>, StateError> {
        self.reads().published(cluster)
    }

    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads { db: self.db, dir: self.dir, snapshot: self.snapshot.as_ref() }
    }
}

/// A read-only state that another process may have open for writing.
pub struct Reader {
    db: DB,
    dir: PathBuf,
    scratch: PathBuf,
    state_id: String,
    table_kinds: Arc<StateTableKinds>,
    committed: Committed,
}

impl Store {
    /// Opens a state for reading, whether or not another process has it open. `scratch` is a directory for
    /// the database's info logs; it is created here, and the caller deletes it.
    pub fn open_secondary(dir: &Path, scratch: &Path) -> Result<Reader, StateError> {
        let layout = Layout::new(dir);
        let marker = layout.read_marker()?;
        if !layout.has_database() {
            let dir = dir.to_owned();
            return Err(if marker.is_some() {
                StateError::Wiped { dir }
            } else {
                StateError::Missing { dir }
            });
        }
        std::fs::create_dir_all(scratch).map_err(StateError::io_at(dir, "create", scratch))?;
        let begun = Instant::now();
        loop {
            match Reader::open(&layout, scratch) {
                Err(_) if begun.elapsed() < OPEN_TIMEOUT => std::thread::sleep(RETRY_INTERVAL),
                outcome => return outcome,
            }
        }
    }
}

impl Reader {
    /// Opens the files in their current state.
    ///
    /// The database reads its table list first and its logs second, and ignores a log that was deleted in
    /// between. So the result is valid only if no file vanished meanwhile and if all families are at the
    /// epoch in `meta`.
    fn open(layout: &Layout, scratch: &Path) -> Result<Reader, StateError> {
        let dir = layout.root.as_path();
        // All files are kept open: a file that the running process deletes stays readable through its
        // descriptor.
        let options = StoreOptions { block_cache_bytes: 64 << 20, open_files: -1, ..StoreOptions::default() };
        let families =
            options::family_descriptors(&options, &Cache::new_lru_cache(options.block_cache_bytes));
        let database = options::database_options(&options, false);
        let before = database_files(&layout.database_dir());
        let (from, to) = (layout.database_dir(), scratch.to_owned());
        let db = DB::open_cf_descriptors_as_secondary(&database, from, to, families)
            .map_err(StateError::database_in(dir))?;
        // Files are deleted in bursts: a burst in progress becomes visible after a pause.
        std::thread::sleep(RETRY_INTERVAL);
        if !before.is_subset(&database_files(&layout.database_dir())) {
            return Err(StateError::Busy { dir: dir.to_owned() });
        }
        let reads = Reads { db: &db, dir, snapshot: None };
        let (state_id, _) = read_identity(&reads, layout)?;
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        reads.check_stamps(committed.epoch)?;
        let catalogue: Option<Catalogue> = reads.meta_json("catalogue")?;
        let table_kinds = Arc::new(catalogue.as_ref().map(Catalogue::table_kinds).unwrap_or_default());
        let (dir, scratch) = (dir.to_owned(), scratch.to_owned());
        Ok(Reader { db, dir, scratch, state_id, table_kinds, committed })
    }

    /// Advances to the newest epoch by opening the files again, and returns that epoch.
    pub fn refresh(&mut self) -> Result<u64, StateError> {
        *self = Store::open_secondary(&self.dir, &self.scratch)?;
        Ok(self.committed.epoch)
    }

    /// Returns a view of the epoch of the last refresh.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let (table_kinds, committed) = (self.table_kinds.clone(), self.committed.clone());
        Snapshot { db: &self.db, dir: &self.dir, snapshot: None, table_kinds, committed }
    }

    /// Returns the id of the state.
    pub fn state_id(&self) -> &str {
        &self.state_id
    }
}

/// Lists the log and table files of a database.
fn database_files(database: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(database).into_iter().flatten().flatten();
    let names = entries.map(entry_name);
    names.filter(|name| name.ends_with(".log") || name.ends_with(".sst")).collect()
}
