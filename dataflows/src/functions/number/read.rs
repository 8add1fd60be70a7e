//! to_number: numbers from text by PostgreSQL's patterns.
//!
//! Each item of the pattern takes what it stands for from the text, and is passed over where the text has
//! something else: `to_number('$1,234.5-', 'L9,999.9S')` is -1234.5.

use super::decimal::overflow;
use super::pattern::{Item, Pattern};

/// The number in `text`, as decimals; empty where there is none.
///
/// # Errors
/// For patterns that only to_char knows.
pub(super) fn number(pattern: &Pattern, text: &str) -> Result<String, String> {
    if pattern.scientific {
        return Err("\"EEEE\" not supported for input".to_owned());
    }
    if pattern.roman {
        return Err("\"RN\" not supported for input".to_owned());
    }
    let mut reading =
        Reading { pattern, text: text.as_bytes(), at: 0, sign: None, digits: String::new(), fraction: None };
    for item in &pattern.items {
        if reading.at >= text.len() {
            break;
        }
        reading.item(*item);
    }
    let digits = reading.digits.strip_suffix('.').unwrap_or(&reading.digits);
    let whole = digits.split('.').next().unwrap_or_default().trim_start_matches('0');
    if whole.len() > pattern.whole + pattern.shift {
        return Err(overflow());
    }
    Ok(format!("{}{digits}", if reading.sign == Some(b'-') { "-" } else { "" }))
}

struct Reading<'a> {
    pattern: &'a Pattern,
    text: &'a [u8],
    at: usize,
    sign: Option<u8>,
    digits: String,
    /// Digits behind the point, once there was one.
    fraction: Option<usize>,
}

impl Reading<'_> {
    fn next(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Bytes of the character here. Digits are looked for byte by byte, as PostgreSQL does.
    fn width(&self) -> usize {
        match self.next() {
            Some(0xC0..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..) => 4,
            _ => 1,
        }
    }

    fn item(&mut self, item: Item) {
        let next = self.next();
        match item {
            Item::Digit(_) => self.part(true),
            Item::Point => self.part(false),
            Item::Comma if self.pattern.bare => {}
            Item::Comma => self.at += usize::from(next == Some(b',')),
            Item::Currency => self.pass(1),
            Item::Ordinal(_) if self.pattern.point => {}
            Item::Ordinal(_) => self.pass(2),
            Item::Minus | Item::Plus | Item::Signed => {
                let taken = match item {
                    Item::Minus => next == Some(b'-'),
                    Item::Plus => next == Some(b'+'),
                    _ => matches!(next, Some(b'-' | b'+')),
                };
                match taken {
                    true => {
                        self.sign = next;
                        self.at += 1;
                    }
                    false => self.pass(1),
                }
            }
            Item::Text(_) => self.at += self.width(),
            Item::Roman(_) | Item::Mode => {}
        }
    }

    /// Passes over characters that are no part of a number.
    fn pass(&mut self, count: usize) {
        for _ in 0..count {
            match self.next() {
                Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') | None => return,
                Some(_) => self.at += self.width(),
            }
        }
    }

    /// A digit or the point, with the sign in front of the first and behind the last of them.
    fn part(&mut self, digit: bool) {
        self.at += usize::from(self.next() == Some(b' '));
        if digit && self.sign.is_none() && !self.begun() {
            let taken = match self.next() {
                Some(b'<') if self.pattern.brackets => Some(b'-'),
                Some(sign @ (b'-' | b'+')) => Some(sign),
                _ => None,
            };
            self.at += usize::from(taken.is_some());
            self.sign = taken;
        }
        self.read();
        self.at += 1;
    }

    fn read(&mut self) {
        let Some(next) = self.next() else { return };
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
        if self.sign.is_none() && self.begun() {
            self.sign_behind(read);
        }
    }

    /// Tells whether there was a digit.
    fn begun(&self) -> bool {
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
            && let Some(sign @ (b'-' | b'+')) = self.next()
        {
            self.sign = Some(sign);
        }
    }
}
