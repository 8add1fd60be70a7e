//! Distances in units, and truncation, under the names of other dialects: timestampdiff, datediff,
//! timestamp_trunc.
//!
//! `timestampdiff(unit, a, b)` counts the complete units from a to b, as MySQL and Flink do; `datediff(unit,
//! a, b)` counts the boundaries of units between the two, as DuckDB and Snowflake do, and `datediff(b, a)`
//! the days, as MySQL and Spark do. A unit is a keyword or a text.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, TimestampMicrosecondType as Us};
use datafusion_common::{Result, ScalarValue, plan_err};
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::Moment;
use super::part::Field;
use super::trunc::{truncate_column, truncation_unit};
use super::udf::{
    LastParsed, Overload, TimeResult, Ty, binary, constant_text, map_triples, number_column, text_column,
};

/// A unit in which distances are counted.
#[derive(Clone, Copy)]
enum DistanceUnit {
    /// A number of microseconds.
    Time(i64),
    /// Seven days, beginning on Monday.
    Week,
    /// A number of months.
    Months(i64),
}

fn parse_unit(name: &str) -> TimeResult<DistanceUnit> {
    let lower = name.to_ascii_lowercase();
    let one = lower.strip_suffix('s').unwrap_or(&lower);
    Ok(match one {
        "microsecond" => DistanceUnit::Time(1),
        "millisecond" => DistanceUnit::Time(1000),
        "second" => DistanceUnit::Time(SECOND_US),
        "minute" => DistanceUnit::Time(60 * SECOND_US),
        "hour" => DistanceUnit::Time(3600 * SECOND_US),
        "day" => DistanceUnit::Time(DAY_US),
        "week" => DistanceUnit::Week,
        "month" => DistanceUnit::Months(1),
        "quarter" => DistanceUnit::Months(3),
        "year" => DistanceUnit::Months(12),
        _ => {
            return Err(format!(
                "'{name}' is no unit: write microsecond, millisecond, second, minute, hour, day, week, month, quarter or year"
            ));
        }
    })
}

/// Returns the number of complete units from `a` to `b`; negative if `b` is earlier.
fn whole_units(unit: DistanceUnit, a: i64, b: i64) -> TimeResult<i64> {
    let between = b.checked_sub(a).ok_or("the times are too far apart")?;
    Ok(match unit {
        DistanceUnit::Time(size) => between / size,
        DistanceUnit::Week => between / (7 * DAY_US),
        DistanceUnit::Months(size) => {
            let (early, late) = (Moment::from_us(a.min(b)), Moment::from_us(a.max(b)));
            let months = months_since_zero(&late) - months_since_zero(&early);
            // The last month is incomplete if its day and time of day were not reached.
            let short = (late.day, late.us) < (early.day, early.us);
            (months - i64::from(short)) / size * between.signum()
        }
    })
}

/// Returns the number of months since the year 0.
fn months_since_zero(of: &Moment) -> i64 {
    of.year * 12 + i64::from(of.month) - 1
}

/// Returns the number of unit boundaries between `a` and `b`.
fn unit_boundaries(unit: DistanceUnit, a: i64, b: i64) -> TimeResult<i64> {
    Ok(unit_number(unit, b) - unit_number(unit, a))
}

/// Returns the number of the unit that an instant is in.
fn unit_number(unit: DistanceUnit, us: i64) -> i64 {
    match unit {
        DistanceUnit::Time(size) => us.div_euclid(size),
        // 1970-01-01 was a Thursday: adding 3 days aligns weeks to Monday.
        DistanceUnit::Week => (us.div_euclid(DAY_US) + 3).div_euclid(7),
        DistanceUnit::Months(size) => months_since_zero(&Moment::from_us(us)).div_euclid(size),
    }
}

fn count_units(args: &[ArrayRef], count: fn(DistanceUnit, i64, i64) -> TimeResult<i64>) -> Result<ArrayRef> {
    let mut units = LastParsed::new(parse_unit);
    let (a, b) = (number_column::<Us>(&args[1])?, number_column::<Us>(&args[2])?);
    let rows = text_column(&args[0])?.iter().zip(a.iter()).zip(b.iter());
    map_triples::<_, _, _, Int64Type>(rows, Ty::Bigint.arrow(), |name, a, b| count(*units.parse(name)?, a, b))
}

macro_rules! apart {
    ($ty:ident, $count:expr) => {
        Overload {
            args: &[Ty::Text, Ty::$ty, Ty::$ty],
            out: Ty::Bigint,
            eval: |args| count_units(args, $count),
        }
    };
}

/// timestampdiff.
pub(super) const TIMESTAMPDIFF: &[Overload] =
    &[apart!(Timestamp, whole_units), apart!(Timestamptz, whole_units)];

/// datediff.
pub(super) const DATEDIFF: &[Overload] = &[
    apart!(Timestamp, unit_boundaries),
    apart!(Timestamptz, unit_boundaries),
    binary!(Date, Date => Int, Date32Type, Date32Type => Int32Type, days_between_dates),
    binary!(Timestamp, Timestamp => Int, Us, Us => Int32Type, days_between_timestamps),
    binary!(Timestamptz, Timestamptz => Int, Us, Us => Int32Type, days_between_timestamps),
];

fn days_between_dates(b: i32, a: i32) -> TimeResult<i32> {
    to_days(i64::from(b) - i64::from(a))
}

fn days_between_timestamps(b: i64, a: i64) -> TimeResult<i32> {
    to_days(b.div_euclid(DAY_US) - a.div_euclid(DAY_US))
}

fn to_days(distance: i64) -> TimeResult<i32> {
    i32::try_from(distance).map_err(|_| "the dates are too far apart".to_owned())
}

/// Refuses a constant unit that is unknown.
pub(super) fn check_whole(args: &[Option<&ScalarValue>], _: &[DataType]) -> Result<()> {
    check_constant_unit("timestampdiff", constant_text(args, 0).map(parse_unit))
}

/// Refuses a constant unit of datediff that is unknown.
pub(super) fn check_begun(args: &[Option<&ScalarValue>], types: &[DataType]) -> Result<()> {
    match types.len() {
        3 => check_constant_unit("datediff", constant_text(args, 0).map(parse_unit)),
        _ => Ok(()),
    }
}

fn check_constant_unit<T>(function: &str, unit: Option<TimeResult<T>>) -> Result<()> {
    match unit {
        Some(Err(message)) => plan_err!("{function} always fails: {message}"),
        _ => Ok(()),
    }
}

/// Converts BigQuery's unit to that of date_trunc.
fn truncated_to(name: &str) -> TimeResult<Field> {
    match name.to_ascii_lowercase().as_str() {
        "week" => Err("'week' begins on Sunday elsewhere, and on Monday here: write isoweek".to_owned()),
        "isoweek" => truncation_unit("week"),
        _ => truncation_unit(name),
    }
}

macro_rules! cut {
    ($ty:ident) => {
        Overload {
            args: &[Ty::$ty, Ty::Text],
            out: Ty::$ty,
            eval: |args| {
                let swapped = [Arc::clone(&args[1]), Arc::clone(&args[0])];
                truncate_column(&swapped, Ty::$ty, truncated_to)
            },
        }
    };
}

/// timestamp_trunc.
pub(super) const TIMESTAMP_TRUNC: &[Overload] = &[cut!(Timestamp), cut!(Timestamptz)];

/// Refuses a constant unit of timestamp_trunc that is unknown.
pub(super) fn check_truncated(args: &[Option<&ScalarValue>], _: &[DataType]) -> Result<()> {
    check_constant_unit("timestamp_trunc", constant_text(args, 1).map(truncated_to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        schemas::types::time::parse_timestamp(text).unwrap()
    }

    #[test]
    fn whole_units_and_begun_ones() {
        let cases = [
            ("month", "2024-01-31", "2024-02-29", 0, 1),
            ("month", "2024-01-31", "2024-03-31", 2, 2),
            ("month", "2024-03-31", "2024-01-31", -2, -2),
            ("year", "2023-12-31", "2024-01-01", 0, 1),
            ("day", "2024-01-01T23:00:00", "2024-01-02T01:00:00", 0, 1),
            ("hours", "2024-01-01T00:59:59", "2024-01-01T01:00:00", 0, 1),
            ("week", "2024-01-07", "2024-01-08", 0, 1),
            ("quarter", "2024-03-31", "2024-04-01", 0, 1),
            ("second", "1970-01-01", "1969-12-31T23:59:59.5", 0, -1),
        ];
        for (name, a, b, expected, crossed) in cases {
            let unit = parse_unit(name).unwrap();
            assert_eq!(whole_units(unit, us(a), us(b)).unwrap(), expected, "{name} {a} {b}");
            assert_eq!(unit_boundaries(unit, us(a), us(b)).unwrap(), crossed, "{name} {a} {b}");
        }
        assert!(
            parse_unit("fortnight").is_err() && parse_unit("m").is_err() && truncated_to("week").is_err()
        );
    }
}
