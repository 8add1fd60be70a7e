//! Views of Arrow columns by representation, for code that reads them value by value.
//!
//! The counterpart of [`super::columns`]: types with the same representation share a variant of
//! [`Values`], so that the row codec and the encoders each have one `match` and no downcasts in
//! their inner loops. Slices of arrays are supported; columns of types that Herald lacks are refused.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::error::SchemaError;

/// A view of one column.
#[derive(Debug)]
pub struct View<'a> {
    nulls: Option<&'a NullBuffer>,
    /// The values; those of NULLs are undefined.
    pub values: Values<'a>,
}

/// The values of a column, by representation.
#[derive(Debug)]
pub enum Values<'a> {
    /// Nothing but NULL.
    Null,
    /// BOOLEAN.
    Bool(&'a BooleanBuffer),
    /// 8-bit integers.
    I8(&'a [i8]),
    /// SMALLINT.
    I16(&'a [i16]),
    /// INT and DATE.
    I32(&'a [i32]),
    /// BIGINT, TIME and timestamps.
    I64(&'a [i64]),
    /// DECIMAL.
    I128(&'a [i128]),
    /// 8-bit unsigned integers.
    U8(&'a [u8]),
    /// 16-bit unsigned integers.
    U16(&'a [u16]),
    /// 32-bit unsigned integers.
    U32(&'a [u32]),
    /// 64-bit unsigned integers.
    U64(&'a [u64]),
    /// REAL.
    F32(&'a [f32]),
    /// DOUBLE.
    F64(&'a [f64]),
    /// INTERVAL.
    Span(&'a [IntervalMonthDayNano]),
    /// UUID: 16 bytes each.
    Uuid(&'a [[u8; 16]]),
    /// VARCHAR, BYTEA and JSONB.
    Bytes(Heap<'a>),
    /// Arrays: the offsets into the items, and the items.
    List(&'a [i32], Box<View<'a>>),
    /// Structs: one view per field.
    Struct(Vec<View<'a>>),
}

impl Values<'_> {
    /// Appends the whole number at `row` in decimal digits; nothing for values of another kind.
    #[inline]
    pub fn write_integer(&self, out: &mut Vec<u8>, row: usize) {
        // Writing to a Vec cannot fail.
        let _ = match self {
            Values::I8(v) => write!(out, "{}", v[row]),
            Values::I16(v) => write!(out, "{}", v[row]),
            Values::I32(v) => write!(out, "{}", v[row]),
            Values::I64(v) => write!(out, "{}", v[row]),
            Values::I128(v) => write!(out, "{}", v[row]),
            Values::U8(v) => write!(out, "{}", v[row]),
            Values::U16(v) => write!(out, "{}", v[row]),
            Values::U32(v) => write!(out, "{}", v[row]),
            Values::U64(v) => write!(out, "{}", v[row]),
            Values::Null
            | Values::Bool(_)
            | Values::F32(_)
            | Values::F64(_)
            | Values::Span(_)
            | Values::Uuid(_)
            | Values::Bytes(_)
            | Values::List(..)
            | Values::Struct(_) => Ok(()),
        };
    }
}

/// Byte strings in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Heap<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
}

impl<'a> Heap<'a> {
    /// Returns the byte string at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }
}

impl<'a> View<'a> {
    /// Creates a view of an array of a type that Herald has.
    pub fn new(array: &'a ArrayRef) -> Result<View<'a>, SchemaError> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().values()),
            DataType::Int8 => Values::I8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Values::I16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Values::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Values::I32(array.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Values::I64(array.as_primitive::<Int64Type>().values()),
            DataType::Time64(TimeUnit::Microsecond) => {
                Values::I64(array.as_primitive::<Time64MicrosecondType>().values())
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::I64(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Decimal128(..) => Values::I128(array.as_primitive::<Decimal128Type>().values()),
            DataType::UInt8 => Values::U8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Values::U16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Values::U32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Values::U64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Values::F32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::F64(array.as_primitive::<Float64Type>().values()),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Values::Span(array.as_primitive::<IntervalMonthDayNanoType>().values())
            }
            DataType::FixedSizeBinary(16) => {
                let (array, width) = (array.as_fixed_size_binary(), 16);
                let start = array.offset() * width;
                let bytes = array.value_data().get(start..start + array.len() * width);
                Values::Uuid(bytes.unwrap_or_default().as_chunks().0)
            }
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Values::Bytes(Heap { offsets: array.value_offsets(), bytes: array.value_data() })
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Values::Bytes(Heap { offsets: array.value_offsets(), bytes: array.value_data() })
            }
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                Values::List(array.value_offsets(), Box::new(View::new(array.values())?))
            }
            DataType::Struct(_) => {
                let columns = array.as_struct().columns();
                Values::Struct(columns.iter().map(View::new).collect::<Result<_, _>>()?)
            }
            other => return Err(SchemaError::UnsupportedType(other.to_string())),
        };
        Ok(View { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), values })
    }

    /// Returns true if the value at `index` is NULL.
    #[inline]
    pub fn is_null(&self, index: usize) -> bool {
        match self.nulls {
            Some(nulls) => nulls.is_null(index),
            None => matches!(self.values, Values::Null),
        }
    }
}
