//! One transactional producer, from its opening to its first error.
//!
//! Opening fences the previous producer and ends its transaction. A session that saw a
//! transaction error, a transport error or a slow commit is tainted and not used again: a delayed EndTxn
//! of a retried commit could end a later transaction, since librdkafka lacks KIP-890. Its owner drops
//! it, opens another and reads the marker to learn whether the transaction was committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fail::fail_point;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use schemas::{MemoryPart, MemoryShare, OutChunk};

use super::EpochOutput;
use super::progress::{Marker, Progress};
use super::reached::{FirstRecords, Reached, store_offsets, verify_offsets};
use super::stamps::Stamp;
use super::unsettled::{OutputWatch, PartitionEnds};
use crate::ConnectorError;
use crate::kafka::client::{Context, create_client, is_fenced, to_connector_error};

/// Timeout of one call into the client, after which the stop flag is checked.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// Interval at which deliveries are polled before a commit, and the marker after it.
const POLL_INTERVAL: Duration = Duration::from_micros(500);
/// Timeout of aborting a transaction.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time that the broker may take until a committed marker can be read.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that librdkafka keeps beside key and value of a record in its queue, headers included.
const QUEUED_RECORD_BYTES: usize = 432;
/// Duration from which a commit may have been retried.
const SLOW_COMMIT: Duration = Duration::from_secs(10);

/// A producer that owns its transactional id.
pub(crate) struct Session {
    producer: ThreadedProducer<Context>,
    progress: Progress,
    transactional_id: String,
    transaction_timeout: Duration,
    watch: OutputWatch,
    /// End of the progress topic for read_committed after the last transaction.
    stable: i64,
    /// Set during a transaction, and left set by an error: no further transaction may begin here.
    pub(crate) tainted: bool,
}

/// Configuration of a session.
pub(crate) struct SessionConfig<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) transactional_id: &'a str,
    pub(crate) max_batch_bytes: Option<i64>,
    /// Timestamps of records that are sent while the session is opened.
    pub(crate) stamp: Stamp,
    pub(crate) timeout: Duration,
}

/// Content of one transaction.
pub(crate) struct Output<'a> {
    pub(crate) pieces: &'a [EpochOutput<'a>],
    /// The marker that ends it, and its text.
    pub(crate) marker: (&'a Marker, &'a str),
    /// Topics that get no records up to an epoch, since a later epoch sends all of them again.
    pub(crate) superseded: &'a BTreeMap<String, u64>,
    pub(crate) stamp: Stamp,
}

impl Session {
    /// Creates the producer, takes over the transactional id, and ends transactions that the broker left
    /// open.
    pub(crate) fn open(
        config: &SessionConfig<'_>,
        watch: OutputWatch,
        stop: &AtomicBool,
    ) -> Result<Session, ConnectorError> {
        let cluster = &config.progress.cluster;
        let bootstrap = &cluster.bootstrap;
        let batch = config.max_batch_bytes.unwrap_or(i64::MAX);
        let native = cluster.transactional_config(config.transactional_id, batch);
        let producer: ThreadedProducer<Context> = create_client(&native, bootstrap)?;
        let mut session = Session {
            watch,
            stable: 0,
            producer,
            progress: config.progress.clone(),
            transactional_id: config.transactional_id.to_string(),
            transaction_timeout: cluster.transaction_timeout(),
            tainted: false,
        };
        fail_point!("publish.init.before");
        session.init_transactions(config.timeout, stop)?;
        fail_point!("publish.init.after");
        session.abort_hanging(config.timeout, config.stamp, stop)?;
        fail_point!("publish.settle.after");
        session.stable = session.watch.stable_progress(config.timeout)?;
        Ok(session)
    }

    fn init_transactions(&self, timeout: Duration, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let until = Instant::now() + timeout;
        let bootstrap = &self.progress.cluster.bootstrap;
        loop {
            let Err(error) = self.producer.init_transactions(CALL_TIMEOUT) else { return Ok(()) };
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable {
                let what = format!("the transactional id \"{}\"", self.transactional_id);
                return Err(match to_connector_error(error, bootstrap, &what) {
                    ConnectorError::Kafka(error) => ConnectorError::Transaction(error.to_string()),
                    other => other,
                });
            }
            if Instant::now() > until {
                let reason = self.context().last_error().unwrap_or_else(|| error.to_string());
                return Err(ConnectorError::Unreachable { bootstrap: bootstrap.clone(), reason });
            }
        }
    }

    /// Ends hanging transactions that are not committed, by aborting one that touches their partitions.
    fn abort_hanging(
        &self,
        timeout: Duration,
        stamp: Stamp,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        let hanging = self.watch.find_hanging(timeout)?;
        if hanging.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        tracing::warn!(
            partitions = hanging.len(),
            "the broker has not ended the last transaction everywhere; it is aborted"
        );
        self.producer.begin_transaction().map_err(|error| self.classify_error(error, began))?;
        for PartitionEnds { topic, partition, .. } in &hanging {
            // The header identifies this record as ours, should its transaction hang too.
            let header = Header { key: "herald.topology", value: Some(&self.progress.topology) };
            let record = BaseRecord::with_opaque_to(topic, 0)
                .partition(*partition)
                .key(self.progress.topology.as_bytes())
                .payload(&[][..])
                .timestamp(stamp.latest())
                .headers(OwnedHeaders::new_with_capacity(1).insert(header));
            self.send_record(record, began, stop)?;
        }
        self.await_deliveries(began, stop)?;
        loop {
            let Err(error) = self.producer.abort_transaction(CALL_TIMEOUT) else { break };
            if !matches!(&error, KafkaError::Transaction(error) if error.is_retriable()) {
                return Err(self.classify_error(error, began));
            }
            self.check_time_limit(began, stop)?;
        }
        match self.watch.find_hanging(timeout)?.first() {
            None => Ok(()),
            Some(PartitionEnds { topic, partition, .. }) => Err(ConnectorError::Transaction(format!(
                "a transaction on topic \"{topic}\" partition {partition} is still open: \
                 kafka-transactions.sh find-hanging finds it, and its abort ends it"
            ))),
        }
    }

    /// Returns true if a connection was lost since the last transaction began.
    pub(crate) fn lost_connection(&self) -> bool {
        self.context().saw_transport_error()
    }

    fn context(&self) -> &Context {
        self.producer.context()
    }

    /// Publishes `pieces` and `marker` in one transaction and returns the number of records. Ok means that it
    /// is committed and that the marker can be read: a broker that restarts may lose a commit which the
    /// coordinator has decided but not yet written to all partitions.
    pub(crate) fn transact(
        &mut self,
        output: &Output<'_>,
        reached: &mut Reached,
        stop: &AtomicBool,
    ) -> Result<u64, ConnectorError> {
        let (began, text) = (Instant::now(), output.marker.1);
        self.tainted = true;
        self.context().clear();
        self.producer.begin_transaction().map_err(|error| self.classify_error(error, began))?;
        fail_point!("publish.begin.after");
        let (mut records, mut firsts) = (0, FirstRecords::default());
        let (mut bytes, mut queue) = (0, MemoryShare::default());
        for piece in output.pieces {
            records += self.send_piece((piece, output), &mut firsts, began, stop)?;
            bytes += piece.chunks.iter().map(Vec::len).sum::<usize>();
            let average = bytes / (records as usize).max(1) + QUEUED_RECORD_BYTES;
            let queued = self.producer.in_flight_count().max(0) as usize;
            queue.set(MemoryPart::KafkaProducer, queued * average);
        }
        fail_point!("publish.marker.before");
        let mark = firsts.mark_record(&self.progress.topic, 0);
        let record = BaseRecord::with_opaque_to(&self.progress.topic, mark)
            .partition(0)
            .key(self.progress.topology.as_bytes())
            .payload(text.as_bytes())
            .timestamp(output.stamp.latest());
        self.send_record(record, began, stop)?;
        self.await_deliveries(began, stop)?;
        drop(queue);
        let marked = self.context().take_marked_offsets();
        let delivered = firsts.delivered_offsets(&marked);
        verify_offsets(&delivered, reached)?;
        fail_point!("publish.commit.before");
        self.commit_transaction(began, stop)?;
        fail_point!("publish.shown.before");
        self.await_marker(stop)?;
        store_offsets(&delivered, reached);
        fail_point!("publish.commit.after");
        self.tainted = self.context().saw_transport_error() || began.elapsed() > SLOW_COMMIT;
        Ok(records)
    }

    /// Aborts an open transaction if the broker answers soon: an open transaction delays readers until
    /// it times out. A delayed abort is harmless, since the next session has a later producer epoch. The
    /// client itself does not abort a commit that is under way.
    pub(crate) fn abort(&self) {
        if let Err(error) = self.producer.abort_transaction(ABORT_TIMEOUT) {
            tracing::debug!(target: "kafka", %error, "the transaction was not aborted");
        }
    }

    fn send_piece(
        &self,
        (piece, output): (&EpochOutput<'_>, &Output<'_>),
        firsts: &mut FirstRecords,
        began: Instant,
        stop: &AtomicBool,
    ) -> Result<u64, ConnectorError> {
        let (epoch, marker) = (piece.epoch.to_string(), output.marker.0);
        let cut = piece.epoch == marker.epoch && piece.chunks.len() < marker.parts as usize;
        let part = if cut { Some(marker.part.to_string()) } else { None };
        let stamp = output.stamp.for_commit(piece.commit_ms);
        let mut records = 0;
        for chunk in piece.chunks {
            for record in OutChunk::read(chunk)? {
                let record = record?;
                if output.superseded.get(record.topic).is_some_and(|upto| piece.epoch <= *upto) {
                    continue;
                }
                let mut headers = OwnedHeaders::new_with_capacity(3 + record.headers.len())
                    .insert(Header { key: "herald.topology", value: Some(&self.progress.topology) })
                    .insert(Header { key: "herald.epoch", value: Some(&epoch) });
                if let Some(part) = &part {
                    headers = headers.insert(Header { key: "herald.part", value: Some(part) });
                }
                for (key, value) in &record.headers {
                    headers = headers.insert(Header { key, value: Some(*value) });
                }
                let out = BaseRecord {
                    topic: record.topic,
                    partition: Some(record.partition),
                    payload: record.value,
                    key: record.key,
                    timestamp: Some(stamp),
                    headers: Some(headers),
                    delivery_opaque: firsts.mark_record(record.topic, record.partition),
                };
                self.send_record(out, began, stop)?;
                records += 1;
            }
        }
        Ok(records)
    }

    /// Queues a record; waits while the queue is full.
    fn send_record(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], usize>,
        began: Instant,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        loop {
            let Err((error, back)) = self.producer.send(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.classify_error(error, began));
            }
            self.check_time_limit(began, stop)?;
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }

    /// Commits within the time limit of the transaction.
    fn commit_transaction(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        self.await_deliveries(began, stop)?;
        loop {
            let Err(error) = self.producer.commit_transaction(CALL_TIMEOUT) else { return Ok(()) };
            let again = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
                _ => false,
            };
            if !again {
                return Err(self.classify_error(error, began));
            }
            self.check_time_limit(began, stop)?;
        }
    }

    /// Waits until the broker has acknowledged all records. The client's own wait polls every 100 ms only,
    /// which would add to latency.
    fn await_deliveries(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        while self.producer.in_flight_count() > 0 {
            self.check_time_limit(began, stop)?;
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Waits until the marker of the transaction just committed is visible to read_committed.
    fn await_marker(&mut self, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let until = Instant::now() + VISIBILITY_TIMEOUT;
        loop {
            let stable = self.watch.stable_progress(VISIBILITY_TIMEOUT)?;
            if stable > self.stable {
                self.stable = stable;
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            if Instant::now() > until {
                let reason = "the broker does not show what it has committed".to_string();
                return Err(ConnectorError::Transaction(reason));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns an error when the stop flag is set, or when the transaction is close to its timeout.
    fn check_time_limit(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        if stop.load(Ordering::Relaxed) {
            return Err(ConnectorError::Stopped);
        }
        if began.elapsed() < self.time_limit() {
            return Ok(());
        }
        let reason = self.context().delivery_error();
        Err(ConnectorError::Slow(reason.unwrap_or_else(|| self.context().failure_reason())))
    }

    /// Time after which a transaction is given up: nine tenths of its timeout.
    fn time_limit(&self) -> Duration {
        self.transaction_timeout * 9 / 10
    }

    /// Maps an error of the client: a fencing is final, any other error is retried with a new session.
    fn classify_error(&self, error: KafkaError, began: Instant) -> ConnectorError {
        let fenced = is_fenced(self.producer.client(), &error);
        // The coordinator also fences a producer whose transaction it has timed out. Such an error is
        // retried: reopening finds a real successor by its marker.
        if fenced && began.elapsed() < self.time_limit() {
            return ConnectorError::Fenced { transactional_id: self.transactional_id.clone() };
        }
        if self.context().timestamp_refused() {
            return ConnectorError::Untimely(self.context().delivery_error().unwrap_or_default());
        }
        // A record that is not delivered in time fails the transaction before its own timeout.
        if self.context().timed_out() {
            return ConnectorError::Slow(self.context().delivery_error().unwrap_or_default());
        }
        let note = self.context().delivery_note();
        match to_connector_error(error, &self.progress.cluster.bootstrap, "the output") {
            refused @ ConnectorError::Refused { .. } => refused,
            ConnectorError::Kafka(error) => ConnectorError::Transaction(format!("{error}{note}")),
            other => ConnectorError::Transaction(format!("{other}{note}")),
        }
    }
}
