//! Commands for layouts of topics.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::StatusFormat;

/// `herald topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Compare a file of CREATE TOPIC with a broker, and tell the steps of apply. Nothing is changed.
    ///
    /// Options that the file does not name are left as they are. So are topics that it does not name: they are listed, and
    /// never deleted. The broker and the registry are asked whether they would take each step. Exits with 0 when
    /// nothing is to be done, with 3 when something is, with 4 when something is impossible, with 2 on a
    /// mistake in the file. docs/topics.md says more.
    Plan(TopicsArgs),
    /// Make the topics of a broker as a file of CREATE TOPIC says, by the steps that plan prints.
    ///
    /// Each step is printed when it is done. When something is impossible, nothing is changed, and it exits
    /// with 4. When a step fails, it ends there and says so: given again it goes on from there.
    Apply(TopicsArgs),
}

/// `herald topics plan` and `herald topics apply`.
#[derive(Args, Debug)]
pub struct TopicsArgs {
    /// The layout: a file of CREATE TOPIC statements.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The brokers: HOST:PORT,...
    #[arg(long, value_name = "HOST:PORT", env = "KAFKA_BOOTSTRAP")]
    pub bootstrap: String,
    /// The schema registry, if the file has schemas or levels of compatibility: http://HOST:PORT
    #[arg(long, value_name = "URL", env = "SCHEMA_REGISTRY")]
    pub registry: Option<String>,
    /// Settings of the connections, NAME=VALUE lines: librdkafka's, such as security.protocol, and
    /// schema.registry.username, .password and .token. ${NAME} in a value is a variable.
    #[arg(long, value_name = "FILE", env = "HERALD_PROPERTIES")]
    pub properties: Option<PathBuf>,
    /// Variables for ${NAME} in the files: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
    /// Output format. Of apply JSON is a line for each step.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub format: StatusFormat,
}
