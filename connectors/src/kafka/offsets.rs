//! Offsets of many partitions at a time.
//!
//! A broker answers for all partitions it leads in one request; asked one by one, each costs a round trip and, when
//! it is new, the time its leader takes to be known. The client's own lists are searched from the front, so that a
//! request is for a bounded number of partitions; how many there are in all is not bounded.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{Context, meaning};
use crate::ConnectorError;

/// Partitions of one request.
const TOGETHER: i32 = 1000;
const PAUSE: Duration = Duration::from_millis(50);

/// The offset of each of `partitions` at `at`: the beginning, the end (as the consumer's isolation sees it), or the
/// first record with a timestamp, given as an offset; -1 where there is none. Waits for leaders up to `timeout`.
pub(crate) fn offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<i64>, KafkaError> {
    let until = Instant::now() + timeout;
    let (mut found, mut from) = (Vec::with_capacity(partitions.len()), partitions.start);
    while from < partitions.end {
        let to = from.saturating_add(TOGETHER).min(partitions.end);
        let left = until.saturating_duration_since(Instant::now()).max(PAUSE);
        let asked = ask(consumer, topic, from..to, at, left);
        match asked.and_then(|answers| answers.into_iter().collect::<Result<Vec<i64>, KafkaError>>()) {
            Ok(offsets) => {
                found.extend(offsets);
                from = to;
            }
            Err(error) if passes(&error) && Instant::now() < until => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The same, once and without waiting: None for a partition that has no leader at the moment.
pub(crate) fn known_offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let mut found = Vec::with_capacity(partitions.len());
    for from in partitions.clone().step_by(TOGETHER as usize) {
        let to = from.saturating_add(TOGETHER).min(partitions.end);
        found.extend(ask(consumer, topic, from..to, at, timeout)?.into_iter().map(Result::ok));
    }
    Ok(found)
}

/// Adds a partition at an offset to a list, without the search that the client's own call makes.
pub(crate) fn add(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    offset: Offset,
) -> Result<(), KafkaError> {
    list.add_partition(topic, partition).set_offset(offset)
}

fn ask(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: Range<i32>,
    at: Offset,
    timeout: Duration,
) -> Result<Vec<Result<i64, KafkaError>>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        add(&mut asked, topic, partition, at)?;
    }
    let answer = consumer.offsets_for_times(asked, timeout)?;
    let elements = answer.elements();
    Ok(elements.iter().map(|at| at.error().map(|()| at.offset().to_raw().unwrap_or(-1))).collect())
}

/// A partition that is new, or whose leader changes, has no end for a while.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let new = [Code::UnknownPartition, Code::UnknownTopicOrPartition, Code::OffsetNotAvailable];
    match error.rdkafka_error_code() {
        Some(code) if new.contains(&code) => true,
        Some(code) => matches!(meaning(KafkaError::Global(code), "", ""), ConnectorError::Unreachable { .. }),
        None => false,
    }
}
