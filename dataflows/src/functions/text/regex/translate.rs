//! Translation of PostgreSQL's advanced regular expressions to the syntax of the `regex-automata` crate.
//!
//! The two mostly agree and differ in details: word boundaries (`\y`, `\m`, `\M`), `.` that matches a
//! line's end, named classes, backslashes in brackets. Literals other than letters and digits are written
//! by their code, so that none has a meaning in the other syntax. An automaton cannot match back references
//! and look-around; they are refused with a message.

use super::brackets;
use super::escape::{Escape, invalid_pattern, push_literal, read_escape};
use super::options::Options;

/// Greatest nesting of parentheses.
const MAX_DEPTH: usize = 50;

/// Pattern in the crate's syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// Text of the pattern.
    pub pattern: String,
    /// Options, embedded ones included.
    pub options: Options,
    /// True if the first match by preference may differ from PostgreSQL's, which goes by length.
    pub by_length: bool,
    /// True if PostgreSQL takes the shortest match.
    pub shortest: bool,
}

/// Length that an expression prefers: longest if true, shortest if false; None if its matches have one
/// length.
type Preference = Option<bool>;

/// Translates `pattern`.
///
/// # Errors
/// PostgreSQL's message for a wrong pattern, and Herald's for an unsupported one.
pub(super) fn translate(pattern: &str, options: Options) -> Result<Translated, String> {
    let mut options = options;
    let rest = read_directives(pattern, &mut options)?;
    if options.literal {
        let mut out = String::new();
        for c in rest.chars() {
            push_literal(&mut out, c);
        }
        return Ok(Translated { pattern: out, options, by_length: false, shortest: false });
    }
    let chars: Vec<char> = rest.chars().collect();
    let mut this =
        PatternTranslator { chars: &chars, at: 0, options, out: String::new(), by_length: false, depth: 0 };
    let longest = this.translate_alternatives()?;
    if this.at < chars.len() {
        return Err(invalid_pattern("parentheses () not balanced"));
    }
    let shortest = longest == Some(false);
    Ok(Translated { pattern: this.out, options, by_length: this.by_length || shortest, shortest })
}

/// Applies `***:`, `***=` and `(?letters)` at the start; returns the rest of the pattern.
fn read_directives<'a>(pattern: &'a str, options: &mut Options) -> Result<&'a str, String> {
    let mut rest = pattern;
    if let Some(after) = rest.strip_prefix("***=") {
        options.literal = true;
        return Ok(after);
    }
    rest = rest.strip_prefix("***:").unwrap_or(rest);
    if options.literal {
        return Ok(rest);
    }
    if let Some(embedded) = rest.strip_prefix("(?")
        && let Some((letters, after)) = embedded.split_once(')')
        && !letters.is_empty()
        && letters.as_bytes().iter().all(u8::is_ascii_alphabetic)
    {
        for letter in letters.chars() {
            if !options.set(letter) {
                return Err(invalid_pattern("invalid embedded option"));
            }
        }
        rest = after;
    }
    Ok(rest)
}

struct PatternTranslator<'a> {
    chars: &'a [char],
    at: usize,
    options: Options,
    out: String,
    by_length: bool,
    depth: usize,
}

impl PatternTranslator<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.chars.get(self.at + n) == Some(&c))
    }

    fn peeks_digit(&self) -> bool {
        self.chars.get(self.at).is_some_and(char::is_ascii_digit)
    }

    fn skip_until(&mut self, end: char) {
        while self.peek().is_some_and(|c| c != end) {
            self.at += 1;
        }
    }

    /// Skips white space and comments of an expanded pattern, and `(?#comments)` of any pattern.
    fn skip_blanks(&mut self) {
        loop {
            if self.starts_with("(?#") {
                self.skip_until(')');
                self.at += 1;
            } else if self.options.expanded && self.peek().is_some_and(char::is_whitespace) {
                self.at += 1;
            } else if self.options.expanded && self.peek() == Some('#') {
                self.skip_until('\n');
            } else {
                return;
            }
        }
    }

    fn translate_alternatives(&mut self) -> Result<Preference, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(invalid_pattern("regular expression is too complex"));
        }
        let mut longest = self.translate_branch()?;
        while self.eat('|') {
            self.out.push('|');
            self.translate_branch()?;
            // An alternation takes the longest match, whatever its branches prefer.
            longest = Some(true);
            self.by_length = true;
        }
        self.depth -= 1;
        Ok(longest)
    }

    fn translate_branch(&mut self) -> Result<Preference, String> {
        let mut preferred = None;
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some('|') => return Ok(preferred),
                Some(')') if self.depth > 1 => return Ok(preferred),
                Some(')') => return Err(invalid_pattern("parentheses () not balanced")),
                Some(_) => {
                    let piece = self.translate_piece()?;
                    // As in PostgreSQL, the first quantifier with a preference decides for the branch.
                    preferred = preferred.or(piece);
                }
            }
        }
    }

    fn translate_piece(&mut self) -> Result<Preference, String> {
        let (place, inner, group) = self.translate_atom()?;
        self.skip_blanks();
        let Some((quantifier, greedy)) = self.read_quantifier()? else { return Ok(inner) };
        if place {
            return Err(invalid_pattern("quantifier operand invalid"));
        }
        self.out.push_str(&quantifier);
        self.by_length |= group || greedy == Some(false);
        self.skip_blanks();
        if matches!(self.peek(), Some('*' | '+' | '?')) {
            return Err(invalid_pattern("quantifier operand invalid"));
        }
        // The piece's own quantifier decides; a fixed count leaves it to the inner expression.
        Ok(greedy.or(inner))
    }

    /// Translates one atom; returns whether it is an assertion, its preference, and whether it is a group.
    fn translate_atom(&mut self) -> Result<(bool, Preference, bool), String> {
        let Some(c) = self.peek() else { return Ok((true, None, false)) };
        self.at += 1;
        match c {
            '*' | '+' | '?' => return Err(invalid_pattern("quantifier operand invalid")),
            '{' if self.peeks_digit() => {
                return Err(invalid_pattern("quantifier operand invalid"));
            }
            '^' => self.push_assertion(if self.options.lines { "(?m:^)" } else { "\\A" }),
            '$' => self.push_assertion(if self.options.lines { "(?m:$)" } else { "\\z" }),
            '.' => {
                self.out.push_str(if self.options.stop_at_line { "[^\\n]" } else { "(?s:.)" });
                return Ok((false, None, false));
            }
            '[' => return self.translate_bracket(),
            '(' => {
                let inner = self.translate_group()?;
                return Ok((false, inner, true));
            }
            '\\' => return self.translate_escape(),
            c => {
                push_literal(&mut self.out, c);
                return Ok((false, None, false));
            }
        }
        Ok((true, None, false))
    }

    fn push_assertion(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn translate_bracket(&mut self) -> Result<(bool, Preference, bool), String> {
        for (word, place) in [("[:<:]]", "\\b{start}"), ("[:>:]]", "\\b{end}")] {
            if self.starts_with(word) {
                self.at += word.len();
                self.push_assertion(place);
                return Ok((true, None, false));
            }
        }
        let (text, at) = brackets::translate(self.chars, self.at, self.options.stop_at_line)?;
        self.at = at;
        self.out.push_str(&text);
        Ok((false, None, false))
    }

    fn translate_escape(&mut self) -> Result<(bool, Preference, bool), String> {
        let (escape, at) = read_escape(self.chars, self.at)?;
        self.at = at;
        match escape {
            Escape::Char(c) => push_literal(&mut self.out, c),
            Escape::Class(members, others) => {
                let not = if others { "^" } else { "" };
                let line = if others && self.options.stop_at_line { "\\n" } else { "" };
                self.out.push_str(&format!("[{not}{members}{line}]"));
            }
            Escape::Place(place) => {
                self.push_assertion(place);
                return Ok((true, None, false));
            }
        }
        Ok((false, None, false))
    }

    fn translate_group(&mut self) -> Result<Preference, String> {
        for look in ["?=", "?!", "?<=", "?<!"] {
            if self.starts_with(look) {
                return Err(format!(
                    "look-around ({look}...) in a regular expression is not supported: match what is around it, too, and take a group of it"
                ));
            }
        }
        if self.starts_with("?:") {
            self.at += 2;
            self.out.push_str("(?:");
        } else if self.peek() == Some('?') {
            return Err(invalid_pattern("quantifier operand invalid"));
        } else {
            self.out.push('(');
        }
        let inner = self.translate_alternatives()?;
        if !self.eat(')') {
            return Err(invalid_pattern("parentheses () not balanced"));
        }
        self.out.push(')');
        Ok(inner)
    }

    /// Reads a quantifier, if one comes: its text, and its preference.
    fn read_quantifier(&mut self) -> Result<Option<(String, Preference)>, String> {
        let mut text = String::new();
        let mut fixed = false;
        match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                text.push(c);
            }
            Some('{') if self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit) => {
                self.at += 1;
                let (least, most) = self.read_bounds()?;
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

    fn read_bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        let least = self.read_count()?;
        let most = if !self.eat(',') {
            Some(least)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.read_count()?)
        };
        if !self.eat('}') || most.is_some_and(|most| most < least) {
            return Err(invalid_pattern("invalid repetition count(s)"));
        }
        Ok((least, most))
    }

    fn read_count(&mut self) -> Result<u32, String> {
        let from = self.at;
        while self.peeks_digit() {
            self.at += 1;
        }
        let text: String = self.chars[from..self.at].iter().collect();
        text.parse().ok().filter(|n| *n <= 255).ok_or_else(|| invalid_pattern("invalid repetition count(s)"))
    }
}
