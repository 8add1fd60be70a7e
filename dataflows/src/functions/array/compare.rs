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
use crate::functions::eval::value::canonical_double;

use Kind::{Item, Items as Array_};

/// The definitions of these functions.
pub(in crate::functions) const TABLE: &[Def] = &[
    batch("array_has", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("array_contains", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("list_has", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("list_contains", &[Array_, Item], Gives::Bool, has_item).total(),
    batch("array_has_all", &[Array_, Array_], Gives::Bool, has_all_items).total(),
    batch("list_has_all", &[Array_, Array_], Gives::Bool, has_all_items).total(),
    batch("array_has_any", &[Array_, Array_], Gives::Bool, has_any_item).total(),
    batch("list_has_any", &[Array_, Array_], Gives::Bool, has_any_item).total(),
    batch("arrays_overlap", &[Array_, Array_], Gives::Bool, has_any_item).total(),
    batch("herald_array_lt", &[Array_, Array_], Gives::Bool, list_lt).total(),
    batch("herald_array_le", &[Array_, Array_], Gives::Bool, list_le).total(),
    batch("herald_array_gt", &[Array_, Array_], Gives::Bool, list_gt).total(),
    batch("herald_array_ge", &[Array_, Array_], Gives::Bool, list_ge).total(),
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
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical_double))
        }
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(canonical_real))
        }
        _ => Arc::clone(values),
    }
}

/// Returns zero and NaN in their canonical form; `-0.0 + 0.0` is `0.0`.
fn canonical_real(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
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

    /// Returns the indexes of a row's items that do not equal its value; None for a NULL array.
    pub(super) fn unequal_items(&self, row: usize) -> Option<Vec<u32>> {
        let kept = self.range(row)?.filter(|at| !self.equals_value(*at, row));
        Some(kept.map(|at| at as u32).collect())
    }

    /// Returns true if a row's array has its value; None where either is NULL.
    fn has_value(&self, row: usize) -> Option<bool> {
        if self.other.is_null(row) {
            return None;
        }
        Some(self.range(row)?.any(|at| self.equals_value(at, row)))
    }
}

fn item_range(lists: &ArrayRef, row: usize) -> Option<Range<usize>> {
    let lists = lists.as_list::<i32>();
    if lists.is_null(row) {
        return None;
    }
    let [from, to] = [row, row + 1].map(|n| usize::try_from(lists.value_offsets()[n]).unwrap_or(0));
    Some(from..to)
}

fn list_lt(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    compare_lists(args, Ordering::is_lt)
}

fn list_le(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    compare_lists(args, Ordering::is_le)
}

fn list_gt(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    compare_lists(args, Ordering::is_gt)
}

fn list_ge(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    compare_lists(args, Ordering::is_ge)
}

/// Compares arrays item by item: NULL sorts last, and a shorter array before a longer one that begins with
/// it.
fn compare_lists(args: &[ArrayRef], is: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let order = SortOptions { descending: false, nulls_first: false };
    let field = SortField::new_with_options(args[0].data_type().clone(), order);
    let converter = RowConverter::new(vec![field])?;
    let sides = [converter.convert_columns(&args[..1])?, converter.convert_columns(&args[1..2])?];
    bool_per_row(args[0].len(), |row| {
        if args[0].is_null(row) || args[1].is_null(row) {
            return None;
        }
        Some(is(sides[0].row(row).cmp(&sides[1].row(row))))
    })
}

fn has_item(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    bool_per_row(args[0].len(), |row| items.has_value(row))
}

/// The index ranges of a row's items in each of two arrays; None where one is NULL.
type Ranges = Option<(Range<usize>, Range<usize>)>;

fn ranges_of_both(args: &[ArrayRef], row: usize) -> Ranges {
    item_range(&args[0], row).zip(item_range(&args[1], row))
}

impl ComparedItems {
    /// Returns true if an item of the first array equals one of the second; NULL equals nothing.
    fn equals_other(&self, at: usize, other: usize) -> bool {
        !self.items.is_null(at)
            && !self.other.is_null(other)
            && self.items.bytes(at) == self.other.bytes(other)
    }

    /// Returns true if one of the items `left` of the first array equals an item of the second.
    fn has_other(&self, left: &Range<usize>, other: usize) -> bool {
        left.clone().any(|at| self.equals_other(at, other))
    }

    fn has_all(&self, left: &Range<usize>, mut right: Range<usize>) -> bool {
        right.all(|other| self.has_other(left, other))
    }

    fn has_any(&self, left: &Range<usize>, mut right: Range<usize>) -> bool {
        right.any(|other| self.has_other(left, other))
    }
}

fn has_all_items(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], args[1].as_list::<i32>().values())?;
    bool_per_row(args[0].len(), |row| {
        let (left, right) = ranges_of_both(args, row)?;
        Some(items.has_all(&left, right))
    })
}

fn has_any_item(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], args[1].as_list::<i32>().values())?;
    bool_per_row(args[0].len(), |row| {
        let (left, right) = ranges_of_both(args, row)?;
        Some(items.has_any(&left, right))
    })
}
