//! The observable content of a topology at the end of a step: views, failed expressions, sinks as their
//! readers hold them and their changes in the step, dead letters, and records by outcome.
//!
//! Epochs are not included: the same records must give the same picture for any division into epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataflows::plan::explain::failure;
use dataflows::plan::formats::Format;
use dataflows::plan::{Plan, Sink, Source};
use dataflows::runtime::engine::{DeadLetter, Engine, Folded, SinkContent};
use schemas::{Outcome, RowCodec, Rows};

use super::table::{self, Shape, Table, row_texts, sent_texts};

/// A kind of observable content, by its index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observed {
    /// Records of a source by outcome.
    Outcomes(usize),
    /// Rejected records.
    DeadLetters,
    /// Rows that expressions failed on.
    Errors,
    /// The content of a view.
    View(usize),
    /// The rows that the reader of a sink holds.
    Sink(usize),
    /// The net changes that a sink sent in the step.
    Changes(usize),
}

/// All observable content at the end of a step.
pub type Picture = BTreeMap<Observed, Table>;

/// The columns of all observable content.
pub struct Shapes(BTreeMap<Observed, Shape>);

impl Shapes {
    /// The shapes of a plan.
    pub fn of(plan: &Plan) -> Result<Shapes> {
        let mut shapes = BTreeMap::new();
        for (at, source) in plan.sources.iter().enumerate() {
            shapes.insert(Observed::Outcomes(at), Shape::new(outcomes_schema(source), &[]));
        }
        let key = ["source", "partition", "offset"];
        shapes.insert(Observed::DeadLetters, Shape::new(dead_letters_schema(), &key));
        shapes.insert(Observed::Errors, Shape::new(errors_schema(), &[]));
        for (at, view) in plan.views.iter().enumerate() {
            let schema = plan.rels[view.rel].schema.clone();
            let key = column_names(&schema, view.key.as_deref().unwrap_or_default());
            shapes.insert(Observed::View(at), Shape { schema, key });
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            let schema = plan.rels[sink.rel].schema.clone();
            let key = if sink.format == Format::Plain { vec![] } else { column_names(&schema, &sink.key) };
            let changes = changes_shape(sink, &schema)?;
            shapes.insert(Observed::Sink(at), Shape { schema, key });
            shapes.insert(Observed::Changes(at), changes);
        }
        Ok(Shapes(shapes))
    }

    /// The columns of one kind of content.
    pub fn shape_of(&self, observed: Observed) -> Option<&Shape> {
        self.0.get(&observed)
    }
}

/// The name of observable content in messages.
pub fn observed_name(plan: &Plan, observed: Observed) -> String {
    match observed {
        Observed::Outcomes(at) => format!("outcomes {}", source_name(plan, at)),
        Observed::DeadLetters => "dead_letter".to_owned(),
        Observed::Errors => dataflows::runtime::state_tables::ERRORS.to_owned(),
        Observed::View(at) => plan.views.get(at).map_or("", |view| &view.name).to_owned(),
        Observed::Sink(at) => format!("sink {}", sink_name(plan, at)),
        Observed::Changes(at) => format!("changes {}", sink_name(plan, at)),
    }
}

fn source_name(plan: &Plan, at: usize) -> &str {
    plan.sources.get(at).map_or("", |source| &source.name)
}

fn sink_name(plan: &Plan, at: usize) -> &str {
    plan.sinks.get(at).map_or("", |sink| &sink.name)
}

/// The names of the columns at these places.
fn column_names(schema: &Schema, at: &[usize]) -> Vec<String> {
    at.iter().map(|at| schema.field(*at).name().clone()).collect()
}

/// A schema of nullable columns.
fn schema_of(names: &[(&str, DataType)]) -> Schema {
    Schema::new(names.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
}

/// The outcomes that the records of a source may have.
fn outcomes_of(source: &Source) -> impl Iterator<Item = Outcome> + '_ {
    let may_be = |outcome: &Outcome| *outcome != Outcome::Erased || !source.erase_by.is_empty();
    Outcome::ALL.into_iter().filter(may_be)
}

fn outcomes_schema(source: &Source) -> Schema {
    let names = std::iter::once("read").chain(outcomes_of(source).map(Outcome::name));
    schema_of(&names.map(|name| (name, DataType::Int64)).collect::<Vec<_>>())
}

/// Rows of the error table as JSON text, as `herald query` shows them.
fn error_texts(rows: &Rows) -> Result<Vec<String>> {
    let schema = errors_schema();
    let mut columns = RowCodec::of(&schema)?.decode(rows.iter())?;
    failure::spell_columns(&schema, &mut columns);
    table::batch_rows(&RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn errors_schema() -> Schema {
    schema_of(&["view", "expression", "message", "row"].map(|name| (name, DataType::Utf8)))
}

fn dead_letters_schema() -> Schema {
    schema_of(&[
        ("source", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        ("outcome", DataType::Utf8),
        ("constraint", DataType::Utf8),
        ("message", DataType::Utf8),
    ])
}

/// The columns of a sink's messages, as a file sink writes them.
fn changes_shape(sink: &Sink, schema: &SchemaRef) -> Result<Shape> {
    let (schema, key) = match sink.format {
        Format::Plain => return Ok(Shape { schema: schema.clone(), key: vec![] }),
        Format::Upsert => {
            let key = schema.project(&sink.key)?;
            (schema_of(&[("key", row_type(&key)), ("value", row_type(schema))]), vec!["key".to_owned()])
        }
        Format::Debezium => {
            let row = row_type(schema);
            (schema_of(&[("before", row.clone()), ("after", row), ("op", DataType::Utf8)]), vec![])
        }
    };
    Ok(Shape { schema: Arc::new(schema), key })
}

/// The type of a column that holds whole rows.
fn row_type(schema: &Schema) -> DataType {
    DataType::Struct(schema.fields().clone())
}

/// Content that accumulates over the steps.
#[derive(Default)]
pub struct Seen {
    /// Sinks as their readers hold them now.
    pub folded: Folded,
    /// Dead letters so far.
    pub dead_letters: Vec<DeadLetter>,
    before: Vec<SinkContent>,
}

impl Seen {
    /// Takes a picture; changes are those since the last one.
    pub fn take_picture(&mut self, plan: &Plan, engine: &Engine) -> Result<Picture> {
        let mut picture = Picture::new();
        for (at, source) in plan.sources.iter().enumerate() {
            let held = engine.progress().sources.get(&source.name).cloned().unwrap_or_default();
            let mut columns: Vec<ArrayRef> = Vec::new();
            let counts = outcomes_of(source).map(|outcome| held.outcomes[outcome.index()]);
            for count in std::iter::once(held.read).chain(counts) {
                columns.push(Arc::new(Int64Array::from(vec![count as i64])));
            }
            let batch = RecordBatch::try_new(Arc::new(outcomes_schema(source)), columns)?;
            picture.insert(Observed::Outcomes(at), Table::new(table::batch_rows(&batch)?));
        }
        picture.insert(Observed::DeadLetters, self.dead_letter_table(plan)?);
        picture.insert(Observed::Errors, Table::new(error_texts(&engine.error_rows()?)?));
        for (at, view) in plan.views.iter().enumerate() {
            let rows = row_texts(&plan.rels[view.rel].schema, &engine.view_rows(at)?)
                .with_context(|| format!("the rows of view {} cannot be read", view.name))?;
            picture.insert(Observed::View(at), Table::new(rows));
        }
        self.before.resize(plan.sinks.len(), SinkContent::default());
        for (at, sink) in plan.sinks.iter().enumerate() {
            let schema = &plan.rels[sink.rel].schema;
            let held = self.folded.content(at);
            picture.insert(
                Observed::Sink(at),
                Table::new(sent_texts(schema, &held.rows(), sink.pseudonyms.as_ref())?),
            );
            let before = std::mem::replace(&mut self.before[at], held);
            let rows = sink_changes((sink, schema), &before, &self.before[at])?;
            picture.insert(Observed::Changes(at), Table::new(rows));
        }
        Ok(picture)
    }

    fn dead_letter_table(&self, plan: &Plan) -> Result<Table> {
        let dead_letters = &self.dead_letters;
        let sources = dead_letters.iter().map(|l| source_name(plan, l.source));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(sources)),
            Arc::new(Int32Array::from_iter_values(dead_letters.iter().map(|l| l.partition))),
            Arc::new(Int64Array::from_iter_values(dead_letters.iter().map(|l| l.offset))),
            Arc::new(StringArray::from_iter_values(dead_letters.iter().map(|l| l.outcome.name()))),
            Arc::new(StringArray::from_iter(dead_letters.iter().map(|l| l.constraint.as_deref()))),
            Arc::new(StringArray::from_iter_values(dead_letters.iter().map(|l| &l.message))),
        ];
        let batch = RecordBatch::try_new(Arc::new(dead_letters_schema()), columns)?;
        Ok(Table::new(table::batch_rows(&batch)?))
    }
}

/// The messages that lead from one content of a sink to another.
fn sink_changes(
    (sink, schema): (&Sink, &SchemaRef),
    before: &SinkContent,
    now: &SinkContent,
) -> Result<Vec<String>> {
    if sink.format == Format::Plain {
        let mut rows = Rows::new();
        for (row, times) in &now.plain {
            let sent = before.plain.get(row).copied().unwrap_or(0);
            for _ in sent..*times {
                rows.push(row);
            }
        }
        return sent_texts(schema, &rows, sink.pseudonyms.as_ref());
    }
    let keys: BTreeSet<&Vec<u8>> = before.keyed.keys().chain(now.keyed.keys()).collect();
    let changed = |key: &&Vec<u8>| before.keyed.get(*key) != now.keyed.get(*key);
    let keys: Vec<&Vec<u8>> = keys.into_iter().filter(changed).collect();
    let (old, new) = (held_texts((sink, schema), &keys, before)?, held_texts((sink, schema), &keys, now)?);
    if sink.format == Format::Debezium {
        return Ok(old.iter().zip(&new).map(|(old, new)| debezium_text(old, new)).collect());
    }
    let mut packed = Rows::new();
    for key in keys {
        packed.push(key);
    }
    let of_key = sink.pseudonyms.as_ref().map(|pseudonyms| pseudonyms.projected(&sink.key));
    let named = sent_texts(&schema.project(&sink.key)?, &packed, of_key.as_ref())?;
    Ok(named.iter().zip(&new).map(|(key, value)| format!("{{\"key\":{key},\"value\":{value}}}")).collect())
}

/// The row of each key as JSON text; "null" where the content has none.
fn held_texts(
    (sink, schema): (&Sink, &SchemaRef),
    keys: &[&Vec<u8>],
    held: &SinkContent,
) -> Result<Vec<String>> {
    let mut rows = Rows::new();
    for key in keys {
        if let Some(row) = held.keyed.get(*key) {
            rows.push(row);
        }
    }
    let mut found = sent_texts(schema, &rows, sink.pseudonyms.as_ref())?.into_iter();
    let mut texts = Vec::with_capacity(keys.len());
    for key in keys {
        texts.push(if held.keyed.contains_key(*key) {
            found.next().unwrap_or_default()
        } else {
            "null".to_owned()
        });
    }
    Ok(texts)
}

/// A Debezium message from the rows before and after a change.
fn debezium_text(old: &str, new: &str) -> String {
    let op = match (old, new) {
        ("null", _) => "c",
        (_, "null") => "d",
        _ => "u",
    };
    format!("{{\"before\":{old},\"after\":{new},\"op\":\"{op}\"}}")
}
