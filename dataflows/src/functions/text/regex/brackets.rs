//! Bracket expressions: `[a-z]`, `[^[:space:]]`, with the classes of PostgreSQL.
//!
//! Classes are those of Unicode as PostgreSQL has them in a UTF-8 locale, but digits are `0` to `9`. A
//! collating element has to be one character.

use super::translate::{Escape, escape, invalid, literal};

/// Members of `\d`.
pub(super) const DIGIT: &str = "0-9";
/// Members of `\s`.
pub(super) const SPACE: &str =
    "\\t-\\r \\x{1680}\\x{2000}-\\x{2006}\\x{2008}-\\x{200A}\\x{2028}\\x{2029}\\x{205F}\\x{3000}";
/// Members of `\w`.
pub(super) const WORD: &str = "\\p{Alphabetic}\\p{Nd}_";

/// The members of a class, by its name between `[:` and `:]`.
fn class(name: &str) -> Option<&'static str> {
    Some(match name {
        "alnum" => "\\p{Alphabetic}\\p{Nd}",
        "alpha" => "\\p{Alphabetic}[\\p{Nd}--[0-9]]",
        "blank" => "\\t ",
        "cntrl" => "\\p{Cc}",
        "digit" => DIGIT,
        "graph" => "[^\\p{Cc}\\p{Cn}\\p{Z}]\\x{A0}\\x{2007}\\x{202F}",
        // Titles, of which a language has few, are of either case.
        "lower" => "\\p{Lowercase}\\x{1C5}\\x{1C8}\\x{1CB}\\x{1F2}",
        "print" => "[^\\p{Cc}\\p{Cn}\\p{Zl}\\p{Zp}]",
        "punct" => "[[^\\p{Cc}\\p{Cn}\\p{Z}]--[\\p{Alphabetic}\\p{Nd}]]\\x{A0}\\x{2007}\\x{202F}",
        "space" => SPACE,
        "upper" => "\\p{Uppercase}\\p{Lt}",
        "word" => WORD,
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    })
}

/// Translates the bracket expression whose `[` is before `at`; its text, and where it ends.
///
/// # Errors
/// PostgreSQL's words.
pub(super) fn translate(chars: &[char], at: usize, stop_at_line: bool) -> Result<(String, usize), String> {
    let mut this = Bracket { chars, at, out: String::from("[") };
    let negated = this.eat('^');
    if negated {
        this.out.push('^');
        if stop_at_line {
            this.out.push_str("\\n");
        }
    }
    let from = this.at;
    loop {
        match this.peek() {
            None => return Err(unbalanced()),
            Some(']') if this.at > from => break,
            Some(_) => this.member(from)?,
        }
    }
    this.out.push(']');
    Ok((this.out, this.at + 1))
}

fn unbalanced() -> String {
    invalid("brackets [] not balanced")
}

struct Bracket<'a> {
    chars: &'a [char],
    at: usize,
    out: String,
}

impl Bracket<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    /// One character, range or class.
    fn member(&mut self, from: usize) -> Result<(), String> {
        let Some(start) = self.single(from)? else { return Ok(()) };
        let ranged = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
        if !ranged {
            literal(&mut self.out, start);
            return Ok(());
        }
        self.at += 1;
        let Some(end) = self.single(self.at)? else { return Err(invalid("invalid character range")) };
        if end < start {
            return Err(invalid("invalid character range"));
        }
        literal(&mut self.out, start);
        self.out.push('-');
        literal(&mut self.out, end);
        Ok(())
    }

    /// The next character; None where a class was written instead.
    fn single(&mut self, from: usize) -> Result<Option<char>, String> {
        let Some(c) = self.peek() else { return Err(unbalanced()) };
        self.at += 1;
        match (c, self.peek()) {
            ('[', Some(kind @ (':' | '=' | '.'))) => self.named(kind),
            ('\\', _) => {
                let (escape, at) = escape(self.chars, self.at)?;
                self.at = at;
                match escape {
                    Escape::Char(c) => Ok(Some(c)),
                    Escape::Class(members, false) => {
                        self.out.push_str(members);
                        Ok(None)
                    }
                    Escape::Class(members, true) => {
                        self.out.push_str(&format!("[^{members}]"));
                        Ok(None)
                    }
                    Escape::Place(_) => Err(invalid("invalid escape \\ sequence")),
                }
            }
            // A `-` that begins neither the expression nor ends it is part of a range.
            ('-', Some(next)) if self.at - 1 > from && next != ']' => Err(invalid("invalid character range")),
            _ => Ok(Some(c)),
        }
    }

    /// `[:class:]`, `[=x=]` or `[.x.]` from its second character on.
    fn named(&mut self, kind: char) -> Result<Option<char>, String> {
        let rest = &self.chars[self.at + 1..];
        let end = rest.windows(2).position(|two| two == [kind, ']']).ok_or_else(unbalanced)?;
        let name: String = rest[..end].iter().collect();
        self.at += 1 + end + 2;
        if kind == ':' {
            let members = class(&name).ok_or_else(|| invalid("invalid character class"))?;
            self.out.push_str(members);
            return Ok(None);
        }
        let mut chars = name.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Some(c)),
            _ => Err(invalid("invalid collating element")),
        }
    }
}
