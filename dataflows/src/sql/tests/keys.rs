//! Keys that are proven, columns that stand for others in them, and relations that are append-only.

use super::*;

/// Keys of the last view, as names of columns, and whether it is append-only.
fn facts(text: &str) -> (Vec<String>, bool) {
    let plan = plan(text);
    let rel = &plan.rels[plan.views.last().unwrap().rel];
    let names = |key: &Vec<usize>| {
        key.iter().map(|c| rel.schema.field(*c).name().as_str()).collect::<Vec<_>>().join(",")
    };
    (rel.unique.iter().map(names).collect(), rel.is_append_only())
}

#[test]
fn keys_are_proven_through_operators() {
    let v = |query: &str| facts(&format!("CREATE MATERIALIZED VIEW v AS {query};"));
    let keys =
        |keys: &[&str], append: bool| (keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>(), append);
    // The table's key survives projections and filters that keep it, and no others.
    assert_eq!(v("SELECT n, id FROM m WHERE n > 3"), keys(&["id"], false));
    assert_eq!(v("SELECT n FROM m"), keys(&[], false));
    assert_eq!(v("SELECT upper(id) AS id FROM m"), keys(&[], false));
    // GROUP BY and DISTINCT make keys.
    assert_eq!(v("SELECT n, count(*) AS c FROM s GROUP BY n"), keys(&["n"], false));
    assert_eq!(v("SELECT count(*) AS c, n + 1 AS k FROM s GROUP BY n + 1"), keys(&["k"], false));
    assert_eq!(v("SELECT count(*) AS c FROM s GROUP BY n"), keys(&[], false));
    assert_eq!(v("SELECT count(*) AS c FROM s"), keys(&[""], false));
    assert_eq!(v("SELECT DISTINCT n, id FROM s"), keys(&["n,id"], true));
    assert_eq!(v("SELECT n, id FROM s UNION SELECT n, id FROM m"), keys(&["n,id"], false));
    // Rows stay append-only through stateless operators and inner joins only.
    assert_eq!(v("SELECT n, id FROM s UNION ALL SELECT n, id FROM s"), keys(&[], true));
    assert_eq!(v("SELECT a.id, b.n FROM s a JOIN s b ON a.id = b.id"), keys(&[], true));
    assert_eq!(v("SELECT a.id, b.n FROM s a LEFT JOIN s b ON a.id = b.id"), keys(&[], false));
    // A join that finds at most one row keeps the other side's key; else the keys multiply.
    assert_eq!(v("SELECT m.id, d.name FROM m LEFT JOIN d ON m.id = d.id"), keys(&["id"], false));
    assert_eq!(v("SELECT m.id, d.id AS d FROM m JOIN d ON m.n = length(d.name)"), keys(&["id,d"], false));
    assert_eq!(v("SELECT m.id, d.id AS d FROM m RIGHT JOIN d ON m.id = d.id"), keys(&["d"], false));
    // A semi or anti join keeps the left's keys; unmatched rows of both sides of a FULL JOIN may be equal.
    assert_eq!(v("SELECT id FROM m WHERE id IN (SELECT id FROM d)"), keys(&["id"], false));
    assert_eq!(v("SELECT id, n FROM s WHERE id IN (SELECT id FROM s WHERE n > 3)"), keys(&[], true));
    assert_eq!(v("SELECT id, n FROM s EXCEPT SELECT id, n FROM s WHERE n > 3"), keys(&["id,n"], false));
    assert_eq!(v("SELECT m.id, d.id AS d FROM m FULL JOIN d ON m.id = d.id"), keys(&["id,d"], false));
    let groups =
        "SELECT a.n, b.n AS k FROM (SELECT DISTINCT n FROM m) a FULL JOIN (SELECT DISTINCT n FROM s) b";
    assert_eq!(v(&format!("{groups} ON a.n = b.n")), keys(&[], false));
    // Parts of a GROUP BY that are joined keep its key.
    let parts =
        "SELECT n, count(*) AS c, count(DISTINCT id) AS i, count(DISTINCT big) AS b FROM s GROUP BY n";
    assert_eq!(v(parts), keys(&["n"], false));
    assert_eq!(v("SELECT count(*) AS c, count(DISTINCT id) AS i FROM s"), keys(&[""], false));
    // Branches that a constant tells apart keep their keys beside it, all of them where they differ.
    assert_eq!(v("SELECT 'm' AS k, id FROM m UNION ALL SELECT 'd', id FROM d"), keys(&["k,id"], false));
    assert_eq!(
        v("SELECT 'm' AS k, id, n FROM m UNION ALL SELECT NULL, id, n FROM s GROUP BY id, n"),
        keys(&["k,id,n"], false)
    );
    assert_eq!(
        v("SELECT id, n FROM m WHERE n = 1 UNION ALL SELECT id, n FROM m WHERE n = 2"),
        keys(&["id,n"], false)
    );
    for branches in [
        "'m' AS k, id FROM m UNION ALL SELECT 'm', id FROM d",
        "'m' AS k, id FROM m UNION ALL SELECT id, id FROM d",
        "'m' AS k, id FROM m UNION ALL SELECT 'd', id FROM d UNION ALL SELECT 'm', id FROM m",
        "'m' AS k, id FROM m UNION ALL SELECT 's', id FROM s",
        "CAST(n AS INT) AS k, id FROM m WHERE n = 3 UNION ALL SELECT CAST(3 AS INT), id FROM d",
        "n AS k, id FROM m WHERE CAST(n AS BIGINT) = 3 UNION ALL SELECT CAST(3 AS INT), id FROM d",
        "n AS k, id FROM m WHERE CAST(n AS BIGINT) = CAST(3 AS BIGINT) UNION ALL SELECT n, id FROM m WHERE n = 3",
        "0.0::DOUBLE AS k, id FROM m UNION ALL SELECT '-0.0'::DOUBLE, id FROM d",
    ] {
        assert_eq!(v(&format!("SELECT {branches}")), keys(&[], false), "{branches}");
    }
    // Items of a list have no key.
    assert_eq!(v("SELECT m.id, p.who FROM m, UNNEST(m.ps) AS p"), keys(&[], false));
}

/// Result of a sink of a query with a key.
fn sink_of(query: &str, key: &str) -> Result<Plan, String> {
    let text = format!(
        "CREATE SINK k AS {query} WITH (connector = 'blackhole', primary_key = '{key}') FORMAT UPSERT ENCODE JSON;"
    );
    with_prelude(&text).map_err(|errors| shown(&errors))
}

#[test]
fn a_key_is_unique_without_its_constant_columns() {
    let grouped = "SELECT n, id, count(*) AS c FROM s GROUP BY n, id";
    for query in [
        "SELECT 'x' AS kind, id, count(*) AS c FROM s GROUP BY kind, id",
        "SELECT DISTINCT 'x' AS kind, id FROM s",
        "SELECT n, id, count(*) AS c FROM s WHERE n = 3 AND id <> 'y' GROUP BY n, id",
        "SELECT big, id, median(n) AS c FROM s WHERE 3 = big GROUP BY big, id",
        // A filter above the groups, and one whose column is not selected.
        &format!("SELECT n, id FROM ({grouped}) AS q WHERE n = 3 AND c > 1")[..],
        &format!("SELECT id, c FROM ({grouped}) AS q WHERE n = 3")[..],
        // The same literal in every branch, also by a filter above the branches.
        "SELECT kind, id FROM (SELECT 'x' AS kind, id FROM s UNION ALL SELECT 'x', id FROM m) AS u GROUP BY kind, id",
        "SELECT n, id FROM (SELECT n, id FROM s UNION ALL SELECT n, id FROM m) AS u WHERE n = 3 GROUP BY n, id",
        // Both sides of an inner join, and the side of an outer join whose rows all come.
        "SELECT s.n, s.id, m.n AS k FROM s JOIN m ON s.id = m.id WHERE s.n = 3 AND m.n = 4 GROUP BY s.n, s.id, m.n",
        "SELECT s.n, s.id FROM (SELECT n, id FROM s WHERE n = 3) AS s LEFT JOIN d ON s.id = d.name GROUP BY s.n, s.id",
    ] {
        assert!(sink_of(query, "id").is_ok(), "{query}: {:?}", sink_of(query, "id").err());
    }
    // What is said of a key leaves them out, and nothing else.
    let told = sink_of("SELECT n, id, at FROM s WHERE n = 3 GROUP BY n, id, at", "id").unwrap_err();
    assert!(told.contains("write primary_key = 'id,at'"), "{told}");
    // One row remains, and any column is its key.
    assert!(sink_of("SELECT n, count(*) AS c FROM s WHERE n = 3 GROUP BY n", "c").is_ok());
}

#[test]
fn a_column_is_constant_only_if_all_rows_have_its_value() {
    let kinds = |second: &str| {
        format!(
            "SELECT kind, id FROM (SELECT 'x' AS kind, id FROM s UNION ALL {second}) AS u GROUP BY kind, id"
        )
    };
    let joined = |kind: &str| {
        format!(
            "SELECT y.n, x.id FROM s AS x {kind} JOIN (SELECT n, id FROM m WHERE n = 3) AS y ON x.id = y.id GROUP BY y.n, x.id"
        )
    };
    for query in [
        // Another value, or any, in one branch of a union.
        &kinds("SELECT 'y', id FROM m")[..],
        &kinds("SELECT id, id FROM m")[..],
        &kinds("SELECT NULL, id FROM m")[..],
        "SELECT n, id FROM (SELECT n, id FROM s WHERE n = 3 UNION ALL SELECT n, id FROM m) AS u GROUP BY n, id",
        "SELECT n, id FROM (SELECT n, id FROM s WHERE n = 3 UNION ALL SELECT n, id FROM m WHERE n = 4) AS u GROUP BY n, id",
        // NULL where an outer join finds no row.
        &joined("LEFT")[..],
        &joined("FULL")[..],
        // Conditions that more than one value passes.
        "SELECT n, id FROM s WHERE n = 3 OR n = 4 GROUP BY n, id",
        "SELECT n, id FROM s WHERE n IN (3, 4) GROUP BY n, id",
        "SELECT n, id FROM s WHERE n >= 3 GROUP BY n, id",
        "SELECT n, id FROM s WHERE NOT n = 3 GROUP BY n, id",
        "SELECT n, id FROM s WHERE n % 2 = 1 GROUP BY n, id",
        "SELECT n, id FROM s WHERE n = big GROUP BY n, id",
        // Two zeros are equal, and the totals of a group are no column of its rows.
        "SELECT f, id FROM s WHERE f = 0 GROUP BY f, id",
        "SELECT c, id FROM (SELECT n, id, count(*) AS c FROM s WHERE n = 3 GROUP BY n, id, big) AS q GROUP BY c, id",
    ] {
        let told = match sink_of(query, "id") {
            Ok(_) => "accepted".to_owned(),
            Err(told) => told,
        };
        assert!(told.contains("primary_key 'id' is not proven unique"), "{query}: {told}");
    }
}

#[test]
fn the_ends_of_a_window_stand_for_each_other() {
    for window in ["TUMBLE(s, at, INTERVAL '1 hour')", "HOP(s, at, INTERVAL '5 minutes', INTERVAL '1 hour')"]
    {
        let head = format!(
            "CREATE MATERIALIZED VIEW v AS SELECT window_start, window_end, id, count(*) AS c FROM {window} GROUP BY window_start, window_end, id;"
        );
        for key in ["window_start,id", "window_end,id", "window_end,id,window_start"] {
            let sink = format!(
                "CREATE SINK k FROM v WITH (connector = 'blackhole', primary_key = '{key}') FORMAT UPSERT ENCODE JSON;"
            );
            let made = plan(&format!("{head}{sink}"));
            assert_eq!(made.sinks[0].key.len(), key.split(',').count());
        }
        let sink = "CREATE SINK k FROM v WITH (connector = 'blackhole', primary_key = 'id') FORMAT UPSERT ENCODE JSON;";
        let errors = with_prelude(&format!("{head}{sink}")).unwrap_err();
        assert!(shown(&errors).contains("primary_key = 'window_start,id'"), "{}", shown(&errors));
    }
}

#[test]
fn a_time_stands_for_another_only_where_it_determines_it() {
    let v = |query: &str| facts(&format!("CREATE MATERIALIZED VIEW v AS {query};")).0;
    let beside = |expr: &str| v(&format!("SELECT DISTINCT at, {expr} AS other FROM s"));
    for moved in
        ["at + INTERVAL '1 hour'", "at - INTERVAL '2 days'", "CAST(at + INTERVAL '1 hour' AS TIMESTAMP)"]
    {
        assert_eq!(beside(moved), ["at"], "{moved}");
    }
    for lost in [
        "CAST(at + INTERVAL '1 hour' AS DATE)",
        "CAST(CAST(at AS TIMESTAMP) - INTERVAL '1 hour' AS TIME)",
        "at + INTERVAL '1 month'",
        "date_trunc('hour', at)",
    ] {
        assert_eq!(beside(lost), ["at,other"], "{lost}");
    }
    let union = |first: &str, second: &str| {
        let side = |length: &str| format!("SELECT at AS a, at + INTERVAL '{length}' AS b FROM s");
        v(&format!("SELECT DISTINCT a, b FROM ({} UNION ALL {}) AS u", side(first), side(second)))
    };
    assert_eq!(union("1 hour", "60 minutes"), ["a"]);
    // One start with two ends does not determine the end.
    assert_eq!(union("1 hour", "2 hours"), ["a,b"]);
}

#[test]
fn a_condition_on_now_keeps_what_is_known_of_its_rows() {
    let v = |query: &str| facts(&format!("CREATE MATERIALIZED VIEW v AS {query};"));
    let key = |append: bool| (vec!["id".to_owned()], append);
    assert_eq!(v("SELECT id, at FROM m WHERE at > now() - INTERVAL '1 hour'"), key(false));
    // Rows that enter and never leave stay append-only.
    let source = "CREATE SOURCE e (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = 'e') FORMAT PLAIN ENCODE JSON;";
    let adds = |query: &str| facts(&format!("{source} CREATE MATERIALIZED VIEW v AS {query};")).1;
    assert!(adds("SELECT id, at FROM e WHERE at <= now()"));
    assert!(!adds("SELECT id, at FROM e WHERE at BETWEEN now() - INTERVAL '1 hour' AND now()"));
}
