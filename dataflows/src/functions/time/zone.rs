//! Time zones: IANA's by name, PostgreSQL's abbreviations, and fixed offsets.
//!
//! A local time that a change of clocks skips is read with the offset before the change, one that occurs
//! twice with the offset after it, as in PostgreSQL. An offset used as a name is POSIX's: `+02` is two hours
//! west of Greenwich. IANA's tables end in 2100; a later year uses the rules of the last years, by one that
//! begins on the same weekday.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion_common::{Result, ScalarValue};
use schemas::types::time::{DAY_US, SECOND_US, civil_of_days, days_of_civil};

use super::calendar::in_range;
use super::udf::{TimeResult, check_outcome, constant_text};

/// The year from which on the tables have no entries.
const LAST_YEAR: i64 = 2100;

/// Abbreviations with a fixed offset, in minutes east of Greenwich; PostgreSQL looks them up before names.
const ABBREVIATIONS: [(&str, i64); 36] = [
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("zulu", 0),
    ("uct", 0),
    ("ut", 0),
    ("wet", 0),
    ("bst", 60),
    ("cet", 60),
    ("met", 60),
    ("cest", 120),
    ("mest", 120),
    ("eet", 120),
    ("ist", 120),
    ("sast", 120),
    ("eest", 180),
    ("msk", 180),
    ("hkt", 480),
    ("pht", 480),
    ("sgt", 480),
    ("jst", 540),
    ("kst", 540),
    ("aest", 600),
    ("aedt", 660),
    ("nzst", 720),
    ("nzdt", 780),
    ("brt", -180),
    ("edt", -240),
    ("est", -300),
    ("cdt", -300),
    ("cst", -360),
    ("mdt", -360),
    ("mst", -420),
    ("pdt", -420),
    ("pst", -480),
    ("hst", -600),
];

/// A time zone.
#[derive(Clone, Debug)]
pub(super) enum Zone {
    /// A fixed offset, in microseconds east of Greenwich.
    Fixed(i64),
    /// A zone of IANA's tables.
    Rules(Tz),
}

impl Zone {
    /// Finds the zone of a name.
    pub fn find_by_name(name: &str) -> TimeResult<Zone> {
        find_zone(name.trim()).ok_or_else(|| format!("there is no time zone called '{name}'"))
    }

    /// Returns the offset from UTC at an instant, in microseconds.
    pub fn offset_at(&self, us: i64) -> i64 {
        let tz = match self {
            Zone::Fixed(us) => return *us,
            Zone::Rules(tz) => tz,
        };
        let instant = DateTime::from_timestamp(within_tables(us).div_euclid(SECOND_US), 0);
        let Some(at) = instant else { return 0 };
        i64::from(tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * SECOND_US
    }

    /// Returns the local time of an instant.
    pub fn to_local(&self, us: i64) -> TimeResult<i64> {
        in_range(us.checked_add(self.offset_at(us)))
    }

    /// Returns the instant of a local time.
    pub fn to_instant(&self, local: i64) -> TimeResult<i64> {
        let (early, late) = (local.saturating_sub(DAY_US), local.saturating_add(DAY_US));
        let (before, after) = (self.offset_at(early), self.offset_at(late));
        if before == after {
            return instant_by_offset(local, before);
        }
        let change = self.find_change(early, late, before);
        // A candidate is valid if it lies on its own side of the change. If neither is (a skipped time) or
        // both are (a repeated one), the later instant is the result.
        let (as_before, as_after) = (instant_by_offset(local, before)?, instant_by_offset(local, after)?);
        if as_before < change && as_after < change {
            return Ok(as_before);
        }
        if as_before >= change && as_after >= change {
            return Ok(as_after);
        }
        Ok(as_before.max(as_after))
    }

    /// Finds the first instant of (`from`, `to`] whose offset is not `before`, by binary search.
    fn find_change(&self, from: i64, to: i64, before: i64) -> i64 {
        let (mut low, mut high) = (from.div_euclid(SECOND_US), to.div_euclid(SECOND_US));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset_at(middle * SECOND_US) == before { low = middle } else { high = middle }
        }
        high * SECOND_US
    }
}

fn find_zone(word: &str) -> Option<Zone> {
    let lower = word.to_lowercase();
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(known, _)| *known == lower) {
        return Some(Zone::Fixed(minutes * 60 * SECOND_US));
    }
    if word.starts_with(['+', '-']) || starts_with_digit(word) {
        return Some(Zone::Fixed(-parse_offset(word)?));
    }
    let tz = chrono_tz::TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(word))?;
    Some(Zone::Rules(*tz))
}

/// Returns the instant of a local time with a known offset from UTC.
fn instant_by_offset(local: i64, offset: i64) -> TimeResult<i64> {
    in_range(local.checked_sub(offset))
}

/// Refuses a constant argument that is no zone.
pub(super) fn check_constant_zone(args: &[Option<&ScalarValue>], at: usize) -> Result<()> {
    match constant_text(args, at) {
        Some(zone) => check_outcome(Zone::find_by_name(zone)),
        None => Ok(()),
    }
}

/// Returns the same time in a year of the tables with the same length and the same weekdays.
fn within_tables(us: i64) -> i64 {
    let (year, ..) = civil_of_days(us.div_euclid(DAY_US));
    if year < LAST_YEAR {
        return us;
    }
    let years = LAST_YEAR - 28..LAST_YEAR;
    let like = years.rev().find(|of| have_same_days(*of, year)).unwrap_or(LAST_YEAR - 1);
    us - (first_day(year) - first_day(like)) * DAY_US
}

/// Returns true if two years have the same length and the same weekdays.
fn have_same_days(a: i64, b: i64) -> bool {
    (first_day(a) - first_day(b)) % 7 == 0
        && first_day(a + 1) - first_day(a) == first_day(b + 1) - first_day(b)
}

fn first_day(year: i64) -> i64 {
    days_of_civil(year, 1, 1)
}

/// Parses `+HH`, `+HH:MM[:SS]` or `+HHMM` to microseconds, with its sign.
pub(super) fn parse_offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let parts: Vec<&str> = if digits.contains(':') {
        digits.split(':').collect()
    } else if digits.len() > 2 && digits.is_ascii() {
        let (hours, minutes) = digits.split_at(digits.len() - 2);
        vec![hours, minutes]
    } else {
        vec![digits]
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for (at, part) in parts.iter().enumerate() {
        let limit = if at == 0 { 15 } else { 59 };
        seconds += parse_short_number(part, limit)? * unit;
        unit /= 60;
    }
    (parts.len() <= 3).then_some(sign * seconds * SECOND_US)
}

/// Parses a whole number of at most two characters, from 0 to `most`.
pub(super) fn parse_short_number(text: &str, most: i64) -> Option<i64> {
    let number = text.parse::<i64>().ok()?;
    (text.len() <= 2 && (0..=most).contains(&number)).then_some(number)
}

/// Returns true if the first character is a digit of ASCII.
pub(super) fn starts_with_digit(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        schemas::types::time::parse_timestamp(text).unwrap()
    }

    /// Each pair is PostgreSQL's.
    #[test]
    fn clocks_change_as_postgresql_has_it() {
        let berlin = Zone::find_by_name("europe/berlin").unwrap();
        for (local, instant) in [
            ("2020-03-29T01:59:59", "2020-03-29T00:59:59"),
            ("2020-03-29T02:30:00", "2020-03-29T01:30:00"),
            ("2020-03-29T03:00:00", "2020-03-29T01:00:00"),
            ("2020-10-25T01:30:00", "2020-10-24T23:30:00"),
            ("2020-10-25T02:30:00", "2020-10-25T01:30:00"),
            ("2020-10-25T03:00:00", "2020-10-25T02:00:00"),
            ("2500-07-01T12:00:00", "2500-07-01T10:00:00"),
            ("9999-12-31T23:59:59", "9999-12-31T22:59:59"),
        ] {
            assert_eq!(berlin.to_instant(at(local)), Ok(at(instant)), "{local}");
        }
        assert_eq!(berlin.to_local(at("2026-01-31T23:30:00")), Ok(at("2026-02-01T00:30:00")));
        // In any zone, the instant of a local time has that local time.
        for name in
            ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
        {
            let zone = Zone::find_by_name(name).unwrap();
            for step in 0..20_000 {
                let us = at("1890-01-01") + step * 401_903 * SECOND_US;
                let local = zone.to_local(us).unwrap();
                let back = zone.to_instant(local).unwrap();
                assert_eq!(zone.to_local(back), Ok(local), "{name} {us}");
                assert!((back - us).abs() <= DAY_US, "{name} {us}");
            }
        }
        let posix = Zone::find_by_name("+02").unwrap();
        assert_eq!(posix.to_local(at("2020-01-01")), Ok(at("2019-12-31T22:00:00")));
        assert!(
            Zone::find_by_name("CET").is_ok()
                && Zone::find_by_name("Mars/Base").is_err()
                && Zone::find_by_name("+99").is_err()
        );
    }
}
