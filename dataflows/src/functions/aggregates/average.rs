//! `avg` of DECIMALs: the exact sum divided once, rounded half away from zero.
//!
//! DataFusion truncates the quotient and asks for four more digits behind the point than there may be room
//! for, so that an average of large numbers overflows though it is no larger than they are. Here the result
//! has as many digits before the point as the values; the remaining digits of 38 are for the fraction.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, i256};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

use super::forward_to;

/// Returns the average, with the name and signature of `of`; `of` itself computes it for all types but
/// DECIMAL.
pub(crate) fn rounded_average(of: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Average { of }))
}

/// Returns the type of an average of DECIMALs with `precision` and `scale`.
fn average_type(precision: u8, scale: i8) -> DataType {
    let whole = i32::from(precision) - i32::from(scale);
    let scale = (i32::from(scale) + 4).min(38 - whole).max(i32::from(scale));
    DataType::Decimal128((whole + scale).clamp(1, 38) as u8, scale as i8)
}

/// Divides a sum by a count, rounded half away from zero; the result has `power` more digits behind the point
/// than the sum. None where it does not fit.
pub(crate) fn rounded_mean(sum: i256, count: i64, power: u32) -> Option<i256> {
    let count = i256::from_i128(i128::from(count));
    let scaled = i256::from_i128(10).checked_pow(power)?.checked_mul(sum)?;
    let (whole, rest) = (scaled.checked_div(count)?, scaled.checked_rem(count)?);
    let rest = rest.checked_abs()?;
    // `rest >= count - rest` is `2 * rest >= count` without its overflow.
    let up = rest >= count.checked_sub(rest)?;
    let one = if sum < i256::ZERO { i256::MINUS_ONE } else { i256::ONE };
    if up { whole.checked_add(one) } else { Some(whole) }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Average {
    forward_to! {
        of: name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        coerce_types(given: &[DataType]) -> Result<Vec<DataType>>;
        state_fields(args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>>;
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [DataType::Decimal128(precision, scale)] => Ok(average_type(*precision, *scale)),
            other => self.of.return_type(other),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = args.exprs.first().map(|e| e.data_type(args.schema)).transpose()?;
        match (of, args.return_field.data_type()) {
            (Some(DataType::Decimal128(_, from)), DataType::Decimal128(precision, to))
                if !args.is_distinct =>
            {
                let (precision, to) = (*precision, *to);
                Ok(Box::new(Decimals { sum: i256::ZERO, count: 0, from, precision, to }))
            }
            _ => self.of.accumulator(args),
        }
    }
}

/// The exact sum and count of the rows of a frame.
#[derive(Debug)]
struct Decimals {
    sum: i256,
    count: i64,
    from: i8,
    precision: u8,
    to: i8,
}

impl Decimals {
    fn add_signed(&mut self, values: &[ArrayRef], sign: i64) -> Result<()> {
        let Some(values) = values.first() else { return internal_err!("no values came") };
        let values = values.as_primitive::<Decimal128Type>();
        for value in values.iter().flatten() {
            let value = i256::from_i128(value);
            let sum = if sign > 0 { self.sum.checked_add(value) } else { self.sum.checked_sub(value) };
            self.sum = sum.ok_or_else(|| exec_datafusion_err!("numeric field overflow"))?;
        }
        self.count += sign * (values.len() - values.null_count()) as i64;
        Ok(())
    }
}

impl Accumulator for Decimals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_signed(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_signed(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let none = ScalarValue::Decimal128(None, self.precision, self.to);
        if self.count == 0 {
            return Ok(none);
        }
        let power = u32::from((self.to - self.from).unsigned_abs());
        let limit = 10i128.pow(u32::from(self.precision).min(38));
        let mean = rounded_mean(self.sum, self.count, power).and_then(i256::to_i128);
        match mean.filter(|mean| *mean > -limit && *mean < limit) {
            Some(mean) => Ok(ScalarValue::Decimal128(Some(mean), self.precision, self.to)),
            None => Err(exec_datafusion_err!("numeric field overflow")),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("an average is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("an average is not made of parts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_before_the_point_have_room() {
        assert_eq!(average_type(10, 2), DataType::Decimal128(14, 6));
        assert_eq!(average_type(38, 0), DataType::Decimal128(38, 0));
        assert_eq!(average_type(38, 20), DataType::Decimal128(38, 20));
        assert_eq!(average_type(36, 0), DataType::Decimal128(38, 2));
    }

    #[test]
    fn means_are_rounded_half_away() {
        let of = |sum: i128, count, power| {
            rounded_mean(i256::from_i128(sum), count, power).and_then(i256::to_i128)
        };
        assert_eq!(
            (of(5, 2, 0), of(-5, 2, 0), of(4, 3, 0), of(5, 3, 0)),
            (Some(3), Some(-3), Some(1), Some(2))
        );
        assert_eq!(of(2, 3, 4), Some(6667));
    }
}
