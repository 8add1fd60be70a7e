//! Throughput over a state that already holds many keys.
//!
//! Three processes share one state: the first fills it with so many matches and players, the second
//! restarts on it and works through the events, the third restarts and finds nothing to do. The third
//! is what a restart costs; the second less the third is what the events cost.

use anyhow::Result;

use crate::child::{self, Cost, Measured};
use crate::input;
use crate::options::Options;
use crate::place::Place;
use crate::spine::{complete, herald};

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
    let topology = place.topology_without_kafka()?;
    let run = || -> Result<Cost> {
        let mut command = herald(place, options, &topology, &name);
        command.args(["--listen", "off"]);
        command.env("MATCHES", dir.join("matches-*.jsonl")).env("CHAMPIONS", &champions);
        child::run(&mut command, &place.room(&format!("{name}.log")))
    };
    eprintln!("filling a state with {keys} keys");
    input::held(&dir.join("matches-1-held.jsonl"), keys)?;
    complete(&run()?.said, keys)?;
    eprintln!("{} events over {keys} keys", options.keyed_events);
    input::over_held(&dir.join("matches-2-events.jsonl"), keys, options.keyed_events)?;
    let worked = run()?;
    complete(&worked.said, keys + options.keyed_events)?;
    let idle = run()?;
    std::fs::remove_dir_all(&dir)?;
    std::fs::remove_dir_all(place.room(&name))?;
    Ok(Measured {
        events: options.keyed_events,
        cpu_s: worked.cpu_s - idle.cpu_s,
        wall_s: worked.wall_s - idle.wall_s,
    })
}
