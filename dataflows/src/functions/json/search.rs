//! Tests of a JSONB value: containment, existence, type, length and comparison.

use std::cmp::Ordering;

use schemas::types::jsonb::{self, Json};

use super::{Arg, JsonDef, JsonResult, JsonType, Takes, error_text};

const TWO_VALUES: &[Takes] = &[Takes::Json, Takes::Json];
const JSON_AND_NAMES: &[Takes] = &[Takes::Json, Takes::Names];

/// The definitions of these functions.
pub(super) const FUNCTIONS: &[JsonDef] = &[
    JsonDef::new("jsonb_contains", TWO_VALUES, JsonType::Flag, contains_part),
    JsonDef::new("jsonb_contained", TWO_VALUES, JsonType::Flag, is_part),
    JsonDef::new("jsonb_exists", &[Takes::Json, Takes::Name], JsonType::Flag, has_name),
    JsonDef::new("jsonb_exists_any", JSON_AND_NAMES, JsonType::Flag, has_any_name),
    JsonDef::new("jsonb_exists_all", JSON_AND_NAMES, JsonType::Flag, has_all_names),
    JsonDef::new("jsonb_typeof", &[Takes::Json], JsonType::Text, kind_of),
    JsonDef::new("jsonb_array_length", &[Takes::Json], JsonType::Number, array_length),
    JsonDef::new("herald_jsonb_compare", TWO_VALUES, JsonType::Number, compare_values),
];

fn contains_part(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let (value, part) = parse_two(args)?;
    Ok(JsonResult::Flag(jsonb::contains(&value, &part)))
}

fn is_part(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let (part, value) = parse_two(args)?;
    Ok(JsonResult::Flag(jsonb::contains(&value, &part)))
}

fn has_name(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [value, Arg::Name(name)] => Ok(JsonResult::Flag(jsonb::exists(&parse_json(value)?, name))),
        _ => Err("? needs a text on its right".to_owned()),
    }
}

fn has_any_name(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    has_names(args, false)
}

fn has_all_names(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    has_names(args, true)
}

fn kind_of(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [value] => Ok(JsonResult::Text(parse_json(value)?.kind().to_owned())),
        _ => Err("jsonb_typeof takes one value".to_owned()),
    }
}

fn compare_values(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let (a, b) = parse_two(args)?;
    Ok(JsonResult::Number(match jsonb::compare(&a, &b) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

/// Parses an argument.
pub(super) fn parse_json<'a>(arg: &'a Arg<'_>) -> Result<Json<'a>, String> {
    match arg {
        Arg::Json(text) => jsonb::parse(text).map_err(error_text),
        other => Err(format!("{other:?} is not JSONB")),
    }
}

/// Parses two arguments.
pub(super) fn parse_two<'a>(args: &'a [Arg<'_>]) -> Result<(Json<'a>, Json<'a>), String> {
    match args {
        [a, b] => Ok((parse_json(a)?, parse_json(b)?)),
        _ => Err("two JSONB values are needed".to_owned()),
    }
}

/// Returns true if all (or any) of the names exist in the value; NULL names are skipped.
fn has_names(args: &[Arg<'_>], all: bool) -> Result<JsonResult, String> {
    let [value, Arg::Names(names)] = args else { return Err("an array of texts is needed".to_owned()) };
    let value = parse_json(value)?;
    let mut names = names.iter().flatten();
    let has = |name: &String| jsonb::exists(&value, name);
    Ok(JsonResult::Flag(if all { names.all(has) } else { names.any(has) }))
}

fn array_length(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args.first().map(parse_json).transpose()? {
        Some(Json::Array(items)) => {
            i32::try_from(items.len()).map(JsonResult::Number).map_err(|_| "the array is too long".to_owned())
        }
        Some(Json::Object(_)) => Err("cannot get array length of a non-array".to_owned()),
        _ => Err("cannot get array length of a scalar".to_owned()),
    }
}
