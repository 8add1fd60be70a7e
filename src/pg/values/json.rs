//! Structs, and arrays of them, as JSONB's text: members in the order of JSONB, values as `to_jsonb` has
//! them.

use dataflows::sql::{double_text, real_text};
use schemas::types::jsonb::{number, write_string};
use schemas::types::span::Span;
use schemas::types::view::{Values, View};
use schemas::types::{decimal, float, uuid};

use super::super::sql::zone::Zone;
use super::kind::{Kind, Shape};
use super::spelling;

/// Appends the value of a row.
pub fn write_shape(out: &mut Vec<u8>, shape: &Shape, view: &View<'_>, row: usize) {
    if view.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match (shape, &view.values) {
        (Shape::Object(members), Values::Struct(columns)) => {
            out.push(b'{');
            for (at, member) in members.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                write_text(out, &member.name);
                out.extend_from_slice(b": ");
                write_shape(out, &member.shape, &columns[member.column], row);
            }
            out.push(b'}');
        }
        (Shape::Array(item), Values::List(offsets, items)) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            out.push(b'[');
            for index in start..end {
                if index > start {
                    out.extend_from_slice(b", ");
                }
                write_shape(out, item, items, index);
            }
            out.push(b']');
        }
        (Shape::Value(kind), _) => write_scalar(out, kind, view, row),
        _ => out.extend_from_slice(b"null"),
    }
}

/// Appends a value that is neither a struct nor an array.
fn write_scalar(out: &mut Vec<u8>, kind: &Kind, view: &View<'_>, row: usize) {
    match (&view.values, kind) {
        (Values::Bytes(v), Kind::Jsonb) => out.extend_from_slice(v.get(row)),
        (Values::Bytes(v), Kind::Bytea) => {
            out.extend_from_slice(b"\"\\");
            spelling::write_hex(out, v.get(row));
            out.push(b'"');
        }
        (Values::Bytes(v), _) => write_text(out, &String::from_utf8_lossy(v.get(row))),
        (Values::Bool(v), _) => out.extend_from_slice(if v.value(row) { b"true" } else { b"false" }),
        (Values::F32(v), _) if v[row].is_finite() => write_number(out, &float::shortest_real(v[row])),
        (Values::F64(v), _) if v[row].is_finite() => write_number(out, &float::shortest_double(v[row])),
        (Values::F32(v), _) => write_text(out, &real_text(v[row])),
        (Values::F64(v), _) => write_text(out, &double_text(v[row])),
        (Values::I128(v), Kind::Numeric(_, scale)) => decimal::write(out, v[row], *scale),
        (Values::I32(v), Kind::Date) => quoted(out, |out| spelling::write_date(out, i64::from(v[row]))),
        (Values::I64(v), Kind::Time) => quoted(out, |out| spelling::write_clock(out, v[row])),
        (Values::I64(v), Kind::Timestamp) => quoted(out, |out| spelling::write_timestamp(out, v[row], b'T')),
        (Values::I64(v), Kind::Timestamptz) => {
            quoted(out, |out| spelling::write_timestamptz(out, v[row], Zone::Utc, b'T'));
        }
        (Values::Span(v), _) => quoted(out, |out| Span::from(v[row]).write(out)),
        (Values::Uuid(v), _) => quoted(out, |out| uuid::write(out, &v[row])),
        (values, _) => values.write_integer(out, row),
    }
}

/// Appends a number with all of its digits, as JSONB has it.
fn write_number(out: &mut Vec<u8>, scientific: &str) {
    let mut room = 1 << 20;
    match number::canonical(scientific, &mut room) {
        Ok(digits) => out.extend_from_slice(digits.as_bytes()),
        Err(_) => out.extend_from_slice(scientific.as_bytes()),
    }
}

/// Appends a JSON string.
fn write_text(out: &mut Vec<u8>, content: &str) {
    let mut written = String::with_capacity(content.len() + 2);
    write_string(content, &mut written);
    out.extend_from_slice(written.as_bytes());
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}
