//! What a broker has left open of our own transactions, and how it is closed.
//!
//! When the transactional id is taken over, its last transaction is over: committed or aborted, with an
//! end marker in every partition. Brokers from 4.1 on break that (KAFKA-20734): the coordinator takes a
//! partition without a leader for one that was deleted and leaves its marker out, which happens whenever
//! a broker that holds the only replica comes back. Such records hang: they hide what follows them from
//! read_committed, and the next commit of the same producer in that partition would make them visible,
//! though they were aborted and sent again. So they are looked for each time a producer is opened, and
//! ended by a transaction that touches their partitions and is aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::progress::{Marker, Progress};
use super::reached::{Reached, judge};
use crate::ConnectorError;
use crate::kafka::client::Context;
use crate::kafka::offsets::{add, offsets};
use crate::kafka::topics::partitions;

/// How long a transaction that is being ended is waited for.
const ENDING: Duration = Duration::from_secs(5);
/// How long an answer of a broker that is there may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How far back a partition is searched for records of a transaction that hangs elsewhere.
const BACK: i64 = 1000;

/// A partition, and the ends that its readers see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ends {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Where read_committed ends.
    stable: i64,
    /// Where read_uncommitted ends.
    end: i64,
}

impl Ends {
    fn is_at(&self, other: &Ends) -> bool {
        self.topic == other.topic && self.partition == other.partition
    }
}

/// A record of this topology, by what its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Own {
    /// Of an epoch that the marker holds.
    Published,
    /// Beyond the marker: its transaction does not count.
    Beyond,
}

/// The partitions that a topology publishes to, with a reader of each isolation level.
pub(crate) struct Watch {
    progress: Progress,
    /// Topic and partitions; the progress topic comes first.
    topics: Vec<(String, i32)>,
    /// Ask for offsets only: they are in no group, which would take its time to leave.
    committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
}

impl Watch {
    /// Watches `topics` (name, partitions) and the progress topic.
    pub(crate) fn new(progress: &Progress, topics: &[(String, i32)]) -> Result<Watch, ConnectorError> {
        let mut all = vec![(progress.topic.clone(), 1)];
        all.extend(topics.iter().filter(|(topic, _)| *topic != progress.topic).cloned());
        Ok(Watch {
            progress: progress.clone(),
            topics: all,
            committed: progress.groupless("read_committed")?,
            uncommitted: progress.groupless("read_uncommitted")?,
        })
    }

    /// Refuses topics that are not those that were published to.
    ///
    /// # Errors
    /// A topic that is gone, or that ends before what was published to it; a broker that does not answer.
    pub(crate) fn refuse_other_topics(
        &self,
        reached: &Reached,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        for (topic, _) in &self.topics {
            let Some(reached) = reached.get(topic).filter(|reached| reached.iter().any(|end| *end > 0))
            else {
                continue;
            };
            let count = self.count(topic, timeout, stop)?;
            let ends = count.map(|count| offsets(&self.uncommitted, topic, 0..count, Offset::End, ANSWER));
            let ends = ends.transpose().map_err(|error| self.progress.failed(error))?;
            judge(topic, reached, ends.as_deref())?;
        }
        Ok(())
    }

    /// How many partitions a topic has; a stop is heard while the broker is waited for.
    fn count(
        &self,
        topic: &str,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<Option<i32>, ConnectorError> {
        let (began, bootstrap) = (Instant::now(), &self.progress.cluster.bootstrap);
        loop {
            let found = partitions(&self.uncommitted, topic, bootstrap, Duration::from_millis(250));
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            match found {
                // A broker that has just come back may not know all topics yet.
                Ok(None) if began.elapsed() < ENDING => std::thread::sleep(Duration::from_millis(100)),
                Err(ConnectorError::Unreachable { .. }) if began.elapsed() < timeout => {}
                found => return found,
            }
        }
    }

    /// Where read_committed ends in the progress topic.
    pub(crate) fn stable_progress(&self, timeout: Duration) -> Result<i64, ConnectorError> {
        let latest = self.latest(&self.committed, &self.topics[..1], timeout)?;
        Ok(latest.values().next().copied().unwrap_or(0))
    }

    /// The partitions in which our own records hang beyond the marker, after the transactional id was taken
    /// over: what the caller must abort. Empty as long as brokers do what they should.
    ///
    /// # Errors
    /// A broker that does not answer; a transaction of which a part is visible and a part hangs.
    pub(crate) fn hanging(&self, timeout: Duration) -> Result<Vec<Ends>, ConnectorError> {
        let (until, mut open) = (Instant::now() + ENDING, self.open(timeout)?);
        while !open.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            open = self.open(timeout)?;
        }
        if open.is_empty() {
            return Ok(open);
        }
        let marker = self.progress.peek(&Default::default(), timeout, &AtomicBool::new(false))?.marker;
        // The first record of what is open tells whose the earliest open transaction is; what follows it may be over.
        let first: Vec<Ends> = open.iter().map(|at| Ends { end: at.stable + 1, ..at.clone() }).collect();
        let own = self.own("read_uncommitted", &first, marker.as_ref(), timeout)?;
        let own: Vec<(Ends, Own)> = own
            .into_iter()
            .filter_map(|(at, own)| Some((open.iter().find(|o| o.is_at(&at))?.clone(), own)))
            .collect();
        let beyond = |ends: &&Ends| own.iter().any(|(at, own)| at == *ends && *own == Own::Beyond);
        let hanging: Vec<Ends> = open.iter().filter(beyond).cloned().collect();
        let published: Vec<&Ends> =
            own.iter().filter(|(_, own)| *own == Own::Published).map(|(at, _)| at).collect();
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
        // Where the marker hangs, too, a part that is visible says that the transaction was committed.
        let split = match hanging.iter().any(|at| at.topic == self.progress.topic) {
            true => self.visible(&open, marker.as_ref(), timeout)?,
            false => None,
        };
        match split.as_ref().or(published.first().copied()) {
            Some(at) => Err(self.split(&hanging[0], at)),
            None => Ok(hanging),
        }
    }

    /// A partition that shows records of the transaction that hangs in `open`.
    fn visible(
        &self,
        open: &[Ends],
        marker: Option<&Marker>,
        timeout: Duration,
    ) -> Result<Option<Ends>, ConnectorError> {
        let mut closed = Vec::new();
        for ((topic, partition), end) in self.latest(&self.committed, &self.topics[1..], timeout)? {
            let at = Ends { topic, partition, stable: end, end };
            if open.iter().any(|open| open.is_at(&at)) {
                continue;
            }
            let ends = self.committed.fetch_watermarks(&at.topic, partition, timeout);
            let low = ends.map_err(|error| self.progress.failed(error))?.0;
            if low < end {
                closed.push(Ends { stable: low.max(end - BACK), ..at });
            }
        }
        let own = self.own("read_committed", &closed, marker, timeout)?;
        Ok(own.into_iter().find(|(_, own)| *own == Own::Beyond).map(|(at, _)| at))
    }

    /// The partitions in which a transaction is open, whoever's.
    fn open(&self, timeout: Duration) -> Result<Vec<Ends>, ConnectorError> {
        let ends = self.latest(&self.uncommitted, &self.topics, timeout)?;
        let stable = self.latest(&self.committed, &self.topics, timeout)?;
        let both = ends.into_iter().map(|((topic, partition), end)| {
            let stable = stable.get(&(topic.clone(), partition)).copied().unwrap_or(end);
            Ends { topic, partition, stable, end }
        });
        Ok(both.filter(|at| at.stable < at.end).collect())
    }

    /// The end of each partition, as `consumer` sees it.
    fn latest(
        &self,
        consumer: &BaseConsumer<Context>,
        topics: &[(String, i32)],
        timeout: Duration,
    ) -> Result<BTreeMap<(String, i32), i64>, ConnectorError> {
        let mut asked = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                // The protocol's own timestamp for the end.
                add(&mut asked, topic, partition, Offset::End)
                    .map_err(|error| self.progress.failed(error))?;
            }
        }
        if asked.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let answer =
            consumer.offsets_for_times(asked, timeout).map_err(|error| self.progress.failed(error))?;
        let mut latest = BTreeMap::new();
        for at in answer.elements() {
            at.error().map_err(|error| self.progress.failed(error))?;
            let Offset::Offset(offset) = at.offset() else {
                return Err(ConnectorError::Transaction(format!(
                    "the end of topic \"{}\" partition {} is not known",
                    at.topic(),
                    at.partition()
                )));
            };
            latest.insert((at.topic().to_string(), at.partition()), offset);
        }
        Ok(latest)
    }

    /// What there is of this topology's records from `stable` to `end` of each place.
    fn own(
        &self,
        isolation: &str,
        places: &[Ends],
        marker: Option<&Marker>,
        timeout: Duration,
    ) -> Result<BTreeSet<(Ends, Own)>, ConnectorError> {
        let mut own = BTreeSet::new();
        if places.is_empty() {
            return Ok(own);
        }
        let consumer = self.progress.consumer(isolation)?;
        let mut topics: BTreeMap<&str, BTreeMap<i32, &Ends>> = BTreeMap::new();
        for at in places {
            topics.entry(&at.topic).or_default().insert(at.partition, at);
        }
        // One topic at a time: the client tells of the end of a partition without its topic.
        for (topic, mut left) in topics {
            let mut assignment = TopicPartitionList::new();
            for (partition, at) in &left {
                assignment
                    .add_partition_offset(topic, *partition, Offset::Offset(at.stable))
                    .map_err(|error| self.progress.failed(error))?;
            }
            consumer.assign(&assignment).map_err(|error| self.progress.failed(error))?;
            let until = Instant::now() + timeout;
            while !left.is_empty() {
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        let at = left.get(&message.partition()).copied();
                        let Some(at) = at.filter(|at| message.topic() == at.topic) else { continue };
                        if message.offset() < at.end {
                            own.extend(self.whose(&message, marker).map(|whose| (at.clone(), whose)));
                        }
                        if message.offset() + 1 >= at.end {
                            left.remove(&message.partition());
                        }
                    }
                    // What is left before the end are end markers.
                    Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
                    Some(Err(error)) => match self.progress.failed(error) {
                        // The client connects again by itself; the time limit below holds.
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

    fn whose(&self, message: &BorrowedMessage<'_>, marker: Option<&Marker>) -> Option<Own> {
        if message.topic() == self.progress.topic {
            return (message.key() == Some(self.progress.topology.as_bytes())).then_some(Own::Beyond);
        }
        let headers = message.headers()?;
        let of =
            |name: &str| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        if of("herald.topology") != Some(self.progress.topology.as_bytes()) {
            return None;
        }
        let number = |name: &str| std::str::from_utf8(of(name)?).ok()?.parse::<u64>().ok();
        // A record without a part is of an epoch that went out whole.
        let (epoch, part) = (number("herald.epoch"), number("herald.part"));
        let held = marker.zip(epoch).is_some_and(|(marker, epoch)| {
            let within = part.map_or(marker.is_whole(), |part| part <= u64::from(marker.part));
            epoch < marker.epoch || epoch == marker.epoch && within
        });
        Some(if held { Own::Published } else { Own::Beyond })
    }

    fn split(&self, hanging: &Ends, visible: &Ends) -> ConnectorError {
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
