//! Errors that stop a running topology from within the dataflow.
//!
//! Bad data never does: it becomes a dead letter or a row of the error table. The causes are a failing
//! environment (the state cannot be read, or is damaged) and a violated invariant of the engine. Each has a
//! variant of its own where the remedy differs; [`RunError::advice`] names it.

use datafusion_common::DataFusionError;
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
    /// An expression could not be computed where failures are no data: its type, or rows that it accepted.
    #[error("an expression could not be computed")]
    Expression(#[source] Box<DataFusionError>),
    /// The state holds bytes that Herald does not write; the message says where.
    #[error("the state is damaged: {0}")]
    Damaged(String),
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
    /// An invariant of the engine is violated, which is a fault of Herald; nothing was committed.
    #[error("{0}")]
    Broken(String),
}

impl From<DataFusionError> for RunError {
    fn from(error: DataFusionError) -> RunError {
        RunError::Expression(Box::new(error))
    }
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
            RunError::Damaged(_) => {
                Some("restore the directory of the state from a backup, or start over with `--fresh`")
            }
            RunError::Broken(_) | RunError::Expression(_) | RunError::Panicked(_) => Some(
                "this is a fault of Herald and nothing of the epoch was committed: report it, with the topology's files and this message",
            ),
            RunError::State(_) | RunError::Schema(_) | RunError::Arrow(_) | RunError::Aborted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn damage_and_faults_have_remedies_of_their_own() {
        let damaged = RunError::Damaged("a lookup is not readable".into());
        assert!(damaged.advice().is_some_and(|advice| advice.contains("backup")));
        let broken = RunError::Broken("not a join".into());
        assert!(broken.advice().is_some_and(|advice| advice.contains("report")));
        assert_eq!(RunError::Aborted.advice(), None);
    }

    #[test]
    fn a_failing_expression_keeps_its_cause() {
        let error = RunError::from(DataFusionError::Plan("no column a".into()));
        assert!(error.source().is_some_and(|cause| cause.to_string().contains("no column a")));
    }
}
