//! Removal of persons from a column along a path.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field};
use schemas::{Digest, ErasedSet};

use crate::error::RunError;
use crate::plan::sources::erase_path::{ErasePath, Step};

/// Stands for the row of a value that belongs to none: it is behind a NULL, or outside the array.
const NO_ROW: u32 = u32::MAX;

/// A value on which a path ends, by its row, that is an erased person's.
type Found<'f> = &'f mut dyn FnMut(u32, Digest);

/// Finds the erased persons of a column, and tells `found` of each with its row. Returns the column without their
/// elements; None where it stays as it is.
///
/// # Errors
/// When the column has not the type that the path was bound to.
pub fn apply(
    path: &ErasePath,
    column: &ArrayRef,
    erased: &ErasedSet,
    found: Found<'_>,
) -> Result<Option<ArrayRef>, RunError> {
    let rows: Vec<u32> = (0..column.len() as u32).collect();
    if path.is_of_rows() {
        find_in(column, (&path.steps, &rows), erased, &mut |at, digest| found(rows[at], digest))?;
        return Ok(None);
    }
    prune(column, (&path.steps, &rows), erased, found)
}

/// Returns an array without the elements of erased persons; None where it has none of theirs. `owners` has the row of
/// each value.
fn prune(
    array: &ArrayRef,
    (steps, owners): (&[Step], &[u32]),
    erased: &ErasedSet,
    found: Found<'_>,
) -> Result<Option<ArrayRef>, RunError> {
    match steps.split_first() {
        Some((Step::Field(at), rest)) => {
            let whole = struct_of(array)?;
            let owners = owners_within(whole, owners);
            // A struct that is NULL keeps its fields' values, which are nobody's.
            let Some(child) = prune(whole.column(*at), (rest, &owners), erased, found)? else {
                return Ok(None);
            };
            let mut columns = whole.columns().to_vec();
            columns[*at] = child;
            let rebuilt = StructArray::try_new(whole.fields().clone(), columns, whole.nulls().cloned())?;
            Ok(Some(Arc::new(rebuilt)))
        }
        Some((Step::Items, rest)) => {
            let Some(list) = array.as_list_opt::<i32>() else { return Err(other_type()) };
            let owners = owners_of_items(list, owners);
            let item = match list.data_type() {
                DataType::List(item) => item.clone(),
                _ => return Err(other_type()),
            };
            if rest.contains(&Step::Items) {
                let Some(values) = prune(list.values(), (rest, &owners), erased, found)? else {
                    return Ok(None);
                };
                let rebuilt =
                    ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?;
                return Ok(Some(Arc::new(rebuilt)));
            }
            // The steps behind the last array are fields: they end on the name of the element's person.
            let mut kept = vec![true; owners.len()];
            find_in(list.values(), (rest, &owners), erased, &mut |at, digest| {
                kept[at] = false;
                found(owners[at], digest);
            })?;
            if kept.iter().all(|kept| *kept) {
                return Ok(None);
            }
            without_items(list, item, &owners, kept).map(Some)
        }
        None => Ok(None),
    }
}

/// A list with the items that are kept.
fn without_items(
    list: &ListArray,
    item: Arc<Field>,
    owners: &[u32],
    mut kept: Vec<bool>,
) -> Result<ArrayRef, RunError> {
    // Items outside of all lists, and those behind a NULL, are dropped on the way: no list counts them.
    for (kept, owner) in kept.iter_mut().zip(owners) {
        *kept &= *owner != NO_ROW;
    }
    let mut lengths = Vec::with_capacity(list.len());
    for window in list.offsets().windows(2) {
        let items = kept.get(window[0] as usize..window[1] as usize).unwrap_or_default();
        lengths.push(items.iter().filter(|kept| **kept).count());
    }
    let values = filter(list.values(), &BooleanArray::from(kept))?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item, offsets, values, list.nulls().cloned())?))
}

/// Finds the erased persons among the values behind steps that are all fields, and tells `found` of the place of each.
fn find_in(
    array: &ArrayRef,
    (steps, owners): (&[Step], &[u32]),
    erased: &ErasedSet,
    found: &mut dyn FnMut(usize, Digest),
) -> Result<(), RunError> {
    if let Some((Step::Field(at), rest)) = steps.split_first() {
        let whole = struct_of(array)?;
        return find_in(whole.column(*at), (rest, &owners_within(whole, owners)), erased, found);
    }
    let Some(values) = array.as_string_opt::<i32>() else { return Err(other_type()) };
    for (at, owner) in owners.iter().enumerate() {
        if *owner != NO_ROW
            && values.is_valid(at)
            && let Some(digest) = erased.find(values.value(at).as_bytes())
        {
            found(at, digest);
        }
    }
    Ok(())
}

/// The rows of a struct's fields: none where it is NULL.
fn owners_within(whole: &StructArray, owners: &[u32]) -> Vec<u32> {
    let row_of = |(at, owner): (usize, &u32)| if whole.is_valid(at) { *owner } else { NO_ROW };
    owners.iter().enumerate().map(row_of).collect()
}

/// The rows of a list's items.
fn owners_of_items(list: &ListArray, owners: &[u32]) -> Vec<u32> {
    let mut of_items = vec![NO_ROW; list.values().len()];
    for (at, window) in list.offsets().windows(2).enumerate() {
        if list.is_valid(at)
            && let Some(items) = of_items.get_mut(window[0] as usize..window[1] as usize)
        {
            items.fill(owners[at]);
        }
    }
    of_items
}

fn struct_of(array: &ArrayRef) -> Result<&StructArray, RunError> {
    array.as_struct_opt().ok_or_else(other_type)
}

fn other_type() -> RunError {
    RunError::Broken("a path of erase.by does not fit its column".into())
}
