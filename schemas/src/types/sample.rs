//! Random columns for tests: every type Herald has, nested, with NULLs, from a seed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::types::columns::{Column, Data};
use crate::types::decimal;
use crate::types::relation::{interval, timestamp, timestamptz, uuid_type};

/// Creates a random generator from a seed.
pub(crate) fn seeded_random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Chooses a random type; `depth` bounds nesting.
pub(crate) fn random_type(random: &mut ChaCha8Rng, depth: usize) -> DataType {
    match random.random_range(0..if depth == 0 { 15 } else { 18 }) {
        0 => DataType::Boolean,
        1 => DataType::Int16,
        2 => DataType::Int32,
        3 => DataType::Int64,
        4 => DataType::Float32,
        5 => DataType::Float64,
        6 => DataType::Decimal128(38, 6),
        7 => DataType::Utf8,
        8 => DataType::Binary,
        9 => DataType::Date32,
        10 => DataType::Time64(TimeUnit::Microsecond),
        11 => timestamp(),
        12 => timestamptz(),
        13 => interval(),
        14 => uuid_type(),
        15 | 16 => {
            let fields = random.random_range(1..4);
            let field = |index| Field::new(format!("f{index}"), random_type(random, depth - 1), true);
            DataType::Struct((0..fields).map(field).collect())
        }
        _ => DataType::List(Arc::new(Field::new("item", random_type(random, depth - 1), true))),
    }
}

/// Creates a random schema of nullable columns.
pub(crate) fn random_schema(random: &mut ChaCha8Rng) -> Schema {
    let columns = random.random_range(1..6);
    Schema::new(
        (0..columns).map(|i| Field::new(format!("c{i}"), random_type(random, 2), true)).collect::<Vec<_>>(),
    )
}

/// Creates a random batch of a schema.
pub(crate) fn random_batch(random: &mut ChaCha8Rng, schema: &Schema, rows: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|f| random_array(random, f.data_type(), rows)).collect();
    RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
}

/// Creates a random column.
pub(crate) fn random_array(random: &mut ChaCha8Rng, data_type: &DataType, rows: usize) -> ArrayRef {
    let mut column = Column::new(data_type).unwrap();
    (0..rows).for_each(|_| append_random(random, &mut column));
    column.finish().unwrap()
}

fn append_random(random: &mut ChaCha8Rng, column: &mut Column) {
    if random.random_bool(0.2) {
        return column.append_null();
    }
    let data_type = column.data_type().clone();
    match &data_type {
        DataType::List(_) => {
            for _ in 0..random.random_range(0..4) {
                append_random(random, column.items_mut().unwrap());
            }
            assert!(column.close_value());
        }
        DataType::Struct(_) => {
            column.fields_mut().iter_mut().for_each(|field| append_random(random, field));
            assert!(column.close_value());
        }
        DataType::Utf8 => {
            let letters = ['a', 'b', '\0', 'é', '"', '\\', '\n', '字', '\u{1}'];
            let text: String = (0..random.random_range(0..4))
                .map(|_| letters[random.random_range(0..letters.len())])
                .collect();
            assert!(column.append_bytes(text.as_bytes()));
        }
        DataType::Binary => {
            let bytes: Vec<u8> = (0..random.random_range(0..4))
                .map(|_| [0, 1, 0xFE, 0xFF][random.random_range(0..4)])
                .collect();
            assert!(column.append_bytes(&bytes));
        }
        _ => {
            let (data, nulls) = column.values_and_nulls();
            push_random(random, &data_type, data);
            nulls.append_non_null();
        }
    }
}

/// Chooses small numbers, so that equal ones occur, and the ends of the range.
fn random_number(random: &mut ChaCha8Rng, bits: u32) -> i64 {
    match random.random_range(0..8) {
        0 => i64::MIN >> (64 - bits),
        1 => i64::MAX >> (64 - bits),
        2 => random.random::<i64>() >> (64 - bits),
        _ => random.random_range(-3..4),
    }
}

fn push_random(random: &mut ChaCha8Rng, data_type: &DataType, data: &mut Data) {
    let floats = [0.0, -0.0, 1.5, -1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN, 1e-300, -7e22];
    match data {
        Data::Bool(v) => v.push(random.random()),
        Data::I16(v) => v.push(random_number(random, 16) as i16),
        Data::I32(v) => v.push(random_number(random, 32) as i32),
        Data::I64(v) => v.push(match data_type {
            DataType::Int64 => random_number(random, 64),
            DataType::Time64(_) => random.random_range(0..86_400_000_000),
            // Dates with four-digit years.
            _ => random.random_range(-60_000_000_000_000_000..250_000_000_000_000_000),
        }),
        Data::I128(v) => {
            let value = i128::from(random_number(random, 64)) * i128::from(random_number(random, 40));
            assert!(decimal::fits(value, 38));
            v.push(value);
        }
        Data::F32(v) => v.push(floats[random.random_range(0..floats.len())] as f32),
        Data::F64(v) => v.push(floats[random.random_range(0..floats.len())]),
        Data::Span(v) => v.push(IntervalMonthDayNano {
            months: random.random_range(-14..14),
            days: random_number(random, 32) as i32,
            nanoseconds: random_number(random, 45) * 1000,
        }),
        Data::Uuid(v) => {
            v.push([random.random_range(0..3), 0, 0xFF, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
        }
        other => panic!("{other:?} is no scalar"),
    }
}
