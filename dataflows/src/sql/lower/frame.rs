//! Frames of window functions as PostgreSQL takes them.
//!
//! A frame that ends before it begins (`3 FOLLOWING AND 1 FOLLOWING`) holds no row: counts are 0 and all
//! other functions are NULL. DataFusion uses the difference of the bounds as a length, so such a frame is
//! rewritten to one that begins and ends beyond every partition. Frames that PostgreSQL refuses are refused,
//! and so are distances that have no order (a month and thirty days).

use std::sync::Arc;

use crate::mistake::unsupported::Unsupported;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{WindowFrame, WindowFrameBound as Bound, WindowFrameUnits};

/// Rewrites a frame to the one that DataFusion evaluates.
///
/// # Errors
/// When PostgreSQL refuses it, or its bounds cannot be compared.
pub(super) fn frame(frame: &WindowFrame) -> Result<Arc<WindowFrame>> {
    let empty = match (&frame.start_bound, &frame.end_bound) {
        (Bound::CurrentRow, Bound::Preceding(_))
        | (Bound::Following(_), Bound::Preceding(_) | Bound::CurrentRow) => {
            return Err(Unsupported::FrameBackwards.into());
        }
        // A NULL distance is UNBOUNDED, longer than every other.
        (Bound::Preceding(start), Bound::Preceding(end)) => !start.is_null() && is_longer(end, start)?,
        (Bound::Following(start), Bound::Following(end)) => !end.is_null() && is_longer(start, end)?,
        _ => false,
    };
    if !empty {
        return Ok(Arc::new(frame.clone()));
    }
    let beyond = || Bound::Following(ScalarValue::UInt64(Some(i64::MAX as u64)));
    Ok(Arc::new(WindowFrame::new_bounds(WindowFrameUnits::Rows, beyond(), beyond())))
}

/// Tells whether distance `a` is greater than distance `b`.
fn is_longer(a: &ScalarValue, b: &ScalarValue) -> Result<bool> {
    use ScalarValue::IntervalMonthDayNano as Interval;
    match (a, b) {
        (Interval(Some(a)), Interval(Some(b))) => match (length_ns(a), length_ns(b)) {
            (Some(a), Some(b)) => Ok(a > b),
            _ if a.days == b.days && a.nanoseconds == b.nanoseconds => Ok(a.months > b.months),
            _ => Err(Unsupported::FrameUnits.into()),
        },
        _ => Ok(a > b),
    }
}

/// Nanoseconds of a distance; None if it has months.
fn length_ns(of: &IntervalMonthDayNano) -> Option<i128> {
    const DAY_NS: i128 = 86_400_000_000_000;
    (of.months == 0).then(|| i128::from(of.days) * DAY_NS + i128::from(of.nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(start: Bound, end: Bound) -> Result<bool> {
        let given = WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end);
        Ok(*frame(&given)? != given)
    }

    #[test]
    fn a_frame_that_ends_before_it_begins_is_empty() {
        let before = |n| Bound::Preceding(ScalarValue::UInt64(n));
        let after = |n| Bound::Following(ScalarValue::UInt64(n));
        assert!(rows(before(Some(1)), before(Some(3))).unwrap());
        assert!(rows(after(Some(3)), after(Some(1))).unwrap());
        assert!(!rows(before(None), before(Some(3))).unwrap());
        assert!(!rows(before(Some(3)), before(Some(3))).unwrap());
        assert!(!rows(after(Some(3)), after(None)).unwrap());
        assert!(!rows(before(Some(3)), after(Some(1))).unwrap());
        assert!(rows(Bound::CurrentRow, before(Some(0))).is_err());
        assert!(rows(after(Some(0)), Bound::CurrentRow).is_err());
    }

    #[test]
    fn distances_in_months_and_in_days_do_not_compare() {
        let of = |months, days| {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, 0)))
        };
        assert!(is_longer(&of(0, 40), &of(0, 30)).unwrap());
        assert!(is_longer(&of(2, 0), &of(1, 0)).unwrap());
        assert!(is_longer(&of(1, 0), &of(0, 30)).is_err());
    }
}
