//! Functions of text: parts, positions, padding, case.
//!
//! Positions count characters from 1, as in PostgreSQL. Functions whose result may be much longer than
//! their arguments (`repeat`, `lpad`, `replace`) check [`MAX_GROWTH`] before they allocate: a row beyond it
//! is an error and does not exhaust memory.

pub(crate) mod bytes;
pub(crate) mod format;
pub(crate) mod like;
pub(crate) mod regex;

use std::collections::BTreeMap;

use super::eval::about::{About, about};
use super::eval::own::{Answer, Def, Gives, Kind, def};
use super::eval::value::{Out, Value};

use Kind::{Int, Short, Text};

/// Most bytes by which a result may be longer than its arguments.
const MAX_GROWTH: usize = 1 << 20;

/// Definitions of the functions.
pub(super) const TABLE: &[Def] = &[
    def("length", &[Text], Gives::Int, count_chars).total(),
    def("char_length", &[Text], Gives::Int, count_chars).total(),
    def("character_length", &[Text], Gives::Int, count_chars).total(),
    def("octet_length", &[Text], Gives::Int, count_bytes).total(),
    def("bit_length", &[Text], Gives::Int, count_bits),
    def("upper", &[Text], Gives::Text, to_upper).total(),
    def("lower", &[Text], Gives::Text, to_lower).total(),
    def("initcap", &[Text], Gives::Text, initcap).total(),
    def("reverse", &[Text], Gives::Text, reverse).total(),
    def("btrim", &[Text, Text], Gives::Text, trim_both).optional(1).total(),
    def("trim", &[Text, Text], Gives::Text, trim_both).optional(1).total(),
    def("ltrim", &[Text, Text], Gives::Text, trim_start).optional(1).total(),
    def("rtrim", &[Text, Text], Gives::Text, trim_end).optional(1).total(),
    def("left", &[Text, Int], Gives::Text, first_chars).total(),
    def("right", &[Text, Int], Gives::Text, last_chars).total(),
    def("lpad", &[Text, Int, Text], Gives::Text, pad_before).optional(1),
    def("rpad", &[Text, Int, Text], Gives::Text, pad_behind).optional(1),
    def("repeat", &[Text, Int], Gives::Text, repeat_text),
    def("replace", &[Text, Text, Text], Gives::Text, replace_all),
    def("translate", &[Text, Text, Text], Gives::Text, translate).total(),
    def("split_part", &[Text, Text, Int], Gives::Text, split_part),
    def("strpos", &[Text, Text], Gives::Int, find_position).total(),
    def("position", &[Text, Text], Gives::Int, find_position).total(),
    def("instr", &[Text, Text], Gives::Int, find_position).total(),
    def("substr", &[Text, Int, Int], Gives::Text, substring_by_chars).optional(1),
    def("substring", &[Text, Int, Int], Gives::Text, substring_by_chars).optional(1),
    def("overlay", &[Text, Text, Int, Int], Gives::Text, overlay).optional(1),
    def("starts_with", &[Text, Text], Gives::Bool, starts_with).total(),
    def("ends_with", &[Text, Text], Gives::Bool, ends_with).total(),
    def("contains", &[Text, Text], Gives::Bool, contains_text).total(),
    def("ascii", &[Text], Gives::Int, first_code_point).total(),
    def("chr", &[Int], Gives::Text, chr),
    def("to_hex", &[Short], Gives::Text, short_to_hex).total(),
    def("to_hex", &[Int], Gives::Text, long_to_hex).total(),
    def("levenshtein", &[Text, Text], Gives::Int, levenshtein),
    def("substr_index", &[Text, Text, Int], Gives::Text, substr_index).total(),
    def("substring_index", &[Text, Text, Int], Gives::Text, substr_index).total(),
    def("find_in_set", &[Text, Text], Gives::Int, find_in_set).total(),
    def("herald_cut", &[Text, Int], Gives::Text, cut_chars).total(),
];

/// The lines of the reference pages about these functions.
pub(super) const ABOUT: &[About] = &[
    about("length", "Number of characters of a text, of bytes of a BYTEA."),
    about("char_length character_length", "Number of characters."),
    about("octet_length", "Number of bytes."),
    about("bit_length", "Number of bits."),
    about("upper", "The text in capitals."),
    about("lower", "The text in small letters."),
    about("initcap", "The text with a capital at the beginning of each word."),
    about("reverse", "The characters from last to first."),
    about(
        "trim btrim",
        "The text without blanks, or the given characters, at both ends: `trim(BOTH c FROM s)`.",
    ),
    about("ltrim", "The text without them at its beginning: `trim(LEADING c FROM s)`."),
    about("rtrim", "The text without them at its end: `trim(TRAILING c FROM s)`."),
    about("left", "The first n characters; all but the last n if n is negative."),
    about("right", "The last n characters; all but the first n if n is negative."),
    about(
        "lpad",
        "The text filled up to n characters at its beginning, with blanks or a given text; cut to n.",
    ),
    about("rpad", "The text filled up to n characters at its end, with blanks or a given text; cut to n."),
    about("repeat", "The text n times."),
    about("replace", "The text with each occurrence of the second argument replaced by the third."),
    about(
        "translate",
        "The text with each character of the second argument replaced by the third's at its place.",
    ),
    about("split_part", "Field n, from 1, of the text split at a separator; from the end if n is negative."),
    about("strpos position", "Place of a part, from 1, or 0: `strpos(s, part)`, `position(part IN s)`."),
    about("instr", "Place of a part, from 1, or 0."),
    about("substr", "The part from place n on, from 1, of a given length."),
    about(
        "substring",
        "The same, `substring(s FROM n FOR m)`; by a regular expression, its first match or group.",
    ),
    about("overlay", "The text with another in place of a part: `overlay(s PLACING t FROM n FOR m)`."),
    about("starts_with", "True if the text begins with another; `^@` is the same."),
    about("ends_with", "True if the text ends with another."),
    about("contains", "True if the text contains another."),
    about("ascii", "Code point of the first character; 0 for an empty text."),
    about("chr", "The character of a code point."),
    about("to_hex", "An integer in hexadecimal digits."),
    about("levenshtein", "Edit distance of two texts of at most 255 characters."),
    about(
        "substr_index substring_index",
        "The text before separator n; behind it, from the end, if n is negative.",
    ),
    about("find_in_set", "Place of a text in a list with commas between, from 1, or 0."),
];

/// Refuses a result of `length` bytes from arguments of `from` bytes.
///
/// # Errors
/// If the result is longer than the arguments by more than [`MAX_GROWTH`].
pub(super) fn check_growth(length: usize, from: usize) -> Result<(), String> {
    if length <= from.saturating_add(MAX_GROWTH) {
        Ok(())
    } else {
        Err("requested length too large: a result may be 1 MiB longer than its arguments".to_owned())
    }
}

/// Cuts to a number of characters, as a cast to `VARCHAR(length)` does.
fn cut_chars(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    Ok(text[..byte_offset(text, usize::try_from(v[1].int()).unwrap_or(0))].into())
}

fn to_upper(v: &[Value<'_>]) -> Answer {
    Ok(v[0].text().chars().map(upper).collect::<String>().into())
}

/// Converts to lower case, character by character as in PostgreSQL.
fn to_lower(v: &[Value<'_>]) -> Answer {
    Ok(v[0].text().chars().map(lower).collect::<String>().into())
}

/// Converts a letter to lower case, if that is one character.
pub(super) fn lower(c: char) -> char {
    match c {
        // The lower case of İ is two characters in Unicode; PostgreSQL gives i.
        '\u{130}' => 'i',
        c => single_char_case(c, c.to_lowercase()),
    }
}

fn upper(c: char) -> char {
    single_char_case(c, c.to_uppercase())
}

fn single_char_case(c: char, mut cased: impl Iterator<Item = char>) -> char {
    match (cased.next(), cased.next()) {
        (Some(cased), None) => cased,
        _ => c,
    }
}

fn int_answer(n: usize) -> Answer {
    i64::try_from(n).map(Out::Int).map_err(|e| e.to_string())
}

/// Returns the place of an item as functions count it: from 1, or 0 for none.
fn place_answer(at: Option<usize>) -> Answer {
    Ok(Out::Int(at.map_or(0, |at| at as i64 + 1)))
}

fn count_chars(v: &[Value<'_>]) -> Answer {
    int_answer(v[0].text().chars().count())
}

fn count_bytes(v: &[Value<'_>]) -> Answer {
    int_answer(v[0].bytes().len())
}

fn count_bits(v: &[Value<'_>]) -> Answer {
    int_answer(v[0].bytes().len() * 8)
}

fn initcap(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        out.push(if inside { lower(c) } else { upper(c) });
        inside = c.is_alphanumeric();
    }
    Ok(out.into())
}

fn reverse(v: &[Value<'_>]) -> Answer {
    Ok(v[0].text().chars().rev().collect::<String>().into())
}

/// Byte offset of character `n`, counted from 0; the end of the text if there are fewer.
fn byte_offset(text: &str, n: usize) -> usize {
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

/// Number of characters that `n` selects; a negative number leaves out that many.
fn from_start(text: &str, n: i64) -> usize {
    let length = if n < 0 { (text.chars().count() as i64).saturating_add(n).max(0) } else { n };
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn first_chars(v: &[Value<'_>]) -> Answer {
    let (text, n) = (v[0].text(), v[1].int());
    Ok(text[..byte_offset(text, from_start(text, n))].into())
}

fn last_chars(v: &[Value<'_>]) -> Answer {
    let (text, n) = (v[0].text(), v[1].int());
    // A negative number leaves out that many at the start.
    let kept = from_start(text, n);
    let length = text.chars().count();
    Ok(text[byte_offset(text, length - kept.min(length))..].into())
}

fn trim_both(v: &[Value<'_>]) -> Answer {
    Ok(trim_chars(v, true, true).into())
}

fn trim_start(v: &[Value<'_>]) -> Answer {
    Ok(trim_chars(v, true, false).into())
}

fn trim_end(v: &[Value<'_>]) -> Answer {
    Ok(trim_chars(v, false, true).into())
}

fn trim_chars<'a>(v: &[Value<'a>], start: bool, end: bool) -> &'a str {
    let text = v[0].text();
    let set: Vec<char> = v.get(1).map_or(" ", Value::text).chars().collect();
    let text = if start { text.trim_start_matches(set.as_slice()) } else { text };
    if end { text.trim_end_matches(set.as_slice()) } else { text }
}

fn pad_before(v: &[Value<'_>]) -> Answer {
    pad_text(v, true)
}

fn pad_behind(v: &[Value<'_>]) -> Answer {
    pad_text(v, false)
}

fn pad_text(v: &[Value<'_>], before: bool) -> Answer {
    let text = v[0].text();
    let fill: Vec<char> = v.get(2).map_or(" ", Value::text).chars().collect();
    let length = usize::try_from(v[1].int()).unwrap_or(0);
    let have = text.chars().count();
    if length <= have || fill.is_empty() {
        return Ok(text[..byte_offset(text, length)].into());
    }
    check_growth(length, text.len())?;
    let padding: String = fill.iter().cycle().take(length - have).collect();
    check_growth(padding.len(), text.len())?;
    Ok(if before { padding + text } else { format!("{text}{padding}") }.into())
}

fn repeat_text(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    let times = usize::try_from(v[1].int()).unwrap_or(0);
    check_growth(text.len().saturating_mul(times), text.len())?;
    Ok(text.repeat(times).into())
}

fn replace_all(v: &[Value<'_>]) -> Answer {
    let (text, from, to) = (v[0].text(), v[1].text(), v[2].text());
    if from.is_empty() {
        return Ok(text.into());
    }
    if to.len() > from.len() {
        let times = text.matches(from).count();
        check_growth(text.len().saturating_add(times.saturating_mul(to.len() - from.len())), text.len())?;
    }
    Ok(text.replace(from, to).into())
}

fn translate(v: &[Value<'_>]) -> Answer {
    let (text, from, to) = (v[0].text(), v[1].text(), v[2].text());
    let mut by: BTreeMap<char, Option<char>> = BTreeMap::new();
    let mut to = to.chars();
    for c in from.chars() {
        // The first occurrence of a character counts; one without counterpart is deleted.
        let into = to.next();
        by.entry(c).or_insert(into);
    }
    let translated: String = text.chars().filter_map(|c| by.get(&c).copied().unwrap_or(Some(c))).collect();
    Ok(translated.into())
}

fn split_part(v: &[Value<'_>]) -> Answer {
    let (text, by, field) = (v[0].text(), v[1].text(), v[2].int());
    if field == 0 {
        return Err("field position must not be zero".to_owned());
    }
    if by.is_empty() || text.is_empty() {
        return Ok(if field.abs() == 1 { text } else { "" }.into());
    }
    // A negative field counts from the end.
    let at = usize::try_from(field.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found = if field > 0 {
        text.split(by).nth(at)
    } else {
        text.split(by).collect::<Vec<_>>().into_iter().rev().nth(at)
    };
    Ok(found.unwrap_or("").into())
}

fn find_position(v: &[Value<'_>]) -> Answer {
    let text = v[0].text();
    place_answer(text.find(v[1].text()).map(|at| text[..at].chars().count()))
}

fn find_in_set(v: &[Value<'_>]) -> Answer {
    let (item, list) = (v[0].text(), v[1].text());
    if list.is_empty() {
        return Ok(Out::Int(0));
    }
    place_answer(list.split(',').position(|other| other == item))
}

fn starts_with(v: &[Value<'_>]) -> Answer {
    Ok(Out::Bool(v[0].text().starts_with(v[1].text())))
}

fn ends_with(v: &[Value<'_>]) -> Answer {
    Ok(Out::Bool(v[0].text().ends_with(v[1].text())))
}

fn contains_text(v: &[Value<'_>]) -> Answer {
    Ok(Out::Bool(v[0].text().contains(v[1].text())))
}

fn first_code_point(v: &[Value<'_>]) -> Answer {
    Ok(Out::Int(i64::from(v[0].text().chars().next().map_or(0, u32::from))))
}

fn short_to_hex(v: &[Value<'_>]) -> Answer {
    Ok(format!("{:x}", v[0].int() as i32).into())
}

fn long_to_hex(v: &[Value<'_>]) -> Answer {
    Ok(format!("{:x}", v[0].int()).into())
}

/// Range of the items from `start` (from 1) on, `length` of them if given; as indexes from 0, end exclusive.
pub(super) fn item_range(start: i64, length: Option<i64>) -> Result<(usize, usize), String> {
    let end = match length {
        None => i64::MAX,
        Some(n) if n < 0 => return Err("negative substring length not allowed".to_owned()),
        Some(n) => start.saturating_add(n),
    };
    let from = start.max(1) - 1;
    let to = end.saturating_sub(1).max(from);
    Ok((usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(to).unwrap_or(usize::MAX)))
}

fn substring_by_chars(v: &[Value<'_>]) -> Answer {
    let (from, to) = item_range(v[1].int(), v.get(2).map(Value::int))?;
    let text = v[0].text();
    Ok(text[byte_offset(text, from)..byte_offset(text, to)].into())
}

fn overlay(v: &[Value<'_>]) -> Answer {
    let (text, new, start) = (v[0].text(), v[1].text(), v[2].int());
    if start <= 0 {
        return Err("negative substring length not allowed".to_owned());
    }
    let length = v.get(3).map_or(new.chars().count() as i64, Value::int);
    let end = start.checked_add(length).ok_or("integer out of range")?;
    let (_, before) = item_range(1, Some(start - 1))?;
    let (after, _) = item_range(end, None)?;
    Ok(format!("{}{new}{}", &text[..byte_offset(text, before)], &text[byte_offset(text, after)..]).into())
}

fn chr(v: &[Value<'_>]) -> Answer {
    let code = v[0].int();
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

/// Most characters of an argument of [`levenshtein`], as in PostgreSQL's module.
const MAX_LEVENSHTEIN_CHARS: usize = 255;

fn levenshtein(v: &[Value<'_>]) -> Answer {
    let (a, b): (Vec<char>, Vec<char>) = (v[0].text().chars().collect(), v[1].text().chars().collect());
    if a.len() > MAX_LEVENSHTEIN_CHARS || b.len() > MAX_LEVENSHTEIN_CHARS {
        return Err(format!(
            "levenshtein argument exceeds maximum length of {MAX_LEVENSHTEIN_CHARS} characters"
        ));
    }
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            row.push((last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1));
        }
        last = row;
    }
    int_answer(last[b.len()])
}

/// Text before separator number `n`; behind that separator, counted from the end, if `n` is negative.
fn substr_index(v: &[Value<'_>]) -> Answer {
    let (text, by, n) = (v[0].text(), v[1].text(), v[2].int());
    if n == 0 || by.is_empty() {
        return Ok("".into());
    }
    let at = usize::try_from(n.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let part = if n > 0 {
        text.match_indices(by).nth(at).map_or(text, |(at, _)| &text[..at])
    } else {
        text.rmatch_indices(by).nth(at).map_or(text, |(at, by)| &text[at + by.len()..])
    };
    Ok(part.into())
}
