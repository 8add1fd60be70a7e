//! JSONB values: their one text, their meaning, and the way into them.
//!
//! A JSONB value is kept as the text that PostgreSQL prints for it: members sorted by the length of
//! their names and then by bytes, of equal names the last, `": "` and `", "` between the parts,
//! numbers as NUMERIC writes them with every digit, and only those escapes that must be. Whatever
//! enters as JSONB is parsed here once, and refused where PostgreSQL refuses it, so that nothing that
//! was let in can fail later. Values that are equal may differ in the zeros that end a number (`1.0` and
//! `1`); [`key`] gives the text in which they do not.

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

/// How deep arrays and objects may stand in each other.
pub const DEPTH_MAX: usize = 256;

/// Bytes of the longest text that a function makes.
pub const LENGTH_MAX: usize = 1 << 26;

/// One parsed value. Texts without escapes are borrowed from what was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` and `false`
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

/// Why a text is not JSONB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonbError {
    /// Something else is expected at a byte.
    #[error("this is not JSON: {what} at byte {at}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// A number beyond NUMERIC.
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
    /// The kind, as `jsonb_typeof` names it.
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

    /// True for what is neither an array nor an object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    /// The value as its text.
    ///
    /// # Errors
    /// When it is nested too deep or longer than [`LENGTH_MAX`].
    pub fn text(&self) -> Result<String, JsonbError> {
        let mut out = String::new();
        write::write(self, &mut out, 0)?;
        Ok(out)
    }
}

impl<'a> Json<'a> {
    /// The member called `name`.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        let Json::Object(members) = self else { return None };
        let at = members.binary_search_by(|(own, _)| order::names(own, name)).ok()?;
        members.get(at).map(|(_, value)| value)
    }

    /// An object of members in any order; of equal names the last counts.
    pub fn object(mut members: Vec<Member<'a>>) -> Json<'a> {
        let sorted = members.windows(2).all(|pair| order::names(&pair[0].0, &pair[1].0).is_lt());
        if !sorted {
            members.sort_by(|a, b| order::names(&a.0, &b.0));
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

/// Any JSON text as the one text of its value.
///
/// # Errors
/// Where PostgreSQL refuses it, and beyond the bounds of this module.
pub fn canonical(text: &str) -> Result<String, JsonbError> {
    parse(text)?.text()
}

/// The text that all equal values share: no number ends with zeros behind its point.
///
/// # Errors
/// As [`canonical`].
pub fn key(text: &str) -> Result<String, JsonbError> {
    fn normal(value: &mut Json<'_>) {
        match value {
            Json::Number(number) => {
                let short = number::normal(number).len();
                if short < number.len() {
                    *number = Cow::Owned(number[..short].to_owned());
                }
            }
            Json::Array(items) => items.iter_mut().for_each(normal),
            Json::Object(members) => members.iter_mut().for_each(|(_, value)| normal(value)),
            _ => {}
        }
    }
    let mut value = parse(text)?;
    normal(&mut value);
    value.text()
}

#[cfg(test)]
mod tests;
