//! The open state of one topology: opening it, reading its newest content, and copying it.
//!
//! A [`Store`] is shared by all workers, the commit thread, the publisher and the server. One thread commits;
//! any number of threads read. After a failed commit the store is poisoned: reads still work, every further
//! write is refused, and the next start continues from the last committed epoch.

pub(crate) mod bounded;
pub(crate) mod edition;
pub(crate) mod erasures;
pub(crate) mod history;
pub(crate) mod index;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod snapshot;
pub(crate) mod stats;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use fail::fail_point;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, DB, WriteBatch};
use schemas::{Digest, SALT_BYTES};

use crate::dead_letter::{DeadLetterPolicy, DeadLetterTotals};
use crate::error::StateError;
use crate::layout::identity::{REPUBLISH, adopt_copy, initialise_database, read_identity};
use crate::layout::{Layout, StateLock};
use crate::outbox::Waiting;
use crate::progress::Committed;
use crate::table;
use history::KeptHistories;
use options::StoreOptions;
use read::Reads;
use snapshot::Snapshot;

/// The state of one topology, open for reading and writing by this process alone. Its reading methods are those
/// of [`Reads`].
///
/// ```
/// use state::{Commit, Progress, Store, StoreOptions};
///
/// let dir = tempfile::tempdir().unwrap();
/// let options = StoreOptions { create: true, topology: Some("games".into()), ..StoreOptions::default() };
/// let store = Store::open(&dir.path().join("state"), &options)?;
/// store.commit(Commit { epoch: 1, commit_ms: 1_700_000_000_000, progress: Progress::default(), ..Commit::default() })?;
/// assert_eq!(store.meta().epoch, 1);
/// // Epochs only go up; a commit that does not follow changes nothing.
/// assert!(store.commit(Commit { epoch: 1, ..Commit::default() }).is_err());
/// # Ok::<(), state::StateError>(())
/// ```
pub struct Store {
    reads: Reads<'static>,
    pub(crate) cache: Cache,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) dead_letter_policy: DeadLetterPolicy,
    pub(crate) error_bytes: u64,
    /// The salt of digests in a state that has none yet; None draws one.
    pub(crate) erasure_salt: Option<[u8; SALT_BYTES]>,
    /// Erasures that are not finished, with their epochs.
    unfinished: Mutex<BTreeMap<Digest, u64>>,
    state_id: String,
    pub(crate) topology: Option<String>,
    committed: RwLock<Arc<Committed>>,
    waiting: Mutex<Waiting>,
    pub(crate) histories: Mutex<KeptHistories>,
    /// The lock for writing state tables or the catalogue; it guards the totals that only writers change.
    writer: Mutex<DeadLetterTotals>,
    /// The message of the first failed write.
    poison: OnceLock<String>,
    /// The last field, so that the database is closed before another process can take the lock.
    _lock: StateLock,
}

impl Store {
    /// Opens the state in a directory; creates it there if the options allow that.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Store, StateError> {
        let layout = Layout::new(dir);
        if !dir.exists() {
            if !options.create {
                return Err(StateError::Missing { dir: dir.to_owned() });
            }
            layout.create_root()?;
        }
        let marker = layout.read_marker()?;
        layout.refuse_foreign_files()?;
        if !options.create && marker.is_none() && !layout.has_database() {
            return Err(StateError::Missing { dir: dir.to_owned() });
        }
        let lock = layout.take_lock()?;
        layout.clear_leftovers()?;
        fail_point!("store.open.before");
        if marker.is_some() && !layout.has_database() {
            return Err(StateError::Wiped { dir: dir.to_owned() });
        }
        // A kill while RocksDB creates its families leaves some of them: they are created then, too.
        let store = Store::open_database(&layout, (options, marker.is_none()), lock)?;
        fail_point!("store.open.after");
        // The marker is written last: a database without one is a creation that a crash interrupted.
        match marker {
            Some(marker) if marker.state_id != store.state_id => {
                let what = format!(
                    "its HERALD file names state {}, its database {}",
                    marker.state_id, store.state_id
                );
                Err(StateError::corrupt(dir, what))
            }
            Some(_) => Ok(store),
            None => {
                layout.write_marker(&store.state_id)?;
                Ok(store)
            }
        }
    }

    /// Opens the database, initialises a new one, and checks identity, owner and family stamps.
    fn open_database(
        layout: &Layout,
        (options, create): (&StoreOptions, bool),
        lock: StateLock,
    ) -> Result<Store, StateError> {
        let dir = layout.root.clone();
        let cache = options::new_cache(options.block_cache_bytes);
        let database = options::database_options(options, create);
        layout.close_database()?;
        let families = options::family_descriptors(options, &cache);
        let db = DB::open_cf_descriptors(&database, layout.database_dir(), families)
            .map_err(StateError::database_in(&dir))?;
        let reads = Reads::new(db, &dir);
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        // Format and epoch are both missing only in a database that was just created.
        if reads.meta_bytes("format")?.is_none() && committed.epoch == 0 {
            initialise_database(&reads.db, &dir, options.topology.as_deref())?;
        }
        let (state_id, topology) = read_identity(&reads, layout)?;
        if let (Some(held), Some(wanted)) = (&topology, &options.topology)
            && held != wanted
        {
            return Err(StateError::Foreign { dir, held: held.clone(), wanted: wanted.clone() });
        }
        reads.check_stamps(committed.epoch)?;
        reads.load_table_kinds()?;
        let dead: DeadLetterTotals = reads.meta_json("dead_letter")?.unwrap_or_default();
        let waiting = reads.read_waiting()?;
        let erasures = reads.erasures()?.into_iter().filter(|erasure| erasure.finished_ms.is_none());
        let unfinished: BTreeMap<Digest, u64> =
            erasures.map(|erasure| (erasure.digest, erasure.epoch)).collect();
        if !unfinished.is_empty() && !options.erases {
            // An edited topology may have no orders to erase any more, but these are to be ended.
            drop(reads);
            let options = StoreOptions { erases: true, ..options.clone() };
            return Store::open_database(layout, (&options, create), lock);
        }
        Ok(Store {
            reads,
            cache,
            dead_letter_bytes: options.dead_letter_bytes,
            dead_letter_policy: options.dead_letter_policy,
            error_bytes: options.error_bytes,
            erasure_salt: options.erasure_salt,
            unfinished: Mutex::new(unfinished),
            state_id,
            topology,
            committed: RwLock::new(Arc::new(committed)),
            waiting: Mutex::new(waiting),
            histories: Mutex::default(),
            writer: Mutex::new(dead),
            poison: OnceLock::new(),
            _lock: lock,
        })
    }

    /// Locks the state in a directory without opening it. None without a state. Refuses a directory with foreign
    /// files, and a state that is in use.
    pub fn lock(dir: &Path) -> Result<Option<StateLock>, StateError> {
        Layout::new(dir).lock_state()
    }

    /// Deletes the state in a directory, and the remains of an interrupted deletion. Succeeds without a
    /// state; refuses a directory with foreign files, and a state that is in use.
    pub fn wipe(dir: &Path) -> Result<(), StateError> {
        Layout::new(dir).wipe()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder, which need not exist, for files on their way to the object stores of exports. They are copies, and may
    /// go at any time.
    pub fn export_dir(&self) -> std::path::PathBuf {
        Layout::new(&self.dir).export_dir()
    }

    /// Returns the id given to this state when it was created: 32 hex digits.
    pub fn state_id(&self) -> &str {
        &self.state_id
    }

    /// Returns a copy of the committed epoch with its time and progress. Epoch 0 is a new state.
    pub fn meta(&self) -> Committed {
        Committed::clone(&self.committed())
    }

    /// Takes a consistent view of the committed epoch; later commits do not change it.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StateError> {
        Snapshot::of_primary(self)
    }

    /// Copies the state, consistently and while it is in use, into a directory that must not exist or must be
    /// empty. On the same file system immutable files are linked instead of copied.
    pub fn checkpoint(&self, target: &Path) -> Result<(), StateError> {
        let layout = Layout::new(target);
        layout.create_root()?;
        layout.refuse_occupied()?;
        let db: &DB = &self.db;
        Checkpoint::new(db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(layout.database_dir()))
            .map_err(StateError::database_in(target))?;
        layout.close_database()?;
        layout.write_marker(&self.state_id)
    }

    /// Restores a state from the directory of a backup into one that must not exist or must be empty. With
    /// `topology` the copy becomes a state of its own, owned by a topology of that name, whose sinks get its
    /// content again. A crash leaves nothing that opens as a state.
    pub fn restore(from: &Path, to: &Path, topology: Option<&str>) -> Result<(), StateError> {
        let (source, target) = (Layout::new(from), Layout::new(to));
        let (Some(marker), true) = (source.read_marker()?, source.has_database()) else {
            return Err(StateError::Missing { dir: from.to_owned() });
        };
        target.create_root()?;
        target.refuse_occupied()?;
        // Copied under a leftover's name and renamed when complete, so that a crash leaves no partial
        // database.
        let copied = target.root.join("old-restoring");
        copy_files(&source.database_dir(), &copied).map_err(StateError::io_at(
            to,
            "copy the backup to",
            &copied,
        ))?;
        std::fs::rename(&copied, target.database_dir()).map_err(StateError::io_at(to, "move", &copied))?;
        target.write_marker(&marker.state_id)?;
        let Some(topology) = topology else { return Ok(()) };
        let store = Store::open(to, &StoreOptions::default())?;
        let id = adopt_copy(&store, topology, store.committed().epoch)?;
        target.write_marker(&id)
    }

    /// Returns true if sinks get the content of the committed epoch again: in a copy that became a state of
    /// its own and has committed nothing since.
    pub fn republishes(&self) -> Result<bool, StateError> {
        let epoch = self.meta_array(REPUBLISH)?.map(u64::from_be_bytes);
        Ok(epoch.is_some_and(|epoch| epoch > 0 && epoch == self.committed().epoch))
    }

    /// Flushes memtables to table files, so that the next start has no log to replay. For a graceful stop.
    pub fn flush(&self) -> Result<(), StateError> {
        for name in table::FAMILIES {
            let flushed = self.db.flush_cf(table::family(&self.db, name)?);
            flushed.map_err(StateError::database_in(&self.dir))?;
        }
        Ok(())
    }

    /// Returns the message of the first failed write; None while the store accepts writes.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Refuses all further writes because of `error`.
    pub(crate) fn poison(&self, error: &StateError) {
        // Only the first failure is kept: later ones follow from it.
        let _ = self.poison.set(error.to_string());
    }

    pub(crate) fn refuse_poisoned(&self) -> Result<(), StateError> {
        match self.poison.get() {
            Some(reason) => Err(StateError::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, DeadLetterTotals> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_unfinished(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The committed epoch, shared: its progress grows with partitions and views, and each commit reads it.
    pub(crate) fn committed(&self) -> Arc<Committed> {
        self.committed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_committed(&self, committed: Committed) {
        *self.committed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(committed);
    }

    /// Puts a value as JSON under a key of the `meta` family.
    pub(crate) fn put_meta_json<T: serde::Serialize>(
        &self,
        batch: &mut WriteBatch,
        key: &str,
        value: &T,
    ) -> Result<(), StateError> {
        let text = table::encode_json(&self.dir, key, value)?;
        batch.put_cf(table::family(&self.db, table::META)?, key, text);
        Ok(())
    }
}

impl Deref for Store {
    type Target = Reads<'static>;

    fn deref(&self) -> &Reads<'static> {
        &self.reads
    }
}

/// Copies the files of a directory, readable by their owner alone, and syncs each of them.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "LOCK" {
            let copy = to.join(entry.file_name());
            std::fs::copy(entry.path(), &copy)?;
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600))?;
            File::open(&copy)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rocksdb::{DB, Options};

    use super::*;
    use crate::Commit;
    use crate::layout::migration::Migration;
    use crate::table::FAMILIES;

    /// RocksDB creates one family after the other, and the marker comes after all. Whatever looks at a state
    /// whose creation was killed in between finds that there is none yet, and a start creates the rest.
    #[test]
    fn a_creation_may_end_after_any_family() -> Result<(), StateError> {
        for created in 0..=FAMILIES.len() {
            let dir = tempfile::tempdir().expect("a directory");
            let mut options = Options::default();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            let path = Layout::new(dir.path()).database_dir();
            drop(DB::open_cf(&options, path, &FAMILIES[..created]).expect("a database"));
            let topology = Some("games".to_owned());
            let options = StoreOptions { create: true, topology, ..StoreOptions::default() };
            let scratch = tempfile::tempdir().expect("a directory");
            if created < FAMILIES.len() {
                let read = Store::open_secondary(dir.path(), scratch.path());
                assert!(matches!(read, Err(StateError::Missing { .. })), "{created} families");
            }
            // As a start does it.
            assert!(Migration::open(dir.path(), &options)?.is_none(), "{created} families");
            let store = Store::open(dir.path(), &options)?;
            store.commit(Commit { epoch: 1, ..Commit::default() })?;
            drop(store);
            assert!(Migration::open(dir.path(), &options)?.is_none());
            let store = Store::open(dir.path(), &StoreOptions::default())?;
            assert_eq!(store.meta().epoch, 1, "{created} families");
        }
        Ok(())
    }
}
