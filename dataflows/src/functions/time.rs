//! Functions, operators and casts of times: DATE, TIME, TIMESTAMP, TIMESTAMPTZ and INTERVAL.
//!
//! They behave as PostgreSQL's in a session whose time zone is UTC, and replace DataFusion's functions of the
//! same name, which count in other units or read other patterns. All values are in microseconds. Names that
//! begin with `herald_` implement operators and casts; no query calls them by name.

mod apart;
mod calendar;
mod casts;
mod make;
mod operators;
mod part;
mod pattern;
mod read;
mod span;
mod trunc;
mod udf;
mod zone;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

pub(crate) use calendar::FIRST_US;
pub(crate) use casts::cast;
pub(crate) use operators::{TimeOperators, in_days, length, negative};
pub(crate) use udf::overloads;

use super::eval::about::{About, about};
use udf::{checked_function, function};

/// Name of the function that gives an interval's length, by which intervals are compared.
pub(crate) const LENGTH: &str = "herald_interval_length";

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about("extract", "A field of a time: `extract(year FROM t)`."),
    about("date_part datepart", "A field of a time by its name: `date_part('year', t)`."),
    about(
        "date_trunc datetrunc",
        "Beginning of the unit a time is in: `date_trunc('hour', t)`; of the local time of a zone.",
    ),
    about(
        "date_bin",
        "Beginning of the interval a time is in, counted from the third argument, or 1970-01-01.",
    ),
    about(
        "timezone",
        "A point in time as local time of a zone, and back; `t AT TIME ZONE zone` is the same.",
    ),
    about("to_char", "A number or a time as text, by a pattern as in PostgreSQL."),
    about("timestampdiff", "Number of whole units from one time to another: `timestampdiff(DAY, a, b)`."),
    about(
        "datediff date_diff",
        "Number of beginnings of a unit between two times; `datediff(b, a)` is in days.",
    ),
    about("timestamp_trunc", "Beginning of the unit a time is in: `timestamp_trunc(t, 'hour')`."),
    about("age", "Years, months, days and time from the second time to the first."),
    about("isfinite", "True for every time."),
    about("justify_days", "The interval with 30 days as a month."),
    about("justify_hours", "The interval with 24 hours as a day."),
    about("justify_interval", "The interval with both, and one sign."),
    about("make_date", "DATE of year, month and day."),
    about(
        "make_interval",
        "INTERVAL of years, months, weeks, days, hours, minutes, seconds: `make_interval(days => 3)`.",
    ),
    about("make_time", "TIME of hour, minute and second."),
    about("make_timestamp", "TIMESTAMP of year, month, day, hour, minute and second."),
    about("make_timestamptz", "TIMESTAMPTZ of the same, in UTC or in a zone."),
    about("to_date", "DATE of a text in ISO-8601, or by a pattern as in PostgreSQL."),
    about("to_time", "TIME of a text."),
    about("to_timestamp", "TIMESTAMPTZ of seconds since 1970, of a text in ISO-8601, or by a pattern."),
    about("to_timestamp_seconds from_unixtime", "TIMESTAMP of seconds since 1970."),
    about("to_timestamp_millis", "TIMESTAMP of milliseconds since 1970."),
    about("to_timestamp_micros", "TIMESTAMP of microseconds since 1970."),
    about("to_timestamp_nanos", "TIMESTAMP of nanoseconds since 1970, cut to microseconds."),
    about("to_unixtime", "Whole seconds since 1970."),
];

/// Returns these functions.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![
        checked_function("extract", &[], part::EXTRACT, Some(part::check_extract)),
        checked_function("date_part", &["datepart"], part::DATE_PART, Some(part::check_part)),
        checked_function("date_trunc", &["datetrunc"], trunc::DATE_TRUNC, Some(trunc::check_trunc)),
        checked_function("date_bin", &[], trunc::DATE_BIN, Some(trunc::check_bin)),
        checked_function("timezone", &[], make::TIMEZONE, Some(make::check_zone)),
        checked_function("to_char", &[], pattern::TO_CHAR, None),
        checked_function("timestampdiff", &[], apart::TIMESTAMPDIFF, Some(apart::check_whole)),
        checked_function("datediff", &["date_diff"], apart::DATEDIFF, Some(apart::check_begun)),
        checked_function("timestamp_trunc", &[], apart::TIMESTAMP_TRUNC, Some(apart::check_truncated)),
        function("age", span::AGE),
        function("isfinite", make::ISFINITE),
        function("justify_days", span::JUSTIFY_DAYS),
        function("justify_hours", span::JUSTIFY_HOURS),
        function("justify_interval", span::JUSTIFY_INTERVAL),
        function("make_date", make::MAKE_DATE),
        function("make_interval", span::MAKE_INTERVAL),
        function("make_time", make::MAKE_TIME),
        function("make_timestamp", make::MAKE_TIMESTAMP),
        function("make_timestamptz", make::MAKE_TIMESTAMPTZ),
        function("to_date", make::TO_DATE),
        function("to_time", make::TO_TIME),
        function("to_timestamp", make::TO_TIMESTAMP),
        function("to_timestamp_micros", make::OF_MICROS),
        function("to_timestamp_millis", make::OF_MILLIS),
        function("to_timestamp_nanos", make::OF_NANOS),
        checked_function("to_timestamp_seconds", &["from_unixtime"], make::OF_SECONDS, None),
        function("to_unixtime", make::TO_UNIXTIME),
    ];
    all.extend(operators::functions());
    all.extend(casts::functions());
    all
}
