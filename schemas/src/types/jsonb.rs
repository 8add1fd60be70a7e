//! JSONB values: canonical text, parsing, order, and access to parts.
//!
//! A JSONB value is stored as the text that PostgreSQL prints for it, its canonical text: members
//! sorted by the length of their names and then by bytes, of equal names the last, `": "` and `", "`
//! between the parts, numbers as NUMERIC writes them with every digit, and only the necessary
//! escapes. Every JSONB input is parsed here once, and refused where PostgreSQL refuses it, so that
//! no accepted value can fail later. Equal values may differ in trailing zeros of a number (`1.0`
//! and `1`); [`key`] returns a text without that difference.

pub mod change;
mod contains;
pub mod number;
mod order;
mod parse;
pub mod path;
mod write;

use std::borrow::Cow;

pub use contains::{contains, exists};
pub use order::compare;
pub use parse::parse;
pub use path::{element, member};
pub use write::{pretty, write_string};

/// The greatest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 256;

/// The bytes of the longest text that a function returns.
pub const LENGTH_MAX: usize = 1 << 26;

/// One parsed value. Texts without escapes are borrowed from the parsed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json<'a> {
    /// The value `null`.
    Null,
    /// The values `true` and `false`.
    Bool(bool),
    /// A number as [`number::canonical`] writes it.
    Number(Cow<'a, str>),
    /// A text, without its escapes.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object, its members in order, each name once.
    Object(Vec<Member<'a>>),
}

/// A member of an object.
pub type Member<'a> = (Cow<'a, str>, Json<'a>);

/// The reason why a text is not JSONB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonbError {
    /// A syntax error.
    #[error("this is not JSON: {what} at byte {at}")]
    Syntax {
        /// The problem.
        what: &'static str,
        /// The offset of the byte, from 0.
        at: usize,
    },
    /// A number beyond the range of NUMERIC.
    #[error(
        "a number is too large or too fine: it may have 131072 digits before its point and 16383 behind it"
    )]
    Number,
    /// Too many levels.
    #[error("it is nested too deep: {DEPTH_MAX} levels at most")]
    Depth,
    /// Too many bytes when written out.
    #[error("a JSONB value is too large")]
    Length,
}

impl Json<'_> {
    /// Returns the kind, as `jsonb_typeof` names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// Returns true for values other than arrays and objects.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// Returns the canonical text.
    ///
    /// # Errors
    /// Fails if the value is nested too deep or its text longer than [`LENGTH_MAX`].
    pub fn text(&self) -> Result<String, JsonbError> {
        let mut out = String::new();
        write::write_value(self, &mut out, 0)?;
        Ok(out)
    }
}

impl<'a> Json<'a> {
    /// Returns the value of the member called `name`.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        let Json::Object(members) = self else { return None };
        let at = members.binary_search_by(|(own, _)| order::compare_names(own, name)).ok()?;
        members.get(at).map(|(_, value)| value)
    }

    /// Creates an object of members in any order; of equal names the last counts.
    pub fn object(mut members: Vec<Member<'a>>) -> Json<'a> {
        let sorted = members.windows(2).all(|pair| order::compare_names(&pair[0].0, &pair[1].0).is_lt());
        if !sorted {
            members.sort_by(|a, b| order::compare_names(&a.0, &b.0));
            // The sort is stable: of equal names the last one given is last, and its value is kept.
            members.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Json::Object(members)
    }
}

/// Returns the canonical text of the value of any JSON text.
///
/// # Errors
/// Fails for a text that PostgreSQL refuses, and beyond the bounds of this module.
pub fn canonical(text: &str) -> Result<String, JsonbError> {
    parse(text)?.text()
}

/// Returns the text shared by all equal values: fractions have no trailing zeros.
///
/// # Errors
/// Fails as [`canonical`] does.
pub fn key(text: &str) -> Result<String, JsonbError> {
    fn trim_numbers(value: &mut Json<'_>) {
        match value {
            Json::Number(number) => {
                let short = number::trim_zeros(number).len();
                if short < number.len() {
                    *number = Cow::Owned(number[..short].to_owned());
                }
            }
            Json::Array(items) => items.iter_mut().for_each(trim_numbers),
            Json::Object(members) => {
                for (_, value) in members {
                    trim_numbers(value);
                }
            }
            _ => {}
        }
    }
    let mut value = parse(text)?;
    trim_numbers(&mut value);
    value.text()
}

#[cfg(test)]
mod tests;
