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
    /// A promise of the engine is broken; nothing was committed.
    #[error("{0}")]
    Broken(String),
}
