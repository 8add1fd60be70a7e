//! Planning of the files named on the command line: reading, variables, planning, validation of options.
//!
//! Every command starts here, so that `check` finds the same mistakes as `run`. Connector options are
//! validated by the connectors, not the planner; a refusal is reported at the option's place in the text,
//! like any other mistake. The topology's name is determined here too: it is half of the topology's identity,
//! and part of a directory name and a transactional id.

mod columns;
pub(crate) mod continued;
pub(crate) mod edition;
mod files;
pub(crate) mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Error, Result};
use connectors::options::names_connector;
use connectors::{ConnectorError, SinkConnector, SourceConnector};
use dataflows::mistake::Pos;
use dataflows::plan::Plan;
use dataflows::plan::formats::Encoding;
use dataflows::sql::parse::ast::{CreateRelation, Name, OptionItem, Statement};
use dataflows::sql::{self, SqlError, SqlFile};

use crate::exit::{SqlMistakes, mistake};
pub use files::{UnreadFiles, file_warnings};

/// Values for `${NAME}`.
pub struct Variables {
    /// True if environment variables take precedence over `values`.
    environment: bool,
    values: BTreeMap<String, String>,
    /// True if a variable without a value or a default is its own name.
    stand_ins: bool,
}

impl Variables {
    /// Reads the `NAME=VALUE` lines of a file, if there is one. The environment takes precedence over them.
    pub fn read(env_file: Option<&Path>) -> Result<Variables> {
        let Some(path) = env_file else {
            let values = BTreeMap::new();
            return Ok(Variables { environment: true, values, stand_ins: false });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("cannot read the variables in {}: {error}", path.display())))?;
        let values = parse_variables(&text)
            .map_err(|(line, what)| mistake(format!("{}:{line}: {what}", path.display())))?;
        Ok(Variables { environment: true, values, stand_ins: false })
    }

    /// The same for a test, which opens nothing that a variable names: one that is not set is its own name.
    pub fn with_stand_ins(self) -> Variables {
        Variables { stand_ins: true, ..self }
    }

    /// Only these variables, without the environment.
    pub fn only(pairs: &[(&str, &str)]) -> Variables {
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            values.insert((*name).to_owned(), (*value).to_owned());
        }
        Variables { environment: false, values, stand_ins: false }
    }

    /// The value of a variable in `files`.
    pub(crate) fn value_of(&self, name: &str, files: &[SqlFile]) -> Option<String> {
        if self.environment
            && let Ok(value) = std::env::var(name)
        {
            return Some(value);
        }
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        let default = format!("${{{name}:-");
        let stands_in = self.stand_ins && !files.iter().any(|file| file.text.contains(&default));
        if stands_in { Some(name.to_owned()) } else { None }
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
        if !is_variable_name(name) {
            return Err((number + 1, format!("{name:?} is not the name of a variable")));
        }
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        variables.insert(name.to_owned(), unquoted.unwrap_or(value).to_owned());
    }
    Ok(variables)
}

/// Tells whether a text is a name: letters, digits and `_`, not starting with a digit.
fn is_variable_name(text: &str) -> bool {
    let begins = matches!(text.chars().next(), Some('A'..='Z' | 'a'..='z' | '_'));
    begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads the files of a topology.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<SqlFile>> {
    let mut files = Vec::new();
    for path in paths {
        let text =
            read_text(path).map_err(|why| mistake(format!("cannot read {}: {why}", path.display())))?;
        files.push(SqlFile { name: path.display().to_string(), text });
    }
    Ok(files)
}

/// Reads a file of SQL, without the byte order mark that some editors put first. The error is the reason.
pub fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    decode_text(&bytes)
}

/// Decodes UTF-8; the error names the first place that is none.
fn decode_text(bytes: &[u8]) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let wrong_at = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error.valid_up_to(),
    };
    let before = String::from_utf8_lossy(&bytes[..wrong_at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let byte = bytes.get(wrong_at).copied().unwrap_or_default();
    Err(format!(
        "line {line}, column {column} has the byte 0x{byte:02X}, which is not UTF-8; save it as UTF-8"
    ))
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
    let env = |name: &str| variables.value_of(name, files);
    let read_file = |path: &str| std::fs::read_to_string(path);
    let columns_of = |create: &CreateRelation| columns::columns_of(create, network);
    let failed = |errors| Error::new(SqlMistakes::new(errors, files));
    let plan = sql::compile(files, &env, &read_file, &columns_of).map_err(failed)?;
    let refused = refused_options(&plan, variables.stand_ins);
    if refused.is_empty() {
        return Ok(Arc::new(plan));
    }
    let statements = parse_statements(files, variables)?;
    let mut errors: Vec<(Pos, SqlError)> = Vec::new();
    for refusal in &refused {
        errors.push(locate_refusal(files, &statements, refusal));
    }
    errors.sort_by_key(|(pos, _)| *pos);
    Err(failed(errors.into_iter().map(|(_, error)| error).collect()))
}

/// Parses the files of a topology.
fn parse_statements(files: &[SqlFile], variables: &Variables) -> Result<Vec<Statement>> {
    let env = |name: &str| variables.value_of(name, files);
    let read_file = |path: &str| std::fs::read_to_string(path);
    sql::parse(files, &env, &read_file).map_err(|errors| Error::new(SqlMistakes::new(errors, files)))
}

/// Clause of a statement that has options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionClause {
    With,
    Encode,
    KeyEncode,
}

/// Options that connectors or encodings refuse in one clause of a source or sink.
struct Refusal {
    owner: String,
    clause: OptionClause,
    error: ConnectorError,
}

/// The invalid options of each source and sink.
fn refused_options(plan: &Plan, in_test: bool) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for source in &plan.sources {
        let mut own = Refusals { owner: &source.name, found: &mut refused };
        own.add(OptionClause::With, refused_by_connector(&source.options, SourceConnector::from_options));
        let whole = source.encoding.is_whole();
        if let Some(error) = lines_are_json(&source.options, source.encoding).filter(|_| !whole) {
            own.add(OptionClause::With, vec![error]);
            continue;
        }
        let (value, key) = (&source.encode_options, &source.key_encode_options);
        own.add(OptionClause::Encode, refused_encoding(source.encoding, value, Role::Source));
        if (source.key_encoding, key) != (source.encoding, value) {
            own.add(OptionClause::KeyEncode, refused_encoding(source.key_encoding, key, Role::Source));
        }
    }
    for sink in &plan.sinks {
        let mut own = Refusals { owner: &sink.name, found: &mut refused };
        own.add(OptionClause::With, refused_by_connector(&sink.options, SinkConnector::from_options));
        if let Some(pseudonyms) = &sink.pseudonyms
            && pseudonyms.key.is_short()
            && !in_test
        {
            own.add(OptionClause::With, vec![short_key()]);
        }
        let mut encodings = [sink.encoding, sink.key_encoding].into_iter();
        if let Some(error) = encodings.find_map(|encoding| lines_are_json(&sink.options, encoding)) {
            own.add(OptionClause::With, vec![error]);
            continue;
        }
        let (value, key) = (&sink.encode_options, &sink.key_encode_options);
        own.add(OptionClause::Encode, refused_encoding(sink.encoding, value, Role::SinkValue));
        if (sink.key_encoding, key) != (sink.encoding, value) {
            own.add(OptionClause::KeyEncode, refused_encoding(sink.key_encoding, key, Role::SinkKey));
        }
    }
    refused
}

/// Collects the refusals of one source or sink.
struct Refusals<'a> {
    owner: &'a str,
    found: &'a mut Vec<Refusal>,
}

impl Refusals<'_> {
    /// Adds the errors of one clause.
    fn add(&mut self, clause: OptionClause, errors: Vec<ConnectorError>) {
        for error in errors {
            self.found.push(Refusal { owner: self.owner.to_owned(), clause, error });
        }
    }
}

/// The options that a connector refuses: all that it does not know, else the first with a wrong value.
fn refused_by_connector<C>(
    options: &BTreeMap<String, String>,
    read: impl Fn(&BTreeMap<String, String>) -> Result<C, ConnectorError>,
) -> Vec<ConnectorError> {
    let (mut left, mut refused) = (options.clone(), Vec::new());
    while let Err(error) = read(&left) {
        let more = match &error {
            ConnectorError::UnknownOption { option, .. } => left.remove(option).is_some(),
            _ => false,
        };
        refused.push(error);
        if !more {
            break;
        }
    }
    refused
}

/// The error for a key of pseudonyms that could be guessed. Tests have a key of their own.
fn short_key() -> ConnectorError {
    ConnectorError::Config {
        option: "pseudonym.key".to_owned(),
        message: "has fewer than 32 bytes: take random ones, as `openssl rand -hex 32` prints".to_owned(),
    }
}

/// The error for a file in another encoding: its lines are JSON.
fn lines_are_json(options: &BTreeMap<String, String>, encoding: Encoding) -> Option<ConnectorError> {
    if !names_connector(options, "file") || encoding == Encoding::Json {
        return None;
    }
    Some(ConnectorError::Config {
        option: "connector".to_owned(),
        message: "'file' has lines of JSON: write ENCODE JSON, and no other KEY ENCODE".to_owned(),
    })
}

/// The part that an encoding has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Source,
    SinkValue,
    /// KEY ENCODE of a sink, with options of its own.
    SinkKey,
}

/// The options of ENCODE or KEY ENCODE that are unknown, missing or have a wrong value.
fn refused_encoding(
    encoding: Encoding,
    options: &BTreeMap<String, String>,
    role: Role,
) -> Vec<ConnectorError> {
    const REGISTRY: [&str; 4] =
        ["schema.registry", "schema.registry.username", "schema.registry.password", "schema.registry.token"];
    let known: Vec<&str> = match (encoding, role) {
        (Encoding::Json, Role::Source) => vec!["timestamp.unit"],
        (Encoding::Avro, Role::Source) => [&REGISTRY[..], &["schema.file"]].concat(),
        (Encoding::Avro, Role::SinkValue) => [&REGISTRY[..], &[RECORD_NAME]].concat(),
        (Encoding::Avro, Role::SinkKey) => REGISTRY.to_vec(),
        _ => Vec::new(),
    };
    let mut refused = Vec::new();
    for option in options.keys() {
        if known.contains(&option.as_str()) {
            continue;
        }
        let message = match known.as_slice() {
            [] => "is not known: this encoding takes no options".to_owned(),
            known => format!("is not known: this encoding takes {}", known.join(", ")),
        };
        refused.push(ConnectorError::Config { option: option.clone(), message });
    }
    let wrong = match (encoding, schemas::JsonOptions::from_options(options)) {
        (Encoding::Json, Err(schemas::SchemaError::Config { option, message })) => {
            Some(ConnectorError::Config { option, message })
        }
        _ => missing_registry(encoding, options),
    };
    refused.extend(wrong);
    if let Some(name) = options.get(RECORD_NAME)
        && known.contains(&RECORD_NAME)
        && !schemas::is_full_avro_name(name)
    {
        refused.push(bad_record_name(name));
    }
    refused
}

/// Option of a sink's ENCODE AVRO with the full name of its records.
const RECORD_NAME: &str = "record.name";

/// The error for a name that Avro does not allow.
fn bad_record_name(name: &str) -> ConnectorError {
    ConnectorError::Config {
        option: RECORD_NAME.to_owned(),
        message: format!(
            "{name:?} is no name of an Avro record: write letters, digits and _ with dots between, such as \
             'com.example.OrderPlaced'"
        ),
    }
}

/// The error for Avro without a registry, from which its schemas would come.
fn missing_registry(encoding: Encoding, options: &BTreeMap<String, String>) -> Option<ConnectorError> {
    if encoding != Encoding::Avro || options.contains_key("schema.registry") {
        return None;
    }
    Some(ConnectorError::Config {
        option: "schema.registry".to_owned(),
        message: "is required: write AVRO (schema.registry = 'http://HOST:PORT')".to_owned(),
    })
}

/// A connector's refusal as a mistake at the option, or at the statement if the option is missing.
fn locate_refusal(files: &[SqlFile], statements: &[Statement], refusal: &Refusal) -> (Pos, SqlError) {
    let Refusal { owner, clause, error } = refusal;
    let (kind, name, items) = find_owner(statements, owner, *clause);
    let (pos, message) = match error {
        ConnectorError::Config { option, message } | ConnectorError::UnknownOption { option, message } => {
            let pos = match find_option(items, option) {
                Some(item) => item.pos,
                None => name.pos,
            };
            (pos, format!("{kind} {owner}: option {option}: {message}"))
        }
        other => (name.pos, format!("{kind} {owner}: {other}")),
    };
    let place = dataflows::sql::Mistake::new(pos, message).maybe_hint(error.hint().map(str::to_owned));
    (pos, place.named(files))
}

/// The option of this name in a clause.
fn find_option<'a>(items: &'a [OptionItem], name: &str) -> Option<&'a OptionItem> {
    items.iter().find(|item| item.name == name)
}

static NOWHERE: Name = Name { text: String::new(), pos: Pos { file: 0, line: 1, column: 1 } };

/// The kind and name of the statement that creates a source or sink, and the options of one of its clauses.
fn find_owner<'s>(
    statements: &'s [Statement],
    owner: &str,
    clause: OptionClause,
) -> (&'static str, &'s Name, &'s [OptionItem]) {
    for statement in statements {
        let found = describe_statement(statement, clause);
        if found.1.text == owner {
            return found;
        }
    }
    ("relation", &NOWHERE, &[])
}

/// The kind and name of a statement, and the options of one of its clauses.
fn describe_statement(statement: &Statement, clause: OptionClause) -> (&'static str, &Name, &[OptionItem]) {
    let (kind, name, with, encodes) = match statement {
        Statement::Relation(relation) => {
            let kind = if relation.table { "table" } else { "source" };
            (kind, &relation.name, &relation.with, Some((&relation.encode, &relation.key_encode)))
        }
        Statement::View(view) => ("view", &view.name, &view.with, None),
        Statement::Sink(sink) => ("sink", &sink.name, &sink.with, Some((&sink.encode, &sink.key_encode))),
        Statement::Declared(view) => ("view", &view.name, &view.with, None),
        Statement::Insert(insert) => return ("insertion into", &insert.into, &[]),
        Statement::Index(index) => return ("index", &index.name, &[]),
    };
    let items = match (clause, encodes) {
        (OptionClause::Encode, Some((encode, _))) => &encode.1,
        (OptionClause::KeyEncode, Some((_, Some(key_encode)))) => &key_encode.1,
        _ => with,
    };
    (kind, name, items.as_slice())
}

/// The topology's name: the one given, else the first file's name without its extension.
pub fn topology_name(given: Option<&str>, files: &[PathBuf]) -> Result<String> {
    let name = match given {
        Some(name) => name,
        None => first_stem(files).unwrap_or_default(),
    };
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !fits {
        let from = if given.is_some() { "--name" } else { "the first file's name" };
        return Err(mistake(format!(
            "{name:?} ({from}) cannot name a topology. Give it a name with --name: up to 128 letters, digits, _, - and ., not starting with a dot"
        )));
    }
    Ok(name.to_owned())
}

/// The first file's name without its extension.
fn first_stem(files: &[PathBuf]) -> Option<&str> {
    files.first()?.file_stem()?.to_str()
}

#[cfg(test)]
mod tests;
