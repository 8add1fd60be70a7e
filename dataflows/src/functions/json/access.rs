//! Parts of a JSONB value: `->`, `->>`, `#>`, `#>>`, and functions that list its parts.

use schemas::types::jsonb::{self, Json, path};

use super::{Arg, JsonDef, JsonResult, JsonType, Takes};

/// The definitions of these functions.
pub(super) const FUNCTIONS: &[JsonDef] = &[
    JsonDef::new("herald_jsonb_get", &[Takes::Json, Takes::Step], JsonType::Json, get_part),
    JsonDef::new("herald_jsonb_get_text", &[Takes::Json, Takes::Step], JsonType::Text, |args| {
        Ok(as_text(get_part(args)?))
    }),
    JsonDef::new("herald_jsonb_path", &[Takes::Json, Takes::Names], JsonType::Json, part_at_path),
    JsonDef::new("herald_jsonb_path_text", &[Takes::Json, Takes::Names], JsonType::Text, |args| {
        Ok(as_text(part_at_path(args)?))
    }),
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
        body: |args| Ok(as_text(extract_path(args)?)),
    },
    JsonDef::new("herald_jsonb_elements", &[Takes::Json], JsonType::Jsons, |args| list_elements(args, false)),
    JsonDef::new("herald_jsonb_elements_text", &[Takes::Json], JsonType::Texts, |args| {
        list_elements(args, true)
    }),
    JsonDef::new("herald_jsonb_keys", &[Takes::Json], JsonType::Texts, list_keys),
    JsonDef::new("herald_jsonb_each", &[Takes::Json], JsonType::Members, |args| list_members(args, false)),
    JsonDef::new("herald_jsonb_each_text", &[Takes::Json], JsonType::TextMembers, |args| {
        list_members(args, true)
    }),
];

/// Converts a result of `->` to that of `->>`.
fn as_text(value: JsonResult) -> JsonResult {
    match value {
        JsonResult::Text(json) => {
            path::unquoted(&json).map_or(JsonResult::Null, |text| JsonResult::Text(text.into_owned()))
        }
        other => other,
    }
}

fn part_or_null(part: Option<&str>) -> Result<JsonResult, String> {
    Ok(part.map_or(JsonResult::Null, |part| JsonResult::Text(part.to_owned())))
}

fn get_part(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [Arg::Json(json), Arg::Name(name)] => part_or_null(jsonb::member(json, name)),
        [Arg::Json(json), Arg::Number(at)] => part_or_null(jsonb::element(json, *at)),
        _ => Err("-> needs a member's name or an element's number on its right".to_owned()),
    }
}

fn part_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json), Arg::Names(names)] = args else { return Err("#> needs a path".to_owned()) };
    let steps: Option<Vec<&str>> = names.iter().map(Option::as_deref).collect();
    part_or_null(steps.and_then(|steps| path::at(json, &steps)))
}

fn extract_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json), names @ ..] = args else { return Err("a path needs JSONB".to_owned()) };
    let steps = names.iter().map(|arg| if let Arg::Name(name) = arg { Some(*name) } else { None });
    let steps: Option<Vec<&str>> = steps.collect();
    part_or_null(steps.and_then(|steps| path::at(json, &steps)))
}

fn list_elements(args: &[Arg<'_>], text: bool) -> Result<JsonResult, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    let Some(items) = path::elements(json) else {
        let what = if json.starts_with('{') { "an object" } else { "a scalar" };
        return Err(format!("cannot extract elements from {what}"));
    };
    let item = |item: &str| match text {
        true => path::unquoted(item).map(|text| text.into_owned()),
        false => Some(item.to_owned()),
    };
    Ok(JsonResult::List(items.map(item).collect()))
}

fn list_keys(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    match jsonb::parse(json).map_err(|error| error.to_string())? {
        Json::Object(members) => {
            Ok(JsonResult::List(members.into_iter().map(|(name, _)| Some(name.into_owned())).collect()))
        }
        Json::Array(_) => Err("cannot call jsonb_object_keys on an array".to_owned()),
        _ => Err("cannot call jsonb_object_keys on a scalar".to_owned()),
    }
}

fn list_members(args: &[Arg<'_>], text: bool) -> Result<JsonResult, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    let Json::Object(members) = jsonb::parse(json).map_err(|error| error.to_string())? else {
        let name = if text { "jsonb_each_text" } else { "jsonb_each" };
        return Err(format!("cannot call {name} on a non-object"));
    };
    let member = |(name, value): jsonb::Member<'_>| {
        let own = value.text().map_err(|error| error.to_string())?;
        let value = if text { path::unquoted(&own).map(|text| text.into_owned()) } else { Some(own) };
        Ok((name.into_owned(), value))
    };
    Ok(JsonResult::Members(members.into_iter().map(member).collect::<Result<_, String>>()?))
}
