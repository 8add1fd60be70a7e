//! Tests that a batch gives the results of its single rows, with any items beneath NULLs and for any slice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, RecordBatch};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::mistake::Pos;
use crate::plan::Scalar;
use crate::sql::catalog::Catalog;
use crate::sql::diagnostics::site::Site;
use crate::sql::parse;
use crate::sql::query::plan_expression;

const CALLS: [&str; 6] = [
    "array_transform(a, x -> x * n)",
    "array_filter(a, x -> x > n)",
    "array_any_match(a, x -> x = n)",
    "array_all_match(a, x -> x <> n)",
    "array_first(a, x -> x >= n)",
    "array_transform(a, x -> array_filter(a, y -> y + n > x))",
];

fn schema() -> Schema {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    Schema::new(vec![Field::new("a", list, true), Field::new("n", DataType::Int32, true)])
}

fn planned(call: &str) -> Scalar {
    let query = parse::parse_question(&format!("SELECT {call}")).unwrap();
    let datafusion_sql::sqlparser::ast::SetExpr::Select(select) = *query.body else { panic!("{call}") };
    let datafusion_sql::sqlparser::ast::SelectItem::UnnamedExpr(expr) = &select.projection[0] else {
        panic!("{call}")
    };
    let site = Site { file: 0, pos: Pos { file: 0, line: 1, column: 1 } };
    plan_expression(&Catalog::default(), expr, ("t", &schema()), None, site).unwrap()
}

/// Makes random rows, some with items beneath NULL arrays.
fn batch(rng: &mut ChaCha8Rng, rows: usize) -> RecordBatch {
    let number = |rng: &mut ChaCha8Rng| rng.random_bool(0.8).then(|| rng.random_range(-2..3));
    let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..5)).collect();
    let items = Int32Array::from_iter((0..lengths.iter().sum()).map(|_| number(rng)));
    let nulls = NullBuffer::from_iter((0..rows).map(|_| rng.random_bool(0.8)));
    let schema = schema();
    let DataType::List(item) = schema.field(0).data_type() else { panic!("a list") };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list = ListArray::new(Arc::clone(item), offsets, Arc::new(items), Some(nulls));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter((0..rows).map(|_| number(rng))));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(list), numbers]).unwrap()
}

#[test]
fn a_batch_is_its_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for call in CALLS {
        let scalar = planned(call);
        for rows in [1, 7, 40] {
            let batch = batch(&mut rng, rows);
            let together = scalar.evaluate(&batch).unwrap();
            let alone: Vec<ArrayRef> =
                (0..rows).map(|row| scalar.evaluate(&batch.slice(row, 1)).unwrap()).collect();
            let alone = concat(&alone.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
            assert_eq!(&together, &alone, "{call}");
            let end = scalar.evaluate(&batch.slice(rows / 2, rows - rows / 2)).unwrap();
            assert_eq!(&end, &together.slice(rows / 2, rows - rows / 2), "{call}");
        }
    }
}

/// Tests arrays of more items than are evaluated in one batch.
#[test]
fn long_arrays_are_evaluated_in_parts() {
    let items: Vec<Option<i32>> = (0..10_000).map(Some).collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(items)]);
    let numbers = Int32Array::from(vec![3, 2]);
    let list = ListArray::new(
        Arc::new(Field::new("item", DataType::Int32, true)),
        list.offsets().clone(),
        Arc::clone(list.values()),
        None,
    );
    let batch = RecordBatch::try_new(Arc::new(schema()), vec![Arc::new(list), Arc::new(numbers)]).unwrap();
    let result = planned(CALLS[0]).evaluate(&batch).unwrap();
    let last = result.as_list::<i32>().value(1);
    assert_eq!(last.len(), 10_000);
    assert_eq!(last.as_primitive::<Int32Type>().value(9_999), 19_998);
    assert_eq!(result.as_list::<i32>().value(0).as_primitive::<Int32Type>().value(0), 3);
}
