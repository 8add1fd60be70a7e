//! Comparison of arrays with each other and with one value: `@>`, `&&` and related functions.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result;

use super::bool_per_row;
use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Def, Gives, Kind, batch};

use Kind::{Item, Items as Array_};

/// The definitions of these functions.
pub(in crate::functions) const TABLE: &[Def] = &[
    batch("array_has", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("array_contains", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("list_has", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("list_contains", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("array_has_all", &[Array_, Array_], Gives::Bool, |a, _| has_all_items(a)).total(),
    batch("list_has_all", &[Array_, Array_], Gives::Bool, |a, _| has_all_items(a)).total(),
    batch("array_has_any", &[Array_, Array_], Gives::Bool, |a, _| has_any_item(a)).total(),
    batch("list_has_any", &[Array_, Array_], Gives::Bool, |a, _| has_any_item(a)).total(),
    batch("arrays_overlap", &[Array_, Array_], Gives::Bool, |a, _| has_any_item(a)).total(),
    batch("herald_array_lt", &[Array_, Array_], Gives::Bool, |a, _| compare_lists(a, Ordering::is_lt))
        .total(),
    batch("herald_array_le", &[Array_, Array_], Gives::Bool, |a, _| compare_lists(a, Ordering::is_le))
        .total(),
    batch("herald_array_gt", &[Array_, Array_], Gives::Bool, |a, _| compare_lists(a, Ordering::is_gt))
        .total(),
    batch("herald_array_ge", &[Array_, Array_], Gives::Bool, |a, _| compare_lists(a, Ordering::is_ge))
        .total(),
];

/// The lines of the reference pages about these functions.
pub(in crate::functions) const ABOUT: &[About] = &[
    about("array_has array_contains list_has list_contains", "True if an item is equal."),
    about(
        "array_has_all list_has_all",
        "True if all items of the second array are in the first; `@>` is the same.",
    ),
    about("array_has_any list_has_any arrays_overlap", "True if the arrays share an item; `&&` is the same."),
];

/// Values in a form whose bytes are equal and ordered as the values are.
struct ComparableValues {
    rows: Rows,
    values: ArrayRef,
}

impl ComparableValues {
    fn new(converter: &RowConverter, values: &ArrayRef) -> Result<ComparableValues> {
        let values = one_zero(values);
        Ok(ComparableValues { rows: converter.convert_columns(&[Arc::clone(&values)])?, values })
    }

    fn is_null(&self, at: usize) -> bool {
        self.values.is_null(at)
    }

    fn bytes(&self, at: usize) -> &[u8] {
        self.rows.row(at).data()
    }
}

/// Returns floating-point numbers with zero and NaN each in one canonical form; other types unchanged.
fn one_zero(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let plain = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(plain))
        }
        DataType::Float32 => {
            let plain = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(plain))
        }
        _ => Arc::clone(values),
    }
}

/// The items of each row's array, and a value or further items to compare them with.
pub(super) struct ComparedItems {
    lists: ArrayRef,
    items: ComparableValues,
    other: ComparableValues,
}

impl ComparedItems {
    /// Prepares the items of `lists` and the values of `other`, which are of the items' type.
    pub(super) fn new(lists: &ArrayRef, other: &ArrayRef) -> Result<ComparedItems> {
        let values = lists.as_list::<i32>().values();
        let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
        let (items, other) =
            (ComparableValues::new(&converter, values)?, ComparableValues::new(&converter, other)?);
        Ok(ComparedItems { lists: Arc::clone(lists), items, other })
    }

    /// Returns the index range of a row's items; None for a NULL array.
    pub(super) fn range(&self, row: usize) -> Option<Range<usize>> {
        item_range(&self.lists, row)
    }

    /// Returns true if an item equals the value of `row`; two NULLs are equal.
    pub(super) fn equals_value(&self, at: usize, row: usize) -> bool {
        match (self.items.is_null(at), self.other.is_null(row)) {
            (false, false) => self.items.bytes(at) == self.other.bytes(row),
            (a, b) => a && b,
        }
    }
}

fn item_range(lists: &ArrayRef, row: usize) -> Option<Range<usize>> {
    let lists = lists.as_list::<i32>();
    let at = |n: usize| usize::try_from(lists.value_offsets()[n]).unwrap_or(0);
    (!lists.is_null(row)).then(|| at(row)..at(row + 1))
}

/// Compares arrays item by item: NULL sorts last, and a shorter array before a longer one that begins with
/// it.
fn compare_lists(args: &[ArrayRef], is: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let order = SortOptions { descending: false, nulls_first: false };
    let field = SortField::new_with_options(args[0].data_type().clone(), order);
    let converter = RowConverter::new(vec![field])?;
    let sides = [converter.convert_columns(&args[..1])?, converter.convert_columns(&args[1..2])?];
    bool_per_row(args[0].len(), |row| {
        let known = !args[0].is_null(row) && !args[1].is_null(row);
        known.then(|| is(sides[0].row(row).cmp(&sides[1].row(row))))
    })
}

fn has_item(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    bool_per_row(args[0].len(), |row| {
        if items.other.is_null(row) {
            return None;
        }
        Some(items.range(row)?.any(|at| items.equals_value(at, row)))
    })
}

/// The index ranges of a row's items in each of two arrays; None where one is NULL.
type Ranges = Option<(Range<usize>, Range<usize>)>;

/// Prepares the items of two arrays, and a function that returns the ranges of a row in each.
fn items_of_both(args: &[ArrayRef]) -> Result<(ComparedItems, impl Fn(usize) -> Ranges)> {
    let items = ComparedItems::new(&args[0], args[1].as_list::<i32>().values())?;
    let (left, right) = (Arc::clone(&args[0]), Arc::clone(&args[1]));
    Ok((items, move |row: usize| item_range(&left, row).zip(item_range(&right, row))))
}

impl ComparedItems {
    /// Returns true if an item of the first array equals one of the second; NULL equals nothing.
    fn equals_other(&self, at: usize, other: usize) -> bool {
        !self.items.is_null(at)
            && !self.other.is_null(other)
            && self.items.bytes(at) == self.other.bytes(other)
    }
}

fn has_all_items(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (items, ranges) = items_of_both(args)?;
    bool_per_row(args[0].len(), |row| {
        let (left, mut right) = ranges(row)?;
        Some(right.all(|other| left.clone().any(|at| items.equals_other(at, other))))
    })
}

fn has_any_item(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (items, ranges) = items_of_both(args)?;
    bool_per_row(args[0].len(), |row| {
        let (left, mut right) = ranges(row)?;
        Some(right.any(|other| left.clone().any(|at| items.equals_other(at, other))))
    })
}
