//! Clusters and sources as given by the options.
//!
//! `bootstrap.server` and `bootstrap.servers` mean the same. Every other `properties.NAME` goes to
//! librdkafka unchanged, and is tried at once, so that `check` finds a mistyped name without a
//! network. Options that the exactly-once protocol depends on are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::client::to_connector_error;
use crate::options::{Options, redacted};
use crate::{ConnectorError, LastRecord, ReadRange};

/// Options that Herald sets itself, and the reasons why users must not.
const RESERVED_OPTIONS: [(&str, &str); 10] = [
    ("transactional.id", "follows from the topology's name (--name)"),
    ("enable.idempotence", "is always on: the sinks are exactly-once"),
    ("acks", "is always all: the sinks are exactly-once"),
    ("request.required.acks", "is always all: the sinks are exactly-once"),
    ("enable.auto.commit", "is always off: offsets live in the state"),
    ("enable.auto.offset.store", "is always off: offsets live in the state"),
    ("enable.partition.eof", "is always on"),
    ("auto.offset.reset", "does not apply: use scan.startup.mode"),
    ("group.instance.id", "does not apply: partitions are assigned, not balanced"),
    ("partitioner", "does not apply: keys are partitioned as Java clients do"),
];

/// A Kafka cluster and the options of its clients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KafkaCluster {
    /// Bootstrap servers, which are also the cluster's identity.
    pub bootstrap: String,
    /// librdkafka options.
    pub properties: BTreeMap<String, String>,
}

impl KafkaCluster {
    /// The cluster at `bootstrap`, without further options.
    pub fn new(bootstrap: &str) -> KafkaCluster {
        KafkaCluster { bootstrap: bootstrap.to_string(), properties: BTreeMap::new() }
    }

    /// Takes `properties.*` from the options of a source or sink.
    pub fn take_from(options: &mut Options<'_>) -> Result<KafkaCluster, ConnectorError> {
        let mut properties = options.prefixed("properties.");
        let plural = properties.remove("bootstrap.servers");
        let Some(bootstrap) = properties.remove("bootstrap.server").or(plural) else {
            let message = "is required: the brokers' addresses, as in 'localhost:9092'";
            return Err(ConnectorError::config("properties.bootstrap.server", message));
        };
        let servers = bootstrap.split(',').map(str::trim).filter(|s| !s.is_empty());
        let bootstrap = servers.collect::<Vec<_>>().join(",");
        if bootstrap.is_empty() {
            let message = "must not be empty";
            return Err(ConnectorError::config("properties.bootstrap.server", message));
        }
        for (name, why) in RESERVED_OPTIONS {
            if properties.contains_key(name) {
                return Err(ConnectorError::config(&format!("properties.{name}"), why));
            }
        }
        let cluster = KafkaCluster { bootstrap, properties };
        let tried = cluster.client_config().create_native_config();
        tried.map_err(|error| to_connector_error(error, &cluster.bootstrap, "the options"))?;
        Ok(cluster)
    }

    /// Identity of the cluster: clusters with equal identities are the same.
    pub fn identity(&self) -> &str {
        &self.bootstrap
    }

    /// Configuration that every client of this cluster starts from.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "herald");
        // Reconnects are frequent while a broker restarts, and slow ones delay every recovery.
        config.set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Warning);
        config
    }

    /// Configuration of a consumer without stored offsets: partitions and offsets are always assigned.
    pub(crate) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.client_config();
        if !self.properties.contains_key("group.id") {
            config.set("group.id", group);
        }
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "error");
        // At the default of one second a full queue would starve the reader.
        self.set_default(&mut config, "fetch.queue.backoff.ms", "10");
        self.set_default(&mut config, "isolation.level", "read_committed");
        config
    }

    /// Configuration of a transactional producer. `max_batch_bytes` is the least `max.message.bytes` of the
    /// topics that it writes to: batches stay below it.
    pub(crate) fn transactional_config(&self, transactional_id: &str, max_batch_bytes: i64) -> ClientConfig {
        let transaction_ms = self.transaction_timeout().as_millis();
        let mut config = self.client_config();
        config.set("transactional.id", transactional_id);
        config.set("transaction.timeout.ms", transaction_ms.to_string());
        // A record must time out before its transaction does, else the reason is lost.
        self.set_default(&mut config, "message.timeout.ms", &(transaction_ms * 5 / 6).to_string());
        // The topics have their own limits, which the broker checks; batches must stay below them.
        self.set_default(&mut config, "message.max.bytes", "1000000000");
        let batch = max_batch_bytes.saturating_sub(2048).clamp(1024, 1_000_000);
        self.set_default(&mut config, "batch.size", &batch.to_string());
        self.set_default(&mut config, "linger.ms", "2");
        self.set_default(&mut config, "compression.type", "lz4");
        self.set_default(&mut config, "queue.buffering.max.messages", "1000000");
        self.set_default(&mut config, "queue.buffering.max.kbytes", "262144");
        // A deleted topic must fail soon: it is neither created implicitly nor waited for.
        config.set("allow.auto.create.topics", "false");
        self.set_default(&mut config, "topic.metadata.propagation.max.ms", "5000");
        config
    }

    /// Time after which the broker aborts a transaction.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.number_option("transaction.timeout.ms").unwrap_or(60_000))
    }

    pub(crate) fn set_default(&self, config: &mut ClientConfig, name: &str, value: &str) {
        if !self.properties.contains_key(name) {
            config.set(name, value);
        }
    }

    /// An option as a number, if it is given as one.
    pub(crate) fn number_option(&self, name: &str) -> Option<u64> {
        self.properties.get(name).and_then(|value| value.trim().parse().ok())
    }
}

impl fmt::Debug for KafkaCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties = redacted(&self.properties);
        f.debug_struct("KafkaCluster")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &properties)
            .finish()
    }
}

impl fmt::Display for KafkaCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bootstrap)
    }
}

/// Start of reading in partitions that the state does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// At the first record held.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// At the first record with this timestamp or a later one, milliseconds since 1970.
    Timestamp(i64),
}

/// A topic to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSource {
    /// The cluster.
    pub cluster: KafkaCluster,
    /// Its name.
    pub topic: String,
    /// Start of reading at the first run.
    pub startup: Startup,
    /// Group that offsets are committed for, for lag tools; None for `herald-` and the source's name.
    /// `properties.group.id` overrides it.
    pub group: Option<String>,
    /// Time that opening waits for the broker.
    pub open_timeout: Duration,
    /// True if reading goes on at the topic's start when records before it are gone.
    pub skip_lost: bool,
    /// The last records that the state has read, by partition: a topic with others at their offsets was
    /// created again.
    pub last: BTreeMap<i32, LastRecord>,
    /// Range to read, and no more, for a backfill.
    pub range: Option<ReadRange>,
}

impl KafkaSource {
    /// The whole of a topic.
    pub fn new(cluster: KafkaCluster, topic: &str) -> KafkaSource {
        KafkaSource {
            cluster,
            topic: topic.to_string(),
            startup: Startup::Earliest,
            group: None,
            open_timeout: Duration::from_secs(10),
            skip_lost: false,
            last: BTreeMap::new(),
            range: None,
        }
    }

    /// Reads the options of a source.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<KafkaSource, ConnectorError> {
        let mut options = Options::new(values);
        options.text("connector");
        let topic = options.required("topic")?;
        let cluster = KafkaCluster::take_from(&mut options)?;
        let at = options.parse("scan.startup.timestamp.millis", "milliseconds since 1970")?;
        let startup = match (options.text("scan.startup.mode"), at) {
            (None | Some("timestamp"), Some(at)) => Startup::Timestamp(at),
            (None | Some("earliest"), None) => Startup::Earliest,
            (Some("latest"), None) => Startup::Latest,
            (Some("timestamp"), None) => {
                let message = "is required with scan.startup.mode = 'timestamp'";
                return Err(ConnectorError::config("scan.startup.timestamp.millis", message));
            }
            (Some(mode @ ("earliest" | "latest")), Some(_)) => {
                let message = format!("'{mode}' and scan.startup.timestamp.millis exclude each other");
                return Err(ConnectorError::config("scan.startup.mode", message));
            }
            (Some(mode), _) => {
                let message = format!("must be 'earliest', 'latest' or 'timestamp', not '{mode}'");
                return Err(ConnectorError::config("scan.startup.mode", message));
            }
        };
        options.finish()?;
        Ok(KafkaSource { startup, ..KafkaSource::new(cluster, topic) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> Result<KafkaSource, ConnectorError> {
        let pairs = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        KafkaSource::from_options(&pairs.collect())
    }

    const BASE: [(&str, &str); 3] =
        [("connector", "kafka"), ("topic", "t"), ("properties.bootstrap.server", "a:1, b:2")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        BASE.iter().chain(more).copied().collect()
    }

    #[test]
    fn options_pass_through() {
        let source = source(&with(&[("properties.fetch.min.bytes", "10")])).unwrap();
        assert_eq!((source.cluster.identity(), source.startup), ("a:1,b:2", Startup::Earliest));
        assert_eq!(source.cluster.consumer_config("g").get("fetch.min.bytes"), Some("10"));
        assert_eq!(source.cluster.consumer_config("g").get("group.id"), Some("g"));
    }

    #[test]
    fn start_is_earliest_latest_or_a_time() {
        let at = |more: &[(&str, &str)]| source(&with(more)).map(|source| source.startup);
        assert_eq!(at(&[("scan.startup.mode", "latest")]).unwrap(), Startup::Latest);
        assert_eq!(at(&[("scan.startup.timestamp.millis", "5")]).unwrap(), Startup::Timestamp(5));
        assert!(at(&[("scan.startup.mode", "newest")]).unwrap_err().to_string().contains("'newest'"));
        assert!(at(&[("scan.startup.mode", "latest"), ("scan.startup.timestamp.millis", "5")]).is_err());
    }

    #[test]
    fn mistakes_are_found_without_a_network() {
        let error = |more: &[(&str, &str)]| source(&with(more)).unwrap_err().to_string();
        assert!(
            error(&[("properties.fetch.min.bites", "1")]).starts_with("option properties.fetch.min.bites:")
        );
        assert!(error(&[("properties.enable.auto.commit", "true")]).contains("offsets live in the state"));
        assert!(error(&[("scan.startup.mod", "x")]).contains("did you mean \"scan.startup.mode\"?"));
        assert!(source(&BASE[..2]).unwrap_err().to_string().contains("properties.bootstrap.server"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = [("properties.sasl.password", "hunter2"), ("properties.sasl.username", "me")];
        let source = source(&with(&secret)).unwrap();
        let shown = format!("{source:?}");
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
        let wrong = [("properties.ssl.key.password", "hunter2"), ("properties.nonsense", "hunter2")];
        assert!(!super::tests::source(&with(&wrong)).unwrap_err().to_string().contains("hunter2"));
    }
}
