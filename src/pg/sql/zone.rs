//! Time zones of a session: TIMESTAMPTZ is sent as text in the session's zone, and read in it where it names
//! none.
//!
//! Queries compute in UTC, whatever the zone.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// UTC.
    Utc,
    /// So many seconds ahead of UTC.
    Fixed(i32),
    /// A zone of the time zone database.
    Named(Tz),
}

impl Zone {
    /// The zone of a setting's value, and its name in the right case. Names, hours ahead of UTC (`2`,
    /// `-3.5`), offsets in ISO 8601 (`+05:30`) and POSIX's form, which counts westwards (`GMT-2`), are known.
    pub fn parse(text: &str) -> Option<(Zone, String)> {
        let text = text.trim();
        let of_utc = ["UTC", "GMT", "Z", "Zulu", "Etc/UTC", "Universal"];
        if let Some(name) = of_utc.into_iter().find(|name| name.eq_ignore_ascii_case(text)) {
            return Some((Zone::Utc, name.to_owned()));
        }
        if let Some(zone) = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text)) {
            return Some((Zone::Named(*zone), zone.name().to_owned()));
        }
        if let Ok(hours) = text.parse::<f64>()
            && hours.abs() <= 15.0
            && !text.starts_with('+')
        {
            let seconds = (hours * 3600.0).round() as i32;
            return Some((Zone::Fixed(seconds), posix_name(seconds)));
        }
        let sign = text.find(['+', '-'])?;
        let (name, offset) = text.split_at(sign);
        let ahead = read_offset(&offset[1..])?;
        let ahead = if offset.starts_with('-') { -ahead } else { ahead };
        match name {
            "" => Some((Zone::Fixed(ahead), posix_name(ahead))),
            // POSIX counts hours west of Greenwich.
            _ if name.chars().all(|c| c.is_ascii_alphabetic()) => {
                Some((Zone::Fixed(-ahead), text.to_owned()))
            }
            _ => None,
        }
    }

    /// Seconds that the zone's clock is ahead of UTC at a time, in microseconds since 1970.
    pub fn seconds_ahead(self, us: i64) -> i32 {
        match self {
            Zone::Utc => 0,
            Zone::Fixed(seconds) => seconds,
            Zone::Named(zone) => match DateTime::from_timestamp(us.div_euclid(1_000_000), 0) {
                Some(at) => zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc(),
                None => 0,
            },
        }
    }

    /// The time in UTC at which the zone's clock shows `us`. Of two, the later one; in a gap, as if the clock
    /// had not been put forward yet.
    pub fn to_utc(self, us: i64) -> i64 {
        let ahead = match self {
            Zone::Named(zone) => local_offset(zone, us),
            other => other.seconds_ahead(us),
        };
        us.saturating_sub(i64::from(ahead) * 1_000_000)
    }
}

/// Seconds that a zone's clock is ahead of UTC when it shows `us`.
fn local_offset(zone: Tz, us: i64) -> i32 {
    let Some(shown) = local_time(us) else { return 0 };
    let found = zone.offset_from_local_datetime(&shown);
    let before = || Zone::Named(zone).seconds_ahead(us.saturating_sub(86_400_000_000));
    found.latest().map_or_else(before, |offset| offset.fix().local_minus_utc())
}

/// A time of a clock.
fn local_time(us: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp(us.div_euclid(1_000_000), 0).map(|at| at.naive_utc())
}

/// Seconds of `2`, `05:30` or `0530`.
fn read_offset(text: &str) -> Option<i32> {
    let (hours, minutes) = match text.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if text.len() == 4 => text.split_at(2),
        None => (text, "0"),
    };
    let number = |digits: &str| -> Option<i32> {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            None
        } else {
            digits.parse().ok()
        }
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours <= 15 && minutes < 60 { Some(hours * 3600 + minutes * 60) } else { None }
}

/// PostgreSQL's name of a zone that is so many seconds ahead: `<+02>-02`.
fn posix_name(seconds: i32) -> String {
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    let clock = if minutes == 0 { format!("{hours:02}") } else { format!("{hours:02}:{minutes:02}") };
    let (east, west) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
    format!("<{east}{clock}>{west}{clock}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_and_offsets() {
        let berlin = Zone::parse("europe/berlin");
        assert_eq!(berlin.as_ref().map(|(_, name)| name.as_str()), Some("Europe/Berlin"));
        for (text, zone, name) in [
            ("utc", Zone::Utc, "UTC"),
            ("2", Zone::Fixed(7200), "<+02>-02"),
            ("-3.5", Zone::Fixed(-12_600), "<-03:30>+03:30"),
            ("+05:30", Zone::Fixed(19_800), "<+05:30>-05:30"),
            ("GMT-2", Zone::Fixed(7200), "GMT-2"),
        ] {
            assert_eq!(Zone::parse(text), Some((zone, name.to_owned())), "{text}");
        }
        for text in ["nowhere", "", "+99", "a/b+2", "25"] {
            assert_eq!(Zone::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_is_ahead_by_the_season() {
        let zone = Zone::Named(Tz::Europe__Berlin);
        let (winter, summer) = (1_767_225_600_000_000, 1_782_864_000_000_000);
        assert_eq!((zone.seconds_ahead(winter), zone.seconds_ahead(summer)), (3600, 7200));
        assert_eq!(zone.to_utc(winter + 3_600_000_000), winter);
        assert_eq!(zone.to_utc(summer + 7_200_000_000), summer);
        assert_eq!(zone.seconds_ahead(i64::MAX), 0);
    }
}
