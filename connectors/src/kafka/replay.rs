//! Replay: rejected records are sent from the dead-letter topic to their own topics again, each once.
//!
//! A transaction sends a bounded number of records and, for each, a marker to the dead-letter topic. A
//! record that has a marker is skipped. So a replay that was killed is continued by the next one: it takes
//! over the transactional id, which ends the open transaction, reads all markers, and sends the rest. A
//! replay that was taken over sends nothing more. A marker goes to the partition of its dead letter, behind
//! it, so that the topic's retention never removes the marker first.
//!
//! An open transaction of any producer hides the markers after it from read_committed. So the ends up to
//! which a replay reads are those of read_uncommitted, taken after the takeover, and it first waits until no
//! transaction below them is open. In the topics that it sends to, others may keep transactions open; there it ends
//! what an earlier replay has left open (`hanging`). What hangs of a committed one is lost by that: its markers are
//! taken back first, and its records sent again.

mod hanging;
mod reading;
mod selection;
mod sender;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedMessage, Message};
use schemas::Backoff;

use super::client::{Context, create_client, header_of, headers_of};
use super::offsets::await_offsets;
use super::options::KafkaCluster;
use super::topics::{Topics, partition_ends};
use crate::{ConnectorError, DeadLetter};
use reading::{Part, TopicReader, read_error};
use selection::{Admitted, MarkerKind, Selection, SourceTopic, marked_id, marker_kind};
pub use selection::{ReplayCount, ReplayCounts, ReplayFilter};
use sender::Sender;

/// Records of one transaction, at most; each comes with a marker.
const BATCH_RECORDS: usize = 1000;
/// Bytes of keys, values and headers from which a transaction is full.
const BATCH_BYTES: usize = 1 << 20;
/// Attempts to end a replay that a broker interrupts.
const ATTEMPTS: usize = 3;
/// Time to wait for other producers' transactions: longer than their usual timeout of 60 s.
const OPEN_TRANSACTIONS_TIMEOUT: Duration = Duration::from_secs(90);
/// Pause between two requests for the ends.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Configuration of a replay of one dead-letter topic.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// The cluster of the dead-letter topic and of the sources' topics.
    pub cluster: KafkaCluster,
    /// The dead-letter topic.
    pub dead_letter_topic: String,
    /// The topic of each source to replay, by the source's name.
    pub sources: BTreeMap<String, String>,
    /// Filters of the records.
    pub filter: ReplayFilter,
    /// Time to wait for the broker.
    pub timeout: Duration,
}

/// A replay of one dead-letter topic.
pub struct Replay {
    config: ReplayConfig,
    selection: Selection,
}

impl Replay {
    /// A replay that has not begun.
    pub fn new(config: ReplayConfig) -> Replay {
        let selection = Selection::new(config.filter);
        Replay { config, selection }
    }

    /// Numbers so far, also after an error.
    pub fn counts(&self) -> &ReplayCounts {
        &self.selection.counts
    }

    /// Counts without sending, as of the committed records, and without disturbing a replay that runs:
    /// `replayed` are those that a replay would send.
    ///
    /// # Errors
    /// A missing topic; a broker that does not answer.
    pub fn count(&mut self) -> Result<(), ConnectorError> {
        let topics = Topics::open(&self.config.cluster, self.config.timeout)?;
        self.selection.start(source_topics(&self.config, &topics)?);
        let mut dead = DeadTopic::open(&self.config, &topics)?;
        dead.ends = dead.committed_ends()?;
        let selection = &mut self.selection;
        dead.scan(|message| note_marker(selection, message))?;
        dead.scan(|message| {
            if let Some(admitted) = admit(selection, message) {
                selection.note_sent(&[admitted]);
            }
            Ok(())
        })
    }

    /// Sends the selected records that have no marker yet. Ok means that all are committed. An attempt that a
    /// broker interrupts is followed by another, which reads the markers again.
    ///
    /// # Errors
    /// A missing topic; another replay of the same topic that took over; a broker that refuses a record, or
    /// does not answer.
    pub fn run(&mut self) -> Result<(), ConnectorError> {
        let mut backoff = Backoff::default();
        for _ in 1..ATTEMPTS {
            match self.try_run() {
                Err(error) if error.is_transient() => {
                    let topic = &self.config.dead_letter_topic;
                    tracing::warn!(topic, %error, "the replay is tried again");
                }
                ended => return ended,
            }
            backoff.wait(&AtomicBool::new(false));
        }
        self.try_run()
    }

    fn try_run(&mut self) -> Result<(), ConnectorError> {
        // A mistake is found before a replay that runs is disturbed.
        let topics = Topics::open(&self.config.cluster, self.config.timeout)?;
        self.selection.start(source_topics(&self.config, &topics)?);
        DeadTopic::open(&self.config, &topics)?;
        let mut sender = Sender::open(&self.config, batch_limit(&self.config, &topics)?)?;
        // Only now no other replay can add a marker.
        let mut dead = DeadTopic::open(&self.config, &topics)?;
        dead.await_transactions()?;
        if hanging::end_hanging(&dead, &topics, &mut sender)? {
            // The markers that were taken back are read as well.
            dead = DeadTopic::open(&self.config, &topics)?;
            dead.await_transactions()?;
        }
        let selection = &mut self.selection;
        dead.scan(|message| note_marker(selection, message))?;
        let mut batch = PendingBatch::default();
        dead.scan(|message| {
            if let Some(admitted) = admit(selection, message) {
                batch.push(admitted);
            }
            if batch.is_full() { batch.send(&mut sender, selection) } else { Ok(()) }
        })?;
        batch.send(&mut sender, selection)
    }
}

/// Records of the next transaction.
#[derive(Default)]
struct PendingBatch {
    records: Vec<Admitted>,
    /// Bytes of their keys, values and headers.
    bytes: usize,
}

impl PendingBatch {
    fn push(&mut self, record: Admitted) {
        let letter = &record.letter;
        self.bytes += [&letter.key, &letter.value].into_iter().flatten().map(Vec::len).sum::<usize>();
        self.bytes += letter.headers.bytes_len();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    /// Sends the records, if there are any, and notes them once they are committed.
    fn send(&mut self, sender: &mut Sender, selection: &mut Selection) -> Result<(), ConnectorError> {
        if self.records.is_empty() {
            return Ok(());
        }
        sender.transact(&self.records)?;
        selection.note_sent(&self.records);
        *self = PendingBatch::default();
        Ok(())
    }
}

/// The topics of the sources with their partitions.
fn source_topics(
    config: &ReplayConfig,
    topics: &Topics,
) -> Result<BTreeMap<String, SourceTopic>, ConnectorError> {
    let mut found = BTreeMap::new();
    for (source, topic) in &config.sources {
        let Some(partitions) = topics.partition_count(topic)? else {
            let (topic, bootstrap) = (topic.clone(), config.cluster.bootstrap.clone());
            return Err(ConnectorError::MissingTopic { topic, bootstrap });
        };
        found.insert(source.clone(), SourceTopic { name: topic.clone(), partitions });
    }
    Ok(found)
}

/// Size of the greatest batch that all topics of the replay accept.
fn batch_limit(config: &ReplayConfig, topics: &Topics) -> Result<i64, ConnectorError> {
    let mut limit = topics.max_message_bytes(&config.dead_letter_topic)?;
    for topic in config.sources.values() {
        limit = limit.min(topics.max_message_bytes(topic)?);
    }
    Ok(limit)
}

/// Notes the record of a marker; other messages are passed over.
fn note_marker(selection: &mut Selection, message: &BorrowedMessage<'_>) -> Result<(), ConnectorError> {
    if let Some((kind, id)) = read_marker(message)? {
        selection.note_marker(kind, id);
    }
    Ok(())
}

/// The kind of a marker and the id of the record that it is of; None for any other message.
fn read_marker(message: &BorrowedMessage<'_>) -> Result<Option<(MarkerKind, u128)>, ConnectorError> {
    let header = |name: &str| header_of(message, name);
    let Some(kind) = marker_kind(header) else { return Ok(None) };
    let Some(id) = marked_id(header) else {
        return Err(ConnectorError::Topic {
            topic: message.topic().to_string(),
            message: format!(
                "holds in partition {} at offset {} a marker of a replay that this release cannot read: it was written by a newer release",
                message.partition(),
                message.offset()
            ),
        });
    };
    Ok(Some((kind, id)))
}

/// The record of a dead letter that is to be sent.
fn admit(selection: &mut Selection, message: &BorrowedMessage<'_>) -> Option<Admitted> {
    let letter = DeadLetter::from_topic(&headers_of(message), message.key(), message.payload())?;
    let id = selection.admit(&letter, header_of(message, "herald.cut").is_some())?;
    Some(Admitted { letter, id, partition: message.partition() })
}

/// A consumer with this isolation level; one without a group can only request offsets.
fn open_consumer(
    config: &ReplayConfig,
    isolation: &str,
    group: bool,
) -> Result<BaseConsumer<Context>, ConnectorError> {
    let topic = &config.dead_letter_topic;
    let mut native = config.cluster.consumer_config(&format!("herald.replay.{topic}"));
    native.set("isolation.level", isolation);
    if !group {
        native.remove("group.id");
    }
    create_client(&native, &config.cluster.bootstrap)
}

/// The dead-letter topic up to an end of each partition.
struct DeadTopic<'c> {
    config: &'c ReplayConfig,
    ends: Vec<i64>,
}

impl<'c> DeadTopic<'c> {
    /// The topic up to its present ends, whether committed or not.
    fn open(config: &'c ReplayConfig, topics: &Topics) -> Result<DeadTopic<'c>, ConnectorError> {
        let topic = &config.dead_letter_topic;
        let Some(bounds) = topics.bounds(topic)? else {
            return Err(ConnectorError::Topic {
                topic: topic.clone(),
                message: format!(
                    "does not exist on Kafka at {}: a start of the topology makes it, and what is rejected from then on can be replayed",
                    config.cluster
                ),
            });
        };
        Ok(DeadTopic { config, ends: partition_ends(&bounds) })
    }

    /// Ends of the partitions for a reader of committed records.
    fn committed_ends(&self) -> Result<Vec<i64>, ConnectorError> {
        self.request_ends(&open_consumer(self.config, "read_committed", false)?)
    }

    fn request_ends(&self, consumer: &BaseConsumer<Context>) -> Result<Vec<i64>, ConnectorError> {
        let (topic, count) = (&self.config.dead_letter_topic, self.ends.len() as i32);
        let ends = await_offsets(consumer, topic, 0..count, Offset::End, self.config.timeout);
        ends.map_err(|error| read_error(self.config, topic, error))
    }

    /// Waits until no transaction below the ends is open.
    fn await_transactions(&self) -> Result<(), ConnectorError> {
        let (consumer, began) = (open_consumer(self.config, "read_committed", false)?, Instant::now());
        loop {
            let committed = self.request_ends(&consumer)?;
            if committed.iter().zip(&self.ends).all(|(committed, end)| committed >= end) {
                return Ok(());
            }
            if began.elapsed() > OPEN_TRANSACTIONS_TIMEOUT {
                return Err(ConnectorError::Topic {
                    topic: self.config.dead_letter_topic.clone(),
                    message: "has a transaction that does not end, which may hide what was replayed: kafka-transactions.sh find-hanging finds it, and its abort ends it".into(),
                });
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Visits every committed record below the ends, those of a partition in order.
    fn scan(
        &self,
        visit: impl FnMut(&BorrowedMessage<'_>) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        let mut parts = Vec::with_capacity(self.ends.len());
        for (partition, end) in (0..).zip(&self.ends) {
            parts.push(Part { partition, first: Offset::Beginning, end: *end });
        }
        let topic = &self.config.dead_letter_topic;
        TopicReader { config: self.config, topic, isolation: "read_committed" }.read(&parts, visit)
    }
}
