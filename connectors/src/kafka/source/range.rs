//! Reading a range of each partition, for a backfill ([`crate::RangeReader`]).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{KafkaReader, PartitionBounds, PartitionState};
use crate::kafka::client::brief::BriefClient;
use crate::kafka::client::{Context, create_client};
use crate::kafka::offsets::add_offset;
use crate::{ConnectorError, Place, ReadRange};

/// Time for which one poll waits.
const POLL: Duration = Duration::from_millis(100);

impl KafkaReader {
    /// Assigns the partitions that have offsets in the range, each up to the end of the range or to where the state
    /// has read it (`read`). A partition that the state does not know is left to its own reader.
    pub(super) fn assign_range(
        &mut self,
        range: &ReadRange,
        found: PartitionBounds,
        read: &BTreeMap<i32, i64>,
    ) -> Result<(), ConnectorError> {
        self.compare_last(&found, read)?;
        let count = found.begins.len();
        let (froms, tos) = (self.find_places(range.from, count)?, self.find_places(range.to, count)?);
        let mut assignment = TopicPartitionList::new();
        for (at, (low, high)) in found.begins.into_iter().zip(found.ends).enumerate() {
            let partition = at as i32;
            let next = read.get(&partition).copied().unwrap_or(low);
            if next > high {
                let topic = self.source.topic.clone();
                return Err(ConnectorError::ShrunkTopic { topic, partition, next, high });
            }
            let until = tos[at].map_or(next, |to| to.min(next)).max(low);
            let begin = range.begin.get(&partition).copied().unwrap_or(low);
            let from = froms[at].unwrap_or(low).max(begin).clamp(low, until);
            if from < until {
                add_offset(&mut assignment, &self.source.topic, partition, Offset::Offset(from))
                    .map_err(|error| self.to_error(error))?;
            }
            self.parts.push(PartitionState {
                begin: from,
                next: from,
                until: Some(until),
                end_at_open: Some(until),
                seen_end: from == until,
                ..PartitionState::default()
            });
        }
        if assignment.count() == 0 {
            return Ok(());
        }
        self.consumer.incremental_assign(&assignment).map_err(|error| self.to_error(error))
    }

    /// Reads the last record of each partition that the state has read, and compares it: the offsets of a topic that was
    /// made anew are those of other records. The client is one of its own, so that nothing of this is in the range.
    fn compare_last(&self, found: &PartitionBounds, read: &BTreeMap<i32, i64>) -> Result<(), ConnectorError> {
        let (source, bootstrap) = (&self.source, &self.source.cluster.bootstrap);
        let (mut wanted, mut assignment) = (BTreeMap::new(), TopicPartitionList::new());
        for (at, (low, high)) in found.begins.iter().zip(&found.ends).enumerate() {
            let partition = at as i32;
            let Some(last) = source.last.get(&partition).filter(|_| read.contains_key(&partition)) else {
                continue;
            };
            if (*low..*high).contains(&last.offset) {
                add_offset(&mut assignment, &source.topic, partition, Offset::Offset(last.offset))
                    .map_err(|error| self.to_error(error))?;
                wanted.insert(partition, *last);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let config = source.cluster.consumer_config(source.group.as_deref().unwrap_or("herald-backfill"));
        let consumer = BriefClient::new(create_client::<BaseConsumer<Context>>(&config, bootstrap)?);
        consumer.assign(&assignment).map_err(|error| self.to_error(error))?;
        let until = Instant::now() + source.open_timeout;
        while !wanted.is_empty() {
            match consumer.poll(POLL) {
                // Of a compacted topic a later record may come, which tells nothing.
                Some(Ok(message)) => {
                    let Some(last) = wanted.remove(&message.partition()) else { continue };
                    let key = if self.want_keys { message.key() } else { None };
                    let time = message.timestamp().to_millis();
                    if last.offset == message.offset() && !last.may_be(time, key, message.payload()) {
                        let (topic, partition) = (source.topic.clone(), message.partition());
                        return Err(ConnectorError::RemadeTopic { topic, partition, offset: last.offset });
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(wanted.remove(&partition)),
                Some(Err(error)) => self.handle_error(error)?,
                None => {}
            }
            if !wanted.is_empty() && Instant::now() > until {
                let reason =
                    format!("the last records that were read of topic \"{}\" do not come", source.topic);
                return Err(ConnectorError::Unreachable { bootstrap: bootstrap.clone(), reason });
            }
        }
        Ok(())
    }

    /// The offset of a place in each of `count` partitions; None without one.
    fn find_places(&self, place: Option<Place>, count: usize) -> Result<Vec<Option<i64>>, ConnectorError> {
        Ok(match place {
            None => vec![None; count],
            Some(Place::Offset(offset)) => vec![Some(offset); count],
            Some(Place::Time(ms)) => {
                let found = self.offsets_at(Offset::Offset(ms))?;
                // No record is as late: the place is behind all of them.
                found.into_iter().map(|at| Some(if at < 0 { i64::MAX } else { at })).collect()
            }
        })
    }

    /// The range of each partition.
    pub fn ranges(&self) -> BTreeMap<i32, Range<i64>> {
        let parts = self.parts.iter().enumerate();
        parts.map(|(p, part)| (p as i32, part.begin..part.until.unwrap_or(part.begin))).collect()
    }

    /// Stops fetching a partition whose range is read: the client would fetch it to its end.
    pub(super) fn pause_partition(&self, partition: i32) {
        let mut read = TopicPartitionList::new();
        read.add_partition(&self.source.topic, partition);
        if let Err(error) = self.consumer.pause(&read) {
            tracing::debug!(topic = %self.source.topic, partition, %error, "fetching goes on behind the range");
        }
    }
}
