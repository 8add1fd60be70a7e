//! Kafka: descriptions of clusters, creation of topics, reading of records and publishing of epochs.
//!
//! A [`KafkaCluster`] is parsed from the options; [`source`] reads one topic of it; [`Topics`] looks
//! topics up, creates them, and changes them to a layout; [`Publisher`] publishes the outbox, exactly once: the progress topic
//! ([`publisher::progress`]) records how far it is, [`settle()`] compares that with the state at start, and
//! [`verify_reached`] detects a topic that was deleted and created again. [`Replay`] sends dead letters to
//! their topics again, each once. [`Feed`] is a plain producer, for demos, tests and benches.

pub mod client;
pub mod feed;
pub mod mock;
pub mod murmur2;
mod offsets;
pub mod options;
pub mod publisher;
pub mod replay;
pub mod source;
pub mod topics;
mod watch;
mod writers;

pub use client::brief::await_closed;
pub use feed::Feed;
pub use options::{KafkaCluster, KafkaSource, Startup};
pub use publisher::progress::{Marker, progress_topic};
pub use publisher::reached::{Reached, has_records, verify_reached};
pub use publisher::settle::settle;
pub use publisher::{EpochOutput, PublishStatus, Publisher, PublisherConfig};
pub use replay::{Replay, ReplayConfig, ReplayCount, ReplayCounts, ReplayFilter};
pub use source::KafkaReader;
pub use topics::layout::{ConfigChange, HeldTopic, TopicLayout, TopicPlan, TopicStep};
pub use topics::{TopicInfo, TopicSpec, Topics, partition_ends};
