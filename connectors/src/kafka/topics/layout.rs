//! Topics as a layout wants them, compared with those of a cluster, and the steps that lead there.
//!
//! Partitions only grow, and replicas are not moved: that is an obstacle, not a step. Options that the layout does not
//! name are not touched. The comparison needs no broker; the broker is asked for the refusals that only it knows.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::super::client::{block_on, to_connector_error};
use super::admin::{Request, send};
use super::{MIN_ATTEMPT, Topics};
use crate::ConnectorError;

/// A topic as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLayout {
    /// Name.
    pub name: String,
    /// Partitions; None for the broker's default, and for any when it exists.
    pub partitions: Option<i32>,
    /// Replicas of each partition; None as above.
    pub replication: Option<i32>,
    /// Meaning of the records' keys, if they have one.
    pub key: Option<String>,
    /// Options of the topic.
    pub configs: BTreeMap<String, String>,
}

/// A topic as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldTopic {
    /// Partitions.
    pub partitions: i32,
    /// Replicas of the partition that has the fewest.
    pub replication: i32,
    /// Its options, defaults included; empty where nobody asked.
    pub configs: BTreeMap<String, String>,
}

/// A changed option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Name.
    pub name: String,
    /// Value that holds now; None for an option that the broker does not list.
    pub old: Option<String>,
    /// Value that is wanted.
    pub new: String,
}

/// A step towards a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicStep {
    /// The topic is made.
    Create(TopicLayout),
    /// Options are set.
    Configure(Vec<ConfigChange>),
    /// Partitions are added.
    Grow {
        /// Number now.
        from: i32,
        /// Number wanted.
        to: i32,
    },
}

/// The way from a topic as found to the one that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPlan {
    /// Steps, in the order in which they are done.
    pub steps: Vec<TopicStep>,
    /// Reasons for which there is no way, each with the remedy.
    pub obstacles: Vec<String>,
    /// Consequences of the steps that the user should know.
    pub warnings: Vec<String>,
}

impl TopicLayout {
    /// Compares the topic as wanted with the one found, if there is one.
    pub fn compare(&self, held: Option<&HeldTopic>) -> TopicPlan {
        let mut plan = TopicPlan::default();
        let Some(held) = held else {
            plan.steps.push(TopicStep::Create(self.clone()));
            return plan;
        };
        if let Some(wanted) = self.replication
            && wanted != held.replication
        {
            plan.obstacles.push(format!(
                "its replication factor is {}, and the file says {wanted}: Herald moves no replicas; do it with \
                 kafka-reassign-partitions.sh, or write replication.factor = '{}'",
                held.replication, held.replication
            ));
        }
        let changes = self.changes(held);
        if !changes.is_empty() {
            plan.steps.push(TopicStep::Configure(changes));
        }
        match self.partitions {
            Some(wanted) if wanted < held.partitions => plan.obstacles.push(format!(
                "it has {} partitions, and the file says {wanted}: Kafka takes none away; write partitions = '{}', or \
                 make a topic of another name and have its writers and readers change over",
                held.partitions, held.partitions
            )),
            Some(wanted) if wanted > held.partitions => {
                plan.warnings.extend(self.growth_warning(held));
                plan.steps.push(TopicStep::Grow { from: held.partitions, to: wanted });
            }
            _ => {}
        }
        plan
    }

    /// The options that have another value than is wanted.
    fn changes(&self, held: &HeldTopic) -> Vec<ConfigChange> {
        let mut changes = Vec::new();
        for (name, new) in &self.configs {
            let old = held.configs.get(name);
            if !old.is_some_and(|old| is_same_value(old, new)) {
                changes.push(ConfigChange { name: name.clone(), old: old.cloned(), new: new.clone() });
            }
        }
        changes
    }

    /// The warning that keys move, if the records have keys as far as the layout or the topic's cleanup tells.
    fn growth_warning(&self, held: &HeldTopic) -> Option<String> {
        let policy = self.configs.get("cleanup.policy").or(held.configs.get("cleanup.policy"));
        let compacted = policy.is_some_and(|policy| policy.contains("compact"));
        let by = match &self.key {
            Some(key) => format!("keyed by {key}"),
            None if compacted => "compacted by key".to_owned(),
            None => return None,
        };
        let mut warning = format!(
            "it is {by}: with more partitions most keys move to another one, so later records of a key may be \
             read before earlier ones"
        );
        if compacted {
            warning.push_str(", and the old partition keeps its last record of each key that moved");
        }
        Some(warning)
    }
}

/// Tells whether two texts are one value of an option: numbers by their value, lists in any order.
fn is_same_value(a: &str, b: &str) -> bool {
    if let (Ok(a), Ok(b)) = (a.trim().parse::<f64>(), b.trim().parse::<f64>()) {
        return a == b;
    }
    sorted_words(a) == sorted_words(b)
}

/// The words of a list, sorted, in lower case.
fn sorted_words(list: &str) -> Vec<String> {
    let mut words: Vec<String> = list.split(',').map(|word| word.trim().to_lowercase()).collect();
    words.sort_unstable();
    words
}

impl Topics {
    /// All topics of the cluster but Kafka's own; those that `layout` names with their options.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub fn held_topics(&self, layout: &[TopicLayout]) -> Result<BTreeMap<String, HeldTopic>, ConnectorError> {
        // The look-up of one topic waits for a broker that starts, and tells a refusal from silence.
        let first = layout.first().map_or("herald", |topic| topic.name.as_str());
        self.partition_count(first)?;
        let failed = |error| to_connector_error(error, &self.cluster.bootstrap, "the list of topics");
        let metadata = self.lookup.fetch_metadata(None, self.timeout).map_err(failed)?;
        let mut held = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
            let replicas = topic.partitions().iter().map(|partition| partition.replicas().len());
            let found = HeldTopic {
                partitions: topic.partitions().len() as i32,
                replication: replicas.min().unwrap_or(0) as i32,
                configs: BTreeMap::new(),
            };
            held.insert(topic.name().to_owned(), found);
        }
        let asked: Vec<&str> =
            layout.iter().map(|topic| topic.name.as_str()).filter(|name| held.contains_key(*name)).collect();
        for name in asked {
            let configs = self.options_of(name)?;
            if let Some(topic) = held.get_mut(name) {
                topic.configs = configs;
            }
        }
        Ok(held)
    }

    /// The options of a topic, defaults included.
    fn options_of(&self, topic: &str) -> Result<BTreeMap<String, String>, ConnectorError> {
        let what = format!("the options of topic \"{topic}\"");
        let options = AdminOptions::new().request_timeout(Some(self.timeout));
        let resource = ResourceSpecifier::Topic(topic);
        let answer = block_on(self.admin.describe_configs([&resource], &options));
        let code = match answer {
            Ok(mut resources) => match resources.pop() {
                Some(Ok(resource)) if !resource.entries.is_empty() => {
                    let entries = resource.entries.into_iter();
                    return Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect());
                }
                Some(Err(code)) => code,
                // The client takes a refusal for an answer without options.
                _ => {
                    let reason = "it lists none: the user may lack the right DescribeConfigs".to_owned();
                    return Err(self.refused(what, reason));
                }
            },
            Err(KafkaError::AdminOp(code)) => code,
            Err(error) => return Err(to_connector_error(error, &self.cluster.bootstrap, &what)),
        };
        Err(match to_connector_error(KafkaError::Global(code), &self.cluster.bootstrap, &what) {
            ConnectorError::Kafka(_) => self.refused(what, code.to_string()),
            other => other,
        })
    }

    fn refused(&self, what: String, reason: String) -> ConnectorError {
        ConnectorError::Refused { bootstrap: self.cluster.bootstrap.clone(), what, reason }
    }

    /// Does a step, or with `dry_run` asks the broker whether it would.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses: with its reason.
    pub fn take_step(&self, topic: &str, step: &TopicStep, dry_run: bool) -> Result<(), ConnectorError> {
        let configs = configs_of(step);
        let request = match step {
            TopicStep::Create(wanted) => Request::Create {
                partitions: wanted.partitions.unwrap_or(-1),
                replication: wanted.replication.unwrap_or(-1),
                configs: &configs,
            },
            TopicStep::Configure(_) => Request::Configure { configs: &configs },
            TopicStep::Grow { to, .. } => Request::Grow { partitions: *to },
        };
        let broker = (&*self.admin, self.cluster.bootstrap.as_str());
        send(broker, topic, &request, (self.timeout, dry_run))?;
        if !dry_run && matches!(step, TopicStep::Create(_)) {
            self.await_topic(topic)?;
        }
        Ok(())
    }

    /// Waits until the brokers tell of the topics as they are wanted: they learn of a change one after the other.
    ///
    /// # Errors
    /// When they still tell of another one at the end of the time.
    pub fn await_layout(&self, layout: &[TopicLayout]) -> Result<(), ConnectorError> {
        let until = Instant::now() + self.timeout;
        loop {
            let held = self.held_topics(layout)?;
            let other = layout.iter().find(|topic| !topic.compare(held.get(&topic.name)).steps.is_empty());
            match other {
                None => return Ok(()),
                Some(topic) if Instant::now() > until => {
                    return Err(ConnectorError::Topic {
                        topic: topic.name.clone(),
                        message:
                            "is not as the file says, though the broker took each step: somebody else may \
                                  have changed it, so compare again"
                                .to_owned(),
                    });
                }
                Some(_) => std::thread::sleep(MIN_ATTEMPT),
            }
        }
    }
}

/// The options that a step sets.
fn configs_of(step: &TopicStep) -> Vec<(&str, &str)> {
    match step {
        TopicStep::Create(wanted) => {
            wanted.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
        }
        TopicStep::Configure(changes) => {
            changes.iter().map(|change| (change.name.as_str(), change.new.as_str())).collect()
        }
        TopicStep::Grow { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn wanted(partitions: i32, pairs: &[(&str, &str)]) -> TopicLayout {
        TopicLayout {
            name: "t".to_owned(),
            partitions: Some(partitions),
            replication: Some(1),
            key: None,
            configs: configs(pairs),
        }
    }

    fn held(partitions: i32, pairs: &[(&str, &str)]) -> HeldTopic {
        HeldTopic { partitions, replication: 1, configs: configs(pairs) }
    }

    #[test]
    fn a_missing_topic_is_made_and_an_equal_one_left() {
        let topic = wanted(3, &[("retention.ms", "1000")]);
        assert_eq!(topic.compare(None).steps, [TopicStep::Create(topic.clone())]);
        let found = held(3, &[("retention.ms", "1000"), ("segment.bytes", "7")]);
        assert_eq!(topic.compare(Some(&found)), TopicPlan::default());
        // Without numbers those found are left.
        let any = TopicLayout { partitions: None, replication: None, ..topic };
        assert_eq!(any.compare(Some(&HeldTopic { replication: 3, ..found })), TopicPlan::default());
    }

    #[test]
    fn only_options_that_are_named_and_differ_are_changed() {
        let topic =
            wanted(3, &[("cleanup.policy", "delete, compact"), ("retention.ms", "5"), ("segment.ms", "9")]);
        let found = held(
            3,
            &[
                ("cleanup.policy", "compact,delete"),
                ("retention.ms", "604800000"),
                ("max.message.bytes", "1"),
            ],
        );
        let change = |name: &str, old: Option<&str>, new: &str| ConfigChange {
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.to_owned(),
        };
        let changes = vec![change("retention.ms", Some("604800000"), "5"), change("segment.ms", None, "9")];
        assert_eq!(topic.compare(Some(&found)).steps, [TopicStep::Configure(changes)]);
    }

    #[test]
    fn values_are_compared_as_kafka_reads_them() {
        for (a, b) in
            [("0.50", "0.5"), ("TRUE", "true"), ("compact,delete", " delete , compact"), ("1000", "1000 ")]
        {
            assert!(is_same_value(a, b), "{a} {b}");
        }
        for (a, b) in [("0.5", "0.6"), ("true", "false"), ("compact", "compact,delete"), ("", "delete")] {
            assert!(!is_same_value(a, b), "{a} {b}");
        }
    }

    #[test]
    fn partitions_grow_with_a_warning_for_keys_and_never_shrink() {
        let mut topic = wanted(6, &[("retention.ms", "5")]);
        let plan = topic.compare(Some(&held(3, &[("retention.ms", "6")])));
        // Options come before partitions.
        assert!(matches!(plan.steps[..], [TopicStep::Configure(_), TopicStep::Grow { from: 3, to: 6 }]));
        assert!(plan.warnings.is_empty());
        topic.key = Some("match_id".to_owned());
        let plan = topic.compare(Some(&held(3, &[("retention.ms", "5")])));
        assert!(plan.warnings[0].starts_with("it is keyed by match_id: with more"), "{plan:?}");
        topic.key = None;
        let plan = topic.compare(Some(&held(3, &[("retention.ms", "5"), ("cleanup.policy", "compact")])));
        assert!(plan.warnings[0].starts_with("it is compacted by key"), "{plan:?}");
        assert!(plan.warnings[0].ends_with("each key that moved"), "{plan:?}");

        let fewer = topic.compare(Some(&held(9, &[("retention.ms", "6")])));
        assert!(fewer.obstacles[0].starts_with("it has 9 partitions, and the file says 6"), "{fewer:?}");
        let other = topic.compare(Some(&HeldTopic { replication: 2, ..held(6, &[]) }));
        assert!(other.obstacles[0].contains("write replication.factor = '2'"), "{other:?}");
    }
}
