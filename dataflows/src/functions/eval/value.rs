//! Values of one row: read from the arrays of a batch, and collected into one array again.
//!
//! The few kinds here are what functions compute with; narrower types are read as the widest of their
//! kind and held to their range again when a result is written. A result that does not fit is the
//! error PostgreSQL gives: "integer out of range".

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Decimal128Array,
    Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder, Float64Array, Float64Builder, Int16Builder,
    Int32Builder, Int64Array, Int64Builder, ListArray, StringArray, StringBuilder, new_empty_array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Float64Type, Int64Type};
use datafusion_common::{Result, exec_datafusion_err, exec_err};
use datafusion_expr::ColumnarValue;

use super::own::as_type;

/// One argument of one row.
pub(crate) enum Value<'a> {
    /// No value.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// SMALLINT, INT or BIGINT.
    Int(i64),
    /// REAL or DOUBLE.
    Double(f64),
    /// DECIMAL: digits and scale.
    Decimal(i128, i8),
    /// VARCHAR.
    Text(&'a str),
    /// BYTEA.
    Bytes(&'a [u8]),
    /// A value of another type, which functions over arrays take as it is.
    Other,
}

impl<'a> Value<'a> {
    /// The text; empty where it is none, which an overload's types rule out.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Text(text) => text.as_bytes(),
            _ => &[],
        }
    }

    /// The integer.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            _ => 0,
        }
    }

    /// The number.
    pub(crate) fn double(&self) -> f64 {
        match self {
            Value::Double(x) => *x,
            Value::Int(n) => *n as f64,
            _ => 0.0,
        }
    }

    /// Digits and scale.
    pub(crate) fn decimal(&self) -> (i128, i8) {
        match self {
            Value::Decimal(digits, scale) => (*digits, *scale),
            Value::Int(n) => (i128::from(*n), 0),
            _ => (0, 0),
        }
    }
}

/// One row's result.
pub(crate) enum Out {
    /// No value.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// An integer, of the result's width.
    Int(i64),
    /// REAL or DOUBLE.
    Double(f64),
    /// DECIMAL: digits at the result's scale.
    Decimal(i128),
    /// VARCHAR.
    Text(String),
    /// BYTEA.
    Bytes(Vec<u8>),
    /// Items of an array of text.
    Texts(Vec<Option<String>>),
}

impl From<bool> for Out {
    fn from(value: bool) -> Out {
        Out::Bool(value)
    }
}

impl From<i64> for Out {
    fn from(value: i64) -> Out {
        Out::Int(value)
    }
}

impl From<f64> for Out {
    fn from(value: f64) -> Out {
        Out::Double(value)
    }
}

impl From<String> for Out {
    fn from(value: String) -> Out {
        Out::Text(value)
    }
}

impl From<&str> for Out {
    fn from(value: &str) -> Out {
        Out::Text(value.to_owned())
    }
}

impl From<Vec<u8>> for Out {
    fn from(value: Vec<u8>) -> Out {
        Out::Bytes(value)
    }
}

impl<T: Into<Out>> From<Option<T>> for Out {
    fn from(value: Option<T>) -> Out {
        value.map_or(Out::Null, Into::into)
    }
}

/// Reads one argument of a batch.
pub(crate) struct Reader {
    column: Column,
    constant: bool,
}

enum Column {
    Null,
    Bool(BooleanArray),
    Int(Int64Array),
    Double(Float64Array),
    Decimal(Decimal128Array, i8),
    Text(StringArray),
    Bytes(BinaryArray),
    Other(ArrayRef),
}

impl Reader {
    /// Reads `arg` as `of`.
    ///
    /// # Errors
    /// When it cannot be had as that type.
    pub(crate) fn new(arg: &ColumnarValue, of: &DataType) -> Result<Reader> {
        let (array, constant) = match arg {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        Ok(Reader { column: Column::new(&as_type(&array, of)?)?, constant })
    }

    /// Reads the rows of an array.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub(crate) fn of(array: &ArrayRef) -> Result<Reader> {
        Ok(Reader { column: Column::new(array)?, constant: false })
    }

    /// The value of a row.
    pub(crate) fn value(&self, row: usize) -> Value<'_> {
        let row = if self.constant { 0 } else { row };
        self.column.value(row)
    }
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Column> {
        Ok(match array.data_type() {
            DataType::Null => Column::Null,
            DataType::Boolean => Column::Bool(array.as_boolean().clone()),
            t if t.is_integer() => {
                Column::Int(as_type(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            t if t.is_floating() => {
                Column::Double(as_type(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Decimal128(_, scale) => {
                Column::Decimal(array.as_primitive::<Decimal128Type>().clone(), *scale)
            }
            DataType::Utf8 => Column::Text(array.as_string::<i32>().clone()),
            DataType::Binary => Column::Bytes(array.as_binary::<i32>().clone()),
            _ => Column::Other(Arc::clone(array)),
        })
    }

    fn value(&self, row: usize) -> Value<'_> {
        let null = match self {
            Column::Null => true,
            Column::Bool(a) => a.is_null(row),
            Column::Int(a) => a.is_null(row),
            Column::Double(a) => a.is_null(row),
            Column::Decimal(a, _) => a.is_null(row),
            Column::Text(a) => a.is_null(row),
            Column::Bytes(a) => a.is_null(row),
            Column::Other(a) => a.is_null(row),
        };
        if null {
            return Value::Null;
        }
        match self {
            Column::Null => Value::Null,
            Column::Bool(a) => Value::Bool(a.value(row)),
            Column::Int(a) => Value::Int(a.value(row)),
            Column::Double(a) => Value::Double(a.value(row)),
            Column::Decimal(a, scale) => Value::Decimal(a.value(row), *scale),
            Column::Text(a) => Value::Text(a.value(row)),
            Column::Bytes(a) => Value::Bytes(a.value(row)),
            Column::Other(_) => Value::Other,
        }
    }
}

/// Collects the results of a batch.
pub(crate) enum Builder {
    /// BOOLEAN.
    Bool(BooleanBuilder),
    /// SMALLINT.
    Int16(Int16Builder),
    /// INT.
    Int32(Int32Builder),
    /// BIGINT.
    Int64(Int64Builder),
    /// REAL.
    Real(Float32Builder),
    /// DOUBLE.
    Double(Float64Builder),
    /// DECIMAL, and its precision.
    Decimal(Decimal128Builder, u8),
    /// VARCHAR.
    Text(StringBuilder),
    /// BYTEA.
    Bytes(BinaryBuilder),
    /// UUID.
    Uuid(FixedSizeBinaryBuilder),
    /// Arrays.
    List(FieldRef, Vec<Option<ArrayRef>>),
    /// Nothing but NULL.
    Null(usize),
}

impl Builder {
    /// For `rows` values of type `of`.
    ///
    /// # Errors
    /// For a type that no function here gives.
    pub(crate) fn new(of: &DataType, rows: usize) -> Result<Builder> {
        Ok(match of {
            DataType::Null => Builder::Null(0),
            DataType::Boolean => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => Builder::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Builder::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Builder::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float32 => Builder::Real(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Builder::Double(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(precision, scale) => Builder::Decimal(
                Decimal128Builder::with_capacity(rows).with_precision_and_scale(*precision, *scale)?,
                *precision,
            ),
            DataType::Utf8 => Builder::Text(StringBuilder::new()),
            DataType::Binary => Builder::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(16) => Builder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            DataType::List(item) => Builder::List(Arc::clone(item), Vec::with_capacity(rows)),
            other => return exec_err!("a function gives {other}"),
        })
    }

    /// Adds one row's result.
    ///
    /// # Errors
    /// When it does not fit the type.
    pub(crate) fn push(&mut self, out: Out) -> Result<()> {
        match (self, out) {
            (builder, Out::Null) => builder.push_null(),
            (Builder::Bool(b), Out::Bool(v)) => b.append_value(v),
            (Builder::Int16(b), Out::Int(v)) => b.append_value(narrow(v, "smallint")?),
            (Builder::Int32(b), Out::Int(v)) => b.append_value(narrow(v, "integer")?),
            (Builder::Int64(b), Out::Int(v)) => b.append_value(v),
            (Builder::Real(b), Out::Double(v)) => b.append_value(real(canonical(v))?),
            (Builder::Double(b), Out::Double(v)) => b.append_value(canonical(v)),
            (Builder::Decimal(b, precision), Out::Decimal(v)) => {
                if v.unsigned_abs() >= 10u128.pow(u32::from(*precision)) {
                    return exec_err!("numeric field overflow");
                }
                b.append_value(v);
            }
            (Builder::Text(b), Out::Text(v)) => {
                bounded(b.values_slice().len(), v.len())?;
                b.append_value(v);
            }
            (Builder::Bytes(b), Out::Bytes(v)) => {
                bounded(b.values_slice().len(), v.len())?;
                b.append_value(v);
            }
            (Builder::Uuid(b), Out::Bytes(v)) => b.append_value(v)?,
            (Builder::List(_, rows), Out::Texts(items)) => {
                rows.push(Some(Arc::new(StringArray::from_iter(items))));
            }
            _ => return exec_err!("a function gave a value of another type than it said"),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Builder::Bool(b) => b.append_null(),
            Builder::Int16(b) => b.append_null(),
            Builder::Int32(b) => b.append_null(),
            Builder::Int64(b) => b.append_null(),
            Builder::Real(b) => b.append_null(),
            Builder::Double(b) => b.append_null(),
            Builder::Decimal(b, _) => b.append_null(),
            Builder::Text(b) => b.append_null(),
            Builder::Bytes(b) => b.append_null(),
            Builder::Uuid(b) => b.append_null(),
            Builder::List(_, rows) => rows.push(None),
            Builder::Null(rows) => *rows += 1,
        }
    }

    /// The array.
    ///
    /// # Errors
    /// When items are not of the array's type.
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Builder::Bool(mut b) => Arc::new(b.finish()),
            Builder::Int16(mut b) => Arc::new(b.finish()),
            Builder::Int32(mut b) => Arc::new(b.finish()),
            Builder::Int64(mut b) => Arc::new(b.finish()),
            Builder::Real(mut b) => Arc::new(b.finish()),
            Builder::Double(mut b) => Arc::new(b.finish()),
            Builder::Decimal(mut b, _) => Arc::new(b.finish()),
            Builder::Text(mut b) => Arc::new(b.finish()),
            Builder::Bytes(mut b) => Arc::new(b.finish()),
            Builder::Uuid(mut b) => Arc::new(b.finish()),
            Builder::List(item, rows) => lists(&item, rows)?,
            Builder::Null(rows) => new_null_array(&DataType::Null, rows),
        })
    }
}

/// One array of arrays, from the items of each row.
///
/// # Errors
/// When items are not of the type of `item`.
pub(crate) fn lists(item: &FieldRef, rows: Vec<Option<ArrayRef>>) -> Result<ArrayRef> {
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.as_ref().map_or(0, |r| r.len())));
    let parts = rows
        .iter()
        .flatten()
        .filter(|r| !r.is_empty())
        .map(|r| as_type(r, item.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = match parts.is_empty() {
        true => new_empty_array(item.data_type()),
        false => arrow::compute::concat(&parts)?,
    };
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls))?))
}

/// The texts of one batch fit in 2 GiB; a batch that does not is evaluated row by row.
fn bounded(held: usize, more: usize) -> Result<()> {
    match held.saturating_add(more) < i32::MAX as usize {
        true => Ok(()),
        false => exec_err!("the result is too long"),
    }
}

fn narrow<T: TryFrom<i64>>(value: i64, called: &str) -> Result<T> {
    T::try_from(value).map_err(|_| exec_datafusion_err!("{called} out of range"))
}

/// DOUBLE as REAL, or PostgreSQL's error beyond its range.
fn real(value: f64) -> Result<f32> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return exec_err!("value out of range: overflow");
    }
    if narrow == 0.0 && value != 0.0 {
        return exec_err!("value out of range: underflow");
    }
    Ok(narrow)
}

/// Zero and NaN in their one form; `-0.0 + 0.0` is `0.0`.
fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}
