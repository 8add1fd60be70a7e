//! A plain producer: for demos, tests, benches and others that feed a topic.
//!
//! Not transactional: its records are input, and sources expect input to be repeated.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::client::{Context, create_client, to_connector_error};
use super::options::KafkaCluster;
use crate::ConnectorError;

/// Sends records to topics of one cluster.
pub struct Feed {
    producer: ThreadedProducer<Context>,
    bootstrap: String,
}

impl Feed {
    /// A producer for `cluster`.
    pub fn open(cluster: &KafkaCluster) -> Result<Feed, ConnectorError> {
        let mut config = cluster.client_config();
        cluster.set_default(&mut config, "compression.type", "lz4");
        cluster.set_default(&mut config, "queue.buffering.max.messages", "1000000");
        let producer = create_client(&config, &cluster.bootstrap)?;
        Ok(Feed { producer, bootstrap: cluster.bootstrap.clone() })
    }

    /// Queues a record; waits while the queue is full.
    pub fn send(
        &self,
        to: (&str, i32),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Option<i64>,
    ) -> Result<(), ConnectorError> {
        let mut record = BaseRecord {
            topic: to.0,
            partition: Some(to.1),
            payload: value,
            key,
            timestamp,
            headers: None,
            delivery_opaque: 0,
        };
        loop {
            let Err((error, back)) = self.producer.send::<[u8], [u8]>(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(to_connector_error(error, &self.bootstrap, "a record"));
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }

    /// Waits until all records have arrived; an error when one did not.
    pub fn flush(&self, timeout: Duration) -> Result<(), ConnectorError> {
        let until = Instant::now() + timeout;
        let flushed = self.producer.flush(until.saturating_duration_since(Instant::now()));
        flushed.map_err(|error| to_connector_error(error, &self.bootstrap, "records"))?;
        match self.producer.context().delivery_error() {
            Some(reason) => {
                let (bootstrap, what) = (self.bootstrap.clone(), "a record".to_string());
                Err(ConnectorError::Refused { bootstrap, what, reason })
            }
            None => Ok(()),
        }
    }
}
