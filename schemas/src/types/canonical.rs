//! The canonical form of values that enter the dataflow.
//!
//! A row is inserted from columns and retracted from its packed bytes, so the inserted values must
//! equal those decoded from the bytes: otherwise the retraction's computation differs from the
//! insertion's, and a row that was never added is removed. Zero has two bit patterns in IEEE 754 and
//! NaN has many; a NULL list may hide items and a NULL struct may hide fields that are not NULL. The
//! canonical form is:
//! * `-0.0` is `0.0`, and every NaN is the one quiet NaN without sign;
//! * a list that is NULL has no items, and of a struct that is NULL every field is NULL.
//!
//! Decoders finish their columns in this form, and results of expressions and operators are converted
//! to it. Columns that are canonical already are returned unchanged.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, PrimitiveArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{nullif, take};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use crate::error::SchemaError;

const NAN32: u32 = 0x7FC0_0000;
const NAN64: u64 = 0x7FF8_0000_0000_0000;

/// Returns a REAL in canonical form.
#[inline]
pub fn real(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(NAN32) } else { value + 0.0 }
}

/// Returns a DOUBLE in canonical form.
#[inline]
pub fn double(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NAN64) } else { value + 0.0 }
}

/// Returns the values in canonical form; the array itself if it is canonical already.
///
/// # Errors
/// Fails if an Arrow kernel refuses its input, which cannot happen for types that Herald has.
pub fn canonical(array: ArrayRef) -> Result<ArrayRef, SchemaError> {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            let odd = |odd: bool, v: &f32| odd | (real(*v).to_bits() != v.to_bits());
            if !floats.values().iter().fold(false, odd) {
                return Ok(array);
            }
            let floats: PrimitiveArray<Float32Type> = floats.unary(real);
            Ok(Arc::new(floats))
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            let odd = |odd: bool, v: &f64| odd | (double(*v).to_bits() != v.to_bits());
            if !floats.values().iter().fold(false, odd) {
                return Ok(array);
            }
            let floats: PrimitiveArray<Float64Type> = floats.unary(double);
            Ok(Arc::new(floats))
        }
        DataType::List(_) => canonical_list(array),
        DataType::Struct(_) => canonical_fields(array),
        _ => Ok(array),
    }
}

/// Returns a list without hidden items, and with canonical items.
fn canonical_list(array: ArrayRef) -> Result<ArrayRef, SchemaError> {
    let held = array.as_list::<i32>();
    let DataType::List(item) = held.data_type() else { return Ok(array) };
    let offsets = held.value_offsets();
    let hidden = |row: usize| held.is_null(row) && offsets[row] != offsets[row + 1];
    if held.null_count() == 0 || !(0..held.len()).any(hidden) {
        let items = canonical(held.values().clone())?;
        if Arc::ptr_eq(&items, held.values()) {
            return Ok(array);
        }
        let offsets = held.offsets().clone();
        return Ok(Arc::new(ListArray::try_new(item.clone(), offsets, items, held.nulls().cloned())?));
    }
    let mut kept: Vec<u32> = Vec::new();
    let mut lengths = Vec::with_capacity(held.len());
    for row in 0..held.len() {
        let range = if held.is_null(row) { 0..0 } else { offsets[row] as u32..offsets[row + 1] as u32 };
        lengths.push(range.len());
        kept.extend(range);
    }
    let items = canonical(take(held.values(), &UInt32Array::from(kept), None)?)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, items, held.nulls().cloned())?))
}

/// Returns a struct without hidden values, and with canonical fields.
fn canonical_fields(array: ArrayRef) -> Result<ArrayRef, SchemaError> {
    let held = array.as_struct();
    let nulls = held.nulls().filter(|nulls| nulls.null_count() > 0);
    let mut columns = Vec::with_capacity(held.num_columns());
    for column in held.columns() {
        columns.push(match nulls {
            Some(nulls) if shows_through(nulls, column) => {
                canonical(nullif(column, &BooleanArray::new(!nulls.inner(), None))?)?
            }
            _ => canonical(column.clone())?,
        });
    }
    if columns.iter().zip(held.columns()).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(array);
    }
    let (types, nulls) = (held.fields().clone(), held.nulls().cloned());
    Ok(Arc::new(StructArray::try_new_with_length(types, columns, nulls, held.len())?))
}

/// Tells whether a field has values in rows where its struct is NULL.
fn shows_through(nulls: &NullBuffer, column: &ArrayRef) -> bool {
    if *column.data_type() == DataType::Null {
        return false;
    }
    let both = NullBuffer::union(Some(nulls), column.nulls());
    both.is_some_and(|both| both.null_count() != column.null_count())
}

#[cfg(test)]
mod tests;
