//! The packed row: the stable byte form of a row in state, in arrangements and in keys.
//!
//! `memcmp` orders packed rows as SQL orders their columns from left to right (NULL lowest). Each
//! column is self-delimiting, and `enc(a, b) == enc(a) ++ enc(b)`, so a key is a prefix of its row.
//! Byte by byte:
//! * NULL is `00`. Any other value is `01` and its body.
//! * BOOLEAN: `00` or `01`. Unsigned integers: big-endian.
//! * SMALLINT, INT, BIGINT, DATE (days), TIME, TIMESTAMP, TIMESTAMPTZ (microseconds), DECIMAL (the
//!   unscaled 128-bit integer): big-endian two's complement with the sign bit flipped.
//! * REAL, DOUBLE: IEEE bits big-endian, all bits flipped when negative, else the sign bit alone;
//!   `-0.0` is stored as `0.0` and every NaN as the one quiet NaN, which sorts highest.
//! * INTERVAL: its length as a 128-bit number of microseconds (a month is 30 days, a day 24 hours), then
//!   months and days, each as an integer is: intervals of one length are equal and keep their parts.
//! * UUID: its 16 bytes.
//! * VARCHAR, BYTEA, JSONB: the bytes with each `00` written as `00 FF`, then `00 00`.
//! * Arrays: each item preceded by `01` (and itself starting with its NULL mark), then `00`.
//! * STRUCT: its fields in order.
//!
//! Any change of this encoding needs a new format version of the state; the fixture in the tests detects one.

mod decode;
mod encode;
pub(crate) mod groups;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::SchemaError;
use crate::records::blobs::Rows;
use crate::types::columns::Column;
use crate::types::relation::{column_types, is_jsonb, uuid_type};
use crate::types::view::View;

/// Computes the XXH3-64 with seed 0 of packed bytes. Part of the state's format.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The layout of a column's packed values.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Fixed(usize),
    Bytes,
    List(Box<Kind>),
    Struct(Vec<Kind>),
}

/// A codec that packs and unpacks rows of given column types.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array, StringArray};
/// use arrow::datatypes::DataType;
///
/// let codec = schemas::RowCodec::new(&[DataType::Utf8, DataType::Int64])?;
/// let names: ArrayRef = Arc::new(StringArray::from(vec!["ben", "anna"]));
/// let points: ArrayRef = Arc::new(Int64Array::from(vec![7, 5]));
/// let rows = codec.encode(&[names, points])?;
/// // Packed rows compare as bytes, in SQL's order.
/// let mut sorted: Vec<&[u8]> = rows.iter().collect();
/// sorted.sort_unstable();
/// let columns = codec.decode(sorted.into_iter())?;
/// let points = columns[1].as_any().downcast_ref::<Int64Array>().unwrap();
/// assert_eq!(points.values().to_vec(), [5, 7]);
/// # Ok::<(), schemas::SchemaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RowCodec {
    types: Vec<DataType>,
    kinds: Vec<Kind>,
}

impl RowCodec {
    /// Creates a codec for columns of these types, in this order.
    pub fn new(types: &[DataType]) -> Result<RowCodec, SchemaError> {
        let kinds = types.iter().map(kind_of_type).collect::<Result<_, _>>()?;
        Ok(RowCodec { types: types.to_vec(), kinds })
    }

    /// Creates a codec for the columns of a schema.
    pub fn of(schema: &Schema) -> Result<RowCodec, SchemaError> {
        RowCodec::new(&column_types(schema.fields()))
    }

    /// Returns the number of columns.
    pub fn columns(&self) -> usize {
        self.types.len()
    }

    /// Returns the column types.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Packs the values at each index of the columns into one row.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows, SchemaError> {
        self.check_columns(columns)?;
        let views = columns.iter().map(View::new).collect::<Result<Vec<_>, _>>()?;
        Ok(encode::pack_rows(&views, row_count(columns)))
    }

    /// Unpacks rows into columns. Bytes that are not packed rows of these types are an error, never a panic.
    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, SchemaError> {
        // Column by column: the slices shrink as their leading columns are read.
        let mut rest: Vec<&[u8]> = rows.collect();
        let mut arrays = Vec::with_capacity(self.types.len());
        for (data_type, kind) in self.types.iter().zip(&self.kinds) {
            let mut column = Column::new(data_type)?;
            decode::unpack_column(&mut column, kind, &mut rest)?;
            arrays.push(column.finish()?);
        }
        match rest.iter().find(|row| !row.is_empty()) {
            Some(row) => Err(bad_row(format!("{} bytes are left over", row.len()))),
            None => Ok(arrays),
        }
    }

    /// Unpacks the columns at the indices `wanted`, in their order. The others are skipped, and bytes behind the last
    /// wanted column are not looked at; otherwise as [`RowCodec::decode`].
    pub fn decode_columns<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, SchemaError> {
        let mut rest: Vec<&[u8]> = rows.collect();
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.types.len()];
        let end = wanted.iter().max().map_or(0, |last| last + 1);
        for (index, (data_type, kind)) in self.types.iter().zip(&self.kinds).enumerate().take(end) {
            if wanted.contains(&index) {
                let mut column = Column::new(data_type)?;
                decode::unpack_column(&mut column, kind, &mut rest)?;
                arrays[index] = Some(column.finish()?);
            } else {
                // Values delimit themselves: a column is found only by passing those before it.
                for row in &mut rest {
                    decode::skip_value(kind, row)?;
                }
            }
        }
        let mut columns = Vec::with_capacity(wanted.len());
        for index in wanted {
            match arrays.get(*index) {
                Some(Some(column)) => columns.push(ArrayRef::clone(column)),
                _ => return Err(SchemaError::Mismatch(format!("column {index} of {}", self.types.len()))),
            }
        }
        Ok(columns)
    }

    /// Returns the number of bytes that the first `columns` columns of a packed row take.
    pub fn prefix_len(&self, row: &[u8], columns: usize) -> Result<usize, SchemaError> {
        let Some(kinds) = self.kinds.get(..columns) else {
            return Err(SchemaError::Mismatch(format!("{columns} columns of {}", self.kinds.len())));
        };
        let mut rest = row;
        for kind in kinds {
            decode::skip_value(kind, &mut rest)?;
        }
        Ok(row.len() - rest.len())
    }

    /// Appends the packed values of the columns at the indices `columns` of a packed row, in their order.
    pub fn append_columns(
        &self,
        row: &[u8],
        columns: &[usize],
        out: &mut Vec<u8>,
    ) -> Result<(), SchemaError> {
        for index in columns {
            let start = self.prefix_len(row, *index)?;
            let Some(kind) = self.kinds.get(*index) else {
                return Err(SchemaError::Mismatch(format!("column {index} of {}", self.kinds.len())));
            };
            let mut rest = &row[start..];
            decode::skip_value(kind, &mut rest)?;
            out.extend_from_slice(&row[start..row.len() - rest.len()]);
        }
        Ok(())
    }

    fn check_columns(&self, columns: &[ArrayRef]) -> Result<(), SchemaError> {
        if columns.len() != self.types.len() {
            let message = format!("{} columns for {}", columns.len(), self.types.len());
            return Err(SchemaError::Mismatch(message));
        }
        let len = row_count(columns);
        for (column, expected) in columns.iter().zip(&self.types) {
            if !same_packing(column.data_type(), expected) {
                let message = format!("{} where {expected} is packed", column.data_type());
                return Err(SchemaError::Mismatch(message));
            }
            if column.len() != len {
                return Err(SchemaError::Mismatch("columns of different lengths".to_string()));
            }
        }
        Ok(())
    }
}

/// Returns true if values of a column are equal in SQL if and only if their packed bytes are: not for REAL,
/// DOUBLE, INTERVAL, JSONB, arrays and structs.
pub fn is_equal_by_bytes(field: &Field) -> bool {
    let of = field.data_type();
    let plain = matches!(
        of,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Utf8
            | DataType::Binary
    );
    (plain || *of == uuid_type()) && !is_jsonb(field)
}

/// Returns the length of the first column.
fn row_count(columns: &[ArrayRef]) -> usize {
    columns.first().map_or(0, |column| column.len())
}

/// Returns true if values of both types pack to the same bytes: names, nullability, metadata and the zone's
/// spelling do not matter.
fn same_packing(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_packing(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b.iter()).all(|(a, b)| same_packing(a.data_type(), b.data_type()))
        }
        (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) => a == b,
        // The scale gives the stored integer its meaning; the precision only limits its size.
        (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) => a == b,
        _ => a == b,
    }
}

fn kind_of_type(data_type: &DataType) -> Result<Kind, SchemaError> {
    Ok(match data_type {
        DataType::Null => Kind::Null,
        DataType::Boolean | DataType::Int8 | DataType::UInt8 => Kind::Fixed(1),
        DataType::Int16 | DataType::UInt16 => Kind::Fixed(2),
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => Kind::Fixed(4),
        DataType::Int64
        | DataType::UInt64
        | DataType::Float64
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Fixed(8),
        DataType::Decimal128(..) | DataType::FixedSizeBinary(16) => Kind::Fixed(16),
        DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Fixed(24),
        DataType::Utf8 | DataType::Binary => Kind::Bytes,
        DataType::List(item) => Kind::List(Box::new(kind_of_type(item.data_type())?)),
        DataType::Struct(fields) => {
            Kind::Struct(fields.iter().map(|f| kind_of_type(f.data_type())).collect::<Result<_, _>>()?)
        }
        other => return Err(SchemaError::UnsupportedType(other.to_string())),
    })
}

fn bad_row(message: impl Into<String>) -> SchemaError {
    SchemaError::BadRow(message.into())
}

#[cfg(test)]
mod tests;
