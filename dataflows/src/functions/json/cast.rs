//! Casts to and from JSONB, as functions.

use schemas::types::jsonb::{self, Json, number};

use super::search::parse_json;
use super::{Arg, JsonDef, JsonResult, JsonType, Takes, error_text};

/// The definitions of these functions.
pub(super) const FUNCTIONS: &[JsonDef] = &[
    // CAST(text AS JSONB).
    JsonDef::new("herald_jsonb_parse", &[Takes::Name], JsonType::Json, parse_text),
    JsonDef::new("try_jsonb", &[Takes::Bytes], JsonType::Json, try_parse),
    // CAST(jsonb AS VARCHAR).
    JsonDef::new("herald_jsonb_print", &[Takes::Json], JsonType::Text, print_json),
    // Restores the JSONB type of a value that lost it in planning, such as a CASE over JSONB.
    JsonDef::new("herald_jsonb_mark", &[Takes::Text], JsonType::Json, mark_json),
    // CAST(jsonb AS a number type), as text: takes the type, and the digits behind the point, or -1 for all.
    JsonDef::new(
        "herald_jsonb_number",
        &[Takes::Json, Takes::Name, Takes::Number],
        JsonType::Text,
        as_number,
    ),
    // CAST(jsonb AS BOOLEAN).
    JsonDef::new("herald_jsonb_bool", &[Takes::Json], JsonType::Flag, as_bool),
];

fn parse_text(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [Arg::Name(text)] => jsonb::canonical(text).map(JsonResult::Text).map_err(error_text),
        _ => Err("a text is needed".to_owned()),
    }
}

/// Parses bytes that may be anything: those that are no JSON, or no UTF-8, are NULL.
fn try_parse(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Bytes(bytes)] = args else { return Err("bytes are needed".to_owned()) };
    let text = std::str::from_utf8(bytes).ok().and_then(|text| jsonb::canonical(text).ok());
    Ok(text.map_or(JsonResult::Null, JsonResult::Text))
}

fn print_json(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [Arg::Json(text)] => Ok(JsonResult::Text((*text).to_owned())),
        _ => Err("JSONB is needed".to_owned()),
    }
}

fn mark_json(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [Arg::Name(text)] => Ok(JsonResult::Text((*text).to_owned())),
        _ => Err("JSONB is needed".to_owned()),
    }
}

fn as_bool(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [value] = args else { return Err("JSONB is needed".to_owned()) };
    match parse_json(value)? {
        Json::Bool(value) => Ok(JsonResult::Flag(value)),
        other => Err(cast_error(&other, "boolean")),
    }
}

fn as_number(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [value, Arg::Name(target), Arg::Number(scale)] = args else {
        return Err("JSONB, a type and a scale are needed".to_owned());
    };
    match parse_json(value)? {
        Json::Number(text) => Ok(JsonResult::Text(match usize::try_from(*scale) {
            Ok(scale) => number::rounded(&text, scale),
            Err(_) => text.into_owned(),
        })),
        other => Err(cast_error(&other, target)),
    }
}

fn cast_error(value: &Json<'_>, target: &str) -> String {
    let kind = if value.kind() == "number" { "numeric" } else { value.kind() };
    format!("cannot cast jsonb {kind} to type {target}")
}
