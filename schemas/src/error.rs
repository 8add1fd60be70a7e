//! Errors of this crate, by the caller's remedy.
//!
//! Variants that start with `Registry` concern an outside service: `RegistryDown` is worth a retry,
//! `RegistryRefused` and `NotFound` are final answers. All others are mistakes of the caller or
//! invalid bytes.

use arrow::error::ArrowError;

pub mod did_you_mean;

/// An error of the schemas crate.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A column type that Herald does not have, or that is not allowed in this place.
    #[error("type {0} is not supported here")]
    UnsupportedType(String),
    /// Columns whose types differ from those the callee was created for.
    #[error("columns do not fit: {0}")]
    Mismatch(String),
    /// Packed bytes that do not decode to a row of the expected types.
    #[error("the packed row does not fit its columns: {0}")]
    BadRow(String),
    /// A serialised output chunk that cannot be read.
    #[error("the output chunk cannot be read: {0}")]
    BadChunk(String),
    /// A schema text that cannot be read, with its place.
    #[error("{name}:{line}:{column}: {message}")]
    Unreadable {
        /// The name of the text.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The mistake and the remedy.
        message: String,
    },
    /// A schema text that cannot be used.
    #[error("the schema cannot be used: {0}")]
    BadSchema(String),
    /// A value that the output format cannot represent.
    #[error("column \"{column}\" cannot be written: {message}")]
    Encode {
        /// The name of the column.
        column: String,
        /// The reason.
        message: String,
    },
    /// An option that cannot be used.
    #[error("option {option}: {message}")]
    Config {
        /// The name of the option.
        option: String,
        /// The problem and the remedy.
        message: String,
    },
    /// The registry did not answer, or not as a registry does. A retry may succeed.
    #[error("the schema registry at {url} does not answer: {message}")]
    RegistryDown {
        /// The address without credentials.
        url: String,
        /// The failure.
        message: String,
    },
    /// The registry refused. A retry changes nothing.
    #[error("the schema registry refuses {what}: {message}")]
    RegistryRefused {
        /// The object of the request.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// The registry lacks the requested schema or subject.
    #[error("the schema registry does not know {0}")]
    NotFound(String),
    /// The wait for an outside service was cancelled.
    #[error("stopped while waiting for the schema registry")]
    Cancelled,
    /// An error of Arrow's.
    #[error("the columns cannot be built")]
    Arrow(#[from] ArrowError),
}
