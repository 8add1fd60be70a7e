//! Arithmetic with intervals: with each other, with numbers, with dates and times of day.
//!
//! `timestamp + interval` is DataFusion's own operator, which is right; the functions here are those that
//! DataFusion computes wrongly or lacks: a DATE with an INTERVAL is a TIMESTAMP, the difference of timestamps
//! is an INTERVAL of days and time, the difference of dates is a number of days, and a time of day wraps
//! around at midnight.

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType as Mdn, Time64MicrosecondType as Tod, TimestampMicrosecondType as Us,
};
use datafusion_common::{DataFusionError, Result};
use schemas::types::span::Span;
use schemas::types::time::DAY_US;

use super::calendar::{Moment, add_span, in_days, month_days, out_of_range, timestamp_at};
use super::udf::{Overload, TimeResult, Ty, map_column, map_columns, number_column};

/// Converts an interval to Arrow's type.
pub(super) fn to_arrow_interval(span: Option<Span>) -> TimeResult<IntervalMonthDayNano> {
    span.and_then(Span::to_arrow).ok_or_else(|| "interval out of range".to_owned())
}

fn negate_interval(of: IntervalMonthDayNano) -> TimeResult<Span> {
    Span::from(of).checked_neg().ok_or_else(|| "interval out of range".to_owned())
}

fn of_days(us: Option<i64>) -> TimeResult<IntervalMonthDayNano> {
    to_arrow_interval(us.and_then(|us| Span { months: 0, days: 0, us }.justify_hours()))
}

macro_rules! binary {
    ($a:ident, $b:ident => $out:ident, $ta:ty, $tb:ty => $to:ty, $f:expr) => {
        Overload {
            args: &[Ty::$a, Ty::$b],
            out: Ty::$out,
            eval: |args| map_columns::<$ta, $tb, $to>(args, Ty::$out, $f),
        }
    };
}

/// The order-preserving length by which intervals are compared.
pub(super) const LENGTH: &[Overload] = &[Overload {
    args: &[Ty::Interval],
    out: Ty::Length,
    eval: |args| map_column::<Mdn, Decimal128Type>(&args[0], Ty::Length, |v| Ok(Span::from(v).length())),
}];

macro_rules! justified {
    ($name:ident, $method:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) const $name: &[Overload] = &[Overload {
            args: &[Ty::Interval],
            out: Ty::Interval,
            eval: |args| {
                map_column::<Mdn, Mdn>(&args[0], Ty::Interval, |v| to_arrow_interval(Span::from(v).$method()))
            },
        }];
    };
}

justified!(IN_DAYS, in_days, "The form that equal intervals share.");
justified!(NEGATIVE, checked_neg, "The interval turned around.");
justified!(JUSTIFY_HOURS, justify_hours, "justify_hours.");
justified!(JUSTIFY_DAYS, justify_days, "justify_days.");
justified!(JUSTIFY_INTERVAL, justify_interval, "justify_interval.");

/// `a - b` of times.
pub(super) const DIFFERENCE: &[Overload] = &[
    binary!(Timestamp, Timestamp => Interval, Us, Us => Mdn, |a, b| of_days(a.checked_sub(b))),
    binary!(Timestamptz, Timestamptz => Interval, Us, Us => Mdn, |a, b| of_days(a.checked_sub(b))),
    binary!(Time, Time => Interval, Tod, Tod => Mdn, |a, b| {
        to_arrow_interval(Some(Span { us: a - b, ..Span::default() }))
    }),
    binary!(Date, Date => Int, Date32Type, Date32Type => Int32Type, |a, b| {
        a.checked_sub(b).ok_or_else(|| "date out of range".to_owned())
    }),
];

/// `date + n` and `date - n`, in days.
pub(super) const DATE_PLUS: &[Overload] =
    &[binary!(Date, Bigint => Date, Date32Type, Int64Type => Date32Type, |d, n| {
        in_days(i64::from(d).saturating_add(n))
    })];
pub(super) const DATE_MINUS: &[Overload] =
    &[binary!(Date, Bigint => Date, Date32Type, Int64Type => Date32Type, |d, n| {
        in_days(i64::from(d).saturating_sub(n))
    })];

/// Sums of a date or a time of day with a time or an interval.
pub(super) const PLUS: &[Overload] = &[
    binary!(Date, Interval => Timestamp, Date32Type, Mdn => Us, |d, v| {
        add_span(timestamp_at(d.into(), 0)?, Span::from(v))
    }),
    binary!(Date, Time => Timestamp, Date32Type, Tod => Us, |d, t| timestamp_at(d.into(), t)),
    binary!(Time, Interval => Time, Tod, Mdn => Tod, |t, v| Ok(wrap_time(t, Span::from(v).us))),
];

/// Differences of a date or a time of day and an interval.
pub(super) const LESS: &[Overload] = &[
    binary!(Date, Interval => Timestamp, Date32Type, Mdn => Us, |d, v| {
        add_span(timestamp_at(d.into(), 0)?, negate_interval(v)?)
    }),
    binary!(Time, Interval => Time, Tod, Mdn => Tod, |t, v| Ok(wrap_time(t, -(Span::from(v).us % DAY_US)))),
];

fn wrap_time(time: i64, us: i64) -> i64 {
    (time + us % DAY_US).rem_euclid(DAY_US)
}

/// `interval * n`.
pub(super) const TIMES: &[Overload] =
    &[binary!(Interval, Double => Interval, Mdn, Float64Type => Mdn, |v, n| {
        to_arrow_interval(Span::from(v).times(n))
    })];

/// `interval / n`.
pub(super) const OVER: &[Overload] =
    &[binary!(Interval, Double => Interval, Mdn, Float64Type => Mdn, |v, n| {
        if n == 0.0 { Err("division by zero".to_owned()) } else { to_arrow_interval(Span::from(v).over(n)) }
    })];

/// age: years, months, days and time between two timestamps.
pub(super) const AGE: &[Overload] = &[
    binary!(Timestamptz, Timestamptz => Interval, Us, Us => Mdn, age_between),
    binary!(Timestamp, Timestamp => Interval, Us, Us => Mdn, age_between),
];

fn age_between(a: i64, b: i64) -> TimeResult<IntervalMonthDayNano> {
    let (first, second, backwards) = (Moment::from_us(a), Moment::from_us(b), a < b);
    let (late, early) = if backwards { (second, first) } else { (first, second) };
    let mut us = late.us - early.us;
    let mut days = i64::from(late.day) - i64::from(early.day);
    let mut months = (late.year - early.year) * 12 + i64::from(late.month) - i64::from(early.month);
    if us < 0 {
        us += DAY_US;
        days -= 1;
    }
    // Days are borrowed from the month of the earlier timestamp, for either order of the arguments.
    while days < 0 {
        days += i64::from(month_days(early.year, early.month));
        months -= 1;
    }
    let days = i32::try_from(days).map_err(|_| out_of_range())?;
    let span = Span { months: i32::try_from(months).map_err(|_| out_of_range())?, days, us };
    to_arrow_interval(if backwards { span.checked_neg() } else { Some(span) })
}

/// make_interval: years, months, weeks, days, hours, minutes, and seconds with a fraction.
pub(super) const MAKE_INTERVAL: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Interval,
    eval: make_interval,
}];

fn make_interval(args: &[ArrayRef]) -> Result<ArrayRef> {
    let whole = args[..6].iter().map(number_column::<Int64Type>).collect::<Result<Vec<_>>>()?;
    let seconds = number_column::<Float64Type>(&args[6])?;
    let rows = (0..seconds.len()).map(|row| {
        if seconds.is_null(row) || whole.iter().any(|part| part.is_null(row)) {
            return Ok(None);
        }
        let parts: Vec<i64> = whole.iter().map(|part| part.value(row)).collect();
        to_arrow_interval(span_of(&parts, seconds.value(row))).map(Some).map_err(DataFusionError::Execution)
    });
    let spans: PrimitiveArray<Mdn> = rows.collect::<Result<Vec<_>>>()?.into_iter().collect();
    Ok(std::sync::Arc::new(spans))
}

fn span_of(parts: &[i64], seconds: f64) -> Option<Span> {
    let [years, months, weeks, days, hours, minutes] = parts else { return None };
    let months = years.checked_mul(12)?.checked_add(*months)?;
    let days = weeks.checked_mul(7)?.checked_add(*days)?;
    let minutes = hours.checked_mul(60)?.checked_add(*minutes)?;
    let us = (seconds * 1e6).round_ties_even();
    if us.is_nan() || us.abs() > 9e18 {
        return None;
    }
    let us = minutes.checked_mul(60_000_000)?.checked_add(us as i64)?;
    Some(Span { months: i32::try_from(months).ok()?, days: i32::try_from(days).ok()?, us })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is PostgreSQL's.
    #[test]
    fn ages_are_postgresqls() {
        let at = |text: &str| schemas::types::time::parse_timestamp(text).unwrap();
        for (a, b, text) in [
            ("2020-03-31", "2020-02-29", "1 mon 2 days"),
            ("2001-04-10", "1957-06-13", "43 years 9 mons 27 days"),
            ("2020-01-30T10:00", "2020-03-31T11:00:00.5", "-2 mons -1 days -01:00:00.5"),
            ("2020-03-01", "2020-01-31T12:00", "1 mon 12:00:00"),
        ] {
            assert_eq!(Span::from(age_between(at(a), at(b)).unwrap()).text(), text, "{a} {b}");
        }
    }
}
