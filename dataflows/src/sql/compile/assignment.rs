//! Types that a column of a declared view takes.
//!
//! They are those that PostgreSQL converts without being asked, in assignments as in a UNION: none of them can fail,
//! so that a row that an INSERT selects is in the view. PostgreSQL also assigns a BIGINT to an INT, and anything to text;
//! a value that does not fit would be missing here, and so a CAST has to be written.

use arrow::datatypes::{DataType, Field};

/// Fate of a value in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The types are the same.
    Same,
    /// The value is converted.
    Converted,
    /// A CAST has to be written, if there is one.
    Refused,
}

/// Fate of a value of the type of `from` in the column `to`.
pub(super) fn fit(from: &Field, to: &Field) -> Fit {
    if schemas::sql_type(from) == schemas::sql_type(to) {
        // Items and fields that may be NULL differ in the columnar type alone.
        return if from.data_type() == to.data_type() { Fit::Same } else { Fit::Converted };
    }
    if is_wider(from.data_type(), to.data_type()) { Fit::Converted } else { Fit::Refused }
}

/// Tells whether every value of a type is one of another.
fn is_wider(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Int16, T::Int32 | T::Int64) | (T::Int32, T::Int64) => true,
        (T::Int16 | T::Int32 | T::Int64 | T::Decimal128(..), T::Float32 | T::Float64) => true,
        (T::Float32, T::Float64) => true,
        (T::Decimal128(precision, scale), T::Decimal128(p, s)) => {
            s >= scale && whole_digits(*p, *s) >= whole_digits(*precision, *scale)
        }
        (T::Int16, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 5,
        (T::Int32, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 10,
        (T::Int64, T::Decimal128(p, s)) => whole_digits(*p, *s) >= 19,
        (T::Date32, T::Timestamp(..)) => true,
        (T::Timestamp(_, None), T::Timestamp(_, Some(_))) => true,
        _ => false,
    }
}

/// Digits before the point of DECIMAL(precision, scale).
fn whole_digits(precision: u8, scale: i8) -> i16 {
    i16::from(precision) - i16::from(scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{timestamp, timestamptz};

    #[test]
    fn values_go_into_wider_types_alone() {
        use DataType as T;
        let fit_of = |from: T, to: T| fit(&Field::new("a", from, true), &Field::new("b", to, false));
        for (from, to) in [
            (T::Int16, T::Int64),
            (T::Int32, T::Float64),
            (T::Int32, T::Decimal128(12, 2)),
            (T::Decimal128(10, 2), T::Decimal128(12, 4)),
            (T::Decimal128(10, 2), T::Float64),
            (T::Date32, timestamptz()),
            (timestamp(), timestamptz()),
        ] {
            assert_eq!(fit_of(from.clone(), to.clone()), Fit::Converted, "{from} into {to}");
            assert_eq!(fit_of(to.clone(), from.clone()), Fit::Refused, "{to} into {from}");
            assert_eq!(fit_of(from.clone(), from), Fit::Same);
        }
        for (from, to) in [
            (T::Int32, T::Decimal128(11, 2)),
            (T::Decimal128(10, 2), T::Decimal128(11, 4)),
            (T::Utf8, T::Int64),
            (T::Int64, T::Utf8),
            (T::Boolean, T::Int32),
        ] {
            assert_eq!(fit_of(from.clone(), to.clone()), Fit::Refused, "{from} into {to}");
        }
    }

    #[test]
    fn items_of_arrays_are_the_same_whether_they_may_be_null_or_not() {
        let list = |null| {
            let item = Field::new("item", DataType::Int32, null);
            Field::new("a", DataType::List(std::sync::Arc::new(item)), true)
        };
        assert_eq!(fit(&list(false), &list(true)), Fit::Converted);
    }
}
