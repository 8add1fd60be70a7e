//! Recursion under change: edges of a random graph come, move and go, and what is reached from where, by how
//! many ways and how deep is compared with DuckDB at every epoch, over keyed tables, over append-only sources,
//! whose rows a durable relation keeps, and over both; with rows on which a round fails.
//!
//! A test of its own takes recursions without an end: they stop at their bound, tell what went beyond it, and
//! take that back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dataflows::plan::{Plan, Recursive};
use rand::RngExt;
use schemas::Records;
use serde_json::Value;

use crate::duck::{Duck, Tables};
use crate::engine::{Engine, Options, plan};
use crate::history::Draw;
use crate::model::{Keyed, Record, Spec};
use crate::rows::{errors, of_view};
use crate::way::{Case, Compared, Cut, Way};

const SOURCES: &str = "
CREATE TABLE edges (id BIGINT, a BIGINT, b BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'edges') FORMAT UPSERT ENCODE JSON;
CREATE TABLE tree (id BIGINT, up BIGINT, w BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'tree') FORMAT UPSERT ENCODE JSON;
CREATE SOURCE roads (a BIGINT, b BIGINT, open BOOLEAN) WITH (connector = 'file', path = 'roads') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE starts (a BIGINT, seen_at TIMESTAMPTZ, WATERMARK FOR seen_at AS seen_at)
WITH (connector = 'file', path = 'starts') FORMAT PLAIN ENCODE JSON;
";

/// Materialized views: name, Herald's SQL, and DuckDB's where that differs.
const VIEWS: &[(&str, &str, &str)] = &[
    (
        "reached",
        "WITH RECURSIVE r (a, b) AS (SELECT a, b FROM edges UNION SELECT r.a, e.b FROM r JOIN edges AS e ON e.a = r.b) SELECT a, b FROM r",
        "",
    ),
    (
        "counted",
        "WITH RECURSIVE r AS (SELECT a, b FROM edges UNION SELECT r.a, e.b FROM r JOIN edges AS e ON e.a = r.b) SELECT a, count(*) AS n, max(b) AS far FROM r GROUP BY a",
        "",
    ),
    (
        "by_road",
        "WITH RECURSIVE r (a, b) AS (SELECT a, b FROM roads UNION SELECT r.a, e.b FROM r JOIN roads AS e ON e.a = r.b AND e.open) SELECT a, b FROM r",
        "",
    ),
    (
        "from_starts",
        "WITH RECURSIVE r AS (SELECT a AS x FROM starts UNION SELECT e.b FROM r JOIN edges AS e ON e.a = r.x) SELECT x FROM r",
        "",
    ),
    (
        // What the watermark has passed is still what others follow from.
        "since",
        "WITH RECURSIVE r (x, seen_at) AS (SELECT a, seen_at FROM starts UNION SELECT e.b, r.seen_at FROM r JOIN edges AS e ON e.a = r.x) SELECT x, seen_at FROM r",
        "",
    ),
    (
        "ways",
        "WITH RECURSIVE r (x, n) AS (SELECT a, 0 FROM starts UNION ALL SELECT e.b, n + 1 FROM r JOIN roads AS e ON e.a = r.x WHERE n < 4) SELECT x, n, count(*) AS times FROM r GROUP BY x, n",
        "WITH RECURSIVE r (x, n) AS (SELECT a, CAST(0 AS BIGINT) FROM starts UNION ALL SELECT e.b, n + 1 FROM r JOIN roads AS e ON e.a = r.x WHERE n < 4) SELECT x, n, count(*) AS times FROM r GROUP BY x, n",
    ),
    (
        "depth",
        "WITH RECURSIVE r (id, d, w, path) AS (SELECT id, 0, w, CAST(id AS VARCHAR) FROM tree WHERE up IS NULL UNION ALL SELECT t.id, d + 1, r.w + t.w, path || '.' || CAST(t.id AS VARCHAR) FROM r JOIN tree AS t ON t.up = r.id WHERE d < 9) SELECT id, d, w, path FROM r",
        "WITH RECURSIVE r (id, d, w, path) AS (SELECT id, CAST(0 AS BIGINT), w, CAST(id AS VARCHAR) FROM tree WHERE up IS NULL UNION ALL SELECT t.id, d + 1, r.w + t.w, path || '.' || CAST(t.id AS VARCHAR) FROM r JOIN tree AS t ON t.up = r.id WHERE d < 9) SELECT id, d, w, path FROM r",
    ),
    (
        "above",
        "WITH RECURSIVE r AS (SELECT id, up FROM tree UNION SELECT r.id, t.up FROM r JOIN tree AS t ON t.id = r.up) SELECT id, up FROM r WHERE up IS NOT NULL",
        "",
    ),
    (
        "beside",
        "WITH RECURSIVE r (x, w, n) AS (SELECT id, w, 0 FROM tree WHERE w > 5 UNION SELECT t.id, s.b, n + 1 FROM r JOIN tree AS t ON t.up = r.x LEFT JOIN roads AS s ON s.a = t.w AND s.b < t.id WHERE n < 5) SELECT x, w, n FROM r",
        "WITH RECURSIVE r (x, w, n) AS (SELECT id, w, CAST(0 AS BIGINT) FROM tree WHERE w > 5 UNION SELECT t.id, s.b, n + 1 FROM r JOIN tree AS t ON t.up = r.x LEFT JOIN roads AS s ON s.a = t.w AND s.b < t.id WHERE n < 5) SELECT x, w, n FROM r",
    ),
    (
        "not_closed",
        "WITH RECURSIVE r AS (SELECT a, b FROM edges WHERE a < 3 UNION SELECT r.a, e.b FROM r JOIN edges AS e ON e.a = r.b WHERE NOT EXISTS (SELECT 1 FROM roads AS c WHERE c.b = e.b AND NOT c.open)) SELECT a, b FROM r",
        "",
    ),
    (
        "closed",
        "WITH RECURSIVE r AS (SELECT a, b FROM edges WHERE a < 3 UNION ALL SELECT r.b, e.b FROM edges AS e JOIN r ON r.b < e.a AND e.a < e.b WHERE e.b IN (SELECT b FROM roads)) SELECT a, b, count(*) AS n FROM r GROUP BY a, b",
        "",
    ),
    (
        "failing",
        "WITH RECURSIVE r (x, q) AS (SELECT id, w FROM tree WHERE up IS NULL UNION SELECT t.id, 60 / t.w FROM r JOIN tree AS t ON t.up = r.x) SELECT x, q FROM r",
        "WITH RECURSIVE r (x, q) AS (SELECT id, w FROM tree WHERE up IS NULL UNION SELECT t.id, 60 // t.w FROM r JOIN tree AS t ON t.up = r.x WHERE t.w IS DISTINCT FROM 0) SELECT x, q FROM r",
    ),
    ("over", "SELECT a, count(*) AS n FROM reached WHERE a = b GROUP BY a", ""),
];

/// Rows of `tree` with a weight of 0 below rows that the view `failing` reaches: each fails there.
fn failing(tables: &Tables) -> usize {
    let tree = &tables["tree"].1;
    let mut reached: BTreeSet<i64> =
        tree.iter().filter(|row| row[1].is_null()).filter_map(|row| row[0].as_i64()).collect();
    let below =
        |reached: &BTreeSet<i64>, row: &Vec<Value>| row[1].as_i64().is_some_and(|up| reached.contains(&up));
    loop {
        let more: Vec<i64> = tree
            .iter()
            .filter(|row| below(&reached, row) && row[2] != 0)
            .filter_map(|row| row[0].as_i64())
            .collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            break;
        }
    }
    let failed = tree.iter().filter(|row| below(&reached, row) && row[2] == 0).count();
    FAILED.fetch_max(failed, Ordering::Relaxed);
    failed
}

/// The most rows that failed at once.
static FAILED: AtomicUsize = AtomicUsize::new(0);

fn topology() -> String {
    let views = VIEWS.iter().map(|(name, sql, _)| format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    let sink = "CREATE SINK reached_out FROM counted WITH (connector = 'blackhole', primary_key = 'a') FORMAT UPSERT ENCODE JSON;";
    format!("{SOURCES}{}{sink}", views.collect::<String>())
}

fn specs() -> Vec<Spec> {
    let keyed = || Some(Keyed { key: vec![0], first_wins: false, version: None, retention: None });
    let spec = |name, columns: &[(&'static str, &'static str)], keyed: Option<Keyed>| Spec {
        name,
        columns: columns.to_vec(),
        generated: vec![],
        included: vec![],
        not_null: if keyed.is_some() { vec![0] } else { vec![] },
        checks: vec![],
        watermark: None,
        keyed,
        partitions: 1,
    };
    vec![
        spec("edges", &[("id", "BIGINT"), ("a", "BIGINT"), ("b", "BIGINT")], keyed()),
        spec("tree", &[("id", "BIGINT"), ("up", "BIGINT"), ("w", "BIGINT")], keyed()),
        spec("roads", &[("a", "BIGINT"), ("b", "BIGINT"), ("open", "BOOLEAN")], None),
        Spec {
            watermark: Some((1, 0)),
            ..spec("starts", &[("a", "BIGINT"), ("seen_at", "TIMESTAMP")], None)
        },
    ]
}

fn history(seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = crate::history::START_US;
    while draw.records.len() < n {
        clock += draw.int(0..100) * crate::history::SECOND_US;
        let (a, b) = (draw.int(0..7), draw.int(0..7));
        let (a, b) = (draw.or_null(0.05, a), draw.or_null(0.05, b));
        let source = draw.one(&[0, 0, 0, 1, 1, 1, 2, 3]);
        match source {
            0 => {
                let id = draw.int(0..9);
                upsert(&mut draw, 0, vec![id.into(), a, b]);
            }
            1 => {
                let id = draw.int(1..10);
                // Circles come about, too.
                let up = draw.int(0..10);
                let (up, w) = (draw.or_null(0.25, up), draw.int(0..8));
                upsert(&mut draw, 1, vec![id.into(), up, w.into()]);
            }
            2 => {
                let open = draw.rng.random_bool(0.7);
                draw.push(2, 0, vec![a, b, open.into()], Some(clock));
            }
            _ => draw.push(3, 0, vec![a, clock.into()], Some(clock)),
        }
    }
    draw.records
}

fn upsert(draw: &mut Draw, source: usize, row: Vec<Value>) {
    let deletes = draw.rng.random_bool(0.25);
    let key = format!("{{\"id\":{}}}", row[0]);
    let names = ["id", if source == 0 { "a" } else { "up" }, if source == 0 { "b" } else { "w" }];
    let fields = names.iter().zip(&row).map(|(name, value)| format!("\"{name}\":{value}"));
    let value = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    let bytes = (!deletes).then(|| value.into_bytes());
    let row = match deletes {
        true => vec![row[0].clone(), Value::Null, Value::Null],
        false => row,
    };
    let keyed = crate::history::Keyed { row: Some(row), deletes, key: Some(key.into_bytes()), bytes };
    draw.push_keyed((source, 0), keyed, None);
}

fn run(seed: u64, n: usize, ways: &[Way]) {
    let (plan, specs, records) = (plan(&topology()), specs(), history(seed, n));
    let case = Case { plan, specs, records, joins: vec![], failing };
    let queries = VIEWS.iter().map(|(name, sql, duck)| {
        let sql = if duck.is_empty() { sql } else { duck };
        (name.to_string(), sql.to_string())
    });
    let mut duck = Duck::new(&queries.collect::<Vec<_>>());
    let mut all = Compared::default();
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (compared, _) = case.run(way, &state, &mut duck);
        crate::repair::sound(&case.plan, &state);
        println!("recursive, seed {seed}: {way:?}: {compared:?}");
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
    assert!(FAILED.load(Ordering::Relaxed) > 0, "no round fails on a row");
}

#[test]
fn what_follows_is_what_the_rows_give() {
    let ways = [
        Way::plain(Cut::Every(1), &[1]),
        Way { in_flight: 3, restart: Some(9), ..Way::plain(Cut::Every(1), &[2, 3, 1]) },
        Way { in_flight: 1, restart: Some(1), ..Way::plain(Cut::Random(7, 9), &[1, 2, 3]) },
        Way { in_flight: 2, ..Way::plain(Cut::Random(8, 20), &[3]) },
        Way::plain(Cut::Once, &[1]),
        Way::plain(Cut::Once, &[3]),
    ];
    run(51, 120, &ways);
}

#[test]
fn what_follows_with_epochs_in_flight() {
    let ways = [
        Way { in_flight: 4, restart: Some(5), ..Way::plain(Cut::Random(3, 6), &[2, 1]) },
        Way { in_flight: 3, ..Way::plain(Cut::Every(1), &[2]) },
    ];
    run(52, 150, &ways);
}

/// Recursions that have no end over some rows.
const ENDLESS: &str = "
CREATE TABLE seeds (id BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'seeds') FORMAT UPSERT ENCODE JSON;
CREATE TABLE loops (id BIGINT, a BIGINT, b BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'loops') FORMAT UPSERT ENCODE JSON;
CREATE MATERIALIZED VIEW up AS WITH RECURSIVE r (n) AS (SELECT id FROM seeds UNION SELECT n + 1 FROM r)
  SELECT count(*) AS c, min(n) AS lo, max(n) AS hi FROM r;
CREATE MATERIALIZED VIEW around AS
  WITH RECURSIVE r (x) AS (SELECT a FROM loops WHERE id = 0 UNION ALL SELECT e.b FROM r JOIN loops AS e ON e.a = r.x)
  SELECT x, count(*) AS c FROM r GROUP BY x;
";

/// An engine and what it is fed.
struct Fed {
    plan: Arc<Plan>,
    engine: Engine,
    offset: i64,
}

impl Fed {
    /// Feeds one record, of a delete without a value, as an epoch.
    fn epoch(&mut self, source: usize, (key, value): (i64, Option<&str>)) {
        let mut records = Records::new(0);
        let key = format!("{{\"id\":{key}}}");
        records.push(self.offset, None, Some(key.as_bytes()), value.map(str::as_bytes));
        self.offset += 1;
        self.engine.feed(source, records);
        self.engine.close(|_, _| {});
    }

    fn view(&self, at: usize) -> Vec<String> {
        let rel = self.plan.views[at].rel;
        let rows = of_view(&self.engine, &self.plan.rels[rel].schema, at);
        rows.into_iter().map(|row| Value::from(row).to_string()).collect()
    }

    /// Messages and rows of the error table.
    fn errors(&self) -> Vec<String> {
        let mut told: Vec<String> = errors(&self.engine)
            .into_iter()
            .map(|row| {
                format!(
                    "{}: {}: {}",
                    row[1].as_str().unwrap(),
                    row[2].as_str().unwrap(),
                    row[3].as_str().unwrap()
                )
            })
            .collect();
        told.sort();
        told
    }
}

#[test]
fn a_recursion_without_an_end_stops_at_its_bound_and_says_so() {
    let late = |row: &str| {
        format!("WITH RECURSIVE r: the recursion went beyond {} rounds: {row}", Recursive::ROUNDS)
    };
    for workers in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(ENDLESS);
        let open = || {
            Engine::open(
                &plan,
                &dir.path().join("state"),
                &[1, 1],
                Options { workers, in_flight: 1, cut: true },
            )
        };
        let mut fed = Fed { plan: plan.clone(), engine: open(), offset: 0 };
        fed.epoch(0, (5, Some("{}")));
        assert_eq!(fed.view(0), ["[1001,5,1005]"]);
        assert_eq!(fed.errors(), [late("n=1006")]);

        // What is beyond the bound moves with the rows, and is known again after a restart.
        drop(fed.engine);
        fed.engine = open();
        fed.epoch(0, (7, Some("{}")));
        assert_eq!(fed.view(0), ["[1003,5,1007]"]);
        assert_eq!(fed.errors(), [late("n=1008")]);
        fed.epoch(0, (5, None));
        assert_eq!(fed.view(0), ["[1001,7,1007]"]);
        fed.epoch(0, (7, None));
        assert_eq!((fed.view(0), fed.errors()), (vec!["[0,null,null]".to_owned()], vec![]));

        // A circle gives its row once more in each round; a second one doubles it in each.
        fed.epoch(1, (0, Some(r#"{"a":1,"b":1}"#)));
        assert_eq!(fed.view(1), ["[1,1001]"]);
        assert_eq!(fed.errors(), [late("x=1")]);
        fed.epoch(1, (1, Some(r#"{"a":1,"b":1}"#)));
        assert_eq!(fed.view(1), [format!("[1,{}]", Recursive::TIMES)]);
        let often = "the row came more than 1000000 times; more do not count";
        assert_eq!(fed.errors(), [format!("WITH RECURSIVE r: {often}: x=1")]);
        drop(fed.engine);
        fed.engine = open();
        fed.epoch(1, (1, None));
        assert_eq!((fed.view(1), fed.errors()), (vec!["[1,1001]".to_owned()], vec![late("x=1")]));
        fed.epoch(1, (0, None));
        assert_eq!((fed.view(1), fed.errors()), (vec![], vec![]));
    }
}

/// Rows that the rounds of a recursion over a tree of so many rows touch when one is added at its end.
fn touched(rows: i64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let topology = "
CREATE TABLE tree (id BIGINT, up BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'tree') FORMAT UPSERT ENCODE JSON;
CREATE MATERIALIZED VIEW depth AS WITH RECURSIVE r (id, d) AS (
  SELECT id, 0 FROM tree WHERE up IS NULL UNION ALL SELECT t.id, d + 1 FROM r JOIN tree AS t ON t.up = r.id
) SELECT id, d FROM r;";
    let options = Options { workers: 1, in_flight: 1, cut: true };
    let mut engine = Engine::open(&plan(topology), &dir.path().join("state"), &[1], options);
    let record = |records: &mut Records, id: i64| {
        let up = if id == 1 { "null".to_owned() } else { (id / 2).to_string() };
        let (key, value) = (format!("{{\"id\":{id}}}"), format!("{{\"up\":{up}}}"));
        records.push(id, None, Some(key.as_bytes()), Some(value.as_bytes()));
    };
    let mut records = Records::new(0);
    (1..rows).for_each(|id| record(&mut records, id));
    engine.feed(0, records);
    engine.close(|_, _| {});
    let mut records = Records::new(0);
    record(&mut records, rows);
    engine.feed(0, records);
    let mut all = 0;
    engine.close(|_, done| all = done.touched.values().sum());
    all
}

#[test]
fn a_row_costs_what_follows_from_it() {
    let (few, many) = (touched(1_000), touched(20_000));
    println!("a row touches {few} rows of 1,000 and {many} of 20,000");
    assert!(few > 2 && many <= few + 4, "{few} rows touched, and {many} of a larger tree");
}
