//! Exports: Parquet files for analysts, in a directory or in an object store.
//!
//! | module | task |
//! | --- | --- |
//! | `settings` | the options of the sink |
//! | `layout` | names of files, partitions and manifests below the path |
//! | `shape` | rows of the outbox as Arrow batches, with their partitions |
//! | `parts` | Parquet files, written and read |
//! | `staging` | the rows of some epochs as files that nobody sees yet |
//! | `manifest` | the record of a step: which files hold which epochs |
//! | `store`, `directory`, `bucket` | where files go |
//! | `writer` | the steps: files, manifest, removal; and the way back after a crash |
//!
//! The outbox is the buffer: epochs stay in it until files hold them. A step writes the rows of a range of epochs to
//! files, puts them in place, and then makes a manifest by its epoch, which only one process can make. The newest
//! manifest tells which epoch the export holds. A start removes the files above it, which a crash left, and writes
//! their epochs again: so every epoch is in the files that manifests name once.

pub mod bucket;
pub mod directory;
pub mod layout;
pub mod manifest;
pub mod parts;
pub mod settings;
pub mod shape;
pub mod staging;
pub mod store;
pub mod writer;

pub use settings::{ExportMode, ParquetSink};
pub use shape::ExportShape;
pub use staging::{ReadChunks, VisitChunk};
pub use writer::{ExportWriter, Step, Written};

#[cfg(test)]
mod tests;
