//! Regular expressions: the operators `~ ~* !~ !~*` and the functions `regexp_...`.
//!
//! Patterns are PostgreSQL's advanced regular expressions. A constant pattern is compiled while the
//! query is planned, so that a wrong one is a mistake at its place; a computed one that is wrong is an
//! error of its row. The operators are functions named like themselves: no rule of the optimiser knows
//! them, so none rewrites `s ~ '.*'` to something that is true of NULL.

mod brackets;
mod compiled;
mod options;
mod translate;

use std::rc::Rc;

use datafusion_common::ScalarValue;

use super::grown;
use crate::functions::eval::own::{Answer, Def, Gives, Kind, def};
use crate::functions::eval::value::{Out, Value};
pub(crate) use compiled::compiled;
use compiled::{Compiled, Place};
pub(crate) use options::Options;

use Kind::{Int, Text};

/// The functions.
pub(crate) const TABLE: &[Def] = &[
    def("~", &[Text, Text], Gives::Bool, |v, _| matches(v, "", true)).checked(operator),
    def("~*", &[Text, Text], Gives::Bool, |v, _| matches(v, "i", true)).checked(operator),
    def("!~", &[Text, Text], Gives::Bool, |v, _| matches(v, "", false)).checked(operator),
    def("!~*", &[Text, Text], Gives::Bool, |v, _| matches(v, "i", false)).checked(operator),
    def("regexp_like", &[Text, Text, Text], Gives::Bool, |v, _| matches(v, flags(v, 2), true))
        .optional(1)
        .checked(|c| constant(c, 2)),
    def("regexp_match", &[Text, Text, Text], Gives::Texts, |v, _| regexp_match(v))
        .optional(1)
        .checked(|c| constant(c, 2)),
    def("regexp_count", &[Text, Text, Int, Text], Gives::Int, |v, _| regexp_count(v))
        .optional(2)
        .checked(|c| constant(c, 3)),
    def("regexp_instr", &[Text, Text, Int, Int, Int, Text, Int], Gives::Int, |v, _| regexp_instr(v))
        .optional(5)
        .checked(|c| constant(c, 5)),
    def("regexp_substr", &[Text, Text, Int, Int, Text, Int], Gives::Text, |v, _| regexp_substr(v))
        .optional(4)
        .checked(|c| constant(c, 4)),
    def("regexp_replace", &[Text, Text, Text, Text], Gives::Text, |v, _| {
        let options = Options::parse(flags(v, 3))?;
        replace(v, options, 1, u64::from(!options.global))
    })
    .optional(1)
    .checked(|c| constant(c, 3)),
    def("regexp_replace", &[Text, Text, Text, Int, Int, Text], Gives::Text, |v, _| {
        let options = Options::parse(flags(v, 5))?;
        let nth = v.get(4).map_or(i64::from(!options.global), Value::int);
        replace(v, options, v[3].int(), not_negative("n", nth)?)
    })
    .optional(2)
    .checked(|c| constant(c, 5)),
    def("regexp_split_to_array", &[Text, Text, Text], Gives::Texts, |v, _| split(v))
        .optional(1)
        .checked(|c| constant(c, 2)),
    def("substring", &[Text, Text], Gives::Text, |v, _| substring(v)).checked(|c| constant(c, 2)),
];

fn flags<'a>(v: &[Value<'a>], at: usize) -> &'a str {
    v.get(at).map_or("", |flags| flags.text())
}

/// Looks at a constant pattern and constant flags, which stand at `at`.
fn constant(args: &[Option<&ScalarValue>], at: usize) -> Result<(), String> {
    let text = |at: usize| args.get(at).copied().flatten().and_then(|v| v.try_as_str()).flatten();
    let options = Options::parse(text(at).unwrap_or(""))?;
    match text(1) {
        Some(pattern) => compiled(pattern, options).map(|_| ()),
        None => Ok(()),
    }
}

fn operator(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    constant(args, usize::MAX)
}

fn expression(v: &[Value<'_>], options: Options) -> Result<Rc<Compiled>, String> {
    compiled(v[1].text(), options)
}

fn matches(v: &[Value<'_>], flags: &str, expected: bool) -> Answer {
    let options = one("regexp_like", Options::parse(flags)?)?;
    Ok(Out::Bool(expression(v, options)?.is_match(v[0].text()) == expected))
}

/// The options, unless they ask for all matches where one is looked for.
fn one(name: &str, options: Options) -> Result<Options, String> {
    match options.global {
        true => Err(format!("{name}() does not support the \"global\" option")),
        false => Ok(options),
    }
}

fn piece(text: &str, place: Option<Place>) -> Option<String> {
    place.map(|(from, to)| text[from..to].to_owned())
}

fn regexp_match(v: &[Value<'_>]) -> Answer {
    let re = expression(v, one("regexp_match", Options::parse(flags(v, 2))?)?)?;
    let text = v[0].text();
    let Some(found) = re.captures(text, 0) else { return Ok(Out::Null) };
    let groups = if re.groups() == 0 { &found[..] } else { &found[1..] };
    Ok(Out::Texts(groups.iter().map(|place| piece(text, *place)).collect()))
}

/// Where the character with number `start` begins; behind the end for a number behind the last.
fn start(text: &str, start: i64) -> Result<usize, String> {
    if start < 1 {
        return Err(format!("invalid value for parameter \"start\": {start}"));
    }
    let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    Ok(ends.into_iter().nth(skipped).unwrap_or(text.len() + 1))
}

/// The places of all matches at or after `from`.
fn all(re: &Compiled, text: &str, from: usize) -> impl Iterator<Item = Place> {
    let mut next = (from <= text.len()).then_some(from);
    std::iter::from_fn(move || {
        let found = re.find(text, next?)?;
        next = Compiled::after(text, found);
        Some(found)
    })
}

fn positive(name: &str, value: i64) -> Result<usize, String> {
    match usize::try_from(value) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("invalid value for parameter \"{name}\": {value}")),
    }
}

fn not_negative(name: &str, value: i64) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| format!("invalid value for parameter \"{name}\": {value}"))
}

fn regexp_count(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let from = start(text, v.get(2).map_or(1, Value::int))?;
    let re = expression(v, one("regexp_count", Options::parse(flags(v, 3))?)?)?;
    Ok(Out::Int(all(&re, text, from).count() as i64))
}

/// The place of match number `nth`, or of one of its groups.
fn nth(re: &Compiled, text: &str, from: usize, nth: usize, group: usize) -> Option<Place> {
    let found = all(re, text, from).nth(nth - 1)?;
    match group {
        0 => Some(found),
        group => re.captures(text, found.0)?.get(group).copied().flatten(),
    }
}

fn regexp_instr(v: &[Value<'_>]) -> Answer {
    let int = |at: usize, absent: i64| v.get(at).map_or(absent, Value::int);
    let text = v[0].text();
    let from = start(text, int(2, 1))?;
    let number = positive("n", int(3, 1))?;
    let end = match int(4, 0) {
        0 => false,
        1 => true,
        other => return Err(format!("invalid value for parameter \"endoption\": {other}")),
    };
    let re = expression(v, one("regexp_instr", Options::parse(flags(v, 5))?)?)?;
    let group = not_negative("subexpr", int(6, 0))? as usize;
    let place = nth(&re, text, from, number, group);
    Ok(Out::Int(place.map_or(0, |(from, to)| {
        let at = if end { to } else { from };
        text[..at].chars().count() as i64 + 1
    })))
}

fn regexp_substr(v: &[Value<'_>]) -> Answer {
    let int = |at: usize, absent: i64| v.get(at).map_or(absent, Value::int);
    let text = v[0].text();
    let from = start(text, int(2, 1))?;
    let number = positive("n", int(3, 1))?;
    let re = expression(v, one("regexp_substr", Options::parse(flags(v, 4))?)?)?;
    let group = not_negative("subexpr", int(5, 0))? as usize;
    Ok(piece(text, nth(&re, text, from, number, group)).into())
}

fn substring(v: &[Value<'_>]) -> Answer {
    let re = expression(v, Options::default())?;
    let text = v[0].text();
    let found = re.captures(text, 0);
    Ok(found.and_then(|f| piece(text, f[usize::from(re.groups() > 0)])).into())
}

/// Replaces match number `nth` from character `from` on, or every match if it is 0.
fn replace(v: &[Value<'_>], options: Options, from: i64, nth: u64) -> Answer {
    let (text, by) = (v[0].text(), v[2].text());
    let re = expression(v, options)?;
    let mut out = String::new();
    let (mut copied, mut number) = (0, 0);
    let mut next = Some(start(text, from)?).filter(|at| *at <= text.len());
    while let Some(at) = next {
        let Some(found) = re.find(text, at) else { break };
        next = Compiled::after(text, found);
        number += 1;
        if nth != 0 && number != nth {
            continue;
        }
        out.push_str(&text[copied..found.0]);
        copied = found.1;
        put(&mut out, by, || re.captures(text, found.0).unwrap_or_default(), text);
        grown(out.len(), text.len())?;
        if nth != 0 {
            break;
        }
    }
    out.push_str(&text[copied..]);
    Ok(out.into())
}

/// Appends `by` with its `\1`, `\&` and `\\` replaced.
fn put(out: &mut String, by: &str, groups: impl FnOnce() -> Vec<Option<Place>>, text: &str) {
    if !by.contains('\\') {
        return out.push_str(by);
    }
    let groups = groups();
    let group = |out: &mut String, at: usize| {
        if let Some((from, to)) = groups.get(at).copied().flatten() {
            out.push_str(&text[from..to]);
        }
    };
    let mut chars = by.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(d @ '1'..='9')) => group(out, d.to_digit(10).unwrap_or(0) as usize),
            ('\\', Some('&')) => group(out, 0),
            ('\\', Some('\\')) => out.push('\\'),
            _ => {
                out.push(c);
                continue;
            }
        }
        chars.next();
    }
}

fn split(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let re = expression(v, one("regexp_split_to_array", Options::parse(flags(v, 2))?)?)?;
    let (mut parts, mut from) = (Vec::new(), 0);
    for (start, end) in all(&re, text, 0) {
        // An empty match at either end, or behind the match before it, splits nothing.
        if start == end && (start == text.len() || start == from) {
            continue;
        }
        parts.push(Some(text[from..start].to_owned()));
        from = end;
    }
    parts.push(Some(text[from..].to_owned()));
    Ok(Out::Texts(parts))
}
