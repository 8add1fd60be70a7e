//! The durable state of a Herald topology, on RocksDB.
//!
//! One directory is the state of one topology. All changes of an epoch are written by a single synced
//! [`Commit`]: new totals of keys ([`Writes`]), changes of row multiplicities ([`Counts`]), offsets and
//! watermarks ([`Progress`]), the outbox of serialised output, and dead letters. After a crash either all of
//! them are there or none.
//!
//! | file | content |
//! | --- | --- |
//! | `layout` | the directory: marker with the format version, process lock, wiping |
//! | `migration` | rewriting of a state of format version 1 |
//! | `options` | RocksDB's tuning, and the bounds on its memory |
//! | `identity` | format version, id and owner of a database |
//! | `store` | [`Store`]: opening, reading the newest state, checkpoints |
//! | `catalogue` | the list of state tables, with name and fingerprint |
//! | `table` | key layout, column families, sorting |
//! | `commit`, `draft` | the commit of an epoch |
//! | `edition` | the change of the catalogue to that of an edited topology, in a commit |
//! | `erasures` | receipts of erased persons, and the rewriting of files that may hold their identities |
//! | `epochs` | the history of epochs: sizes and durations of the last thousand |
//! | `history` | the histories of views: the changes of their rows by epoch, bounded |
//! | `progress` | offsets, watermarks and counters, and their invariants |
//! | `read` | [`Reads`]: batched lookups and scans, shared by all readers |
//! | `snapshot` | a consistent view of one committed epoch, also for other processes |
//! | `outbox`, `dead_letter` | output that is committed but not yet published; rejected records |
//! | `bounded` | the bound on the error table |
//! | `topics` | the topics published to, with their last known ends; sinks to be sent again |
//! | `stats`, `verify`, `files` | sizes; checks of the content, and of the files |
//! | `error` | all failures, one variant per remedy |
//!
//! The crate knows nothing of SQL, Kafka or clocks: times are arguments.
#![deny(missing_docs)]

mod catalogue;
mod commit;
mod dead_letter;
mod error;
mod files;
mod layout;
mod outbox;
mod progress;
mod store;
mod table;
mod verify;

pub use catalogue::{
    Catalogue, CatalogueEntry, EditionFacts, EntryFacts, FillFacts, IndexOf, ReadAgain, Retention,
    RowsBefore, StateTableKind,
};
pub use commit::epochs::{EPOCHS_KEPT, EarlierPhase, EpochEntry, Measured, TimedPhase};
pub use commit::{Commit, Counts, OutboxChunk, Writes};
pub use dead_letter::{DeadLetterPolicy, DeadLetterTotals, Order};
pub use error::StateError;
pub use files::FilesChecked;
pub use layout::migration::Migration;
pub use layout::{FORMAT_VERSION, StateLock};
pub use outbox::topics::KnownTopic;
pub use outbox::{OutboxDepth, OutboxEpoch, OutboxEpochs, Published};
pub use progress::{Committed, PartitionProgress, Progress, SourceProgress, ViewProgress};
pub use store::Store;
pub use store::bounded::{Bounded, BoundedTotals};
pub use store::edition::Edited;
pub use store::erasures::{Erasure, RowsErased};
pub use store::history::{
    HistoryLimits, HistoryPiece, HistoryPlace, HistoryScan, HistorySince, RowChange, RowChanges, ViewChanges,
};
pub use store::index::{IndexDifference, IndexLayout, OtherValues};
pub use store::options::StoreOptions;
pub use store::read::{Entry, Reads, Scan, Slice, count_of};
pub use store::snapshot::{Reader, Snapshot};
pub use store::stats::{FamilyStats, StoreMemory, StoreStats};
