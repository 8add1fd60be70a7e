//! What watermarks end: windows that are emitted when they close, and state that is dropped.
//!
//! A view that emits on close must hold, at every epoch, just the groups that are final by the
//! watermark the model says, and all its other views what DuckDB computes over every accepted row,
//! although the state of groups and joins is gone by then. Arrangements and state must level off
//! over a long run.

use std::collections::BTreeMap;

use schemas::Outcome;

use crate::duck::Duck;
use crate::engine::{Engine, Options, plan};
use crate::history::{Draw, SECOND_US, START_US};
use crate::model::{Keyed, Record, Spec};
use crate::way::{Case, Compared, Cut, Way};

const SHOTS: usize = 0;
const PASSES: usize = 1;
const GAMES: usize = 2;
const TEAMS: usize = 3;
const MINUTE_US: i64 = 60 * SECOND_US;

const SOURCES: &str = "
CREATE SOURCE shots (
  team VARCHAR, power BIGINT, speed DOUBLE, shot_at TIMESTAMPTZ,
  WATERMARK FOR shot_at AS shot_at - INTERVAL '2 minutes'
) WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE passes (
  team VARCHAR, power BIGINT, passed_at TIMESTAMPTZ, WATERMARK FOR passed_at AS passed_at - INTERVAL '1 minute'
) WITH (connector = 'file', path = 'passes') FORMAT PLAIN ENCODE JSON;
CREATE TABLE games (
  game_id VARCHAR, team VARCHAR, points BIGINT, ended_at TIMESTAMPTZ, PRIMARY KEY (game_id),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 minute'
) ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'games', retention = '20 minutes')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, league VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE VIEW touches AS SELECT team, power, shot_at AS touched_at FROM shots UNION ALL SELECT team, power, passed_at FROM passes;
CREATE VIEW timed_shots AS SELECT * FROM shots WHERE shot_at IS NOT NULL;
CREATE VIEW timed_passes AS SELECT * FROM passes WHERE passed_at IS NOT NULL;
";

/// What DuckDB is told first: windows, and what is final.
const HELPERS: &[(&str, &str)] = &[
    (
        "shot_windows",
        "SELECT *, time_bucket(INTERVAL '5 minutes', shot_at, TIMESTAMP '1970-01-01') AS window_start, window_start + INTERVAL '5 minutes' AS window_end FROM shots WHERE shot_at IS NOT NULL",
    ),
    (
        "pass_windows",
        "SELECT *, time_bucket(INTERVAL '5 minutes', passed_at, TIMESTAMP '1970-01-01') + INTERVAL '5 minutes' AS window_end FROM passes WHERE passed_at IS NOT NULL",
    ),
    (
        "shot_hops",
        "SELECT * FROM (SELECT s.*, window_start - to_minutes(5 * k) AS hop_start, window_start - to_minutes(5 * k) + INTERVAL '15 minutes' AS hop_end FROM shot_windows AS s, (SELECT unnest([0, 1, 2]) AS k)) WHERE hop_start IS NOT NULL",
    ),
    (
        "game_windows",
        "SELECT *, time_bucket(INTERVAL '10 minutes', ended_at, TIMESTAMP '1970-01-01') + INTERVAL '10 minutes' AS window_end FROM games WHERE ended_at IS NOT NULL",
    ),
    (
        "touches",
        "SELECT team, power, shot_at AS touched_at FROM shots UNION ALL SELECT team, power, passed_at FROM passes",
    ),
    ("timed_shots", "SELECT * FROM shots WHERE shot_at IS NOT NULL"),
    ("timed_passes", "SELECT * FROM passes WHERE passed_at IS NOT NULL"),
    (
        "shot_sessions",
        "SELECT *, min(shot_at) OVER s AS session_start, max(shot_at) OVER s + INTERVAL '40 seconds' AS session_end FROM (SELECT *, sum(begins) OVER (PARTITION BY team ORDER BY shot_at, power, speed ROWS UNBOUNDED PRECEDING) AS nth FROM (SELECT *, CASE WHEN shot_at - lag(shot_at) OVER (PARTITION BY team ORDER BY shot_at, power, speed) < INTERVAL '40 seconds' THEN 0 ELSE 1 END AS begins FROM shots WHERE shot_at IS NOT NULL)) WINDOW s AS (PARTITION BY team, nth)",
    ),
    (
        "game_sessions",
        "SELECT *, max(ended_at) OVER (PARTITION BY nth) + INTERVAL '30 seconds' AS session_end FROM (SELECT *, sum(begins) OVER (ORDER BY ended_at, game_id ROWS UNBOUNDED PRECEDING) AS nth FROM (SELECT *, CASE WHEN ended_at - lag(ended_at) OVER (ORDER BY ended_at, game_id) < INTERVAL '30 seconds' THEN 0 ELSE 1 END AS begins FROM games WHERE ended_at IS NOT NULL))",
    ),
];

/// Name, Herald's query, DuckDB's.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "closed",
        "SELECT window_start, window_end, team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi, avg(speed) AS a FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_start, window_end, team EMIT ON WINDOW CLOSE",
        "SELECT window_start, window_end, team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi, avg(speed) AS a FROM shot_windows GROUP BY ALL HAVING window_end <= (SELECT shots FROM marks)",
    ),
    (
        "closed_hops",
        "SELECT team, window_start, count(*) * 2 AS n FROM HOP(shots, shot_at, INTERVAL '5 minutes', INTERVAL '15 minutes') GROUP BY team, window_start, window_end HAVING count(*) > 1 EMIT ON WINDOW CLOSE",
        "SELECT team, hop_start AS window_start, count(*) * 2 AS n FROM shot_hops GROUP BY team, hop_start, hop_end HAVING count(*) > 1 AND hop_end <= (SELECT shots FROM marks)",
    ),
    (
        "closed_games",
        "SELECT window_end, team, count(*) AS n, sum(points) AS s, max(points) AS hi FROM TUMBLE(games, ended_at, INTERVAL '10 minutes') GROUP BY window_end, team EMIT ON WINDOW CLOSE",
        "SELECT window_end, team, count(*) AS n, sum(points) AS s, max(points) AS hi FROM game_windows GROUP BY ALL HAVING window_end <= (SELECT games FROM marks) - INTERVAL '20 minutes'",
    ),
    (
        "closed_rows",
        "SELECT team, power, window_end FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') WHERE power > 2 EMIT ON WINDOW CLOSE",
        "SELECT team, power, window_end FROM shot_windows WHERE power > 2 AND window_end <= (SELECT shots FROM marks)",
    ),
    (
        "closed_touches",
        "SELECT window_end, count(*) AS n FROM TUMBLE(touches, touched_at, INTERVAL '5 minutes') GROUP BY window_end EMIT ON WINDOW CLOSE",
        "SELECT time_bucket(INTERVAL '5 minutes', touched_at, TIMESTAMP '1970-01-01') + INTERVAL '5 minutes' AS window_end, count(*) AS n FROM touches GROUP BY 1 HAVING window_end <= (SELECT least(shots, passes) FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "closed_twice",
        "SELECT window_end, team, sum(n) AS n FROM TUMBLE(ended, ended_at, INTERVAL '10 minutes') GROUP BY window_end, team EMIT ON WINDOW CLOSE",
        "SELECT * FROM (SELECT time_bucket(INTERVAL '10 minutes', window_end, TIMESTAMP '1970-01-01') + INTERVAL '10 minutes' AS w, team, sum(n) AS n FROM closed GROUP BY 1, 2) WHERE w <= (SELECT shots FROM marks)",
    ),
    (
        "closed_leagues",
        "SELECT t.league, count(*) AS windows, sum(c.n) AS n, max(window_end) AS last FROM closed AS c JOIN teams AS t ON c.team = t.team GROUP BY t.league",
        "SELECT t.league, count(*) AS windows, sum(c.n) AS n, max(window_end) AS last FROM closed AS c JOIN teams AS t ON c.team = t.team GROUP BY t.league",
    ),
    (
        "open",
        "SELECT window_end, team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi, avg(speed) AS a FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end, team",
        "SELECT window_end, team, count(*) AS n, sum(power) AS s, min(power) AS lo, max(power) AS hi, avg(speed) AS a FROM shot_windows GROUP BY window_end, team",
    ),
    (
        "open_hops",
        "SELECT window_start, count(*) AS n, max(power) AS hi FROM HOP(shots, shot_at, INTERVAL '5 minutes', INTERVAL '15 minutes') GROUP BY window_start",
        "SELECT hop_start AS window_start, count(*) AS n, max(power) AS hi FROM shot_hops GROUP BY hop_start",
    ),
    (
        "sittings",
        "SELECT window_start, window_end, team, count(*) AS n, sum(power) AS s FROM SESSION(timed_shots PARTITION BY team, shot_at, INTERVAL '40 seconds') GROUP BY window_start, window_end, team",
        "SELECT session_start AS window_start, session_end AS window_end, team, count(*) AS n, sum(power) AS s FROM shot_sessions GROUP BY ALL",
    ),
    (
        "closed_sittings",
        "SELECT window_end, team, count(*) AS n, max(power) AS hi FROM SESSION(timed_shots PARTITION BY team, shot_at, INTERVAL '40 seconds') GROUP BY window_end, team EMIT ON WINDOW CLOSE",
        "SELECT session_end AS window_end, team, count(*) AS n, max(power) AS hi FROM shot_sessions GROUP BY ALL HAVING session_end <= (SELECT shots FROM marks)",
    ),
    (
        "game_sittings",
        "SELECT window_end, count(*) AS n, sum(points) AS s FROM SESSION(games, ended_at, INTERVAL '30 seconds') WHERE window_end IS NOT NULL GROUP BY window_end",
        "SELECT session_end AS window_end, count(*) AS n, sum(points) AS s FROM game_sessions GROUP BY session_end",
    ),
    (
        "open_passes",
        "SELECT window_end, team, count(*) AS n FROM TUMBLE(passes, passed_at, INTERVAL '5 minutes') GROUP BY window_end, team",
        "SELECT window_end, team, count(*) AS n FROM pass_windows GROUP BY window_end, team",
    ),
    (
        "open_games",
        "SELECT window_end, team, count(*) AS n, min(points) AS lo FROM TUMBLE(games, ended_at, INTERVAL '10 minutes') GROUP BY window_end, team",
        "SELECT window_end, team, count(*) AS n, min(points) AS lo FROM game_windows GROUP BY window_end, team",
    ),
    ("moments", "SELECT DISTINCT team, shot_at FROM shots", "SELECT DISTINCT team, shot_at FROM shots"),
    (
        "powers",
        "SELECT window_end, count(*) AS n, count(DISTINCT power) AS p, sum(DISTINCT power) AS s FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end",
        "SELECT window_end, count(*) AS n, count(DISTINCT power) AS p, sum(DISTINCT power) AS s FROM shot_windows GROUP BY window_end",
    ),
    (
        "sizes",
        "SELECT n, count(*) AS windows, min(lo) AS lo FROM open GROUP BY n",
        "SELECT n, count(*) AS windows, min(lo) AS lo FROM open GROUP BY n",
    ),
    (
        "side_by_side",
        "SELECT a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a LEFT JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team",
        "SELECT a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a LEFT JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team",
    ),
    (
        "either",
        "SELECT a.window_end, b.window_end AS other, a.n AS shots, b.n AS passes FROM open AS a FULL JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team AND a.n > b.n",
        "SELECT a.window_end, b.window_end AS other, a.n AS shots, b.n AS passes FROM open AS a FULL JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team AND a.n > b.n",
    ),
    (
        "without_pass",
        "SELECT team, window_end FROM open AS a WHERE NOT EXISTS (SELECT 1 FROM open_passes AS b WHERE a.window_end = b.window_end AND a.team = b.team)",
        "SELECT team, window_end FROM open AS a WHERE NOT EXISTS (SELECT 1 FROM open_passes AS b WHERE a.window_end = b.window_end AND a.team = b.team)",
    ),
    (
        "closed_either",
        "SELECT a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team EMIT ON WINDOW CLOSE",
        "SELECT a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team WHERE a.window_end <= (SELECT least(shots, passes) FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "near",
        "SELECT s.team, s.power AS shot, p.power AS pass, s.shot_at FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds'",
        "SELECT s.team, s.power AS shot, p.power AS pass, s.shot_at FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds'",
    ),
    (
        "soon_after",
        "SELECT s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.shot_at > p.passed_at AND s.shot_at - INTERVAL '1 minute' < p.passed_at AND s.power <> p.power",
        "SELECT s.power AS shot, p.power AS pass FROM shots AS s JOIN passes AS p ON s.shot_at > p.passed_at AND s.shot_at - INTERVAL '1 minute' < p.passed_at AND s.power <> p.power",
    ),
    (
        "near_by_window",
        "SELECT window_end, count(*) AS n, max(pass) AS hi FROM TUMBLE(near, shot_at, INTERVAL '5 minutes') GROUP BY window_end EMIT ON WINDOW CLOSE",
        "SELECT time_bucket(INTERVAL '5 minutes', shot_at, TIMESTAMP '1970-01-01') + INTERVAL '5 minutes' AS window_end, count(*) AS n, max(pass) AS hi FROM near GROUP BY 1 HAVING window_end <= (SELECT least(shots, passes - INTERVAL '90 seconds') FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "folded",
        "SELECT window_end, team, string_agg(CAST(power AS VARCHAR), ',' ORDER BY power) AS all_of, median(speed) AS m, array_agg(power ORDER BY power) AS list FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end, team",
        "SELECT window_end, team, string_agg(CAST(power AS VARCHAR), ',' ORDER BY power) AS all_of, median(speed) AS m, array_agg(power ORDER BY power NULLS LAST) AS list FROM shot_windows WHERE shot_at IS NOT NULL GROUP BY window_end, team",
    ),
    (
        "best",
        "SELECT window_end, team, power, r FROM (SELECT window_end, team, power, row_number() OVER (PARTITION BY window_end ORDER BY power DESC NULLS LAST, team NULLS LAST) AS r FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes')) AS x WHERE r <= 2",
        "SELECT window_end, team, power, r FROM (SELECT window_end, team, power, row_number() OVER (PARTITION BY window_end ORDER BY power DESC NULLS LAST, team NULLS LAST) AS r FROM shot_windows WHERE shot_at IS NOT NULL) AS x WHERE r <= 2",
    ),
    (
        "running",
        "SELECT window_end, team, power, sum(power) OVER (PARTITION BY team, window_end ORDER BY shot_at, power NULLS LAST, speed ROWS UNBOUNDED PRECEDING) AS s FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes')",
        "SELECT window_end, team, power, sum(power) OVER (PARTITION BY team, window_end ORDER BY shot_at, power NULLS LAST, speed ROWS UNBOUNDED PRECEDING) AS s FROM shot_windows WHERE shot_at IS NOT NULL",
    ),
    (
        "closed_best",
        "SELECT window_end, team, power FROM (SELECT window_end, team, power, rank() OVER (PARTITION BY window_end ORDER BY power DESC NULLS LAST) AS r FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes')) AS x WHERE r = 1 EMIT ON WINDOW CLOSE",
        "SELECT window_end, team, power FROM (SELECT window_end, team, power, rank() OVER (PARTITION BY window_end ORDER BY power DESC NULLS LAST) AS r FROM shot_windows WHERE shot_at IS NOT NULL) AS x WHERE r = 1 AND window_end <= (SELECT shots FROM marks)",
    ),
    (
        "near_or_not",
        "SELECT s.team, s.power AS shot, p.power AS pass, s.shot_at FROM timed_shots AS s LEFT JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds'",
        "SELECT s.team, s.power AS shot, p.power AS pass, s.shot_at FROM timed_shots AS s LEFT JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds'",
    ),
    (
        "near_either",
        "SELECT s.power AS shot, p.power AS pass, s.shot_at, p.passed_at FROM timed_shots AS s FULL JOIN timed_passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' AND s.power <> p.power",
        "SELECT s.power AS shot, p.power AS pass, s.shot_at, p.passed_at FROM timed_shots AS s FULL JOIN timed_passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' AND s.power <> p.power",
    ),
    (
        "with_near",
        "SELECT s.team, s.power, s.shot_at FROM timed_shots AS s WHERE EXISTS (SELECT 1 FROM passes AS p WHERE s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds')",
        "SELECT s.team, s.power, s.shot_at FROM timed_shots AS s WHERE EXISTS (SELECT 1 FROM passes AS p WHERE s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds')",
    ),
    (
        "without_near",
        "SELECT s.team, s.power, s.shot_at FROM timed_shots AS s WHERE NOT EXISTS (SELECT 1 FROM passes AS p WHERE s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds')",
        "SELECT s.team, s.power, s.shot_at FROM timed_shots AS s WHERE NOT EXISTS (SELECT 1 FROM passes AS p WHERE s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds')",
    ),
    (
        "near_or_not_by_window",
        "SELECT window_end, count(*) AS n, count(pass) AS with_pass FROM TUMBLE(near_or_not, shot_at, INTERVAL '5 minutes') GROUP BY window_end EMIT ON WINDOW CLOSE",
        "SELECT time_bucket(INTERVAL '5 minutes', shot_at, TIMESTAMP '1970-01-01') + INTERVAL '5 minutes' AS window_end, count(*) AS n, count(pass) AS with_pass FROM near_or_not GROUP BY 1 HAVING window_end <= (SELECT least(shots, passes - INTERVAL '90 seconds') FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "last_pass",
        "SELECT s.team, s.shot_at, p.power AS pass FROM timed_shots AS s LEFT ASOF JOIN passes AS p MATCH_CONDITION (s.shot_at >= p.passed_at) ON s.team = p.team",
        "SELECT team, shot_at, nullif(x % 100 - 1, -1) AS pass FROM (SELECT s.*, (SELECT max(epoch_us(p.passed_at) * 100 + coalesce(p.power, -1) + 1) FROM passes AS p WHERE s.shot_at >= p.passed_at AND s.team = p.team) AS x FROM timed_shots AS s)",
    ),
    (
        "pass_before",
        "SELECT s.team, s.power, p.power AS pass FROM timed_shots AS s ASOF JOIN passes AS p MATCH_CONDITION (s.shot_at > p.passed_at) ON s.team = p.team",
        "SELECT team, power, nullif(x % 100 - 1, -1) AS pass FROM (SELECT s.*, (SELECT max(epoch_us(p.passed_at) * 100 + coalesce(p.power, -1) + 1) FROM passes AS p WHERE s.shot_at > p.passed_at AND s.team = p.team) AS x FROM timed_shots AS s) WHERE x IS NOT NULL",
    ),
    (
        "closed_side_by_side",
        "SELECT b.window_end AS other, a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a LEFT JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team EMIT ON WINDOW CLOSE",
        "SELECT b.window_end AS other, a.window_end, a.team, a.n AS shots, b.n AS passes FROM open AS a LEFT JOIN open_passes AS b ON a.window_end = b.window_end AND a.team = b.team WHERE a.window_end <= (SELECT least(shots, passes) FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "near_in_windows",
        "SELECT s.window_start, s.window_end, s.team, p.power AS pass FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes') AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' EMIT ON WINDOW CLOSE",
        "SELECT window_start, window_end, s.team, p.power AS pass FROM shot_windows AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' WHERE window_end <= (SELECT least(shots, passes - INTERVAL '90 seconds') FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "near_hops",
        "SELECT s.window_end, count(*) AS n, max(p.power) AS hi FROM HOP(timed_shots, shot_at, INTERVAL '5 minutes', INTERVAL '15 minutes') AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '2 minutes' AND s.shot_at GROUP BY s.window_end EMIT ON WINDOW CLOSE",
        "SELECT hop_end AS window_end, count(*) AS n, max(p.power) AS hi FROM shot_hops AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '2 minutes' AND s.shot_at GROUP BY hop_end HAVING window_end <= (SELECT least(shots, passes) FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "final_rows",
        "SELECT team, power, shot_at FROM shots EMIT ON WINDOW CLOSE",
        "SELECT team, power, shot_at FROM shots WHERE shot_at < (SELECT shots FROM marks)",
    ),
    (
        "final_near",
        "SELECT s.power AS shot, p.power AS pass, s.shot_at FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' EMIT ON WINDOW CLOSE",
        "SELECT s.power AS shot, p.power AS pass, s.shot_at FROM shots AS s JOIN passes AS p ON s.team = p.team AND p.passed_at BETWEEN s.shot_at - INTERVAL '4 minutes' AND s.shot_at + INTERVAL '90 seconds' WHERE s.shot_at < (SELECT least(shots, passes - INTERVAL '90 seconds') FROM marks WHERE shots IS NOT NULL AND passes IS NOT NULL)",
    ),
    (
        "final_running",
        "SELECT team, power, shot_at, sum(power) OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed ROWS 3 PRECEDING) AS s, lag(power) OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed) AS before, row_number() OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed) AS n FROM timed_shots EMIT ON WINDOW CLOSE",
        "SELECT * FROM (SELECT team, power, shot_at, sum(power) OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed ROWS 3 PRECEDING) AS s, lag(power) OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed) AS before, row_number() OVER (PARTITION BY team ORDER BY shot_at, power NULLS LAST, speed) AS n FROM timed_shots) WHERE shot_at < (SELECT shots FROM marks)",
    ),
    (
        "recent",
        "SELECT window_end, team, count(*) AS n FROM TUMBLE(shots, shot_at, INTERVAL '5 minutes') GROUP BY window_end, team",
        "SELECT w AS window_end, team, n FROM (SELECT window_end AS w, team, count(*) AS n FROM shot_windows GROUP BY ALL), marks WHERE w IS NULL OR shots IS NULL OR w > shots - INTERVAL '10 minutes'",
    ),
    (
        "recent_rows",
        "SELECT team, power, window_end FROM TUMBLE(timed_shots, shot_at, INTERVAL '5 minutes')",
        "SELECT team, power, window_end FROM shot_windows, marks WHERE shot_at IS NOT NULL AND (shots IS NULL OR window_end > shots - INTERVAL '10 minutes')",
    ),
];

/// Views that are served for ten minutes.
const RECENT: [&str; 2] = ["recent", "recent_rows"];

fn topology() -> String {
    let view = |(name, sql, _): &(&str, &str, &str)| {
        // A window needs the name of its input.
        let before = match *name {
            "closed_twice" => "CREATE VIEW ended AS SELECT window_end AS ended_at, team, n FROM closed;\n",
            _ => "",
        };
        let with = if RECENT.contains(name) { " WITH (retention = '10 minutes')" } else { "" };
        format!("{before}CREATE MATERIALIZED VIEW {name}{with} AS {sql};\n")
    };
    let sinks = "
CREATE SINK closed_out FROM closed WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
CREATE SINK closed_games_out FROM closed_games WITH (connector = 'blackhole', primary_key = 'window_end,team') FORMAT UPSERT ENCODE JSON;
CREATE SINK open_out FROM open WITH (connector = 'blackhole', primary_key = 'window_end,team') FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK near_out FROM near WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;";
    let indexes = "
CREATE INDEX recent_by_n ON recent (n, team);
CREATE INDEX recent_rows_by_power ON recent_rows (power);";
    format!("{SOURCES}{}{sinks}{indexes}", VIEWS.iter().map(view).collect::<String>())
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
    let shots = vec![("team", "VARCHAR"), ("power", "BIGINT"), ("speed", "DOUBLE"), ("shot_at", "TIMESTAMP")];
    let passes = vec![("team", "VARCHAR"), ("power", "BIGINT"), ("passed_at", "TIMESTAMP")];
    let games =
        vec![("game_id", "VARCHAR"), ("team", "VARCHAR"), ("points", "BIGINT"), ("ended_at", "TIMESTAMP")];
    let teams = vec![("team", "VARCHAR"), ("league", "VARCHAR")];
    vec![
        Spec { partitions: 2, ..plain("shots", shots, Some((3, 2 * MINUTE_US))) },
        plain("passes", passes, Some((2, MINUTE_US))),
        Spec {
            partitions: 2,
            not_null: vec![0],
            keyed: key(Some(20)),
            ..plain("games", games, Some((3, MINUTE_US)))
        },
        Spec { not_null: vec![0], keyed: key(None), ..plain("teams", teams, None) },
    ]
}

/// A history in which time passes; from record `joins` on, shots also come from a third partition.
fn history(seed: u64, n: usize, joins: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..40) * SECOND_US;
        let at = draw.records.len();
        let source =
            if at == joins { SHOTS } else { draw.one(&[SHOTS, SHOTS, SHOTS, PASSES, PASSES, GAMES, TEAMS]) };
        let team = draw.one(&["red", "blue", "green"]);
        let team = draw.or_null(0.05, team);
        let power = draw.int(0..9);
        let power = draw.or_null(0.1, power);
        match source {
            SHOTS => {
                let shot = clock - draw.int(0..6 * 60) * SECOND_US;
                let speed = draw.int(-40..40) as f64 / 8.0;
                let row = vec![team, power, speed.into(), draw.or_null(0.04, shot)];
                let partition =
                    if at == joins { 2 } else { draw.int(0..if at > joins { 3 } else { 2 }) as i32 };
                draw.push(SHOTS, partition, row, Some(clock));
            }
            PASSES => {
                // Passes are behind, so that the two watermarks differ.
                let passed = clock - draw.int(60..240) * SECOND_US;
                let row = vec![team, power, draw.or_null(0.04, passed)];
                draw.push(PASSES, 0, row, Some(clock));
            }
            GAMES => {
                let ended = clock - draw.one(&[0, 1, 5, 19, 25]) * MINUTE_US;
                let key = draw.int(0..9);
                let row = vec![format!("g{key}").into(), team, power, draw.or_null(0.05, ended)];
                draw.push(GAMES, (key % 2) as i32, row, Some(clock));
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

fn run(seed: u64, (n, joins): (usize, Option<usize>), ways: &[Way]) {
    let case = Case {
        plan: plan(&topology()),
        specs: specs(),
        records: history(seed, n, joins.unwrap_or(usize::MAX)),
        joins: joins.into_iter().map(|at| (at, SHOTS, 2)).collect(),
        failing: |_| 0,
    };
    let mut duck = Duck::new(&queries());
    let mut all = Compared::default();
    println!("event time, seed {seed}: {} records", case.records.len());
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let (compared, model) = case.run(way, &dir.path().join("state"), &mut duck);
        println!("  {way:?}: {compared:?}, shots {:?}", model.outcomes(SHOTS));
        for source in [SHOTS, PASSES, GAMES] {
            assert!(model.outcomes(source)[Outcome::Late.index()] > 0, "nothing is late");
        }
        let answer = duck.answer(&model.tables_and_marks());
        for (view, ..) in VIEWS {
            assert!(!answer[*view].is_empty(), "{view} shows nothing at the end");
        }
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
}

#[test]
fn what_is_final_stays_as_it_is() {
    let ways = [
        Way { restart: Some(17), ..Way::plain(Cut::Every(1), &[2, 1, 3]) },
        Way { in_flight: 3, restart: Some(23), ..Way::plain(Cut::Every(1), &[3, 2]) },
        Way { restart: Some(1), ..Way::plain(Cut::Random(21, 15), &[1, 3, 2]) },
        Way { in_flight: 2, ..Way::plain(Cut::Random(22, 30), &[2]) },
        Way::plain(Cut::Once, &[3]),
    ];
    run(21, (200, Some(100)), &ways);
}

#[test]
fn a_restart_at_any_epoch_closes_nothing_twice() {
    let ways = [
        Way { restart: Some(1), ..Way::plain(Cut::Every(2), &[2, 3, 1]) },
        Way { in_flight: 2, restart: Some(2), ..Way::plain(Cut::Every(3), &[1, 2]) },
    ];
    run(22, (200, None), &ways);
}

/// Updates that arrangements hold and keys that their parts of the state do, by name, each after a quarter of a
/// run and at its end.
pub struct Sizes {
    /// In memory.
    pub held: BTreeMap<String, [u64; 2]>,
    /// In the state.
    pub stored: BTreeMap<String, [u64; 2]>,
}

/// Runs records in epochs of ten on one to three workers, starting anew every hundred epochs; the rows of the
/// views `also` are looked at, too.
pub fn sizes(topology: &str, specs: &[Spec], records: &[Record], also: &[&str]) -> Sizes {
    let plan = plan(topology);
    let partitions: Vec<i32> = specs.iter().map(|s| s.partitions).collect();
    let dir = tempfile::tempdir().unwrap();
    let open = |workers| {
        let options = Options { workers, in_flight: 1, cut: true };
        Engine::open(&plan, &dir.path().join("state"), &partitions, options)
    };
    let mut engine = open(2);
    let (mut held, mut stored) = (BTreeMap::<String, [u64; 2]>::new(), BTreeMap::<String, [u64; 2]>::new());
    let epochs: Vec<&[Record]> = records.chunks(10).collect();
    for (at, epoch) in epochs.iter().enumerate() {
        if at % 100 == 99 {
            drop(engine);
            engine = open(1 + at / 100 % 3);
        }
        for record in *epoch {
            let mut batch = schemas::Records::new(record.partition);
            let (key, bytes) = (record.key.as_deref(), record.bytes.as_deref());
            batch.push(record.offset, record.timestamp_ms, key, bytes);
            engine.feed(record.source, batch);
        }
        let mut now = BTreeMap::new();
        engine.close(|_, done| now = done.held);
        let when = [epochs.len() / 4, epochs.len() - 1].iter().position(|when| *when == at);
        let Some(when) = when else { continue };
        now.into_iter().for_each(|(name, updates)| held.entry(name).or_default()[when] = updates);
        let views = plan
            .views
            .iter()
            .zip(&engine.state_tables().views)
            .map(|(v, table_id)| (v.name.as_str(), *table_id));
        let also = views.filter(|(name, _)| also.contains(name));
        for (name, table_id) in engine.state_tables().arrangements().chain(also) {
            let keys = &mut stored.entry(name.to_string()).or_default()[when];
            let count = |_: &[u8], _: &[u8]| -> Result<(), state::StateError> {
                *keys += 1;
                Ok(())
            };
            engine.store().scan(table_id, &[], count).unwrap();
        }
    }
    Sizes { held, stored }
}

/// Of a run four times as long, the state is not larger, but for what no watermark bounds.
#[test]
fn state_levels_off() {
    let Sizes { held, stored } = sizes(&topology(), &specs(), &history(23, 6_000, usize::MAX), &RECENT);
    for (what, sizes) in [("in memory", &held), ("in the state", &stored)] {
        println!("{what}: updates after 1,500 records and after 6,000");
        for (name, [quarter, end]) in sizes {
            println!("  {name:40} {quarter:>7} {end:>7}");
        }
    }
    // Results that were closed are a table of their own to a join, and sizes are few; NULL times never end.
    // A running total is of all rows of its partition, however old.
    let unbounded = |name: &str| {
        ["closed_leagues/", "sizes/", "final_running/"].iter().any(|known| name.starts_with(known))
    };
    for (name, [quarter, end]) in held.iter().chain(&stored).filter(|(name, _)| !unbounded(name)) {
        assert!(*end <= quarter * 2 + 20, "{name} grows: {quarter} and then {end}");
    }
    let grows = |sizes: &BTreeMap<String, [u64; 2]>| {
        sizes.iter().any(|(name, [quarter, end])| name.starts_with("closed_leagues/") && *end > quarter * 2)
    };
    // The control: what nothing bounds is seen to grow.
    assert!(grows(&stored));
}
