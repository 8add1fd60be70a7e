//! Unpacking of rows into columns, one column at a time.
//!
//! Each row is a slice that shrinks as its columns are read. Every read is checked: rows may come from
//! disk and from other releases, and invalid bytes are an error, never a panic.

use std::ffi::CStr;

use arrow::datatypes::IntervalMonthDayNano;

use super::{Kind, bad_row};
use crate::error::SchemaError;
use crate::types::columns::{Column, Data};
use crate::types::span::Span;

/// Reads one value of every row into the column.
pub(super) fn unpack_column(column: &mut Column, kind: &Kind, rows: &mut [&[u8]]) -> Result<(), SchemaError> {
    for row in rows {
        read_value(column, kind, row)?;
    }
    Ok(())
}

fn ends_early() -> SchemaError {
    bad_row("it ends too early")
}

#[inline]
fn take_bytes<'a>(row: &mut &'a [u8], len: usize) -> Result<&'a [u8], SchemaError> {
    let (head, tail) = row.split_at_checked(len).ok_or_else(ends_early)?;
    *row = tail;
    Ok(head)
}

#[inline]
fn take_array<const N: usize>(row: &mut &[u8]) -> Result<[u8; N], SchemaError> {
    let (head, tail) = row.split_first_chunk().ok_or_else(ends_early)?;
    *row = tail;
    Ok(*head)
}

/// Reads a mark, which must be 0 or 1.
#[inline]
fn read_mark(row: &mut &[u8]) -> Result<bool, SchemaError> {
    match take_array::<1>(row)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(bad_row(format!("a mark is {other:#04x}"))),
    }
}

/// Reads one value of any type from a row into the column.
fn read_value(column: &mut Column, kind: &Kind, row: &mut &[u8]) -> Result<(), SchemaError> {
    if !read_mark(row)? {
        column.append_null();
        return Ok(());
    }
    match kind {
        Kind::Null => Err(bad_row("a value where only NULL can be")),
        Kind::Bytes => read_bytes(column, row),
        Kind::List(item) => {
            // Each item is preceded by 01; 00 ends the list.
            while read_mark(row)? {
                let Some(items) = column.items_mut() else { return Err(bad_row("a list is expected")) };
                read_value(items, item, row)?;
            }
            require_fit(column.close_value())
        }
        Kind::Struct(kinds) => {
            for (field, kind) in column.fields_mut().iter_mut().zip(kinds) {
                read_value(field, kind, row)?;
            }
            require_fit(column.close_value())
        }
        Kind::Fixed(_) => read_fixed(column, row),
    }
}

/// Reads the body of a value of fixed width, undoing the encoding of its type.
#[inline]
fn read_fixed(column: &mut Column, row: &mut &[u8]) -> Result<(), SchemaError> {
    let (data, nulls) = column.values_and_nulls();
    match data {
        Data::Bool(v) => v.push(read_mark(row)?),
        Data::I8(v) => v.push(i8::from_be_bytes(take_array(row)?) ^ i8::MIN),
        Data::I16(v) => v.push(i16::from_be_bytes(take_array(row)?) ^ i16::MIN),
        Data::I32(v) => v.push(i32::from_be_bytes(take_array(row)?) ^ i32::MIN),
        Data::I64(v) => v.push(i64::from_be_bytes(take_array(row)?) ^ i64::MIN),
        Data::I128(v) => v.push(i128::from_be_bytes(take_array(row)?) ^ i128::MIN),
        Data::U8(v) => v.push(u8::from_be_bytes(take_array(row)?)),
        Data::U16(v) => v.push(u16::from_be_bytes(take_array(row)?)),
        Data::U32(v) => v.push(u32::from_be_bytes(take_array(row)?)),
        Data::U64(v) => v.push(u64::from_be_bytes(take_array(row)?)),
        // A set sign bit stands for a number that was not negative.
        Data::F32(v) => {
            let bits = u32::from_be_bytes(take_array(row)?);
            v.push(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }));
        }
        Data::F64(v) => {
            let bits = u64::from_be_bytes(take_array(row)?);
            v.push(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }));
        }
        Data::Span(v) => {
            let length = i128::from_be_bytes(take_array(row)?) ^ i128::MIN;
            let months = i32::from_be_bytes(take_array(row)?) ^ i32::MIN;
            let days = i32::from_be_bytes(take_array(row)?) ^ i32::MIN;
            match interval_of_length(length, months, days) {
                Some(interval) => v.push(interval),
                None => return Err(bad_row("an interval is too long")),
            }
        }
        Data::Uuid(v) => v.push(take_array(row)?),
        Data::Null | Data::Bytes { .. } | Data::List { .. } | Data::Struct { .. } => {
            return Err(bad_row("a value of fixed width is expected"));
        }
    }
    nulls.append_non_null();
    Ok(())
}

/// The interval of these parts whose packed length is this; None if it is too long.
fn interval_of_length(length: i128, months: i32, days: i32) -> Option<IntervalMonthDayNano> {
    // The packed length includes months and days; the remainder is the time part.
    let rest = length.checked_sub(Span { months, days, us: 0 }.length())?;
    Span { months, days, us: i64::try_from(rest).ok()? }.to_arrow()
}

fn require_fit(fits: bool) -> Result<(), SchemaError> {
    if fits { Ok(()) } else { Err(bad_row("the rows are too many for one batch")) }
}

/// Reads escaped bytes up to their end mark into the column.
fn read_bytes(column: &mut Column, row: &mut &[u8]) -> Result<(), SchemaError> {
    let (data, nulls) = column.values_and_nulls();
    let Data::Bytes { offsets, bytes } = data else { return Err(bad_row("bytes are expected")) };
    loop {
        let (part, more) = next_chunk(row)?;
        bytes.extend_from_slice(part);
        if !more {
            break;
        }
    }
    let Ok(end) = i32::try_from(bytes.len()) else { return require_fit(false) };
    offsets.push(end);
    nulls.append_non_null();
    Ok(())
}

/// Takes the bytes up to the next zero: including the zero and with `true` if it is escaped, else without the
/// end mark and with `false`.
#[inline]
fn next_chunk<'a>(row: &mut &'a [u8]) -> Result<(&'a [u8], bool), SchemaError> {
    // CStr provides the standard library's fast search for a zero byte.
    let zero = CStr::from_bytes_until_nul(row).map_err(|_| bad_row("bytes have no end"))?.count_bytes();
    match row.get(zero + 1) {
        Some(0xFF) => Ok((&take_bytes(row, zero + 2)?[..=zero], true)),
        Some(0) => Ok((&take_bytes(row, zero + 2)?[..zero], false)),
        _ => Err(bad_row("a zero byte is neither escaped nor an end")),
    }
}

/// Skips one value.
pub(super) fn skip_value(kind: &Kind, row: &mut &[u8]) -> Result<(), SchemaError> {
    if !read_mark(row)? {
        return Ok(());
    }
    match kind {
        Kind::Null => Err(bad_row("a value where only NULL can be")),
        Kind::Fixed(width) => take_bytes(row, *width).map(drop),
        Kind::Bytes => {
            while next_chunk(row)?.1 {}
            Ok(())
        }
        Kind::List(item) => {
            while read_mark(row)? {
                skip_value(item, row)?;
            }
            Ok(())
        }
        Kind::Struct(kinds) => {
            for kind in kinds {
                skip_value(kind, row)?;
            }
            Ok(())
        }
    }
}
