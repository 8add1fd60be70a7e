//! From accumulators to results: what SQL shows for a group.
//!
//! Sums and counts over nothing are NULL and 0; averages divide exact sums once; statistics come from
//! [`super::moments`]. A result that does
//! not fit its type is a failure of that group alone: it goes to the error table and the group has
//! no row until it fits again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, i256};
use schemas::Rows;

use super::accum::{Acc, Accums, Sum};
use super::input::{Grouping, Place, Slot};
use super::moments;
use crate::error::RunError;
use crate::functions::aggregates::average::mean;
use crate::plan::AggFunc;
use crate::plan::aggregate::Stat;

/// One result value; doubles by their bits so that equal results compare equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT, an unscaled decimal, or BOOLEAN as 0 or 1.
    Int(i128),
    /// DOUBLE by its bits.
    Float(u64),
    /// A packed value (min, max).
    Packed(Vec<u8>),
}

/// A group's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The aggregates.
    Row(Vec<Value>),
    /// Which aggregate failed, and why.
    Failed(String, String),
}

/// The result of a group whose index heads are `heads`, in slot order.
pub fn finish(grouping: &Grouping, accums: &Accums, heads: Vec<Option<Vec<u8>>>) -> Finished {
    let mut heads = heads.into_iter();
    let mut values = Vec::with_capacity(grouping.slots.len());
    for slot in &grouping.slots {
        let value = match &slot.place {
            Place::Index(..) => Ok(match heads.next().flatten() {
                Some(mut head) => {
                    if slot.aggregate.func == AggFunc::Max {
                        head.iter_mut().for_each(|byte| *byte = !*byte);
                    }
                    Value::Packed(head)
                }
                None => Value::Null,
            }),
            Place::Acc(at, scale) => accumulated(slot, *scale, accums, *at),
            Place::Moments(at) => Ok(statistic(slot, accums.accs().get(at.clone()).unwrap_or_default())),
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

fn accumulated(slot: &Slot, scale: i8, accums: &Accums, at: usize) -> Result<Value, String> {
    let Some(acc) = accums.accs().get(at) else {
        return Ok(if slot.aggregate.func == AggFunc::Count { Value::Int(0) } else { Value::Null });
    };
    let output = &slot.aggregate.output;
    match (slot.aggregate.func, &acc.sum) {
        (AggFunc::Count, _) => Ok(Value::Int(acc.n as i128)),
        _ if acc.n <= 0 => Ok(Value::Null),
        (AggFunc::Sum, Sum::Float(sum)) => Ok(Value::Float(bits(sum.value()))),
        (AggFunc::Avg, Sum::Float(sum)) => Ok(Value::Float(bits(sum.value() / acc.n as f64))),
        (AggFunc::Sum, sum) => fit(sum.wide(), output),
        (AggFunc::Avg, sum) => match (output, sum) {
            (DataType::Decimal128(_, out), sum) => {
                let power = (out - scale).max(0) as u32;
                fit(sum.wide().and_then(|sum| mean(sum, acc.n, power)), output)
            }
            (_, Sum::Int(sum)) => Ok(Value::Float(bits(*sum as f64 / acc.n as f64))),
            _ => fit(None, output),
        },
        (AggFunc::BoolAnd, Sum::Int(sum)) => Ok(Value::Int((*sum == i128::from(acc.n)).into())),
        (AggFunc::BoolOr, Sum::Int(sum)) => Ok(Value::Int((*sum > 0).into())),
        (AggFunc::BoolAnd | AggFunc::BoolOr, _) => fit(None, output),
        (AggFunc::Min | AggFunc::Max | AggFunc::Stat(_), _) => Ok(Value::Null),
    }
}

fn statistic(slot: &Slot, accs: &[Acc]) -> Value {
    let AggFunc::Stat(stat) = slot.aggregate.func else { return Value::Null };
    if stat == Stat::RegrCount {
        return Value::Int(accs.first().map_or(0, |acc| acc.n).into());
    }
    moments::finish(stat, accs).map_or(Value::Null, |value| Value::Float(bits(value)))
}

fn fit(exact: Option<i256>, output: &DataType) -> Result<Value, String> {
    let value = exact.and_then(i256::to_i128).filter(|value| match output {
        DataType::Decimal128(precision, _) => {
            10i128.checked_pow(*precision as u32).is_none_or(|limit| *value > -limit && *value < limit)
        }
        _ => i64::try_from(*value).is_ok(),
    });
    value.map(Value::Int).ok_or_else(|| match exact {
        Some(exact) => format!("{exact} does not fit {output}"),
        None => format!("the result does not fit {output}"),
    })
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Result rows of one epoch.
#[derive(Default)]
pub struct OutRows {
    keys: Rows,
    values: Vec<Vec<Value>>,
    /// One signed count a row.
    pub diffs: Vec<i64>,
}

impl OutRows {
    /// Adds a row.
    pub fn push(&mut self, key: &[u8], values: Vec<Value>, diff: i64) {
        self.keys.push(key);
        self.values.push(values);
        self.diffs.push(diff);
    }

    /// The rows as columns: keys, then aggregates.
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
            columns.push(column(slot, values)?);
        }
        Ok(columns)
    }
}

fn column<'a>(slot: &Slot, values: impl Iterator<Item = &'a Value> + Clone) -> Result<ArrayRef, RunError> {
    if let Place::Index(_, codec) = &slot.place {
        let packed = values.map(|v| if let Value::Packed(bytes) = v { bytes.as_slice() } else { &[0u8][..] });
        return codec.decode(packed)?.pop().ok_or_else(|| RunError::Broken("a column is missing".into()));
    }
    let ints = values.clone().map(|v| if let Value::Int(v) = v { Some(*v) } else { None });
    Ok(match &slot.aggregate.output {
        DataType::Float64 => Arc::new(Float64Array::from_iter(
            values.map(|v| if let Value::Float(bits) = v { Some(f64::from_bits(*bits)) } else { None }),
        )),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(ints.map(|v| v.map(|v| v != 0)))),
        DataType::Decimal128(precision, scale) => {
            Arc::new(Decimal128Array::from_iter(ints).with_precision_and_scale(*precision, *scale)?)
        }
        _ => Arc::new(Int64Array::from_iter(ints.map(|v| v.map(|v| v as i64)))),
    })
}
