//! The transactional producer of a replay, from its takeover of the transactional id to its first error.
//!
//! After an error it is not used again, nor after a connection failed or a commit was slow: a delayed end of
//! a retried commit could end a later transaction, since librdkafka lacks KIP-890. The next attempt opens
//! another.

use std::time::{Duration, Instant};

use fail::fail_point;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::ReplayConfig;
use super::selection::{Admitted, Marker, MarkerKind, marker_headers, marker_name, record_place};
use crate::clock::now_ms;
use crate::kafka::client::{
    Context, MARKER_HEADER, REPLAY_HEADER, create_client, is_fenced, to_connector_error,
};
use crate::{ConnectorError, DeadLetter};

/// Duration from which a commit may have been retried.
const SLOW_COMMIT: Duration = Duration::from_secs(10);
/// Timeout of aborting a transaction.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval at which deliveries are polled before a commit.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Queues what belongs to an item of a transaction.
type SendItem<T> = fn(&Sender, &T) -> Result<(), KafkaError>;

/// A producer that owns the transactional id of a dead-letter topic's replays.
pub(super) struct Sender {
    producer: ThreadedProducer<Context>,
    bootstrap: String,
    dead_letter_topic: String,
    transactional_id: String,
    /// Time after which a transaction is given up: nine tenths of its timeout.
    time_limit: Duration,
    /// Set during a transaction, and left set by an error: no further transaction may begin here.
    tainted: bool,
}

impl Sender {
    /// Takes over the transactional id, which fences another replay and ends its transaction.
    pub(super) fn open(config: &ReplayConfig, max_batch_bytes: i64) -> Result<Sender, ConnectorError> {
        let (cluster, topic) = (&config.cluster, &config.dead_letter_topic);
        let transactional_id = format!("herald.replay.{topic}");
        let native = cluster.transactional_config(&transactional_id, max_batch_bytes);
        let producer: ThreadedProducer<Context> = create_client(&native, &cluster.bootstrap)?;
        let sender = Sender {
            producer,
            bootstrap: cluster.bootstrap.clone(),
            dead_letter_topic: topic.clone(),
            transactional_id,
            time_limit: cluster.transaction_timeout() * 9 / 10,
            tainted: false,
        };
        sender.take_over(config.timeout)?;
        Ok(sender)
    }

    fn take_over(&self, timeout: Duration) -> Result<(), ConnectorError> {
        let Err(error) = self.producer.init_transactions(timeout) else { return Ok(()) };
        if matches!(&error, KafkaError::Transaction(error) if error.is_retriable()) {
            let reason = self.producer.context().last_error().unwrap_or_else(|| error.to_string());
            return Err(ConnectorError::Unreachable { bootstrap: self.bootstrap.clone(), reason });
        }
        let what = format!("the transactional id \"{}\"", self.transactional_id);
        Err(match to_connector_error(error, &self.bootstrap, &what) {
            ConnectorError::Kafka(error) => ConnectorError::Transaction(error.to_string()),
            other => other,
        })
    }

    /// Sends the records and their markers in one transaction. Ok means that it is committed; after an error
    /// the markers tell.
    pub(super) fn transact(&mut self, records: &[Admitted]) -> Result<(), ConnectorError> {
        match self.commit(records, Sender::send_pair) {
            Err(error) => Err(self.untimely_error(records).unwrap_or(error)),
            committed => committed,
        }
    }

    /// Takes markers back in one transaction: their records are sent again. Ok means that it is committed.
    pub(super) fn recall(&mut self, markers: &[Marker]) -> Result<(), ConnectorError> {
        self.commit(markers, Sender::send_recall)
    }

    /// Sends what belongs to each item in one transaction.
    fn commit<T>(&mut self, items: &[T], send: SendItem<T>) -> Result<(), ConnectorError> {
        let began = self.begin()?;
        if let Err(error) = self.try_transaction(items, send, began) {
            // An open transaction would delay readers of the topics until its timeout.
            if let Err(error) = self.producer.abort_transaction(ABORT_TIMEOUT) {
                tracing::debug!(target: "kafka", %error, "the transaction was not aborted");
            }
            return Err(error);
        }
        self.tainted = self.producer.context().saw_transport_error() || began.elapsed() > SLOW_COMMIT;
        Ok(())
    }

    /// Notes that a transaction begins, and when.
    fn begin(&mut self) -> Result<Instant, ConnectorError> {
        if self.tainted {
            let reason = "the connection failed, or the broker was slow, during the last one";
            return Err(ConnectorError::Transaction(reason.to_string()));
        }
        self.tainted = true;
        self.producer.context().clear();
        Ok(Instant::now())
    }

    /// Ends the transactions of this producer that hang in the partitions of these records, by one that sends the
    /// records there again and is aborted.
    pub(super) fn abort_hanging(&mut self, records: &[OwnedMessage]) -> Result<(), ConnectorError> {
        let began = self.begin()?;
        let sent = self.try_copies(records, began);
        let left = self.time_limit.saturating_sub(began.elapsed()).max(ABORT_TIMEOUT);
        let aborted = self.producer.abort_transaction(left);
        sent?;
        aborted.map_err(|error| self.classify_error(error, began))?;
        self.tainted = self.producer.context().saw_transport_error() || began.elapsed() > SLOW_COMMIT;
        Ok(())
    }

    fn try_copies(&self, records: &[OwnedMessage], began: Instant) -> Result<(), ConnectorError> {
        let failed = |error| self.classify_error(error, began);
        self.producer.begin_transaction().map_err(failed)?;
        for record in records {
            let copy: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
                topic: record.topic(),
                partition: Some(record.partition()),
                payload: record.payload(),
                key: record.key(),
                timestamp: record.timestamp().to_millis(),
                headers: record.headers().cloned(),
                delivery_opaque: 0,
            };
            self.producer.send(copy).map_err(|(error, _)| failed(error))?;
        }
        self.await_deliveries(began)
    }

    /// Waits until the broker has acknowledged all records.
    fn await_deliveries(&self, began: Instant) -> Result<(), ConnectorError> {
        while self.producer.in_flight_count() > 0 {
            if began.elapsed() > self.time_limit {
                return Err(ConnectorError::Slow(self.producer.context().failure_reason()));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn try_transaction<T>(
        &self,
        items: &[T],
        send: SendItem<T>,
        began: Instant,
    ) -> Result<(), ConnectorError> {
        let failed = |error| self.classify_error(error, began);
        self.producer.begin_transaction().map_err(failed)?;
        for item in items {
            send(self, item).map_err(failed)?;
        }
        self.await_deliveries(began)?;
        fail_point!("replay.commit.before");
        let left = self.time_limit.saturating_sub(began.elapsed()).max(POLL_INTERVAL);
        self.producer.commit_transaction(left).map_err(failed)?;
        fail_point!("replay.commit.after");
        Ok(())
    }

    /// Queues a record as it was, and its marker behind its dead letter.
    fn send_pair(&self, record: &Admitted) -> Result<(), KafkaError> {
        let (letter, place) = (&record.letter, record_place(&record.letter));
        let again: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: &letter.topic,
            partition: Some(letter.partition),
            payload: letter.value.as_deref(),
            key: letter.key.as_deref(),
            // 0 means now to the client.
            timestamp: letter.timestamp.map(|at| at.max(1)),
            headers: Some(sent_headers(letter, &place, &marker_name(&self.dead_letter_topic, record.id))),
            delivery_opaque: 0,
        };
        self.producer.send(again).map_err(|(error, _)| error)?;
        let marker = Marker { partition: record.partition, place: place.into_bytes(), id: record.id };
        self.send_marker(MarkerKind::Replayed, &marker)
    }

    /// Queues the marker that takes another one back, behind it.
    fn send_recall(&self, marker: &Marker) -> Result<(), KafkaError> {
        self.send_marker(MarkerKind::Recalled, marker)
    }

    fn send_marker(&self, kind: MarkerKind, marker: &Marker) -> Result<(), KafkaError> {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &marker_headers(kind, marker.id, now_ms()) {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: &self.dead_letter_topic,
            partition: Some(marker.partition),
            payload: None,
            key: Some(marker.place.as_slice()),
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: 0,
        };
        self.producer.send(record).map_err(|(error, _)| error)
    }

    /// The error for timestamps that the broker refuses, if it has refused one.
    fn untimely_error(&self, records: &[Admitted]) -> Option<ConnectorError> {
        let context = self.producer.context();
        if !context.timestamp_refused() {
            return None;
        }
        let first = records.first()?;
        Some(ConnectorError::Topic {
            topic: first.letter.topic.clone(),
            message: format!(
                "takes no records with the timestamps that these had ({}): lengthen its message.timestamp.before.max.ms until they are replayed",
                context.delivery_error().unwrap_or_default()
            ),
        })
    }

    /// Maps an error of the client: a fencing and a refusal are final, any other error is tried again.
    fn classify_error(&self, error: KafkaError, began: Instant) -> ConnectorError {
        let fenced = is_fenced(self.producer.client(), &error);
        // The coordinator also fences a producer whose transaction it has timed out.
        if fenced && began.elapsed() < self.time_limit {
            return ConnectorError::Fenced { transactional_id: self.transactional_id.clone() };
        }
        let note = self.producer.context().delivery_note();
        match to_connector_error(error, &self.bootstrap, "a record that is replayed") {
            refused @ ConnectorError::Refused { .. } => refused,
            ConnectorError::Kafka(error) => ConnectorError::Transaction(format!("{error}{note}")),
            other => ConnectorError::Transaction(format!("{other}{note}")),
        }
    }
}

/// Headers of a record that is sent: its own, and the place of the rejected one and the name of its marker instead of
/// those of an earlier replay.
fn sent_headers(letter: &DeadLetter, place: &str, marker: &str) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.list.len() + 2);
    for (name, value) in &letter.headers.list {
        if name != REPLAY_HEADER && name != MARKER_HEADER {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
    }
    let headers = headers.insert(Header { key: REPLAY_HEADER, value: Some(place) });
    headers.insert(Header { key: MARKER_HEADER, value: Some(marker) })
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;
    use schemas::Outcome;

    use super::*;
    use crate::dead_letter::KeptHeaders;

    #[test]
    fn a_record_is_sent_with_its_headers_and_one_place() {
        let list = vec![
            ("trace".to_owned(), Some(vec![255])),
            ("herald.replay".to_owned(), Some(b"orders/0/1".to_vec())),
            ("herald.replay.marker".to_owned(), Some(b"other/1f".to_vec())),
            ("nothing".to_owned(), None),
        ];
        let letter = DeadLetter {
            topic: "orders".into(),
            partition: 0,
            offset: 7,
            timestamp: None,
            source: "orders".into(),
            outcome: Outcome::Late,
            constraint: None,
            message: "late".into(),
            schema_id: None,
            key: None,
            value: None,
            headers: KeptHeaders { list, left_out: 0 },
        };
        let sent = sent_headers(&letter, &record_place(&letter), "rejected/2a");
        let sent: Vec<(&str, Option<&[u8]>)> = sent.iter().map(|header| (header.key, header.value)).collect();
        let expected: [(&str, Option<&[u8]>); 4] = [
            ("trace", Some(b"\xff")),
            ("nothing", None),
            ("herald.replay", Some(b"orders/0/7")),
            ("herald.replay.marker", Some(b"rejected/2a")),
        ];
        assert_eq!(sent, expected);
    }
}
