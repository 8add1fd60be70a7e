//! to_char: numbers as text by PostgreSQL's patterns.
//!
//! A number is first rounded to the digits of its pattern and written in plain decimals; then each item of
//! the pattern takes the next digit, or leaves a blank where the number has none yet. A number with
//! more digits before the point than its pattern shows as `##.##`.

use super::pattern::{Anchor, Item, Pattern};

/// A number as plain digits, at most as many behind the point as its pattern has.
pub(super) struct Plain {
    /// Its sign is written as minus.
    pub negative: bool,
    /// Digits, perhaps with a point.
    pub digits: String,
}

impl Plain {
    /// A number's text, `-12.50`.
    pub(super) fn of(text: &str) -> Plain {
        match text.strip_prefix('-') {
            Some(digits) => Plain { negative: true, digits: digits.to_owned() },
            None => Plain { negative: false, digits: text.to_owned() },
        }
    }
}

/// `number` by `pattern`, which has `whole` and `fraction` places for its digits.
///
/// # Errors
/// For an ordinal of what has no digits.
pub(super) fn laid_out(
    pattern: &Pattern,
    number: Plain,
    whole: usize,
    fraction: usize,
) -> Result<String, String> {
    let before = number.digits.find('.').unwrap_or(number.digits.len());
    let digits = match before > whole {
        true => format!("{}.{}", "#".repeat(whole), "#".repeat(fraction)),
        false => number.digits,
    };
    let blanks = whole.saturating_sub(before);
    Layout::new(pattern, &digits, number.negative, (blanks, whole, fraction)).run()
}

/// A Roman number by `pattern`; what has none is `###############`.
pub(super) fn roman(pattern: &Pattern, value: i64) -> String {
    let text = letters(value).unwrap_or_else(|| "#".repeat(15));
    let mut out = String::new();
    for item in &pattern.items {
        let text = match item {
            Item::Roman(true) => text.to_lowercase(),
            Item::Roman(false) => text.clone(),
            Item::Text(other) => other.to_string(),
            Item::Currency => " ".to_owned(),
            Item::Comma if !pattern.bare => " ".to_owned(),
            _ => continue,
        };
        match (item, pattern.bare) {
            (Item::Roman(_), false) => out.push_str(&format!("{text:>15}")),
            _ => out.push_str(&text),
        }
    }
    out
}

fn letters(mut value: i64) -> Option<String> {
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
    /// Places before the first digit.
    blanks: usize,
    /// Places behind the point.
    fraction: usize,
    /// The place of the last digit that counts, where zeros behind it are left out.
    relevant: Option<usize>,
    anchor: Option<Anchor>,
    /// Brackets show.
    brackets: bool,
    sign_written: bool,
    /// The place at which the number ends.
    last: usize,
    /// The next digit.
    at: usize,
    /// The number of places so far.
    place: usize,
    inside: bool,
    /// The pattern has a place behind the last digit, at which PostgreSQL's text ends.
    ended: bool,
    out: String,
}

impl<'a> Layout<'a> {
    fn new(
        pattern: &'a Pattern,
        digits: &'a str,
        negative: bool,
        (blanks, whole, fraction): (usize, usize, usize),
    ) -> Layout<'a> {
        let digits = digits.as_bytes();
        let mut anchor = pattern.sign.map(|(anchor, _)| anchor);
        let mut sign_written = !negative && pattern.bare && anchor.is_none();
        let elsewhere = pattern.plus || pattern.minus;
        let brackets = pattern.brackets && (negative || !pattern.bare || elsewhere);
        if elsewhere {
            // PL alone says nothing of a minus.
            sign_written = pattern.minus;
        } else if pattern.sign.is_some_and(|(_, before)| before == whole) {
            anchor = Some(Anchor::Back);
        }
        let relevant = relevant(pattern, digits, blanks);
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

    fn run(mut self) -> Result<String, String> {
        for item in &self.pattern.items {
            if self.ended {
                break;
            }
            match item {
                Item::Digit(zero) => self.part(*zero),
                Item::Point => self.part(false),
                Item::Text(text) => self.out.push(*text),
                Item::Comma if self.inside => self.out.push(','),
                Item::Currency => self.out.push(' '),
                Item::Comma => self.blank(),
                Item::Minus if self.negative => self.out.push('-'),
                Item::Plus if !self.negative => self.out.push('+'),
                Item::Minus | Item::Plus => self.blank(),
                Item::Signed => self.out.push(if self.negative { '-' } else { '+' }),
                Item::Ordinal(lower) => self.ordinal(*lower)?,
                Item::Roman(_) | Item::Mode => {}
            }
        }
        Ok(self.out)
    }

    fn blank(&mut self) {
        if !self.pattern.bare {
            self.out.push(' ');
        }
    }

    fn ordinal(&mut self, lower: bool) -> Result<(), String> {
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

    /// A zero before the point that nobody asked for: ` .5`.
    fn is_idle_zero(&self) -> bool {
        let zeros = self.pattern.zeros_from.is_some();
        !zeros && self.at == 0 && self.digits.first() == Some(&b'0') && self.fraction != 0
    }

    /// Tells whether nothing behind the point counts.
    fn ends_at_point(&self) -> bool {
        self.relevant.is_some_and(|at| self.digits[at] == b'.')
    }

    /// One place: a digit, the point, or nothing yet.
    fn part(&mut self, zero: bool) {
        self.inside = false;
        let zeros = self.pattern.zeros_from;
        let begins = self.place >= self.blanks || zeros == Some(self.place);
        if !self.sign_written && begins && (!self.is_idle_zero() || self.ends_at_point()) {
            self.sign();
        }
        if self.place < self.blanks {
            match zeros.is_some_and(|from| from <= self.place) {
                true => {
                    self.out.push('0');
                    self.inside = true;
                }
                false => self.blank(),
            }
        } else {
            self.digit(zero);
        }
        if self.ended {
            return;
        }
        let mut last = self.last;
        if self.relevant.is_some() && self.relevant == Some(self.at) {
            last = self.place;
        }
        if self.place + 1 == last {
            self.end();
        }
        self.place += 1;
    }

    fn digit(&mut self, zero: bool) {
        let digit = self.digits.get(self.at).copied();
        if digit == Some(b'.') {
            self.out.push('.');
        } else if self.relevant.is_some_and(|last| self.at > last) && !zero {
            // A zero at the end that FM leaves out.
        } else if self.is_idle_zero() {
            match self.pattern.bare {
                false => self.out.push(' '),
                true if self.ends_at_point() => self.out.push('0'),
                true => {}
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

    /// The sign in front of the number.
    fn sign(&mut self) {
        match self.anchor {
            Some(Anchor::Back) => return,
            Some(Anchor::Front) => self.out.push(if self.negative { '-' } else { '+' }),
            None if self.brackets => self.out.push(if self.negative { '<' } else { ' ' }),
            None if self.negative => self.out.push('-'),
            None => self.blank(),
        }
        self.sign_written = true;
    }

    /// Writes what stands behind the last digit.
    fn end(&mut self) {
        if self.sign_written && self.brackets {
            self.out.push(if self.negative { '>' } else { ' ' });
        } else if self.anchor == Some(Anchor::Back) {
            self.out.push(if self.negative { '-' } else { '+' });
        }
    }
}

/// The place of the last digit that counts, where FM leaves out zeros behind the point.
fn relevant(pattern: &Pattern, digits: &[u8], blanks: usize) -> Option<usize> {
    if !pattern.bare || !pattern.point {
        return None;
    }
    let point = digits.iter().position(|d| *d == b'.')?;
    let last = digits.iter().rposition(|d| *d != b'0').map_or(point, |at| at.max(point));
    match pattern.zeros_to > blanks {
        true => Some(last.max((digits.len() - 1).min(pattern.zeros_to - blanks))),
        false => Some(last),
    }
}
