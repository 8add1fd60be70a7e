//! Conditions on now(), the least watermark of the sources below: rows that come in and leave as it moves.
//!
//! At every committed epoch each view must hold what DuckDB answers over the accepted rows with the model's
//! watermark in the place of now(), however the history is cut, on however many workers, and wherever it is
//! restarted. Rows come out of order and late, are corrected and deleted before they come in, while they are in
//! and after they have left. What operators keep must level off over a long run.

use std::collections::BTreeSet;

use rand::RngExt;
use schemas::Outcome;
use serde_json::{Value, json};

use crate::duck::Duck;
use crate::engine::{compiled, plan};
use crate::event_time::{Sizes, sizes};
use crate::history::{Draw, Keyed as Bytes, SECOND_US, START_US, encode};
use crate::model::{Keyed, Record, Spec};
use crate::rows::Row;
use crate::way::{Case, Compared, Cut, Way};

const SHOTS: usize = 0;
const PASSES: usize = 1;
const GAMES: usize = 2;
const DEALS: usize = 3;
const TEAMS: usize = 4;
const MINUTE_US: i64 = 60 * SECOND_US;

const SOURCES: &str = "
CREATE SOURCE shots (
  team VARCHAR, power BIGINT, shot_at TIMESTAMPTZ, WATERMARK FOR shot_at AS shot_at - INTERVAL '2 minutes'
) WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE passes (
  team VARCHAR, power BIGINT, passed_at TIMESTAMP, WATERMARK FOR passed_at AS passed_at - INTERVAL '1 minute'
) WITH (connector = 'file', path = 'passes') FORMAT PLAIN ENCODE JSON;
CREATE TABLE games (
  game_id VARCHAR, team VARCHAR, points BIGINT, ended_at TIMESTAMPTZ, PRIMARY KEY (game_id),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 minute'
) WITH (connector = 'kafka', topic = 'games', retention = '20 minutes') FORMAT UPSERT ENCODE JSON;
CREATE TABLE deals (
  deal_id VARCHAR, team VARCHAR, said_at TIMESTAMPTZ, starts_at TIMESTAMPTZ, ends_at TIMESTAMP,
  PRIMARY KEY (deal_id), WATERMARK FOR said_at AS said_at - INTERVAL '30 seconds'
) WITH (connector = 'kafka', topic = 'deals') FORMAT UPSERT ENCODE JSON;
CREATE TABLE teams (team VARCHAR, league VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE VIEW touches AS SELECT team, power, shot_at AS touched_at FROM shots UNION ALL SELECT team, power, CAST(passed_at AS TIMESTAMPTZ) FROM passes;
CREATE VIEW past_shots AS SELECT team, power, shot_at FROM shots WHERE shot_at <= now() - INTERVAL '1 minute';
";

/// Statements that DuckDB runs first. Two watermarks that are not both there are none.
const HELPERS: &[(&str, &str)] = &[
    (
        "pair",
        "SELECT CASE WHEN shots IS NULL OR passes IS NULL THEN NULL ELSE least(shots, passes) END AS mark FROM marks",
    ),
    (
        "touches",
        "SELECT team, power, shot_at AS touched_at FROM shots UNION ALL SELECT team, power, passed_at FROM passes",
    ),
    (
        "past_shots",
        "SELECT team, power, shot_at FROM shots WHERE shot_at <= (SELECT shots FROM marks) - INTERVAL '1 minute'",
    ),
    (
        "shot_windows",
        "SELECT *, time_bucket(INTERVAL '5 minutes', shot_at, TIMESTAMP '1970-01-01') + INTERVAL '5 minutes' AS window_end FROM shots WHERE shot_at IS NOT NULL",
    ),
];

/// Name, Herald's query, DuckDB's.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "recent",
        "SELECT team, power, shot_at FROM shots WHERE shot_at > now() - INTERVAL '5 minutes'",
        "SELECT team, power, shot_at FROM shots WHERE shot_at > (SELECT shots FROM marks) - INTERVAL '5 minutes'",
    ),
    (
        "until_now",
        "SELECT team, power, shot_at FROM shots WHERE shot_at <= now()",
        "SELECT team, power, shot_at FROM shots WHERE shot_at <= (SELECT shots FROM marks)",
    ),
    (
        "before_now",
        "SELECT power FROM passes WHERE passed_at < now()",
        "SELECT power FROM passes WHERE passed_at < (SELECT passes FROM marks)",
    ),
    (
        "between",
        "SELECT power, shot_at FROM shots WHERE shot_at BETWEEN now() - INTERVAL '4 minutes' AND now() - INTERVAL '1 minute' + INTERVAL '10 seconds'",
        "SELECT power, shot_at FROM shots WHERE shot_at BETWEEN (SELECT shots FROM marks) - INTERVAL '4 minutes' AND (SELECT shots FROM marks) - INTERVAL '50 seconds'",
    ),
    (
        "swapped",
        "SELECT team, shot_at FROM shots WHERE power > 2 AND now() - '3 minutes'::INTERVAL <= shot_at AND (current_timestamp > shot_at)",
        "SELECT team, shot_at FROM shots, marks WHERE power > 2 AND marks.shots - INTERVAL '3 minutes' <= shot_at AND marks.shots > shot_at",
    ),
    (
        "ahead",
        "SELECT team, passed_at FROM passes WHERE passed_at >= INTERVAL '20 seconds' + now()::TIMESTAMP",
        "SELECT team, passed_at FROM passes, marks WHERE passed_at >= marks.passes + INTERVAL '20 seconds'",
    ),
    (
        "by_team",
        "SELECT team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi FROM shots WHERE shot_at > now() - INTERVAL '5 minutes' GROUP BY team",
        "SELECT team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi FROM recent GROUP BY team",
    ),
    (
        "all_recent",
        "SELECT count(*) AS n, max(power) AS hi FROM shots WHERE shot_at > now() - INTERVAL '2 minutes'",
        "SELECT count(*) AS n, max(power) AS hi FROM shots, marks WHERE shot_at > marks.shots - INTERVAL '2 minutes'",
    ),
    (
        "different",
        "SELECT DISTINCT team, power FROM shots WHERE shot_at > now() - INTERVAL '4 minutes'",
        "SELECT DISTINCT team, power FROM shots, marks WHERE shot_at > marks.shots - INTERVAL '4 minutes'",
    ),
    (
        "best",
        "SELECT team, power FROM (SELECT team, power, rank() OVER (PARTITION BY team ORDER BY power DESC NULLS LAST) AS r FROM shots WHERE shot_at > now() - INTERVAL '5 minutes') AS x WHERE r = 1",
        "SELECT team, power FROM (SELECT team, power, rank() OVER (PARTITION BY team ORDER BY power DESC NULLS LAST) AS r FROM recent) AS x WHERE r = 1",
    ),
    (
        "windows",
        "SELECT window_end, team, count(*) AS n, max(power) AS hi FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end, team",
        "SELECT window_end, team, count(*) AS n, max(power) AS hi FROM shot_windows GROUP BY window_end, team",
    ),
    (
        "last_windows",
        "SELECT window_end, team, n FROM windows WHERE window_end > now() - INTERVAL '15 minutes' AND window_end <= now()",
        "SELECT window_end, team, n FROM windows, marks WHERE window_end > marks.shots - INTERVAL '15 minutes' AND window_end <= marks.shots",
    ),
    (
        "few_windows",
        "SELECT window_end, sum(power) AS s FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end HAVING window_end > now() - INTERVAL '12 minutes' AND count(*) > 1",
        "SELECT window_end, sum(power) AS s FROM shot_windows, marks GROUP BY window_end HAVING window_end > max(marks.shots) - INTERVAL '12 minutes' AND count(*) > 1",
    ),
    (
        "closed",
        "SELECT window_end, count(*) AS n FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end EMIT ON WINDOW CLOSE",
        "SELECT window_end, count(*) AS n FROM shot_windows GROUP BY window_end HAVING window_end <= (SELECT shots FROM marks)",
    ),
    (
        "closed_lately",
        "SELECT window_end, n FROM closed WHERE window_end > now() - INTERVAL '15 minutes'",
        "SELECT window_end, n FROM closed, marks WHERE window_end > marks.shots - INTERVAL '15 minutes'",
    ),
    (
        "past_closed",
        "SELECT window_end, team, count(*) AS n FROM TUMBLE(past_shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end, team EMIT ON WINDOW CLOSE",
        "SELECT window_end, team, count(*) AS n FROM shot_windows GROUP BY window_end, team HAVING window_end <= (SELECT shots FROM marks) - INTERVAL '1 minute'",
    ),
    (
        "past_teams",
        "SELECT team, count(*) AS n, sum(power) AS s FROM past_shots GROUP BY team",
        "SELECT team, count(*) AS n, sum(power) AS s FROM past_shots GROUP BY team",
    ),
    (
        "past_at_last",
        "SELECT team, power FROM past_shots WHERE shot_at >= now() - INTERVAL '6 minutes'",
        "SELECT team, power FROM past_shots, marks WHERE shot_at >= marks.shots - INTERVAL '6 minutes'",
    ),
    (
        "active",
        "SELECT team, max(shot_at) AS last FROM shots GROUP BY team HAVING max(shot_at) > now() + INTERVAL '1 minute'",
        "SELECT team, max(shot_at) AS last FROM shots, marks GROUP BY team HAVING max(shot_at) > max(marks.shots) + INTERVAL '1 minute'",
    ),
    (
        "after_late",
        "SELECT team, power FROM shots QUALIFY lag(shot_at) OVER (PARTITION BY team ORDER BY shot_at, power) > now() - INTERVAL '4 minutes'",
        "SELECT team, power FROM (SELECT team, power, lag(shot_at) OVER (PARTITION BY team ORDER BY shot_at NULLS LAST, power NULLS LAST) AS x FROM shots), marks WHERE x > marks.shots - INTERVAL '4 minutes'",
    ),
    (
        "touched",
        "SELECT team, power FROM touches WHERE touched_at > now() - INTERVAL '3 minutes'",
        "SELECT team, power FROM touches WHERE touched_at > (SELECT mark FROM pair) - INTERVAL '3 minutes'",
    ),
    (
        "met",
        "SELECT s.team, s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at > now() - INTERVAL '3 minutes' WHERE s.shot_at >= now() - INTERVAL '2 minutes'",
        "SELECT s.team, s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.team = p.team, pair WHERE p.passed_at > mark - INTERVAL '3 minutes' AND s.shot_at >= mark - INTERVAL '2 minutes'",
    ),
    (
        "met_or_not",
        "SELECT s.team, s.power AS shot, p.power AS pass FROM (SELECT * FROM shots WHERE shot_at > now() - INTERVAL '4 minutes') AS s LEFT JOIN passes AS p ON s.team = p.team AND p.passed_at > now() - INTERVAL '1 minute'",
        "SELECT s.team, s.power AS shot, p.power AS pass FROM (SELECT * FROM shots WHERE shot_at > (SELECT shots FROM marks) - INTERVAL '4 minutes') AS s LEFT JOIN (SELECT * FROM passes WHERE passed_at > (SELECT mark FROM pair) - INTERVAL '1 minute') AS p ON s.team = p.team",
    ),
    (
        "either_time",
        "SELECT s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '1 minute' AND s.shot_at WHERE greatest(s.shot_at, CAST(p.passed_at AS TIMESTAMPTZ)) > now() - INTERVAL '2 minutes'",
        "SELECT s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '1 minute' AND s.shot_at, pair WHERE greatest(s.shot_at, p.passed_at) > mark - INTERVAL '2 minutes'",
    ),
    (
        "of_league",
        "SELECT t.league, count(*) AS n FROM shots AS s JOIN teams AS t ON s.team = t.team WHERE s.shot_at > now() - INTERVAL '5 minutes' GROUP BY t.league",
        "SELECT t.league, count(*) AS n FROM recent AS s JOIN teams AS t ON s.team = t.team GROUP BY t.league",
    ),
    (
        "with_pass",
        "SELECT team, league FROM teams AS t WHERE EXISTS (SELECT 1 FROM passes AS p WHERE p.team = t.team AND p.passed_at > now() - INTERVAL '30 seconds')",
        "SELECT team, league FROM teams AS t WHERE EXISTS (SELECT 1 FROM passes AS p, marks WHERE p.team = t.team AND p.passed_at > marks.passes - INTERVAL '30 seconds')",
    ),
    (
        "without_pass",
        "SELECT team, league FROM teams AS t WHERE NOT EXISTS (SELECT 1 FROM passes AS p WHERE p.team = t.team AND p.passed_at > now() - INTERVAL '10 seconds')",
        "SELECT team, league FROM teams AS t WHERE NOT EXISTS (SELECT 1 FROM passes AS p, marks WHERE p.team = t.team AND p.passed_at > marks.passes - INTERVAL '10 seconds')",
    ),
    (
        "games_lately",
        "SELECT game_id, team, points FROM games WHERE ended_at > now() - INTERVAL '10 minutes'",
        "SELECT game_id, team, points FROM games, marks WHERE ended_at > marks.games - INTERVAL '10 minutes'",
    ),
    (
        "games_beyond",
        "SELECT team, count(*) AS n, sum(points) AS s FROM games WHERE ended_at >= now() - INTERVAL '1 hour' GROUP BY team",
        "SELECT team, count(*) AS n, sum(points) AS s FROM games, marks WHERE ended_at >= marks.games - INTERVAL '1 hour' GROUP BY team",
    ),
    (
        "valid",
        "SELECT deal_id, team FROM deals WHERE now() BETWEEN starts_at AND ends_at",
        "SELECT deal_id, team FROM deals, marks WHERE marks.deals BETWEEN starts_at AND ends_at",
    ),
    (
        "valid_teams",
        "SELECT team, count(*) AS n, min(deal_id) AS lo FROM deals WHERE starts_at < now() AND ends_at + INTERVAL '1 minute' > now() AND team <> 'red' GROUP BY team",
        "SELECT team, count(*) AS n, min(deal_id) AS lo FROM deals, marks WHERE starts_at < marks.deals AND ends_at + INTERVAL '1 minute' > marks.deals AND team <> 'red' GROUP BY team",
    ),
    (
        "to_come",
        "SELECT deal_id, starts_at FROM deals WHERE starts_at > now()",
        "SELECT deal_id, starts_at FROM deals, marks WHERE starts_at > marks.deals",
    ),
    (
        "begun",
        "SELECT deal_id, starts_at FROM deals WHERE starts_at <= now()",
        "SELECT deal_id, starts_at FROM deals, marks WHERE starts_at <= marks.deals",
    ),
];

fn topology() -> String {
    let views = VIEWS.iter().map(|(name, sql, _)| format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    let sinks = "
CREATE SINK until_now_out FROM until_now WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
CREATE SINK by_team_out FROM by_team WITH (connector = 'blackhole', primary_key = 'team') FORMAT UPSERT ENCODE JSON;
CREATE SINK valid_out FROM valid WITH (connector = 'blackhole', primary_key = 'deal_id') FORMAT DEBEZIUM ENCODE JSON;";
    format!("{SOURCES}{}{sinks}", views.collect::<String>())
}

fn queries() -> Vec<(String, String)> {
    let helpers = HELPERS.iter().map(|(name, sql)| (name.to_string(), sql.to_string()));
    helpers.chain(VIEWS.iter().map(|(name, _, sql)| (name.to_string(), sql.to_string()))).collect()
}

fn specs() -> Vec<Spec> {
    let plain = |name, columns, watermark| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![],
        checks: vec![],
        watermark,
        keyed: None,
        partitions: 1,
    };
    let key = |minutes: Option<i64>| {
        let retention = minutes.map(|m| m * MINUTE_US);
        Some(Keyed { key: vec![0], first_wins: false, version: None, retention })
    };
    let shots = vec![("team", "VARCHAR"), ("power", "BIGINT"), ("shot_at", "TIMESTAMP")];
    let passes = vec![("team", "VARCHAR"), ("power", "BIGINT"), ("passed_at", "TIMESTAMP")];
    let games =
        vec![("game_id", "VARCHAR"), ("team", "VARCHAR"), ("points", "BIGINT"), ("ended_at", "TIMESTAMP")];
    let deals = vec![
        ("deal_id", "VARCHAR"),
        ("team", "VARCHAR"),
        ("said_at", "TIMESTAMP"),
        ("starts_at", "TIMESTAMP"),
        ("ends_at", "TIMESTAMP"),
    ];
    let teams = vec![("team", "VARCHAR"), ("league", "VARCHAR")];
    vec![
        Spec { partitions: 2, ..plain("shots", shots, Some((2, 2 * MINUTE_US))) },
        plain("passes", passes, Some((2, MINUTE_US))),
        Spec {
            partitions: 2,
            not_null: vec![0],
            keyed: key(Some(20)),
            ..plain("games", games, Some((3, MINUTE_US)))
        },
        Spec { not_null: vec![0], keyed: key(None), ..plain("deals", deals, Some((2, MINUTE_US / 2))) },
        Spec { not_null: vec![0], keyed: key(None), ..plain("teams", teams, None) },
    ]
}

/// A record of an UPSERT table: `row` is put in place, or deleted.
fn upsert(draw: &mut Draw, source: usize, row: Row) -> Bytes {
    let spec = &specs()[source];
    let deletes = draw.rng.random_bool(0.2);
    let key = json!({ spec.columns[0].0: row[0] }).to_string().into_bytes();
    let bytes = (!deletes).then(|| encode(spec, &row, &mut draw.rng).into_bytes());
    let key_only =
        |row: Row| row.into_iter().enumerate().map(|(at, v)| if at == 0 { v } else { Value::Null });
    let row = if deletes { key_only(row).collect() } else { row };
    Bytes { row: Some(row), deletes, key: Some(key), bytes }
}

/// A history in which time passes.
fn history(seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..40) * SECOND_US;
        let source = draw.one(&[SHOTS, SHOTS, SHOTS, PASSES, PASSES, GAMES, GAMES, DEALS, DEALS, TEAMS]);
        let team = draw.one(&["red", "blue", "green"]);
        let team = draw.or_null(0.05, team);
        let power = draw.int(0..9);
        let power = draw.or_null(0.1, power);
        match source {
            SHOTS => {
                let shot = clock - draw.int(0..6 * 60) * SECOND_US;
                let row = vec![team, power, draw.or_null(0.04, shot)];
                let partition = draw.int(0..2) as i32;
                draw.push(SHOTS, partition, row, Some(clock));
            }
            PASSES => {
                // Passes are behind, so that the two watermarks differ.
                let passed = clock - draw.int(60..240) * SECOND_US;
                let row = vec![team, power, draw.or_null(0.04, passed)];
                draw.push(PASSES, 0, row, Some(clock));
            }
            GAMES => {
                let ended = clock - draw.one(&[0, 1, 5, 9, 19, 25]) * MINUTE_US;
                let key = draw.int(0..9);
                let row = vec![format!("g{key}").into(), team, power, draw.or_null(0.05, ended)];
                let bytes = upsert(&mut draw, GAMES, row);
                draw.push_keyed((GAMES, (key % 2) as i32), bytes, Some(clock));
            }
            DEALS => {
                let starts = clock + draw.int(-5 * 60..5 * 60) * SECOND_US;
                let ends = starts + draw.int(-60..6 * 60) * SECOND_US;
                let key = draw.int(0..12);
                let said = clock - draw.int(0..60) * SECOND_US;
                let (starts, ends) = (draw.or_null(0.04, starts), draw.or_null(0.04, ends));
                let row = vec![format!("d{key}").into(), team, said.into(), starts, ends];
                let bytes = upsert(&mut draw, DEALS, row);
                draw.push_keyed((DEALS, 0), bytes, Some(clock));
            }
            _ => {
                let (team, league) = (draw.one(&["red", "blue", "green"]), draw.one(&["north", "south"]));
                let row = vec![team.into(), draw.or_null(0.1, league)];
                draw.push(TEAMS, 0, row, Some(clock));
            }
        }
    }
    draw.records
}

fn run(seed: u64, n: usize, ways: &[Way]) {
    let case = Case {
        plan: plan(&topology()),
        specs: specs(),
        records: history(seed, n),
        joins: vec![],
        failing: |_| 0,
    };
    let mut duck = Duck::new(&queries());
    let mut all = Compared::default();
    println!("now(), seed {seed}: {} records", case.records.len());
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let (compared, model) = case.run(way, &dir.path().join("state"), &mut duck);
        println!("  {way:?}: {compared:?}");
        for source in [SHOTS, PASSES] {
            assert!(model.outcomes(source)[Outcome::Late.index()] > 0, "nothing is late");
        }
        all = all.and(compared);
    }
    // What a view shows must have changed with the watermark: it is neither empty all the time nor ever whole.
    let mut model = crate::model::Model::new(&case.specs);
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for record in case.records.chunks(20) {
        model.epoch(record);
        let answer = duck.answer(&model.tables_and_marks());
        shown.extend(VIEWS.iter().map(|(view, ..)| *view).filter(|view| !answer[*view].is_empty()));
    }
    for (view, ..) in VIEWS {
        assert!(shown.contains(view), "{view} never shows anything");
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
}

#[test]
fn rows_come_in_and_leave_with_the_watermark() {
    let ways = [
        Way { restart: Some(17), ..Way::plain(Cut::Every(1), &[2, 1, 3]) },
        Way { in_flight: 3, restart: Some(23), ..Way::plain(Cut::Every(1), &[3, 2]) },
        Way { restart: Some(1), ..Way::plain(Cut::Random(51, 15), &[1, 3, 2]) },
        Way { in_flight: 2, ..Way::plain(Cut::Random(52, 30), &[2]) },
        Way::plain(Cut::Once, &[3]),
    ];
    run(51, 240, &ways);
}

#[test]
fn a_restart_at_any_epoch_changes_nothing() {
    let ways = [
        Way { restart: Some(1), ..Way::plain(Cut::Every(2), &[2, 3, 1]) },
        Way { in_flight: 2, restart: Some(2), ..Way::plain(Cut::Every(3), &[1, 2]) },
    ];
    run(52, 240, &ways);
}

/// Of a run four times as long, the state is not larger, but for what no condition bounds.
#[test]
fn what_is_kept_levels_off() {
    let Sizes { held, stored } = sizes(&topology(), &specs(), &history(53, 6_000), &[]);
    for (what, sizes) in [("in memory", &held), ("in the state", &stored)] {
        println!("{what}: updates after 1,500 records and after 6,000");
        for (name, [quarter, end]) in sizes {
            println!("  {name:40} {quarter:>7} {end:>7}");
        }
    }
    assert!(held.keys().any(|name| name.starts_with("recent/") && name.ends_with("/waiting")));
    // The greatest time of a team is of all its shots, however old, and so is what stands before a shot.
    let unbounded = |name: &str| {
        name.starts_with("active/") || (name.starts_with("after_late/") && name.ends_with("/partitions"))
    };
    for (name, [quarter, end]) in held.iter().chain(&stored).filter(|(name, _)| !unbounded(name)) {
        assert!(*end <= quarter * 2 + 40, "{name} grows: {quarter} and then {end}");
    }
    // The control: what nothing bounds is seen to grow.
    assert!(held.iter().any(|(name, [quarter, end])| unbounded(name) && *end > quarter * 2));
}

/// Mistakes that `check` finds in a query over the sources.
fn told(query: &str) -> String {
    match compiled(&format!("{SOURCES}CREATE MATERIALIZED VIEW v AS {query};")) {
        Ok(_) => String::new(),
        Err(why) => why,
    }
}

#[test]
fn what_has_no_watermark_or_no_form_is_refused() {
    for (query, why) in [
        ("SELECT team FROM teams WHERE CAST(league AS TIMESTAMPTZ) > now()", "no source below has one"),
        ("SELECT team FROM shots WHERE shot_at > now() - INTERVAL '1 month'", "no fixed length"),
        ("SELECT team FROM shots WHERE shot_at = now()", "now() is refused"),
        ("SELECT team FROM shots WHERE NOT shot_at > now()", "now() is refused"),
        ("SELECT team FROM shots WHERE power = 1 OR shot_at > now()", "now() is refused"),
        ("SELECT team FROM shots WHERE now() - shot_at < INTERVAL '1 minute'", "now() is refused"),
        ("SELECT team FROM shots WHERE power > now()", "now() is compared with a time, and this is BIGINT"),
        (
            "SELECT s.team FROM shots AS s LEFT JOIN passes AS p ON s.team = p.team AND s.shot_at > now()",
            "a condition on now() is not supported here",
        ),
        (
            "SELECT window_end FROM TUMBLE(shots, shot_at, INTERVAL '1 minute') WHERE shot_at > now() GROUP BY window_end EMIT ON WINDOW CLOSE",
            "rows leave again as now() moves on",
        ),
    ] {
        let told = told(query);
        assert!(told.contains(why), "{query}: {told:?}");
    }
}
