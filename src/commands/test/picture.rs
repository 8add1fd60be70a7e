//! What can be seen of a topology at the end of a step: views, failed expressions, sinks as their
//! readers hold them, what they sent in the step, dead letters, and records by outcome.
//!
//! Epochs are not in it: the same records must give the same picture however they were cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataflows::engine::{Engine, Folded, Held, Letter};
use dataflows::plan::formats::Format;
use dataflows::plan::{Plan, Sink};
use schemas::{Outcome, Rows};

use super::table::{self, Shape, Table, texts};

/// A thing to compare, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Records of a source by outcome.
    Outcomes(usize),
    /// Rejected records.
    DeadLetters,
    /// Rows that expressions failed on.
    Errors,
    /// The content of a view.
    View(usize),
    /// What the reader of a sink holds.
    Sink(usize),
    /// What a sink sent in the step, net.
    Changes(usize),
}

/// Everything at the end of a step.
pub type Picture = BTreeMap<What, Table>;

/// How everything looks.
pub struct Shapes(BTreeMap<What, Shape>);

impl Shapes {
    /// The shapes of a plan.
    pub fn of(plan: &Plan) -> Result<Shapes> {
        let mut shapes = BTreeMap::new();
        let names = |schema: &Schema, at: &[usize]| {
            at.iter().map(|at| schema.field(*at).name().clone()).collect::<Vec<_>>()
        };
        let own = |key: &[&str], schema: Schema| Shape {
            schema: Arc::new(schema),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
        };
        for at in 0..plan.sources.len() {
            shapes.insert(What::Outcomes(at), own(&[], outcomes_schema()));
        }
        shapes.insert(What::DeadLetters, own(&["source", "partition", "offset"], letters_schema()));
        shapes.insert(What::Errors, own(&[], errors_schema()));
        for (at, view) in plan.views.iter().enumerate() {
            let schema = plan.rels[view.rel].schema.clone();
            let key = names(&schema, view.key.as_deref().unwrap_or_default());
            shapes.insert(What::View(at), Shape { schema, key });
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            let schema = plan.rels[sink.rel].schema.clone();
            let key = if sink.format == Format::Plain { vec![] } else { names(&schema, &sink.key) };
            let changes = changes_shape(sink, &schema)?;
            shapes.insert(What::Sink(at), Shape { schema, key });
            shapes.insert(What::Changes(at), changes);
        }
        Ok(Shapes(shapes))
    }

    /// How a thing looks.
    pub fn get(&self, what: What) -> Option<&Shape> {
        self.0.get(&what)
    }
}

/// What a message calls a thing.
pub fn name(plan: &Plan, what: What) -> String {
    let source = |at: usize| plan.sources.get(at).map_or("", |source| &source.name);
    let sink = |at: usize| plan.sinks.get(at).map_or("", |sink| &sink.name);
    match what {
        What::Outcomes(at) => format!("outcomes {}", source(at)),
        What::DeadLetters => "dead_letter".to_owned(),
        What::Errors => dataflows::state_tables::ERRORS.to_owned(),
        What::View(at) => plan.views.get(at).map_or("", |view| &view.name).to_owned(),
        What::Sink(at) => format!("sink {}", sink(at)),
        What::Changes(at) => format!("changes {}", sink(at)),
    }
}

fn fields(names: &[(&str, DataType)]) -> Schema {
    Schema::new(names.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
}

fn outcomes_schema() -> Schema {
    let names = std::iter::once("read").chain(Outcome::ALL.map(Outcome::name));
    fields(&names.map(|name| (name, DataType::Int64)).collect::<Vec<_>>())
}

fn errors_schema() -> Schema {
    fields(&["view", "expression", "message", "row"].map(|name| (name, DataType::Utf8)))
}

fn letters_schema() -> Schema {
    fields(&[
        ("source", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        ("outcome", DataType::Utf8),
        ("constraint", DataType::Utf8),
        ("message", DataType::Utf8),
    ])
}

/// Messages of a sink, as a file sink writes them.
fn changes_shape(sink: &Sink, schema: &SchemaRef) -> Result<Shape> {
    let row = |schema: &Schema| DataType::Struct(schema.fields().clone());
    let (schema, key) = match sink.format {
        Format::Plain => return Ok(Shape { schema: schema.clone(), key: vec![] }),
        Format::Upsert => {
            let key = schema.project(&sink.key)?;
            (fields(&[("key", row(&key)), ("value", row(schema))]), vec!["key".to_owned()])
        }
        Format::Debezium => {
            (fields(&[("before", row(schema)), ("after", row(schema)), ("op", DataType::Utf8)]), vec![])
        }
    };
    Ok(Shape { schema: Arc::new(schema), key })
}

/// What is kept between the ends of steps.
#[derive(Default)]
pub struct Seen {
    /// Sinks as their readers hold them now.
    pub folded: Folded,
    /// Dead letters so far.
    pub letters: Vec<Letter>,
    before: Vec<Held>,
}

impl Seen {
    /// The picture now; changes are those since the last.
    pub fn picture(&mut self, plan: &Plan, engine: &Engine) -> Result<Picture> {
        let mut picture = Picture::new();
        for (at, source) in plan.sources.iter().enumerate() {
            let held = engine.progress().sources.get(&source.name).cloned().unwrap_or_default();
            let counts = std::iter::once(held.read).chain(held.outcomes);
            let columns = counts.map(|n| -> ArrayRef { Arc::new(Int64Array::from(vec![n as i64])) });
            let batch = RecordBatch::try_new(Arc::new(outcomes_schema()), columns.collect())?;
            picture.insert(What::Outcomes(at), Table::new(table::encode(&batch)?));
        }
        picture.insert(What::DeadLetters, self.dead_letters(plan)?);
        picture.insert(What::Errors, Table::new(texts(&errors_schema(), &engine.error_rows()?)?));
        for (at, view) in plan.views.iter().enumerate() {
            let rows = texts(&plan.rels[view.rel].schema, &engine.view_rows(at)?)
                .with_context(|| format!("the rows of view {} cannot be read", view.name))?;
            picture.insert(What::View(at), Table::new(rows));
        }
        self.before.resize(plan.sinks.len(), Held::default());
        for (at, sink) in plan.sinks.iter().enumerate() {
            let schema = &plan.rels[sink.rel].schema;
            let held = self.folded.held(at);
            picture.insert(What::Sink(at), Table::new(texts(schema, &held.rows())?));
            let before = std::mem::replace(&mut self.before[at], held);
            let rows = changes((sink, schema), &before, &self.before[at])?;
            picture.insert(What::Changes(at), Table::new(rows));
        }
        Ok(picture)
    }

    fn dead_letters(&self, plan: &Plan) -> Result<Table> {
        let letters = &self.letters;
        let source = |letter: &Letter| plan.sources.get(letter.source).map_or("", |source| &source.name);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(letters.iter().map(source))),
            Arc::new(Int32Array::from_iter_values(letters.iter().map(|l| l.partition))),
            Arc::new(Int64Array::from_iter_values(letters.iter().map(|l| l.offset))),
            Arc::new(StringArray::from_iter_values(letters.iter().map(|l| l.outcome.name()))),
            Arc::new(StringArray::from_iter(letters.iter().map(|l| l.constraint.as_deref()))),
            Arc::new(StringArray::from_iter_values(letters.iter().map(|l| &l.message))),
        ];
        let batch = RecordBatch::try_new(Arc::new(letters_schema()), columns)?;
        Ok(Table::new(table::encode(&batch)?))
    }
}

/// The messages that lead from one content of a sink to another.
fn changes((sink, schema): (&Sink, &SchemaRef), before: &Held, now: &Held) -> Result<Vec<String>> {
    if sink.format == Format::Plain {
        let mut rows = Rows::new();
        for (row, times) in &now.plain {
            let sent = before.plain.get(row).copied().unwrap_or(0);
            (sent..*times).for_each(|_| rows.push(row));
        }
        return texts(schema, &rows);
    }
    let keys: BTreeSet<&Vec<u8>> = before.keyed.keys().chain(now.keyed.keys()).collect();
    let changed = |key: &&Vec<u8>| before.keyed.get(*key) != now.keyed.get(*key);
    let keys: Vec<&Vec<u8>> = keys.into_iter().filter(changed).collect();
    let side = |held: &Held| -> Result<Vec<String>> {
        let mut rows = Rows::new();
        keys.iter().filter_map(|key| held.keyed.get(*key)).for_each(|row| rows.push(row));
        let mut found = texts(schema, &rows)?.into_iter();
        let text = |key: &&Vec<u8>| match held.keyed.contains_key(*key) {
            true => found.next().unwrap_or_default(),
            false => "null".to_owned(),
        };
        Ok(keys.iter().map(text).collect())
    };
    let (old, new) = (side(before)?, side(now)?);
    if sink.format == Format::Debezium {
        let message = |(old, new): (&String, &String)| {
            let op = match (old.as_str(), new.as_str()) {
                ("null", _) => "c",
                (_, "null") => "d",
                _ => "u",
            };
            format!("{{\"before\":{old},\"after\":{new},\"op\":\"{op}\"}}")
        };
        return Ok(old.iter().zip(&new).map(message).collect());
    }
    let mut packed = Rows::new();
    keys.iter().for_each(|key| packed.push(key));
    let named = texts(&schema.project(&sink.key)?, &packed)?;
    Ok(named.iter().zip(&new).map(|(key, value)| format!("{{\"key\":{key},\"value\":{value}}}")).collect())
}
