//! Functions of BYTEA, and digests and encodings, which convert between bytes and text.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::{count_bits, count_bytes, item_range, place_answer};
use crate::functions::eval::about::{About, about, called};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, batch, def};
use crate::functions::eval::print::hex;
use crate::functions::eval::value::{Out, Value, as_type, row_count};
use crate::functions::types::unnamed_field;

use Kind::{Bytes, Int, Text};

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    def("length", &[Bytes], Gives::Int, count_bytes).total(),
    def("octet_length", &[Bytes], Gives::Int, count_bytes).total(),
    def("bit_length", &[Bytes], Gives::Int, count_bits),
    def("bit_count", &[Bytes], Gives::Long, count_set_bits).total(),
    def("substr", &[Bytes, Int, Int], Gives::Bytes, substring_by_bytes).optional(1),
    def("substring", &[Bytes, Int, Int], Gives::Bytes, substring_by_bytes).optional(1),
    def("position", &[Bytes, Bytes], Gives::Int, find_position).total(),
    def("strpos", &[Bytes, Bytes], Gives::Int, find_position).total(),
    def("overlay", &[Bytes, Bytes, Int, Int], Gives::Bytes, overlay).optional(1),
    def("btrim", &[Bytes, Bytes], Gives::Bytes, trim_both).total(),
    def("trim", &[Bytes, Bytes], Gives::Bytes, trim_both).total(),
    def("ltrim", &[Bytes, Bytes], Gives::Bytes, trim_start).total(),
    def("rtrim", &[Bytes, Bytes], Gives::Bytes, trim_end).total(),
    def("get_byte", &[Bytes, Int], Gives::Int, get_byte),
    def("set_byte", &[Bytes, Int, Int], Gives::Bytes, set_byte),
    def("get_bit", &[Bytes, Int], Gives::Int, get_bit),
    def("herald_bytes_concat", &[Bytes, Bytes], Gives::Bytes, concat_bytes).total(),
    def("encode", &[Bytes, Text], Gives::Text, encode),
    def("encode", &[Text, Text], Gives::Text, encode),
    def("decode", &[Text, Text], Gives::Bytes, decode),
    batch("md5", &[Text], Gives::Text, md5).total(),
    batch("md5", &[Bytes], Gives::Text, md5).total(),
    batch("sha224", &[Bytes], Gives::Bytes, sha224).total(),
    batch("sha224", &[Text], Gives::Bytes, sha224).total(),
    batch("sha256", &[Bytes], Gives::Bytes, sha256).total(),
    batch("sha256", &[Text], Gives::Bytes, sha256).total(),
    batch("sha384", &[Bytes], Gives::Bytes, sha384).total(),
    batch("sha384", &[Text], Gives::Bytes, sha384).total(),
    batch("sha512", &[Bytes], Gives::Bytes, sha512).total(),
    batch("sha512", &[Text], Gives::Bytes, sha512).total(),
];

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about("bit_count", "Number of bits that are set."),
    about("get_byte", "The byte at a place, from 0."),
    about("set_byte", "The bytes with another byte at a place, from 0."),
    about("get_bit", "The bit at a place, from 0."),
    about("encode", "Bytes as text in `hex`, `base64` or `escape`."),
    about("decode", "The bytes of such a text."),
    about("md5", "MD5, in hexadecimal digits."),
    about("sha224", "SHA-224."),
    about("sha256", "SHA-256."),
    about("sha384", "SHA-384."),
    about("sha512", "SHA-512."),
    called(
        "digest",
        &["digest(VARCHAR, 'sha256') -> BYTEA", "digest(BYTEA, 'sha256') -> BYTEA"],
        "Digest: md5, sha224, sha256, sha384, sha512, blake2s, blake2b or blake3.",
    ),
];

fn md5(args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    call_datafusion(datafusion_functions::crypto::md5(), args, gives)
}

fn sha224(args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    call_datafusion(datafusion_functions::crypto::sha224(), args, gives)
}

fn sha256(args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    call_datafusion(datafusion_functions::crypto::sha256(), args, gives)
}

fn sha384(args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    call_datafusion(datafusion_functions::crypto::sha384(), args, gives)
}

fn sha512(args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    call_datafusion(datafusion_functions::crypto::sha512(), args, gives)
}

/// Calls a function of DataFusion that computes each row by itself.
fn call_datafusion(function: Arc<ScalarUDF>, args: &[ArrayRef], gives: &DataType) -> Result<ArrayRef> {
    let rows = row_count(args);
    let types: Vec<DataType> = args.iter().map(|a| a.data_type().clone()).collect();
    let own = function.return_type(&types)?;
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: args.iter().cloned().map(ColumnarValue::Array).collect(),
        arg_fields: types.iter().map(unnamed_field).collect(),
        number_rows: rows,
        return_field: unnamed_field(&own),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    as_type(&result.into_array(rows)?, gives)
}

fn count_set_bits(v: &[Value<'_>]) -> Answer {
    Ok(Out::Int(v[0].bytes().iter().map(|b| i64::from(b.count_ones())).sum()))
}

/// Returns `at` as an index into `length` items.
fn checked_index(at: i64, length: usize) -> Result<usize, String> {
    match usize::try_from(at) {
        Ok(index) if index < length => Ok(index),
        _ => Err(format!("index {at} out of valid range, 0..{}", length as i64 - 1)),
    }
}

fn get_byte(v: &[Value<'_>]) -> Answer {
    let bytes = v[0].bytes();
    let at = checked_index(v[1].int(), bytes.len())?;
    Ok(Out::Int(i64::from(bytes[at])))
}

fn set_byte(v: &[Value<'_>]) -> Answer {
    let mut bytes = v[0].bytes().to_vec();
    let at = checked_index(v[1].int(), bytes.len())?;
    bytes[at] = (v[2].int() & 0xff) as u8;
    Ok(bytes.into())
}

fn get_bit(v: &[Value<'_>]) -> Answer {
    let bytes = v[0].bytes();
    let at = checked_index(v[1].int(), bytes.len().saturating_mul(8))?;
    Ok(Out::Int(i64::from((bytes[at / 8] >> (at % 8)) & 1)))
}

fn concat_bytes(v: &[Value<'_>]) -> Answer {
    Ok([v[0].bytes(), v[1].bytes()].concat().into())
}

fn clamped_slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    &bytes[from.min(bytes.len())..to.min(bytes.len())]
}

fn substring_by_bytes(v: &[Value<'_>]) -> Answer {
    let (from, to) = item_range(v[1].int(), v.get(2).map(Value::int))?;
    Ok(clamped_slice(v[0].bytes(), from, to).to_vec().into())
}

fn find_position(v: &[Value<'_>]) -> Answer {
    let (bytes, wanted) = (v[0].bytes(), v[1].bytes());
    place_answer(if wanted.is_empty() {
        Some(0)
    } else {
        bytes.windows(wanted.len()).position(|w| w == wanted)
    })
}

fn overlay(v: &[Value<'_>]) -> Answer {
    let (bytes, new, start) = (v[0].bytes(), v[1].bytes(), v[2].int());
    if start <= 0 {
        return Err("negative substring length not allowed".to_owned());
    }
    let length = v.get(3).map_or(new.len() as i64, Value::int);
    let end = start.checked_add(length).ok_or("integer out of range")?;
    let (_, before) = item_range(1, Some(start - 1))?;
    let (after, _) = item_range(end, None)?;
    Ok([clamped_slice(bytes, 0, before), new, clamped_slice(bytes, after, usize::MAX)].concat().into())
}

fn trim_both(v: &[Value<'_>]) -> Answer {
    trim_bytes(v, true, true)
}

fn trim_start(v: &[Value<'_>]) -> Answer {
    trim_bytes(v, true, false)
}

fn trim_end(v: &[Value<'_>]) -> Answer {
    trim_bytes(v, false, true)
}

fn trim_bytes(v: &[Value<'_>], start: bool, end: bool) -> Answer {
    let (mut bytes, set) = (v[0].bytes(), v[1].bytes());
    if start {
        while let [first, rest @ ..] = bytes
            && set.contains(first)
        {
            bytes = rest;
        }
    }
    if end {
        while let [rest @ .., last] = bytes
            && set.contains(last)
        {
            bytes = rest;
        }
    }
    Ok(bytes.to_vec().into())
}

/// Characters of a line of base64.
const BASE64_LINE_CHARS: usize = 76;

fn encode(v: &[Value<'_>]) -> Answer {
    let (bytes, format) = (v[0].bytes(), v[1].text());
    Ok(match format.to_ascii_lowercase().as_str() {
        "hex" => hex(bytes).into(),
        "base64" => {
            let text = STANDARD.encode(bytes);
            let mut lines = Vec::new();
            for from in (0..text.len()).step_by(BASE64_LINE_CHARS) {
                lines.push(&text[from..text.len().min(from + BASE64_LINE_CHARS)]);
            }
            lines.join("\n").into()
        }
        "escape" => {
            let mut out = String::new();
            for byte in bytes {
                match byte {
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    b'\\' => out.push_str("\\\\"),
                    byte => out.push(char::from(*byte)),
                }
            }
            out.into()
        }
        _ => return Err(format!("unrecognized encoding: \"{format}\"")),
    })
}

fn decode(v: &[Value<'_>]) -> Answer {
    let (text, format) = (v[0].text(), v[1].text());
    let bytes = match format.to_ascii_lowercase().as_str() {
        "hex" => from_hex(text)?,
        "base64" => from_base64(text)?,
        "escape" => from_escaped(text)?,
        _ => return Err(format!("unrecognized encoding: \"{format}\"")),
    };
    Ok(bytes.into())
}

/// Parses base64, with white space allowed anywhere.
fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let kept: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if let Ok(bytes) = STANDARD.decode(&kept) {
        return Ok(bytes);
    }
    match kept.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))) {
        Some(c) => Err(format!("invalid symbol \"{c}\" found while decoding base64 sequence")),
        None => Err("invalid base64 end sequence".to_owned()),
    }
}

/// Parses hexadecimal digits, with white space allowed between pairs of them.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if matches!(c, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = hex_digit(c)?;
        let low = chars.next().ok_or("invalid hexadecimal data: odd number of digits")?;
        out.push((high * 16 + hex_digit(low)?) as u8);
    }
    Ok(out)
}

fn hex_digit(c: char) -> Result<u32, String> {
    c.to_digit(16).ok_or_else(|| format!("invalid hexadecimal digit: \"{c}\""))
}

/// Parses text in which `\\` is a backslash and `\ooo` a byte in octal.
fn from_escaped(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if *byte != b'\\' {
            out.push(*byte);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else if let Some(value) = octal_value(bytes, at + 1) {
            out.push(value);
            at += 4;
        } else {
            return Err("invalid input syntax for type bytea".to_owned());
        }
    }
    Ok(out)
}

/// Returns the byte that three octal digits write, which are up to 377 so that it fits.
fn octal_value(bytes: &[u8], at: usize) -> Option<u8> {
    let (a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7') =
        (*bytes.get(at)?, *bytes.get(at + 1)?, *bytes.get(at + 2)?)
    else {
        return None;
    };
    Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
}

/// Parses a literal of BYTEA: `\x` and digits, or text with escapes.
///
/// # Errors
/// PostgreSQL's message.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix("\\x") {
        Some(digits) => from_hex(digits),
        None => from_escaped(text),
    }
}
