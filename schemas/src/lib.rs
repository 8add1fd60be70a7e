//! Types, rows, wire formats and the schema registry of Herald.
//!
//! The bottom crate: it knows bytes and Arrow columns, and nothing of Kafka, RocksDB or dataflow.
//! Bytes come in as [`Records`], leave a [`Decoder`] as an Arrow batch, are packed by a
//! [`RowCodec`] into rows that sort as SQL sorts, and go out through an [`Encoder`] and an
//! [`OutChunk`]. Bad data is a value here (a [`Reject`]), never an `Err`: an `Err` means that the
//! caller or the world outside is at fault.
#![deny(missing_docs)]

pub mod blobs;
pub mod columns;
pub mod decimal;
pub mod error;
pub mod time;
pub mod record;
pub mod relation;
pub mod row;
pub mod view;

pub use blobs::{Blobs, Rows};
pub use error::SchemaError;
pub use record::{Headers, Outcome, Records};
pub use relation::{
    is_jsonb, jsonb_field, schema_from_json, schema_to_json, sql_type, timestamp, timestamptz,
};
pub use row::{KEY_GROUPS, RowCodec, hash, key_group, owner};
