//! The calendar: instants as fields and back, ISO weeks, and the range of what a timestamp can be.
//!
//! Everything counts from 1970 in microseconds or days, years are astronomical (0 is 1 BC), and the
//! calendar is the Gregorian one for all time, as PostgreSQL's.

use schemas::types::time::{DAY_US, SECOND_US, civil_of_days, days_of_civil};

use super::udf::Outcome;

/// The first instant: 4713-11-24 BC.
pub(crate) const FIRST_US: i64 = -210_866_803_200_000_000;
/// The first day.
const FIRST_DAY: i64 = FIRST_US / DAY_US;

/// An instant on a calendar and a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970.
    pub days: i64,
    /// Astronomical year.
    pub year: i64,
    /// From 1.
    pub month: u32,
    /// From 1.
    pub day: u32,
    /// Microseconds since midnight.
    pub us: i64,
}

impl Moment {
    /// The fields of an instant.
    pub fn of(us: i64) -> Moment {
        Moment { us: us.rem_euclid(DAY_US), ..Moment::of_day(us.div_euclid(DAY_US)) }
    }

    /// Midnight of a day.
    pub fn of_day(days: i64) -> Moment {
        let (year, month, day) = civil_of_days(days);
        Moment { days, year, month, day, us: 0 }
    }

    pub fn hour(&self) -> i64 {
        self.us / (3600 * SECOND_US)
    }

    pub fn minute(&self) -> i64 {
        self.us / (60 * SECOND_US) % 60
    }

    pub fn second(&self) -> i64 {
        self.us / SECOND_US % 60
    }

    /// Microseconds of the second.
    pub fn fraction(&self) -> i64 {
        self.us % SECOND_US
    }

    /// Day of the week, Sunday being 0.
    pub fn weekday(&self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    /// Day of the week, Monday being 1.
    pub fn iso_weekday(&self) -> i64 {
        (self.days + 3).rem_euclid(7) + 1
    }

    /// Day of the year, from 1.
    pub fn of_year(&self) -> i64 {
        self.days - days_of_civil(self.year, 1, 1) + 1
    }

    /// The ISO year and its week, from 1.
    pub fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days + 4 - self.iso_weekday();
        let (year, ..) = civil_of_days(thursday);
        (year, (thursday - days_of_civil(year, 1, 1)) / 7 + 1)
    }
}

/// Days of a month.
pub(super) fn month_days(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date that exists and is in range.
pub(super) fn date(year: i64, month: i64, day: i64) -> Outcome<i64> {
    let bad = || "date field value out of range".to_owned();
    if !(-4800..=5_874_897).contains(&year) || !(1..=12).contains(&month) {
        return Err(bad());
    }
    let (month, day) = (u32::try_from(month).map_err(|_| bad())?, u32::try_from(day).map_err(|_| bad())?);
    if !(1..=month_days(year, month)).contains(&day) {
        return Err(bad());
    }
    Ok(days_of_civil(year, month, day))
}

/// Days as a DATE.
pub(super) fn in_days(days: i64) -> Outcome<i32> {
    let days = i32::try_from(days).ok().filter(|days| i64::from(*days) >= FIRST_DAY);
    days.ok_or_else(|| "date out of range".to_owned())
}

/// What is told of a timestamp that cannot be.
pub(super) fn out_of_range() -> String {
    "timestamp out of range".to_owned()
}

/// A timestamp that is in range.
pub(super) fn in_range(us: Option<i64>) -> Outcome<i64> {
    us.filter(|us| *us >= FIRST_US).ok_or_else(out_of_range)
}

/// Midnight of a day and so many microseconds.
pub(super) fn at(days: i64, us: i64) -> Outcome<i64> {
    in_range(days.checked_mul(DAY_US).and_then(|midnight| midnight.checked_add(us)))
}

/// A timestamp so many months later; the day is the last of the month where that is shorter.
pub(super) fn add_months(us: i64, months: i64) -> Outcome<i64> {
    if months == 0 {
        return Ok(us);
    }
    let of = Moment::of(us);
    let months = of.year * 12 + i64::from(of.month) - 1 + months;
    let (year, month) =
        (months.div_euclid(12), u32::try_from(months.rem_euclid(12) + 1).map_err(|_| out_of_range())?);
    at(days_of_civil(year, month, of.day.min(month_days(year, month))), of.us)
}

/// A timestamp an interval later: months first, then days, then the time.
pub(super) fn add(us: i64, span: schemas::types::span::Span) -> Outcome<i64> {
    let us = add_months(us, i64::from(span.months))?;
    let days = i64::from(span.days).checked_mul(DAY_US);
    in_range(days.and_then(|days| us.checked_add(days)).and_then(|us| us.checked_add(span.us)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_belong_to_iso_years() {
        let week = |y, m, d| Moment::of_day(days_of_civil(y, m, d)).iso_week();
        assert_eq!(week(2005, 1, 1), (2004, 53));
        assert_eq!(week(2008, 12, 29), (2009, 1));
        assert_eq!(week(2026, 1, 1), (2026, 1));
        let day = Moment::of_day(days_of_civil(2026, 3, 1));
        assert_eq!((day.weekday(), day.iso_weekday(), day.of_year()), (0, 7, 60));
    }

    #[test]
    fn months_end_where_they_end() {
        let day = |y, m, d| days_of_civil(y, m, d) * DAY_US;
        assert_eq!(add_months(day(2024, 1, 31), 1), Ok(day(2024, 2, 29)));
        assert_eq!(add_months(day(2024, 3, 31), -13), Ok(day(2023, 2, 28)));
        assert_eq!(add_months(day(2024, 3, 31), i64::from(i32::MAX)), Err(out_of_range()));
        assert!(in_range(Some(FIRST_US)).is_ok() && in_range(Some(FIRST_US - 1)).is_err());
    }
}
