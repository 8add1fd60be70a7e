//! Kernels over bytes: decoding, packing, encoding, sorting, and the write of an epoch.

use anyhow::{Context, Result, anyhow};
use connectors::{MatchOptions, Matches};
use dataflows::arrange::updates::{ExchangeBuffer, by_key};
use dataflows::plan::Source;
use dataflows::runtime::state_tables::StateTables;
use dataflows::source::decoder;
use schemas::{Blobs, Decoder, Encoder, Ownership, Records, RowCodec, Rows};
use state::{Commit, Store, StoreOptions, Writes};

use super::measured_region;
use super::topology::{ROWS, plan_of, records};
use crate::paths::SHIPPED_TOPOLOGY;

/// Matches that are decoded.
const MATCHES: u64 = 500;
/// Rows of a small table.
const TABLE: &str = "CREATE SOURCE a (k INT, n BIGINT, name VARCHAR, share DOUBLE, won BOOLEAN)
WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT k FROM a;";

/// A table whose totals are written.
const KEYED: &str = "CREATE TABLE a (k BIGINT, n BIGINT, PRIMARY KEY (k))
WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT k, n FROM a;";

/// The decoder of a topology's source.
fn decoder_of(text: &str, name: &str) -> Result<(Source, Decoder)> {
    let plan = plan_of(text)?;
    let source = plan.sources.iter().find(|source| source.name == name).cloned();
    let source = source.with_context(|| format!("there is no source {name}"))?;
    let decoder = decoder::of(&source, &Default::default())?;
    Ok((source, decoder))
}

pub fn decode() -> Result<()> {
    let text = std::fs::read_to_string(SHIPPED_TOPOLOGY).context("cannot read the topology")?;
    let (_, mut decoder) = decoder_of(&text, "matches")?;
    let matches = Matches::new(MatchOptions { seed: 1, ..MatchOptions::default() });
    let (mut read, mut json) = (Records::new(0), Vec::new());
    for offset in 0..MATCHES {
        json.clear();
        let timestamp = matches.write_record(offset, &mut json);
        read.push(offset as i64, Some(timestamp), None, Some(&json));
    }
    measured_region(&mut || {
        let decoded = decoder.decode(&read)?;
        anyhow::ensure!(decoded.rows.len() as u64 == MATCHES, "a match was refused");
        Ok(())
    })
}

pub fn pack() -> Result<()> {
    let (source, mut decoder) = decoder_of(TABLE, "a")?;
    let batch = decoder.decode(&records(5_000))?.batch;
    let codec = RowCodec::of(&source.decoded)?;
    measured_region(&mut || {
        anyhow::ensure!(codec.encode(batch.columns())?.len() == ROWS, "a row is missing");
        Ok(())
    })
}

pub fn encode() -> Result<()> {
    let (source, mut decoder) = decoder_of(TABLE, "a")?;
    let batch = decoder.decode(&records(5_000))?.batch;
    let encoder = Encoder::json(&source.decoded)?;
    measured_region(&mut || {
        anyhow::ensure!(encoder.encode(&batch)?.len() == ROWS, "a row is missing");
        Ok(())
    })
}

pub fn sort() -> Result<()> {
    let mut parts = Vec::new();
    for part in 0..4 {
        let mut outgoing = ExchangeBuffer::new(1, &Ownership::default());
        for row in 0..ROWS as u64 / 4 {
            // Keys of which the messages share some, in no order.
            let key = ((row * 4 + part) * 7919 % (ROWS as u64 / 2)).to_be_bytes();
            outgoing.push_key(&key);
            outgoing.push_value(b"value", 1i64);
        }
        parts.extend(outgoing.into_updates());
    }
    measured_region(&mut || {
        let mut keys = 0;
        by_key(&mut parts, |_, _| keys += 1);
        anyhow::ensure!(keys == ROWS / 2, "{keys} keys");
        Ok(())
    })
}

pub fn commit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    let store = Store::open(&dir.path().join("state"), &options)?;
    let tables = StateTables::of(&plan_of(KEYED)?, None).map_err(|changed| anyhow!(changed.join(", ")))?;
    store.put_catalogue(&tables.catalogue("kernel"))?;
    let table_id = *tables.tables.get(&0).context("the table has no state")?;
    let (mut keys, mut values) = (Rows::new(), Blobs::new());
    for row in 0..ROWS as u64 {
        keys.push(&schemas::stored_key(&(row * 7919 % ROWS as u64).to_be_bytes()));
        values.push(Some(&[7; 60]));
    }
    let writes = vec![Writes { table_id, keys, values }];
    let mut commit = Some(Commit { epoch: 1, commit_ms: 1, writes, ..Commit::default() });
    measured_region(&mut || {
        let Some(commit) = commit.take() else { return Ok(()) };
        store.commit(commit)?;
        Ok(())
    })
}
