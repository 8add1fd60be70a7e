//! The Avro decoder on messages of another implementation, and on damaged bytes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use apache_avro::types::Value;
use apache_avro::{Decimal, Schema as Avro};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand::RngExt;

use super::schema::{avro_schema, columns_of_avro};
use super::*;
use crate::encode::Encoder;
use crate::types::relation::{jsonb_field, timestamp, timestamptz, uuid_type};
use crate::types::sample;

#[allow(deprecated)]
fn datum(schema: &str, value: Value) -> Vec<u8> {
    apache_avro::to_avro_datum(&Avro::parse_str(schema).unwrap(), value).unwrap()
}

fn message(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn records<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Records {
    let mut records = Records::new(0);
    for (offset, value) in (0..).zip(values) {
        records.push(offset, None, None, Some(value.as_ref()));
    }
    records
}

fn decoder(columns: Vec<Field>, writer: &str) -> AvroDecoder {
    let registry = Registry::in_memory();
    assert_eq!(registry.register("s", writer).unwrap(), 1);
    AvroDecoder::new(Arc::new(Schema::new(columns)), registry, Arc::default()).unwrap()
}

fn json(batch: &RecordBatch) -> Vec<String> {
    let written = Encoder::json(&batch.schema()).unwrap().encode(batch).unwrap();
    written.iter().flatten().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
}

/// The JSON form of a column filled with one value of an Avro type, or the reject's message.
fn through(field: &Field, avro: &str, value: Value) -> Result<String, String> {
    let writer = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"c","type":{avro}}}]}}"#);
    let bytes = message(1, &datum(&writer, Value::Record(vec![("c".into(), value)])));
    let decoded = decoder(vec![field.clone()], &writer).decode(&records([bytes])).unwrap();
    match decoded.rejects.first() {
        Some(reject) => {
            assert_eq!((decoded.batch.num_rows(), reject.schema_id), (0, Some(1)));
            Err(reject.message.clone())
        }
        None => {
            let text = json(&decoded.batch).remove(0);
            Ok(text.strip_prefix("{\"c\":").unwrap().strip_suffix('}').unwrap().to_string())
        }
    }
}

fn logical(base: &str, name: &str) -> String {
    format!(r#"{{"type":"{base}","logicalType":"{name}"}}"#)
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

const DECIMAL: &str = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#;
const FIXED_DECIMAL: &str =
    r#"{"type":{"type":"fixed","name":"F","size":6},"logicalType":"decimal","precision":9,"scale":2}"#;

#[test]
fn types_that_fit() {
    let of = |data_type| Field::new("c", data_type, true);
    let time = || of(DataType::Time64(TimeUnit::Microsecond));
    let (ts, tz) = (|| of(timestamp()), || of(timestamptz()));
    let decimal = |scale| of(DataType::Decimal128(12, scale));
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let parsed = || Value::Uuid(uuid.parse().unwrap());
    let cases: Vec<(Field, String, Value, &str)> = vec![
        (of(DataType::Boolean), r#""boolean""#.into(), Value::Boolean(true), "true"),
        (of(DataType::Int16), r#""int""#.into(), Value::Int(-7), "-7"),
        (of(DataType::Int64), r#""int""#.into(), Value::Int(i32::MIN), "-2147483648"),
        (of(DataType::Int32), r#""long""#.into(), Value::Long(1 << 30), "1073741824"),
        (of(DataType::Int64), r#""long""#.into(), Value::Long(i64::MIN), "-9223372036854775808"),
        (of(DataType::Float64), r#""long""#.into(), Value::Long(3), "3.0"),
        (of(DataType::Float64), r#""float""#.into(), Value::Float(1.5), "1.5"),
        (of(DataType::Float32), r#""double""#.into(), Value::Double(1.5), "1.5"),
        (decimal(3), r#""int""#.into(), Value::Int(7), "\"7.000\""),
        (of(DataType::Utf8), r#""string""#.into(), Value::String("é".into()), "\"é\""),
        (of(DataType::Utf8), r#""bytes""#.into(), Value::Bytes(b"x".to_vec()), "\"x\""),
        (of(DataType::Binary), r#""string""#.into(), Value::String("x".into()), "\"eA==\""),
        (
            of(DataType::Binary),
            r#"{"type":"fixed","name":"F","size":2}"#.into(),
            Value::Fixed(2, vec![0, 255]),
            "\"AP8=\"",
        ),
        (
            of(DataType::Utf8),
            r#"{"type":"enum","name":"E","symbols":["A","B"]}"#.into(),
            Value::Enum(1, "B".into()),
            "\"B\"",
        ),
        (of(DataType::Utf8), logical("string", "uuid"), parsed(), "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        (
            of(DataType::Utf8),
            r#"{"type":{"type":"fixed","name":"U","size":16},"logicalType":"uuid"}"#.into(),
            parsed(),
            "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
        ),
        (of(uuid_type()), logical("string", "uuid"), parsed(), "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        (
            of(uuid_type()),
            r#"{"type":{"type":"fixed","name":"U","size":16},"logicalType":"uuid"}"#.into(),
            parsed(),
            "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
        ),
        (
            of(uuid_type()),
            r#""string""#.into(),
            Value::String("{67E5504410B1426F9247BB680E5FE0C8}".into()),
            "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
        ),
        (of(DataType::Date32), logical("int", "date"), Value::Date(-1), "\"1969-12-31\""),
        (time(), logical("int", "time-millis"), Value::TimeMillis(1), "\"00:00:00.001000\""),
        (time(), logical("long", "time-micros"), Value::TimeMicros(1), "\"00:00:00.000001\""),
        (
            tz(),
            logical("long", "timestamp-millis"),
            Value::TimestampMillis(-1),
            "\"1969-12-31T23:59:59.999000Z\"",
        ),
        (
            tz(),
            logical("long", "timestamp-micros"),
            Value::TimestampMicros(1),
            "\"1970-01-01T00:00:00.000001Z\"",
        ),
        (
            tz(),
            logical("long", "timestamp-nanos"),
            Value::TimestampNanos(-1),
            "\"1969-12-31T23:59:59.999999Z\"",
        ),
        (
            ts(),
            logical("long", "timestamp-millis"),
            Value::TimestampMillis(1),
            "\"1970-01-01T00:00:00.001000\"",
        ),
        (
            ts(),
            logical("long", "local-timestamp-millis"),
            Value::LocalTimestampMillis(1),
            "\"1970-01-01T00:00:00.001000\"",
        ),
        (
            tz(),
            logical("long", "local-timestamp-micros"),
            Value::LocalTimestampMicros(1),
            "\"1970-01-01T00:00:00.000001Z\"",
        ),
        (
            ts(),
            logical("long", "local-timestamp-nanos"),
            Value::LocalTimestampNanos(1000),
            "\"1970-01-01T00:00:00.000001\"",
        ),
        (tz(), r#""string""#.into(), Value::String("2026-01-31".into()), "\"2026-01-31T00:00:00.000000Z\""),
        (of(DataType::Int64), logical("long", "timestamp-millis"), Value::TimestampMillis(5), "5"),
        (decimal(2), DECIMAL.into(), Value::Decimal(Decimal::from(vec![0xFF, 0x01])), "\"-2.55\""),
        (
            decimal(4),
            FIXED_DECIMAL.into(),
            Value::Decimal(Decimal::from(vec![0, 0, 0, 0, 1, 0])),
            "\"2.5600\"",
        ),
        (decimal(1), DECIMAL.into(), Value::Decimal(Decimal::from(vec![100])), "\"1.0\""),
        (of(DataType::Int64), r#"["null","long"]"#.into(), Value::Union(0, Box::new(Value::Null)), "null"),
        (of(DataType::Int64), r#"["null","long"]"#.into(), some(Value::Long(4)), "4"),
        (
            of(DataType::Int64),
            r#"["int","null","long"]"#.into(),
            Value::Union(2, Box::new(Value::Long(5))),
            "5",
        ),
        (
            of(DataType::Boolean),
            r#"["null","string"]"#.into(),
            Value::Union(0, Box::new(Value::Null)),
            "null",
        ),
        (of(DataType::Int64), r#""null""#.into(), Value::Null, "null"),
        (
            jsonb_field("c", true),
            r#"["null","string","long"]"#.into(),
            some(Value::String("a\"b".into())),
            r#""a\"b""#,
        ),
        (
            jsonb_field("c", true),
            r#"{"type":"map","values":["null","double"]}"#.into(),
            Value::Map([("k".to_string(), some(Value::Double(0.5)))].into()),
            r#"{"k": 0.5}"#,
        ),
        (jsonb_field("c", true), r#"{"type":"map","values":"long"}"#.into(), Value::Map([].into()), "{}"),
        (
            jsonb_field("c", true),
            r#"{"type":"array","items":"bytes"}"#.into(),
            Value::Array(vec![Value::Bytes(vec![0]), Value::Bytes(vec![])]),
            r#"["AA==", ""]"#,
        ),
        (
            jsonb_field("c", true),
            logical("long", "timestamp-millis"),
            Value::TimestampMillis(0),
            "\"1970-01-01T00:00:00.000000Z\"",
        ),
        (jsonb_field("c", true), DECIMAL.into(), Value::Decimal(Decimal::from(vec![5])), "\"0.05\""),
        (jsonb_field("c", true), r#"["null","long"]"#.into(), Value::Union(0, Box::new(Value::Null)), "null"),
    ];
    for (field, avro, value, expected) in cases {
        assert_eq!(through(&field, &avro, value), Ok(expected.to_string()), "{avro} as {field}");
    }
}

#[test]
fn types_that_do_not() {
    let of = |data_type| Field::new("c", data_type, true);
    let cases: Vec<(Field, &str, Value, &str)> = vec![
        (
            of(DataType::Int32),
            r#""long""#,
            Value::Long(1 << 31),
            "field c: 2147483648 does not fit its column",
        ),
        (
            of(DataType::Int64),
            r#""string""#,
            Value::String("1".into()),
            "field c: Avro string does not fit BIGINT",
        ),
        (
            of(DataType::Int64),
            r#"["null","string"]"#,
            some(Value::String("1".into())),
            "field c: Avro string does not fit BIGINT",
        ),
        (
            of(DataType::Utf8),
            r#""long""#,
            Value::Long(1),
            "field c: Avro long (declare it BIGINT, or give it a logical type) does not fit VARCHAR",
        ),
        (
            of(timestamptz()),
            r#""long""#,
            Value::Long(1),
            "field c: Avro long (declare it BIGINT, or give it a logical type) does not fit TIMESTAMPTZ",
        ),
        (
            of(timestamptz()),
            r#""string""#,
            Value::String("x".into()),
            "field c: \"x\" does not fit its column",
        ),
        (of(DataType::Utf8), r#""bytes""#, Value::Bytes(vec![0xFF]), "field c: a string is not UTF-8"),
        (
            of(DataType::Decimal128(12, 1)),
            DECIMAL,
            Value::Decimal(Decimal::from(vec![7])),
            "field c: a decimal does not fit its column",
        ),
        (
            of(DataType::Decimal128(2, 2)),
            DECIMAL,
            Value::Decimal(Decimal::from(vec![100])),
            "field c: a decimal does not fit its column",
        ),
        (
            of(DataType::Int64),
            r#"{"type":"map","values":"long"}"#,
            Value::Map([].into()),
            "field c: Avro map does not fit BIGINT",
        ),
    ];
    for (field, avro, value, expected) in cases {
        assert_eq!(through(&field, avro, value), Err(expected.to_string()), "{avro} as {field}");
    }
}

const MATCH: &str = r#"{"type":"record","name":"Match","namespace":"riot","fields":[
  {"name":"skippedLong","type":"long"},
  {"name":"skippedTime","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"matchId","type":"string"},
  {"name":"old","aliases":["renamed"],"type":["null","long"]},
  {"name":"skippedText","type":["null","string"]},
  {"name":"participants","type":{"type":"array","items":{"type":"record","name":"P","fields":[
     {"name":"perks","type":{"type":"map","values":{"type":"array","items":"int"}}},
     {"name":"kills","type":"int"},
     {"name":"next","type":["null","P"]}]}}},
  {"name":"one","type":"P"}]}"#;

fn participant(kills: i32, next: Value) -> Value {
    let perks = Value::Map([("a".to_string(), Value::Array(vec![Value::Int(1), Value::Int(2)]))].into());
    Value::Record(vec![("perks".into(), perks), ("kills".into(), Value::Int(kills)), ("next".into(), next)])
}

fn a_match(id: &str) -> Value {
    let none = || Value::Union(0, Box::new(Value::Null));
    Value::Record(vec![
        ("skippedLong".into(), Value::Long(-1_000_000)),
        ("skippedTime".into(), Value::TimestampMillis(1_700_000_000_000)),
        ("matchId".into(), Value::String(id.into())),
        ("old".into(), some(Value::Long(9))),
        ("skippedText".into(), some(Value::String("zzz".into()))),
        (
            "participants".into(),
            Value::Array(vec![participant(1, none()), participant(2, some(participant(3, none())))]),
        ),
        ("one".into(), participant(4, none())),
    ])
}

#[test]
fn only_what_is_wanted_is_read_and_names_are_resolved() {
    let item = Field::new_struct(
        "item",
        vec![Field::new("kills", DataType::Int64, true), jsonb_field("next", true)],
        true,
    );
    let mut decoder = decoder(
        vec![
            Field::new(
                "one",
                DataType::Struct(vec![Field::new("KILLS", DataType::Int32, true)].into()),
                true,
            ),
            Field::new("matchid", DataType::Utf8, false),
            Field::new("renamed", DataType::Int64, true),
            Field::new("absent", DataType::Utf8, false),
            Field::new("participants", DataType::List(Arc::new(item)), true),
        ],
        MATCH,
    );
    let good = message(1, &datum(MATCH, a_match("m1")));
    let decoded = decoder.decode(&records([&good, &good[..good.len() - 1].to_vec(), &good])).unwrap();
    assert_eq!((decoded.rows, decoded.rejects.len()), (vec![0, 2], 1));
    let next = r#"{"next": null, "kills": 3, "perks": {"a": [1, 2]}}"#;
    let expected = format!(
        r#"{{"one":{{"KILLS":4}},"matchid":"m1","renamed":9,"absent":null,"participants":[{{"kills":1,"next":null}},{{"kills":2,"next":{next}}}]}}"#
    );
    assert_eq!(json(&decoded.batch), [expected.clone(), expected]);
}

#[test]
fn headers_ids_and_ends_are_checked() {
    let mut decoder = decoder(vec![Field::new("matchid", DataType::Utf8, true)], MATCH);
    let datum = datum(MATCH, a_match("m"));
    let mut input =
        records([message(1, &datum), message(77, &datum), message(1, &[&datum[..], b"x"].concat())]);
    input.push(3, None, None, None);
    input.push(4, None, None, Some(b""));
    input.push(5, None, None, Some(b"{\"matchId\":1}"));
    input.push(6, None, None, Some(&[0, 0, 0, 0]));
    input.push(7, None, None, Some(&[0, 0, 0, 0, 1]));
    let decoded = decoder.decode(&input).unwrap();
    assert_eq!(decoded.rows, [0]);
    let messages: Vec<&str> = decoded.rejects.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(
        messages[..3],
        ["the schema registry does not know schema id 77", "1 bytes are left over", "the value is null"]
    );
    assert!(
        messages[3..6].iter().all(|m| m.starts_with("this is not Avro in the wire format")),
        "{messages:?}"
    );
    assert_eq!(messages[6], "the message ends too early");
    let ids: Vec<Option<u32>> = decoded.rejects.iter().map(|r| r.schema_id).collect();
    assert_eq!(ids, [Some(77), Some(1), None, None, None, None, Some(1)]);
}

#[test]
fn several_writers_in_one_batch() {
    let (old, new) = (
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"b","type":"string"},{"name":"a","type":["null","long"]}]}"#,
    );
    let registry = Registry::in_memory();
    registry.register("s", old).unwrap();
    registry.register("s", new).unwrap();
    registry.register("s", "\"string\"").unwrap();
    let columns = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let mut decoder = AvroDecoder::new(Arc::new(Schema::new(columns)), registry, Arc::default()).unwrap();
    let one = message(1, &datum(old, Value::Record(vec![("a".into(), Value::Int(1))])));
    let two = message(
        2,
        &datum(
            new,
            Value::Record(vec![("b".into(), Value::String("x".into())), ("a".into(), some(Value::Long(2)))]),
        ),
    );
    let decoded = decoder.decode(&records([&one, &two, &one, &message(3, &[2, b'x'])])).unwrap();
    assert_eq!(json(&decoded.batch), [r#"{"a":1,"b":null}"#, r#"{"a":2,"b":"x"}"#, r#"{"a":1,"b":null}"#]);
    assert_eq!(decoded.rejects[0].message, "schema id 3 cannot be read: it is not a record");
}

#[test]
fn a_union_at_the_top_is_one_of_its_records() {
    let writer = r#"["null",{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]},{"type":"record","name":"B","fields":[{"name":"a","type":"long"}]}]"#;
    let mut decoder = decoder(vec![Field::new("a", DataType::Int64, true)], writer);
    let decoded =
        decoder.decode(&records([message(1, &[2, 10]), message(1, &[4, 12]), message(1, &[0])])).unwrap();
    assert_eq!(json(&decoded.batch), [r#"{"a":5}"#, r#"{"a":6}"#]);
    assert_eq!(decoded.rejects[0].message, "the value is null");
}

#[test]
fn what_is_written_is_read() {
    let mut random = sample::seeded_random(21);
    for _ in 0..60 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 30);
        let writer = avro_schema(&schema, "v");
        let registry = Registry::in_memory();
        let id = registry.register("t-value", &writer).unwrap();
        let written = Encoder::avro(&schema, id).unwrap().encode(&batch).unwrap();

        // The other implementation reads our output to the last byte.
        let parsed = Avro::parse_str(&writer).unwrap();
        for row in written.iter().flatten() {
            let mut rest = &row[5..];
            #[allow(deprecated)]
            apache_avro::from_avro_datum(&parsed, &mut rest, None).unwrap();
            assert!(rest.is_empty());
        }

        let mut decoder = AvroDecoder::new(Arc::new(schema.clone()), registry, Arc::default()).unwrap();
        let decoded = decoder.decode(&records(written.iter().flatten())).unwrap();
        assert_eq!(decoded.rejects, []);
        assert_eq!(json(&decoded.batch), json(&batch));
        // The columns that the schema suggests read it as well.
        let suggested = columns_of_avro(&writer).unwrap();
        assert_eq!(suggested.fields().len(), schema.fields().len());
    }
}

#[test]
fn garbage_never_panics() {
    let mut random = sample::seeded_random(22);
    for _ in 0..40 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 5);
        let writer = avro_schema(&schema, "v");
        let written = Encoder::avro(&schema, 1).unwrap().encode(&batch).unwrap();
        let mut input = Records::new(0);
        for row in written.iter().flatten() {
            for _ in 0..40 {
                let mut broken = row.to_vec();
                for _ in 0..random.random_range(1..4) {
                    let at = random.random_range(5.min(broken.len() - 1)..broken.len());
                    broken[at] = random.random();
                }
                broken.truncate(random.random_range(0..=broken.len()));
                input.push(0, None, None, Some(&broken));
            }
        }
        // Once as columns, and once skipped and written as JSON.
        let shown: Vec<Field> =
            schema.fields().iter().step_by(2).map(|f| jsonb_field(f.name(), true)).collect();
        for columns in [schema.fields().iter().map(|f| (**f).clone()).collect(), shown] {
            let decoded = decoder(columns, &writer).decode(&input).unwrap();
            assert_eq!(decoded.rows.len() + decoded.rejects.len(), input.len());
            assert_eq!(decoded.batch.num_rows(), decoded.rows.len());
        }
    }
}

#[test]
fn small_messages_cannot_claim_much() {
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"null"}},{"name":"r","type":["null","R"]}]}"#;
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    for columns in [vec![Field::new("a", list, true)], vec![jsonb_field("a", true)], vec![]] {
        let mut many = Vec::new();
        super::output::put_long(&mut many, i64::MAX);
        let mut negative = Vec::new();
        super::output::put_long(&mut negative, i64::MIN);
        negative.push(0);
        let nested = [0, 2].repeat(100_000);
        let decoded = decoder(columns, writer)
            .decode(&records([message(1, &many), message(1, &negative), message(1, &nested)]))
            .unwrap();
        assert_eq!(decoded.rejects.len(), 3);
        assert!(decoded.rejects[0].message.contains("more items"), "{:?}", decoded.rejects);
        assert!(decoded.rejects[2].message.contains("too deep"), "{:?}", decoded.rejects[2]);
    }
}

#[test]
fn a_registry_that_is_down_is_waited_for_until_called_off() {
    // Nobody listens on this port once the listener is dropped.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let registry = Registry::new(&format!("http://127.0.0.1:{port}"), &Default::default()).unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
    let mut decoder = AvroDecoder::new(schema, registry, cancel.clone()).unwrap();
    let later = cancel.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        later.store(true, Ordering::Relaxed);
    });
    let answer = decoder.decode(&records([message(1, b"")]));
    assert!(matches!(answer, Err(SchemaError::Cancelled)), "{answer:?}");
    stopper.join().unwrap();
}

#[test]
fn missing_columns_are_warned_about() {
    let mut decoder = decoder(
        vec![Field::new("match_id", DataType::Utf8, true), Field::new("old", DataType::Int64, true)],
        MATCH,
    );
    let input = records(vec![message(1, &datum(MATCH, a_match("m"))); 1000]);
    decoder.decode(&input).unwrap();
    assert_eq!(
        decoder.warnings(),
        ["column \"match_id\" was in none of 1000 records; the nearest field is \"matchId\""]
    );
    assert!(decoder.warnings().is_empty());
}

#[test]
fn a_field_that_the_writer_lacks_has_the_readers_default() {
    let reader = r#"{"type":"record","name":"R","namespace":"x","fields":[
      {"name":"id","type":"long"},
      {"name":"n","type":"int","default":7},
      {"name":"s","type":["string","null"],"default":"none"},
      {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":1000},
      {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"},
      {"name":"again","type":"x.E","default":"A"},
      {"name":"list","type":{"type":"array","items":"int"},"default":[]},
      {"name":"inner","type":{"type":"record","name":"I","fields":[{"name":"k","type":"int","default":3}]},"default":{}},
      {"name":"none","type":["null","int"],"default":null}]}"#;
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"}]}"#;
    let columns = columns_of_avro(reader).unwrap();
    let columns: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone()).collect();
    let datum = datum(writer, Value::Record(vec![("id".into(), Value::Long(5))]));
    let decoded =
        decoder(columns.clone(), writer).decode(&records([message(1, &datum), message(1, &datum)])).unwrap();
    assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
    let row = r#"{"id":5,"n":7,"s":"none","at":"1970-01-01T00:00:01.000000Z","e":"B","again":"A","list":[],"inner":{"k":3},"none":null}"#;
    assert_eq!(json(&decoded.batch), [row, row]);
    // Columns that are declared have no default.
    let declared: Vec<Field> = columns.into_iter().map(crate::without_default).collect();
    let decoded = decoder(declared, writer).decode(&records([message(1, &datum)])).unwrap();
    assert!(
        json(&decoded.batch)[0].starts_with(r#"{"id":5,"n":null,"s":null"#),
        "{:?}",
        json(&decoded.batch)
    );
}
