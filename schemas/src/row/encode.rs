//! Packing of columns into rows, one column at a time.
//!
//! A first pass over each column adds up the length of each row, a second one writes every column to
//! its position, so that a batch is packed into one allocation without an intermediate copy of any row.

use arrow::datatypes::IntervalMonthDayNano;

use crate::records::blobs::Rows;
use crate::types::canonical::{double, real};
use crate::types::span::Span;
use crate::types::view::{Values, View};

/// Packs `rows` rows of the columns.
pub(super) fn pack_rows(columns: &[View<'_>], rows: usize) -> Rows {
    let mut ends = vec![0usize; rows];
    for column in columns {
        add_sizes(column, &mut ends);
    }
    // The lengths become the rows' starting offsets.
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    // Writing a column advances each offset past the value written; in the end the offsets are the rows'
    // ends.
    let mut bytes = vec![0u8; total];
    for column in columns {
        write_column(column, &mut ends, &mut bytes);
    }
    Rows::from_parts(bytes, ends)
}

/// Returns the bytes of a value's body if all values of the column take the same.
fn fixed_width(values: &Values<'_>) -> Option<usize> {
    Some(match values {
        Values::Null => 0,
        Values::Bool(_) | Values::I8(_) | Values::U8(_) => 1,
        Values::I16(_) | Values::U16(_) => 2,
        Values::I32(_) | Values::U32(_) | Values::F32(_) => 4,
        Values::I64(_) | Values::U64(_) | Values::F64(_) => 8,
        Values::I128(_) | Values::Uuid(_) => 16,
        Values::Span(_) => 24,
        Values::Bytes(_) | Values::List(..) | Values::Struct(_) => return None,
    })
}

/// Adds the packed length of each value of a column to the length of its row.
fn add_sizes(column: &View<'_>, sizes: &mut [usize]) {
    if let Some(width) = fixed_width(&column.values) {
        for (index, size) in sizes.iter_mut().enumerate() {
            *size += 1 + if column.is_null(index) { 0 } else { width };
        }
        return;
    }
    for (index, size) in sizes.iter_mut().enumerate() {
        *size += size_of(column, index);
    }
}

fn size_of(column: &View<'_>, index: usize) -> usize {
    if column.is_null(index) {
        return 1;
    }
    match &column.values {
        Values::Bytes(heap) => {
            let value = heap.get(index);
            // Zeros are rare, and searching for one is much faster than counting them.
            let zeros = if value.contains(&0) { value.iter().filter(|byte| **byte == 0).count() } else { 0 };
            // The mark, the bytes, an FF after each zero, and the two bytes of the end.
            3 + value.len() + zeros
        }
        Values::List(offsets, items) => {
            let range = offsets[index] as usize..offsets[index + 1] as usize;
            2 + range.map(|item| 1 + size_of(items, item)).sum::<usize>()
        }
        Values::Struct(fields) => 1 + fields.iter().map(|f| size_of(f, index)).sum::<usize>(),
        fixed => 1 + fixed_width(fixed).unwrap_or(0),
    }
}

/// Writes a column at the rows' offsets and advances them; common types of fixed width have a loop of their
/// own.
fn write_column(column: &View<'_>, places: &mut [usize], out: &mut [u8]) {
    /// Writes a column whose values have `N` bytes.
    fn write_fixed<T: Copy, const N: usize>(
        column: &View<'_>,
        values: &[T],
        places: &mut [usize],
        out: &mut [u8],
        encode: impl Fn(T) -> [u8; N],
    ) {
        for (index, place) in places.iter_mut().enumerate() {
            if column.is_null(index) {
                *place += 1; // The buffer is zeroed, so the NULL mark is already written.
                continue;
            }
            out[*place] = 1;
            out[*place + 1..*place + 1 + N].copy_from_slice(&encode(values[index]));
            *place += 1 + N;
        }
    }
    match &column.values {
        Values::I16(v) => write_fixed(column, v, places, out, encode_i16),
        Values::I32(v) => write_fixed(column, v, places, out, encode_i32),
        Values::I64(v) => write_fixed(column, v, places, out, encode_i64),
        Values::I128(v) => write_fixed(column, v, places, out, encode_i128),
        Values::F64(v) => write_fixed(column, v, places, out, encode_f64),
        _ => {
            for (index, place) in places.iter_mut().enumerate() {
                write_value(column, index, place, out);
            }
        }
    }
}

fn put_bytes(out: &mut [u8], place: &mut usize, bytes: &[u8]) {
    out[*place..*place + bytes.len()].copy_from_slice(bytes);
    *place += bytes.len();
}

/// Writes one value of any type at `place` and advances it.
fn write_value(column: &View<'_>, index: usize, place: &mut usize, out: &mut [u8]) {
    if column.is_null(index) {
        // The buffer is zeroed, so the NULL mark is already written.
        *place += 1;
        return;
    }
    out[*place] = 1;
    *place += 1;
    match &column.values {
        Values::Null => {}
        Values::Bool(v) => put_bytes(out, place, &[u8::from(v.value(index))]),
        Values::I8(v) => put_bytes(out, place, &[v[index] as u8 ^ 0x80]),
        Values::I16(v) => put_bytes(out, place, &encode_i16(v[index])),
        Values::I32(v) => put_bytes(out, place, &encode_i32(v[index])),
        Values::I64(v) => put_bytes(out, place, &encode_i64(v[index])),
        Values::I128(v) => put_bytes(out, place, &encode_i128(v[index])),
        Values::U8(v) => put_bytes(out, place, &v[index].to_be_bytes()),
        Values::U16(v) => put_bytes(out, place, &v[index].to_be_bytes()),
        Values::U32(v) => put_bytes(out, place, &v[index].to_be_bytes()),
        Values::U64(v) => put_bytes(out, place, &v[index].to_be_bytes()),
        Values::F32(v) => put_bytes(out, place, &encode_f32(v[index])),
        Values::F64(v) => put_bytes(out, place, &encode_f64(v[index])),
        Values::Span(v) => put_bytes(out, place, &encode_interval(v[index])),
        Values::Uuid(v) => put_bytes(out, place, &v[index]),
        Values::Bytes(heap) => write_bytes(heap.get(index), place, out),
        Values::List(offsets, items) => {
            for item in offsets[index] as usize..offsets[index + 1] as usize {
                put_bytes(out, place, &[1]);
                write_value(items, item, place, out);
            }
            // The end mark is a zero of the buffer.
            *place += 1;
        }
        Values::Struct(fields) => {
            for field in fields {
                write_value(field, index, place, out);
            }
        }
    }
}

/// Writes bytes with each `00` escaped as `00 FF`, and the end mark `00 00`.
fn write_bytes(mut value: &[u8], place: &mut usize, out: &mut [u8]) {
    while value.contains(&0)
        && let Some(zero) = value.iter().position(|byte| *byte == 0)
    {
        put_bytes(out, place, &value[..=zero]);
        put_bytes(out, place, &[0xFF]);
        value = &value[zero + 1..];
    }
    put_bytes(out, place, value);
    // The end mark is two zeros of the buffer.
    *place += 2;
}

fn encode_i16(value: i16) -> [u8; 2] {
    (value ^ i16::MIN).to_be_bytes()
}

fn encode_i32(value: i32) -> [u8; 4] {
    (value ^ i32::MIN).to_be_bytes()
}

fn encode_i64(value: i64) -> [u8; 8] {
    (value ^ i64::MIN).to_be_bytes()
}

fn encode_i128(value: i128) -> [u8; 16] {
    (value ^ i128::MIN).to_be_bytes()
}

fn encode_interval(value: IntervalMonthDayNano) -> [u8; 24] {
    let mut out = [0; 24];
    out[..16].copy_from_slice(&encode_i128(Span::from(value).length()));
    out[16..20].copy_from_slice(&encode_i32(value.months));
    out[20..].copy_from_slice(&encode_i32(value.days));
    out
}

fn encode_f32(value: f32) -> [u8; 4] {
    // NaN has many bit patterns and zero has two; equal values must have equal bytes.
    let bits = real(value).to_bits();
    (if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }).to_be_bytes()
}

fn encode_f64(value: f64) -> [u8; 8] {
    let bits = double(value).to_bits();
    (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }).to_be_bytes()
}
