//! Opening a topology: state, catalogue, sink topics, schemas, publisher, and the check that state and
//! sinks belong together. Everything that can be refused is refused here, before the first record is
//! read and before anything is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use connectors::file::FileWriter;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::settle;
use connectors::kafka::{
    KafkaCluster, KafkaSource, Marker, PublishStatus, Publisher, PublisherConfig, TopicInfo, Topics,
};
use connectors::{ConnectorError, DeadLetterTopic, Mismatch, SinkConnector};
use dataflows::plan::Source;
use dataflows::plan::formats::Format;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::MakeDecoder;
use dataflows::source::decoder;
use fail::fail_point;
use state::{Store, StoreOptions};

use super::budget::Budget;
use super::encode::{Outputs, Target};
use super::publish::{Remembered, Targets};
use super::topics::TopicCheck;
use super::{DriverConfig, DriverHandle};
use crate::exit::mistake;
use crate::failpoints;
use crate::metrics::Metrics;

/// Time for which a start waits for a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(15);

/// The opened parts of a topology.
pub struct Opened {
    /// The state.
    pub store: Arc<Store>,
    /// Encoders of all sinks.
    pub outputs: Arc<Outputs>,
    /// The dead-letter topics, by source name.
    pub dead_letters: BTreeMap<String, DeadLetterTopic>,
    /// The targets, until the publisher thread takes them.
    pub targets: Option<Targets>,
    /// The last published epoch of each target.
    pub after: BTreeMap<u16, u64>,
    /// Status of publishing to Kafka.
    pub publisher: Option<Arc<PublishStatus>>,
}

/// Opens the state and every target of output.
///
/// # Errors
/// When the state, the topics, the schemas or the markers do not fit the plan.
pub fn state_and_targets(
    config: &DriverConfig,
    metrics: &Arc<Metrics>,
    handle: &DriverHandle,
    stop: &Arc<AtomicBool>,
) -> Result<(Opened, StateTables)> {
    let connectors = sink_connectors(config)?;
    let cluster = sink_cluster(config, &connectors)?;
    let store = open_state(config)?;
    failpoints::state_opened(&store);
    fail_point!("recover.state.after");
    let state_tables = load_state_tables(config, &store)?;
    let topics = match &cluster {
        Some(cluster) => Some(Topics::open(cluster, BROKER_TIMEOUT)?),
        None => None,
    };
    let check = topics.as_ref().map(|topics| TopicCheck::new(topics, (&config.name, config.fresh), &store));
    let mut check = check.transpose()?;
    let OpenSinks { targets, files, mut after } = open_sinks(config, &connectors, check.as_mut(), &store)?;
    let dead_letters = dead_letter_topics(config, check.as_mut())?;
    let superseded = check
        .as_ref()
        .map(|check| check.superseded_epochs(&store, &config.plan))
        .transpose()?
        .unwrap_or_default();
    let reached = check.map(|check| check.store_topics(&store)).transpose()?.unwrap_or_default();
    fail_point!("recover.topics.after");
    let outputs = Arc::new(Outputs::new(&config.plan, targets.clone())?);
    let mut kafka = None;
    if let Some(cluster) = cluster {
        let wanted = PublisherConfig::new(cluster, &config.name, store.state_id());
        let wanted = configure_topics(wanted, &targets, &dead_letters);
        let wanted = PublisherConfig { reached, superseded, ..wanted };
        let (publisher, at) = open_publisher(config, wanted, &connectors, &store, stop)?;
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
    Ok((Opened { store, outputs, dead_letters, targets: Some(targets), after, publisher }, state_tables))
}

/// Opens the state; a run with `fresh` drops its content first.
fn open_state(config: &DriverConfig) -> Result<Arc<Store>> {
    if config.fresh {
        Store::wipe(&config.state_dir)?;
    }
    let within = Budget::of(config.memory).store_options();
    let options = StoreOptions { create: true, topology: Some(config.name.clone()), ..within };
    Ok(Arc::new(Store::open(&config.state_dir, &options)?))
}

/// The targets of the plan's sinks.
struct OpenSinks {
    /// The target of each sink, in the order of the plan.
    targets: Vec<Target>,
    /// File writers by target number.
    files: BTreeMap<u16, FileWriter>,
    /// The last published epoch of each file, by target number.
    after: BTreeMap<u16, u64>,
}

/// Creates or checks the sinks' topics, and opens their files.
fn open_sinks(
    config: &DriverConfig,
    connectors: &[SinkConnector],
    mut check: Option<&mut TopicCheck<'_>>,
    store: &Store,
) -> Result<OpenSinks> {
    let mut sinks = OpenSinks { targets: Vec::new(), files: BTreeMap::new(), after: BTreeMap::new() };
    for (sink, connector) in config.plan.sinks.iter().zip(connectors) {
        let upsert = sink.format == Format::Upsert;
        let name = || format!("sink {}", sink.name);
        let target = match (connector, check.as_deref_mut()) {
            (SinkConnector::Kafka(kafka), Some(check)) => {
                let info = check.check_sink_topic(sink, kafka).with_context(name)?;
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
                    let at = settled_epoch(store, marker.as_ref(), number).with_context(name)?;
                    writer.discard_unnoted()?;
                    at
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

/// Most bytes of a record's key and value. 1 KiB is left for the batch, the record's headers and Kafka's own
/// fields.
fn record_bytes(info: &TopicInfo) -> usize {
    (info.max_message_bytes.max(2048) - 1024) as usize
}

/// Adds the topics of sinks and dead letters to the publisher's configuration, with the smallest record
/// limit.
fn configure_topics(
    mut wanted: PublisherConfig,
    targets: &[Target],
    dead_letters: &BTreeMap<String, DeadLetterTopic>,
) -> PublisherConfig {
    let sinks = targets.iter().filter_map(|target| match target {
        Target::Kafka { topic, partitions, max_bytes } => Some((topic, *partitions, *max_bytes)),
        _ => None,
    });
    let all =
        sinks.chain(dead_letters.values().map(|topic| (&topic.name, topic.partitions, topic.max_bytes)));
    let mut topics = BTreeMap::new();
    for (topic, partitions, max_bytes) in all {
        topics.insert(topic.clone(), partitions);
        let least = wanted.max_batch_bytes.unwrap_or(i64::MAX);
        wanted.max_batch_bytes = Some(least.min(max_bytes as i64));
    }
    wanted.topics = topics.into_iter().collect();
    wanted
}

/// Opens the publisher to the cluster. Also returns the last epoch that the cluster holds.
fn open_publisher(
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
        refuse_foreign_state(store, Publisher::peek(&wanted)?.as_ref())?;
    }
    // Opening fences an earlier publisher; only then is the marker final.
    let (mut publisher, marker) = Publisher::open(wanted, stop)?;
    let at = if config.fresh {
        publisher.claim(stop)?;
        0
    } else {
        let at = settled_epoch(store, marker.as_ref(), 0)?;
        fail_point!("recover.judged");
        publisher.take_over(stop)?;
        fail_point!("recover.taken");
        at
    };
    Ok((publisher, at))
}

/// Refuses a state that does not belong to the sinks, before the process that publishes there is fenced. A
/// marker inside an open transaction is not visible yet, so lost data is not refused here but after fencing.
fn refuse_foreign_state(store: &Store, marker: Option<&Marker>) -> Result<()> {
    match settled_epoch(store, marker, 0) {
        Err(error) if !is_lost_data(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Tells whether the error says that the sinks lost published data.
fn is_lost_data(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectorError::StateMismatch(Mismatch::LostData { .. })))
}

/// The state tables of the plan, as the state's catalogue has them.
fn load_state_tables(config: &DriverConfig, store: &Store) -> Result<StateTables> {
    let held = store.catalogue()?.filter(|held| !held.entries.is_empty());
    match StateTables::of(&config.plan, held.as_ref()) {
        Ok(state_tables) => {
            let wanted = state_tables.catalogue(&config.name);
            if held.as_ref() != Some(&wanted) {
                store.put_catalogue(&wanted)?;
            }
            Ok(state_tables)
        }
        Err(changed) => Err(mistake(format!(
            "the state in {} was made by an earlier edition of this topology; changed: {}\n  \
             run the edition that made it, give this one another name (--name N), or start over with --fresh",
            config.state_dir.display(),
            changed.join(", ")
        ))),
    }
}

/// Reads the connector options of every sink.
fn sink_connectors(config: &DriverConfig) -> Result<Vec<SinkConnector>> {
    config
        .plan
        .sinks
        .iter()
        .map(|sink| SinkConnector::from_options(&sink.options).with_context(|| format!("sink {}", sink.name)))
        .collect()
}

/// The single cluster of sinks and dead letters; an error if they name more than one.
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

/// Creates or checks the dead-letter topics of the sources that name one.
fn dead_letter_topics(
    config: &DriverConfig,
    mut check: Option<&mut TopicCheck<'_>>,
) -> Result<BTreeMap<String, DeadLetterTopic>> {
    let mut found = BTreeMap::new();
    for source in &config.plan.sources {
        let Some(topic) = &source.dead_letter_topic else { continue };
        let check = check.as_deref_mut().ok_or_else(|| {
            mistake(format!(
                "source {} names dead_letter.topic = '{topic}', but nothing here is on Kafka\n  \
                 leave it out: rejected records are in the table herald.dead_letter all the same",
                source.name
            ))
        })?;
        let info = check
            .ensure_dead_letter_topic(topic)
            .with_context(|| format!("dead letters of source {}", source.name))?;
        let dead_letters = DeadLetterTopic {
            name: topic.clone(),
            partitions: info.partitions,
            max_bytes: record_bytes(&info),
        };
        found.insert(source.name.clone(), dead_letters);
    }
    Ok(found)
}

/// The last epoch that a target holds; an error if its marker and the state do not belong together.
fn settled_epoch(store: &Store, marker: Option<&Marker>, target: u16) -> Result<u64> {
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

/// Creates the factory of source decoders; setting `cancel` ends their waits.
pub fn decoders(cancel: Arc<AtomicBool>) -> Arc<MakeDecoder> {
    Arc::new(move |source: &Source| decoder::of(source, &cancel))
}
