//! Times from numbers and texts, and between time zones: make_date, to_timestamp, timezone and the like.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType as Tod, TimestampMicrosecondType as Us,
};
use datafusion_common::{DataFusionError, Result};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::{days_of_date, in_days, in_range, out_of_range, timestamp_at};
use super::read::{read_date, read_time, read_timestamptz, zone_of};
use super::udf::{
    ArgumentCheck, LastParsed, Overload, TimeResult, Ty, check_outcome, constant_text, map_column,
    map_columns, map_text, number_column, parse_column, test_column,
};
use super::zone::Zone;

/// make_date(year, month, day).
pub(super) const MAKE_DATE: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint],
    out: Ty::Date,
    eval: |args| map_numbers::<Date32Type>(args, 3, Ty::Date, |whole, _| in_days(date_from_numbers(whole)?)),
}];

/// make_time(hour, minute, second).
pub(super) const MAKE_TIME: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Time,
    eval: |args| {
        map_numbers::<Tod>(args, 2, Ty::Time, |whole, seconds| {
            time_from_numbers(whole, seconds)
                .ok()
                .filter(|us| *us < DAY_US)
                .ok_or_else(|| "time field value out of range".to_owned())
        })
    },
}];

/// make_timestamp(year, month, day, hour, minute, second).
pub(super) const MAKE_TIMESTAMP: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Timestamp,
    eval: |args| map_numbers::<Us>(args, 5, Ty::Timestamp, timestamp_from_numbers),
}];

/// make_timestamptz, with a zone or in UTC.
pub(super) const MAKE_TIMESTAMPTZ: &[Overload] = &[
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
        out: Ty::Timestamptz,
        eval: |args| map_numbers::<Us>(args, 5, Ty::Timestamptz, timestamp_from_numbers),
    },
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double, Ty::Text],
        out: Ty::Timestamptz,
        eval: |args| {
            let local = map_numbers::<Us>(&args[..6], 5, Ty::Timestamptz, timestamp_from_numbers)?;
            let mut zones = LastParsed::new(zone_of_offset);
            map_text::<Us, Us>(&[Arc::clone(&args[6]), local], Ty::Timestamptz, |zone, us| {
                zones.parse(zone)?.to_instant(us)
            })
        },
    },
];

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
    let us = fits.then(|| (hour * 3600 + minute * 60) * SECOND_US + us as i64);
    us.filter(|us| *us <= DAY_US).ok_or_else(|| "time field value out of range".to_owned())
}

fn timestamp_from_numbers(whole: &[i64], seconds: f64) -> TimeResult<i64> {
    timestamp_at(date_from_numbers(whole)?, time_from_numbers(&whole[3..], seconds)?)
}

/// Computes `f` of each row's `whole` integers and of the DOUBLE behind them, if there is one.
fn map_numbers<R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    whole: usize,
    out: Ty,
    f: impl Fn(&[i64], f64) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let columns = args[..whole].iter().map(number_column::<Int64Type>).collect::<Result<Vec<_>>>()?;
    let seconds = args.get(whole).map(number_column::<Float64Type>).transpose()?;
    let mut numbers = vec![0; whole];
    let made = (0..args[0].len()).map(|row| {
        if args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        for (number, column) in numbers.iter_mut().zip(&columns) {
            *number = column.value(row);
        }
        let seconds = seconds.map_or(0.0, |s| s.value(row));
        f(&numbers, seconds).map(Some).map_err(DataFusionError::Execution)
    });
    let made: PrimitiveArray<R> = made.collect::<Result<Vec<_>>>()?.into_iter().collect();
    Ok(Arc::new(made.with_data_type(out.arrow())))
}

/// timezone(zone, time), which implements `time AT TIME ZONE zone`.
pub(super) const TIMEZONE: &[Overload] = &[
    Overload {
        args: &[Ty::Text, Ty::Timestamptz],
        out: Ty::Timestamp,
        eval: |args| convert_zone(args, Ty::Timestamp, Zone::to_local),
    },
    Overload {
        args: &[Ty::Text, Ty::Timestamp],
        out: Ty::Timestamptz,
        eval: |args| convert_zone(args, Ty::Timestamptz, Zone::to_instant),
    },
    Overload {
        args: &[Ty::Text, Ty::Date],
        out: Ty::Timestamp,
        eval: |args| {
            let midnight =
                map_column::<Date32Type, Us>(&args[1], Ty::Timestamptz, |days| timestamp_at(days.into(), 0))?;
            convert_zone(&[Arc::clone(&args[0]), midnight], Ty::Timestamp, Zone::to_local)
        },
    },
    Overload {
        args: &[Ty::Interval, Ty::Timestamptz],
        out: Ty::Timestamp,
        eval: |args| {
            map_columns::<IntervalMonthDayNanoType, Us, Us>(args, Ty::Timestamp, |by, us| {
                fixed_zone(by)?.to_local(us)
            })
        },
    },
    Overload {
        args: &[Ty::Interval, Ty::Timestamp],
        out: Ty::Timestamptz,
        eval: |args| {
            map_columns::<IntervalMonthDayNanoType, Us, Us>(args, Ty::Timestamptz, |by, us| {
                fixed_zone(by)?.to_instant(us)
            })
        },
    },
];

/// Refuses a constant zone that is unknown.
pub(super) const CHECK_ZONE: ArgumentCheck =
    |args, _| constant_text(args, 0).map_or(Ok(()), |zone| check_outcome(Zone::find_by_name(zone)));

/// Returns the zone of a text in which a positive offset is east of Greenwich (ISO 8601), as it is behind a
/// time.
fn zone_of_offset(text: &str) -> TimeResult<Zone> {
    match text.trim().starts_with(|c: char| c.is_ascii_digit()) || text.trim().is_empty() {
        true => Err(format!("there is no time zone called '{text}': an offset begins with + or -")),
        false => zone_of(text.trim()),
    }
}

fn fixed_zone(by: arrow::datatypes::IntervalMonthDayNano) -> TimeResult<Zone> {
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
    Overload {
        args: &[Ty::Double],
        out: Ty::Timestamptz,
        eval: |args| map_column::<Float64Type, Us>(&args[0], Ty::Timestamptz, of_seconds),
    },
    Overload {
        args: &[Ty::Text],
        out: Ty::Timestamptz,
        eval: |args| parse_column::<Us>(&args[0], Ty::Timestamptz, read_timestamptz),
    },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Timestamptz, eval: super::pattern::scan::to_timestamp },
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
    Overload {
        args: &[Ty::Text],
        out: Ty::Date,
        eval: |args| parse_column::<Date32Type>(&args[0], Ty::Date, read_date),
    },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Date, eval: super::pattern::scan::to_date },
];

/// to_time of text.
pub(super) const TO_TIME: &[Overload] = &[Overload {
    args: &[Ty::Text],
    out: Ty::Time,
    eval: |args| parse_column::<Tod>(&args[0], Ty::Time, read_time),
}];

macro_rules! counted {
    ($name:ident, $scale:expr, $doc:literal) => {
        #[doc = $doc]
        pub(super) const $name: &[Overload] = &[Overload {
            args: &[Ty::Bigint],
            out: Ty::Timestamp,
            eval: |args| map_column::<Int64Type, Us>(&args[0], Ty::Timestamp, $scale),
        }];
    };
}

counted!(OF_SECONDS, |n: i64| in_range(n.checked_mul(SECOND_US)), "to_timestamp_seconds: a TIMESTAMP.");
counted!(OF_MILLIS, |n: i64| in_range(n.checked_mul(1000)), "to_timestamp_millis: a TIMESTAMP.");
counted!(OF_MICROS, |n: i64| in_range(Some(n)), "to_timestamp_micros: a TIMESTAMP.");
counted!(
    OF_NANOS,
    |n: i64| in_range(Some(n.div_euclid(1000))),
    "to_timestamp_nanos: a TIMESTAMP, cut to microseconds."
);

macro_rules! seconds_of {
    ($ty:ident) => {
        Overload {
            args: &[Ty::$ty],
            out: Ty::Bigint,
            eval: |args| map_column::<Us, Int64Type>(&args[0], Ty::Bigint, |us| Ok(us.div_euclid(SECOND_US))),
        }
    };
}

/// to_unixtime: whole seconds since 1970.
pub(super) const TO_UNIXTIME: &[Overload] = &[seconds_of!(Timestamp), seconds_of!(Timestamptz)];

macro_rules! finite {
    ($ty:ident, $arrow:ty) => {
        Overload {
            args: &[Ty::$ty],
            out: Ty::Boolean,
            eval: |args| test_column::<$arrow>(&args[0], |_| true),
        }
    };
}

/// isfinite, which is true for every time here.
pub(super) const ISFINITE: &[Overload] = &[
    finite!(Timestamp, Us),
    finite!(Timestamptz, Us),
    finite!(Date, Date32Type),
    finite!(Interval, IntervalMonthDayNanoType),
];
