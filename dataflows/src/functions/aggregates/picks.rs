//! Aggregates that pick one of the values of their group: `mode`, `percentile_disc`, `arg_min`, `arg_max`.
//!
//! DataFusion has none of them. `mode` and `percentile_disc` are PostgreSQL's and see the values in the
//! order of WITHIN GROUP, each as often as it is there (see [`crate::plan::Fold`]). `arg_max(x, y)` is the `x`
//! of the row with the greatest `y`, and the least such `x` of several; rows whose `y` is NULL do not
//! count. It is `first_value(x ORDER BY y DESC)` once it is lowered, so it has no accumulator of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, internal_err, plan_err};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion_physical_expr::expressions::Literal;

/// The value that is there most often, the first of several.
pub(crate) const MODE: &str = "mode";
/// The first value at or behind a share of the way.
pub(crate) const PERCENTILE_DISC: &str = "percentile_disc";
/// What stands beside the least value.
pub(crate) const ARG_MIN: &str = "arg_min";
/// What stands beside the greatest value.
pub(crate) const ARG_MAX: &str = "arg_max";

/// All of them.
pub(crate) fn all() -> Vec<Arc<AggregateUDF>> {
    let pick = |name, takes, aliases: &[&str]| {
        let signature = Signature::any(takes, Volatility::Immutable);
        let aliases = aliases.iter().map(ToString::to_string).collect();
        Arc::new(AggregateUDF::from(Pick { name, aliases, signature }))
    };
    vec![
        pick(MODE, 1, &[]),
        pick(PERCENTILE_DISC, 2, &["quantile_disc"]),
        pick(ARG_MIN, 2, &["min_by"]),
        pick(ARG_MAX, 2, &["max_by"]),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pick {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl AggregateUDFImpl for Pick {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args.first() {
            Some(of) => Ok(of.clone()),
            None => plan_err!("{} needs an argument", self.name),
        }
    }

    fn supports_within_group_clause(&self) -> bool {
        matches!(self.name, MODE | PERCENTILE_DISC)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = args.return_field.data_type().clone();
        match self.name {
            MODE => Ok(Box::new(Values { of, share: None, values: vec![] })),
            PERCENTILE_DISC => {
                let constant =
                    args.exprs.get(1).and_then(|e| e.downcast_ref::<Literal>()).map(Literal::value);
                let share = constant.and_then(|share| share.cast_to(&DataType::Float64).ok());
                match share {
                    Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => {
                        Ok(Box::new(Values { of, share: Some(share), values: vec![] }))
                    }
                    _ => plan_err!("the percentile of '{}' must be a constant from 0 to 1", self.name),
                }
            }
            name => internal_err!("{name} is lowered to first_value"),
        }
    }
}

/// The values of one group, in order, NULLs left out: how often each is there.
#[derive(Debug)]
struct Values {
    of: DataType,
    /// How far on the way; None picks the most frequent.
    share: Option<f64>,
    values: Vec<(ScalarValue, usize)>,
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return internal_err!("no values came") };
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let value = ScalarValue::try_from_array(values, row)?;
            match self.values.last_mut() {
                Some((last, count)) if *last == value => *count += 1,
                _ => self.values.push((value, 1)),
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let counts: Vec<usize> = self.values.iter().map(|(_, count)| *count).collect();
        match picked(&counts, self.share) {
            Some(at) => Ok(self.values[at].0.clone()),
            None => ScalarValue::try_from(&self.of),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<(ScalarValue, usize)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a pick is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a pick is not made of parts")
    }
}

/// Which of values that are there so often is picked.
fn picked(counts: &[usize], share: Option<f64>) -> Option<usize> {
    let Some(share) = share else {
        let most = counts.iter().max()?;
        return counts.iter().position(|count| count == most);
    };
    let all: usize = counts.iter().sum();
    let place = ((share * all as f64).ceil() as usize).clamp(1, all.max(1));
    let mut before = 0;
    counts.iter().position(|count| {
        before += count;
        before >= place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_and_the_first_behind_a_share_are_picked() {
        assert_eq!(picked(&[], None), None);
        assert_eq!(picked(&[1, 3, 3, 2], None), Some(1));
        assert_eq!(picked(&[], Some(0.5)), None);
        let at = |share| picked(&[1, 1, 2], Some(share));
        assert_eq!(
            [at(0.0), at(0.25), at(0.26), at(0.5), at(0.51), at(1.0)].map(Option::unwrap),
            [0, 0, 1, 1, 2, 2]
        );
    }
}
