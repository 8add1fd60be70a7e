//! Patterns of numbers: `FM999,990.00`, `S9`, `9.99PR`.
//!
//! A pattern is a list of items, each a place for a digit, a sign, a separator or text that stands for
//! itself, and what they say together: how many digits there are before and behind the point, which of
//! them are always shown, and where the sign goes. What PostgreSQL refuses is refused in its words.

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A character that stands for itself.
    Text(char),
    /// `9`, or `0` where it is true.
    Digit(bool),
    /// `.` or `D`.
    Point,
    /// `,` or `G`.
    Comma,
    /// `L`: without a locale, a blank.
    Currency,
    /// `RN`, or `rn` where it is true.
    Roman(bool),
    /// `TH`, or `th` where it is true.
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

/// Where `S` puts the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// In front of the first digit.
    Front,
    /// Behind the last one.
    Back,
}

/// A pattern that was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Pattern {
    /// Its parts in their order.
    pub items: Vec<Item>,
    /// Digits before the point, and behind it.
    pub whole: usize,
    /// Digits behind the point.
    pub fraction: usize,
    /// Digits behind `V`, by which a number is multiplied.
    pub shift: usize,
    /// Digits in front of the first `0`; None without one before the point.
    pub zeros_from: Option<usize>,
    /// Digits up to the last `0`.
    pub zeros_to: usize,
    /// `FM`: no blanks, no zeros at the end.
    pub bare: bool,
    /// A point.
    pub point: bool,
    /// `S`, and the digits before it.
    pub sign: Option<(Anchor, usize)>,
    /// `PR`.
    pub brackets: bool,
    /// `MI` or `SG`.
    pub minus: bool,
    /// `PL` or `SG`.
    pub plus: bool,
    /// `RN`.
    pub roman: bool,
    /// `V`.
    pub multiplied: bool,
    /// `EEEE`.
    pub scientific: bool,
}

/// Bytes of a pattern, at most.
const LONGEST: usize = 1024;

/// Names of items; longer ones before those they begin with.
const NAMES: [&str; 20] = [
    "EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "SP", "TH", ",", ".", "0", "9", "B", "C", "D", "G", "L", "S",
    "V",
];

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What PostgreSQL says of it.
    pub(super) fn read(text: &str) -> Result<Pattern, String> {
        if text.len() > LONGEST {
            return Err("the pattern is too long".to_owned());
        }
        let mut pattern = Pattern::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix('"') {
                rest = pattern.quoted(after);
            } else if let Some(after) = rest.strip_prefix("\\\"") {
                pattern.items.push(Item::Text('"'));
                rest = after;
            } else if let Some(name) = name(rest) {
                let lower = rest.starts_with(|c: char| c.is_ascii_lowercase());
                let item = pattern.item(name, lower)?;
                pattern.items.push(item);
                rest = &rest[name.len()..];
            } else {
                pattern.items.push(Item::Text(first));
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(pattern)
    }

    /// Takes text up to the closing quote; gives what follows it.
    fn quoted<'a>(&mut self, mut rest: &'a str) -> &'a str {
        while let Some(next) = rest.chars().next() {
            rest = &rest[next.len_utf8()..];
            match next {
                '"' => return rest,
                '\\' => {
                    if let Some(escaped) = rest.chars().next() {
                        self.items.push(Item::Text(escaped));
                        rest = &rest[escaped.len_utf8()..];
                    }
                }
                other => self.items.push(Item::Text(other)),
            }
        }
        rest
    }

    fn item(&mut self, name: &str, lower: bool) -> Result<Item, String> {
        let fail = |text: &str| Err(text.to_owned());
        if self.scientific && name != "EEEE" {
            return fail("\"EEEE\" must be the last pattern used");
        }
        Ok(match name {
            "9" | "0" if self.brackets => return Err(format!("\"{name}\" must be ahead of \"PR\"")),
            "9" if self.multiplied => {
                self.shift += 1;
                Item::Digit(false)
            }
            "9" => self.digit(false),
            "0" => self.digit(true),
            "." | "D" => {
                if self.point {
                    return fail("multiple decimal points");
                }
                if self.multiplied {
                    return fail("cannot use \"V\" and decimal point together");
                }
                self.point = true;
                Item::Point
            }
            "," | "G" => Item::Comma,
            "L" => Item::Currency,
            "RN" => {
                self.roman = true;
                Item::Roman(lower)
            }
            "TH" => Item::Ordinal(lower),
            "FM" => {
                self.bare = true;
                Item::Mode
            }
            "V" => {
                if self.point {
                    return fail("cannot use \"V\" and decimal point together");
                }
                self.multiplied = true;
                Item::Mode
            }
            "EEEE" => self.exponent()?,
            "S" | "MI" | "PL" | "SG" | "PR" => self.signed(name)?,
            _ => Item::Mode,
        })
    }

    fn digit(&mut self, zero: bool) -> Item {
        if zero && self.zeros_from.is_none() && !self.point {
            self.zeros_from = Some(self.whole);
        }
        match self.point {
            true => self.fraction += 1,
            false => self.whole += 1,
        }
        if zero {
            self.zeros_to = self.whole + self.fraction;
        }
        Item::Digit(zero)
    }

    fn exponent(&mut self) -> Result<Item, String> {
        let signs = self.sign.is_some() || self.brackets || self.minus || self.plus;
        if self.scientific {
            return Err("cannot use \"EEEE\" twice".to_owned());
        }
        if self.bare || signs || self.roman || self.multiplied {
            return Err("\"EEEE\" is incompatible with other formats".to_owned());
        }
        self.scientific = true;
        Ok(Item::Mode)
    }

    fn signed(&mut self, name: &str) -> Result<Item, String> {
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
                Item::Mode
            }
            "PR" => {
                self.brackets = true;
                Item::Mode
            }
            "MI" => {
                self.minus = true;
                Item::Minus
            }
            "PL" => {
                self.plus = true;
                Item::Plus
            }
            _ => {
                (self.minus, self.plus) = (true, true);
                Item::Signed
            }
        })
    }
}

/// The name of an item that `text` begins with, all its letters large or all small.
fn name(text: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|name| {
        let begins = |name: &str| text.starts_with(name);
        begins(name) || begins(&name.to_ascii_lowercase())
    })
}
