//! Encoded messages, compared byte for byte.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int32Type, Schema, TimeUnit};

use super::*;
use crate::avro::schema::avro_schema;
use crate::types::relation::{jsonb_field, timestamp, timestamptz};

fn everything() -> RecordBatch {
    let fields = vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("n", DataType::Int64, false),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(9, 2), true),
        Field::new("t\"x", DataType::Utf8, true),
        Field::new("y", DataType::Binary, true),
        Field::new("day", DataType::Date32, true),
        Field::new("tm", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("ts", timestamp(), true),
        Field::new("tz", timestamptz(), true),
        Field::new("l", DataType::List(Arc::new(Field::new("item", DataType::Int32, true))), true),
        Field::new("s", DataType::Struct(vec![Field::new("k", DataType::Utf8, true)].into()), true),
        jsonb_field("j", true),
    ];
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("v"), None]));
    let noon = 1_769_860_800_000_000;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int64Array::from(vec![-1, 64])),
        Arc::new(Float64Array::from(vec![Some(0.5), None])),
        Arc::new(Decimal128Array::from(vec![Some(-255), None]).with_precision_and_scale(9, 2).unwrap()),
        Arc::new(StringArray::from(vec![Some("a\n\u{2}é"), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None])),
        Arc::new(Date32Array::from(vec![Some(20_484), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(1), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(noon), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(noon), None]).with_timezone("UTC")),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None])),
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("k", DataType::Utf8, true)), inner)])),
        Arc::new(StringArray::from(vec![Some("{\"a\":[1]}"), None])),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn json_to_the_letter() {
    let batch = everything();
    let written = Encoder::json(&batch.schema()).unwrap().encode(&batch).unwrap();
    let rows: Vec<&str> = written.iter().flatten().map(|row| std::str::from_utf8(row).unwrap()).collect();
    assert_eq!(
        rows,
        [
            concat!(
                r#"{"b":true,"n":-1,"f":0.5,"d":"-2.55","t\"x":"a\n\u0002é","y":"AP8=","day":"2026-01-31","#,
                r#""tm":"00:00:00.000001","ts":"2026-01-31T12:00:00.000000","tz":"2026-01-31T12:00:00.000000Z","#,
                r#""l":[1,null],"s":{"k":"v"},"j":{"a":[1]}}"#
            ),
            concat!(
                r#"{"b":null,"n":64,"f":null,"d":null,"t\"x":null,"y":null,"day":null,"tm":null,"ts":null,"#,
                r#""tz":null,"l":null,"s":{"k":null},"j":null}"#
            ),
        ]
    );
}

#[test]
fn avro_to_the_byte() {
    let batch = everything().project(&[1, 3, 9, 10]).unwrap();
    assert_eq!(
        avro_schema(&batch.schema(), "champion-hourly"),
        concat!(
            r#"{"type":"record","name":"champion_hourly","namespace":"herald","fields":["#,
            r#"{"name":"n","type":"long"},"#,
            r#"{"name":"d","type":["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}],"default":null},"#,
            r#"{"name":"tz","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},"#,
            r#"{"name":"l","type":["null",{"type":"array","items":["null","int"]}],"default":null}]}"#
        )
    );
    let written = Encoder::avro(&batch.schema(), 258).unwrap().encode(&batch).unwrap();
    let noon = [0x80, 0xC0, 0xC9, 0xC4, 0xBA, 0xEB, 0xA4, 0x06];
    let first = [&[0, 0, 0, 1, 2, 1, 2, 4, 0xFF, 0x01, 2][..], &noon, &[2, 4, 2, 2, 0, 0]].concat();
    assert_eq!(written.get(1), Some(&[0, 0, 0, 1, 2, 0x80, 0x01, 0, 0, 0][..]));
    assert_eq!(written.get(0), Some(&first[..]));
}

#[test]
fn null_in_a_column_without_null_is_an_error() {
    let field = Field::new("n", DataType::Int64, false);
    let strict = Schema::new(vec![field.clone()]);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    let loose = Arc::new(Schema::new(vec![field.with_nullable(true)]));
    let batch = RecordBatch::try_new(loose, vec![column]).unwrap();
    let error = Encoder::avro(&strict, 1).unwrap().encode(&batch).unwrap_err();
    assert_eq!(error.to_string(), "column \"n\" cannot be written: it is NULL, and its schema has no null");
}

#[test]
fn plain_keys() {
    let batch = everything();
    let key = batch.project(&[4]).unwrap();
    let encoder = Encoder::text(&key.schema()).unwrap();
    let written = encoder.encode(&key).unwrap();
    assert_eq!(written.iter().collect::<Vec<_>>(), [Some("a\n\u{2}é".as_bytes()), None]);
    assert!(Encoder::text(&batch.schema()).is_err());
    assert!(Encoder::text(&batch.project(&[1]).unwrap().schema()).is_err());
    assert!(Encoder::json(&key.schema()).unwrap().encode(&batch).is_err());
}
