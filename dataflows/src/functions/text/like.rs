//! LIKE, ILIKE and SIMILAR TO.
//!
//! `%` matches any text, `_` any character. The escape character, a backslash unless ESCAPE sets another,
//! makes the next character literal. ILIKE compares in lower case. SIMILAR TO is converted to a regular
//! expression in the same way as in PostgreSQL.

use datafusion_common::ScalarValue;

use super::lower;
use super::regex::{Options, compiled};
use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, constant_text, def};
use crate::functions::eval::value::{Out, Value};

use Kind::Text;

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    def("like", &[Text, Text, Text], Gives::Bool, like).optional(1).checked(check_constant),
    def("ilike", &[Text, Text, Text], Gives::Bool, ilike).optional(1).checked(check_constant),
    def("similar_to", &[Text, Text, Text], Gives::Bool, match_similar).optional(1).checked(check_similar),
];

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about("like", "`s LIKE pattern`; the third argument is that of ESCAPE."),
    about("ilike", "`s ILIKE pattern`: LIKE without regard to case."),
    about("similar_to", "`s SIMILAR TO pattern`; the third argument is that of ESCAPE."),
];

/// Element of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PatternPart {
    /// Any text.
    Any,
    /// Any character.
    One,
    /// This character.
    Char(char),
    /// An escape at the end of the pattern, which is an error if matching reaches it.
    Bare,
}

const BARE: &str = "LIKE pattern must not end with escape character";

/// Checks a constant pattern and escape while the query is planned.
fn check_constant(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    let escape = escape_char(constant_text(args, 2))?;
    let Some(pattern) = constant_text(args, 1) else { return Ok(()) };
    match parse_pattern(pattern, escape, false).last() {
        Some(PatternPart::Bare) => Err(BARE.to_owned()),
        _ => Ok(()),
    }
}

/// Checks a constant pattern and escape of SIMILAR TO while the query is planned.
fn check_similar(args: &[Option<&ScalarValue>]) -> Result<(), String> {
    let escape = escape_char(constant_text(args, 2))?;
    match constant_text(args, 1) {
        Some(pattern) => compiled(&as_regex(pattern, escape), Options::default()).map(drop),
        None => Ok(()),
    }
}

/// Escape character; None if ESCAPE is empty.
fn escape_char(given: Option<&str>) -> Result<Option<char>, String> {
    let Some(given) = given else { return Ok(Some('\\')) };
    let mut chars = given.chars();
    match (chars.next(), chars.next()) {
        (first, None) => Ok(first),
        _ => Err("invalid escape string: it must be empty or one character".to_owned()),
    }
}

fn parse_pattern(pattern: &str, escape: Option<char>, fold: bool) -> Vec<PatternPart> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if Some(c) == escape => match chars.next() {
                Some(c) => PatternPart::Char(fold_char(c, fold)),
                None => PatternPart::Bare,
            },
            '%' => PatternPart::Any,
            '_' => PatternPart::One,
            c => PatternPart::Char(fold_char(c, fold)),
        });
    }
    parts
}

fn fold_char(c: char, fold: bool) -> char {
    if fold { lower(c) } else { c }
}

fn like(v: &[Value<'_>]) -> Answer {
    match_like(v, false)
}

fn ilike(v: &[Value<'_>]) -> Answer {
    match_like(v, true)
}

fn match_like(v: &[Value<'_>], fold: bool) -> Answer {
    let escape = escape_char(v.get(2).map(Value::text))?;
    let parts = parse_pattern(v[1].text(), escape, fold);
    let text = v[0].text();
    matches_parts(text, &parts, fold).map(Out::Bool)
}

/// Matches greedily from left to right; at a difference, backtracks only to the last `%`, which takes one
/// character more. So time is at most the product of the two lengths.
fn matches_parts(text: &str, parts: &[PatternPart], fold: bool) -> Result<bool, String> {
    let (mut rest, mut at) = (text.chars(), 0);
    // Text and pattern behind the last `%`, from which matching is tried again.
    let mut again: Option<(std::str::Chars<'_>, usize)> = None;
    loop {
        let before = rest.clone();
        let next = rest.next().map(|c| fold_char(c, fold));
        match (parts.get(at), next) {
            (Some(PatternPart::Any), _) => {
                rest = before;
                at += 1;
                match parts.get(at) {
                    None => return Ok(true),
                    Some(PatternPart::Bare) => return Err(BARE.to_owned()),
                    Some(_) => again = Some((rest.clone(), at)),
                }
                continue;
            }
            (Some(PatternPart::Bare), Some(_)) => return Err(BARE.to_owned()),
            (Some(PatternPart::One), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(PatternPart::Char(part)), Some(c)) if *part == c => {
                at += 1;
                continue;
            }
            (None, None) => return Ok(true),
            // The text is used up before the pattern; a longer `%` cannot help.
            (Some(_), None) => return Ok(false),
            _ => {}
        }
        let Some((from, behind)) = &mut again else { return Ok(false) };
        from.next();
        (rest, at) = (from.clone(), *behind);
    }
}

fn match_similar(v: &[Value<'_>]) -> Answer {
    let escape = escape_char(v.get(2).map(Value::text))?;
    let re = compiled(&as_regex(v[1].text(), escape), Options::default())?;
    Ok(re.is_match(v[0].text()).into())
}

/// Converts a pattern of SIMILAR TO to a regular expression.
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
        matches_parts(text, &parse_pattern(pattern, Some('\\'), false), false)
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
