//! Tests of the whole front end on topologies: frozen plans, proven properties, refusals with their
//! positions.
//!
//! `tests/explain/NAME.sql` compiles to the plan frozen in `NAME.txt`; with HERALD_UPDATE=1 set,
//! differing plans are written anew, to be reviewed before they are committed.

mod inserts;
#[cfg(test)]
mod judged;
mod keys;
mod questions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{SqlError, SqlFile, compile};
use crate::plan::explain::{Form, Prints, explain, fingerprint, sink_fingerprint, source_fingerprint};
use crate::plan::{Growth, Op, Plan};

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
    let twice = "CREATE VIEW a AS SELECT id, n, max(n) AS c FROM {} GROUP BY id, n; CREATE MATERIALIZED VIEW v AS SELECT c, max(n) AS k FROM a GROUP BY c;";
    let first = |name: &str, erase: &str| {
        format!(
            "CREATE TABLE {name} (id VARCHAR, n BIGINT, PRIMARY KEY (id)) ON CONFLICT DO NOTHING WITH (connector = 'file', path = 'x'{erase}) FORMAT PLAIN ENCODE JSON;"
        )
    };
    let tables = [first("first", ""), first("forgets", ", erase.by = 'id'")].concat();
    let of = |table: &str| {
        let plan = plan(&format!("{tables}{}", twice.replace("{}", table)));
        operators(&plan).replace("Source ", "").replace("Project ", "")
    };
    assert_eq!(of("s"), "Aggregate* Aggregate");
    assert_eq!(of("m"), "Aggregate Aggregate");
    // A table that keeps the first row of each key takes none back, but its rows are in the state.
    assert_eq!(of("first"), "Aggregate* Aggregate");
    assert_eq!(of("forgets"), "Aggregate Aggregate");
    // Beside rows of a source its rows may leave: the state above both stays if `erase.by` comes to the table.
    let both = |query: &str| plan(&format!("{tables}CREATE MATERIALIZED VIEW v AS {query};"));
    let growth = |query: &str| both(query).rels.last().unwrap().growth;
    assert_eq!(growth("SELECT id, n FROM s UNION ALL SELECT id, n FROM first"), Growth::Updating);
    assert_eq!(growth("SELECT a.id FROM s AS a JOIN first AS b ON a.id = b.id"), Growth::Growing);
    // Groups that are read by their keys alone are durable above anything.
    let counts = "CREATE VIEW a AS SELECT id, count(*) AS c FROM m GROUP BY id; CREATE MATERIALIZED VIEW v AS SELECT DISTINCT c FROM a;";
    assert_eq!(
        operators(&plan(counts)).replace("Source ", "").replace("Project ", ""),
        "Aggregate* Distinct*"
    );
}

#[test]
fn all_state_above_state_that_expires_is_durable() {
    let text = "CREATE TABLE r (id VARCHAR, at TIMESTAMPTZ, PRIMARY KEY (id), WATERMARK FOR at AS at) WITH (connector = 'file', path = 'x', retention = '9 days') FORMAT PLAIN ENCODE JSON;
CREATE VIEW a AS SELECT at, count(*) AS c FROM r GROUP BY at; CREATE MATERIALIZED VIEW v AS SELECT DISTINCT c FROM a;
CREATE MATERIALIZED VIEW w AS SELECT max(name) AS name FROM d;";
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
        "Join Aggregate* Filter"
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

/// States have these prints: where one changes, `VERSION` in `plan/explain/content.rs` must change with it, or states
/// would be taken for those of another text.
#[test]
fn prints_are_those_that_states_have() {
    let plan = compiled(
        "CREATE SOURCE s (id VARCHAR, n INT, at TIMESTAMPTZ, tags VARCHAR[], doc JSONB) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
         CREATE TABLE t (id VARCHAR, rate DECIMAL(8, 2), raw BYTEA, PRIMARY KEY (id)) WITH (connector = 'file', path = 't') FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW sums AS SELECT id, sum(n) AS n, count(DISTINCT at) AS c FROM s WHERE doc -> 'a' IS NOT NULL AND n IN (1, 2, 3) GROUP BY id;
         CREATE MATERIALIZED VIEW joined AS SELECT s.id, n * rate AS price FROM s JOIN t ON s.id = t.id WHERE raw <> '\\xff';
         CREATE MATERIALIZED VIEW ranked AS SELECT id, rate, row_number() OVER (PARTITION BY id ORDER BY rate) AS r FROM t;
         CREATE MATERIALIZED VIEW tagged AS SELECT DISTINCT tag, INTERVAL '1 day' AS span FROM s, UNNEST(s.tags) AS tag;",
    )
    .unwrap_or_else(|e| panic!("{}", shown(&e)));
    let prints = Prints::of(&plan);
    let mut found = Vec::new();
    for view in &plan.views {
        found.push(format!("{} {}", view.name, prints.rows(&plan, view.rel)));
    }
    for (id, rel) in plan.rels.iter().enumerate().filter(|(_, rel)| rel.op.is_stateful()) {
        found.push(format!("state of {} {}", rel.owner, prints.state(id)));
    }
    assert_eq!(
        found,
        [
            "sums 1:ddb87d7b50aad0dd",
            "joined 1:f97ef4527fbfd166",
            "ranked 1:e86223023787b9a6",
            "tagged 1:6e737fb9fdf7f78f",
            "state of sums 1:4d33da9ba5ec404c",
            "state of sums 1:25d5c4c36245c210",
            "state of sums 1:8048529413177aba",
            "state of sums 1:96098803f7017924",
            "state of joined 1:61de45a121f46b9f",
            "state of ranked 1:1fff112d793fc0d8",
            "state of tagged 1:9927b0747edfdd75",
        ]
    );
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
