//! date_trunc and date_bin.
//!
//! A DATE is truncated as its midnight in UTC and gives TIMESTAMPTZ, as in PostgreSQL with session zone UTC.
//! With a zone as its third argument date_trunc truncates the local time of that zone.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType as Mdn,
    TimestampMicrosecondType as Us,
};
use datafusion_common::{Result, ScalarValue};
use schemas::types::span::Span;
use schemas::types::time::{SECOND_US, days_of_civil};

use super::calendar::{Moment, in_range, midnight_of, out_of_range, timestamp_at, us_of_days};
use super::part::{Field, parse_field};
use super::span::to_arrow_interval;
use super::udf::{
    LastParsed, Overload, TimeResult, Ty, binary, check_outcome, constant_text, map_text, map_triples,
    number_column, text_column,
};
use super::zone::{Zone, check_constant_zone};

/// Parses a unit that times are truncated to.
pub(super) fn truncation_unit(name: &str) -> TimeResult<Field> {
    match parse_field(name) {
        Err(_)
        | Ok(
            Field::Dow
            | Field::Isodow
            | Field::Doy
            | Field::Isoyear
            | Field::Epoch
            | Field::Julian
            | Field::Zone
            | Field::ZoneHour
            | Field::ZoneMinute,
        ) => Err(format!(
            "date_trunc does not know '{name}': write second, minute, hour, day, week, month, quarter, year, decade or century"
        )),
        known => known,
    }
}

/// Returns the start of the unit that an instant is in.
pub(super) fn truncate_timestamp(unit: Field, us: i64) -> TimeResult<i64> {
    let of = Moment::from_us(us);
    let year = of.year;
    match unit {
        Field::Milliseconds => floor_to(1000, us),
        Field::Second => floor_to(SECOND_US, us),
        Field::Minute => floor_to(60 * SECOND_US, us),
        Field::Hour => floor_to(3600 * SECOND_US, us),
        Field::Day => timestamp_at(of.days, 0),
        Field::Week => timestamp_at(of.days - of.iso_weekday() + 1, 0),
        Field::Month => timestamp_at(days_of_civil(year, of.month, 1), 0),
        Field::Quarter => timestamp_at(days_of_civil(year, (of.month - 1) / 3 * 3 + 1, 1), 0),
        Field::Year => year_start(year),
        Field::Decade => year_start(year.div_euclid(10) * 10),
        Field::Century => year_start((year - 1).div_euclid(100) * 100 + 1),
        Field::Millennium => year_start((year - 1).div_euclid(1000) * 1000 + 1),
        _ => Ok(us),
    }
}

/// Returns the last multiple of `size` that is not after `us`.
fn floor_to(size: i64, us: i64) -> TimeResult<i64> {
    in_range(us.checked_sub(us.rem_euclid(size)))
}

fn year_start(year: i64) -> TimeResult<i64> {
    timestamp_at(days_of_civil(year, 1, 1), 0)
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
    Ok(match unit {
        Field::Microseconds => of,
        Field::Milliseconds => whole_time(1000, of),
        Field::Second => whole_time(SECOND_US, of),
        Field::Minute => whole_time(60 * SECOND_US, of),
        Field::Hour => whole_time(3600 * SECOND_US, of),
        Field::Day => Span { us: 0, ..of },
        Field::Month => whole_months(1, of),
        Field::Quarter => whole_months(3, of),
        Field::Year => whole_months(12, of),
        Field::Decade => whole_months(120, of),
        Field::Century => whole_months(1200, of),
        Field::Millennium => whole_months(12_000, of),
        _ => return Err("an INTERVAL has no weeks that it could be truncated to".to_owned()),
    })
}

/// Returns an interval with its time cut to a multiple of `size` microseconds.
fn whole_time(size: i64, of: Span) -> Span {
    Span { us: of.us / size * size, ..of }
}

/// Returns the months of an interval, cut to a multiple of `size`.
fn whole_months(size: i32, of: Span) -> Span {
    Span { months: of.months / size * size, days: 0, us: 0 }
}

macro_rules! trunc {
    ($ty:ident, $out:ident) => {
        Overload {
            args: &[Ty::Text, Ty::$ty],
            out: Ty::$out,
            eval: |args| truncate_column(args, Ty::$out, truncation_unit),
        }
    };
}

/// date_trunc.
pub(super) const DATE_TRUNC: &[Overload] = &[
    trunc!(Timestamp, Timestamp),
    trunc!(Timestamptz, Timestamptz),
    Overload { args: &[Ty::Text, Ty::Date], out: Ty::Timestamptz, eval: truncate_dates },
    Overload { args: &[Ty::Text, Ty::Interval], out: Ty::Interval, eval: truncate_intervals },
    Overload { args: &[Ty::Text, Ty::Timestamptz, Ty::Text], out: Ty::Timestamptz, eval: in_zone },
];

/// Truncates a column of timestamps to the units that `read` knows.
pub(super) fn truncate_column(
    args: &[ArrayRef],
    out: Ty,
    read: fn(&str) -> TimeResult<Field>,
) -> Result<ArrayRef> {
    let mut units = LastParsed::new(read);
    map_text::<Us, Us>(args, out, |name, us| truncate_timestamp(*units.parse(name)?, us))
}

fn truncate_dates(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut units = LastParsed::new(truncation_unit);
    map_text::<Date32Type, Us>(args, Ty::Timestamptz, |name, date| {
        truncate_timestamp(*units.parse(name)?, midnight_of(date)?)
    })
}

fn truncate_intervals(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut units = LastParsed::new(truncation_unit);
    map_text::<Mdn, Mdn>(args, Ty::Interval, |name, of| {
        to_arrow_interval(Some(truncate_interval(*units.parse(name)?, Span::from(of))?))
    })
}

fn in_zone(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (mut units, mut zones) = (LastParsed::new(truncation_unit), LastParsed::new(Zone::find_by_name));
    let rows = text_column(&args[0])?
        .iter()
        .zip(number_column::<Us>(&args[1])?.iter())
        .zip(text_column(&args[2])?.iter());
    map_triples::<_, _, _, Us>(rows, args[1].data_type().clone(), |name, us, zone| {
        truncate_in(*units.parse(name)?, us, zones.parse(zone)?)
    })
}

/// Refuses a constant unit or zone that is unknown.
pub(super) fn check_trunc(args: &[Option<&ScalarValue>], types: &[DataType]) -> Result<()> {
    if let Some(name) = constant_text(args, 0) {
        check_outcome(check_unit(name, matches!(types.get(1), Some(DataType::Interval(_)))))?;
    }
    check_constant_zone(args, 2)
}

fn check_unit(name: &str, of_interval: bool) -> TimeResult<()> {
    let unit = truncation_unit(name)?;
    if of_interval {
        truncate_interval(unit, Span::default())?;
    }
    Ok(())
}

/// Returns the length of a bin in microseconds.
fn bin_length(of: Span) -> TimeResult<i64> {
    if of.months != 0 {
        return Err("date_bin takes no months or years, which differ in length: write date_trunc".to_owned());
    }
    match us_of_days(of.days.into(), of.us) {
        Some(us) if us > 0 => Ok(us),
        _ => Err("date_bin needs a length above 0".to_owned()),
    }
}

/// Returns the start of the bin that an instant is in; one bin begins at `origin`.
fn bin_start(stride: i64, us: i64, origin: i64) -> TimeResult<i64> {
    let distance = us.checked_sub(origin).ok_or_else(out_of_range)?;
    in_range(us.checked_sub(distance.rem_euclid(stride)))
}

macro_rules! binned_from {
    ($ty:ident) => {
        Overload { args: &[Ty::Interval, Ty::$ty, Ty::$ty], out: Ty::$ty, eval: binned_from }
    };
}

/// date_bin; without an origin a bin begins at 1970-01-01.
pub(super) const DATE_BIN: &[Overload] = &[
    binary!(Interval, Timestamp => Timestamp, Mdn, Us => Us, timestamp_bin),
    binary!(Interval, Timestamptz => Timestamptz, Mdn, Us => Us, timestamp_bin),
    binary!(Interval, Date => Timestamptz, Mdn, Date32Type => Us, date_bin),
    binned_from!(Timestamp),
    binned_from!(Timestamptz),
];

fn timestamp_bin(by: IntervalMonthDayNano, us: i64) -> TimeResult<i64> {
    bin_start(bin_length(Span::from(by))?, us, 0)
}

fn date_bin(by: IntervalMonthDayNano, date: i32) -> TimeResult<i64> {
    bin_start(bin_length(Span::from(by))?, midnight_of(date)?, 0)
}

fn binned_from(args: &[ArrayRef]) -> Result<ArrayRef> {
    let strides = number_column::<Mdn>(&args[0])?.iter();
    let rows = strides.zip(number_column::<Us>(&args[1])?.iter()).zip(number_column::<Us>(&args[2])?.iter());
    map_triples::<_, _, _, Us>(rows, args[1].data_type().clone(), |by, us, origin| {
        bin_start(bin_length(Span::from(by))?, us, origin)
    })
}

/// Refuses a constant interval that cannot be the length of a bin.
pub(super) fn check_bin(args: &[Option<&ScalarValue>], _: &[DataType]) -> Result<()> {
    match args.first().copied().flatten() {
        Some(ScalarValue::IntervalMonthDayNano(Some(by))) => check_outcome(bin_length(Span::from(*by))),
        _ => Ok(()),
    }
}

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
