//! Distances in units and truncation, as other dialects call them: timestampdiff, datediff, timestamp_trunc.
//!
//! `timestampdiff(unit, a, b)` counts the whole units from a to b, as MySQL and Flink do;
//! `datediff(unit, a, b)` counts how often a unit begins between the two, as DuckDB and Snowflake do, and
//! `datediff(b, a)` the days, as MySQL and Spark do. A unit is a word or a text.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, plan_err};
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::Moment;
use super::trunc::{truncate, unit as truncating};
use super::udf::{Check, Last, Outcome, Overload, Ty, constant, map2, numbers, texts};

type Us = TimestampMicrosecondType;

/// A unit that distances are counted in.
#[derive(Clone, Copy)]
enum Unit {
    /// So many microseconds.
    Time(i64),
    /// Seven days, from Monday on.
    Week,
    /// So many months.
    Months(i64),
}

fn unit(name: &str) -> Outcome<Unit> {
    let lower = name.to_ascii_lowercase();
    let one = lower.strip_suffix('s').unwrap_or(&lower);
    Ok(match one {
        "microsecond" => Unit::Time(1),
        "millisecond" => Unit::Time(1000),
        "second" => Unit::Time(SECOND_US),
        "minute" => Unit::Time(60 * SECOND_US),
        "hour" => Unit::Time(3600 * SECOND_US),
        "day" => Unit::Time(DAY_US),
        "week" => Unit::Week,
        "month" => Unit::Months(1),
        "quarter" => Unit::Months(3),
        "year" => Unit::Months(12),
        _ => {
            return Err(format!(
                "'{name}' is no unit: write microsecond, millisecond, second, minute, hour, day, week, month, quarter or year"
            ));
        }
    })
}

/// The whole units from `a` to `b`.
fn whole(unit: Unit, a: i64, b: i64) -> Outcome<i64> {
    let between = b.checked_sub(a).ok_or("the times are too far apart")?;
    Ok(match unit {
        Unit::Time(size) => between / size,
        Unit::Week => between / (7 * DAY_US),
        Unit::Months(size) => {
            let (early, late) = (Moment::of(a.min(b)), Moment::of(a.max(b)));
            let months = month(&late) - month(&early);
            let short = (late.day, late.us) < (early.day, early.us);
            (months - i64::from(short)) / size * between.signum()
        }
    })
}

/// Months since the year 0.
fn month(of: &Moment) -> i64 {
    of.year * 12 + i64::from(of.month) - 1
}

/// Number of times that a unit begins between `a` and `b`.
fn begun(unit: Unit, a: i64, b: i64) -> Outcome<i64> {
    let number = |us: i64| match unit {
        Unit::Time(size) => us.div_euclid(size),
        // 1970 began on a Thursday.
        Unit::Week => (us.div_euclid(DAY_US) + 3).div_euclid(7),
        Unit::Months(size) => month(&Moment::of(us)).div_euclid(size),
    };
    Ok(number(b) - number(a))
}

fn between(args: &[ArrayRef], count: fn(Unit, i64, i64) -> Outcome<i64>) -> Result<ArrayRef> {
    let mut units = Last::new(unit);
    let (a, b) = (numbers::<Us>(&args[1])?, numbers::<Us>(&args[2])?);
    let rows = texts(&args[0])?.iter().zip(a.iter().zip(b.iter())).map(|row| match row {
        (Some(name), (Some(a), Some(b))) => units
            .of(name)
            .copied()
            .and_then(|unit| count(unit, a, b))
            .map(Some)
            .map_err(DataFusionError::Execution),
        _ => Ok(None),
    });
    let rows: PrimitiveArray<Int64Type> = rows.collect::<Result<Vec<_>>>()?.into_iter().collect();
    Ok(Arc::new(rows))
}

macro_rules! apart {
    ($ty:ident, $count:expr) => {
        Overload { args: &[Ty::Text, Ty::$ty, Ty::$ty], out: Ty::Bigint, eval: |args| between(args, $count) }
    };
}

macro_rules! days {
    ($ty:ident, $arrow:ty, $day:expr) => {
        Overload {
            args: &[Ty::$ty, Ty::$ty],
            out: Ty::Int,
            eval: |args| {
                map2::<$arrow, $arrow, Int32Type>(args, Ty::Int, |b, a| {
                    i32::try_from($day(b) - $day(a)).map_err(|_| "the dates are too far apart".to_owned())
                })
            },
        }
    };
}

/// timestampdiff.
pub(super) const TIMESTAMPDIFF: &[Overload] = &[apart!(Timestamp, whole), apart!(Timestamptz, whole)];

/// datediff.
pub(super) const DATEDIFF: &[Overload] = &[
    apart!(Timestamp, begun),
    apart!(Timestamptz, begun),
    days!(Date, Date32Type, i64::from),
    days!(Timestamp, Us, |us: i64| us.div_euclid(DAY_US)),
    days!(Timestamptz, Us, |us: i64| us.div_euclid(DAY_US)),
];

/// A constant unit that is unknown is a mistake.
pub(super) const CHECK_WHOLE: Check = |args, _| known("timestampdiff", constant(args, 0).map(unit));

/// The same for datediff.
pub(super) const CHECK_BEGUN: Check = |args, types| match types.len() {
    3 => known("datediff", constant(args, 0).map(unit)),
    _ => Ok(()),
};

fn known<T>(function: &str, unit: Option<Outcome<T>>) -> Result<()> {
    match unit {
        Some(Err(message)) => plan_err!("{function} always fails: {message}"),
        _ => Ok(()),
    }
}

/// BigQuery's unit as that of date_trunc.
fn truncated_to(name: &str) -> Outcome<super::part::Field> {
    match name.to_ascii_lowercase().as_str() {
        "week" => Err("'week' begins on Sunday elsewhere, and on Monday here: write isoweek".to_owned()),
        "isoweek" => truncating("week"),
        _ => truncating(name),
    }
}

macro_rules! cut {
    ($ty:ident) => {
        Overload {
            args: &[Ty::$ty, Ty::Text],
            out: Ty::$ty,
            eval: |args| {
                let mut units = Last::new(truncated_to);
                let swapped = [Arc::clone(&args[1]), Arc::clone(&args[0])];
                super::udf::map_text::<Us, Us>(&swapped, Ty::$ty, |name, us| truncate(*units.of(name)?, us))
            },
        }
    };
}

/// timestamp_trunc.
pub(super) const TIMESTAMP_TRUNC: &[Overload] = &[cut!(Timestamp), cut!(Timestamptz)];

/// The same for timestamp_trunc.
pub(super) const CHECK_TRUNCATED: Check =
    |args, _| known("timestamp_trunc", constant(args, 1).map(truncated_to));

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
            let unit = unit(name).unwrap();
            assert_eq!(whole(unit, us(a), us(b)).unwrap(), expected, "{name} {a} {b}");
            assert_eq!(begun(unit, us(a), us(b)).unwrap(), crossed, "{name} {a} {b}");
        }
        assert!(unit("fortnight").is_err() && unit("m").is_err() && truncated_to("week").is_err());
    }
}
