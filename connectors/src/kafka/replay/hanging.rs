//! Search for what a replay that died has left open in the topics that records are sent to.
//!
//! The takeover of the transactional id ends the transaction of that replay, in every partition. Brokers from 4.1 on
//! may leave the end out in some (KAFKA-20734, see [`crate::kafka::publisher::unsettled`]). There its records hang:
//! they hide later ones from read_committed, and the next commit of this producer in that partition would make them
//! visible, though it sends them again. So they are looked for after each takeover, and ended by a transaction that
//! sends a record to each such partition and is aborted. The record is a copy of the one that hangs, so that readers
//! of uncommitted records meet nothing new.
//!
//! Other producers may have transactions open in these topics, for as long as they like. They are waited for a
//! moment only; behind one that lasts longer, a record that hangs is not seen.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::selection::is_marker;
use super::sender::Sender;
use super::{DeadTopic, RETRY_PAUSE, ReplayConfig, open_consumer};
use crate::ConnectorError;
use crate::kafka::client::{REPLAY_HEADER, header_of, to_connector_error};
use crate::kafka::offsets::{add_offset, await_offsets};
use crate::kafka::topics::{Topics, partition_ends};

/// Time that an open transaction may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition with an open transaction.
struct OpenPartition {
    partition: i32,
    /// Offset of the first record of its earliest open transaction.
    first: i64,
}

/// Ends the records of earlier replays that hang in the topics of the sources. No transaction may be open in the
/// dead-letter topic up to its ends: its markers tell which records were committed.
///
/// # Errors
/// A record that hangs on; a broker that does not answer.
pub(super) fn end_hanging(
    dead: &DeadTopic<'_>,
    topics: &Topics,
    sender: &mut Sender,
) -> Result<(), ConnectorError> {
    let hanging = find_hanging(dead, topics)?;
    if hanging.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        partitions = hanging.len(),
        "the broker has not ended the last replay everywhere; it is aborted"
    );
    sender.abort_hanging(&hanging)?;
    match find_hanging(dead, topics)?.first() {
        None => Ok(()),
        Some(record) => Err(ConnectorError::Transaction(format!(
            "a replay's transaction on topic \"{}\" partition {} is still open: \
             kafka-transactions.sh find-hanging finds it, and its abort ends it",
            record.topic(),
            record.partition()
        ))),
    }
}

/// The first records of open transactions that are a replay's, and were not committed.
fn find_hanging(dead: &DeadTopic<'_>, topics: &Topics) -> Result<Vec<OwnedMessage>, ConnectorError> {
    let mut found = Vec::new();
    for topic in dead.config.sources.values().collect::<BTreeSet<&String>>() {
        let open = open_partitions(dead.config, topics, topic)?;
        for record in first_records(dead.config, topic, &open)? {
            if header_of(&record, REPLAY_HEADER).is_some() {
                found.push(record);
            }
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    let committed = committed_places(dead, &found)?;
    let mut hanging = Vec::with_capacity(found.len());
    for record in found {
        if header_of(&record, REPLAY_HEADER).is_some_and(|place| committed.contains(place)) {
            tracing::warn!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                "the broker has not ended a replay that is committed; the next one to this partition ends it"
            );
        } else {
            hanging.push(record);
        }
    }
    Ok(hanging)
}

/// The partitions of a topic in which any producer's transaction is open that began before now.
fn open_partitions(
    config: &ReplayConfig,
    topics: &Topics,
    topic: &str,
) -> Result<Vec<OpenPartition>, ConnectorError> {
    // A topic that is missing is told when records are sent to it.
    let Some(bounds) = topics.bounds(topic)? else { return Ok(Vec::new()) };
    let (ends, until) = (partition_ends(&bounds), Instant::now() + END_TIMEOUT);
    let consumer = open_consumer(config, "read_committed", false)?;
    loop {
        let stable = await_offsets(&consumer, topic, 0..ends.len() as i32, Offset::End, config.timeout)
            .map_err(|error| read_error(config, topic, error))?;
        let mut open = Vec::new();
        for (partition, (first, end)) in (0..).zip(stable.into_iter().zip(&ends)) {
            if first < *end {
                open.push(OpenPartition { partition, first });
            }
        }
        if open.is_empty() || Instant::now() > until {
            return Ok(open);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// The first record of the earliest open transaction of each of these partitions.
fn first_records(
    config: &ReplayConfig,
    topic: &str,
    open: &[OpenPartition],
) -> Result<Vec<OwnedMessage>, ConnectorError> {
    let mut found = Vec::with_capacity(open.len());
    if open.is_empty() {
        return Ok(found);
    }
    let failed = |error| read_error(config, topic, error);
    let consumer = open_consumer(config, "read_uncommitted", true)?;
    let (mut left, mut assignment) = (BTreeSet::new(), TopicPartitionList::new());
    for OpenPartition { partition, first } in open {
        left.insert(*partition);
        add_offset(&mut assignment, topic, *partition, Offset::Offset(*first)).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    let until = Instant::now() + config.timeout;
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let is_first = left.remove(&message.partition());
                if is_first {
                    found.push(message.detach());
                }
            }
            // The transaction was ended, and its records are gone.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
            Some(Err(error)) => match failed(error) {
                // The client reconnects by itself; the time limit below bounds the wait.
                ConnectorError::Unreachable { .. } => {}
                error => return Err(error),
            },
            None => {}
        }
        if Instant::now() > until {
            return Err(ConnectorError::Unreachable {
                bootstrap: config.cluster.bootstrap.clone(),
                reason: format!("topic \"{topic}\" could not be read in time"),
            });
        }
    }
    Ok(found)
}

/// The places of these records that have a marker in the dead-letter topic.
fn committed_places(
    dead: &DeadTopic<'_>,
    records: &[OwnedMessage],
) -> Result<HashSet<Vec<u8>>, ConnectorError> {
    let mut places = HashSet::new();
    for record in records {
        places.extend(header_of(record, REPLAY_HEADER));
    }
    let mut committed = HashSet::new();
    dead.scan(|message| {
        if is_marker(|name| header_of(message, name))
            && let Some(place) = message.key()
            && places.contains(place)
        {
            committed.insert(place.to_vec());
        }
        Ok(())
    })?;
    Ok(committed)
}

/// Maps an error of reading a topic.
fn read_error(config: &ReplayConfig, topic: &str, error: KafkaError) -> ConnectorError {
    to_connector_error(error, &config.cluster.bootstrap, &format!("to read topic \"{topic}\""))
}
