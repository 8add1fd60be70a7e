//! Times from numbers and texts, and between zones: make_date, to_timestamp, timezone and the like.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion_common::{DataFusionError, Result};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::{at, date, in_days, in_range, out_of_range};
use super::read::{read_date, read_time, read_timestamptz, zone_of};
use super::udf::{
    Check, Last, Outcome, Overload, Ty, constant, map, map_text, map2, mistake, numbers, read, test, texts,
};
use super::zone::Zone;

type Us = TimestampMicrosecondType;
type Tod = Time64MicrosecondType;

/// make_date(year, month, day).
pub(super) const MAKE_DATE: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint],
    out: Ty::Date,
    eval: |args| rows::<Date32Type>(args, 3, Ty::Date, |whole, _| in_days(civil(whole)?)),
}];

/// make_time(hour, minute, second).
pub(super) const MAKE_TIME: &[Overload] = &[Overload {
    args: &[Ty::Bigint, Ty::Bigint, Ty::Double],
    out: Ty::Time,
    eval: |args| {
        rows::<Tod>(args, 2, Ty::Time, |whole, seconds| {
            time(whole, seconds)
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
    eval: |args| rows::<Us>(args, 5, Ty::Timestamp, moment),
}];

/// make_timestamptz, with a zone or in UTC.
pub(super) const MAKE_TIMESTAMPTZ: &[Overload] = &[
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double],
        out: Ty::Timestamptz,
        eval: |args| rows::<Us>(args, 5, Ty::Timestamptz, moment),
    },
    Overload {
        args: &[Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Bigint, Ty::Double, Ty::Text],
        out: Ty::Timestamptz,
        eval: |args| {
            let local = rows::<Us>(&args[..6], 5, Ty::Timestamptz, moment)?;
            let mut zones = Last::new(east);
            map_text::<Us, Us>(&[Arc::clone(&args[6]), local], Ty::Timestamptz, |zone, us| {
                zones.of(zone)?.instant(us)
            })
        },
    },
];

/// The year, month and day of numbers; a year below 0 is before Christ.
fn civil(whole: &[i64]) -> Outcome<i64> {
    match whole.first() {
        Some(0) | None => Err("date field value out of range: there is no year 0".to_owned()),
        Some(year) => date(if *year < 0 { year + 1 } else { *year }, whole[1], whole[2]),
    }
}

fn time(whole: &[i64], seconds: f64) -> Outcome<i64> {
    let us = (seconds * SECOND_US as f64).round_ties_even();
    let (hour, minute) = (whole[0], whole[1]);
    let fits = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=6e7).contains(&us);
    let us = fits.then(|| (hour * 3600 + minute * 60) * SECOND_US + us as i64);
    us.filter(|us| *us <= DAY_US).ok_or_else(|| "time field value out of range".to_owned())
}

fn moment(whole: &[i64], seconds: f64) -> Outcome<i64> {
    at(civil(whole)?, time(&whole[3..], seconds)?)
}

/// `f` of each row's whole numbers and its seconds, where there are any.
fn rows<R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    whole: usize,
    out: Ty,
    f: impl Fn(&[i64], f64) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let columns = args[..whole].iter().map(numbers::<Int64Type>).collect::<Result<Vec<_>>>()?;
    let seconds = args.get(whole).map(numbers::<Float64Type>).transpose()?;
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

/// timezone(zone, time), which `time AT TIME ZONE zone` is.
pub(super) const TIMEZONE: &[Overload] = &[
    Overload {
        args: &[Ty::Text, Ty::Timestamptz],
        out: Ty::Timestamp,
        eval: |args| zoned(args, Ty::Timestamp, Zone::local),
    },
    Overload {
        args: &[Ty::Text, Ty::Timestamp],
        out: Ty::Timestamptz,
        eval: |args| zoned(args, Ty::Timestamptz, Zone::instant),
    },
    Overload {
        args: &[Ty::Text, Ty::Date],
        out: Ty::Timestamp,
        eval: |args| {
            let midnight = map::<Date32Type, Us>(&args[1], Ty::Timestamptz, |days| at(days.into(), 0))?;
            zoned(&[Arc::clone(&args[0]), midnight], Ty::Timestamp, Zone::local)
        },
    },
    Overload {
        args: &[Ty::Interval, Ty::Timestamptz],
        out: Ty::Timestamp,
        eval: |args| {
            map2::<IntervalMonthDayNanoType, Us, Us>(args, Ty::Timestamp, |by, us| fixed(by)?.local(us))
        },
    },
    Overload {
        args: &[Ty::Interval, Ty::Timestamp],
        out: Ty::Timestamptz,
        eval: |args| {
            map2::<IntervalMonthDayNanoType, Us, Us>(args, Ty::Timestamptz, |by, us| fixed(by)?.instant(us))
        },
    },
];

/// A constant zone that is unknown is a mistake.
pub(super) const CHECK_ZONE: Check =
    |args, _| constant(args, 0).map_or(Ok(()), |zone| mistake(Zone::named(zone)));

/// The zone of a text whose offset is ISO's, as it is behind a time.
fn east(text: &str) -> Outcome<Zone> {
    match text.trim().starts_with(|c: char| c.is_ascii_digit()) || text.trim().is_empty() {
        true => Err(format!("there is no time zone called '{text}': an offset begins with + or -")),
        false => zone_of(text.trim()),
    }
}

fn fixed(by: arrow::datatypes::IntervalMonthDayNano) -> Outcome<Zone> {
    let by = Span::from(by);
    if by.months != 0 || by.days != 0 {
        return Err("an interval that is a time zone has no months or days".to_owned());
    }
    Ok(Zone::Fixed(by.us))
}

fn zoned(args: &[ArrayRef], out: Ty, by: fn(&Zone, i64) -> Outcome<i64>) -> Result<ArrayRef> {
    let mut zones = Last::new(Zone::named);
    map_text::<Us, Us>(args, out, |zone, us| by(zones.of(zone)?, us))
}

/// to_timestamp(seconds), and of text by ISO-8601 or a pattern.
pub(super) const TO_TIMESTAMP: &[Overload] = &[
    Overload {
        args: &[Ty::Double],
        out: Ty::Timestamptz,
        eval: |args| map::<Float64Type, Us>(&args[0], Ty::Timestamptz, of_seconds),
    },
    Overload {
        args: &[Ty::Text],
        out: Ty::Timestamptz,
        eval: |args| read::<Us>(&args[0], Ty::Timestamptz, read_timestamptz),
    },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Timestamptz, eval: super::scan::to_timestamp },
];

/// Seconds since 1970, rounded as PostgreSQL does: counted from 2000.
fn of_seconds(seconds: f64) -> Outcome<i64> {
    const MILLENNIUM: f64 = 946_684_800.0;
    let us = ((seconds - MILLENNIUM) * 1e6).round_ties_even();
    if us.is_nan() || us.abs() > 9.2e18 {
        return Err(out_of_range());
    }
    in_range((us as i64).checked_add(MILLENNIUM as i64 * SECOND_US))
}

/// to_date of text by ISO-8601 or a pattern.
pub(super) const TO_DATE: &[Overload] = &[
    Overload {
        args: &[Ty::Text],
        out: Ty::Date,
        eval: |args| read::<Date32Type>(&args[0], Ty::Date, read_date),
    },
    Overload { args: &[Ty::Text, Ty::Text], out: Ty::Date, eval: super::scan::to_date },
];

/// to_time of text.
pub(super) const TO_TIME: &[Overload] =
    &[Overload { args: &[Ty::Text], out: Ty::Time, eval: |args| read::<Tod>(&args[0], Ty::Time, read_time) }];

macro_rules! counted {
    ($name:ident, $scale:expr, $doc:literal) => {
        #[doc = $doc]
        pub(super) const $name: &[Overload] = &[Overload {
            args: &[Ty::Bigint],
            out: Ty::Timestamp,
            eval: |args| map::<Int64Type, Us>(&args[0], Ty::Timestamp, $scale),
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
            eval: |args| map::<Us, Int64Type>(&args[0], Ty::Bigint, |us| Ok(us.div_euclid(SECOND_US))),
        }
    };
}

/// to_unixtime: whole seconds since 1970.
pub(super) const TO_UNIXTIME: &[Overload] = &[seconds_of!(Timestamp), seconds_of!(Timestamptz)];

macro_rules! finite {
    ($ty:ident, $arrow:ty) => {
        Overload { args: &[Ty::$ty], out: Ty::Boolean, eval: |args| test::<$arrow>(&args[0], |_| true) }
    };
}

/// isfinite, which every time here is.
pub(super) const ISFINITE: &[Overload] = &[
    finite!(Timestamp, Us),
    finite!(Timestamptz, Us),
    finite!(Date, Date32Type),
    finite!(Interval, IntervalMonthDayNanoType),
];

/// A value of every pair of texts.
pub(super) fn pairs<R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    mut f: impl FnMut(&str, &str) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let pairs = texts(&args[0])?.iter().zip(texts(&args[1])?.iter()).map(|pair| match pair {
        (Some(a), Some(b)) => f(a, b).map(Some).map_err(DataFusionError::Execution),
        _ => Ok(None),
    });
    let values: PrimitiveArray<R> = pairs.collect::<Result<Vec<_>>>()?.into_iter().collect();
    Ok(Arc::new(values.with_data_type(out.arrow())))
}
