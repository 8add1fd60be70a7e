//! Access to parts of a JSONB value: members, elements and paths, found in its canonical text.
//!
//! The canonical text of a part is a substring of the text of the whole. So `->` finds the bounds of the
//! part and copies it without parsing the rest. The functions expect canonical text; for any other text
//! the result is unspecified, but they never fail.

use std::borrow::Cow;

use super::{Json, parse, write_string};

/// Returns the text of the member called `name`; None if the value is no object or lacks the member.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    // Names are compared in their escaped form, as it is in the text.
    let mut wanted = String::with_capacity(name.len() + 2);
    write_string(name, &mut wanted);
    let mut rest = text.strip_prefix('{')?;
    loop {
        let key = &rest[..value_end(rest)?];
        let after = rest[key.len()..].strip_prefix(':')?.trim_start();
        let value = &after[..value_end(after)?];
        if key == wanted {
            return Some(value);
        }
        rest = after[value.len()..].strip_prefix(',')?.trim_start();
    }
}

/// Returns the text of an element, counted from 0, or from the end if negative. A top-level scalar counts as
/// an array of one.
pub fn element(text: &str, index: i64) -> Option<&str> {
    if !text.starts_with(['[', '{']) {
        return (index == 0 || index == -1).then_some(text);
    }
    // Counting from the end takes a pass of its own: the text has no index.
    let items = elements(text)?;
    let place =
        if index < 0 { i64::try_from(items.clone().count()).ok()?.checked_add(index)? } else { index };
    let mut items = items;
    items.nth(usize::try_from(place).ok()?)
}

/// Returns the texts of an array's elements; None if the value is no array.
pub fn elements(text: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    let mut rest = text.strip_prefix('[');
    Some(std::iter::from_fn(move || {
        let here = rest?;
        let item = &here[..value_end(here)?];
        rest = here[item.len()..].strip_prefix(',').map(str::trim_start);
        Some(item)
    }))
    .filter(|_| text.starts_with('['))
}

/// Returns the text at the end of a path; None if the path does not exist.
pub fn at<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    let mut here = text;
    for step in path {
        here = if here.starts_with('[') { element(here, index(step)?)? } else { member(here, step)? };
    }
    Some(here)
}

/// Parses a step of a path as the index of an element.
pub fn index(step: &str) -> Option<i64> {
    let number = step.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    number.parse::<i32>().ok().map(i64::from)
}

/// Returns a value as `->>` does: texts without quotes, None for null.
pub fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    match text.as_bytes().first()? {
        b'n' => None,
        b'"' => match parse(text) {
            Ok(Json::String(inner)) => Some(inner),
            _ => Some(Cow::Borrowed(text)),
        },
        _ => Some(Cow::Borrowed(text)),
    }
}

/// Returns the end of the value with which `text` begins.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = skip_string(bytes, at + 1)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // A scalar without quotes ends at the next separator.
            _ if depth == 0 => {
                let length = bytes[at..].iter().position(|b| matches!(b, b',' | b']' | b'}' | b' '));
                return Some(length.map_or(bytes.len(), |length| at + length));
            }
            _ => {}
        }
        at += 1;
    }
}

/// Returns the offset behind the closing quote of a text.
fn skip_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
