//! Frames of window functions as PostgreSQL takes them.
//!
//! A frame that ends before it begins (`3 FOLLOWING AND 1 FOLLOWING`) holds no row: counts are 0 and all
//! else is NULL. DataFusion takes the difference of its bounds for a length, so such a frame is written as
//! one that begins and ends beyond every partition. Frames that PostgreSQL refuses are refused, and so are
//! distances that have no order (a month and thirty days).

use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::{WindowFrame, WindowFrameBound as Bound, WindowFrameUnits};

/// What is told of a frame that PostgreSQL does not take either.
pub(crate) const BACKWARDS: &str = "the frame's end comes before the current row and its start does not";
/// What is told of a frame that may end before it begins or not, by the month.
pub(crate) const MONTHS: &str = "a frame between a distance in months and one in days has no order";

/// The frame as it is evaluated.
///
/// # Errors
/// When PostgreSQL refuses it, or its bounds cannot be compared.
pub(super) fn frame(frame: &WindowFrame) -> Result<Arc<WindowFrame>> {
    let empty = match (&frame.start_bound, &frame.end_bound) {
        (Bound::CurrentRow, Bound::Preceding(_))
        | (Bound::Following(_), Bound::Preceding(_) | Bound::CurrentRow) => {
            return plan_err!("{BACKWARDS}");
        }
        // No distance is the greatest.
        (Bound::Preceding(start), Bound::Preceding(end)) => !start.is_null() && later(end, start)?,
        (Bound::Following(start), Bound::Following(end)) => !end.is_null() && later(start, end)?,
        _ => false,
    };
    if !empty {
        return Ok(Arc::new(frame.clone()));
    }
    let beyond = || Bound::Following(ScalarValue::UInt64(Some(i64::MAX as u64)));
    Ok(Arc::new(WindowFrame::new_bounds(WindowFrameUnits::Rows, beyond(), beyond())))
}

/// Tells whether one distance is greater than another.
fn later(a: &ScalarValue, b: &ScalarValue) -> Result<bool> {
    use ScalarValue::IntervalMonthDayNano as Interval;
    match (a, b) {
        (Interval(Some(a)), Interval(Some(b))) => match (length(a), length(b)) {
            (Some(a), Some(b)) => Ok(a > b),
            _ if a.days == b.days && a.nanoseconds == b.nanoseconds => Ok(a.months > b.months),
            _ => plan_err!("{MONTHS}"),
        },
        _ => Ok(a > b),
    }
}

/// Nanoseconds of a distance without months.
fn length(of: &IntervalMonthDayNano) -> Option<i128> {
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
        assert!(later(&of(0, 40), &of(0, 30)).unwrap());
        assert!(later(&of(2, 0), &of(1, 0)).unwrap());
        assert!(later(&of(1, 0), &of(0, 30)).is_err());
    }
}
