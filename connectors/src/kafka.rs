//! Kafka: where clusters are described, topics kept, records read and epochs published.
//!
//! A [`KafkaCluster`] is what the options say; [`source`] reads one topic of it; [`Topics`] looks
//! topics up and creates them; [`Publisher`] carries the outbox over, exactly once, with the
//! progress topic ([`progress`]) as its memory and [`settle()`] as its judgement at start; [`judge`] tells the
//! topics it publishes to from others of the same name. [`Feed`]
//! is a plain producer, for demos, tests and benches.

pub mod client;
pub mod feed;
mod offsets;
pub mod options;
pub mod progress;
mod reached;
pub mod session;
pub mod settle;
pub mod sink;
pub mod source;
mod stamps;
pub mod topics;
mod unsettled;
mod watch;
mod writers;

pub use feed::Feed;
pub use options::{KafkaCluster, KafkaSource, Startup};
pub use progress::{Marker, progress_topic};
pub use reached::{Reached, judge};
pub use settle::settle;
pub use sink::{EpochOutput, PublishStatus, Publisher, PublisherConfig};
pub use source::KafkaReader;
pub use topics::{TopicInfo, TopicSpec, Topics};
