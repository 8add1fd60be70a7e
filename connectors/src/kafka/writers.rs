//! Who wrote to a topic last, by the headers of its last records.
//!
//! Every record of a topology says so in `herald.topology`. Two topologies that publish to one topic would overwrite
//! each other's rows, each of them exactly once; so a start looks at the last records of each partition. Records of
//! other programs say nothing, and are no reason to refuse a topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{Context, meaning};
use super::offsets::add;
use super::options::KafkaCluster;
use crate::ConnectorError;

/// How far back a partition is looked at: what ends transactions has offsets, too.
const BACK: i64 = 16;

/// A topology other than `topology` that wrote the last record of some partition. `bounds` are the beginnings and
/// ends of the partitions.
pub(crate) fn other_writer(
    cluster: &KafkaCluster,
    topology: &str,
    topic: &str,
    bounds: &[(i64, i64)],
    timeout: Duration,
) -> Result<Option<String>, ConnectorError> {
    let failed =
        |error| meaning(error, &cluster.bootstrap, &format!("to read the last records of topic \"{topic}\""));
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for (partition, (low, end)) in (0..).zip(bounds.iter().copied()).filter(|(_, (low, end))| low < end) {
        left.insert(partition, end);
        add(&mut assignment, topic, partition, Offset::Offset(low.max(end - BACK))).map_err(failed)?;
    }
    if left.is_empty() {
        return Ok(None);
    }
    let mut config = cluster.consumer(&format!("herald-{topology}"));
    // The client learns of an end by waiting for more.
    config.set("fetch.wait.max.ms", "10");
    // A transaction that a killed process left open would hide what stands behind it.
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer<Context> = config.create_with_context(Context::default()).map_err(failed)?;
    consumer.assign(&assignment).map_err(failed)?;
    let (until, mut last) = (Instant::now() + timeout, BTreeMap::new());
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last.insert(message.partition(), writer(&message));
                if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    left.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
            Some(Err(error)) => match failed(error) {
                // The client connects again by itself; the time limit below holds.
                ConnectorError::Unreachable { .. } => {}
                error => return Err(error),
            },
            None => {}
        }
        if Instant::now() > until {
            // What was read counts; a slow broker is no reason to refuse a topic.
            tracing::warn!(
                "the last records of topic {topic} could not be read in time: who wrote them is not known"
            );
            break;
        }
    }
    Ok(last.into_values().flatten().find(|writer| writer != topology))
}

fn writer(message: &impl Message) -> Option<String> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == "herald.topology")?;
    Some(String::from_utf8_lossy(header.value?).into_owned())
}
