//! `percentile_cont`, exact: DataFusion's, except that the value between two neighbours is not rounded.
//!
//! DataFusion rounds the distance between the neighbours down to a millionth; PostgreSQL and DuckDB do not,
//! and neither does Herald. Name, signature and WITHIN GROUP are DataFusion's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, ScalarValue, internal_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion_physical_expr::expressions::Literal;

use super::forward_to;

/// Returns the exact function, with the name and the types of `of`.
pub(crate) fn exact_percentile(of: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Percentile { of }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Percentile {
    forward_to! {
        of: name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(args: &[DataType]) -> Result<DataType>;
        simplify() -> Option<AggregateFunctionSimplification>;
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match constant_share(&args) {
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(share) => {
                let of = args.return_field.data_type().clone();
                Ok(Box::new(PercentileValues { share: *share, of, ordered: true, values: vec![] }))
            }
            _ => plan_err!("the percentile of '{}' must be a constant from 0 to 1", self.name()),
        }
    }
}

/// Returns the second argument of a percentile, if it is constant.
pub(super) fn constant_share<'a>(args: &AccumulatorArgs<'a>) -> Option<&'a ScalarValue> {
    let literal = args.exprs.get(1)?.downcast_ref::<Literal>()?;
    Some(literal.value())
}

/// Returns the median, with the name and the types of `of`: of floats it is the percentile at 0.5.
pub(crate) fn exact_median(of: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Median { of }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Median {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Median {
    forward_to! {
        of: name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(args: &[DataType]) -> Result<DataType>;
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = args.return_field.data_type();
        if of.is_floating() && !args.is_distinct {
            Ok(Box::new(PercentileValues { share: 0.5, of: of.clone(), ordered: false, values: vec![] }))
        } else {
            self.of.accumulator(args)
        }
    }
}

/// The values of one group.
#[derive(Debug)]
struct PercentileValues {
    /// True if the values come in the order of ORDER BY (see [`crate::plan::Fold`]); those of a median come
    /// in any order.
    ordered: bool,
    share: f64,
    of: DataType,
    values: Vec<f64>,
}

impl Accumulator for PercentileValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return internal_err!("no values came") };
        let doubles = cast(values, &DataType::Float64)?;
        self.values.extend(doubles.as_primitive::<Float64Type>().iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if !self.ordered {
            self.values.sort_by(f64::total_cmp);
        }
        ScalarValue::Float64(value_at_share(&self.values, self.share)).cast_to(&self.of)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a percentile is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a percentile is not made of parts")
    }
}

/// Returns the value at `share` (0 to 1) of the way through sorted values, interpolated between neighbours.
fn value_at_share(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share * last as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (lower, upper) = (*values.get(below)?, *values.get((below + 1).min(last))?);
    if part == 0.0 {
        return Some(lower);
    }
    Some(lower + (upper - lower) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_are_exact() {
        let values: Vec<f64> = (1..=11).map(f64::from).collect();
        for thousandth in 0..=1000 {
            let share = f64::from(thousandth) / 1000.0;
            assert!((value_at_share(&values, share).unwrap() - (1.0 + 10.0 * share)).abs() < 1e-14);
        }
        assert_eq!(value_at_share(&[], 0.5), None);
        assert_eq!(value_at_share(&[7.0], 0.3), Some(7.0));
        // These results are PostgreSQL's.
        assert_eq!(value_at_share(&[f64::MIN, f64::MAX], 0.5), Some(f64::INFINITY));
        assert_eq!(value_at_share(&[1.0, f64::INFINITY, f64::INFINITY], 0.5), Some(f64::INFINITY));
        assert!(value_at_share(&[1.0, f64::INFINITY, f64::INFINITY], 0.7).unwrap().is_nan());
        assert!(value_at_share(&[1.0, f64::NAN], 0.7).unwrap().is_nan());
        assert_eq!(value_at_share(&[1.0, f64::NAN], 0.0), Some(1.0));
    }
}
