//! `herald check`: every mistake of a topology with its place; with `--connect` also the world it
//! points at.
//!
//! Without `--connect` nothing leaves the process. With it, each broker, topic and registry is asked
//! once and nothing is created: a sink topic that is missing is no mistake, a source topic is. All
//! answers are printed, so that one run tells everything that is wrong.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use connectors::kafka::{KafkaCluster, Topics};
use connectors::{ConnectorError, Reader, SinkConnector, SourceConfig, SourceConnector};
use dataflows::plan::formats::Encoding;
use dataflows::plan::{Plan, Sink, Source};
use schemas::{Registry, SchemaError};

use crate::cli::CheckArgs;
use crate::exit::{self, mistake};
use crate::topology::{self, Network};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `herald check`.
pub fn command(args: &CheckArgs) -> Result<()> {
    let files = topology::read(&args.files)?;
    let variables = topology::Variables::read(args.env_file.as_deref())?;
    let network = match args.connect {
        true => Network::Allowed,
        false => Network::Refused,
    };
    let plan = topology::plan(&files, &variables, network)?;
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    println!("{}: {}.", names.join(", "), contents(&plan));
    match args.connect {
        true => connect(&plan),
        false => Ok(()),
    }
}

fn contents(plan: &Plan) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!(
        "no mistakes in {}, {} and {}",
        count(plan.sources.len(), "source"),
        count(plan.views.len(), "materialized view"),
        count(plan.sinks.len(), "sink")
    )
}

/// Asks everything the plan points at, prints each answer, and fails if one is bad.
fn connect(plan: &Plan) -> Result<()> {
    let mut clusters = Clusters::default();
    let mut answers: Vec<(String, Result<String>)> = Vec::new();
    for source in &plan.sources {
        let subject = format!("source {}", source.name);
        answers.push((subject.clone(), ask_source(&mut clusters, source)));
        if let Some(answer) = ask_dead_letter(&mut clusters, source) {
            answers.push((format!("{subject}, dead letters"), answer));
        }
        if let Some(answer) = ask_registry(source.encoding, &source.encode_options, &source.options, true) {
            answers.push((format!("{subject}, schema"), answer));
        }
    }
    for sink in &plan.sinks {
        let subject = format!("sink {}", sink.name);
        answers.push((subject.clone(), ask_sink(&mut clusters, sink)));
        if let Some(answer) = ask_registry(sink.encoding, &sink.encode_options, &sink.options, false) {
            answers.push((format!("{subject}, schema"), answer));
        }
    }
    let (all, mut bad, mut mistaken) = (answers.len(), 0, true);
    for (subject, answer) in answers {
        match answer {
            Ok(found) => println!("{subject}: {found}."),
            Err(error) => {
                bad += 1;
                mistaken &= exit::code(&error) == 2;
                let told = exit::sentences(&error.context(subject));
                println!("{told}");
            }
        }
    }
    match (bad, mistaken) {
        (0, _) => Ok(()),
        (bad, true) => Err(mistake(format!("{bad} of {all} checks failed"))),
        (bad, false) => Err(anyhow!("{bad} of {all} checks failed")),
    }
}

/// Clients, one a cluster. A cluster that did not answer is not asked again for every topic.
#[derive(Default)]
struct Clusters {
    open: HashMap<String, Topics>,
    silent: HashMap<String, String>,
}

impl Clusters {
    fn partitions(&mut self, cluster: &KafkaCluster, topic: &str) -> Result<Option<i32>> {
        let identity = cluster.identity().to_owned();
        if let Some(reason) = self.silent.get(&identity) {
            return Err(anyhow!("{reason}"));
        }
        if !self.open.contains_key(&identity) {
            self.open.insert(identity.clone(), Topics::open(cluster, PATIENCE)?);
        }
        let topics = self.open.get(&identity).context("the client is gone")?;
        let asked = topics.partitions(topic);
        if let Err(error @ ConnectorError::Unreachable { .. }) = &asked {
            self.silent.insert(identity, error.to_string());
        }
        Ok(asked?)
    }
}

fn ask_source(clusters: &mut Clusters, source: &Source) -> Result<String> {
    let connector = SourceConnector::from_options(&source.options)?;
    match &connector {
        SourceConnector::Kafka(kafka) => {
            let found = clusters.partitions(&kafka.cluster, &kafka.topic)?;
            let partitions = found.ok_or_else(|| ConnectorError::MissingTopic {
                topic: kafka.topic.clone(),
                bootstrap: kafka.cluster.bootstrap.clone(),
            })?;
            Ok(topic_text(&kafka.topic, Some(partitions)))
        }
        SourceConnector::File(_) => {
            let config =
                SourceConfig { name: source.name.clone(), connector, want_headers: false, want_keys: false };
            Reader::open(&config, &BTreeMap::new())?;
            Ok("its files can be read".to_owned())
        }
        SourceConnector::Datagen(_) | SourceConnector::Nexmark(_) => {
            Ok("its records are generated".to_owned())
        }
    }
}

/// The dead letter topic is on the source's own cluster.
fn ask_dead_letter(clusters: &mut Clusters, source: &Source) -> Option<Result<String>> {
    let topic = source.dead_letter_topic.as_deref()?;
    match SourceConnector::from_options(&source.options) {
        Ok(SourceConnector::Kafka(kafka)) => {
            Some(clusters.partitions(&kafka.cluster, topic).map(|found| topic_text(topic, found)))
        }
        _ => None,
    }
}

fn ask_sink(clusters: &mut Clusters, sink: &Sink) -> Result<String> {
    match SinkConnector::from_options(&sink.options)? {
        SinkConnector::Kafka(kafka) => {
            let found = clusters.partitions(&kafka.cluster, &kafka.topic)?;
            Ok(topic_text(&kafka.topic, found))
        }
        SinkConnector::File(_) => Ok("writes a file".to_owned()),
        SinkConnector::Blackhole => Ok("keeps nothing".to_owned()),
    }
}

fn topic_text(topic: &str, partitions: Option<i32>) -> String {
    match partitions {
        Some(1) => format!("topic {topic} has 1 partition"),
        Some(partitions) => format!("topic {topic} has {partitions} partitions"),
        None => format!("topic {topic} does not exist and will be created"),
    }
}

/// Asks the registry for the subject of the topic's values. A sink's may be unknown so far.
fn ask_registry(
    encoding: Encoding,
    encode_options: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
    needed: bool,
) -> Option<Result<String>> {
    let url = encode_options.get("schema.registry").filter(|_| encoding == Encoding::Avro)?;
    let subject = format!("{}-value", options.get("topic").map_or("", String::as_str));
    let latest = Registry::new(url, encode_options).and_then(|registry| registry.latest(&subject));
    Some(match latest {
        Ok((id, _)) => Ok(format!("the registry has subject {subject} (schema {id})")),
        Err(SchemaError::NotFound(_)) if !needed => {
            Ok(format!("the registry does not have subject {subject} yet; it will be registered"))
        }
        // Records name their schemas by id: a source needs no subject, only its registry's answer.
        Err(SchemaError::NotFound(_)) => Ok(format!("the registry answers; it has no subject {subject}")),
        Err(error) => Err(error.into()),
    })
}
