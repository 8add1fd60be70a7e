//! Calls of the catalogue's functions: a plain function from the values of one row to a value, and its
//! arguments.

use arrow::array::Array;
use arrow::datatypes::FieldRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;

use super::facts::Facts;
use super::relations::Value;

/// Name of the function that gives the subscripts of an array.
pub(super) const SUBSCRIPTS: &str = "pg_subscripts";
/// Name of the function behind `information_schema._pg_expandarray`.
pub(super) const EXPAND: &str = "pg_expand";

/// Name of the function that gives the only item of an array.
pub(super) const ONLY_ROW: &str = "pg_only_row";

/// Function of the catalogue.
pub(super) struct Entry {
    pub name: &'static str,
    /// Fewest arguments.
    pub least: usize,
    /// Most arguments.
    pub most: usize,
    /// Builtin type of its values.
    pub gives: &'static str,
    /// True for a function that is NULL for a NULL argument.
    pub strict: bool,
    pub body: fn(&Call<'_>) -> Result<Value>,
}

/// Any number of arguments.
pub(super) const ANY: usize = usize::MAX;

/// A strict function.
pub(super) const fn entry(
    name: &'static str,
    [least, most]: [usize; 2],
    gives: &'static str,
    body: fn(&Call<'_>) -> Result<Value>,
) -> Entry {
    Entry { name, least, most, gives, strict: true, body }
}

/// A function that sees its NULL arguments.
pub(super) const fn lax(
    name: &'static str,
    bounds: [usize; 2],
    gives: &'static str,
    body: fn(&Call<'_>) -> Result<Value>,
) -> Entry {
    Entry { strict: false, ..entry(name, bounds, gives, body) }
}

/// Call of a function with the values of a row.
pub(super) struct Call<'a> {
    pub facts: &'a Facts,
    pub values: &'a [ScalarValue],
    pub fields: &'a [FieldRef],
}

impl Call<'_> {
    /// An argument as text.
    pub fn text(&self, at: usize) -> Option<&str> {
        text_of(self.values.get(at)?)
    }

    /// An argument as a number; text counts if it is one.
    pub fn int(&self, at: usize) -> Option<i64> {
        int_of(self.values.get(at)?)
    }

    /// An argument as a truth value.
    pub fn bool(&self, at: usize) -> Option<bool> {
        match self.values.get(at)? {
            ScalarValue::Boolean(value) => *value,
            _ => match self.text(at)? {
                "t" | "true" | "on" | "yes" | "1" => Some(true),
                "f" | "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
        }
    }

    /// The items of an argument that is an array.
    ///
    /// # Errors
    /// When an item has no scalar form.
    pub fn items(&self, at: usize) -> Result<Option<Vec<ScalarValue>>> {
        self.values.get(at).map_or(Ok(None), items_of)
    }
}

/// A value as text.
pub(super) fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// A value as a number; text counts if it is one.
pub(super) fn int_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::UInt16(value) => value.map(i64::from),
        ScalarValue::UInt32(value) => value.map(i64::from),
        ScalarValue::UInt64(value) => value.and_then(|value| i64::try_from(value).ok()),
        _ => text_of(value)?.trim().parse().ok(),
    }
}

/// The items of a value that is a list.
pub(super) fn items_of(value: &ScalarValue) -> Result<Option<Vec<ScalarValue>>> {
    let items = match value {
        ScalarValue::List(list) if list.is_valid(0) => list.value(0),
        ScalarValue::LargeList(list) if list.is_valid(0) => list.value(0),
        _ => return Ok(None),
    };
    let items = (0..items.len()).map(|place| ScalarValue::try_from_array(&items, place));
    items.collect::<Result<_>>().map(Some)
}

/// Error of a call, in PostgreSQL's words.
pub(super) fn failed(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}
