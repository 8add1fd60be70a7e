//! Reading of parts of a topic, each of one partition, up to their ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{ReplayConfig, open_consumer};
use crate::ConnectorError;
use crate::kafka::client::to_connector_error;
use crate::kafka::offsets::add_offset;

/// Longest wait for a message before the time limit is looked at.
const POLL_TIME: Duration = Duration::from_millis(100);

/// Part of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The partition.
    pub partition: i32,
    /// Offset from which it is read.
    pub first: Offset,
    /// Offset up to which it is read, exclusive.
    pub end: i64,
}

/// Reader of a topic of a replay.
pub(super) struct TopicReader<'c> {
    /// The replay.
    pub config: &'c ReplayConfig,
    /// The topic.
    pub topic: &'c str,
    /// Isolation level.
    pub isolation: &'static str,
}

impl TopicReader<'_> {
    /// Visits every record of the parts, those of a partition in order.
    ///
    /// # Errors
    /// A broker that sends nothing for longer than the replay's time limit; the first error of `visit`.
    pub fn read(
        &self,
        parts: &[Part],
        mut visit: impl FnMut(&BorrowedMessage<'_>) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        let failed = |error| read_error(self.config, self.topic, error);
        let consumer = open_consumer(self.config, self.isolation, true)?;
        let (mut left, mut assignment) = (Unread::default(), TopicPartitionList::new());
        for Part { partition, first, end } in parts {
            left.ends.insert(*partition, *end);
            add_offset(&mut assignment, self.topic, *partition, *first).map_err(failed)?;
        }
        consumer.assign(&assignment).map_err(failed)?;
        let mut heard = Instant::now();
        while !left.ends.is_empty() {
            match consumer.poll(POLL_TIME) {
                Some(Ok(message)) => {
                    if left.take(message.partition(), message.offset()) {
                        visit(&message)?;
                    }
                    heard = Instant::now();
                }
                // Only ends of transactions are left before the end, or the records are gone.
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.ends.remove(&partition)),
                Some(Err(error)) => match failed(error) {
                    // The client reconnects by itself; the time limit below bounds the wait.
                    ConnectorError::Unreachable { .. } => {}
                    error => return Err(error),
                },
                None => {}
            }
            if heard.elapsed() > self.config.timeout {
                return Err(ConnectorError::Unreachable {
                    bootstrap: self.config.cluster.bootstrap.clone(),
                    reason: format!("topic \"{}\" could not be read in time", self.topic),
                });
            }
        }
        Ok(())
    }
}

/// Partitions that are not read to their ends yet.
#[derive(Debug, Default)]
struct Unread {
    /// The end of each.
    ends: BTreeMap<i32, i64>,
}

impl Unread {
    /// Notes a record that was read. Returns true if it is before the end of its part.
    fn take(&mut self, partition: i32, offset: i64) -> bool {
        let Some(end) = self.ends.get(&partition).copied() else { return false };
        if offset + 1 >= end {
            self.ends.remove(&partition);
        }
        offset < end
    }
}

/// Maps an error of reading a topic.
pub(super) fn read_error(config: &ReplayConfig, topic: &str, error: KafkaError) -> ConnectorError {
    to_connector_error(error, &config.cluster.bootstrap, &format!("to read topic \"{topic}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_up_to_its_end() {
        let mut left = Unread { ends: [(0, 3), (1, 5)].into() };
        assert!(left.take(0, 1) && left.take(0, 2));
        assert!(!left.take(0, 3), "behind the end");
        assert!(!left.take(7, 0), "of another partition");
        assert_eq!(left.ends, [(1, 5)].into());
        // The record before the end is gone, or was never one: a transaction ended there.
        assert!(!left.take(1, 6));
        assert!(left.ends.is_empty());
    }
}
