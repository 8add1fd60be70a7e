//! Packing: columns to rows, one column at a time.
//!
//! A first pass over each column adds up how long each row will be, a second writes every column
//! into its place, so that a batch is packed into one allocation with no row boxed on the way.

use arrow::datatypes::IntervalMonthDayNano;

use crate::blobs::Rows;
use crate::types::canonical::{double, real};
use crate::types::span::Span;
use crate::types::view::{Values, View};

/// Packs `rows` rows of the columns.
pub(super) fn pack(columns: &[View<'_>], rows: usize) -> Rows {
    let mut ends = vec![0usize; rows];
    for column in columns {
        add_sizes(column, &mut ends);
    }
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    // Each entry is where its row starts; writing a column moves it to where the next one goes.
    let mut bytes = vec![0u8; total];
    for column in columns {
        write_column(column, &mut ends, &mut bytes);
    }
    Rows::from_parts(bytes, ends)
}

/// Bytes of a value's body where all values of the column have the same.
fn width(values: &Values<'_>) -> Option<usize> {
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

fn add_sizes(column: &View<'_>, sizes: &mut [usize]) {
    if let Some(width) = width(&column.values) {
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
            // Zeros are rare, and a search for one is much faster than counting them.
            let zeros = if value.contains(&0) { value.iter().filter(|byte| **byte == 0).count() } else { 0 };
            3 + value.len() + zeros
        }
        Values::List(offsets, items) => {
            let range = offsets[index] as usize..offsets[index + 1] as usize;
            2 + range.map(|item| 1 + size_of(items, item)).sum::<usize>()
        }
        Values::Struct(fields) => 1 + fields.iter().map(|f| size_of(f, index)).sum::<usize>(),
        fixed => 1 + width(fixed).unwrap_or(0),
    }
}

fn write_column(column: &View<'_>, places: &mut [usize], out: &mut [u8]) {
    /// The loop over a column whose values have `N` bytes.
    fn fixed<const N: usize>(
        column: &View<'_>,
        places: &mut [usize],
        out: &mut [u8],
        body: impl Fn(usize) -> [u8; N],
    ) {
        for (index, place) in places.iter_mut().enumerate() {
            if column.is_null(index) {
                *place += 1; // The buffer is zeroed: the NULL mark is there already.
                continue;
            }
            out[*place] = 1;
            out[*place + 1..*place + 1 + N].copy_from_slice(&body(index));
            *place += 1 + N;
        }
    }
    match &column.values {
        Values::I16(v) => fixed(column, places, out, |i| signed16(v[i])),
        Values::I32(v) => fixed(column, places, out, |i| signed32(v[i])),
        Values::I64(v) => fixed(column, places, out, |i| signed64(v[i])),
        Values::I128(v) => fixed(column, places, out, |i| signed128(v[i])),
        Values::F64(v) => fixed(column, places, out, |i| float64(v[i])),
        _ => {
            for (index, place) in places.iter_mut().enumerate() {
                write(column, index, place, out);
            }
        }
    }
}

fn put(out: &mut [u8], place: &mut usize, bytes: &[u8]) {
    out[*place..*place + bytes.len()].copy_from_slice(bytes);
    *place += bytes.len();
}

fn write(column: &View<'_>, index: usize, place: &mut usize, out: &mut [u8]) {
    if column.is_null(index) {
        *place += 1;
        return;
    }
    out[*place] = 1;
    *place += 1;
    match &column.values {
        Values::Null => {}
        Values::Bool(v) => put(out, place, &[u8::from(v.value(index))]),
        Values::I8(v) => put(out, place, &[v[index] as u8 ^ 0x80]),
        Values::I16(v) => put(out, place, &signed16(v[index])),
        Values::I32(v) => put(out, place, &signed32(v[index])),
        Values::I64(v) => put(out, place, &signed64(v[index])),
        Values::I128(v) => put(out, place, &signed128(v[index])),
        Values::U8(v) => put(out, place, &v[index].to_be_bytes()),
        Values::U16(v) => put(out, place, &v[index].to_be_bytes()),
        Values::U32(v) => put(out, place, &v[index].to_be_bytes()),
        Values::U64(v) => put(out, place, &v[index].to_be_bytes()),
        Values::F32(v) => put(out, place, &float32(v[index])),
        Values::F64(v) => put(out, place, &float64(v[index])),
        Values::Span(v) => put(out, place, &span(v[index])),
        Values::Uuid(v) => put(out, place, &v[index]),
        Values::Bytes(heap) => write_bytes(heap.get(index), place, out),
        Values::List(offsets, items) => {
            for item in offsets[index] as usize..offsets[index + 1] as usize {
                put(out, place, &[1]);
                write(items, item, place, out);
            }
            *place += 1;
        }
        Values::Struct(fields) => fields.iter().for_each(|f| write(f, index, place, out)),
    }
}

fn write_bytes(mut value: &[u8], place: &mut usize, out: &mut [u8]) {
    while value.contains(&0)
        && let Some(zero) = value.iter().position(|byte| *byte == 0)
    {
        put(out, place, &value[..=zero]);
        put(out, place, &[0xFF]);
        value = &value[zero + 1..];
    }
    put(out, place, value);
    *place += 2;
}

fn signed16(value: i16) -> [u8; 2] {
    (value ^ i16::MIN).to_be_bytes()
}

fn signed32(value: i32) -> [u8; 4] {
    (value ^ i32::MIN).to_be_bytes()
}

fn signed64(value: i64) -> [u8; 8] {
    (value ^ i64::MIN).to_be_bytes()
}

fn signed128(value: i128) -> [u8; 16] {
    (value ^ i128::MIN).to_be_bytes()
}

fn span(value: IntervalMonthDayNano) -> [u8; 24] {
    let mut out = [0; 24];
    out[..16].copy_from_slice(&signed128(Span::from(value).length()));
    out[16..20].copy_from_slice(&signed32(value.months));
    out[20..].copy_from_slice(&signed32(value.days));
    out
}

fn float32(value: f32) -> [u8; 4] {
    // NaN has many spellings and zero has two; equal values must have equal bytes.
    let bits = real(value).to_bits();
    (if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }).to_be_bytes()
}

fn float64(value: f64) -> [u8; 8] {
    let bits = double(value).to_bits();
    (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }).to_be_bytes()
}
