//! Opening a topology, in two steps. The first looks at everything that the run needs: state, topics, markers,
//! files and sources. It creates, removes and fences nothing, so that a start that is refused leaves everything
//! as it was. The second registers schemas, drops the state that `--fresh` gives up, creates state, topics and
//! files, and takes the sinks over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use connectors::file::{FileSink, FileWriter};
use connectors::kafka::{
    KafkaCluster, KafkaSource, PublishStatus, Publisher, PublisherConfig, TopicInfo, Topics,
};
use connectors::options::names_connector;
use connectors::sink::KAFKA_TARGET;
use connectors::{ConnectorError, DeadLetterTopic, KafkaSink, Mismatch, SinkConnector};
use dataflows::maintenance::migrate::{Migrated, migrate_state};
use dataflows::plan::Source;
use dataflows::plan::formats::Format;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::MakeDecoder;
use dataflows::source::decoder;
use fail::fail_point;
use state::{StateError, StateLock, Store, StoreOptions};

use super::budget::Budget;
use super::encode::{Outputs, Target, sink_encoders};
use super::publish::exports::{self, Export};
use super::publish::settled::{settled_epoch, settled_file};
use super::publish::{Remembered, Targets};
use super::sources::again::SecondReaders;
use super::sources::{Backfill, OpenSource, Sources, source_error};
use super::topics::TopicCheck;
use super::{DriverConfig, DriverHandle};
use crate::exit::{self, mistake};
use crate::metrics::Metrics;
use crate::run::failpoints;
use crate::topology::continued::{Continued, continue_state};

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
    /// The exports, until their thread takes them.
    pub exports: Vec<Export>,
    /// The last published epoch of each target.
    pub after: BTreeMap<u16, u64>,
    /// Status of publishing to Kafka.
    pub publisher: Option<Arc<PublishStatus>>,
}

/// Parts of a start in which nothing was found wrong. Nothing has been created, removed or fenced for it yet.
struct Accepted {
    /// The connectors of the plan's sinks.
    connectors: Vec<SinkConnector>,
    /// The state that the run continues; None when it creates one.
    held: Option<Arc<Store>>,
    /// The lock of the state that `--fresh` drops.
    dropped: Option<StateLock>,
    continued: Continued,
    /// The topics of sinks and dead letters, if there are any.
    check: Option<TopicCheck>,
    /// The publisher, if there are such topics.
    publisher: Option<PublisherConfig>,
    sources: Sources,
}

/// Opens the state, every target of output and every source.
///
/// # Errors
/// When the state, the topics, the schemas, the markers or the sources do not fit the plan, or a stop is heard
/// while an index is filled.
pub fn state_and_targets(
    config: &DriverConfig,
    metrics: &Arc<Metrics>,
    handle: &DriverHandle,
    stop: &Arc<AtomicBool>,
) -> Result<(Opened, Continued, Sources)> {
    let Accepted { connectors, held, dropped, continued, mut check, publisher, sources } =
        look_at_everything(config)?;
    // Only a registry can tell whether it takes a schema, and it is asked by registering: so this comes first.
    let encoders = sink_encoders(&config.plan, &connectors)?;
    let store = match held {
        Some(store) => store,
        None => create_state(config, dropped)?,
    };
    let is_stopped = || handle.is_stopping() || stop.load(Ordering::Relaxed);
    continued.write_catalogue(&config.name, &store, &is_stopped)?;
    let topics = check.as_mut().map(TopicCheck::create_topics).transpose()?.unwrap_or_default();
    let OpenSinks { targets, files, exports, mut after } =
        open_sinks(config, &connectors, &topics, (&store, &continued.state_tables))?;
    let dead_letters = dead_letter_topics(config, &topics);
    let (mut superseded, mut reached) = (BTreeMap::new(), BTreeMap::new());
    if let Some(check) = check {
        superseded = check.superseded_epochs(&store, &config.plan)?;
        reached = check.store_topics(&store)?;
    }
    fail_point!("recover.topics.after");
    let outputs = Arc::new(Outputs::new(targets.clone(), encoders, &config.plan.version));
    let mut kafka = None;
    if let Some(wanted) = publisher {
        let wanted = PublisherConfig { state_id: store.state_id().to_owned(), reached, superseded, ..wanted };
        let wanted = configure_topics(wanted, &targets, &dead_letters);
        let (publisher, at) = open_publisher(config, wanted, &store, stop)?;
        after.insert(KAFKA_TARGET, at);
        kafka = Some(publisher);
    }
    let publisher = kafka.as_ref().map(Publisher::status);
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
    let opened = Opened { store, outputs, dead_letters, targets: Some(targets), exports, after, publisher };
    Ok((opened, continued, sources))
}

/// Looks at everything that the run needs, and changes nothing.
///
/// # Errors
/// The failure that ended the look, or the mistakes that were found.
fn look_at_everything(config: &DriverConfig) -> Result<Accepted> {
    let connectors = sink_connectors(config)?;
    let cluster = sink_cluster(config, &connectors)?;
    let (held, dropped) =
        if config.fresh { (None, Store::lock(&config.state_dir)?) } else { (open_held_state(config)?, None) };
    fail_point!("recover.state.after");
    let mut continued = continue_state(config.plan.clone(), held.as_deref(), config.allow_gap)?;
    let publisher = cluster.map(|cluster| publisher_config(config, cluster, &connectors));
    let mut check = None;
    if let Some(publisher) = &publisher {
        let topics = Topics::open(&publisher.cluster, BROKER_TIMEOUT)?;
        check = Some(TopicCheck::new(topics, (&config.name, config.fresh), held.as_deref())?);
    }
    let mut mistakes = Mistakes::default();
    let known = (held.as_deref(), &continued.state_tables);
    look_at_sinks(config, (&connectors, known), check.as_mut(), &mut mistakes)?;
    look_at_dead_letters(config, check.as_mut(), &mut mistakes)?;
    if let Some(publisher) = &publisher {
        mistakes.note(refuse_foreign_state(config, held.as_deref(), publisher))?;
    }
    fail_point!("recover.sources.before");
    let sources = open_sources(config, &mut continued, &mut mistakes)?;
    fail_point!("recover.sources.after");
    mistakes.refuse()?;
    Ok(Accepted { connectors, held, dropped, continued, check, publisher, sources })
}

/// Mistakes found at a start, to be told together.
#[derive(Default)]
struct Mistakes(Vec<Error>);

impl Mistakes {
    /// Returns a value that was found; None for a mistake, which is kept.
    ///
    /// # Errors
    /// Any other failure, with the mistakes kept so far: a broker that does not answer, or lets nobody in, would
    /// fail whatever comes next.
    fn note<T>(&mut self, found: Result<T>) -> Result<Option<T>> {
        let error = match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        let refused = matches!(error.downcast_ref(), Some(ConnectorError::Refused { .. }));
        let ends = refused || exit::code(&error) != 2;
        self.0.push(error);
        if ends {
            self.refuse()?;
        }
        Ok(None)
    }

    /// Succeeds if there are no mistakes.
    ///
    /// # Errors
    /// The mistake, or one error that tells all.
    fn refuse(&mut self) -> Result<()> {
        let mut found = std::mem::take(&mut self.0);
        let Some(last) = found.pop() else { return Ok(()) };
        if found.is_empty() {
            return Err(last);
        }
        found.push(last);
        let all_mistakes = found.iter().all(|error| exit::code(error) == 2);
        let sentences: Vec<String> = found.iter().map(exit::sentences).collect();
        let text = sentences.join("\n");
        // The head of the first is put in front again when the whole is printed.
        let text = text.strip_prefix("error: ").unwrap_or(&text).to_owned();
        Err(if all_mistakes { mistake(text) } else { anyhow!(text) })
    }
}

/// Opens the state that the run continues; None if there is none. One that an earlier release wrote is
/// rewritten first, which changes its form and not its content.
fn open_held_state(config: &DriverConfig) -> Result<Option<Arc<Store>>> {
    match migrate_state(&config.state_dir, &store_options(config, false), &config.plan)? {
        Migrated::Current => {}
        Migrated::Rewritten(keys) => tracing::warn!(
            keys,
            "the state of an earlier release was rewritten; its database is kept in {}/format-1",
            config.state_dir.display()
        ),
        Migrated::OtherPlan(changed) => return Err(earlier_edition(config, &changed)),
    }
    match open_state(config, false) {
        Err(StateError::Missing { .. }) => Ok(None),
        opened => Ok(opened.map(Some)?),
    }
}

/// Creates the state; the one that `--fresh` drops goes first.
fn create_state(config: &DriverConfig, dropped: Option<StateLock>) -> Result<Arc<Store>> {
    if config.fresh {
        // The wipe takes the lock itself. It also removes what an interrupted wipe left.
        drop(dropped);
        Store::wipe(&config.state_dir)?;
    }
    let store = open_state(config, true)?;
    // Sources were opened for a state that has read nothing.
    if store.meta().epoch > 0 {
        return Err(anyhow!(
            "another process made the state in {} while this one started: start it again",
            config.state_dir.display()
        ));
    }
    Ok(store)
}

/// Opens the state; with `create`, a missing one is created.
fn open_state(config: &DriverConfig, create: bool) -> Result<Arc<Store>, StateError> {
    let store = Store::open(&config.state_dir, &store_options(config, create))?;
    failpoints::state_opened(&store);
    Ok(Arc::new(store))
}

fn store_options(config: &DriverConfig, create: bool) -> StoreOptions {
    let within = Budget::of(config.memory).store_options();
    let erases =
        config.plan.sources.iter().any(|source| source.erases.is_some() || !source.erase_by.is_empty());
    StoreOptions { create, topology: Some(config.name.clone()), erases, ..within }
}

/// Looks at the sinks' topics and files. `held` is the state that the run continues, with its tables.
fn look_at_sinks(
    config: &DriverConfig,
    (connectors, (held, tables)): (&[SinkConnector], (Option<&Store>, &StateTables)),
    mut check: Option<&mut TopicCheck>,
    mistakes: &mut Mistakes,
) -> Result<()> {
    let sinks = config.plan.sinks.iter().zip(connectors);
    for ((sink, connector), number) in sinks.zip(SinkConnector::targets(connectors)) {
        let looked = match (connector, number) {
            (SinkConnector::Kafka(kafka), _) => match check.as_deref_mut() {
                Some(check) => check.check_sink_topic(sink, kafka),
                None => Ok(()),
            },
            (SinkConnector::File(file), Some(number)) => look_at_file(config, file, held, number),
            (SinkConnector::Parquet(parquet), Some(number)) => {
                exports::look(config, (sink, parquet), (held, tables), number)
            }
            (SinkConnector::File(_) | SinkConnector::Parquet(_) | SinkConnector::Blackhole, _) => Ok(()),
        };
        mistakes.note(looked.with_context(|| format!("sink {}", sink.name)))?;
    }
    Ok(())
}

/// Looks at the file of a sink, which is target `number`.
fn look_at_file(config: &DriverConfig, file: &FileSink, held: Option<&Store>, number: u16) -> Result<()> {
    let marker = FileWriter::peek(file)?;
    let directory = file.directory();
    // An unnamed file, which leaves nothing behind.
    tempfile::tempfile_in(directory)
        .with_context(|| format!("no file can be written in directory {}", directory.display()))?;
    if !config.fresh {
        settled_file(held, marker.as_ref(), file, number)?;
    }
    Ok(())
}

/// Looks at the dead-letter topics of the sources that name one.
fn look_at_dead_letters(
    config: &DriverConfig,
    mut check: Option<&mut TopicCheck>,
    mistakes: &mut Mistakes,
) -> Result<()> {
    for source in &config.plan.sources {
        let Some(topic) = &source.dead_letter_topic else { continue };
        let looked = match check.as_deref_mut() {
            Some(check) => check
                .check_dead_letter_topic(&source.name, topic)
                .with_context(|| format!("dead letters of source {}", source.name)),
            None => Err(mistake(format!(
                "source {} names dead_letter.topic = '{topic}', but nothing here is on Kafka\n  \
                 leave it out: rejected records are in the table herald.dead_letter all the same",
                source.name
            ))),
        };
        mistakes.note(looked)?;
    }
    Ok(())
}

/// Opens every source where the state has read it to, or the input of a backfill.
fn open_sources(
    config: &DriverConfig,
    continued: &mut Continued,
    mistakes: &mut Mistakes,
) -> Result<Sources> {
    let progress = &continued.progress;
    let mut open = Vec::new();
    if let Some(order) = &config.backfill {
        let opened = continued.refuse_edited().and_then(|()| Backfill::open(config, order, progress));
        return Ok(Sources::of_backfill(&config.plan, mistakes.note(opened)?));
    }
    for source in &config.plan.sources {
        let opened = OpenSource::open(config, source, progress.sources.get(&source.name));
        open.extend(mistakes.note(opened.map_err(|error| source_error(&source.name, error)))?);
    }
    let seconds = SecondReaders::open(&config.name, &continued.plan, progress);
    let seconds = mistakes.note(seconds)?.unwrap_or_default();
    let gone = seconds.gone(&continued.plan);
    mistakes.note(continued.accept_gone(&gone, (config.allow_gap, config.skip_lost_records)))?;
    Ok(Sources::new(&continued.plan, open, seconds))
}

/// The targets of the plan's sinks.
#[derive(Default)]
struct OpenSinks {
    /// The target of each sink, in the order of the plan.
    targets: Vec<Target>,
    /// File writers by target number.
    files: BTreeMap<u16, FileWriter>,
    /// Exports.
    exports: Vec<Export>,
    /// The last published epoch of each file, by target number.
    after: BTreeMap<u16, u64>,
}

/// Opens the sinks' files, and joins the sinks with their topics.
fn open_sinks(
    config: &DriverConfig,
    connectors: &[SinkConnector],
    topics: &BTreeMap<String, TopicInfo>,
    (store, state_tables): (&Arc<Store>, &StateTables),
) -> Result<OpenSinks> {
    let mut sinks = OpenSinks::default();
    let planned = config.plan.sinks.iter().zip(connectors);
    for ((sink, connector), number) in planned.zip(SinkConnector::targets(connectors)) {
        let upsert = sink.format == Format::Upsert;
        let name = || format!("sink {}", sink.name);
        let target = match connector {
            SinkConnector::Kafka(KafkaSink { topic, .. }) => {
                let info = topics.get(topic).ok_or_else(|| anyhow!("topic {topic} was not looked at"))?;
                Target::Kafka {
                    topic: topic.clone(),
                    partitions: info.partitions,
                    max_bytes: record_bytes(info),
                }
            }
            SinkConnector::File(file) => {
                let number = number.context("a file has no target").with_context(name)?;
                let (mut writer, marker) =
                    FileWriter::open(file, store.state_id(), upsert).with_context(name)?;
                let at = if config.fresh {
                    writer.claim()?;
                    0
                } else {
                    let at = settled_file(Some(store.as_ref()), marker.as_ref(), file, number);
                    let at = at.with_context(name)?;
                    writer.discard_unnoted()?;
                    at
                };
                sinks.after.insert(number, at);
                sinks.files.insert(number, writer);
                Target::File(number)
            }
            SinkConnector::Parquet(parquet) => {
                let number = number.context("an export has no target").with_context(name)?;
                let export = Export::open(config, (sink, parquet), (store.as_ref(), state_tables), number);
                let export = export.with_context(name)?;
                let target = Target::Export { number, mode: export.mode() };
                sinks.exports.push(export);
                target
            }
            SinkConnector::Blackhole => Target::Blackhole,
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
    let mut all = Vec::new();
    for target in targets {
        if let Target::Kafka { topic, partitions, max_bytes } = target {
            all.push((topic, *partitions, *max_bytes));
        }
    }
    for topic in dead_letters.values() {
        all.push((&topic.name, topic.partitions, topic.max_bytes));
    }
    let mut topics = BTreeMap::new();
    for (topic, partitions, max_bytes) in all {
        topics.insert(topic.clone(), partitions);
        let least = wanted.max_batch_bytes.unwrap_or(i64::MAX);
        wanted.max_batch_bytes = Some(least.min(max_bytes as i64));
    }
    wanted.topics = topics.into_iter().collect();
    wanted
}

/// The publisher's configuration, as far as it does not depend on the state.
fn publisher_config(
    config: &DriverConfig,
    cluster: KafkaCluster,
    connectors: &[SinkConnector],
) -> PublisherConfig {
    let replication = connectors.iter().find_map(|c| match c {
        SinkConnector::Kafka(kafka) => kafka.replication,
        _ => None,
    });
    let usual = PublisherConfig::new(cluster, &config.name, "");
    PublisherConfig { replication, timeout: BROKER_TIMEOUT, ..usual }
}

/// Opens the publisher to the cluster. Also returns the last epoch that the cluster holds.
fn open_publisher(
    config: &DriverConfig,
    wanted: PublisherConfig,
    store: &Store,
    stop: &Arc<AtomicBool>,
) -> Result<(Publisher, u64)> {
    // Opening fences an earlier publisher; only then is the marker final.
    let (mut publisher, marker) = Publisher::open(wanted, stop)?;
    let at = if config.fresh {
        publisher.claim(stop)?;
        0
    } else {
        let at = settled_epoch(Some(store), marker.as_ref(), KAFKA_TARGET)?;
        fail_point!("recover.judged");
        publisher.take_over(stop)?;
        fail_point!("recover.taken");
        at
    };
    Ok((publisher, at))
}

/// Refuses a state that does not belong to the sinks, before the process that publishes there is fenced. A
/// marker inside an open transaction is not visible yet, so lost data is not refused here but after fencing.
fn refuse_foreign_state(
    config: &DriverConfig,
    held: Option<&Store>,
    publisher: &PublisherConfig,
) -> Result<()> {
    let marker = Publisher::peek(publisher)?;
    match settled_epoch(held, marker.as_ref(), KAFKA_TARGET) {
        Err(error) if !config.fresh && !is_lost_data(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Tells whether the error says that the sinks lost published data.
fn is_lost_data(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectorError::StateMismatch(Mismatch::LostData { .. })))
}

/// The refusal of a state of an earlier release that another text of the topology filled.
fn earlier_edition(config: &DriverConfig, changed: &[String]) -> Error {
    mistake(format!(
        "the state in {} was made by an earlier release and an earlier text of this topology; changed: {}\n  \
         run the text that made it once, give this one another name (--name N), or start over with --fresh",
        config.state_dir.display(),
        changed.join(", ")
    ))
}

/// Reads the connector options of every sink.
fn sink_connectors(config: &DriverConfig) -> Result<Vec<SinkConnector>> {
    let mut connectors = Vec::new();
    for sink in &config.plan.sinks {
        let connector = SinkConnector::from_options(&sink.options);
        connectors.push(connector.with_context(|| format!("sink {}", sink.name))?);
    }
    Ok(connectors)
}

/// The single cluster of sinks and dead letters; an error if they name more than one.
fn sink_cluster(config: &DriverConfig, connectors: &[SinkConnector]) -> Result<Option<KafkaCluster>> {
    let mut cluster: Option<(String, KafkaCluster)> = None;
    for (sink, connector) in config.plan.sinks.iter().zip(connectors) {
        if let SinkConnector::Kafka(kafka) = connector {
            add_cluster(&mut cluster, format!("sink {}", sink.name), kafka.cluster.clone())?;
        }
    }
    for source in &config.plan.sources {
        if source.dead_letter_topic.is_some() && names_connector(&source.options, "kafka") {
            let kafka = KafkaSource::from_options(&source.options)
                .with_context(|| format!("source {}", source.name))?;
            let who = format!("the dead letters of source {}", source.name);
            add_cluster(&mut cluster, who, kafka.cluster)?;
        }
    }
    let (_, cluster) = cluster.unzip();
    Ok(cluster)
}

/// Notes the first cluster and who names it; an error if a later one is another.
fn add_cluster(first: &mut Option<(String, KafkaCluster)>, who: String, found: KafkaCluster) -> Result<()> {
    match first {
        Some((first, held)) if held.identity() != found.identity() => Err(mistake(format!(
            "{first} writes to Kafka at {} and {who} to {}: an epoch is one transaction, so all must use one cluster\n  \
             use one bootstrap server, or split the topology",
            held.identity(),
            found.identity()
        ))),
        Some(_) => Ok(()),
        None => {
            *first = Some((who, found));
            Ok(())
        }
    }
}

/// The dead-letter topics, by the names of the sources.
fn dead_letter_topics(
    config: &DriverConfig,
    topics: &BTreeMap<String, TopicInfo>,
) -> BTreeMap<String, DeadLetterTopic> {
    let mut found = BTreeMap::new();
    for source in &config.plan.sources {
        let Some(name) = source.dead_letter_topic.clone() else { continue };
        let Some(info) = topics.get(&name) else { continue };
        let (partitions, max_bytes) = (info.partitions, record_bytes(info));
        found.insert(source.name.clone(), DeadLetterTopic { name, partitions, max_bytes });
    }
    found
}

/// Creates the factory of source decoders; setting `cancel` ends their waits.
pub fn decoders(cancel: Arc<AtomicBool>) -> Arc<MakeDecoder> {
    Arc::new(move |source: &Source| decoder::of(source, &cancel))
}

#[cfg(test)]
mod tests;
