//! The open state of one topology: opening, reading what is newest, and copying it.
//!
//! A [`Store`] is shared by all workers, the commit thread, the publisher and the server. One thread commits;
//! any number read. After a failed commit it is poisoned: reads go on, every further write is refused, and a
//! new start goes on from the last committed epoch.

pub(crate) mod bounded;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod snapshot;
pub(crate) mod stats;

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use fail::fail_point;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, DB, WriteBatch};

use crate::catalogue::{Catalogue, Spaces};
use crate::dead_letter::{DeadLetterPolicy, DeadLetterTotals};
use crate::error::StateError;
use crate::layout::Layout;
use crate::layout::identity::{REPUBLISH, adopt, identity, initialise};
use crate::outbox::Waiting;
use crate::progress::Committed;
use crate::space;
use options::{self, StoreOptions};
use read::{Reads, Scan, Slice};
use snapshot::Snapshot;

/// The state of one topology, open for reading and writing by this process alone.
pub struct Store {
    pub(crate) db: DB,
    pub(crate) dir: PathBuf,
    pub(crate) cache: Cache,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) dead_letter_policy: DeadLetterPolicy,
    pub(crate) error_bytes: u64,
    state_id: String,
    pub(crate) topology: Option<String>,
    spaces: RwLock<Arc<Spaces>>,
    committed: RwLock<Committed>,
    waiting: Mutex<Waiting>,
    /// Held by whoever writes spaces or the catalogue; with it go the totals that only writers change.
    writer: Mutex<DeadLetterTotals>,
    poison: OnceLock<String>,
    /// Last, so that the database is closed before another process can have the lock.
    _lock: File,
}

impl Store {
    /// Opens the state in a directory, or creates it there.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Store, StateError> {
        let layout = Layout::new(dir);
        if !dir.exists() {
            if !options.create {
                return Err(StateError::Missing { dir: dir.to_owned() });
            }
            layout.create_root()?;
        }
        let marker = layout.marker()?;
        layout.refuse_foreign_files()?;
        if !options.create && marker.is_none() && !layout.has_database() {
            return Err(StateError::Missing { dir: dir.to_owned() });
        }
        let lock = layout.lock()?;
        layout.clear_leftovers()?;
        fail_point!("store.open.before");
        if marker.is_some() && !layout.has_database() {
            return Err(StateError::Wiped { dir: dir.to_owned() });
        }
        let store = Store::open_database(&layout, options, lock)?;
        fail_point!("store.open.after");
        match marker {
            Some(marker) if marker.state_id != store.state_id => {
                let what = format!(
                    "its HERALD file names state {}, its database {}",
                    marker.state_id, store.state_id
                );
                Err(StateError::corrupt(dir, what))
            }
            Some(_) => Ok(store),
            None => layout.write_marker(&store.state_id).map(|()| store),
        }
    }

    fn open_database(layout: &Layout, options: &StoreOptions, lock: File) -> Result<Store, StateError> {
        let dir = layout.root.clone();
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let database = options::database_options(options, !layout.has_database());
        layout.close_database()?;
        let families = options::descriptors(options, &cache);
        let db = DB::open_cf_descriptors(&database, layout.database(), families)
            .map_err(|source| StateError::database(&dir, source))?;
        let reads = Reads { db: &db, dir: &dir, snapshot: None };
        let committed: Committed = reads.meta_json("committed")?.unwrap_or_default();
        if reads.meta("format")?.is_none() && committed.epoch == 0 {
            initialise(&db, &dir, options.topology.as_deref())?;
        }
        let (state_id, topology) = identity(&reads, layout)?;
        if let (Some(held), Some(wanted)) = (&topology, &options.topology)
            && held != wanted
        {
            return Err(StateError::Foreign { dir, held: held.clone(), wanted: wanted.clone() });
        }
        reads.check_stamps(committed.epoch)?;
        let catalogue: Option<Catalogue> = reads.meta_json("catalogue")?;
        let dead: DeadLetterTotals = reads.meta_json("dead_letter")?.unwrap_or_default();
        let waiting = reads.waiting()?;
        Ok(Store {
            cache,
            dead_letter_bytes: options.dead_letter_bytes,
            dead_letter_policy: options.dead_letter_policy,
            error_bytes: options.error_bytes,
            state_id,
            topology,
            spaces: RwLock::new(Arc::new(catalogue.map(|catalogue| catalogue.spaces()).unwrap_or_default())),
            committed: RwLock::new(committed),
            waiting: Mutex::new(waiting),
            writer: Mutex::new(dead),
            poison: OnceLock::new(),
            _lock: lock,
            db,
            dir,
        })
    }

    /// Deletes the state in a directory, with what an interrupted deletion left. No state is fine; other
    /// people's files, and a state that is in use, are refused.
    pub fn wipe(dir: &Path) -> Result<(), StateError> {
        Layout::new(dir).wipe()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The identity of this state, given when it was created: 32 hex digits.
    pub fn state_id(&self) -> &str {
        &self.state_id
    }

    /// The committed epoch, its time and its progress. Epoch 0 is a new state.
    pub fn meta(&self) -> Committed {
        self.committed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The value of one key.
    pub fn get(&self, space: u32, key: &[u8]) -> Result<Option<Slice<'_>>, StateError> {
        let reads = self.reads();
        reads.get(reads.space(&self.spaces(), space)?, space, key)
    }

    /// The values of many keys of a space, in the order of the keys. Sorted keys are answered a little faster.
    pub fn multi_get<'k>(
        &self,
        space: u32,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Slice<'_>>>, StateError> {
        let (reads, keys): (_, Vec<&[u8]>) = (self.reads(), keys.into_iter().collect());
        reads.multi_get(reads.space(&self.spaces(), space)?, space, &keys)
    }

    /// A walk over the keys of a space that begin with `prefix`, in order, as of now.
    pub fn iter(&self, space: u32, prefix: &[u8]) -> Result<Scan<'_>, StateError> {
        let reads = self.reads();
        Ok(reads.scan_space(reads.space(&self.spaces(), space)?, space, prefix))
    }

    /// A walk over the keys of a space from `from` on, in order, as of now.
    pub fn iter_from(&self, space: u32, from: &[u8]) -> Result<Scan<'_>, StateError> {
        let reads = self.reads();
        Ok(reads.scan_space_from(reads.space(&self.spaces(), space)?, space, from))
    }

    /// Visits the keys of a space that begin with `prefix`, in order, as of now.
    pub fn scan<E: From<StateError>>(
        &self,
        space: u32,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.iter(space, prefix)?.each(visit)
    }

    /// A consistent view of the committed epoch, whatever is committed later.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StateError> {
        Snapshot::of_primary(&self.db, &self.dir, self.spaces())
    }

    /// Copies the state, consistently and while it is in use, into a directory that must not exist or be empty.
    /// On the same file system it links what it can.
    pub fn checkpoint(&self, target: &Path) -> Result<(), StateError> {
        let layout = Layout::new(target);
        layout.create_root()?;
        layout.refuse_occupied()?;
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(layout.database()))
            .map_err(|source| StateError::database(target, source))?;
        layout.close_database()?;
        layout.write_marker(&self.state_id)
    }

    /// Puts a copy of a state back: from the directory of a backup into one that must not exist or be empty. With
    /// `topology` the copy is from then on a state of its own, of a topology of that name, whose sinks get its
    /// content once more. A crash leaves nothing that opens as a state.
    pub fn restore(from: &Path, to: &Path, topology: Option<&str>) -> Result<(), StateError> {
        let (source, target) = (Layout::new(from), Layout::new(to));
        let Some(marker) = source.marker()?.filter(|_| source.has_database()) else {
            return Err(StateError::Missing { dir: from.to_owned() });
        };
        target.create_root()?;
        target.refuse_occupied()?;
        let copied = target.root.join("old-restoring");
        copy_files(&source.database(), &copied)
            .map_err(|error| StateError::io(to, "copy the backup to", &copied, error))?;
        std::fs::rename(&copied, target.database())
            .map_err(|error| StateError::io(to, "move", &copied, error))?;
        target.write_marker(&marker.state_id)?;
        let Some(topology) = topology else { return Ok(()) };
        let store = Store::open(to, &StoreOptions::default())?;
        let id = adopt(&store.db, to, topology, store.meta().epoch)?;
        target.write_marker(&id)
    }

    /// Whether sinks get the content of the committed epoch once more: a copy that became a state of its own,
    /// and has committed nothing since.
    pub fn republishes(&self) -> Result<bool, StateError> {
        let held = self.reads().meta(REPUBLISH)?;
        let epoch = held.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        Ok(epoch.is_some_and(|epoch| epoch > 0 && epoch == self.meta().epoch))
    }

    /// Writes memtables out, so that the next start has no log to replay. For a graceful stop.
    pub fn flush(&self) -> Result<(), StateError> {
        for name in space::FAMILIES {
            let flushed = self.db.flush_cf(space::family(&self.db, name)?);
            flushed.map_err(|source| StateError::database(&self.dir, source))?;
        }
        Ok(())
    }

    /// Whether a commit has failed, and how.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    pub(crate) fn poison(&self, error: &StateError) {
        // The first failure is the one that explains the others.
        let _ = self.poison.set(error.to_string());
    }

    pub(crate) fn refuse_poisoned(&self) -> Result<(), StateError> {
        self.poison.get().map_or(Ok(()), |reason| Err(StateError::Poisoned(reason.clone())))
    }

    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads { db: &self.db, dir: &self.dir, snapshot: None }
    }

    pub(crate) fn spaces(&self) -> Arc<Spaces> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, DeadLetterTotals> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_spaces(&self, spaces: Spaces) {
        *self.spaces.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(spaces);
    }

    pub(crate) fn set_committed(&self, committed: Committed) {
        *self.committed.write().unwrap_or_else(PoisonError::into_inner) = committed;
    }

    pub(crate) fn put_meta_json<T: serde::Serialize>(
        &self,
        batch: &mut WriteBatch,
        key: &str,
        value: &T,
    ) -> Result<(), StateError> {
        let text = serde_json::to_vec(value)
            .map_err(|error| StateError::io(&self.dir, "encode", Path::new(key), error.into()))?;
        batch.put_cf(space::family(&self.db, space::META)?, key, text);
        Ok(())
    }
}

/// The files of a directory, each synced.
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
