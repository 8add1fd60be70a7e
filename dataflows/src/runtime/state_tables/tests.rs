//! Tests of the catalogue that a plan writes over that of its state.

use super::*;
use crate::plan::Horizon;
use crate::sql::{SqlFile, compile};

/// The plan of a view over some rows, with indexes.
fn plan(rows: &str, indexes: &str) -> Plan {
    let text = format!(
        "CREATE TABLE t (k INT, n INT, m INT, PRIMARY KEY (k)) WITH (connector = 'file', path = 't') FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW v AS SELECT k, n, m FROM t WHERE {rows}; {indexes}"
    );
    let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    compile(&[SqlFile { name: "t.sql".to_owned(), text }], &|_| None, &no_file, &|_| Ok(None)).unwrap()
}

/// The catalogue of a plan over a state with the catalogue `held`.
fn catalogue(plan: &Plan, held: Option<&Catalogue>) -> Catalogue {
    StateTables::of(plan, held).unwrap().catalogue("t")
}

#[test]
fn files_and_exports_keep_their_order() {
    let file = |name: &str, path: &str| {
        format!(
            "CREATE SINK {name} FROM v WITH (connector = 'file', path = '{path}', primary_key = 'k') FORMAT UPSERT ENCODE JSON;"
        )
    };
    let export = |name: &str, path: &str| {
        format!(
            "CREATE SINK {name} FROM v WITH (connector = 'parquet', path = '{path}', primary_key = 'k') FORMAT UPSERT ENCODE PARQUET;"
        )
    };
    for sink in [&file as &dyn Fn(&str, &str) -> String, &export] {
        let in_order = plan("n > 0", &[sink("a", "out/a"), sink("b", "out/b")].concat());
        let held = catalogue(&in_order, None);
        assert!(StateTables::of(&in_order, Some(&held)).is_ok());
        let turned = plan("n > 0", &[sink("b", "out/b"), sink("a", "out/a")].concat());
        assert_eq!(StateTables::of(&turned, Some(&held)).unwrap_err(), ["b"]);
    }
    // Each kind is numbered for itself.
    let held = catalogue(&plan("n > 0", &[file("a", "a"), export("b", "b")].concat()), None);
    let turned = plan("n > 0", &[export("b", "b"), file("a", "a")].concat());
    assert!(StateTables::of(&turned, Some(&held)).is_ok());
}

fn index(catalogue: &Catalogue, name: &str) -> Option<u32> {
    catalogue.find(StateTableKind::Index, name).map(|entry| entry.id)
}

#[test]
fn another_history_is_no_other_edition() {
    let mut plan = plan("n > 0", "");
    let (held, usual) = (catalogue(&plan, None), StateTables::of(&plan, None).unwrap());
    let limits = HistoryLimits { age_ms: 300_000, bytes: 64 << 20 };
    assert_eq!(usual.histories, BTreeMap::from([(usual.views[0], limits)]));
    plan.views[0].history = None;
    let without = StateTables::of(&plan, Some(&held)).unwrap();
    assert_eq!((without.histories.len(), without.catalogue("t")), (0, held));
}

#[test]
fn a_longer_retention_leaves_a_gap() {
    let mut plan = plan("n > 0", "");
    let mut retained = |lag: Option<i64>, held: Option<&Catalogue>| {
        plan.views[0].served = lag.map(|lag| Horizon { column: 0, marks: vec![(0, lag)] });
        catalogue(&plan, held)
    };
    let gap = |of: &Catalogue| of.find(StateTableKind::View, "v").unwrap().facts.gap.clone();
    let held = retained(Some(10), None);
    assert_eq!([gap(&held), gap(&retained(Some(5), Some(&held)))], [None, None]);
    let without = retained(None, Some(&held));
    assert!(gap(&without).is_some() && gap(&retained(Some(20), Some(&held))).is_some());
    assert_eq!(gap(&retained(None, Some(&without))), gap(&without));
}

#[test]
fn a_view_that_is_only_written_in_another_way_keeps_its_state() {
    let (first, second) = (plan("n > 0", ""), plan("n  >\n 0", ""));
    let held = catalogue(&first, None);
    let renewed = catalogue(&second, Some(&held));
    let told = |of: &Catalogue| {
        let view = of.find(StateTableKind::View, "v").unwrap();
        (view.fingerprint.clone(), view.facts.definition.clone().unwrap())
    };
    assert_eq!(told(&held).1, "SELECT k, n, m FROM t WHERE n > 0");
    assert_eq!(told(&renewed), (told(&held).0, "SELECT k, n, m FROM t WHERE n  >\n 0".to_owned()));
}

#[test]
fn indexes_alone_come_and_go() {
    let (by_n, by_m) = ("CREATE INDEX a ON v (n);", "CREATE INDEX b ON v (m);");
    let without = catalogue(&plan("n > 0", ""), None);
    let with = catalogue(&plan("n > 0", by_n), Some(&without));
    assert_eq!(index(&with, "a"), Some(without.next_id()));
    // As in a state of its own, and in one that has it.
    assert_eq!(with, catalogue(&plan("n > 0", by_n), None));
    assert_eq!(with, catalogue(&plan("n > 0", by_n), Some(&with)));
    assert_eq!(without, catalogue(&plan("n > 0", ""), Some(&with)));
    // One that is added is behind those that stay or go; so is one with other columns.
    let both = catalogue(&plan("n > 0", &[by_m, by_n].concat()), Some(&with));
    assert_eq!((index(&both, "a"), index(&both, "b")), (index(&with, "a"), Some(with.next_id())));
    let other = catalogue(&plan("n > 0", "CREATE INDEX a ON v (n, m);"), Some(&with));
    assert_eq!(index(&other, "a"), Some(with.next_id()));
    // Another view is another edition, with or without an index.
    for indexes in ["", by_n] {
        let changed = StateTables::of(&plan("n > 1", indexes), Some(&with)).unwrap_err();
        assert_eq!(changed, ["v"]);
    }
}
