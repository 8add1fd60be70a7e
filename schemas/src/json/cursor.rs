//! A fast parser of plain JSON.
//!
//! Texts are valid UTF-8 before they come here, so that strings are looked through eight bytes at a time for the three
//! things that end or change them: a quote, a backslash, and a control character. Values that nobody reads are checked
//! against the grammar of RFC 8259 all the same. Rare forms are refused, to be read by jiter instead: they may be a mistake or
//! not (see [`super::pull`]). So this parser must never accept a text, or give a value, that jiter does not.

use super::pull::{ObjectKey, Pull, ValueKind, WholeNumber};
use super::shape::UnreadTexts;
use super::skip::{find_special, read_escape, skip_blanks, skip_number, skip_string, skip_value, skip_word};
use crate::decode::batch::Fail;

/// A parser of one text.
pub(super) struct Cursor<'j, 'b> {
    text: &'j str,
    at: usize,
    /// A string without its escapes.
    buffer: &'b mut String,
}

/// Refuses: the text is read again by jiter, which says why.
#[cold]
fn refuse() -> Fail {
    Fail::new("not plain")
}

impl<'j, 'b> Cursor<'j, 'b> {
    pub(super) fn new(text: &'j str, buffer: &'b mut String) -> Cursor<'j, 'b> {
        Cursor { text, at: 0, buffer }
    }

    #[inline]
    fn bytes(&self) -> &'j [u8] {
        self.text.as_bytes()
    }

    /// Moves to the next byte that is not blank, and returns it.
    #[inline]
    fn next_byte(&mut self) -> Result<u8, Fail> {
        self.at = skip_blanks(self.bytes(), self.at);
        self.bytes().get(self.at).copied().ok_or_else(refuse)
    }

    #[inline]
    fn kind(&mut self) -> Result<ValueKind, Fail> {
        Ok(match self.next_byte()? {
            b'"' => ValueKind::String,
            b'-' | b'0'..=b'9' => ValueKind::Number,
            b'{' => ValueKind::Object,
            b'[' => ValueKind::Array,
            b't' => ValueKind::True,
            b'f' => ValueKind::False,
            b'n' => ValueKind::Null,
            _ => ValueKind::Other,
        })
    }

    /// Reads a word that is expected here.
    #[inline]
    fn word(&mut self, word: &'static [u8]) -> Result<(), Fail> {
        self.at = skip_word(self.bytes(), self.at, word).ok_or_else(refuse)?;
        Ok(())
    }

    /// Reads a string, which begins here.
    #[inline]
    fn string(&mut self) -> Result<&str, Fail> {
        let start = self.at + 1;
        let end = find_special(self.bytes(), start);
        match self.bytes().get(end) {
            // The usual string is a part of the text.
            Some(b'"') => {
                self.at = end + 1;
                self.text.get(start..end).ok_or_else(refuse)
            }
            Some(b'\\') => self.escaped_string(start),
            _ => Err(refuse()),
        }
    }

    /// Reads a string with escapes.
    fn escaped_string(&mut self, start: usize) -> Result<&str, Fail> {
        self.buffer.clear();
        let (bytes, mut from) = (self.text.as_bytes(), start);
        loop {
            // The part up to the next escape, or the end.
            let to = find_special(bytes, from);
            self.buffer.push_str(self.text.get(from..to).ok_or_else(refuse)?);
            match bytes.get(to) {
                Some(b'"') => {
                    self.at = to + 1;
                    return Ok(self.buffer);
                }
                Some(b'\\') => {
                    let (meant, next) = read_escape(bytes, to).ok_or_else(refuse)?;
                    self.buffer.push(meant);
                    from = next;
                }
                _ => return Err(refuse()),
            }
        }
    }

    /// Passes the colon behind a key that ends at a place.
    #[inline]
    fn pass_colon(&mut self, end: usize) -> Result<(), Fail> {
        self.at = skip_blanks(self.bytes(), end);
        self.word(b":")
    }

    /// Reads a number as its text.
    #[inline]
    fn number_text(&mut self) -> Result<&'j str, Fail> {
        let start = self.at;
        self.at = skip_number(self.bytes(), start).ok_or_else(refuse)?;
        self.text.get(start..self.at).ok_or_else(refuse)
    }
}

impl<'j> Pull<'j> for Cursor<'j, '_> {
    #[inline]
    fn peek(&mut self) -> Result<ValueKind, Fail> {
        self.kind()
    }

    #[inline]
    fn null(&mut self) -> Result<(), Fail> {
        self.word(b"null")
    }

    #[inline]
    fn boolean(&mut self, kind: ValueKind) -> Result<bool, Fail> {
        self.word(if kind == ValueKind::True { b"true" } else { b"false" })?;
        Ok(kind == ValueKind::True)
    }

    #[inline]
    fn text(&mut self) -> Result<&str, Fail> {
        self.string()
    }

    #[inline]
    fn whole(&mut self) -> Result<WholeNumber, Fail> {
        let bytes = self.bytes();
        let is_negative = bytes.get(self.at) == Some(&b'-');
        let start = self.at + usize::from(is_negative);
        let (mut at, mut value) = (start, 0i64);
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            // Beyond 64 bits jiter says so.
            let next = value.checked_mul(10).and_then(|tens| tens.checked_add(i64::from(digit - b'0')));
            value = next.ok_or_else(refuse)?;
            at += 1;
        }
        // No digits, or a zero in front of others.
        if at == start || (bytes[start] == b'0' && at > start + 1) {
            return Err(refuse());
        }
        if let Some(b'.' | b'e' | b'E') = bytes.get(at) {
            self.at = skip_number(bytes, self.at).ok_or_else(refuse)?;
            return Ok(WholeNumber::Written);
        }
        self.at = at;
        Ok(WholeNumber::Int(if is_negative { -value } else { value }))
    }

    #[inline]
    fn float(&mut self) -> Result<f64, Fail> {
        self.number_text()?.parse().map_err(|_| refuse())
    }

    #[inline]
    fn number(&mut self) -> Result<&[u8], Fail> {
        self.number_text().map(str::as_bytes)
    }

    #[inline]
    fn skip(&mut self) -> Result<(), Fail> {
        // Most values that nobody reads are numbers and strings.
        let end = match self.next_byte()? {
            b'-' | b'0'..=b'9' => skip_number(self.bytes(), self.at),
            b'"' => skip_string(self.bytes(), self.at),
            _ => skip_value(self.bytes(), self.at),
        };
        self.at = end.ok_or_else(refuse)?;
        Ok(())
    }

    #[inline]
    fn skip_like(&mut self, texts: &mut UnreadTexts, slot: u32) -> Result<(), Fail> {
        if !matches!(self.next_byte()?, b'{' | b'[') {
            return self.skip();
        }
        let start = self.at;
        // Most are like the one that is remembered.
        if let Some(end) = texts.pass(slot, self.bytes(), start) {
            self.at = end;
            return Ok(());
        }
        self.skip()?;
        texts.note(slot, self.since(start));
        Ok(())
    }

    #[inline]
    fn first_item(&mut self) -> Result<Option<ValueKind>, Fail> {
        self.at += 1;
        if self.next_byte()? == b']' {
            self.at += 1;
            return Ok(None);
        }
        self.kind().map(Some)
    }

    #[inline]
    fn next_item(&mut self) -> Result<Option<ValueKind>, Fail> {
        let byte = self.next_byte()?;
        self.at += 1;
        match byte {
            b',' => self.kind().map(Some),
            b']' => Ok(None),
            _ => Err(refuse()),
        }
    }

    #[inline]
    fn key(&mut self, is_first: bool, guess: &str) -> Result<ObjectKey<'_>, Fail> {
        let bytes = self.bytes();
        let byte = self.next_byte()?;
        self.at += 1;
        let start = match (byte, is_first) {
            (b'{', true) | (b',', false) => self.next_byte()?,
            (b'}', false) => return Ok(ObjectKey::End),
            _ => return Err(refuse()),
        };
        if start != b'"' {
            let is_empty = is_first && start == b'}';
            self.at += 1;
            return if is_empty { Ok(ObjectKey::End) } else { Err(refuse()) };
        }
        let start = self.at + 1;
        // One comparison of bytes, without looking for the key's end.
        let guessed_end = start + guess.len();
        if bytes.get(guessed_end) == Some(&b'"')
            && bytes.get(start..guessed_end) == Some(guess.as_bytes())
            && !guess.is_empty()
        {
            self.pass_colon(guessed_end + 1)?;
            return Ok(ObjectKey::Guessed);
        }
        let end = find_special(bytes, start);
        // Keys with escapes are rare.
        if bytes.get(end) != Some(&b'"') {
            return Err(refuse());
        }
        self.pass_colon(end + 1)?;
        self.text.get(start..end).map(ObjectKey::Other).ok_or_else(refuse)
    }

    fn finish(&mut self) -> Result<(), Fail> {
        if skip_blanks(self.bytes(), self.at) == self.text.len() { Ok(()) } else { Err(refuse()) }
    }

    fn place(&self) -> usize {
        self.at
    }

    fn since(&self, start: usize) -> &'j [u8] {
        self.bytes().get(start..self.at).unwrap_or_default()
    }
}
