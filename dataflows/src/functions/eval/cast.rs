//! Casts between numbers, text, booleans, bytes and arrays, with PostgreSQL's rounding and error messages.
//!
//! DOUBLE to an integer rounds to the nearest, and to the even one of two; DECIMAL rounds half away from
//! zero. Text is read as PostgreSQL's input functions read it and numbers are written as its output functions
//! write them. A value that does not fit is an error of the row, never NULL or truncated.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::own::Answer;
use super::print;
use super::value::{Out, Reader, ResultBuilder, Value, row_error};
use crate::functions::number::decimal::{is_space, overflow, parse, rescale};
use crate::functions::text::bytes;

/// Returns the function that casts `from` to `to` as PostgreSQL does; None where Arrow's cast does the same,
/// or where there is no such cast.
pub(crate) fn cast(from: &DataType, to: &DataType) -> Option<Arc<ScalarUDF>> {
    if !casts_here(from, to) {
        return None;
    }
    let called = schemas::sql_type(&Field::new("", to.clone(), true)).to_lowercase().replace(' ', "_");
    let signature = Signature::exact(vec![from.clone()], Volatility::Immutable);
    let (from, to) = (from.clone(), to.clone());
    Some(Arc::new(ScalarUDF::from(Cast { name: format!("cast_{called}"), from, to, signature })))
}

/// Returns true if the cast of `from` to `to` is computed here.
fn casts_here(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (a, b) if a == b => false,
        (T::Int16 | T::Int32 | T::Int64, T::Float32 | T::Float64) | (T::Float32, T::Float64) => false,
        (T::Int16, T::Int32 | T::Int64) | (T::Int32, T::Int64) => false,
        (T::Utf8, T::FixedSizeBinary(16)) | (T::FixedSizeBinary(16), T::Utf8) => true,
        (T::Utf8, T::Boolean | T::Binary) | (T::Binary, T::Utf8) | (T::Boolean, T::Utf8) => true,
        (a, T::Boolean) | (T::Boolean, a) => a.is_signed_integer(),
        (T::Utf8, b) => is_number(b),
        (T::List(_) | T::Date32 | T::Time64(TimeUnit::Microsecond), T::Utf8) => true,
        (T::Timestamp(TimeUnit::Microsecond, _), T::Utf8) => true,
        (a, T::Utf8) => is_number(a),
        (T::List(a), T::List(b)) => {
            a.data_type() == b.data_type() || casts_here(a.data_type(), b.data_type())
        }
        (a, b) => is_number(a) && is_number(b),
    }
}

/// Returns true for the types of numbers that columns have.
fn is_number(of: &DataType) -> bool {
    of.is_signed_integer() || matches!(of, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..))
}

#[derive(Clone, Debug)]
struct Cast {
    name: String,
    from: DataType,
    to: DataType,
    signature: Signature,
}

impl PartialEq for Cast {
    fn eq(&self, other: &Cast) -> bool {
        self.from == other.from && self.to == other.to
    }
}

impl Eq for Cast {}

impl Hash for Cast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.from, &self.to).hash(state);
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [arg] = args.args.as_slice() else { return exec_err!("a cast has one operand") };
        match arg {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(convert_array(array, &self.to)?)),
            ColumnarValue::Scalar(scalar) => {
                let array = convert_array(&scalar.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

/// Converts `array` to the type `to`.
///
/// # Errors
/// When a value cannot be converted.
pub(crate) fn convert_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to) {
        (DataType::List(_), DataType::List(item)) => {
            let lists = array.as_list::<i32>();
            let values = convert_array(lists.values(), item.data_type())?;
            let item = Arc::clone(item);
            Ok(Arc::new(ListArray::try_new(item, lists.offsets().clone(), values, lists.nulls().cloned())?))
        }
        (from, DataType::Utf8) if casts_here(from, to) => print_array(array),
        (from, to) if !casts_here(from, to) => Ok(arrow::compute::cast_with_options(
            array,
            to,
            &arrow::compute::CastOptions { safe: false, ..Default::default() },
        )?),
        (from, to) => {
            let from = from.clone();
            let reader = Reader::of(array)?;
            let mut out = ResultBuilder::new(to, array.len())?;
            for row in 0..array.len() {
                let value = convert_value(reader.value(row), &from, to);
                out.push(value.map_err(row_error)?)?;
            }
            out.finish()
        }
    }
}

fn print_array(array: &ArrayRef) -> Result<ArrayRef> {
    let mut out = ResultBuilder::new(&DataType::Utf8, array.len())?;
    for row in 0..array.len() {
        out.push(print::text(array, row)?.into())?;
    }
    out.finish()
}

fn convert_value(value: Value<'_>, from: &DataType, to: &DataType) -> Answer {
    match (value, to) {
        (Value::Null, _) => Ok(Out::Null),
        (Value::Text(text), to) => parse_text(text, to),
        (Value::Bool(b), _) => Ok(Out::Int(i64::from(b))),
        (Value::Int(n), DataType::Boolean) => Ok(Out::Bool(n != 0)),
        (Value::Int(n), DataType::Decimal128(_, scale)) => {
            rescale(i128::from(n), 0, i32::from(*scale)).map(Out::Decimal).ok_or_else(overflow)
        }
        (Value::Int(n), _) => Ok(Out::Int(n)),
        (Value::Double(x), DataType::Decimal128(_, scale)) => {
            if !x.is_finite() {
                return Err(format!("a DECIMAL cannot be {}", print::double(x)));
            }
            // PostgreSQL keeps 6 significant digits of a REAL and 15 of a DOUBLE PRECISION.
            let digits = if *from == DataType::Float32 { format!("{x:.5e}") } else { format!("{x:.14e}") };
            parse(&digits, *scale).map(Out::Decimal)
        }
        (Value::Double(x), to) if to.is_integer() => {
            let whole = x.round_ties_even();
            // Both bounds are powers of two and so exact as DOUBLE: the comparison is exact.
            if whole >= -(2f64.powi(63)) && whole < 2f64.powi(63) {
                Ok(Out::Int(whole as i64))
            } else {
                Err(format!("{} out of range", type_name(to)))
            }
        }
        (Value::Double(x), _) => Ok(Out::Double(x)),
        (Value::Decimal(digits, scale), DataType::Decimal128(_, to)) => {
            rescale(digits, i32::from(scale), i32::from(*to)).map(Out::Decimal).ok_or_else(overflow)
        }
        (Value::Decimal(digits, scale), to) if to.is_integer() => {
            match rescale(digits, i32::from(scale), 0).map(i64::try_from) {
                Some(Ok(whole)) => Ok(Out::Int(whole)),
                _ => Err(format!("{} out of range", type_name(to))),
            }
        }
        (Value::Decimal(digits, scale), to) => parse_text(&print::decimal(digits, scale), to),
        _ => Err(format!("this cannot be converted to {}", type_name(to))),
    }
}

/// Returns PostgreSQL's name of a type, for its error messages.
fn type_name(of: &DataType) -> &'static str {
    match of {
        DataType::Boolean => "boolean",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(..) => "numeric",
        DataType::FixedSizeBinary(16) => "uuid",
        _ => "that type",
    }
}

/// Parses text as a value of type `to`.
fn parse_text(text: &str, to: &DataType) -> Answer {
    let trimmed = text.trim_matches(is_space);
    match to {
        DataType::Boolean => match parse_bool(trimmed) {
            Some(value) => Ok(Out::Bool(value)),
            None => Err(invalid_syntax(text, to)),
        },
        DataType::Binary => bytes::parse(text).map(Out::Bytes),
        DataType::FixedSizeBinary(16) => match schemas::types::uuid::parse(text) {
            Some(value) => Ok(Out::Bytes(value.to_vec())),
            None => Err(invalid_syntax(text, to)),
        },
        DataType::Decimal128(_, scale) => parse(text, *scale).map(Out::Decimal),
        DataType::Float32 | DataType::Float64 => parse_float(trimmed, to, text),
        _ => parse_integer(trimmed, to, text),
    }
}

/// Returns PostgreSQL's error message for text that is no value of type `to`.
fn invalid_syntax(text: &str, to: &DataType) -> String {
    format!("invalid input syntax for type {}: \"{text}\"", type_name(to))
}

fn parse_integer(trimmed: &str, to: &DataType, text: &str) -> Answer {
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(invalid_syntax(text, to));
    }
    match trimmed.parse::<i64>() {
        Ok(n) if fits_integer(n, to) => Ok(Out::Int(n)),
        _ => Err(format!("value \"{text}\" is out of range for type {}", type_name(to))),
    }
}

fn fits_integer(n: i64, to: &DataType) -> bool {
    match to {
        DataType::Int16 => i16::try_from(n).is_ok(),
        DataType::Int32 => i32::try_from(n).is_ok(),
        _ => true,
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    match text.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        text if begins_word(text, "true") || begins_word(text, "yes") => Some(true),
        text if begins_word(text, "false") || begins_word(text, "no") => Some(false),
        _ => None,
    }
}

/// Returns true if `text` is `word` or the beginning of it.
fn begins_word(text: &str, word: &str) -> bool {
    !text.is_empty() && word.starts_with(text)
}

fn parse_float(trimmed: &str, to: &DataType, text: &str) -> Answer {
    let lower = trimmed.to_ascii_lowercase();
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    if ["inf", "infinity", "nan"].contains(&unsigned) {
        return lower.parse().map(Out::Double).map_err(|_| invalid_syntax(text, to));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(invalid_syntax(text, to));
    }
    // Parse at the target's width at once: rounding twice could give a neighbouring number.
    let parsed = match to {
        DataType::Float32 => lower.parse::<f32>().map(f64::from),
        _ => lower.parse::<f64>(),
    };
    let Ok(value) = parsed else { return Err(invalid_syntax(text, to)) };
    let mantissa = unsigned.split('e').next().unwrap_or_default();
    // A result of zero from digits other than zero is an underflow.
    let lost = value == 0.0 && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if value.is_infinite() || lost {
        Err(format!("\"{trimmed}\" is out of range for type {}", type_name(to)))
    } else {
        Ok(Out::Double(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(value: ScalarValue, to: DataType) -> Option<String> {
        let array = value.to_array().unwrap();
        let cast = convert_array(&array, &to).ok()?;
        print::text(&cast, 0).unwrap()
    }

    fn is(value: impl Into<ScalarValue>, target: DataType, expected: &str) {
        let value = value.into();
        assert_eq!(to(value.clone(), target.clone()).as_deref(), Some(expected), "{value:?} as {target}");
    }

    fn fails(value: impl Into<ScalarValue>, target: DataType) {
        let value = value.into();
        assert_eq!(to(value.clone(), target.clone()), None, "{value:?} as {target}");
    }

    #[test]
    fn numbers_round_as_in_postgresql() {
        for (x, expected) in [(2.5, "2"), (3.5, "4"), (-2.5, "-2"), (2.7, "3"), (-0.4, "0")] {
            is(x, DataType::Int32, expected);
        }
        is(ScalarValue::Decimal128(Some(250), 10, 2), DataType::Int32, "3");
        is(ScalarValue::Decimal128(Some(-250), 10, 2), DataType::Int64, "-3");
        is(ScalarValue::Decimal128(Some(125), 10, 2), DataType::Decimal128(10, 1), "1.3");
        is(ScalarValue::Decimal128(Some(110), 10, 2), DataType::Float64, "1.1");
        is(123_456.789_123_456_8, DataType::Decimal128(38, 12), "123456.789123457000");
        is(0.1f32, DataType::Decimal128(10, 8), "0.10000000");
        fails(1e10, DataType::Int32);
        fails(f64::NAN, DataType::Int64);
        fails(9.3e18, DataType::Int64);
        fails(f64::INFINITY, DataType::Decimal128(10, 2));
        fails(1e10, DataType::Decimal128(5, 2));
        fails(1e40, DataType::Float32);
        fails(1e-50, DataType::Float32);
        fails(3_000_000_000i64, DataType::Int32);
    }

    #[test]
    fn text_is_read_as_in_postgresql() {
        is(" 12 ", DataType::Int32, "12");
        is("+7", DataType::Int16, "7");
        for wrong in ["", "1.5", "0x1F", "1_000", "x", "- 1", "99999999999"] {
            fails(wrong, DataType::Int32);
        }
        is("infinity", DataType::Float64, "Infinity");
        is(" -1e3 ", DataType::Float64, "-1000");
        for wrong in ["", "1e400", "1e-400", "x", "1d", "infin"] {
            fails(wrong, DataType::Float64);
        }
        for (text, expected) in
            [("t", "true"), ("YES", "true"), ("1", "true"), ("of", "false"), (" n ", "false")]
        {
            is(text, DataType::Boolean, expected);
        }
        for wrong in ["", "o", "2", "yess"] {
            fails(wrong, DataType::Boolean);
        }
        is("\\x3132", DataType::Binary, "\\x3132");
        is("1\\062\\\\", DataType::Binary, "\\x31325c");
    }

    #[test]
    fn values_are_written_as_in_postgresql() {
        is(1e20, DataType::Utf8, "1e+20");
        is(true, DataType::Utf8, "true");
        is(0.1f32, DataType::Utf8, "0.1");
        is(ScalarValue::Decimal128(Some(-5), 10, 2), DataType::Utf8, "-0.05");
    }
}
