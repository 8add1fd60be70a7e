//! Values of flags: times, sizes and counts.

use std::time::Duration;

use crate::driver::budget;

/// Parses a time such as `100ms`, `30s`, `5m` or `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit: 100ms, 30s, 5m or 1h".to_owned()),
    };
    let number: f64 =
        digits.trim().parse().map_err(|_| "write a number and a unit: 100ms, 30s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * unit)
        .map_err(|_| "must not be below zero, or beyond counting".to_owned())
}

/// Parses a size such as `512MiB` or `4GiB`.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes >= budget::MIN_BYTES => Ok(bytes),
        _ => Err(format!("must be at least {} MiB", budget::MIN_BYTES >> 20)),
    }
}

pub fn parse_disk(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_bytes(text) }
}

/// A number of bytes with a unit.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20)];
    let parsed = units.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    parsed.ok_or_else(|| "write a number and a unit: 512MiB or 4GiB".to_owned())
}

pub fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_millis(1) || time > Duration::from_secs(60) {
        return Err("must lie between 1ms and 60s".to_owned());
    }
    Ok(time)
}

pub fn parse_query_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_millis(100) || time > Duration::from_secs(3000) {
        return Err("must lie between 100ms and 50m".to_owned());
    }
    Ok(time)
}

pub fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (8..=16_384).contains(&count) => Ok(count),
        _ => Err("must be a number from 8 to 16384".to_owned()),
    }
}

pub fn parse_subscribers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= 16_384 => Ok(count),
        _ => Err("must be a number from 0 to 16384".to_owned()),
    }
}

/// Most workers of a run: more threads than any machine has cores for.
pub const MAX_WORKERS: usize = 256;

pub fn parse_workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_WORKERS).contains(&count) => Ok(count),
        _ => Err(format!("must be a number from 1 to {MAX_WORKERS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["100", "s", "-1s", "1d", "", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_interval("0ms").is_err());
        assert!(parse_interval("2m").is_err());
    }

    #[test]
    fn memory_has_a_unit_and_a_least() {
        assert_eq!(parse_memory("2GiB"), Ok(budget::DEFAULT_BYTES));
        assert_eq!(parse_memory("512MiB"), Ok(512 << 20));
        for bad in ["2", "2GB", "-1GiB", "64MiB", "99999999999999GiB"] {
            assert!(parse_memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subscribers_may_be_none() {
        assert_eq!(parse_subscribers("0"), Ok(0));
        assert!(parse_subscribers("-1").is_err() && parse_subscribers("16385").is_err());
    }

    #[test]
    fn workers_are_bounded() {
        assert_eq!(parse_workers("256"), Ok(256));
        assert!(parse_workers("0").is_err());
        assert!(parse_workers("257").is_err());
    }
}
