//! Errors of the state, one variant for each remedy a caller has.
//!
//! Refusals before anything was written (`Epoch`, `Negative`, `Conservation`, ...) are separate from failures
//! of RocksDB or the disk. [`StateError::advice`] names the remedy in a sentence; the command line prints it
//! below the message.

use std::io;
use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;

/// A failure or refusal of the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no state, and creating one was not allowed.
    #[error("there is no state in {}", .dir.display())]
    Missing {
        /// The directory asked for.
        dir: PathBuf,
    },
    /// The marker of a state exists, its database does not.
    #[error("the state in {} was emptied: its marker is there, its database is not", .dir.display())]
    Wiped {
        /// The state directory.
        dir: PathBuf,
    },
    /// The directory holds files that are not Herald's.
    #[error("{} holds other files ({found}, for one) and no Herald state", .dir.display())]
    NotHerald {
        /// The directory.
        dir: PathBuf,
        /// One of the files that are in the way.
        found: String,
    },
    /// The target of a copy is not empty.
    #[error("{} is not empty: it holds {found}", .dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// One of the files that are there.
        found: String,
    },
    /// Another process (or another handle in this one) has the state open.
    #[error("the state in {} is in use by {}", .dir.display(), process_name(.pid))]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// The process that wrote the lock file last, where it could be read.
        pid: Option<u32>,
    },
    /// The state was written in a format this release does not read.
    #[error("the state in {} has format version {found}, this release reads version {known}", .dir.display())]
    WrongVersion {
        /// The state directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
        /// The version this release reads and writes.
        known: u32,
    },
    /// The state belongs to another topology.
    #[error("the state in {} belongs to topology {held:?}, not to {wanted:?}", .dir.display())]
    Foreign {
        /// The state directory.
        dir: PathBuf,
        /// The topology it belongs to.
        held: String,
        /// The topology that was to use it.
        wanted: String,
    },
    /// The content of the disk differs from the content written.
    #[error("the state in {} is damaged: {what}", .dir.display())]
    Corrupt {
        /// The state directory.
        dir: PathBuf,
        /// The finding.
        what: String,
    },
    /// The disk (or the quota) is full.
    #[error("no space is left on the disk that holds the state in {}", .dir.display())]
    Full {
        /// The state directory.
        dir: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation failed.
    #[error("could not {action} {}", .path.display())]
    Io {
        /// The failed operation, as a verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The running process replaces its files too fast for a reader in another process.
    #[error("the state in {} changes too fast to be read beside the process that runs it", .dir.display())]
    Busy {
        /// The state directory.
        dir: PathBuf,
    },
    /// RocksDB failed in a way that is none of the above.
    #[error("the database of the state in {} failed", .dir.display())]
    Database {
        /// The state directory.
        dir: PathBuf,
        /// The reason.
        #[source]
        source: rocksdb::Error,
    },
    /// An epoch is offered that is not above the committed one.
    #[error("epoch {offered} cannot be committed: epoch {committed} is committed already")]
    Epoch {
        /// The committed epoch.
        committed: u64,
        /// The epoch offered.
        offered: u64,
    },
    /// More copies of a row would be removed than are held.
    #[error("space {table_id} would hold {total} copies of row 0x{row}")]
    Negative {
        /// The id of the state table.
        table_id: u32,
        /// The packed row, in hex (cut at 64 bytes).
        row: String,
        /// The number of copies there would be.
        total: i64,
    },
    /// A source's outcomes do not add up to the records read.
    #[error("source {source_name:?} read {read} records, but their outcomes add up to {counted}")]
    Conservation {
        /// The source.
        source_name: String,
        /// Records read.
        read: u64,
        /// The sum of the outcomes.
        counted: u128,
    },
    /// A counter or an offset would decrease.
    #[error("source {source_name:?} would go back: {what} from {held} to {offered}")]
    Backwards {
        /// The source.
        source_name: String,
        /// The name of the number.
        what: String,
        /// The committed value.
        held: i128,
        /// The value offered.
        offered: i128,
    },
    /// A state table that the catalogue does not list.
    #[error("space {0} is not in the catalogue")]
    UnknownStateTable(u32),
    /// A catalogue that contradicts itself or the one held.
    #[error("the catalogue is refused: {0}")]
    Catalogue(String),
    /// A commit whose parts do not fit together.
    #[error("the commit of epoch {epoch} is malformed: {what}")]
    Malformed {
        /// The epoch offered.
        epoch: u64,
        /// The contradiction.
        what: String,
    },
    /// The dead letter table is at its bound and the policy is to stop.
    #[error("the dead letter table is full: {bytes} bytes would exceed its bound of {limit}")]
    DeadLetterFull {
        /// Bytes there would be.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// An earlier commit failed; nothing more is written by this handle.
    #[error("the state refuses to go on after a failed commit: {0}")]
    Poisoned(String),
}

impl StateError {
    /// Returns the remedy, if there is one.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            StateError::Missing { .. } => {
                "name the directory of a topology that has run, or run the topology first"
            }
            StateError::Wiped { .. } | StateError::Corrupt { .. } => {
                "restore the directory from a backup, or start over with `--fresh`"
            }
            StateError::NotHerald { .. } => {
                "name another directory with `--state`; Herald deletes nothing it did not write"
            }
            StateError::Occupied { .. } => "name a directory that does not exist or is empty",
            StateError::Locked { .. } => "stop that process first, or name another directory with `--state`",
            StateError::WrongVersion { found: 1, .. } => {
                "`herald run` of its topology rewrites it in this release's format"
            }
            StateError::WrongVersion { .. } => "use the release that wrote it, or start over with `--fresh`",
            StateError::Foreign { .. } => {
                "give the topology's own name with `--name`, name another directory with `--state`, or start over with `--fresh`"
            }
            StateError::Negative { .. } => {
                "the state holds what its tables do not lead to: mend it with `herald state repair` (the directory of the state, the topology's files), then start again"
            }
            StateError::Full { .. } => "free some space and start again: nothing that was committed is lost",
            StateError::DeadLetterFull { .. } => {
                "replay or drop dead letters, raise the bound, or let the table drop its oldest"
            }
            StateError::Busy { .. } => "try again, or ask the running process with `--url`",
            StateError::Poisoned(_) => "start the process again: it goes on from the last committed epoch",
            _ => return None,
        })
    }

    /// Wraps a failed file operation; a full disk has a variant of its own.
    pub(crate) fn io(dir: &Path, action: &'static str, path: &Path, source: io::Error) -> StateError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StateError::Full { dir: dir.to_owned(), source: Box::new(source) }
            }
            _ => StateError::Io { action, path: path.to_owned(), source },
        }
    }

    /// Wraps an error of RocksDB in the variant of its cause.
    pub(crate) fn database(dir: &Path, source: rocksdb::Error) -> StateError {
        let dir = dir.to_owned();
        match Cause::of(source.kind(), source.as_ref()) {
            Cause::Full => StateError::Full { dir, source: Box::new(source) },
            Cause::Locked => StateError::Locked { dir, pid: None },
            Cause::Damage => StateError::Corrupt { dir, what: source.into_string() },
            Cause::Other => StateError::Database { dir, source },
        }
    }

    /// Returns the wrapper of a failed file operation, for `map_err`; see [`StateError::io`].
    pub(crate) fn io_at(
        dir: &Path,
        action: &'static str,
        path: &Path,
    ) -> impl Fn(io::Error) -> StateError + Copy {
        move |source| StateError::io(dir, action, path, source)
    }

    /// Returns the wrapper of an error of RocksDB, for `map_err`; see [`StateError::database`].
    pub(crate) fn database_in(dir: &Path) -> impl Fn(rocksdb::Error) -> StateError + Copy {
        move |source| StateError::database(dir, source)
    }

    pub(crate) fn corrupt(dir: &Path, what: impl Into<String>) -> StateError {
        StateError::Corrupt { dir: dir.to_owned(), what: what.into() }
    }
}

/// The cause of an error of RocksDB.
#[derive(Debug, PartialEq)]
enum Cause {
    Full,
    Locked,
    Damage,
    Other,
}

impl Cause {
    /// Derives the cause from the kind of an error, and from its text where the kind is too coarse: the
    /// binding passes no subcodes on.
    fn of(kind: ErrorKind, text: &str) -> Cause {
        match kind {
            // The binding's own failure to create a directory has no kind.
            ErrorKind::IOError | ErrorKind::Unknown
                if contains_any(text, &["No space left", "Disk quota exceeded"]) =>
            {
                Cause::Full
            }
            ErrorKind::IOError
                if contains_any(text, &["While lock file", "lock hold by current process"]) =>
            {
                Cause::Locked
            }
            ErrorKind::IOError if text.contains("No such file or directory") => Cause::Damage,
            ErrorKind::InvalidArgument if text.contains("Column famil") => Cause::Damage,
            ErrorKind::Corruption => Cause::Damage,
            _ => Cause::Other,
        }
    }
}

/// Returns true if the text contains one of some phrases.
fn contains_any(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| text.contains(phrase))
}

fn process_name(pid: &Option<u32>) -> String {
    match pid {
        Some(pid) if *pid == std::process::id() => format!("this very process ({pid})"),
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

/// Formats bytes in hex, cut at 64 bytes to keep messages short.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let io = [
            ("No space left on device: While appending to file: /s/db/000009.log", Cause::Full),
            ("While lock file: /s/db/LOCK: Resource temporarily unavailable", Cause::Locked),
            ("lock hold by current process, acquire time 1 acquiring thread 2: /s/db/LOCK", Cause::Locked),
            ("No such file or directory: While open a file: /s/db/000004.sst", Cause::Damage),
            ("Input/output error: While fdatasync", Cause::Other),
        ];
        for (text, cause) in io {
            assert_eq!(Cause::of(ErrorKind::IOError, text), cause, "{text}");
        }
        let created = "Failed to create RocksDB directory: `Os { message: \"No space left on device\" }`.";
        assert_eq!(Cause::of(ErrorKind::Unknown, created), Cause::Full);
        let mismatch = "block checksum mismatch: stored = 1, computed = 2";
        assert_eq!(Cause::of(ErrorKind::Corruption, mismatch), Cause::Damage);
        let families = "Column families not opened: later";
        assert_eq!(Cause::of(ErrorKind::InvalidArgument, families), Cause::Damage);
        assert_eq!(Cause::of(ErrorKind::InvalidArgument, "no such option"), Cause::Other);
    }

    #[test]
    fn the_kind_of_an_error_is_taken_from_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let first = rocksdb::DB::open_default(dir.path()).unwrap();
        let second = rocksdb::DB::open_default(dir.path()).unwrap_err();
        let error = StateError::database(dir.path(), second);
        assert!(matches!(error, StateError::Locked { .. }), "{error}");
        drop(first);
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StateError::io(Path::new("s"), "write", Path::new("s/HERALD"), full);
        assert_eq!(error.to_string(), "no space is left on the disk that holds the state in s");
        assert!(error.advice().is_some_and(|advice| advice.contains("free some space")));
    }
}
