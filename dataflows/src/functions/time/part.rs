//! extract and date_part: one field of a time.
//!
//! The result is DOUBLE, which holds every field exactly: microseconds of an epoch are below 2^53 until the
//! year 2255, and seconds with six digits print as PostgreSQL's NUMERIC does. extract takes only the fields
//! of a date from a DATE; date_part treats a DATE as its midnight.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use datafusion_common::{Result, ScalarValue};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::Moment;
use super::udf::{LastParsed, Overload, TimeResult, Ty, check_outcome, constant_text, map_text};

/// A field of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Dow,
    Isodow,
    Doy,
    Isoyear,
    Epoch,
    Julian,
    Zone,
    ZoneHour,
    ZoneMinute,
}

/// Returns the field with one of PostgreSQL's names for it.
pub(super) fn parse_field(name: &str) -> TimeResult<Field> {
    use Field as F;
    Ok(match name.to_lowercase().as_str() {
        "microsecond" | "microseconds" | "microsecon" | "us" | "usec" | "usecs" | "usecond" | "useconds" => {
            F::Microseconds
        }
        "millisecond" | "milliseconds" | "millisecon" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => {
            F::Milliseconds
        }
        "second" | "seconds" | "s" | "sec" | "secs" => F::Second,
        "minute" | "minutes" | "m" | "min" | "mins" => F::Minute,
        "hour" | "hours" | "h" | "hr" | "hrs" => F::Hour,
        "day" | "days" | "d" => F::Day,
        "week" | "weeks" | "w" => F::Week,
        "month" | "months" | "mon" | "mons" => F::Month,
        "quarter" | "qtr" => F::Quarter,
        "year" | "years" | "y" | "yr" | "yrs" => F::Year,
        "decade" | "decades" | "dec" | "decs" => F::Decade,
        "century" | "centuries" | "c" | "cent" | "cents" => F::Century,
        "millennium" | "millennia" | "mil" | "mils" => F::Millennium,
        "dow" => F::Dow,
        "isodow" => F::Isodow,
        "doy" => F::Doy,
        "isoyear" => F::Isoyear,
        "epoch" => F::Epoch,
        "julian" | "jd" | "j" => F::Julian,
        "timezone" => F::Zone,
        "timezone_hour" | "timezone_h" => F::ZoneHour,
        "timezone_minute" | "timezone_m" => F::ZoneMinute,
        _ => {
            return Err(format!(
                "'{name}' is no part of a time: write year, quarter, month, week, day, hour, minute, second, dow, doy, epoch and the like"
            ));
        }
    })
}

fn no_such_part(field: Field, of: &str) -> String {
    format!("'{}' is no part of {of}", format!("{field:?}").to_lowercase())
}

fn to_double(value: i64) -> f64 {
    value as f64
}

/// Returns a field of a timestamp.
fn of_timestamp(field: Field, us: i64, zoned: bool) -> TimeResult<f64> {
    let of = Moment::from_us(us);
    Ok(match field {
        Field::Epoch => to_double(us) / to_double(SECOND_US),
        Field::Julian => to_double(of.days + 2_440_588) + to_double(of.us) / to_double(DAY_US),
        Field::Zone | Field::ZoneHour | Field::ZoneMinute => {
            if !zoned {
                return Err(no_such_part(field, "a TIMESTAMP"));
            }
            0.0
        }
        field => of_time(field, of.us).or_else(|_| of_day(field, &of))?,
    })
}

/// Returns a field of a date.
fn of_day(field: Field, of: &Moment) -> TimeResult<f64> {
    let year = of.year;
    Ok(to_double(match field {
        Field::Day => i64::from(of.day),
        Field::Week => of.iso_week().1,
        Field::Month => i64::from(of.month),
        Field::Quarter => (i64::from(of.month) - 1) / 3 + 1,
        Field::Year => without_year_zero(year),
        Field::Isoyear => without_year_zero(of.iso_week().0),
        Field::Decade => year.div_euclid(10),
        Field::Century => {
            if year > 0 {
                (year + 99) / 100
            } else {
                -((99 - (year - 1)) / 100)
            }
        }
        Field::Millennium => {
            if year > 0 {
                (year + 999) / 1000
            } else {
                -((999 - (year - 1)) / 1000)
            }
        }
        Field::Dow => of.weekday(),
        Field::Isodow => of.iso_weekday(),
        Field::Doy => of.of_year(),
        Field::Julian => of.days + 2_440_588,
        Field::Epoch => of.days * 86_400,
        other => return Err(no_such_part(other, "a DATE")),
    }))
}

/// Returns the written number of an astronomical year: before 1 AD come -1, -2 and so on.
fn without_year_zero(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// Returns a field of a time of day, or of the time in an interval.
fn of_time(field: Field, us: i64) -> TimeResult<f64> {
    let minute = us % (60 * SECOND_US);
    Ok(match field {
        Field::Microseconds => to_double(minute),
        Field::Milliseconds => to_double(minute) / 1000.0,
        Field::Second => to_double(minute) / to_double(SECOND_US),
        Field::Minute => to_double(us / (60 * SECOND_US) % 60),
        Field::Hour => to_double(us / (3600 * SECOND_US)),
        other => return Err(no_such_part(other, "a TIME")),
    })
}

/// Returns a field of an interval; for the epoch a year has 365.25 days and a month 30.
fn of_interval(field: Field, of: Span) -> TimeResult<f64> {
    let (years, months) = (i64::from(of.months / 12), i64::from(of.months % 12));
    Ok(to_double(match field {
        Field::Day => i64::from(of.days),
        Field::Month => months,
        Field::Quarter => months / 3 + 1,
        Field::Year => years,
        Field::Decade => years / 10,
        Field::Century => years / 100,
        Field::Millennium => years / 1000,
        Field::Epoch => {
            let quarters = (years * 1461) + months * 120 + i64::from(of.days) * 4;
            // Whole seconds and the fraction are converted separately: all microseconds together can exceed
            // 2^53.
            let seconds = quarters * 21_600 + of.us / SECOND_US;
            return Ok(to_double(seconds) + to_double(of.us % SECOND_US) / to_double(SECOND_US));
        }
        Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour => {
            return of_time(field, of.us);
        }
        other => return Err(no_such_part(other, "an INTERVAL")),
    }))
}

macro_rules! part {
    ($ty:ident, $arrow:ty, $of:expr) => {
        Overload { args: &[Ty::Text, Ty::$ty], out: Ty::Double, eval: |args| map_parts::<$arrow>(args, $of) }
    };
}

/// Computes each value's field, by its name.
fn map_parts<T: ArrowPrimitiveType>(
    args: &[ArrayRef],
    of: impl Fn(Field, T::Native) -> TimeResult<f64>,
) -> Result<ArrayRef> {
    let mut fields = LastParsed::new(parse_field);
    map_text::<T, Float64Type>(args, Ty::Double, |name, value| of(*fields.parse(name)?, value))
}

fn of_time_of_day(field: Field, us: i64) -> TimeResult<f64> {
    if field == Field::Epoch { Ok(to_double(us) / to_double(SECOND_US)) } else { of_time(field, us) }
}

fn of_date(field: Field, days: i32) -> TimeResult<f64> {
    of_day(field, &Moment::of_day(i64::from(days)))
}

/// Returns a field of a timestamp for extract, whose epoch is rounded once, as PostgreSQL's NUMERIC is when
/// converted to DOUBLE. date_part computes in DOUBLE: beyond the year 2255 its microseconds are rounded
/// before the division.
fn extract_from_timestamp(field: Field, us: i64, zoned: bool) -> TimeResult<f64> {
    match field {
        // The whole seconds are exact, and no fraction of six digits lies halfway between two doubles.
        Field::Epoch => Ok(to_double(us / SECOND_US) + to_double(us % SECOND_US) / to_double(SECOND_US)),
        field => of_timestamp(field, us, zoned),
    }
}

/// extract.
pub(super) const EXTRACT: &[Overload] = &[
    part!(Timestamp, TimestampMicrosecondType, |f, us| extract_from_timestamp(f, us, false)),
    part!(Timestamptz, TimestampMicrosecondType, |f, us| extract_from_timestamp(f, us, true)),
    part!(Date, Date32Type, of_date),
    part!(Time, Time64MicrosecondType, of_time_of_day),
    part!(Interval, IntervalMonthDayNanoType, of_arrow_interval),
];

/// date_part, which treats a DATE as its midnight.
pub(super) const DATE_PART: &[Overload] = &[
    part!(Timestamp, TimestampMicrosecondType, |f, us| of_timestamp(f, us, false)),
    part!(Timestamptz, TimestampMicrosecondType, |f, us| of_timestamp(f, us, true)),
    part!(Date, Date32Type, of_date_or_midnight),
    part!(Time, Time64MicrosecondType, of_time_of_day),
    part!(Interval, IntervalMonthDayNanoType, of_arrow_interval),
];

fn of_arrow_interval(field: Field, of: IntervalMonthDayNano) -> TimeResult<f64> {
    of_interval(field, Span::from(of))
}

/// Returns a field of a date, or else the time's field at midnight.
fn of_date_or_midnight(field: Field, days: i32) -> TimeResult<f64> {
    of_date(field, days).or_else(|_| of_timestamp(field, 0, false))
}

/// Refuses a constant field that is unknown, or not part of the type.
pub(super) fn check_extract(args: &[Option<&ScalarValue>], types: &[DataType]) -> Result<()> {
    check_arguments(args, types, false)
}

/// Refuses such a constant field of date_part.
pub(super) fn check_part(args: &[Option<&ScalarValue>], types: &[DataType]) -> Result<()> {
    check_arguments(args, types, true)
}

fn check_arguments(args: &[Option<&ScalarValue>], types: &[DataType], lenient: bool) -> Result<()> {
    let Some(name) = constant_text(args, 0) else { return Ok(()) };
    let known = parse_field(name);
    let Ok(of) = known else { return check_outcome(known) };
    check_outcome(match types.get(1) {
        Some(DataType::Timestamp(_, zone)) => of_timestamp(of, 0, zone.is_some()),
        Some(DataType::Date32) if lenient => of_date_or_midnight(of, 0),
        Some(DataType::Date32) => of_date(of, 0),
        Some(DataType::Time64(_)) => of_time_of_day(of, 0),
        Some(DataType::Interval(_)) => of_interval(of, Span::default()),
        _ => Ok(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value is PostgreSQL's.
    #[test]
    fn parts_are_postgresqls() {
        let at = |text: &str| schemas::types::time::parse_timestamp(text).unwrap();
        let part = |name: &str, us| of_timestamp(parse_field(name).unwrap(), us, false).unwrap();
        let us = at("2001-02-16T20:38:40.123456");
        for (name, value) in [
            ("century", 21.0),
            ("millennium", 3.0),
            ("decade", 200.0),
            ("isoyear", 2001.0),
            ("week", 7.0),
            ("dow", 5.0),
            ("isodow", 5.0),
            ("doy", 47.0),
            ("quarter", 1.0),
            ("second", 40.123456),
            ("milliseconds", 40123.456),
            ("microseconds", 40_123_456.0),
            ("epoch", 982355920.123456),
        ] {
            assert_eq!(part(name, us), value, "{name}");
        }
        let (first, before) = (at("0001-01-01"), at("0000-12-31"));
        assert_eq!(["century", "decade", "year"].map(|f| part(f, first)), [1.0, 0.0, 1.0]);
        assert_eq!(["century", "decade", "year"].map(|f| part(f, before)), [-1.0, 0.0, -1.0]);
        let span = Span::parse("1 year 1 mon 2 days 03:04:05.5").unwrap();
        let part = |name: &str| of_interval(parse_field(name).unwrap(), span).unwrap();
        assert_eq!(["epoch", "hour", "second"].map(part), [34333445.5, 3.0, 5.5]);
        assert!(parse_field("nonsense").is_err());
        for (at, extract, date_part) in [
            ("2996-02-03T20:47:40.650145", 32380375660.650146, 32380375660.650143),
            ("2001-02-16T20:38:40.123456", 982355920.123456, 982355920.123456),
        ] {
            let us = schemas::types::time::parse_timestamp(at).unwrap();
            assert_eq!(extract_from_timestamp(Field::Epoch, us, false).unwrap(), extract, "{at}");
            assert_eq!(of_timestamp(Field::Epoch, us, false).unwrap(), date_part, "{at}");
        }
    }
}
