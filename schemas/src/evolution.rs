//! Evolution of schemas: the findings about an edit, field by field, for each level of compatibility.
//!
//! A reader resolves records by its own schema and the one they were written with. Backward compatible is an edit
//! whose reader has the new schema and meets old records, forward compatible one whose reader still has the old
//! schema. The rules of Avro are those of its specification and of Confluent's registry; those of JSON Schema are
//! Confluent's for draft-07. Nothing here reads files or asks a registry.
//!
//! | file | content |
//! | --- | --- |
//! | `located` | JSON with the places of its values |
//! | `avro` | the rules of Avro |
//! | `json_schema` | the rules of JSON Schema |
//! | `report` | findings and verdicts as text and as JSON |

mod avro;
mod json_schema;
mod located;
mod report;

pub use located::Place;

use crate::error::SchemaError;
use avro::model::AvroSchema;
use located::{Located, Misplaced};

/// A schema's text with its name: a file's path, or a version of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaText {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// Avro.
    Avro,
    /// JSON Schema.
    JsonSchema,
}

impl SchemaKind {
    /// The language's name.
    pub fn name(self) -> &'static str {
        match self {
            SchemaKind::Avro => "Avro",
            SchemaKind::JsonSchema => "JSON Schema",
        }
    }
}

/// Levels of compatibility, as registries name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The new schema reads records of the newest old one.
    Backward,
    /// The newest old schema reads records of the new one.
    Forward,
    /// Both.
    Full,
    /// The new schema reads records of all old ones.
    BackwardTransitive,
    /// All old schemas read records of the new one.
    ForwardTransitive,
    /// Both.
    FullTransitive,
}

impl Level {
    /// All levels.
    pub const ALL: [Level; 6] = [
        Level::Backward,
        Level::Forward,
        Level::Full,
        Level::BackwardTransitive,
        Level::ForwardTransitive,
        Level::FullTransitive,
    ];

    /// The level's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Backward => "backward",
            Level::Forward => "forward",
            Level::Full => "full",
            Level::BackwardTransitive => "backward-transitive",
            Level::ForwardTransitive => "forward-transitive",
            Level::FullTransitive => "full-transitive",
        }
    }

    /// The level of a name, also as a registry spells it: `BACKWARD_TRANSITIVE`.
    pub fn from_name(name: &str) -> Option<Level> {
        let name = name.to_ascii_lowercase().replace('_', "-");
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Tells whether all old versions count, not just the newest.
    pub fn is_transitive(self) -> bool {
        matches!(self, Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive)
    }

    /// Tells whether a side's findings count.
    fn has_side(self, side: Side) -> bool {
        match side {
            Side::Backward => !matches!(self, Level::Forward | Level::ForwardTransitive),
            Side::Forward => !matches!(self, Level::Backward | Level::BackwardTransitive),
            Side::Itself => true,
        }
    }
}

/// Readers that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A consumer with the new schema, which reads old records.
    Backward,
    /// A consumer that still has the old schema, which reads new records.
    Forward,
    /// The new schema, without any other.
    Itself,
}

/// Weights of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A reader cannot read, or reads another value.
    Broken,
    /// The rules do not tell.
    NotJudged,
    /// Something to know that breaks nobody.
    Note,
}

/// A finding about a place of the new schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The readers.
    pub side: Side,
    /// The weight.
    pub weight: Weight,
    /// The path of the field, such as `info.participants[].kills`; empty for the whole.
    pub path: String,
    /// The place in the new schema.
    pub at: Place,
    /// The reason.
    pub why: String,
    /// The advice.
    pub remedy: String,
    /// The old version, by its place in the order given.
    pub against: usize,
}

/// Verdicts of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The edit keeps the level.
    Holds,
    /// It breaks the level.
    Broken,
    /// Nothing is known to break it, but not all is judged.
    NotJudged,
}

impl Verdict {
    /// The verdict in a word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Holds => "ok",
            Verdict::Broken => "broken",
            Verdict::NotJudged => "not judged",
        }
    }
}

/// The comparison of a new schema with all old ones.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The language.
    pub kind: SchemaKind,
    /// The names of the old versions, the newest last.
    pub old: Vec<String>,
    /// The name of the new one.
    pub new: String,
    /// The findings, in the order of the new schema's text.
    pub findings: Vec<Finding>,
}

impl Comparison {
    /// Compares a new schema with old ones, the newest last. Without a kind the text of the new one tells.
    ///
    /// # Errors
    /// When a schema cannot be read, with its place.
    pub fn new(
        old: &[SchemaText],
        new: &SchemaText,
        kind: Option<SchemaKind>,
    ) -> Result<Comparison, SchemaError> {
        let read_new = Located::read(&new.text).map_err(|mistake| unreadable(new, mistake))?;
        let kind = kind.unwrap_or_else(|| kind_of(&read_new));
        let mut findings = Vec::new();
        for (against, version) in old.iter().enumerate() {
            let read_old = Located::read(&version.text).map_err(|mistake| unreadable(version, mistake))?;
            let mut found = match kind {
                SchemaKind::Avro => {
                    let older =
                        AvroSchema::read(&read_old).map_err(|mistake| unreadable(version, mistake))?;
                    let newer = AvroSchema::read(&read_new).map_err(|mistake| unreadable(new, mistake))?;
                    avro::compare(&older, &newer)
                }
                SchemaKind::JsonSchema => {
                    json_schema::refuse_odd_schema(&read_old)
                        .map_err(|mistake| unreadable(version, mistake))?;
                    json_schema::refuse_odd_schema(&read_new).map_err(|mistake| unreadable(new, mistake))?;
                    json_schema::compare(&read_old, &read_new)
                }
            };
            found.iter_mut().for_each(|finding| finding.against = against);
            findings.extend(found);
        }
        findings.sort_by(|a, b| (a.at, a.weight, &a.path, a.side).cmp(&(b.at, b.weight, &b.path, b.side)));
        let names = old.iter().map(|version| version.name.clone()).collect();
        Ok(Comparison { kind, old: names, new: new.name.clone(), findings })
    }

    /// Tells whether a finding counts for a level.
    fn counts(&self, finding: &Finding, level: Level) -> bool {
        let is_newest = finding.against + 1 == self.old.len();
        finding.weight != Weight::Note && level.has_side(finding.side) && (level.is_transitive() || is_newest)
    }

    /// The verdict of a level.
    pub fn verdict(&self, level: Level) -> Verdict {
        let weights = self.findings.iter().filter(|one| self.counts(one, level)).map(|one| one.weight);
        match weights.min() {
            Some(Weight::Broken) => Verdict::Broken,
            Some(_) => Verdict::NotJudged,
            None => Verdict::Holds,
        }
    }
}

/// The error of a schema that cannot be read.
fn unreadable(schema: &SchemaText, mistake: Misplaced) -> SchemaError {
    SchemaError::Unreadable {
        name: schema.name.clone(),
        line: mistake.at.line,
        column: mistake.at.column,
        message: mistake.message,
    }
}

/// The language that a schema is written in: Avro's are names, lists, and objects of Avro's own types.
fn kind_of(json: &Located) -> SchemaKind {
    let own =
        ["$schema", "$id", "$ref", "$defs", "definitions", "properties", "additionalProperties", "anyOf"];
    let is_avro_type = |name: &str| {
        let avro = ["record", "error", "enum", "fixed", "map", "int", "long", "float", "double", "bytes"];
        avro.contains(&name)
            || (name == "array" && json.get("items").is_some() && json.get("$schema").is_none())
    };
    match json.get("type").and_then(Located::text) {
        _ if own.iter().any(|name| json.get(name).is_some()) => SchemaKind::JsonSchema,
        Some(name) if is_avro_type(name) => SchemaKind::Avro,
        Some(_) => SchemaKind::JsonSchema,
        None if json.text().is_some() || !json.items().is_empty() => SchemaKind::Avro,
        None => SchemaKind::JsonSchema,
    }
}
