//! Queries over views: what they may ask, when windows are final for them, and the types of their parameters.

use super::*;
use crate::sql::question::Finality;

/// Tests that a question over views cannot use now(), which is the watermark in a view.
#[test]
fn a_question_cannot_ask_for_now() {
    use arrow::datatypes::{Field, Schema};

    let schema = Schema::new(vec![Field::new("at", schemas::timestamptz(), true)]);
    let tables = [("v".to_owned(), std::sync::Arc::new(schema))].into();
    let told =
        crate::sql::question::plan("SELECT at FROM v WHERE at > now()", &tables, &|_| None, Finality::Never)
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
    let planned = |text: &str, finality| crate::sql::question::plan(text, &tables, &|_| None, finality);
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

    use crate::sql::question::{Question, parameter_types, plan_bound};

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
