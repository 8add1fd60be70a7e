//! Sinks as given by their options.
//!
//! They are written elsewhere: [`crate::kafka::Publisher`], [`crate::file::FileWriter`],
//! [`crate::export::ExportWriter`] and [`crate::Blackhole`] each take the chunks of an epoch's outbox. Sinks with the same
//! [`SinkConnector::identity`] share one outbox, and so one transaction an epoch.

use std::collections::BTreeMap;

use schemas::EXPORT_TARGETS;

use crate::ConnectorError;
use crate::export::ParquetSink;
use crate::file::FileSink;
use crate::kafka::{KafkaCluster, TopicSpec};
use crate::options::Options;
use crate::source::unknown_connector;

/// The target of an outbox that all Kafka sinks of a topology share: an epoch's output to them is one transaction.
pub const KAFKA_TARGET: u16 = 0;

/// Tells whether a target is that of an export. Exports keep epochs in the outbox until files hold them.
pub fn is_export(target: u16) -> bool {
    target >= EXPORT_TARGETS
}

/// The numbers of the outbox's targets for the sinks of a topology, which are given by the names of their connectors in
/// the order of the topology: Kafka's is [`KAFKA_TARGET`], files count up from there, exports from [`EXPORT_TARGETS`]. None
/// for a sink that takes its output when it is committed, and for one of no known connector. The numbers are part of the stored form of a state.
pub fn outbox_targets<'c>(connectors: impl IntoIterator<Item = Option<&'c str>>) -> Vec<Option<u16>> {
    let (mut targets, mut last, mut exports) = (Vec::new(), KAFKA_TARGET, EXPORT_TARGETS..);
    for connector in connectors {
        targets.push(match connector {
            Some(KAFKA) => Some(KAFKA_TARGET),
            Some(FILE) => {
                last += 1;
                Some(last)
            }
            Some(PARQUET) => exports.next(),
            Some(_) | None => None,
        });
    }
    targets
}

const KAFKA: &str = "kafka";
const FILE: &str = "file";
const PARQUET: &str = "parquet";
const BLACKHOLE: &str = "blackhole";

/// Destination of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConnector {
    /// A topic.
    Kafka(KafkaSink),
    /// A file of JSON lines.
    File(FileSink),
    /// Parquet files.
    Parquet(ParquetSink),
    /// Nowhere.
    Blackhole,
}

impl SinkConnector {
    /// Reads the options of the connector that the option `connector` names.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<SinkConnector, ConnectorError> {
        match values.get("connector").map(String::as_str) {
            Some(KAFKA) => KafkaSink::from_options(values).map(SinkConnector::Kafka),
            Some(FILE) => FileSink::from_options(values).map(SinkConnector::File),
            Some(PARQUET) => ParquetSink::from_options(values).map(SinkConnector::Parquet),
            Some(BLACKHOLE) => {
                let mut options = Options::new(values);
                options.text("connector");
                options.finish()?;
                Ok(SinkConnector::Blackhole)
            }
            other => Err(unknown_connector(other, &[KAFKA, FILE, PARQUET, BLACKHOLE], "sink")),
        }
    }

    /// The numbers of the outbox's targets for the sinks of a topology, in its order; see [`outbox_targets`].
    pub fn targets(sinks: &[SinkConnector]) -> Vec<Option<u16>> {
        outbox_targets(sinks.iter().map(|sink| Some(sink.name())))
    }

    /// The name of the connector, as the option `connector` has it.
    pub fn name(&self) -> &'static str {
        match self {
            SinkConnector::Kafka(_) => KAFKA,
            SinkConnector::File(_) => FILE,
            SinkConnector::Parquet(_) => PARQUET,
            SinkConnector::Blackhole => BLACKHOLE,
        }
    }

    /// Identity of its outbox: sinks of one identity are published together.
    pub fn identity(&self) -> String {
        match self {
            SinkConnector::Kafka(sink) => format!("kafka {}", sink.cluster.identity()),
            SinkConnector::File(sink) => format!("file {}", sink.path.display()),
            SinkConnector::Parquet(sink) => format!("parquet {}", sink.path),
            SinkConnector::Blackhole => "blackhole".to_string(),
        }
    }
}

/// A topic to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSink {
    /// The cluster.
    pub cluster: KafkaCluster,
    /// Its name.
    pub topic: String,
    /// `topic.partitions`.
    pub partitions: Option<i32>,
    /// `topic.replication.factor`.
    pub replication: Option<i32>,
}

impl KafkaSink {
    /// Reads the options of a sink.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<KafkaSink, ConnectorError> {
        let mut options = Options::new(values);
        options.text("connector");
        let topic = options.required("topic")?.to_string();
        let cluster = KafkaCluster::take_from(&mut options)?;
        let number = "a whole number above 0";
        let partitions = options.parse::<i32>("topic.partitions", number)?;
        let replication = options.parse::<i32>("topic.replication.factor", number)?;
        let given = [("topic.partitions", partitions), ("topic.replication.factor", replication)];
        for (name, value) in given {
            if let Some(value) = value.filter(|value| *value < 1) {
                let message = format!("must be {number}, not '{value}'");
                return Err(ConnectorError::config(name, message));
            }
        }
        options.finish()?;
        Ok(KafkaSink { cluster, topic, partitions, replication })
    }

    /// The topic as required; `compacted` for a sink with FORMAT UPSERT.
    pub fn topic_spec(&self, compacted: bool) -> TopicSpec {
        TopicSpec {
            name: self.topic.clone(),
            partitions: self.partitions,
            replication: self.replication,
            compacted,
            configs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(pairs: &[(&str, &str)]) -> Result<SinkConnector, ConnectorError> {
        let pairs = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        SinkConnector::from_options(&pairs.collect())
    }

    #[test]
    fn sinks_of_one_cluster_share_an_outbox() {
        let kafka = |topic, servers| {
            sink(&[("connector", "kafka"), ("topic", topic), ("properties.bootstrap.servers", servers)])
        };
        let (a, b) = (kafka("a", "h:1").unwrap(), kafka("b", "h:1").unwrap());
        assert_eq!(a.identity(), b.identity());
        assert_ne!(a.identity(), kafka("a", "h:2").unwrap().identity());
        assert_eq!(sink(&[("connector", "blackhole")]).unwrap(), SinkConnector::Blackhole);
    }

    #[test]
    fn targets_are_numbered_in_the_order_of_the_sinks() {
        let names = ["file", "blackhole", "kafka", "file", "kafka", "file"];
        let expected = [Some(1), None, Some(0), Some(2), Some(0), Some(3)];
        assert_eq!(outbox_targets(names.map(Some)), expected);
        let names = ["parquet", "file", "parquet"];
        assert_eq!(outbox_targets(names.map(Some)), [Some(0x4000), Some(1), Some(0x4001)]);
        assert_eq!(outbox_targets([None, Some("other"), Some("file")]), [None, None, Some(1)]);
        let file = sink(&[("connector", "file"), ("path", "out.jsonl")]).unwrap();
        assert_eq!((file.name(), SinkConnector::Blackhole.name()), ("file", "blackhole"));
        assert_eq!(
            SinkConnector::targets(&[SinkConnector::Blackhole, file.clone(), file]),
            [None, Some(1), Some(2)]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |pairs: &[(&str, &str)]| sink(pairs).unwrap_err().to_string();
        assert!(error(&[("connector", "kafak")]).contains("did you mean 'kafka'?"));
        assert!(error(&[]).contains("a sink may be kafka, file, parquet, blackhole"));
        assert!(
            error(&[("connector", "blackhole"), ("topic", "t")]).starts_with("option topic: is not known")
        );
        let base = [("connector", "kafka"), ("topic", "t"), ("properties.bootstrap.server", "h:1")];
        let more = |name, value| [&base[..], &[(name, value)]].concat();
        assert!(error(&more("topic.partitions", "0")).contains("above 0"));
        assert!(error(&more("topic.partition", "2")).contains("did you mean \"topic.partitions\"?"));
    }
}
