//! Tables whose records replace and delete rows by key: UPSERT and Debezium, over restarts.
//!
//! Rows are corrected into other groups and windows, deleted, deleted again, and come back with versions
//! that are older and newer than the one that was deleted, before and after retention has forgotten it.
//! Keys and values are spelled in every way that means the same.

use rand::RngExt;
use serde_json::Value;

use crate::duck::Duck;
use crate::engine::plan;
use crate::history::{Draw, Keyed as Bytes, SECOND_US, START_US, encode};
use crate::model::{Keyed, Model, Record, Spec};
use crate::rows::Row;
use crate::way::{Case, Compared, Cut, Way};

const ORDERS: usize = 0;
const STOCK: usize = 1;
const USERS: usize = 2;
const PRICES: usize = 3;
const SLOTS: usize = 4;
const MINUTE_US: i64 = 60 * SECOND_US;
/// So many orders there are.
const ORDER_IDS: i64 = 9;

const SOURCES: &str = "
CREATE TABLE orders (
  id VARCHAR, customer VARCHAR, cents BIGINT, placed_at TIMESTAMPTZ, revision BIGINT,
  PRIMARY KEY (id), CONSTRAINT sane CHECK (cents < 90), WATERMARK FOR placed_at AS placed_at - INTERVAL '1 minute'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (revision)
WITH (connector = 'kafka', topic = 'orders', retention = '30 minutes') FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;
CREATE TABLE stock (
  shop VARCHAR, sku INT, amount BIGINT, counted_at TIMESTAMPTZ,
  PRIMARY KEY (shop, sku), WATERMARK FOR counted_at AS counted_at
) INCLUDE offset AS place
WITH (connector = 'kafka', topic = 'stock', retention = '20 minutes') FORMAT UPSERT ENCODE JSON;
CREATE TABLE users (id BIGINT, name VARCHAR, country VARCHAR NOT NULL, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'users') FORMAT DEBEZIUM ENCODE JSON;
CREATE TABLE prices (sku INT, cents BIGINT, since TIMESTAMPTZ, PRIMARY KEY (sku), WATERMARK FOR since AS since)
ON CONFLICT OVERWRITE WITH VERSION COLUMN (since)
WITH (connector = 'kafka', topic = 'prices') FORMAT DEBEZIUM ENCODE JSON;
CREATE TABLE slots (
  room INT, starts_at TIMESTAMPTZ, guest VARCHAR, PRIMARY KEY (room, starts_at),
  WATERMARK FOR starts_at AS starts_at
) WITH (connector = 'kafka', topic = 'slots', retention = '25 minutes') FORMAT UPSERT ENCODE JSON;
";

const VIEWS: &[(&str, &str, &str)] = &[
    ("order_rows", "SELECT id, customer, cents, revision FROM orders", ""),
    (
        "by_customer",
        "SELECT customer, count(*) AS n, sum(cents) AS s, min(cents) AS lo, max(cents) AS hi FROM orders GROUP BY customer",
        "",
    ),
    (
        "by_window",
        "SELECT window_start, customer, count(*) AS n, sum(cents) AS s FROM TUMBLE(orders, placed_at, INTERVAL '10 minutes') GROUP BY window_start, window_end, customer",
        "SELECT time_bucket(INTERVAL '10 minutes', placed_at, TIMESTAMP '1970-01-01') AS window_start, customer, count(*) AS n, sum(cents) AS s FROM orders WHERE placed_at IS NOT NULL GROUP BY 1, 2",
    ),
    ("stock_rows", "SELECT shop, sku, amount, place FROM stock", ""),
    ("in_shop", "SELECT shop, count(*) AS n, sum(amount) AS s FROM stock GROUP BY shop", ""),
    ("amounts", "SELECT DISTINCT amount FROM stock", ""),
    ("user_rows", "SELECT id, name, country FROM users", ""),
    ("countries", "SELECT country, count(*) AS n, max(name) AS last FROM users GROUP BY country", ""),
    ("slot_rows", "SELECT room, starts_at, guest FROM slots", ""),
    ("guests", "SELECT guest, count(*) AS n, min(starts_at) AS first FROM slots GROUP BY guest", ""),
    ("price_rows", "SELECT sku, cents, since FROM prices", ""),
    (
        "worth",
        "SELECT s.shop, sum(s.amount * p.cents) AS cents, count(*) AS n FROM stock AS s JOIN prices AS p ON s.sku = p.sku GROUP BY s.shop",
        "",
    ),
    (
        "of_country",
        "SELECT u.country, count(o.id) AS n, max(o.cents) AS hi FROM users AS u LEFT JOIN orders AS o ON u.name = o.customer GROUP BY u.country",
        "",
    ),
    (
        "without_order",
        "SELECT id FROM users WHERE name NOT IN (SELECT customer FROM orders WHERE customer IS NOT NULL)",
        "",
    ),
    ("all_users", "SELECT count(*) AS n, min(id) AS lo FROM users", ""),
];

fn topology() -> String {
    let views = VIEWS.iter().map(|(name, sql, _)| format!("CREATE MATERIALIZED VIEW {name} AS {sql};\n"));
    let sinks = "
CREATE SINK customers_out FROM by_customer WITH (connector = 'blackhole', primary_key = 'customer') FORMAT UPSERT ENCODE JSON;
CREATE SINK users_out FROM user_rows WITH (connector = 'blackhole', primary_key = 'id') FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK countries_out FROM countries WITH (connector = 'blackhole', primary_key = 'country') FORMAT UPSERT ENCODE JSON;";
    format!("{SOURCES}{}{sinks}", views.collect::<String>())
}

fn specs() -> Vec<Spec> {
    let key = |key: &[usize], version, minutes: Option<i64>| {
        let retention = minutes.map(|minutes| minutes * MINUTE_US);
        Some(Keyed { key: key.to_vec(), first_wins: false, version, retention })
    };
    let plain = |name, columns, keyed| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![0],
        checks: vec![],
        watermark: None,
        keyed,
        partitions: 2,
    };
    vec![
        Spec {
            checks: vec![|row| row[2].as_i64().map(|cents| cents < 90)],
            watermark: Some((3, MINUTE_US)),
            ..plain(
                "orders",
                vec![
                    ("id", "VARCHAR"),
                    ("customer", "VARCHAR"),
                    ("cents", "BIGINT"),
                    ("placed_at", "TIMESTAMP"),
                    ("revision", "BIGINT"),
                ],
                key(&[0], Some(4), Some(30)),
            )
        },
        Spec {
            included: vec![("offset", "place")],
            not_null: vec![0, 1],
            watermark: Some((3, 0)),
            ..plain(
                "stock",
                vec![
                    ("shop", "VARCHAR"),
                    ("sku", "INTEGER"),
                    ("amount", "BIGINT"),
                    ("counted_at", "TIMESTAMP"),
                ],
                key(&[0, 1], None, Some(20)),
            )
        },
        Spec {
            not_null: vec![0, 2],
            ..plain(
                "users",
                vec![("id", "BIGINT"), ("name", "VARCHAR"), ("country", "VARCHAR")],
                key(&[0], None, None),
            )
        },
        Spec {
            watermark: Some((2, 0)),
            ..plain(
                "prices",
                vec![("sku", "INTEGER"), ("cents", "BIGINT"), ("since", "TIMESTAMP")],
                key(&[0], Some(2), None),
            )
        },
        Spec {
            not_null: vec![0, 1],
            watermark: Some((1, 0)),
            ..plain(
                "slots",
                vec![("room", "INTEGER"), ("starts_at", "TIMESTAMP"), ("guest", "VARCHAR")],
                key(&[0, 1], None, Some(25)),
            )
        },
    ]
}

/// The row without what is not its key, as a delete has it.
fn of_key(spec: &Spec, row: &Row) -> Row {
    let key = spec.keyed.as_ref().map_or(&[][..], |keyed| &keyed.key);
    let kept = |(at, value): (usize, &Value)| if key.contains(&at) { value.clone() } else { Value::Null };
    row.iter().enumerate().map(kept).collect()
}

/// A spelling of a row's columns that are in `columns`, as an object.
fn spelled(draw: &mut Draw, spec: &Spec, row: &Row, columns: impl Fn(usize) -> bool) -> String {
    let kept = |at: &usize| columns(*at);
    let at: Vec<usize> = (0..row.len()).filter(kept).collect();
    let part = Spec { columns: at.iter().map(|at| spec.columns[*at]).collect(), ..spec.clone() };
    let row: Row = at.iter().map(|at| row[*at].clone()).collect();
    encode(&part, &row, &mut draw.rng)
}

/// A record of an UPSERT table: `row` is put in place, or deleted.
fn upsert(draw: &mut Draw, source: usize, row: Row, deletes: bool) -> Bytes {
    let spec = &specs()[source];
    let keyed = spec.keyed.as_ref().map_or(&[][..], |keyed| &keyed.key);
    let key = match source {
        ORDERS => row[0].as_str().unwrap_or_default().to_owned(),
        _ => spelled(draw, spec, &row, |at| keyed.contains(&at)),
    };
    let with_key = draw.rng.random_bool(0.5);
    let value = spelled(draw, spec, &row, |at| with_key || !keyed.contains(&at));
    let row = if deletes { of_key(spec, &row) } else { row };
    let bytes = (!deletes).then(|| value.into_bytes());
    Bytes { row: Some(row), deletes, key: Some(key.into_bytes()), bytes }
}

/// A record of a Debezium table.
fn event(draw: &mut Draw, source: usize, row: Row, deletes: bool) -> Bytes {
    let spec = &specs()[source];
    let key = spelled(draw, spec, &row, |at| at == 0);
    let whole = spelled(draw, spec, &row, |_| true);
    let wrap = |draw: &mut Draw, text: String| match draw.rng.random_bool(0.5) {
        true => format!(r#"{{"schema": {{"type": "struct", "fields": []}}, "payload": {text}}}"#),
        false => text,
    };
    let how = draw.int(0..4);
    let bytes = match (deletes, how) {
        (false, _) => {
            let (op, before) = draw.one(&[("c", "null"), ("r", "null"), ("u", "null"), ("u", "{}")]);
            Some(format!(r#"{{"before": {before}, "after": {whole}, "source": {{"lsn": 7}}, "op": "{op}"}}"#))
        }
        (true, 0) => None,
        (true, 1) => Some(r#"{"before": null, "after": null, "op": "d"}"#.to_owned()),
        (true, 2) => Some(format!(r#"{{"op": "d", "before": {key}}}"#)),
        (true, _) => Some(format!(r#"{{"op": "d", "before": {whole}, "after": null}}"#)),
    };
    let key = Some(wrap(draw, key)).filter(|_| !deletes || how < 2 || draw.rng.random_bool(0.5));
    let bytes = bytes.map(|text| wrap(draw, text).into_bytes());
    let row = if deletes { of_key(spec, &row) } else { row };
    Bytes { row: Some(row), deletes, key: key.map(String::into_bytes), bytes }
}

/// The same record with bytes that do not fit.
fn broken(draw: &mut Draw, source: usize, good: Bytes) -> Bytes {
    let of = |text: &str| Some(text.as_bytes().to_vec());
    let cut = |bytes: Option<Vec<u8>>| bytes.map(|bytes| bytes[..bytes.len() - 2].to_vec());
    let (key, bytes) = match (source, draw.int(0..3)) {
        (ORDERS, 0) => (None, good.bytes),
        (ORDERS, 1) => (good.key, of(r#"{"id": "another", "cents": 1}"#)),
        (STOCK | SLOTS, 0) => (None, good.bytes),
        (STOCK | SLOTS, 1) => (of(r#"{"shop": "north"}"#), good.bytes),
        (ORDERS | STOCK | SLOTS, _) => (good.key, cut(good.bytes).or(of("[]"))),
        (_, 0) => (good.key, of(r#"{"op": "t"}"#)),
        (_, 1) => (good.key, of(r#"{"op": "u", "before": {"id": 1, "sku": 1}}"#)),
        _ => (None, None),
    };
    Bytes { row: None, deletes: false, key, bytes }
}

/// The row of a record of `source`, its key from a small pool, and the partition of its key.
fn drawn(draw: &mut Draw, source: usize, clock: i64) -> (Row, i32) {
    let name = draw.one(&["anna", "ben", "cleo", "dora"]);
    let when = clock - draw.one(&[0, 1, 5, 18, 29, 40]) * MINUTE_US;
    let when = draw.or_null(0.08, when);
    let n = draw.int(0..100);
    match source {
        ORDERS => {
            let id = draw.int(0..ORDER_IDS);
            let revision = draw.int(0..5);
            let revision = draw.or_null(0.1, revision);
            let customer = draw.or_null(0.1, name);
            (vec![format!("o{id}").into(), customer, draw.or_null(0.1, n), when, revision], (id % 2) as i32)
        }
        STOCK => {
            let (shop, sku) = (draw.one(&["north", "south"]), draw.int(1..5));
            (vec![shop.into(), sku.into(), draw.or_null(0.1, n % 7), when], (sku % 2) as i32)
        }
        SLOTS => {
            // The time is part of the key, and still a delete has no event time.
            let (room, back) = (draw.int(0..3), draw.int(0..5));
            let starts = START_US + ((clock - START_US) / (10 * MINUTE_US) - back) * 10 * MINUTE_US;
            (vec![room.into(), starts.into(), draw.or_null(0.1, name)], (room % 2) as i32)
        }
        USERS => {
            let (id, country) = (draw.int(0..7), draw.one(&["de", "fr", "pl"]));
            (vec![id.into(), draw.or_null(0.1, name), draw.or_null(0.1, country)], (id % 2) as i32)
        }
        _ => {
            let sku = draw.int(1..5);
            (vec![sku.into(), draw.or_null(0.1, n), when], (sku % 2) as i32)
        }
    }
}

fn history(seed: u64, n: usize) -> Vec<Record> {
    let mut draw = Draw::new(&specs(), seed);
    let mut clock = START_US;
    while draw.records.len() < n {
        clock += draw.int(0..100) * SECOND_US;
        let tables = [ORDERS, ORDERS, ORDERS, ORDERS, STOCK, STOCK, USERS, USERS, PRICES, SLOTS];
        let source = draw.one(&tables);
        let (row, partition) = drawn(&mut draw, source, clock);
        let deletes = draw.rng.random_bool(0.3);
        let last = draw.records.iter().rev().find(|r| r.source == source && r.row.is_some()).cloned();
        if draw.rng.random_bool(0.08)
            && let Some(Record { row, deletes, key, bytes, partition, .. }) = last
        {
            // Once more, byte for byte.
            draw.push_keyed((source, partition), Bytes { row, deletes, key, bytes }, Some(clock));
            continue;
        }
        let record = match source {
            ORDERS | STOCK | SLOTS => upsert(&mut draw, source, row, deletes),
            _ => event(&mut draw, source, row, deletes),
        };
        let record = match draw.rng.random_bool(0.06) {
            true => broken(&mut draw, source, record),
            false => record,
        };
        draw.push_keyed((source, partition), record, Some(clock));
    }
    draw.records
}

/// How often a row of an older version came after its delete, and one that was not older.
fn after_deletes(records: &[Record], outcomes: &[schemas::Outcome]) -> (usize, usize) {
    let mut deleted = std::collections::BTreeSet::new();
    let mut counted = (0, 0);
    for (record, outcome) in records.iter().zip(outcomes).filter(|(r, _)| r.source == ORDERS) {
        let Some(row) = &record.row else { continue };
        let key = row[0].to_string();
        match (record.deletes, outcome) {
            (true, schemas::Outcome::Accepted) => drop(deleted.insert(key)),
            (false, schemas::Outcome::Superseded) if deleted.contains(&key) => counted.0 += 1,
            (false, schemas::Outcome::Accepted) if deleted.remove(&key) => counted.1 += 1,
            _ => {}
        }
    }
    counted
}

fn run(seed: u64, n: usize, ways: &[Way]) {
    let case = Case {
        plan: plan(&topology()),
        specs: specs(),
        records: history(seed, n),
        joins: vec![],
        failing: |_| 0,
    };
    let queries = VIEWS.iter().map(|(name, sql, duck)| {
        let sql = if duck.is_empty() { sql } else { duck };
        (name.to_string(), sql.to_string())
    });
    let mut duck = Duck::new(&queries.collect::<Vec<_>>());
    let mut all = Compared::default();
    let one_by_one: Vec<_> = case
        .records
        .iter()
        .scan(Model::new(&specs()), |m, r| Some(m.epoch(std::slice::from_ref(r))[0]))
        .collect();
    let (older, newer) = after_deletes(&case.records, &one_by_one);
    println!("keyed, seed {seed}: {n} records, after deletes {older} older and {newer} newer versions");
    assert!(older > 0 && newer > 0, "no version after a delete");
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (compared, model) = case.run(way, &state, &mut duck);
        let outcomes: Vec<_> = (0..case.specs.len()).map(|s| model.outcomes(s)).collect();
        println!("  {way:?}: {compared:?}, outcomes {outcomes:?}");
        assert!((0..6).all(|outcome| outcomes.iter().any(|o| o[outcome] > 0)), "an outcome does not occur");
        kept(&case, way, &model, &state);
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
}

/// The state holds every row and every grave within retention, and of tables without it just those.
fn kept(case: &Case, way: &Way, model: &Model, state: &std::path::Path) {
    let options = crate::engine::Options { workers: 1, in_flight: 1, cut: true };
    let partitions: Vec<i32> = case.specs.iter().map(|s| s.partitions).collect();
    let engine = crate::engine::Engine::open(&case.plan, state, &partitions, options);
    for (source, spec) in case.specs.iter().enumerate() {
        let mut held = 0;
        let count = |_: &[u8], _: &[u8]| -> Result<(), state::StateError> {
            held += 1;
            Ok(())
        };
        engine.store().scan(engine.state_tables().tables[&source], &[], count).unwrap();
        let (within, known) = (model.remembered(source), model.known(source));
        assert!(held >= within, "{}: {held} held, {within} within retention", spec.name);
        let forgets = spec.keyed.as_ref().is_some_and(|keyed| keyed.retention.is_some());
        assert!(forgets || held == known, "{}: {held} held, {known} known", spec.name);
        // Only a worker that judges records of a table clears it.
        let clears = source == ORDERS && way.workers == [1] && !matches!(way.cut, Cut::Once);
        assert!(!clears || held < ORDER_IDS as usize, "all {held} keys are still held");
    }
}

#[test]
fn rows_that_are_deleted_and_come_back() {
    let ways = [
        Way::plain(Cut::Every(1), &[1]),
        Way { restart: Some(13), ..Way::plain(Cut::Every(1), &[2, 1, 3]) },
        Way::plain(Cut::Random(7, 10), &[3]),
        Way { restart: Some(1), ..Way::plain(Cut::Random(8, 20), &[1, 3, 2]) },
        Way::plain(Cut::Once, &[1]),
        Way::plain(Cut::Once, &[2]),
    ];
    run(21, 220, &ways);
}

#[test]
fn deletes_with_epochs_in_flight() {
    let ways = [
        Way { in_flight: 3, ..Way::plain(Cut::Every(2), &[2]) },
        Way { in_flight: 3, restart: Some(7), ..Way::plain(Cut::Every(3), &[3, 1, 2]) },
        Way { in_flight: 2, restart: Some(2), ..Way::plain(Cut::Random(9, 15), &[2, 3]) },
        Way { in_flight: 4, restart: Some(19), ..Way::plain(Cut::Every(1), &[1, 2]) },
    ];
    run(22, 220, &ways);
}
