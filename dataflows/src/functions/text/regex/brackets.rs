//! Translation of bracket expressions: `[a-z]`, `[^[:space:]]`, with the classes of PostgreSQL.
//!
//! Classes are those of Unicode as in PostgreSQL with a UTF-8 locale, except that digits are `0` to `9`. A
//! collating element must be one character.

use super::escape::{DIGIT, Escape, SPACE, WORD, invalid_pattern, push_literal, read_escape};

/// Members of a class, by its name between `[:` and `:]`.
fn class_members(name: &str) -> Option<&'static str> {
    Some(match name {
        "alnum" => "\\p{Alphabetic}\\p{Nd}",
        "alpha" => "\\p{Alphabetic}[\\p{Nd}--[0-9]]",
        "blank" => "\\t ",
        "cntrl" => "\\p{Cc}",
        "digit" => DIGIT,
        "graph" => "[^\\p{Cc}\\p{Cn}\\p{Z}]\\x{A0}\\x{2007}\\x{202F}",
        // Titlecase letters (ǅ, ǈ, ǋ, ǲ) match both lower and upper.
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

/// Translates the bracket expression whose `[` is before `at`: its text, and the index behind it.
///
/// # Errors
/// PostgreSQL's message.
pub(super) fn translate(chars: &[char], at: usize, stop_at_line: bool) -> Result<(String, usize), String> {
    let mut this = BracketTranslator { chars, at, out: String::from("[") };
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
            None => return Err(unbalanced_brackets()),
            Some(']') if this.at > from => break,
            Some(_) => this.translate_member(from)?,
        }
    }
    this.out.push(']');
    Ok((this.out, this.at + 1))
}

fn unbalanced_brackets() -> String {
    invalid_pattern("brackets [] not balanced")
}

struct BracketTranslator<'a> {
    chars: &'a [char],
    at: usize,
    out: String,
}

impl BracketTranslator<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    /// Translates one character, range or class.
    fn translate_member(&mut self, from: usize) -> Result<(), String> {
        let Some(start) = self.read_char(from)? else { return Ok(()) };
        let ranged = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
        if !ranged {
            push_literal(&mut self.out, start);
            return Ok(());
        }
        self.at += 1;
        let Some(end) = self.read_char(self.at)? else {
            return Err(invalid_pattern("invalid character range"));
        };
        if end < start {
            return Err(invalid_pattern("invalid character range"));
        }
        push_literal(&mut self.out, start);
        self.out.push('-');
        push_literal(&mut self.out, end);
        Ok(())
    }

    /// Reads the next character; None if it was a class, which is written at once.
    fn read_char(&mut self, from: usize) -> Result<Option<char>, String> {
        let Some(c) = self.peek() else { return Err(unbalanced_brackets()) };
        self.at += 1;
        match (c, self.peek()) {
            ('[', Some(kind @ (':' | '=' | '.'))) => self.read_named(kind),
            ('\\', _) => {
                let (escape, at) = read_escape(self.chars, self.at)?;
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
                    Escape::Place(_) => Err(invalid_pattern("invalid escape \\ sequence")),
                }
            }
            // A `-` is literal only at the beginning or the end of the expression.
            ('-', Some(next)) if self.at - 1 > from && next != ']' => {
                Err(invalid_pattern("invalid character range"))
            }
            _ => Ok(Some(c)),
        }
    }

    /// Reads `[:class:]`, `[=x=]` or `[.x.]` from its second character on.
    fn read_named(&mut self, kind: char) -> Result<Option<char>, String> {
        let rest = &self.chars[self.at + 1..];
        let end = rest.windows(2).position(|two| two == [kind, ']']).ok_or_else(unbalanced_brackets)?;
        let name: String = rest[..end].iter().collect();
        self.at += 1 + end + 2;
        if kind == ':' {
            let members = class_members(&name).ok_or_else(|| invalid_pattern("invalid character class"))?;
            self.out.push_str(members);
            return Ok(None);
        }
        let mut chars = name.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Some(c)),
            _ => Err(invalid_pattern("invalid collating element")),
        }
    }
}
