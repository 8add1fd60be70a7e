//! Changes of a JSONB value: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert` and others.

use schemas::jsonb::change::{Change, at_path, concat, strip_nulls, without, without_element};
use schemas::jsonb::{self, Json};

use super::search::{json, two};
use super::{Arg, Def, Gives, Takes, Value};

const SET: &[Takes] = &[Takes::Json, Takes::Names, Takes::Json, Takes::Flag];

/// The functions of this kind.
pub(super) const FUNCTIONS: &[Def] = &[
    Def::new("jsonb_concat", &[Takes::Json, Takes::Json], Gives::Json, |args| {
        two(args).and_then(|(a, b)| text(&concat(a, b)))
    }),
    Def::new("jsonb_delete", &[Takes::Json, Takes::Step], Gives::Json, delete),
    Def::new("jsonb_delete_path", &[Takes::Json, Takes::Names], Gives::Json, |args| match args {
        [value, Arg::Names(path)] => put(json(value)?, path, &Json::Null, Change::Delete),
        _ => Err("#- needs a path".to_owned()),
    }),
    Def { name: "jsonb_set", takes: SET, least: 3, more: false, gives: Gives::Json, body: set },
    Def { name: "jsonb_insert", takes: SET, least: 3, more: false, gives: Gives::Json, body: insert },
    Def::new("jsonb_strip_nulls", &[Takes::Json], Gives::Json, |args| {
        let [value] = args else { return Err("jsonb_strip_nulls takes one value".to_owned()) };
        let mut value = json(value)?;
        strip_nulls(&mut value);
        text(&value)
    }),
    Def::new("jsonb_pretty", &[Takes::Json], Gives::Text, |args| {
        let [value] = args else { return Err("jsonb_pretty takes one value".to_owned()) };
        jsonb::pretty(&json(value)?).map(Value::Text).map_err(|error| error.to_string())
    }),
];

fn text(value: &Json<'_>) -> Result<Value, String> {
    value.text().map(Value::Text).map_err(|error| error.to_string())
}

fn delete(args: &[Arg<'_>]) -> Result<Value, String> {
    let [value, what] = args else { return Err("- takes two operands".to_owned()) };
    let value = json(value)?;
    let left = match what {
        Arg::Name(name) => without(value, &[name])?,
        Arg::Number(at) => without_element(value, *at)?,
        Arg::Names(names) => {
            let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            without(value, &names)?
        }
        _ => return Err("- needs a name, a number or names on its right".to_owned()),
    };
    text(&left)
}

fn put(value: Json<'_>, path: &[Option<String>], new: &Json<'_>, change: Change) -> Result<Value, String> {
    let path: Vec<Option<&str>> = path.iter().map(Option::as_deref).collect();
    text(&at_path(value, &path, new, change)?)
}

fn set(args: &[Arg<'_>]) -> Result<Value, String> {
    match args {
        [value, Arg::Names(path), new, rest @ ..] => {
            let create = !matches!(rest, [Arg::Flag(false)]);
            let change = if create { Change::Create } else { Change::Replace };
            put(json(value)?, path, &json(new)?, change)
        }
        _ => Err("jsonb_set takes a value, a path and what to put there".to_owned()),
    }
}

fn insert(args: &[Arg<'_>]) -> Result<Value, String> {
    match args {
        [value, Arg::Names(path), new, rest @ ..] => {
            let change = if matches!(rest, [Arg::Flag(true)]) { Change::After } else { Change::Before };
            put(json(value)?, path, &json(new)?, change)
        }
        _ => Err("jsonb_insert takes a value, a path and what to put there".to_owned()),
    }
}
