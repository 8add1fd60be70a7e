//! Ways into a JSONB value: members, elements and paths, found in its text.
//!
//! A part of a value has, as it stands in the text of the whole, its own text. So `->` finds where the
//! part begins and ends and copies it; nothing else is parsed. The text is one that this module's parent
//! made; of another it finds something or nothing, and never fails.

use std::borrow::Cow;

use super::{Json, parse, write_string};

/// The text of the member called `name`; None for what is no object or has none.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut wanted = String::with_capacity(name.len() + 2);
    write_string(name, &mut wanted);
    let mut rest = text.strip_prefix('{')?;
    loop {
        let key = &rest[..end(rest)?];
        let after = rest[key.len()..].strip_prefix(':')?.trim_start();
        let value = &after[..end(after)?];
        if key == wanted {
            return Some(value);
        }
        rest = after[value.len()..].strip_prefix(',')?.trim_start();
    }
}

/// The text of an element, from 0, or from the end below 0. A scalar on its own counts as an array of one.
pub fn element(text: &str, index: i64) -> Option<&str> {
    if !text.starts_with(['[', '{']) {
        return (index == 0 || index == -1).then_some(text);
    }
    let items = elements(text)?;
    let place =
        if index < 0 { i64::try_from(items.clone().count()).ok()?.checked_add(index)? } else { index };
    let mut items = items;
    items.nth(usize::try_from(place).ok()?)
}

/// The texts of an array's elements; None for what is no array.
pub fn elements(text: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    let mut rest = text.strip_prefix('[');
    Some(std::iter::from_fn(move || {
        let here = rest?;
        let item = &here[..end(here)?];
        rest = here[item.len()..].strip_prefix(',').map(str::trim_start);
        Some(item)
    }))
    .filter(|_| text.starts_with('['))
}

/// What stands at the end of a path; None where it leads nowhere.
pub fn at<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(text, |here, step| {
        if here.starts_with('[') { element(here, index(step)?) } else { member(here, step) }
    })
}

/// A step of a path as the number of an element.
pub fn index(step: &str) -> Option<i64> {
    let number = step.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    number.parse::<i32>().ok().map(i64::from)
}

/// A value as `->>` gives it: texts without quotes, None for null.
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

/// Where the value ends that `text` begins with.
fn end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = quote(bytes, at + 1)?;
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
            _ if depth == 0 => {
                let length = bytes[at..].iter().position(|b| matches!(b, b',' | b']' | b'}' | b' '));
                return Some(length.map_or(bytes.len(), |length| at + length));
            }
            _ => {}
        }
        at += 1;
    }
}

/// The place behind the quote that ends a text.
fn quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
