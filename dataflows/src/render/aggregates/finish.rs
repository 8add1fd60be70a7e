//! Conversion of a group's accumulators to its SQL results.
//!
//! Sums and counts of no values are NULL and 0; averages divide exact sums once; statistics come from
//! `functions::sums::moments`. A result that does not fit its type is a failure of that group alone: it goes to the
//! error table and the group has no row until it fits again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, i256};
use schemas::Rows;

use super::input::{AccumulatorLocation, AggregateSlot, Grouping};
use crate::error::RunError;
use crate::functions::aggregates::average::rounded_mean;
use crate::functions::sums::accum::{Acc, Accums, ExactSum};
use crate::functions::sums::moments;
use crate::plan::AggFunc;
use crate::plan::aggregate::Stat;

/// Result value; doubles by their bits, so that equal results compare equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultValue {
    /// NULL.
    Null,
    /// BIGINT, an unscaled decimal, or BOOLEAN as 0 or 1.
    Int(i128),
    /// DOUBLE by its bits.
    Float(u64),
    /// Packed value (min, max).
    Packed(Vec<u8>),
}

impl ResultValue {
    /// Returns the number, where it is one.
    fn as_int(&self) -> Option<i128> {
        if let ResultValue::Int(value) = self { Some(*value) } else { None }
    }

    /// Returns the number as BIGINT.
    fn as_bigint(&self) -> Option<i64> {
        if let ResultValue::Int(value) = self { Some(*value as i64) } else { None }
    }

    /// Returns the number as BOOLEAN.
    fn as_bool(&self) -> Option<bool> {
        if let ResultValue::Int(value) = self { Some(*value != 0) } else { None }
    }

    /// Returns the double, where it is one.
    fn as_float(&self) -> Option<f64> {
        if let ResultValue::Float(bits) = self { Some(f64::from_bits(*bits)) } else { None }
    }

    /// Returns the packed value; that of NULL where it is none.
    fn packed_bytes(&self) -> &[u8] {
        if let ResultValue::Packed(bytes) = self { bytes } else { &[0] }
    }
}

/// Result of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Values of the aggregates.
    Row(Vec<ResultValue>),
    /// Failed aggregate and its message.
    Failed(String, String),
}

/// Computes the result of a group whose index heads are `heads`, in slot order.
pub fn finish_group(
    grouping: &Grouping,
    accums: &Accums,
    mut heads: impl Iterator<Item = Option<Vec<u8>>>,
) -> Finished {
    let mut values = Vec::with_capacity(grouping.slots.len());
    for slot in &grouping.slots {
        let value = match &slot.place {
            AccumulatorLocation::Index(..) => Ok(extreme_value(slot, heads.next().flatten())),
            AccumulatorLocation::Least(at, _) => Ok(match accums.accs().get(*at).map(|acc| &acc.sum) {
                Some(ExactSum::Least(Some(value))) => extreme_value(slot, Some(value.0.to_vec())),
                _ => ResultValue::Null,
            }),
            AccumulatorLocation::Acc(at, scale) => accumulated_value(slot, *scale, accums, *at),
            AccumulatorLocation::Moments(at) => {
                Ok(statistic_value(slot, accums.accs().get(at.clone()).unwrap_or_default()))
            }
        };
        match value {
            Ok(value) => values.push(value),
            Err(message) => {
                let args: Vec<String> = slot.aggregate.args().map(ToString::to_string).collect();
                return Finished::Failed(format!("{}({})", slot.aggregate.func, args.join(", ")), message);
            }
        }
    }
    Finished::Row(values)
}

/// Returns the value of min or max, of which max stores the complement.
fn extreme_value(slot: &AggregateSlot, stored: Option<Vec<u8>>) -> ResultValue {
    let Some(mut packed) = stored else { return ResultValue::Null };
    if slot.aggregate.func == AggFunc::Max {
        for byte in &mut packed {
            *byte = !*byte;
        }
    }
    ResultValue::Packed(packed)
}

/// Computes the value of an aggregate that has one accumulator.
fn accumulated_value(
    slot: &AggregateSlot,
    scale: i8,
    accums: &Accums,
    at: usize,
) -> Result<ResultValue, String> {
    // No accumulators: no row has been aggregated.
    let Some(acc) = accums.accs().get(at) else {
        return Ok(if slot.aggregate.func == AggFunc::Count {
            ResultValue::Int(0)
        } else {
            ResultValue::Null
        });
    };
    let output = &slot.aggregate.output;
    match (slot.aggregate.func, &acc.sum) {
        (AggFunc::Count, _) => Ok(ResultValue::Int(acc.n as i128)),
        // Without non-NULL arguments every aggregate but count is NULL.
        _ if acc.n <= 0 => Ok(ResultValue::Null),
        (AggFunc::Sum, ExactSum::Float(sum)) => Ok(ResultValue::Float(canonical_bits(sum.value()))),
        (AggFunc::Avg, ExactSum::Float(sum)) => {
            Ok(ResultValue::Float(canonical_bits(sum.value() / acc.n as f64)))
        }
        (AggFunc::Sum, sum) => fit_output(sum.as_wide(), output),
        (AggFunc::Avg, sum) => match (output, sum) {
            (DataType::Decimal128(_, out), sum) => {
                // The average may have more decimal places than the argument.
                let power = (out - scale).max(0) as u32;
                fit_output(sum.as_wide().and_then(|sum| rounded_mean(sum, acc.n, power)), output)
            }
            // An average of integers is a double.
            (_, sum) => match sum.as_int() {
                Some(sum) => Ok(ResultValue::Float(canonical_bits(sum as f64 / acc.n as f64))),
                None => fit_output(None, output),
            },
        },
        // Booleans are summed as 0 and 1: all are true if the sum equals their number.
        (AggFunc::BoolAnd, ExactSum::Int(sum)) => Ok(ResultValue::Int((*sum == acc.n).into())),
        (AggFunc::BoolOr, ExactSum::Int(sum)) => Ok(ResultValue::Int((*sum > 0).into())),
        (AggFunc::BoolAnd | AggFunc::BoolOr, _) => fit_output(None, output),
        (AggFunc::Min | AggFunc::Max | AggFunc::Stat(_), _) => Ok(ResultValue::Null),
    }
}

/// Computes the value of a statistic.
fn statistic_value(slot: &AggregateSlot, accs: &[Acc]) -> ResultValue {
    let AggFunc::Stat(stat) = slot.aggregate.func else { return ResultValue::Null };
    if stat == Stat::RegrCount {
        return ResultValue::Int(accs.first().map_or(0, |acc| acc.n).into());
    }
    match moments::finish(stat, accs) {
        Some(value) => ResultValue::Float(canonical_bits(value)),
        None => ResultValue::Null,
    }
}

/// Checks that an exact result fits the output type.
fn fit_output(exact: Option<i256>, output: &DataType) -> Result<ResultValue, String> {
    let Some(exact) = exact else { return Err(format!("the result does not fit {output}")) };
    match exact.to_i128() {
        Some(value) if fits_type(value, output) => Ok(ResultValue::Int(value)),
        _ => Err(format!("{exact} does not fit {output}")),
    }
}

/// Returns true if a number is in the range of the output type; a decimal is unscaled.
fn fits_type(value: i128, output: &DataType) -> bool {
    match output {
        DataType::Decimal128(precision, _) => {
            10i128.checked_pow(*precision as u32).is_none_or(|limit| value > -limit && value < limit)
        }
        _ => i64::try_from(value).is_ok(),
    }
}

/// Returns the bits of a double, the same for every NaN.
fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Result rows of one epoch.
#[derive(Default)]
pub struct OutRows {
    keys: Rows,
    values: Vec<Vec<ResultValue>>,
    /// Signed count of each row.
    pub diffs: Vec<i64>,
}

impl OutRows {
    /// Adds a row.
    pub fn push(&mut self, key: &[u8], values: Vec<ResultValue>, diff: i64) {
        self.keys.push(key);
        self.values.push(values);
        self.diffs.push(diff);
    }

    /// Returns the rows as columns: keys, then aggregates.
    ///
    /// # Errors
    /// When packed bytes do not fit their type.
    pub fn into_columns(self, grouping: &Grouping) -> Result<Vec<ArrayRef>, RunError> {
        let mut columns = Vec::new();
        if !grouping.keys.is_empty() {
            columns = grouping.key_codec.decode(self.keys.iter())?;
        }
        for (at, slot) in grouping.slots.iter().enumerate() {
            let values = self.values.iter().map(|row| &row[at]);
            columns.push(column_of_slot(slot, values)?);
        }
        Ok(columns)
    }
}

/// Builds the output column of one aggregate.
fn column_of_slot<'a>(
    slot: &AggregateSlot,
    values: impl Iterator<Item = &'a ResultValue>,
) -> Result<ArrayRef, RunError> {
    if let AccumulatorLocation::Index(_, codec) | AccumulatorLocation::Least(_, codec) = &slot.place {
        let column = codec.decode(values.map(ResultValue::packed_bytes))?.pop();
        return column.ok_or_else(|| RunError::Broken("a column is missing".into()));
    }
    // NULL results are neither `Int` nor `Float` and become NULLs of either array.
    Ok(match &slot.aggregate.output {
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(ResultValue::as_float))),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.map(ResultValue::as_bool))),
        DataType::Decimal128(precision, scale) => {
            let ints = values.map(ResultValue::as_int);
            Arc::new(Decimal128Array::from_iter(ints).with_precision_and_scale(*precision, *scale)?)
        }
        _ => Arc::new(Int64Array::from_iter(values.map(ResultValue::as_bigint))),
    })
}
