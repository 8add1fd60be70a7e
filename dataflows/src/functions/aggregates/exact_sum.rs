//! `sum` of whole numbers and DECIMALs that fails beyond its type, in plans that DataFusion's engine runs.
//!
//! A view's sums are checked where they are rendered; DataFusion's own wrap around. The total here has more
//! bits than the sum's type, so that only the final sum is checked and not the partial sums, which depend on
//! the order.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, i256};
use datafusion_common::{Result, ScalarValue, exec_err, internal_err};
use datafusion_expr::Accumulator;

/// Returns a sum of type `of`, which counts each value once if `distinct`; None where the type has no bounds
/// to check.
pub(crate) fn checked_sum(of: &DataType, distinct: bool) -> Option<Box<dyn Accumulator>> {
    if !matches!(of, DataType::Int64 | DataType::Decimal128(..)) {
        return None;
    }
    let seen = distinct.then(BTreeMap::new);
    Some(Box::new(CheckedSum { of: of.clone(), total: i256::ZERO, count: 0, seen }))
}

/// The values of one group, or of a frame.
#[derive(Debug)]
struct CheckedSum {
    of: DataType,
    total: i256,
    /// Number of values that are in the total.
    count: u64,
    /// Number of occurrences of each value; None where every occurrence counts.
    seen: Option<BTreeMap<i128, u64>>,
}

impl CheckedSum {
    fn for_each_value(&mut self, values: &[ArrayRef], change: fn(&mut CheckedSum, i128)) -> Result<()> {
        let Some(values) = values.first() else { return internal_err!("no values came") };
        if let Some(whole) = values.as_primitive_opt::<Int64Type>() {
            for value in whole.iter().flatten() {
                change(self, i128::from(value));
            }
        } else if let Some(decimals) = values.as_primitive_opt::<Decimal128Type>() {
            for value in decimals.iter().flatten() {
                change(self, value);
            }
        } else {
            return internal_err!("{} came to a sum of {}", values.data_type(), self.of);
        }
        Ok(())
    }

    fn put(&mut self, value: i128) {
        if let Some(seen) = &mut self.seen {
            let times = seen.entry(value).or_default();
            *times += 1;
            if *times > 1 {
                return;
            }
        }
        // No possible number of rows overflows 256 bits.
        self.total = self.total.wrapping_add(i256::from_i128(value));
        self.count += 1;
    }

    fn take(&mut self, value: i128) {
        if let Some(seen) = &mut self.seen {
            match seen.get_mut(&value) {
                Some(times) if *times > 1 => {
                    *times -= 1;
                    return;
                }
                _ => drop(seen.remove(&value)),
            }
        }
        self.total = self.total.wrapping_sub(i256::from_i128(value));
        self.count = self.count.saturating_sub(1);
    }
}

impl Accumulator for CheckedSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.for_each_value(values, CheckedSum::put)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.for_each_value(values, CheckedSum::take)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.of);
        }
        let total = self.total.to_i128();
        match self.of {
            DataType::Decimal128(precision, scale) => {
                let limit = 10i128.pow(u32::from(precision).min(38));
                match total.filter(|total| *total > -limit && *total < limit) {
                    Some(total) => Ok(ScalarValue::Decimal128(Some(total), precision, scale)),
                    None => exec_err!("numeric field overflow: the sum has more than {precision} digits"),
                }
            }
            _ => match total.and_then(|total| i64::try_from(total).ok()) {
                Some(total) => Ok(ScalarValue::Int64(Some(total))),
                None => exec_err!("bigint out of range: write sum(CAST(x AS NUMERIC(38, 0)))"),
            },
        }
    }

    fn size(&self) -> usize {
        let seen = self.seen.as_ref().map_or(0, |seen| seen.len() * size_of::<(i128, u64)>());
        size_of_val(self) + seen
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a sum is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a sum is not made of parts")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn sum(values: &[i64], distinct: bool) -> Result<ScalarValue> {
        let mut sum = checked_sum(&DataType::Int64, distinct).unwrap();
        sum.update_batch(&[Arc::new(Int64Array::from(values.to_vec()))])?;
        sum.evaluate()
    }

    #[test]
    fn sums_end_where_bigint_does() {
        assert_eq!(sum(&[i64::MAX, 1, -2], false).unwrap(), ScalarValue::Int64(Some(i64::MAX - 1)));
        assert!(sum(&[i64::MAX, 1], false).is_err());
        assert!(sum(&[i64::MIN, -1], false).is_err());
        assert_eq!(sum(&[], false).unwrap(), ScalarValue::Int64(None));
        assert_eq!(sum(&[i64::MAX, i64::MAX], true).unwrap(), ScalarValue::Int64(Some(i64::MAX)));
    }

    #[test]
    fn what_leaves_a_frame_is_taken_off() {
        let mut sum = checked_sum(&DataType::Int64, true).unwrap();
        let values = |values: Vec<i64>| [Arc::new(Int64Array::from(values)) as ArrayRef];
        sum.update_batch(&values(vec![2, 2, 5])).unwrap();
        sum.retract_batch(&values(vec![2, 5])).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
        sum.retract_batch(&values(vec![2])).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(None));
    }
}
