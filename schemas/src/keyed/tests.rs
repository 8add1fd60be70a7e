//! Upsert and Debezium records, decoded into rows and deletes, in every form of key and value.

use apache_avro::Schema as Avro;
use apache_avro::types::Value;
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::encode::Encoder;
use crate::records::record::Records;

type Record<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Two key columns and one more.
fn items() -> SchemaRef {
    schema(&[("shop", DataType::Utf8), ("n", DataType::Int64), ("id", DataType::Int32)])
}

fn records(records: &[Record<'_>]) -> Records {
    let mut out = Records::new(0);
    for (offset, (key, value)) in (0..).zip(records) {
        out.push(offset, None, *key, *value);
    }
    out
}

fn text<'a>(records: &[(&'a str, &'a str)]) -> Vec<Record<'a>> {
    let bytes = |text: &'a str| (text != "NULL").then_some(text.as_bytes());
    records.iter().map(|(key, value)| (bytes(key), bytes(value))).collect()
}

/// The result of each record: its row, `- ` and the row of a delete, or `! ` and the reject's message.
fn describe_outcomes(decoded: &Decoded) -> Vec<String> {
    let written = Encoder::json(&decoded.batch.schema()).unwrap().encode(&decoded.batch).unwrap();
    let mut out: Vec<(u32, String)> = Vec::new();
    for (at, record) in decoded.rows.iter().enumerate() {
        let row = String::from_utf8_lossy(written.get(at).unwrap()).into_owned();
        let deletes = decoded.deletes.get(at) == Some(&true);
        out.push((*record, if deletes { format!("- {row}") } else { row }));
    }
    out.extend(decoded.rejects.iter().map(|reject| (reject.row, format!("! {}", reject.message))));
    out.sort();
    assert!(out.iter().map(|(record, _)| *record).eq(0..out.len() as u32), "each record once: {out:?}");
    out.into_iter().map(|(_, told)| told).collect()
}

fn json() -> Form {
    Form::Json(JsonOptions::default())
}

fn upsert(schema: SchemaRef, key: &[usize], form: Form, given: &[Record<'_>]) -> Vec<String> {
    let mut decoder = UpsertDecoder::new(schema, key.to_vec(), json(), form).unwrap();
    let given = records(given);
    // The second call must not see remains of the first one.
    let first = describe_outcomes(&decoder.decode(&given).unwrap());
    assert_eq!(describe_outcomes(&decoder.decode(&given).unwrap()), first);
    assert_eq!(first.len(), given.len());
    first
}

#[test]
fn upserts_take_key_columns_from_the_key() {
    let given = text(&[
        (r#"{"shop":"a","id":1}"#, r#"{"n":5}"#),
        (r#"{"id":1.0, "Shop":"a", "other":[1]}"#, r#"{"shop":"a","id":1,"n":6}"#),
        (r#"{"shop":"a","id":1}"#, r#"{"shop":null,"n":7}"#),
        (r#"{"shop":"a","id":1}"#, "NULL"),
        (r#"{"shop":"a","id":1}"#, r#"{"shop":"b","n":7}"#),
        (r#"{"shop":"a","id":1}"#, r#"{"id":2,"n":7}"#),
        ("NULL", r#"{"shop":"a","id":1,"n":7}"#),
        ("NULL", "NULL"),
        (r#"{"shop":"a"}"#, r#"{"shop":"a","id":1,"n":7}"#),
        (r#"{"shop":"a","id":"x"}"#, "NULL"),
        (r#"{"shop":"a","id":1}"#, r#"{"n":"x"}"#),
        ("\"a\"", "NULL"),
        (r#"{"shop":"b","id":2}"#, "{}"),
    ]);
    assert_eq!(
        upsert(items(), &[0, 2], json(), &given),
        [
            r#"{"shop":"a","n":5,"id":1}"#,
            r#"{"shop":"a","n":6,"id":1}"#,
            r#"{"shop":"a","n":7,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            "! field shop: the value says otherwise than the record's key",
            "! field id: the value says otherwise than the record's key",
            "! the record has no key",
            "! the record has no key",
            "! the record's key: id is missing",
            "! the record's key: field id: a string does not fit INT",
            "! field n: a string does not fit BIGINT",
            "! the record's key: a JSON object is expected, not a string",
            r#"{"shop":"b","n":null,"id":2}"#,
        ]
    );
}

#[test]
fn one_key_column_may_be_bare() {
    let columns = || schema(&[("id", DataType::Int64), ("n", DataType::Int64)]);
    let given = text(&[
        ("7", r#"{"n":1}"#),
        (r#"{"id":8}"#, "NULL"),
        ("null", "NULL"),
        ("7 8", "NULL"),
        ("[7]", "{}"),
    ]);
    assert_eq!(
        upsert(columns(), &[0], json(), &given),
        [
            r#"{"id":7,"n":1}"#,
            r#"- {"id":8,"n":null}"#,
            "! the record's key: a JSON object is expected, not null",
            "! the record's key: this is not JSON: trailing characters at byte 2",
            "! the record's key: an array does not fit BIGINT",
        ]
    );
    assert_eq!(
        upsert(
            columns(),
            &[0],
            Form::Text,
            &text(&[("7", r#"{"id":7,"n":1}"#), ("x", "NULL"), ("NULL", "{}")])
        ),
        [
            r#"{"id":7,"n":1}"#,
            "! the record's key: something that is not JSON does not fit BIGINT",
            "! the record has no key",
        ]
    );
    let columns = schema(&[("id", DataType::Utf8), ("n", DataType::Int64)]);
    assert_eq!(
        upsert(
            columns,
            &[0],
            Form::Text,
            &[(Some(b"{\"id\":1}"), None), (Some(b""), Some(b"{}")), (Some(b"\xff"), None)]
        ),
        [r#"- {"id":"{\"id\":1}","n":null}"#, r#"{"id":"","n":null}"#, "! the record's key: it is not UTF-8"]
    );
    let columns = schema(&[("id", DataType::Binary), ("n", DataType::Int64)]);
    assert_eq!(
        upsert(columns, &[0], Form::Bytes, &[(Some(b"\xff\x00"), None), (None, None)]),
        [r#"- {"id":"/wA=","n":null}"#, "! the record has no key"]
    );
}

#[test]
fn the_whole_key_needs_no_column() {
    let columns = schema(&[("n", DataType::Int64)]);
    assert_eq!(
        upsert(
            columns,
            &[],
            Form::Bytes,
            &[(Some(b"k"), Some(b"{\"n\":1}")), (Some(b"k"), None), (None, None)]
        ),
        [r#"{"n":1}"#, r#"- {"n":null}"#, "! the record has no key"]
    );
}

#[test]
fn forms_that_do_not_fit_are_refused() {
    let of = |key: &[usize], form| UpsertDecoder::new(items(), key.to_vec(), json(), form).is_err();
    assert!(
        of(&[0, 2], Form::Text) && of(&[0], Form::Bytes) && !of(&[0], Form::Text) && !of(&[2], Form::Text)
    );
    assert!(UpsertDecoder::new(items(), vec![0], Form::Text, json()).is_err());
    assert!(DebeziumDecoder::new(items(), vec![], json(), json()).is_err());
}

#[test]
fn columns_that_only_the_key_has_are_not_warned_about() {
    let mut decoder = UpsertDecoder::new(items(), vec![0, 2], json(), json()).unwrap();
    let one = text(&[(r#"{"shop":"a","id":1}"#, r#"{"m":5}"#)]);
    let many: Vec<Record<'_>> = one.iter().cycle().take(1000).copied().collect();
    decoder.decode(&records(&many)).unwrap();
    assert_eq!(decoder.warnings(), ["column \"n\" was in none of 1000 records; the nearest field is \"m\""]);
    let mut decoder = DebeziumDecoder::new(items(), vec![0, 2], json(), json()).unwrap();
    let one = text(&[("NULL", r#"{"op":"c","after":{"shop":"a","id":1,"m":5}}"#)]);
    let many: Vec<Record<'_>> = one.iter().cycle().take(1000).copied().collect();
    decoder.decode(&records(&many)).unwrap();
    assert_eq!(decoder.warnings(), ["column \"n\" was in none of 1000 records; the nearest field is \"m\""]);
}

fn debezium(given: &[(&str, &str)]) -> Vec<String> {
    let mut decoder = DebeziumDecoder::new(items(), vec![0, 2], json(), json()).unwrap();
    let given = records(&text(given));
    let first = describe_outcomes(&decoder.decode(&given).unwrap());
    assert_eq!(describe_outcomes(&decoder.decode(&given).unwrap()), first);
    assert_eq!(first.len(), given.len());
    first
}

#[test]
fn events_of_debezium() {
    let row = r#"{"shop":"a","id":1,"n":5}"#;
    let event = |op: &str, before: &str, after: &str| {
        format!(r#"{{"before":{before},"after":{after},"source":{{"ts_ms":1}},"op":"{op}","ts_ms":2}}"#)
    };
    let given = [
        event("c", "null", row),
        event("r", "null", row),
        // An update ignores `before`.
        event("u", r#"{"shop":"a","id":1,"n":"?"}"#, row),
        event("d", r#"{"shop":"a","id":1,"n":5}"#, "null"),
        event("d", r#"{"shop":"a","id":1}"#, "null"),
        event("u", row, "null"),
        event("t", "null", "null"),
        event("m", "null", "null"),
        r#"{"shop":"a","id":1,"n":5}"#.to_owned(),
        event("c", "null", r#"{"shop":"a","id":1,"n":"x"}"#),
        "[]".to_owned(),
    ];
    let plain: Vec<(&str, &str)> = given.iter().map(|event| ("NULL", event.as_str())).collect();
    let told = [
        r#"{"shop":"a","n":5,"id":1}"#,
        r#"{"shop":"a","n":5,"id":1}"#,
        r#"{"shop":"a","n":5,"id":1}"#,
        r#"- {"shop":"a","n":null,"id":1}"#,
        r#"- {"shop":"a","n":null,"id":1}"#,
        "! field after: an event with op \"u\" has none",
        "! field op: \"t\" empties the whole table, which no single row can stand for; leave truncates out at the connector (skipped.operations = 't')",
        "! field op: \"m\" is not c, r, u or d",
        "! field op is missing: this is no event of Debezium's; declare FORMAT UPSERT if its rows are unwrapped on the way",
        "! field after.n: a string does not fit BIGINT",
        "! a JSON object is expected, not an array",
    ];
    assert_eq!(debezium(&plain), told);
    // The same inside Kafka Connect's `schema` and `payload`.
    let wrapped: Vec<String> = given
        .iter()
        .map(|event| format!(r#" {{"schema":{{"type":"struct","fields":[]}}, "payload": {event} }}"#))
        .collect();
    let wrapped: Vec<(&str, &str)> = wrapped.iter().map(|event| ("NULL", event.as_str())).collect();
    assert_eq!(debezium(&wrapped), told);
}

#[test]
fn deletes_of_debezium_may_need_the_key() {
    let key = r#"{"shop":"a","id":1}"#;
    let wrapped = r#"{"schema":{"type":"struct"},"payload":{"shop":"a","id":1}}"#;
    let delete = r#"{"before":null,"op":"d"}"#;
    assert_eq!(
        debezium(&[
            (key, delete),
            (wrapped, delete),
            (key, r#"{"before":{"shop":"b"},"op":"d"}"#),
            ("NULL", delete),
            ("{}", delete),
            (key, "NULL"),
            (wrapped, "NULL"),
            ("NULL", "NULL"),
            // A key that is not needed is not decoded.
            ("?", r#"{"before":{"shop":"b","id":2},"op":"d"}"#),
            ("?", r#"{"after":{"shop":"b","id":2},"op":"c"}"#),
        ]),
        [
            r#"- {"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            "! the record has no key",
            "! the record's key: shop is missing",
            r#"- {"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            "! the record has no key",
            r#"- {"shop":"b","n":null,"id":2}"#,
            r#"{"shop":"b","n":null,"id":2}"#,
        ]
    );
}

const EVENT: &str = r#"{"type":"record","name":"Envelope","namespace":"shop.public.items","fields":[
  {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
    {"name":"id","type":"int"},{"name":"shop","type":"string"},{"name":"n","type":["null","long"],"default":null}]}],
    "default":null},
  {"name":"after","type":["null","Value"],"default":null},
  {"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"lsn","type":["null","long"]}]}},
  {"name":"op","type":"string"},
  {"name":"ts_ms","type":["null","long"],"default":null}]}"#;
const KEY: &str = r#"{"type":"record","name":"Key","namespace":"shop.public.items","fields":[
  {"name":"shop","type":"string"},{"name":"id","type":"int"}]}"#;

#[allow(deprecated)]
fn message(id: u32, schema: &str, value: Value) -> Vec<u8> {
    let datum = apache_avro::to_avro_datum(&Avro::parse_str(schema).unwrap(), value).unwrap();
    [&[0], &id.to_be_bytes()[..], &datum].concat()
}

fn fields(fields: &[(&str, Value)]) -> Value {
    Value::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn avro() -> (Form, Registry) {
    let registry = Registry::in_memory();
    (Form::Avro(registry.clone(), Arc::default()), registry)
}

#[test]
fn events_of_debezium_in_avro_by_the_registry() {
    let (form, registry) = avro();
    let (event, key) = (registry.register("v", EVENT).unwrap(), registry.register("k", KEY).unwrap());
    let row = |n: Value| fields(&[("id", Value::Int(1)), ("shop", Value::String("a".into())), ("n", n)]);
    let events = |op: &str, before: Value, after: Value| {
        let source = fields(&[("lsn", some(Value::Long(9)))]);
        let op = Value::String(op.into());
        let all = [("before", before), ("after", after), ("source", source), ("op", op), ("ts_ms", none())];
        message(event, EVENT, fields(&all))
    };
    let key = message(key, KEY, fields(&[("shop", Value::String("a".into())), ("id", Value::Int(1))]));
    let five = some(row(some(Value::Long(5))));
    let values = [
        Some(events("c", none(), five.clone())),
        Some(events("u", five.clone(), some(row(none())))),
        Some(events("d", five, none())),
        Some(events("d", none(), none())),
        None,
        Some(b"\x00\x00".to_vec()),
        Some(events("t", none(), none())),
    ];
    let given: Vec<Record<'_>> = values.iter().map(|value| (Some(&*key), value.as_deref())).collect();
    let mut decoder = DebeziumDecoder::new(items(), vec![0, 2], form.clone(), form).unwrap();
    let told = describe_outcomes(&decoder.decode(&records(&given)).unwrap());
    assert_eq!(
        told[..5],
        [
            r#"{"shop":"a","n":5,"id":1}"#,
            r#"{"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
            r#"- {"shop":"a","n":null,"id":1}"#,
        ]
    );
    assert!(
        told[5].starts_with("! this is not Avro") && told[6].starts_with("! field op: \"t\""),
        "{told:?}"
    );
}

#[test]
fn avro_keys_are_records_or_bare() {
    let (form, registry) = avro();
    let (record, bare) = (registry.register("k", KEY).unwrap(), registry.register("b", "\"long\"").unwrap());
    let wide = fields(&[("shop", Value::String("a".into())), ("id", Value::Int(1))]);
    let (wide, long) = (message(record, KEY, wide), message(bare, "\"long\"", Value::Long(7)));
    let left_over = [&long[..], b"x"].concat();
    let keyed =
        |key: &[usize], columns| UpsertDecoder::new(columns, key.to_vec(), json(), form.clone()).unwrap();
    let given = [(Some(&*wide), Some(&b"{\"n\":5}"[..])), (Some(&*long), None), (Some(&*left_over), None)];
    let mut two = keyed(&[0, 2], items());
    let decoded = describe_outcomes(&two.decode(&records(&given)).unwrap());
    assert_eq!(decoded[0], r#"{"shop":"a","n":5,"id":1}"#);
    assert!(decoded[1].ends_with("it is not a record"), "{decoded:?}");
    let mut one = keyed(&[0], schema(&[("id", DataType::Int64), ("n", DataType::Int64)]));
    assert_eq!(
        describe_outcomes(&one.decode(&records(&given)).unwrap()),
        [r#"{"id":1,"n":5}"#, r#"- {"id":7,"n":null}"#, "! the record's key: 1 bytes are left over",]
    );
}

#[test]
fn nothing_is_left_of_records_that_fail() {
    let good = (r#"{"shop":"a","id":1}"#, r#"{"n":5}"#);
    let broken = (r#"{"shop":"a","id":1}"#, r#"{"n":5"#);
    let told = upsert(items(), &[0, 2], json(), &text(&[broken, good, broken, ("NULL", "NULL"), good]));
    assert_eq!(told[1], r#"{"shop":"a","n":5,"id":1}"#);
    assert_eq!(told[4], told[1]);
    assert!(upsert(items(), &[0, 2], json(), &[]).is_empty());
}
