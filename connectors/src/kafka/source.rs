//! Reading a topic: all partitions, assigned at the offsets of the state, in bounded batches.
//!
//! No consumer group decides anything. A partition the state knows starts at its offset, and an
//! offset that the topic no longer holds is an error that says how much is missing; others start
//! where the options say at the very first start, and at the earliest record when they appear later.
//! Transaction markers take offsets too, so the end of a partition is found by the broker saying so
//! and never by waiting for the offset before it. Markers count as read once the broker, asked again
//! after the end was known, finds no record before it; else a topic that was read to its end and
//! emptied since would seem to have lost records. A broker that is away is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::Records;

use super::client::{Context, meaning};
use super::offsets::{add, offsets};
use super::options::{KafkaSource, Startup};
use super::topics::partitions;
use super::watch::{Found, Watch};
use crate::{ConnectorError, LastRecord};

/// Reads one topic.
pub struct KafkaReader {
    source: KafkaSource,
    consumer: Arc<BaseConsumer<Context>>,
    parts: Vec<Part>,
    watch: Arc<Watch>,
    /// Looks of the watch that were taken in.
    looks: u64,
    /// Markers were found to be all there is up to an end, and no epoch has been told yet.
    moved: bool,
    stop_at_end: bool,
    want_headers: bool,
    want_keys: bool,
}

/// One partition; its number is its place.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// The next offset to read.
    next: i64,
    /// Its end when it was assigned; None for one that appeared later.
    end_at_open: Option<i64>,
    /// The broker has said, since the assignment, that there was no more.
    seen_end: bool,
    /// The broker has said so, and no record has come since.
    at_end: bool,
    /// An end that was known before the partition was fetched again.
    asked: Option<i64>,
    /// All records below it are read: what is between `next` and it are markers.
    covered: i64,
    /// The last record before `next`, as far as it is known.
    last: Option<LastRecord>,
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
        let known = |at| offsets(&consumer, &source.topic, 0..count, at, source.open_timeout);
        let found =
            known(Offset::Beginning).and_then(|begins| Ok(Found { begins, ends: known(Offset::End)? }));
        let found = found.map_err(|error| meaning(error, bootstrap, "to read the topic's ends"))?;
        let mut reader = KafkaReader {
            source: source.clone(),
            watch: Watch::start(found.clone(), &consumer, &source.topic)?,
            consumer,
            parts: Vec::new(),
            looks: 0,
            moved: false,
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
        reader.start(found, start)?;
        Ok(reader)
    }

    /// Finds out where each partition begins and assigns them.
    fn start(&mut self, found: Found, start: &BTreeMap<i32, i64>) -> Result<(), ConnectorError> {
        let times = match self.source.startup {
            Startup::Timestamp(at) if start.is_empty() => self.offsets_of(Offset::Offset(at))?,
            _ => Vec::new(),
        };
        for (partition, (low, high)) in (0..).zip(found.begins.into_iter().zip(found.ends)) {
            let time = times.get(partition as usize).copied().filter(|at| *at >= 0);
            let next = match (start.get(&partition), self.source.startup) {
                (Some(next), _) => self.check_held(partition, *next, (low, high))?,
                // A partition the state does not know, although it knows others, is a new one.
                (None, _) if !start.is_empty() => low,
                (None, Startup::Earliest) => low,
                (None, Startup::Latest) => high,
                (None, Startup::Timestamp(_)) => time.unwrap_or(high),
            };
            let held = start.get(&partition) == Some(&next);
            let last = self.source.last.get(&partition).copied();
            let last = last.filter(|last| held && (low..next).contains(&last.offset));
            self.parts.push(Part { next, end_at_open: Some(high), last, ..Part::default() });
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

    /// Of every partition.
    fn offsets_of(&self, at: Offset) -> Result<Vec<i64>, ConnectorError> {
        let count = self.watch.found().ends.len() as i32;
        let asked = offsets(&self.consumer, &self.source.topic, 0..count, at, self.source.open_timeout);
        asked.map_err(|error| self.failed(error))
    }

    /// Assigns the partitions from `first` on.
    fn assign(&self, first: usize) -> Result<(), ConnectorError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, part) in self.parts.iter().enumerate().skip(first) {
            // The last record read is read again: it shows whether the topic is still the one it was.
            let offset = Offset::Offset(part.last.map_or(part.next, |last| last.offset));
            add(&mut assignment, &self.source.topic, partition as i32, offset)
                .map_err(|error| self.failed(error))?;
        }
        self.consumer.incremental_assign(&assignment).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: KafkaError) -> ConnectorError {
        let what = format!("to read topic \"{}\"", self.source.topic);
        meaning(error, &self.source.cluster.bootstrap, &what)
    }

    /// The partitions, all of them assigned.
    pub fn partitions(&self) -> Vec<i32> {
        (0..self.parts.len() as i32).collect()
    }

    /// How many partitions are assigned: all of them, numbered from 0.
    pub fn partition_count(&self) -> usize {
        self.parts.len()
    }

    /// The next records, at most one `Records` a partition; waits for the first up to `timeout`.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        self.take_in_what_was_seen()?;
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
        for records in &batch.filled {
            self.remember_last(records);
        }
        Ok(batch.filled)
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Batch) -> Result<(), ConnectorError> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(part) = self.parts.get_mut(partition as usize) else { return Ok(()) };
        let timestamp = message.timestamp().to_millis();
        // After a reconnect the client may repeat what was fetched already.
        if offset < part.next {
            let value = message.payload();
            let key = if self.want_keys { message.key() } else { None };
            let other = |last: &LastRecord| last.offset == offset && !last.is(timestamp, key, value);
            if part.last.as_ref().is_some_and(other) {
                return Err(ConnectorError::RemadeTopic {
                    topic: self.source.topic.clone(),
                    partition,
                    offset,
                });
            }
            return Ok(());
        }
        (part.next, part.at_end, part.asked) = (offset + 1, false, None);
        // Whatever was thought of what came before it: a record is no marker.
        part.covered = part.covered.min(offset);
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

    fn remember_last(&mut self, records: &Records) {
        let (Some(part), Some(at)) =
            (self.parts.get_mut(records.partition as usize), records.len().checked_sub(1))
        else {
            return;
        };
        let (key, value) = (records.keys.get(at), records.values.get(at));
        part.last = Some(LastRecord::new(records.offsets[at], records.timestamps[at], key, value));
    }

    fn reached_end(&mut self, partition: i32) {
        if let Some(part) = self.parts.get_mut(partition as usize) {
            (part.seen_end, part.at_end) = (true, true);
            // Only ends that were known before the partition was fetched: it may have grown since.
            let known = part.asked.take().max(part.end_at_open);
            part.covered = part.covered.max(known.unwrap_or(0));
            self.moved |= part.covered > part.next;
        }
        self.consumer.context().recovered();
    }

    /// Tells what ends the reading from what passes.
    fn judge(&self, error: KafkaError) -> Result<(), ConnectorError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                let (lows, highs) = (self.offsets_of(Offset::Beginning)?, self.offsets_of(Offset::End)?);
                for (partition, part) in self.parts.iter().enumerate() {
                    let ends = lows.get(partition).copied().zip(highs.get(partition).copied());
                    if let Some(ends) = ends {
                        self.check_held(partition as i32, part.next.max(part.covered), ends)?;
                    }
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

    /// Takes in what the watch has found since: new partitions, and ends behind which nothing has come yet.
    fn take_in_what_was_seen(&mut self) -> Result<(), ConnectorError> {
        let looks = self.watch.looks();
        if looks == self.looks {
            return Ok(());
        }
        self.looks = looks;
        let found = self.watch.found().clone();
        let known = self.parts.len();
        for low in found.begins.iter().skip(known) {
            self.parts.push(Part { next: *low, ..Part::default() });
        }
        if self.parts.len() > known {
            let (topic, new) = (&self.source.topic, self.parts.len() - known);
            tracing::info!(topic, from = known, new, "new partitions are read from their beginning");
            self.assign(known)?;
        }
        self.ask_for_ends(&found.ends);
        Ok(())
    }

    /// Fetches partitions again that were at their end, which lies further: if the broker says once more that
    /// there is nothing, it is markers.
    fn ask_for_ends(&mut self, ends: &[i64]) {
        let mut seek = TopicPartitionList::new();
        for (partition, (part, end)) in self.parts.iter().zip(ends).enumerate() {
            let read = part.next.max(part.covered);
            if part.at_end && part.asked.is_none() && *end > read {
                let _ = add(&mut seek, &self.source.topic, partition as i32, Offset::Offset(read));
            }
        }
        if seek.count() == 0 {
            return;
        }
        match self.consumer.seek_partitions(seek, Duration::ZERO) {
            Ok(asked) => {
                // From the call on the client drops what it has fetched before.
                let begun = |code| matches!(code, None | Some(RDKafkaErrorCode::InProgress));
                for at in asked.elements() {
                    let partition = at.partition() as usize;
                    let code = at.error().err().map(|error| error.rdkafka_error_code());
                    if let (Some(part), true) = (self.parts.get_mut(partition), begun(code.flatten())) {
                        part.asked = ends.get(partition).copied();
                    }
                }
            }
            Err(error) => tracing::debug!(topic = %self.source.topic, %error, "ends are not known"),
        }
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
        let next = |part: &Part| part.next.max(part.covered);
        self.parts.iter().enumerate().map(|(p, part)| (p as i32, next(part))).collect()
    }

    /// The last records before [`KafkaReader::positions`], where they are known.
    pub fn last(&self) -> BTreeMap<i32, LastRecord> {
        let last = self.parts.iter().enumerate().map(|(p, part)| Some((p as i32, part.last?)));
        last.flatten().collect()
    }

    /// Whether positions have moved on without a record since they were last taken; they count as taken then.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether positions have moved on without a record since they were last taken.
    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Records that are there and not read, as of the last look at the ends.
    pub fn lag(&self) -> BTreeMap<i32, i64> {
        let found = self.watch.found();
        let lag = |(partition, part): (usize, &Part)| {
            let end = found.ends.get(partition).copied().unwrap_or(0);
            // What lies between the last record and the end is transaction markers.
            (partition as i32, (end - part.next.max(part.covered)).max(0))
        };
        self.parts.iter().enumerate().map(lag).collect()
    }

    /// Commits offsets for lag tools; nothing depends on it, and nothing waits for it.
    pub fn commit_offsets(&self, offsets: &BTreeMap<i32, i64>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = Offset::Offset(*offset);
            if add(&mut list, &self.source.topic, *partition, offset).is_err() {
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
        self.watch.end();
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
