//! Exact aggregates over frames.
//!
//! DataFusion slides a frame by adding the rows that enter and subtracting those that leave. For doubles this
//! keeps the rounding errors of every row that was ever in the frame, and NaN forever after an infinity; its
//! sums of whole numbers and decimals wrap around. The accumulators here are those of GROUP BY ([`FloatSum`],
//! [`moments`], 256 bits): a frame's value depends on its current rows alone, and a value that does not fit
//! its type is an error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, i256};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

use crate::functions::aggregates::forward_to;
use crate::functions::sums::accum::Acc;
use crate::functions::sums::float_sum::FloatSum;
use crate::functions::sums::moments;
use crate::plan::AggFunc;
use crate::plan::aggregate::Stat;

/// Returns the exact form of an aggregate over arguments of these types; None where DataFusion's form is
/// kept.
pub fn exact(function: &Arc<AggregateUDF>, args: &[DataType]) -> Option<Arc<AggregateUDF>> {
    let whole = matches!(args, [DataType::Int64 | DataType::Decimal128(..)]);
    let kind = match AggFunc::from_name(function.name())? {
        AggFunc::Sum if whole => ExactKind::Whole,
        AggFunc::Sum => ExactKind::Sum,
        AggFunc::Avg => ExactKind::Avg,
        AggFunc::Stat(Stat::RegrCount) => ExactKind::Pairs,
        AggFunc::Stat(stat) => ExactKind::Stat(stat),
        _ => return None,
    };
    let doubles = !args.is_empty() && args.iter().all(|arg| *arg == DataType::Float64);
    if !doubles && kind != ExactKind::Whole {
        return None;
    }
    Some(Arc::new(AggregateUDF::new_from_impl(Exact { like: Arc::clone(function), kind })))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ExactKind {
    Whole,
    Sum,
    Avg,
    /// The number of pairs, as BIGINT.
    Pairs,
    Stat(Stat),
}

/// An aggregate with the name and types of `like`, computed by an exact accumulator.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    like: Arc<AggregateUDF>,
    kind: ExactKind,
}

impl AggregateUDFImpl for Exact {
    forward_to! {
        like: name() -> &str;
        signature() -> &Signature;
        return_type(args: &[DataType]) -> Result<DataType>;
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let accs = if let ExactKind::Stat(stat) = self.kind { moments::empty(stat) } else { vec![] };
        let (whole, sum) = (i256::ZERO, FloatSum::default());
        Ok(Box::new(FrameSums {
            kind: self.kind,
            gives: args.return_field.data_type().clone(),
            n: 0,
            whole,
            sum,
            accs,
        }))
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        if self.kind == ExactKind::Pairs {
            Ok(ScalarValue::Int64(Some(0)))
        } else {
            ScalarValue::try_from(of)
        }
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("none", DataType::Float64, true))])
    }
}

/// The sums over the rows of a frame.
#[derive(Debug)]
struct FrameSums {
    kind: ExactKind,
    /// The type of the result.
    gives: DataType,
    n: i64,
    whole: i256,
    sum: FloatSum,
    accs: Vec<Acc>,
}

impl FrameSums {
    fn add(&mut self, values: &[ArrayRef], times: i64) -> Result<()> {
        if let (ExactKind::Whole, [x]) = (self.kind, values) {
            return self.add_whole_numbers(x, times);
        }
        let columns: Option<Vec<_>> = values.iter().map(AsArray::as_primitive_opt::<Float64Type>).collect();
        match (self.kind, columns.as_deref()) {
            (ExactKind::Sum | ExactKind::Avg, Some([x])) => {
                for x in x.iter().flatten() {
                    self.n += times;
                    self.sum.add(x, times);
                }
            }
            (ExactKind::Pairs, Some([y, x])) => {
                self.n += times * valid_pairs(x, y).count() as i64;
            }
            // The first argument is the dependent variable.
            (ExactKind::Stat(_), Some([y, x])) => {
                for at in valid_pairs(x, y) {
                    moments::add(&mut self.accs, (x.value(at), Some(y.value(at))), times);
                }
            }
            (ExactKind::Stat(_), Some([x])) => {
                for x in x.iter().flatten() {
                    moments::add(&mut self.accs, (x, None), times);
                }
            }
            _ => return exec_err!("{:?} over what are no doubles", self.kind),
        }
        Ok(())
    }
}

impl FrameSums {
    fn add_whole_numbers(&mut self, values: &ArrayRef, times: i64) -> Result<()> {
        match values.data_type() {
            DataType::Int64 => {
                for x in values.as_primitive::<Int64Type>().iter().flatten() {
                    self.add_whole(x.into(), times);
                }
            }
            DataType::Decimal128(..) => {
                for x in values.as_primitive::<Decimal128Type>().iter().flatten() {
                    self.add_whole(x, times);
                }
            }
            _ => return exec_err!("a sum over what are no numbers"),
        }
        Ok(())
    }

    fn add_whole(&mut self, value: i128, times: i64) {
        self.n += times;
        // Fewer than 2^63 rows of less than 2^128 each fit in 256 bits.
        let change = i256::from_i128(value).wrapping_mul(i256::from_i128(times.into()));
        self.whole = self.whole.wrapping_add(change);
    }

    /// Returns the sum of whole numbers or decimals; fails if it does not fit the result's type.
    fn whole_sum(&self) -> Result<ScalarValue> {
        match self.fitting_sum() {
            Some(sum) => Ok(sum),
            None => exec_err!("the sum {} does not fit {}", self.whole, self.gives),
        }
    }

    /// Returns that sum, NULL over no rows; None if it does not fit.
    fn fitting_sum(&self) -> Option<ScalarValue> {
        let sum = if self.n == 0 { None } else { Some(self.whole.to_i128()?) };
        Some(match self.gives {
            DataType::Decimal128(precision, scale) => {
                let limit = 10i128.pow(precision.into());
                if sum.is_some_and(|sum| sum >= limit || sum <= -limit) {
                    return None;
                }
                ScalarValue::Decimal128(sum, precision, scale)
            }
            _ => ScalarValue::Int64(sum.map(i64::try_from).transpose().ok()?),
        })
    }
}

/// Returns the rows in which neither value is NULL.
fn valid_pairs(x: &Float64Array, y: &Float64Array) -> impl Iterator<Item = usize> {
    (0..x.len()).filter(move |at| x.is_valid(*at) && y.is_valid(*at))
}

impl Accumulator for FrameSums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.kind {
            ExactKind::Whole => return self.whole_sum(),
            ExactKind::Pairs => return Ok(ScalarValue::Int64(Some(self.n))),
            _ => {}
        }
        Ok(ScalarValue::Float64(match self.kind {
            ExactKind::Stat(stat) => moments::finish(stat, &self.accs),
            _ if self.n == 0 => None,
            ExactKind::Sum => Some(self.sum.value()),
            ExactKind::Avg | ExactKind::Whole | ExactKind::Pairs => Some(self.sum.value() / self.n as f64),
        }))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame is not computed in parts")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        exec_err!("a frame is not computed in parts")
    }
}
