//! Throughput over a state that already holds many keys.
//!
//! One process follows a directory. A first file fills its state with so many matches and players;
//! when all of that is committed and the process is idle, a second file brings events whose
//! players are the same few for any number of keys, and a third events whose players are drawn from all.
//! The second shows the cost of the state's size alone. In the third more keys also mean more work:
//! fewer of an epoch's changes are of one key, so more rows change. A fourth is the second again with
//! lean events, where state is nearly all the work there is.
//!
//! The measured CPU time is that from idle to idle, so that deferred work (merges, compactions) counts
//! as well, and neither the start nor the filling does. Wall time ends with the last commit.

use std::time::Instant;

use anyhow::Result;

use crate::child::{self, Measured, Running};
use crate::input::{self, Size};
use crate::options::Options;
use crate::paths::Paths;
use crate::spine::herald;

/// Number of lean events measured for each whole one.
const LEAN_FOR_WHOLE: u64 = 8;

/// Events over one state.
pub struct OverKeys {
    /// By the same few players.
    pub same: Measured,
    /// By players drawn from all.
    pub all: Measured,
    /// By the same few players, lean events.
    pub lean: Measured,
}

/// Measures the events over a state that holds `keys` matches and players.
///
/// # Errors
/// When a run fails.
pub fn measure(paths: &Paths, options: &Options, keys: u64) -> Result<OverKeys> {
    let name = format!("keys_{keys}");
    let dir = paths.work_path(&format!("{name}_input"));
    std::fs::create_dir_all(&dir)?;
    let champions = dir.join("champions.jsonl");
    input::write_champions(&champions)?;
    input::write_held(&dir.join("matches-1.jsonl"), keys)?;
    let few = options.keys.iter().copied().min().unwrap_or(keys);
    let (whole, lean) = (options.keyed_events, options.keyed_events * LEAN_FOR_WHOLE);
    let files = [(Size::Whole, few, whole), (Size::Whole, keys, whole), (Size::Lean, few, lean)];
    let mut from = 0;
    for (at, (size, players, events)) in files.into_iter().enumerate() {
        input::write_over_held(
            &dir.join(format!("next-{}.jsonl", at + 2)),
            size,
            (keys, players),
            (from, events),
        )?;
        from += events;
    }
    eprintln!("{whole} events over {keys} keys, twice, and {lean} lean ones");
    let port = child::free_port()?;
    let mut command = herald(paths, options, &paths.topology_without_kafka()?, &name);
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).env("FOLLOW", "true");
    command.env("MATCHES", dir.join("matches-*.jsonl")).env("CHAMPIONS", &champions);
    let mut running = Running::start(&mut command, &paths.work_path(&format!("{name}.log")), port)?;
    let (mut before_s, _) = running.wait_until(|metrics| committed_records(metrics, "matches") >= keys)?;
    let mut all = keys;
    let mut next = |file: u32, events: u64| -> Result<Measured> {
        let begun = Instant::now();
        all += events;
        std::fs::rename(dir.join(format!("next-{file}.jsonl")), dir.join(format!("matches-{file}.jsonl")))?;
        let (after_s, ended) = running.wait_until(|metrics| committed_records(metrics, "matches") >= all)?;
        let cpu_s = after_s - std::mem::replace(&mut before_s, after_s);
        Ok(Measured { events, cpu_s, wall_s: ended.duration_since(begun).as_secs_f64() })
    };
    let measured = OverKeys { same: next(2, whole)?, all: next(3, whole)?, lean: next(4, lean)? };
    drop(running);
    std::fs::remove_dir_all(&dir)?;
    std::fs::remove_dir_all(paths.work_path(&name))?;
    Ok(measured)
}

/// Records of a source that are committed, with any outcome.
pub fn committed_records(metrics: &str, source: &str) -> u64 {
    let label = format!("source=\"{source}\"");
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("herald_source_records_total{") && line.contains(&label));
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}
