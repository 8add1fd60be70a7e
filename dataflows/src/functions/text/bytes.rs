//! Functions of BYTEA, and digests and encodings, which convert between bytes and text.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::item_range;
use crate::functions::eval::about::{About, about, called};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, batch, def};
use crate::functions::eval::print::hex;
use crate::functions::eval::value::{Out, Value, as_type};

use Kind::{Bytes, Int, Text};

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    def("length", &[Bytes], Gives::Int, |v, _| int_answer(v[0].bytes().len())).total(),
    def("octet_length", &[Bytes], Gives::Int, |v, _| int_answer(v[0].bytes().len())).total(),
    def("bit_length", &[Bytes], Gives::Int, |v, _| int_answer(v[0].bytes().len() * 8)),
    def("bit_count", &[Bytes], Gives::Long, |v, _| {
        Ok(Out::Int(v[0].bytes().iter().map(|b| i64::from(b.count_ones())).sum()))
    })
    .total(),
    def("substr", &[Bytes, Int, Int], Gives::Bytes, |v, _| substring_by_bytes(v)).optional(1),
    def("substring", &[Bytes, Int, Int], Gives::Bytes, |v, _| substring_by_bytes(v)).optional(1),
    def("position", &[Bytes, Bytes], Gives::Int, |v, _| find_position(v[0].bytes(), v[1].bytes())).total(),
    def("strpos", &[Bytes, Bytes], Gives::Int, |v, _| find_position(v[0].bytes(), v[1].bytes())).total(),
    def("overlay", &[Bytes, Bytes, Int, Int], Gives::Bytes, |v, _| overlay(v)).optional(1),
    def("btrim", &[Bytes, Bytes], Gives::Bytes, |v, _| trim_bytes(v, true, true)).total(),
    def("trim", &[Bytes, Bytes], Gives::Bytes, |v, _| trim_bytes(v, true, true)).total(),
    def("ltrim", &[Bytes, Bytes], Gives::Bytes, |v, _| trim_bytes(v, true, false)).total(),
    def("rtrim", &[Bytes, Bytes], Gives::Bytes, |v, _| trim_bytes(v, false, true)).total(),
    def("get_byte", &[Bytes, Int], Gives::Int, |v, _| {
        let (bytes, at) = (v[0].bytes(), v[1].int());
        let byte = usize::try_from(at).ok().and_then(|at| bytes.get(at));
        byte.map(|b| Out::Int(i64::from(*b))).ok_or_else(|| out_of_range(at, bytes.len()))
    }),
    def("set_byte", &[Bytes, Int, Int], Gives::Bytes, |v, _| {
        let (mut bytes, at) = (v[0].bytes().to_vec(), v[1].int());
        let length = bytes.len();
        let byte = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at));
        *byte.ok_or_else(|| out_of_range(at, length))? = (v[2].int() & 0xff) as u8;
        Ok(bytes.into())
    }),
    def("get_bit", &[Bytes, Int], Gives::Int, |v, _| {
        let (bytes, at) = (v[0].bytes(), v[1].int());
        let byte = usize::try_from(at).ok().and_then(|at| bytes.get(at / 8));
        byte.map(|b| Out::Int(i64::from(b >> (at % 8) & 1)))
            .ok_or_else(|| out_of_range(at, bytes.len().saturating_mul(8)))
    }),
    def("herald_bytes_concat", &[Bytes, Bytes], Gives::Bytes, |v, _| {
        Ok([v[0].bytes(), v[1].bytes()].concat().into())
    })
    .total(),
    def("encode", &[Bytes, Text], Gives::Text, |v, _| encode(v[0].bytes(), v[1].text())),
    def("encode", &[Text, Text], Gives::Text, |v, _| encode(v[0].bytes(), v[1].text())),
    def("decode", &[Text, Text], Gives::Bytes, |v, _| Ok(decode(v[0].text(), v[1].text())?.into())),
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
    let rows = args.first().map_or(0, |a| a.len());
    let field = |of: &DataType| Arc::new(Field::new("", of.clone(), true));
    let types: Vec<DataType> = args.iter().map(|a| a.data_type().clone()).collect();
    let own = function.return_type(&types)?;
    let result = function.invoke_with_args(ScalarFunctionArgs {
        args: args.iter().map(|a| ColumnarValue::Array(Arc::clone(a))).collect(),
        arg_fields: types.iter().map(field).collect(),
        number_rows: rows,
        return_field: field(&own),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    as_type(&result.into_array(rows)?, gives)
}

fn int_answer(n: usize) -> Answer {
    i64::try_from(n).map(Out::Int).map_err(|e| e.to_string())
}

fn out_of_range(at: i64, length: usize) -> String {
    format!("index {at} out of valid range, 0..{}", length as i64 - 1)
}

fn clamped_slice(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    &bytes[from.min(bytes.len())..to.min(bytes.len())]
}

fn substring_by_bytes(v: &[Value<'_>]) -> Answer {
    let (from, to) = item_range(v[1].int(), v.get(2).map(Value::int))?;
    Ok(clamped_slice(v[0].bytes(), from, to).to_vec().into())
}

fn find_position(bytes: &[u8], wanted: &[u8]) -> Answer {
    let found = match wanted.is_empty() {
        true => Some(0),
        false => bytes.windows(wanted.len()).position(|w| w == wanted),
    };
    Ok(Out::Int(found.map_or(0, |at| at as i64 + 1)))
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

fn encode(bytes: &[u8], format: &str) -> Answer {
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

fn decode(text: &str, format: &str) -> Result<Vec<u8>, String> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => from_hex(text),
        "base64" => {
            let kept: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            STANDARD.decode(&kept).map_err(|_| {
                let odd = kept.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')));
                match odd {
                    Some(c) => format!("invalid symbol \"{c}\" found while decoding base64 sequence"),
                    None => "invalid base64 end sequence".to_owned(),
                }
            })
        }
        "escape" => from_escaped(text),
        _ => Err(format!("unrecognized encoding: \"{format}\"")),
    }
}

/// Parses hexadecimal digits, with white space allowed between pairs of them.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    let digit = |c: char| c.to_digit(16).ok_or_else(|| format!("invalid hexadecimal digit: \"{c}\""));
    while let Some(c) = chars.next() {
        if matches!(c, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(c)?;
        let low = chars.next().ok_or("invalid hexadecimal data: odd number of digits")?;
        out.push((high * 16 + digit(low)?) as u8);
    }
    Ok(out)
}

/// Parses text in which `\\` is a backslash and `\ooo` a byte in octal.
fn from_escaped(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    // Three octal digits up to 377, so that the value fits a byte.
    let octal = |at: usize, most: u8| bytes.get(at).filter(|b| (b'0'..=most).contains(b)).map(|b| b - b'0');
    while let Some(byte) = bytes.get(at) {
        if *byte != b'\\' {
            out.push(*byte);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else if let (Some(a), Some(b), Some(c)) =
            (octal(at + 1, b'3'), octal(at + 2, b'7'), octal(at + 3, b'7'))
        {
            out.push(a * 64 + b * 8 + c);
            at += 4;
        } else {
            return Err("invalid input syntax for type bytea".to_owned());
        }
    }
    Ok(out)
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
