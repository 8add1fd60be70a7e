//! Top-N of rows that are never taken back: of each partition only the rows that are output are kept, and views are what
//! sorting all rows would give.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use dataflows::plan::window::First;
use dataflows::plan::{Op, Plan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Records;
use serde_json::{Value, json};
use state::{Commit, StateTableKind, Store, Writes};

use crate::engine::{Engine, Options, plan};
use crate::rows::{Row, difference, of_view, sort};

const TOPOLOGY: &str = "
CREATE SOURCE shots (team VARCHAR, power BIGINT, n BIGINT)
WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
CREATE TABLE games (n BIGINT, team VARCHAR, power BIGINT, PRIMARY KEY (n)) ON CONFLICT DO NOTHING
WITH (connector = 'file', path = 'games') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW numbered AS SELECT team, power, n, r FROM
  (SELECT *, row_number() OVER (PARTITION BY team ORDER BY power DESC) AS r FROM shots) AS x WHERE r <= 2;
CREATE MATERIALIZED VIEW ranked AS SELECT team, power, n, r FROM
  (SELECT *, rank() OVER (PARTITION BY team ORDER BY power DESC) AS r FROM shots) AS x WHERE r <= 2;
CREATE MATERIALIZED VIEW dense AS SELECT team, power, n, r FROM
  (SELECT *, dense_rank() OVER (PARTITION BY team ORDER BY power DESC) AS r FROM shots) AS x WHERE r <= 2;
CREATE MATERIALIZED VIEW first_games AS SELECT team, power, n, r FROM
  (SELECT *, row_number() OVER (PARTITION BY team ORDER BY power DESC) AS r FROM games) AS x WHERE r <= 2;
CREATE MATERIALIZED VIEW best AS SELECT team, power, n, 1 AS r FROM ranked WHERE r = 1;
";
/// Sources of the views, in order; and the rank by which each numbers its rows.
const VIEWS: [(usize, By); 5] =
    [(0, By::Number), (0, By::Rank), (0, By::Dense), (1, By::Number), (0, By::First)];

#[derive(Clone, Copy, PartialEq)]
enum By {
    Number,
    Rank,
    Dense,
    /// The first of `Rank`.
    First,
}

/// A row: team, power and number.
type Shot = (String, i64, i64);

/// The rows of a view, by sorting all rows of its source.
fn expected(rows: &[Shot], rank: By) -> Vec<Row> {
    let mut teams: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for (team, power, n) in rows {
        // Rows that the order leaves equal are numbered by their other columns.
        teams.entry(team).or_default().push((-power, *n));
    }
    let most = if rank == By::First { 1 } else { 2 };
    let mut out = Vec::new();
    for (team, mut rows) in teams {
        rows.sort_unstable();
        for (at, (power, n)) in rows.iter().enumerate() {
            let better = rows.iter().filter(|(other, _)| other < power);
            let r = match rank {
                By::Number => at + 1,
                By::Rank | By::First => better.count() + 1,
                By::Dense => better.map(|(other, _)| other).collect::<BTreeSet<_>>().len() + 1,
            };
            if r <= most {
                out.push(vec![json!(team), json!(-power), json!(n), json!(r)]);
            }
        }
    }
    sort(&mut out);
    out
}

/// Records sent so far to both sources, and the rows that count.
#[derive(Clone, Default)]
struct History {
    sent: [i64; 2],
    rows: [Vec<Shot>; 2],
}

impl History {
    /// Feeds some random records of each source and closes the epoch.
    fn epoch(&mut self, engine: &mut Engine, random: &mut ChaCha8Rng) {
        for source in 0..2 {
            let mut records = Records::new(0);
            for _ in 0..random.random_range(0..12) {
                let shot = (
                    format!("team {}", random.random_range(0..4)),
                    random.random_range(0..6 + self.sent[source] / 8),
                    random.random_range(0..40),
                );
                let row = json!({"team": shot.0, "power": shot.1, "n": shot.2}).to_string();
                records.push(self.sent[source], None, None, Some(row.as_bytes()));
                self.sent[source] += 1;
                // The first game of a number counts, a shot always.
                if source == 0 || self.rows[1].iter().all(|(.., n)| *n != shot.2) {
                    self.rows[source].push(shot);
                }
            }
            engine.feed(source, records);
        }
        engine.close(|_, _| {});
    }

    fn assert_views(&self, engine: &Engine, plan: &Plan) {
        for (at, (source, rank)) in VIEWS.into_iter().enumerate() {
            let mut found = of_view(engine, &plan.rels[plan.views[at].rel].schema, at);
            sort(&mut found);
            if let Some(difference) = difference(&found, &expected(&self.rows[source], rank)) {
                panic!("view {}\n{difference}", plan.views[at].name);
            }
        }
    }

    /// Holds that the state has the rows that are output and no others.
    fn assert_kept(&self, store: &Store) {
        let mut wanted = Vec::new();
        for (_, rank) in &VIEWS[..3] {
            let distinct: BTreeSet<String> = expected(&self.rows[0], *rank)
                .iter()
                .map(|row| Value::from(row[..3].to_vec()).to_string())
                .collect();
            wanted.push(distinct.len());
        }
        let mut found: Vec<usize> = arranged(store).values().map(BTreeMap::len).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }
}

/// The rows of all arrangements of a state.
fn arranged(store: &Store) -> BTreeMap<u32, BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut tables = BTreeMap::new();
    for entry in store.catalogue().unwrap().unwrap().entries {
        if entry.kind == StateTableKind::Arrangement {
            let (mut rows, mut scan) = (BTreeMap::new(), store.iter(entry.id, &[]).unwrap());
            while let Some((key, value)) = scan.next_entry().unwrap() {
                rows.insert(key.to_vec(), value.to_vec());
            }
            tables.insert(entry.id, rows);
        }
    }
    tables
}

fn open(plan: &Arc<Plan>, dir: &Path, workers: usize, in_flight: usize) -> Engine {
    Engine::open(plan, dir, &[1, 1], Options { workers, in_flight, cut: true })
}

#[test]
fn only_the_first_rows_are_kept() {
    let plan = plan(TOPOLOGY);
    for seed in 0..12 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (dir, mut history) = (tempfile::tempdir().unwrap(), History::default());
        for start in 0..4 {
            let mut engine = open(&plan, dir.path(), 1 + (seed as usize + start) % 3, 1);
            for _ in 0..random.random_range(0..6) {
                history.epoch(&mut engine, &mut random);
                history.assert_views(&engine, &plan);
                history.assert_kept(engine.store());
            }
        }
    }
}

/// A state of an earlier release has all rows; the epochs take out what is not output.
#[test]
fn rows_that_an_earlier_release_kept_are_taken_out() {
    let plan = plan(TOPOLOGY);
    let mut all = Plan::clone(&plan);
    for rel in &mut all.rels {
        if let Op::Window { window, .. } = &mut rel.op {
            window.first = window.first.map(|first| First { most: 1000, ..first });
        }
    }
    let all = Arc::new(all);
    let [dir, dir_of_all] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut history = History::default();
    let [mut engine, mut engine_of_all] =
        [(&plan, &dir), (&all, &dir_of_all)].map(|(plan, dir)| open(plan, dir.path(), 2, 1));
    for epoch in 0..6 {
        history.clone().epoch(&mut engine_of_all, &mut ChaCha8Rng::seed_from_u64(epoch));
        history.epoch(&mut engine, &mut ChaCha8Rng::seed_from_u64(epoch));
    }
    let earlier = arranged(engine_of_all.store());
    let mut writes = Vec::new();
    for (table_id, rows) in &earlier {
        let mut write = Writes { table_id: *table_id, ..Writes::default() };
        for (key, value) in rows {
            write.keys.push(key);
            write.values.push(Some(value));
        }
        writes.push(write);
    }
    let held = engine.store().meta();
    let (epoch, progress) = (held.epoch + 1, held.progress);
    engine.store().commit(Commit { epoch, progress, writes, ..Commit::default() }).unwrap();
    drop(engine);
    let mut engine = open(&plan, dir.path(), 3, 1);
    assert_eq!(arranged(engine.store()), earlier);
    history.assert_views(&engine, &plan);
    // Each worker takes out its own, in epochs in which it gets rows: one here, the rest after another start.
    history.epoch(&mut engine, &mut ChaCha8Rng::seed_from_u64(7));
    history.assert_views(&engine, &plan);
    let left = arranged(engine.store());
    assert!(left.iter().any(|(id, rows)| rows.len() < earlier[id].len()));
    drop(engine);
    let mut engine = open(&plan, dir.path(), 1, 1);
    history.epoch(&mut engine, &mut ChaCha8Rng::seed_from_u64(8));
    history.assert_views(&engine, &plan);
    history.assert_kept(engine.store());
}
