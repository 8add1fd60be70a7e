//! date_trunc and date_bin.
//!
//! A DATE is truncated as its midnight in UTC and gives TIMESTAMPTZ, as in PostgreSQL, whose session
//! zone is UTC here. With a zone as its third argument date_trunc truncates the local time there.

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, Date32Type, IntervalMonthDayNanoType, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US, days_of_civil};

use super::calendar::{Moment, at, in_range};
use super::part::{Field, field};
use super::udf::{Check, Last, Outcome, Overload, Ty, constant, map_text, map2, mistake, numbers, texts};
use super::zone::Zone;

type Us = TimestampMicrosecondType;

/// A unit that times are truncated to.
pub(super) fn unit(name: &str) -> Outcome<Field> {
    let known = field(name).ok().filter(|field| {
        !matches!(
            field,
            Field::Dow
                | Field::Isodow
                | Field::Doy
                | Field::Isoyear
                | Field::Epoch
                | Field::Julian
                | Field::Zone
                | Field::ZoneHour
                | Field::ZoneMinute
        )
    });
    known.ok_or_else(|| {
        format!(
            "date_trunc does not know '{name}': write second, minute, hour, day, week, month, quarter, year, decade or century"
        )
    })
}

/// The start of the unit that an instant is in.
pub(super) fn truncate(unit: Field, us: i64) -> Outcome<i64> {
    let of = Moment::of(us);
    let year = of.year;
    let first = |year: i64| at(days_of_civil(year, 1, 1), 0);
    let floor = |size: i64| in_range(us.checked_sub(us.rem_euclid(size)));
    match unit {
        Field::Milliseconds => floor(1000),
        Field::Second => floor(SECOND_US),
        Field::Minute => floor(60 * SECOND_US),
        Field::Hour => floor(3600 * SECOND_US),
        Field::Day => at(of.days, 0),
        Field::Week => at(of.days - of.iso_weekday() + 1, 0),
        Field::Month => at(days_of_civil(year, of.month, 1), 0),
        Field::Quarter => at(days_of_civil(year, (of.month - 1) / 3 * 3 + 1, 1), 0),
        Field::Year => first(year),
        Field::Decade => first(year.div_euclid(10) * 10),
        Field::Century => first((year - 1).div_euclid(100) * 100 + 1),
        Field::Millennium => first((year - 1).div_euclid(1000) * 1000 + 1),
        _ => Ok(us),
    }
}

/// The same of the local time in a zone.
fn truncate_in(unit: Field, us: i64, zone: &Zone) -> Outcome<i64> {
    let local = zone.local(us)?;
    let cut = truncate(unit, local)?;
    match unit {
        // Within an hour of no change of clocks the offset stays.
        Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour => {
            in_range(cut.checked_sub(local - us))
        }
        _ => zone.instant(cut),
    }
}

/// The whole units of an interval.
fn truncate_interval(unit: Field, of: Span) -> Outcome<Span> {
    let months = |size: i32| Span { months: of.months / size * size, days: 0, us: 0 };
    let time = |size: i64| Span { us: of.us / size * size, ..of };
    Ok(match unit {
        Field::Microseconds => of,
        Field::Milliseconds => time(1000),
        Field::Second => time(SECOND_US),
        Field::Minute => time(60 * SECOND_US),
        Field::Hour => time(3600 * SECOND_US),
        Field::Day => Span { us: 0, ..of },
        Field::Month => months(1),
        Field::Quarter => months(3),
        Field::Year => months(12),
        Field::Decade => months(120),
        Field::Century => months(1200),
        Field::Millennium => months(12_000),
        _ => return Err("an INTERVAL has no weeks that it could be truncated to".to_owned()),
    })
}

macro_rules! trunc {
    ($ty:ident, $out:ident) => {
        Overload {
            args: &[Ty::Text, Ty::$ty],
            out: Ty::$out,
            eval: |args| {
                let mut units = Last::new(unit);
                map_text::<Us, Us>(args, Ty::$out, |name, us| truncate(*units.of(name)?, us))
            },
        }
    };
}

/// date_trunc.
pub(super) const DATE_TRUNC: &[Overload] = &[
    trunc!(Timestamp, Timestamp),
    trunc!(Timestamptz, Timestamptz),
    Overload {
        args: &[Ty::Text, Ty::Date],
        out: Ty::Timestamptz,
        eval: |args| {
            let mut units = Last::new(unit);
            map_text::<Date32Type, Us>(args, Ty::Timestamptz, |name, days| {
                truncate(*units.of(name)?, at(i64::from(days), 0)?)
            })
        },
    },
    Overload {
        args: &[Ty::Text, Ty::Interval],
        out: Ty::Interval,
        eval: |args| {
            let mut units = Last::new(unit);
            map_text::<IntervalMonthDayNanoType, IntervalMonthDayNanoType>(args, Ty::Interval, |name, of| {
                super::span::arrow(Some(truncate_interval(*units.of(name)?, Span::from(of))?))
            })
        },
    },
    Overload { args: &[Ty::Text, Ty::Timestamptz, Ty::Text], out: Ty::Timestamptz, eval: in_zone },
];

fn in_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (mut units, mut zones) = (Last::new(unit), Last::new(Zone::named));
    let rows = texts(&args[0])?.iter().zip(numbers::<Us>(&args[1])?.iter()).zip(texts(&args[2])?.iter());
    let cut = rows.map(|row| match row {
        ((Some(name), Some(us)), Some(zone)) => {
            let cut = units.of(name).copied().and_then(|unit| truncate_in(unit, us, zones.of(zone)?));
            cut.map(Some).map_err(DataFusionError::Execution)
        }
        _ => Ok(None),
    });
    let cut: PrimitiveArray<Us> = cut.collect::<Result<Vec<Option<i64>>>>()?.into_iter().collect();
    Ok(std::sync::Arc::new(cut.with_data_type(args[1].data_type().clone())))
}

/// A constant unit or zone that is unknown is a mistake.
pub(super) const CHECK_TRUNC: Check = |args, types| {
    if let Some(name) = constant(args, 0) {
        let known = unit(name);
        let of_interval = matches!(types.get(1), Some(DataType::Interval(_)));
        mistake(known.and_then(|u| {
            if of_interval { truncate_interval(u, Span::default()).map(|_| ()) } else { Ok(()) }
        }))?;
    }
    constant(args, 2).map_or(Ok(()), |zone| mistake(Zone::named(zone)))
};

/// The microseconds of a bin.
fn stride(of: Span) -> Outcome<i64> {
    if of.months != 0 {
        return Err("date_bin takes no months or years, which differ in length: write date_trunc".to_owned());
    }
    let us = i64::from(of.days).checked_mul(DAY_US).and_then(|days| days.checked_add(of.us));
    us.filter(|us| *us > 0).ok_or_else(|| "date_bin needs a length above 0".to_owned())
}

/// The start of the bin that an instant is in, bins beginning at an origin.
fn bin(stride: i64, us: i64, origin: i64) -> Outcome<i64> {
    let distance = us.checked_sub(origin).ok_or_else(super::calendar::out_of_range)?;
    in_range(us.checked_sub(distance.rem_euclid(stride)))
}

macro_rules! binned {
    ($ty:ident, $out:ident, $arrow:ty, $at:expr) => {
        Overload {
            args: &[Ty::Interval, Ty::$ty],
            out: Ty::$out,
            eval: |args| {
                map2::<IntervalMonthDayNanoType, $arrow, Us>(args, Ty::$out, |by, of| {
                    bin(stride(Span::from(by))?, $at(of)?, 0)
                })
            },
        }
    };
}

macro_rules! binned_from {
    ($ty:ident) => {
        Overload { args: &[Ty::Interval, Ty::$ty, Ty::$ty], out: Ty::$ty, eval: binned_from }
    };
}

/// date_bin; without an origin bins begin at 1970-01-01.
pub(super) const DATE_BIN: &[Overload] = &[
    binned!(Timestamp, Timestamp, Us, Outcome::Ok),
    binned!(Timestamptz, Timestamptz, Us, Outcome::Ok),
    binned!(Date, Timestamptz, Date32Type, |days| at(i64::from(days), 0)),
    binned_from!(Timestamp),
    binned_from!(Timestamptz),
];

fn binned_from(args: &[ArrayRef]) -> Result<ArrayRef> {
    let strides = numbers::<IntervalMonthDayNanoType>(&args[0])?.iter();
    let rows = strides.zip(numbers::<Us>(&args[1])?.iter()).zip(numbers::<Us>(&args[2])?.iter());
    let cut = rows.map(|row| match row {
        ((Some(by), Some(us)), Some(origin)) => stride(Span::from(by))
            .and_then(|stride| bin(stride, us, origin))
            .map(Some)
            .map_err(DataFusionError::Execution),
        _ => Ok(None),
    });
    let cut: PrimitiveArray<Us> = cut.collect::<Result<Vec<Option<i64>>>>()?.into_iter().collect();
    Ok(std::sync::Arc::new(cut.with_data_type(args[1].data_type().clone())))
}

/// A constant length that no bin can have is a mistake.
pub(super) const CHECK_BIN: Check = |args, _| match args.first().copied().flatten() {
    Some(ScalarValue::IntervalMonthDayNano(Some(by))) => mistake(stride(Span::from(*by))),
    _ => Ok(()),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_begin_where_postgresql_begins_them() {
        let at = |text: &str| schemas::types::time::parse_timestamp(text).unwrap();
        let us = at("2001-02-16T20:38:40.123456");
        for (name, start) in [
            ("milliseconds", "2001-02-16T20:38:40.123"),
            ("hour", "2001-02-16T20:00"),
            ("week", "2001-02-12"),
            ("quarter", "2001-01-01"),
            ("decade", "2000-01-01"),
            ("century", "2001-01-01"),
            ("millennium", "2001-01-01"),
        ] {
            assert_eq!(truncate(unit(name).unwrap(), us), Ok(at(start)), "{name}");
        }
        assert_eq!(truncate(Field::Day, at("9999-12-31T23:59:59")), Ok(at("9999-12-31")));
        let new_york = Zone::named("America/New_York").unwrap();
        assert_eq!(truncate_in(Field::Day, us, &new_york), Ok(at("2001-02-16T05:00")));
        assert_eq!(bin(3_600_000_000, at("0001-01-01T00:59:59"), 0), Ok(at("0001-01-01")));
        assert_eq!(
            bin(900_000_000, at("2020-02-11T15:44:17"), at("2001-01-01T00:02:30")),
            Ok(at("2020-02-11T15:32:30"))
        );
        assert!(unit("dow").is_err() && stride(Span { months: 1, days: 0, us: 0 }).is_err());
    }
}
