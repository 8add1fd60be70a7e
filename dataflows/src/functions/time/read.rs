//! Parsing of dates, times and timestamps in PostgreSQL's ISO forms.
//!
//! A date is `2026-01-31`, `2026-1-31`, `2026/01/31` or `20260131`, with BC for years before 1; a time is
//! `10:00`, `10:00:00.5`, `100000`, or has AM or PM; between them is a blank or T; a zone follows as `Z`,
//! `+02`, `+02:00` or by name. Fractions are rounded to a microsecond. As in PostgreSQL a TIMESTAMP ignores
//! the zone of its text and a DATE its time. `infinity` is not supported.

use schemas::types::time::{DAY_US, SECOND_US};

use super::calendar::{days_of_date, in_days, timestamp_at};
use super::udf::TimeResult;
use super::zone::{Zone, parse_offset, parse_short_number, starts_with_digit};

/// The parts of a timestamp's text.
struct TimestampParts<'a> {
    days: i64,
    us: i64,
    zone: Option<&'a str>,
}

impl TimestampParts<'_> {
    fn date(self) -> TimeResult<i32> {
        in_days(self.days)
    }

    /// Returns the timestamp without its zone, which must exist.
    fn local_time(self) -> TimeResult<i64> {
        if let Some(zone) = self.zone {
            zone_of(zone)?;
        }
        timestamp_at(self.days, self.us)
    }

    fn instant(self) -> TimeResult<i64> {
        let local = timestamp_at(self.days, self.us)?;
        match self.zone {
            Some(zone) => zone_of(zone)?.to_instant(local),
            None => Ok(local),
        }
    }
}

/// Parses a DATE: days since 1970.
pub(crate) fn read_date(text: &str) -> TimeResult<i32> {
    parse_parts(text).and_then(TimestampParts::date).map_err(|why| parse_error(text, "DATE", &why))
}

/// Parses a TIMESTAMP: microseconds since 1970, without zone.
pub(crate) fn read_timestamp(text: &str) -> TimeResult<i64> {
    let read = parse_parts(text).and_then(TimestampParts::local_time);
    read.map_err(|why| parse_error(text, "TIMESTAMP", &why))
}

/// Parses a TIMESTAMPTZ: microseconds since 1970; a text without zone is UTC.
pub(crate) fn read_timestamptz(text: &str) -> TimeResult<i64> {
    let read = parse_parts(text).and_then(TimestampParts::instant);
    read.map_err(|why| parse_error(text, "TIMESTAMPTZ", &why))
}

/// Parses a TIME: microseconds since midnight. A date and a blank may precede the time; without a date the
/// zone must be a fixed offset, since that of a zone with rules depends on the date.
pub(crate) fn read_time(text: &str) -> TimeResult<i64> {
    let trimmed = text.trim();
    match clock_alone(trimmed).or_else(|| clock_behind_date(trimmed)) {
        Some(us) if us < DAY_US => Ok(us),
        _ => Err(parse_error(text, "TIME", "")),
    }
}

fn clock_alone(text: &str) -> Option<i64> {
    let (us, rest) = parse_clock(text.strip_prefix(['T', 't']).unwrap_or(text))?;
    matches!(zone_of(rest.trim()), Ok(Zone::Fixed(_))).then_some(us)
}

fn clock_behind_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let time = time.trim_start();
    let written = date.contains(['-', '/']) && time.contains(':');
    if !written || !starts_with_digit(time) || read_timestamp(text).is_err() {
        return None;
    }
    let (us, _) = parse_clock(time)?;
    Some(us)
}

/// Returns the error message for a text that is no value of a type, and the reason if there is one.
pub(super) fn parse_error(text: &str, of: &str, why: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    if why.is_empty() { format!("'{shown}' is no {of}") } else { format!("'{shown}' is no {of}: {why}") }
}

/// Parses the zone behind a time: an offset, or a name.
pub(super) fn zone_of(text: &str) -> TimeResult<Zone> {
    match parse_offset(text) {
        // Behind a time an offset is ISO's: east is positive.
        Some(us) if text.starts_with(['+', '-']) => Ok(Zone::Fixed(us)),
        _ if text.is_empty() => Ok(Zone::Fixed(0)),
        _ => Zone::find_by_name(text),
    }
}

fn parse_parts(text: &str) -> TimeResult<TimestampParts<'_>> {
    let mut text = text.trim();
    if text.eq_ignore_ascii_case("epoch") {
        return Ok(TimestampParts { days: 0, us: 0, zone: None });
    }
    if text.trim_start_matches(['+', '-']).eq_ignore_ascii_case("infinity") {
        return Err("there is no infinite time".to_owned());
    }
    let mut before_christ = false;
    for (era, before) in [(" BC", true), (" bc", true), (" AD", false), (" ad", false)] {
        if let Some(rest) = text.strip_suffix(era) {
            (text, before_christ) = (rest.trim_end(), before);
        }
    }
    let (days, rest) = parse_date_part(text, before_christ)?;
    let after = rest.trim_start();
    let timed = match after.strip_prefix(['T', 't']) {
        Some(timed) if rest.len() == after.len() => timed,
        _ => after,
    };
    if timed.is_empty() {
        return if after.is_empty() {
            Ok(TimestampParts { days, us: 0, zone: None })
        } else {
            Err(String::new())
        };
    }
    if !starts_with_digit(timed) {
        return Ok(TimestampParts { days, us: 0, zone: Some(timed) });
    }
    let (us, rest) = parse_clock(timed).ok_or_else(String::new)?;
    let zone = rest.trim();
    Ok(TimestampParts { days, us, zone: (!zone.is_empty()).then_some(zone) })
}

/// Parses the date a text begins with; also returns the rest of the text.
fn parse_date_part(text: &str, before_christ: bool) -> TimeResult<(i64, &str)> {
    let (year, rest) = split_digits(text);
    let (year, month, day, rest) = if let Some(separator) = rest.chars().next()
        && "-/.".contains(separator)
    {
        let (month, rest) = split_digits(&rest[1..]);
        let (day, rest) = split_digits(rest.strip_prefix(separator).ok_or_else(String::new)?);
        if year.len() < 3 || month.len() > 2 || day.len() > 2 {
            return Err("write the year first, as in 2026-01-31".to_owned());
        }
        (year, month, day, rest)
    } else if (8..=10).contains(&year.len()) {
        // Without separators the last four digits are month and day.
        let (rest_of, day) = year.split_at(year.len() - 2);
        let (year, month) = rest_of.split_at(rest_of.len() - 2);
        (year, month, day, rest)
    } else {
        return Err(String::new());
    };
    let year = parse_number(year)?;
    if year == 0 {
        return Err("there is no year 0".to_owned());
    }
    let year = if before_christ { 1 - year } else { year };
    Ok((days_of_date(year, parse_number(month)?, parse_number(day)?)?, rest))
}

fn parse_number(text: &str) -> TimeResult<i64> {
    text.parse().map_err(|_| String::new())
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Parses the time of day a text begins with, up to 24:00; also returns the rest of the text.
fn parse_clock(text: &str) -> Option<(i64, &str)> {
    let (first, mut rest) = split_digits(text);
    let (hour, minute, mut second);
    if let Some(after) = rest.strip_prefix(':') {
        let (minutes, after) = split_digits(after);
        (hour, minute, second, rest) = (first, minutes, "0", after);
        if let Some(after) = rest.strip_prefix(':') {
            (second, rest) = split_digits(after);
        }
    } else {
        if !(first.is_ascii() && (first.len() == 4 || first.len() == 6)) {
            return None;
        }
        (hour, minute, second) =
            (&first[..2], &first[2..4], if first.len() == 6 { &first[4..] } else { "0" });
    }
    let (minute, second) = (parse_short_number(minute, 59)?, parse_short_number(second, 60)?);
    let mut hour = parse_short_number(hour, 24)?;
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix(['.', ',']) {
        let (places, after) = split_digits(after);
        (fraction, rest) = (rounded_micros(places)?, after);
    }
    let half = rest.trim_start();
    for (word, late) in [("AM", false), ("PM", true)] {
        if half.get(..2).is_some_and(|w| w.eq_ignore_ascii_case(word)) {
            if hour > 12 {
                return None;
            }
            hour = hour % 12 + if late { 12 } else { 0 };
            rest = &half[2..];
        }
    }
    let us = (hour * 3600 + minute * 60 + second) * SECOND_US + fraction;
    (us <= DAY_US).then_some((us, rest))
}

/// Converts the digits behind the point to microseconds, rounded half to even.
fn rounded_micros(digits: &str) -> Option<i64> {
    if digits.len() > 30 {
        return None;
    }
    let scaled = format!("0.{digits}0").parse::<f64>().ok()? * SECOND_US as f64;
    Some(scaled.round_ties_even() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is PostgreSQL's.
    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        let at = |text: &str| schemas::types::time::parse_timestamp(text).unwrap();
        for (text, same) in [
            ("2026-01-01 10:00", "2026-01-01T10:00:00"),
            (" 2026-1-2 ", "2026-01-02"),
            ("2026/01/02", "2026-01-02"),
            ("20260102", "2026-01-02"),
            ("20260102T030405", "2026-01-02T03:04:05"),
            ("2026-01-02T03:04:05+02", "2026-01-02T03:04:05"),
            ("2026-01-02 03:04:05.1234567", "2026-01-02T03:04:05.123457"),
            ("2026-01-01 10:00 PM", "2026-01-01T22:00"),
            ("2026-01-01 24:00", "2026-01-02"),
            ("0044-03-15 BC", "-0043-03-15"),
            ("10000-01-01", "+010000-01-01"),
            ("epoch", "1970-01-01"),
        ] {
            assert_eq!(read_timestamp(text), Ok(at(same)), "{text}");
        }
        for (text, same) in [
            ("2026-01-02T03:04:05+02", "2026-01-02T01:04:05"),
            ("2026-07-02 03:04 Europe/Berlin", "2026-07-02T01:04"),
            ("2026-01-02 03:04:05-07:30", "2026-01-02T10:34:05"),
            ("2026-01-02 03:04Z", "2026-01-02T03:04"),
        ] {
            assert_eq!(read_timestamptz(text), Ok(at(same)), "{text}");
        }
        for text in [
            "",
            "infinity",
            "2026-02-30",
            "0000-01-01",
            "2026-01-01 25:00",
            "2026",
            "1/2/2026",
            "x",
            "2026-01-01T",
        ] {
            assert!(read_timestamp(text).is_err(), "{text}");
        }
        assert_eq!(read_date("2026-01-02 03:04"), Ok(20_455));
        assert_eq!(read_time("10:00:00.5"), Ok(36_000_500_000));
        for text in ["2026-01-01 10:00", "10:00 CET", "2026-01-01 10:00 Europe/Berlin", "t10:00", "10:00+02"]
        {
            assert_eq!(read_time(text), Ok(36_000_000_000), "{text}");
        }
        for text in
            ["2026-01-01", "2026-01-01T10:00", "2026-02-30 10:00", "10:00 Europe/Berlin", "2026-01-01 1000"]
        {
            assert!(read_time(text).is_err(), "{text}");
        }
        assert!(read_time("24:00").is_err() && read_time("").is_err());
    }
}
