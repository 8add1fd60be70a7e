//! A script bound to its topology: sources, views and sinks by their index in the plan, records with their
//! offsets, expected rows in the form of found ones.
//!
//! The connectors of the topology are not opened, and its sources read JSON also where they say AVRO, so that
//! a script works for a shipped topology as it is. Every name and row that does not fit is a mistake with its
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result};
use dataflows::plan::formats::{Encoding, Format};
use dataflows::plan::{Plan, View};
use dataflows::sql::diagnostics::did_you_mean::did_you_mean;
use dataflows::sql::{SqlError, SqlFile};
use schemas::PseudonymKey;
use schemas::keyed::split_line;

use super::picture::{Observed, Shapes};
use super::record::Record;
use super::script::{self, Script, Subject, Word};
use super::table::{self, Table};
use crate::exit::{SqlMistakes, mistake};
use crate::topology::{self, Network, Variables};

/// A script that can be run.
pub struct Case {
    /// The script's path, as typed or found.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The topology.
    pub plan: Arc<Plan>,
    /// The columns of everything that can be compared.
    pub shapes: Shapes,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// The partitions of each source.
    pub partitions: Vec<BTreeSet<i32>>,
}

/// A step of a case.
pub struct Step {
    /// The line of its last directive.
    pub line: u64,
    /// Records in order: source, offset, record.
    pub records: Vec<(usize, i64, Record)>,
    /// Expectations at its end.
    pub expects: Vec<Expect>,
    /// Set when the topology is stopped and started after it.
    pub restart: bool,
}

/// An expectation of a case.
pub struct Expect {
    /// The line of its directive.
    pub line: u64,
    /// The lines of its rows.
    pub rows: Vec<u64>,
    /// The content it is about.
    pub observed: Observed,
    /// The expected rows.
    pub wanted: Table,
}

/// Reads a script and plans its topology.
///
/// # Errors
/// Every mistake in the script, or in the topology.
pub fn read_case(path: &Path, variables: &Variables) -> Result<Case> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| mistake(format!("cannot read the script {name}: {error}")))?;
    let file = [SqlFile { name: name.clone(), text: text.clone() }];
    let as_error = |mistakes: Vec<SqlError>| Error::new(SqlMistakes::new(mistakes, &file));
    let script = script::parse_script(&name, &text).map_err(as_error)?;
    let files = topology_files(path, &name, &script).map_err(as_error)?;
    let mut plan = (*topology::plan_topology(&files, variables, Network::Refused)?).clone();
    for source in &mut plan.sources {
        if source.encoding.is_whole() {
            continue;
        }
        source.encoding = Encoding::Json;
        if source.key_encoding != Encoding::Json {
            (source.key_encoding, source.key_encode_options) = (Encoding::Json, BTreeMap::new());
        }
    }
    for pseudonyms in plan.sinks.iter_mut().filter_map(|sink| sink.pseudonyms.as_mut()) {
        pseudonyms.key = PseudonymKey::of_tests();
    }
    let plan = Arc::new(plan);
    let shapes = Shapes::of(&plan)?;
    let mut binder = Binder { file: &name, plan: &plan, shapes: &shapes, mistakes: vec![] };
    let steps = binder.bind_steps(script.steps)?;
    if !binder.mistakes.is_empty() {
        return Err(as_error(binder.mistakes));
    }
    let mut partitions = vec![BTreeSet::from([0]); plan.sources.len()];
    for (source, _, record) in steps.iter().flat_map(|step| &step.records) {
        partitions[*source].insert(record.partition);
    }
    Ok(Case { path: path.to_owned(), text, plan, shapes, steps, partitions })
}

/// The files of the topology, which are named relative to the script.
fn topology_files(path: &Path, name: &str, script: &Script) -> Result<Vec<SqlFile>, Vec<SqlError>> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let (mut files, mut mistakes) = (vec![], vec![]);
    for word in &script.topologies {
        let file = dir.join(&word.text);
        match topology::read_text(&file) {
            Ok(text) => files.push(SqlFile { name: file.display().to_string(), text }),
            Err(error) => mistakes.push(SqlError {
                file: name.to_owned(),
                line: word.line,
                column: word.column,
                message: format!("cannot read the topology {}: {error}", file.display()),
                hint: Some("a topology's file is named relative to the script".to_owned()),
            }),
        }
    }
    if mistakes.is_empty() { Ok(files) } else { Err(mistakes) }
}

/// Binds a script's names and rows to a plan; collects mistakes.
struct Binder<'a> {
    file: &'a str,
    plan: &'a Plan,
    shapes: &'a Shapes,
    mistakes: Vec<SqlError>,
}

impl Binder<'_> {
    fn add_mistake(&mut self, (line, column): (u64, u64), message: String, hint: Option<String>) {
        self.mistakes.push(SqlError { file: self.file.to_owned(), line, column, message, hint });
    }

    fn bind_steps(&mut self, steps: Vec<script::ScriptStep>) -> Result<Vec<Step>> {
        let mut offsets: BTreeMap<(usize, i32), i64> = BTreeMap::new();
        let mut bound = Vec::new();
        for step in steps {
            let mut records = Vec::new();
            for feed in step.feeds {
                let Some(source) = self.find_source(&feed.source) else { continue };
                for record in feed.records {
                    let record = self.split_key(source, record);
                    let offset = offsets.entry((source, record.partition)).or_default();
                    records.push((source, *offset, record));
                    *offset += 1;
                }
            }
            let mut expects = Vec::new();
            for expect in step.expects {
                expects.extend(self.bind_expectation(expect)?);
            }
            bound.push(Step { line: step.line, records, expects, restart: step.restart });
        }
        Ok(bound)
    }

    /// Splits the line of an upsert table's record into key and value, unless the key is stated before it.
    fn split_key(&self, source: usize, mut record: Record) -> Record {
        let upsert = self.plan.sources.get(source).is_some_and(|s| s.format == Format::Upsert);
        if upsert
            && record.key.is_none()
            && let Some(line) = record.value.take()
        {
            // A line of another form is fed unchanged and without a key, to test malformed records.
            (record.key, record.value) = match split_line(line.as_bytes()) {
                Some((key, value)) => (key.map(line_part), value.map(line_part)),
                None => (None, Some(line)),
            };
        }
        record
    }

    fn bind_expectation(&mut self, expect: script::ScriptExpect) -> Result<Option<Expect>> {
        let observed = match &expect.subject {
            Subject::DeadLetter => Some(Observed::DeadLetters),
            Subject::View(word) if word.text == dataflows::runtime::state_tables::ERRORS => {
                Some(Observed::Errors)
            }
            Subject::View(word) => self.find_view(word).map(Observed::View),
            Subject::Changes(word) => {
                let names = self.plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
                self.find_name("sink", word, names).map(Observed::Changes)
            }
            Subject::Outcomes(word) => self.find_source(word).map(Observed::Outcomes),
        };
        let Some(observed) = observed else { return Ok(None) };
        let shape = self.shapes.shape_of(observed).context("what is expected has no columns")?;
        let mut rows = Vec::new();
        for row in &expect.rows {
            match table::normalize_expected(&shape.schema, &row.text)? {
                // A count that is left out is 0, not NULL.
                Ok(text) if matches!(observed, Observed::Outcomes(_)) => rows.push(text.replace("null", "0")),
                Ok(text) => rows.push(text),
                Err((column, message)) => {
                    self.add_mistake((row.line, row.column + column - 1), message, None)
                }
            }
        }
        let lines = expect.rows.iter().map(|row| row.line).collect();
        Ok(Some(Expect { line: expect.line, rows: lines, observed, wanted: Table::new(rows) }))
    }

    fn find_source(&mut self, word: &Word) -> Option<usize> {
        let names = self.plan.sources.iter().map(|source| source.name.as_str()).collect();
        self.find_name("source", word, names)
    }

    /// Finds a view, which must be materialized to have content.
    fn find_view(&mut self, word: &Word) -> Option<usize> {
        let plan = self.plan;
        if plan.sinks.iter().any(|sink| sink.name == word.text) {
            let hint = format!("write expect changes {}, or expect the view it shows", word.text);
            let message = format!("{} is a sink and not a view", word.text);
            self.add_mistake((word.line, word.column), message, Some(hint));
            return None;
        }
        self.find_name(
            "materialized view",
            word,
            plan.views.iter().map(|view: &View| view.name.as_str()).collect(),
        )
    }

    /// The index of a name among `names`, also in lower case; a mistake if there is none.
    fn find_name(&mut self, kind: &str, word: &Word, names: Vec<&str>) -> Option<usize> {
        let folded = word.text.to_lowercase();
        let mut found = names.iter().position(|name| *name == word.text);
        if found.is_none() {
            found = names.iter().position(|name| *name == folded);
        }
        if found.is_none() {
            let has = if names.is_empty() {
                format!("the topology has no {kind}")
            } else {
                format!("the topology has {}", names.join(", "))
            };
            let hint = did_you_mean(&word.text, names).unwrap_or(has);
            self.add_mistake(
                (word.line, word.column),
                format!("there is no {kind} {}", word.text),
                Some(hint),
            );
        }
        found
    }
}

/// A part of a line as text.
fn line_part(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
