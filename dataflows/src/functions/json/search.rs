//! Questions about a JSONB value: what it contains, what it is, how it compares.

use std::cmp::Ordering;

use schemas::jsonb::{self, Json};

use super::{Arg, Def, Gives, Takes, Value};

const TWO: &[Takes] = &[Takes::Json, Takes::Json];
const AMONG: &[Takes] = &[Takes::Json, Takes::Names];

/// The functions of this kind.
pub(super) const FUNCTIONS: &[Def] = &[
    Def::new("jsonb_contains", TWO, Gives::Flag, |args| {
        two(args).map(|(value, part)| Value::Flag(jsonb::contains(&value, &part)))
    }),
    Def::new("jsonb_contained", TWO, Gives::Flag, |args| {
        two(args).map(|(part, value)| Value::Flag(jsonb::contains(&value, &part)))
    }),
    Def::new("jsonb_exists", &[Takes::Json, Takes::Name], Gives::Flag, |args| match args {
        [value, Arg::Name(name)] => Ok(Value::Flag(jsonb::exists(&json(value)?, name))),
        _ => Err("? needs a text on its right".to_owned()),
    }),
    Def::new("jsonb_exists_any", AMONG, Gives::Flag, |args| among(args, false)),
    Def::new("jsonb_exists_all", AMONG, Gives::Flag, |args| among(args, true)),
    Def::new("jsonb_typeof", &[Takes::Json], Gives::Text, |args| match args {
        [value] => Ok(Value::Text(json(value)?.kind().to_owned())),
        _ => Err("jsonb_typeof takes one value".to_owned()),
    }),
    Def::new("jsonb_array_length", &[Takes::Json], Gives::Number, length),
    Def::new("herald_jsonb_compare", TWO, Gives::Number, |args| {
        let (a, b) = two(args)?;
        Ok(Value::Number(match jsonb::compare(&a, &b) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
];

/// An argument as a value.
pub(super) fn json<'a>(arg: &'a Arg<'_>) -> Result<Json<'a>, String> {
    match arg {
        Arg::Json(text) => jsonb::parse(text).map_err(|error| error.to_string()),
        other => Err(format!("{other:?} is not JSONB")),
    }
}

/// Two arguments as values.
pub(super) fn two<'a>(args: &'a [Arg<'_>]) -> Result<(Json<'a>, Json<'a>), String> {
    match args {
        [a, b] => Ok((json(a)?, json(b)?)),
        _ => Err("two JSONB values are needed".to_owned()),
    }
}

/// A NULL among the names is passed over.
fn among(args: &[Arg<'_>], all: bool) -> Result<Value, String> {
    let [value, Arg::Names(names)] = args else { return Err("an array of texts is needed".to_owned()) };
    let value = json(value)?;
    let mut names = names.iter().flatten();
    let has = |name: &String| jsonb::exists(&value, name);
    Ok(Value::Flag(if all { names.all(has) } else { names.any(has) }))
}

fn length(args: &[Arg<'_>]) -> Result<Value, String> {
    match args.first().map(json).transpose()? {
        Some(Json::Array(items)) => {
            i32::try_from(items.len()).map(Value::Number).map_err(|_| "the array is too long".to_owned())
        }
        Some(Json::Object(_)) => Err("cannot get array length of a non-array".to_owned()),
        _ => Err("cannot get array length of a scalar".to_owned()),
    }
}
