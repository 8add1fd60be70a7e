//! Arrays against each other and against one value: `@>`, `&&` and the functions of their kind.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result;

use super::truths;
use crate::functions::eval::own::{Def, Gives, Kind, batch};

use Kind::{Item, Items as Array_};

/// The functions.
pub(in crate::functions) const TABLE: &[Def] = &[
    batch("array_has", &[Array_, Item], Gives::Bool, has).total(),
    batch("array_contains", &[Array_, Item], Gives::Bool, has).total(),
    batch("list_has", &[Array_, Item], Gives::Bool, has).total(),
    batch("list_contains", &[Array_, Item], Gives::Bool, has).total(),
    batch("array_has_all", &[Array_, Array_], Gives::Bool, |a, _| contains(a)).total(),
    batch("list_has_all", &[Array_, Array_], Gives::Bool, |a, _| contains(a)).total(),
    batch("array_has_any", &[Array_, Array_], Gives::Bool, |a, _| overlap(a)).total(),
    batch("list_has_any", &[Array_, Array_], Gives::Bool, |a, _| overlap(a)).total(),
    batch("arrays_overlap", &[Array_, Array_], Gives::Bool, |a, _| overlap(a)).total(),
    batch("herald_array_lt", &[Array_, Array_], Gives::Bool, |a, _| ordered(a, Ordering::is_lt)).total(),
    batch("herald_array_le", &[Array_, Array_], Gives::Bool, |a, _| ordered(a, Ordering::is_le)).total(),
    batch("herald_array_gt", &[Array_, Array_], Gives::Bool, |a, _| ordered(a, Ordering::is_gt)).total(),
    batch("herald_array_ge", &[Array_, Array_], Gives::Bool, |a, _| ordered(a, Ordering::is_ge)).total(),
];

/// Values in a form whose bytes are equal and ordered as the values are.
struct Form {
    rows: Rows,
    values: ArrayRef,
}

impl Form {
    fn new(converter: &RowConverter, values: &ArrayRef) -> Result<Form> {
        let values = one_zero(values);
        Ok(Form { rows: converter.convert_columns(&[Arc::clone(&values)])?, values })
    }

    fn is_null(&self, at: usize) -> bool {
        self.values.is_null(at)
    }

    fn bytes(&self, at: usize) -> &[u8] {
        self.rows.row(at).data()
    }
}

/// Floating numbers with zero and NaN in their one form.
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
pub(super) struct Items {
    lists: ArrayRef,
    items: Form,
    other: Form,
}

impl Items {
    /// The items of `lists`, beside `other`, which is of the items' type.
    pub(super) fn new(lists: &ArrayRef, other: &ArrayRef) -> Result<Items> {
        let values = lists.as_list::<i32>().values();
        let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
        let (items, other) = (Form::new(&converter, values)?, Form::new(&converter, other)?);
        Ok(Items { lists: Arc::clone(lists), items, other })
    }

    /// Where the items of a row are; None for a NULL array.
    pub(super) fn range(&self, row: usize) -> Option<Range<usize>> {
        range(&self.lists, row)
    }

    /// Tells whether an item is the value of `row`; NULL is itself.
    pub(super) fn same(&self, at: usize, row: usize) -> bool {
        match (self.items.is_null(at), self.other.is_null(row)) {
            (false, false) => self.items.bytes(at) == self.other.bytes(row),
            (a, b) => a && b,
        }
    }
}

fn range(lists: &ArrayRef, row: usize) -> Option<Range<usize>> {
    let lists = lists.as_list::<i32>();
    let at = |n: usize| usize::try_from(lists.value_offsets()[n]).unwrap_or(0);
    (!lists.is_null(row)).then(|| at(row)..at(row + 1))
}

/// Arrays by their items, of which NULL is the last, and the shorter first.
fn ordered(args: &[ArrayRef], is: fn(Ordering) -> bool) -> Result<ArrayRef> {
    let order = SortOptions { descending: false, nulls_first: false };
    let field = SortField::new_with_options(args[0].data_type().clone(), order);
    let converter = RowConverter::new(vec![field])?;
    let sides = [converter.convert_columns(&args[..1])?, converter.convert_columns(&args[1..2])?];
    truths(args[0].len(), |row| {
        let known = !args[0].is_null(row) && !args[1].is_null(row);
        known.then(|| is(sides[0].row(row).cmp(&sides[1].row(row))))
    })
}

fn has(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = Items::new(&args[0], &args[1])?;
    truths(args[0].len(), |row| {
        if items.other.is_null(row) {
            return None;
        }
        Some(items.range(row)?.any(|at| items.same(at, row)))
    })
}

/// Where the items of a row are in each of two arrays; None where one is NULL.
type Ranges = Option<(Range<usize>, Range<usize>)>;

/// The items of two arrays, and where those of a row are in each.
fn both(args: &[ArrayRef]) -> Result<(Items, impl Fn(usize) -> Ranges)> {
    let items = Items::new(&args[0], args[1].as_list::<i32>().values())?;
    let (left, right) = (Arc::clone(&args[0]), Arc::clone(&args[1]));
    Ok((items, move |row: usize| range(&left, row).zip(range(&right, row))))
}

impl Items {
    /// Tells whether an item of the first array equals one of the second; NULL equals nothing.
    fn equal(&self, at: usize, other: usize) -> bool {
        !self.items.is_null(at)
            && !self.other.is_null(other)
            && self.items.bytes(at) == self.other.bytes(other)
    }
}

fn contains(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (items, ranges) = both(args)?;
    truths(args[0].len(), |row| {
        let (left, mut right) = ranges(row)?;
        Some(right.all(|other| left.clone().any(|at| items.equal(at, other))))
    })
}

fn overlap(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (items, ranges) = both(args)?;
    truths(args[0].len(), |row| {
        let (left, mut right) = ranges(row)?;
        Some(right.any(|other| left.clone().any(|at| items.equal(at, other))))
    })
}
