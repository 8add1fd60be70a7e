//! Records of `match.completed` and `champion` for tests, made by `tests/oracle`, with the expected results
//! of the topology; also the folding of sink topics into rows.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::broker::{self, Read};
use crate::servers;

/// Encoding of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    /// One JSON object per record.
    Json,
    /// Confluent's wire format.
    Avro,
}

/// A record to produce.
#[derive(Clone, Debug)]
pub struct Record {
    /// Message key.
    pub key: String,
    /// Message value.
    pub value: Vec<u8>,
    line: String,
}

/// The key and value of records, as `broker::produce` takes them.
pub fn pairs(records: &[Record]) -> impl Iterator<Item = (&str, &[u8])> {
    records.iter().map(|r| (r.key.as_str(), r.value.as_slice()))
}

fn schema(topic: &str) -> String {
    servers::root().join(format!("schemas/avro/{topic}.avsc")).to_string_lossy().into_owned()
}

fn schema_id(prefix: &str, topic: &str) -> String {
    let text = std::fs::read_to_string(schema(topic)).expect("a schema");
    servers::register(&format!("{prefix}.{topic}-value"), &text).to_string()
}

/// Runs build_input.py over captured matches. `options` are its options.
pub fn matches(file: &Path, options: &[&str], encode: Encode, prefix: &str) -> Vec<Record> {
    let (schema, id);
    let file = file.to_string_lossy();
    let mut args = vec![&*file];
    args.extend_from_slice(options);
    if encode == Encode::Avro {
        (schema, id) = (self::schema("match.completed"), schema_id(prefix, "match.completed"));
        args.extend_from_slice(&["--avro", &schema, "--schema-id", &id]);
    }
    let lines = servers::python("build_input.py", &args, "");
    lines.lines().map(|line| record(line.to_owned())).collect()
}

fn record(line: String) -> Record {
    let parsed: Value = serde_json::from_str(&line).expect("JSON");
    let value = STANDARD.decode(parsed["value"].as_str().expect("a value")).expect("base64");
    Record { key: parsed["key"].as_str().expect("a key").to_owned(), value, line }
}

/// The champion dimension's records; `rename` is appended to each name.
pub fn champions(encode: Encode, prefix: &str, rename: &str) -> Vec<Record> {
    let path = servers::root().join("tests/fixtures/champions.jsonl");
    let text = std::fs::read_to_string(path).expect("the fixture");
    let mut rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    for row in &mut rows {
        row["name"] = json!(format!("{}{rename}", row["name"].as_str().expect("a name")));
    }
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let values: Vec<Vec<u8>> = match encode {
        Encode::Json => lines.iter().map(|l| l.as_bytes().to_vec()).collect(),
        Encode::Avro => {
            let args = [&*schema("champion"), &*schema_id(prefix, "champion")];
            let encoded = servers::python("encode_avro.py", &args, &lines.join("\n"));
            encoded.lines().map(|l| STANDARD.decode(l).expect("base64")).collect()
        }
    };
    let record = |(row, value): (&Value, Vec<u8>)| Record {
        key: row["champion_id"].to_string(),
        value,
        line: row.to_string(),
    };
    rows.iter().zip(values).map(record).collect()
}

/// The expected content of the sinks for these records: view name to rows.
pub fn expected(matches: &[Record], champions: &[Record]) -> BTreeMap<String, Vec<Value>> {
    let dir = tempfile::tempdir().expect("a directory");
    let names = dir.path().join("champions.jsonl");
    let lines = |records: &[Record]| records.iter().map(|r| format!("{}\n", r.line)).collect::<String>();
    std::fs::write(&names, lines(champions)).expect("a file");
    let args = ["--champions", &*names.to_string_lossy()];
    let answer = servers::python("match_analytics.py", &args, &lines(matches));
    let answer: Map<String, Value> = serde_json::from_str(&answer).expect("JSON");
    let views = answer.into_iter().filter_map(|(view, rows)| Some((view, rows.as_array()?.clone())));
    views.map(|(view, rows)| (view, sorted(rows))).collect()
}

/// Messages as JSON: (key, value), decoded by an outside consumer where they are Avro.
fn decoded(read: &[Read], encode: Encode) -> Vec<(Value, Value)> {
    let side = |bytes: &Option<Vec<u8>>| match (bytes, encode) {
        (None, _) => Value::Null,
        (Some(bytes), Encode::Json) => serde_json::from_slice(bytes).expect("JSON"),
        (Some(bytes), Encode::Avro) => json!(STANDARD.encode(bytes)),
    };
    let messages: Vec<(Value, Value)> = read.iter().map(|r| (side(&r.key), side(&r.value))).collect();
    if encode == Encode::Json {
        return messages;
    }
    let lines = messages.iter().map(|(k, v)| format!("{}\n", json!({ "key": k, "value": v })));
    let answer = servers::python("decode_avro.py", &[servers::registry()], &lines.collect::<String>());
    let message = |line: &str| {
        let mut parsed: Value = serde_json::from_str(line).expect("JSON");
        (parsed["key"].take(), parsed["value"].take())
    };
    answer.lines().map(message).collect()
}

/// Folds an UPSERT sink's topic by key into rows. Asserts the invariants of every such topic: keys are
/// columns of their rows, a key stays in one partition, and has at most one record per epoch, with ascending
/// epochs.
pub fn upserted(topic: &str, encode: Encode) -> Vec<Value> {
    let read = broker::shared().read_committed(topic);
    let messages = decoded(&read, encode);
    let mut rows: BTreeMap<String, (Value, i32, u64)> = BTreeMap::new();
    for (record, (key, value)) in read.iter().zip(messages) {
        let columns = key.as_object().expect("a key is an object");
        if let Some(row) = value.as_object() {
            assert!(columns.iter().all(|(name, held)| row.get(name) == Some(held)), "{key} in {value}");
        }
        let epoch = record.headers.get("herald.epoch").and_then(|e| e.parse().ok());
        let epoch = epoch.unwrap_or_else(|| panic!("no herald.epoch in {:?}", record.headers));
        if let Some((_, partition, before)) = rows.get(&key.to_string()) {
            assert_eq!(*partition, record.partition, "{topic}: {key} moved to another partition");
            assert!(*before < epoch, "{topic}: {key} twice in epoch {epoch}, or epochs not ascending");
        }
        rows.insert(key.to_string(), (value, record.partition, epoch));
    }
    sorted(rows.into_values().map(|(value, ..)| value).filter(|v| !v.is_null()).collect())
}

/// Rows in a canonical order; 1 and 1.0 are the same number.
pub fn sorted(rows: Vec<Value>) -> Vec<Value> {
    let mut rows: Vec<Value> = rows.into_iter().map(plain).collect();
    rows.sort_by_cached_key(Value::to_string);
    rows
}

fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> = fields.into_iter().map(|(k, v)| (k, plain(v))).collect();
            sorted.into_iter().collect()
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

/// Fails with the differing rows, if there are any.
pub fn assert_same(what: &str, got: &[Value], want: &[Value]) {
    if got == want {
        return;
    }
    let texts = |rows: &[Value]| rows.iter().map(Value::to_string).collect::<HashSet<_>>();
    let (all_got, all_want) = (texts(got), texts(want));
    let missing: Vec<&Value> = want.iter().filter(|row| !all_got.contains(&row.to_string())).collect();
    let extra: Vec<&Value> = got.iter().filter(|row| !all_want.contains(&row.to_string())).collect();
    let show = |rows: &[&Value]| rows.iter().take(5).map(|r| format!("  {r}\n")).collect::<String>();
    assert!(
        missing.is_empty() && extra.is_empty() && got.len() == want.len(),
        "{what}: {} rows, expected {}\nmissing {}:\n{}unexpected {}:\n{}",
        got.len(),
        want.len(),
        missing.len(),
        show(&missing),
        extra.len(),
        show(&extra),
    );
}
