//! What can go wrong in this crate, by what the caller can do about it.
//!
//! Variants that start with `Registry` are about the world outside: `RegistryDown` is worth trying
//! again, `RegistryRefused` and `NotFound` are final answers. The rest are mistakes of the caller or
//! bytes that are not what they claim to be.

use arrow::error::ArrowError;

/// An error of the schemas crate.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A column type that Herald does not have, or not in this place.
    #[error("type {0} is not supported here")]
    UnsupportedType(String),
    /// Columns that do not have the types the callee was made for.
    #[error("columns do not fit: {0}")]
    Mismatch(String),
    /// Packed bytes that do not decode to the row they should hold.
    #[error("the packed row does not fit its columns: {0}")]
    BadRow(String),
    /// A serialised output chunk that cannot be read.
    #[error("the output chunk cannot be read: {0}")]
    BadChunk(String),
    /// A schema text that cannot be used.
    #[error("the schema cannot be used: {0}")]
    BadSchema(String),
    /// A value that the output format cannot carry.
    #[error("column \"{column}\" cannot be written: {message}")]
    Encode {
        /// Name of the column.
        column: String,
        /// Why.
        message: String,
    },
    /// An option that cannot be used.
    #[error("option {option}: {message}")]
    Config {
        /// Name of the option.
        option: String,
        /// What is wrong and what to write.
        message: String,
    },
    /// The registry did not answer, or not as a registry does: try again.
    #[error("the schema registry at {url} does not answer: {message}")]
    RegistryDown {
        /// Address without credentials.
        url: String,
        /// What happened.
        message: String,
    },
    /// The registry said no. Trying again changes nothing.
    #[error("the schema registry refuses {what}: {message}")]
    RegistryRefused {
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// The registry does not know it.
    #[error("the schema registry does not know {0}")]
    NotFound(String),
    /// The wait for something outside was called off.
    #[error("stopped while waiting for the schema registry")]
    Cancelled,
    /// An error of Arrow's.
    #[error("the columns cannot be built")]
    Arrow(#[from] ArrowError),
}
