//! Forgetting is not retracting: tables with retention and append-only sources, over restarts.
//!
//! What a table forgets stays in every view, so nothing below it can be rebuilt from its rows: the
//! state of each operator must come back from RocksDB. The model keeps what was forgotten; DuckDB
//! computes over that, and an uninterrupted run must equal it as well as every interrupted one. A
//! partition that joins late starts at the source's watermark, also after a restart.

use rand::RngExt;

use crate::duck::Duck;
use crate::engine::plan;
use crate::history::{Draw, SECOND_US, START_US};
use crate::model::{Keyed, Model, Record, Spec};
use crate::way::{Case, Compared, Cut, Way};

const GAMES: usize = 0;
const TOKENS: usize = 1;
const TEAMS: usize = 2;
const SHOTS: usize = 3;
const MINUTE_US: i64 = 60 * SECOND_US;

const SOURCES: &str = "
CREATE TABLE games (
  game_id VARCHAR, team VARCHAR, ended_at TIMESTAMPTZ, points BIGINT, score DOUBLE, fetched_at TIMESTAMPTZ,
  PRIMARY KEY (game_id), WATERMARK FOR ended_at AS ended_at - INTERVAL '1 minute'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
WITH (connector = 'file', path = 'games', retention = '30 minutes') FORMAT PLAIN ENCODE JSON;
CREATE TABLE tokens (
  token VARCHAR, team VARCHAR, issued_at TIMESTAMPTZ, PRIMARY KEY (token), WATERMARK FOR issued_at AS issued_at
) ON CONFLICT DO NOTHING
WITH (connector = 'file', path = 'tokens', retention = '20 minutes') FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, league VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE shots (
  team VARCHAR, power BIGINT, shot_at TIMESTAMPTZ, WATERMARK FOR shot_at AS shot_at - INTERVAL '2 minutes'
) WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
";

const VIEWS: &[(&str, &str)] = &[
    ("game_rows", "SELECT team, points, ended_at FROM games"),
    (
        "per_team",
        "SELECT team, count(*) AS n, sum(points) AS s, min(points) AS lo, max(points) AS hi, avg(points) AS a FROM games GROUP BY team",
    ),
    (
        "per_league",
        "SELECT t.league, count(*) AS n, sum(g.points) AS s, max(g.points) AS hi FROM games AS g JOIN teams AS t ON g.team = t.team GROUP BY t.league",
    ),
    (
        "with_league",
        "SELECT g.points, t.league FROM games AS g LEFT JOIN teams AS t ON g.team = t.team AND g.points > 20",
    ),
    ("leagues", "SELECT league, count(*) AS n FROM teams GROUP BY league"),
    ("distinct_points", "SELECT DISTINCT team, points FROM games"),
    ("sizes", "SELECT n, count(*) AS teams, min(lo) AS lo FROM per_team GROUP BY n"),
    ("everything", "SELECT count(*) AS n, sum(points) AS s, max(ended_at) AS last FROM games"),
    ("tokens_by_team", "SELECT team, count(*) AS n, min(issued_at) AS first FROM tokens GROUP BY team"),
    (
        "tokens_and_games",
        "SELECT k.team, count(*) AS n, min(g.points) AS lo FROM tokens AS k JOIN games AS g ON k.team = g.team GROUP BY k.team",
    ),
    (
        "shots_by_team",
        "SELECT team, count(*) AS n, sum(power) AS s, max(power) AS hi FROM shots GROUP BY team",
    ),
    (
        "shots_by_league",
        "SELECT t.league, count(*) AS n, min(x.power) AS lo FROM shots AS x LEFT JOIN teams AS t ON x.team = t.team GROUP BY t.league",
    ),
    ("shot_powers", "SELECT DISTINCT power FROM shots"),
    (
        "full_league",
        "SELECT g.points, t.team, t.league FROM games AS g FULL JOIN teams AS t ON g.team = t.team AND g.points > 20",
    ),
    ("full_team", "SELECT k.token, g.points FROM tokens AS k FULL JOIN games AS g ON k.team = g.team"),
    (
        "no_league",
        "SELECT points FROM games AS g WHERE NOT EXISTS (SELECT 1 FROM teams AS t WHERE t.team = g.team)",
    ),
    ("some_token", "SELECT team, points FROM games WHERE team IN (SELECT team FROM tokens)"),
    (
        "no_token",
        "SELECT team, league FROM teams WHERE team NOT IN (SELECT team FROM tokens WHERE token <> 't3')",
    ),
    ("without_shot", "SELECT team FROM games EXCEPT SELECT team FROM shots WHERE power > 4"),
    (
        "points_of_team",
        "SELECT team, count(*) AS n, count(DISTINCT points) AS p, sum(DISTINCT points) AS s FROM games GROUP BY team",
    ),
    ("best", "SELECT team, points FROM games WHERE points >= (SELECT max(power) FROM shots)"),
    (
        "both",
        "SELECT a.team, a.n AS games, b.n AS shots FROM per_team AS a LEFT JOIN shots_by_team AS b ON a.team = b.team",
    ),
];

fn topology() -> String {
    let views = VIEWS.iter().map(|(name, sql)| format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    let sinks = "
CREATE SINK per_team_out FROM per_team WITH (connector = 'blackhole', primary_key = 'team') FORMAT UPSERT ENCODE JSON;
CREATE SINK per_league_out FROM per_league WITH (connector = 'blackhole', primary_key = 'league') FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK shots_out FROM shots_by_league WITH (connector = 'blackhole', primary_key = 'league') FORMAT DEBEZIUM ENCODE JSON;";
    let indexes = "
CREATE INDEX game_rows_by_points ON game_rows (points, team);
CREATE INDEX per_team_by_n ON per_team (n);
CREATE INDEX full_league_by_league ON full_league (league);";
    format!("{SOURCES}{}{sinks}{indexes}", views.collect::<String>())
}

fn specs() -> Vec<Spec> {
    let plain = |name, columns| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![0],
        checks: vec![],
        watermark: None,
        keyed: None,
        partitions: 1,
    };
    let key = |first_wins, version, minutes: Option<i64>| {
        Some(Keyed { key: vec![0], first_wins, version, retention: minutes.map(|m| m * MINUTE_US) })
    };
    vec![
        Spec {
            watermark: Some((2, MINUTE_US)),
            keyed: key(false, Some(5), Some(30)),
            partitions: 2,
            ..plain(
                "games",
                vec![
                    ("game_id", "VARCHAR"),
                    ("team", "VARCHAR"),
                    ("ended_at", "TIMESTAMP"),
                    ("points", "BIGINT"),
                    ("score", "DOUBLE"),
                    ("fetched_at", "TIMESTAMP"),
                ],
            )
        },
        Spec {
            watermark: Some((2, 0)),
            keyed: key(true, None, Some(20)),
            ..plain("tokens", vec![("token", "VARCHAR"), ("team", "VARCHAR"), ("issued_at", "TIMESTAMP")])
        },
        Spec {
            keyed: key(false, None, None),
            ..plain("teams", vec![("team", "VARCHAR"), ("league", "VARCHAR")])
        },
        Spec {
            not_null: vec![],
            watermark: Some((2, 2 * MINUTE_US)),
            partitions: 2,
            ..plain("shots", vec![("team", "VARCHAR"), ("power", "BIGINT"), ("shot_at", "TIMESTAMP")])
        },
    ]
}

/// A history in which keys come back after they are forgotten; from record `joins` on, shots also
/// come from a third partition.
fn history(seed: u64, n: usize, joins: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..100) * SECOND_US;
        let at = draw.records.len();
        let source = draw.one(&[GAMES, GAMES, GAMES, TOKENS, TEAMS, SHOTS, SHOTS]);
        if at != joins && draw.rng.random_bool(0.1) && draw.repeat(source) {
            continue;
        }
        let team = draw.one(&["red", "blue", "green", "grey"]);
        let team = draw.or_null(0.1, team);
        let key = draw.int(0..18);
        match if at == joins { SHOTS } else { source } {
            GAMES => {
                let ended = clock - draw.one(&[0, 1, 5, 20, 29, 40]) * MINUTE_US;
                let (points, score) = (draw.int(0..50), draw.int(0..8) as f64 / 4.0);
                let fetched = clock + draw.int(-10..10) * MINUTE_US;
                let row = vec![
                    format!("g{key}").into(),
                    team,
                    draw.or_null(0.08, ended),
                    draw.or_null(0.1, points),
                    score.into(),
                    draw.or_null(0.1, fetched),
                ];
                draw.push(source, (key % 2) as i32, row, Some(clock));
            }
            TOKENS => {
                let issued = clock - draw.one(&[0, 3, 19, 25]) * MINUTE_US;
                let row = vec![format!("t{}", key % 7).into(), team, draw.or_null(0.08, issued)];
                draw.push(source, 0, row, Some(clock));
            }
            TEAMS => {
                let league = draw.one(&["north", "south"]);
                let row = vec![team, draw.or_null(0.1, league)];
                draw.push(source, 0, row, Some(clock));
            }
            _ => {
                let shot = clock - draw.int(0..4 * MINUTE_US);
                let power = draw.int(0..9);
                let row = vec![team, draw.or_null(0.1, power), draw.or_null(0.05, shot)];
                let partitions = if at > joins { 3 } else { 2 };
                let partition = if at == joins { 2 } else { draw.int(0..partitions) as i32 };
                draw.push(SHOTS, partition, row, Some(clock));
            }
        }
    }
    draw.records
}

fn run(seed: u64, joins: Option<usize>, ways: &[Way]) {
    let case = Case {
        plan: plan(&topology()),
        specs: specs(),
        records: history(seed, 220, joins.unwrap_or(usize::MAX)),
        joins: joins.into_iter().map(|at| (at, SHOTS, 2)).collect(),
        failing: |_| 0,
    };
    let queries: Vec<_> = VIEWS.iter().map(|(name, sql)| (name.to_string(), sql.to_string())).collect();
    let mut duck = Duck::new(&queries);
    let mut all = Compared::default();
    println!("retention, seed {seed}: {} records", case.records.len());
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (compared, model) = case.run(way, &state, &mut duck);
        println!("  {way:?}: {compared:?}, games {:?}", model.outcomes(GAMES));
        assert!(model.outcomes(GAMES)[schemas::Outcome::Late.index()] > 0);
        cleared(&case, way, &model, &state);
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
}

#[test]
fn what_is_forgotten_stays() {
    let ways = [
        Way::plain(Cut::Every(1), &[1]),
        Way { restart: Some(13), ..Way::plain(Cut::Every(1), &[2, 1, 3]) },
        Way::plain(Cut::Random(7, 10), &[3]),
        Way { restart: Some(1), ..Way::plain(Cut::Random(8, 20), &[1, 3, 2]) },
        Way::plain(Cut::Once, &[2]),
    ];
    run(11, Some(90), &ways);
}

/// Without a partition that joins: where that happens depends on what is committed at the time.
#[test]
fn what_is_forgotten_stays_with_epochs_in_flight() {
    let ways = [
        Way { in_flight: 3, ..Way::plain(Cut::Every(3), &[2]) },
        Way { in_flight: 3, restart: Some(7), ..Way::plain(Cut::Every(3), &[3, 1, 2]) },
        Way { in_flight: 2, restart: Some(2), ..Way::plain(Cut::Random(9, 15), &[2, 3]) },
    ];
    run(12, None, &ways);
}

/// The state must still hold every key within retention, and must have let go of others.
fn cleared(case: &Case, way: &Way, model: &Model, state: &std::path::Path) {
    let options = crate::engine::Options { workers: 1, in_flight: 1, cut: true };
    let partitions: Vec<i32> = case.specs.iter().map(|s| s.partitions).collect();
    let engine = crate::engine::Engine::open(&case.plan, state, &partitions, options);
    for source in [GAMES, TOKENS] {
        let (mut held, table_id) = (0, engine.state_tables().tables[&source]);
        let count = |_: &[u8], _: &[u8]| -> Result<(), state::StateError> {
            held += 1;
            Ok(())
        };
        engine.store().scan(table_id, &[], count).unwrap();
        let within = model.remembered(source);
        let known = model.known(source);
        assert!(held >= within, "{held} keys are held, {within} are within retention");
        // Only a worker that judges records of a table clears it.
        let clears = way.workers == [1] && !matches!(way.cut, Cut::Once);
        assert!(!clears || held < known, "all {known} keys are still held");
        println!(
            "    {}: {held} keys held, {within} within retention, {known} known",
            case.specs[source].name,
        );
    }
}

/// Two rows of one key: one that was forgotten and stays, and one that came after. No key of the table
/// may be taken for unique below it, or a join with it has two rows where one was promised.
#[test]
fn a_forgotten_key_is_not_unique() {
    let text = "
CREATE TABLE dims (k VARCHAR, label VARCHAR, at TIMESTAMPTZ, PRIMARY KEY (k), WATERMARK FOR at AS at)
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'dims', retention = '10 minutes') FORMAT PLAIN ENCODE JSON;
CREATE TABLE facts (id VARCHAR, k VARCHAR, n BIGINT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'facts') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW labels AS SELECT k, label FROM dims;
CREATE MATERIALIZED VIEW joined AS SELECT f.id, f.n, d.label FROM facts AS f JOIN dims AS d ON f.k = d.k;
";
    let plain = |name, columns, watermark, retention| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![0],
        checks: vec![],
        watermark,
        keyed: Some(Keyed { key: vec![0], first_wins: false, version: None, retention }),
        partitions: 1,
    };
    let dims = vec![("k", "VARCHAR"), ("label", "VARCHAR"), ("at", "TIMESTAMP")];
    let facts = vec![("id", "VARCHAR"), ("k", "VARCHAR"), ("n", "BIGINT")];
    let specs =
        vec![plain("dims", dims, Some((2, 0)), Some(10 * MINUTE_US)), plain("facts", facts, None, None)];
    let mut draw = Draw::new(&specs, 13);
    let at = |minutes: i64| serde_json::Value::from(START_US + minutes * MINUTE_US);
    draw.push(0, 0, vec!["a".into(), "old".into(), at(0)], None);
    draw.push(1, 0, vec!["1".into(), "a".into(), 1.into()], None);
    draw.push(0, 0, vec!["b".into(), "other".into(), at(60)], None);
    draw.push(0, 0, vec!["a".into(), "new".into(), at(61)], None);
    draw.push(1, 0, vec!["1".into(), "a".into(), 2.into()], None);
    draw.push(0, 0, vec!["a".into(), "newer".into(), at(62)], None);
    let case = Case { plan: plan(text), specs, records: draw.records, joins: vec![], failing: |_| 0 };
    let queries = [
        ("labels", "SELECT k, label FROM dims"),
        ("joined", "SELECT f.id, f.n, d.label FROM facts AS f JOIN dims AS d ON f.k = d.k"),
    ];
    let mut duck = Duck::new(&queries.map(|(name, sql)| (name.to_string(), sql.to_string())));
    let ways = [
        Way::plain(Cut::Once, &[1]),
        Way::plain(Cut::Every(1), &[1]),
        Way { restart: Some(1), ..Way::plain(Cut::Every(1), &[2, 1]) },
    ];
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        case.run(&way, &dir.path().join("state"), &mut duck);
    }
}
