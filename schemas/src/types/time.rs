//! Text forms of dates, times and timestamps: ISO-8601 is parsed, one fixed form is written.
//!
//! All values are integers: days, or microseconds, since 1970. Timestamps are parsed with or without
//! zone, with `T` or a blank between date and time; digits beyond the microsecond are cut off
//! (towards the past). A written timestamp always has six fractional digits, so that texts sort as values do.

/// The microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;
/// The microseconds of a day.
pub const DAY_US: i64 = 86_400 * SECOND_US;

/// Returns the days since 1970 of a date of the Gregorian calendar.
pub fn days_of_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Returns year, month and day of days since 1970.
pub fn civil_of_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = (if shifted < 10 { shifted + 3 } else { shifted - 9 }) as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The unread rest of a text.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip_byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        if *first != wanted {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    /// Reads a number of exactly `count` digits, at most `max`.
    fn read_digits(&mut self, count: usize, max: u32) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(count)?;
        let mut value = 0u32;
        for byte in head {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u32::from(byte - b'0');
        }
        self.0 = rest;
        (value <= max).then_some(value)
    }

    /// Reads `YYYY-MM-DD`, or a date with a sign and four to six digits of year.
    fn read_date(&mut self) -> Option<i64> {
        let negative = match self.0.first()? {
            b'-' => true,
            b'+' => false,
            _ => {
                let year = self.read_digits(4, 9999)?;
                return self.read_month_and_day(i64::from(year));
            }
        };
        self.0 = &self.0[1..];
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(4..=6).contains(&count) {
            return None;
        }
        let year = i64::from(self.read_digits(count, 999_999)?);
        self.read_month_and_day(if negative { -year } else { year })
    }

    fn read_month_and_day(&mut self, year: i64) -> Option<i64> {
        self.skip_byte(b'-')?;
        let month = self.read_digits(2, 12)?;
        self.skip_byte(b'-')?;
        let day = self.read_digits(2, 31)?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            0 => return None,
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (1..=last).contains(&day).then(|| days_of_civil(year, month, day))
    }

    /// Reads `HH:MM` or `HH:MM:SS` with an optional fraction, in microseconds. Second 60 is refused.
    fn read_time(&mut self) -> Option<i64> {
        let hour = self.read_digits(2, 23)?;
        self.skip_byte(b':')?;
        let minute = self.read_digits(2, 59)?;
        let mut us = i64::from(hour * 3600 + minute * 60) * SECOND_US;
        if self.skip_byte(b':').is_some() {
            us += i64::from(self.read_digits(2, 59)?) * SECOND_US;
            if self.skip_byte(b'.').or_else(|| self.skip_byte(b',')).is_some() {
                us += self.read_fraction()?;
            }
        }
        Some(us)
    }

    /// Reads the digits after the point, in microseconds; the seventh and later ones are cut off.
    fn read_fraction(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let mut us = 0;
        for place in 0..6 {
            us = us * 10 + i64::from(digits.get(place).map_or(0, |digit| digit - b'0'));
        }
        (count > 0).then_some(us)
    }

    /// Reads `Z`, `+HH:MM`, `+HHMM` or `+HH`, in microseconds east of UTC; without a zone the result is 0.
    fn read_zone(&mut self) -> Option<i64> {
        let (first, rest) = match self.0.split_first() {
            None => return Some(0),
            Some((first, rest)) => (*first, rest),
        };
        self.0 = rest;
        let east = match first {
            b'Z' | b'z' => return Some(0),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.read_digits(2, 23)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            let _ = self.skip_byte(b':');
            self.read_digits(2, 59)?
        };
        Some(east * i64::from(hours * 3600 + minutes * 60) * SECOND_US)
    }
}

/// Parses `YYYY-MM-DD` as days since 1970.
pub fn parse_date(text: &str) -> Option<i32> {
    let mut text = Text(text.as_bytes());
    let days = text.read_date()?;
    if text.0.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Parses `HH:MM[:SS[.ffffff]]` as microseconds since midnight.
pub fn parse_time(text: &str) -> Option<i64> {
    let mut text = Text(text.as_bytes());
    let us = text.read_time()?;
    text.0.is_empty().then_some(us)
}

/// Parses an ISO-8601 date, or date and time, with or without zone, as microseconds since 1970. Without a
/// zone the time is taken as UTC.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let mut text = Text(text.as_bytes());
    let mut us = text.read_date()?.checked_mul(DAY_US)?;
    if text.0.is_empty() {
        return Some(us);
    }
    text.skip_byte(b'T').or_else(|| text.skip_byte(b' ')).or_else(|| text.skip_byte(b't'))?;
    us = us.checked_add(text.read_time()?)?;
    us = us.checked_sub(text.read_zone()?)?;
    text.0.is_empty().then_some(us)
}

/// Appends `width` digits of a number.
fn put_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = value;
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Appends a date as `YYYY-MM-DD`; years outside 0000 to 9999 get a sign and six digits.
pub fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_of_days(days);
    if (0..=9999).contains(&year) {
        put_digits(out, year.unsigned_abs(), 4);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        put_digits(out, year.unsigned_abs(), 6);
    }
    out.push(b'-');
    put_digits(out, u64::from(month), 2);
    out.push(b'-');
    put_digits(out, u64::from(day), 2);
}

/// Appends a time of day as `HH:MM:SS.ffffff`.
pub fn write_time(out: &mut Vec<u8>, us: i64) {
    let us = us.rem_euclid(DAY_US) as u64;
    let seconds = us / 1_000_000;
    put_digits(out, seconds / 3600, 2);
    out.push(b':');
    put_digits(out, seconds / 60 % 60, 2);
    out.push(b':');
    put_digits(out, seconds % 60, 2);
    out.push(b'.');
    put_digits(out, us % 1_000_000, 6);
}

/// Appends a timestamp as `YYYY-MM-DDTHH:MM:SS.ffffff`, with `Z` when it is in UTC.
pub fn write_timestamp(out: &mut Vec<u8>, us: i64, utc: bool) {
    write_date(out, us.div_euclid(DAY_US));
    out.push(b'T');
    write_time(out, us.rem_euclid(DAY_US));
    if utc {
        out.push(b'Z');
    }
}

/// Returns a timestamp in the form of [`write_timestamp`].
pub fn format_timestamp(us: i64, utc: bool) -> String {
    let mut out = Vec::with_capacity(32);
    write_timestamp(&mut out, us, utc);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_instant() {
        let us = Some(1_769_860_800_000_000);
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00.000",
            "2026-01-31T12:00Z",
            "2026-01-31T13:30:00+01:30",
            "2026-01-31T05:00:00-0700",
            "2026-01-31T14:00:00.0000009+02",
            "+002026-01-31T12:00:00Z",
        ] {
            assert_eq!(parse_timestamp(text), us, "{text}");
        }
        assert_eq!(format_timestamp(1_769_860_800_000_001, true), "2026-01-31T12:00:00.000001Z");
        assert_eq!(format_timestamp(-1, false), "1969-12-31T23:59:59.999999");
        assert_eq!(parse_timestamp("2026-01-31"), Some(1_769_817_600_000_000));
    }

    #[test]
    fn what_is_no_timestamp() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-00-01",
            "2026-01-00",
            "2026-01-31T",
            "now",
            "2026-01-31T24:00:00",
            "2026-01-31T12:60",
            "2026-01-31T12:00:00.",
            "2026-01-31T12:00:00X",
            "2026-01-31T12:00:00+1",
            "2026-01-31T12:00:00Zx",
            "+9999999-01-01",
            "2026-1-1",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!(parse_date("2024-02-29"), Some(19_782));
        assert_eq!(parse_date("2024-02-29 "), None);
        assert_eq!(parse_time("23:59:59.5"), Some(86_399_500_000));
        assert_eq!(parse_time("24:00"), None);
    }

    #[test]
    fn days_and_dates_agree() {
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = civil_of_days(days);
            assert_eq!(days_of_civil(year, month, day), days);
            let mut text = Vec::new();
            write_date(&mut text, days);
            assert_eq!(parse_date(std::str::from_utf8(&text).unwrap()), i32::try_from(days).ok());
        }
    }
}
