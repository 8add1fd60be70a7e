//! Directories for what queries write to disk while they run.
//!
//! One is removed when it is dropped. A process that is killed leaves its own, so each holds a file that its owner has
//! locked, and every process that runs queries first removes those whose lock is free.

use std::fs::{self, DirEntry, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The beginning of their names.
const PREFIX: &str = "herald-query-";
/// The file that the owner of a directory has locked.
const LOCK: &str = "herald.lock";

/// A directory in TMPDIR, readable by its owner alone. Dropping it removes it.
pub struct Scratch {
    // Dropped before the lock: nobody else removes it meanwhile.
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Scratch> {
        remove_abandoned();
        Scratch::new_in(&std::env::temp_dir()).context("cannot create a temporary directory for a query")
    }

    fn new_in(place: &Path) -> std::io::Result<Scratch> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        // Under its name it is locked from the first moment on.
        let unnamed = dir.path().join("herald.lock.new");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(&unnamed, dir.path().join(LOCK))?;
        Ok(Scratch { dir, _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of processes that were killed, once in the life of this one.
pub fn remove_abandoned() {
    static REMOVED: Once = Once::new();
    REMOVED.call_once(|| {
        let removed = remove_abandoned_in(&std::env::temp_dir());
        if removed > 0 {
            tracing::info!(
                "{removed} temporary directories of queries were left by processes that were killed: removed"
            );
        }
    });
}

/// Removes those in a directory; returns how many there were.
fn remove_abandoned_in(place: &Path) -> usize {
    // Others' are none of ours, whatever is in them.
    let Ok(user) = fs::metadata("/proc/self").map(|process| process.uid()) else { return 0 };
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries.filter(|entry| is_ours(entry, user) && remove_if_abandoned(&entry.path())).count()
}

/// Tells whether an entry is a directory of a query of this user.
fn is_ours(entry: &DirEntry, user: u32) -> bool {
    let is_named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
    is_named && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user)
}

/// Removes a directory whose lock is free. One without a lock has just been made, or is somebody else's.
fn remove_if_abandoned(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK)) else { return false };
    lock.try_lock().is_ok() && fs::remove_dir_all(dir).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() -> Result<()> {
        let place = tempfile::tempdir()?;
        let (used, killed) = (Scratch::new_in(place.path())?, Scratch::new_in(place.path())?);
        fs::write(killed.path().join("spill"), "rows")?;
        for other in ["herald-query-1", "other"] {
            fs::create_dir(place.path().join(other))?;
        }
        fs::write(place.path().join("other").join(LOCK), "")?;
        assert_eq!(remove_abandoned_in(place.path()), 0, "both are in use");
        // The kernel gives up the locks of a process that is killed, and removes nothing.
        let Scratch { dir, _lock } = killed;
        let left = dir.keep();
        drop(_lock);
        assert_eq!(remove_abandoned_in(place.path()), 1);
        assert!(!left.exists() && used.path().join(LOCK).exists());
        drop(used);
        assert_eq!(fs::read_dir(place.path())?.count(), 2, "those of others are left");
        Ok(())
    }
}
