//! One transactional producer, from its opening to its first blemish.
//!
//! Opening fences the producer before it and settles that one's transaction. A session that saw a
//! transaction error, a transport error or a slow commit is not used again: a delayed EndTxn of a
//! retried commit could settle a later transaction, for librdkafka lacks KIP-890. Its owner drops
//! it, opens another and reads the marker to learn what became of the transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fail::fail_point;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use schemas::OutChunk;

use super::EpochOutput;
use super::progress::{Marker, Progress};
use super::reached::{Firsts, Reached, judge_places, keep_places};
use super::stamps::Stamp;
use super::unsettled::{Ends, Watch};
use crate::ConnectorError;
use crate::kafka::client::{Context, meaning};

/// How long a call into the client may take before the stop flag is looked at.
const SLICE: Duration = Duration::from_millis(250);
/// How often deliveries are looked at before a commit.
const LOOK: Duration = Duration::from_micros(500);
/// How long giving up a transaction may take.
const ABORT: Duration = Duration::from_secs(1);
/// How long the broker may take to show what it has committed.
const SHOWN: Duration = Duration::from_secs(10);
/// A commit that took longer may have been retried.
const SLOW_COMMIT: Duration = Duration::from_secs(10);

/// A producer with its transactional id to itself.
pub(crate) struct Session {
    producer: ThreadedProducer<Context>,
    progress: Progress,
    transactional_id: String,
    transaction_timeout: Duration,
    watch: Watch,
    /// Where the progress topic ended for read_committed after the last transaction.
    stable: i64,
    /// Set once something happened after which no further transaction is begun here.
    pub(crate) blemished: bool,
}

/// What a session is opened with.
pub(crate) struct SessionConfig<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) transactional_id: &'a str,
    pub(crate) max_batch_bytes: Option<i64>,
    /// Times that records are given while the session is opened.
    pub(crate) stamp: Stamp,
    pub(crate) timeout: Duration,
}

/// One transaction to make.
pub(crate) struct Output<'a> {
    pub(crate) pieces: &'a [EpochOutput<'a>],
    /// The marker that ends it, and its text.
    pub(crate) marker: (&'a Marker, &'a str),
    /// Topics of which nothing is sent up to an epoch, for a later one sends all of it again.
    pub(crate) superseded: &'a BTreeMap<String, u64>,
    pub(crate) stamp: Stamp,
}

impl Session {
    /// Creates the producer, takes over the transactional id, and ends what the broker left open.
    pub(crate) fn open(
        config: &SessionConfig<'_>,
        watch: Watch,
        stop: &AtomicBool,
    ) -> Result<Session, ConnectorError> {
        let cluster = &config.progress.cluster;
        let bootstrap = &cluster.bootstrap;
        let transaction_ms = cluster.number("transaction.timeout.ms").unwrap_or(60_000);
        let mut native = cluster.config();
        native.set("transactional.id", config.transactional_id);
        native.set("transaction.timeout.ms", transaction_ms.to_string());
        // A record must have failed before its transaction does, else the reason is lost.
        let message_ms = (transaction_ms * 5 / 6).to_string();
        cluster.default(&mut native, "message.timeout.ms", &message_ms);
        // Limits are the topics' own, checked before the commit; batches must stay below them.
        cluster.default(&mut native, "message.max.bytes", "1000000000");
        let batch = config.max_batch_bytes.unwrap_or(i64::MAX).saturating_sub(2048);
        cluster.default(&mut native, "batch.size", &batch.clamp(1024, 1_000_000).to_string());
        cluster.default(&mut native, "linger.ms", "2");
        cluster.default(&mut native, "compression.type", "lz4");
        cluster.default(&mut native, "queue.buffering.max.messages", "1000000");
        cluster.default(&mut native, "queue.buffering.max.kbytes", "262144");
        // A sink's topic that is gone is not made by the way, and is not waited for: it was there at the start.
        native.set("allow.auto.create.topics", "false");
        cluster.default(&mut native, "topic.metadata.propagation.max.ms", "5000");
        let producer: ThreadedProducer<Context> = native
            .create_with_context(Context::default())
            .map_err(|error| meaning(error, bootstrap, "the options"))?;
        let mut session = Session {
            watch,
            stable: 0,
            producer,
            progress: config.progress.clone(),
            transactional_id: config.transactional_id.to_string(),
            transaction_timeout: Duration::from_millis(transaction_ms),
            blemished: false,
        };
        fail_point!("publish.init.before");
        session.init(config.timeout, stop)?;
        fail_point!("publish.init.after");
        session.settle(config.timeout, config.stamp, stop)?;
        fail_point!("publish.settle.after");
        session.stable = session.watch.stable_progress(config.timeout)?;
        Ok(session)
    }

    fn init(&self, timeout: Duration, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let until = Instant::now() + timeout;
        let bootstrap = &self.progress.cluster.bootstrap;
        loop {
            let Err(error) = self.producer.init_transactions(SLICE) else { return Ok(()) };
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable {
                let what = format!("the transactional id \"{}\"", self.transactional_id);
                return Err(match meaning(error, bootstrap, &what) {
                    ConnectorError::Kafka(error) => ConnectorError::Transaction(error.to_string()),
                    other => other,
                });
            }
            if Instant::now() > until {
                let reason = self.context().trouble().unwrap_or_else(|| error.to_string());
                return Err(ConnectorError::Unreachable { bootstrap: bootstrap.clone(), reason });
            }
        }
    }

    /// Ends what hangs of transactions that do not count.
    fn settle(&self, timeout: Duration, stamp: Stamp, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let hanging = self.watch.hanging(timeout)?;
        if hanging.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        tracing::warn!(
            partitions = hanging.len(),
            "the broker has not ended the last transaction everywhere; it is aborted"
        );
        self.producer.begin_transaction().map_err(|error| self.failed(error, began))?;
        for Ends { topic, partition, .. } in &hanging {
            // Should this one hang, too, it is known by its header.
            let header = Header { key: "herald.topology", value: Some(&self.progress.topology) };
            let record = BaseRecord::with_opaque_to(topic, 0)
                .partition(*partition)
                .key(self.progress.topology.as_bytes())
                .payload(&[][..])
                .timestamp(stamp.now())
                .headers(OwnedHeaders::new_with_capacity(1).insert(header));
            self.send(record, began, stop)?;
        }
        self.delivered(began, stop)?;
        loop {
            let Err(error) = self.producer.abort_transaction(SLICE) else { break };
            if !matches!(&error, KafkaError::Transaction(error) if error.is_retriable()) {
                return Err(self.failed(error, began));
            }
            self.may_go_on(began, stop)?;
        }
        match self.watch.hanging(timeout)?.first() {
            None => Ok(()),
            Some(Ends { topic, partition, .. }) => Err(ConnectorError::Transaction(format!(
                "a transaction on topic \"{topic}\" partition {partition} is still open: \
                 kafka-transactions.sh find-hanging finds it, and its abort ends it"
            ))),
        }
    }

    /// Whether a connection was lost since the last transaction began.
    pub(crate) fn lost_connection(&self) -> bool {
        self.context().saw_transport_error()
    }

    fn context(&self) -> &Context {
        self.producer.context()
    }

    /// Publishes `pieces` and `marker` in one transaction. Ok means committed, and that the marker is there
    /// to be read: what the coordinator has decided and not yet written is lost to a broker that forgets it.
    pub(crate) fn transact(
        &mut self,
        output: &Output<'_>,
        reached: &mut Reached,
        stop: &AtomicBool,
    ) -> Result<u64, ConnectorError> {
        let (began, text) = (Instant::now(), output.marker.1);
        self.blemished = true;
        self.context().clear();
        self.producer.begin_transaction().map_err(|error| self.failed(error, began))?;
        fail_point!("publish.begin.after");
        let (mut records, mut firsts) = (0, Firsts::default());
        for piece in output.pieces {
            records += self.send_piece((piece, output), &mut firsts, began, stop)?;
        }
        fail_point!("publish.marker.before");
        let mark = firsts.mark(&self.progress.topic, 0);
        let record = BaseRecord::with_opaque_to(&self.progress.topic, mark)
            .partition(0)
            .key(self.progress.topology.as_bytes())
            .payload(text.as_bytes())
            .timestamp(output.stamp.now());
        self.send(record, began, stop)?;
        self.delivered(began, stop)?;
        let put = self.context().take_firsts();
        let places = firsts.places(&put);
        judge_places(&places, reached)?;
        fail_point!("publish.commit.before");
        self.commit(began, stop)?;
        fail_point!("publish.shown.before");
        self.shown(stop)?;
        keep_places(&places, reached);
        fail_point!("publish.commit.after");
        self.blemished = self.context().saw_transport_error() || began.elapsed() > SLOW_COMMIT;
        Ok(records)
    }

    /// Aborts what is open, as far as the broker answers soon: an open transaction holds readers up
    /// until it times out. A delayed abort harms nothing, for whoever comes next is of a later
    /// producer epoch. A commit that is under way is left alone by the client itself.
    pub(crate) fn abort(&self) {
        if let Err(error) = self.producer.abort_transaction(ABORT) {
            tracing::debug!(target: "kafka", %error, "the transaction was not aborted");
        }
    }

    fn send_piece(
        &self,
        (piece, output): (&EpochOutput<'_>, &Output<'_>),
        firsts: &mut Firsts,
        began: Instant,
        stop: &AtomicBool,
    ) -> Result<u64, ConnectorError> {
        let (epoch, marker) = (piece.epoch.to_string(), output.marker.0);
        let cut = piece.epoch == marker.epoch && piece.chunks.len() < marker.parts as usize;
        let part = cut.then(|| marker.part.to_string());
        let stamp = output.stamp.of(piece.commit_ms);
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
                    delivery_opaque: firsts.mark(record.topic, record.partition),
                };
                self.send(out, began, stop)?;
                records += 1;
            }
        }
        Ok(records)
    }

    /// Queues a record; waits while the queue is full.
    fn send(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], usize>,
        began: Instant,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        loop {
            let Err((error, back)) = self.producer.send(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.failed(error, began));
            }
            self.may_go_on(began, stop)?;
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }

    /// Commits, however long the broker takes, within the transaction's own time limit.
    fn commit(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        self.delivered(began, stop)?;
        loop {
            let Err(error) = self.producer.commit_transaction(SLICE) else { return Ok(()) };
            let again = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
                _ => false,
            };
            if !again {
                return Err(self.failed(error, began));
            }
            self.may_go_on(began, stop)?;
        }
    }

    /// Waits until the broker has all records. The client's own wait looks every 100 ms only, which would
    /// bound latency.
    fn delivered(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        while self.producer.in_flight_count() > 0 {
            self.may_go_on(began, stop)?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the marker of the transaction just committed can be read.
    fn shown(&mut self, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let until = Instant::now() + SHOWN;
        loop {
            let stable = self.watch.stable_progress(SHOWN)?;
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
            std::thread::sleep(LOOK);
        }
    }

    /// Refuses to wait longer when asked to stop, or when the transaction is close to its end.
    fn may_go_on(&self, began: Instant, stop: &AtomicBool) -> Result<(), ConnectorError> {
        if stop.load(Ordering::Relaxed) {
            return Err(ConnectorError::Stopped);
        }
        if began.elapsed() < self.patience() {
            return Ok(());
        }
        let reason = self.context().undelivered().or_else(|| self.context().trouble());
        let reason = reason.unwrap_or_else(|| "the broker does not answer".to_string());
        Err(ConnectorError::Slow(reason))
    }

    fn patience(&self) -> Duration {
        self.transaction_timeout * 9 / 10
    }

    /// Tells a fencing, which is final, from a blemish, which is mended by opening anew.
    fn failed(&self, error: KafkaError, began: Instant) -> ConnectorError {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let fences = [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch];
        let fenced =
            [fatal, error.rdkafka_error_code()].into_iter().flatten().any(|code| fences.contains(&code));
        // The coordinator fences a producer, too, whose transaction it has timed out itself. Who it
        // was is found out by looking at the marker before opening anew.
        if fenced && began.elapsed() < self.patience() {
            return ConnectorError::Fenced { transactional_id: self.transactional_id.clone() };
        }
        if self.context().untimely() {
            return ConnectorError::Untimely(self.context().undelivered().unwrap_or_default());
        }
        // The first record that is not delivered in time fails the transaction before its own time is over.
        if self.context().timed_out() {
            return ConnectorError::Slow(self.context().undelivered().unwrap_or_default());
        }
        let reason = self.context().undelivered().map(|why| format!(" ({why})"));
        match meaning(error, &self.progress.cluster.bootstrap, "the output") {
            refused @ ConnectorError::Refused { .. } => refused,
            ConnectorError::Kafka(error) => {
                ConnectorError::Transaction(format!("{error}{}", reason.unwrap_or_default()))
            }
            other => ConnectorError::Transaction(format!("{other}{}", reason.unwrap_or_default())),
        }
    }
}
