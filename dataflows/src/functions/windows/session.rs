//! The window functions behind SESSION.
//!
//! `SESSION(t PARTITION BY k, ts, gap)` gives each row of `t` the bounds of its session: rows of one `k`
//! whose times, in order, are each less than `gap` after the one before. A session starts at its first time
//! and ends `gap` after its last. A row that arrives between two sessions can merge them. A NULL time is in
//! no session: its bounds are NULL, and the parser filters such rows out. The parser guarantees that times
//! ascend within a partition and that the gap is a constant in microseconds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

/// Name of the function that gives a session's start.
pub(crate) const SESSION_START: &str = "herald_session_start";
/// Name of the function that gives a session's end.
pub(crate) const SESSION_END: &str = "herald_session_end";

/// Returns these functions.
pub(crate) fn functions() -> Vec<Arc<WindowUDF>> {
    [false, true].map(session_function).into()
}

fn session_function(end: bool) -> Arc<WindowUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(WindowUDF::from(SessionFunction { end, signature }))
}

/// The function for the start (or, if `end`, the end) of the session a row is in.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionFunction {
    end: bool,
    signature: Signature,
}

impl WindowUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        if self.end { SESSION_END } else { SESSION_START }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SessionBounds { end: self.end }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let Some(time) = args.input_fields().first() else { return plan_err!("SESSION needs a time") };
        match time.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Ok(Arc::new(Field::new(args.name(), time.data_type().clone(), time.is_nullable())))
            }
            _ => plan_err!(
                "SESSION needs a TIMESTAMP or TIMESTAMPTZ, and {} is {}",
                time.name(),
                schemas::sql_type(time)
            ),
        }
    }
}

#[derive(Debug)]
struct SessionBounds {
    end: bool,
}

impl PartitionEvaluator for SessionBounds {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [times, gaps, ..] = values else { return exec_err!("SESSION takes a time and a gap") };
        let (Some(times), Some(gaps)) =
            (times.as_primitive_opt::<TimestampMicrosecondType>(), gaps.as_primitive_opt::<Int64Type>())
        else {
            return exec_err!("SESSION over {} and {}", times.data_type(), gaps.data_type());
        };
        let gap = if rows > 0 { gaps.value(0) } else { 1 };
        let Some(bounds) = session_bounds(&times.iter().collect::<Vec<_>>(), gap, self.end) else {
            return exec_err!("the session is beyond the range of timestamps");
        };
        let out = PrimitiveArray::<TimestampMicrosecondType>::from(bounds);
        Ok(Arc::new(out.with_data_type(times.data_type().clone())))
    }
}

/// Returns the start (or end) of every time's session; None where an end is beyond the range of timestamps.
/// The times must ascend; NULLs stand before or after all of them.
fn session_bounds(times: &[Option<i64>], gap: i64, end: bool) -> Option<Vec<Option<i64>>> {
    let mut out = Vec::with_capacity(times.len());
    let mut rest = times;
    while let Some(first) = rest.first() {
        let length = 1 + rest.windows(2).take_while(|pair| are_near(pair, gap)).count();
        let bound = match (first, end) {
            (Some(_), true) => Some(rest[length - 1]?.checked_add(gap)?),
            (first, _) => *first,
        };
        out.extend(std::iter::repeat_n(bound, length));
        rest = &rest[length..];
    }
    Some(out)
}

/// Returns true if two times are less than `gap` apart.
fn are_near(pair: &[Option<i64>], gap: i64) -> bool {
    match (pair[0], pair[1]) {
        (Some(a), Some(b)) => i128::from(b) - i128::from(a) < i128::from(gap),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_where_the_gap_is_reached() {
        let times = [Some(0), Some(0), Some(9), Some(19), Some(28), None];
        let starts = session_bounds(&times, 10, false).unwrap();
        assert_eq!(starts, [Some(0), Some(0), Some(0), Some(19), Some(19), None]);
        let ends = session_bounds(&times, 10, true).unwrap();
        assert_eq!(ends, [Some(19), Some(19), Some(19), Some(38), Some(38), None]);
        assert_eq!(session_bounds(&[None, None], 10, true).unwrap(), [None, None]);
        assert_eq!(session_bounds(&[Some(i64::MIN), Some(i64::MAX)], 1, false).unwrap().len(), 2);
        assert!(session_bounds(&[Some(i64::MAX)], 1, true).is_none());
    }
}
