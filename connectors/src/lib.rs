//! Kafka, files, exports and generators: everything that reads records into Herald or carries its output away.
//!
//! A source is opened as a [`Reader`], which is polled for [`schemas::Records`] and seeks to the
//! offsets of the state. Output arrives here serialised, as the chunks of an epoch's outbox, and is
//! published by a [`kafka::Publisher`], a [`file::FileWriter`], an [`export::ExportWriter`] or a [`Blackhole`]: each
//! makes an epoch land once, and each tells at start its last published epoch ([`kafka::settle()`]).
//!
//! This is the only crate of the engine that uses rdkafka, parquet and object_store. Nothing in it decodes a record's
//! bytes.
#![deny(missing_docs)]

pub mod blackhole;
pub mod clock;
pub mod dead_letter;
pub mod error;
pub mod export;
pub mod file;
pub mod generate;
pub mod kafka;
pub mod options;
pub mod sink;
pub mod source;

pub use blackhole::Blackhole;
pub use dead_letter::{DeadLetter, DeadLetterTopic};
pub use error::{ConnectorError, Mismatch};
pub use generate::datagen::Datagen;
pub use generate::matches::{MatchOptions, Matches};
pub use generate::nexmark::Nexmark;
pub use kafka::mock::MockKafka;
pub use kafka::murmur2::murmur2_partition;
pub use sink::{KafkaSink, SinkConnector};
pub use source::range::{Place, RangeReader, ReadRange};
pub use source::{LastRecord, Reader, SourceConfig, SourceConnector};
