//! Writing of JSONB values: as canonical text, and over several lines.

use super::{DEPTH_MAX, Json, JsonbError, LENGTH_MAX};

/// Appends the canonical text of a value.
pub(super) fn write_value(value: &Json<'_>, out: &mut String, depth: usize) -> Result<(), JsonbError> {
    // Changes and concatenation may have nested a value deeper than the parser allows.
    if depth >= DEPTH_MAX && !value.is_scalar() {
        return Err(JsonbError::Depth);
    }
    match value {
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_value(item, out, depth + 1)?;
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_string(name, out);
                out.push_str(": ");
                write_value(member, out, depth + 1)?;
            }
            out.push('}');
        }
        scalar => write_scalar(scalar, out),
    }
    if out.len() > LENGTH_MAX { Err(JsonbError::Length) } else { Ok(()) }
}

/// Formats a value over several lines, four blanks per level, as `jsonb_pretty` does.
///
/// # Errors
/// Fails if the result is longer than [`LENGTH_MAX`].
pub fn pretty(value: &Json<'_>) -> Result<String, JsonbError> {
    let mut out = String::new();
    write_lines(value, &mut out, 1)?;
    Ok(out)
}

fn write_lines(value: &Json<'_>, out: &mut String, level: usize) -> Result<(), JsonbError> {
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", level));
    };
    match value {
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, level);
                write_lines(item, out, level + 1)?;
            }
            line(out, level - 1);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, level);
                write_string(name, out);
                out.push_str(": ");
                write_lines(member, out, level + 1)?;
            }
            line(out, level - 1);
            out.push('}');
        }
        scalar => write_scalar(scalar, out),
    }
    if out.len() > LENGTH_MAX { Err(JsonbError::Length) } else { Ok(()) }
}

fn write_scalar(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(text) => out.push_str(text),
        Json::String(text) => write_string(text, out),
        _ => out.push_str("null"),
    }
}

/// Appends a text in quotes, with the necessary escapes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    // Runs without escapes are appended as a whole; `plain` is the start of the current one.
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
