//! Unpacking: rows to columns, one column at a time.
//!
//! Each row is a slice that shrinks as its columns are read. Every read is checked: rows come from
//! disk and from other releases, and bytes that do not fit are an error and never a panic.

use std::ffi::CStr;

use super::{Kind, bad};
use crate::error::SchemaError;
use crate::types::columns::{Column, Data};
use crate::types::span::Span;

/// Reads one value of every row into the column.
pub(super) fn unpack(column: &mut Column, kind: &Kind, rows: &mut [&[u8]]) -> Result<(), SchemaError> {
    rows.iter_mut().try_for_each(|row| read(column, kind, row))
}

#[inline]
fn take<'a>(row: &mut &'a [u8], len: usize) -> Result<&'a [u8], SchemaError> {
    let (head, tail) = row.split_at_checked(len).ok_or_else(|| bad("it ends too early"))?;
    *row = tail;
    Ok(head)
}

#[inline]
fn array<const N: usize>(row: &mut &[u8]) -> Result<[u8; N], SchemaError> {
    let (head, tail) = row.split_first_chunk().ok_or_else(|| bad("it ends too early"))?;
    *row = tail;
    Ok(*head)
}

/// Reads a mark that must be 0 or 1.
#[inline]
fn mark(row: &mut &[u8]) -> Result<bool, SchemaError> {
    match array::<1>(row)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(bad(format!("a mark is {other:#04x}"))),
    }
}

fn read(column: &mut Column, kind: &Kind, row: &mut &[u8]) -> Result<(), SchemaError> {
    if !mark(row)? {
        column.append_null();
        return Ok(());
    }
    match kind {
        Kind::Null => Err(bad("a value where only NULL can be")),
        Kind::Bytes => read_bytes(column, row),
        Kind::List(item) => {
            while mark(row)? {
                let items = column.items_mut().ok_or_else(|| bad("a list is expected"))?;
                read(items, item, row)?;
            }
            closed(column.close_value())
        }
        Kind::Struct(kinds) => {
            for (field, kind) in column.fields_mut().iter_mut().zip(kinds) {
                read(field, kind, row)?;
            }
            closed(column.close_value())
        }
        Kind::Fixed(_) => read_fixed(column, row),
    }
}

#[inline]
fn read_fixed(column: &mut Column, row: &mut &[u8]) -> Result<(), SchemaError> {
    let (data, nulls) = column.parts();
    match data {
        Data::Bool(v) => v.push(mark(row)?),
        Data::I8(v) => v.push(i8::from_be_bytes(array(row)?) ^ i8::MIN),
        Data::I16(v) => v.push(i16::from_be_bytes(array(row)?) ^ i16::MIN),
        Data::I32(v) => v.push(i32::from_be_bytes(array(row)?) ^ i32::MIN),
        Data::I64(v) => v.push(i64::from_be_bytes(array(row)?) ^ i64::MIN),
        Data::I128(v) => v.push(i128::from_be_bytes(array(row)?) ^ i128::MIN),
        Data::U8(v) => v.push(u8::from_be_bytes(array(row)?)),
        Data::U16(v) => v.push(u16::from_be_bytes(array(row)?)),
        Data::U32(v) => v.push(u32::from_be_bytes(array(row)?)),
        Data::U64(v) => v.push(u64::from_be_bytes(array(row)?)),
        Data::F32(v) => {
            let bits = u32::from_be_bytes(array(row)?);
            v.push(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }));
        }
        Data::F64(v) => {
            let bits = u64::from_be_bytes(array(row)?);
            v.push(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }));
        }
        Data::Span(v) => {
            let length = i128::from_be_bytes(array(row)?) ^ i128::MIN;
            let months = i32::from_be_bytes(array(row)?) ^ i32::MIN;
            let days = i32::from_be_bytes(array(row)?) ^ i32::MIN;
            let rest = length.checked_sub(Span { months, days, us: 0 }.length());
            let us = rest.and_then(|rest| i64::try_from(rest).ok());
            let span = us.and_then(|us| Span { months, days, us }.to_arrow());
            v.push(span.ok_or_else(|| bad("an interval is too long"))?);
        }
        Data::Uuid(v) => v.push(array(row)?),
        Data::Null | Data::Bytes { .. } | Data::List { .. } | Data::Struct { .. } => {
            return Err(bad("a value of fixed width is expected"));
        }
    }
    nulls.append_non_null();
    Ok(())
}

fn closed(fits: bool) -> Result<(), SchemaError> {
    if fits { Ok(()) } else { Err(bad("the rows are too many for one batch")) }
}

fn read_bytes(column: &mut Column, row: &mut &[u8]) -> Result<(), SchemaError> {
    let (data, nulls) = column.parts();
    let Data::Bytes { offsets, bytes } = data else { return Err(bad("bytes are expected")) };
    loop {
        let (part, more) = chunk(row)?;
        bytes.extend_from_slice(part);
        if !more {
            break;
        }
    }
    let Ok(end) = i32::try_from(bytes.len()) else { return closed(false) };
    offsets.push(end);
    nulls.append_non_null();
    Ok(())
}

/// The bytes up to the next zero: with the zero and `true` when it is escaped, without at the end.
#[inline]
fn chunk<'a>(row: &mut &'a [u8]) -> Result<(&'a [u8], bool), SchemaError> {
    // The standard library's fast search for a zero byte goes by this name.
    let zero = CStr::from_bytes_until_nul(row).map_err(|_| bad("bytes have no end"))?.count_bytes();
    match row.get(zero + 1) {
        Some(0xFF) => Ok((&take(row, zero + 2)?[..=zero], true)),
        Some(0) => Ok((&take(row, zero + 2)?[..zero], false)),
        _ => Err(bad("a zero byte is neither escaped nor an end")),
    }
}

/// Steps over one value.
pub(super) fn skip(kind: &Kind, row: &mut &[u8]) -> Result<(), SchemaError> {
    if !mark(row)? {
        return Ok(());
    }
    match kind {
        Kind::Null => Err(bad("a value where only NULL can be")),
        Kind::Fixed(width) => take(row, *width).map(|_| ()),
        Kind::Bytes => {
            while chunk(row)?.1 {}
            Ok(())
        }
        Kind::List(item) => {
            while mark(row)? {
                skip(item, row)?;
            }
            Ok(())
        }
        Kind::Struct(kinds) => kinds.iter().try_for_each(|kind| skip(kind, row)),
    }
}
