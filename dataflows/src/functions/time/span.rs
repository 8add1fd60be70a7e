//! Arithmetic with intervals: with each other, with numbers, with dates and times of day.
//!
//! `timestamp + interval` is DataFusion's own operator, which is right; the functions here are those that
//! DataFusion computes wrongly or lacks: a DATE with an INTERVAL is a TIMESTAMP, the difference of timestamps
//! is an INTERVAL of days and time, the difference of dates is a number of days, and a time of day wraps
//! around at midnight.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType as Mdn, Time64MicrosecondType as Tod, TimestampMicrosecondType as Us,
};
use datafusion_common::Result;
use schemas::types::span::Span;
use schemas::types::time::DAY_US;

use super::calendar::{
    Moment, add_span, date_out_of_range, in_days, midnight_of, month_days, out_of_range, timestamp_at,
};
use super::udf::{Overload, TimeResult, Ty, binary, map_numbers, unary};

/// Converts an interval to Arrow's type.
pub(super) fn to_arrow_interval(span: Option<Span>) -> TimeResult<IntervalMonthDayNano> {
    span.and_then(Span::to_arrow).ok_or_else(interval_out_of_range)
}

fn interval_out_of_range() -> String {
    "interval out of range".to_owned()
}

/// Returns the interval of a time of day, or of a difference of two.
pub(super) fn interval_of_time(us: i64) -> TimeResult<IntervalMonthDayNano> {
    to_arrow_interval(Some(Span { us, ..Span::default() }))
}

/// The order-preserving length by which intervals are compared.
pub(super) const LENGTH: &[Overload] = &[unary!(Interval => Length, Mdn => Decimal128Type, length_of)];

fn length_of(of: IntervalMonthDayNano) -> TimeResult<i128> {
    Ok(Span::from(of).length())
}

/// The form that equal intervals share.
pub(super) const IN_DAYS: &[Overload] =
    &[unary!(Interval => Interval, Mdn => Mdn, |of| change(of, Span::in_days))];
/// The interval turned around.
pub(super) const NEGATIVE: &[Overload] =
    &[unary!(Interval => Interval, Mdn => Mdn, |of| change(of, Span::checked_neg))];
/// justify_hours.
pub(super) const JUSTIFY_HOURS: &[Overload] =
    &[unary!(Interval => Interval, Mdn => Mdn, |of| change(of, Span::justify_hours))];
/// justify_days.
pub(super) const JUSTIFY_DAYS: &[Overload] =
    &[unary!(Interval => Interval, Mdn => Mdn, |of| change(of, Span::justify_days))];
/// justify_interval.
pub(super) const JUSTIFY_INTERVAL: &[Overload] =
    &[unary!(Interval => Interval, Mdn => Mdn, |of| change(of, Span::justify_interval))];

fn change(of: IntervalMonthDayNano, by: impl Fn(Span) -> Option<Span>) -> TimeResult<IntervalMonthDayNano> {
    to_arrow_interval(by(Span::from(of)))
}

/// `a - b` of times.
pub(super) const DIFFERENCE: &[Overload] = &[
    binary!(Timestamp, Timestamp => Interval, Us, Us => Mdn, timestamps_apart),
    binary!(Timestamptz, Timestamptz => Interval, Us, Us => Mdn, timestamps_apart),
    binary!(Time, Time => Interval, Tod, Tod => Mdn, times_apart),
    binary!(Date, Date => Int, Date32Type, Date32Type => Int32Type, dates_apart),
];

/// Returns the days and the time between two timestamps.
fn timestamps_apart(a: i64, b: i64) -> TimeResult<IntervalMonthDayNano> {
    let us = a.checked_sub(b).ok_or_else(interval_out_of_range)?;
    to_arrow_interval(Span { months: 0, days: 0, us }.justify_hours())
}

fn times_apart(a: i64, b: i64) -> TimeResult<IntervalMonthDayNano> {
    interval_of_time(a - b)
}

fn dates_apart(a: i32, b: i32) -> TimeResult<i32> {
    a.checked_sub(b).ok_or_else(date_out_of_range)
}

/// `date + n` and `date - n`, in days.
pub(super) const DATE_PLUS: &[Overload] =
    &[binary!(Date, Bigint => Date, Date32Type, Int64Type => Date32Type, date_plus_days)];
pub(super) const DATE_MINUS: &[Overload] =
    &[binary!(Date, Bigint => Date, Date32Type, Int64Type => Date32Type, date_minus_days)];

fn date_plus_days(date: i32, days: i64) -> TimeResult<i32> {
    in_days(i64::from(date).saturating_add(days))
}

fn date_minus_days(date: i32, days: i64) -> TimeResult<i32> {
    in_days(i64::from(date).saturating_sub(days))
}

/// Sums of a date or a time of day with a time or an interval.
pub(super) const PLUS: &[Overload] = &[
    binary!(Date, Interval => Timestamp, Date32Type, Mdn => Us, date_plus_interval),
    binary!(Date, Time => Timestamp, Date32Type, Tod => Us, date_at_time),
    binary!(Time, Interval => Time, Tod, Mdn => Tod, time_plus_interval),
];

/// Differences of a date or a time of day and an interval.
pub(super) const LESS: &[Overload] = &[
    binary!(Date, Interval => Timestamp, Date32Type, Mdn => Us, date_minus_interval),
    binary!(Time, Interval => Time, Tod, Mdn => Tod, time_minus_interval),
];

fn date_plus_interval(date: i32, of: IntervalMonthDayNano) -> TimeResult<i64> {
    add_span(midnight_of(date)?, Span::from(of))
}

fn date_at_time(date: i32, time: i64) -> TimeResult<i64> {
    timestamp_at(date.into(), time)
}

fn time_plus_interval(time: i64, of: IntervalMonthDayNano) -> TimeResult<i64> {
    Ok(wrap_time(time, Span::from(of).us))
}

fn date_minus_interval(date: i32, of: IntervalMonthDayNano) -> TimeResult<i64> {
    let midnight = midnight_of(date)?;
    add_span(midnight, Span::from(of).checked_neg().ok_or_else(interval_out_of_range)?)
}

fn time_minus_interval(time: i64, of: IntervalMonthDayNano) -> TimeResult<i64> {
    Ok(wrap_time(time, -(Span::from(of).us % DAY_US)))
}

fn wrap_time(time: i64, us: i64) -> i64 {
    (time + us % DAY_US).rem_euclid(DAY_US)
}

/// `interval * n`.
pub(super) const TIMES: &[Overload] =
    &[binary!(Interval, Double => Interval, Mdn, Float64Type => Mdn, interval_times)];

fn interval_times(of: IntervalMonthDayNano, n: f64) -> TimeResult<IntervalMonthDayNano> {
    to_arrow_interval(Span::from(of).times(n))
}

/// `interval / n`.
pub(super) const OVER: &[Overload] =
    &[binary!(Interval, Double => Interval, Mdn, Float64Type => Mdn, interval_over)];

fn interval_over(of: IntervalMonthDayNano, n: f64) -> TimeResult<IntervalMonthDayNano> {
    if n == 0.0 { Err("division by zero".to_owned()) } else { to_arrow_interval(Span::from(of).over(n)) }
}

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
    let (Ok(months), Ok(days)) = (i32::try_from(months), i32::try_from(days)) else {
        return Err(out_of_range());
    };
    let span = Span { months, days, us };
    to_arrow_interval(if backwards { span.checked_neg() } else { Some(span) })
}

/// make_interval: years, months, weeks, days, hours, minutes, and seconds with a fraction.
pub(super) const MAKE_INTERVAL: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Interval,
    eval: make_interval,
}];

fn make_interval(args: &[ArrayRef]) -> Result<ArrayRef> {
    map_numbers::<Mdn>(args, 6, Ty::Interval, |parts, seconds| to_arrow_interval(span_of(parts, seconds)))
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
