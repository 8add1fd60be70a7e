//! Changes of a JSONB value: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert` and others.

use schemas::types::jsonb::change::{Change, at_path, concat, strip_nulls, without, without_element};
use schemas::types::jsonb::{self, Json};

use super::search::{parse_json, parse_two};
use super::{Arg, JsonDef, JsonResult, JsonType, Takes, error_text};

const SET: &[Takes] = &[Takes::Json, Takes::Names, Takes::Json, Takes::Flag];

/// The definitions of these functions.
pub(super) const FUNCTIONS: &[JsonDef] = &[
    JsonDef::new("jsonb_concat", &[Takes::Json, Takes::Json], JsonType::Json, concat_values),
    JsonDef::new("jsonb_delete", &[Takes::Json, Takes::Step], JsonType::Json, delete_part),
    JsonDef::new("jsonb_delete_path", &[Takes::Json, Takes::Names], JsonType::Json, delete_at_path),
    JsonDef {
        name: "jsonb_set",
        takes: SET,
        least: 3,
        more: false,
        gives: JsonType::Json,
        body: set_at_path,
    },
    JsonDef {
        name: "jsonb_insert",
        takes: SET,
        least: 3,
        more: false,
        gives: JsonType::Json,
        body: insert_at_path,
    },
    JsonDef::new("jsonb_strip_nulls", &[Takes::Json], JsonType::Json, remove_nulls),
    JsonDef::new("jsonb_pretty", &[Takes::Json], JsonType::Text, print_pretty),
];

fn json_result(value: &Json<'_>) -> Result<JsonResult, String> {
    value.text().map(JsonResult::Text).map_err(error_text)
}

fn concat_values(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let (a, b) = parse_two(args)?;
    json_result(&concat(a, b))
}

fn remove_nulls(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [value] = args else { return Err("jsonb_strip_nulls takes one value".to_owned()) };
    let mut value = parse_json(value)?;
    strip_nulls(&mut value);
    json_result(&value)
}

fn print_pretty(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [value] = args else { return Err("jsonb_pretty takes one value".to_owned()) };
    jsonb::pretty(&parse_json(value)?).map(JsonResult::Text).map_err(error_text)
}

fn delete_part(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    let [value, what] = args else { return Err("- takes two operands".to_owned()) };
    let value = parse_json(value)?;
    let left = match what {
        Arg::Name(name) => without(value, &[name])?,
        Arg::Number(at) => without_element(value, *at)?,
        Arg::Names(names) => {
            let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            without(value, &names)?
        }
        _ => return Err("- needs a name, a number or names on its right".to_owned()),
    };
    json_result(&left)
}

fn delete_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [value, Arg::Names(path)] => put_at_path(parse_json(value)?, path, &Json::Null, Change::Delete),
        _ => Err("#- needs a path".to_owned()),
    }
}

fn put_at_path(
    value: Json<'_>,
    path: &[Option<String>],
    new: &Json<'_>,
    change: Change,
) -> Result<JsonResult, String> {
    let path: Vec<Option<&str>> = path.iter().map(Option::as_deref).collect();
    json_result(&at_path(value, &path, new, change)?)
}

fn set_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [value, Arg::Names(path), new, rest @ ..] => {
            let create = !matches!(rest, [Arg::Flag(false)]);
            let change = if create { Change::Create } else { Change::Replace };
            put_at_path(parse_json(value)?, path, &parse_json(new)?, change)
        }
        _ => Err("jsonb_set takes a value, a path and what to put there".to_owned()),
    }
}

fn insert_at_path(args: &[Arg<'_>]) -> Result<JsonResult, String> {
    match args {
        [value, Arg::Names(path), new, rest @ ..] => {
            let change = if matches!(rest, [Arg::Flag(true)]) { Change::After } else { Change::Before };
            put_at_path(parse_json(value)?, path, &parse_json(new)?, change)
        }
        _ => Err("jsonb_insert takes a value, a path and what to put there".to_owned()),
    }
}
