//! Reading a topic: all partitions, assigned at the offsets of the state, in bounded batches.
//!
//! Consumer groups are not used for assignment. A partition the state knows starts at its offset, and an
//! offset that the topic no longer holds is an error with the number of missing records. Other partitions
//! start as the options say at the very first run, and at the earliest record when they appear later.
//!
//! Transaction markers take offsets too, so the broker's end-of-partition event marks the end of a
//! partition, never the record at the offset before it. Markers count as read once the broker, asked
//! again after the end was known, finds no record before it; else a topic that was read to its end and
//! emptied since would seem to have lost records. While no broker is reachable, reading waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::{HEADER_BYTES, MemoryPart, MemoryShare, Records};

use super::client::{Context, create_client, header_at, to_connector_error};
use super::offsets::{add_offset, await_offsets};
use super::options::{KafkaSource, Startup};
use super::topics::partition_count;
use super::watch::{PartitionBounds, TopicWatch};
use crate::{ConnectorError, LastRecord};

mod range;

/// Bytes that librdkafka keeps beside the value of a record that it has fetched.
const FETCHED_RECORD_BYTES: u64 = 320;

/// Reads one topic.
pub struct KafkaReader {
    source: KafkaSource,
    consumer: Arc<BaseConsumer<Context>>,
    parts: Vec<PartitionState>,
    watch: Arc<TopicWatch>,
    /// Number of refreshes of the watch that were applied.
    refreshes: u64,
    /// Set when only markers were found up to an end, until [`KafkaReader::take_moved`].
    moved: bool,
    stop_at_end: bool,
    want_headers: bool,
    want_keys: bool,
    /// Records and bytes read since the opening.
    read: (u64, u64),
    /// Memory of the records that the client has fetched ahead.
    memory: MemoryShare,
}

/// Reading of one partition, at the index of its number.
#[derive(Clone, Copy, Debug, Default)]
struct PartitionState {
    /// The first offset to read.
    begin: i64,
    /// The next offset to read.
    next: i64,
    /// Its end at opening; None for one that appeared later.
    end_at_open: Option<i64>,
    /// Set once the broker has reported the end since the assignment.
    seen_end: bool,
    /// Set while the broker's last report was the end and no record has come since.
    at_end: bool,
    /// An end that was known before the partition was fetched again; None when no fetch is pending.
    asked: Option<i64>,
    /// All records below it are read: between `next` and it are only markers.
    covered: i64,
    /// The last record before `next`, if it is known.
    last: Option<LastRecord>,
    /// The end of its range; None outside of backfills.
    until: Option<i64>,
}

impl PartitionState {
    /// The offset below which nothing is left to read.
    fn position(&self) -> i64 {
        match self.until {
            Some(until) if self.seen_end => until,
            Some(until) => self.next.min(until),
            None => self.next.max(self.covered),
        }
    }

    /// Returns true when it was read to the end it had at opening.
    fn caught_up(&self) -> bool {
        self.end_at_open.is_none_or(|end| self.seen_end || self.next >= end)
    }

    /// The offset to fetch from: the last record read is fetched again and compared, to detect a topic that was
    /// created again.
    fn fetch_offset(&self) -> i64 {
        match self.last {
            Some(last) => last.offset,
            None => self.next,
        }
    }
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
        let config = source.cluster.consumer_config(source.group.as_deref().unwrap_or(group));
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(create_client(&config, bootstrap)?);
        let count = partition_count(&consumer, &source.topic, bootstrap, source.open_timeout)?;
        let Some(count) = count else {
            let (topic, bootstrap) = (source.topic.clone(), bootstrap.clone());
            return Err(ConnectorError::MissingTopic { topic, bootstrap });
        };
        let found = find_bounds(&consumer, source, count)
            .map_err(|error| to_connector_error(error, bootstrap, "to read the topic's ends"))?;
        let mut reader = KafkaReader {
            source: source.clone(),
            watch: TopicWatch::start(found.clone(), &consumer, &source.topic)?,
            consumer,
            parts: Vec::new(),
            refreshes: 0,
            moved: false,
            stop_at_end: false,
            want_headers: want.0,
            want_keys: want.1,
            read: (0, 0),
            memory: MemoryShare::default(),
        };
        if let Some((partition, _)) = start.iter().find(|(partition, _)| **partition >= count) {
            return Err(ConnectorError::Topic {
                topic: source.topic.clone(),
                message: format!(
                    "has {count} partitions, but the state has read partition {partition}: it is not the topic it was"
                ),
            });
        }
        reader.assign_all(found, start)?;
        Ok(reader)
    }

    /// Determines the first offset of each partition and assigns all of them.
    fn assign_all(
        &mut self,
        found: PartitionBounds,
        start: &BTreeMap<i32, i64>,
    ) -> Result<(), ConnectorError> {
        if let Some(range) = self.source.range.clone() {
            return self.assign_range(&range, found, start);
        }
        let times = match self.source.startup {
            Startup::Timestamp(at) if start.is_empty() => self.offsets_at(Offset::Offset(at))?,
            _ => Vec::new(),
        };
        for (partition, (low, high)) in (0..).zip(found.begins.into_iter().zip(found.ends)) {
            let time = times.get(partition as usize).copied().filter(|at| *at >= 0);
            let next = match (start.get(&partition), self.source.startup) {
                (Some(next), _) => self.check_held(partition, *next, (low, high))?,
                // The state knows other partitions, so this one was added since: all its records are unread.
                (None, _) if !start.is_empty() => low,
                (None, Startup::Earliest) => low,
                (None, Startup::Latest) => high,
                (None, Startup::Timestamp(_)) => time.unwrap_or(high),
            };
            let held = start.get(&partition) == Some(&next);
            let last = self.source.last.get(&partition).copied();
            let last = last.filter(|last| held && (low..next).contains(&last.offset));
            self.parts.push(PartitionState {
                begin: next,
                next,
                end_at_open: Some(high),
                last,
                ..PartitionState::default()
            });
        }
        self.assign_from(0)
    }

    /// Returns the offset to read from: `next` if the topic holds it, else an error, or its start with
    /// `skip_lost`.
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

    /// The offset at `at` of every partition.
    fn offsets_at(&self, at: Offset) -> Result<Vec<i64>, ConnectorError> {
        let count = self.watch.bounds().ends.len() as i32;
        let asked = await_offsets(&self.consumer, &self.source.topic, 0..count, at, self.source.open_timeout);
        asked.map_err(|error| self.to_error(error))
    }

    /// Assigns the partitions from `first` on.
    fn assign_from(&self, first: usize) -> Result<(), ConnectorError> {
        let failed = |error| self.to_error(error);
        let mut assignment = TopicPartitionList::new();
        for (partition, part) in self.parts.iter().enumerate().skip(first) {
            let offset = Offset::Offset(part.fetch_offset());
            add_offset(&mut assignment, &self.source.topic, partition as i32, offset).map_err(failed)?;
        }
        self.consumer.incremental_assign(&assignment).map_err(failed)
    }

    fn to_error(&self, error: KafkaError) -> ConnectorError {
        let what = format!("to read topic \"{}\"", self.source.topic);
        to_connector_error(error, &self.source.cluster.bootstrap, &what)
    }

    /// The partitions, all of them assigned.
    pub fn partitions(&self) -> Vec<i32> {
        (0..self.parts.len() as i32).collect()
    }

    /// Number of partitions; all of them are assigned, numbered from 0.
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
        self.apply_refresh()?;
        let (mut batch, mut emptied) = (Batch::new(self.parts.len()), false);
        let consumer = self.consumer.clone();
        let mut timeout = timeout;
        while batch.records < max_records && batch.bytes < max_bytes {
            match consumer.poll(timeout) {
                Some(Ok(message)) => {
                    self.take_message(&message, &mut batch)?;
                    timeout = Duration::ZERO;
                }
                // The end of one partition does not end the poll: others may have records.
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached_end(partition),
                Some(Err(error)) => {
                    self.handle_error(error)?;
                    timeout = Duration::ZERO;
                }
                None => {
                    emptied = true;
                    break;
                }
            }
        }
        if batch.records > 0 {
            consumer.context().clear_last_error();
        }
        self.read = (self.read.0 + batch.records as u64, self.read.1 + batch.bytes as u64);
        let ahead = if emptied { 0 } else { self.fetched_ahead() };
        self.memory.set(MemoryPart::KafkaConsumer, ahead);
        for records in &batch.filled {
            self.remember_last(records);
        }
        Ok(batch.filled)
    }

    /// Estimates the bytes that the client has fetched ahead, while it has records: as many of those that are
    /// not read yet as its limits allow, each as large as those read so far.
    fn fetched_ahead(&self) -> usize {
        let limit = |name: &str, default| self.source.cluster.number_option(name).unwrap_or(default);
        let most = limit("queued.min.messages", 100_000);
        let most_bytes = limit("queued.max.messages.kbytes", 65_536) * 1024;
        let average = (self.read.1 / self.read.0.max(1)).max(1);
        let unread = self.lag().values().sum::<i64>().unsigned_abs();
        let records = unread.min(most).min(most_bytes / average);
        (records * (average + FETCHED_RECORD_BYTES)) as usize
    }

    fn take_message(
        &mut self,
        message: &BorrowedMessage<'_>,
        batch: &mut Batch,
    ) -> Result<(), ConnectorError> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(part) = self.parts.get_mut(partition as usize) else { return Ok(()) };
        let timestamp = message.timestamp().to_millis();
        // The last record fetched again for comparison, or records repeated by the client after a reconnect.
        if offset < part.next {
            let value = message.payload();
            let key = if self.want_keys { message.key() } else { None };
            if let Some(last) = &part.last
                && last.offset == offset
                && !last.may_be(timestamp, key, value)
            {
                return Err(ConnectorError::RemadeTopic {
                    topic: self.source.topic.clone(),
                    partition,
                    offset,
                });
            }
            return Ok(());
        }
        if part.until.is_some_and(|until| offset >= until) {
            if !std::mem::replace(&mut part.seen_end, true) {
                self.pause_partition(partition);
            }
            return Ok(());
        }
        (part.next, part.at_end, part.asked) = (offset + 1, false, None);
        // The record proves that not all offsets before the assumed end were markers.
        part.covered = part.covered.min(offset);
        let key = if self.want_keys { message.key() } else { None };
        let value = message.payload();
        let records = batch.records_of(partition);
        records.push(offset, timestamp, key, value);
        let mut bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        // The client parses headers when they are asked for, so this costs where there are none, too.
        if self.want_headers
            && let Some(headers) = message.headers()
        {
            bytes += push_headers(records, headers);
        }
        batch.records += 1;
        batch.bytes += bytes;
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
            // Only an end that was known before the fetch counts: the partition may have grown since.
            let known = part.asked.take().max(part.end_at_open);
            part.covered = part.covered.max(known.unwrap_or(0));
            self.moved |= part.covered > part.next;
        }
        self.consumer.context().clear_last_error();
    }

    /// Returns an error that ends reading; logs one that passes.
    fn handle_error(&self, error: KafkaError) -> Result<(), ConnectorError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                let (lows, highs) = (self.offsets_at(Offset::Beginning)?, self.offsets_at(Offset::End)?);
                for (partition, part) in self.parts.iter().enumerate() {
                    let ends = lows.get(partition).copied().zip(highs.get(partition).copied());
                    if let Some(ends) = ends {
                        self.check_held(partition as i32, part.position(), ends)?;
                    }
                }
                // The offset is valid again by now. A new start compares the topic's last record.
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
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(self.to_error(error)),
            _ => match self.to_error(error) {
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

    /// Applies a refresh of the watch: assigns new partitions, and checks partitions with a later end.
    fn apply_refresh(&mut self) -> Result<(), ConnectorError> {
        let refreshes = self.watch.refresh_count();
        // A range has the partitions and the ends that it had at opening.
        if refreshes == self.refreshes || self.source.range.is_some() {
            return Ok(());
        }
        self.refreshes = refreshes;
        let found = self.watch.bounds().clone();
        let known = self.parts.len();
        for low in found.begins.iter().skip(known) {
            self.parts.push(PartitionState { begin: *low, next: *low, ..PartitionState::default() });
        }
        if self.parts.len() > known {
            let (topic, new) = (&self.source.topic, self.parts.len() - known);
            tracing::info!(topic, from = known, new, "new partitions are read from their beginning");
            self.assign_from(known)?;
        }
        self.fetch_later_ends(&found.ends);
        Ok(())
    }

    /// Fetches partitions again that were at their end while their end is now later: if the broker reports
    /// the end once more without a record, the offsets between are markers.
    fn fetch_later_ends(&mut self, ends: &[i64]) {
        let mut seek = TopicPartitionList::new();
        for (partition, (part, end)) in self.parts.iter().zip(ends).enumerate() {
            let read = part.position();
            if part.at_end && part.asked.is_none() && *end > read {
                let _ = add_offset(&mut seek, &self.source.topic, partition as i32, Offset::Offset(read));
            }
        }
        if seek.count() == 0 {
            return;
        }
        match self.consumer.seek_partitions(seek, Duration::ZERO) {
            Ok(asked) => {
                // The seek drops records fetched before it, so the next end event is newer than `ends`.
                for at in asked.elements() {
                    let partition = at.partition() as usize;
                    let begun = match at.error() {
                        Ok(()) => true,
                        Err(error) => {
                            matches!(error.rdkafka_error_code(), None | Some(RDKafkaErrorCode::InProgress))
                        }
                    };
                    if begun && let Some(part) = self.parts.get_mut(partition) {
                        part.asked = ends.get(partition).copied();
                    }
                }
            }
            Err(error) => tracing::debug!(topic = %self.source.topic, %error, "ends are not known"),
        }
    }

    /// Makes [`KafkaReader::bounded_done`] true once the ends seen at opening are reached.
    pub fn stop_at_end(&mut self) {
        self.stop_at_end = true;
    }

    /// Returns true when every partition was read to the end it had at opening, after
    /// [`KafkaReader::stop_at_end`]. An end that the broker reports later is never before it.
    pub fn bounded_done(&self) -> bool {
        self.stop_at_end && self.caught_up()
    }

    /// Returns true when every partition was read to the end it had at opening.
    pub fn caught_up(&self) -> bool {
        self.parts.iter().all(PartitionState::caught_up)
    }

    /// Next offset of every partition. All of them must be stored in the state, also those without
    /// records: a partition that is missing there counts as new at the next start.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        self.parts.iter().enumerate().map(|(p, part)| (p as i32, part.position())).collect()
    }

    /// The offset at which reading of each partition began.
    pub fn begins(&self) -> BTreeMap<i32, i64> {
        self.parts.iter().enumerate().map(|(p, part)| (p as i32, part.begin)).collect()
    }

    /// The last records before [`KafkaReader::positions`], where they are known.
    pub fn last(&self) -> BTreeMap<i32, LastRecord> {
        let last = self.parts.iter().enumerate().map(|(p, part)| Some((p as i32, part.last?)));
        last.flatten().collect()
    }

    /// Returns true if positions have moved on without a record since the last call.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Returns true if positions have moved on without a record since [`KafkaReader::take_moved`].
    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Records that are not read yet, as of the last refresh of the ends.
    pub fn lag(&self) -> BTreeMap<i32, i64> {
        let found = self.watch.bounds();
        let mut lag = BTreeMap::new();
        for (partition, part) in self.parts.iter().enumerate() {
            let end = found.ends.get(partition).copied().unwrap_or(0);
            // Offsets below `covered` without a record are transaction markers, and not unread.
            lag.insert(partition as i32, (end - part.position()).max(0));
        }
        lag
    }

    /// Commits offsets for lag tools, without waiting; nothing depends on them.
    pub fn commit_offsets(&self, offsets: &BTreeMap<i32, i64>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = Offset::Offset(*offset);
            if add_offset(&mut list, &self.source.topic, *partition, offset).is_err() {
                return;
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "group offsets were not committed");
        }
    }

    /// The last error of the client, until records arrive again; None while all is well.
    pub fn last_error(&self) -> Option<String> {
        self.consumer.context().last_error()
    }

    /// Name of the topic.
    pub fn topic(&self) -> &str {
        &self.source.topic
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// Appends the headers of the last record, and returns their bytes as [`schemas::BatchHeaders::bytes_len`] counts them.
fn push_headers(records: &mut Records, headers: &BorrowedHeaders) -> usize {
    let (record, count) = (records.len() - 1, headers.count());
    let mut bytes = count * HEADER_BYTES;
    for at in 0..count {
        match header_at(headers, at) {
            Some(Header { key, value }) => {
                records.headers.push(record, key, value);
                bytes += key.len() + value.map_or(0, <[u8]>::len);
            }
            None => records.headers.push_unreadable(record),
        }
    }
    bytes
}

/// Finds the beginning and the end of each of a topic's `count` partitions.
fn find_bounds(
    consumer: &BaseConsumer<Context>,
    source: &KafkaSource,
    count: i32,
) -> Result<PartitionBounds, KafkaError> {
    let (topic, timeout) = (&source.topic, source.open_timeout);
    let begins = await_offsets(consumer, topic, 0..count, Offset::Beginning, timeout)?;
    let ends = await_offsets(consumer, topic, 0..count, Offset::End, timeout)?;
    Ok(PartitionBounds { begins, ends })
}

/// Records by partition while a poll collects them.
struct Batch {
    filled: Vec<Records>,
    /// Index in `filled` of each partition.
    indexes: Vec<Option<usize>>,
    records: usize,
    bytes: usize,
}

impl Batch {
    fn new(partitions: usize) -> Batch {
        Batch { filled: Vec::new(), indexes: vec![None; partitions], records: 0, bytes: 0 }
    }

    fn records_of(&mut self, partition: i32) -> &mut Records {
        let index = *self.indexes[partition as usize].get_or_insert_with(|| {
            self.filled.push(Records::new(partition));
            self.filled.len() - 1
        });
        &mut self.filled[index]
    }
}
