//! The bank test: whatever arrives, and in which order, no committed epoch shows money made or lost.
//!
//! Transfers come out of order, twice, and corrected; credits and debits are sums by account, the balance
//! is their full outer join, the total a view over it. An engine that answers eventually shows totals in
//! between that never were. Here every epoch's views and every epoch's folded sinks add up.

use std::collections::BTreeMap;

use dataflows::plan::Plan;
use dataflows::runtime::engine::Folded;
use rand::RngExt;

use crate::check::scratch;
use crate::engine;
use crate::history::Draw;
use crate::model::{Keyed, Model, Record, Spec};
use crate::rows::{Row, difference, errors, of_sink};
use crate::run::{WAYS, each, views};

const ACCOUNTS: [&str; 9] = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida"];
const RECORDS: usize = 400;

const TABLE: &str = "CREATE TABLE transfers (id BIGINT, payer VARCHAR NOT NULL, payee VARCHAR NOT NULL, amount BIGINT NOT NULL, version BIGINT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (version) WITH (connector = 'file', path = 'transfers') FORMAT PLAIN ENCODE JSON;";
const SOURCE: &str = "CREATE SOURCE transfers (id BIGINT, payer VARCHAR NOT NULL, payee VARCHAR NOT NULL, amount BIGINT NOT NULL, version BIGINT)
WITH (connector = 'file', path = 'transfers') FORMAT PLAIN ENCODE JSON;";
const VIEWS: &str = "
CREATE MATERIALIZED VIEW credits AS SELECT payee AS account, sum(amount) AS amount FROM transfers GROUP BY payee;
CREATE MATERIALIZED VIEW debits AS SELECT payer AS account, sum(amount) AS amount FROM transfers GROUP BY payer;
CREATE MATERIALIZED VIEW balance AS
  SELECT c.account AS payee, d.account AS payer, coalesce(c.amount, 0) - coalesce(d.amount, 0) AS amount
  FROM credits AS c FULL JOIN debits AS d ON c.account = d.account;
CREATE MATERIALIZED VIEW total AS SELECT 'all' AS id, sum(amount) AS amount, count(*) AS accounts FROM balance;
CREATE SINK credits_out FROM credits WITH (connector = 'blackhole', primary_key = 'account') FORMAT UPSERT ENCODE JSON;
CREATE SINK debits_out FROM debits WITH (connector = 'blackhole', primary_key = 'account') FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK balance_out FROM balance WITH (connector = 'blackhole', primary_key = 'payee,payer') FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK total_out FROM total WITH (connector = 'blackhole', primary_key = 'id') FORMAT UPSERT ENCODE JSON;
";

fn spec(keyed: bool) -> Spec {
    let rule = Keyed { key: vec![0], first_wins: false, version: Some(4), retention: None };
    let text = |name| (name, "VARCHAR");
    let number = |name| (name, "BIGINT");
    Spec {
        name: "transfers",
        columns: vec![number("id"), text("payer"), text("payee"), number("amount"), number("version")],
        generated: vec![],
        included: vec![],
        not_null: if keyed { vec![0, 1, 2, 3] } else { vec![1, 2, 3] },
        checks: vec![],
        watermark: None,
        keyed: keyed.then_some(rule),
        partitions: 3,
    }
}

/// Transfers, corrections of them in any order of versions, and each of them maybe again.
fn history(spec: &Spec, seed: u64) -> Vec<Record> {
    let mut draw = Draw::new(std::slice::from_ref(spec), seed);
    while draw.records.len() < RECORDS {
        if draw.rng.random_bool(0.25) && draw.repeat(0) {
            continue;
        }
        let id = draw.int(0..80);
        let (payer, payee) = (draw.one(&ACCOUNTS), draw.one(&ACCOUNTS));
        let row: Row =
            vec![id.into(), payer.into(), payee.into(), draw.int(1..1000).into(), draw.int(0..9).into()];
        draw.push(0, (id % 3) as i32, row, None);
    }
    draw.records
}

fn sum(rows: &[Row], column: usize) -> i64 {
    rows.iter().map(|row| row[column].as_i64().expect("an amount")).sum()
}

/// What must hold of the rows of all views, or of all sinks, at one epoch; `moved` is all that was moved.
fn judge(rows: &BTreeMap<&str, Vec<Row>>, moved: i64, place: &str) {
    assert_eq!(sum(&rows["credits"], 1), moved, "credits; {place}");
    assert_eq!(sum(&rows["debits"], 1), moved, "debits; {place}");
    assert_eq!(sum(&rows["balance"], 2), 0, "money was made or lost; {place}");
    let [total] = rows["total"].as_slice() else { panic!("{} totals; {place}", rows["total"].len()) };
    assert_eq!(total[2], rows["balance"].len(), "accounts; {place}");
    assert_eq!(total[1].as_i64().unwrap_or(0), 0, "the total; {place}");
    for row in &rows["balance"] {
        let of = |view: &str, account: usize| {
            let found = rows[view].iter().find(|other| other[0] == row[account]);
            found.and_then(|other| other[1].as_i64()).unwrap_or(0)
        };
        assert_eq!(row[2], of("credits", 0) - of("debits", 1), "the balance of {row:?}; {place}");
    }
}

fn named(plan: &Plan, rows: Vec<Vec<Row>>) -> BTreeMap<&str, Vec<Row>> {
    plan.views.iter().map(|view| view.name.as_str()).zip(rows).collect()
}

fn bank(declared: &str, keyed: bool) {
    let plan = engine::plan(&format!("{declared}{VIEWS}"));
    let spec = spec(keyed);
    let specs = std::slice::from_ref(&spec);
    for seed in 1..3 {
        let records = history(&spec, seed);
        for way in &WAYS {
            let dir = tempfile::tempdir_in(scratch()).unwrap();
            let ends = way.ends(seed, records.len());
            let (mut model, mut folded, mut read, mut corrected) =
                (Model::new(specs), Folded::default(), 0, false);
            each((specs, &records), (&plan, &dir.path().join("state")), way, &ends, |engine, done| {
                let place = format!("seed {seed}, {way:?}, epoch {}", done.epoch);
                let end = ends[done.epoch as usize - 1];
                model.epoch(&records[std::mem::replace(&mut read, end)..end]);
                let accepted = &model.tables()["transfers"].1;
                corrected |= accepted.len() < model.outcomes(0)[0] as usize;
                done.sinks.iter().for_each(|sinks| folded.apply(&plan, sinks).unwrap());
                assert!(errors(engine).is_empty(), "{place}");
                let held = named(&plan, views(engine, &plan));
                judge(&held, sum(accepted, 3), &place);
                for (at, sink) in plan.sinks.iter().enumerate() {
                    let view = sink.name.trim_end_matches("_out");
                    let told = difference(&of_sink(&folded, &plan, at), &held[view]);
                    assert!(told.is_none(), "{}; {place}\n{}", sink.name, told.unwrap_or_default());
                }
            });
            assert_eq!(read, records.len());
            assert_eq!(corrected, keyed, "corrections are what makes this hard");
        }
    }
}

#[test]
fn corrected_transfers_add_up_in_every_epoch() {
    bank(TABLE, true);
}

#[test]
fn appended_transfers_add_up_in_every_epoch() {
    bank(SOURCE, false);
}
