//! Reading a topic: all partitions, assigned at the offsets of the state, in bounded batches.
//!
//! No consumer group decides anything. A partition the state knows starts at its offset, and an
//! offset that the topic no longer holds is an error that says how much is missing; others start
//! where the options say at the very first start, and at the earliest record when they appear later.
//! Transaction markers take offsets too, so the end of a partition is found by the broker saying so
//! and never by waiting for the offset before it. A broker that is away is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::Records;

use super::client::{Context, meaning};
use super::options::{KafkaSource, Startup};
use super::topics::partitions;
use crate::ConnectorError;

/// How often new partitions and the ends of partitions are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Partitions whose ends the watcher can hold.
const MAX_PARTITIONS: usize = 4096;

/// Reads one topic.
pub struct KafkaReader {
    source: KafkaSource,
    consumer: Arc<BaseConsumer<Context>>,
    parts: Vec<Part>,
    watch: Arc<Watch>,
    stop_at_end: bool,
    want_headers: bool,
    want_keys: bool,
}

/// One partition; its number is its place.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The next offset to read.
    next: i64,
    /// Its end when it was assigned; None for one that appeared later.
    end_at_open: Option<i64>,
    /// The broker has said, since the assignment, that there was no more.
    seen_end: bool,
    /// The end as known when the broker last said so; records after it unset this.
    at_end: Option<i64>,
    /// Timestamp of the last record before `next`, as far as it is known.
    last_ms: Option<i64>,
}

/// What the watching thread found out.
struct Watch {
    stop: AtomicBool,
    partitions: AtomicI32,
    ends: Vec<AtomicI64>,
}

impl KafkaReader {
    /// Opens the topic; `start` holds the next offset of each partition the state knows.
    pub fn open(
        source: &KafkaSource,
        group: &str,
        start: &BTreeMap<i32, i64>,
        want: (bool, bool),
    ) -> Result<KafkaReader, ConnectorError> {
        let bootstrap = &source.cluster.bootstrap;
        let config = source.cluster.consumer(source.group.as_deref().unwrap_or(group));
        let failed = |error| meaning(error, bootstrap, "the options");
        let consumer = config.create_with_context(Context::default()).map_err(failed)?;
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(consumer);
        let count = partitions(&consumer, &source.topic, bootstrap, source.open_timeout)?;
        let Some(count) = count else {
            let (topic, bootstrap) = (source.topic.clone(), bootstrap.clone());
            return Err(ConnectorError::MissingTopic { topic, bootstrap });
        };
        let ends = (0..MAX_PARTITIONS.min(count as usize + 1024)).map(|_| AtomicI64::new(0));
        let watch =
            Watch { stop: AtomicBool::new(false), partitions: AtomicI32::new(count), ends: ends.collect() };
        let mut reader = KafkaReader {
            source: source.clone(),
            consumer,
            parts: Vec::new(),
            watch: Arc::new(watch),
            stop_at_end: false,
            want_headers: want.0,
            want_keys: want.1,
        };
        if let Some((partition, _)) = start.iter().find(|(partition, _)| **partition >= count) {
            return Err(ConnectorError::Topic {
                topic: source.topic.clone(),
                message: format!(
                    "has {count} partitions, but the state has read partition {partition}: it is not the topic it was"
                ),
            });
        }
        reader.start(count, start)?;
        reader.watch_on()?;
        Ok(reader)
    }

    /// Finds out where each partition begins and assigns them.
    fn start(&mut self, count: i32, start: &BTreeMap<i32, i64>) -> Result<(), ConnectorError> {
        let times = match self.source.startup {
            Startup::Timestamp(at) if start.is_empty() => self.offsets_at(count, at)?,
            _ => BTreeMap::new(),
        };
        for partition in 0..count {
            let (low, high) = self.ends(partition)?;
            let next = match (start.get(&partition), self.source.startup) {
                (Some(next), _) => self.check_held(partition, *next, (low, high))?,
                // A partition the state does not know, although it knows others, is a new one.
                (None, _) if !start.is_empty() => low,
                (None, Startup::Earliest) => low,
                (None, Startup::Latest) => high,
                (None, Startup::Timestamp(_)) => times.get(&partition).copied().unwrap_or(high),
            };
            let held = start.get(&partition) == Some(&next);
            let last_ms = self.source.last_ms.get(&partition).copied().filter(|_| held && next > low);
            self.watch.ends[partition as usize].store(high, Ordering::Relaxed);
            self.parts.push(Part { next, end_at_open: Some(high), seen_end: false, at_end: None, last_ms });
        }
        self.assign(0)
    }

    fn check_held(&self, partition: i32, next: i64, (low, high): (i64, i64)) -> Result<i64, ConnectorError> {
        let topic = self.source.topic.clone();
        if next < low && self.source.skip_lost {
            let lost = low - next;
            tracing::warn!(
                "topic {topic} partition {partition}: {lost} records were deleted before they were read, and are skipped"
            );
            return Ok(low);
        }
        if next < low {
            return Err(ConnectorError::LostRecords { topic, partition, next, low });
        }
        if next > high {
            return Err(ConnectorError::ShrunkTopic { topic, partition, next, high });
        }
        Ok(next)
    }

    fn ends(&self, partition: i32) -> Result<(i64, i64), ConnectorError> {
        let asked = self.consumer.fetch_watermarks(&self.source.topic, partition, self.source.open_timeout);
        asked.map_err(|error| self.failed(error))
    }

    fn offsets_at(&self, count: i32, at: i64) -> Result<BTreeMap<i32, i64>, ConnectorError> {
        let mut times = TopicPartitionList::new();
        for partition in 0..count {
            let added = times.add_partition_offset(&self.source.topic, partition, Offset::Offset(at));
            added.map_err(|error| self.failed(error))?;
        }
        let found = self.consumer.offsets_for_times(times, self.source.open_timeout);
        let found = found.map_err(|error| self.failed(error))?;
        let offset = |(partition, offset): (i32, Offset)| match offset {
            Offset::Offset(offset) => Some((partition, offset)),
            _ => None,
        };
        let elements = found.elements();
        Ok(elements.iter().filter_map(|e| offset((e.partition(), e.offset()))).collect())
    }

    /// Assigns the partitions from `first` on.
    fn assign(&self, first: usize) -> Result<(), ConnectorError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, part) in self.parts.iter().enumerate().skip(first) {
            // The last record read is read again: it shows whether the topic is still the one it was.
            let offset = Offset::Offset(part.next - i64::from(part.last_ms.is_some()));
            assignment
                .add_partition_offset(&self.source.topic, partition as i32, offset)
                .map_err(|error| self.failed(error))?;
        }
        self.consumer.incremental_assign(&assignment).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: KafkaError) -> ConnectorError {
        let what = format!("to read topic \"{}\"", self.source.topic);
        meaning(error, &self.source.cluster.bootstrap, &what)
    }

    /// Looks for new partitions and ends on a thread of its own, since each look is a round trip.
    fn watch_on(&self) -> Result<(), ConnectorError> {
        let (watch, consumer) = (self.watch.clone(), self.consumer.clone());
        let topic = self.source.topic.clone();
        let run = move || {
            let mut waited = Duration::ZERO;
            while !watch.stop.load(Ordering::Relaxed) {
                if waited < WATCH_EVERY {
                    std::thread::sleep(Duration::from_millis(100));
                    waited += Duration::from_millis(100);
                    continue;
                }
                waited = Duration::ZERO;
                look(&watch, &consumer, &topic);
            }
        };
        let spawned = std::thread::Builder::new().name("kafka-watch".into()).spawn(run);
        spawned.map(|_| ()).map_err(|error| ConnectorError::io("thread".as_ref(), error))
    }

    /// The partitions, all of them assigned.
    pub fn partitions(&self) -> Vec<i32> {
        (0..self.parts.len() as i32).collect()
    }

    /// The next records, at most one `Records` a partition; waits for the first up to `timeout`.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        self.take_in_new_partitions()?;
        let mut batch = Batch::new(self.parts.len());
        let consumer = self.consumer.clone();
        let mut timeout = timeout;
        while batch.records < max_records && batch.bytes < max_bytes {
            match consumer.poll(timeout) {
                Some(Ok(message)) => {
                    self.take(&message, &mut batch)?;
                    timeout = Duration::ZERO;
                }
                // The end of one partition says nothing of the others.
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached_end(partition),
                Some(Err(error)) => {
                    self.judge(error)?;
                    timeout = Duration::ZERO;
                }
                None => break,
            }
        }
        if batch.records > 0 {
            consumer.context().recovered();
        }
        Ok(batch.filled)
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Batch) -> Result<(), ConnectorError> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(part) = self.parts.get_mut(partition as usize) else { return Ok(()) };
        let timestamp = message.timestamp().to_millis();
        // After a reconnect the client may repeat what was fetched already.
        if offset < part.next {
            if offset == part.next - 1 && part.last_ms.is_some_and(|last| timestamp != Some(last)) {
                return Err(ConnectorError::RemadeTopic {
                    topic: self.source.topic.clone(),
                    partition,
                    offset,
                });
            }
            return Ok(());
        }
        part.next = offset + 1;
        part.last_ms = timestamp;
        part.at_end = None;
        let key = if self.want_keys { message.key() } else { None };
        let value = message.payload();
        let records = batch.of(partition);
        records.push(offset, timestamp, key, value);
        if self.want_headers {
            let headers = message.headers().map(|headers| {
                let owned =
                    |h: rdkafka::message::Header<'_, &[u8]>| (h.key.to_string(), h.value.map(<[u8]>::to_vec));
                headers.iter().map(owned).collect()
            });
            records.headers.get_or_insert_default().push(headers.unwrap_or_default());
        }
        batch.records += 1;
        batch.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        Ok(())
    }

    fn reached_end(&mut self, partition: i32) {
        if let Some(part) = self.parts.get_mut(partition as usize) {
            part.seen_end = true;
            part.at_end = Some(self.watch.ends[partition as usize].load(Ordering::Relaxed));
        }
        self.consumer.context().recovered();
    }

    /// Tells what ends the reading from what passes.
    fn judge(&self, error: KafkaError) -> Result<(), ConnectorError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                for (partition, part) in self.parts.iter().enumerate() {
                    let ends = self.ends(partition as i32)?;
                    self.check_held(partition as i32, part.next, ends)?;
                }
                // It has grown since. A new start looks whether it is the topic it was.
                Err(ConnectorError::Topic {
                    topic: self.source.topic.clone(),
                    message: "was cut or made anew while it was read".into(),
                })
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Err(ConnectorError::MissingTopic {
                    topic: self.source.topic.clone(),
                    bootstrap: self.source.cluster.bootstrap.clone(),
                })
            }
            // Groups are for lag tools only.
            Some(Code::GroupAuthorizationFailed) => Ok(()),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(self.failed(error)),
            _ => match self.failed(error) {
                ConnectorError::Unreachable { reason, .. } => {
                    tracing::warn!(topic = %self.source.topic, reason, "waiting for Kafka");
                    Ok(())
                }
                ConnectorError::Kafka(error) => {
                    tracing::warn!(topic = %self.source.topic, %error, "reading goes on");
                    Ok(())
                }
                error => Err(error),
            },
        }
    }

    fn take_in_new_partitions(&mut self) -> Result<(), ConnectorError> {
        let (known, count) = (self.parts.len(), self.watch.partitions.load(Ordering::Relaxed));
        if count as usize <= known {
            return Ok(());
        }
        for partition in known as i32..count {
            let Ok((low, _)) = self.ends(partition) else { break };
            tracing::info!(topic = %self.source.topic, partition, "new partition");
            self.parts.push(Part {
                next: low,
                end_at_open: None,
                seen_end: false,
                at_end: None,
                last_ms: None,
            });
        }
        if self.parts.len() > known { self.assign(known) } else { Ok(()) }
    }

    /// From now on [`KafkaReader::bounded_done`] tells when the ends seen at opening are reached.
    pub fn stop_at_end(&mut self) {
        self.stop_at_end = true;
    }

    /// Whether every partition was read to the end it had at opening, after
    /// [`KafkaReader::stop_at_end`]. What the broker calls the end since then is not before it.
    pub fn bounded_done(&self) -> bool {
        self.stop_at_end && self.caught_up()
    }

    /// Whether every partition was read to the end it had at opening.
    pub fn caught_up(&self) -> bool {
        let done = |part: &Part| part.end_at_open.is_none_or(|end| part.seen_end || part.next >= end);
        self.parts.iter().all(done)
    }

    /// Next offset of every partition. All of them belong into the state, also those without
    /// records: what is missing there counts as new at the next start.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        self.parts.iter().enumerate().map(|(p, part)| (p as i32, part.next)).collect()
    }

    /// Timestamps (milliseconds) of the last records before [`KafkaReader::positions`], where they are known.
    pub fn last_ms(&self) -> BTreeMap<i32, i64> {
        let last = self.parts.iter().enumerate().map(|(p, part)| Some((p as i32, part.last_ms?)));
        last.flatten().collect()
    }

    /// Records that are there and not read, as of the last look at the ends.
    pub fn lag(&self) -> BTreeMap<i32, i64> {
        let lag = |(partition, part): (usize, &Part)| {
            let end = self.watch.ends[partition].load(Ordering::Relaxed);
            // What lies between the last record and the end is transaction markers.
            let read = part.next.max(part.at_end.unwrap_or(0));
            (partition as i32, (end - read).max(0))
        };
        self.parts.iter().enumerate().map(lag).collect()
    }

    /// Commits offsets for lag tools; nothing depends on it, and nothing waits for it.
    pub fn commit_offsets(&self, offsets: &BTreeMap<i32, i64>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = Offset::Offset(*offset);
            if list.add_partition_offset(&self.source.topic, *partition, offset).is_err() {
                return;
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "group offsets were not committed");
        }
    }

    /// The last error of the client, until records arrive again; None while all is well.
    pub fn trouble(&self) -> Option<String> {
        self.consumer.context().trouble()
    }

    /// Name of the topic.
    pub fn topic(&self) -> &str {
        &self.source.topic
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.watch.stop.store(true, Ordering::Relaxed);
    }
}

/// One look of the watching thread. A broker that does not answer is asked again later.
fn look(watch: &Watch, consumer: &BaseConsumer<Context>, topic: &str) {
    let patience = Duration::from_secs(2);
    if let Ok(metadata) = consumer.fetch_metadata(Some(topic), patience) {
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map_or(0, |found| found.partitions().len()).min(watch.ends.len());
        watch.partitions.fetch_max(count as i32, Ordering::Relaxed);
    }
    let count = watch.partitions.load(Ordering::Relaxed);
    for partition in 0..count {
        if watch.stop.load(Ordering::Relaxed) {
            return;
        }
        match consumer.fetch_watermarks(topic, partition, patience) {
            Ok((_, high)) => watch.ends[partition as usize].store(high, Ordering::Relaxed),
            Err(_) => return,
        }
    }
}

/// Records by partition while a poll collects them.
struct Batch {
    filled: Vec<Records>,
    /// Place in `filled` of each partition.
    places: Vec<Option<usize>>,
    records: usize,
    bytes: usize,
}

impl Batch {
    fn new(partitions: usize) -> Batch {
        Batch { filled: Vec::new(), places: vec![None; partitions], records: 0, bytes: 0 }
    }

    fn of(&mut self, partition: i32) -> &mut Records {
        let place = *self.places[partition as usize].get_or_insert_with(|| {
            self.filled.push(Records::new(partition));
            self.filled.len() - 1
        });
        &mut self.filled[place]
    }
}
