//! The content of views over the rows fed so far, in two ways that must agree: an epoch for each
//! INSERT, two workers and a restart halfway; and all rows in one epoch of three.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use dataflows::plan::Plan;
use schemas::types::time;
use schemas::{Records, is_jsonb};
use serde_json::{Map, Value};
use sqllogictest::{DBOutput, DefaultColumnType};

use crate::database::Fed;
use crate::engine::{Engine, Options};
use crate::rows::{Row, difference, of_view, sort};

/// A view's rows, sorted, and its columns.
#[derive(Clone)]
pub struct Answer {
    /// As `rows` compares them.
    pub rows: Vec<Row>,
    /// The columns.
    pub fields: Vec<Arc<Field>>,
}

impl Answer {
    /// As sqllogictest wants it.
    pub fn output(&self) -> DBOutput<DefaultColumnType> {
        let kind = |field: &Arc<Field>| match field.data_type() {
            DataType::Int16 | DataType::Int32 | DataType::Int64 => DefaultColumnType::Integer,
            DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
                DefaultColumnType::FloatingPoint
            }
            _ => DefaultColumnType::Text,
        };
        let text =
            |row: &Row| row.iter().zip(&self.fields).map(|(value, field)| text(value, field)).collect();
        DBOutput::Rows {
            types: self.fields.iter().map(kind).collect(),
            rows: self.rows.iter().map(text).collect(),
        }
    }
}

fn text(value: &Value, field: &Field) -> String {
    match (value, field.data_type()) {
        (Value::Null, _) => "NULL".to_owned(),
        (Value::String(text), _) if text.is_empty() => "(empty)".to_owned(),
        (Value::String(text), _) => text.clone(),
        (Value::Number(us), DataType::Timestamp(_, zone)) => {
            time::format_timestamp(us.as_i64().unwrap(), zone.is_some())
        }
        (Value::Number(days), DataType::Date32) => {
            let mut out = Vec::new();
            time::write_date(&mut out, days.as_i64().unwrap());
            String::from_utf8(out).unwrap()
        }
        _ => value.to_string(),
    }
}

/// Longest that a script's topology may take: more is taken for a hang.
const LONGEST: Duration = Duration::from_secs(120);

/// The last `views` views of a topology. A run that ends, panics or hangs is an error.
pub fn answer(plan: &Arc<Plan>, fed: &[Fed], views: usize) -> Result<Vec<Answer>, String> {
    let (sender, receiver) = channel();
    let (plan, fed) = (Arc::clone(plan), fed.to_vec());
    std::thread::spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = sender.send(both(&plan, &fed, views));
    });
    receiver
        .recv_timeout(LONGEST)
        .map_err(|_| format!("the run panicked, or took longer than {LONGEST:?}"))?
}

fn both(plan: &Arc<Plan>, fed: &[Fed], views: usize) -> Result<Vec<Answer>, String> {
    let steps = run(plan, fed, views, 2);
    let once = run(plan, fed, views, 3);
    for ((at, one), other) in steps.iter().enumerate().zip(&once) {
        if let Some(difference) = difference(&one.rows, &other.rows) {
            return Err(format!("view {at}: an epoch for each INSERT beside one for all: {difference}"));
        }
    }
    Ok(steps)
}

/// The last `views` views of a topology; with two workers by an epoch for each INSERT, with others by one epoch.
pub fn run(plan: &Arc<Plan>, fed: &[Fed], views: usize, workers: usize) -> Vec<Answer> {
    let dir = tempfile::tempdir().unwrap();
    let partitions = vec![1; plan.sources.len()];
    let options = Options { workers, in_flight: 1, cut: true };
    let open = || Engine::open(plan, &dir.path().join("state"), &partitions, options);
    let (mut engine, half) = (open(), fed.len() / 2);
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    for (at, fed) in fed.iter().enumerate() {
        let place = plan.sources.iter().position(|source| source.name == fed.source).unwrap();
        let names = plan.sources[place].decoded.fields().iter().map(|field| field.name());
        let names: Vec<&String> = names.collect();
        let mut records = Records::new(0);
        for row in &fed.rows {
            let offset = next.entry(&fed.source).or_default();
            let object: Map<String, Value> =
                names.iter().map(|name| name.to_string()).zip(row.iter().cloned()).collect();
            records.push(*offset, None, None, Some(Value::Object(object).to_string().as_bytes()));
            *offset += 1;
        }
        engine.feed(place, records);
        if workers == 2 {
            engine.close(|_, _| {});
            if at == half {
                drop(engine);
                engine = open();
            }
        }
    }
    engine.close(|_, _| {});
    engine.finish(|_, _| {});
    let first = plan.views.len() - views;
    let view = |at: usize| {
        let schema = &plan.rels[plan.views[at].rel].schema;
        let mut rows = of_view(&engine, schema, at);
        sort(&mut rows);
        Answer { rows, fields: schema.fields().iter().cloned().collect() }
    };
    (first..plan.views.len()).map(view).collect()
}

/// DuckDB's name of a column's type.
pub fn duck_type(field: &Field) -> String {
    match field.data_type() {
        DataType::Utf8 if is_jsonb(field) => "JSON".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::List(item) => format!("{}[]", duck_type(item)),
        DataType::Struct(fields) => {
            let inner = fields.iter().map(|field| format!("\"{}\" {}", field.name(), duck_type(field)));
            format!("STRUCT({})", inner.collect::<Vec<_>>().join(", "))
        }
        _ => schemas::sql_type(field),
    }
}
