//! Opening a topology: state, catalogue, sink topics, schemas, publisher, and the judgement whether
//! state and sinks belong together. Everything that can be refused is refused here, before the
//! first record is read and before anything is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use connectors::file::FileWriter;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::publisher::settle;
use connectors::kafka::{
    KafkaCluster, KafkaSource, Marker, PublishStatus, Publisher, PublisherConfig, TopicInfo, Topics,
};
use connectors::{ConnectorError, LetterTopic, Mismatch, SinkConnector};
use dataflows::plan::Source;
use dataflows::plan::formats::Format;
use dataflows::source::decoder;
use dataflows::state_tables::Spaces;
use dataflows::worker::MakeDecoder;
use fail::fail_point;
use state::{Store, StoreOptions};

use super::budget::Budget;
use super::encode::{Outputs, Target};
use super::publish::{Remembered, Targets};
use super::topics::Judged;
use super::{DriverConfig, DriverHandle};
use crate::exit::mistake;
use crate::failpoints;
use crate::metrics::Metrics;

/// How long a start waits for a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(15);

/// What is open.
pub struct Opened {
    /// The state.
    pub store: Arc<Store>,
    /// Encoders of all sinks.
    pub outputs: Arc<Outputs>,
    /// Topic and partitions of each source's dead letters, by source name.
    pub dead_letters: BTreeMap<String, LetterTopic>,
    /// The targets, until the publisher thread takes them.
    pub targets: Option<Targets>,
    /// The last epoch that each target holds.
    pub after: BTreeMap<u16, u64>,
    /// How publishing to Kafka fares.
    pub publisher: Option<Arc<PublishStatus>>,
}

/// Opens the state and everything that output goes to.
///
/// # Errors
/// When the state, the topics, the schemas or the markers do not fit the plan.
pub fn state_and_targets(
    config: &DriverConfig,
    metrics: &Arc<Metrics>,
    handle: &DriverHandle,
    stop: &Arc<AtomicBool>,
) -> Result<(Opened, Spaces)> {
    let connectors = sink_connectors(config)?;
    let cluster = sink_cluster(config, &connectors)?;
    let store = state(config)?;
    failpoints::opened(&store);
    fail_point!("recover.state.after");
    let spaces = spaces(config, &store)?;
    let topics = match &cluster {
        Some(cluster) => Some(Topics::open(cluster, BROKER_TIMEOUT)?),
        None => None,
    };
    let judging = topics.as_ref().map(|topics| Judged::new(topics, (&config.name, config.fresh), &store));
    let mut judged = judging.transpose()?;
    let Sinks { targets, files, mut after } = sinks(config, &connectors, judged.as_mut(), &store)?;
    let dead_letters = dead_letter_topics(config, judged.as_mut())?;
    let superseded = judged
        .as_ref()
        .map(|judged| judged.superseded(&store, &config.plan))
        .transpose()?
        .unwrap_or_default();
    let reached = judged.map(|judged| judged.keep(&store)).transpose()?.unwrap_or_default();
    fail_point!("recover.topics.after");
    let outputs = Arc::new(Outputs::new(&config.plan, targets.clone())?);
    let mut kafka = None;
    if let Some(cluster) = cluster {
        let wanted = PublisherConfig::new(cluster, &config.name, store.state_id());
        let wanted = publishing(wanted, &targets, &dead_letters);
        let wanted = PublisherConfig { reached, superseded, ..wanted };
        let (publisher, at) = publisher(config, wanted, &connectors, &store, stop)?;
        after.insert(0, at);
        kafka = Some(publisher);
    }
    let publisher = kafka.as_ref().map(|k| k.status());
    let targets = Targets {
        kafka,
        files,
        store: store.clone(),
        stop: stop.clone(),
        published: Arc::new(AtomicU64::new(0)),
        remembered: Remembered::default(),
        metrics: metrics.clone(),
        handle: handle.clone(),
    };
    Ok((Opened { store, outputs, dead_letters, targets: Some(targets), after, publisher }, spaces))
}

/// The state, empty where the run starts over.
fn state(config: &DriverConfig) -> Result<Arc<Store>> {
    if config.fresh {
        Store::wipe(&config.state_dir)?;
    }
    let within = Budget::of(config.memory).store();
    let options = StoreOptions { create: true, topology: Some(config.name.clone()), ..within };
    Ok(Arc::new(Store::open(&config.state_dir, &options)?))
}

/// Where the plan's sinks write.
struct Sinks {
    /// Of each sink, in the order of the plan.
    targets: Vec<Target>,
    /// Files by the number of their target.
    files: BTreeMap<u16, FileWriter>,
    /// The last epoch that each file holds.
    after: BTreeMap<u16, u64>,
}

/// Creates or checks the sinks' topics, and opens their files.
fn sinks(
    config: &DriverConfig,
    connectors: &[SinkConnector],
    mut judged: Option<&mut Judged<'_>>,
    store: &Store,
) -> Result<Sinks> {
    let mut sinks = Sinks { targets: Vec::new(), files: BTreeMap::new(), after: BTreeMap::new() };
    for (sink, connector) in config.plan.sinks.iter().zip(connectors) {
        let upsert = sink.format == Format::Upsert;
        let name = || format!("sink {}", sink.name);
        let target = match (connector, judged.as_deref_mut()) {
            (SinkConnector::Kafka(kafka), Some(judged)) => {
                let info = judged.sink(sink, kafka).with_context(name)?;
                let max_bytes = record_bytes(&info);
                Target::Kafka { topic: kafka.topic.clone(), partitions: info.partitions, max_bytes }
            }
            (SinkConnector::File(file), _) => {
                let number = sinks.files.len() as u16 + 1;
                let (mut writer, marker) =
                    FileWriter::open(file, store.state_id(), upsert).with_context(name)?;
                let at = if config.fresh {
                    writer.claim()?;
                    0
                } else {
                    judge(store, marker.as_ref(), number).with_context(name)?
                };
                sinks.after.insert(number, at);
                sinks.files.insert(number, writer);
                Target::File(number)
            }
            _ => Target::Blackhole,
        };
        sinks.targets.push(target);
    }
    Ok(sinks)
}

/// Most bytes of a record: room is left for the batch around it, its headers and Kafka's own fields.
fn record_bytes(info: &TopicInfo) -> usize {
    (info.max_message_bytes.max(2048) - 1024) as usize
}

/// How the topics are published to that sinks and dead letters name.
fn publishing(
    mut wanted: PublisherConfig,
    targets: &[Target],
    letters: &BTreeMap<String, LetterTopic>,
) -> PublisherConfig {
    let sinks = targets.iter().filter_map(|target| match target {
        Target::Kafka { topic, partitions, max_bytes } => Some((topic, *partitions, *max_bytes)),
        _ => None,
    });
    let all = sinks.chain(letters.values().map(|topic| (&topic.name, topic.partitions, topic.max_bytes)));
    let mut topics = BTreeMap::new();
    for (topic, partitions, max_bytes) in all {
        topics.insert(topic.clone(), partitions);
        let least = wanted.max_batch_bytes.unwrap_or(i64::MAX);
        wanted.max_batch_bytes = Some(least.min(max_bytes as i64));
    }
    wanted.topics = topics.into_iter().collect();
    wanted
}

/// The publisher to the cluster, and the last epoch that the cluster holds.
fn publisher(
    config: &DriverConfig,
    mut wanted: PublisherConfig,
    connectors: &[SinkConnector],
    store: &Store,
    stop: &Arc<AtomicBool>,
) -> Result<(Publisher, u64)> {
    wanted.timeout = BROKER_TIMEOUT;
    wanted.replication = connectors.iter().find_map(|c| match c {
        SinkConnector::Kafka(kafka) => kafka.replication,
        _ => None,
    });
    if !config.fresh {
        refuse_stranger(store, Publisher::peek(&wanted)?.as_ref())?;
    }
    let (mut publisher, marker) = Publisher::open(wanted, stop)?;
    let at = if config.fresh {
        publisher.claim(stop)?;
        0
    } else {
        let at = judge(store, marker.as_ref(), 0)?;
        fail_point!("recover.judged");
        publisher.take_over(stop)?;
        fail_point!("recover.taken");
        at
    };
    Ok((publisher, at))
}

/// Refuses a state that does not belong to the sinks before whoever publishes there is fenced. What an
/// open transaction hides is judged later.
fn refuse_stranger(store: &Store, marker: Option<&Marker>) -> Result<()> {
    match judge(store, marker, 0) {
        Err(error) if !lost(&error) => Err(error),
        _ => Ok(()),
    }
}

fn lost(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectorError::StateMismatch(Mismatch::LostData { .. })))
}

/// The spaces of the plan, as the state's catalogue has them.
fn spaces(config: &DriverConfig, store: &Store) -> Result<Spaces> {
    let held = store.catalogue()?.filter(|held| !held.entries.is_empty());
    match Spaces::of(&config.plan, held.as_ref()) {
        Ok(spaces) => {
            let wanted = spaces.catalogue(&config.name);
            if held.as_ref() != Some(&wanted) {
                store.put_catalogue(&wanted)?;
            }
            Ok(spaces)
        }
        Err(changed) => Err(mistake(format!(
            "the state in {} was made by an earlier edition of this topology; changed: {}\n  \
             run the edition that made it, give this one another name (--name N), or start over with --fresh",
            config.state_dir.display(),
            changed.join(", ")
        ))),
    }
}

fn sink_connectors(config: &DriverConfig) -> Result<Vec<SinkConnector>> {
    config
        .plan
        .sinks
        .iter()
        .map(|sink| SinkConnector::from_options(&sink.options).with_context(|| format!("sink {}", sink.name)))
        .collect()
}

/// The one cluster that sinks and dead letters go to.
fn sink_cluster(config: &DriverConfig, connectors: &[SinkConnector]) -> Result<Option<KafkaCluster>> {
    let mut cluster: Option<(String, KafkaCluster)> = None;
    let mut add = |who: String, found: KafkaCluster| match &cluster {
        Some((first, held)) if held.identity() != found.identity() => Err(mistake(format!(
            "{first} writes to Kafka at {} and {who} to {}: an epoch is one transaction, so all must use one cluster\n  \
             use one bootstrap server, or split the topology",
            held.identity(),
            found.identity()
        ))),
        Some(_) => Ok(()),
        None => {
            cluster = Some((who, found));
            Ok(())
        }
    };
    for (sink, connector) in config.plan.sinks.iter().zip(connectors) {
        if let SinkConnector::Kafka(kafka) = connector {
            add(format!("sink {}", sink.name), kafka.cluster.clone())?;
        }
    }
    for source in config.plan.sources.iter().filter(|s| s.dead_letter_topic.is_some()) {
        if source.options.get("connector").is_some_and(|c| c == "kafka") {
            let kafka = KafkaSource::from_options(&source.options)
                .with_context(|| format!("source {}", source.name))?;
            add(format!("the dead letters of source {}", source.name), kafka.cluster)?;
        }
    }
    Ok(cluster.map(|(_, cluster)| cluster))
}

fn dead_letter_topics(
    config: &DriverConfig,
    mut judged: Option<&mut Judged<'_>>,
) -> Result<BTreeMap<String, LetterTopic>> {
    let mut found = BTreeMap::new();
    for source in &config.plan.sources {
        let Some(topic) = &source.dead_letter_topic else { continue };
        let judged = judged.as_deref_mut().ok_or_else(|| {
            mistake(format!(
                "source {} names dead_letter.topic = '{topic}', but nothing here is on Kafka\n  \
                 leave it out: rejected records are in the table herald.dead_letter all the same",
                source.name
            ))
        })?;
        let info =
            judged.letters(topic).with_context(|| format!("dead letters of source {}", source.name))?;
        let letters =
            LetterTopic { name: topic.clone(), partitions: info.partitions, max_bytes: record_bytes(&info) };
        found.insert(source.name.clone(), letters);
    }
    Ok(found)
}

/// Where a target is, if its marker and the state belong together.
fn judge(store: &Store, marker: Option<&Marker>, target: u16) -> Result<u64> {
    let published = store.published(target)?.map_or(0, |p| p.epoch);
    fail_point!("publish.marker.ignored", |_| Ok(published));
    let digest_of = |epoch: u64| {
        let mut left = store.outbox_after(target, epoch.saturating_sub(1)).ok()?;
        let found = left.next()?.ok()?;
        (found.epoch == epoch).then(|| digest(&found.parts))
    };
    let at = settle(marker, store.state_id(), store.meta().epoch, published, digest_of)?;
    Ok(at)
}

/// Makes decoders for sources.
pub fn decoders(cancel: Arc<AtomicBool>) -> Arc<MakeDecoder> {
    Arc::new(move |source: &Source| decoder::of(source, &cancel))
}
