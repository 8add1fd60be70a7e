//! PostgreSQL's text of an interval.

use std::io::Write;

use super::{HOUR_US, Span};
use crate::types::time::SECOND_US;

/// Appends a text like `1 year 2 mons 3 days 04:05:06.7`; parts of 0 are left out, and a positive part
/// after a negative one gets a plus sign.
pub(super) fn write(span: Span, out: &mut Vec<u8>) {
    let (mut first, mut before) = (true, false);
    let parts = [(span.months / 12, "year"), (span.months % 12, "mon"), (span.days, "day")];
    for (value, unit) in parts {
        if value == 0 {
            continue;
        }
        let blank = if first { "" } else { " " };
        let plus = if before && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{blank}{plus}{value} {unit}{plural}");
        (first, before) = (false, value < 0);
    }
    if span.us == 0 && !first {
        return;
    }
    if !first {
        out.push(b' ');
    }
    if span.us < 0 {
        out.push(b'-');
    } else if before {
        out.push(b'+');
    }
    let us = span.us.unsigned_abs();
    let (hour, second) = (HOUR_US.unsigned_abs(), SECOND_US.unsigned_abs());
    let seconds = us / second;
    let _ = write!(out, "{:02}:{:02}:{:02}", us / hour, seconds / 60 % 60, seconds % 60);
    let fraction = us % second;
    if fraction > 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}
