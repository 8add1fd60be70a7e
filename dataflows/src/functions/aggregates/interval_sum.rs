//! `sum` and `avg`, over intervals too.
//!
//! Intervals are added part by part, as `+` does, and a mean is that sum divided by their number. Other types
//! are left to DataFusion. Sums of intervals are folded over the rows of their group ([`crate::plan::Fold`]),
//! not kept in accumulators: a change costs time proportional to the size of the group.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNanoType};
use datafusion_common::{Result, ScalarValue, exec_err, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, Signature, TypeSignature, TypeSignatureClass,
    Volatility,
};
use schemas::types::span::Span;

use super::{exact_sum, forward_to};

/// Returns the function extended to intervals, with the name and the types of `of`.
pub(crate) fn with_intervals(of: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    let interval = TypeSignature::Coercible(vec![Coercion::new_exact(TypeSignatureClass::Interval)]);
    let takes = match &of.signature().type_signature {
        TypeSignature::OneOf(known) => known.iter().cloned().chain([interval]).collect(),
        other => vec![other.clone(), interval],
    };
    let signature = Signature::one_of(takes, Volatility::Immutable);
    Arc::new(AggregateUDF::from(SumOrAverage { of, signature }))
}

/// Returns true if arguments of this type are intervals.
pub(crate) fn is_interval(of: &DataType) -> bool {
    matches!(of, DataType::Interval(_))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumOrAverage {
    of: Arc<AggregateUDF>,
    signature: Signature,
}

impl SumOrAverage {
    /// Returns a `sum` that fails beyond its type; None for `avg` and for types without bounds to check.
    fn checked_accumulator(&self, args: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
        if self.name() != "sum" {
            return None;
        }
        exact_sum::checked_sum(args.return_field.data_type(), args.is_distinct)
    }
}

impl AggregateUDFImpl for SumOrAverage {
    forward_to! {
        of: name() -> &str;
        aliases() -> &[String];
        is_nullable() -> bool;
        default_value(of: &DataType) -> Result<ScalarValue>;
        state_fields(args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>>;
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args.first() {
            Some(of) if is_interval(of) => Ok(schemas::interval()),
            _ => self.of.return_type(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.expr_fields.first() {
            Some(field) if is_interval(field.data_type()) => {
                Ok(Box::new(Spans { mean: self.name() == "avg", count: 0, sum: Some(Span::default()) }))
            }
            _ => match self.checked_accumulator(&args) {
                Some(sum) => Ok(sum),
                None => self.of.accumulator(args),
            },
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.checked_accumulator(&args) {
            Some(sum) => Ok(sum),
            None => self.of.create_sliding_accumulator(args),
        }
    }
}

/// The intervals of one group.
#[derive(Debug)]
struct Spans {
    mean: bool,
    count: u64,
    /// The sum; None once it is out of range.
    sum: Option<Span>,
}

impl Accumulator for Spans {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(spans) = values.first().and_then(AsArray::as_primitive_opt::<IntervalMonthDayNanoType>)
        else {
            return internal_err!("no intervals came");
        };
        for span in spans.iter().flatten() {
            self.count += 1;
            self.sum = self.sum.and_then(|sum| sum.checked_add(Span::from(span)));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let whole = self.sum.and_then(|sum| if self.mean { sum.over(self.count as f64) } else { Some(sum) });
        match whole.and_then(Span::to_arrow) {
            Some(span) => Ok(ScalarValue::IntervalMonthDayNano(Some(span))),
            None => exec_err!("interval out of range"),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a sum of intervals is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a sum of intervals is not made of parts")
    }
}
