//! Search for own transactions that a broker has left open.
//!
//! When the transactional id is taken over, its last transaction has ended: committed or aborted, with an
//! end marker in every partition. Brokers from 4.1 on break that (KAFKA-20734): the coordinator takes a
//! partition without a leader for a deleted one and leaves its marker out, which happens whenever a
//! broker that holds the only replica comes back. Such records hang: they hide later records from
//! read_committed, and the next commit of the same producer in that partition would make them visible,
//! though they were aborted and sent again. So each opening of a producer searches for them, and ends
//! them by a transaction that touches their partitions and is aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::progress::{LastMarker, Marker, Progress};
use super::reached::{Reached, has_records, verify_reached};
use crate::ConnectorError;
use crate::kafka::client::{Context, REPLAY_HEADER, header_of};
use crate::kafka::offsets::await_offsets;
use crate::kafka::topics::partition_count;

/// Time that an open transaction may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request to a broker that is up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Offsets before the end in which a partition is searched for records of a transaction that hangs elsewhere.
const OFFSETS_SEARCHED: i64 = 1000;

/// A partition and its ends at both isolation levels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionEnds {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// End for read_committed.
    stable: i64,
    /// End for read_uncommitted.
    end: i64,
}

impl PartitionEnds {
    fn is_at(&self, other: &PartitionEnds) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }

    /// The same partition with the first record after the stable end only.
    fn first_open(&self) -> PartitionEnds {
        PartitionEnds { end: self.stable + 1, ..self.clone() }
    }
}

/// Class of a record of this topology, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OwnRecord {
    /// The marker covers its epoch and part.
    Published,
    /// Beyond the marker: its transaction was not committed.
    Beyond,
}

/// The partitions that a topology publishes to, with a consumer of each isolation level.
pub(crate) struct OutputWatch {
    progress: Progress,
    /// Topic and partitions; the progress topic comes first.
    topics: Vec<(String, i32)>,
    /// Both consumers only request offsets: without a group, which would take time to leave.
    committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
}

impl OutputWatch {
    /// Watches `topics` (name, partitions) and the progress topic.
    pub(crate) fn new(progress: &Progress, topics: &[(String, i32)]) -> Result<OutputWatch, ConnectorError> {
        let mut all = vec![(progress.topic.clone(), 1)];
        all.extend(topics.iter().filter(|(topic, _)| *topic != progress.topic).cloned());
        Ok(OutputWatch {
            progress: progress.clone(),
            topics: all,
            committed: progress.open_groupless("read_committed")?,
            uncommitted: progress.open_groupless("read_uncommitted")?,
        })
    }

    /// Refuses topics that were deleted or created again since they were published to.
    ///
    /// # Errors
    /// A topic that is gone, or that ends before an offset it had reached; a broker that does not answer.
    pub(crate) fn refuse_other_topics(
        &self,
        reached: &Reached,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        for (topic, _) in &self.topics {
            let Some(reached) = reached.get(topic) else { continue };
            if !has_records(reached) {
                continue;
            }
            let ends = match self.await_partition_count(topic, timeout, stop)? {
                Some(count) => Some(self.request_ends(topic, count)?),
                None => None,
            };
            verify_reached(topic, reached, ends.as_deref())?;
        }
        Ok(())
    }

    /// The end of each of a topic's `count` partitions, for read_uncommitted.
    fn request_ends(&self, topic: &str, count: i32) -> Result<Vec<i64>, ConnectorError> {
        await_offsets(&self.uncommitted, topic, 0..count, Offset::End, REQUEST_TIMEOUT)
            .map_err(|error| self.progress.to_error(error))
    }

    /// Number of partitions of a topic; checks the stop flag while it waits for the broker.
    fn await_partition_count(
        &self,
        topic: &str,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<Option<i32>, ConnectorError> {
        let (began, bootstrap) = (Instant::now(), &self.progress.cluster.bootstrap);
        loop {
            let found = partition_count(&self.uncommitted, topic, bootstrap, Duration::from_millis(250));
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            match found {
                // A broker that has just come back may not know all topics yet.
                Ok(None) if began.elapsed() < END_TIMEOUT => std::thread::sleep(Duration::from_millis(100)),
                Err(ConnectorError::Unreachable { .. }) if began.elapsed() < timeout => {}
                found => return found,
            }
        }
    }

    /// End of the progress topic for read_committed.
    pub(crate) fn stable_progress(&self, timeout: Duration) -> Result<i64, ConnectorError> {
        let latest = self.end_offsets(&self.committed, &self.topics[..1], timeout)?;
        Ok(latest.values().next().copied().unwrap_or(0))
    }

    /// Finds the partitions in which own records hang beyond the marker, after the transactional id was taken
    /// over: the caller must abort them. Empty for brokers without KAFKA-20734.
    ///
    /// # Errors
    /// A broker that does not answer; a transaction of which a part is visible and a part hangs.
    pub(crate) fn find_hanging(&self, timeout: Duration) -> Result<Vec<PartitionEnds>, ConnectorError> {
        let (until, mut open) = (Instant::now() + END_TIMEOUT, self.open_partitions(timeout)?);
        while !open.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            open = self.open_partitions(timeout)?;
        }
        if open.is_empty() {
            return Ok(open);
        }
        let marker = self.progress.peek(&LastMarker::default(), timeout, &AtomicBool::new(false))?.marker;
        // The first record after the stable end is of the earliest open transaction; later ones may have
        // ended.
        let first: Vec<PartitionEnds> = open.iter().map(PartitionEnds::first_open).collect();
        let own = self.classify_own("read_uncommitted", &first, marker.as_ref(), timeout)?;
        let (mut hanging, mut published) = (Vec::new(), Vec::new());
        for at in &open {
            if own.contains(&(at.first_open(), OwnRecord::Beyond)) {
                hanging.push(at.clone());
            }
            if own.contains(&(at.first_open(), OwnRecord::Published)) {
                published.push(at);
            }
        }
        if hanging.is_empty() {
            for at in published {
                tracing::warn!(
                    topic = at.topic,
                    partition = at.partition,
                    offset = at.stable,
                    "the broker has not ended a transaction that is committed; the next one to this partition ends it"
                );
            }
            return Ok(hanging);
        }
        // If the marker hangs too, a visible record beyond it shows that the transaction was committed.
        let split = if hanging.iter().any(|at| at.topic == self.progress.topic) {
            self.find_visible(&open, marker.as_ref(), timeout)?
        } else {
            None
        };
        match split.as_ref().or(published.first().copied()) {
            Some(at) => Err(self.split_error(&hanging[0], at)),
            None => Ok(hanging),
        }
    }

    /// Finds a partition that shows records of the transaction that hangs in `open`.
    fn find_visible(
        &self,
        open: &[PartitionEnds],
        marker: Option<&Marker>,
        timeout: Duration,
    ) -> Result<Option<PartitionEnds>, ConnectorError> {
        let mut closed = Vec::new();
        for ((topic, partition), end) in self.end_offsets(&self.committed, &self.topics[1..], timeout)? {
            let at = PartitionEnds { topic, partition, stable: end, end };
            if open.iter().any(|open| open.is_at(&at)) {
                continue;
            }
            let one = partition..partition + 1;
            let first = await_offsets(&self.committed, &at.topic, one, Offset::Beginning, timeout);
            let low = first.map_err(|error| self.progress.to_error(error))?.first().copied().unwrap_or(end);
            if low < end {
                closed.push(PartitionEnds { stable: low.max(end - OFFSETS_SEARCHED), ..at });
            }
        }
        let own = self.classify_own("read_committed", &closed, marker, timeout)?;
        let (visible, _) = own.into_iter().find(|(_, own)| *own == OwnRecord::Beyond).unzip();
        Ok(visible)
    }

    /// The partitions in which any producer's transaction is open.
    fn open_partitions(&self, timeout: Duration) -> Result<Vec<PartitionEnds>, ConnectorError> {
        let ends = self.end_offsets(&self.uncommitted, &self.topics, timeout)?;
        let stable = self.end_offsets(&self.committed, &self.topics, timeout)?;
        let mut open = Vec::new();
        for ((topic, partition), end) in ends {
            let stable = stable.get(&(topic.clone(), partition)).copied().unwrap_or(end);
            if stable < end {
                open.push(PartitionEnds { topic, partition, stable, end });
            }
        }
        Ok(open)
    }

    /// The end of each partition, under the isolation level of `consumer`.
    fn end_offsets(
        &self,
        consumer: &BaseConsumer<Context>,
        topics: &[(String, i32)],
        timeout: Duration,
    ) -> Result<BTreeMap<(String, i32), i64>, ConnectorError> {
        let mut latest = BTreeMap::new();
        for (topic, partitions) in topics {
            let ends = await_offsets(consumer, topic, 0..*partitions, Offset::End, timeout);
            for (partition, end) in (0..).zip(ends.map_err(|error| self.progress.to_error(error))?) {
                if end < 0 {
                    return Err(ConnectorError::Transaction(format!(
                        "the end of topic \"{topic}\" partition {partition} is not known"
                    )));
                }
                latest.insert((topic.clone(), partition), end);
            }
        }
        Ok(latest)
    }

    /// Classes of this topology's records between `stable` and `end` of each partition of `places`.
    fn classify_own(
        &self,
        isolation: &str,
        places: &[PartitionEnds],
        marker: Option<&Marker>,
        timeout: Duration,
    ) -> Result<BTreeSet<(PartitionEnds, OwnRecord)>, ConnectorError> {
        let mut own = BTreeSet::new();
        if places.is_empty() {
            return Ok(own);
        }
        let failed = |error| self.progress.to_error(error);
        let consumer = self.progress.open_consumer(isolation)?;
        let mut topics: BTreeMap<&str, BTreeMap<i32, &PartitionEnds>> = BTreeMap::new();
        for at in places {
            topics.entry(&at.topic).or_default().insert(at.partition, at);
        }
        // One topic at a time: the client's end event names the partition without its topic.
        for (topic, mut left) in topics {
            let mut assignment = TopicPartitionList::new();
            for (partition, at) in &left {
                let from = Offset::Offset(at.stable);
                assignment.add_partition_offset(topic, *partition, from).map_err(failed)?;
            }
            consumer.assign(&assignment).map_err(failed)?;
            let until = Instant::now() + timeout;
            while !left.is_empty() {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let Some(at) = left.get(&message.partition()).copied() else { continue };
                        if message.topic() != at.topic {
                            continue;
                        }
                        if message.offset() < at.end
                            && let Some(class) = self.classify_record(&message, marker)
                        {
                            own.insert((at.clone(), class));
                        }
                        if message.offset() + 1 >= at.end {
                            left.remove(&message.partition());
                        }
                    }
                    // Only end markers are left before the end.
                    Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                    Some(Err(error)) => match failed(error) {
                        // The client reconnects by itself; the time limit below bounds the wait.
                        ConnectorError::Unreachable { .. } => {}
                        error => return Err(error),
                    },
                    None => {}
                }
                if Instant::now() > until {
                    return Err(ConnectorError::Transaction(format!(
                        "what is open in topic \"{topic}\" could not be read in time"
                    )));
                }
            }
        }
        Ok(own)
    }

    /// The class of a record; None for a record of another topology.
    fn classify_record(&self, message: &BorrowedMessage<'_>, marker: Option<&Marker>) -> Option<OwnRecord> {
        if message.topic() == self.progress.topic {
            return (message.key() == Some(self.progress.topology.as_bytes())).then_some(OwnRecord::Beyond);
        }
        // A replay sends records with all the headers that they had, also those of this topology.
        let replayed = header_of(message, REPLAY_HEADER).is_some();
        if replayed || header_of(message, "herald.topology") != Some(self.progress.topology.as_bytes()) {
            return None;
        }
        // A record without a part is of an epoch that was published whole.
        let (epoch, part) = (header_number(message, "herald.epoch"), header_number(message, "herald.part"));
        match (marker, epoch) {
            (Some(marker), Some(epoch)) if marker.covers(epoch, part) => Some(OwnRecord::Published),
            _ => Some(OwnRecord::Beyond),
        }
    }

    /// Error for a transaction of which a part is visible and a part hangs.
    fn split_error(&self, hanging: &PartitionEnds, visible: &PartitionEnds) -> ConnectorError {
        ConnectorError::Topic {
            topic: hanging.topic.clone(),
            message: format!(
                "partition {} hides from offset {} on records of a transaction that is over, and partition {} of \"{}\" \
                 shows some that were committed: the broker has lost the end of a transaction (KAFKA-20734), and what it \
                 hides would be lost or doubled; see \"A broker that lost the end of a transaction\" in docs/operations.md",
                hanging.partition, hanging.stable, visible.partition, visible.topic
            ),
        }
    }
}

/// The value of a header as a number.
fn header_number(message: &BorrowedMessage<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8(header_of(message, name)?).ok()?.parse().ok()
}
