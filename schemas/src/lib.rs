//! Types, rows, wire formats and the schema registry of Herald.
//!
//! The bottom crate: it knows bytes and Arrow columns, and nothing of Kafka, RocksDB or dataflow.
//! A [`Decoder`] turns [`Records`] into an Arrow batch, a [`RowCodec`] packs the batch into rows that
//! sort as SQL sorts, and an [`Encoder`] and an [`OutChunk`] write the output. Bad data is a value
//! here (a [`Reject`]), never an `Err`: an `Err` is the fault of the caller or of an outside service.
#![deny(missing_docs)]

pub mod avro;
pub mod decode;
pub mod encode;
pub mod error;
pub mod evolution;
pub mod json;
pub mod keyed;
pub mod records;
pub mod registry;
pub mod row;
pub mod types;

pub use avro::AvroDecoder;
pub use avro::default_values::without_default;
pub use avro::schema::{
    avro_schema, avro_schema_named, columns_of_avro, columns_of_debezium, is_full_avro_name,
};
pub use decode::Decoder;
pub use decode::batch::{Decoded, Reject};
pub use encode::Encoder;
pub use encode::pseudonym::{PseudonymKey, Pseudonyms};
pub use error::{SchemaError, did_you_mean};
pub use json::{JsonDecoder, JsonOptions};
pub use keyed::{DebeziumDecoder, Form, UpsertDecoder};

pub use records::blobs::{Blobs, Rows};
pub use records::erased::{
    Digest, Digester, ERASED_MESSAGE, ErasedSet, SALT_BYTES, contains_any, identity_patterns,
};
pub use records::headers::{BatchHeaders, HEADER_BYTES, Headers};
pub use records::memory;
pub use records::memory::{MemoryPart, MemoryShare};
pub use records::out::{EXPORT_TARGETS, OutChunk, OutRecord, digest};
pub use records::record::{Outcome, OutcomeCounts, Records};
pub use registry::Registry;
pub use registry::backoff::Backoff;
pub use registry::circuit::last_error as registry_last_error;
pub use registry::tls::{certificate_refusal, client_tls};
pub use row::groups::{
    GROUP_BYTES, KEY_GROUPS, Ownership, key_group, stored_group, stored_key, without_group,
};
pub use row::{RowCodec, hash, is_equal_by_bytes};
pub use types::canonical::canonical;
pub use types::relation::{
    interval, is_jsonb, jsonb_field, partition_name, schema_from_json, schema_to_json, sql_type, timestamp,
    timestamptz, uuid_type,
};
