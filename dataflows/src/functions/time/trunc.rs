//! date_trunc and date_bin.
//!
//! A DATE is truncated as its midnight in UTC and gives TIMESTAMPTZ, as in PostgreSQL with session zone UTC.
//! With a zone as its third argument date_trunc truncates the local time of that zone.

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, Date32Type, IntervalMonthDayNanoType, TimestampMicrosecondType as Us};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US, days_of_civil};

use super::calendar::{Moment, in_range, timestamp_at};
use super::part::{Field, parse_field};
use super::udf::{
    ArgumentCheck, LastParsed, Overload, TimeResult, Ty, check_outcome, constant_text, map_columns, map_text,
    number_column, text_column,
};
use super::zone::Zone;

/// Parses a unit that times are truncated to.
pub(super) fn truncation_unit(name: &str) -> TimeResult<Field> {
    let known = parse_field(name).ok().filter(|field| {
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

/// Returns the start of the unit that an instant is in.
pub(super) fn truncate_timestamp(unit: Field, us: i64) -> TimeResult<i64> {
    let of = Moment::from_us(us);
    let year = of.year;
    let first = |year: i64| timestamp_at(days_of_civil(year, 1, 1), 0);
    let floor = |size: i64| in_range(us.checked_sub(us.rem_euclid(size)));
    match unit {
        Field::Milliseconds => floor(1000),
        Field::Second => floor(SECOND_US),
        Field::Minute => floor(60 * SECOND_US),
        Field::Hour => floor(3600 * SECOND_US),
        Field::Day => timestamp_at(of.days, 0),
        Field::Week => timestamp_at(of.days - of.iso_weekday() + 1, 0),
        Field::Month => timestamp_at(days_of_civil(year, of.month, 1), 0),
        Field::Quarter => timestamp_at(days_of_civil(year, (of.month - 1) / 3 * 3 + 1, 1), 0),
        Field::Year => first(year),
        Field::Decade => first(year.div_euclid(10) * 10),
        Field::Century => first((year - 1).div_euclid(100) * 100 + 1),
        Field::Millennium => first((year - 1).div_euclid(1000) * 1000 + 1),
        _ => Ok(us),
    }
}

/// Returns the start of the unit in the local time of a zone.
fn truncate_in(unit: Field, us: i64, zone: &Zone) -> TimeResult<i64> {
    let local = zone.to_local(us)?;
    let cut = truncate_timestamp(unit, local)?;
    match unit {
        // Units up to an hour keep the offset of the instant.
        Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour => {
            in_range(cut.checked_sub(local - us))
        }
        _ => zone.to_instant(cut),
    }
}

/// Returns an interval without its parts below the unit.
fn truncate_interval(unit: Field, of: Span) -> TimeResult<Span> {
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
                let mut units = LastParsed::new(truncation_unit);
                map_text::<Us, Us>(args, Ty::$out, |name, us| truncate_timestamp(*units.parse(name)?, us))
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
            let mut units = LastParsed::new(truncation_unit);
            map_text::<Date32Type, Us>(args, Ty::Timestamptz, |name, days| {
                truncate_timestamp(*units.parse(name)?, timestamp_at(i64::from(days), 0)?)
            })
        },
    },
    Overload {
        args: &[Ty::Text, Ty::Interval],
        out: Ty::Interval,
        eval: |args| {
            let mut units = LastParsed::new(truncation_unit);
            map_text::<IntervalMonthDayNanoType, IntervalMonthDayNanoType>(args, Ty::Interval, |name, of| {
                super::span::to_arrow_interval(Some(truncate_interval(*units.parse(name)?, Span::from(of))?))
            })
        },
    },
    Overload { args: &[Ty::Text, Ty::Timestamptz, Ty::Text], out: Ty::Timestamptz, eval: in_zone },
];

fn in_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (mut units, mut zones) = (LastParsed::new(truncation_unit), LastParsed::new(Zone::find_by_name));
    let rows = text_column(&args[0])?
        .iter()
        .zip(number_column::<Us>(&args[1])?.iter())
        .zip(text_column(&args[2])?.iter());
    let cut = rows.map(|row| match row {
        ((Some(name), Some(us)), Some(zone)) => {
            let cut = units.parse(name).copied().and_then(|unit| truncate_in(unit, us, zones.parse(zone)?));
            cut.map(Some).map_err(DataFusionError::Execution)
        }
        _ => Ok(None),
    });
    let cut: PrimitiveArray<Us> = cut.collect::<Result<Vec<Option<i64>>>>()?.into_iter().collect();
    Ok(std::sync::Arc::new(cut.with_data_type(args[1].data_type().clone())))
}

/// Refuses a constant unit or zone that is unknown.
pub(super) const CHECK_TRUNC: ArgumentCheck = |args, types| {
    if let Some(name) = constant_text(args, 0) {
        let known = truncation_unit(name);
        let of_interval = matches!(types.get(1), Some(DataType::Interval(_)));
        check_outcome(known.and_then(|u| {
            if of_interval { truncate_interval(u, Span::default()).map(|_| ()) } else { Ok(()) }
        }))?;
    }
    constant_text(args, 2).map_or(Ok(()), |zone| check_outcome(Zone::find_by_name(zone)))
};

/// Returns the length of a bin in microseconds.
fn bin_length(of: Span) -> TimeResult<i64> {
    if of.months != 0 {
        return Err("date_bin takes no months or years, which differ in length: write date_trunc".to_owned());
    }
    let us = i64::from(of.days).checked_mul(DAY_US).and_then(|days| days.checked_add(of.us));
    us.filter(|us| *us > 0).ok_or_else(|| "date_bin needs a length above 0".to_owned())
}

/// Returns the start of the bin that an instant is in; one bin begins at `origin`.
fn bin_start(stride: i64, us: i64, origin: i64) -> TimeResult<i64> {
    let distance = us.checked_sub(origin).ok_or_else(super::calendar::out_of_range)?;
    in_range(us.checked_sub(distance.rem_euclid(stride)))
}

macro_rules! binned {
    ($ty:ident, $out:ident, $arrow:ty, $at:expr) => {
        Overload {
            args: &[Ty::Interval, Ty::$ty],
            out: Ty::$out,
            eval: |args| {
                map_columns::<IntervalMonthDayNanoType, $arrow, Us>(args, Ty::$out, |by, of| {
                    bin_start(bin_length(Span::from(by))?, $at(of)?, 0)
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

/// date_bin; without an origin a bin begins at 1970-01-01.
pub(super) const DATE_BIN: &[Overload] = &[
    binned!(Timestamp, Timestamp, Us, TimeResult::Ok),
    binned!(Timestamptz, Timestamptz, Us, TimeResult::Ok),
    binned!(Date, Timestamptz, Date32Type, |days| timestamp_at(i64::from(days), 0)),
    binned_from!(Timestamp),
    binned_from!(Timestamptz),
];

fn binned_from(args: &[ArrayRef]) -> Result<ArrayRef> {
    let strides = number_column::<IntervalMonthDayNanoType>(&args[0])?.iter();
    let rows = strides.zip(number_column::<Us>(&args[1])?.iter()).zip(number_column::<Us>(&args[2])?.iter());
    let cut = rows.map(|row| match row {
        ((Some(by), Some(us)), Some(origin)) => bin_length(Span::from(by))
            .and_then(|stride| bin_start(stride, us, origin))
            .map(Some)
            .map_err(DataFusionError::Execution),
        _ => Ok(None),
    });
    let cut: PrimitiveArray<Us> = cut.collect::<Result<Vec<Option<i64>>>>()?.into_iter().collect();
    Ok(std::sync::Arc::new(cut.with_data_type(args[1].data_type().clone())))
}

/// Refuses a constant interval that cannot be the length of a bin.
pub(super) const CHECK_BIN: ArgumentCheck = |args, _| match args.first().copied().flatten() {
    Some(ScalarValue::IntervalMonthDayNano(Some(by))) => check_outcome(bin_length(Span::from(*by))),
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
            assert_eq!(truncate_timestamp(truncation_unit(name).unwrap(), us), Ok(at(start)), "{name}");
        }
        assert_eq!(truncate_timestamp(Field::Day, at("9999-12-31T23:59:59")), Ok(at("9999-12-31")));
        let new_york = Zone::find_by_name("America/New_York").unwrap();
        assert_eq!(truncate_in(Field::Day, us, &new_york), Ok(at("2001-02-16T05:00")));
        assert_eq!(bin_start(3_600_000_000, at("0001-01-01T00:59:59"), 0), Ok(at("0001-01-01")));
        assert_eq!(
            bin_start(900_000_000, at("2020-02-11T15:44:17"), at("2001-01-01T00:02:30")),
            Ok(at("2020-02-11T15:32:30"))
        );
        assert!(truncation_unit("dow").is_err() && bin_length(Span { months: 1, days: 0, us: 0 }).is_err());
    }
}
