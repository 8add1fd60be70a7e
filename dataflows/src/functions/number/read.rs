//! `to_number`: numbers from text by PostgreSQL's patterns.
//!
//! Each item of the pattern consumes matching text, and is skipped where the text has something else:
//! `to_number('$1,234.5-', 'L9,999.9S')` is -1234.5.

use super::decimal::overflow;
use super::pattern::{NumberItem, Pattern};

/// Returns the number in `text`, in decimal notation; empty where there is none.
///
/// # Errors
/// For patterns that only `to_char` supports, and for more digits than the pattern has.
pub(super) fn read_number(pattern: &Pattern, text: &str) -> Result<String, String> {
    if pattern.scientific {
        return Err("\"EEEE\" not supported for input".to_owned());
    }
    if pattern.roman {
        return Err("\"RN\" not supported for input".to_owned());
    }
    let mut reading = NumberReader {
        pattern,
        text: text.as_bytes(),
        at: 0,
        sign: None,
        digits: String::new(),
        fraction: None,
    };
    for item in &pattern.items {
        if reading.at >= text.len() {
            break;
        }
        reading.read_item(*item);
    }
    let digits = reading.digits.strip_suffix('.').unwrap_or(&reading.digits);
    let whole = digits.split('.').next().unwrap_or_default().trim_start_matches('0');
    if whole.len() > pattern.whole + pattern.shift {
        return Err(overflow());
    }
    Ok(format!("{}{digits}", if reading.sign == Some(b'-') { "-" } else { "" }))
}

struct NumberReader<'a> {
    pattern: &'a Pattern,
    text: &'a [u8],
    at: usize,
    sign: Option<u8>,
    digits: String,
    /// Number of digits behind the point; None before it.
    fraction: Option<usize>,
}

impl NumberReader<'_> {
    fn next_byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Returns the number of bytes of the next character. Digits are searched byte by byte, as PostgreSQL
    /// does.
    fn char_width(&self) -> usize {
        match self.next_byte() {
            Some(0xC0..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..) => 4,
            _ => 1,
        }
    }

    fn read_item(&mut self, item: NumberItem) {
        let next = self.next_byte();
        match item {
            NumberItem::Digit(_) => self.read_place(true),
            NumberItem::Point => self.read_place(false),
            NumberItem::Comma if self.pattern.bare => {}
            NumberItem::Comma => self.at += usize::from(next == Some(b',')),
            NumberItem::Currency => self.skip_others(1),
            NumberItem::Ordinal(_) if self.pattern.point => {}
            NumberItem::Ordinal(_) => self.skip_others(2),
            NumberItem::Minus | NumberItem::Plus | NumberItem::Signed => {
                let taken = match item {
                    NumberItem::Minus => next == Some(b'-'),
                    NumberItem::Plus => next == Some(b'+'),
                    _ => matches!(next, Some(b'-' | b'+')),
                };
                if taken {
                    self.sign = next;
                    self.at += 1;
                } else {
                    self.skip_others(1);
                }
            }
            NumberItem::Text(_) => self.at += self.char_width(),
            NumberItem::Roman(_) | NumberItem::Mode => {}
        }
    }

    /// Skips up to `count` characters that are no part of a number.
    fn skip_others(&mut self, count: usize) {
        for _ in 0..count {
            match self.next_byte() {
                Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') | None => return,
                Some(_) => self.at += self.char_width(),
            }
        }
    }

    /// Reads a digit or the point, and the sign in front of the first digit or behind the last.
    fn read_place(&mut self, digit: bool) {
        self.at += usize::from(self.next_byte() == Some(b' '));
        if digit && self.sign.is_none() && !self.has_digit() {
            let taken = match self.next_byte() {
                Some(b'<') if self.pattern.brackets => Some(b'-'),
                Some(sign @ (b'-' | b'+')) => Some(sign),
                _ => None,
            };
            self.at += usize::from(taken.is_some());
            self.sign = taken;
        }
        self.read_digit();
        self.at += 1;
    }

    fn read_digit(&mut self) {
        let Some(next) = self.next_byte() else { return };
        let mut read = true;
        if next.is_ascii_digit() {
            if self.fraction == Some(self.pattern.fraction) {
                return;
            }
            self.digits.push(char::from(next));
            self.fraction = self.fraction.map(|n| n + 1);
        } else if self.pattern.point && self.fraction.is_none() && next == b'.' {
            self.digits.push('.');
            self.fraction = Some(0);
        } else {
            read = false;
        }
        if self.sign.is_none() && self.has_digit() {
            self.sign_behind(read);
        }
    }

    /// Returns true if there was a digit.
    fn has_digit(&self) -> bool {
        self.digits.bytes().any(|b| b != b'.')
    }

    fn sign_behind(&mut self, read: bool) {
        let anchored = self.pattern.sign.is_some();
        if anchored && read {
            if let Some(sign @ (b'-' | b'+')) = self.text.get(self.at + 1) {
                self.sign = Some(*sign);
                self.at += 1;
            }
        } else if !read
            && (self.pattern.plus || self.pattern.minus)
            && let Some(sign @ (b'-' | b'+')) = self.next_byte()
        {
            self.sign = Some(sign);
        }
    }
}
