//! Parts of a JSONB value: `->`, `->>`, `#>`, `#>>`, and functions that list its parts.

use std::borrow::Cow;

use schemas::types::jsonb::{self, Json, path};

use super::{Arg, JsonDef, JsonResult, JsonType, Takes, error_text};

/// The definitions of these functions.
pub(super) const FUNCTIONS: &[JsonDef] = &[
    JsonDef::new("herald_jsonb_get", &[Takes::Json, Takes::Step], JsonType::Json, get_part),
    JsonDef::new("herald_jsonb_get_text", &[Takes::Json, Takes::Step], JsonType::Text, get_part_text),
    JsonDef::new("herald_jsonb_path", &[Takes::Json, Takes::Names], JsonType::Json, part_at_path),
    JsonDef::new("herald_jsonb_path_text", &[Takes::Json, Takes::Names], JsonType::Text, text_at_path),
    JsonDef {
        name: "jsonb_extract_path",
        takes: &[Takes::Json, Takes::Name],
        least: 2,
        more: true,
        gives: JsonType::Json,
        body: extract_path,
    },
    JsonDef {
        name: "jsonb_extract_path_text",
        takes: &[Takes::Json, Takes::Name],
        least: 2,
        more: true,
        gives: JsonType::Text,
        body: extract_path_text,
    },
    JsonDef::new("herald_jsonb_elements", &[Takes::Json], JsonType::Jsons, list_elements),
    JsonDef::new("herald_jsonb_elements_text", &[Takes::Json], JsonType::Texts, list_element_texts),
    JsonDef::new("herald_jsonb_keys", &[Takes::Json], JsonType::Texts, list_keys),
    JsonDef::new("herald_jsonb_each", &[Takes::Json], JsonType::Members, list_members),
    JsonDef::new("herald_jsonb_each_text", &[Takes::Json], JsonType::TextMembers, list_member_texts),
];

/// Converts a result of `->` to that of `->>`.
fn as_text(value: JsonResult) -> JsonResult {
    match value {
        JsonResult::Text(json) => text_or_null(unquoted_text(&json)),
        other => other,
    }
}

/// Returns a value as `->>` does: texts without quotes, None for null.
fn unquoted_text(json: &str) -> Option<String> {
    path::unquoted(json).map(Cow::into_owned)
}

fn text_or_null(text: Option<String>) -> JsonResult {
    text.map_or(JsonResult::Null, JsonResult::Text)
}

fn part_or_null(part: Option<&str>) -> Result<JsonResult, String> {
    Ok(text_or_null(part.map(str::to_owned)))
}

fn get_part(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [Arg::Json(json), Arg::Name(name)] => part_or_null(jsonb::member(json, name)),
        [Arg::Json(json), Arg::Number(at)] => part_or_null(jsonb::element(json, *at)),
        _ => Err("-> needs a member's name or an element's number on its right".to_owned()),
    }
}

fn get_part_text(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    Ok(as_text(get_part(args)?))
}

fn part_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json), Arg::Names(names)] = args else { return Err("#> needs a path".to_owned()) };
    let steps: Option<Vec<&str>> = names.iter().map(Option::as_deref).collect();
    part_or_null(steps.and_then(|steps| path::at(json, &steps)))
}

fn text_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    Ok(as_text(part_at_path(args)?))
}

fn extract_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json), names @ ..] = args else { return Err("a path needs JSONB".to_owned()) };
    let mut steps = Vec::with_capacity(names.len());
    for name in names {
        let Arg::Name(name) = name else { return Ok(JsonResult::Null) };
        steps.push(*name);
    }
    part_or_null(path::at(json, &steps))
}

fn extract_path_text(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    Ok(as_text(extract_path(args)?))
}

fn list_elements(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    Ok(JsonResult::List(array_elements(args)?.map(str::to_owned).map(Some).collect()))
}

fn list_element_texts(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    Ok(JsonResult::List(array_elements(args)?.map(unquoted_text).collect()))
}

/// Returns the elements of an array that is the only argument.
fn array_elements<'a>(args: &'a [Arg<'_>]) -> Result<impl Iterator<Item = &'a str>, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    let Some(items) = path::elements(json) else {
        let what = if json.starts_with('{') { "an object" } else { "a scalar" };
        return Err(format!("cannot extract elements from {what}"));
    };
    Ok(items)
}

fn list_keys(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    match jsonb::parse(json).map_err(error_text)? {
        Json::Object(members) => {
            Ok(JsonResult::List(members.into_iter().map(|(name, _)| Some(name.into_owned())).collect()))
        }
        Json::Array(_) => Err("cannot call jsonb_object_keys on an array".to_owned()),
        _ => Err("cannot call jsonb_object_keys on a scalar".to_owned()),
    }
}

fn list_members(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    object_members(args, false)
}

fn list_member_texts(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    object_members(args, true)
}

fn object_members(args: &[Arg<'_>], text: bool) -> Result<JsonResult, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    let Json::Object(members) = jsonb::parse(json).map_err(error_text)? else {
        let name = if text { "jsonb_each_text" } else { "jsonb_each" };
        return Err(format!("cannot call {name} on a non-object"));
    };
    let mut listed = Vec::with_capacity(members.len());
    for (name, value) in members {
        let own = value.text().map_err(error_text)?;
        let value = if text { unquoted_text(&own) } else { Some(own) };
        listed.push((name.into_owned(), value));
    }
    Ok(JsonResult::Members(listed))
}
