//! The limit: reads a topic with Herald's reader, decodes it with Herald's decoder into the columns
//! that the topology declares, and drops them.
//!
//! One thread, no keys, no headers, no state: the least work that a reader of these records can do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use connectors::{Reader, SourceConfig, SourceConnector};
use dataflows::plan::Source;
use dataflows::sql::{self, SqlFile};
use schemas::{Decoder, JsonDecoder, JsonOptions};

const POLL_RECORDS: usize = 16_384;
const POLL_BYTES: usize = 8 << 20;

/// Runs in the child, with `TOPOLOGY BOOTSTRAP`. Prints the records read and the rows decoded.
///
/// # Errors
/// When the topology or the topic cannot be read.
pub fn run_child(arguments: &[String]) -> Result<()> {
    let [topology, bootstrap] = arguments else { anyhow::bail!("limit needs a topology and a broker") };
    let source = matches_table(topology, bootstrap)?;
    let config = SourceConfig {
        name: "herald-bench-limit".to_owned(),
        connector: SourceConnector::from_options(&source.options)?,
        want_headers: false,
        want_keys: false,
    };
    let options = JsonOptions { timestamp_unit: None };
    let mut decoder = Decoder::Json(JsonDecoder::new(source.decoded.clone(), options)?);
    let mut reader = Reader::open(&config, &BTreeMap::new())?;
    reader.stop_at_end()?;
    let (mut read, mut rows) = (0u64, 0u64);
    while !reader.bounded_done() {
        for records in reader.poll(POLL_RECORDS, POLL_BYTES, Duration::from_millis(50))? {
            let decoded = decoder.decode(&records)?;
            read += records.len() as u64;
            rows += decoded.batch.num_rows() as u64;
            ensure!(decoded.rejects.len() + decoded.rows.len() == records.len(), "a record was lost");
        }
    }
    println!("{read} read, {rows} decoded");
    Ok(())
}

/// Plans the topology and returns its source `matches`.
fn matches_table(topology: &str, bootstrap: &str) -> Result<Source> {
    let text = std::fs::read_to_string(topology).context("cannot read the topology")?;
    let files = [SqlFile { name: topology.to_owned(), text }];
    let env = |name: &str| (name == "KAFKA_BOOTSTRAP").then(|| bootstrap.to_owned());
    let read_file = |path: &str| std::fs::read_to_string(path);
    let plan = sql::compile(&files, &env, &read_file, &|_| Ok(None));
    let plan = plan.map_err(|errors| match errors.into_iter().next() {
        Some(error) => anyhow::Error::new(error),
        None => anyhow::anyhow!("the topology is refused"),
    })?;
    let source = plan.sources.into_iter().find(|source| source.name == "matches");
    source.context("the topology has no table matches")
}
