//! Topics of sinks and dead letters at a start: all are looked at, and once the start is accepted, the missing
//! ones are created.
//!
//! The state records each topic's partition count and end offsets. A sink's topic that was deleted, was
//! recreated, has more partitions than before, or has since been written to by another topology is refused:
//! continuing would omit rows, keep stale ones, or overwrite those of the other topology. `herald sink
//! resend` resolves the first cases, and `--fresh` takes a topic over. A deleted dead-letter topic is
//! recreated with a warning: its records are in the state's own table.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use connectors::kafka::{
    Reached, TopicInfo, TopicSpec, Topics, has_records, partition_ends, progress_topic, verify_reached,
};
use connectors::options::names_connector;
use connectors::sink::KAFKA_TARGET;
use connectors::{ConnectorError, KafkaSink, Mismatch};
use dataflows::plan::formats::Format;
use dataflows::plan::{Plan, Sink};
use state::{KnownTopic, Store};

/// Check of the topics of one start.
pub struct TopicCheck {
    topics: Topics,
    topology: String,
    /// Set when sinks are taken over from other topologies.
    fresh: bool,
    known: BTreeMap<String, KnownTopic>,
    /// The last epoch that the state records as published.
    published: u64,
    /// Sinks that are sent again.
    renewed: Vec<String>,
    /// Topics of sinks that still hold the records sent before.
    kept: BTreeSet<String>,
    /// The topics looked at, in order.
    wanted: Vec<WantedTopic>,
    /// The topics as the state will record them.
    now: BTreeMap<String, KnownTopic>,
}

/// A topic that was looked at, and is created if it is missing.
struct WantedTopic {
    /// The sink or source that it belongs to, for messages.
    owner: String,
    spec: TopicSpec,
    /// Lower bounds of the ends of its partitions.
    reached: Vec<i64>,
}

impl TopicCheck {
    /// Reads the topics that the state records; without a state there are none.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn new(topics: Topics, (topology, fresh): (&str, bool), store: Option<&Store>) -> Result<TopicCheck> {
        let (mut known, mut published, mut renewed) = (BTreeMap::new(), 0, Vec::new());
        if let Some(store) = store {
            known = store.known_topics()?;
            published = published_epoch(store, KAFKA_TARGET)?;
            renewed = sinks_to_resend(store)?;
        }
        Ok(TopicCheck {
            topics,
            topology: topology.to_owned(),
            fresh,
            known,
            published,
            renewed,
            kept: BTreeSet::new(),
            wanted: Vec::new(),
            now: BTreeMap::new(),
        })
    }

    /// Validates a sink's topic against the sink and the state's record.
    ///
    /// # Errors
    /// When the topic does not fit the sink, is not the one that was written to before, or is missing and could
    /// not be created.
    pub fn check_sink_topic(&mut self, sink: &Sink, kafka: &KafkaSink) -> Result<()> {
        let topic = &kafka.topic;
        let renewed = self.renewed.contains(&sink.name);
        let bounds = self.topics.bounds(topic)?;
        let ends = bounds.as_deref().map(partition_ends);
        let mut reached = Vec::new();
        if let Some(known) = self.known.get(topic) {
            let same = if known.lost {
                Err(ConnectorError::GoneTopic { topic: topic.clone() })
            } else {
                verify_reached(topic, &known.reached, ends.as_deref())
            };
            // With a resend ordered, a recreated or empty topic may have any number of partitions: no key is
            // in the wrong one yet.
            let old = same.is_ok() && ends.as_deref().is_some_and(has_records);
            if let (Err(error), false) = (same, renewed) {
                return Err(self.wiped_broker()?.unwrap_or(error).into());
            }
            let now = ends.as_ref().map_or(known.partitions, |ends| ends.len() as i32);
            let other = now < known.partitions || now > known.partitions && !sink.key.is_empty();
            if other && (old || !renewed) {
                return Err(
                    ConnectorError::GrownTopic { topic: topic.clone(), was: known.partitions, now }.into()
                );
            }
            if old {
                reached.clone_from(&known.reached);
                self.kept.insert(topic.clone());
            }
        }
        if let Some(bounds) = &bounds
            && !self.fresh
            && let Some(other) = self.topics.other_writer(&self.topology, topic, bounds)?
        {
            return Err(ConnectorError::OtherWriter { topic: topic.clone(), other }.into());
        }
        let mut spec = kafka.topic_spec(sink.format == Format::Upsert);
        if bounds.is_none()
            && spec.partitions.is_none()
            && let Some(known) = self.known.get(topic)
        {
            spec.partitions = Some(known.partitions);
        }
        self.topics.look(&spec)?;
        self.wanted.push(WantedTopic { owner: format!("sink {}", sink.name), spec, reached });
        Ok(())
    }

    /// The error for a broker that lost all its data, if the progress topic is gone as well as a sink's
    /// topic.
    fn wiped_broker(&self) -> Result<Option<ConnectorError>> {
        if self.published == 0 || self.topics.partition_count(&progress_topic(&self.topology))?.is_some() {
            return Ok(None);
        }
        let lost = Mismatch::LostData { marker: None, published: self.published };
        Ok(Some(ConnectorError::StateMismatch(lost)))
    }

    /// Looks at the dead-letter topic of a source, and warns when it is not the one that was written to before.
    ///
    /// # Errors
    /// When the topic does not fit, or is missing and could not be created.
    pub fn check_dead_letter_topic(&mut self, source: &str, topic: &str) -> Result<()> {
        let known = self.known.get(topic).cloned().unwrap_or_default();
        let mut spec = TopicSpec { name: topic.to_owned(), ..TopicSpec::default() };
        let ends = self.topics.bounds(topic)?.as_deref().map(partition_ends);
        let same = verify_reached(topic, &known.reached, ends.as_deref());
        if let Err(error) = &same {
            tracing::warn!("{error}; what it held is in the table herald.dead_letter");
        }
        if ends.is_none() && known.partitions > 0 {
            spec.partitions = Some(known.partitions);
        }
        self.topics.look(&spec)?;
        let owner = format!("dead letters of source {source}");
        let reached = if same.is_ok() { known.reached } else { Vec::new() };
        self.wanted.push(WantedTopic { owner, spec, reached });
        Ok(())
    }

    /// Creates the topics that are missing. Returns all that were looked at, by name.
    ///
    /// # Errors
    /// When one cannot be created or read.
    pub fn create_topics(&mut self) -> Result<BTreeMap<String, TopicInfo>> {
        let mut found = BTreeMap::new();
        for WantedTopic { owner, spec, mut reached } in std::mem::take(&mut self.wanted) {
            let info = self.topics.ensure(&spec).context(owner)?;
            reached.resize(info.partitions.max(0) as usize, 0);
            let known = KnownTopic { partitions: info.partitions, reached, lost: false };
            self.now.insert(spec.name.clone(), known);
            found.insert(spec.name, info);
        }
        Ok(found)
    }

    /// By topic, the epoch up to which the outbox is skipped because a resend after it holds all rows again.
    /// A topic that still holds earlier records needs the waiting ones, because they may delete keys. A sink
    /// without a key only appends, so there the waiting records are always skipped: they would be sent twice.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn superseded_epochs(&self, store: &Store, plan: &Plan) -> Result<BTreeMap<String, u64>> {
        let resends = store.resends().context("what is to be sent again is not known")?;
        let mut superseded = BTreeMap::new();
        for sink in &plan.sinks {
            let (Some(upto), Some(topic)) = (resends.get(&sink.name), sink.options.get("topic")) else {
                continue;
            };
            let needed = sink.format != Format::Plain && self.kept.contains(topic);
            if names_connector(&sink.options, "kafka") && !needed {
                superseded.insert(topic.clone(), *upto);
            }
        }
        Ok(superseded)
    }

    /// Records the topics in the state. Returns their end offsets.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn store_topics(self, store: &Store) -> Result<Reached> {
        if self.now != self.known {
            store.set_known_topics(&self.now)?;
        }
        Ok(self.now.into_iter().map(|(topic, known)| (topic, known.reached)).collect())
    }
}

/// The sinks whose content the next epoch must send again.
///
/// # Errors
/// When the state cannot be read.
pub fn sinks_to_resend(store: &Store) -> Result<Vec<String>> {
    let epoch = store.meta().epoch;
    let mut due = Vec::new();
    for (sink, at) in store.resends()? {
        if at == epoch {
            due.push(sink);
        }
    }
    Ok(due)
}

/// The last epoch that the state knows to be published to a target; 0 before the first one.
///
/// # Errors
/// When the state cannot be read.
pub fn published_epoch(store: &Store, target: u16) -> Result<u64> {
    Ok(store.published(target)?.map_or(0, |published| published.epoch))
}
