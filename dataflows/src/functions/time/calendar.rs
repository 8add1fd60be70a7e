//! The calendar: instants as fields and back, ISO weeks, and the range of timestamps.
//!
//! All values count from 1970 in microseconds or days, years are astronomical (0 is 1 BC), and the calendar
//! is the proleptic Gregorian one, as in PostgreSQL.

use schemas::types::span::Span;
use schemas::types::time::{DAY_US, SECOND_US, civil_of_days, days_of_civil};

use super::udf::TimeResult;

/// The first instant: 4713-11-24 BC.
pub(crate) const FIRST_US: i64 = -210_866_803_200_000_000;
/// The first day.
const FIRST_DAY: i64 = FIRST_US / DAY_US;

/// An instant as a date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970.
    pub days: i64,
    /// Astronomical year.
    pub year: i64,
    /// Month of the year, from 1.
    pub month: u32,
    /// Day of the month, from 1.
    pub day: u32,
    /// Microseconds since midnight.
    pub us: i64,
}

impl Moment {
    /// Returns the fields of an instant.
    pub fn from_us(us: i64) -> Moment {
        Moment { us: us.rem_euclid(DAY_US), ..Moment::of_day(us.div_euclid(DAY_US)) }
    }

    /// Returns midnight of a day.
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

    /// Returns the microseconds of the second.
    pub fn fraction(&self) -> i64 {
        self.us % SECOND_US
    }

    /// Returns the day of the week; Sunday is 0.
    pub fn weekday(&self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    /// Returns the day of the week; Monday is 1.
    pub fn iso_weekday(&self) -> i64 {
        (self.days + 3).rem_euclid(7) + 1
    }

    /// Returns the day of the year, from 1.
    pub fn of_year(&self) -> i64 {
        self.days - days_of_civil(self.year, 1, 1) + 1
    }

    /// Returns the ISO year and its week, from 1.
    pub fn iso_week(&self) -> (i64, i64) {
        // An ISO week belongs to the year that contains its Thursday.
        let thursday = self.days + 4 - self.iso_weekday();
        let (year, ..) = civil_of_days(thursday);
        (year, (thursday - days_of_civil(year, 1, 1)) / 7 + 1)
    }
}

/// Returns the number of days of a month.
pub(super) fn month_days(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days since 1970 of a date; fails if it does not exist or is out of range.
pub(super) fn days_of_date(year: i64, month: i64, day: i64) -> TimeResult<i64> {
    existing_day(year, month, day).ok_or_else(|| "date field value out of range".to_owned())
}

fn existing_day(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(-4800..=5_874_897).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    if !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    Some(days_of_civil(year, month, day))
}

/// Converts days since 1970 to a DATE; fails if out of range.
pub(super) fn in_days(days: i64) -> TimeResult<i32> {
    match i32::try_from(days) {
        Ok(date) if days >= FIRST_DAY => Ok(date),
        _ => Err(date_out_of_range()),
    }
}

/// Returns the error message for a DATE out of range.
pub(super) fn date_out_of_range() -> String {
    "date out of range".to_owned()
}

/// Returns the error message for a timestamp out of range.
pub(super) fn out_of_range() -> String {
    "timestamp out of range".to_owned()
}

/// Returns a timestamp if it is in range.
pub(super) fn in_range(us: Option<i64>) -> TimeResult<i64> {
    us.filter(|us| *us >= FIRST_US).ok_or_else(out_of_range)
}

/// Returns the timestamp of a day and the microseconds since its midnight.
pub(super) fn timestamp_at(days: i64, us: i64) -> TimeResult<i64> {
    in_range(us_of_days(days, us))
}

/// Returns the timestamp of a DATE's midnight.
pub(super) fn midnight_of(date: i32) -> TimeResult<i64> {
    timestamp_at(date.into(), 0)
}

/// Returns the microseconds of days and of the time behind them; None on overflow.
pub(super) fn us_of_days(days: i64, us: i64) -> Option<i64> {
    days.checked_mul(DAY_US)?.checked_add(us)
}

/// Adds months to a timestamp; the day becomes the last of the month where that is shorter.
pub(super) fn add_months(us: i64, months: i64) -> TimeResult<i64> {
    if months == 0 {
        return Ok(us);
    }
    let of = Moment::from_us(us);
    let months = of.year * 12 + i64::from(of.month) - 1 + months;
    let year = months.div_euclid(12);
    let Ok(month) = u32::try_from(months.rem_euclid(12) + 1) else { return Err(out_of_range()) };
    timestamp_at(days_of_civil(year, month, of.day.min(month_days(year, month))), of.us)
}

/// Adds an interval to a timestamp: months first, then days, then the time.
pub(super) fn add_span(us: i64, span: Span) -> TimeResult<i64> {
    in_range(add_days_and_time(add_months(us, i64::from(span.months))?, span))
}

fn add_days_and_time(us: i64, span: Span) -> Option<i64> {
    let days = i64::from(span.days).checked_mul(DAY_US)?;
    us.checked_add(days)?.checked_add(span.us)
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
