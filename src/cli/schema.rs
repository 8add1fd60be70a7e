//! Commands for schemas of records.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use schemas::evolution::{Level, SchemaKind};

use super::StatusFormat;

/// `herald schema`.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Tell the fields of an edited schema that break its readers, before anyone deploys it.
    ///
    /// Compares the new schema with old versions, Avro (.avsc) or JSON Schema (.json): each finding has its path, its
    /// place in the new file, the readers that it breaks, the reason and the remedy. Without --level a table tells all
    /// six levels. Exits with 0 if the level holds, with 3 if the edit breaks it or not all of it could be judged, with
    /// 2 if a schema cannot be read. docs/schemas.md says more.
    Check(SchemaCheckArgs),
}

/// `herald schema check`.
#[derive(Args, Debug)]
pub struct SchemaCheckArgs {
    /// Old versions, the oldest first, and the new one last. With --registry only the new one.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The level that must hold. Levels that are not transitive compare with the newest old version, the others with all.
    /// Default: the registry's for the subject, else backward, as registries have it.
    #[arg(long, value_enum)]
    pub level: Option<SchemaLevel>,
    /// The language of the schemas. Default: told by the new one's text.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<SchemaType>,
    /// Take the old versions from this schema registry: http://host:8081. SCHEMA_REGISTRY_USERNAME and
    /// SCHEMA_REGISTRY_PASSWORD, or SCHEMA_REGISTRY_TOKEN, log in.
    #[arg(long, value_name = "URL", requires = "subject")]
    pub registry: Option<String>,
    /// The subject of the registry: a topic's name and -value or -key.
    #[arg(long, requires = "registry")]
    pub subject: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub format: StatusFormat,
}

/// Levels of compatibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaLevel {
    /// Consumers with the new schema read records of the newest old one.
    Backward,
    /// Consumers with the newest old schema read new records.
    Forward,
    /// Both.
    Full,
    /// Consumers with the new schema read records of all old ones.
    BackwardTransitive,
    /// Consumers with any old schema read new records.
    ForwardTransitive,
    /// Both.
    FullTransitive,
}

impl SchemaLevel {
    /// The level of the rules.
    pub fn level(self) -> Level {
        match self {
            SchemaLevel::Backward => Level::Backward,
            SchemaLevel::Forward => Level::Forward,
            SchemaLevel::Full => Level::Full,
            SchemaLevel::BackwardTransitive => Level::BackwardTransitive,
            SchemaLevel::ForwardTransitive => Level::ForwardTransitive,
            SchemaLevel::FullTransitive => Level::FullTransitive,
        }
    }
}

/// Languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaType {
    /// Avro.
    Avro,
    /// JSON Schema.
    Json,
}

impl SchemaType {
    /// The language of the rules.
    pub fn kind(self) -> SchemaKind {
        match self {
            SchemaType::Avro => SchemaKind::Avro,
            SchemaType::Json => SchemaKind::JsonSchema,
        }
    }
}
