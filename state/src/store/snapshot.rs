//! Consistent reading of one committed epoch, in the running process and beside it.
//!
//! A [`Snapshot`] shows all spaces, the dead letters and the outbox at one epoch. In the process that runs the
//! topology it is RocksDB's own snapshot. Beside it, a [`Reader`] follows the files of the running process
//! without its lock and without disturbing it; what it saw at its last refresh is what its snapshots show. It
//! may see an epoch moments before that epoch's sync has returned.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocksdb::{Cache, DB};

use super::options::{self, StoreOptions};
use super::read::{Reads, Scan, Slice};
use crate::catalogue::{Catalogue, Spaces};
use crate::dead_letter::Order;
use crate::error::StateError;
use crate::layout::Layout;
use crate::layout::identity::identity;
use crate::outbox::{OutboxEpochs, Published};
use crate::progress::Committed;
use crate::store::Store;

/// How long a reader tries again while the running process moves its files, and how long it pauses between.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// One committed epoch, whole. Holding it long keeps old files and versions alive.
pub struct Snapshot<'a> {
    db: &'a DB,
    dir: &'a Path,
    snapshot: Option<rocksdb::Snapshot<'a>>,
    pub(crate) spaces: Arc<Spaces>,
    committed: Committed,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn of_primary(
        db: &'a DB,
        dir: &'a Path,
        spaces: Arc<Spaces>,
    ) -> Result<Snapshot<'a>, StateError> {
        let mut view =
            Snapshot { db, dir, snapshot: Some(db.snapshot()), spaces, committed: Committed::default() };
        // Read through the snapshot itself, so that epoch and rows are of one moment.
        view.committed = view.reads().meta_json("committed")?.unwrap_or_default();
        Ok(view)
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.committed.epoch
    }

    /// The epoch with its time and progress.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// The catalogue.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, StateError> {
        self.reads().meta_json("catalogue")
    }

    /// The value of one key.
    pub fn get(&self, space: u32, key: &[u8]) -> Result<Option<Slice<'_>>, StateError> {
        let reads = self.reads();
        reads.get(reads.space(&self.spaces, space)?, space, key)
    }

    /// The values of many keys of a space, in the order of the keys.
    pub fn multi_get<'k>(
        &self,
        space: u32,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Slice<'_>>>, StateError> {
        let (reads, keys): (_, Vec<&[u8]>) = (self.reads(), keys.into_iter().collect());
        reads.multi_get(reads.space(&self.spaces, space)?, space, &keys)
    }

    /// A walk over the keys of a space that begin with `prefix`, in order.
    pub fn iter(&self, space: u32, prefix: &[u8]) -> Result<Scan<'_>, StateError> {
        let reads = self.reads();
        Ok(reads.scan_space(reads.space(&self.spaces, space)?, space, prefix))
    }

    /// Visits the keys of a space that begin with `prefix`, in order.
    pub fn scan<E: From<StateError>>(
        &self,
        space: u32,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter(space, prefix)?.each(visit)
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

    /// The epochs above `epoch` that wait for a cluster, in order.
    pub fn outbox_after(&self, cluster: u16, epoch: u64) -> Result<OutboxEpochs<'_>, StateError> {
        self.reads().outbox_after(cluster, epoch)
    }

    /// How far this state knows a cluster to be published.
    pub fn published(&self, cluster: u16) -> Result<Option<Published>, StateError> {
        self.reads().published(cluster)
    }

    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads { db: self.db, dir: self.dir, snapshot: self.snapshot.as_ref() }
    }
}

/// A state that another process may have open, for reading.
pub struct Reader {
    db: DB,
    dir: PathBuf,
    scratch: PathBuf,
    state_id: String,
    spaces: Arc<Spaces>,
    committed: Committed,
}

impl Store {
    /// Opens a state for reading while another process runs it, or while none does. `scratch` is a directory
    /// for logs of the database; it is created, and the caller's to delete.
    pub fn open_secondary(dir: &Path, scratch: &Path) -> Result<Reader, StateError> {
        let layout = Layout::new(dir);
        let marker = layout.marker()?;
        if !layout.has_database() {
            let dir = dir.to_owned();
            return Err(if marker.is_some() {
                StateError::Wiped { dir }
            } else {
                StateError::Missing { dir }
            });
        }
        std::fs::create_dir_all(scratch).map_err(|source| StateError::io(dir, "create", scratch, source))?;
        let begun = Instant::now();
        loop {
            match Reader::open(&layout, scratch) {
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
    }
}

impl Reader {
    /// Opens the files as they are.
    ///
    /// The database reads its table list first and its logs second, and takes a log that is gone by then for
    /// one that is not needed. So what it read counts only when no file vanished meanwhile and when all
    /// families are at the epoch that `meta` tells of.
    fn open(layout: &Layout, scratch: &Path) -> Result<Reader, StateError> {
        let dir = layout.root.as_path();
        // A file that the running process deletes stays readable for who has it open, so all of them are.
        let options = StoreOptions { block_cache_bytes: 64 << 20, open_files: -1, ..StoreOptions::default() };
        let families = options::descriptors(&options, &Cache::new_lru_cache(options.block_cache_bytes));
        let database = options::database_options(&options, false);
        let before = files(&layout.database());
        let (from, to) = (layout.database(), scratch.to_owned());
        let db = DB::open_cf_descriptors_as_secondary(&database, from, to, families)
            .map_err(|source| StateError::database(dir, source))?;
        // Files are deleted in bursts: one that has begun shows after a moment.
        std::thread::sleep(PAUSE);
        if !before.is_subset(&files(&layout.database())) {
            return Err(StateError::Busy { dir: dir.to_owned() });
        }
        let reads = Reads { db: &db, dir, snapshot: None };
        let (state_id, _) = identity(&reads, layout)?;
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        reads.check_stamps(committed.epoch)?;
        let catalogue: Option<Catalogue> = reads.meta_json("catalogue")?;
        let spaces = Arc::new(catalogue.map(|catalogue| catalogue.spaces()).unwrap_or_default());
        let (dir, scratch) = (dir.to_owned(), scratch.to_owned());
        Ok(Reader { db, dir, scratch, state_id, spaces, committed })
    }

    /// Moves on to the newest epoch, by opening the files again; returns it.
    pub fn refresh(&mut self) -> Result<u64, StateError> {
        *self = Store::open_secondary(&self.dir, &self.scratch)?;
        Ok(self.committed.epoch)
    }

    /// The epoch of the last refresh.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let (spaces, committed) = (self.spaces.clone(), self.committed.clone());
        Snapshot { db: &self.db, dir: &self.dir, snapshot: None, spaces, committed }
    }

    /// The identity of the state.
    pub fn state_id(&self) -> &str {
        &self.state_id
    }
}

/// The logs and tables of a database.
fn files(database: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(database).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".log") || name.ends_with(".sst")).collect()
}
