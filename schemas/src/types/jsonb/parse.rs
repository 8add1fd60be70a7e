//! Parsing of JSON text into a JSONB value.
//!
//! The parser is as strict as PostgreSQL: no control characters in texts, no lone surrogates, no
//! `\u0000`, and only numbers within NUMERIC's range. Depth is bounded, and so is the growth by
//! exponents: `1e131071` takes eight bytes in the input and 131,072 when expanded.

use std::borrow::Cow;

use super::{DEPTH_MAX, Json, JsonbError, number};

/// The bytes that expanded exponents may take in a text of any length.
const EXPONENT_ROOM: usize = 1 << 18;

/// Parses a JSON text.
///
/// # Errors
/// Fails if the text is not JSON, or if PostgreSQL has no JSONB value for it.
pub fn parse(text: &str) -> Result<Json<'_>, JsonbError> {
    // Expanded exponents are bounded in proportion to the text.
    let mut parser = Parser { text, at: 0, room: text.len().saturating_mul(8).saturating_add(EXPONENT_ROOM) };
    let value = parser.parse_value(0)?;
    parser.skip_blanks();
    if parser.at < text.len() { Err(parser.syntax_error("the end is expected")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    /// The offset of the next byte.
    at: usize,
    /// The bytes that expanded exponents may still take.
    room: usize,
}

impl<'a> Parser<'a> {
    fn syntax_error(&self, what: &'static str) -> JsonbError {
        JsonbError::Syntax { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips blanks, and then `byte` if it is next; returns true if it was.
    fn take_byte(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn parse_value(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.parse_object(check_depth(depth)?),
            Some(b'[') => self.parse_array(check_depth(depth)?),
            Some(b'"') => Ok(Json::String(self.parse_string()?)),
            Some(b'-' | b'0'..=b'9') => self.parse_number(),
            Some(b't') => self.parse_word("true", Json::Bool(true)),
            Some(b'f') => self.parse_word("false", Json::Bool(false)),
            Some(b'n') => self.parse_word("null", Json::Null),
            _ => Err(self.syntax_error("a value is expected")),
        }
    }

    fn parse_word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonbError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.syntax_error("a value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn parse_array(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take_byte(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.parse_value(depth)?);
            if self.take_byte(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take_byte(b',') {
                return Err(self.syntax_error("a comma or ] is expected"));
            }
        }
    }

    fn parse_object(&mut self, depth: usize) -> Result<Json<'a>, JsonbError> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take_byte(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.syntax_error("a name in quotes is expected"));
            }
            let name = self.parse_string()?;
            if !self.take_byte(b':') {
                return Err(self.syntax_error("a colon is expected"));
            }
            members.push((name, self.parse_value(depth)?));
            if self.take_byte(b'}') {
                // Sorts the members and drops repeated names.
                return Ok(Json::object(members));
            }
            if !self.take_byte(b',') {
                return Err(self.syntax_error("a comma or } is expected"));
            }
        }
    }

    fn skip_digits(&mut self) -> Result<(), JsonbError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax_error("a digit is expected")) } else { Ok(()) }
    }

    fn parse_number(&mut self) -> Result<Json<'a>, JsonbError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        // A leading zero must be the only digit before the point; the check is below.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.syntax_error("a number does not start with 0"));
        }
        Ok(Json::Number(number::canonical(&self.text[start..self.at], &mut self.room)?))
    }

    /// Parses a text in quotes; one without escapes is borrowed from the input.
    fn parse_string(&mut self) -> Result<Cow<'a, str>, JsonbError> {
        self.at += 1;
        let start = self.at;
        // The text is borrowed until an escape forces a copy.
        let mut decoded: Option<String> = None;
        let mut plain = start;
        loop {
            match self.peek() {
                None => return Err(self.syntax_error("a text does not end")),
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
                    let escaped = self.parse_escape()?;
                    out.push(escaped);
                    plain = self.at;
                }
                Some(0..=0x1f) => return Err(self.syntax_error("a control character must be escaped")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// Parses an escape into its character.
    fn parse_escape(&mut self) -> Result<char, JsonbError> {
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
            Some(b'u') => return self.parse_unicode_escape(),
            _ => return Err(self.syntax_error("an escape is not known")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn parse_unicode_escape(&mut self) -> Result<char, JsonbError> {
        let lone = "one half of a surrogate pair";
        let first = self.parse_hex()?;
        let code = match first {
            0 => return Err(self.syntax_error("\\u0000, which no text can hold,")),
            // A high surrogate must be followed by a low one.
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.syntax_error(lone));
                }
                self.at += 1;
                match self.parse_hex()? {
                    low @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(self.syntax_error(lone)),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.syntax_error(lone))
    }

    /// Parses the four hexadecimal digits behind the `u` at the current offset.
    fn parse_hex(&mut self) -> Result<u32, JsonbError> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            code =
                code * 16 + value.ok_or_else(|| self.syntax_error("four hexadecimal digits are expected"))?;
        }
        if digits.len() < 4 {
            return Err(self.syntax_error("four hexadecimal digits are expected"));
        }
        self.at += 5;
        Ok(code)
    }
}

fn check_depth(depth: usize) -> Result<usize, JsonbError> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(JsonbError::Depth) }
}
