//! `herald check`: reports every mistake in a topology with its place; with `--connect` also checks the
//! brokers, topics and registries that it names.
//!
//! Without `--connect` nothing leaves the machine, and the files of file sources that are missing are warnings. With
//! it, each broker, topic and registry is asked once and nothing is created: a missing sink topic is no mistake, a
//! missing source topic or file is. All answers are printed, so that one run reports everything that is wrong.

mod looks;
mod personal;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use connectors::export::ExportWriter;
use connectors::kafka::{KafkaCluster, Topics};
use connectors::{ConnectorError, SinkConnector, SourceConnector};
use dataflows::plan::formats::Encoding;
use dataflows::plan::{Plan, Sink, Source};
use dataflows::sql::{SqlError, SqlFile};
use schemas::{Registry, SchemaError};

use crate::cli::{CheckArgs, StatusFormat};
use crate::exit::{self, SqlMistakes, mistake};
use crate::topology::{self, Network, UnreadFiles, Variables};
use personal::{Sampled, sample_sources};

/// Time for which a broker's answer is waited for.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// `herald check`.
pub fn command(args: &CheckArgs) -> Result<()> {
    let files = topology::read_files(&args.files)?;
    let variables = Variables::read(args.env_file.as_deref())?;
    let checked = Checked::new(&files, &variables, args.connect);
    if args.format == StatusFormat::Json {
        return answer_json(checked, args.sample);
    }
    let Checked { plan, warnings } = checked?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    println!("{}: {}.", names.join(", "), plan_summary(&plan));
    let connected = if args.connect { check_connections(&plan) } else { Ok(()) };
    if let Some(most) = args.sample
        && connected.is_ok()
    {
        for sampled in sample_sources(&plan, most as usize, args.connect)? {
            print!("{}", sampled.text());
        }
    }
    connected
}

/// A topology without mistakes.
struct Checked {
    plan: Arc<Plan>,
    warnings: Vec<SqlError>,
}

impl Checked {
    /// Plans a topology. Without `connect` the files of its sources that cannot be read are warnings; with it they
    /// are looked for later, with all else that is outside.
    fn new(files: &[SqlFile], variables: &Variables, connect: bool) -> Result<Checked> {
        let network = if connect { Network::Allowed } else { Network::Refused };
        let plan = topology::plan_topology(files, variables, network)?;
        let mut warnings = plan.warnings.clone();
        if !connect {
            warnings.extend(topology::file_warnings(files, variables, &plan)?);
        }
        Ok(Checked { plan, warnings })
    }
}

/// The answer for programs, on standard output. Mistakes in the text are part of it and of the exit code.
fn answer_json(checked: Result<Checked>, sample: Option<u32>) -> Result<()> {
    match checked {
        Ok(Checked { warnings, plan }) => {
            let mut answer = serde_json::json!({"mistakes": [], "warnings": errors_json(&warnings)});
            if let Some(most) = sample {
                let samples = sample_sources(&plan, most as usize, false)?;
                answer["samples"] = samples.iter().map(Sampled::json).collect();
            }
            println!("{answer}");
            Ok(())
        }
        Err(error) => match error.downcast_ref::<SqlMistakes>() {
            Some(mistakes) => {
                println!("{}", serde_json::json!({"mistakes": errors_json(&mistakes.found), "warnings": []}));
                Err(mistake(format!("{} found", mistakes.found.len())))
            }
            None => Err(error),
        },
    }
}

/// Mistakes and warnings in parts, for programs.
fn errors_json(found: &[SqlError]) -> Vec<serde_json::Value> {
    let mut all = Vec::with_capacity(found.len());
    for one in found {
        all.push(serde_json::json!({
            "file": one.file, "line": one.line, "column": one.column, "message": one.message, "hint": one.hint,
        }));
    }
    all
}

/// A number of things as words.
fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// The numbers of sources, tables, views, indexes and sinks; without sources, tables or indexes where there are none.
fn plan_summary(plan: &Plan) -> String {
    let tables = plan.sources.iter().filter(|source| source.keyed.is_some()).count();
    let mut read = Vec::new();
    for (n, one) in [(plan.sources.len() - tables, "source"), (tables, "table")] {
        if n > 0 {
            read.push(count(n, one));
        }
    }
    read.push(count(plan.views.len(), "materialized view"));
    let indexes: usize = plan.views.iter().map(|view| view.indexes.len()).sum();
    if indexes > 0 {
        let word = if indexes == 1 { "index" } else { "indexes" };
        read.push(format!("{indexes} {word}"));
    }
    format!("no mistakes in {} and {}", read.join(", "), count(plan.sinks.len(), "sink"))
}

/// Asks every broker, topic and registry of the plan, prints each answer, and fails if one is bad.
fn check_connections(plan: &Plan) -> Result<()> {
    let mut clusters = Clusters::default();
    let mut answers: Vec<(String, Result<String>)> = Vec::new();
    for source in &plan.sources {
        let subject = format!("source {}", source.name);
        answers.push((subject.clone(), ask_source(&mut clusters, source)));
        if let Some(answer) = ask_dead_letter(&mut clusters, source) {
            answers.push((format!("{subject}, dead letters"), answer));
        }
        let schema =
            SchemaOf { part: "value", encoding: source.encoding, encode_options: &source.encode_options };
        if let Some(answer) = schema.ask(&source.options, true) {
            answers.push((format!("{subject}, {}", schema.name()), answer));
        }
    }
    for sink in &plan.sinks {
        let subject = format!("sink {}", sink.name);
        answers.push((subject.clone(), ask_sink(&mut clusters, sink)));
        for schema in sink_schemas(sink) {
            if let Some(answer) = schema.ask(&sink.options, false) {
                answers.push((format!("{subject}, {}", schema.name()), answer));
            }
        }
    }
    let (all, mut bad, mut mistaken) = (answers.len(), 0, true);
    for (subject, answer) in answers {
        match answer {
            Ok(found) => println!("{subject}: {found}."),
            Err(error) => {
                bad += 1;
                mistaken &= exit::code(&error) == 2;
                println!("{}", exit::sentences(&error.context(subject)));
            }
        }
    }
    match (bad, mistaken) {
        (0, _) => Ok(()),
        (bad, true) => Err(mistake(format!("{bad} of {all} checks failed"))),
        (bad, false) => Err(anyhow!("{bad} of {all} checks failed")),
    }
}

/// Clients, one per cluster. A cluster that did not answer is not asked again for every topic.
#[derive(Default)]
struct Clusters {
    open: HashMap<String, Topics>,
    silent: HashMap<String, String>,
}

impl Clusters {
    /// The partition count of a topic; None if it does not exist.
    fn partition_count(&mut self, cluster: &KafkaCluster, topic: &str) -> Result<Option<i32>> {
        let identity = cluster.identity().to_owned();
        if let Some(reason) = self.silent.get(&identity) {
            return Err(anyhow!("{reason}"));
        }
        if !self.open.contains_key(&identity) {
            self.open.insert(identity.clone(), Topics::open(cluster, BROKER_TIMEOUT)?);
        }
        let topics = self.open.get(&identity).context("the client is gone")?;
        let asked = topics.partition_count(topic);
        if let Err(error @ ConnectorError::Unreachable { .. }) = &asked {
            self.silent.insert(identity, error.to_string());
        }
        Ok(asked?)
    }
}

fn ask_source(clusters: &mut Clusters, source: &Source) -> Result<String> {
    match &SourceConnector::from_options(&source.options)? {
        SourceConnector::Kafka(kafka) => {
            let found = clusters.partition_count(&kafka.cluster, &kafka.topic)?;
            if found.is_none() {
                let (topic, bootstrap) = (kafka.topic.clone(), kafka.cluster.bootstrap.clone());
                return Err(ConnectorError::MissingTopic { topic, bootstrap }.into());
            }
            Ok(topic_text(&kafka.topic, found))
        }
        SourceConnector::File(file) => match UnreadFiles::find(file) {
            None => Ok("its files can be read".to_owned()),
            Some(unread) if unread.awaited => Ok(format!("{}; it would be waited for", unread.reason)),
            Some(unread) => Err(anyhow!("{}\n  {}", unread.reason, unread.hint())),
        },
        SourceConnector::Datagen(_) | SourceConnector::Nexmark(_) => {
            Ok("its records are generated".to_owned())
        }
    }
}

/// Asks for the dead-letter topic, which is on the source's own cluster. None if there is none to ask for.
fn ask_dead_letter(clusters: &mut Clusters, source: &Source) -> Option<Result<String>> {
    let topic = source.dead_letter_topic.as_deref()?;
    match SourceConnector::from_options(&source.options) {
        Ok(SourceConnector::Kafka(kafka)) => {
            Some(clusters.partition_count(&kafka.cluster, topic).map(|found| topic_text(topic, found)))
        }
        _ => None,
    }
}

fn ask_sink(clusters: &mut Clusters, sink: &Sink) -> Result<String> {
    match SinkConnector::from_options(&sink.options)? {
        SinkConnector::Kafka(kafka) => {
            let found = clusters.partition_count(&kafka.cluster, &kafka.topic)?;
            Ok(topic_text(&kafka.topic, found))
        }
        SinkConnector::File(_) => Ok("writes a file".to_owned()),
        SinkConnector::Parquet(parquet) => Ok(match ExportWriter::peek(&parquet, &std::env::temp_dir())? {
            Some(newest) => format!("{} holds epochs up to {}", parquet.path, newest.marker.epoch),
            None => format!("{} is empty and will be written to", parquet.path),
        }),
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

/// The schema of the values or the keys of a topic.
struct SchemaOf<'p> {
    /// `value` or `key`, as the registry's subjects end.
    part: &'static str,
    encoding: Encoding,
    encode_options: &'p BTreeMap<String, String>,
}

/// The schemas of a sink's records: of the values, and of the keys if they have any.
fn sink_schemas(sink: &Sink) -> Vec<SchemaOf<'_>> {
    let mut found =
        vec![SchemaOf { part: "value", encoding: sink.encoding, encode_options: &sink.encode_options }];
    if !sink.key.is_empty() {
        let (encoding, encode_options) = (sink.key_encoding, &sink.key_encode_options);
        found.push(SchemaOf { part: "key", encoding, encode_options });
    }
    found
}

impl SchemaOf<'_> {
    /// Its name in an answer.
    fn name(&self) -> &'static str {
        if self.part == "key" { "schema of its key" } else { "schema" }
    }

    /// Asks the registry for the subject, if there is a registry. `options` name the topic; a subject that is not
    /// `needed` may be missing.
    fn ask(&self, options: &BTreeMap<String, String>, needed: bool) -> Option<Result<String>> {
        if self.encoding != Encoding::Avro {
            return None;
        }
        let url = self.encode_options.get("schema.registry")?;
        let subject = format!("{}-{}", options.get("topic").map_or("", String::as_str), self.part);
        let latest = Registry::new(url, self.encode_options).and_then(|registry| registry.latest(&subject));
        Some(match latest {
            Ok((id, _)) => Ok(format!("the registry has subject {subject} (schema {id})")),
            Err(SchemaError::NotFound(_)) if !needed => {
                Ok(format!("the registry does not have subject {subject} yet; it will be registered"))
            }
            // Records name their schemas by id: a source needs a registry that answers, but no subject.
            Err(SchemaError::NotFound(_)) => Ok(format!("the registry answers; it has no subject {subject}")),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_without_a_key_has_no_schema_of_one() -> Result<()> {
        let avro = "ENCODE AVRO (schema.registry = 'http://nobody')";
        let kafka = "connector = 'kafka', properties.bootstrap.server = 'b:1'";
        let text = format!(
            "CREATE SOURCE s (a INT NOT NULL) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;\n\
             CREATE MATERIALIZED VIEW v AS SELECT a, count(*) AS n FROM s GROUP BY a;\n\
             CREATE SINK rows_out FROM s WITH ({kafka}, topic = 'rows') FORMAT PLAIN {avro};\n\
             CREATE SINK counts_out FROM v WITH ({kafka}, topic = 'counts', primary_key = 'a') FORMAT UPSERT {avro};\n"
        );
        let files = [SqlFile { name: "t.sql".to_owned(), text }];
        let plan = topology::plan_topology(&files, &Variables::only(&[]), Network::Refused)?;
        let mut asked = Vec::new();
        for sink in &plan.sinks {
            for schema in sink_schemas(sink) {
                asked.push((sink.name.as_str(), schema.part, schema.encoding));
            }
        }
        let avro = Encoding::Avro;
        assert_eq!(
            asked,
            [("rows_out", "value", avro), ("counts_out", "value", avro), ("counts_out", "key", avro)]
        );
        Ok(())
    }
}
