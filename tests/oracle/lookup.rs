//! Joins as of a time: the latest row at or before, or the first at or after, revised under changes of both sides; and a table
//! as it is in the epoch, never revised.
//!
//! DuckDB finds the latest row by a correlated aggregate over the accepted rows, whatever the epochs.
//! What a lookup as of PROCTIME() finds depends on them, so it is checked against a plain loop over
//! the epochs as they were cut.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::duck::Duck;
use crate::engine::{Engine, Options, plan};
use crate::history::{Draw, SECOND_US, START_US};
use crate::model::{Keyed, Record, Spec};
use crate::rows::{Row, difference, of_view, sort};
use crate::way::{Case, Compared, Cut, Way};

const SHOTS: usize = 0;
const RATES: usize = 1;
const GAMES: usize = 2;

const SOURCES: &str = "
CREATE SOURCE shots (
  team VARCHAR, power BIGINT, shot_at TIMESTAMPTZ, WATERMARK FOR shot_at AS shot_at - INTERVAL '1 minute'
) WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
CREATE TABLE rates (rate_id VARCHAR, team VARCHAR, rate BIGINT, since TIMESTAMPTZ, PRIMARY KEY (rate_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'rates') FORMAT PLAIN ENCODE JSON;
CREATE TABLE games (game_id VARCHAR, team VARCHAR, points BIGINT, ended_at TIMESTAMPTZ, PRIMARY KEY (game_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'games') FORMAT PLAIN ENCODE JSON;
";

/// Name, Herald's query, DuckDB's. The greatest number of a time and a value tells the latest row.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "rated",
        "SELECT s.team, s.power, r.rate FROM shots AS s ASOF JOIN rates AS r MATCH_CONDITION (s.shot_at >= r.since) ON s.team = r.team",
        "SELECT team, power, nullif(x % 100 - 1, -1) AS rate FROM (SELECT s.*, (SELECT max(epoch_us(r.since) * 100 + coalesce(r.rate, -1) + 1) FROM rates AS r WHERE s.shot_at >= r.since AND s.team = r.team) AS x FROM shots AS s) WHERE x IS NOT NULL",
    ),
    (
        "rated_before",
        "SELECT s.team, s.power, r.rate, r.since FROM shots AS s LEFT ASOF JOIN rates AS r MATCH_CONDITION (s.shot_at > r.since) ON s.team = r.team",
        "SELECT team, power, nullif(x % 100 - 1, -1) AS rate, make_timestamp(x // 100) AS since FROM (SELECT s.*, (SELECT max(epoch_us(r.since) * 100 + coalesce(r.rate, -1) + 1) FROM rates AS r WHERE s.shot_at > r.since AND s.team = r.team) AS x FROM shots AS s)",
    ),
    (
        "rated_games",
        "SELECT g.game_id, g.points, r.rate FROM games AS g LEFT ASOF JOIN rates AS r MATCH_CONDITION (r.since <= g.ended_at) ON g.team = r.team WHERE g.points <> 3",
        "SELECT game_id, points, nullif(x % 100 - 1, -1) AS rate FROM (SELECT g.*, (SELECT max(epoch_us(r.since) * 100 + coalesce(r.rate, -1) + 1) FROM rates AS r WHERE g.ended_at >= r.since AND g.team = r.team) AS x FROM games AS g) WHERE points <> 3",
    ),
    (
        "last_shot",
        "SELECT g.game_id, s.power FROM games AS g ASOF JOIN shots AS s MATCH_CONDITION (g.ended_at >= s.shot_at) ON g.team = s.team WHERE s.power > 2",
        "SELECT game_id, x % 100 - 1 AS power FROM (SELECT g.*, (SELECT max(epoch_us(s.shot_at) * 100 + coalesce(s.power, -1) + 1) FROM shots AS s WHERE g.ended_at >= s.shot_at AND g.team = s.team) AS x FROM games AS g) WHERE x % 100 - 1 > 2",
    ),
    (
        "any_rate",
        "SELECT g.game_id, r.since FROM games AS g ASOF JOIN rates AS r MATCH_CONDITION (g.ended_at >= r.since)",
        "SELECT * FROM (SELECT g.game_id, (SELECT max(r.since) FROM rates AS r WHERE g.ended_at >= r.since) AS since FROM games AS g) WHERE since IS NOT NULL",
    ),
    (
        "next_rate",
        "SELECT s.team, s.power, r.rate FROM shots AS s ASOF JOIN rates AS r MATCH_CONDITION (s.shot_at <= r.since) ON s.team = r.team",
        "SELECT team, power, nullif(9 - (x % 100), -1) AS rate FROM (SELECT s.*, (SELECT min(epoch_us(r.since) * 100 + 9 - coalesce(r.rate, -1)) FROM rates AS r WHERE s.shot_at <= r.since AND s.team = r.team) AS x FROM shots AS s) WHERE x IS NOT NULL",
    ),
    (
        "rated_after",
        "SELECT g.game_id, g.points, r.rate, r.since FROM games AS g LEFT ASOF JOIN rates AS r MATCH_CONDITION (r.since > g.ended_at) ON g.team = r.team",
        "SELECT game_id, points, nullif(9 - (x % 100), -1) AS rate, make_timestamp(x // 100) AS since FROM (SELECT g.*, (SELECT min(epoch_us(r.since) * 100 + 9 - coalesce(r.rate, -1)) FROM rates AS r WHERE g.ended_at < r.since AND g.team = r.team) AS x FROM games AS g)",
    ),
    (
        "any_next_shot",
        "SELECT g.game_id, s.shot_at FROM games AS g LEFT ASOF JOIN shots AS s MATCH_CONDITION (g.ended_at < s.shot_at)",
        "SELECT g.game_id, (SELECT min(s.shot_at) FROM shots AS s WHERE g.ended_at < s.shot_at) AS shot_at FROM games AS g",
    ),
    (
        "rated_teams",
        "SELECT team, count(*) AS n, sum(rate) AS s, min(power) AS lo FROM rated GROUP BY team",
        "SELECT team, count(*) AS n, sum(rate) AS s, min(power) AS lo FROM rated GROUP BY team",
    ),
];

fn topology() -> String {
    let views = VIEWS.iter().map(|(name, sql, _)| format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    let sinks = "
CREATE SINK games_out FROM rated_games WITH (connector = 'blackhole', primary_key = 'game_id') FORMAT UPSERT ENCODE JSON;
CREATE SINK teams_out FROM rated_teams WITH (connector = 'blackhole', primary_key = 'team') FORMAT DEBEZIUM ENCODE JSON;";
    format!("{SOURCES}{}{sinks}", views.collect::<String>())
}

fn specs() -> Vec<Spec> {
    let plain = |name, columns, keyed, watermark| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: if keyed { vec![0] } else { vec![] },
        checks: vec![],
        watermark,
        keyed: keyed.then(|| Keyed { key: vec![0], first_wins: false, version: None, retention: None }),
        partitions: 1,
    };
    let timed =
        |id, value, time| vec![(id, "VARCHAR"), ("team", "VARCHAR"), (value, "BIGINT"), (time, "TIMESTAMP")];
    let minute = 60 * SECOND_US;
    vec![
        plain("shots", timed("", "power", "shot_at").split_off(1), false, Some((2, minute))),
        plain("rates", timed("rate_id", "rate", "since"), true, None),
        plain("games", timed("game_id", "points", "ended_at"), true, None),
    ]
}

fn history(seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..20) * SECOND_US;
        let source = draw.one(&[SHOTS, SHOTS, RATES, GAMES]);
        let team = draw.one(&["red", "blue"]);
        let team = draw.or_null(0.08, team);
        let value = draw.int(0..9);
        let value = draw.or_null(0.1, value);
        // Few different times, so that there are ties and equal times.
        let time = clock - clock % (10 * SECOND_US) - draw.int(0..30) * 10 * SECOND_US;
        let time = if source == SHOTS { clock - draw.int(0..8) * 10 * SECOND_US } else { time };
        let time = draw.or_null(0.06, time - time % (10 * SECOND_US));
        let key = draw.int(0..12);
        match source {
            SHOTS => draw.push(SHOTS, 0, vec![team, value, time], Some(clock)),
            RATES => draw.push(RATES, 0, vec![format!("r{key}").into(), team, value, time], Some(clock)),
            _ => draw.push(GAMES, 0, vec![format!("g{key}").into(), team, value, time], Some(clock)),
        }
    }
    draw.records
}

#[test]
fn the_latest_row_at_or_before() {
    let case = Case {
        plan: plan(&topology()),
        specs: specs(),
        records: history(31, 220),
        joins: vec![],
        failing: |_| 0,
    };
    let queries: Vec<_> = VIEWS.iter().map(|(name, _, sql)| (name.to_string(), sql.to_string())).collect();
    let mut duck = Duck::new(&queries);
    let mut all = Compared::default();
    let ways = [
        Way::plain(Cut::Every(1), &[1]),
        Way { restart: Some(1), ..Way::plain(Cut::Every(3), &[2, 3, 1]) },
        Way { in_flight: 3, restart: Some(11), ..Way::plain(Cut::Every(1), &[3, 2]) },
        Way { in_flight: 2, ..Way::plain(Cut::Random(32, 30), &[2]) },
        Way::plain(Cut::Once, &[3]),
    ];
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let (compared, model) = case.run(&way, &dir.path().join("state"), &mut duck);
        println!("  {way:?}: {compared:?}");
        let answer = duck.answer(&model.tables_and_marks());
        for (view, ..) in VIEWS {
            assert!(!answer[*view].is_empty(), "{view} shows nothing at the end");
        }
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
}

/// A dimension, looked up as it is.
const NOW: &str = "
CREATE SOURCE shots (team VARCHAR, power BIGINT) WITH (connector = 'file', path = 'shots')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, league VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW seen AS
SELECT s.power, t.league FROM shots AS s JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() AS t ON s.team = t.team;
CREATE MATERIALIZED VIEW seen_or_not AS
SELECT s.power, t.league FROM shots AS s LEFT JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() t ON s.team = t.team;
CREATE MATERIALIZED VIEW leagues AS SELECT league, count(*) AS n, max(power) AS hi FROM seen_or_not GROUP BY league;
CREATE SINK seen_out FROM seen WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
";

/// Feeds epochs of random size into `dir`, restarting now and then, and checks after each.
fn look_up(dir: &Path, seed: u64, workers: &[usize]) -> usize {
    let plan = plan(NOW);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut turn = workers.iter().cycle();
    let mut open = || {
        let options = Options { workers: *turn.next().unwrap(), in_flight: 1, cut: true };
        Engine::open(&plan, dir, &[1, 1], options)
    };
    let mut engine = open();
    let mut teams: BTreeMap<&str, Value> = BTreeMap::new();
    let (mut seen, mut seen_or_not): (Vec<Row>, Vec<Row>) = (vec![], vec![]);
    let (mut offset, mut revised) = (0, 0);
    for epoch in 0..60 {
        if rng.random_bool(0.3) {
            drop(engine);
            engine = open();
        }
        let mut shots = vec![];
        for _ in 0..rng.random_range(1..8) {
            let team = ["red", "blue", "green", "grey"][rng.random_range(0..4)];
            let (source, json) = if rng.random_bool(0.4) {
                let league = ["north", "south"][rng.random_range(0..2)];
                let held = teams.insert(team, league.into());
                revised += usize::from(held.is_some_and(|held| held != league));
                (1, format!(r#"{{"team": "{team}", "league": "{league}"}}"#))
            } else {
                shots.push((team, epoch));
                (0, format!(r#"{{"team": "{team}", "power": {epoch}}}"#))
            };
            let mut records = schemas::Records::new(0);
            records.push(offset, None, None, Some(json.as_bytes()));
            offset += 1;
            engine.feed(source, records);
        }
        for (team, power) in shots {
            let found = teams.get(team).cloned();
            seen.extend(found.clone().map(|league| vec![power.into(), league]));
            seen_or_not.push(vec![power.into(), found.unwrap_or(Value::Null)]);
        }
        engine.close(|_, _| ());
        for (view, wanted) in [(0, &mut seen), (1, &mut seen_or_not)] {
            let mut found = of_view(&engine, &plan.rels[plan.views[view].rel].schema, view);
            sort(&mut found);
            sort(wanted);
            if let Some(difference) = difference(&found, wanted) {
                panic!("seed {seed}, epoch {epoch}, view {view}\n{difference}");
            }
        }
        let leagues = of_view(&engine, &plan.rels[plan.views[2].rel].schema, 2);
        let total: i64 = leagues.iter().map(|row| row[1].as_i64().unwrap()).sum();
        assert_eq!(total, seen_or_not.len() as i64);
    }
    revised
}

#[test]
fn a_lookup_as_of_now_is_never_revised() {
    for (seed, workers) in [(41, &[1][..]), (42, &[2, 3, 1]), (43, &[3, 2])] {
        let dir = tempfile::tempdir().unwrap();
        let revised = look_up(&dir.path().join("state"), seed, workers);
        println!("seed {seed}: {revised} rows of the dimension changed");
        assert!(revised > 10);
    }
}

/// A left side that is corrected and deleted, and a condition on now() that lets its rows leave.
const CHANGING: &str = "
CREATE TABLE orders (order_id VARCHAR, team VARCHAR, n BIGINT, said_at TIMESTAMPTZ, PRIMARY KEY (order_id),
  WATERMARK FOR said_at AS said_at)
WITH (connector = 'kafka', topic = 'orders') FORMAT UPSERT ENCODE JSON;
CREATE TABLE teams (team_id VARCHAR, team VARCHAR, league VARCHAR, PRIMARY KEY (team_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW found AS
SELECT o.order_id, o.n, t.league FROM orders AS o JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() AS t ON o.team = t.team;
CREATE MATERIALIZED VIEW copies AS
SELECT o.team, t.league FROM orders AS o LEFT JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() AS t ON o.team = t.team;
CREATE MATERIALIZED VIEW lately AS
SELECT o.order_id, t.league FROM (SELECT * FROM orders WHERE said_at > now() - INTERVAL '5 seconds') AS o
LEFT JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() AS t ON o.team = t.team;
CREATE MATERIALIZED VIEW leagues AS SELECT league, count(*) AS n, max(n) AS hi FROM found GROUP BY league;
CREATE SINK leagues_out FROM leagues WITH (connector = 'blackhole', primary_key = 'league') FORMAT UPSERT ENCODE JSON;
";

/// An order: its team, its number and its second.
type Order = (&'static str, i64, i64);

/// Content of a view over lookups: by the text of its left rows, what each shows of itself, and of each, oldest
/// first, what its copies found.
#[derive(Default)]
struct Shown(BTreeMap<String, (Row, VecDeque<Vec<Value>>)>);

impl Shown {
    /// Takes over the left rows of an epoch's end and their teams, the right being `teams`.
    fn change(
        &mut self,
        left: Vec<(Row, &str)>,
        outer: bool,
        teams: &BTreeMap<String, (&str, &str)>,
    ) -> Vec<Row> {
        let mut wanted: BTreeMap<String, (Row, &str, usize)> = BTreeMap::new();
        for (row, team) in left {
            let text = format!("{team} {}", Value::from(row.clone()));
            wanted.entry(text).or_insert((row, team, 0)).2 += 1;
        }
        self.0.retain(|text, _| wanted.contains_key(text));
        for (text, (row, team, copies)) in wanted {
            let (_, held) = self.0.entry(text).or_insert_with(|| (row, VecDeque::new()));
            held.drain(..held.len().saturating_sub(copies));
            while held.len() < copies {
                let found = teams.values().filter(|(of, _)| *of == team);
                held.push_back(found.map(|(_, league)| Value::from(*league)).collect());
            }
        }
        let mut rows = Vec::new();
        for (row, found) in self.0.values().flat_map(|(row, held)| held.iter().map(move |found| (row, found)))
        {
            let with = |league: Value| row.iter().cloned().chain([league]).collect::<Row>();
            rows.extend(found.iter().cloned().map(with));
            rows.extend((found.is_empty() && outer).then(|| with(Value::Null)));
        }
        rows
    }
}

/// Feeds epochs of random size into `dir`, restarting now and then, and checks after each. Gives how often a
/// row that was taken back had found another league than stood there then.
fn look_up_changing(dir: &Path, seed: u64, workers: &[usize]) -> usize {
    let plan = plan(CHANGING);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut turn = workers.iter().cycle();
    let mut open = || {
        let options = Options { workers: *turn.next().unwrap(), in_flight: 1, cut: true };
        Engine::open(&plan, dir, &[1, 1], options)
    };
    let mut engine = open();
    let mut orders: BTreeMap<String, Order> = BTreeMap::new();
    let mut teams: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    let mut shown: [Shown; 3] = Default::default();
    let (mut offset, mut stale, mut clock) = (0, 0, None);
    for epoch in 0..90_i64 {
        if rng.random_bool(0.3) {
            drop(engine);
            engine = open();
        }
        for _ in 0..rng.random_range(1..8) {
            let team = ["red", "blue", "green"][rng.random_range(0..3)];
            let (source, key, json) = if rng.random_bool(0.3) {
                let (id, league) =
                    (format!("t{}", rng.random_range(0..4)), ["north", "south"][rng.random_range(0..2)]);
                teams.insert(id.clone(), (team, league));
                (1, None, Some(format!(r#"{{"team_id": "{id}", "team": "{team}", "league": "{league}"}}"#)))
            } else {
                let id = format!("o{}", rng.random_range(0..6));
                let key = Some(format!(r#"{{"order_id": "{id}"}}"#));
                let held = orders.remove(&id);
                if let Some((team, ..)) = held {
                    let now = teams.values().filter(|(of, _)| *of == team).count();
                    stale += usize::from(
                        shown[0].0.values().any(|(row, held)| row[0] == *id && held[0].len() != now),
                    );
                }
                if rng.random_bool(0.3) {
                    (0, key, None)
                } else {
                    let n = rng.random_range(0..3);
                    orders.insert(id.clone(), (team, n, epoch));
                    clock = clock.max(Some(epoch));
                    let at = schemas::types::time::format_timestamp(START_US + epoch * SECOND_US, true);
                    (
                        0,
                        key,
                        Some(format!(
                            r#"{{"order_id": "{id}", "team": "{team}", "n": {n}, "said_at": "{at}"}}"#
                        )),
                    )
                }
            };
            let mut records = schemas::Records::new(0);
            records.push(offset, None, key.as_deref().map(str::as_bytes), json.as_deref().map(str::as_bytes));
            offset += 1;
            engine.feed(source, records);
        }
        engine.close(|_, _| ());
        let found = orders.iter().map(|(id, (team, n, _))| (vec![id.as_str().into(), (*n).into()], *team));
        let copies = orders.values().map(|(team, ..)| (vec![(*team).into()], *team));
        let lately = orders.iter().filter(|(_, (.., at))| clock.is_some_and(|now| *at > now - 5));
        let lately = lately.map(|(id, (team, ..))| (vec![id.as_str().into()], *team));
        let lefts = [(found.collect(), false), (copies.collect(), true), (lately.collect::<Vec<_>>(), true)];
        for (view, (left, outer)) in lefts.into_iter().enumerate() {
            let mut wanted = shown[view].change(left, outer, &teams);
            let mut found = of_view(&engine, &plan.rels[plan.views[view].rel].schema, view);
            sort(&mut found);
            sort(&mut wanted);
            if let Some(difference) = difference(&found, &wanted) {
                panic!("seed {seed}, epoch {epoch}, view {view}\n{difference}");
            }
        }
        let leagues = of_view(&engine, &plan.rels[plan.views[3].rel].schema, 3);
        let total: i64 = leagues.iter().map(|row| row[1].as_i64().unwrap()).sum();
        let rows = of_view(&engine, &plan.rels[plan.views[0].rel].schema, 0);
        assert_eq!(total, rows.len() as i64);
    }
    stale
}

#[test]
fn a_row_that_is_taken_back_takes_back_what_it_found() {
    for (seed, workers) in [(44, &[1][..]), (45, &[2, 3, 1]), (46, &[3, 2])] {
        let dir = tempfile::tempdir().unwrap();
        let stale = look_up_changing(&dir.path().join("state"), seed, workers);
        println!("seed {seed}: {stale} rows were taken back that would find other rows by then");
        assert!(stale > 10);
    }
}
