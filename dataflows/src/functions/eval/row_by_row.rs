//! Test that every function gives a row the same result in any batch.
//!
//! A row that is retracted is computed again in another batch; if its result differed, the retraction would
//! not cancel it. Every function that may be called is given columns of every combination of types that it
//! takes, in one batch and row by row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::config::ConfigOptions;
use datafusion_expr::type_coercion::functions::fields_with_udf;
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::functions::FUNCTIONS;

const ROWS: usize = 6;

/// Draws one column of each type, its values from a small set, so that rows resemble each other.
fn draw_columns(rng: &mut ChaCha8Rng) -> Vec<ArrayRef> {
    fn draw<T: Clone>(rng: &mut ChaCha8Rng, from: &[T]) -> Vec<Option<T>> {
        (0..ROWS)
            .map(|_| (rng.random_range(0..5) > 0).then(|| from[rng.random_range(0..from.len())].clone()))
            .collect()
    }
    let texts = ["", "a", "abc", "äö", "1", "b,c", "day", "hex", "2024-02-29"];
    let lists: Vec<Vec<Option<i32>>> =
        vec![vec![], vec![Some(1)], vec![Some(2), None, Some(1)], vec![None], vec![Some(3), Some(3)]];
    let words: Vec<StringArray> =
        vec![StringArray::from(vec!["a", "b"]), StringArray::from(Vec::<&str>::new())];
    let words: Vec<Option<ArrayRef>> =
        draw(rng, &words).into_iter().map(|w| w.map(|w| Arc::new(w) as _)).collect();
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    vec![
        Arc::new(StringArray::from(draw(rng, &texts))),
        Arc::new(Int32Array::from(draw(rng, &[-1, 0, 1, 2, 40]))),
        Arc::new(Int64Array::from(draw(rng, &[-2, 0, 1, 3, i64::MAX]))),
        Arc::new(Float64Array::from(draw(rng, &[-1.5, 0.0, 0.5, f64::NAN, f64::INFINITY]))),
        Arc::new(
            Decimal128Array::from(draw(rng, &[-150, 0, 25, 9999])).with_precision_and_scale(10, 2).unwrap(),
        ),
        Arc::new(BooleanArray::from(draw(rng, &[true, false]))),
        Arc::new(BinaryArray::from_iter(draw(rng, &[b"".to_vec(), b"A\0".to_vec(), b"xyz".to_vec()]))),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(draw(rng, &lists))),
        super::value::lists(&item, words).unwrap(),
        Arc::new(Date32Array::from(draw(rng, &[0, 19_782, -400]))),
        Arc::new(TimestampMicrosecondArray::from(draw(rng, &[0, 1_709_210_096_000_000, -1]))),
    ]
}

/// Returns the results of `function` over `args`, as texts.
fn call_function(function: &ScalarUDF, args: &[ArrayRef], of: &FieldRef) -> Result<Vec<String>, String> {
    let rows = args.first().map_or(1, |a| a.len());
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: args.iter().map(|a| ColumnarValue::Array(Arc::clone(a))).collect(),
        arg_fields: args.iter().map(|a| Arc::new(Field::new("", a.data_type().clone(), true))).collect(),
        number_rows: rows,
        return_field: Arc::clone(of),
        config_options: Arc::new(ConfigOptions::default()),
    });
    let array = result.and_then(|r| r.into_array(rows)).map_err(|e| e.strip_backtrace())?;
    assert_eq!(array.data_type(), of.data_type(), "{} said otherwise", function.name());
    let shown = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::new().with_null("NULL")).unwrap();
    Ok((0..rows).map(|row| shown.value(row).to_string()).collect())
}

/// Describes the difference between one batch and its rows; None where there is none.
fn find_difference(function: &ScalarUDF, columns: &[&ArrayRef]) -> Option<String> {
    let fields: Vec<FieldRef> =
        columns.iter().map(|c| Arc::new(Field::new("", c.data_type().clone(), true))).collect();
    let fields = fields_with_udf(&fields, function).ok()?;
    let constants = vec![None; fields.len()];
    let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants };
    let of = function.return_field_from_args(args).ok()?;
    let args: Vec<ArrayRef> = columns
        .iter()
        .zip(&fields)
        .map(|(c, f)| arrow::compute::cast(c, f.data_type()).ok())
        .collect::<Option<_>>()?;
    let together = call_function(function, &args, &of);
    let one = |row: usize| {
        let row: Vec<ArrayRef> = args.iter().map(|a| a.slice(row, 1)).collect();
        call_function(function, &row, &of)
    };
    let rows = args.first().map_or(1, |a| a.len());
    let alone: Result<Vec<Vec<String>>, String> = (0..rows).map(one).collect();
    let (together, alone) = (together.ok(), alone.map(|rows| rows.concat()).ok());
    (together != alone).then(|| format!("{}({fields:?}):\n  {together:?}\n  {alone:?}", function.name()))
}

#[test]
fn a_batch_is_its_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let (mut calls, mut wrong) = (0, Vec::new());
    for name in FUNCTIONS.scalar_names() {
        let function = FUNCTIONS.scalar(&name).unwrap();
        if function.name() != name {
            continue;
        }
        let columns = draw_columns(&mut rng);
        let kinds = columns.len();
        for arity in 0..=3u32 {
            for at in 0..kinds.pow(arity) {
                let chosen: Vec<&ArrayRef> =
                    (0..arity).map(|n| &columns[at / kinds.pow(n) % kinds]).collect();
                calls += 1;
                wrong.extend(find_difference(&function, &chosen));
            }
        }
    }
    assert!(
        calls > 100_000 && wrong.is_empty(),
        "{calls} calls, {} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_null_array_is_no_neighbours() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let list = |items: Option<Vec<i32>>| -> ArrayRef {
        super::value::lists(&item, vec![items.map(|i| Arc::new(Int32Array::from(i)) as ArrayRef)]).unwrap()
    };
    let (none, some) = (list(None), list(Some(vec![9])));
    let both = concat(&[none.as_ref(), some.as_ref()]).unwrap();
    for name in ["array_has_any", "array_has_all"] {
        let function = FUNCTIONS.scalar(name).unwrap();
        let of: FieldRef = Arc::new(Field::new("", DataType::Boolean, true));
        let haves = list(Some(vec![1, 2]));
        let haves = concat(&[haves.as_ref(), haves.as_ref()]).unwrap();
        assert_eq!(
            call_function(&function, &[haves, Arc::clone(&both)], &of).unwrap(),
            ["NULL", "false"],
            "{name}"
        );
    }
}
