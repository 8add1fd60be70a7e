//! A GROUP BY whose totals live in the state behind a cache, with room for all of them, for half and for a tenth.
//!
//! The cost is that of the engine less what the same records cost it when no row passes a filter, so it is that of columns,
//! keys, the operator, its output and the commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use connectors::generate::random::Random;
use dataflows::plan::Plan;
use dataflows::runtime::engine::{Engine, Opening};
use dataflows::source::decoder;
use schemas::{MemoryPart, Records};

use super::Spent;
use crate::kernels::plan_of;
use crate::options::parse_number;
use crate::peers::games::{Law, Players};

/// Updates of an epoch.
const EPOCH: u64 = 100_000;
/// Epochs that are measured.
const EPOCHS: u64 = 10;
/// Bytes that no cache reaches.
const ROOM: usize = 64 << 30;

const SOURCE: &str = "CREATE SOURCE a (k BIGINT NOT NULL, a INT, b INT)
WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;\n";
const GROUPED: &str =
    "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, sum(a) AS a, sum(b) AS b FROM a GROUP BY k;";
const FILTERED: &str = "CREATE MATERIALIZED VIEW v AS SELECT k FROM a WHERE k < 0;";

/// Draws keys. Which keys are frequent has nothing to do with their order.
pub(super) struct Keys {
    random: Random,
    ranks: Players,
    keys: u64,
}

impl Keys {
    pub(super) fn new(keys: u64, law: Law) -> Keys {
        Keys { random: Random::new(7, 0), ranks: Players::new(keys, law), keys }
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.ranks.draw(&mut self.random).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.keys
    }
}

/// Runs the experiment for each number of keys.
///
/// # Errors
/// When a number is none, or a run fails.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let given = arguments.first().map_or("1m", String::as_str);
    println!("{EPOCHS} epochs of {EPOCH} updates over keys that are all held.\n");
    println!(
        "| keys | law | us an update: room for all | half | a tenth | read from the state | written, bytes an update | MiB, all |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for keys in given.split(',') {
        let keys = parse_number(keys)?;
        for (name, law) in [("uniform", Law::Alike), ("Zipf 0.99", Law::Zipf)] {
            let per = |cost: &Cost| cost.spent.cpu_s * 1e6 / (EPOCH * EPOCHS) as f64;
            let plain = per(&engine(keys, law, FILTERED, ROOM)?);
            let all = engine(keys, law, GROUPED, ROOM)?;
            let half = engine(keys, law, GROUPED, all.cached / 2)?;
            let tenth = engine(keys, law, GROUPED, all.cached / 10)?;
            let [of_all, of_half, of_tenth] = [&all, &half, &tenth].map(|cost| per(cost) - plain);
            println!(
                "| {keys} | {name} | {of_all:.2} | {of_half:.2} | {of_tenth:.2} | {:.1}% | {:.0} | {} |",
                100.0 * tenth.read as f64 / tenth.changed.max(1) as f64,
                tenth.spent.written as f64 / (EPOCH * EPOCHS) as f64,
                all.cached >> 20
            );
        }
    }
    Ok(())
}

/// What the measured epochs cost.
struct Cost {
    spent: Spent,
    /// Bytes of the cache at the end.
    cached: usize,
    /// Changed groups, and those whose totals were read from the state.
    changed: u64,
    read: u64,
}

/// Runs the engine over all keys, and returns the cost of the epochs behind that.
fn engine(keys: u64, law: Law, view: &str, totals_bytes: usize) -> Result<Cost> {
    let plan: Arc<Plan> = Arc::new(plan_of(&format!("{SOURCE}{view}"))?);
    let dir = tempfile::tempdir()?;
    let mut engine = Engine::open(Opening {
        plan: &plan,
        dir: &dir.path().join("state"),
        partitions: vec![BTreeSet::from([0])],
        workers: 1,
        totals_bytes,
        decoder: Arc::new(|source| decoder::of(source, &Arc::default())),
    })?;
    let (mut offset, mut text) = (0, String::new());
    let mut feed = |engine: &mut Engine, keys: &mut dyn Iterator<Item = u64>| -> Result<[u64; 2]> {
        use std::fmt::Write as _;
        let mut records = Records::new(0);
        for key in keys {
            text.clear();
            let _ = write!(text, "{{\"k\":{key},\"a\":{},\"b\":3}}", offset % 10);
            records.push(offset, None, None, Some(text.as_bytes()));
            offset += 1;
        }
        engine.feed(0, records)?;
        engine.close()?;
        let committed = engine.commit(0)?.unwrap_or_default();
        let lookups = committed.lookups.into_values();
        Ok(lookups.fold([0; 2], |all, next| [all[0] + next[0], all[1] + next[1]]))
    };
    for first in (0..keys).step_by(EPOCH as usize) {
        feed(&mut engine, &mut (first..keys.min(first + EPOCH)))?;
    }
    let (mut drawn, before, mut lookups) = (Keys::new(keys, law), Spent::now()?, [0; 2]);
    for _ in 0..EPOCHS {
        let [cached, read] = feed(&mut engine, &mut (0..EPOCH).map(|_| drawn.draw()))?;
        lookups = [lookups[0] + cached, lookups[1] + read];
    }
    let (spent, cached) = (Spent::since(before)?, MemoryPart::Totals.held_bytes());
    engine.stop()?;
    Ok(Cost { spent, cached, changed: lookups[0] + lookups[1], read: lookups[1] })
}
