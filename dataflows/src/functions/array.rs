//! Functions of arrays: PostgreSQL's, and those of DuckDB under their names.
//!
//! Items are compared in a form in which equal values have equal bytes, made once per batch; each row then
//! reads only its own items. Two NULLs are the same item to `array_position`, `array_remove` and
//! `array_replace`, and never equal to `@>` and `&&`, as in PostgreSQL.

mod compare;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListBuilder, StringArray, UInt32Array,
    new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{Result, exec_err};

use super::eval::about::{About, about};
use super::eval::own::{Def, Gives, Kind, batch};
use super::eval::value::{lists, row_count};
use compare::ComparedItems;

pub(super) use compare::{ABOUT as ABOUT_COMPARISONS, TABLE as COMPARISONS};

use Kind::Items as Array_;
use Kind::{Int, Item, List};

/// The definitions of these functions.
pub(super) const TABLE: &[Def] = &[
    batch("array_append", &[Array_, Item], Gives::Like(0), add_item).total(),
    batch("list_append", &[Array_, Item], Gives::Like(0), add_item).total(),
    batch("array_push_back", &[Array_, Item], Gives::Like(0), add_item).total(),
    batch("list_push_back", &[Array_, Item], Gives::Like(0), add_item).total(),
    batch("array_prepend", &[Item, Array_], Gives::Like(1), add_item).total(),
    batch("list_prepend", &[Item, Array_], Gives::Like(1), add_item).total(),
    batch("array_push_front", &[Item, Array_], Gives::Like(1), add_item).total(),
    batch("list_push_front", &[Item, Array_], Gives::Like(1), add_item).total(),
    batch("array_cat", &[Array_, Array_], Gives::Like(0), concat_lists).more(Array_).total(),
    batch("array_concat", &[Array_, Array_], Gives::Like(0), concat_lists).more(Array_).total(),
    batch("list_cat", &[Array_, Array_], Gives::Like(0), concat_lists).more(Array_).total(),
    batch("list_concat", &[Array_, Array_], Gives::Like(0), concat_lists).more(Array_).total(),
    batch("array_length", &[List, Int], Gives::Int, upper_bound).total(),
    batch("array_upper", &[List, Int], Gives::Int, upper_bound).total(),
    batch("array_lower", &[List, Int], Gives::Int, lower_bound).total(),
    batch("array_length", &[List], Gives::Int, count_items).total(),
    batch("list_length", &[List], Gives::Int, count_items).total(),
    batch("cardinality", &[List], Gives::Int, count_inner_items).total(),
    batch("array_ndims", &[List], Gives::Int, count_dimensions).total(),
    batch("list_ndims", &[List], Gives::Int, count_dimensions).total(),
    batch("array_dims", &[List], Gives::Text, dimension_ranges).total(),
    batch("list_dims", &[List], Gives::Text, dimension_ranges).total(),
    batch("array_position", &[Array_, Item, Int], Gives::Int, find_position).optional(1),
    batch("list_position", &[Array_, Item, Int], Gives::Int, find_position).optional(1),
    batch("array_indexof", &[Array_, Item, Int], Gives::Int, find_position).optional(1),
    batch("list_indexof", &[Array_, Item, Int], Gives::Int, find_position).optional(1),
    batch("array_positions", &[Array_, Item], Gives::Ints, find_positions).total(),
    batch("list_positions", &[Array_, Item], Gives::Ints, find_positions).total(),
    batch("array_remove", &[Array_, Item], Gives::Like(0), remove_item).total(),
    batch("list_remove", &[Array_, Item], Gives::Like(0), remove_item).total(),
    batch("array_remove_all", &[Array_, Item], Gives::Like(0), remove_item).total(),
    batch("list_remove_all", &[Array_, Item], Gives::Like(0), remove_item).total(),
    batch("array_replace", &[Array_, Item, Item], Gives::Like(0), replace_item).total(),
    batch("list_replace", &[Array_, Item, Item], Gives::Like(0), replace_item).total(),
    batch("array_replace_all", &[Array_, Item, Item], Gives::Like(0), replace_item).total(),
    batch("list_replace_all", &[Array_, Item, Item], Gives::Like(0), replace_item).total(),
    batch("array_insert", &[Array_, Int, Item], Gives::Like(0), insert_item),
    batch("list_insert", &[Array_, Int, Item], Gives::Like(0), insert_item),
    batch("array_first", &[List], Gives::By(item_type), first_item).total(),
    batch("list_first", &[List], Gives::By(item_type), first_item).total(),
    batch("array_last", &[List], Gives::By(item_type), last_item).total(),
    batch("list_last", &[List], Gives::By(item_type), last_item).total(),
    batch("trim_array", &[List, Int], Gives::Like(0), trim_end),
    batch("herald_item", &[List, Int], Gives::By(item_type), item_at).total(),
    batch("herald_slice", &[List, Int, Int], Gives::Like(0), slice_items).total(),
];

/// The lines of the reference pages about these functions.
pub(super) const ABOUT: &[About] = &[
    about(
        "array_append list_append array_push_back list_push_back",
        "The array with an item behind it; `||` is the same.",
    ),
    about(
        "array_prepend list_prepend array_push_front list_push_front",
        "The array with an item before it; `||` is the same.",
    ),
    about("array_cat array_concat list_cat list_concat", "The items of all arrays; `||` is the same."),
    about("array_length", "Number of items, or length of a dimension, NULL where it is missing."),
    about("list_length", "Number of items."),
    about("array_upper", "Upper bound of a dimension."),
    about("array_lower", "Lower bound of a dimension, which is 1."),
    about("cardinality", "Number of items, those of nested arrays in place of these."),
    about("array_ndims list_ndims", "Number of dimensions."),
    about("array_dims list_dims", "Bounds of the dimensions as text: `[1:2][1:3]`."),
    about(
        "array_position list_position array_indexof list_indexof",
        "Place of the first item that is equal, from 1, or from a given place on; else NULL.",
    ),
    about("array_positions list_positions", "Places of all items that are equal."),
    about(
        "array_remove list_remove array_remove_all list_remove_all",
        "The array without the items that are equal.",
    ),
    about(
        "array_replace list_replace array_replace_all list_replace_all",
        "The array with another item for each that is equal.",
    ),
    about(
        "array_insert list_insert",
        "The array with an item put in at a place, from 1, or from -1 backwards.",
    ),
    about("array_first list_first", "The first item. With a lambda, see below."),
    about("array_last list_last", "The last item."),
    about("trim_array", "The array without its last n items."),
];

fn item_type(args: &[DataType]) -> Result<DataType> {
    match args.first() {
        Some(DataType::List(item)) => Ok(item.data_type().clone()),
        _ => exec_err!("this is no array"),
    }
}

/// Builds arrays of type `of` from each row's items.
fn by_row(
    rows: usize,
    of: &DataType,
    items: impl FnMut(usize) -> Result<Option<ArrayRef>>,
) -> Result<ArrayRef> {
    let DataType::List(field) = of else { return exec_err!("this is no array") };
    lists(field, (0..rows).map(items).collect::<Result<Vec<_>>>()?)
}

fn concat_arrays(parts: &[ArrayRef]) -> Result<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&parts)?)
}

/// Adds an item before or behind an array, as the order of the arguments says. A NULL array counts as an
/// empty one.
fn add_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let front = args[0].data_type() != of;
    let (list, item) = if front { (&args[1], &args[0]) } else { (&args[0], &args[1]) };
    let items = list.as_list::<i32>();
    by_row(row_count(args), of, |row| {
        let item = item.slice(row, 1);
        Ok(Some(match (items.is_null(row), front) {
            (true, _) => item,
            (false, true) => concat_arrays(&[item, items.value(row)])?,
            (false, false) => concat_arrays(&[items.value(row), item])?,
        }))
    })
}

fn concat_lists(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), of, |row| {
        let mut parts = Vec::with_capacity(args.len());
        for arg in args {
            let list = arg.as_list::<i32>();
            if !list.is_null(row) {
                parts.push(list.value(row));
            }
        }
        if parts.is_empty() { Ok(None) } else { concat_arrays(&parts).map(Some) }
    })
}

/// Builds an array with one INT per row.
fn int_per_row(rows: usize, mut of: impl FnMut(usize) -> Option<i32>) -> Result<ArrayRef> {
    let mut out = Int32Builder::with_capacity(rows);
    for row in 0..rows {
        out.append_option(of(row));
    }
    Ok(Arc::new(out.finish()))
}

fn upper_bound(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    dimension_bound(args, true)
}

fn lower_bound(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    dimension_bound(args, false)
}

/// Returns the length (or the lower bound, if not `upper`) of a dimension; NULL for one that the array does
/// not have.
fn dimension_bound(args: &[ArrayRef], upper: bool) -> Result<ArrayRef> {
    let dimensions = args[1].as_primitive::<Int64Type>();
    int_per_row(row_count(args), |row| {
        if dimensions.is_null(row) || args[0].is_null(row) {
            return None;
        }
        let mut items = args[0].as_list::<i32>().value(row);
        // Arrays have few dimensions: the bound only keeps a huge argument from looping.
        for _ in 1..dimensions.value(row).clamp(0, 16) {
            items = first_inner_array(&items)?;
        }
        let length = i32::try_from(items.len()).ok()?;
        if length == 0 || dimensions.value(row) <= 0 {
            return None;
        }
        Some(if upper { length } else { 1 })
    })
}

/// Returns the first item of an array of arrays; None for other items, and where it is missing or NULL.
fn first_inner_array(items: &ArrayRef) -> Option<ArrayRef> {
    let lists = items.as_list_opt::<i32>()?;
    if lists.is_empty() || lists.is_null(0) { None } else { Some(lists.value(0)) }
}

fn count_items(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    count_per_row(args, Array::len)
}

/// Counts the items, those of nested arrays in place of these.
fn count_inner_items(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    count_per_row(args, innermost_count)
}

fn innermost_count(items: &ArrayRef) -> usize {
    match items.as_list_opt::<i32>() {
        Some(inner) => inner.iter().flatten().map(|items| innermost_count(&items)).sum(),
        None => items.len(),
    }
}

fn count_per_row(args: &[ArrayRef], count: fn(&ArrayRef) -> usize) -> Result<ArrayRef> {
    let list = args[0].as_list::<i32>();
    int_per_row(row_count(args), |row| {
        if list.is_null(row) { None } else { i32::try_from(count(&list.value(row))).ok() }
    })
}

fn count_dimensions(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let list = args[0].as_list::<i32>();
    int_per_row(row_count(args), |row| {
        if list.is_null(row) || list.value_length(row) == 0 {
            return None;
        }
        let (mut of, mut depth) = (list.data_type().clone(), 0);
        while let DataType::List(item) = of {
            of = item.data_type().clone();
            depth += 1;
        }
        Some(depth)
    })
}

/// Returns the bounds of each dimension, as text: `[1:2][1:3]`.
fn dimension_ranges(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let list = args[0].as_list::<i32>();
    let texts =
        (0..row_count(args)).map(|row| if list.is_null(row) { None } else { range_text(list.value(row)) });
    Ok(Arc::new(StringArray::from_iter(texts)))
}

/// Returns the bounds of each dimension of one array; None if it is empty.
fn range_text(items: ArrayRef) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let mut text = String::new();
    let mut next = Some(items);
    while let Some(items) = next {
        text.push_str(&format!("[1:{}]", items.len()));
        next = first_inner_array(&items);
    }
    Some(text)
}

fn find_position(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    let starts = args.get(2).map(|starts| starts.as_primitive::<Int64Type>());
    if let Some(starts) = starts
        && starts.null_count() > 0
    {
        return exec_err!("initial position must not be null");
    }
    int_per_row(row_count(args), |row| {
        let start = match starts {
            Some(starts) => starts.value(row).max(1),
            None => 1,
        };
        let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
        for (n, at) in items.range(row)?.enumerate().skip(skipped) {
            if items.equals_value(at, row) {
                return i32::try_from(n + 1).ok();
            }
        }
        None
    })
}

fn find_positions(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    let mut out = ListBuilder::new(Int32Builder::new());
    for row in 0..row_count(args) {
        let range = items.range(row);
        let found = range.is_some();
        for (n, at) in range.into_iter().flatten().enumerate() {
            if items.equals_value(at, row) {
                out.values().append_option(i32::try_from(n + 1).ok());
            }
        }
        out.append(found);
    }
    Ok(Arc::new(out.finish()))
}

/// Returns the items of an array column at the given indexes into its values.
fn take_items(list: &ArrayRef, at: Vec<u32>) -> Result<ArrayRef> {
    Ok(take(list.as_list::<i32>().values(), &UInt32Array::from(at), None)?)
}

fn remove_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    by_row(row_count(args), of, |row| {
        let Some(kept) = items.unequal_items(row) else { return Ok(None) };
        take_items(&args[0], kept).map(Some)
    })
}

fn replace_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let items = ComparedItems::new(&args[0], &args[1])?;
    by_row(row_count(args), of, |row| {
        let Some(range) = items.range(row) else { return Ok(None) };
        let own = args[0].as_list::<i32>().value(row);
        // The replacement is appended to the row's items, so that one `take` picks either.
        let both = concat_arrays(&[own, args[2].slice(row, 1)])?;
        let new = both.len() as u32 - 1;
        let at = range.enumerate().map(|(n, at)| if items.equals_value(at, row) { new } else { n as u32 });
        Ok(Some(take(&both, &UInt32Array::from_iter_values(at), None)?))
    })
}

fn trim_end(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let (list, less) = (args[0].as_list::<i32>(), args[1].as_primitive::<Int64Type>());
    by_row(row_count(args), of, |row| {
        if list.is_null(row) || less.is_null(row) {
            return Ok(None);
        }
        let items = list.value(row);
        match usize::try_from(less.value(row)) {
            Ok(less) if less <= items.len() => Ok(Some(items.slice(0, items.len() - less))),
            _ => exec_err!("number of elements to trim must be between 0 and {}", items.len()),
        }
    })
}

fn item_at(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let (list, at) = (args[0].as_list::<i32>(), args[1].as_primitive::<Int64Type>());
    if list.values().is_empty() {
        return Ok(new_null_array(of, row_count(args)));
    }
    let places = (0..row_count(args)).map(|row| {
        if list.is_null(row) || at.is_null(row) || at.value(row) < 1 {
            return None;
        }
        let length = i64::from(list.value_length(row));
        let start = i64::from(list.value_offsets()[row]);
        if at.value(row) > length { None } else { u32::try_from(start + at.value(row) - 1).ok() }
    });
    Ok(take(list.values(), &UInt32Array::from_iter(places), None)?)
}

fn first_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    end_item(args, of, true)
}

fn last_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    end_item(args, of, false)
}

/// Returns the first item, or the last.
fn end_item(args: &[ArrayRef], of: &DataType, first: bool) -> Result<ArrayRef> {
    let list = args[0].as_list::<i32>();
    if list.values().is_empty() {
        return Ok(new_null_array(of, row_count(args)));
    }
    let offsets = list.value_offsets();
    let places = (0..row_count(args)).map(|row| {
        let (from, to) = (offsets[row], offsets[row + 1]);
        if list.is_null(row) || from >= to {
            return None;
        }
        u32::try_from(if first { from } else { to - 1 }).ok()
    });
    Ok(take(list.values(), &UInt32Array::from_iter(places), None)?)
}

/// Largest number of NULLs that `array_insert` may add to reach the place of its item.
const MAX_ADDED_ITEMS: usize = 1 << 16;

/// Inserts an item at a place, counted as Spark does: from 1, or from -1 backwards; NULLs fill the gap
/// between the array and a place beyond its end.
fn insert_item(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let (list, places) = (args[0].as_list::<i32>(), args[1].as_primitive::<Int64Type>());
    by_row(row_count(args), of, |row| {
        if list.is_null(row) || places.is_null(row) {
            return Ok(None);
        }
        let (items, item) = (list.value(row), args[2].slice(row, 1));
        let distance = usize::try_from(places.value(row).unsigned_abs()).unwrap_or(usize::MAX);
        if distance == 0 {
            return exec_err!("array_insert counts from 1, or from -1 backwards");
        }
        let missing = (distance - 1).saturating_sub(items.len());
        if missing > MAX_ADDED_ITEMS {
            return exec_err!("array_insert: the place is too far from the array");
        }
        let nulls = new_null_array(items.data_type(), missing);
        let at = (distance - 1).min(items.len());
        Ok(Some(if places.value(row) > 0 {
            concat_arrays(&[items.slice(0, at), nulls, item, items.slice(at, items.len() - at)])?
        } else {
            let at = items.len() - at;
            concat_arrays(&[items.slice(0, at), item, nulls, items.slice(at, items.len() - at)])?
        }))
    })
}

fn slice_items(args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
    let list = args[0].as_list::<i32>();
    let (starts, ends) = (args[1].as_primitive::<Int64Type>(), args[2].as_primitive::<Int64Type>());
    by_row(row_count(args), of, |row| {
        if list.is_null(row) || starts.is_null(row) || ends.is_null(row) {
            return Ok(None);
        }
        let items = list.value(row);
        let length = items.len() as i64;
        let (from, to) = (starts.value(row).clamp(1, length + 1), ends.value(row).clamp(0, length));
        let kept = usize::try_from(to - from + 1).unwrap_or(0);
        Ok(Some(items.slice(from as usize - 1, kept)))
    })
}

/// Builds an array with one BOOLEAN per row.
fn bool_per_row(rows: usize, mut of: impl FnMut(usize) -> Option<bool>) -> Result<ArrayRef> {
    let mut out = BooleanBuilder::with_capacity(rows);
    for row in 0..rows {
        out.append_option(of(row));
    }
    Ok(Arc::new(out.finish()))
}
