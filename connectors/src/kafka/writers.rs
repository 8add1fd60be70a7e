//! Search for the topology that wrote to a topic last, by the headers of the last records.
//!
//! Every record of a topology names it in the header `herald.topology`. Two topologies that publish to one
//! topic would overwrite each other's rows, each of them exactly once; so a start reads the last records of
//! each partition. Records of other programs have no such header, and are no reason to refuse a topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::brief::BriefClient;
use super::client::{Context, REPLAY_HEADER, header_of, to_connector_error};
use super::offsets::add_offset;
use super::options::KafkaCluster;
use crate::ConnectorError;

/// Offsets before the end that are read of a partition: more than one, since transaction markers take offsets
/// too.
const OFFSETS_READ: i64 = 16;

/// A topology other than `topology` that wrote the last record of some partition. `bounds` are the beginnings
/// and ends of the partitions.
pub(crate) fn other_writer(
    cluster: &KafkaCluster,
    topology: &str,
    topic: &str,
    bounds: &[(i64, i64)],
    timeout: Duration,
) -> Result<Option<String>, ConnectorError> {
    let failed = |error| {
        to_connector_error(
            error,
            &cluster.bootstrap,
            &format!("to read the last records of topic \"{topic}\""),
        )
    };
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for (partition, (low, end)) in (0..).zip(bounds.iter().copied()) {
        if low >= end {
            continue;
        }
        left.insert(partition, end);
        add_offset(&mut assignment, topic, partition, Offset::Offset(low.max(end - OFFSETS_READ)))
            .map_err(failed)?;
    }
    if left.is_empty() {
        return Ok(None);
    }
    let mut config = cluster.consumer_config(&format!("herald-{topology}"));
    // The client learns of an end by waiting for more.
    config.set("fetch.wait.max.ms", "10");
    // A transaction that a killed process left open would hide the records after it from read_committed.
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer<Context> = config.create_with_context(Context::default()).map_err(failed)?;
    let consumer = BriefClient::new(consumer);
    consumer.assign(&assignment).map_err(failed)?;
    let (until, mut last) = (Instant::now() + timeout, BTreeMap::new());
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last.insert(message.partition(), writer_of(&message));
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
            // The records read so far count; a slow broker is no reason to refuse a topic.
            tracing::warn!(
                "the last records of topic {topic} could not be read in time: who wrote them is not known"
            );
            break;
        }
    }
    Ok(last.into_values().flatten().find(|writer| writer != topology))
}

/// The topology that wrote a record, if it names one. A replay sends records with all the headers that they had, so
/// that of a record that was read elsewhere may stand there, too.
fn writer_of(message: &impl Message) -> Option<String> {
    if header_of(message, REPLAY_HEADER).is_some() {
        return None;
    }
    let writer = header_of(message, "herald.topology")?;
    Some(String::from_utf8_lossy(writer).into_owned())
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    #[test]
    fn a_replayed_record_names_no_writer() {
        let of = |headers: &[(&str, &str)]| {
            let mut owned = OwnedHeaders::new();
            for (key, value) in headers {
                owned = owned.insert(Header { key, value: Some(*value) });
            }
            let at = Timestamp::CreateTime(7);
            writer_of(&OwnedMessage::new(None, None, "out".to_owned(), at, 0, 3, Some(owned)))
        };
        let topology = ("herald.topology", "elsewhere");
        assert_eq!(of(&[topology, ("herald.epoch", "4")]), Some("elsewhere".to_owned()));
        assert_eq!(of(&[topology, ("herald.replay", "in/0/7")]), None);
        assert_eq!(of(&[("trace", "1")]), None);
    }
}
