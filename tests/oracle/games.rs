//! The topology of the oracle: two keyed tables that overwrite, one where the first wins, two
//! append-only sources; views over all of them, and what DuckDB and PostgreSQL compute for each; sinks. Views over
//! joins of every kind, subqueries and set operations stand in `algebra`, those over ordered partitions in
//! `windows`, more aggregates in `aggregates`.

mod aggregates;
mod algebra;
mod postgres;
mod windows;

use rand::RngExt;
use serde_json::Value;

use crate::history::{Draw, SECOND_US, START_US, players};
use crate::model::{DAY_US, Keyed, Record, Spec};
use crate::rows::Row;

const MATCHES: usize = 0;
const CHAMPIONS: usize = 1;
const PLAYERS: usize = 2;
const LIVE: usize = 3;
const CLICKS: usize = 4;

const SOURCES: &str = "
CREATE TABLE matches (
  match_id VARCHAR NOT NULL, platform VARCHAR, mode VARCHAR, ended_at TIMESTAMPTZ NOT NULL,
  duration_s BIGINT, rating DOUBLE, price DECIMAL(10,2), ranked BOOLEAN,
  players STRUCT<puuid VARCHAR, champion_id INT, kills INT, win BOOLEAN>[],
  fetched_at TIMESTAMPTZ,
  minutes BIGINT AS (duration_s / 60),
  PRIMARY KEY (match_id),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at) INCLUDE offset AS read_at
WITH (connector = 'file', path = 'matches') FORMAT PLAIN ENCODE JSON;
CREATE TABLE champions (
  champion_id INT NOT NULL, name VARCHAR, role VARCHAR, tier INT, PRIMARY KEY (champion_id)
) ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'champions') FORMAT PLAIN ENCODE JSON;
CREATE TABLE players (
  puuid VARCHAR, region VARCHAR, joined_on DATE, PRIMARY KEY (puuid)
) ON CONFLICT DO NOTHING WITH (connector = 'file', path = 'players') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE live (
  viewer VARCHAR, champion_id INT, region VARCHAR, seen_at TIMESTAMPTZ NOT NULL, amount BIGINT, score DOUBLE,
  CHECK (amount >= 0), WATERMARK FOR seen_at AS seen_at - INTERVAL '10 seconds'
) INCLUDE partition AS part INCLUDE offset AS place
WITH (connector = 'file', path = 'live') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE clicks (champion_id INT, region VARCHAR, n BIGINT, weight REAL, level SMALLINT, day DATE)
WITH (connector = 'file', path = 'clicks') FORMAT PLAIN ENCODE JSON;
CREATE VIEW participants AS
  SELECT m.match_id, m.platform, m.ended_at, p.* FROM matches AS m, UNNEST(m.players) AS p;
";

/// Materialized views: name, Herald's SQL, and DuckDB's where that differs.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "projection",
        "SELECT match_id, duration_s * 2 + 1 AS twice, upper(platform) AS platform, minutes, read_at FROM matches",
        "",
    ),
    ("every_column", "SELECT * FROM matches", ""),
    ("filter", "SELECT match_id, duration_s FROM matches WHERE duration_s > 600 AND platform <> 'kr'", ""),
    (
        "filter_null",
        "SELECT match_id, mode, CASE WHEN ranked THEN 'r' WHEN NOT ranked THEN 'n' ELSE '?' END AS kind FROM matches WHERE mode IS NULL OR (ranked AND rating > 0.5)",
        "",
    ),
    ("unnest", "SELECT * FROM participants", ""),
    (
        "unnest_left",
        "SELECT m.match_id, p.champion_id, p.kills FROM matches AS m LEFT JOIN UNNEST(m.players) AS p ON TRUE",
        "SELECT match_id, p.champion_id, p.kills FROM (SELECT match_id, unnest(CASE WHEN players IS NULL OR len(players) = 0 THEN [NULL] ELSE players END) AS p FROM matches)",
    ),
    (
        "per_champion",
        "SELECT champion_id, count(*) AS games, count(kills) AS known, sum(kills) AS kills, avg(kills) AS mean, min(kills) AS least, max(kills) AS most, sum(CASE WHEN win THEN 1 ELSE 0 END) AS wins FROM participants GROUP BY champion_id",
        "",
    ),
    (
        "union_all",
        "SELECT champion_id, region, amount AS n FROM live UNION ALL SELECT champion_id, region, n FROM clicks UNION ALL SELECT champion_id, role, CAST(tier AS BIGINT) FROM champions",
        "",
    ),
    (
        "per_platform",
        "SELECT platform, ranked, count(*) AS n, sum(rating) AS s, avg(rating) AS a, min(rating) AS lo, max(rating) AS hi, sum(price) AS paid, avg(price) AS mean_price, min(price) AS cheapest, max(mode) AS last_mode, min(ended_at) AS first, max(ended_at) AS last FROM matches GROUP BY platform, ranked",
        "SELECT platform, ranked, count(*) AS n, fsum(rating) AS s, favg(rating) AS a, min(rating) AS lo, max(rating) AS hi, sum(price) AS paid, CASE WHEN count(price) > 0 THEN printf('%.6f', sign(sum(price)) * ((abs(sum(CAST(price * 100 AS BIGINT))) * 20000 + count(price)) // (2 * count(price))) / 1e6) END AS mean_price, min(price) AS cheapest, max(mode) AS last_mode, min(ended_at) AS first, max(ended_at) AS last FROM matches GROUP BY platform, ranked",
    ),
    (
        "filtered",
        "SELECT platform, count(*) FILTER (WHERE ranked) AS ranked, sum(duration_s) FILTER (WHERE duration_s > 600) AS long, max(rating) FILTER (WHERE mode = 'aram') AS best, avg(duration_s) FILTER (WHERE mode IS NOT NULL) AS mean FROM matches GROUP BY platform",
        "",
    ),
    (
        "having_view",
        "SELECT mode, count(*) AS n, sum(duration_s) AS s FROM matches GROUP BY mode HAVING count(*) > 2 AND max(duration_s) > 500",
        "",
    ),
    ("distinct_rows", "SELECT DISTINCT platform, mode FROM matches", ""),
    (
        "total",
        "SELECT count(*) AS n, sum(duration_s) AS s, avg(rating) AS a, min(match_id) AS least, max(minutes) AS most FROM matches",
        "",
    ),
    (
        "inner_join",
        "SELECT p.match_id, p.puuid, c.name, c.tier FROM participants AS p JOIN champions AS c ON p.champion_id = c.champion_id",
        "",
    ),
    (
        "inner_residual",
        "SELECT p.match_id, p.kills, c.tier FROM participants AS p JOIN champions AS c ON p.champion_id = c.champion_id AND p.kills > c.tier * 3",
        "",
    ),
    (
        "left_join",
        "SELECT m.match_id, m.platform, q.puuid, q.joined_on FROM matches AS m LEFT JOIN players AS q ON m.platform = q.region",
        "",
    ),
    (
        "left_residual",
        "SELECT m.match_id, q.puuid FROM matches AS m LEFT JOIN players AS q ON m.platform = q.region AND m.ranked AND length(q.puuid) * 300 < m.duration_s",
        "",
    ),
    (
        "two_keys",
        "SELECT a.match_id, b.match_id AS other FROM matches AS a JOIN matches AS b ON a.platform = b.platform AND a.mode = b.mode WHERE a.match_id < b.match_id",
        "",
    ),
    (
        "anti",
        "SELECT q.puuid, q.region FROM players AS q LEFT JOIN participants AS p ON q.puuid = p.puuid WHERE p.match_id IS NULL",
        "",
    ),
    (
        "tumble",
        "SELECT window_start, window_end, platform, count(*) AS n, avg(rating) AS a FROM TUMBLE(matches, ended_at, INTERVAL '1 hour') GROUP BY window_start, window_end, platform",
        "SELECT w AS window_start, w + INTERVAL '1 hour' AS window_end, platform, count(*) AS n, favg(rating) AS a FROM (SELECT *, time_bucket(INTERVAL '1 hour', ended_at, TIMESTAMP '1970-01-01') AS w FROM matches WHERE ended_at IS NOT NULL) GROUP BY w, platform",
    ),
    (
        "hop",
        "SELECT window_start, region, count(*) AS n, sum(amount) AS s, max(seen_at) AS last FROM HOP(live, seen_at, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_start, region",
        "SELECT w - to_seconds(10 * k) AS window_start, region, count(*) AS n, sum(amount) AS s, max(seen_at) AS last FROM (SELECT *, time_bucket(INTERVAL '10 seconds', seen_at, TIMESTAMP '1970-01-01') AS w, unnest([0, 1, 2]) AS k FROM live) GROUP BY w - to_seconds(10 * k), region",
    ),
    (
        "window_rows",
        "SELECT w.match_id, w.puuid, w.window_end FROM TUMBLE(participants, ended_at, INTERVAL '15 minutes') AS w WHERE w.win",
        "SELECT match_id, puuid, time_bucket(INTERVAL '15 minutes', ended_at, TIMESTAMP '1970-01-01') + INTERVAL '15 minutes' AS window_end FROM participants WHERE win AND ended_at IS NOT NULL",
    ),
    (
        "over_views",
        "SELECT games, count(*) AS champions, max(kills) AS kills, min(mean) AS mean FROM per_champion GROUP BY games",
        "",
    ),
    ("live_rows", "SELECT * FROM live", ""),
    (
        "live_champion",
        "SELECT champion_id, count(*) AS n, sum(amount) AS amount, sum(score) AS score, avg(amount) AS mean, min(viewer) AS first, max(viewer) AS last FROM live GROUP BY champion_id",
        "SELECT champion_id, count(*) AS n, sum(amount) AS amount, fsum(score) AS score, avg(amount) AS mean, min(viewer) AS first, max(viewer) AS last FROM live GROUP BY champion_id",
    ),
    (
        "live_role",
        "SELECT c.role, count(*) AS n, sum(l.amount) AS s, max(l.amount) AS top, min(l.score) AS low FROM live AS l JOIN champions AS c ON l.champion_id = c.champion_id GROUP BY c.role",
        "",
    ),
    (
        "live_left",
        "SELECT l.part, l.place, c.name FROM live AS l LEFT JOIN champions AS c ON l.champion_id = c.champion_id AND c.tier > 1",
        "",
    ),
    (
        "live_tiers",
        "SELECT c.tier, count(*) AS n FROM live AS l LEFT JOIN champions AS c ON l.champion_id = c.champion_id GROUP BY c.tier HAVING count(*) > 1",
        "",
    ),
    ("live_distinct", "SELECT DISTINCT region, champion_id FROM live", ""),
    (
        "join_of_views",
        "SELECT a.champion_id, a.games, b.n, b.amount FROM per_champion AS a LEFT JOIN live_champion AS b ON a.champion_id = b.champion_id",
        "",
    ),
    (
        "common_table",
        "WITH busy AS (SELECT platform, count(*) AS n FROM matches GROUP BY platform HAVING count(*) > 1) SELECT m.match_id, b.n FROM matches AS m JOIN busy AS b ON m.platform = b.platform",
        "",
    ),
    ("union_distinct", "SELECT region FROM live UNION SELECT region FROM players", ""),
    ("by_day", "SELECT joined_on, count(*) AS n, min(puuid) AS first FROM players GROUP BY joined_on", ""),
    ("click_total", "SELECT sum(n) AS n, count(*) AS c, max(region) AS r FROM clicks", ""),
    ("busiest_hour", "SELECT window_start, max(n) AS n FROM tumble GROUP BY window_start", ""),
    (
        "expressions",
        "SELECT match_id, coalesce(mode, '-') || '/' || coalesce(platform, '-') AS place, duration_s BETWEEN 500 AND 1300 AS medium, platform IN ('kr', 'na') AS far, mode LIKE 'ar%' AS ar, abs(duration_s - 600) AS off, date_trunc('hour', ended_at) AS hour, nullif(minutes, 10) AS m, NOT ranked AS casual FROM matches",
        "",
    ),
    (
        "click_types",
        "SELECT region, sum(weight) AS w, avg(weight) AS aw, min(weight) AS lw, sum(level) AS l, avg(level) AS al, max(level) AS hl, min(day) AS first_day, max(day) AS last_day FROM clicks GROUP BY region",
        "",
    ),
    ("click_days", "SELECT DISTINCT day, level FROM clicks WHERE day IS NOT NULL", ""),
    (
        "expression_keys",
        "SELECT m.match_id, c.name FROM matches AS m JOIN champions AS c ON m.minutes % 7 = c.champion_id",
        "",
    ),
    (
        "right_join",
        "SELECT l.viewer, l.amount, c.name FROM live AS l RIGHT JOIN champions AS c ON l.champion_id = c.champion_id AND l.amount > 50",
        "",
    ),
    (
        "joins_in_a_row",
        "SELECT p.match_id, p.puuid, q.region, c.role FROM participants AS p LEFT JOIN players AS q ON p.puuid = q.puuid LEFT JOIN champions AS c ON p.champion_id = c.champion_id AND q.region = p.platform",
        "",
    ),
    (
        "outer_made_inner",
        "SELECT p.puuid, c.name FROM participants AS p LEFT JOIN champions AS c ON p.champion_id = c.champion_id WHERE c.tier >= 2",
        "",
    ),
    (
        "counted_outer",
        "SELECT c.champion_id, count(p.match_id) AS games, count(*) AS rows, max(p.kills) AS most FROM champions AS c LEFT JOIN participants AS p ON c.champion_id = p.champion_id GROUP BY c.champion_id",
        "",
    ),
    (
        "twice_the_same",
        "SELECT platform FROM matches UNION ALL SELECT platform FROM matches WHERE ranked",
        "",
    ),
    ("total_having", "SELECT count(*) AS n, max(amount) AS top FROM live HAVING count(*) % 2 = 0", ""),
    (
        "best_hours",
        "SELECT t.window_start, t.platform, t.n FROM tumble AS t JOIN busiest_hour AS b ON t.window_start = b.window_start AND t.n = b.n",
        "",
    ),
    (
        "as_flink_has_it",
        "SELECT window_end, count(*) AS n FROM TUMBLE(TABLE live, DESCRIPTOR(seen_at), INTERVAL '1 minute') GROUP BY window_start, window_end",
        "SELECT time_bucket(INTERVAL '1 minute', seen_at, TIMESTAMP '1970-01-01') + INTERVAL '1 minute' AS window_end, count(*) AS n FROM live WHERE seen_at IS NOT NULL GROUP BY 1",
    ),
    (
        "quotient",
        "SELECT match_id, 1000 / duration_s AS q FROM matches",
        "SELECT match_id, 1000 // duration_s AS q FROM matches WHERE duration_s IS DISTINCT FROM 0",
    ),
];

/// Name, what it sends, format and key.
const SINKS: &[(&str, &str, &str, &str)] = &[
    ("per_champion_out", "FROM per_champion", "UPSERT", "champion_id"),
    ("projection_out", "FROM projection", "UPSERT", "match_id"),
    ("per_platform_out", "FROM per_platform", "DEBEZIUM", "platform,ranked"),
    ("having_out", "FROM having_view", "DEBEZIUM", "mode"),
    ("tumble_out", "FROM tumble", "UPSERT", "window_start,platform"),
    ("join_of_views_out", "FROM join_of_views", "DEBEZIUM", "champion_id"),
    ("full_tables_out", "FROM full_tables", "DEBEZIUM", "match_id,puuid"),
    ("distinct_mixed_out", "FROM distinct_mixed", "UPSERT", "region"),
    ("intersect_out", "FROM intersect_rows", "DEBEZIUM", "champion_id,region"),
    ("top_three_out", "FROM top_three", "UPSERT", "platform,rn"),
    ("latest_out", "FROM latest_of_region", "UPSERT", "region"),
    ("best_out", "FROM best_of_platform", "DEBEZIUM", "platform"),
    ("live_left_out", "FROM live_left", "UPSERT", "part,place"),
    ("live_role_out", "FROM live_role", "UPSERT", "role"),
    ("arrays_out", "FROM arrays", "DEBEZIUM", "platform"),
    ("mixed_kinds_out", "FROM mixed_kinds", "UPSERT", "region"),
    ("live_out", "FROM live_rows", "PLAIN", ""),
];

/// Indexes of views with a key, without one, and with NULLs; of one over columns of its key.
const INDEXES: &str = "
CREATE INDEX projection_by_platform ON projection (platform, twice);
CREATE INDEX every_column_by_mode ON every_column (mode);
CREATE INDEX every_column_by_time ON every_column (ended_at, ranked, price);
CREATE INDEX unnest_by_champion ON unnest (champion_id, platform);
CREATE INDEX per_champion_by_champion ON per_champion (champion_id);
CREATE INDEX inner_join_by_name ON inner_join (name, tier);
";

fn views() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    [VIEWS, algebra::VIEWS, aggregates::VIEWS, windows::VIEWS].into_iter().flatten()
}

/// Everything there is to say to Herald.
pub fn topology() -> String {
    let mut text = SOURCES.to_string();
    for (name, sql, _) in views() {
        text.push_str(&format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    }
    for (name, from, format, key) in SINKS {
        let key = if key.is_empty() { String::new() } else { format!(", primary_key = '{key}'") };
        text.push_str(&format!(
            "CREATE SINK {name} {from} WITH (connector = 'blackhole'{key}) FORMAT {format} ENCODE JSON;\n"
        ));
    }
    text.push_str(INDEXES);
    text
}

/// Everything there is to ask DuckDB, under the names of the views.
pub fn queries() -> Vec<(String, String)> {
    let participants = "SELECT match_id, platform, ended_at, unnest(players, recursive := true) FROM matches";
    let views = views().map(|(name, ours, theirs)| (*name, if theirs.is_empty() { *ours } else { *theirs }));
    let all = [("participants", participants)].into_iter().chain(views);
    all.map(|(name, sql)| (name.to_string(), sql.to_string())).collect()
}

/// Queries for PostgreSQL, under the names of the views.
pub fn postgres_queries() -> Vec<(String, String)> {
    let participants =
        "SELECT m.match_id, m.platform, m.ended_at, p.* FROM matches AS m, UNNEST(m.players) AS p";
    let its = |name: &str| postgres::VIEWS.iter().find(|(view, _)| *view == name).map(|(_, sql)| *sql);
    let views = views().map(|(name, ours, _)| (*name, its(name).unwrap_or(ours)));
    let all = [("participants", participants)].into_iter().chain(views);
    all.map(|(name, sql)| (name.to_string(), sql.to_string())).collect()
}

/// How many rows of `quotient` must have failed.
pub fn failing(matches: &[Row]) -> usize {
    matches.iter().filter(|row| row[4] == 0).count()
}

/// What the sources declare, for the model.
pub fn specs() -> Vec<Spec> {
    let players = "STRUCT(puuid VARCHAR, champion_id INTEGER, kills INTEGER, win BOOLEAN)[]";
    let plain = |name, columns| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![],
        checks: vec![],
        watermark: None,
        keyed: None,
        partitions: 1,
    };
    let key = |first_wins, version| Some(Keyed { key: vec![0], first_wins, version, retention: None });
    let sane: fn(&Row) -> Option<bool> = |row| row[4].as_i64().map(|s| (0..=14400).contains(&s));
    vec![
        Spec {
            generated: vec![|row| row[4].as_i64().map_or(Value::Null, |s| (s / 60).into())],
            included: vec![("offset", "read_at")],
            not_null: vec![0, 3],
            checks: vec![sane],
            watermark: Some((3, 3600 * SECOND_US)),
            keyed: key(false, Some(9)),
            partitions: 2,
            ..plain(
                "matches",
                vec![
                    ("match_id", "VARCHAR"),
                    ("platform", "VARCHAR"),
                    ("mode", "VARCHAR"),
                    ("ended_at", "TIMESTAMP"),
                    ("duration_s", "BIGINT"),
                    ("rating", "DOUBLE"),
                    ("price", "DECIMAL(10,2)"),
                    ("ranked", "BOOLEAN"),
                    ("players", players),
                    ("fetched_at", "TIMESTAMP"),
                    ("minutes", "BIGINT"),
                ],
            )
        },
        Spec {
            not_null: vec![0],
            keyed: key(false, None),
            ..plain(
                "champions",
                vec![
                    ("champion_id", "INTEGER"),
                    ("name", "VARCHAR"),
                    ("role", "VARCHAR"),
                    ("tier", "INTEGER"),
                ],
            )
        },
        Spec {
            not_null: vec![0],
            keyed: key(true, None),
            partitions: 2,
            ..plain("players", vec![("puuid", "VARCHAR"), ("region", "VARCHAR"), ("joined_on", "DATE")])
        },
        Spec {
            included: vec![("partition", "part"), ("offset", "place")],
            not_null: vec![3],
            checks: vec![|row| row[4].as_i64().map(|amount| amount >= 0)],
            watermark: Some((3, 10 * SECOND_US)),
            partitions: 3,
            ..plain(
                "live",
                vec![
                    ("viewer", "VARCHAR"),
                    ("champion_id", "INTEGER"),
                    ("region", "VARCHAR"),
                    ("seen_at", "TIMESTAMP"),
                    ("amount", "BIGINT"),
                    ("score", "DOUBLE"),
                ],
            )
        },
        plain(
            "clicks",
            vec![
                ("champion_id", "INTEGER"),
                ("region", "VARCHAR"),
                ("n", "BIGINT"),
                ("weight", "FLOAT"),
                ("level", "SMALLINT"),
                ("day", "DATE"),
            ],
        ),
    ]
}

const PLATFORMS: [&str; 3] = ["euw", "kr", "na"];
const NAMES: [&str; 8] = ["ann", "bo", "cy", "dee", "eve", "fay", "gus", "hal"];

/// A history of `n` records over `keys` matches. With `cross`, a key's records come from any partition.
pub fn history(seed: u64, n: usize, keys: i64, cross: bool) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..120) * SECOND_US;
        let source =
            draw.one(&[MATCHES, MATCHES, MATCHES, MATCHES, CHAMPIONS, PLAYERS, LIVE, LIVE, LIVE, CLICKS]);
        if draw.rng.random_bool(0.12) && draw.repeat(source) {
            continue;
        }
        let (row, key) = match source {
            MATCHES => match_row(&mut draw, clock, keys),
            CHAMPIONS => champion(&mut draw),
            PLAYERS => player(&mut draw),
            LIVE => live(&mut draw, clock),
            _ => click(&mut draw),
        };
        let partitions = specs()[source].partitions;
        let by_key = if cross { draw.int(0..2) } else { key };
        let partition = (by_key % i64::from(partitions)) as i32;
        // A record without timestamp may be as far ahead as it likes; then its partition's clock is lost.
        let timestamp = if source == LIVE || draw.rng.random_bool(0.8) { Some(clock) } else { None };
        if draw.rng.random_bool(0.06) {
            draw.push_broken(source, partition, &row, timestamp);
        } else {
            draw.push(source, partition, row, timestamp);
        }
    }
    draw.records
}

fn match_row(draw: &mut Draw, clock: i64, keys: i64) -> (Row, i64) {
    let key = draw.int(0..keys);
    let (platform, mode) = (draw.one(&PLATFORMS), draw.one(&["aram", "arena", "ranked"]));
    let ended = clock - draw.int(0..20_000) * SECOND_US;
    let duration = draw.one(&[-1, 0, 0, 59, 540, 601, 1200, 1800, 14400, 15000]);
    let rating = draw.rng.random_range(-1.0..4.0);
    let (euros, cents) = (draw.int(-50..500), draw.int(0..100));
    let ranked = draw.rng.random_bool(0.6);
    let fetched = clock + draw.int(-300..300) * SECOND_US;
    let row = vec![
        draw.or_null(0.02, format!("m{key}")),
        draw.or_null(0.15, platform),
        draw.or_null(0.15, mode),
        draw.or_null(0.02, ended),
        draw.or_null(0.1, duration),
        draw.or_null(0.15, rating),
        draw.or_null(0.15, format!("{euros}.{cents:02}")),
        draw.or_null(0.2, ranked),
        players(draw, &NAMES),
        draw.or_null(0.1, fetched),
    ];
    (row, key)
}

fn champion(draw: &mut Draw) -> (Row, i64) {
    let id = draw.int(1..7);
    let name = format!("c{id}{}", draw.int(0..3));
    let (role, tier) = (draw.one(&["mage", "tank", "ward"]), draw.int(0..5));
    let row = vec![
        draw.or_null(0.03, id),
        draw.or_null(0.1, name),
        draw.or_null(0.1, role),
        draw.or_null(0.2, tier),
    ];
    (row, 0)
}

fn player(draw: &mut Draw) -> (Row, i64) {
    let at = draw.int(0..NAMES.len() as i64);
    let (region, day) = (draw.one(&PLATFORMS), draw.date());
    let row = vec![draw.or_null(0.03, NAMES[at as usize]), draw.or_null(0.2, region), draw.or_null(0.2, day)];
    (row, at)
}

fn live(draw: &mut Draw, clock: i64) -> (Row, i64) {
    let (viewer, champion, region) = (draw.one(&NAMES), draw.int(1..7), draw.one(&PLATFORMS));
    let seen = match draw.int(0..20) {
        0 => clock + 2 * DAY_US,
        1..4 => clock - draw.int(0..3600) * SECOND_US,
        _ => clock - draw.int(0..15 * SECOND_US),
    };
    let (amount, score) = (draw.int(-3..100), draw.rng.random_range(0.0..10.0));
    let row = vec![
        draw.or_null(0.1, viewer),
        draw.or_null(0.1, champion),
        draw.or_null(0.1, region),
        draw.or_null(0.03, seen),
        draw.or_null(0.1, amount),
        draw.or_null(0.1, score),
    ];
    (row, draw.int(0..3))
}

fn click(draw: &mut Draw) -> (Row, i64) {
    let (champion, region, n) = (draw.int(1..7), draw.one(&PLATFORMS), draw.int(-5..50));
    let (weight, level, day) = (draw.int(-9..40) as f64 / 4.0, draw.int(-3..300), draw.date());
    let row = vec![
        draw.or_null(0.1, champion),
        draw.or_null(0.1, region),
        draw.or_null(0.1, n),
        draw.or_null(0.1, weight),
        draw.or_null(0.1, level),
        draw.or_null(0.1, day),
    ];
    (row, 0)
}
