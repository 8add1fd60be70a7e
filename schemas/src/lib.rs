//! Types, rows, wire formats and the schema registry of Herald.
//!
//! The bottom crate: it knows bytes and Arrow columns, and nothing of Kafka, RocksDB or dataflow.
//! Bytes come in as [`Records`], leave a [`Decoder`] as an Arrow batch, are packed by a
//! [`RowCodec`] into rows that sort as SQL sorts, and go out through an [`Encoder`] and an
//! [`OutChunk`]. Bad data is a value here (a [`Reject`]), never an `Err`: an `Err` means that the
//! caller or the world outside is at fault.
#![deny(missing_docs)]

pub mod avro;
mod avro_default;
pub mod avro_out;
pub mod avro_schema;
mod backoff;
pub mod blobs;
pub mod canonical;
pub mod circuit;
pub mod columns;
pub mod decimal;
pub mod decode;
pub mod encode;
pub mod error;
pub mod json;
pub mod json_out;
pub mod jsonb;
pub mod keyed;
pub mod out;
pub mod record;
pub mod registry;
pub mod relation;
pub mod row;
#[cfg(test)]
mod sample;
pub mod span;
pub mod time;
pub mod uuid;
pub mod view;

pub use avro::AvroDecoder;
pub use avro_default::without_default;
pub use avro_schema::{avro_schema, columns_of_avro, columns_of_debezium};
pub use backoff::Backoff;
pub use blobs::{Blobs, Rows};
pub use canonical::canonical;
pub use circuit::trouble as registry_trouble;
pub use decode::{Decoded, Decoder, Reject};
pub use encode::Encoder;
pub use error::SchemaError;
pub use json::{JsonDecoder, JsonOptions};
pub use keyed::{DebeziumDecoder, Form, UpsertDecoder};
pub use out::{OutChunk, OutRecord, digest};
pub use record::{Headers, Outcome, Records};
pub use registry::Registry;
pub use relation::{
    interval, is_jsonb, jsonb_field, schema_from_json, schema_to_json, sql_type, timestamp, timestamptz,
    uuid_type,
};
pub use row::{KEY_GROUPS, RowCodec, hash, key_group, owner};
