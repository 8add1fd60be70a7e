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
use crate::functions::eval::own::{Answer, Def, Gives, Kind, constant_text, def};
use crate::functions::eval::value::{Out, Value};
pub(in crate::functions) use compiled::compiled;
use compiled::{Compiled, MatchSpan};
pub(in crate::functions) use options::Options;

use Kind::{Int, Text};

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    def("~", &[Text, Text], Gives::Bool, matches).checked(check_pattern),
    def("~*", &[Text, Text], Gives::Bool, matches_any_case).checked(check_pattern),
    def("!~", &[Text, Text], Gives::Bool, differs).checked(check_pattern),
    def("!~*", &[Text, Text], Gives::Bool, differs_any_case).checked(check_pattern),
    def("regexp_like", &[Text, Text, Text], Gives::Bool, regexp_like).optional(1).checked(check_flags::<2>),
    def("regexp_match", &[Text, Text, Text], Gives::Texts, regexp_match)
        .optional(1)
        .checked(check_flags::<2>),
    def("regexp_count", &[Text, Text, Int, Text], Gives::Int, regexp_count)
        .optional(2)
        .checked(check_flags::<3>),
    def("regexp_instr", &[Text, Text, Int, Int, Int, Text, Int], Gives::Int, regexp_instr)
        .optional(5)
        .checked(check_flags::<5>),
    def("regexp_substr", &[Text, Text, Int, Int, Text, Int], Gives::Text, regexp_substr)
        .optional(4)
        .checked(check_flags::<4>),
    def("regexp_replace", &[Text, Text, Text, Text], Gives::Text, replace_by_flags)
        .optional(1)
        .checked(check_flags::<3>),
    def("regexp_replace", &[Text, Text, Text, Int, Int, Text], Gives::Text, replace_from_place)
        .optional(2)
        .checked(check_flags::<5>),
    def("regexp_split_to_array", &[Text, Text, Text], Gives::Texts, split_text)
        .optional(1)
        .checked(check_flags::<2>),
    def("substring", &[Text, Text], Gives::Text, first_group).checked(check_pattern),
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
    v.get(at).map_or("", Value::text)
}

/// Returns the integer at a place that may be left out.
fn optional_int(v: &[Value<'_>], at: usize, absent: i64) -> i64 {
    v.get(at).map_or(absent, Value::int)
}

/// Checks a constant pattern and constant flags; the flags are argument `AT`.
fn check_flags<const AT: usize>(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    compile_constant(args, Options::parse(constant_text(args, AT).unwrap_or(""))?)
}

/// Checks a constant pattern of a function without flags.
fn check_pattern(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    compile_constant(args, Options::default())
}

fn compile_constant(args: &[Option<&ScalarValue>], options: Options) -> Result<(), String> {
    match constant_text(args, 1) {
        Some(pattern) => compiled(pattern, options).map(drop),
        None => Ok(()),
    }
}

fn compiled_pattern(v: &[Value<'_>], options: Options) -> Result<Rc<Compiled>, String> {
    compiled(v[1].text(), options)
}

fn matches(v: &[Value<'_>]) -> Answer {
    match_regex(v, "", true)
}

fn matches_any_case(v: &[Value<'_>]) -> Answer {
    match_regex(v, "i", true)
}

fn differs(v: &[Value<'_>]) -> Answer {
    match_regex(v, "", false)
}

fn differs_any_case(v: &[Value<'_>]) -> Answer {
    match_regex(v, "i", false)
}

fn regexp_like(v: &[Value<'_>]) -> Answer {
    match_regex(v, flags(v, 2), true)
}

fn match_regex(v: &[Value<'_>], flags: &str, expected: bool) -> Answer {
    let options = refuse_global("regexp_like", Options::parse(flags)?)?;
    Ok(Out::Bool(compiled_pattern(v, options)?.is_match(v[0].text()) == expected))
}

/// Refuses the option of all matches for a function that returns one.
fn refuse_global(name: &str, options: Options) -> Result<Options, String> {
    if options.global { Err(format!("{name}() does not support the \"global\" option")) } else { Ok(options) }
}

fn matched_text(text: &str, place: Option<MatchSpan>) -> Option<String> {
    let (from, to) = place?;
    Some(text[from..to].to_owned())
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
    let from = start_offset(text, optional_int(v, 2, 1))?;
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
    let text = v[0].text();
    let from = start_offset(text, optional_int(v, 2, 1))?;
    let number = positive("n", optional_int(v, 3, 1))?;
    let end = match optional_int(v, 4, 0) {
        0 => false,
        1 => true,
        other => return Err(format!("invalid value for parameter \"endoption\": {other}")),
    };
    let re = compiled_pattern(v, refuse_global("regexp_instr", Options::parse(flags(v, 5))?)?)?;
    let group = not_negative("subexpr", optional_int(v, 6, 0))? as usize;
    let Some((from, to)) = nth_match(&re, text, from, number, group) else { return Ok(Out::Int(0)) };
    let at = if end { to } else { from };
    Ok(Out::Int(text[..at].chars().count() as i64 + 1))
}

fn regexp_substr(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let from = start_offset(text, optional_int(v, 2, 1))?;
    let number = positive("n", optional_int(v, 3, 1))?;
    let re = compiled_pattern(v, refuse_global("regexp_substr", Options::parse(flags(v, 4))?)?)?;
    let group = not_negative("subexpr", optional_int(v, 5, 0))? as usize;
    Ok(matched_text(text, nth_match(&re, text, from, number, group)).into())
}

fn first_group(v: &[Value<'_>]) -> Answer {
    let re = compiled_pattern(v, Options::default())?;
    let text = v[0].text();
    let Some(found) = re.captures(text, 0) else { return Ok(Out::Null) };
    Ok(matched_text(text, found[usize::from(re.groups() > 0)]).into())
}

/// Replaces the first match, or all with flag `g`.
fn replace_by_flags(v: &[Value<'_>]) -> Answer {
    let options = Options::parse(flags(v, 3))?;
    replace_matches(v, options, 1, u64::from(!options.global))
}

/// Replaces from a place on: match number n, or the first or all as the flags say.
fn replace_from_place(v: &[Value<'_>]) -> Answer {
    let options = Options::parse(flags(v, 5))?;
    let nth = optional_int(v, 4, i64::from(!options.global));
    replace_matches(v, options, v[3].int(), not_negative("n", nth)?)
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
        if by.contains('\\') {
            append_replacement(&mut out, by, &re.captures(text, found.0).unwrap_or_default(), text);
        } else {
            out.push_str(by);
        }
        check_growth(out.len(), text.len())?;
        if nth != 0 {
            break;
        }
    }
    out.push_str(&text[copied..]);
    Ok(out.into())
}

/// Appends `by` with its `\1`, `\&` and `\\` replaced.
fn append_replacement(out: &mut String, by: &str, groups: &[Option<MatchSpan>], text: &str) {
    let mut chars = by.chars().peekable();
    while let Some(c) = chars.next() {
        let group = match (c, chars.peek()) {
            ('\\', Some(d @ '1'..='9')) => d.to_digit(10).unwrap_or(0) as usize,
            ('\\', Some('&')) => 0,
            ('\\', Some('\\')) => {
                out.push('\\');
                chars.next();
                continue;
            }
            _ => {
                out.push(c);
                continue;
            }
        };
        if let Some((from, to)) = groups.get(group).copied().flatten() {
            out.push_str(&text[from..to]);
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
