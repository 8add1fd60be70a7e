//! Parts of a JSONB value: `->`, `->>`, `#>`, `#>>` and what lists its parts.

use schemas::jsonb::{self, Json, path};

use super::{Arg, Def, Gives, Takes, Value};

/// The functions of this kind.
pub(super) const FUNCTIONS: &[Def] = &[
    Def::new("herald_jsonb_get", &[Takes::Json, Takes::Step], Gives::Json, get),
    Def::new("herald_jsonb_get_text", &[Takes::Json, Takes::Step], Gives::Text, |args| {
        Ok(as_text(get(args)?))
    }),
    Def::new("herald_jsonb_path", &[Takes::Json, Takes::Names], Gives::Json, at),
    Def::new("herald_jsonb_path_text", &[Takes::Json, Takes::Names], Gives::Text, |args| {
        Ok(as_text(at(args)?))
    }),
    Def {
        name: "jsonb_extract_path",
        takes: &[Takes::Json, Takes::Name],
        least: 2,
        more: true,
        gives: Gives::Json,
        body: extract,
    },
    Def {
        name: "jsonb_extract_path_text",
        takes: &[Takes::Json, Takes::Name],
        least: 2,
        more: true,
        gives: Gives::Text,
        body: |args| Ok(as_text(extract(args)?)),
    },
    Def::new("herald_jsonb_elements", &[Takes::Json], Gives::Jsons, |args| elements(args, false)),
    Def::new("herald_jsonb_elements_text", &[Takes::Json], Gives::Texts, |args| elements(args, true)),
    Def::new("herald_jsonb_keys", &[Takes::Json], Gives::Texts, keys),
    Def::new("herald_jsonb_each", &[Takes::Json], Gives::Members, |args| each(args, false)),
    Def::new("herald_jsonb_each_text", &[Takes::Json], Gives::TextMembers, |args| each(args, true)),
];

/// What `->>` makes of what `->` gave.
fn as_text(value: Value) -> Value {
    match value {
        Value::Text(json) => path::unquoted(&json).map_or(Value::Null, |text| Value::Text(text.into_owned())),
        other => other,
    }
}

fn found(part: Option<&str>) -> Result<Value, String> {
    Ok(part.map_or(Value::Null, |part| Value::Text(part.to_owned())))
}

fn get(args: &[Arg<'_>]) -> Result<Value, String> {
    match args {
        [Arg::Json(json), Arg::Name(name)] => found(jsonb::member(json, name)),
        [Arg::Json(json), Arg::Number(at)] => found(jsonb::element(json, *at)),
        _ => Err("-> needs a member's name or an element's number on its right".to_owned()),
    }
}

fn at(args: &[Arg<'_>]) -> Result<Value, String> {
    let [Arg::Json(json), Arg::Names(names)] = args else { return Err("#> needs a path".to_owned()) };
    let steps: Option<Vec<&str>> = names.iter().map(Option::as_deref).collect();
    found(steps.and_then(|steps| path::at(json, &steps)))
}

fn extract(args: &[Arg<'_>]) -> Result<Value, String> {
    let [Arg::Json(json), names @ ..] = args else { return Err("a path needs JSONB".to_owned()) };
    let steps = names.iter().map(|arg| if let Arg::Name(name) = arg { Some(*name) } else { None });
    let steps: Option<Vec<&str>> = steps.collect();
    found(steps.and_then(|steps| path::at(json, &steps)))
}

fn elements(args: &[Arg<'_>], text: bool) -> Result<Value, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    let Some(items) = path::elements(json) else {
        let what = if json.starts_with('{') { "an object" } else { "a scalar" };
        return Err(format!("cannot extract elements from {what}"));
    };
    let item = |item: &str| match text {
        true => path::unquoted(item).map(|text| text.into_owned()),
        false => Some(item.to_owned()),
    };
    Ok(Value::List(items.map(item).collect()))
}

fn keys(args: &[Arg<'_>]) -> Result<Value, String> {
    let [Arg::Json(json)] = args else { return Err("it takes one JSONB value".to_owned()) };
    match jsonb::parse(json).map_err(|error| error.to_string())? {
        Json::Object(members) => {
            Ok(Value::List(members.into_iter().map(|(name, _)| Some(name.into_owned())).collect()))
        }
        Json::Array(_) => Err("cannot call jsonb_object_keys on an array".to_owned()),
        _ => Err("cannot call jsonb_object_keys on a scalar".to_owned()),
    }
}

fn each(args: &[Arg<'_>], text: bool) -> Result<Value, String> {
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
    Ok(Value::Members(members.into_iter().map(member).collect::<Result<_, String>>()?))
}
