//! Incremental indeed: the rows that operators touch for an update do not grow with the keys held.
//!
//! The same updates run over 10,000 keys and over a hundred times as many, and the operators' own
//! counters are compared, not times. Teams have 50 rows whatever the size; divisions are ten, so that
//! their groups grow with the keys: there sum, min and max must not read the group.

use std::collections::BTreeMap;
use std::fmt::Write;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Records;

use crate::engine::{Engine, Options, plan};

const TOPOLOGY: &str = "
CREATE TABLE players (id BIGINT, team BIGINT, division BIGINT, points BIGINT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'players') FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team BIGINT, city VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW per_team AS
  SELECT team, count(*) AS n, sum(points) AS s, min(points) AS lo, max(points) AS hi FROM players GROUP BY team;
CREATE MATERIALIZED VIEW per_division AS
  SELECT division, count(*) AS n, sum(points) AS s, min(points) AS lo, max(points) AS hi FROM players GROUP BY division;
CREATE MATERIALIZED VIEW joined AS
  SELECT p.id, p.points, t.city FROM players AS p JOIN teams AS t ON p.team = t.team;
CREATE MATERIALIZED VIEW outer_joined AS
  SELECT p.id, t.city FROM players AS p FULL JOIN teams AS t ON p.team = t.team AND p.points > 500000;
CREATE MATERIALIZED VIEW elsewhere AS
  SELECT p.id FROM players AS p WHERE NOT EXISTS (SELECT 1 FROM teams AS t WHERE t.team = p.team AND t.city = 'city 3');
";
const KEYS: [i64; 2] = [10_000, 1_000_000];
const CHUNK: i64 = 50_000;
const UPDATES: i64 = 100;

struct Feed {
    engine: Engine,
    offsets: [i64; 2],
    text: String,
}

impl Feed {
    fn push(&mut self, records: &mut Records, source: usize, row: std::fmt::Arguments<'_>) {
        self.text.clear();
        self.text.write_fmt(row).unwrap();
        records.push(self.offsets[source], None, None, Some(self.text.as_bytes()));
        self.offsets[source] += 1;
    }

    fn player(&mut self, records: &mut Records, id: i64, points: i64) {
        let (team, division) = (id / 50, id % 10);
        self.push(
            records,
            0,
            format_args!(r#"{{"id":{id},"team":{team},"division":{division},"points":{points}}}"#),
        );
    }

    fn close(&mut self) -> BTreeMap<String, u64> {
        let mut touched = BTreeMap::new();
        self.engine.close(|_, done| touched = done.touched);
        touched
    }
}

/// Rows touched by operator over all updates, one update an epoch.
fn touched(keys: i64) -> BTreeMap<String, u64> {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { workers: 1, in_flight: 1, cut: true };
    let engine = Engine::open(&plan(TOPOLOGY), &dir.path().join("state"), &[1, 1], options);
    let mut rng = ChaCha8Rng::seed_from_u64(31);
    let mut feed = Feed { engine, offsets: [0, 0], text: String::new() };
    for start in (0..keys).step_by(CHUNK as usize) {
        let (mut players, mut teams) = (Records::new(0), Records::new(0));
        for id in start..(start + CHUNK).min(keys) {
            let points = rng.random_range(0..1_000_000);
            feed.player(&mut players, id, points);
            if id % 50 == 0 {
                feed.push(&mut teams, 1, format_args!(r#"{{"team":{},"city":"city {}"}}"#, id / 50, id % 7));
            }
        }
        feed.engine.feed(1, teams);
        feed.engine.feed(0, players);
        feed.close();
    }
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    // Ids below 10,000, so that both sizes see the very same updates.
    let mut rng = ChaCha8Rng::seed_from_u64(32);
    for update in 0..UPDATES {
        let mut records = Records::new(0);
        let (id, points) = (rng.random_range(0..KEYS[0]), rng.random_range(0..1_000_000));
        if update % 5 == 4 {
            feed.push(&mut records, 1, format_args!(r#"{{"team":{},"city":"moved {update}"}}"#, id / 50));
            feed.engine.feed(1, records);
        } else {
            feed.player(&mut records, id, points);
            feed.engine.feed(0, records);
        }
        for (operator, rows) in feed.close() {
            *total.entry(operator).or_default() += rows;
        }
    }
    total
}

#[test]
fn rows_touched_by_an_update_do_not_grow_with_the_keys() {
    let [small, large] = KEYS.map(touched);
    println!("rows touched by {UPDATES} updates over {KEYS:?} keys:");
    for (operator, few) in &small {
        println!("  {operator}: {few} and {}", large.get(operator).copied().unwrap_or(0));
    }
    assert!(small.len() >= 4, "operators that count: {small:?}");
    for (operator, many) in &large {
        let few = small.get(operator).copied().unwrap_or(0);
        // A head that was taken away leaves a mark until the trace is merged; hence some slack.
        assert!(*many <= few + few / 4 + UPDATES as u64, "{operator}: {few} rows grew to {many}");
    }
}

/// A source whose rows repeat, and views of it of which the last alone depends on how often.
const REPEATED: &str = "
CREATE SOURCE s (k BIGINT, win BOOLEAN) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW seen AS SELECT DISTINCT k FROM s;
CREATE MATERIALIZED VIEW won AS SELECT k, bool_or(win) AS won FROM s GROUP BY k;
CREATE MATERIALIZED VIEW counted AS SELECT k, count(*) AS n FROM s GROUP BY k;
";

#[test]
fn a_row_that_is_there_already_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    // The caches of two workers have no room: at the end of an epoch they hold the totals that it writes.
    let options = Options { workers: 2, in_flight: 1, cut: true };
    let engine = Engine::open(&plan(REPEATED), &dir.path().join("state"), &[1], options);
    let mut feed = Feed { engine, offsets: [0, 0], text: String::new() };
    // The first epoch's totals stay until the second is committed. The fourth row changes bool_or alone.
    let rows =
        [(false, [1, 1, 1]), (false, [1, 1, 1]), (false, [0, 0, 1]), (true, [0, 1, 1]), (true, [0, 0, 1])];
    for (win, written) in rows {
        let mut records = Records::new(0);
        feed.push(&mut records, 0, format_args!(r#"{{"k":7,"win":{win}}}"#));
        feed.engine.feed(0, records);
        let mut held = BTreeMap::new();
        feed.engine.close(|_, done| held = done.held);
        let of = |view: &str| held.iter().find(|(name, _)| name.starts_with(view)).map_or(0, |(_, n)| *n);
        assert_eq!(["seen/", "won/", "counted/"].map(of), written, "{held:?}");
    }
}
