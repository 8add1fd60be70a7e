//! Experiments behind decisions about the state: they measure a design before it is built, and again when the figures are
//! doubted. Decision 0039 has their figures.
//!
//! ```text
//! herald-benches experiment commits            an epoch as one value, as puts, and as puts with counts
//! herald-benches experiment totals [N,N,..]    totals in the state behind a cache of records, beside an arrangement
//! herald-benches experiment memory [N,N,.. [SIZE,SIZE,..]]   the process with more groups than `--memory` holds
//! ```

mod commits;
mod memory;
mod totals;

use anyhow::{Context, Result, bail};
use dataflows::plan::Plan;
use dataflows::runtime::state_tables::StateTables;
use state::{Store, StoreOptions};

use crate::child::process_s;

/// Bound on memtables, and again on cached blocks, as in the engine that runs without a driver.
const MEMORY_BYTES: usize = 64 << 20;

/// Runs an experiment by its name and prints its table.
///
/// # Errors
/// When there is none of that name, or it fails.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments.first().map(String::as_str) {
        Some("commits") => commits::run(),
        Some("totals") => totals::run(&arguments[1..]),
        Some("memory") => memory::run(&arguments[1..]),
        _ => bail!("name an experiment: commits, totals or memory"),
    }
}

/// A new state with the tables of a plan.
fn new_store(dir: &std::path::Path, plan: &Plan) -> Result<(Store, StateTables)> {
    let options = StoreOptions {
        create: true,
        write_buffer_bytes: MEMORY_BYTES,
        block_cache_bytes: MEMORY_BYTES,
        ..StoreOptions::default()
    };
    let store = Store::open(dir, &options)?;
    let tables = StateTables::of(plan, None).map_err(|changed| anyhow::anyhow!(changed.join(", ")))?;
    store.put_catalogue(&tables.catalogue("experiment"))?;
    Ok((store, tables))
}

/// CPU seconds and bytes written by this process since an earlier moment.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    cpu_s: f64,
    written: u64,
}

impl Spent {
    /// Spent so far.
    fn now() -> Result<Spent> {
        let io = std::fs::read_to_string("/proc/self/io").context("this needs Linux's /proc/self/io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
        Ok(Spent { cpu_s: process_s(std::process::id())?, written: written.unwrap_or(0) })
    }

    /// Spent since a moment.
    fn since(before: Spent) -> Result<Spent> {
        let now = Spent::now()?;
        Ok(Spent { cpu_s: now.cpu_s - before.cpu_s, written: now.written - before.written })
    }
}
