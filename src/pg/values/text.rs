//! Values as text, spelt as PostgreSQL spells them with `DateStyle = ISO` and `IntervalStyle = postgres`.

use dataflows::sql::{double_text, real_text};
use schemas::types::span::Span;
use schemas::types::view::{Values, View};
use schemas::types::{decimal, uuid};

use super::super::sql::zone::Zone;
use super::json;
use super::kind::Kind;
use super::spelling::{write_clock, write_date, write_hex, write_timestamp, write_timestamptz};

/// Appends the value of a row, which is not NULL.
pub fn write_value(out: &mut Vec<u8>, kind: &Kind, zone: Zone, view: &View<'_>, row: usize) {
    match (&view.values, kind) {
        (Values::List(..), Kind::Array(item)) => write_array(out, item, zone, view, row),
        (_, Kind::Nested(shape)) => json::write_shape(out, shape, view, row),
        (Values::Bool(v), _) => out.push(if v.value(row) { b't' } else { b'f' }),
        (Values::I32(v), Kind::Date) => write_date(out, i64::from(v[row])),
        (Values::I64(v), Kind::Time) => write_clock(out, v[row]),
        (Values::I64(v), Kind::Timestamp) => write_timestamp(out, v[row], b' '),
        (Values::I64(v), Kind::Timestamptz) => write_timestamptz(out, v[row], zone, b' '),
        (Values::I128(v), Kind::Numeric(_, scale)) => decimal::write(out, v[row], *scale),
        (Values::F32(v), _) => out.extend_from_slice(real_text(v[row]).as_bytes()),
        (Values::F64(v), _) => out.extend_from_slice(double_text(v[row]).as_bytes()),
        (Values::Span(v), _) => Span::from(v[row]).write(out),
        (Values::Uuid(v), _) => uuid::write(out, &v[row]),
        (Values::Bytes(v), Kind::Bytea) => write_hex(out, v.get(row)),
        (Values::Bytes(v), _) => out.extend_from_slice(v.get(row)),
        (values, _) => values.write_integer(out, row),
    }
}

/// Appends an array: `{1,NULL,"a b"}`; arrays in it are further dimensions.
fn write_array(out: &mut Vec<u8>, item: &Kind, zone: Zone, view: &View<'_>, row: usize) {
    let Values::List(offsets, items) = &view.values else { return };
    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
    let inner = matches!(items.values, Values::List(..));
    out.push(b'{');
    for index in start..end {
        if index > start {
            out.push(b',');
        }
        if items.is_null(index) {
            out.extend_from_slice(b"NULL");
        } else if inner {
            write_array(out, item, zone, items, index);
        } else {
            let begin = out.len();
            write_value(out, item, zone, items, index);
            quote_item(out, begin);
        }
    }
    out.push(b'}');
}

/// Puts the item of an array that begins at `begin` in quotes, if it needs them.
fn quote_item(out: &mut Vec<u8>, begin: usize) {
    let item = &out[begin..];
    let plain = !item.is_empty() && !item.iter().any(forces_quotes) && !item.eq_ignore_ascii_case(b"null");
    if plain {
        return;
    }
    let written = out.split_off(begin);
    out.push(b'"');
    for byte in written {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn forces_quotes(byte: &u8) -> bool {
    matches!(byte, b'{' | b'}' | b'"' | b',' | b'\\' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
