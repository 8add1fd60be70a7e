//! The work of a join that is bounded in time: it grows with the rows and the result, not with their product.
//!
//! Few keys have many rows on both sides, all of them there at once, as a backlog is. Pairs are counted by
//! the join itself: those it makes, and those it looks at. A restart must find nothing new, and each kind of
//! join must give the rows that the bound says.

use schemas::Records;

use crate::engine::{Engine, Options, plan};

const KEYS: i64 = 4;
const LEFTS: i64 = 24_000;
const RIGHTS: i64 = 12_000;
/// A row of each side every so often.
const STEP_MS: i64 = 250;

fn topology(join: &str) -> String {
    format!(
        "CREATE SOURCE a (k INT, ts TIMESTAMP, n INT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE b (k INT, ts TIMESTAMP, m INT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'file', path = 'b') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT count(*) AS rows, count(m) AS pairs FROM ({join}) AS j;"
    )
}

fn records(rows: i64, step_ms: i64, name: &str) -> Records {
    let mut records = Records::new(0);
    for at in 0..rows {
        let ms = at / KEYS * step_ms;
        let (k, s) = (at % KEYS, ms / 1000);
        let time = format!("2026-05-01T{:02}:{:02}:{:02}.{:03}", s / 3600, s / 60 % 60, s % 60, ms % 1000);
        let row = format!("{{\"k\":{k},\"ts\":\"{time}\",\"{name}\":{at}}}");
        records.push(at, None, None, Some(row.as_bytes()));
    }
    records
}

/// Rows and pairs of the view, pairs that were made and pairs that were looked at.
fn run(join: &str, workers: usize) -> [u64; 4] {
    let plan = plan(&topology(join));
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let options = Options { workers, in_flight: 1, cut: true };
    let (mut made, mut compared) = (0, 0);
    let mut engine = Engine::open(&plan, &state, &[1, 1], options);
    // All of one side is there before the other comes.
    engine.feed(1, records(RIGHTS, STEP_MS * LEFTS / RIGHTS, "m"));
    engine.feed(0, records(LEFTS, STEP_MS, "n"));
    engine.close(|_, done| {
        for (operator, rows) in &done.touched {
            made += if operator.ends_with("/join") { *rows } else { 0 };
            compared += if operator.ends_with("/join compared") { *rows } else { 0 };
        }
    });
    let view = |engine: &Engine| {
        let rows = engine.view_rows(0).unwrap();
        let codec = schemas::RowCodec::of(&plan.rels[plan.views[0].rel].schema).unwrap();
        let columns = codec.decode(rows.iter()).unwrap();
        [0, 1]
            .map(|at| arrow::util::display::array_value_to_string(&columns[at], 0).unwrap().parse().unwrap())
    };
    let [rows, pairs] = view(&engine);
    drop(engine);
    let engine = Engine::open(&plan, &state, &[1, 1], options);
    assert_eq!(view(&engine), [rows, pairs], "after a restart");
    [rows, pairs, made, compared]
}

/// Pairs of a key within a second: lefts stand every 250 ms, rights every 500 ms.
fn within_a_second() -> u64 {
    let (lefts, rights) = (LEFTS / KEYS, RIGHTS / KEYS);
    let near =
        |left: i64| (0..rights).filter(|right| (left * STEP_MS - right * STEP_MS * 2).abs() <= 1000).count();
    // Only the ends differ from the middle.
    let ends = (0..10).chain(lefts - 10..lefts).map(near).sum::<usize>();
    let middle = (100..104).map(near).sum::<usize>() * ((lefts - 20) / 4) as usize;
    (ends + middle) as u64 * KEYS as u64
}

const ON: &str = "a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second'";

#[test]
fn a_backlog_costs_what_is_near_in_time() {
    let expected = within_a_second();
    for workers in [1, 3] {
        let [rows, pairs, made, compared] = run(&format!("SELECT a.n, b.m FROM a JOIN b ON {ON}"), workers);
        println!("{workers} workers: {expected} pairs within the bound, {made} made, {compared} looked at");
        assert_eq!([rows, pairs], [expected, expected]);
        assert_eq!(made, expected);
        // Without the bound every pair of a key was looked at: 72,000,000.
        assert!(compared > 0 && compared <= 3 * expected, "{compared} pairs looked at for {expected}");
    }
}

#[test]
fn every_kind_of_join_is_bounded() {
    let expected = within_a_second();
    let unmatched = |join: &str| run(join, 2);
    let half = "a.k = b.k AND a.n % 2 = 0 AND b.ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts";
    for (join, extra) in [
        (format!("SELECT a.n, b.m FROM a LEFT JOIN b ON {ON}"), 0),
        (format!("SELECT a.n, b.m FROM a FULL JOIN b ON {ON}"), 0),
        (format!("SELECT a.n, b.m FROM a LEFT JOIN b ON {ON} AND a.n < 0"), LEFTS as u64),
    ] {
        let [rows, pairs, made, compared] = unmatched(&join);
        println!("{join}: {rows} rows, {pairs} pairs, {made} made, {compared} looked at");
        let pairs_wanted = if extra > 0 { 0 } else { expected };
        assert_eq!([rows, pairs], [pairs_wanted + extra, pairs_wanted], "{join}");
        assert!(compared <= 3 * expected, "{join}: {compared} pairs looked at for {expected}");
    }
    for (which, wanted) in [("EXISTS", LEFTS as u64 / 2), ("NOT EXISTS", LEFTS as u64 / 2)] {
        let join = format!("SELECT a.n, a.n AS m FROM a WHERE {which} (SELECT 1 FROM b WHERE {half})");
        let [rows, _, _, compared] = unmatched(&join);
        println!("{join}: {rows} rows, {compared} looked at");
        assert_eq!(rows, wanted, "{join}");
        assert!(compared <= 3 * expected, "{join}: {compared} pairs looked at for {expected}");
    }
}
