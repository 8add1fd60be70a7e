//! Numbers, bytes and times in PostgreSQL's spelling, for rows and for JSON.

use std::io::Write;

use schemas::types::time::civil_of_days;

use super::super::sql::zone::Zone;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Appends bytes as `\x` and hexadecimal digits.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + 2 * bytes.len());
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Appends a number with at least two digits.
fn write_two(out: &mut Vec<u8>, number: i64) {
    let _ = write!(out, "{number:02}");
}

/// Appends year, month and day without the era; returns true for a year before Christ.
fn write_civil(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_of_days(days);
    let (shown, before) = if year > 0 { (year, false) } else { (1 - year, true) };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    before
}

fn write_era(out: &mut Vec<u8>, before: bool) {
    if before {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a date, in days since 1970.
pub fn write_date(out: &mut Vec<u8>, days: i64) {
    let before = write_civil(out, days);
    write_era(out, before);
}

/// Appends a time of day, in microseconds.
pub fn write_clock(out: &mut Vec<u8>, us: i64) {
    let (seconds, mut fraction) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    write_two(out, seconds / 3600);
    out.push(b':');
    write_two(out, seconds / 60 % 60);
    out.push(b':');
    write_two(out, seconds % 60);
    if fraction == 0 {
        return;
    }
    let mut digits = 6;
    while fraction % 10 == 0 {
        fraction /= 10;
        digits -= 1;
    }
    let _ = write!(out, ".{fraction:0digits$}");
}

/// Appends a time without zone, in microseconds since 1970.
pub fn write_timestamp(out: &mut Vec<u8>, us: i64, between: u8) {
    let before = write_civil(out, us.div_euclid(DAY_US));
    out.push(between);
    write_clock(out, us.rem_euclid(DAY_US));
    write_era(out, before);
}

/// Appends a point in time as the clock of a zone shows it, with the zone's offset.
pub fn write_timestamptz(out: &mut Vec<u8>, us: i64, zone: Zone, between: u8) {
    let ahead = zone.seconds_ahead(us);
    let shown = us.saturating_add(i64::from(ahead) * 1_000_000);
    let before = write_civil(out, shown.div_euclid(DAY_US));
    out.push(between);
    write_clock(out, shown.rem_euclid(DAY_US));
    write_offset(out, ahead, between == b'T');
    write_era(out, before);
}

/// Appends an offset: hours, and minutes and seconds where they are not zero or `minutes` is set.
fn write_offset(out: &mut Vec<u8>, ahead: i32, minutes: bool) {
    let length = i64::from(ahead.abs());
    out.push(if ahead < 0 { b'-' } else { b'+' });
    write_two(out, length / 3600);
    if minutes || length % 3600 != 0 {
        out.push(b':');
        write_two(out, length / 60 % 60);
    }
    if length % 60 != 0 {
        out.push(b':');
        write_two(out, length % 60);
    }
}
