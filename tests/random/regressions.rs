//! Differences that random queries found, each a test by name: small topologies before both judges.
//!
//! `t` and `u` are tables and `s` an append-only source, all with a key or number `k`, a number `a`, a text
//! `b`, a double `c` and a time `ts`; everything but the keys may be NULL.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::check::Judges;
use crate::model::{Keyed, Spec};
use crate::report::Report;
use crate::schema::{Format, Schema};
use crate::shrink::picture;

fn schema() -> Schema {
    let spec = |name, keyed: bool| Spec {
        name,
        columns: vec![
            ("k", "BIGINT"),
            ("a", "BIGINT"),
            ("b", "VARCHAR"),
            ("c", "DOUBLE"),
            ("ts", "TIMESTAMP"),
        ],
        generated: vec![],
        included: vec![],
        not_null: if keyed { vec![0] } else { vec![] },
        checks: vec![],
        watermark: None,
        keyed: keyed.then(|| Keyed { key: vec![0], first_wins: false, version: None, retention: None }),
        partitions: 2,
    };
    let columns = "k BIGINT, a BIGINT, b VARCHAR, c DOUBLE, ts TIMESTAMPTZ";
    let connector = |name| format!("WITH (connector = 'file', path = '{name}') FORMAT PLAIN ENCODE JSON;");
    let table = |name| {
        format!("CREATE TABLE {name} ({columns}, PRIMARY KEY (k)) ON CONFLICT OVERWRITE {}", connector(name))
    };
    Schema {
        specs: vec![spec("t", true), spec("u", true), spec("s", false)],
        ddl: vec![table("t"), table("u"), format!("CREATE SOURCE s ({columns}) {}", connector("s"))],
        relations: vec![],
        formats: vec![Format::Plain; 3],
        kinds: BTreeMap::new(),
    }
}

/// The views must be right in all ways over several histories; `v0` is the first, and so on.
fn right(views: &[&'static str]) {
    right_as(&views.iter().map(|text| [*text; 3]).collect::<Vec<_>>());
}

/// The same where a judge is wrong about Herald's text, and has its own: Herald's, PostgreSQL's, DuckDB's.
fn right_as(views: &[[&'static str; 3]]) {
    let (schema, mut judges) = (schema(), Judges::new());
    for seed in 1..3 {
        let case = Case::of(&schema, views, seed);
        let mut report = Report::default();
        if let Err(failure) = judges.check(&case, &[0, 1, 2, 3], &mut report) {
            panic!("{}", picture(&case, &failure));
        }
        assert_eq!(report.pairs, views.len(), "both judges answer: {report}");
    }
}

#[test]
fn a_false_condition_over_a_total_leaves_no_row() {
    right(&[
        "SELECT count(*) AS n FROM t HAVING FALSE",
        "SELECT count(*) AS n, sum(a) AS s FROM s HAVING starts_with('aX', 'b')",
        "SELECT n FROM (SELECT count(*) AS n FROM t) AS x WHERE 'a' LIKE 'b%'",
        "SELECT count(*) AS n FROM t HAVING count(*) IS NULL",
        "SELECT n FROM v0",
    ]);
}

#[test]
fn a_column_that_equals_itself_is_not_null() {
    right(&[
        "SELECT t.k, t.a FROM t WHERE NOT EXISTS (SELECT 1 AS one FROM u WHERE t.a = t.a)",
        "SELECT t.k, t.a FROM t WHERE EXISTS (SELECT 1 AS one FROM u WHERE t.a = t.a AND u.k = t.k)",
        "SELECT t.k, (SELECT count(*) FROM u WHERE u.k = t.k AND u.a = u.a) AS n FROM t",
    ]);
}

#[test]
fn a_filter_that_is_simplified_to_null_lets_nothing_pass() {
    right(&[
        "SELECT a, bit_and(k) AS c, var_pop(nullif(CAST(0 AS DOUBLE), CAST(0 AS DOUBLE))) AS v, max(k) FILTER (WHERE CAST(NULL AS VARCHAR) NOT LIKE '%b%') AS d FROM t GROUP BY a",
        "SELECT k, count(*) FILTER (WHERE CAST(NULL AS VARCHAR) LIKE 'b') OVER (PARTITION BY a) AS n FROM t",
    ]);
}

#[test]
fn a_case_in_a_list_is_evaluated() {
    let of = |text| {
        [text, "SELECT k, TRUE AS x, FALSE AS y, a = 3 OR a <> 3 AND NULL AS z FROM t WHERE a > 1", text]
    };
    right_as(&[of(
        "SELECT k, 'b' IN (CASE WHEN a > 1 THEN 'b' END, '') AS x, 'a' IN (CASE a WHEN a THEN 'b' END, '') AS y, a IN (CASE WHEN a = 3 THEN 3 END) AS z FROM t WHERE a > 1",
    )]);
    right_as(&[[
        "SELECT k, a NOT IN (CASE WHEN k > 1 THEN a + 1 END, 2) AS x FROM t",
        "SELECT k, a <> CASE WHEN k > 1 THEN a + 1 END AND a <> 2 AS x FROM t",
        "SELECT k, a NOT IN (CASE WHEN k > 1 THEN a + 1 END, 2) AS x FROM t",
    ]]);
}

#[test]
fn a_null_is_distinct_from_a_value_in_exists() {
    let query = "SELECT k FROM t WHERE EXISTS (SELECT 1 AS one FROM u WHERE t.a IS DISTINCT FROM u.a)";
    right_as(&[[
        query,
        query,
        "SELECT k FROM t WHERE EXISTS (SELECT 1 AS one FROM u WHERE coalesce(t.a <> u.a, (t.a IS NULL) <> (u.a IS NULL)))",
    ]]);
}

#[test]
fn a_null_is_not_in_nothing() {
    right(&["SELECT k, a FROM t WHERE a NOT IN (SELECT a FROM u WHERE u.k > 1000)"]);
}

/// An optimiser once took `b` for the other side's.
#[test]
fn a_condition_over_one_side_keeps_its_column() {
    right(&["SELECT t.k, t.b, u.b AS other FROM t JOIN u ON t.a = u.k AND starts_with(t.b, t.b)"]);
}
