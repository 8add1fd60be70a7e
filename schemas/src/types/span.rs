//! INTERVAL: months, days and microseconds, with PostgreSQL's arithmetic, order and text.
//!
//! The three parts are separate, since a month has no fixed number of days and a day no fixed number
//! of hours. Only for comparison a month is 30 days and a day 24 hours, so that `1 month` and
//! `30 days` are equal though they print differently; [`Span::in_days`] returns the form shared by
//! equal values, which keys use. Arrow stores the last part in nanoseconds, which limits it to
//! 2,562,047 hours; a longer one is out of range.

mod read;
mod write;

use std::cmp::Ordering;

use arrow::datatypes::IntervalMonthDayNano;

use super::time::{DAY_US, SECOND_US};

/// The microseconds of an hour.
const HOUR_US: i64 = 3600 * SECOND_US;
/// The days of a month for the comparison of intervals.
const MONTH_DAYS: i64 = 30;

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Whole months.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// Microseconds in addition to months and days.
    pub us: i64,
}

impl From<IntervalMonthDayNano> for Span {
    fn from(of: IntervalMonthDayNano) -> Span {
        Span { months: of.months, days: of.days, us: of.nanoseconds / 1000 }
    }
}

impl Span {
    /// Converts to Arrow's form; None if the microseconds exceed it.
    pub fn to_arrow(self) -> Option<IntervalMonthDayNano> {
        let nanoseconds = self.us.checked_mul(1000)?;
        Some(IntervalMonthDayNano { months: self.months, days: self.days, nanoseconds })
    }

    /// Parses PostgreSQL's forms: `1 year 2 mons -3 days 04:05:06.7`, `1-2`, `P1Y2M3DT4H5M6.7S`.
    pub fn parse(text: &str) -> Option<Span> {
        read::parse(text, None)
    }

    /// Parses an interval in which a number without a unit counts `unit`s, as in `INTERVAL '5' DAY`.
    pub fn parse_in(text: &str, unit: &str) -> Option<Span> {
        read::parse(text, Some(unit))
    }

    /// Appends PostgreSQL's text: `1 year 2 mons 3 days 04:05:06.7`.
    pub fn write(self, out: &mut Vec<u8>) {
        write::write(self, out);
    }

    /// Returns the length in microseconds, a month being 30 days and a day 24 hours.
    pub fn length(self) -> i128 {
        let days = i128::from(self.months) * i128::from(MONTH_DAYS) + i128::from(self.days);
        days * i128::from(DAY_US) + i128::from(self.us)
    }

    /// Returns the equal interval of days and less than 24 hours, both of one sign; None if there are
    /// too many days.
    pub fn in_days(self) -> Option<Span> {
        let length = self.length();
        let days = i32::try_from(length / i128::from(DAY_US)).ok()?;
        let us = i64::try_from(length % i128::from(DAY_US)).ok()?;
        Some(Span { months: 0, days, us })
    }

    /// Adds part by part.
    pub fn checked_add(self, other: Span) -> Option<Span> {
        Some(Span {
            months: self.months.checked_add(other.months)?,
            days: self.days.checked_add(other.days)?,
            us: self.us.checked_add(other.us)?,
        })
    }

    /// Negates every part.
    pub fn checked_neg(self) -> Option<Span> {
        Some(Span {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            us: self.us.checked_neg()?,
        })
    }

    /// Multiplies by `factor`: fractions of a month are carried to the days, fractions of a day to the
    /// time, as in PostgreSQL.
    pub fn times(self, factor: f64) -> Option<Span> {
        self.scale_parts(|part| part * factor)
    }

    /// Divides by `divisor`; None for 0.
    pub fn over(self, divisor: f64) -> Option<Span> {
        if divisor == 0.0 { None } else { self.scale_parts(|part| part / divisor) }
    }

    fn scale_parts(self, by: impl Fn(f64) -> f64) -> Option<Span> {
        let (months, days) = (by(f64::from(self.months)), by(f64::from(self.days)));
        let (whole_months, whole_days) = (to_i32(months.trunc())?, to_i32(days.trunc())?);
        // PostgreSQL rounds the carried fractions to a millionth, to remove binary rounding errors.
        let month_days = round_seconds((months - months.trunc()) * MONTH_DAYS as f64);
        let mut of_days = whole_days;
        let rest = days - days.trunc() + month_days - month_days.trunc();
        let mut seconds = round_seconds(rest * 86_400.0);
        if seconds.abs() >= 86_400.0 {
            of_days = of_days.checked_add(to_i32((seconds / 86_400.0).trunc())?)?;
            seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
        }
        let of_days = of_days.checked_add(to_i32(month_days.trunc())?)?;
        let us = (by(self.us as f64) + seconds * SECOND_US as f64).round_ties_even();
        Some(Span { months: whole_months, days: of_days, us: to_i64(us)? })
    }

    /// Converts each 24 hours to a day.
    pub fn justify_hours(self) -> Option<Span> {
        let days = self.days.checked_add(i32::try_from(self.us / DAY_US).ok()?)?;
        let mut out = Span { days, us: self.us % DAY_US, ..self };
        if out.days > 0 && out.us < 0 {
            out.us += DAY_US;
            out.days -= 1;
        } else if out.days < 0 && out.us > 0 {
            out.us -= DAY_US;
            out.days += 1;
        }
        Some(out)
    }

    /// Converts each 30 days to a month.
    pub fn justify_days(self) -> Option<Span> {
        let thirty = MONTH_DAYS as i32;
        let months = self.months.checked_add(self.days / thirty)?;
        let mut out = Span { months, days: self.days % thirty, ..self };
        if out.months > 0 && out.days < 0 {
            out.days += thirty;
            out.months -= 1;
        } else if out.months < 0 && out.days > 0 {
            out.days -= thirty;
            out.months += 1;
        }
        Some(out)
    }

    /// Converts hours to days and days to months, and gives all parts one sign.
    pub fn justify_interval(self) -> Option<Span> {
        let thirty = MONTH_DAYS as i32;
        // Whole days leave the time first, so that no part overflows in between.
        let days = self.days.checked_add(i32::try_from(self.us / DAY_US).ok()?)?;
        let mut us = self.us % DAY_US;
        let mut months = self.months.checked_add(days / thirty)?;
        let mut days = days % thirty;
        if months > 0 && (days < 0 || (days == 0 && us < 0)) {
            days += thirty;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && us > 0)) {
            days -= thirty;
            months += 1;
        }
        if days > 0 && us < 0 {
            us += DAY_US;
            days -= 1;
        } else if days < 0 && us > 0 {
            us -= DAY_US;
            days += 1;
        }
        Some(Span { months, days, us })
    }

    /// Compares by length.
    pub fn compare(self, other: Span) -> Ordering {
        self.length().cmp(&other.length())
    }

    /// Returns PostgreSQL's text.
    pub fn text(self) -> String {
        let mut out = Vec::with_capacity(32);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Rounds a number of seconds to a microsecond, as PostgreSQL's TSROUND does.
fn round_seconds(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

fn to_i32(value: f64) -> Option<i32> {
    (value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX)).then_some(value as i32)
}

fn to_i64(value: f64) -> Option<i64> {
    // 2^63 is a DOUBLE but exceeds BIGINT, so the upper bound is exclusive.
    let least = i64::MIN as f64;
    (least..-least).contains(&value).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Span {
        Span::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    /// Each line is taken from PostgreSQL: input text, output text.
    #[test]
    fn texts_are_read_and_written_as_postgresql_does() {
        for (text, out) in [
            ("1.5 months", "1 mon 15 days"),
            ("-1.3 weeks", "-9 days -02:24:00"),
            ("1 2:03:04", "1 day 02:03:04"),
            ("1-2", "1 year 2 mons"),
            ("-1 day +2:03", "-1 days +02:03:00"),
            ("P1Y2M3DT4H5M6.7S", "1 year 2 mons 3 days 04:05:06.7"),
            ("1 day ago", "-1 days"),
            ("1.25 years 3", "1 year 3 mons 00:00:03"),
            ("@ 1 day", "1 day"),
            ("1 year -2 mons", "10 mons"),
            ("-0.5 day", "-12:00:00"),
            ("1:02", "01:02:00"),
            ("1:02.5", "00:01:02.5"),
            ("100:00:00", "100:00:00"),
            ("-1:30", "-01:30:00"),
            ("1.5", "00:00:01.5"),
            ("2 decades 1.5 centuries", "170 years"),
            ("0", "00:00:00"),
            ("90 minutes 30 s", "01:30:30"),
        ] {
            assert_eq!(Span::parse(text).map(Span::text).as_deref(), Some(out), "{text}");
            // The output text can be parsed again.
            assert_eq!(span(out), span(text), "{text}");
        }
        for text in ["", "one hour", "1 fortnight", "1.2.3 s", "P", "P1", "1 day 1 day x", "ago"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        assert_eq!(Span::parse_in("5", "day").map(Span::text).as_deref(), Some("5 days"));
    }

    #[test]
    fn parts_are_scaled_and_justified_as_postgresql_does() {
        for (text, factor, out) in [
            ("1 mon", 0.5, "15 days"),
            ("1 day", 1.5, "1 day 12:00:00"),
            ("1 mon 1 day 01:00:00", 0.3, "9 days 07:30:00"),
            ("10:00:00", -0.1, "-01:00:00"),
            ("1 year", 0.333, "3 mons 29 days 21:07:12"),
        ] {
            assert_eq!(span(text).times(factor).map(Span::text).as_deref(), Some(out), "{text} * {factor}");
        }
        assert_eq!(span("1 day").over(0.0), None);
        assert_eq!(span("1 mon").over(7.0).map(Span::text).as_deref(), Some("4 days 06:51:25.6896"));
        assert_eq!(span("27:00").justify_hours().map(Span::text).as_deref(), Some("1 day 03:00:00"));
        assert_eq!(span("35 days").justify_days().map(Span::text).as_deref(), Some("1 mon 5 days"));
        let justified = span("1 mon -1 hour").justify_interval();
        assert_eq!(justified.map(Span::text).as_deref(), Some("29 days 23:00:00"));
    }

    #[test]
    fn equal_lengths_share_one_form() {
        assert_eq!(span("1 mon").compare(span("30 days")), Ordering::Equal);
        assert_eq!(span("1 day").compare(span("24:00")), Ordering::Equal);
        assert_eq!(span("59 days").compare(span("2 mons")), Ordering::Less);
        assert_eq!(span("1 mon").in_days(), span("30 days").in_days());
        assert_eq!(span("1 day -1 hour").in_days().map(Span::text).as_deref(), Some("23:00:00"));
        assert_eq!(Span { months: i32::MAX, days: 0, us: 0 }.in_days(), None);
        assert_eq!(Span { us: i64::MAX, ..Span::default() }.to_arrow(), None);
    }
}
