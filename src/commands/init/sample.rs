//! Samples of a source's records: the first of them, as a source would read them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use connectors::{Reader, SourceConfig, SourceConnector};
use schemas::Records;

/// Most bytes that one poll reads.
const POLL_BYTES: usize = 16 << 20;
/// Longest time for which the sample is read.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the first records of a source with these options, at least `most` if there are as many.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn read_sample(
    name: &str,
    options: &BTreeMap<String, String>,
    most: usize,
) -> Result<Vec<Records>> {
    let connector = SourceConnector::from_options(options)?;
    let config = SourceConfig { name: name.to_owned(), connector, want_headers: false, want_keys: true };
    let mut reader = Reader::open(&config, &BTreeMap::new())?;
    reader.stop_at_end()?;
    let (mut found, mut count, begun) = (Vec::new(), 0, Instant::now());
    while count < most && !reader.bounded_done() && begun.elapsed() < SAMPLE_TIMEOUT {
        for records in reader.poll(most - count, POLL_BYTES, Duration::from_millis(200))? {
            count += records.len();
            found.push(records);
        }
    }
    Ok(found)
}
