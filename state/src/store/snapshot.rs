//! Consistent reads of one committed epoch, in the running process and from another process.
//!
//! A [`Snapshot`] shows all state tables, the dead letters and the outbox at one epoch. In the process that
//! runs the topology it is a RocksDB snapshot. In another process a [`Reader`] opens the files of the running
//! process without its lock and without disturbing it; its snapshots show the epoch of its last refresh. It
//! may see an epoch moments before that epoch's sync has returned.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rocksdb::DB;

use super::history::{HistoryPlace, HistorySince};
use super::options::{self, StoreOptions};
use super::read::Reads;
use crate::error::StateError;
use crate::layout::identity::read_identity;
use crate::layout::{Layout, entry_name};
use crate::progress::Committed;
use crate::store::Store;

/// The time for which a reader retries while the running process replaces its files.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A complete view of one committed epoch. A long-lived one keeps old files and versions alive. Its reading
/// methods are those of [`Reads`].
pub struct Snapshot<'a> {
    reads: Reads<'a>,
    state_id: &'a str,
    committed: Committed,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn of_primary(store: &'a Store) -> Result<Snapshot<'a>, StateError> {
        let reads = store.lend(Some(store.db.snapshot()));
        // Read through the snapshot itself, so that the epoch belongs to the rows.
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        Ok(Snapshot { reads, state_id: store.state_id(), committed })
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> u64 {
        self.committed.epoch
    }

    /// Returns the epoch with its time and progress.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Returns the id of the state.
    pub fn state_id(&self) -> &str {
        self.state_id
    }

    /// Reads the changes of a view, which is given by its state table, from a place of its history on.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn history_from(&self, view: u32, from: HistoryPlace) -> Result<HistorySince<'_>, StateError> {
        self.read_history((view, self.epoch()), from)
    }
}

impl<'a> Deref for Snapshot<'a> {
    type Target = Reads<'a>;

    fn deref(&self) -> &Reads<'a> {
        &self.reads
    }
}

/// A read-only state that another process may have open for writing.
pub struct Reader {
    reads: Reads<'static>,
    scratch: PathBuf,
    state_id: String,
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
        if marker.is_none() && !layout.has_all_families()? {
            // Its creation has not ended, or was killed.
            return Err(StateError::Missing { dir: dir.to_owned() });
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
        let families = options::family_descriptors(&options, &options::new_cache(options.block_cache_bytes));
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
        let reads = Reads::new(db, dir);
        let (state_id, _) = read_identity(&reads, layout)?;
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        reads.check_stamps(committed.epoch)?;
        reads.load_table_kinds()?;
        Ok(Reader { reads, scratch: scratch.to_owned(), state_id, committed })
    }

    /// Advances to the newest epoch by opening the files again, and returns that epoch.
    pub fn refresh(&mut self) -> Result<u64, StateError> {
        *self = Store::open_secondary(&self.reads.dir, &self.scratch)?;
        Ok(self.committed.epoch)
    }

    /// Returns a view of the epoch of the last refresh.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { reads: self.reads.lend(None), state_id: &self.state_id, committed: self.committed.clone() }
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
