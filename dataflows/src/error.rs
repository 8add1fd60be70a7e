//! What can stop a running topology from within the dataflow.
//!
//! Bad data never does: it is a dead letter or a row of the error table. What remains is a bad
//! environment (the state cannot be read) and a broken promise of our own (bytes that do not fit
//! the schema they were written with).

use thiserror::Error;

/// Why a topology cannot go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The state could not be read.
    #[error("the state could not be read")]
    State(#[from] state::StateError),
    /// Bytes do not fit their schema.
    #[error("rows do not fit their schema")]
    Schema(#[from] schemas::SchemaError),
    /// An Arrow kernel refused its input.
    #[error("a column could not be computed")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Joins made more rows than an epoch may hold; nothing of it was committed.
    #[error(
        "{operator} has made {rows} rows of epoch {epoch} and is not done: joins of one worker may make {} MiB in an epoch",
        limit >> 20
    )]
    Explodes {
        /// The join: its view, number and part.
        operator: String,
        /// Rows it has made, on this worker.
        rows: u64,
        /// The epoch.
        epoch: u64,
        /// Bytes that all joins of a worker may make.
        limit: u64,
    },
    /// Another part of the process failed, and says why.
    #[error("another part of the process failed")]
    Aborted,
    /// A worker panicked; nothing of its epoch was committed.
    #[error("a worker panicked: {0}")]
    Panicked(String),
    /// More rows are taken back than were put in; nothing was committed.
    #[error("more rows were removed from a {0} than it had")]
    Unheld(&'static str),
    /// A promise of the engine is broken; nothing was committed.
    #[error("{0}")]
    Broken(String),
}

impl RunError {
    /// What to do about it, where this crate knows.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            RunError::Explodes { .. } => Some(
                "some key has many rows on both sides (herald_busiest_key_share_ratio tells in which arrangement): join on more columns, bound the times that match, or grant more with --memory",
            ),
            RunError::Unheld(_) => Some(
                "the state holds what its tables do not lead to: mend it with `herald state repair` (the directory of the state, the topology's files), then start again",
            ),
            _ => None,
        }
    }
}
