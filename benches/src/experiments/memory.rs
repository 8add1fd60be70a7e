//! The process over a GROUP BY with more groups than its memory holds: its peak of memory, and the cost of updates beside
//! that with room for all.
//!
//! Each key comes once; when all are committed and the process is idle, updates come, drawn by Zipf's law with exponent 0.99.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::totals::Keys;
use crate::child::{self, Running};
use crate::keys::committed_records;
use crate::options::parse_number;
use crate::paths::Paths;
use crate::peers::games::Law;
use crate::table::short;

/// Updates that are measured.
const UPDATES: u64 = 5_000_000;
/// Longest time for all keys.
const PATIENCE: Duration = Duration::from_secs(7200);

/// Runs the experiment for each number of groups and each `--memory`, and prints its table.
///
/// # Errors
/// When a number is none, or a run fails.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let [groups, memories] = [(0, "1m,10m"), (1, "2GiB")]
        .map(|(at, default)| arguments.get(at).map_or(default, String::as_str).split(','));
    println!("One worker, {UPDATES} updates by Zipf's law.\n");
    println!(
        "| groups | `--memory` | us a new group | us an update | peak MiB, new groups | updates | MiB of state |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    for keys in groups {
        for memory in memories.clone() {
            measure(parse_number(keys)?, memory)?;
        }
    }
    Ok(())
}

/// Fills a new state, updates it and prints a line of the table.
fn measure(keys: u64, memory: &str) -> Result<()> {
    let bench = Bench { paths: Paths::find()? };
    bench.append(0..keys)?;
    let mut running = bench.start(memory)?;
    running.patience = PATIENCE;
    let (filled_s, _) = running.wait_until(|metrics| committed_records(metrics, "a") >= keys)?;
    let peak_new = running.used()?.peak_kib;
    let mut drawn = Keys::new(keys, Law::Zipf);
    bench.append((0..UPDATES).map(|_| drawn.draw()))?;
    let (updated_s, _) = running.wait_until(|metrics| committed_records(metrics, "a") >= keys + UPDATES)?;
    println!(
        "| {} | {memory} | {:.2} | {:.2} | {} | {} | {} |",
        short(keys),
        filled_s * 1e6 / keys as f64,
        (updated_s - filled_s) * 1e6 / UPDATES as f64,
        peak_new >> 10,
        running.used()?.peak_kib >> 10,
        child::disk_bytes(&bench.state()) >> 20,
    );
    Ok(())
}

/// A directory with the records, the topology and its state.
struct Bench {
    paths: Paths,
}

impl Bench {
    fn records(&self) -> PathBuf {
        self.paths.work_path("records.jsonl")
    }

    fn state(&self) -> PathBuf {
        self.paths.work_path("state")
    }

    /// Adds a record for each key to the file. Keys that follow one another are far apart in the state.
    fn append(&self, keys: impl Iterator<Item = u64>) -> Result<()> {
        let mut out = BufWriter::new(OpenOptions::new().create(true).append(true).open(self.records())?);
        for (at, key) in keys.enumerate() {
            let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64;
            writeln!(out, "{{\"k\":{key},\"a\":{},\"b\":3}}", at % 10)?;
        }
        out.flush().context("cannot write records")
    }

    /// Starts the process, which waits for more records at the end of the file.
    fn start(&self, memory: &str) -> Result<Running> {
        let (topology, port) = (self.paths.work_path("groups.sql"), child::free_port()?);
        let text = format!(
            "CREATE SOURCE a (k BIGINT NOT NULL, a INT, b INT)\n\
             WITH (connector = 'file', path = '{}', follow = 'true') FORMAT PLAIN ENCODE JSON;\n\
             CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, sum(a) AS a, sum(b) AS b FROM a GROUP BY k;\n",
            self.records().display()
        );
        std::fs::write(&topology, text).context("cannot write the topology")?;
        let mut command = Command::new(&self.paths.herald);
        command.arg("run").arg(topology).args(["--workers", "1", "--memory", memory, "--listen"]);
        command.arg(format!("127.0.0.1:{port}")).arg("--state").arg(self.state());
        Running::start(&mut command, &self.paths.work_path("memory.log"), port)
    }
}
