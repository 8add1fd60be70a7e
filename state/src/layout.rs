//! The state directory: its files, its lock, and how it is emptied.
//!
//! ```text
//! DIR/HERALD   JSON: format version and state id, written after the database exists
//! DIR/LOCK     locked by the process that has the state open, holding its id
//! DIR/db/      the database
//! DIR/old-*    a database that was wiped and is being deleted
//! DIR/format-1 the database as an earlier release wrote it, kept when it was migrated
//! ```
//! The marker lets a release refuse another format before it touches the database, and distinguishes a state
//! whose database was deleted from a directory that never had one. A directory with foreign files is never
//! used for a new state and never deleted. Files and directories are readable by their owner alone: they hold
//! the records' data.

pub(crate) mod identity;
pub(crate) mod migration;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rocksdb::{DB, Options};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::table::FAMILIES;

/// The format version that this release writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 2;

/// The name prefix of databases that are being deleted.
const LEFTOVER_PREFIX: &str = "old-";

/// The name of a database of format version 1 that was migrated.
const OLD_DATABASE: &str = "format-1";

/// The name of the folder of files on their way to the object stores of exports.
const EXPORTS: &str = "exports";

/// The paths of a state directory.
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

/// The lock of a state directory: no other process opens or wipes the state while this value exists.
pub struct StateLock {
    file: File,
}

impl Drop for StateLock {
    /// Releases the lock even where a process that is being started still has a copy of the descriptor, which it
    /// closes only when its program begins.
    fn drop(&mut self) {
        // Closing the file, which follows, is the other way to release it.
        let _ = self.file.unlock();
    }
}

/// The content of the file `HERALD`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) format_version: u32,
    pub(crate) state_id: String,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    pub(crate) fn database_dir(&self) -> PathBuf {
        self.root.join("db")
    }

    /// The directory to which migration moves the database that it has rewritten.
    pub(crate) fn old_database_dir(&self) -> PathBuf {
        self.root.join(OLD_DATABASE)
    }

    /// The folder of files on their way to the object stores of exports. They are copies, and may go at any time.
    pub(crate) fn export_dir(&self) -> PathBuf {
        self.root.join(EXPORTS)
    }

    fn marker_path(&self) -> PathBuf {
        self.root.join("HERALD")
    }

    /// Returns true if a database has been created; its `CURRENT` is the last file RocksDB creates.
    pub(crate) fn has_database(&self) -> bool {
        self.database_dir().join("CURRENT").exists()
    }

    /// Returns true if the database has all its column families. RocksDB creates one after the other, so that a
    /// kill while it does leaves a database with some of them.
    pub(crate) fn has_all_families(&self) -> Result<bool, StateError> {
        let families = DB::list_cf(&Options::default(), self.database_dir())
            .map_err(StateError::database_in(&self.root))?;
        Ok(FAMILIES.iter().all(|family| families.iter().any(|name| name == family)))
    }

    pub(crate) fn create_root(&self) -> Result<(), StateError> {
        create_dir(&self.root).map_err(StateError::io_at(&self.root, "create", &self.root))
    }

    /// Reads the marker; refuses one with another format version.
    pub(crate) fn read_marker(&self) -> Result<Option<Marker>, StateError> {
        // The version is read first: another version may have other fields.
        let Some(value) = self.marker_value()? else { return Ok(None) };
        self.check_version(version_in(&value))?;
        serde_json::from_value(value).map(Some).map_err(|error| self.unreadable_marker(&error))
    }

    /// Reads the format version that the marker names; None without a marker.
    pub(crate) fn marker_version(&self) -> Result<Option<u32>, StateError> {
        Ok(self.marker_value()?.as_ref().map(version_in))
    }

    fn marker_value(&self) -> Result<Option<serde_json::Value>, StateError> {
        let path = self.marker_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::io(&self.root, "read", &path, source)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| self.unreadable_marker(&error))
    }

    fn unreadable_marker(&self, error: &serde_json::Error) -> StateError {
        StateError::corrupt(&self.root, format!("its HERALD file is not readable ({error})"))
    }

    pub(crate) fn check_version(&self, found: u32) -> Result<(), StateError> {
        if found == FORMAT_VERSION {
            return Ok(());
        }
        Err(StateError::WrongVersion { dir: self.root.clone(), found, known: FORMAT_VERSION })
    }

    /// Writes the marker so that a crash leaves the old one, the new one, or none.
    pub(crate) fn write_marker(&self, state_id: &str) -> Result<(), StateError> {
        let marker = Marker { format_version: FORMAT_VERSION, state_id: state_id.to_owned() };
        let path = self.marker_path();
        let failed = StateError::io_at(&self.root, "write", &path);
        let mut text = serde_json::to_vec(&marker).map_err(std::io::Error::from).map_err(failed)?;
        text.push(b'\n');
        self.replace_file(&path, &text).map_err(failed)
    }

    /// Writes a file of the directory under the name `HERALD.new`, and renames it to `path`.
    fn replace_file(&self, path: &Path, text: &[u8]) -> std::io::Result<()> {
        let written = self.root.join("HERALD.new");
        let mut file = private_options().create(true).truncate(true).open(&written)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&written, path)?;
        File::open(&self.root)?.sync_all()
    }

    /// Takes the lock of the directory. It is released when the value is dropped, and however the process ends.
    pub(crate) fn take_lock(&self) -> Result<StateLock, StateError> {
        let path = self.root.join("LOCK");
        let failed = StateError::io_at(&self.root, "lock", &path);
        let mut file = private_options().create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(StateError::Locked { dir: self.root.clone(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        write_process_id(&mut file).map_err(failed)?;
        Ok(StateLock { file })
    }

    /// Locks the state, whole or damaged. None without a state; the directory is then left as it is.
    pub(crate) fn lock_state(&self) -> Result<Option<StateLock>, StateError> {
        if !self.root.exists() {
            return Ok(None);
        }
        self.refuse_foreign_files()?;
        if self.has_state() { self.take_lock().map(Some) } else { Ok(None) }
    }

    /// Returns true if there is a state, which may lack one of its two parts.
    fn has_state(&self) -> bool {
        self.marker_path().exists() || self.has_database()
    }

    /// Refuses a directory without a state that holds any file not created by Herald.
    pub(crate) fn refuse_foreign_files(&self) -> Result<(), StateError> {
        if self.has_state() {
            return Ok(());
        }
        for name in self.list_names()? {
            let ours = ["LOCK", "HERALD.new", "db", OLD_DATABASE, EXPORTS].contains(&name.as_str())
                || name.starts_with(LEFTOVER_PREFIX);
            if !ours && name != "lost+found" {
                return Err(StateError::NotHerald { dir: self.root.clone(), found: name });
            }
        }
        Ok(())
    }

    /// Refuses a directory that holds anything but the remains of an interrupted copy.
    pub(crate) fn refuse_occupied(&self) -> Result<(), StateError> {
        let names = self.list_names()?;
        match names.into_iter().find(|name| !name.starts_with(LEFTOVER_PREFIX) && name != "lost+found") {
            Some(found) => Err(StateError::Occupied { dir: self.root.clone(), found }),
            None => self.clear_leftovers(),
        }
    }

    /// Deletes the remains of an interrupted wipe. The lock must be held.
    pub(crate) fn clear_leftovers(&self) -> Result<(), StateError> {
        for name in self.list_names()? {
            if name.starts_with(LEFTOVER_PREFIX) {
                let path = self.root.join(name);
                fs::remove_dir_all(&path).map_err(StateError::io_at(&self.root, "delete", &path))?;
            }
        }
        Ok(())
    }

    /// Empties the directory. A crash at any point leaves the whole state or none.
    pub(crate) fn wipe(&self) -> Result<(), StateError> {
        if !self.root.exists() {
            return Ok(());
        }
        self.refuse_foreign_files()?;
        let _lock = self.take_lock()?;
        let marker = self.marker_path();
        if marker.exists() {
            fs::remove_file(&marker).map_err(StateError::io_at(&self.root, "delete", &marker))?;
        }
        // Renamed before it is deleted: a partly deleted database must not be found under its name.
        for database in [self.database_dir(), self.old_database_dir()] {
            if database.exists() {
                fs::rename(&database, self.free_leftover())
                    .map_err(StateError::io_at(&self.root, "move", &database))?;
            }
        }
        let exports = self.export_dir();
        if exports.exists() {
            fs::remove_dir_all(&exports).map_err(StateError::io_at(&self.root, "delete", &exports))?;
        }
        self.clear_leftovers()
    }

    /// Returns a path, of a database that is being deleted, at which nothing is yet.
    fn free_leftover(&self) -> PathBuf {
        let mut number = 0;
        loop {
            let path = self.root.join(format!("{LEFTOVER_PREFIX}{number}"));
            if !path.exists() {
                return path;
            }
            number += 1;
        }
    }

    /// Creates the directory of the database, or restricts an existing one to its owner: it holds the
    /// records' data.
    pub(crate) fn close_database(&self) -> Result<(), StateError> {
        let database = self.database_dir();
        create_dir(&database).map_err(StateError::io_at(&self.root, "create", &database))?;
        // Fails if the process may write the directory but does not own it; the owner's choice is kept then.
        let _ = fs::set_permissions(&database, Permissions::from_mode(0o700));
        for entry in fs::read_dir(&database).into_iter().flatten().flatten() {
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(0o600));
        }
        Ok(())
    }

    fn list_names(&self) -> Result<Vec<String>, StateError> {
        let failed = StateError::io_at(&self.root, "list", &self.root);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            names.push(entry_name(entry.map_err(failed)?));
        }
        names.sort();
        Ok(names)
    }
}

/// The format version in a marker; 0 for none.
fn version_in(marker: &serde_json::Value) -> u32 {
    let version = marker.get("format_version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    u32::try_from(version).unwrap_or(0)
}

/// The name of an entry of a directory.
pub(crate) fn entry_name(entry: fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// Replaces the content of a file by the id of this process.
fn write_process_id(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// Creates a directory that only its owner may enter, and its missing parents.
fn create_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns options that open a file readable by its owner alone.
fn private_options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreOptions};

    #[test]
    fn a_locked_state_is_left_alone_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(Store::lock(&state).unwrap().is_none());
        assert!(!state.exists());
        fs::create_dir(&state).unwrap();
        assert!(Store::lock(&state).unwrap().is_none());
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "a look leaves nothing behind");

        let options = StoreOptions { create: true, ..StoreOptions::default() };
        drop(Store::open(&state, &options).unwrap());
        let lock = Store::lock(&state).unwrap();
        assert!(lock.is_some());
        assert!(matches!(Store::open(&state, &options), Err(StateError::Locked { .. })));
        assert!(matches!(Store::wipe(&state), Err(StateError::Locked { .. })));
        drop(lock);
        let exports = Layout::new(&state).export_dir();
        fs::create_dir_all(exports.join("16384/process")).unwrap();
        Store::wipe(&state).unwrap();
        assert!(!exports.exists());
        assert!(Store::lock(&state).unwrap().is_none());
    }

    /// A process gets copies of all descriptors when it is started, and closes them when its program begins.
    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let lock = layout.take_lock().unwrap();
        let _copy = lock.file.try_clone().unwrap();
        assert!(matches!(layout.take_lock(), Err(StateError::Locked { .. })));
        drop(lock);
        assert!(layout.take_lock().is_ok());
    }
}
