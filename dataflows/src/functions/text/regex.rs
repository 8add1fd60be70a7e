//! Regular expressions: the operators `~ ~* !~ !~*` and the functions `regexp_...`.
//!
//! Patterns are PostgreSQL's advanced regular expressions. A constant pattern is compiled while the
//! query is planned, so that a wrong one is a mistake at its place; a computed one that is wrong is an
//! error of its row. The operators are functions of the same name: the optimiser has no rules for them,
//! so none rewrites `s ~ '.*'` to an expression that is true for NULL.

mod brackets;
mod compiled;
pub(crate) mod escape;
mod options;
mod translate;

use std::rc::Rc;

use datafusion_common::ScalarValue;

use super::check_growth;
use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, def};
use crate::functions::eval::value::{Out, Value};
pub(in crate::functions) use compiled::compiled;
use compiled::{Compiled, MatchSpan};
pub(in crate::functions) use options::Options;

use Kind::{Int, Text};

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    def("~", &[Text, Text], Gives::Bool, |v, _| match_regex(v, "", true)).checked(check_operator),
    def("~*", &[Text, Text], Gives::Bool, |v, _| match_regex(v, "i", true)).checked(check_operator),
    def("!~", &[Text, Text], Gives::Bool, |v, _| match_regex(v, "", false)).checked(check_operator),
    def("!~*", &[Text, Text], Gives::Bool, |v, _| match_regex(v, "i", false)).checked(check_operator),
    def("regexp_like", &[Text, Text, Text], Gives::Bool, |v, _| match_regex(v, flags(v, 2), true))
        .optional(1)
        .checked(|c| check_constant(c, 2)),
    def("regexp_match", &[Text, Text, Text], Gives::Texts, |v, _| regexp_match(v))
        .optional(1)
        .checked(|c| check_constant(c, 2)),
    def("regexp_count", &[Text, Text, Int, Text], Gives::Int, |v, _| regexp_count(v))
        .optional(2)
        .checked(|c| check_constant(c, 3)),
    def("regexp_instr", &[Text, Text, Int, Int, Int, Text, Int], Gives::Int, |v, _| regexp_instr(v))
        .optional(5)
        .checked(|c| check_constant(c, 5)),
    def("regexp_substr", &[Text, Text, Int, Int, Text, Int], Gives::Text, |v, _| regexp_substr(v))
        .optional(4)
        .checked(|c| check_constant(c, 4)),
    def("regexp_replace", &[Text, Text, Text, Text], Gives::Text, |v, _| {
        let options = Options::parse(flags(v, 3))?;
        replace_matches(v, options, 1, u64::from(!options.global))
    })
    .optional(1)
    .checked(|c| check_constant(c, 3)),
    def("regexp_replace", &[Text, Text, Text, Int, Int, Text], Gives::Text, |v, _| {
        let options = Options::parse(flags(v, 5))?;
        let nth = v.get(4).map_or(i64::from(!options.global), Value::int);
        replace_matches(v, options, v[3].int(), not_negative("n", nth)?)
    })
    .optional(2)
    .checked(|c| check_constant(c, 5)),
    def("regexp_split_to_array", &[Text, Text, Text], Gives::Texts, |v, _| split_text(v))
        .optional(1)
        .checked(|c| check_constant(c, 2)),
    def("substring", &[Text, Text], Gives::Text, |v, _| first_group(v)).checked(|c| check_constant(c, 2)),
];

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about(
        "regexp_like",
        "True if the pattern matches; flags such as `i` come last. `~` and `~*` are the same.",
    ),
    about("regexp_match", "The groups of the first match, or the match itself; NULL without one."),
    about("regexp_count", "Number of matches from a place on."),
    about(
        "regexp_instr",
        "Place of a match, or 0: `regexp_instr(s, pattern, start, nth, end, flags, group)`.",
    ),
    about("regexp_substr", "Text of a match: `regexp_substr(s, pattern, start, nth, flags, group)`."),
    about(
        "regexp_replace",
        "The text with the first match replaced, all with flag `g`; from a place on, match number n.",
    ),
    about("regexp_split_to_array", "The parts of a text between matches."),
];

fn flags<'a>(v: &[Value<'a>], at: usize) -> &'a str {
    v.get(at).map_or("", |flags| flags.text())
}

/// Checks a constant pattern and constant flags; the flags are argument `at`.
fn check_constant(args: &[Option<&ScalarValue>], at: usize) -> Result<(), String> {
    let text = |at: usize| args.get(at).copied().flatten().and_then(|v| v.try_as_str()).flatten();
    let options = Options::parse(text(at).unwrap_or(""))?;
    match text(1) {
        Some(pattern) => compiled(pattern, options).map(|_| ()),
        None => Ok(()),
    }
}

fn check_operator(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    check_constant(args, usize::MAX)
}

fn compiled_pattern(v: &[Value<'_>], options: Options) -> Result<Rc<Compiled>, String> {
    compiled(v[1].text(), options)
}

fn match_regex(v: &[Value<'_>], flags: &str, expected: bool) -> Answer {
    let options = refuse_global("regexp_like", Options::parse(flags)?)?;
    Ok(Out::Bool(compiled_pattern(v, options)?.is_match(v[0].text()) == expected))
}

/// Refuses the option of all matches for a function that returns one.
fn refuse_global(name: &str, options: Options) -> Result<Options, String> {
    match options.global {
        true => Err(format!("{name}() does not support the \"global\" option")),
        false => Ok(options),
    }
}

fn matched_text(text: &str, place: Option<MatchSpan>) -> Option<String> {
    place.map(|(from, to)| text[from..to].to_owned())
}

fn regexp_match(v: &[Value<'_>]) -> Answer {
    let re = compiled_pattern(v, refuse_global("regexp_match", Options::parse(flags(v, 2))?)?)?;
    let text = v[0].text();
    let Some(found) = re.captures(text, 0) else { return Ok(Out::Null) };
    let groups = if re.groups() == 0 { &found[..] } else { &found[1..] };
    Ok(Out::Texts(groups.iter().map(|place| matched_text(text, *place)).collect()))
}

/// Byte offset of character number `start`, from 1; beyond the text's end for a number greater than length +
/// 1.
fn start_offset(text: &str, start: i64) -> Result<usize, String> {
    if start < 1 {
        return Err(format!("invalid value for parameter \"start\": {start}"));
    }
    let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
    // The position behind the last character is allowed, too.
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    Ok(ends.into_iter().nth(skipped).unwrap_or(text.len() + 1))
}

/// Spans of all matches at or after `from`, in order and without overlaps.
fn all_matches(re: &Compiled, text: &str, from: usize) -> impl Iterator<Item = MatchSpan> {
    let mut next = (from <= text.len()).then_some(from);
    std::iter::from_fn(move || {
        let found = re.find(text, next?)?;
        next = Compiled::next_start(text, found);
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
    let from = start_offset(text, v.get(2).map_or(1, Value::int))?;
    let re = compiled_pattern(v, refuse_global("regexp_count", Options::parse(flags(v, 3))?)?)?;
    Ok(Out::Int(all_matches(&re, text, from).count() as i64))
}

/// Span of match number `nth`, or of one of its groups.
fn nth_match(re: &Compiled, text: &str, from: usize, nth: usize, group: usize) -> Option<MatchSpan> {
    let found = all_matches(re, text, from).nth(nth - 1)?;
    match group {
        0 => Some(found),
        group => re.captures(text, found.0)?.get(group).copied().flatten(),
    }
}

fn regexp_instr(v: &[Value<'_>]) -> Answer {
    let int = |at: usize, absent: i64| v.get(at).map_or(absent, Value::int);
    let text = v[0].text();
    let from = start_offset(text, int(2, 1))?;
    let number = positive("n", int(3, 1))?;
    let end = match int(4, 0) {
        0 => false,
        1 => true,
        other => return Err(format!("invalid value for parameter \"endoption\": {other}")),
    };
    let re = compiled_pattern(v, refuse_global("regexp_instr", Options::parse(flags(v, 5))?)?)?;
    let group = not_negative("subexpr", int(6, 0))? as usize;
    let place = nth_match(&re, text, from, number, group);
    Ok(Out::Int(place.map_or(0, |(from, to)| {
        let at = if end { to } else { from };
        text[..at].chars().count() as i64 + 1
    })))
}

fn regexp_substr(v: &[Value<'_>]) -> Answer {
    let int = |at: usize, absent: i64| v.get(at).map_or(absent, Value::int);
    let text = v[0].text();
    let from = start_offset(text, int(2, 1))?;
    let number = positive("n", int(3, 1))?;
    let re = compiled_pattern(v, refuse_global("regexp_substr", Options::parse(flags(v, 4))?)?)?;
    let group = not_negative("subexpr", int(5, 0))? as usize;
    Ok(matched_text(text, nth_match(&re, text, from, number, group)).into())
}

fn first_group(v: &[Value<'_>]) -> Answer {
    let re = compiled_pattern(v, Options::default())?;
    let text = v[0].text();
    let found = re.captures(text, 0);
    Ok(found.and_then(|f| matched_text(text, f[usize::from(re.groups() > 0)])).into())
}

/// Replaces match number `nth` from character `from` on, or every match if it is 0.
fn replace_matches(v: &[Value<'_>], options: Options, from: i64, nth: u64) -> Answer {
    let (text, by) = (v[0].text(), v[2].text());
    let re = compiled_pattern(v, options)?;
    let mut out = String::new();
    let (mut copied, mut number) = (0, 0);
    let mut next = Some(start_offset(text, from)?).filter(|at| *at <= text.len());
    while let Some(at) = next {
        let Some(found) = re.find(text, at) else { break };
        next = Compiled::next_start(text, found);
        number += 1;
        if nth != 0 && number != nth {
            continue;
        }
        out.push_str(&text[copied..found.0]);
        copied = found.1;
        append_replacement(&mut out, by, || re.captures(text, found.0).unwrap_or_default(), text);
        check_growth(out.len(), text.len())?;
        if nth != 0 {
            break;
        }
    }
    out.push_str(&text[copied..]);
    Ok(out.into())
}

/// Appends `by` with its `\1`, `\&` and `\\` replaced.
fn append_replacement(
    out: &mut String,
    by: &str,
    groups: impl FnOnce() -> Vec<Option<MatchSpan>>,
    text: &str,
) {
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

fn split_text(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let re = compiled_pattern(v, refuse_global("regexp_split_to_array", Options::parse(flags(v, 2))?)?)?;
    let (mut parts, mut from) = (Vec::new(), 0);
    for (start, end) in all_matches(&re, text, 0) {
        // An empty match at either end, or right behind the previous match, splits nothing.
        if start == end && (start == text.len() || start == from) {
            continue;
        }
        parts.push(Some(text[from..start].to_owned()));
        from = end;
    }
    parts.push(Some(text[from..].to_owned()));
    Ok(Out::Texts(parts))
}
