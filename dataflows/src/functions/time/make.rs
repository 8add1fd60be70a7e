//! Times from numbers and texts, and between time zones: make_date, to_timestamp, timezone and the like.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType as Mdn,
    Time64MicrosecondType as Tod, TimestampMicrosecondType as Us,
};
use datafusion_common::{Result, ScalarValue};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::{days_of_date, in_days, in_range, midnight_of, out_of_range, timestamp_at};
use super::casts::{parse_dates, parse_times, parse_timestamptzs};
use super::pattern::scan;
use super::read::zone_of;
use super::udf::{LastParsed, Overload, TimeResult, Ty, binary, map_column, map_numbers, map_text, unary};
use super::zone::{Zone, check_constant_zone, starts_with_digit};

/// make_date(year, month, day).
pub(super) const MAKE_DATE: &[Overload] =
    &[Overload { args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint], out: Ty::Date, eval: make_date }];

/// make_time(hour, minute, second).
pub(super) const MAKE_TIME: &[Overload] =
    &[Overload { args: &[Ty::Bigint, Ty::Bigint, Ty::Double], out: Ty::Time, eval: make_time }];

/// make_timestamp(year, month, day, hour, minute, second).
pub(super) const MAKE_TIMESTAMP: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Timestamp,
    eval: make_timestamp,
}];

/// make_timestamptz, with a zone or in UTC.
pub(super) const MAKE_TIMESTAMPTZ: &[Overload] = &[
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
        out: Ty::Timestamptz,
        eval: make_timestamptz,
    },
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double, Ty::Text],
        out: Ty::Timestamptz,
        eval: make_timestamptz_in_zone,
    },
];

fn make_date(args: &[ArrayRef]) -> Result<ArrayRef> {
    map_numbers::<Date32Type>(args, 3, Ty::Date, |whole, _| in_days(date_from_numbers(whole)?))
}

fn make_time(args: &[ArrayRef]) -> Result<ArrayRef> {
    map_numbers::<Tod>(args, 2, Ty::Time, time_of_day_from_numbers)
}

fn make_timestamp(args: &[ArrayRef]) -> Result<ArrayRef> {
    map_numbers::<Us>(args, 5, Ty::Timestamp, timestamp_from_numbers)
}

fn make_timestamptz(args: &[ArrayRef]) -> Result<ArrayRef> {
    map_numbers::<Us>(args, 5, Ty::Timestamptz, timestamp_from_numbers)
}

fn make_timestamptz_in_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let zones_and_times = [Arc::clone(&args[6]), make_timestamptz(&args[..6])?];
    let mut zones = LastParsed::new(zone_of_offset);
    map_text::<Us, Us>(&zones_and_times, Ty::Timestamptz, |zone, us| zones.parse(zone)?.to_instant(us))
}

/// Returns the days since 1970 of year, month and day; a negative year is BC.
fn date_from_numbers(whole: &[i64]) -> TimeResult<i64> {
    match whole.first() {
        Some(0) | None => Err("date field value out of range: there is no year 0".to_owned()),
        Some(year) => days_of_date(if *year < 0 { year + 1 } else { *year }, whole[1], whole[2]),
    }
}

fn time_from_numbers(whole: &[i64], seconds: f64) -> TimeResult<i64> {
    let us = (seconds * SECOND_US as f64).round_ties_even();
    let (hour, minute) = (whole[0], whole[1]);
    let fits = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=6e7).contains(&us);
    if !fits {
        return Err(time_out_of_range());
    }
    let us = (hour * 3600 + minute * 60) * SECOND_US + us as i64;
    if us <= DAY_US { Ok(us) } else { Err(time_out_of_range()) }
}

/// Returns a TIME, which is before 24:00; that of a TIMESTAMP may be 24:00.
fn time_of_day_from_numbers(whole: &[i64], seconds: f64) -> TimeResult<i64> {
    let us = time_from_numbers(whole, seconds)?;
    if us < DAY_US { Ok(us) } else { Err(time_out_of_range()) }
}

fn time_out_of_range() -> String {
    "time field value out of range".to_owned()
}

fn timestamp_from_numbers(whole: &[i64], seconds: f64) -> TimeResult<i64> {
    timestamp_at(date_from_numbers(whole)?, time_from_numbers(&whole[3..], seconds)?)
}

/// timezone(zone, time), which implements `time AT TIME ZONE zone`.
pub(super) const TIMEZONE: &[Overload] = &[
    Overload { args: &[Ty::Text, Ty::Timestamptz], out: Ty::Timestamp, eval: to_zone },
    Overload { args: &[Ty::Text, Ty::Timestamp], out: Ty::Timestamptz, eval: from_zone },
    Overload { args: &[Ty::Text, Ty::Date], out: Ty::Timestamp, eval: date_to_zone },
    binary!(Interval, Timestamptz => Timestamp, Mdn, Us => Us, to_fixed_zone),
    binary!(Interval, Timestamp => Timestamptz, Mdn, Us => Us, from_fixed_zone),
];

/// Refuses a constant zone that is unknown.
pub(super) fn check_zone(args: &[Option<&ScalarValue>], _: &[DataType]) -> Result<()> {
    check_constant_zone(args, 0)
}

fn to_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    convert_zone(args, Ty::Timestamp, Zone::to_local)
}

fn from_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    convert_zone(args, Ty::Timestamptz, Zone::to_instant)
}

fn date_to_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let midnight = map_column::<Date32Type, Us>(&args[1], Ty::Timestamptz, midnight_of)?;
    to_zone(&[Arc::clone(&args[0]), midnight])
}

fn to_fixed_zone(by: IntervalMonthDayNano, us: i64) -> TimeResult<i64> {
    fixed_zone(by)?.to_local(us)
}

fn from_fixed_zone(by: IntervalMonthDayNano, local: i64) -> TimeResult<i64> {
    fixed_zone(by)?.to_instant(local)
}

/// Returns the zone of a text in which a positive offset is east of Greenwich (ISO 8601), as it is behind a
/// time.
fn zone_of_offset(text: &str) -> TimeResult<Zone> {
    if starts_with_digit(text.trim()) || text.trim().is_empty() {
        Err(format!("there is no time zone called '{text}': an offset begins with + or -"))
    } else {
        zone_of(text.trim())
    }
}

fn fixed_zone(by: IntervalMonthDayNano) -> TimeResult<Zone> {
    let by = Span::from(by);
    if by.months != 0 || by.days != 0 {
        return Err("an interval that is a time zone has no months or days".to_owned());
    }
    Ok(Zone::Fixed(by.us))
}

fn convert_zone(args: &[ArrayRef], out: Ty, by: fn(&Zone, i64) -> TimeResult<i64>) -> Result<ArrayRef> {
    let mut zones = LastParsed::new(Zone::find_by_name);
    map_text::<Us, Us>(args, out, |zone, us| by(zones.parse(zone)?, us))
}

/// to_timestamp(seconds), and of text in ISO 8601 or by a pattern.
pub(super) const TO_TIMESTAMP: &[Overload] = &[
    unary!(Double => Timestamptz, Float64Type => Us, of_seconds),
    Overload { args: &[Ty::Text], out: Ty::Timestamptz, eval: parse_timestamptzs },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Timestamptz, eval: scan::to_timestamp },
];

/// Converts seconds since 1970 to microseconds, rounded as PostgreSQL does: counted from 2000.
fn of_seconds(seconds: f64) -> TimeResult<i64> {
    const MILLENNIUM: f64 = 946_684_800.0;
    let us = ((seconds - MILLENNIUM) * 1e6).round_ties_even();
    if us.is_nan() || us.abs() > 9.2e18 {
        return Err(out_of_range());
    }
    in_range((us as i64).checked_add(MILLENNIUM as i64 * SECOND_US))
}

/// to_date of text in ISO 8601 or by a pattern.
pub(super) const TO_DATE: &[Overload] = &[
    Overload { args: &[Ty::Text], out: Ty::Date, eval: parse_dates },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Date, eval: scan::to_date },
];

/// to_time of text.
pub(super) const TO_TIME: &[Overload] = &[Overload { args: &[Ty::Text], out: Ty::Time, eval: parse_times }];

/// to_timestamp_seconds: a TIMESTAMP.
pub(super) const OF_SECONDS: &[Overload] =
    &[unary!(Bigint => Timestamp, Int64Type => Us, timestamp_of_seconds)];
/// to_timestamp_millis: a TIMESTAMP.
pub(super) const OF_MILLIS: &[Overload] =
    &[unary!(Bigint => Timestamp, Int64Type => Us, timestamp_of_millis)];
/// to_timestamp_micros: a TIMESTAMP.
pub(super) const OF_MICROS: &[Overload] =
    &[unary!(Bigint => Timestamp, Int64Type => Us, timestamp_of_micros)];
/// to_timestamp_nanos: a TIMESTAMP, cut to microseconds.
pub(super) const OF_NANOS: &[Overload] = &[unary!(Bigint => Timestamp, Int64Type => Us, timestamp_of_nanos)];

fn timestamp_of_seconds(seconds: i64) -> TimeResult<i64> {
    in_range(seconds.checked_mul(SECOND_US))
}

fn timestamp_of_millis(millis: i64) -> TimeResult<i64> {
    in_range(millis.checked_mul(1000))
}

fn timestamp_of_micros(us: i64) -> TimeResult<i64> {
    in_range(Some(us))
}

fn timestamp_of_nanos(nanos: i64) -> TimeResult<i64> {
    in_range(Some(nanos.div_euclid(1000)))
}

/// to_unixtime: whole seconds since 1970.
pub(super) const TO_UNIXTIME: &[Overload] = &[
    unary!(Timestamp => Bigint, Us => Int64Type, whole_seconds),
    unary!(Timestamptz => Bigint, Us => Int64Type, whole_seconds),
];

fn whole_seconds(us: i64) -> TimeResult<i64> {
    Ok(us.div_euclid(SECOND_US))
}

/// isfinite, which is true for every time here.
pub(super) const ISFINITE: &[Overload] = &[
    Overload { args: &[Ty::Timestamp], out: Ty::Boolean, eval: are_finite },
    Overload { args: &[Ty::Timestamptz], out: Ty::Boolean, eval: are_finite },
    Overload { args: &[Ty::Date], out: Ty::Boolean, eval: are_finite },
    Overload { args: &[Ty::Interval], out: Ty::Boolean, eval: are_finite },
];

fn are_finite(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = BooleanBuilder::with_capacity(args[0].len());
    for row in 0..args[0].len() {
        out.append_option(args[0].is_valid(row).then_some(true));
    }
    Ok(Arc::new(out.finish()))
}
