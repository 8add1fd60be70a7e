//! Functions, operators and casts of times: DATE, TIME, TIMESTAMP, TIMESTAMPTZ and INTERVAL.
//!
//! They mean what PostgreSQL's mean in a session whose zone is UTC, and stand in for DataFusion's of
//! the same name, which count in other units or read other patterns. Everything is in microseconds.
//! Names that begin with `herald_` are planned for operators and casts and are not written.

mod apart;
mod calendar;
mod casts;
mod make;
mod operators;
mod part;
mod pattern;
mod read;
mod scan;
mod span;
mod trunc;
mod udf;
mod zone;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

pub(crate) use calendar::FIRST_US;
pub(crate) use casts::cast;
pub(crate) use operators::{Operators, in_days, length, negative};
use udf::{function, made};

/// The length of an interval, by which intervals are compared.
pub(crate) const LENGTH: &str = "herald_interval_length";

/// All of them.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![
        made("extract", &[], part::EXTRACT, Some(part::CHECK_EXTRACT)),
        made("date_part", &["datepart"], part::DATE_PART, Some(part::CHECK_PART)),
        made("date_trunc", &["datetrunc"], trunc::DATE_TRUNC, Some(trunc::CHECK_TRUNC)),
        made("date_bin", &[], trunc::DATE_BIN, Some(trunc::CHECK_BIN)),
        made("timezone", &[], make::TIMEZONE, Some(make::CHECK_ZONE)),
        made("to_char", &[], pattern::TO_CHAR, None),
        made("timestampdiff", &[], apart::TIMESTAMPDIFF, Some(apart::CHECK_WHOLE)),
        made("datediff", &["date_diff"], apart::DATEDIFF, Some(apart::CHECK_BEGUN)),
        made("timestamp_trunc", &[], apart::TIMESTAMP_TRUNC, Some(apart::CHECK_TRUNCATED)),
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
        made("to_timestamp_seconds", &["from_unixtime"], make::OF_SECONDS, None),
        function("to_unixtime", make::TO_UNIXTIME),
    ];
    all.extend(operators::functions());
    all.extend(casts::functions());
    all
}
