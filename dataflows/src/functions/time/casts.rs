//! Casts between times, and between times and text.
//!
//! Text is read by [`super::read`] and written as PostgreSQL writes it: `2026-01-01 10:00:00`, `2026-01-01
//! 10:00:00+00`, `1 day 02:00:00`, with BC for years before 1. Other casts either do not exist (a DATE to
//! TIME) or are Arrow's: TIMESTAMP and TIMESTAMPTZ are converted without changing the number.

use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType as Mdn,
    Time64MicrosecondType as Tod, TimestampMicrosecondType as Us,
};
use datafusion_common::Result;
use datafusion_expr::ScalarUDF;
use schemas::types::span::Span;
use schemas::types::time::DAY_US;

use super::calendar::{Moment, in_days, midnight_of};
use super::read::{parse_error, read_date, read_time, read_timestamp, read_timestamptz};
use super::span::interval_of_time;
use super::udf::{Overload, TimeResult, Ty, function, parse_column, unary, write_column};

const TO_DATE: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Date, eval: parse_dates },
    unary!(Timestamp => Date, Us => Date32Type, date_of),
    unary!(Timestamptz => Date, Us => Date32Type, date_of),
];

const TO_TIMESTAMP: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Timestamp, eval: parse_timestamps },
    unary!(Date => Timestamp, Date32Type => Us, midnight_of),
];

const TO_TIMESTAMPTZ: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Timestamptz, eval: parse_timestamptzs },
    unary!(Date => Timestamptz, Date32Type => Us, midnight_of),
];

const TO_TIME: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Time, eval: parse_times },
    unary!(Timestamp => Time, Us => Tod, time_of_day),
    unary!(Timestamptz => Time, Us => Tod, time_of_day),
    unary!(Interval => Time, Mdn => Tod, time_of_interval),
];

const TO_INTERVAL: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Interval, eval: parse_intervals },
    unary!(Time => Interval, Tod => Mdn, interval_of_time),
];

const TO_TEXT: &[Overload] = &[
    Overload { args: &[Ty::Date], out: Ty::Text, eval: write_dates },
    Overload { args: &[Ty::Timestamp], out: Ty::Text, eval: write_timestamps },
    Overload { args: &[Ty::Timestamptz], out: Ty::Text, eval: write_timestamptzs },
    Overload { args: &[Ty::Time], out: Ty::Text, eval: write_times },
    Overload { args: &[Ty::Interval], out: Ty::Text, eval: write_intervals },
];

/// Parses a column of texts as dates.
pub(super) fn parse_dates(args: &[ArrayRef]) -> Result<ArrayRef> {
    parse_column::<Date32Type>(&args[0], Ty::Date, read_date)
}

fn parse_timestamps(args: &[ArrayRef]) -> Result<ArrayRef> {
    parse_column::<Us>(&args[0], Ty::Timestamp, read_timestamp)
}

/// Parses a column of texts as points in time.
pub(super) fn parse_timestamptzs(args: &[ArrayRef]) -> Result<ArrayRef> {
    parse_column::<Us>(&args[0], Ty::Timestamptz, read_timestamptz)
}

/// Parses a column of texts as times of day.
pub(super) fn parse_times(args: &[ArrayRef]) -> Result<ArrayRef> {
    parse_column::<Tod>(&args[0], Ty::Time, read_time)
}

fn parse_intervals(args: &[ArrayRef]) -> Result<ArrayRef> {
    parse_column::<Mdn>(&args[0], Ty::Interval, read_interval)
}

fn date_of(us: i64) -> TimeResult<i32> {
    in_days(us.div_euclid(DAY_US))
}

fn time_of_day(us: i64) -> TimeResult<i64> {
    Ok(us.rem_euclid(DAY_US))
}

fn time_of_interval(of: IntervalMonthDayNano) -> TimeResult<i64> {
    time_of_day(Span::from(of).us)
}

fn write_dates(args: &[ArrayRef]) -> Result<ArrayRef> {
    write_column::<Date32Type>(&args[0], |days, out| write_date(days.into(), out))
}

fn write_timestamps(args: &[ArrayRef]) -> Result<ArrayRef> {
    write_column::<Us>(&args[0], |us, out| write_timestamp(us, "", out))
}

fn write_timestamptzs(args: &[ArrayRef]) -> Result<ArrayRef> {
    write_column::<Us>(&args[0], |us, out| write_timestamp(us, "+00", out))
}

fn write_times(args: &[ArrayRef]) -> Result<ArrayRef> {
    write_column::<Tod>(&args[0], write_time)
}

fn write_intervals(args: &[ArrayRef]) -> Result<ArrayRef> {
    write_column::<Mdn>(&args[0], |of, out| Span::from(of).write(out))
}

/// Parses an INTERVAL.
pub(crate) fn read_interval(text: &str) -> TimeResult<IntervalMonthDayNano> {
    Span::parse(text).and_then(Span::to_arrow).ok_or_else(|| parse_error(text, "INTERVAL", ""))
}

/// A target type, its overloads by source type, and the function that has them.
type Given = (Ty, &'static [Overload], Arc<ScalarUDF>);

/// The cast functions by the type they give.
static CASTS: LazyLock<[Given; 6]> = LazyLock::new(|| {
    [
        give("herald_cast_date", Ty::Date, TO_DATE),
        give("herald_cast_timestamp", Ty::Timestamp, TO_TIMESTAMP),
        give("herald_cast_timestamptz", Ty::Timestamptz, TO_TIMESTAMPTZ),
        give("herald_cast_time", Ty::Time, TO_TIME),
        give("herald_cast_interval", Ty::Interval, TO_INTERVAL),
        give("herald_cast_text", Ty::Text, TO_TEXT),
    ]
});

fn give(name: &'static str, to: Ty, overloads: &'static [Overload]) -> Given {
    (to, overloads, function(name, overloads))
}

/// Returns these functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    CASTS.iter().map(|(.., function)| Arc::clone(function)).collect()
}

/// Returns the function that casts `from` to `to`, where one of the two is a time and Arrow's cast differs
/// from PostgreSQL's.
pub(crate) fn cast(from: &DataType, to: &DataType) -> Option<Arc<ScalarUDF>> {
    let (.., overloads, function) = CASTS.iter().find(|(ty, ..)| ty.arrow() == *to)?;
    let text = matches!(from, DataType::Utf8View | DataType::LargeUtf8);
    let known = overloads.iter().any(|o| o.args[0].arrow() == *from || (text && o.args[0] == Ty::Text));
    if known { Some(Arc::clone(function)) } else { None }
}

/// Appends a date.
pub(super) fn write_date(days: i64, out: &mut Vec<u8>) {
    let of = Moment::of_day(days);
    write_day(&of, out);
    write_era(&of, out);
}

fn write_day(of: &Moment, out: &mut Vec<u8>) {
    let year = if of.year > 0 { of.year } else { 1 - of.year };
    out.extend_from_slice(format!("{year:04}-{:02}-{:02}", of.month, of.day).as_bytes());
}

fn write_era(of: &Moment, out: &mut Vec<u8>) {
    if of.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a time of day, its fraction without trailing zeros.
pub(super) fn write_time(us: i64, out: &mut Vec<u8>) {
    let of = Moment { us, ..Moment::from_us(0) };
    out.extend_from_slice(format!("{:02}:{:02}:{:02}", of.hour(), of.minute(), of.second()).as_bytes());
    if of.fraction() > 0 {
        let digits = format!(".{:06}", of.fraction());
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

fn write_timestamp(us: i64, zone: &str, out: &mut Vec<u8>) {
    let of = Moment::from_us(us);
    write_day(&of, out);
    out.push(b' ');
    write_time(of.us, out);
    out.extend_from_slice(zone.as_bytes());
    write_era(&of, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_postgresql_writes_them() {
        let text = |us: i64, zone: &str| {
            let mut out = Vec::new();
            write_timestamp(us, zone, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_767_261_600_500_000, "+00"), "2026-01-01 10:00:00.5+00");
        assert_eq!(
            text(schemas::types::time::parse_timestamp("-0043-03-15T10:00").unwrap(), ""),
            "0044-03-15 10:00:00 BC"
        );
        assert_eq!(
            text(schemas::types::time::parse_timestamp("+010000-01-01").unwrap(), ""),
            "10000-01-01 00:00:00"
        );
    }

    #[test]
    fn casts_are_known_by_their_types() {
        let name = |from: Ty, to: Ty| cast(&from.arrow(), &to.arrow()).map(|f| f.name().to_owned());
        assert_eq!(name(Ty::Text, Ty::Date).as_deref(), Some("herald_cast_date"));
        assert_eq!(name(Ty::Interval, Ty::Text).as_deref(), Some("herald_cast_text"));
        assert_eq!(name(Ty::Timestamp, Ty::Timestamptz), None);
        assert_eq!(name(Ty::Bigint, Ty::Text), None);
        assert!(cast(&DataType::Utf8View, &DataType::Date32).is_some());
    }
}
