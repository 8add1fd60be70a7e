//! The wall clock: commits, published records and replays take their time from here, so that the failpoint
//! `clock.ahead_ms` moves all of them together.

use std::time::{SystemTime, UNIX_EPOCH};

use fail::fail_point;

/// Milliseconds since 1970 by this machine's clock; 0 if the clock is before that.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    fail_point!("clock.ahead_ms", |by: Option<String>| now + by.and_then(|by| by.parse().ok()).unwrap_or(0));
    now
}
