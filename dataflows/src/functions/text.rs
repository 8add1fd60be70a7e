//! Functions of text: parts, places, padding, case.
//!
//! Places count characters from 1, as PostgreSQL's do. What can make much of little (`repeat`, `lpad`,
//! `replace`) is held to [`LONGEST`] before anything is allocated: a row that would exceed it is an
//! error, not the end of the process.

pub(crate) mod bytes;
pub(crate) mod format;
pub(crate) mod like;
pub(crate) mod regex;

use std::collections::BTreeMap;

use super::eval::own::{Answer, Def, Gives, Kind, def};
use super::eval::value::{Out, Value};

use Kind::{Int, Short, Text};

/// Bytes by which a result may be longer than what it is made of.
const LONGEST: usize = 1 << 20;

/// The functions.
pub(super) const TABLE: &[Def] = &[
    def("length", &[Text], Gives::Int, |v, _| count(v[0].text().chars().count())).total(),
    def("char_length", &[Text], Gives::Int, |v, _| count(v[0].text().chars().count())).total(),
    def("character_length", &[Text], Gives::Int, |v, _| count(v[0].text().chars().count())).total(),
    def("octet_length", &[Text], Gives::Int, |v, _| count(v[0].text().len())).total(),
    def("bit_length", &[Text], Gives::Int, |v, _| count(v[0].text().len() * 8)),
    def("upper", &[Text], Gives::Text, |v, _| Ok(v[0].text().chars().map(upper).collect::<String>().into()))
        .total(),
    def("lower", &[Text], Gives::Text, |v, _| Ok(lowered(v[0].text()).into())).total(),
    def("initcap", &[Text], Gives::Text, |v, _| Ok(initcap(v[0].text()).into())).total(),
    def("reverse", &[Text], Gives::Text, |v, _| Ok(v[0].text().chars().rev().collect::<String>().into()))
        .total(),
    def("btrim", &[Text, Text], Gives::Text, |v, _| Ok(trim(v, true, true).into())).optional(1).total(),
    def("trim", &[Text, Text], Gives::Text, |v, _| Ok(trim(v, true, true).into())).optional(1).total(),
    def("ltrim", &[Text, Text], Gives::Text, |v, _| Ok(trim(v, true, false).into())).optional(1).total(),
    def("rtrim", &[Text, Text], Gives::Text, |v, _| Ok(trim(v, false, true).into())).optional(1).total(),
    def("left", &[Text, Int], Gives::Text, |v, _| {
        let n = from_start(v[0].text(), v[1].int());
        Ok(v[0].text()[..byte(v[0].text(), n)].into())
    })
    .total(),
    def("right", &[Text, Int], Gives::Text, |v, _| {
        let (text, n) = (v[0].text(), v[1].int());
        // A negative number leaves out as many at the start.
        let kept = from_start(text, n);
        let length = text.chars().count();
        Ok(text[byte(text, length - kept.min(length))..].into())
    })
    .total(),
    def("lpad", &[Text, Int, Text], Gives::Text, |v, _| pad(v, true)).optional(1),
    def("rpad", &[Text, Int, Text], Gives::Text, |v, _| pad(v, false)).optional(1),
    def("repeat", &[Text, Int], Gives::Text, |v, _| repeat(v[0].text(), v[1].int())),
    def("replace", &[Text, Text, Text], Gives::Text, |v, _| replace(v[0].text(), v[1].text(), v[2].text())),
    def("translate", &[Text, Text, Text], Gives::Text, |v, _| {
        Ok(translate(v[0].text(), v[1].text(), v[2].text()).into())
    })
    .total(),
    def("split_part", &[Text, Text, Int], Gives::Text, |v, _| {
        split_part(v[0].text(), v[1].text(), v[2].int())
    }),
    def("strpos", &[Text, Text], Gives::Int, |v, _| position(v[0].text(), v[1].text())).total(),
    def("position", &[Text, Text], Gives::Int, |v, _| position(v[0].text(), v[1].text())).total(),
    def("instr", &[Text, Text], Gives::Int, |v, _| position(v[0].text(), v[1].text())).total(),
    def("substr", &[Text, Int, Int], Gives::Text, |v, _| substring(v)).optional(1),
    def("substring", &[Text, Int, Int], Gives::Text, |v, _| substring(v)).optional(1),
    def("overlay", &[Text, Text, Int, Int], Gives::Text, |v, _| overlay(v)).optional(1),
    def("starts_with", &[Text, Text], Gives::Bool, |v, _| Ok(v[0].text().starts_with(v[1].text()).into()))
        .total(),
    def("ends_with", &[Text, Text], Gives::Bool, |v, _| Ok(v[0].text().ends_with(v[1].text()).into()))
        .total(),
    def("contains", &[Text, Text], Gives::Bool, |v, _| Ok(v[0].text().contains(v[1].text()).into())).total(),
    def("ascii", &[Text], Gives::Int, |v, _| {
        Ok(Out::Int(v[0].text().chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    })
    .total(),
    def("chr", &[Int], Gives::Text, |v, _| chr(v[0].int())),
    def("to_hex", &[Short], Gives::Text, |v, _| Ok(format!("{:x}", v[0].int() as i32).into())).total(),
    def("to_hex", &[Int], Gives::Text, |v, _| Ok(format!("{:x}", v[0].int()).into())).total(),
    def("levenshtein", &[Text, Text], Gives::Int, |v, _| levenshtein(v[0].text(), v[1].text())),
    def("substr_index", &[Text, Text, Int], Gives::Text, |v, _| {
        Ok(substr_index(v[0].text(), v[1].text(), v[2].int()).into())
    })
    .total(),
    def("substring_index", &[Text, Text, Int], Gives::Text, |v, _| {
        Ok(substr_index(v[0].text(), v[1].text(), v[2].int()).into())
    })
    .total(),
    def("find_in_set", &[Text, Text], Gives::Int, |v, _| {
        let at = v[1].text().split(',').position(|item| item == v[0].text());
        Ok(Out::Int(if v[1].text().is_empty() { 0 } else { at.map_or(0, |at| at as i64 + 1) }))
    })
    .total(),
    def("herald_cut", &[Text, Int], Gives::Text, |v, _| Ok(cut(v[0].text(), v[1].int()).into())).total(),
];

/// Refuses a result of `length` bytes that was made of `from`.
///
/// # Errors
/// When it is longer than results may be.
pub(super) fn grown(length: usize, from: usize) -> Result<(), String> {
    match length <= from.saturating_add(LONGEST) {
        true => Ok(()),
        false => {
            Err("requested length too large: a result may be 1 MiB longer than its arguments".to_owned())
        }
    }
}

/// The first `length` characters, as a cast to `VARCHAR(length)` keeps them.
pub(super) fn cut(text: &str, length: i64) -> &str {
    &text[..byte(text, usize::try_from(length).unwrap_or(0))]
}

/// `text` in small letters, character by character as PostgreSQL does it.
pub(super) fn lowered(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// A letter's small one, where that is one character.
pub(super) fn lower(c: char) -> char {
    match c {
        '\u{130}' => 'i',
        c => one(c, c.to_lowercase()),
    }
}

fn upper(c: char) -> char {
    one(c, c.to_uppercase())
}

fn one(c: char, mut cased: impl Iterator<Item = char>) -> char {
    match (cased.next(), cased.next()) {
        (Some(cased), None) => cased,
        _ => c,
    }
}

fn count(n: usize) -> Answer {
    i64::try_from(n).map(Out::Int).map_err(|e| e.to_string())
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .map(|c| {
            let cased = if inside { lower(c) } else { upper(c) };
            inside = c.is_alphanumeric();
            cased
        })
        .collect()
}

/// The byte at which character `n`, from 0, begins; the end where there are fewer.
fn byte(text: &str, n: usize) -> usize {
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

/// How many characters `n` stands for; a negative number leaves out as many.
fn from_start(text: &str, n: i64) -> usize {
    let length = match n < 0 {
        true => (text.chars().count() as i64).saturating_add(n).max(0),
        false => n,
    };
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn trim<'a>(v: &[Value<'a>], start: bool, end: bool) -> &'a str {
    let text = v[0].text();
    let set: Vec<char> = v.get(1).map_or(" ", |set| set.text()).chars().collect();
    let inner = |c: char| set.contains(&c);
    let text = if start { text.trim_start_matches(inner) } else { text };
    if end { text.trim_end_matches(inner) } else { text }
}

fn pad(v: &[Value<'_>], before: bool) -> Answer {
    let text = v[0].text();
    let fill: Vec<char> = v.get(2).map_or(" ", |fill| fill.text()).chars().collect();
    let length = usize::try_from(v[1].int()).unwrap_or(0);
    let have = text.chars().count();
    if length <= have || fill.is_empty() {
        return Ok(text[..byte(text, length)].into());
    }
    grown(length, text.len())?;
    let padding: String = fill.iter().cycle().take(length - have).collect();
    grown(padding.len(), text.len())?;
    Ok(if before { padding + text } else { format!("{text}{padding}") }.into())
}

fn repeat(text: &str, times: i64) -> Answer {
    let times = usize::try_from(times).unwrap_or(0);
    grown(text.len().saturating_mul(times), text.len())?;
    Ok(text.repeat(times).into())
}

fn replace(text: &str, from: &str, to: &str) -> Answer {
    if from.is_empty() {
        return Ok(text.into());
    }
    if to.len() > from.len() {
        let times = text.matches(from).count();
        grown(text.len().saturating_add(times.saturating_mul(to.len() - from.len())), text.len())?;
    }
    Ok(text.replace(from, to).into())
}

fn translate(text: &str, from: &str, to: &str) -> String {
    let mut by: BTreeMap<char, Option<char>> = BTreeMap::new();
    let mut to = to.chars();
    for c in from.chars() {
        let into = to.next();
        by.entry(c).or_insert(into);
    }
    text.chars().filter_map(|c| by.get(&c).copied().unwrap_or(Some(c))).collect()
}

fn split_part(text: &str, by: &str, field: i64) -> Answer {
    if field == 0 {
        return Err("field position must not be zero".to_owned());
    }
    if by.is_empty() || text.is_empty() {
        return Ok(if field.abs() == 1 { text } else { "" }.into());
    }
    let at = usize::try_from(field.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found = match field > 0 {
        true => text.split(by).nth(at),
        false => text.split(by).collect::<Vec<_>>().into_iter().rev().nth(at),
    };
    Ok(found.unwrap_or("").into())
}

fn position(text: &str, part: &str) -> Answer {
    Ok(Out::Int(text.find(part).map_or(0, |at| text[..at].chars().count() as i64 + 1)))
}

/// The characters from `start` on, `length` of them where it is given.
pub(super) fn window(start: i64, length: Option<i64>) -> Result<(usize, usize), String> {
    let end = match length {
        None => i64::MAX,
        Some(n) if n < 0 => return Err("negative substring length not allowed".to_owned()),
        Some(n) => start.saturating_add(n),
    };
    let from = start.max(1) - 1;
    let to = end.saturating_sub(1).max(from);
    Ok((usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(to).unwrap_or(usize::MAX)))
}

fn substring(v: &[Value<'_>]) -> Answer {
    let (from, to) = window(v[1].int(), v.get(2).map(Value::int))?;
    let text = v[0].text();
    Ok(text[byte(text, from)..byte(text, to)].into())
}

fn overlay(v: &[Value<'_>]) -> Answer {
    let (text, new, start) = (v[0].text(), v[1].text(), v[2].int());
    if start <= 0 {
        return Err("negative substring length not allowed".to_owned());
    }
    let length = v.get(3).map_or(new.chars().count() as i64, Value::int);
    let end = start.checked_add(length).ok_or("integer out of range")?;
    let (_, before) = window(1, Some(start - 1))?;
    let (after, _) = window(end, None)?;
    Ok(format!("{}{new}{}", &text[..byte(text, before)], &text[byte(text, after)..]).into())
}

fn chr(code: i64) -> Answer {
    match u32::try_from(code) {
        Err(_) if code < 0 => Err("character number must be positive".to_owned()),
        Ok(0) => Err("null character not permitted".to_owned()),
        Ok(n) if n <= 0x10_FFFF => match char::from_u32(n) {
            Some(c) => Ok(c.to_string().into()),
            None => Err(format!("requested character not valid for encoding: {n}")),
        },
        _ => Err(format!("requested character too large for encoding: {code}")),
    }
}

/// Letters that [`levenshtein`] compares, as in PostgreSQL's module.
const COMPARED: usize = 255;

fn levenshtein(a: &str, b: &str) -> Answer {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > COMPARED || b.len() > COMPARED {
        return Err(format!("levenshtein argument exceeds maximum length of {COMPARED} characters"));
    }
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            row.push((last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1));
        }
        last = row;
    }
    count(last[b.len()])
}

/// What stands before separator number `n`, or behind it counted from the end.
fn substr_index<'a>(text: &'a str, by: &str, n: i64) -> &'a str {
    if n == 0 || by.is_empty() {
        return "";
    }
    let at = usize::try_from(n.unsigned_abs() - 1).unwrap_or(usize::MAX);
    match n > 0 {
        true => text.match_indices(by).nth(at).map_or(text, |(at, _)| &text[..at]),
        false => text.rmatch_indices(by).nth(at).map_or(text, |(at, by)| &text[at + by.len()..]),
    }
}
