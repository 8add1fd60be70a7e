//! The durable state of a Herald topology, on RocksDB.
//!
//! One directory is the state of one topology. Everything an epoch changed goes in by a single synced
//! [`Commit`]: new totals of keys ([`Writes`]), changes of row multiplicities ([`Counts`]), offsets and
//! watermarks ([`Progress`]), the outbox of serialised output, and dead letters. Either all of it is there
//! after a crash or none of it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `layout` | the directory: marker with the format version, process lock, wiping |
//! | `options` | how RocksDB is tuned, and the bounds on its memory |
//! | `identity` | what a database says of itself |
//! | `store` | [`Store`]: opening, reading the newest state, checkpoints |
//! | `catalogue` | which spaces there are, by name and fingerprint |
//! | `space` | key layout, column families, sorting |
//! | `commit`, `draft` | the one write of an epoch |
//! | `progress` | offsets, watermarks and counters, and what must hold between them |
//! | `read` | batched lookups and scans, shared by all readers |
//! | `snapshot` | a consistent view of one committed epoch, also beside a running process |
//! | `outbox`, `dead_letter` | output that is committed but not yet published; rejected records |
//! | `bounded` | the bound on the error table |
//! | `topics` | the topics that were published to, as they were; sinks to be sent again |
//! | `stats`, `verify`, `files` | sizes; checks of what is held, and of the files it is held in |
//! | `error` | everything that can go wrong, by what the caller can do |
//!
//! It knows nothing of SQL, Kafka or clocks: times come in as arguments.
#![deny(missing_docs)]

mod catalogue;
mod commit;
mod dead_letter;
mod error;
mod files;
mod layout;
mod outbox;
mod progress;
mod space;
mod store;
mod topics;
mod verify;

pub use catalogue::{Catalogue, CatalogueEntry, Retention, SpaceKind};
pub use commit::{Commit, CommitStats, Counts, OutboxChunk, Writes};
pub use dead_letter::{DeadLetterPolicy, DeadLetterTotals, Order};
pub use error::StateError;
pub use files::FilesChecked;
pub use layout::FORMAT_VERSION;
pub use outbox::{OutboxDepth, OutboxEpoch, OutboxEpochs, Published};
pub use progress::{Committed, PartitionProgress, Progress, SourceProgress, ViewProgress};
pub use store::Store;
pub use store::bounded::{Bounded, BoundedTotals};
pub use store::options::StoreOptions;
pub use store::read::{Entry, Scan, Slice, count_of};
pub use store::snapshot::{Reader, Snapshot};
pub use store::stats::{FamilyStats, StoreStats};
pub use topics::KnownTopic;
