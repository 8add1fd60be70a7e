//! Aggregates that pick one of the values of their group: `mode`, `percentile_disc`, `arg_min`, `arg_max`.
//!
//! DataFusion has none of them. `mode` and `percentile_disc` are PostgreSQL's and see the values in the order
//! of WITHIN GROUP, each as often as it occurs (see [`crate::plan::Fold`]). `arg_max(x, y)` is the `x` of the
//! row with the greatest `y`, and the least such `x` of several; rows whose `y` is NULL do not count. It is
//! lowered to `first_value(x ORDER BY y DESC)`, so it has no accumulator of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, internal_err, plan_err};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::percentile::constant_share;

/// The most frequent value, the first of several.
pub(crate) const MODE: &str = "mode";
/// The first value at or behind a share of the way.
pub(crate) const PERCENTILE_DISC: &str = "percentile_disc";
/// The value of the row whose other argument is least.
pub(crate) const ARG_MIN: &str = "arg_min";
/// The value of the row whose other argument is greatest.
pub(crate) const ARG_MAX: &str = "arg_max";

/// Returns these aggregates.
pub(crate) fn picking_aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![
        pick(MODE, 1, &[]),
        pick(PERCENTILE_DISC, 2, &["quantile_disc"]),
        pick(ARG_MIN, 2, &["min_by"]),
        pick(ARG_MAX, 2, &["max_by"]),
    ]
}

fn pick(name: &'static str, takes: usize, aliases: &[&str]) -> Arc<AggregateUDF> {
    let signature = Signature::any(takes, Volatility::Immutable);
    let aliases = aliases.iter().map(ToString::to_string).collect();
    Arc::new(AggregateUDF::from(Pick { name, aliases, signature }))
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
            MODE => Ok(Box::new(PickValues { of, share: None, values: vec![] })),
            PERCENTILE_DISC => {
                let share = constant_share(&args);
                match share.and_then(|share| share.cast_to(&DataType::Float64).ok()) {
                    Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => {
                        Ok(Box::new(PickValues { of, share: Some(share), values: vec![] }))
                    }
                    _ => plan_err!("the percentile of '{}' must be a constant from 0 to 1", self.name),
                }
            }
            name => internal_err!("{name} is lowered to first_value"),
        }
    }
}

/// The values of one group in order, without NULLs, each with its number of occurrences.
#[derive(Debug)]
struct PickValues {
    of: DataType,
    /// The share of the way (0 to 1) to pick at; None picks the most frequent value.
    share: Option<f64>,
    values: Vec<(ScalarValue, usize)>,
}

impl Accumulator for PickValues {
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
        match index_to_pick(&counts, self.share) {
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

/// Returns the index of the value to pick, given the number of occurrences of each.
fn index_to_pick(counts: &[usize], share: Option<f64>) -> Option<usize> {
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
        assert_eq!(index_to_pick(&[], None), None);
        assert_eq!(index_to_pick(&[1, 3, 3, 2], None), Some(1));
        assert_eq!(index_to_pick(&[], Some(0.5)), None);
        let at = |share| index_to_pick(&[1, 1, 2], Some(share));
        assert_eq!(
            [at(0.0), at(0.25), at(0.26), at(0.5), at(0.51), at(1.0)].map(Option::unwrap),
            [0, 0, 1, 1, 2, 2]
        );
    }
}
