//! Values of one row: read from the arrays of a batch, and collected into one array again.
//!
//! Functions compute with the few kinds here; narrower types are read as the widest of their kind and checked
//! against their range when a result is written. A result that does not fit is the error PostgreSQL gives:
//! "integer out of range".

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Decimal128Array,
    Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder, Float64Array, Float64Builder, Int16Builder,
    Int32Builder, Int64Array, Int64Builder, ListArray, StringArray, StringBuilder, new_empty_array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Float64Type, Int64Type};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion_expr::ColumnarValue;

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
    /// A value of another type: functions computed over arrays read it from the array.
    Other,
}

impl<'a> Value<'a> {
    /// Returns true for NULL.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns the text; empty for another kind, which an overload's types rule out.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// Returns the bytes; empty for another kind.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Text(text) => text.as_bytes(),
            _ => &[],
        }
    }

    /// Returns the integer; 0 for another kind.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            _ => 0,
        }
    }

    /// Returns the number; 0 for another kind.
    pub(crate) fn double(&self) -> f64 {
        match self {
            Value::Double(x) => *x,
            Value::Int(n) => *n as f64,
            _ => 0.0,
        }
    }

    /// Returns digits and scale; 0 for another kind.
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

/// Reader of one argument of a batch.
pub(crate) struct Reader {
    column: ArgumentColumn,
    constant: bool,
}

enum ArgumentColumn {
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
    /// When it cannot be converted to that type.
    pub(crate) fn new(arg: &ColumnarValue, of: &DataType) -> Result<Reader> {
        let (array, constant) = match arg {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        Ok(Reader { column: ArgumentColumn::new(&as_type(&array, of)?)?, constant })
    }

    /// Reads the rows of an array.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub(crate) fn of(array: &ArrayRef) -> Result<Reader> {
        Ok(Reader { column: ArgumentColumn::new(array)?, constant: false })
    }

    /// Returns the value of a row.
    pub(crate) fn value(&self, row: usize) -> Value<'_> {
        let row = if self.constant { 0 } else { row };
        self.column.value(row)
    }
}

impl ArgumentColumn {
    fn new(array: &ArrayRef) -> Result<ArgumentColumn> {
        Ok(match array.data_type() {
            DataType::Null => ArgumentColumn::Null,
            DataType::Boolean => ArgumentColumn::Bool(array.as_boolean().clone()),
            t if t.is_integer() => {
                ArgumentColumn::Int(as_type(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            t if t.is_floating() => ArgumentColumn::Double(
                as_type(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            ),
            DataType::Decimal128(_, scale) => {
                ArgumentColumn::Decimal(array.as_primitive::<Decimal128Type>().clone(), *scale)
            }
            DataType::Utf8 => ArgumentColumn::Text(array.as_string::<i32>().clone()),
            DataType::Binary => ArgumentColumn::Bytes(array.as_binary::<i32>().clone()),
            _ => ArgumentColumn::Other(Arc::clone(array)),
        })
    }

    fn value(&self, row: usize) -> Value<'_> {
        let null = match self {
            ArgumentColumn::Null => true,
            ArgumentColumn::Bool(a) => a.is_null(row),
            ArgumentColumn::Int(a) => a.is_null(row),
            ArgumentColumn::Double(a) => a.is_null(row),
            ArgumentColumn::Decimal(a, _) => a.is_null(row),
            ArgumentColumn::Text(a) => a.is_null(row),
            ArgumentColumn::Bytes(a) => a.is_null(row),
            ArgumentColumn::Other(a) => a.is_null(row),
        };
        if null {
            return Value::Null;
        }
        match self {
            ArgumentColumn::Null => Value::Null,
            ArgumentColumn::Bool(a) => Value::Bool(a.value(row)),
            ArgumentColumn::Int(a) => Value::Int(a.value(row)),
            ArgumentColumn::Double(a) => Value::Double(a.value(row)),
            ArgumentColumn::Decimal(a, scale) => Value::Decimal(a.value(row), *scale),
            ArgumentColumn::Text(a) => Value::Text(a.value(row)),
            ArgumentColumn::Bytes(a) => Value::Bytes(a.value(row)),
            ArgumentColumn::Other(_) => Value::Other,
        }
    }
}

/// Collector of the results of a batch.
pub(crate) enum ResultBuilder {
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
    /// The number of NULLs, where the type has no other value.
    Null(usize),
}

impl ResultBuilder {
    /// Creates a builder of `rows` values of type `of`.
    ///
    /// # Errors
    /// For a type that no function here gives.
    pub(crate) fn new(of: &DataType, rows: usize) -> Result<ResultBuilder> {
        Ok(match of {
            DataType::Null => ResultBuilder::Null(0),
            DataType::Boolean => ResultBuilder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => ResultBuilder::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => ResultBuilder::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => ResultBuilder::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float32 => ResultBuilder::Real(Float32Builder::with_capacity(rows)),
            DataType::Float64 => ResultBuilder::Double(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(precision, scale) => ResultBuilder::Decimal(
                Decimal128Builder::with_capacity(rows).with_precision_and_scale(*precision, *scale)?,
                *precision,
            ),
            DataType::Utf8 => ResultBuilder::Text(StringBuilder::new()),
            DataType::Binary => ResultBuilder::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(16) => {
                ResultBuilder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16))
            }
            DataType::List(item) => ResultBuilder::List(Arc::clone(item), Vec::with_capacity(rows)),
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
            (ResultBuilder::Bool(b), Out::Bool(v)) => b.append_value(v),
            (ResultBuilder::Int16(b), Out::Int(v)) => b.append_value(narrow_integer(v, "smallint")?),
            (ResultBuilder::Int32(b), Out::Int(v)) => b.append_value(narrow_integer(v, "integer")?),
            (ResultBuilder::Int64(b), Out::Int(v)) => b.append_value(v),
            (ResultBuilder::Real(b), Out::Double(v)) => b.append_value(double_to_real(canonical_double(v))?),
            (ResultBuilder::Double(b), Out::Double(v)) => b.append_value(canonical_double(v)),
            (ResultBuilder::Decimal(b, precision), Out::Decimal(v)) => {
                if v.unsigned_abs() >= 10u128.pow(u32::from(*precision)) {
                    return exec_err!("numeric field overflow");
                }
                b.append_value(v);
            }
            (ResultBuilder::Text(b), Out::Text(v)) => {
                check_length(b.values_slice().len(), v.len())?;
                b.append_value(v);
            }
            (ResultBuilder::Bytes(b), Out::Bytes(v)) => {
                check_length(b.values_slice().len(), v.len())?;
                b.append_value(v);
            }
            (ResultBuilder::Uuid(b), Out::Bytes(v)) => b.append_value(v)?,
            (ResultBuilder::List(_, rows), Out::Texts(items)) => {
                rows.push(Some(Arc::new(StringArray::from_iter(items))));
            }
            _ => return exec_err!("a function gave a value of another type than it said"),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            ResultBuilder::Bool(b) => b.append_null(),
            ResultBuilder::Int16(b) => b.append_null(),
            ResultBuilder::Int32(b) => b.append_null(),
            ResultBuilder::Int64(b) => b.append_null(),
            ResultBuilder::Real(b) => b.append_null(),
            ResultBuilder::Double(b) => b.append_null(),
            ResultBuilder::Decimal(b, _) => b.append_null(),
            ResultBuilder::Text(b) => b.append_null(),
            ResultBuilder::Bytes(b) => b.append_null(),
            ResultBuilder::Uuid(b) => b.append_null(),
            ResultBuilder::List(_, rows) => rows.push(None),
            ResultBuilder::Null(rows) => *rows += 1,
        }
    }

    /// Returns the array.
    ///
    /// # Errors
    /// When items are not of the array's type.
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            ResultBuilder::Bool(mut b) => Arc::new(b.finish()),
            ResultBuilder::Int16(mut b) => Arc::new(b.finish()),
            ResultBuilder::Int32(mut b) => Arc::new(b.finish()),
            ResultBuilder::Int64(mut b) => Arc::new(b.finish()),
            ResultBuilder::Real(mut b) => Arc::new(b.finish()),
            ResultBuilder::Double(mut b) => Arc::new(b.finish()),
            ResultBuilder::Decimal(mut b, _) => Arc::new(b.finish()),
            ResultBuilder::Text(mut b) => Arc::new(b.finish()),
            ResultBuilder::Bytes(mut b) => Arc::new(b.finish()),
            ResultBuilder::Uuid(mut b) => Arc::new(b.finish()),
            ResultBuilder::List(item, rows) => lists(&item, rows)?,
            ResultBuilder::Null(rows) => new_null_array(&DataType::Null, rows),
        })
    }
}

/// Builds one array of arrays from the items of each row.
///
/// # Errors
/// When items are not of the type of `item`.
pub(crate) fn lists(item: &FieldRef, rows: Vec<Option<ArrayRef>>) -> Result<ArrayRef> {
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(item_count));
    let mut parts = Vec::new();
    for row in rows.iter().flatten() {
        if !row.is_empty() {
            parts.push(as_type(row, item.data_type())?);
        }
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values =
        if parts.is_empty() { new_empty_array(item.data_type()) } else { arrow::compute::concat(&parts)? };
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(nulls))?))
}

fn item_count(row: &Option<ArrayRef>) -> usize {
    row.as_ref().map_or(0, Array::len)
}

/// Returns the number of rows of the arguments of a function.
pub(crate) fn row_count(args: &[ArrayRef]) -> usize {
    args.first().map_or(0, Array::len)
}

/// Returns true if every argument is a constant.
pub(crate) fn all_scalars(args: &[ColumnarValue]) -> bool {
    args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
}

/// Returns the text of a constant; None unless it is a text.
pub(crate) fn scalar_text(constant: Option<&ScalarValue>) -> Option<&str> {
    constant?.try_as_str().flatten()
}

/// Makes the error of a row from its message.
pub(crate) fn row_error(message: String) -> DataFusionError {
    exec_datafusion_err!("{message}")
}

/// Fails if the texts of one batch do not fit in 2 GiB; such a batch is evaluated again row by row.
fn check_length(held: usize, more: usize) -> Result<()> {
    if held.saturating_add(more) < i32::MAX as usize { Ok(()) } else { exec_err!("the result is too long") }
}

fn narrow_integer<T: TryFrom<i64>>(value: i64, called: &str) -> Result<T> {
    T::try_from(value).map_err(|_| exec_datafusion_err!("{called} out of range"))
}

/// Converts DOUBLE to REAL; fails with PostgreSQL's error beyond its range.
fn double_to_real(value: f64) -> Result<f32> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return exec_err!("value out of range: overflow");
    }
    if narrow == 0.0 && value != 0.0 {
        return exec_err!("value out of range: underflow");
    }
    Ok(narrow)
}

/// Returns zero and NaN in their canonical form; `-0.0 + 0.0` is `0.0`.
pub(crate) fn canonical_double(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// Casts `array` to `target`, the type that coercion chose for it.
pub(crate) fn as_type(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    if array.data_type().is_null() {
        return Ok(new_null_array(target, array.len()));
    }
    Ok(arrow::compute::cast(array, target)?)
}
