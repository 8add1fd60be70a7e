//! `herald topics`: a file of CREATE TOPIC, compared with a broker and a schema registry, and applied.
//!
//! `plan` and `apply` make the same comparison; `apply` then takes its steps one after the other. It keeps no state: given
//! again it compares again, and so goes on where it ended.
//!
//! | file | content |
//! | --- | --- |
//! | `file` | the file's topics, and the mistakes in its options |
//! | `connection` | settings of the connections |
//! | `subjects` | schemas and levels of compatibility, compared with the registry |
//! | `report` | the comparison, as text and as JSON |

mod connection;
mod file;
mod report;
mod subjects;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use connectors::ConnectorError;
use connectors::kafka::{TopicLayout, Topics};
use fail::fail_point;
use schemas::Registry;

use crate::cli::{StatusFormat, TopicsArgs, TopicsCommand};
use crate::topology::Variables;
use connection::Connection;
use file::DeclaredTopic;
use report::{Report, Step, TopicReport};

/// Longest time for which the broker is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `herald topics`.
///
/// # Errors
/// A mistake in the file or a setting, a broker or registry that does not answer, a step that failed.
pub fn command(command: &TopicsCommand) -> Result<()> {
    let (args, applies) = match command {
        TopicsCommand::Plan(args) => (args, false),
        TopicsCommand::Apply(args) => (args, true),
    };
    let variables = Variables::read(args.env_file.as_deref())?;
    let declared = file::read(&args.file, &variables, args.registry.is_some())?;
    let connection = Connection::read(args, &variables)?;
    let broker = Topics::open(&connection.cluster, TIMEOUT)?;
    let report = compare(&declared, &broker, &connection)?;
    let code = report.code();
    if !applies || code != report::PENDING {
        print(&match args.format {
            StatusFormat::Text => report.text(),
            StatusFormat::Json => format!("{:#}\n", report.json()),
        })?;
        match code {
            0 => return Ok(()),
            code => std::process::exit(code),
        }
    }
    apply(args, &report, &broker, connection.registry.as_ref())?;
    let layout: Vec<TopicLayout> = declared.into_iter().map(|declared| declared.topic).collect();
    Ok(broker.await_layout(&layout)?)
}

/// Writes a text to standard output at once.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Compares the file with the broker and the registry.
fn compare(declared: &[DeclaredTopic], broker: &Topics, connection: &Connection) -> Result<Report> {
    let layout: Vec<TopicLayout> = declared.iter().map(|declared| declared.topic.clone()).collect();
    let mut held = broker.held_topics(&layout)?;
    let mut topics = Vec::new();
    for DeclaredTopic { topic, subjects } in declared {
        let plan = topic.compare(held.get(&topic.name));
        let mut report = TopicReport {
            name: topic.name.clone(),
            key: topic.key.clone(),
            steps: Vec::new(),
            obstacles: plan.obstacles,
            warnings: plan.warnings,
        };
        for step in plan.steps {
            match broker.take_step(&topic.name, &step, true) {
                Ok(()) => {}
                Err(ConnectorError::Refused { what, reason, .. }) => {
                    report.obstacles.push(format!("Kafka refuses {what}: {reason}"));
                }
                Err(error) => return Err(error.into()),
            }
            report.steps.push(Step::Topic(step));
        }
        if let Some(registry) = &connection.registry {
            for subject in subjects {
                subjects::compare(subject, registry, &mut report)?;
            }
        }
        topics.push(report);
    }
    for topic in &layout {
        held.remove(&topic.name);
    }
    let registry = connection.registry.as_ref().map(|registry| registry.shown().to_owned());
    let bootstrap = connection.cluster.bootstrap.clone();
    Ok(Report { bootstrap, registry, topics, others: held.into_keys().collect() })
}

/// Takes all steps, and tells of each when it is done.
fn apply(args: &TopicsArgs, report: &Report, broker: &Topics, registry: Option<&Registry>) -> Result<()> {
    let total: usize = report.topics.iter().map(|topic| topic.steps.len()).sum();
    let mut done = 0;
    for topic in &report.topics {
        for step in &topic.steps {
            take(&topic.name, step, broker, registry).with_context(|| {
                format!(
                    "{}: could not {}\n  {done} of {total} steps are done, and the others are not: give the command again \
                     to go on",
                    topic.name,
                    step.order()
                )
            })?;
            done += 1;
            print(&match args.format {
                StatusFormat::Text => report::wrapped(&format!("{}: {}", topic.name, step.done()), 2),
                StatusFormat::Json => {
                    format!("{}\n", serde_json::json!({"topic": topic.name, "done": step.json()}))
                }
            })?;
            fail_point!("topics.step.done");
        }
    }
    if args.format == StatusFormat::Text {
        print(&format!("{done} {} done.\n", if done == 1 { "step" } else { "steps" }))?;
    }
    Ok(())
}

/// Takes one step.
fn take(topic: &str, step: &Step, broker: &Topics, registry: Option<&Registry>) -> Result<()> {
    match (step, registry) {
        (Step::Topic(step), _) => broker.take_step(topic, step, false)?,
        (Step::Level { subject, to, .. }, Some(registry)) => registry.set_compatibility(subject, to)?,
        (Step::Register { subject, schema, .. }, Some(registry)) => {
            registry.register(subject, schema)?;
        }
        // Steps of subjects come from a comparison with a registry.
        (Step::Level { .. } | Step::Register { .. }, None) => {}
    }
    Ok(())
}
