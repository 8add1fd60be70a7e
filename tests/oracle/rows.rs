//! Rows as JSON, whichever engine they come from, and their comparison.
//!
//! Values look as `duck.py` writes them: timestamps are microseconds and dates days since 1970,
//! decimals are text, structs objects, lists arrays. Two multisets of rows are equal when they pair
//! up; integers, text and decimals exactly, doubles within 1e-9 of each other relatively.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    TimestampMicrosecondType,
};
use arrow::datatypes::{Float32Type, Schema};
use dataflows::plan::Plan;
use dataflows::runtime::engine::Folded;
use schemas::{RowCodec, Rows};
use serde_json::{Map, Value};

use crate::engine::Engine;

/// A row.
pub type Row = Vec<Value>;

/// One value of a column.
pub fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => f64::from(column.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).into(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        DataType::Interval(_) => {
            let span = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            schemas::types::span::Span::from(span).text().into()
        }
        DataType::FixedSizeBinary(16) => {
            schemas::types::uuid::text(column.as_fixed_size_binary().value(row)).into()
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::List(_) => {
            let list: &ListArray = column.as_list();
            let items = list.value(row);
            (0..items.len()).map(|i| value(&items, i)).collect::<Vec<_>>().into()
        }
        DataType::Struct(_) => {
            let fields: &StructArray = column.as_struct();
            let named = fields.column_names().into_iter().zip(fields.columns());
            named.map(|(name, column)| (name.to_string(), value(column, row))).collect::<Map<_, _>>().into()
        }
        _ => arrow::util::display::array_value_to_string(column, row).unwrap().into(),
    }
}

/// Packed rows of `schema`.
pub fn unpack(schema: &Schema, rows: &Rows) -> Vec<Row> {
    let columns = RowCodec::of(schema).unwrap().decode(rows.iter()).unwrap();
    (0..rows.len()).map(|row| columns.iter().map(|column| value(column, row)).collect()).collect()
}

/// What a view's table holds, as of the last commit.
pub fn of_view(engine: &Engine, schema: &Schema, view: usize) -> Vec<Row> {
    assert_eq!(engine.store().snapshot().unwrap().epoch(), engine.committed());
    unpack(schema, &engine.view_rows(view).unwrap())
}

/// The rows that expressions failed on, by view.
pub fn errors(engine: &Engine) -> Vec<Row> {
    let fields = ["view", "expression", "message", "row"]
        .map(|n| arrow::datatypes::Field::new(n, DataType::Utf8, false));
    unpack(&Schema::new(fields.to_vec()), &engine.error_rows().unwrap())
}

/// The rows a reader of a sink holds, sorted.
pub fn of_sink(folded: &Folded, plan: &Plan, at: usize) -> Vec<Row> {
    let mut rows = unpack(&plan.rels[plan.sinks[at].rel].schema, &folded.content(at).rows());
    sort(&mut rows);
    rows
}

/// Sorts rows so that equal multisets stand alike: by everything but doubles first, then by those.
pub fn sort(rows: &mut [Row]) {
    rows.sort_by_cached_key(|row| {
        let rest: Row = row.iter().map(|v| if v.is_f64() { Value::Null } else { v.clone() }).collect();
        // Rounded, so that doubles which differ in their last bits stand alike.
        let doubles = row.iter().filter(|v| v.is_f64()).filter_map(Value::as_f64);
        let floats: Vec<String> = doubles.map(|f| format!("{f:.6e}")).collect();
        (Value::Array(rest).to_string(), floats)
    });
}

/// Says how `found` differs from `wanted`; None when it does not. Both must be sorted.
pub fn difference(found: &[Row], wanted: &[Row]) -> Option<String> {
    let same = |a: &Row, b: &Row| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b));
    if found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| same(a, b)) {
        return None;
    }
    let lacks = |from: &[Row], of: &[Row]| -> Vec<String> {
        let mut left: Vec<&Row> = of.iter().collect();
        let mut missing = Vec::new();
        for row in from {
            match left.iter().position(|other| same(other, row)) {
                Some(at) => drop(left.swap_remove(at)),
                None => missing.push(Value::Array(row.clone()).to_string()),
            }
        }
        missing
    };
    let (extra, missing) = (lacks(found, wanted), lacks(wanted, found));
    if extra.is_empty() && missing.is_empty() {
        return None;
    }
    let show = |rows: &[String], sign: char| {
        rows.iter().take(12).map(|r| format!("\n  {sign} {r}")).collect::<String>()
    };
    Some(format!(
        "{} rows, wanted {}: {} too many, {} missing{}{}",
        found.len(),
        wanted.len(),
        extra.len(),
        missing.len(),
        show(&extra, '+'),
        show(&missing, '-')
    ))
}

fn equal(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            if x.is_i64() && y.is_i64() {
                return false;
            }
            let (Some(x), Some(y)) = (x.as_f64(), y.as_f64()) else { return false };
            // Sums that cancel leave a rest of the size of what was summed, which is about one.
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1e-3)
        }
        // Decimals are exact, but one side may show more zeros.
        (Value::String(x), Value::String(y)) => decimal(x).is_some_and(|x| Some(x) == decimal(y)),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| equal(x, y)))
        }
        _ => false,
    }
}

/// A decimal's digits without the zeros that say nothing; None for other text.
fn decimal(text: &str) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let plain = !digits.is_empty() && digits.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit());
    plain.then(|| format!("{whole}.{}", part.trim_end_matches('0')))
}

#[test]
fn doubles_compare_relatively_and_all_else_exactly() {
    let row = |v: serde_json::Value| -> Vec<Row> { vec![vec![v]] };
    assert!(difference(&row(0.1.into()), &row((0.1 + 1e-12).into())).is_none());
    assert!(difference(&row(0.1.into()), &row((0.1 + 1e-6).into())).is_some());
    assert!(difference(&row(1.into()), &row(2.into())).is_some());
    assert!(difference(&row("1.50".into()), &row("1.5".into())).is_none());
    assert!(difference(&row("a".into()), &row("b".into())).is_some());
}
