//! JSON lines in files: read as one partition, written with a note of the valid length beside.
//!
//! [`FileReader`] gives each line an offset: its number across the files, in name order.
//! [`FileWriter`] appends an epoch's lines and then notes epoch and length in `PATH.herald`; bytes
//! beyond that length are cut off after a crash, so every epoch lands once here too.

pub mod sink;
pub mod source;

pub use sink::{FileSink, FileWriter};
pub use source::{FileReader, FileSource};

use std::path::Path;

/// The directory that a file is in.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
