//! Disorder of the sample: the distance by which records come after later ones, and the watermark that waits for them.
//!
//! Partitions are measured apart, since a watermark is held for each. The sample is the beginning of the records:
//! later ones may be further out of order, and are then late.

use std::collections::HashMap;

use schemas::types::time::parse_timestamp;
use serde_json::{Map, Value};

use super::keys::non_null;
use super::record::SampleRecord;

const MINUTE_US: i64 = 60 * 1_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;
/// Intervals that a watermark may wait, in microseconds and in SQL.
const INTERVALS: [(i64, &str); 7] = [
    (MINUTE_US, "1 minute"),
    (5 * MINUTE_US, "5 minutes"),
    (15 * MINUTE_US, "15 minutes"),
    (30 * MINUTE_US, "30 minutes"),
    (HOUR_US, "1 hour"),
    (6 * HOUR_US, "6 hours"),
    (DAY_US, "1 day"),
];
/// Longest of the intervals.
const LONGEST: (i64, &str) = (7 * DAY_US, "7 days");

/// The distances by which records are out of order.
#[derive(Debug, Default, PartialEq)]
pub struct Disorder {
    /// Number of records measured.
    records: usize,
    /// Greatest distance by which the time of a record is below one before it, in microseconds.
    greatest: i64,
    /// Number of records that come later than the longest interval waits.
    beyond: usize,
}

impl Disorder {
    /// Measures the records that fit the columns, which have an object, by the column of their times.
    pub fn measure(time: &str, records: &[SampleRecord], objects: &[Option<Map<String, Value>>]) -> Disorder {
        let mut newest: HashMap<i32, i64> = HashMap::new();
        let mut found = Disorder::default();
        for (record, object) in records.iter().zip(objects) {
            let Some(fields) = object else { continue };
            let text = non_null(fields, time).and_then(Value::as_str);
            let Some(at) = text.and_then(parse_timestamp) else { continue };
            let newest = newest.entry(record.partition).or_insert(at);
            let distance = newest.saturating_sub(at);
            *newest = at.max(*newest);
            found.records += 1;
            found.greatest = found.greatest.max(distance);
            found.beyond += usize::from(distance >= LONGEST.0);
        }
        found
    }

    /// The interval in SQL: the next above the greatest distance, or the longest.
    pub fn interval(&self) -> &'static str {
        for (length, interval) in INTERVALS {
            if self.greatest < length {
                return interval;
            }
        }
        LONGEST.1
    }

    /// The reason for the interval, as lines of a comment. Only records of sources are late: a table takes them.
    pub fn comment(&self, is_source: bool) -> String {
        let records = if self.records == 1 { "record" } else { "records" };
        let measured = match self.greatest {
            0 => "none out of order".to_owned(),
            greatest => format!("of which the one furthest out of order came {} late", span(greatest)),
        };
        let interval = self.interval();
        let told = match (is_source, self.beyond) {
            (true, 0) => format!(
                "-- Later ones that come more than {interval} late are counted as late and rejected.\n"
            ),
            (true, n) => format!(
                "-- Those that come more than {interval} late are counted as late and rejected: {n} of the sample.\n"
            ),
            (false, _) => {
                format!("-- Later ones may come more than {interval} late: they still count in the table.\n")
            }
        };
        format!("-- WATERMARK: measured on {} {records}, {measured}.\n{told}", self.records)
    }
}

/// A length of time in words, rounded up.
fn span(us: i64) -> String {
    let (unit, name) = match us {
        ..=60_000_000 => (1_000_000, "second"),
        _ if us <= HOUR_US => (MINUTE_US, "minute"),
        _ if us <= DAY_US => (HOUR_US, "hour"),
        _ => (DAY_US, "day"),
    };
    let count = us / unit + i64::from(us % unit > 0);
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The disorder of records of these partitions and times.
    fn of(rows: &[(i32, &str)]) -> Disorder {
        let (mut records, mut objects) = (Vec::new(), Vec::new());
        for (partition, at) in rows {
            records.push(SampleRecord { partition: *partition, ..SampleRecord::default() });
            objects.push(json!({"at": at}).as_object().cloned());
        }
        Disorder::measure("at", &records, &objects)
    }

    #[test]
    fn the_next_round_interval_above_the_disorder_is_taken() {
        for (late, interval) in [
            ("2026-01-08T00:00:00Z", "1 minute"),
            ("2026-01-07T23:59:01Z", "1 minute"),
            ("2026-01-07T23:59:00Z", "5 minutes"),
            ("2026-01-07T23:50:00Z", "15 minutes"),
            ("2026-01-07T23:40:00Z", "30 minutes"),
            ("2026-01-07T23:30:00Z", "1 hour"),
            ("2026-01-07T23:00:00Z", "6 hours"),
            ("2026-01-07T12:00:00Z", "1 day"),
            ("2026-01-02T00:00:00Z", "7 days"),
            ("1970-01-01T00:00:00Z", "7 days"),
        ] {
            assert_eq!(of(&[(0, "2026-01-08T00:00:00Z"), (0, late)]).interval(), interval, "{late}");
        }
    }

    #[test]
    fn partitions_are_measured_apart() {
        let rows = [(0, "2026-01-01T05:00:00Z"), (1, "2026-01-01T00:00:00Z"), (0, "2026-01-01T04:58:00Z")];
        let found = of(&rows);
        assert_eq!((found.records, found.greatest, found.interval()), (3, 2 * MINUTE_US, "5 minutes"));
        let comment = found.comment(true);
        assert!(comment.contains("on 3 records") && comment.contains("came 2 minutes late"), "{comment}");
        assert!(of(&rows[..2]).comment(true).contains("none out of order"));
        assert_eq!(of(&[]).interval(), "1 minute");
    }

    #[test]
    fn records_beyond_the_longest_interval_are_told() {
        let found = of(&[(0, "2026-01-09T00:00:00Z"), (0, "2026-01-01T00:00:00Z")]);
        assert_eq!((found.beyond, span(found.greatest).as_str()), (1, "8 days"));
        let told = found.comment(true);
        assert!(told.ends_with("are counted as late and rejected: 1 of the sample.\n"), "{told}");
        let told = found.comment(false);
        assert!(!told.contains("rejected") && told.contains("more than 7 days late"), "{told}");
    }
}
