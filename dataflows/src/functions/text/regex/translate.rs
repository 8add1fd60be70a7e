//! PostgreSQL's advanced regular expressions in the syntax of the `regex-automata` crate.
//!
//! The two agree in most of what people write and differ in small things: word boundaries (`\y`, `\m`,
//! `\M`), `.` that matches a line's end, classes by name, what a backslash means in brackets. Every
//! literal is written as its code, so that nothing of one syntax is taken for the other's. Back
//! references and look-around are no regular expressions for an automaton; they are refused in words.

use super::brackets;
use super::options::Options;

/// Depth of parentheses.
const DEPTH: usize = 50;

/// A pattern in the crate's syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// The text.
    pub pattern: String,
    /// Options, embedded ones included.
    pub options: Options,
    /// Tells whether the first match by preference may not be the one PostgreSQL takes.
    pub by_length: bool,
    /// Tells whether the shortest match is PostgreSQL's.
    pub shortest: bool,
}

/// Length preferred by an expression; None where there is only one.
type Preference = Option<bool>;

/// Translates `pattern`.
///
/// # Errors
/// PostgreSQL's words for a pattern that is wrong, and Herald's for one that cannot be had.
pub(super) fn translate(pattern: &str, options: Options) -> Result<Translated, String> {
    let mut options = options;
    let rest = directed(pattern, &mut options)?;
    if options.literal {
        let mut out = String::new();
        rest.chars().for_each(|c| literal(&mut out, c));
        return Ok(Translated { pattern: out, options, by_length: false, shortest: false });
    }
    let chars: Vec<char> = rest.chars().collect();
    let mut this =
        Translate { chars: &chars, at: 0, options, out: String::new(), by_length: false, depth: 0 };
    let longest = this.alternatives()?;
    if this.at < chars.len() {
        return Err(invalid("parentheses () not balanced"));
    }
    let shortest = longest == Some(false);
    Ok(Translated { pattern: this.out, options, by_length: this.by_length || shortest, shortest })
}

/// PostgreSQL's sentence about a wrong pattern.
pub(super) fn invalid(why: &str) -> String {
    format!("invalid regular expression: {why}")
}

/// Appends a character that stands for itself.
pub(super) fn literal(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }
}

/// What follows `***:`, `***=` and `(?letters)` at the start.
fn directed<'a>(pattern: &'a str, options: &mut Options) -> Result<&'a str, String> {
    let mut rest = pattern;
    if let Some(after) = rest.strip_prefix("***=") {
        options.literal = true;
        return Ok(after);
    }
    rest = rest.strip_prefix("***:").unwrap_or(rest);
    if options.literal {
        return Ok(rest);
    }
    let embedded = rest.strip_prefix("(?").and_then(|r| r.split_once(')'));
    if let Some((letters, after)) = embedded
        && !letters.is_empty()
        && letters.chars().all(|c| c.is_ascii_alphabetic())
    {
        for letter in letters.chars() {
            if !options.set(letter) {
                return Err(invalid("invalid embedded option"));
            }
        }
        rest = after;
    }
    Ok(rest)
}

/// What a backslash and what follows stand for.
pub(super) enum Escape {
    /// One character.
    Char(char),
    /// Members of a class, in the crate's syntax; whether it is all others.
    Class(&'static str, bool),
    /// A place between characters.
    Place(&'static str),
}

struct Translate<'a> {
    chars: &'a [char],
    at: usize,
    options: Options,
    out: String,
    by_length: bool,
    depth: usize,
}

impl Translate<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.chars.get(self.at + n) == Some(&c))
    }

    /// White space and comments of an expanded pattern, and `(?#comments)` of any.
    fn skip(&mut self) {
        loop {
            if self.starts("(?#") {
                while self.peek().is_some_and(|c| c != ')') {
                    self.at += 1;
                }
                self.at += 1;
            } else if self.options.expanded && self.peek().is_some_and(char::is_whitespace) {
                self.at += 1;
            } else if self.options.expanded && self.peek() == Some('#') {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn alternatives(&mut self) -> Result<Preference, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(invalid("regular expression is too complex"));
        }
        let mut longest = self.branch()?;
        while self.eat('|') {
            self.out.push('|');
            self.branch()?;
            // A choice takes the longest match, whatever its branches prefer.
            longest = Some(true);
            self.by_length = true;
        }
        self.depth -= 1;
        Ok(longest)
    }

    fn branch(&mut self) -> Result<Preference, String> {
        let mut preferred = None;
        loop {
            self.skip();
            match self.peek() {
                None | Some('|') => return Ok(preferred),
                Some(')') if self.depth > 1 => return Ok(preferred),
                Some(')') => return Err(invalid("parentheses () not balanced")),
                Some(_) => {
                    let piece = self.piece()?;
                    preferred = preferred.or(piece);
                }
            }
        }
    }

    fn piece(&mut self) -> Result<Preference, String> {
        let (place, inner, group) = self.atom()?;
        self.skip();
        let Some((quantifier, greedy)) = self.quantifier()? else { return Ok(inner) };
        if place {
            return Err(invalid("quantifier operand invalid"));
        }
        self.out.push_str(&quantifier);
        self.by_length |= group || greedy == Some(false);
        self.skip();
        if matches!(self.peek(), Some('*' | '+' | '?')) {
            return Err(invalid("quantifier operand invalid"));
        }
        Ok(greedy.or(inner))
    }

    /// Writes one atom: whether it is a place between characters, its preference, whether it is a group.
    fn atom(&mut self) -> Result<(bool, Preference, bool), String> {
        let Some(c) = self.peek() else { return Ok((true, None, false)) };
        self.at += 1;
        match c {
            '*' | '+' | '?' => return Err(invalid("quantifier operand invalid")),
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                return Err(invalid("quantifier operand invalid"));
            }
            '^' => self.place(if self.options.lines { "(?m:^)" } else { "\\A" }),
            '$' => self.place(if self.options.lines { "(?m:$)" } else { "\\z" }),
            '.' => {
                self.out.push_str(if self.options.stop_at_line { "[^\\n]" } else { "(?s:.)" });
                return Ok((false, None, false));
            }
            '[' => return self.bracket(),
            '(' => {
                let inner = self.group()?;
                return Ok((false, inner, true));
            }
            '\\' => return self.escaped(),
            c => {
                literal(&mut self.out, c);
                return Ok((false, None, false));
            }
        }
        Ok((true, None, false))
    }

    fn place(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn bracket(&mut self) -> Result<(bool, Preference, bool), String> {
        for (word, place) in [("[:<:]]", "\\b{start}"), ("[:>:]]", "\\b{end}")] {
            if self.starts(word) {
                self.at += word.len();
                self.place(place);
                return Ok((true, None, false));
            }
        }
        let (text, at) = brackets::translate(self.chars, self.at, self.options.stop_at_line)?;
        self.at = at;
        self.out.push_str(&text);
        Ok((false, None, false))
    }

    fn escaped(&mut self) -> Result<(bool, Preference, bool), String> {
        let (escape, at) = escape(self.chars, self.at)?;
        self.at = at;
        match escape {
            Escape::Char(c) => literal(&mut self.out, c),
            Escape::Class(members, others) => {
                let not = if others { "^" } else { "" };
                let line = if others && self.options.stop_at_line { "\\n" } else { "" };
                self.out.push_str(&format!("[{not}{members}{line}]"));
            }
            Escape::Place(place) => {
                self.place(place);
                return Ok((true, None, false));
            }
        }
        Ok((false, None, false))
    }

    fn group(&mut self) -> Result<Preference, String> {
        for look in ["?=", "?!", "?<=", "?<!"] {
            if self.starts(look) {
                return Err(format!(
                    "look-around ({look}...) in a regular expression is not supported: match what is around it, too, and take a group of it"
                ));
            }
        }
        if self.starts("?:") {
            self.at += 2;
            self.out.push_str("(?:");
        } else if self.peek() == Some('?') {
            return Err(invalid("quantifier operand invalid"));
        } else {
            self.out.push('(');
        }
        let inner = self.alternatives()?;
        if !self.eat(')') {
            return Err(invalid("parentheses () not balanced"));
        }
        self.out.push(')');
        Ok(inner)
    }

    /// A quantifier, if one comes: its text, and its preference.
    fn quantifier(&mut self) -> Result<Option<(String, Preference)>, String> {
        let mut text = String::new();
        let mut fixed = false;
        match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                text.push(c);
            }
            Some('{') if self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit) => {
                self.at += 1;
                let (least, most) = self.bounds()?;
                fixed = most == Some(least);
                text = match most {
                    Some(most) => format!("{{{least},{most}}}"),
                    None => format!("{{{least},}}"),
                };
            }
            _ => return Ok(None),
        }
        let lazy = self.eat('?');
        if lazy {
            text.push('?');
        }
        Ok(Some((text, (!fixed).then_some(!lazy))))
    }

    fn bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        let least = self.count()?;
        let most = match self.eat(',') {
            true if self.peek() == Some('}') => None,
            true => Some(self.count()?),
            false => Some(least),
        };
        if !self.eat('}') || most.is_some_and(|most| most < least) {
            return Err(invalid("invalid repetition count(s)"));
        }
        Ok((least, most))
    }

    fn count(&mut self) -> Result<u32, String> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let text: String = self.chars[from..self.at].iter().collect();
        text.parse().ok().filter(|n| *n <= 255).ok_or_else(|| invalid("invalid repetition count(s)"))
    }
}

/// What the backslash before `at` and what follows stand for, and where it ends.
pub(super) fn escape(chars: &[char], at: usize) -> Result<(Escape, usize), String> {
    let wrong = || invalid("invalid escape \\ sequence");
    let Some(&c) = chars.get(at) else { return Err(wrong()) };
    let next = at + 1;
    let found = match c {
        'd' => Escape::Class(brackets::DIGIT, false),
        'D' => Escape::Class(brackets::DIGIT, true),
        's' => Escape::Class(brackets::SPACE, false),
        'S' => Escape::Class(brackets::SPACE, true),
        'w' => Escape::Class(brackets::WORD, false),
        'W' => Escape::Class(brackets::WORD, true),
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
        'u' => return code(chars, next, 4, 4, 16),
        'U' => return code(chars, next, 8, 8, 16),
        'x' => return code(chars, next, 1, 8, 16),
        '0' => return code(chars, at, 1, 3, 8),
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

/// A character by its code: between `least` and `most` digits of a base.
fn code(chars: &[char], at: usize, least: usize, most: usize, base: u32) -> Result<(Escape, usize), String> {
    let digits: String = chars[at..].iter().take(most).take_while(|c| c.is_digit(base)).collect();
    let value = u32::from_str_radix(&digits, base).ok().and_then(char::from_u32);
    match value {
        Some(c) if digits.len() >= least => Ok((Escape::Char(c), at + digits.len())),
        _ => Err(invalid("invalid escape \\ sequence")),
    }
}
