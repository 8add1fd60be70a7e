//! LIKE, ILIKE and SIMILAR TO.
//!
//! `%` is any text, `_` any character, and an escape, a backslash unless ESCAPE says otherwise, takes
//! the meaning from what follows. ILIKE compares small letters. SIMILAR TO becomes a regular expression
//! as PostgreSQL makes it one.

use datafusion_common::ScalarValue;

use super::lower;
use super::regex::{Options, compiled};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, def};
use crate::functions::eval::value::{Out, Value};

use Kind::Text;

/// The functions.
pub(crate) const TABLE: &[Def] = &[
    def("like", &[Text, Text, Text], Gives::Bool, |v, _| like(v, false)).optional(1).checked(constant),
    def("ilike", &[Text, Text, Text], Gives::Bool, |v, _| like(v, true)).optional(1).checked(constant),
    def("similar_to", &[Text, Text, Text], Gives::Bool, |v, _| similar(v)).optional(1).checked(|args| {
        let text = |at: usize| args.get(at).copied().flatten().and_then(|v| v.try_as_str()).flatten();
        let escape = escape(text(2))?;
        match text(1) {
            Some(pattern) => compiled(&as_regex(pattern, escape), Options::default()).map(|_| ()),
            None => Ok(()),
        }
    }),
];

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Any text.
    Any,
    /// Any character.
    One,
    /// This character.
    Char(char),
    /// An escape with nothing behind it.
    Bare,
}

const BARE: &str = "LIKE pattern must not end with escape character";

fn constant(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    let text = |at: usize| args.get(at).copied().flatten().and_then(|v| v.try_as_str()).flatten();
    let escape = escape(text(2))?;
    match text(1).map(|pattern| parts(pattern, escape, false)) {
        Some(parts) if parts.last() == Some(&Part::Bare) => Err(BARE.to_owned()),
        _ => Ok(()),
    }
}

/// The escape character; none where ESCAPE is empty.
fn escape(given: Option<&str>) -> Result<Option<char>, String> {
    let Some(given) = given else { return Ok(Some('\\')) };
    let mut chars = given.chars();
    match (chars.next(), chars.next()) {
        (first, None) => Ok(first),
        _ => Err("invalid escape string: it must be empty or one character".to_owned()),
    }
}

fn parts(pattern: &str, escape: Option<char>, fold: bool) -> Vec<Part> {
    let fold = |c: char| if fold { lower(c) } else { c };
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => chars.next().map_or(Part::Bare, |c| Part::Char(fold(c))),
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Char(fold(c)),
        });
    }
    parts
}

fn like(v: &[Value<'_>], fold: bool) -> Answer {
    let escape = escape(v.get(2).map(|e| e.text()))?;
    let parts = parts(v[1].text(), escape, fold);
    let text = v[0].text();
    matches(text, &parts, fold).map(Out::Bool)
}

/// Goes along the text; at a difference, the last `%` takes one character more.
fn matches(text: &str, parts: &[Part], fold: bool) -> Result<bool, String> {
    let (mut rest, mut at) = (text.chars(), 0);
    let mut again: Option<(std::str::Chars<'_>, usize)> = None;
    loop {
        let before = rest.clone();
        let next = rest.next().map(|c| if fold { lower(c) } else { c });
        match (parts.get(at), next) {
            (Some(Part::Any), _) => {
                rest = before;
                at += 1;
                match parts.get(at) {
                    None => return Ok(true),
                    Some(Part::Bare) => return Err(BARE.to_owned()),
                    Some(_) => again = Some((rest.clone(), at)),
                }
                continue;
            }
            (Some(Part::Bare), Some(_)) => return Err(BARE.to_owned()),
            (Some(Part::One), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(Part::Char(part)), Some(c)) if *part == c => {
                at += 1;
                continue;
            }
            (None, None) => return Ok(true),
            // Nothing of the text is left for what the pattern still wants.
            (Some(_), None) => return Ok(false),
            _ => {}
        }
        let Some((from, behind)) = &mut again else { return Ok(false) };
        from.next();
        (rest, at) = (from.clone(), *behind);
    }
}

fn similar(v: &[Value<'_>]) -> Answer {
    let escape = escape(v.get(2).map(|e| e.text()))?;
    let re = compiled(&as_regex(v[1].text(), escape), Options::default())?;
    Ok(re.is_match(v[0].text()).into())
}

/// The regular expression that a pattern of SIMILAR TO stands for.
fn as_regex(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::from("^(?:");
    let (mut escaped, mut inside) = (false, false);
    for c in pattern.chars() {
        if escaped {
            out.push('\\');
            out.push(c);
            escaped = false;
        } else if Some(c) == escape {
            escaped = true;
        } else if inside {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
            inside = c != ']';
        } else {
            match c {
                '[' => {
                    out.push(c);
                    inside = true;
                }
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '\\' | '.' | '^' | '$' => {
                    out.push('\\');
                    out.push(c);
                }
                c => out.push(c),
            }
        }
    }
    out.push_str(")$");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_like(text: &str, pattern: &str) -> Result<bool, String> {
        matches(text, &parts(pattern, Some('\\'), false), false)
    }

    #[test]
    fn patterns_match_as_in_postgresql() {
        let rows = [
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("abc", "a%c", true),
            ("abcbc", "a%bc", true),
            ("abc", "a_c", true),
            ("äbc", "_bc", true),
            ("a%", "a\\%", true),
            ("ab", "a\\%", false),
            ("\\", "\\\\", true),
            ("mississippi", "%iss%ip%", true),
            ("mississippi", "%iss%ix%", false),
            ("a", "a\\", false),
        ];
        for (text, pattern, expected) in rows {
            assert_eq!(is_like(text, pattern), Ok(expected), "{text} LIKE {pattern}");
        }
        assert_eq!(is_like("ab", "a\\"), Err(BARE.to_owned()));
    }

    #[test]
    fn similar_patterns_become_expressions() {
        assert_eq!(as_regex("a(b|_)%.c[%\\]", Some('#')), "^(?:a(?:b|.).*\\.c[%\\\\])$");
        assert_eq!(as_regex("a#%", Some('#')), "^(?:a\\%)$");
    }
}
