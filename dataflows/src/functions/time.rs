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
use udf::{checked_function, function};

/// Name of the function that gives an interval's length, by which intervals are compared.
pub(crate) const LENGTH: &str = "herald_interval_length";

/// Returns these functions.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![
        checked_function("extract", &[], part::EXTRACT, Some(part::CHECK_EXTRACT)),
        checked_function("date_part", &["datepart"], part::DATE_PART, Some(part::CHECK_PART)),
        checked_function("date_trunc", &["datetrunc"], trunc::DATE_TRUNC, Some(trunc::CHECK_TRUNC)),
        checked_function("date_bin", &[], trunc::DATE_BIN, Some(trunc::CHECK_BIN)),
        checked_function("timezone", &[], make::TIMEZONE, Some(make::CHECK_ZONE)),
        checked_function("to_char", &[], pattern::TO_CHAR, None),
        checked_function("timestampdiff", &[], apart::TIMESTAMPDIFF, Some(apart::CHECK_WHOLE)),
        checked_function("datediff", &["date_diff"], apart::DATEDIFF, Some(apart::CHECK_BEGUN)),
        checked_function("timestamp_trunc", &[], apart::TIMESTAMP_TRUNC, Some(apart::CHECK_TRUNCATED)),
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
