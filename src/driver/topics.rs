//! The topics of sinks and dead letters at a start: made where they are missing, and judged where they are not.
//!
//! The state remembers how many partitions each topic had and how far it reached. A sink's topic that is gone, that
//! was made anew, that has more partitions than it had, or that another topology has written to since is refused:
//! going on would leave rows out, keep stale ones, or overwrite another's. `herald sink resend` is the way on, and
//! `--fresh` takes a topic over. A dead letter topic that is gone is made anew, with a word: the state's own table
//! holds what was in it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use connectors::kafka::{Reached, TopicInfo, TopicSpec, Topics, judge, progress_topic};
use connectors::{ConnectorError, KafkaSink, Mismatch};
use dataflows::plan::formats::Format;
use dataflows::plan::{Plan, Sink};
use state::{KnownTopic, Store};

/// The topics of one start.
pub struct Judged<'a> {
    topics: &'a Topics,
    topology: &'a str,
    /// Tells whether sinks are taken over from whoever wrote them.
    fresh: bool,
    known: BTreeMap<String, KnownTopic>,
    /// The last epoch that the state knows to be published.
    published: u64,
    /// Sinks that are to be sent again.
    renewed: Vec<String>,
    /// Sinks' topics that hold what was sent before.
    kept: BTreeSet<String>,
    /// What is to be remembered.
    now: BTreeMap<String, KnownTopic>,
}

impl<'a> Judged<'a> {
    /// Of a state, in which nothing is known of topics where it starts over.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn new(topics: &'a Topics, (topology, fresh): (&'a str, bool), store: &Store) -> Result<Judged<'a>> {
        let (known, now) = (store.known_topics()?, BTreeMap::new());
        let published = store.published(0)?.map_or(0, |published| published.epoch);
        let (renewed, kept) = (renewed(store)?, BTreeSet::new());
        Ok(Judged { topics, topology, fresh, known, published, renewed, kept, now })
    }

    /// A sink's topic.
    ///
    /// # Errors
    /// When it is not, or does not remain, what the sink needs.
    pub fn sink(&mut self, sink: &Sink, kafka: &KafkaSink) -> Result<TopicInfo> {
        let topic = &kafka.topic;
        let renewed = self.renewed.contains(&sink.name);
        let bounds = self.topics.bounds(topic)?;
        let ends: Option<Vec<i64>> =
            bounds.as_ref().map(|bounds| bounds.iter().map(|(_, end)| *end).collect());
        let mut reached = Vec::new();
        if let Some(known) = self.known.get(topic) {
            let same = match known.lost {
                true => Err(ConnectorError::GoneTopic { topic: topic.clone() }),
                false => judge(topic, &known.reached, ends.as_deref()),
            };
            // A topic made anew may have as many partitions as its maker likes.
            let old = same.is_ok() && ends.as_ref().is_some_and(|ends| ends.iter().any(|end| *end > 0));
            if let (Err(error), false) = (same, renewed) {
                return Err(self.wiped()?.unwrap_or(error).into());
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
            && let Some(other) = self.topics.other_writer(self.topology, topic, bounds)?
        {
            return Err(ConnectorError::OtherWriter { topic: topic.clone(), other }.into());
        }
        let mut spec = kafka.topic_spec(sink.format == Format::Upsert);
        if bounds.is_none() {
            spec.partitions = spec.partitions.or(self.known.get(topic).map(|known| known.partitions));
        }
        let info = self.topics.ensure(&spec)?;
        self.remember(topic, info.partitions, reached);
        Ok(info)
    }

    /// Where the progress topic is gone, too, it is the broker that was wiped.
    fn wiped(&self) -> Result<Option<ConnectorError>> {
        if self.published == 0 || self.topics.partitions(&progress_topic(self.topology))?.is_some() {
            return Ok(None);
        }
        let lost = Mismatch::LostData { marker: None, published: self.published };
        Ok(Some(ConnectorError::StateMismatch(lost)))
    }

    /// A topic for dead letters.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn letters(&mut self, topic: &str) -> Result<TopicInfo> {
        let known = self.known.get(topic).cloned().unwrap_or_default();
        let mut spec = TopicSpec { name: topic.to_owned(), ..TopicSpec::default() };
        let bounds = self.topics.bounds(topic)?;
        let ends: Option<Vec<i64>> = bounds.map(|bounds| bounds.iter().map(|(_, end)| *end).collect());
        let same = judge(topic, &known.reached, ends.as_deref());
        if let Err(error) = &same {
            tracing::warn!("{error}; what it held is in the table herald.dead_letter");
        }
        if ends.is_none() && known.partitions > 0 {
            spec.partitions = Some(known.partitions);
        }
        let info = self.topics.ensure(&spec)?;
        self.remember(topic, info.partitions, if same.is_ok() { known.reached } else { Vec::new() });
        Ok(info)
    }

    fn remember(&mut self, topic: &str, partitions: i32, mut reached: Vec<i64>) {
        reached.resize(partitions.max(0) as usize, 0);
        self.now.insert(topic.to_owned(), KnownTopic { partitions, reached, lost: false });
    }

    /// By topic, the epoch up to which nothing that waits in the outbox is sent: a later one holds all of it again. A
    /// topic that holds what was sent before still needs what waits, for a key may be taken away there; unless the
    /// sink has no key: then it only adds, and would add twice.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn superseded(&self, store: &Store, plan: &Plan) -> Result<BTreeMap<String, u64>> {
        let resends = store.resends().context("what is to be sent again is not known")?;
        let of = |sink: &Sink| {
            let kafka = sink.options.get("connector").is_some_and(|connector| connector == "kafka");
            let (upto, topic) = (resends.get(&sink.name).filter(|_| kafka)?, sink.options.get("topic")?);
            let needed = sink.format != Format::Plain && self.kept.contains(topic);
            (!needed).then(|| (topic.clone(), *upto))
        };
        Ok(plan.sinks.iter().filter_map(of).collect())
    }

    /// Has the state remember the topics, and tells how far they reached.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn keep(self, store: &Store) -> Result<Reached> {
        if self.now != self.known {
            store.set_known_topics(&self.now)?;
        }
        Ok(self.now.into_iter().map(|(topic, known)| (topic, known.reached)).collect())
    }
}

/// The sinks whose content is to be sent again by the next epoch.
///
/// # Errors
/// When the state cannot be read.
pub fn renewed(store: &Store) -> Result<Vec<String>> {
    let epoch = store.meta().epoch;
    let due = store.resends()?.into_iter().filter(|(_, at)| *at == epoch);
    Ok(due.map(|(sink, _)| sink).collect())
}
