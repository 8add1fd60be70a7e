//! Kafka: where clusters are described, topics kept, records read and epochs published.
//!
//! A [`KafkaCluster`] is what the options say; [`source`] reads one topic of it; [`Topics`] looks
//! topics up and creates them; [`Publisher`] carries the outbox over, exactly once, with the
//! progress topic ([`progress`]) as its memory and [`settle()`] as its judgement at start; [`judge`] tells the
//! topics it publishes to from others of the same name. [`Feed`]
//! is a plain producer, for demos, tests and benches.

pub mod client;
pub mod feed;
pub mod mock;
pub mod murmur2;
mod offsets;
pub mod options;
pub mod publisher;
pub mod source;
pub mod topics;
mod watch;
mod writers;

pub use feed::Feed;
pub use options::{KafkaCluster, KafkaSource, Startup};
pub use publisher::progress::{Marker, progress_topic};
pub use publisher::reached::{Reached, judge};
pub use publisher::settle::settle;
pub use publisher::{EpochOutput, PublishStatus, Publisher, PublisherConfig};
pub use source::KafkaReader;
pub use topics::{TopicInfo, TopicSpec, Topics};
