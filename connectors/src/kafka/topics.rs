//! Topics: looked up, created when missing, and verified when not.
//!
//! Sink, dead-letter and progress topics are Herald's to create. One that exists is left as it is
//! and refused where it would lose or misplace records: by its cleanup policy, or by another number
//! of partitions than was asked for. librdkafka's mock has no admin calls: it creates a topic when a
//! producer asks for its metadata, and nothing is verified.
//!
//! [`layout`] compares whole layouts of topics with a cluster, which changes topics that exist, on the user's order alone.

mod admin;
pub mod layout;

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaRespErr;

use super::client::brief::BriefClient;
use super::client::{Context, block_on, create_client, find_topic, to_connector_error};
use super::offsets::await_offsets;
use super::options::KafkaCluster;
use super::writers::other_writer;
use crate::ConnectorError;

/// Kafka's default for `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: i64 = 1_048_588;

/// A topic as required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions; None for the broker's default, and for any when it exists.
    pub partitions: Option<i32>,
    /// Replication factor when created; None for the broker's default.
    pub replication: Option<i32>,
    /// True if only the last record of a key is kept.
    pub compacted: bool,
    /// Further topic options when created.
    pub configs: Vec<(String, String)>,
}

/// A topic as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Partitions.
    pub partitions: i32,
    /// Size of the greatest batch, and so of the greatest record, that the topic accepts.
    pub max_message_bytes: i64,
    /// True if it was created just now.
    pub created: bool,
}

/// Greatest and least timeout of one attempt to look a topic up.
const MAX_ATTEMPT: Duration = Duration::from_secs(1);
const MIN_ATTEMPT: Duration = Duration::from_millis(100);
/// Time after which a refusal counts when it comes again.
const REFUSAL_COUNTS_AFTER: Duration = Duration::from_secs(2);

/// Looks after the topics of one cluster.
pub struct Topics {
    cluster: KafkaCluster,
    admin: BriefClient<AdminClient<Context>>,
    /// A consumer, since asking for a topic's metadata must not create it.
    lookup: BriefClient<BaseConsumer<Context>>,
    timeout: Duration,
    /// librdkafka's mock does not answer admin calls, not even with an error.
    is_mock: OnceCell<bool>,
}

impl Topics {
    /// Clients for `cluster`; each call waits for the broker up to `timeout`.
    pub fn open(cluster: &KafkaCluster, timeout: Duration) -> Result<Topics, ConnectorError> {
        let admin = BriefClient::new(create_client(&cluster.client_config(), &cluster.bootstrap)?);
        // Ends count all records, committed or not.
        let mut config = cluster.client_config();
        config.set("isolation.level", "read_uncommitted");
        let lookup = BriefClient::new(create_client(&config, &cluster.bootstrap)?);
        Ok(Topics { cluster: cluster.clone(), admin, lookup, timeout, is_mock: OnceCell::new() })
    }

    /// Number of partitions of `topic`; None when there is no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<Option<i32>, ConnectorError> {
        partition_count(&self.lookup, topic, &self.cluster.bootstrap, self.timeout)
    }

    /// Beginning and end of each partition of `topic`; None when there is no such topic.
    pub fn bounds(&self, topic: &str) -> Result<Option<Vec<(i64, i64)>>, ConnectorError> {
        let Some(count) = self.partition_count(topic)? else { return Ok(None) };
        let begins = self.offsets_at(topic, count, Offset::Beginning)?;
        let ends = self.offsets_at(topic, count, Offset::End)?;
        Ok(Some(begins.into_iter().zip(ends).collect()))
    }

    /// The offset at `at` of each of the topic's `count` partitions.
    fn offsets_at(&self, topic: &str, count: i32, at: Offset) -> Result<Vec<i64>, ConnectorError> {
        let asked = await_offsets(&self.lookup, topic, 0..count, at, self.timeout);
        asked.map_err(|error| {
            to_connector_error(error, &self.cluster.bootstrap, &format!("to look up topic \"{topic}\""))
        })
    }

    /// A topology other than `topology` that wrote to `topic` last, as far as the last records name one.
    pub fn other_writer(
        &self,
        topology: &str,
        topic: &str,
        bounds: &[(i64, i64)],
    ) -> Result<Option<String>, ConnectorError> {
        other_writer(&self.cluster, topology, topic, bounds, self.timeout)
    }

    /// Size of the greatest batch that `topic` accepts.
    pub fn max_message_bytes(&self, topic: &str) -> Result<i64, ConnectorError> {
        Ok(greatest_batch(self.config_of(topic)?.as_deref()))
    }

    /// Verifies the topic when it exists, and otherwise that the broker would create it. Creates nothing; None
    /// for a missing topic.
    pub fn look(&self, spec: &TopicSpec) -> Result<Option<TopicInfo>, ConnectorError> {
        match self.partition_count(&spec.name)? {
            Some(partitions) => self.verify(spec, partitions, false).map(Some),
            None if self.is_mock() => Ok(None),
            None => {
                self.request_topic(spec, true)?;
                Ok(None)
            }
        }
    }

    /// Creates the topic when it is missing, and verifies it otherwise.
    pub fn ensure(&self, spec: &TopicSpec) -> Result<TopicInfo, ConnectorError> {
        let (partitions, created) = match self.partition_count(&spec.name)? {
            Some(partitions) => (partitions, false),
            None => (self.create_topic(spec)?, true),
        };
        self.verify(spec, partitions, created)
    }

    fn verify(&self, spec: &TopicSpec, partitions: i32, created: bool) -> Result<TopicInfo, ConnectorError> {
        let configs = self.config_of(&spec.name)?;
        if let Some(configs) = &configs {
            verify_topic(spec, partitions, created, configs)?;
        }
        Ok(TopicInfo { partitions, max_message_bytes: greatest_batch(configs.as_deref()), created })
    }

    fn is_mock(&self) -> bool {
        *self.is_mock.get_or_init(|| {
            let id = self.lookup.client().fetch_cluster_id(self.timeout);
            id.unwrap_or_default().starts_with("mockCluster")
        })
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<i32, ConnectorError> {
        if self.is_mock() {
            self.create_by_asking(&spec.name)?;
        } else {
            self.request_topic(spec, false)?;
            tracing::info!(topic = %spec.name, "topic created");
        }
        self.await_topic(&spec.name)
    }

    /// Asks the broker to create a topic, or with `dry_run` whether it would. A topic that exists is no error.
    fn request_topic(&self, spec: &TopicSpec, dry_run: bool) -> Result<(), ConnectorError> {
        let replication = TopicReplication::Fixed(spec.replication.unwrap_or(-1));
        let mut topic = NewTopic::new(&spec.name, spec.partitions.unwrap_or(-1), replication);
        topic = topic.set("cleanup.policy", if spec.compacted { "compact" } else { "delete" });
        for (name, value) in &spec.configs {
            topic = topic.set(name, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
            .validate_only(dry_run);
        let what = format!("to create topic \"{}\"", spec.name);
        let created = block_on(self.admin.create_topics([&topic], &options));
        let code = match created {
            Ok(results) => results.into_iter().find_map(Result::err).map(|(_, code)| code),
            Err(KafkaError::AdminOp(code)) => Some(code),
            Err(error) => return Err(to_connector_error(error, &self.cluster.bootstrap, &what)),
        };
        match code {
            None | Some(RDKafkaErrorCode::TopicAlreadyExists) => Ok(()),
            Some(code) => {
                let failed = to_connector_error(KafkaError::Global(code), &self.cluster.bootstrap, &what);
                Err(match failed {
                    ConnectorError::Kafka(_) => ConnectorError::Refused {
                        bootstrap: self.cluster.bootstrap.clone(),
                        what,
                        reason: code.to_string(),
                    },
                    other => other,
                })
            }
        }
    }

    /// The mock creates a topic when a producer asks for it.
    fn create_by_asking(&self, topic: &str) -> Result<(), ConnectorError> {
        let failed = |error| to_connector_error(error, &self.cluster.bootstrap, "to create a topic");
        let producer: BaseProducer<Context> =
            self.cluster.client_config().create_with_context(Context::default()).map_err(failed)?;
        let asked = producer.client().fetch_metadata(Some(topic), self.timeout);
        asked.map(drop).map_err(failed)
    }

    /// Waits until the topic is known: brokers learn of a new topic one after the other.
    fn await_topic(&self, topic: &str) -> Result<i32, ConnectorError> {
        let until = Instant::now() + self.timeout;
        loop {
            if let Some(partitions) = self.partition_count(topic)? {
                return Ok(partitions);
            }
            if Instant::now() > until {
                return Err(ConnectorError::MissingTopic {
                    topic: topic.to_string(),
                    bootstrap: self.cluster.bootstrap.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The topic's options; None when the cluster does not report them.
    fn config_of(&self, topic: &str) -> Result<Option<Vec<(String, String)>>, ConnectorError> {
        if self.is_mock() {
            return Ok(None);
        }
        let options = AdminOptions::new().request_timeout(Some(self.timeout));
        let resource = ResourceSpecifier::Topic(topic);
        let code = match block_on(self.admin.describe_configs([&resource], &options)) {
            Ok(mut results) => match results.pop() {
                Some(Ok(resource)) => {
                    let entries = resource.entries.into_iter();
                    let pairs = entries.filter_map(|entry| Some((entry.name, entry.value?)));
                    return Ok(Some(pairs.collect()));
                }
                Some(Err(code)) => code,
                None => return Ok(None),
            },
            Err(KafkaError::AdminOp(code)) => code,
            Err(error) => {
                return Err(to_connector_error(error, &self.cluster.bootstrap, "a topic's options"));
            }
        };
        match to_connector_error(KafkaError::Global(code), &self.cluster.bootstrap, "a topic's options") {
            error @ ConnectorError::Unreachable { .. } => Err(error),
            _ => {
                tracing::debug!(topic, %code, "the topic's options are not known; it is not verified");
                Ok(None)
            }
        }
    }
}

/// The value of a topic's option.
fn find_config<'c>(configs: &'c [(String, String)], name: &str) -> Option<&'c str> {
    let (_, value) = configs.iter().find(|(held, _)| held == name)?;
    Some(value.as_str())
}

/// Size of the greatest batch that a topic with these options accepts; Kafka's default where they are not known.
fn greatest_batch(configs: Option<&[(String, String)]>) -> i64 {
    match find_config(configs.unwrap_or_default(), "max.message.bytes") {
        Some(limit) => limit.parse().unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
        None => DEFAULT_MAX_MESSAGE_BYTES,
    }
}

/// The ends of partitions whose beginnings and ends are given.
pub fn partition_ends(bounds: &[(i64, i64)]) -> Vec<i64> {
    bounds.iter().map(|(_, end)| *end).collect()
}

/// Refuses a topic with other partitions or another cleanup policy than required.
fn verify_topic(
    spec: &TopicSpec,
    partitions: i32,
    created: bool,
    configs: &[(String, String)],
) -> Result<(), ConnectorError> {
    let refuse = |message: String| Err(ConnectorError::Topic { topic: spec.name.clone(), message });
    if let Some(wanted) = spec.partitions
        && wanted != partitions
    {
        return refuse(format!(
            "has {partitions} partitions, not the {wanted} asked for by topic.partitions: correct the option, or use another topic"
        ));
    }
    if created {
        return Ok(());
    }
    let policy = find_config(configs, "cleanup.policy").unwrap_or_default();
    let compacts = policy.split(',').any(|word| word.trim() == "compact");
    if spec.compacted && !compacts {
        return refuse(format!(
            "has cleanup.policy={policy}: it would forget rows that still stand; set cleanup.policy=compact, or use another topic"
        ));
    }
    if !spec.compacted && compacts {
        return refuse(format!(
            "has cleanup.policy={policy}: it would forget records of an append-only sink; set cleanup.policy=delete, or use another topic"
        ));
    }
    Ok(())
}

/// Number of partitions of `topic`; None when there is no such topic.
pub(crate) fn partition_count(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    bootstrap: &str,
    timeout: Duration,
) -> Result<Option<i32>, ConnectorError> {
    let begun = Instant::now();
    let until = begun + timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now()).clamp(MIN_ATTEMPT, MAX_ATTEMPT);
        let what = format!("to look up topic \"{topic}\"");
        let metadata = match consumer.fetch_metadata(Some(topic), left) {
            Ok(metadata) => metadata,
            Err(error) => {
                // The cause of a failed connection comes through the error callback, which runs within poll.
                while consumer.poll(Duration::ZERO).is_some() {}
                let bootstrap = bootstrap.to_string();
                // A broker that restarts may break off one handshake, so one refusal is not enough.
                if let Some(reason) = consumer.context().take_refused()
                    && begun.elapsed() > REFUSAL_COUNTS_AFTER
                {
                    return Err(ConnectorError::Refused { bootstrap, what: "the connection".into(), reason });
                }
                match (to_connector_error(error, &bootstrap, &what), consumer.context().last_error()) {
                    (ConnectorError::Unreachable { .. }, _) if Instant::now() < until => {
                        std::thread::sleep(MIN_ATTEMPT);
                        continue;
                    }
                    (ConnectorError::Unreachable { .. }, Some(reason)) => {
                        return Err(ConnectorError::Unreachable { bootstrap, reason });
                    }
                    (error, _) => return Err(error),
                }
            }
        };
        let Some(found) = find_topic(&metadata, topic) else { return Ok(None) };
        let code = found.error().filter(IsError::is_error);
        match code {
            None if !found.partitions().is_empty() => {
                return Ok(Some(found.partitions().len() as i32));
            }
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => return Ok(None),
            // A topic that is being created, or whose brokers start, has no leader yet.
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Some(error) => {
                return Err(to_connector_error(KafkaError::MetadataFetch(error.into()), bootstrap, &what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(partitions: Option<i32>, compacted: bool) -> TopicSpec {
        TopicSpec { name: "t".into(), partitions, compacted, ..TopicSpec::default() }
    }

    #[test]
    fn topics_that_would_lose_rows_are_refused() {
        let policy = |text: &str| vec![("cleanup.policy".to_string(), text.to_string())];
        let verify = |spec: &TopicSpec, text: &str| verify_topic(spec, 3, false, &policy(text));
        assert!(verify(&spec(None, true), "compact").is_ok());
        assert!(verify(&spec(None, true), "compact,delete").is_ok());
        assert!(verify(&spec(Some(3), false), "delete").is_ok());
        let error = verify(&spec(None, true), "delete").unwrap_err().to_string();
        assert!(error.starts_with("topic \"t\" has cleanup.policy=delete"), "{error}");
        assert!(verify(&spec(None, false), "compact").is_err());
        let error = verify(&spec(Some(4), false), "delete").unwrap_err().to_string();
        assert!(error.contains("3 partitions, not the 4"), "{error}");
    }
}
