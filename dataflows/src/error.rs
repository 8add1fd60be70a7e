//! Errors that stop a running topology from within the dataflow.
//!
//! Bad data never does: it becomes a dead letter or a row of the error table. The causes are a failing
//! environment (the state cannot be read) and a violated invariant of the engine (bytes that do not fit
//! the schema they were written with).

use thiserror::Error;

/// Cause of a topology's end.
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
    /// Joins made more rows than an epoch may hold; nothing of the epoch was committed.
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
    /// Another part of the process failed and reports the cause.
    #[error("another part of the process failed")]
    Aborted,
    /// A worker panicked; nothing of its epoch was committed.
    #[error("a worker panicked: {0}")]
    Panicked(String),
    /// More rows are retracted than were inserted; nothing was committed.
    #[error("more rows were removed from a {0} than it had")]
    Unheld(&'static str),
    /// An invariant of the engine is violated; nothing was committed.
    #[error("{0}")]
    Broken(String),
}

impl RunError {
    /// Advice to the user, where this crate has any.
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
