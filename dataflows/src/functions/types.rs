//! Column types of values that functions give.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// Returns true for the types of texts.
pub(crate) fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns a nullable field of a type, without a name.
pub(crate) fn unnamed_field(of: &DataType) -> FieldRef {
    Arc::new(Field::new("", of.clone(), true))
}

/// Returns the SQL names of types, with commas between them.
pub(crate) fn list_types(types: &[DataType]) -> String {
    let names: Vec<String> = types.iter().map(|of| schemas::sql_type(&unnamed_field(of))).collect();
    names.join(", ")
}

/// Returns Herald's column type for a value of type `of`; None where there is none.
pub(crate) fn herald_type(of: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match of {
        T::Boolean
        | T::Int16
        | T::Int32
        | T::Int64
        | T::Float32
        | T::Float64
        | T::Utf8
        | T::Binary
        | T::Date32 => of.clone(),
        T::Decimal128(..) | T::FixedSizeBinary(16) => of.clone(),
        T::Interval(_) | T::Duration(_) => schemas::interval(),
        T::Int8 | T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 => T::Float32,
        T::Null | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 | T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => schemas::timestamptz(),
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Decimal32(p, s) | T::Decimal64(p, s) => T::Decimal128(*p, *s),
        T::Decimal256(p, s) if *p <= 38 => T::Decimal128(*p, *s),
        T::List(f) | T::LargeList(f) | T::FixedSizeList(f, _) => {
            let item = herald_type(f.data_type())?;
            // A field of the right type stays unchanged, name and nullability included.
            if matches!(of, T::List(_)) && item == *f.data_type() {
                return Some(of.clone());
            }
            T::List(Arc::new(Field::new("item", item, true)))
        }
        T::Struct(fields) => {
            let mut converted = Vec::with_capacity(fields.len());
            for field in fields {
                let of = herald_type(field.data_type())?;
                converted.push(field.as_ref().clone().with_data_type(of));
            }
            T::Struct(converted.into())
        }
        _ => return None,
    })
}
