//! Typed column builders that can remove appended values again.
//!
//! A [`Column`] grows value by value and can be cut back to an earlier length, nested children
//! included, so that a record that fails in its last field leaves no trace of its first ones. The
//! JSON, Avro and row decoders use these builders. Types with the same representation share a variant
//! of `Data`; the Arrow type is applied when the column is finished.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, ListArray, NullArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::canonical::{double, real};
use crate::error::SchemaError;

/// A column under construction.
#[derive(Debug)]
pub struct Column {
    data_type: DataType,
    nulls: NullBufferBuilder,
    data: Data,
}

/// The values of a column, by representation.
#[derive(Debug)]
pub(crate) enum Data {
    /// Nothing but NULL.
    Null,
    /// BOOLEAN.
    Bool(Vec<bool>),
    /// 8-bit integers.
    I8(Vec<i8>),
    /// SMALLINT.
    I16(Vec<i16>),
    /// INT and DATE.
    I32(Vec<i32>),
    /// BIGINT, TIME and timestamps.
    I64(Vec<i64>),
    /// DECIMAL.
    I128(Vec<i128>),
    /// 8-bit unsigned integers.
    U8(Vec<u8>),
    /// 16-bit unsigned integers.
    U16(Vec<u16>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// 64-bit unsigned integers.
    U64(Vec<u64>),
    /// REAL.
    F32(Vec<f32>),
    /// DOUBLE.
    F64(Vec<f64>),
    /// INTERVAL.
    Span(Vec<IntervalMonthDayNano>),
    /// UUID.
    Uuid(Vec<[u8; 16]>),
    /// VARCHAR, BYTEA and JSONB: `offsets` has one more entry than there are values.
    Bytes { offsets: Vec<i32>, bytes: Vec<u8> },
    /// Arrays.
    List { offsets: Vec<i32>, items: Box<Column> },
    /// Structs.
    Struct { fields: Vec<Column> },
}

/// Evaluates one expression for all variants that are a plain vector, and others for the rest.
macro_rules! each_vec {
    ($data:expr, $values:ident => $body:expr, $($other:pat => $otherwise:expr),+) => {
        match $data {
            Data::Bool($values) => $body,
            Data::I8($values) => $body,
            Data::I16($values) => $body,
            Data::I32($values) => $body,
            Data::I64($values) => $body,
            Data::I128($values) => $body,
            Data::U8($values) => $body,
            Data::U16($values) => $body,
            Data::U32($values) => $body,
            Data::U64($values) => $body,
            Data::F32($values) => $body,
            Data::F64($values) => $body,
            Data::Span($values) => $body,
            Data::Uuid($values) => $body,
            $($other => $otherwise),+
        }
    };
}

impl Column {
    /// Creates an empty column of a type that Herald has.
    pub fn new(data_type: &DataType) -> Result<Column, SchemaError> {
        let data = match data_type {
            DataType::Null => Data::Null,
            DataType::Boolean => Data::Bool(Vec::new()),
            DataType::Int8 => Data::I8(Vec::new()),
            DataType::Int16 => Data::I16(Vec::new()),
            DataType::Int32 | DataType::Date32 => Data::I32(Vec::new()),
            DataType::Int64
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _) => Data::I64(Vec::new()),
            DataType::Decimal128(..) => Data::I128(Vec::new()),
            DataType::UInt8 => Data::U8(Vec::new()),
            DataType::UInt16 => Data::U16(Vec::new()),
            DataType::UInt32 => Data::U32(Vec::new()),
            DataType::UInt64 => Data::U64(Vec::new()),
            DataType::Float32 => Data::F32(Vec::new()),
            DataType::Float64 => Data::F64(Vec::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Data::Span(Vec::new()),
            DataType::FixedSizeBinary(16) => Data::Uuid(Vec::new()),
            DataType::Utf8 | DataType::Binary => Data::Bytes { offsets: vec![0], bytes: Vec::new() },
            DataType::List(item) => {
                Data::List { offsets: vec![0], items: Box::new(Column::new(item.data_type())?) }
            }
            DataType::Struct(fields) => Data::Struct {
                fields: fields.iter().map(|f| Column::new(f.data_type())).collect::<Result<_, _>>()?,
            },
            other => return Err(SchemaError::UnsupportedType(other.to_string())),
        };
        Ok(Column { data_type: data_type.clone(), nulls: NullBufferBuilder::new(0), data })
    }

    /// Returns the type of the column.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Returns the number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// True without values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all values from `len` on, and a value that is not closed.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            // An unfinished nested value has children but is not counted yet.
            return self.cut_to_validity();
        }
        self.nulls.truncate(len);
        self.cut_to_validity();
    }

    /// Cuts values and children to the length of the validity.
    fn cut_to_validity(&mut self) {
        let len = self.nulls.len();
        each_vec!(&mut self.data, values => values.truncate(len),
            Data::Null => (),
            Data::Bytes { offsets, bytes } => {
                offsets.truncate(len + 1);
                bytes.truncate(offsets[len] as usize);
            },
            Data::List { offsets, items } => {
                offsets.truncate(len + 1);
                items.truncate(offsets[len] as usize);
            },
            Data::Struct { fields } => fields.iter_mut().for_each(|field| field.truncate(len))
        );
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        each_vec!(&mut self.data, values => values.push(Default::default()),
            Data::Null => (),
            Data::Bytes { offsets, .. } | Data::List { offsets, .. } => {
                offsets.push(offsets[offsets.len() - 1]);
            },
            Data::Struct { fields } => fields.iter_mut().for_each(Column::append_null)
        );
        self.nulls.append_null();
    }

    /// Returns the values and the validity; the caller must append the validity of each value it pushes.
    #[inline]
    pub(crate) fn values_and_nulls(&mut self) -> (&mut Data, &mut NullBufferBuilder) {
        (&mut self.data, &mut self.nulls)
    }

    /// Returns the fields of a struct column; none for others.
    pub(crate) fn fields_mut(&mut self) -> &mut [Column] {
        match &mut self.data {
            Data::Struct { fields } => fields,
            _ => &mut [],
        }
    }

    /// Returns the items of a list column.
    pub(crate) fn items_mut(&mut self) -> Option<&mut Column> {
        match &mut self.data {
            Data::List { items, .. } => Some(items),
            _ => None,
        }
    }

    /// Ends the value whose children were appended: fields of a struct (each once), items of a list. Returns
    /// false if the column can hold no more.
    #[inline]
    pub(crate) fn close_value(&mut self) -> bool {
        if let Data::List { offsets, items } = &mut self.data {
            let Ok(end) = i32::try_from(items.len()) else { return false };
            offsets.push(end);
        }
        self.nulls.append_non_null();
        true
    }

    /// Appends bytes to a column of VARCHAR, BYTEA or JSONB; returns false if it can hold no more.
    #[inline]
    pub(crate) fn append_bytes(&mut self, value: &[u8]) -> bool {
        let Data::Bytes { offsets, bytes } = &mut self.data else { return false };
        let Ok(end) = i32::try_from(bytes.len() + value.len()) else { return false };
        bytes.extend_from_slice(value);
        offsets.push(end);
        self.nulls.append_non_null();
        true
    }

    /// Returns the values as an Arrow array, in canonical form, and leaves the column empty.
    pub fn finish(&mut self) -> Result<ArrayRef, SchemaError> {
        let len = self.len();
        let nulls = self.nulls.finish();
        let data_type = self.data_type.clone();
        Ok(match &mut self.data {
            Data::Null => Arc::new(NullArray::new(len)),
            Data::Bool(values) => {
                let bits = BooleanBuffer::from(take_values(values));
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Data::I8(values) => primitive_array::<Int8Type>(values, nulls, data_type)?,
            Data::I16(values) => primitive_array::<Int16Type>(values, nulls, data_type)?,
            Data::I32(values) => match data_type {
                DataType::Date32 => primitive_array::<Date32Type>(values, nulls, data_type)?,
                _ => primitive_array::<Int32Type>(values, nulls, data_type)?,
            },
            Data::I64(values) => match data_type {
                DataType::Time64(_) => primitive_array::<Time64MicrosecondType>(values, nulls, data_type)?,
                DataType::Timestamp(..) => {
                    primitive_array::<TimestampMicrosecondType>(values, nulls, data_type)?
                }
                _ => primitive_array::<Int64Type>(values, nulls, data_type)?,
            },
            Data::I128(values) => {
                let array = Decimal128Array::try_new(take_values(values).into(), nulls)?;
                Arc::new(array.with_data_type(data_type))
            }
            Data::U8(values) => primitive_array::<UInt8Type>(values, nulls, data_type)?,
            Data::U16(values) => primitive_array::<UInt16Type>(values, nulls, data_type)?,
            Data::U32(values) => primitive_array::<UInt32Type>(values, nulls, data_type)?,
            Data::U64(values) => primitive_array::<UInt64Type>(values, nulls, data_type)?,
            Data::F32(values) => {
                for value in values.iter_mut() {
                    *value = real(*value);
                }
                primitive_array::<Float32Type>(values, nulls, data_type)?
            }
            Data::F64(values) => {
                for value in values.iter_mut() {
                    *value = double(*value);
                }
                primitive_array::<Float64Type>(values, nulls, data_type)?
            }
            Data::Span(values) => primitive_array::<IntervalMonthDayNanoType>(values, nulls, data_type)?,
            Data::Uuid(values) => {
                let bytes = Buffer::from(take_values(values).into_flattened());
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes, nulls)?)
            }
            Data::Bytes { offsets, bytes } => bytes_array(offsets, bytes, nulls, &data_type)?,
            Data::List { offsets, items } => {
                let DataType::List(item) = data_type else { return Err(mismatch_error()) };
                let offsets = take_offsets(offsets);
                Arc::new(ListArray::try_new(nullable_ref(&item), offsets, items.finish()?, nulls)?)
            }
            Data::Struct { fields } => {
                let DataType::Struct(types) = data_type else { return Err(mismatch_error()) };
                let types = types.iter().map(nullable_ref).collect();
                let arrays = fields.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::try_new_with_length(types, arrays, nulls, len)?)
            }
        })
    }
}

/// Returns the field, nullable at every depth: any part of a record may be missing, and NOT NULL is
/// checked later, as a constraint.
pub fn nullable_field(field: &Field) -> Field {
    let data_type = nullable_type(field.data_type());
    field.clone().with_data_type(data_type).with_nullable(true)
}

fn nullable_ref(field: &FieldRef) -> FieldRef {
    Arc::new(nullable_field(field))
}

/// Returns the type with every field in it nullable.
pub fn nullable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(nullable_ref(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable_ref).collect()),
        other => other.clone(),
    }
}

fn primitive_array<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: DataType,
) -> Result<ArrayRef, SchemaError> {
    let array = PrimitiveArray::<T>::try_new(take_values(values).into(), nulls)?;
    Ok(Arc::new(array.with_data_type(data_type)))
}

fn bytes_array(
    offsets: &mut Vec<i32>,
    bytes: &mut Vec<u8>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef, SchemaError> {
    let offsets = take_offsets(offsets);
    let bytes = Buffer::from(take_values(bytes));
    Ok(match data_type {
        DataType::Utf8 => Arc::new(StringArray::try_new(offsets, bytes, nulls)?),
        _ => Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?),
    })
}

/// Takes the values and reserves capacity for as many, since batches of a source are similar in size.
fn take_values<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn take_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let taken = take_values(offsets);
    offsets.push(0);
    OffsetBuffer::new(ScalarBuffer::from(taken))
}

fn mismatch_error() -> SchemaError {
    SchemaError::Mismatch("a nested column lost its type".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    fn nested() -> DataType {
        let item = DataType::Struct(
            vec![Field::new("a", DataType::Int32, true), Field::new("s", DataType::Utf8, true)].into(),
        );
        DataType::List(Arc::new(Field::new("item", item, true)))
    }

    fn push_item(column: &mut Column, a: i32, s: &str) {
        let item = column.items_mut().unwrap();
        let fields = item.fields_mut();
        let (data, nulls) = fields[0].values_and_nulls();
        if let Data::I32(values) = data {
            values.push(a);
            nulls.append_non_null();
        }
        assert!(fields[1].append_bytes(s.as_bytes()));
        assert!(item.close_value());
    }

    #[test]
    fn a_cut_leaves_no_trace_at_any_depth() {
        let mut column = Column::new(&nested()).unwrap();
        push_item(&mut column, 1, "one");
        assert!(column.close_value());
        column.append_null();
        // An unfinished value: two items appended, the list itself not closed.
        push_item(&mut column, 2, "two");
        push_item(&mut column, 3, "three");
        column.truncate(2);
        push_item(&mut column, 4, "four");
        assert!(column.close_value());
        column.truncate(3);
        column.truncate(1);
        push_item(&mut column, 5, "five");
        push_item(&mut column, 6, "six");
        assert!(column.close_value());

        let array = column.finish().unwrap();
        let list = array.as_list::<i32>();
        assert_eq!((list.len(), list.value_length(0), list.value_length(1)), (2, 1, 2));
        let items = list.values().as_struct();
        assert_eq!(items.column(0).as_primitive::<Int32Type>().values().as_ref(), [1, 5, 6]);
        let text: Vec<_> = items.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!(text, ["one", "five", "six"]);
        assert!(column.is_empty());
    }

    #[test]
    fn foreign_types_are_refused() {
        assert!(Column::new(&DataType::LargeUtf8).is_err());
        assert!(Column::new(&DataType::Timestamp(TimeUnit::Second, None)).is_err());
    }
}
