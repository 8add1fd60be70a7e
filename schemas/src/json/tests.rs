//! The JSON values accepted by each column type, case by case.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use rand::RngExt;

use super::*;
use crate::encode::Encoder;
use crate::records::record::Records;
use crate::types::relation::{jsonb_field, timestamp, timestamptz};
use crate::types::sample;

fn records<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Records {
    let mut records = Records::new(0);
    for (offset, value) in (0..).zip(values) {
        records.push(offset, None, None, Some(value.as_ref()));
    }
    records
}

fn decoder(fields: Vec<Field>) -> JsonDecoder {
    JsonDecoder::new(Arc::new(Schema::new(fields)), JsonOptions::default()).unwrap()
}

/// The JSON form of a column filled with one value, or the reject's message.
fn through(field: &Field, options: JsonOptions, value: &str) -> Result<String, String> {
    let schema = Schema::new(vec![field.clone()]);
    let mut decoder = JsonDecoder::new(Arc::new(schema.clone()), options).unwrap();
    let decoded = decoder.decode(&records([format!("{{\"c\":{value}}}")])).unwrap();
    if let Some(reject) = decoded.rejects.first() {
        assert_eq!(decoded.batch.num_rows(), 0);
        return Err(reject.message.clone());
    }
    let written = Encoder::json(&schema).unwrap().encode(&decoded.batch).unwrap();
    let text = String::from_utf8(written.get(0).unwrap().to_vec()).unwrap();
    Ok(text.strip_prefix("{\"c\":").unwrap().strip_suffix('}').unwrap().to_string())
}

#[test]
fn values_that_fit() {
    let of = |data_type| Field::new("c", data_type, true);
    let time = DataType::Time64(TimeUnit::Microsecond);
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let row = DataType::Struct(
        vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)].into(),
    );
    let cases = [
        (of(DataType::Boolean), "true", "true"),
        (of(DataType::Boolean), " false ", "false"),
        (of(DataType::Int16), "-32768", "-32768"),
        (of(DataType::Int32), "12.0", "12"),
        (of(DataType::Int64), "9223372036854775807", "9223372036854775807"),
        (of(DataType::Int64), "9007199254740993.0", "9007199254740993"),
        (of(DataType::Int64), "1.5e3", "1500"),
        (of(DataType::Int64), "null", "null"),
        (of(DataType::Float32), "1", "1.0"),
        (of(DataType::Float32), "1.00000005960464477540", "1.0000001"),
        (of(DataType::Float64), "0.1", "0.1"),
        (of(DataType::Float64), "123456789012345678901234567890", "1.2345678901234568e29"),
        (of(DataType::Float64), "\"NaN\"", "\"NaN\""),
        (of(DataType::Float64), "\"-Infinity\"", "\"-Infinity\""),
        (of(DataType::Decimal128(10, 2)), "12.5", "\"12.50\""),
        (of(DataType::Decimal128(10, 2)), "\"-0.050\"", "\"-0.05\""),
        (
            of(DataType::Decimal128(38, 0)),
            "99999999999999999999999999999999999999",
            "\"99999999999999999999999999999999999999\"",
        ),
        (of(DataType::Utf8), r#""a\u00e9\n\"""#, r#""aé\n\"""#),
        (of(DataType::Utf8), r#""\u0001\ud83d\ude00""#, "\"\\u0001😀\""),
        (of(DataType::Binary), "\"AP8=\"", "\"AP8=\""),
        (of(DataType::Date32), "\"2026-01-31\"", "\"2026-01-31\""),
        (of(time), "\"12:30\"", "\"12:30:00.000000\""),
        (of(timestamp()), "\"2026-01-31T12:00:00\"", "\"2026-01-31T12:00:00.000000\""),
        (of(timestamp()), "\"2026-01-31T12:00:00+01:00\"", "\"2026-01-31T11:00:00.000000\""),
        (of(timestamptz()), "\"2026-01-31T12:00:00\"", "\"2026-01-31T12:00:00.000000Z\""),
        (of(timestamptz()), "\"2026-01-31 12:00:00.1234567Z\"", "\"2026-01-31T12:00:00.123456Z\""),
        (of(list.clone()), "[1, null, 3]", "[1,null,3]"),
        (of(list.clone()), "[]", "[]"),
        (of(list), "null", "null"),
        (of(row.clone()), "{\"b\":\"x\",\"z\":[{}]}", "{\"a\":null,\"b\":\"x\"}"),
        (of(row), "null", "null"),
        (jsonb_field("c", true), " { \"a b\" : [ 1 , \"x \\\" y\" ] } ", r#"{"a b": [1, "x \" y"]}"#),
        (jsonb_field("c", true), r#"{"b":1e2,"a":-0.0,"a":"\u00e9"}"#, r#"{"a": "é", "b": 100}"#),
        (jsonb_field("c", true), "1.50", "1.50"),
        (jsonb_field("c", true), "\"t\"", "\"t\""),
        (jsonb_field("c", true), "null", "null"),
    ];
    for (field, value, expected) in cases {
        let shown = format!("{value} as {}", sql_type(&field));
        assert_eq!(through(&field, JsonOptions::default(), value), Ok(expected.to_string()), "{shown}");
    }
}

#[test]
fn values_that_do_not() {
    let of = |data_type| Field::new("c", data_type, true);
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let cases = [
        (of(DataType::Boolean), "1", "field c: a number does not fit BOOLEAN"),
        (of(DataType::Int16), "32768", "field c: 32768 does not fit SMALLINT"),
        (of(DataType::Int64), "12.5", "field c: 12.5 does not fit BIGINT"),
        (of(DataType::Int64), "\"12\"", "field c: a string does not fit BIGINT"),
        (of(DataType::Int64), "9223372036854775808", "field c: a number is too large for BIGINT"),
        (of(DataType::Int64), "1e400", "field c: 1e400 does not fit BIGINT"),
        (of(DataType::Float64), "1e400", "field c: a number is too large for DOUBLE"),
        (of(DataType::Float32), "1e39", "field c: 1e39 does not fit REAL"),
        (of(DataType::Float64), "\"x\"", "field c: a string does not fit DOUBLE"),
        (of(DataType::Decimal128(4, 2)), "123.4", "field c: 123.4 does not fit DECIMAL(4, 2)"),
        (of(DataType::Decimal128(4, 2)), "1.234", "field c: 1.234 does not fit DECIMAL(4, 2)"),
        (of(DataType::Decimal128(4, 2)), "\"\"", "field c: \"\" does not fit DECIMAL(4, 2)"),
        (of(DataType::Decimal128(4, 2)), "\"1 0\"", "field c: \"1 0\" does not fit DECIMAL(4, 2)"),
        (of(DataType::Decimal128(4, 2)), "true", "field c: a boolean does not fit DECIMAL(4, 2)"),
        (of(DataType::Utf8), "1", "field c: a number does not fit VARCHAR"),
        (of(DataType::Utf8), "{}", "field c: an object does not fit VARCHAR"),
        (of(DataType::Binary), "\"?\"", "field c: BYTEA must be base64: Invalid symbol 63, offset 0."),
        (
            of(DataType::Date32),
            "\"31.1.2026\"",
            "field c: \"31.1.2026\" does not fit DATE, which is written as ISO-8601",
        ),
        (
            of(timestamptz()),
            "1700000000000",
            "field c: a number does not fit TIMESTAMPTZ; set timestamp.unit in ENCODE JSON (...) to read numbers",
        ),
        (of(timestamptz()), "true", "field c: a boolean does not fit TIMESTAMPTZ"),
        (of(list.clone()), "{}", "field c: an object does not fit INT[]"),
        (of(list), "[1, 2, \"x\"]", "field c[2]: a string does not fit INT"),
        (jsonb_field("c", true), "[1,]", "field c: this is not JSON: trailing comma at byte 8"),
        (
            jsonb_field("c", true),
            r#"["\ud800"]"#,
            "field c: this is not JSON: unexpected end of hex escape at byte 13",
        ),
        (
            jsonb_field("c", true),
            "1e131072",
            "field c: a number is too large or too fine: it may have 131072 digits before its point and 16383 behind it",
        ),
    ];
    for (field, value, expected) in cases {
        let shown = format!("{value} as {}", sql_type(&field));
        assert_eq!(through(&field, JsonOptions::default(), value), Err(expected.to_string()), "{shown}");
    }
}

#[test]
fn numbers_are_timestamps_in_the_unit_given() {
    let field = Field::new("c", timestamptz(), true);
    let cases = [
        (TimeUnit::Second, "1.5", "\"1970-01-01T00:00:01.500000Z\""),
        (TimeUnit::Millisecond, "-1", "\"1969-12-31T23:59:59.999000Z\""),
        (TimeUnit::Microsecond, "1", "\"1970-01-01T00:00:00.000001Z\""),
        (TimeUnit::Nanosecond, "1999", "\"1970-01-01T00:00:00.000001Z\""),
        (TimeUnit::Nanosecond, "-1", "\"1969-12-31T23:59:59.999999Z\""),
        (TimeUnit::Millisecond, "\"1970-01-02\"", "\"1970-01-02T00:00:00.000000Z\""),
    ];
    for (unit, value, expected) in cases {
        let options = JsonOptions { timestamp_unit: Some(unit) };
        assert_eq!(through(&field, options, value), Ok(expected.to_string()), "{value} {unit:?}");
    }
    let options = JsonOptions { timestamp_unit: Some(TimeUnit::Second) };
    assert!(through(&field, options, "1e18").is_err());
}

fn column_of(batch: &RecordBatch, index: usize) -> Vec<Option<i64>> {
    batch.column(index).as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn fields_match_columns_by_name() {
    let big = |name: &str| Field::new(name, DataType::Int64, true);
    let mut folded = decoder(vec![big("matchid"), big("x")]);
    let decoded = folded
        .decode(&records([
            r#"{"matchId":1,"x":9}"#,
            r#"{"MATCHID":2}"#,
            r#"{"matchId":3,"matchid":4}"#,
            r#"{"matchid":5,"matchId":6}"#,
            r#"{"matchid":7,"matchid":8}"#,
            r#"{"matchId":9,"matchId":10}"#,
            r#"{"matchId":11,"MatchId":12}"#,
            r#"{"match\u0049d":13}"#,
            r#"{}"#,
        ]))
        .unwrap();
    let expected = [1, 2, 4, 5, 8, 10, 13].map(Some).into_iter().chain([None]);
    assert_eq!(column_of(&decoded.batch, 0), expected.collect::<Vec<_>>());
    assert_eq!(decoded.rejects.len(), 1);
    assert_eq!(decoded.rejects[0].row, 6);
    assert!(decoded.rejects[0].message.contains("\"matchId\" and \"MatchId\""), "{:?}", decoded.rejects);

    let mut ambiguous = decoder(vec![big("a"), big("A")]);
    let decoded = ambiguous.decode(&records([r#"{"A":1,"a":2}"#])).unwrap();
    assert_eq!((column_of(&decoded.batch, 0), column_of(&decoded.batch, 1)), (vec![Some(2)], vec![Some(1)]));

    let mut ambiguous = decoder(vec![big("ab"), big("AB")]);
    let decoded = ambiguous.decode(&records([r#"{"Ab":1}"#])).unwrap();
    assert_eq!((column_of(&decoded.batch, 0), column_of(&decoded.batch, 1)), (vec![None], vec![None]));
}

#[test]
fn bad_records_leave_no_trace() {
    let item = DataType::Struct(
        vec![Field::new("k", DataType::Int32, true), Field::new("n", DataType::Utf8, true)].into(),
    );
    let list = DataType::List(Arc::new(Field::new("item", item, true)));
    let mut decoder = decoder(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("p", list, true),
        Field::new("at", timestamptz(), true),
    ]);
    let mut input = records([
        r#"{"id":"a","p":[{"k":1,"n":"x"},{"k":2}],"at":"2026-01-01"}"#,
        r#"{"id":"b","p":[{"k":3},{"n":"y","k":"bad"}]}"#,
        r#"{"id":"c","p":[{"k":4}],"at":"2026-01-01"} x"#,
        r#"{"id":"d","p":[{"k":5}"#,
        r#"[]"#,
        "",
        "{\"id\":\"\u{0}\"}",
        r#"{"id":"e","u":{"deep":[1,{"x":null}]},"p":[{"k":6}]}"#,
    ]);
    input.push(8, None, None, None);
    input.push(9, None, None, Some(b"{\"id\":\"\xff\"}"));
    input.push(10, None, None, Some(br#"{"p":null}"#));
    let decoded = decoder.decode(&input).unwrap();
    assert_eq!(decoded.rows, [0, 7, 10]);
    let rejected: Vec<(u32, &str)> = decoded.rejects.iter().map(|r| (r.row, r.message.as_str())).collect();
    assert_eq!(
        rejected,
        [
            (1, "field p[1].k: a string does not fit INT"),
            (2, "this is not JSON: trailing characters at byte 43"),
            (3, "field p: this is not JSON: EOF while parsing a list at byte 22"),
            (4, "a JSON object is expected, not an array"),
            (5, "this is not JSON: EOF while parsing a value at byte 0"),
            (
                6,
                "field id: this is not JSON: control character (\\u0000-\\u001F) found while parsing a string at byte 7"
            ),
            (8, "the value is null"),
            (9, "field id: this is not JSON: invalid unicode code point at byte 7"),
        ]
    );
    let ids: Vec<_> = decoded.batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(ids, [Some("a"), Some("e"), None]);
    let list = decoded.batch.column(1).as_list::<i32>();
    assert_eq!((list.value_length(0), list.value_length(1), list.is_null(2)), (2, 1, true));
    let kills = list.values().as_struct().column(0).as_primitive::<Int32Type>();
    assert_eq!(kills.values().as_ref(), [1, 2, 6]);
    assert_eq!(decoded.batch.column(2).as_primitive::<TimestampMicrosecondType>().null_count(), 2);
    // The next batch starts empty.
    assert_eq!(decoder.decode(&records(["{}"])).unwrap().batch.num_rows(), 1);
}

/// A message that is no JSON at all is told as that, whatever its first byte is.
#[test]
fn a_message_that_is_no_json_is_not_taken_for_a_value() {
    let mut decoder = decoder(vec![Field::new("a", DataType::Int32, true)]);
    let texts = ["not json", "nope", "true story", "\"abc", "[1", "null", "[1]"];
    let decoded = decoder.decode(&records(texts)).unwrap();
    let no_json: Vec<bool> =
        decoded.rejects.iter().map(|reject| reject.message.starts_with("this is not JSON: ")).collect();
    assert_eq!(no_json, [true, true, true, true, true, false, false], "{:?}", decoded.rejects);
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{{\"u\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let mut decoder = decoder(vec![Field::new("a", DataType::Int32, true), jsonb_field("j", true)]);
    let decoded = decoder.decode(&records([deep.clone(), deep.replace("\"u\"", "\"j\"")])).unwrap();
    assert_eq!(decoded.rejects.len(), 2);
    assert!(decoded.rejects[0].message.contains("recursion limit"), "{:?}", decoded.rejects);
}

#[test]
fn no_columns_is_rows_of_nothing() {
    let mut decoder = decoder(vec![]);
    let decoded = decoder.decode(&records(["{\"a\":1}", "x", "{}"])).unwrap();
    assert_eq!((decoded.batch.num_rows(), decoded.rows), (2, vec![0, 2]));
}

#[test]
fn missing_columns_are_warned_about_once() {
    let mut decoder = decoder(vec![
        Field::new("match_id", DataType::Utf8, true),
        Field::new("platform", DataType::Utf8, true),
        Field::new("nothing", DataType::Utf8, true),
    ]);
    let some = records(vec![r#"{"platform":null,"matchID_":"x"}"#; 600]);
    decoder.decode(&some).unwrap();
    assert!(decoder.warnings().is_empty());
    decoder.decode(&some).unwrap();
    assert_eq!(
        decoder.warnings(),
        [
            "column \"match_id\" was in none of 1200 records; the nearest field is \"matchID_\"",
            "column \"nothing\" was in none of 1200 records",
        ]
    );
    assert!(decoder.warnings().is_empty());
}

#[test]
fn many_unknown_keys_do_not_pile_up() {
    let mut decoder = decoder(vec![Field::new("a", DataType::Int64, true)]);
    let values: Vec<String> = (0..5000).map(|i| format!("{{\"k{i}\":{{}},\"a\":{i},\"z{i}\":0}}")).collect();
    let decoded = decoder.decode(&records(&values)).unwrap();
    assert_eq!(column_of(&decoded.batch, 0), (0..5000).map(Some).collect::<Vec<_>>());
    assert!(decoder.names.unknown_keys().count() <= 1024);
}

#[test]
fn what_is_written_is_read() {
    let mut random = sample::seeded_random(11);
    for _ in 0..60 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 30);
        let written = Encoder::json(&schema).unwrap().encode(&batch).unwrap();
        let mut decoder = JsonDecoder::new(Arc::new(schema), JsonOptions::default()).unwrap();
        let decoded = decoder.decode(&records(written.iter().flatten())).unwrap();
        assert_eq!(decoded.rejects, []);
        assert_eq!(Encoder::json(&decoder.schema()).unwrap().encode(&decoded.batch).unwrap(), written);
        for row in written.iter().flatten() {
            let _: serde_json::Value = serde_json::from_slice(row).unwrap();
        }
    }
}

#[test]
fn garbage_never_panics() {
    let mut random = sample::seeded_random(12);
    for _ in 0..40 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 5);
        let written = Encoder::json(&schema).unwrap().encode(&batch).unwrap();
        let mut input = Records::new(0);
        for row in written.iter().flatten() {
            for _ in 0..30 {
                let mut broken = row.to_vec();
                for _ in 0..random.random_range(1..4) {
                    let at = random.random_range(0..broken.len());
                    broken[at] = b"{}[]\",:0e.-\\ntu\xff"[random.random_range(0..16)];
                }
                broken.truncate(random.random_range(0..=broken.len()));
                input.push(0, None, None, Some(&broken));
            }
        }
        let mut decoder = JsonDecoder::new(Arc::new(schema), JsonOptions::default()).unwrap();
        let decoded = decoder.decode(&input).unwrap();
        assert_eq!(decoded.rows.len() + decoded.rejects.len(), input.len());
        assert_eq!(decoded.batch.num_rows(), decoded.rows.len());
    }
}

/// Records as jiter alone decodes them: the reference of the fast parser.
fn by_jiter(schema: &Arc<Schema>, input: &Records) -> Decoded {
    let mut decoder = JsonDecoder::new(schema.clone(), JsonOptions::default()).unwrap();
    for (row, value) in (0u32..).zip(input.values.iter()) {
        let outcome = decoder.decode_record(&mut Jiter::new(value.unwrap()));
        decoder.batch.settle_record(row, outcome, None);
    }
    decoder.batch.finish().unwrap()
}

/// Decodes records, compares rows and messages with jiter's, and returns the number of rows and the decoder.
fn decode_as_jiter(schema: &Arc<Schema>, input: &Records) -> (usize, JsonDecoder) {
    let mut decoder = JsonDecoder::new(schema.clone(), JsonOptions::default()).unwrap();
    let (found, expected) = (decoder.decode(input).unwrap(), by_jiter(schema, input));
    assert_eq!(found.rejects, expected.rejects);
    assert_eq!((&found.rows, found.batch), (&expected.rows, expected.batch));
    (found.rows.len(), decoder)
}

/// Number of the records that the fast parser reads itself.
fn read_fast(schema: &Arc<Schema>, input: &Records) -> usize {
    let mut decoder = JsonDecoder::new(schema.clone(), JsonOptions::default()).unwrap();
    let mut buffer = String::new();
    let mut read = 0;
    for value in input.values.iter() {
        let Ok(text) = std::str::from_utf8(value.unwrap()) else { continue };
        read += usize::from(decoder.decode_record(&mut Cursor::new(text, &mut buffer)).is_ok());
        decoder.batch.undo_record();
    }
    read
}

const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "7",
    "-12",
    "00",
    "01",
    "-",
    "1.",
    "1.5",
    ".5",
    "-0.0",
    "1e3",
    "1E+2",
    "1e",
    "12.0",
    "1e400",
    "123456789012345678",
    "1234567890123456789",
    "-9223372036854775808",
    "9223372036854775808",
    "0.1",
    "NaN",
    "2.2250738585072011e-308",
    "99999999999999999999999999999999999999999999999999999999999999999999999",
];
const TEXTS: [&str; 14] = [
    "\"\"",
    "\"a\"",
    "\"longer than eight bytes\"",
    "\"é and 😀\"",
    r#""a\"b\\c\/\b\f\n\r\t""#,
    r#""\u00e9\u0041""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""\u12""#,
    r#""\x""#,
    "\"a\tb\"",
    "\"1234567\u{1f}\"",
    "\"12345678\\\"",
    "\"\u{7f}\"",
];

/// Keys, of which some are no text of a key, and one is another when it is read.
const KEYS: [&str; 8] = ["k", "unread", r#"a\"b"#, r#"a"b"#, r"c\\", r"c\", r"\u0064", "d"];

/// A value, mostly a JSON one.
fn random_value(random: &mut impl RngExt, depth: u32) -> String {
    let blank = [" ", "", "", "\n", "\t \r"][random.random_range(0..5)];
    match random.random_range(0..if depth > 0 { 9 } else { 6 }) {
        0 | 1 => NUMBERS[random.random_range(0..NUMBERS.len())].to_owned(),
        2 | 3 => TEXTS[random.random_range(0..TEXTS.len())].to_owned(),
        4 => ["true", "false", "null", "nul", "True"][random.random_range(0..5)].to_owned(),
        5 => ["{}", "[]", "{ }", "[ ]", "[,]", "{\"a\"}"][random.random_range(0..6)].to_owned(),
        6 => {
            format!("[{blank}{}{blank},{}]", random_value(random, depth - 1), random_value(random, depth - 1))
        }
        7 => {
            let key = KEYS[random.random_range(0..KEYS.len())];
            format!("{{\"{key}\"{blank}:{blank}{}}}", random_value(random, depth - 1))
        }
        // Nested deeper than the fast parser takes, and deeper than jiter does.
        _ => {
            let levels = random.random_range(1..250);
            format!("{}{}{}", "[".repeat(levels), random_value(random, 0), "]".repeat(levels))
        }
    }
}

#[test]
fn the_fast_parser_reads_as_jiter_does() {
    let mut random = sample::seeded_random(31);
    let (mut accepted, mut fast) = (0, 0);
    for _ in 0..150 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 6);
        let written = Encoder::json(&schema).unwrap().encode(&batch).unwrap();
        let schema = Arc::new(schema);
        let mut input = Records::new(0);
        for row in written.iter().flatten() {
            let row = std::str::from_utf8(row).unwrap();
            for round in 0..20 {
                // A field that nobody reads before the others, and sometimes a second value for one of them.
                let key = KEYS[random.random_range(0..KEYS.len())];
                let mut text = format!("{{\"{key}\":{},{}", random_value(&mut random, 2), &row[1..]);
                if round % 3 == 0 {
                    let name = schema.field(random.random_range(0..schema.fields().len())).name();
                    text =
                        format!("{},\"{name}\":{}}}", &text[..text.len() - 1], random_value(&mut random, 1));
                }
                let mut bytes = text.into_bytes();
                if round % 2 == 1 {
                    let at = random.random_range(0..bytes.len());
                    match random.random_range(0..3) {
                        0 => bytes[at] = b"{}[]\",:0e.-\\ntu \x1f\xff"[random.random_range(0..18)],
                        1 => drop(bytes.remove(at)),
                        _ => bytes.truncate(at),
                    }
                }
                input.push(0, None, None, Some(&bytes));
            }
        }
        accepted += decode_as_jiter(&schema, &input).0;
        fast += read_fast(&schema, &input);
    }
    println!("{fast} of {accepted} records that decode were read by the fast parser");
    assert!(fast > accepted / 3, "{fast} of {accepted}");
}

/// The pieces of a JSON text with a value between each two of them.
fn random_pieces(random: &mut impl RngExt, depth: u32, pieces: &mut Vec<String>) {
    let blank = [" ", "", "", ""][random.random_range(0..4)];
    let add = |pieces: &mut Vec<String>, text: &str| pieces.last_mut().unwrap().push_str(text);
    let is_object = random.random_range(0..3) > 0;
    add(pieces, if is_object { "{" } else { "[" });
    for at in 0..random.random_range(0..5) {
        let comma = if at > 0 { "," } else { "" };
        let key = if is_object { format!("\"key {at}\":") } else { String::new() };
        add(pieces, &format!("{comma}{blank}{key}{blank}"));
        match depth > 0 && random.random_range(0..3) == 0 {
            true => random_pieces(random, depth - 1, pieces),
            false => pieces.push(String::new()),
        }
    }
    add(pieces, if is_object { "}" } else { "]" });
}

#[test]
fn values_that_are_alike_are_passed_as_jiter_reads_them() {
    const START: &str = "{\"a\":1,\"unread\":";
    let mut random = sample::seeded_random(47);
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let (mut accepted, mut alike) = (0, 0);
    for _ in 0..300 {
        let mut pieces = vec![String::new()];
        random_pieces(&mut random, 3, &mut pieces);
        let mut input = Records::new(0);
        for round in 0..40 {
            let mut text = START.to_owned();
            for (at, piece) in pieces.iter().enumerate() {
                text.push_str(piece);
                if at + 1 < pieces.len() {
                    // Mostly a simple one that is JSON.
                    text.push_str(&match random.random_range(0..pieces.len() * 4) {
                        0 => random_value(&mut random, 1),
                        _ => ["-0.5e7", "\"\\u00e9 and text\"", "null", "false", "12345678901", "0", "\"\""]
                            [random.random_range(0..7)]
                        .to_owned(),
                    });
                }
            }
            let mut bytes = (text + "}").into_bytes();
            if round % 4 == 3 {
                let at = random.random_range(0..bytes.len());
                bytes[at] = b"{}[]\",:0e.-\\ntu \x1f\xff"[random.random_range(0..18)];
            }
            input.push(0, None, None, Some(&bytes));
        }
        let (rows, mut decoder) = decode_as_jiter(&schema, &input);
        accepted += rows;
        // "unread" has the second slot; its value is passed by the text that is remembered at the end.
        alike += input
            .values
            .iter()
            .flatten()
            .filter(|text| decoder.names.unread.pass(2, text, START.len()).is_some())
            .count();
    }
    println!("{accepted} of 12000 records decode, {alike} are like the one that is remembered");
    assert!((5000..11_000).contains(&accepted) && alike > accepted / 2, "{alike} of {accepted}");
}
