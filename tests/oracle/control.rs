//! The negative control of the restart: without the cut (`time > t0`) the answer must become wrong.
//!
//! A durable join below an append-only source has its dimension side both in the state and, because
//! another view needs the dimension recomputed, in what its input produces at the committed epoch.
//! Only the cut keeps it from counting twice. The aggregate above the join is not linear and the
//! dimension is updated afterwards, so that a doubled side cannot hide.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::duck::Duck;
use crate::engine::plan;
use crate::history::Draw;
use crate::model::{Keyed, Spec};
use crate::way::{Case, Cut, Way};

const TOPOLOGY: &str = "
CREATE TABLE champions (champion_id INT, role VARCHAR, PRIMARY KEY (champion_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'champions') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE live (champion_id INT, amount BIGINT) WITH (connector = 'file', path = 'live') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW roles AS SELECT role, max(champion_id) AS last FROM champions GROUP BY role;
CREATE MATERIALIZED VIEW live_role AS
  SELECT c.role, count(*) AS n, max(l.amount) AS top
  FROM live AS l JOIN champions AS c ON l.champion_id = c.champion_id GROUP BY c.role HAVING count(*) > 2;
CREATE SINK live_role_out FROM live_role WITH (connector = 'blackhole', primary_key = 'role') FORMAT DEBEZIUM ENCODE JSON;
";

fn case() -> Case {
    let spec = |name, columns, keyed| Spec {
        name,
        columns,
        generated: vec![],
        included: vec![],
        not_null: vec![],
        checks: vec![],
        watermark: None,
        keyed,
        partitions: 1,
    };
    let key = Keyed { key: vec![0], first_wins: false, version: None, retention: None };
    let specs = vec![
        Spec {
            not_null: vec![0],
            ..spec("champions", vec![("champion_id", "INTEGER"), ("role", "VARCHAR")], Some(key))
        },
        spec("live", vec![("champion_id", "INTEGER"), ("amount", "BIGINT")], None),
    ];
    let mut draw = Draw::new(&specs, 21);
    for at in 0..60 {
        let (champion, role, amount) = (draw.int(1..5), draw.one(&["mage", "tank"]), draw.int(0..100));
        let dimension = at % 4 == 0;
        let second: Value = if dimension { role.into() } else { amount.into() };
        draw.push(usize::from(!dimension), 0, vec![champion.into(), second], None);
    }
    Case { plan: plan(TOPOLOGY), specs, records: draw.records, joins: vec![], failing: |_| 0 }
}

#[test]
fn without_the_cut_a_restart_answers_wrongly() {
    let case = case();
    let queries = [
        ("roles", "SELECT role, max(champion_id) AS last FROM champions GROUP BY role"),
        (
            "live_role",
            "SELECT c.role, count(*) AS n, max(l.amount) AS top FROM live AS l JOIN champions AS c ON l.champion_id = c.champion_id GROUP BY c.role HAVING count(*) > 2",
        ),
    ];
    let mut duck = Duck::new(&queries.map(|(name, sql)| (name.to_string(), sql.to_string())));
    let way = Way { restart: Some(4), ..Way::plain(Cut::Every(5), &[1, 2]) };
    let run = |way: &Way, duck: &mut Duck| {
        let dir = tempfile::tempdir().unwrap();
        case.run(way, &dir.path().join("state"), duck).0
    };
    let with = run(&way, &mut duck);
    assert!(with.restarts >= 2, "{with:?}");
    let without = Way { keep_cut: false, ..way };
    let failure =
        catch_unwind(AssertUnwindSafe(|| run(&without, &mut duck))).expect_err("the cut changes nothing");
    let message = failure.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.contains("is not what the reader holds"), "it failed otherwise: {message}");
}
