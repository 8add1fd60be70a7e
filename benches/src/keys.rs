//! Throughput over a state that already holds many keys.
//!
//! One process follows a directory. A first file fills its state with so many matches and players;
//! when all of that is committed and the process has come to rest, a second file brings events whose
//! players are the same few whatever is held, and a third events whose players are drawn from all.
//! The second shows what the size of the state costs and nothing else. In the third more keys also
//! mean more work: fewer of an epoch's changes meet in one key, so more rows change.
//!
//! What counts is the CPU time from rest to rest, so that work put off (merges, compactions) counts
//! as well, and neither the start nor the filling does. Wall time ends with the last commit.

use std::time::Instant;

use anyhow::Result;

use crate::child::{self, Measured, Running};
use crate::input;
use crate::options::Options;
use crate::place::Place;
use crate::spine::herald;

/// Events over one state.
pub struct OverKeys {
    /// By the same few players.
    pub same: Measured,
    /// By players drawn from all.
    pub all: Measured,
}

/// Measures the events over a state that holds `keys` matches and players.
///
/// # Errors
/// When a run fails.
pub fn measure(place: &Place, options: &Options, keys: u64) -> Result<OverKeys> {
    let name = format!("keys_{keys}");
    let dir = place.room(&format!("{name}_input"));
    std::fs::create_dir_all(&dir)?;
    let champions = dir.join("champions.jsonl");
    input::champions(&champions)?;
    input::held(&dir.join("matches-1.jsonl"), keys)?;
    let few = options.keys.iter().copied().min().unwrap_or(keys);
    input::over_held(&dir.join("next-2.jsonl"), (keys, few), (0, options.keyed_events))?;
    input::over_held(&dir.join("next-3.jsonl"), (keys, keys), (options.keyed_events, options.keyed_events))?;
    eprintln!("{} events over {keys} keys, twice", options.keyed_events);
    let port = child::free_port()?;
    let mut command = herald(place, options, &place.topology_without_kafka()?, &name);
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).env("FOLLOW", "true");
    command.env("MATCHES", dir.join("matches-*.jsonl")).env("CHAMPIONS", &champions);
    let mut running = Running::start(&mut command, &place.room(&format!("{name}.log")), port)?;
    let (mut before_s, _) = running.until(|metrics| committed(metrics) >= keys)?;
    let mut all = keys;
    let mut next = |file: u32| -> Result<Measured> {
        let begun = Instant::now();
        all += options.keyed_events;
        std::fs::rename(dir.join(format!("next-{file}.jsonl")), dir.join(format!("matches-{file}.jsonl")))?;
        let (after_s, ended) = running.until(|metrics| committed(metrics) >= all)?;
        let cpu_s = after_s - std::mem::replace(&mut before_s, after_s);
        Ok(Measured {
            events: options.keyed_events,
            cpu_s,
            wall_s: ended.duration_since(begun).as_secs_f64(),
        })
    };
    let measured = OverKeys { same: next(2)?, all: next(3)? };
    drop(running);
    std::fs::remove_dir_all(&dir)?;
    std::fs::remove_dir_all(place.room(&name))?;
    Ok(measured)
}

/// Matches committed, whatever became of them.
fn committed(metrics: &str) -> u64 {
    let counts = metrics.lines().filter(|line| {
        line.starts_with("herald_source_records_total{") && line.contains("source=\"matches\"")
    });
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}
