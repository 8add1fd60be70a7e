//! Offsets of many partitions at a time.
//!
//! A broker answers for all partitions it leads in one request; asked one by one, each costs a round trip
//! and, when it is new, the time until its leader is known. The client searches its own lists from the front,
//! so a request is for a bounded number of partitions; the total number of partitions is not bounded.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::client::{Context, to_connector_error};
use crate::ConnectorError;

/// Partitions of one request, at most.
const PARTITIONS_PER_REQUEST: i32 = 1000;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The offset of each of `partitions` at `at`: the beginning, the end (under the consumer's isolation level),
/// or the first record with a timestamp, given as an offset; -1 if there is none. Waits for leaders up to
/// `timeout`.
pub(crate) fn await_offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<i64>, KafkaError> {
    let until = Instant::now() + timeout;
    let (mut found, mut from) = (Vec::with_capacity(partitions.len()), partitions.start);
    while from < partitions.end {
        let to = from.saturating_add(PARTITIONS_PER_REQUEST).min(partitions.end);
        let left = until.saturating_duration_since(Instant::now()).max(RETRY_PAUSE);
        let asked = request_offsets(consumer, topic, from..to, at, left);
        match asked.and_then(|answers| answers.into_iter().collect::<Result<Vec<i64>, KafkaError>>()) {
            Ok(offsets) => {
                found.extend(offsets);
                from = to;
            }
            Err(error) if is_transient(&error) && Instant::now() < until => std::thread::sleep(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The same with one request and no wait: None for a partition that has no leader at the moment.
pub(crate) fn known_offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let mut found = Vec::with_capacity(partitions.len());
    for from in partitions.clone().step_by(PARTITIONS_PER_REQUEST as usize) {
        let to = from.saturating_add(PARTITIONS_PER_REQUEST).min(partitions.end);
        found.extend(request_offsets(consumer, topic, from..to, at, timeout)?.into_iter().map(Result::ok));
    }
    Ok(found)
}

/// Adds a partition at an offset to a list, without the search that the client's own call makes.
pub(crate) fn add_offset(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    offset: Offset,
) -> Result<(), KafkaError> {
    list.add_partition(topic, partition).set_offset(offset)
}

fn request_offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<Result<i64, KafkaError>>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        add_offset(&mut asked, topic, partition, at)?;
    }
    let answer = consumer.offsets_for_times(asked, timeout)?;
    Ok(answer.elements().iter().map(answered_offset).collect())
}

/// The offset that the broker answered for a partition, or its error.
fn answered_offset(at: &TopicPartitionListElem<'_>) -> Result<i64, KafkaError> {
    at.error()?;
    Ok(at.offset().to_raw().unwrap_or(-1))
}

/// Returns true if the error may pass: a new partition, or one whose leader changes, has no end for a while.
fn is_transient(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let new = [Code::UnknownPartition, Code::UnknownTopicOrPartition];
    match error.rdkafka_error_code() {
        Some(code) if new.contains(&code) => true,
        Some(code) => {
            matches!(to_connector_error(KafkaError::Global(code), "", ""), ConnectorError::Unreachable { .. })
        }
        None => false,
    }
}
