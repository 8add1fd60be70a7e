//! Throughput over a state that already holds many keys.
//!
//! One process follows a directory. A first file fills its state with so many matches and players;
//! when all of that is committed and the process has come to rest, a second file brings the events.
//! What counts is the CPU time from rest to rest, so that work put off (merges, compactions) counts
//! as well, and neither the start nor the filling does. Wall time ends with the last commit.

use std::time::Instant;

use anyhow::Result;

use crate::child::{self, Measured, Running};
use crate::input;
use crate::options::Options;
use crate::place::Place;
use crate::spine::herald;

/// Measures the events over a state that holds `keys` matches and players.
///
/// # Errors
/// When a run fails.
pub fn measure(place: &Place, options: &Options, keys: u64) -> Result<Measured> {
    let name = format!("keys_{keys}");
    let dir = place.room(&format!("{name}_input"));
    std::fs::create_dir_all(&dir)?;
    let champions = dir.join("champions.jsonl");
    input::champions(&champions)?;
    input::held(&dir.join("matches-1.jsonl"), keys)?;
    let ready = dir.join("next.jsonl");
    input::over_held(&ready, keys, options.keyed_events)?;
    eprintln!("{} events over {keys} keys", options.keyed_events);
    let port = child::free_port()?;
    let mut command = herald(place, options, &place.topology_without_kafka()?, &name);
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).env("FOLLOW", "true");
    command.env("MATCHES", dir.join("matches-*.jsonl")).env("CHAMPIONS", &champions);
    let mut running = Running::start(&mut command, &place.room(&format!("{name}.log")), port)?;
    let (before_s, _) = running.until(|metrics| committed(metrics) >= keys)?;
    let begun = Instant::now();
    std::fs::rename(&ready, dir.join("matches-2.jsonl"))?;
    let all = keys + options.keyed_events;
    let (after_s, ended) = running.until(|metrics| committed(metrics) >= all)?;
    drop(running);
    std::fs::remove_dir_all(&dir)?;
    std::fs::remove_dir_all(place.room(&name))?;
    let wall_s = ended.duration_since(begun).as_secs_f64();
    Ok(Measured { events: options.keyed_events, cpu_s: after_s - before_s, wall_s })
}

/// Matches committed, whatever became of them.
fn committed(metrics: &str) -> u64 {
    let counts = metrics.lines().filter(|line| {
        line.starts_with("herald_source_records_total{") && line.contains("source=\"matches\"")
    });
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}
