//! Tests of the whole front end on topologies: frozen plans, proven properties, refusals with their
//! positions.
//!
//! `tests/explain/NAME.sql` compiles to the plan frozen in `NAME.txt`; with HERALD_UPDATE=1 set,
//! differing plans are written anew, to be reviewed before they are committed.

#[cfg(test)]
mod judged;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::question::Finality;
use super::{SqlError, SqlFile, compile};
use crate::plan::explain::{Form, explain, fingerprint, sink_fingerprint, source_fingerprint};
use crate::plan::{Op, Plan};

/// A keyed table, an append-only source and a dimension, on lines 1 to 3.
const PRELUDE: &str = "\
CREATE TABLE m (id VARCHAR, at TIMESTAMPTZ, n INT, tags VARCHAR[], ps STRUCT<who VARCHAR, k INT>[], PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '1 hour') WITH (connector = 'kafka', topic = 'm') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE s (id VARCHAR, at TIMESTAMPTZ, n INT, big BIGINT, f DOUBLE) WITH (connector = 'kafka', topic = 's') FORMAT PLAIN ENCODE JSON;
CREATE TABLE d (id VARCHAR, name VARCHAR, PRIMARY KEY (id)) WITH (connector = 'kafka', topic = 'd') FORMAT PLAIN ENCODE JSON;
";

fn compiled(text: &str) -> Result<Plan, Vec<SqlError>> {
    let files = [SqlFile { name: "t.sql".into(), text: text.into() }];
    let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    compile(&files, &|_| None, &no_file, &|_| Ok(None))
}

fn with_prelude(text: &str) -> Result<Plan, Vec<SqlError>> {
    compiled(&format!("{PRELUDE}{text}"))
}

fn plan(text: &str) -> Plan {
    with_prelude(text).unwrap_or_else(|errors| panic!("{text}: {}", shown(&errors)))
}

fn shown(errors: &[SqlError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn plans_are_as_frozen() {
    let mut names: Vec<PathBuf> =
        fs::read_dir(root().join("tests/explain")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|p| p.extension().is_some_and(|e| e == "sql"));
    names.push(root().join("topologies/match_analytics.sql"));
    names.sort();
    for path in names {
        let plan = compiled(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|e| panic!("{}: {}", path.display(), shown(&e)));
        let found = explain(&plan, None, Form::Text).unwrap();
        let frozen = root().join("tests/explain").join(path.with_extension("txt").file_name().unwrap());
        if std::env::var_os("HERALD_UPDATE").is_some() {
            fs::write(&frozen, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&frozen).unwrap_or_default(), "{}", frozen.display());
    }
}

/// Keys of the last view, as names of columns, and whether it is append-only.
fn facts(text: &str) -> (Vec<String>, bool) {
    let plan = plan(text);
    let rel = &plan.rels[plan.views.last().unwrap().rel];
    let names = |key: &Vec<usize>| {
        key.iter().map(|c| rel.schema.field(*c).name().as_str()).collect::<Vec<_>>().join(",")
    };
    (rel.unique.iter().map(names).collect(), rel.append_only)
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
fn a_suggested_watermark_and_retention_are_pasted_as_they_are() {
    let text = |items: &str, option: &str| {
        format!(
            "CREATE TABLE o (id INT, \"Placed\" TIMESTAMPTZ, PRIMARY KEY (id){items}) WITH (connector = 'file', path = 'o'{option}) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT window_end, count(*) AS c FROM TUMBLE(o, \"Placed\", INTERVAL '1 hour') GROUP BY window_end EMIT ON WINDOW CLOSE;"
        )
    };
    let told = shown(&compiled(&text("", "")).unwrap_err());
    let (_, hint) = told.split_once("\n  add ").unwrap();
    let (items, rest) = hint.split_once(" to the columns of o, and ").unwrap();
    let (option, _) = rest.split_once(" to its WITH (...)").unwrap();
    if let Err(errors) = compiled(&text(&format!(", {items}"), &format!(", {option}"))) {
        panic!("{told}\n{}", shown(&errors));
    }
}

#[test]
fn a_comparison_with_null_is_warned_of() {
    let warned = |query: &str| {
        let warnings = plan(&format!("CREATE MATERIALIZED VIEW v AS {query};")).warnings;
        let mut told = Vec::new();
        for warning in warnings {
            told.push((warning.column, warning.hint.unwrap_or_default()));
        }
        told
    };
    let is = |column: u64, hint: &str| (column, hint.to_owned());
    assert_eq!(warned("SELECT id FROM m WHERE n = NULL"), [is(58, "write IS NULL")]);
    assert_eq!(
        warned("SELECT id FROM m WHERE NULL <> n OR n != (CAST(NULL AS INT))"),
        [is(54, "write IS NOT NULL"), is(78, "write IS NOT NULL")]
    );
    assert_eq!(warned("SELECT id, CASE WHEN n = NULL THEN 1 END AS x FROM m"), [is(56, "write IS NULL")]);
    assert_eq!(
        warned("SELECT id, CASE n WHEN NULL THEN 1 END AS x FROM m"),
        [is(54, "write CASE WHEN x IS NULL THEN ...")]
    );
    // What compares with a value, or can be true of NULL, is not warned of.
    assert!(
        warned("SELECT id, nullif(n, 3) AS x FROM m WHERE n IS NULL OR n IS DISTINCT FROM NULL").is_empty()
    );
    assert!(warned("SELECT id FROM m WHERE id = 'NULL' AND (n, id) = (1, 'x')").is_empty());
}

#[test]
fn a_comparison_with_null_in_a_relation_is_warned_of() {
    let relation = |items: &str| {
        format!(
            "CREATE SOURCE x (a INT, {items}) WITH (connector = 'file', path = 'x') FORMAT PLAIN ENCODE JSON;"
        )
    };
    for items in ["CHECK (a = NULL)", "b BOOLEAN AS (a = NULL)"] {
        let text = relation(items);
        let warnings = compiled(&text).unwrap().warnings;
        let place = text.find("NULL").unwrap() as u64 + 1;
        assert_eq!((warnings.len(), warnings[0].column), (1, place), "{text}");
        assert_eq!(warnings[0].hint.as_deref(), Some("write IS NULL"));
    }
    assert!(compiled(&relation("CHECK (a IS NOT NULL)")).unwrap().warnings.is_empty());
}

#[test]
fn a_suggested_key_is_pasted_as_it_is() {
    let table = "CREATE TABLE u (\"userId\" INT, \"order\" INT, PRIMARY KEY (\"userId\", \"order\")) WITH (connector = 'file', path = 'u') FORMAT PLAIN ENCODE JSON;\n";
    let sink = |option: &str| {
        format!(
            "{table}CREATE SINK k FROM u WITH (connector = 'blackhole'{option}) FORMAT UPSERT ENCODE JSON;"
        )
    };
    let told = shown(&compiled(&sink("")).unwrap_err());
    let (_, option) = told.split_once("\n  write ").unwrap();
    if let Err(errors) = compiled(&sink(&format!(", {option}"))) {
        panic!("{told}\n{}", shown(&errors));
    }
}

#[test]
fn a_suggested_watermark_over_a_number_is_pasted_as_it_is() {
    let table = |items: &str| {
        format!(
            "CREATE TABLE x (a INT, ts BIGINT, PRIMARY KEY (a){items}) WITH (connector = 'file', path = 'x', retention = '9 days') FORMAT PLAIN ENCODE JSON;"
        )
    };
    let told = shown(&compiled(&table("")).unwrap_err());
    let (_, items) = told.split_once("\n  add ").unwrap();
    if let Err(errors) = compiled(&table(&format!(", {items}"))) {
        panic!("{told}\n{}", shown(&errors));
    }
}

#[test]
fn the_end_of_a_source_empties_conditions_on_now_alone() {
    let source = |name: &str| {
        format!(
            "CREATE SOURCE {name} (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at) WITH (connector = 'file', path = '{name}') FORMAT PLAIN ENCODE JSON;\n"
        )
    };
    let views = "CREATE VIEW recent AS SELECT id FROM e WHERE at > now() - INTERVAL '1 hour';
CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM recent;
CREATE MATERIALIZED VIEW until_now AS SELECT id FROM e WHERE at <= now();
CREATE MATERIALIZED VIEW both AS SELECT e.id FROM e JOIN f ON e.id = f.id WHERE e.at > now() - INTERVAL '1 hour';";
    let plan = compiled(&[source("e"), source("f"), views.to_owned()].concat()).unwrap();
    assert!(plan.emptied_by_end(&BTreeSet::new()).is_empty());
    assert_eq!(plan.emptied_by_end(&BTreeSet::from([0])), ["recent"]);
    assert_eq!(plan.emptied_by_end(&BTreeSet::from([0, 1])), ["recent", "both"]);
}

/// Operators in order, with a star where their state is durable.
fn operators(plan: &Plan) -> String {
    let name = |op: &Op| format!("{op:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
    plan.rels.iter().map(|r| name(&r.op) + if r.durable { "*" } else { "" }).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_state_after_an_append_only_source_is_durable() {
    let twice = "CREATE VIEW a AS SELECT id, n, count(*) AS c FROM {} GROUP BY id, n; CREATE MATERIALIZED VIEW v AS SELECT c, count(*) AS k FROM a GROUP BY c;";
    let of = |table: &str| {
        operators(&plan(&twice.replace("{}", table))).replace("Source ", "").replace("Project ", "")
    };
    assert_eq!(of("s"), "Aggregate* Aggregate");
    assert_eq!(of("m"), "Aggregate Aggregate");
}

#[test]
fn all_state_above_state_that_expires_is_durable() {
    let text = "CREATE TABLE r (id VARCHAR, at TIMESTAMPTZ, PRIMARY KEY (id), WATERMARK FOR at AS at) WITH (connector = 'file', path = 'x', retention = '9 days') FORMAT PLAIN ENCODE JSON;
CREATE VIEW a AS SELECT at, count(*) AS c FROM r GROUP BY at; CREATE MATERIALIZED VIEW v AS SELECT DISTINCT c FROM a;
CREATE MATERIALIZED VIEW w AS SELECT DISTINCT name FROM d;";
    let plan = plan(text);
    assert!(operators(&plan).contains("Aggregate*"), "{}", operators(&plan));
    let last = |name: &str| &plan.rels[plan.views.iter().find(|v| v.name == name).unwrap().rel];
    assert!(last("v").durable && last("v").inputs_expire);
    assert!(!last("w").durable && !last("w").inputs_expire);
}

#[test]
fn a_history_that_is_not_the_usual_one_is_explained() {
    let line = |options: &str| {
        let plan = plan(&format!("CREATE MATERIALIZED VIEW v{options} AS SELECT id FROM s;"));
        let text = explain(&plan, None, Form::Text).unwrap();
        let found = text.lines().find(|line| line.starts_with("view v ")).map(str::to_owned).unwrap();
        found.split_once("kept for ever").unwrap().1.to_owned()
    };
    assert_eq!(line(""), "");
    assert_eq!(line(" WITH (history = '0 seconds')"), "; no changes kept");
    assert_eq!(
        line(" WITH (history = '15 minutes', history_size = '100 KiB')"),
        "; changes kept for 15 minutes, at most 100 KiB"
    );
    assert_eq!(line(" WITH (history_size = '2 GiB')"), "; changes kept for 5 minutes, at most 2048 MiB");
}

#[test]
fn what_nobody_reads_is_not_computed() {
    let text = "CREATE VIEW wide AS SELECT m.id, m.n, m.tags, p.who, p.k, d.name FROM m JOIN d ON d.id = m.id, UNNEST(m.ps) AS p;
CREATE MATERIALIZED VIEW v AS SELECT name, count(*) AS c FROM wide GROUP BY name;
CREATE VIEW unread AS SELECT count(*) AS c FROM s;";
    let plan = plan(text);
    let join = plan.rels.iter().find(|r| matches!(r.op, Op::Join { .. })).unwrap();
    let names: Vec<&str> = join.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert!(!names.contains(&"tags") && !names.contains(&"n") && names.len() <= 4, "{names:?}");
    assert!(plan.rels.iter().all(|r| r.owner != "unread"));
    assert_eq!(plan.sources.len(), 3);
}

#[test]
fn what_can_fail_stays_above_the_join() {
    let of = |query: &str| {
        let plan = plan(&format!("CREATE MATERIALIZED VIEW v AS {query};"));
        operators(&plan).replace("Source ", "").replace("Project ", "").replace(" Project", "")
    };
    let join = "SELECT m.id, m.n, d.name FROM m JOIN d ON m.id = d.id";
    // Conditions that cannot fail go below the join, all others are evaluated for matched rows only.
    assert_eq!(of(&format!("{join} WHERE m.n > 1")), "Filter Join");
    assert_eq!(of(&format!("{join} WHERE m.n % 7 > 1")), "Filter Join");
    assert_eq!(of(&format!("{join} WHERE 10 / m.n > 1")), "Join Filter");
    assert_eq!(of(&format!("{join} WHERE m.n % -1 > 1")), "Join Filter");
    assert_eq!(of(&format!("{join} AND CAST(m.id AS INT) > 1 AND m.n > 2")), "Filter Join Filter");
    assert_eq!(
        of(&join.replace("JOIN", "LEFT JOIN").replace("ON", "ON m.n > d.n AND").replace("d.n ", "1 ")),
        "Join"
    );
    assert_eq!(
        of(&format!("{} WHERE CAST(d.name AS INT) > 1", join.replace("JOIN", "LEFT JOIN"))),
        "Join Filter"
    );
    // Nor does a condition take an expression of a projection, grouping or array below the join.
    let failing = "SELECT m.id, m.n, CAST(m.id AS INT) AS k FROM m JOIN d ON m.id = d.id";
    assert_eq!(of(&format!("SELECT id FROM ({failing}) AS q WHERE k > 5")), "Join Filter");
    assert_eq!(of(&format!("SELECT id, k FROM ({failing}) AS q WHERE n > 5")), "Filter Join");
    assert_eq!(
        of(
            "SELECT 10 / m.n AS k, count(*) AS c FROM m JOIN d ON m.id = d.id GROUP BY 10 / m.n HAVING 10 / m.n > 5"
        ),
        "Join Aggregate Filter"
    );
    assert_eq!(of("SELECT id, t FROM m, UNNEST(m.tags) AS t WHERE 10 / n > 1"), "Unnest Filter");
    // An equality between two relations is the key of the join.
    assert_eq!(of("SELECT m.id FROM m, d WHERE m.n = CAST(d.name AS INT) AND 1 / m.n = 1"), "Join Filter");
}

#[test]
fn fingerprints_follow_the_plan_and_not_the_broker() {
    let text = |server: &str, topic: &str, least: i32| {
        format!(
            "CREATE SOURCE s (id VARCHAR, n INT) WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{server}') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW v AS SELECT id, sum(n) AS n FROM s WHERE n > {least} GROUP BY id;
CREATE SINK k FROM v WITH (connector = 'kafka', topic = 'o', properties.bootstrap.server = '{server}', primary_key = 'id') FORMAT UPSERT ENCODE JSON;"
        )
    };
    let prints = |text: &str| {
        let plan = compiled(text).unwrap_or_else(|e| panic!("{}", shown(&e)));
        (source_fingerprint(&plan, 0), fingerprint(&plan, plan.views[0].rel), sink_fingerprint(&plan, 0))
    };
    let first = prints(&text("a:9092", "t", 1));
    assert_eq!(first, prints(&text("b:9092", "t", 1)));
    let other = prints(&text("a:9092", "t", 2));
    assert_eq!(first.0, other.0);
    assert_ne!(first.1, other.1);
    assert_ne!(first.2, other.2);
    assert_ne!(first.0, prints(&text("a:9092", "u", 1)).0);
}

#[test]
fn every_form_of_explain_names_every_relation() {
    let plan = plan(
        "CREATE MATERIALIZED VIEW v AS SELECT n, count(*) AS c FROM s GROUP BY n; CREATE INDEX i ON v (c, n);",
    );
    let json: serde_json::Value = serde_json::from_str(&explain(&plan, None, Form::Json).unwrap()).unwrap();
    assert_eq!(json["relations"].as_array().unwrap().len(), plan.rels.len());
    assert_eq!(json["views"][0]["key"][0], "n");
    let dot = explain(&plan, Some("v"), Form::Dot).unwrap();
    assert!(dot.starts_with("digraph") && dot.contains("Aggregate") && !dot.contains("[m]"));
    assert_eq!(json["views"][0]["indexes"], serde_json::json!([{"name": "i", "columns": ["c", "n"]}]));
    let index = "  v0i0 [label = \"i\\n(c, n)\", shape = note];\n  v0 -> v0i0 [style = dashed];\n";
    assert!(dot.contains(index), "{dot}");
    assert_eq!(explain(&plan, Some("nothing"), Form::Text), None);
}

#[test]
fn mistakes_are_told_with_place_and_remedy() {
    let frozen = fs::read_to_string(root().join("tests/explain/refusals.txt")).unwrap_or_default();
    let mut out = String::new();
    let cases = fs::read_to_string(root().join("tests/explain/refusals.in")).unwrap();
    for case in cases.split("\n---\n").map(str::trim).filter(|c| !c.is_empty()) {
        let errors = with_prelude(case).map(|_| String::from("accepted")).unwrap_or_else(|e| shown(&e));
        out.push_str(&format!("{case}\n{errors}\n\n"));
    }
    if std::env::var_os("HERALD_UPDATE").is_some() {
        fs::write(root().join("tests/explain/refusals.txt"), &out).unwrap();
    } else {
        assert_eq!(out, frozen);
    }
    assert!(!out.contains("\naccepted\n"));
}

/// Mistakes of a topology that has a statement which does not parse: the others are told, and none that follows.
#[test]
fn a_statement_that_does_not_parse_hides_no_other_mistake() {
    let wrong = "CREATE VIEW w AS SELECT kils FROM s;";
    for broken in [
        "CREATE VIEW b AS SELEC id FROM s;",
        "CREATE MATERIALIZD VIEW b AS SELECT id FROM s;",
        "CREAT VIEW b AS SELECT id FROM s;",
        "CREATE OR REPLACE VIEW IF NOT EXISTS public.b AS SELECT id FROM s;",
        "CREATE SOURCE b (id VARCHR) WITH (connector = 'file', path = 'b') FORMAT PLAIN ENCODE JSON;",
        "CREATE SOURCE b (id INT) WITH (connector = 'kafka', topic = '${T}') FORMAT PLAIN ENCODE JSON;",
        // Two statements without `;` between them.
        "CREATE VIEW a AS SELECT id FROM s CREATE VIEW b AS SELECT id FROM s;",
    ] {
        // The relation that is missing may be read in any place.
        let reads = "CREATE VIEW r AS SELECT nothing FROM b;\n\
                     CREATE VIEW p AS SELECT 1 AS one FROM public.b;\n\
                     CREATE VIEW c AS WITH b AS (SELECT id FROM b) SELECT b.id FROM b JOIN r ON b.id = r.id;\n\
                     CREATE SINK k FROM b WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;";
        let told = with_prelude(&format!("{broken}\n{reads}\n{wrong}")).unwrap_err();
        let lines: Vec<u64> = told.iter().map(|mistake| mistake.line).collect();
        assert!(
            lines.len() >= 2 && lines[..lines.len() - 1].iter().all(|line| *line == 4),
            "{}",
            shown(&told)
        );
        assert_eq!(
            told.last().map(|mistake| (mistake.line, &*mistake.message)),
            Some((9, "there is no column kils"))
        );
    }
}

#[test]
fn a_name_that_no_broken_statement_has_is_unknown() {
    let told = with_prelude("CREATE VIEW b AS SELEC id;\nCREATE VIEW v AS SELECT id FROM c;").unwrap_err();
    assert_eq!(told.len(), 2, "{}", shown(&told));
    assert_eq!(told[1].message, "there is no source, table or view called c");
    // Where statements may be hidden in a quote, any name may be one of theirs, but not that of a common table.
    let hidden = "CREATE VIEW b AS SELECT 'x FROM s;\nCREATE VIEW c AS SELECT 1;' FROM s WHERE;\n\
                  CREATE VIEW v AS SELECT id FROM c;\n\
                  CREATE VIEW w AS WITH x AS (SELECT id FROM s) SELECT ix FROM x;\nCREATE VIEW u AS SELECT 'y";
    let told = with_prelude(hidden).unwrap_err();
    let lines: Vec<u64> = told.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [5, 7, 8], "{}", shown(&told));
}

/// A variable that is not set is told once, and nothing else of the statements that need it.
#[test]
fn a_value_that_needs_an_unset_variable_is_not_judged() {
    let source = |name: &str, ahead: &str| {
        format!(
            "CREATE SOURCE {name} (a INT, t TIMESTAMP, WATERMARK FOR t AS t) WITH (connector = 'kafka', topic = 'x', \
             watermark.max_ahead = '{ahead}') FORMAT PLAIN ENCODE JSON;\n"
        )
    };
    let text = [source("a", "${T}"), source("b", "${T}"), source("c", "soon")].concat();
    let told = compiled(&text).unwrap_err();
    let lines: Vec<u64> = told.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 3], "{}", shown(&told));
}

/// A statement with a mistake may be the one that names the cluster of dead letters.
#[test]
fn dead_letters_may_go_to_the_cluster_of_a_broken_sink() {
    let text = "CREATE SOURCE x (a INT) WITH (connector = 'file', path = 'x', dead_letter.topic = 'd') FORMAT PLAIN \
                ENCODE JSON;\nCREATE SINK o FROM x WITH (connector = 'kafka', topic = 'o') FORMAT PLAN ENCODE JSON;";
    let told = compiled(text).unwrap_err();
    assert_eq!(told.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [2], "{}", shown(&told));
    assert_eq!(
        compiled(&text.replace("PLAN", "PLAIN").replace("'kafka'", "'blackhole'")).unwrap_err()[0].line,
        1
    );
}

#[test]
fn a_constant_of_a_wrong_type_is_refused_at_its_place() {
    for (query, constant) in [
        ("SELECT id FROM m WHERE id = 'x' AND n = 'abc'", "'abc'"),
        ("SELECT id FROM m WHERE n IN (1, 'two')", "'two'"),
        ("SELECT id FROM m WHERE at > 'never'", "'never'"),
        ("SELECT CASE n WHEN 'a' THEN 1 END AS c FROM m", "'a'"),
    ] {
        let text = format!("CREATE MATERIALIZED VIEW v AS {query};");
        let errors = with_prelude(&text).unwrap_err();
        let column = text.find(constant).unwrap() as u64 + 1;
        assert_eq!((errors[0].line, errors[0].column), (4, column), "{}", shown(&errors));
    }
}

/// Tests that a question over views cannot use now(), which is the watermark in a view.
#[test]
fn a_question_cannot_ask_for_now() {
    use arrow::datatypes::{Field, Schema};

    let schema = Schema::new(vec![Field::new("at", schemas::timestamptz(), true)]);
    let tables = [("v".to_owned(), std::sync::Arc::new(schema))].into();
    let told =
        super::question::plan("SELECT at FROM v WHERE at > now()", &tables, &|_| None, Finality::Never)
            .unwrap_err();
    assert!(shown(&told).contains("now() is refused"), "{}", shown(&told));
    assert!(shown(&told).contains("write the time"), "{}", shown(&told));
}

/// Tests that a view's windows are final by their ends, whichever of its columns tells of them.
#[test]
fn windows_are_final_by_their_ends() {
    const SOURCES: &str = "
        CREATE SOURCE e (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '5 minutes') WITH (connector = 'kafka', topic = 'e') FORMAT PLAIN ENCODE JSON;
        CREATE SOURCE w (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = 'w') FORMAT PLAIN ENCODE JSON;
        CREATE TABLE kept (id INT, at TIMESTAMPTZ, PRIMARY KEY (id), WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = 'k', retention = '1 day') FORMAT PLAIN ENCODE JSON;
        CREATE TABLE ever (id INT, at TIMESTAMPTZ, PRIMARY KEY (id), WATERMARK FOR at AS at) WITH (connector = 'kafka', topic = 'v') FORMAT PLAIN ENCODE JSON;";
    const HOUR: i64 = 3_600_000_000;
    let marks = |query: &str| {
        let plan = compiled(&format!("{SOURCES} CREATE MATERIALIZED VIEW v AS {query};"));
        plan.unwrap_or_else(|errors| panic!("{query}: {}", shown(&errors))).views[0].final_marks.clone()
    };
    for (query, expected) in [
        ("SELECT id, at FROM e", Some(vec![(0, 0)])),
        (
            "SELECT window_end, count(*) AS n FROM TUMBLE(e, at, INTERVAL '1 hour') GROUP BY window_end",
            Some(vec![(0, 0)]),
        ),
        (
            "SELECT window_start, count(*) AS n FROM TUMBLE(e, at, INTERVAL '1 hour') GROUP BY window_start",
            Some(vec![(0, 0)]),
        ),
        (
            "SELECT window_start + INTERVAL '1 hour' AS ended, count(*) AS n FROM TUMBLE(e, at, INTERVAL '1 hour') GROUP BY 1",
            Some(vec![(0, 0)]),
        ),
        (
            "SELECT window_start, window_end, count(*) AS n FROM HOP(e, at, INTERVAL '5 minutes', INTERVAL '1 hour') GROUP BY window_start, window_end",
            Some(vec![(0, 0)]),
        ),
        ("SELECT date_trunc('month', at) AS m, count(*) AS n FROM e GROUP BY 1", Some(vec![(0, 0)])),
        ("SELECT date_trunc('hour', at AT TIME ZONE 'UTC') AS h, count(*) AS n FROM e GROUP BY 1", None),
        (
            "SELECT date_bin(INTERVAL '15 minutes', at) AS q, count(*) AS n FROM e GROUP BY 1",
            Some(vec![(0, 0)]),
        ),
        ("SELECT at - INTERVAL '1 hour' AS earlier FROM e", Some(vec![(0, HOUR)])),
        (
            "SELECT window_end, count(*) AS n FROM TUMBLE(kept, at, INTERVAL '1 hour') GROUP BY window_end",
            Some(vec![(2, 24 * HOUR)]),
        ),
        (
            "SELECT window_end, count(*) AS n FROM TUMBLE(ever, at, INTERVAL '1 hour') GROUP BY window_end",
            None,
        ),
        ("SELECT id, count(*) AS n FROM e GROUP BY id", None),
        (
            "SELECT window_end, count(*) AS n FROM TUMBLE(e, at, INTERVAL '1 hour') GROUP BY window_end EMIT ON WINDOW CLOSE",
            Some(vec![(0, 0)]),
        ),
        ("SELECT id, at FROM e UNION ALL SELECT id, at FROM w", Some(vec![(0, 0), (1, 0)])),
        // A row of w that comes may match a row of e that is up to an hour older.
        (
            "SELECT e.id, e.at FROM e JOIN w ON e.id = w.id AND w.at BETWEEN e.at AND e.at + INTERVAL '1 hour'",
            Some(vec![(0, 0), (1, HOUR)]),
        ),
    ] {
        assert_eq!(marks(query), expected, "{query}");
    }
}

/// Tests the calls of `is_final` in a question, and their refusals.
#[test]
fn a_question_may_ask_for_final_windows() {
    use arrow::datatypes::{DataType, Field, Schema};

    let fields = [
        ("t", schemas::timestamp()),
        ("at", schemas::timestamptz()),
        ("day", DataType::Date32),
        ("n", DataType::Int64),
    ];
    let schema: Schema = Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec());
    let tables = std::collections::BTreeMap::from([("v".to_owned(), std::sync::Arc::new(schema))]);
    let planned = |text: &str, finality| super::question::plan(text, &tables, &|_| None, finality);
    // Without a table's rows a plan ends where it scans; all before that is planned.
    for call in ["is_final(t)", "is_final(at)", "is_final(day)", "is_final('2026-01-01')", "is_final(NULL)"] {
        let told = planned(&format!("SELECT {call} AS f FROM v"), Finality::Until(0)).unwrap_err();
        assert!(shown(&told).contains("there is no view v"), "{call}: {}", shown(&told));
    }
    for (call, told) in [
        ("is_final(n)", "is_final takes (TIMESTAMP) or (TIMESTAMPTZ), not (BIGINT)"),
        ("is_final(t, at)", "is_final takes (TIMESTAMP) or (TIMESTAMPTZ), not (TIMESTAMP, TIMESTAMPTZ)"),
        ("is_final()", "is_final"),
    ] {
        let found = planned(&format!("SELECT {call} AS f FROM v"), Finality::Never).unwrap_err();
        assert!(shown(&found).contains(told), "{call}: {}", shown(&found));
    }
    let found = planned("SELECT n, is_final('2026-01-01') AS f FROM v", Finality::NoView).unwrap_err();
    assert_eq!((found[0].line, found[0].column), (1, 11), "{}", shown(&found));
    assert!(shown(&found).contains("the query names no view"), "{}", shown(&found));
    let found =
        with_prelude("CREATE MATERIALIZED VIEW v AS SELECT id FROM m WHERE is_final(at);").unwrap_err();
    assert!(shown(&found).contains("is_final() is for queries"), "{}", shown(&found));
    let constraint = "CREATE SOURCE x (a TIMESTAMP, CONSTRAINT c CHECK (is_final(a))) WITH (connector = 'kafka', topic = 'x') FORMAT PLAIN ENCODE JSON;";
    let found = with_prelude(constraint).unwrap_err();
    assert!(shown(&found).contains("is_final() is for queries"), "{}", shown(&found));
}

/// Tests that a parameter has the type of the expressions beside it, and takes its value as SQL.
#[test]
fn a_parameter_has_the_type_of_its_neighbours() {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::question::{Question, parameter_types, plan_bound};

    let columns = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", schemas::timestamptz(), true),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ];
    let tables = [("v".to_owned(), std::sync::Arc::new(Schema::new(columns)))].into();
    for (text, types) in [
        ("SELECT name FROM v WHERE id = $1 AND at >= $2", &["1 BIGINT", "2 TIMESTAMPTZ"][..]),
        ("SELECT $1 < price FROM v WHERE name LIKE $2", &["1 DECIMAL(10, 2)", "2 VARCHAR"]),
        ("SELECT id FROM v WHERE id IN ($2, $1) OR at BETWEEN $3 AND now_at", &[]),
        (
            "SELECT id FROM v WHERE id IN ($2, $1) OR at BETWEEN $3 AND $4",
            &["1 BIGINT", "2 BIGINT", "3 TIMESTAMPTZ", "4 TIMESTAMPTZ"],
        ),
        ("SELECT id FROM v WHERE id = ANY($1) LIMIT $2 OFFSET $3", &["1 BIGINT[]", "2 BIGINT", "3 BIGINT"]),
        ("SELECT coalesce(name, $1), $2::int, $3 FROM v", &["1 VARCHAR", "2 INT"]),
        (
            "SELECT id FROM (SELECT * FROM v WHERE name = $1) AS t WHERE id > (SELECT max(id) FROM v WHERE id < $2)",
            &["1 VARCHAR", "2 BIGINT"],
        ),
    ] {
        let question = Question { text, values: &[] };
        let found = parameter_types(question, &tables).unwrap_or_default();
        let found: Vec<String> =
            found.iter().map(|(n, field)| format!("{n} {}", schemas::sql_type(field))).collect();
        assert_eq!(found, types, "{text}");
    }
    let values = [Some("CAST('x' AS BIGINT)".to_owned())];
    let question = Question { text: "SELECT name\nFROM v WHERE id = $1", values: &values };
    let told = plan_bound(question, &tables, &|_| None, Finality::NoView).unwrap_err();
    assert_eq!((told[0].line, told[0].column), (2, 19), "{}", shown(&told));
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
