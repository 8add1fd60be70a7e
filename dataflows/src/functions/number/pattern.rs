//! Patterns of numbers: `FM999,990.00`, `S9`, `9.99PR`.
//!
//! A pattern is a list of items, each a place for a digit, a sign, a separator or literal text, together with
//! totals: the number of digits before and behind the point, the digits that are always shown, and the place
//! of the sign. Patterns that PostgreSQL refuses are refused with its messages.

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberItem {
    /// A literal character.
    Text(char),
    /// `0` if true, else `9`.
    Digit(bool),
    /// `.` or `D`.
    Point,
    /// `,` or `G`.
    Comma,
    /// `L`: without a locale, a blank.
    Currency,
    /// `rn` if true, else `RN`.
    Roman(bool),
    /// `th` if true, else `TH`.
    Ordinal(bool),
    /// `MI`.
    Minus,
    /// `PL`.
    Plus,
    /// `SG`.
    Signed,
    /// A mode of the whole pattern: `FM`, `S`, `PR`, `V`, `EEEE`, `B`.
    Mode,
}

/// Place of the sign that `S` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// In front of the first digit.
    Front,
    /// Behind the last one.
    Back,
}

/// A parsed pattern.
#[derive(Clone, Debug, Default)]
pub(super) struct Pattern {
    /// Its parts in order.
    pub items: Vec<NumberItem>,
    /// Digits before the point.
    pub whole: usize,
    /// Digits behind the point.
    pub fraction: usize,
    /// Digits behind `V`: the number is multiplied by ten to this power.
    pub shift: usize,
    /// Number of digits in front of the first `0`; None without one before the point.
    pub zeros_from: Option<usize>,
    /// Number of digits up to the last `0`.
    pub zeros_to: usize,
    /// True with `FM`: no blanks, and no zeros at the end.
    pub bare: bool,
    /// True with a point.
    pub point: bool,
    /// Place of the sign for `S`, and the number of digits before the `S`.
    pub sign: Option<(Anchor, usize)>,
    /// True with `PR`.
    pub brackets: bool,
    /// True with `MI` or `SG`.
    pub minus: bool,
    /// True with `PL` or `SG`.
    pub plus: bool,
    /// True with `RN`.
    pub roman: bool,
    /// True with `V`.
    pub multiplied: bool,
    /// True with `EEEE`.
    pub scientific: bool,
}

/// Largest number of bytes of a pattern.
const MAX_PATTERN_BYTES: usize = 1024;

/// Names of items; each stands before its own prefixes.
const NAMES: [&str; 20] = [
    "EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "SP", "TH", ",", ".", "0", "9", "B", "C", "D", "G", "L", "S",
    "V",
];

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// PostgreSQL's message for an invalid pattern.
    pub(super) fn read(text: &str) -> Result<Pattern, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err("the pattern is too long".to_owned());
        }
        let mut pattern = Pattern::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix('"') {
                rest = pattern.read_quoted(after);
            } else if let Some(after) = rest.strip_prefix("\\\"") {
                pattern.items.push(NumberItem::Text('"'));
                rest = after;
            } else if let Some(name) = item_name(rest) {
                let lower = rest.starts_with(|c: char| c.is_ascii_lowercase());
                let item = pattern.add_item(name, lower)?;
                pattern.items.push(item);
                rest = &rest[name.len()..];
            } else {
                pattern.items.push(NumberItem::Text(first));
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(pattern)
    }

    /// Adds text up to the closing quote; returns the rest behind it.
    fn read_quoted<'a>(&mut self, mut rest: &'a str) -> &'a str {
        while let Some(next) = rest.chars().next() {
            rest = &rest[next.len_utf8()..];
            match next {
                '"' => return rest,
                '\\' => {
                    if let Some(escaped) = rest.chars().next() {
                        self.items.push(NumberItem::Text(escaped));
                        rest = &rest[escaped.len_utf8()..];
                    }
                }
                other => self.items.push(NumberItem::Text(other)),
            }
        }
        rest
    }

    fn add_item(&mut self, name: &str, lower: bool) -> Result<NumberItem, String> {
        if self.scientific && name != "EEEE" {
            return Err("\"EEEE\" must be the last pattern used".to_owned());
        }
        Ok(match name {
            "9" | "0" if self.brackets => return Err(format!("\"{name}\" must be ahead of \"PR\"")),
            "9" if self.multiplied => {
                self.shift += 1;
                NumberItem::Digit(false)
            }
            "9" => self.add_digit(false),
            "0" => self.add_digit(true),
            "." | "D" => {
                if self.point {
                    return Err("multiple decimal points".to_owned());
                }
                if self.multiplied {
                    return Err("cannot use \"V\" and decimal point together".to_owned());
                }
                self.point = true;
                NumberItem::Point
            }
            "," | "G" => NumberItem::Comma,
            "L" => NumberItem::Currency,
            "RN" => {
                self.roman = true;
                NumberItem::Roman(lower)
            }
            "TH" => NumberItem::Ordinal(lower),
            "FM" => {
                self.bare = true;
                NumberItem::Mode
            }
            "V" => {
                if self.point {
                    return Err("cannot use \"V\" and decimal point together".to_owned());
                }
                self.multiplied = true;
                NumberItem::Mode
            }
            "EEEE" => self.add_exponent()?,
            "S" | "MI" | "PL" | "SG" | "PR" => self.add_sign(name)?,
            _ => NumberItem::Mode,
        })
    }

    fn add_digit(&mut self, zero: bool) -> NumberItem {
        if zero && self.zeros_from.is_none() && !self.point {
            self.zeros_from = Some(self.whole);
        }
        if self.point {
            self.fraction += 1;
        } else {
            self.whole += 1;
        }
        if zero {
            self.zeros_to = self.whole + self.fraction;
        }
        NumberItem::Digit(zero)
    }

    fn add_exponent(&mut self) -> Result<NumberItem, String> {
        let signs = self.sign.is_some() || self.brackets || self.minus || self.plus;
        if self.scientific {
            return Err("cannot use \"EEEE\" twice".to_owned());
        }
        if self.bare || signs || self.roman || self.multiplied {
            return Err("\"EEEE\" is incompatible with other formats".to_owned());
        }
        self.scientific = true;
        Ok(NumberItem::Mode)
    }

    fn add_sign(&mut self, name: &str) -> Result<NumberItem, String> {
        let others = self.plus || self.minus || (name == "S" && self.brackets);
        match name {
            "S" if self.sign.is_some() => return Err("cannot use \"S\" twice".to_owned()),
            "S" if others => {
                return Err("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together".to_owned());
            }
            "PR" if self.sign.is_some() || others => {
                return Err("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together".to_owned());
            }
            other if self.sign.is_some() => {
                return Err(format!("cannot use \"S\" and \"{other}\" together"));
            }
            _ => {}
        }
        Ok(match name {
            "S" => {
                let anchor = if self.point { Anchor::Back } else { Anchor::Front };
                self.sign = Some((anchor, self.whole));
                NumberItem::Mode
            }
            "PR" => {
                self.brackets = true;
                NumberItem::Mode
            }
            "MI" => {
                self.minus = true;
                NumberItem::Minus
            }
            "PL" => {
                self.plus = true;
                NumberItem::Plus
            }
            _ => {
                (self.minus, self.plus) = (true, true);
                NumberItem::Signed
            }
        })
    }
}

/// Returns the name of an item that `text` begins with, its letters all large or all small.
fn item_name(text: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|name| text.starts_with(*name) || text.starts_with(&name.to_ascii_lowercase()))
}
