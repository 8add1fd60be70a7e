//! `to_char`: numbers as text by PostgreSQL's patterns.
//!
//! A number is first rounded to the digits of its pattern and written in plain decimals; then each item of
//! the pattern takes the next digit, or leaves a blank where the number has none yet. A number with more
//! digits before the point than its pattern is written as `##.##`.

use super::pattern::{Anchor, NumberItem, Pattern};

/// A number in plain decimals, with at most as many digits behind the point as its pattern.
pub(super) struct Plain {
    /// True if a minus is written.
    pub negative: bool,
    /// The digits, possibly with a point.
    pub digits: String,
}

impl Plain {
    /// Parses a number's text, such as `-12.50`.
    pub(super) fn from_text(text: &str) -> Plain {
        match text.strip_prefix('-') {
            Some(digits) => Plain { negative: true, digits: digits.to_owned() },
            None => Plain { negative: false, digits: text.to_owned() },
        }
    }
}

/// Writes `number` by `pattern`, which has `whole` and `fraction` places for its digits.
///
/// # Errors
/// For an ordinal of a text that does not end in a digit.
pub(super) fn lay_out(
    pattern: &Pattern,
    number: Plain,
    whole: usize,
    fraction: usize,
) -> Result<String, String> {
    let before = number.digits.find('.').unwrap_or(number.digits.len());
    let digits = if before > whole {
        format!("{}.{}", "#".repeat(whole), "#".repeat(fraction))
    } else {
        number.digits
    };
    let blanks = whole.saturating_sub(before);
    Layout::new(pattern, &digits, number.negative, blanks, (whole, fraction)).write_items()
}

/// Writes a Roman number by `pattern`; a value without one is `###############`.
pub(super) fn write_roman(pattern: &Pattern, value: i64) -> String {
    let text = roman_letters(value).unwrap_or_else(|| "#".repeat(15));
    let mut out = String::new();
    for item in &pattern.items {
        let text = match item {
            NumberItem::Roman(true) => text.to_lowercase(),
            NumberItem::Roman(false) => text.clone(),
            NumberItem::Text(other) => other.to_string(),
            NumberItem::Currency => " ".to_owned(),
            NumberItem::Comma if !pattern.bare => " ".to_owned(),
            _ => continue,
        };
        match (item, pattern.bare) {
            (NumberItem::Roman(_), false) => out.push_str(&format!("{text:>15}")),
            _ => out.push_str(&text),
        }
    }
    out
}

fn roman_letters(mut value: i64) -> Option<String> {
    const PARTS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    if !(1..4000).contains(&value) {
        return None;
    }
    let mut out = String::new();
    for (worth, text) in PARTS {
        while value >= worth {
            out.push_str(text);
            value -= worth;
        }
    }
    Some(out)
}

/// A number in the course of being written.
struct Layout<'a> {
    pattern: &'a Pattern,
    digits: &'a [u8],
    negative: bool,
    /// Number of places before the first digit.
    blanks: usize,
    /// Number of places behind the point.
    fraction: usize,
    /// Index of the last digit to write, where FM leaves out zeros behind it.
    relevant: Option<usize>,
    anchor: Option<Anchor>,
    /// True if brackets are written.
    brackets: bool,
    sign_written: bool,
    /// The place at which the number ends.
    last: usize,
    /// Index of the next digit.
    at: usize,
    /// Number of places so far.
    place: usize,
    inside: bool,
    /// True once the pattern has a place behind the last digit: PostgreSQL's text ends there.
    ended: bool,
    out: String,
}

impl<'a> Layout<'a> {
    fn new(
        pattern: &'a Pattern,
        digits: &'a str,
        negative: bool,
        blanks: usize,
        (whole, fraction): (usize, usize),
    ) -> Layout<'a> {
        let digits = digits.as_bytes();
        let mut anchor = pattern.sign.map(|(anchor, _)| anchor);
        let mut sign_written = !negative && pattern.bare && anchor.is_none();
        let elsewhere = pattern.plus || pattern.minus;
        let brackets = pattern.brackets && (negative || !pattern.bare || elsewhere);
        if elsewhere {
            // With PL alone a minus is still to be written.
            sign_written = pattern.minus;
        } else if pattern.sign.is_some_and(|(_, before)| before == whole) {
            anchor = Some(Anchor::Back);
        }
        let relevant = last_relevant(pattern, digits, blanks);
        let sign = usize::from(!sign_written && blanks == 0);
        let last = (whole + fraction + sign).wrapping_sub(1);
        let last = last.wrapping_add(usize::from(blanks > 0) + usize::from(pattern.point));
        Layout {
            pattern,
            digits,
            negative,
            blanks,
            fraction,
            relevant,
            anchor,
            brackets,
            sign_written,
            last,
            at: 0,
            place: 0,
            inside: false,
            ended: false,
            out: String::new(),
        }
    }

    fn write_items(mut self) -> Result<String, String> {
        for item in &self.pattern.items {
            if self.ended {
                break;
            }
            match item {
                NumberItem::Digit(zero) => self.write_place(*zero),
                NumberItem::Point => self.write_place(false),
                NumberItem::Text(text) => self.out.push(*text),
                NumberItem::Comma if self.inside => self.out.push(','),
                NumberItem::Currency => self.out.push(' '),
                NumberItem::Comma => self.write_blank(),
                NumberItem::Minus if self.negative => self.out.push('-'),
                NumberItem::Plus if !self.negative => self.out.push('+'),
                NumberItem::Minus | NumberItem::Plus => self.write_blank(),
                NumberItem::Signed => self.out.push(if self.negative { '-' } else { '+' }),
                NumberItem::Ordinal(lower) => self.write_ordinal(*lower)?,
                NumberItem::Roman(_) | NumberItem::Mode => {}
            }
        }
        Ok(self.out)
    }

    fn write_blank(&mut self) {
        if !self.pattern.bare {
            self.out.push(' ');
        }
    }

    fn write_ordinal(&mut self, lower: bool) -> Result<(), String> {
        if self.negative || self.pattern.point || self.digits.first() == Some(&b'#') {
            return Ok(());
        }
        if !self.digits.last().is_some_and(u8::is_ascii_digit) {
            return Err(format!("\"{}\" is not a number", String::from_utf8_lossy(self.digits)));
        }
        let digits = self.digits;
        let teen = digits.len() > 1 && digits[digits.len() - 2] == b'1';
        let ending = match digits.last() {
            Some(b'1') if !teen => "st",
            Some(b'2') if !teen => "nd",
            Some(b'3') if !teen => "rd",
            _ => "th",
        };
        self.out.push_str(&if lower { ending.to_owned() } else { ending.to_uppercase() });
        Ok(())
    }

    /// Returns true for a zero before the point that the pattern does not ask for: ` .5`.
    fn is_idle_zero(&self) -> bool {
        let zeros = self.pattern.zeros_from.is_some();
        !zeros && self.at == 0 && self.digits.first() == Some(&b'0') && self.fraction != 0
    }

    /// Returns true if no digit behind the point is written.
    fn ends_at_point(&self) -> bool {
        self.relevant.is_some_and(|at| self.digits[at] == b'.')
    }

    /// Writes one place: a digit, the point, or a blank before the first digit.
    fn write_place(&mut self, zero: bool) {
        self.inside = false;
        let zeros = self.pattern.zeros_from;
        let begins = self.place >= self.blanks || zeros == Some(self.place);
        if !self.sign_written && begins && (!self.is_idle_zero() || self.ends_at_point()) {
            self.write_sign();
        }
        if self.place < self.blanks {
            if zeros.is_some_and(|from| from <= self.place) {
                self.out.push('0');
                self.inside = true;
            } else {
                self.write_blank();
            }
        } else {
            self.write_digit(zero);
        }
        if self.ended {
            return;
        }
        let mut last = self.last;
        if self.relevant.is_some() && self.relevant == Some(self.at) {
            last = self.place;
        }
        if self.place + 1 == last {
            self.write_end();
        }
        self.place += 1;
    }

    fn write_digit(&mut self, zero: bool) {
        let digit = self.digits.get(self.at).copied();
        if digit == Some(b'.') {
            self.out.push('.');
        } else if self.relevant.is_some_and(|last| self.at > last) && !zero {
            // A trailing zero that FM leaves out.
        } else if self.is_idle_zero() {
            if !self.pattern.bare {
                self.out.push(' ');
            } else if self.ends_at_point() {
                self.out.push('0');
            }
        } else if let Some(digit) = digit {
            self.out.push(char::from(digit));
            self.inside = true;
        } else {
            self.ended = true;
            return;
        }
        self.at = (self.at + 1).min(self.digits.len());
    }

    /// Writes the sign in front of the number.
    fn write_sign(&mut self) {
        match self.anchor {
            Some(Anchor::Back) => return,
            Some(Anchor::Front) => self.out.push(if self.negative { '-' } else { '+' }),
            None if self.brackets => self.out.push(if self.negative { '<' } else { ' ' }),
            None if self.negative => self.out.push('-'),
            None => self.write_blank(),
        }
        self.sign_written = true;
    }

    /// Writes the sign or bracket behind the last digit.
    fn write_end(&mut self) {
        if self.sign_written && self.brackets {
            self.out.push(if self.negative { '>' } else { ' ' });
        } else if self.anchor == Some(Anchor::Back) {
            self.out.push(if self.negative { '-' } else { '+' });
        }
    }
}

/// Returns the index of the last digit to write, where FM leaves out zeros behind the point.
fn last_relevant(pattern: &Pattern, digits: &[u8], blanks: usize) -> Option<usize> {
    if !pattern.bare || !pattern.point {
        return None;
    }
    let point = digits.iter().position(|d| *d == b'.')?;
    let last = digits.iter().rposition(|d| *d != b'0').map_or(point, |at| at.max(point));
    if pattern.zeros_to > blanks {
        Some(last.max((digits.len() - 1).min(pattern.zeros_to - blanks)))
    } else {
        Some(last)
    }
}
