//! A GROUP BY whose totals live in the state behind a cache of records, beside the one of today, whose totals are in an
//! arrangement in memory as well.
//!
//! The first is a model of the operator: updates of an epoch are summed by key; keys that are not in the cache are read from
//! the state, sorted and at once; totals and rows of the view are written with the epoch, and the cache drops what was not
//! used of late once it is full. The second is the engine, less what the same records cost it when no row passes a filter. So
//! it evaluates columns, packs keys and makes batches of output as well, which the model does not: the model's figures are a
//! lower bound, and the ratios among them tell of the cache.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result};
use connectors::generate::random::Random;
use dataflows::plan::Plan;
use dataflows::runtime::engine::{Engine, Opening};
use dataflows::source::decoder;
use schemas::{Blobs, Records, Rows};
use state::{Commit, Store, Writes};

use super::{Spent, new_store};
use crate::kernels::plan_of;
use crate::options::parse_number;
use crate::peers::games::{Law, Players};

/// Updates of an epoch.
const EPOCH: u64 = 100_000;
/// Epochs that are measured.
const EPOCHS: u64 = 10;
/// Sums of a group.
const SUMS: usize = 3;

const SOURCE: &str = "CREATE SOURCE a (k BIGINT NOT NULL, a INT, b INT)
WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;\n";
const GROUPED: &str =
    "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, sum(a) AS a, sum(b) AS b FROM a GROUP BY k;";
const FILTERED: &str = "CREATE MATERIALIZED VIEW v AS SELECT k FROM a WHERE k < 0;";

/// Draws keys. Which keys are frequent has nothing to do with their order.
struct Keys {
    random: Random,
    ranks: Players,
    keys: u64,
}

impl Keys {
    fn new(keys: u64, law: Law) -> Keys {
        Keys { random: Random::new(7, 0), ranks: Players::new(keys, law), keys }
    }

    fn draw(&mut self) -> u64 {
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
        "| keys | law | arrangement, us | totals, us: cache of all | half | a tenth | missed | written, times |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for keys in given.split(',') {
        let keys = parse_number(keys)?;
        for (name, law) in [("uniform", Law::Alike), ("Zipf 0.99", Law::Zipf)] {
            let per = |spent: Spent| spent.cpu_s * 1e6 / (EPOCH * EPOCHS) as f64;
            let held = per(engine(keys, law, GROUPED)?) - per(engine(keys, law, FILTERED)?);
            let mut cells = Vec::new();
            let mut last = (0.0, 0.0);
            for share in [1, 2, 10] {
                let (spent, missed, changed) = model(keys, law, keys / share)?;
                cells.push(format!("{:.2}", per(spent)));
                last = (missed, spent.written as f64 / changed as f64);
            }
            println!(
                "| {keys} | {name} | {held:.2} | {} | {:.1}% | {:.1} |",
                cells.join(" | "),
                last.0 * 100.0,
                last.1
            );
        }
    }
    Ok(())
}

/// Runs the engine over all keys, and returns the cost of the epochs behind that.
fn engine(keys: u64, law: Law, view: &str) -> Result<Spent> {
    let plan: Arc<Plan> = Arc::new(plan_of(&format!("{SOURCE}{view}"))?);
    let dir = tempfile::tempdir()?;
    let mut engine = Engine::open(Opening {
        plan: &plan,
        dir: &dir.path().join("state"),
        partitions: vec![BTreeSet::from([0])],
        workers: 1,
        decoder: Arc::new(|source| decoder::of(source, &Arc::default())),
    })?;
    let (mut offset, mut text) = (0, String::new());
    let mut feed = |engine: &mut Engine, keys: &mut dyn Iterator<Item = u64>| -> Result<()> {
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
        engine.commit(0)?;
        Ok(())
    };
    for first in (0..keys).step_by(EPOCH as usize) {
        feed(&mut engine, &mut (first..keys.min(first + EPOCH)))?;
    }
    let (mut drawn, before) = (Keys::new(keys, law), Spent::now()?);
    for _ in 0..EPOCHS {
        feed(&mut engine, &mut (0..EPOCH).map(|_| drawn.draw()))?;
    }
    let spent = Spent::since(before)?;
    engine.stop()?;
    Ok(spent)
}

/// A total in the cache.
struct Cached {
    sums: [i64; SUMS],
    used: bool,
}

/// Totals behind a cache of records.
struct Totals {
    store: Store,
    tables: [u32; 2],
    cache: HashMap<u64, Cached>,
    /// Keys in the order of the clock's hand.
    ring: Vec<u64>,
    hand: usize,
    room: usize,
    epoch: u64,
    missed: u64,
    changed_bytes: u64,
}

/// Runs the model over all keys, and returns the cost of the epochs behind that, the share of keys that were read from
/// the state, and the bytes of changed totals and rows.
fn model(keys: u64, law: Law, room: u64) -> Result<(Spent, f64, u64)> {
    let dir = tempfile::tempdir()?;
    let plan = plan_of(
        "CREATE TABLE a (k BIGINT, n BIGINT, PRIMARY KEY (k)) WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;
CREATE TABLE b (k BIGINT, n BIGINT, PRIMARY KEY (k)) WITH (connector = 'file', path = 'b') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT a.k FROM a JOIN b ON a.k = b.k;"
    )?;
    let (store, tables) = new_store(&dir.path().join("state"), &plan)?;
    let table = |at: usize| tables.tables.get(&at).copied().context("a table has no state");
    let mut totals = Totals {
        store,
        tables: [table(0)?, table(1)?],
        cache: HashMap::new(),
        ring: Vec::new(),
        hand: 0,
        room: room as usize,
        epoch: 0,
        missed: 0,
        changed_bytes: 0,
    };
    for first in (0..keys).step_by(EPOCH as usize) {
        totals.epoch(&mut (first..keys.min(first + EPOCH)).map(|key| (key, [1, 1, 3])))?;
    }
    (totals.missed, totals.changed_bytes) = (0, 0);
    let (mut drawn, before, mut changed) = (Keys::new(keys, law), Spent::now()?, 0);
    for _ in 0..EPOCHS {
        changed += totals.epoch(&mut (0..EPOCH).map(|at| (drawn.draw(), [1, at as i64 % 10, 3])))?;
    }
    Ok((Spent::since(before)?, totals.missed as f64 / changed as f64, totals.changed_bytes))
}

impl Totals {
    /// Adds the updates of an epoch and commits it; returns the number of changed keys.
    fn epoch(&mut self, updates: &mut dyn Iterator<Item = (u64, [i64; SUMS])>) -> Result<u64> {
        let mut updates: Vec<(u64, [i64; SUMS])> = updates.collect();
        updates.sort_unstable_by_key(|update| update.0);
        updates.dedup_by(|next, held| {
            let same = next.0 == held.0;
            if same {
                held.1.iter_mut().zip(next.1).for_each(|(held, add)| *held += add);
            }
            same
        });
        self.read_missing(&updates)?;
        let (mut keys, mut values, mut rows) = (Rows::new(), Blobs::new(), Blobs::new());
        let mut bytes = Vec::with_capacity(64);
        for (key, add) in &updates {
            let cached = self.cache.get_mut(key).context("a total was just read")?;
            cached.used = true;
            cached.sums.iter_mut().zip(add).for_each(|(held, add)| *held += add);
            keys.push(&schemas::stored_key(&key.to_be_bytes()));
            bytes.clear();
            cached.sums.iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
            values.push(Some(&bytes));
            bytes.extend_from_slice(&key.to_be_bytes());
            rows.push(Some(&bytes));
            self.changed_bytes += 2 * 10 + 24 + 32;
        }
        self.epoch += 1;
        let writes = |at: usize, keys, values| Writes { table_id: self.tables[at], keys, values };
        let writes = vec![writes(0, keys.clone(), values), writes(1, keys, rows)];
        self.store.commit(Commit { epoch: self.epoch, commit_ms: 1, writes, ..Commit::default() })?;
        self.evict();
        Ok(updates.len() as u64)
    }

    /// Reads the totals that are not in the cache, which has room for them until the epoch is committed.
    fn read_missing(&mut self, updates: &[(u64, [i64; SUMS])]) -> Result<()> {
        let missing: Vec<u64> =
            updates.iter().map(|update| update.0).filter(|key| !self.cache.contains_key(key)).collect();
        let stored: Vec<Vec<u8>> =
            missing.iter().map(|key| schemas::stored_key(&key.to_be_bytes())).collect();
        let found = self.store.multi_get(self.tables[0], stored.iter().map(Vec::as_slice))?;
        for (key, found) in missing.iter().zip(found) {
            let mut sums = [0; SUMS];
            if let Some(found) = found {
                self.missed += 1;
                for (sum, bytes) in sums.iter_mut().zip(found.chunks_exact(8)) {
                    *sum = i64::from_le_bytes(bytes.try_into()?);
                }
            }
            self.cache.insert(*key, Cached { sums, used: true });
            self.ring.push(*key);
        }
        Ok(())
    }

    /// Drops totals until the rest fits: those that were not used since the hand of the clock was there last.
    fn evict(&mut self) {
        while self.ring.len() > self.room {
            self.hand %= self.ring.len();
            let key = self.ring[self.hand];
            match self.cache.get_mut(&key) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    self.hand += 1;
                }
                _ => {
                    self.cache.remove(&key);
                    self.ring.swap_remove(self.hand);
                }
            }
        }
    }
}
