//! The commit of an epoch with 100,000 changed rows: its rows as one value, each as a put, and each as a put whose count is
//! read before.

use anyhow::{Context, Result};
use schemas::{Blobs, Rows};
use state::{Commit, Counts, OutboxChunk, Store, Writes};

use super::{Spent, new_store};
use crate::kernels::plan_of;

/// Changed rows of an epoch.
const ROWS: u64 = 100_000;
/// Epochs of each form.
const EPOCHS: u64 = 20;
/// Bytes of a row without its key.
const ROW_BYTES: usize = 60;

const TOPOLOGY: &str = "CREATE TABLE a (k BIGINT, n BIGINT, PRIMARY KEY (k))
WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE b (k BIGINT, n BIGINT) WITH (connector = 'file', path = 'b') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT k, n FROM b;";

/// A form of an epoch's rows in the state.
#[derive(Clone, Copy)]
enum Form {
    Value,
    Puts,
    Counts,
}

/// Runs the experiment.
///
/// # Errors
/// When a commit fails.
pub(super) fn run() -> Result<()> {
    let mut of_puts = f64::MAX;
    println!("{EPOCHS} epochs of {ROWS} changed rows over five times as many keys.\n");
    println!(
        "| an epoch's rows | CPU us a row | bytes written a row | beside puts |\n| --- | ---: | ---: | ---: |"
    );
    for (name, form) in
        [("puts", Form::Puts), ("one value", Form::Value), ("puts, each count read first", Form::Counts)]
    {
        let spent = measure(form)?;
        let cpu_us = spent.cpu_s * 1e6 / (ROWS * EPOCHS) as f64;
        if matches!(form, Form::Puts) {
            of_puts = cpu_us;
        }
        let bytes = spent.written / (ROWS * EPOCHS);
        println!("| {name} | {cpu_us:.2} | {bytes} | {:.2} |", cpu_us / of_puts);
    }
    Ok(())
}

/// Commits the epochs of one form, and waits for what the state does behind them.
fn measure(form: Form) -> Result<Spent> {
    let dir = tempfile::tempdir()?;
    let (store, tables) = new_store(&dir.path().join("state"), &plan_of(TOPOLOGY)?)?;
    let table_id = match form {
        Form::Value | Form::Puts => *tables.tables.get(&0).context("the table has no state")?,
        Form::Counts => *tables.views.first().context("the view has no state")?,
    };
    let mut spent = Spent::default();
    for epoch in 1..=EPOCHS {
        let commit = commit_of(form, table_id, epoch);
        let before = Spent::now()?;
        store.commit(commit)?;
        let of_epoch = Spent::since(before)?;
        spent = Spent { cpu_s: spent.cpu_s + of_epoch.cpu_s, written: spent.written + of_epoch.written };
    }
    add_rest(&store, spent)
}

/// Adds the writing of what is in memory.
fn add_rest(store: &Store, spent: Spent) -> Result<Spent> {
    let before = Spent::now()?;
    store.rewrite_files(&|| false)?;
    let rest = Spent::since(before)?;
    Ok(Spent { cpu_s: spent.cpu_s + rest.cpu_s, written: spent.written + rest.written })
}

/// The commit of an epoch.
fn commit_of(form: Form, table_id: u32, epoch: u64) -> Commit {
    let mut commit = Commit { epoch, commit_ms: epoch as i64, ..Commit::default() };
    let keys = (0..ROWS).map(|row| ((epoch * 31 + row) * 7919 % (ROWS * 5)).to_be_bytes());
    match form {
        Form::Value => {
            let mut bytes = Vec::with_capacity(ROWS as usize * (ROW_BYTES + 10));
            for key in keys {
                bytes.extend_from_slice(&schemas::stored_key(&key));
                bytes.extend_from_slice(&[7; ROW_BYTES]);
            }
            commit.outbox.push(OutboxChunk { cluster: 0, part: 0, bytes });
        }
        Form::Puts => {
            let (mut stored, mut values) = (Rows::new(), Blobs::new());
            for key in keys {
                stored.push(&schemas::stored_key(&key));
                values.push(Some(&[7; ROW_BYTES]));
            }
            commit.writes.push(Writes { table_id, keys: stored, values });
        }
        Form::Counts => {
            let mut rows = Rows::new();
            for key in keys {
                rows.push(&[&schemas::stored_key(&key)[..], &[7; ROW_BYTES]].concat());
            }
            let diffs = vec![1; rows.len()];
            commit.counts.push(Counts { table_id, rows, diffs });
        }
    }
    commit
}
