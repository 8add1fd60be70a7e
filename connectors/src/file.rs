//! JSON lines in files: read as one partition, written with the length that counts kept beside.
//!
//! [`FileReader`] gives each line an offset: its number across the files, in name order.
//! [`FileWriter`] appends an epoch's lines and then notes epoch and length in `PATH.herald`; what
//! lies beyond that length after a crash is cut off, so every epoch lands once here too.

pub mod sink;
pub mod source;

pub use sink::{FileSink, FileWriter};
pub use source::{FileReader, FileSource};
