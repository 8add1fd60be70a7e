//! `herald dead-letter show`: prints one rejected record with its key and value.
//!
//! For people each column is a line, and so is each header; bytes are text where they are any, else hex. Programs
//! get the columns as a query gives them, with bytes in base64.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::cli::{Asked, OutputFormat};
use crate::exit::mistake;
use crate::query;

/// The columns that hold bytes.
const BYTES: [&str; 2] = ["key", "value"];
/// The column of headers.
const HEADERS: &str = "headers";

/// `herald dead-letter show`.
///
/// # Errors
/// When the state or the topology cannot be queried, or has no such record.
pub fn command(sequence: u64, asked: &Asked) -> Result<()> {
    let sql = format!("SELECT * FROM herald.dead_letter WHERE sequence = {sequence}");
    let json = query::answer_of(asked, &sql, OutputFormat::Json)?;
    let rows: Vec<Map<String, Value>> = serde_json::from_str(&json).context("the answer is no JSON")?;
    let Some(record) = rows.first() else {
        return Err(mistake(format!(
            "no rejected record has the number {sequence}\n  `herald dead-letter list` shows those that are kept"
        )));
    };
    let text = match asked.format {
        OutputFormat::Table | OutputFormat::Expanded => record_text(record)?,
        OutputFormat::Json => json,
        OutputFormat::Csv => query::answer_of(asked, &sql, OutputFormat::Csv)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// A record as lines of name and value.
fn record_text(record: &Map<String, Value>) -> Result<String> {
    let mut lines = Vec::with_capacity(record.len());
    for (name, value) in record {
        if let (HEADERS, Value::Array(headers)) = (name.as_str(), value) {
            for header in headers {
                lines.push(header_line(header)?);
            }
            continue;
        }
        lines.push(match value {
            Value::String(encoded) if BYTES.contains(&name.as_str()) => {
                let bytes =
                    BASE64.decode(encoded).with_context(|| format!("column {name} is not in base64"))?;
                bytes_line(name, &bytes)
            }
            Value::String(text) => (name.clone(), escape_controls(text)),
            Value::Null => (name.clone(), "NULL".to_owned()),
            other => (name.clone(), other.to_string()),
        });
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, shown) in lines {
        let _ = writeln!(out, "{name:width$} | {shown}");
    }
    Ok(out)
}

/// A column of bytes: its name, with the form in which they are shown, and the bytes in this form.
fn bytes_line(name: &str, bytes: &[u8]) -> (String, String) {
    match std::str::from_utf8(bytes) {
        // No text has a NUL, with which records in Avro begin.
        Ok(text) if !text.contains('\0') => (format!("{name} (text)"), escape_controls(text)),
        _ => (format!("{name} (hex)"), hex_text(bytes)),
    }
}

/// A header: the form of its value, then its name and value.
fn header_line(header: &Value) -> Result<(String, String)> {
    let name = escape_controls(header["name"].as_str().unwrap_or_default());
    let bytes = match (&header["value"], &header["bytes"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(encoded)) => BASE64.decode(encoded).context("a header is not in base64")?,
        _ => return Ok(("header".to_owned(), format!("{name}: NULL"))),
    };
    let (form, shown) = bytes_line("header", &bytes);
    Ok((form, format!("{name}: {shown}")))
}

/// A text in which no character moves the cursor or begins a line: control characters are escaped.
fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn hex_text(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"{\"a\":\"caf\xc3\xa9\"}", "key (text)", "{\"a\":\"café\"}"),
            (b"one\n\ttwo\x1b[2J", "key (text)", "one\\n\\ttwo\\u{1b}[2J"),
            (b"", "key (text)", ""),
            (b"caf\xe9", "key (hex)", "636166e9"),
            (b"\0\0\0\0\x07Ahri", "key (hex)", "000000000741687269"),
        ];
        for (bytes, name, shown) in cases {
            assert_eq!(bytes_line("key", bytes), (name.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn a_record_has_a_line_for_each_column() -> Result<()> {
        let record: Map<String, Value> = serde_json::from_str(concat!(
            r#"{"sequence":7,"source":"orders","constraint":null,"#,
            r#""message":"not\na number","value":"eyJhIjoxfQ==","headers":["#,
            r#"{"name":"trace\u001b","value":"00-af","bytes":null},{"name":"none","value":null,"bytes":null},"#,
            r#"{"name":"","value":null,"bytes":"/wA="}],"headers_cut":0}"#
        ))?;
        assert_eq!(
            record_text(&record)?,
            "sequence      | 7\n\
             source        | orders\n\
             constraint    | NULL\n\
             message       | not\\na number\n\
             value (text)  | {\"a\":1}\n\
             header (text) | trace\\u{1b}: 00-af\n\
             header        | none: NULL\n\
             header (hex)  | : ff00\n\
             headers_cut   | 0\n"
        );
        let broken: Map<String, Value> = serde_json::from_str(r#"{"value":"?"}"#)?;
        assert!(record_text(&broken).is_err());
        let without: Map<String, Value> = serde_json::from_str(r#"{"offset":1,"headers":[]}"#)?;
        assert_eq!(record_text(&without)?, "offset | 1\n");
        Ok(())
    }
}
