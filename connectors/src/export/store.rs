//! The place that the files of an export are in, as the writer needs it.
//!
//! [`Directory`](super::directory::Directory) is a local directory, whose changes survive a power failure once a method
//! has returned; [`Bucket`](super::bucket::Bucket) is an object store. Paths are relative, with `/` between their parts.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::ConnectorError;

/// Visitor of the paths and sizes of files.
pub type VisitFile<'a> = dyn FnMut(&str, u64) + 'a;

/// A place of files.
pub trait ExportStore: Send {
    /// Creates a file whole, or not at all; false if there is one of that name already.
    fn create(&self, path: &str, content: &[u8]) -> Result<bool, ConnectorError>;

    /// Creates a file, or replaces it at once.
    fn replace(&self, path: &str, content: &[u8]) -> Result<(), ConnectorError>;

    /// Reads a small file; None if there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ConnectorError>;

    /// Visits the files below a folder, in any order; with `after`, only those whose path sorts behind it.
    fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        visit: &mut VisitFile<'_>,
    ) -> Result<(), ConnectorError>;

    /// Moves a finished file from the folder of [`ExportStore::staging`] to its place, where it appears whole.
    fn place(&self, staged: &Path, path: &str) -> Result<(), ConnectorError>;

    /// Makes a file readable at the path that is returned: its own, or `copy`.
    fn fetch(&self, path: &str, copy: &Path) -> Result<PathBuf, ConnectorError>;

    /// Removes a file, if there is one.
    fn remove(&self, path: &str) -> Result<(), ConnectorError>;

    /// The local folder of files that this process is writing: [`process_folder`] below [`ExportStore::staging_root`].
    fn staging(&self) -> &Path;

    /// The local folder of files that any process is writing.
    fn staging_root(&self) -> &Path;
}

/// A name for the folder of a process: two processes on one export must not write to one file.
pub fn process_folder() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
