//! Planning of the files named on the command line: reading, variables, planning, validation of options.
//!
//! Every command starts here, so that `check` finds the same mistakes as `run`. Connector options are
//! validated by the connectors, not the planner; a refusal is reported at the option's place in the text,
//! like any other mistake. The topology's name is determined here too: it is half of the topology's identity,
//! and part of a directory name and a transactional id.

mod columns;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Error, Result};
use connectors::{ConnectorError, SinkConnector, SourceConnector};
use dataflows::mistake::Pos;
use dataflows::plan::Plan;
use dataflows::plan::formats::Encoding;
use dataflows::sql::parse::ast::{CreateRelation, Name, OptionItem, Statement};
use dataflows::sql::{self, SqlError, SqlFile};

use crate::exit::{SqlMistakes, mistake};

/// Values for `${NAME}`.
pub struct Variables {
    /// True if environment variables take precedence over `values`.
    environment: bool,
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Reads the `NAME=VALUE` lines of a file, if there is one. The environment takes precedence over them.
    pub fn read(env_file: Option<&Path>) -> Result<Variables> {
        let Some(path) = env_file else {
            let values = BTreeMap::new();
            return Ok(Variables { environment: true, values });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("cannot read the variables in {}: {error}", path.display())))?;
        let values = parse_variables(&text)
            .map_err(|(line, what)| mistake(format!("{}:{line}: {what}", path.display())))?;
        Ok(Variables { environment: true, values })
    }

    /// Only these variables, without the environment.
    pub fn only(pairs: &[(&str, &str)]) -> Variables {
        let pairs = pairs.iter();
        Variables {
            environment: false,
            values: pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn value_of(&self, name: &str) -> Option<String> {
        let set = if self.environment { std::env::var(name).ok() } else { None };
        set.or_else(|| self.values.get(name).cloned())
    }
}

/// Parses `NAME=VALUE` lines, with comments, `export` and quotes as in a shell. An error names its line.
fn parse_variables(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err((number + 1, "write NAME=VALUE".to_owned()));
        };
        let (name, value) = (name.trim(), value.trim());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err((number + 1, format!("{name:?} is not the name of a variable")));
        }
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        variables.insert(name.to_owned(), unquoted.unwrap_or(value).to_owned());
    }
    Ok(variables)
}

/// Reads the files of a topology.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<SqlFile>> {
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| mistake(format!("cannot read {}: {error}", path.display())))?;
            Ok(SqlFile { name: path.display().to_string(), text })
        })
        .collect()
}

/// Permission to ask schema registries for the columns that a relation leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Registries may be asked.
    Allowed,
    /// Registries may not be asked: a relation that needs one is refused.
    Refused,
}

/// Plans a topology and has the connectors validate its options. The error holds every mistake.
pub fn plan_topology(files: &[SqlFile], variables: &Variables, network: Network) -> Result<Arc<Plan>> {
    let env = |name: &str| variables.value_of(name);
    let read_file = |path: &str| std::fs::read_to_string(path);
    let columns_of = |create: &CreateRelation| columns::columns_of(create, network);
    let plan = sql::compile(files, &env, &read_file, &columns_of)
        .map_err(|errors| Error::new(SqlMistakes::new(errors, files)))?;
    let refused = refused_options(&plan);
    if refused.is_empty() {
        return Ok(Arc::new(plan));
    }
    let statements =
        sql::parse(files, &env, &read_file).map_err(|errors| Error::new(SqlMistakes::new(errors, files)))?;
    let mut errors: Vec<(Pos, SqlError)> = refused
        .into_iter()
        .map(|(owner, error)| locate_refusal(files, &statements, &owner, &error))
        .collect();
    errors.sort_by_key(|(pos, _)| *pos);
    let errors = errors.into_iter().map(|(_, error)| error).collect();
    Err(Error::new(SqlMistakes::new(errors, files)))
}

/// The first invalid option of each source and sink, by its owner's name.
fn refused_options(plan: &Plan) -> Vec<(String, ConnectorError)> {
    let sources = plan.sources.iter().map(|source| {
        let refused = SourceConnector::from_options(&source.options).err();
        let refused = refused.or_else(|| lines_are_json(&source.options, source.encoding));
        let refused = refused.or_else(|| missing_registry(source.encoding, &source.encode_options));
        let refused = refused.or_else(|| refused_encoding(source.encoding, &source.encode_options, true));
        let key = || refused_encoding(source.key_encoding, &source.key_encode_options, true);
        (&source.name, refused.or_else(key))
    });
    let sinks = plan.sinks.iter().map(|sink| {
        let refused = SinkConnector::from_options(&sink.options).err();
        let refused = refused.or_else(|| lines_are_json(&sink.options, sink.encoding));
        let refused = refused.or_else(|| lines_are_json(&sink.options, sink.key_encoding));
        let refused = refused.or_else(|| missing_registry(sink.encoding, &sink.encode_options));
        (&sink.name, refused.or_else(|| refused_encoding(sink.encoding, &sink.encode_options, false)))
    });
    sources.chain(sinks).filter_map(|(owner, error)| Some((owner.clone(), error?))).collect()
}

/// The error for a file in another encoding: its lines are JSON.
fn lines_are_json(options: &BTreeMap<String, String>, encoding: Encoding) -> Option<ConnectorError> {
    let is_file = options.get("connector").is_some_and(|connector| connector == "file");
    (is_file && encoding != Encoding::Json).then(|| ConnectorError::Config {
        option: "connector".to_owned(),
        message: "'file' has lines of JSON: write ENCODE JSON, and no other KEY ENCODE".to_owned(),
    })
}

/// The first ENCODE option that is unknown or has a wrong value.
fn refused_encoding(
    encoding: Encoding,
    options: &BTreeMap<String, String>,
    source: bool,
) -> Option<ConnectorError> {
    const REGISTRY: [&str; 4] =
        ["schema.registry", "schema.registry.username", "schema.registry.password", "schema.registry.token"];
    let known: Vec<&str> = match (encoding, source) {
        (Encoding::Json, true) => vec!["timestamp.unit"],
        (Encoding::Avro, true) => [&REGISTRY[..], &["schema.file"]].concat(),
        (Encoding::Avro, false) => REGISTRY.to_vec(),
        _ => Vec::new(),
    };
    if let Some(option) = options.keys().find(|name| !known.contains(&name.as_str())) {
        let message = match known.as_slice() {
            [] => "is not known: this ENCODE takes no options".to_owned(),
            known => format!("is not known: ENCODE takes {}", known.join(", ")),
        };
        return Some(ConnectorError::Config { option: option.clone(), message });
    }
    match (encoding, schemas::JsonOptions::from_options(options)) {
        (Encoding::Json, Err(schemas::SchemaError::Config { option, message })) => {
            Some(ConnectorError::Config { option, message })
        }
        _ => None,
    }
}

/// The error for Avro without a registry, from which its schemas would come.
fn missing_registry(encoding: Encoding, options: &BTreeMap<String, String>) -> Option<ConnectorError> {
    let missing = encoding == Encoding::Avro && !options.contains_key("schema.registry");
    missing.then(|| ConnectorError::Config {
        option: "schema.registry".to_owned(),
        message: "is required: write ENCODE AVRO (schema.registry = 'http://HOST:PORT')".to_owned(),
    })
}

/// A connector's refusal as a mistake at the option, or at the statement if the option is missing.
fn locate_refusal(
    files: &[SqlFile],
    statements: &[Statement],
    owner: &str,
    error: &ConnectorError,
) -> (Pos, SqlError) {
    let (kind, name, with) = statements
        .iter()
        .map(describe_statement)
        .find(|(_, name, _)| name.text == owner)
        .unwrap_or(("relation", &NOWHERE, vec![]));
    let (pos, message) = match error {
        ConnectorError::Config { option, message } => {
            let item = with.into_iter().find(|item| item.name == *option);
            let pos = item.map_or(name.pos, |item| item.pos);
            (pos, format!("{kind} {owner}: option {option}: {message}"))
        }
        other => (name.pos, format!("{kind} {owner}: {other}")),
    };
    let place = dataflows::sql::Mistake::new(pos, message).maybe_hint(error.hint().map(str::to_owned));
    (pos, place.named(files))
}

static NOWHERE: Name = Name { text: String::new(), pos: Pos { file: 0, line: 1, column: 1 } };

/// The kind, name and options of a statement, those of ENCODE too.
fn describe_statement(statement: &Statement) -> (&'static str, &Name, Vec<&OptionItem>) {
    match statement {
        Statement::Relation(relation) => {
            let kind = if relation.table { "table" } else { "source" };
            (kind, &relation.name, relation.with.iter().chain(&relation.encode.1).collect())
        }
        Statement::View(view) => ("view", &view.name, view.with.iter().collect()),
        Statement::Sink(sink) => ("sink", &sink.name, sink.with.iter().chain(&sink.encode.1).collect()),
    }
}

/// The topology's name: the one given, else the first file's name without its extension.
pub fn topology_name(given: Option<&str>, files: &[PathBuf]) -> Result<String> {
    let stem = || files.first()?.file_stem()?.to_str().map(str::to_owned);
    let name = given.map(str::to_owned).or_else(stem).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(fits) {
        let from = if given.is_some() { "--name" } else { "the first file's name" };
        return Err(mistake(format!(
            "{name:?} ({from}) cannot name a topology. Give it a name with --name: up to 128 letters, digits, _, - and ., not starting with a dot"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_shells_write_them() {
        let text = "# comment\n\nA=1\nexport B = \"two words\"\nC='x=y'\nD=\n";
        let variables = parse_variables(text).unwrap_or_default();
        let pairs: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "")]);
    }

    #[test]
    fn a_line_that_is_no_variable_is_named() {
        assert_eq!(parse_variables("A=1\nB\n").unwrap_err().0, 2);
        assert!(parse_variables("1A=2").unwrap_err().1.contains("1A"));
    }

    #[test]
    fn a_name_comes_from_the_first_file_or_the_flag() -> Result<()> {
        let files = [PathBuf::from("some/match_analytics.sql"), PathBuf::from("b.sql")];
        assert_eq!(topology_name(None, &files)?, "match_analytics");
        assert_eq!(topology_name(Some("eu-1"), &files)?, "eu-1");
        for bad in ["", "..", "a/b", "a b", ".hidden"] {
            let error = topology_name(Some(bad), &files).unwrap_err();
            assert_eq!(crate::exit::code(&error), 2, "{bad}");
        }
        Ok(())
    }
}
