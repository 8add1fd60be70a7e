//! Reading JSON text as a JSONB value.
//!
//! Strict where PostgreSQL is: no control characters in texts, no lone surrogates, no `\u0000`, and
//! numbers that NUMERIC holds. Depth is bounded, and so is what exponents may add to the length:
//! `1e131071` is eight bytes here and 131,072 when it is written out.

use std::borrow::Cow;

use super::{DEPTH_MAX, Json, JsonbError, number};

/// What exponents may add, whatever the length of the text.
const ROOM: usize = 1 << 18;

/// The value of a JSON text.
///
/// # Errors
/// When it is not JSON, or PostgreSQL has no JSONB for it.
pub fn parse(text: &str) -> Result<Json<'_>, JsonbError> {
    let mut parser = Parser { text, at: 0, room: text.len().saturating_mul(8).saturating_add(ROOM) };
    let value = parser.value(0)?;
    parser.blanks();
    if parser.at < text.len() { Err(parser.wrong("the end is expected")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    room: usize,
}

impl<'a> Parser<'a> {
    fn wrong(&self, what: &'static str) -> JsonbError {
        JsonbError::Syntax { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `byte`, blanks before it included, if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(deeper(depth)?),
            Some(b'[') => self.array(deeper(depth)?),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.wrong("a value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonbError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong("a value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.takes(b']') {
                return Ok(Json::Array(items));
            }
            if !self.takes(b',') {
                return Err(self.wrong("a comma or ] is expected"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.takes(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a name in quotes is expected"));
            }
            let name = self.string()?;
            if !self.takes(b':') {
                return Err(self.wrong("a colon is expected"));
            }
            members.push((name, self.value(depth)?));
            if self.takes(b'}') {
                return Ok(Json::object(members));
            }
            if !self.takes(b',') {
                return Err(self.wrong("a comma or } is expected"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonbError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit is expected")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json<'a>, JsonbError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.wrong("a number does not start with 0"));
        }
        Ok(Json::Number(number::canonical(&self.text[start..self.at], &mut self.room)?))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonbError> {
        self.at += 1;
        let start = self.at;
        let mut decoded: Option<String> = None;
        let mut plain = start;
        loop {
            match self.peek() {
                None => return Err(self.wrong("a text does not end")),
                Some(b'"') => {
                    let rest = &self.text[plain..self.at];
                    self.at += 1;
                    return Ok(match decoded {
                        None => Cow::Borrowed(rest),
                        Some(mut out) => {
                            out.push_str(rest);
                            Cow::Owned(out)
                        }
                    });
                }
                Some(b'\\') => {
                    let out = decoded.get_or_insert_with(String::new);
                    out.push_str(&self.text[plain..self.at]);
                    let escaped = self.escape()?;
                    out.push(escaped);
                    plain = self.at;
                }
                Some(0..=0x1f) => return Err(self.wrong("a control character must be escaped")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// What an escape stands for.
    fn escape(&mut self) -> Result<char, JsonbError> {
        self.at += 1;
        let kind = self.peek();
        let plain = match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("an escape is not known")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, JsonbError> {
        let lone = "one half of a surrogate pair";
        let first = self.hex()?;
        let code = match first {
            0 => return Err(self.wrong("\\u0000, which no text can hold,")),
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.wrong(lone));
                }
                self.at += 1;
                match self.hex()? {
                    low @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(self.wrong(lone)),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.wrong(lone))
    }

    /// Four digits behind the `u` at hand.
    fn hex(&mut self) -> Result<u32, JsonbError> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            code = code * 16 + value.ok_or_else(|| self.wrong("four hexadecimal digits are expected"))?;
        }
        if digits.len() < 4 {
            return Err(self.wrong("four hexadecimal digits are expected"));
        }
        self.at += 5;
        Ok(code)
    }
}

fn deeper(depth: usize) -> Result<usize, JsonbError> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(JsonbError::Depth) }
}
