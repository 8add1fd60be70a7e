//! A Kafka in this process, for the demo and for tests: librdkafka's mock.
//!
//! It speaks the protocol on a local port, so clients need no special case. It hides nothing from
//! read_committed readers, keeps at most 5 MiB a partition and has no admin calls: it serves demos and
//! injected errors, and cannot show that a sink is exactly-once.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::ConnectorError;
use crate::kafka::KafkaCluster;

/// A mock cluster; it ends with this value.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockKafka {
    /// One broker.
    pub fn start() -> Result<MockKafka, ConnectorError> {
        Ok(MockKafka { cluster: MockCluster::new(1)? })
    }

    /// Its bootstrap servers.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// The cluster, for clients of this crate.
    pub fn cluster(&self) -> KafkaCluster {
        KafkaCluster::new(&self.bootstrap())
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), ConnectorError> {
        Ok(self.cluster.create_topic(topic, partitions, 1)?)
    }

    /// Takes the broker away, as an outage does, or brings it back.
    pub fn set_up(&self, up: bool) -> Result<(), ConnectorError> {
        let done = if up { self.cluster.broker_up(-1) } else { self.cluster.broker_down(-1) };
        Ok(done?)
    }

    /// The mock itself, to inject errors.
    pub fn inner(&self) -> &MockCluster<'static, DefaultProducerContext> {
        &self.cluster
    }
}
