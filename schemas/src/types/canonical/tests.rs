//! Every value decodes from its packed bytes unchanged, bit for bit: for all types, nested, through every
//! decoder, and with hidden values below a NULL.

use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::types::Value;
use arrow::array::{Float32Array, Float64Array, Int64Array, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::avro::AvroDecoder;
use crate::decode::batch::Decoded;
use crate::json::{JsonDecoder, JsonOptions};
use crate::keyed::{DebeziumDecoder, Form, UpsertDecoder};
use crate::records::record::Records;
use crate::registry::Registry;
use crate::row::RowCodec;
use crate::types::sample;

/// All properties of a column that an expression could observe: bits of floats, lengths of lists, and values
/// hidden below a NULL.
fn spelled(array: &ArrayRef) -> String {
    let rows = 0..array.len();
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            format!("{:x?}", floats.iter().map(|v| v.map(f32::to_bits)).collect::<Vec<_>>())
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            format!("{:x?}", floats.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>())
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[list.len()] as usize);
            let shape: Vec<_> = rows.map(|row| (list.is_null(row), list.value_length(row))).collect();
            format!("{shape:?} of [{}]", spelled(&list.values().slice(from, to - from)))
        }
        DataType::Struct(_) => {
            let nulls: Vec<bool> = rows.map(|row| array.is_null(row)).collect();
            let fields: Vec<String> = array.as_struct().columns().iter().map(spelled).collect();
            format!("{nulls:?} of {{{}}}", fields.join("; "))
        }
        _ => {
            let text = |row| {
                if array.is_null(row) {
                    "NULL".to_owned()
                } else {
                    format!("{:?}", array_value_to_string(array, row).unwrap())
                }
            };
            rows.map(text).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The columns decoded from their packed rows.
fn taken_back(columns: &[ArrayRef]) -> Vec<String> {
    let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
    let codec = RowCodec::new(&types).unwrap();
    let packed = codec.encode(columns).unwrap();
    let back = codec.decode(packed.iter()).unwrap();
    assert_eq!(codec.encode(&back).unwrap(), packed, "packing what was unpacked gives other bytes");
    back.iter().map(spelled).collect()
}

fn all(columns: &[ArrayRef]) -> Vec<String> {
    columns.iter().map(spelled).collect()
}

/// Zeros with a sign, NaNs with a sign or a payload; below NULLs, other values.
fn odd64(random: &mut ChaCha8Rng, value: f64) -> f64 {
    match () {
        () if value == 0.0 && random.random_bool(0.5) => -0.0,
        () if value.is_nan() => f64::from_bits(
            [0xFFF8_0000_0000_0000, 0x7FF8_0000_0000_0001, 0x7FF0_0000_0000_0001][random.random_range(0..3)],
        ),
        () => value,
    }
}

fn odd32(random: &mut ChaCha8Rng, value: f32) -> f32 {
    match () {
        () if value == 0.0 && random.random_bool(0.5) => -0.0,
        () if value.is_nan() => {
            f32::from_bits([0xFFC0_0000, 0x7FC0_0001, 0x7F80_0001][random.random_range(0..3)])
        }
        () => value,
    }
}

/// The same values in another form, at every depth, with NULLs that hide values.
fn respelled(random: &mut ChaCha8Rng, array: &ArrayRef) -> ArrayRef {
    let other: ArrayRef = match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.iter().map(|v| v.map(|v| odd32(random, v))).collect::<Float32Array>())
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            Arc::new(floats.iter().map(|v| v.map(|v| odd64(random, v))).collect::<Float64Array>())
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let items = respelled(random, list.values());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(item.clone(), offsets, items, nulls).unwrap())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(|c| respelled(random, c)).collect();
            let nulls = array.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len()).unwrap())
        }
        _ => array.clone(),
    };
    let hide: Vec<bool> = (0..array.len()).map(|_| random.random_bool(0.2)).collect();
    nullif(&other, &BooleanArray::from(hide)).unwrap()
}

#[test]
fn all_types_come_back_as_they_went_in() {
    let mut random = sample::seeded_random(51);
    let mut odd = 0;
    for _ in 0..120 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 40);
        assert_eq!(all(batch.columns()), taken_back(batch.columns()), "what decoders finish is canonical");
        let other: Vec<ArrayRef> = batch.columns().iter().map(|c| respelled(&mut random, c)).collect();
        let at = random.random_range(0..20);
        let other: Vec<ArrayRef> = other.iter().map(|column| column.slice(at, 20)).collect();
        odd += usize::from(all(&other) != taken_back(&other));
        let once: Vec<ArrayRef> = other.iter().map(|c| canonical(c.clone()).unwrap()).collect();
        assert_eq!(all(&once), taken_back(&other), "{other:?}");
        for column in once {
            assert!(Arc::ptr_eq(&canonical(column.clone()).unwrap(), &column), "once is enough: {column:?}");
        }
    }
    assert!(odd > 60, "only {odd} batches had another spelling in them");
}

#[test]
fn what_is_canonical_is_not_copied() {
    let columns: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(Float64Array::from(vec![Some(0.0), None])),
        Arc::new(Float32Array::from(vec![f32::INFINITY, f32::from_bits(NAN32)])),
    ];
    for column in columns {
        assert!(Arc::ptr_eq(&canonical(column.clone()).unwrap(), &column));
    }
}

/// A key, and floats at every depth.
fn columns() -> SchemaRef {
    let of = |name: &str, kind: DataType| Field::new(name, kind, true);
    let doubles = DataType::List(Arc::new(of("item", DataType::Float64)));
    let inner = DataType::Struct(vec![of("y", DataType::Float32), of("l", doubles.clone())].into());
    Arc::new(Schema::new(vec![
        of("k", DataType::Float64),
        of("x", DataType::Float64),
        of("r", DataType::Float32),
        of("l", doubles),
        of("s", inner.clone()),
        of("a", DataType::List(Arc::new(of("item", inner)))),
    ]))
}

fn number(random: &mut ChaCha8Rng) -> &'static str {
    let texts =
        ["-0.0", "0.0", "-0", "0", "-1e-400", "\"NaN\"", "1.5", "\"-Infinity\"", "null", "-0.0e5", "3"];
    texts[random.random_range(0..texts.len())]
}

fn row(random: &mut ChaCha8Rng) -> String {
    let mut n = || number(random);
    let inner = format!("{{\"y\":{},\"l\":[{},{}]}}", n(), n(), n());
    format!(
        "{{\"k\":-0.0,\"x\":{},\"r\":{},\"l\":[{},{}],\"s\":{inner},\"a\":[{inner},null,{{}}]}}",
        n(),
        n(),
        n(),
        n()
    )
}

fn fine(decoded: &Decoded, rows: usize) {
    assert_eq!((decoded.rejects.as_slice(), decoded.batch.num_rows()), (&[][..], rows));
    let batch: &RecordBatch = &decoded.batch;
    assert_eq!(all(batch.columns()), taken_back(batch.columns()));
}

#[test]
fn json_upserts_and_debezium_come_in_canonical() {
    let mut random = sample::seeded_random(52);
    let form = || Form::Json(JsonOptions::default());
    let mut json = JsonDecoder::new(columns(), JsonOptions::default()).unwrap();
    let mut upserts = UpsertDecoder::new(columns(), vec![0], form(), form()).unwrap();
    let mut debezium = DebeziumDecoder::new(columns(), vec![0], form(), form()).unwrap();
    for _ in 0..60 {
        let (mut plain, mut events) = (Records::new(0), Records::new(0));
        for offset in 0..20 {
            let row = row(&mut random);
            let event = match offset % 4 {
                0 => "{\"op\":\"d\",\"before\":{\"k\":-0.0},\"after\":null}".to_owned(),
                1 => "{\"op\":\"d\",\"before\":null,\"after\":null}".to_owned(),
                _ => format!("{{\"op\":\"u\",\"before\":{{\"k\":-0.0}},\"after\":{row}}}"),
            };
            plain.push(offset, None, Some(b"{\"k\":-0.0}"), Some(row.as_bytes()));
            events.push(offset, None, Some(b"-0.0"), Some(event.as_bytes()));
        }
        fine(&json.decode(&plain).unwrap(), 20);
        fine(&upserts.decode(&plain).unwrap(), 20);
        fine(&debezium.decode(&events).unwrap(), 20);
    }
}

#[test]
fn avro_comes_in_canonical() {
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"k","type":"double"},{"name":"x","type":"double"},
        {"name":"r","type":"float"},{"name":"l","type":{"type":"array","items":"double"}},
        {"name":"s","type":{"type":"record","name":"S","fields":[{"name":"y","type":"float"},
        {"name":"l","type":{"type":"array","items":"double"}}]}}]}"#;
    let registry = Registry::in_memory();
    let id = registry.register("s", writer).unwrap();
    let schema = Arc::new(columns().project(&[0, 1, 2, 3, 4]).unwrap());
    let mut decoder = AvroDecoder::new(schema, registry, Arc::default()).unwrap();
    let mut random = sample::seeded_random(53);
    let parsed = Avro::parse_str(writer).unwrap();
    let doubles = [0.0, f64::NAN, 2.5];
    let mut records = Records::new(0);
    for offset in 0..200 {
        let mut double = || {
            let value = doubles[random.random_range(0..3)];
            odd64(&mut random, value)
        };
        let list = Value::Array(vec![Value::Double(double()), Value::Double(double())]);
        let (k, x) = (double(), double());
        let real = odd32(&mut random, [0.0, f32::NAN][offset as usize % 2]);
        let inner = Value::Record(vec![("y".into(), Value::Float(real)), ("l".into(), list.clone())]);
        let row = [
            ("k", Value::Double(k)),
            ("x", Value::Double(x)),
            ("r", Value::Float(real)),
            ("l", list),
            ("s", inner),
        ];
        let row = Value::Record(row.map(|(name, value)| (name.to_owned(), value)).into());
        #[allow(deprecated)]
        let datum = apache_avro::to_avro_datum(&parsed, row).unwrap();
        let message = [&[0], &id.to_be_bytes()[..], &datum].concat();
        records.push(offset, None, None, Some(&message));
    }
    fine(&decoder.decode(&records).unwrap(), 200);
}
