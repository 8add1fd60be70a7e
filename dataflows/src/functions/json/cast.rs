//! Casts to and from JSONB, as functions.

use schemas::jsonb::{self, Json, number};

use super::search::json;
use super::{Arg, Def, Gives, Takes, Value};

/// The functions of this kind.
pub(super) const FUNCTIONS: &[Def] = &[
    // CAST(text AS JSONB).
    Def::new("herald_jsonb_parse", &[Takes::Name], Gives::Json, |args| match args {
        [Arg::Name(text)] => jsonb::canonical(text).map(Value::Text).map_err(|error| error.to_string()),
        _ => Err("a text is needed".to_owned()),
    }),
    // CAST(jsonb AS VARCHAR).
    Def::new("herald_jsonb_print", &[Takes::Json], Gives::Text, |args| match args {
        [Arg::Json(text)] => Ok(Value::Text((*text).to_owned())),
        _ => Err("JSONB is needed".to_owned()),
    }),
    // What lost the mark of JSONB on its way, such as a CASE over JSONB.
    Def::new("herald_jsonb_mark", &[Takes::Text], Gives::Json, |args| match args {
        [Arg::Name(text)] => Ok(Value::Text((*text).to_owned())),
        _ => Err("JSONB is needed".to_owned()),
    }),
    // CAST(jsonb AS a type of number), as text: the type, and digits behind the point, or -1 for all.
    Def::new("herald_jsonb_number", &[Takes::Json, Takes::Name, Takes::Number], Gives::Text, as_number),
    // CAST(jsonb AS BOOLEAN).
    Def::new("herald_jsonb_bool", &[Takes::Json], Gives::Flag, |args| {
        let [value] = args else { return Err("JSONB is needed".to_owned()) };
        match json(value)? {
            Json::Bool(value) => Ok(Value::Flag(value)),
            other => Err(cannot(&other, "boolean")),
        }
    }),
];

fn as_number(args: &[Arg<'_>]) -> Result<Value, String> {
    let [value, Arg::Name(target), Arg::Number(scale)] = args else {
        return Err("JSONB, a type and a scale are needed".to_owned());
    };
    match json(value)? {
        Json::Number(text) => Ok(Value::Text(match usize::try_from(*scale) {
            Ok(scale) => number::rounded(&text, scale),
            Err(_) => text.into_owned(),
        })),
        other => Err(cannot(&other, target)),
    }
}

fn cannot(value: &Json<'_>, target: &str) -> String {
    let kind = if value.kind() == "number" { "numeric" } else { value.kind() };
    format!("cannot cast jsonb {kind} to type {target}")
}
