//! Escapes of regular expressions, in and outside brackets.

/// Meaning of an escape sequence.
pub(crate) enum Escape {
    /// One character.
    Char(char),
    /// Members of a class, in the crate's syntax; true for its complement.
    Class(&'static str, bool),
    /// An assertion about a position between characters.
    Place(&'static str),
}

/// PostgreSQL's message about a wrong pattern.
pub(crate) fn invalid_pattern(why: &str) -> String {
    format!("invalid regular expression: {why}")
}

/// Appends a literal character.
pub(crate) fn push_literal(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }
}

/// Reads the escape sequence whose backslash is before `at`: its meaning, and the index behind it.
pub(crate) fn read_escape(chars: &[char], at: usize) -> Result<(Escape, usize), String> {
    let wrong = || invalid_pattern("invalid escape \\ sequence");
    let Some(&c) = chars.get(at) else { return Err(wrong()) };
    let next = at + 1;
    let found = match c {
        'd' => Escape::Class(DIGIT, false),
        'D' => Escape::Class(DIGIT, true),
        's' => Escape::Class(SPACE, false),
        'S' => Escape::Class(SPACE, true),
        'w' => Escape::Class(WORD, false),
        'W' => Escape::Class(WORD, true),
        'A' => Escape::Place("\\A"),
        'Z' => Escape::Place("\\z"),
        'm' => Escape::Place("\\b{start}"),
        'M' => Escape::Place("\\b{end}"),
        'y' => Escape::Place("\\b"),
        'Y' => Escape::Place("\\B"),
        'a' => Escape::Char('\u{7}'),
        'b' => Escape::Char('\u{8}'),
        'B' => Escape::Char('\\'),
        'e' => Escape::Char('\u{1b}'),
        'f' => Escape::Char('\u{c}'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        't' => Escape::Char('\t'),
        'v' => Escape::Char('\u{b}'),
        'c' => {
            let control = chars.get(next).ok_or_else(wrong)?;
            let code = char::from_u32(u32::from(*control) & 0x1f).ok_or_else(wrong)?;
            return Ok((Escape::Char(code), next + 1));
        }
        'u' => return read_code(chars, next, 4, 4, 16),
        'U' => return read_code(chars, next, 8, 8, 16),
        'x' => return read_code(chars, next, 1, 8, 16),
        '0' => return read_code(chars, at, 1, 3, 8),
        '1'..='9' => {
            return Err(
                "back references (\\1) in a regular expression are not supported: compare the groups of regexp_match".to_owned(),
            );
        }
        c if c.is_ascii_alphanumeric() => return Err(wrong()),
        c => Escape::Char(c),
    };
    Ok((found, next))
}

/// Members of `\d`.
pub(crate) const DIGIT: &str = "0-9";

/// Members of `\s`.
pub(crate) const SPACE: &str =
    "\\t-\\r \\x{1680}\\x{2000}-\\x{2006}\\x{2008}-\\x{200A}\\x{2028}\\x{2029}\\x{205F}\\x{3000}";

/// Members of `\w`.
pub(crate) const WORD: &str = "\\p{Alphabetic}\\p{Nd}_";

/// Reads a character by its code: between `least` and `most` digits of a base.
fn read_code(
    chars: &[char],
    at: usize,
    least: usize,
    most: usize,
    base: u32,
) -> Result<(Escape, usize), String> {
    let digits: String = chars[at..].iter().take(most).take_while(|c| c.is_digit(base)).collect();
    let value = u32::from_str_radix(&digits, base).ok().and_then(char::from_u32);
    match value {
        Some(c) if digits.len() >= least => Ok((Escape::Char(c), at + digits.len())),
        _ => Err(invalid_pattern("invalid escape \\ sequence")),
    }
}
