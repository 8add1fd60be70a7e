//! Values in PostgreSQL's binary form: numbers in network order, times since 2000, NUMERIC in digits of
//! 10,000.

use schemas::types::decimal;
use schemas::types::span::Span;
use schemas::types::view::{Values, View};

use super::super::errors::{PgError, PgResult, codes};
use super::json;
use super::kind::Kind;

/// Days from 1970 to 2000.
pub const DAYS_TO_2000: i32 = 10_957;
/// Microseconds from 1970 to 2000.
pub const US_TO_2000: i64 = 946_684_800_000_000;
/// Sign of a negative NUMERIC.
pub const NEGATIVE: u16 = 0x4000;

/// Appends the value of a row, which is not NULL.
///
/// # Errors
/// For an array of arrays of several lengths.
pub fn write_value(out: &mut Vec<u8>, kind: &Kind, view: &View<'_>, row: usize) -> PgResult<()> {
    match (&view.values, kind) {
        (Values::List(..), Kind::Array(item)) => return write_array(out, item, view, row),
        (_, Kind::Nested(shape)) => {
            out.push(1);
            json::write_shape(out, shape, view, row);
        }
        (Values::Bytes(v), Kind::Jsonb) => {
            // The version of the format.
            out.push(1);
            out.extend_from_slice(v.get(row));
        }
        (Values::Bytes(v), _) => out.extend_from_slice(v.get(row)),
        (Values::Bool(v), _) => out.push(u8::from(v.value(row))),
        (Values::F32(v), _) => out.extend_from_slice(&v[row].to_be_bytes()),
        (Values::F64(v), _) => out.extend_from_slice(&v[row].to_be_bytes()),
        (Values::I128(v), Kind::Numeric(_, scale)) => write_numeric(out, v[row], *scale),
        (Values::U64(v), Kind::Numeric(..)) => write_numeric(out, i128::from(v[row]), 0),
        (Values::I32(v), Kind::Date) => {
            out.extend_from_slice(&v[row].saturating_sub(DAYS_TO_2000).to_be_bytes());
        }
        (Values::I64(v), Kind::Timestamp | Kind::Timestamptz) => {
            out.extend_from_slice(&v[row].saturating_sub(US_TO_2000).to_be_bytes());
        }
        (Values::Span(v), _) => {
            let span = Span::from(v[row]);
            out.extend_from_slice(&span.us.to_be_bytes());
            out.extend_from_slice(&span.days.to_be_bytes());
            out.extend_from_slice(&span.months.to_be_bytes());
        }
        (Values::Uuid(v), _) => out.extend_from_slice(&v[row]),
        (values, _) => write_integer(out, kind, values, row),
    }
    Ok(())
}

/// Appends a whole number in the size of its type.
fn write_integer(out: &mut Vec<u8>, kind: &Kind, values: &Values<'_>, row: usize) {
    let value = match values {
        Values::I8(v) => i64::from(v[row]),
        Values::I16(v) => i64::from(v[row]),
        Values::I32(v) => i64::from(v[row]),
        Values::I64(v) => v[row],
        Values::U8(v) => i64::from(v[row]),
        Values::U16(v) => i64::from(v[row]),
        Values::U32(v) => i64::from(v[row]),
        _ => 0,
    };
    match kind {
        Kind::Int2 => out.extend_from_slice(&(value as i16).to_be_bytes()),
        Kind::Int4 => out.extend_from_slice(&(value as i32).to_be_bytes()),
        // OIDs are unsigned.
        Kind::Oid => out.extend_from_slice(&(value as u32).to_be_bytes()),
        Kind::Text | Kind::Name => {
            let mut digits = Vec::new();
            values.write_integer(&mut digits, row);
            out.extend_from_slice(&digits);
        }
        _ => out.extend_from_slice(&value.to_be_bytes()),
    }
}

/// Appends a NUMERIC: number of digits, weight of the first, sign, scale, digits.
pub fn write_numeric(out: &mut Vec<u8>, value: i128, scale: i8) {
    let mut written = Vec::with_capacity(48);
    decimal::write(&mut written, value, scale);
    let digits = written.strip_prefix(b"-").unwrap_or(&written);
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &digits[digits.len()..]),
    };
    let mut groups: Vec<i16> = Vec::with_capacity(12);
    // The first group has the digits that are left over.
    let (first, rest) = whole.split_at(whole.len() % 4);
    if !first.is_empty() {
        groups.push(group_of(first, first.len()));
    }
    groups.extend(rest.chunks(4).map(|group| group_of(group, 4)));
    let mut weight = groups.len() as i16 - 1;
    groups.extend(fraction.chunks(4).map(|group| group_of(group, 4)));
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if value < 0 { NEGATIVE } else { 0 };
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(fraction.len() as i16).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// The number of up to four digits, as if zeros filled it up to `width` on the right.
fn group_of(digits: &[u8], width: usize) -> i16 {
    let mut number = 0;
    for at in 0..width {
        let digit = digits.get(at).map_or(0, |digit| i16::from(digit - b'0'));
        number = number * 10 + digit;
    }
    number
}

/// Appends an array; arrays in it are further dimensions, and of one length.
fn write_array(out: &mut Vec<u8>, item: &Kind, view: &View<'_>, row: usize) -> PgResult<()> {
    let mut lengths = Vec::new();
    measure(view, row, 0, &mut lengths)?;
    if lengths.contains(&0) {
        // An empty array has no dimensions.
        lengths.clear();
    }
    out.extend_from_slice(&(lengths.len() as i32).to_be_bytes());
    let with_nulls = out.len();
    out.extend_from_slice(&0_i32.to_be_bytes());
    out.extend_from_slice(&item.oid().to_be_bytes());
    for length in &lengths {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    if !lengths.is_empty() && write_items(out, item, view, row)? {
        out[with_nulls + 3] = 1;
    }
    Ok(())
}

/// Finds the length of each dimension.
fn measure(view: &View<'_>, row: usize, depth: usize, lengths: &mut Vec<i32>) -> PgResult<()> {
    let Values::List(offsets, items) = &view.values else { return Ok(()) };
    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
    let length = offsets[row + 1] - offsets[row];
    let missing = || {
        let message = "multidimensional arrays must have array expressions with matching dimensions";
        PgError::new(codes::ARRAY_SUBSCRIPT_ERROR, message).hint("ask for it as text: CAST(x AS VARCHAR)")
    };
    match lengths.get(depth) {
        None => lengths.push(length),
        Some(known) if *known == length => {}
        Some(_) => return Err(missing()),
    }
    if matches!(items.values, Values::List(..)) {
        for index in start..end {
            if items.is_null(index) {
                return Err(missing());
            }
            measure(items, index, depth + 1, lengths)?;
        }
    }
    Ok(())
}

/// Appends the items of an array; true if one is NULL.
fn write_items(out: &mut Vec<u8>, item: &Kind, view: &View<'_>, row: usize) -> PgResult<bool> {
    let Values::List(offsets, items) = &view.values else { return Ok(false) };
    let inner = matches!(items.values, Values::List(..));
    let mut nulls = false;
    for index in offsets[row] as usize..offsets[row + 1] as usize {
        if items.is_null(index) {
            nulls = true;
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        } else if inner {
            nulls |= write_items(out, item, items, index)?;
        } else {
            write_counted(out, |out| write_value(out, item, items, index))?;
        }
    }
    Ok(nulls)
}

/// Appends a value behind its length.
///
/// # Errors
/// When the value cannot be written, or is too long.
pub fn write_counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> PgResult<()>) -> PgResult<()> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = i32::try_from(out.len() - at - 4)
        .map_err(|_| PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, "a value has more than 2 GiB"))?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
