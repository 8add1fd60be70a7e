//! Good statements as text; what is refused, and texts that nobody meant.

mod refused;

use super::ast::*;
use super::parse;
use crate::sql::SqlFile;
use schemas::types::relation::sql_type;

fn read(text: &str) -> Result<Vec<Statement>, Vec<String>> {
    let files = [SqlFile { name: "t.sql".into(), text: text.into() }];
    let env = |name: &str| (name == "KAFKA").then(|| "broker:9092".to_owned());
    let read_file = |_: &str| Err(std::io::Error::other("no files here"));
    parse(&files, &env, &read_file).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// A statement as one line a clause.
fn show(statement: &Statement) -> String {
    let options = |items: &[OptionItem]| -> String {
        items.iter().map(|o| format!(" {}={}", o.name, o.value)).collect()
    };
    let names = |names: &[Name]| names.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join(",");
    let mut out = Vec::new();
    match statement {
        Statement::Relation(r) => {
            out.push(format!("{} {}", if r.table { "TABLE" } else { "SOURCE" }, r.name.text));
            out.extend(r.star.map(|p| format!("* {}:{}", p.line, p.column)));
            for c in &r.columns {
                assert_eq!(c.data_type.is_nullable(), !c.not_null);
                assert_eq!(*c.data_type.name(), c.name.text);
                let generated = c.generated.as_ref().map_or(String::new(), |g| format!(" AS {g}"));
                let null = if c.not_null { " NOT NULL" } else { "" };
                out.push(format!("{} {}{null}{generated}", c.name.text, sql_type(&c.data_type)));
            }
            out.push(format!("key {}", names(&r.primary_key)));
            out.extend(r.checks.iter().map(|c| format!("check {} [{}] {}", c.name, c.text, c.expr)));
            out.extend(r.watermark.as_ref().map(|w| format!("watermark {} {}", w.column.text, w.delay_us)));
            out.extend(r.conflict.as_ref().map(|(c, _)| match c {
                ConflictDef::DoNothing => "do nothing".to_owned(),
                ConflictDef::Overwrite { version } => format!("overwrite {}", names(version.as_slice())),
            }));
            out.extend(r.includes.iter().map(|i| format!("include {:?} {}", i.kind, i.name.text)));
            out.push(format!("with{}", options(&r.with)));
            out.push(format!("{:?} {:?}{}", r.format.0, r.encode.0, options(&r.encode.1)));
            out.extend(r.key_encode.as_ref().map(|k| format!("key {:?}{}", k.0, options(&k.1))));
        }
        Statement::View(v) => {
            out.push(format!("{} {}", if v.materialized { "MATERIALIZED" } else { "VIEW" }, v.name.text));
            out.push(format!("[{}]", v.text));
            out.push(v.query.to_string());
            out.extend(v.emit_on_close.map(|p| format!("emit {}:{}", p.line, p.column)));
        }
        Statement::Sink(s) => {
            let input = match &s.input {
                SinkInput::From(name) => format!("from {}", name.text),
                SinkInput::Query(query, text) => format!("as [{text}] {query}"),
            };
            out.push(format!("SINK {} {input}", s.name.text));
            out.push(format!("with{}", options(&s.with)));
            out.push(format!("{:?} {:?}{}", s.format.0, s.encode.0, options(&s.encode.1)));
            out.extend(s.key_encode.as_ref().map(|k| format!("key {:?}{}", k.0, options(&k.1))));
        }
        Statement::Declared(v) => {
            out.push(format!("{} {}", if v.materialized { "MATERIALIZED" } else { "VIEW" }, v.name.text));
            out.extend(v.columns.iter().map(|c| format!("{} {}", c.name(), sql_type(c))));
            out.push(format!("with{}", options(&v.with)));
        }
        Statement::Insert(i) => {
            let columns = i.columns.as_ref().map_or("all".to_owned(), |columns| names(columns));
            out.push(format!("INSERT {} {columns} [{}] {}", i.into.text, i.text, i.query));
        }
        Statement::Index(i) => {
            out.push(format!("INDEX {} on {} by {}", i.name.text, i.view.text, names(&i.columns)))
        }
    }
    out.join("\n")
}

fn golden(text: &str, expected: &[&str]) {
    let statements = read(text).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
    assert_eq!(statements.iter().map(show).collect::<Vec<_>>().join("\n"), expected.join("\n"));
}

#[test]
fn a_table_with_every_clause() {
    golden(
        "-- matches\nCREATE TABLE Matches (\n  match_id VARCHAR NOT NULL, \"endedAt\" TIMESTAMPTZ,\n  ended_at TIMESTAMPTZ AS (\"endedAt\") NOT NULL,\n  \
         ps STRUCT<puuid VARCHAR, kills INT, tags STRUCT<a BIGINT[][], b STRUCT<c JSONB>>>[],\n  \
         PRIMARY KEY (match_id), CONSTRAINT sane CHECK (match_id  <> '' AND (1>-1)),\n  CHECK (ended_at IS NOT NULL), CHECK (true),\n  \
         WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'\n)\n\
         ON CONFLICT OVERWRITE WITH VERSION COLUMN (\"endedAt\")\n\
         INCLUDE timestamp AS produced_at INCLUDE offset INCLUDE header 'trace'\n\
         WITH (connector = 'kafka', properties.Bootstrap.Server = '${KAFKA}', dead_letter.topic = '${DL:-dead}', Rows.Limit = 5, follow = TRUE)\n\
         FORMAT PLAIN ENCODE AVRO (schema.registry = 'http://r') KEY ENCODE TEXT;;\n",
        &[
            "TABLE matches",
            "match_id VARCHAR NOT NULL",
            "endedAt TIMESTAMPTZ",
            "ended_at TIMESTAMPTZ NOT NULL AS \"endedAt\"",
            "ps STRUCT<puuid VARCHAR, kills INT, tags STRUCT<a BIGINT[][], b STRUCT<c JSONB>>>[]",
            "key match_id",
            "check sane [match_id  <> '' AND (1>-1)] match_id <> '' AND (1 > -1)",
            "check matches_check [ended_at IS NOT NULL] ended_at IS NOT NULL",
            "check matches_check1 [true] true",
            "watermark ended_at 3600000000",
            "overwrite endedAt",
            "include Timestamp produced_at",
            "include Offset _herald_offset",
            "include Header(\"trace\") _herald_header_trace",
            "with connector=kafka properties.Bootstrap.Server=broker:9092 dead_letter.topic=dead rows.limit=5 follow=true",
            "Plain Avro schema.registry=http://r",
            "key Text",
        ],
    );
}

#[test]
fn an_index_has_a_name_a_view_and_columns() {
    golden(
        "CREATE INDEX By_Team ON \"Scores\" (team, \"where\");create index i on v(a)",
        &["INDEX by_team on Scores by team,where", "INDEX i on v by a"],
    );
}

#[test]
fn sources_may_leave_columns_out() {
    golden(
        "CREATE SOURCE live WITH (connector='file', path='a') FORMAT PLAIN ENCODE JSON;\n\
         create table t (*, primary key (id), watermark for at as at) on conflict do nothing with (connector='kafka') format plain encode avro",
        &[
            "SOURCE live",
            "* 1:1",
            "key ",
            "with connector=file path=a",
            "Plain Json",
            "TABLE t",
            "* 2:17",
            "key id",
            "watermark at 0",
            "do nothing",
            "with connector=kafka",
            "Plain Avro",
        ],
    );
}

#[test]
fn every_type() {
    golden(
        "CREATE SOURCE s (a TEXT, b character varying, c SMALLINT, d INTEGER, e INT8, f REAL, g DOUBLE PRECISION, h FLOAT, i NUMERIC(10,2), \
         j DECIMAL(5), k BOOL, l DATE, m TIME, n TIMESTAMP, o TIMESTAMP(3) WITH TIME ZONE, p TIMESTAMP WITHOUT TIME ZONE, q BYTEA, r JSONB[], \
         timestamp BIGINT, key VARCHAR, watermark INT) WITH (connector='datagen') FORMAT PLAIN ENCODE JSON",
        &[
            "SOURCE s",
            "a VARCHAR",
            "b VARCHAR",
            "c SMALLINT",
            "d INT",
            "e BIGINT",
            "f REAL",
            "g DOUBLE",
            "h DOUBLE",
            "i DECIMAL(10, 2)",
            "j DECIMAL(5, 0)",
            "k BOOLEAN",
            "l DATE",
            "m TIME",
            "n TIMESTAMP",
            "o TIMESTAMPTZ",
            "p TIMESTAMP",
            "q BYTEA",
            "r JSONB[]",
            "timestamp BIGINT",
            "key VARCHAR",
            "watermark INT",
            "key ",
            "with connector=datagen",
            "Plain Json",
        ],
    );
}

#[test]
fn a_created_type_is_what_stands_for_it() {
    let with = "WITH (connector = 'file', path = 'x') FORMAT PLAIN ENCODE JSON";
    let named = format!(
        "CREATE TYPE score AS (kills INT, deaths INT);
         CREATE TYPE Team AS (id INT, players STRUCT<name VARCHAR, of_match score>[]);
         CREATE TYPE names AS VARCHAR[];
         CREATE SOURCE games (teams team[], best score, names names) {with};"
    );
    let spelled = format!(
        "CREATE SOURCE games (
           teams STRUCT<id INT, players STRUCT<name VARCHAR, of_match STRUCT<kills INT, deaths INT>>[]>[],
           best STRUCT<kills INT, deaths INT>, names VARCHAR[]) {with};"
    );
    let shown = |text: &str| read(text).unwrap().iter().map(show).collect::<Vec<_>>();
    assert_eq!(shown(&named), shown(&spelled));
}

#[test]
fn created_types_are_refused_with_their_place() {
    let wide: String = (0..40).map(|n| format!("CREATE TYPE t{} AS (a t{n}, b t{n});", n + 1)).collect();
    let deep: String = (0..40).map(|n| format!("CREATE TYPE t{} AS (a t{n});", n + 1)).collect();
    let cases = [
        ("CREATE TYPE bigint AS (a INT)", "t.sql:1:13: BIGINT is a type already"),
        ("CREATE TYPE a AS (x INT); CREATE TYPE A AS INT", "t.sql:1:39: the type a is created twice"),
        ("CREATE TYPE a AS (x a)", "t.sql:1:21: unknown type A"),
        ("CREATE TYPE a (x INT)", "t.sql:1:15: expected AS"),
        ("CREATE TYPE a AS (x INT, X INT)", "t.sql:1:26: field x is declared twice"),
        ("CREATE TYPE a AS (x INT", "t.sql:1:24: expected"),
        ("CREATE TYPE a AS (x INT) NOT NULL", "t.sql:1:26: expected the end of the statement"),
        (&format!("CREATE TYPE t0 AS (a INT);{wide}"), "the type t11 has too many parts"),
        (&format!("CREATE TYPE t0 AS (a INT);{deep}"), "types nested too deeply"),
    ];
    for (text, expected) in cases {
        let mistakes = read(text).unwrap_err();
        assert!(mistakes[0].contains(expected), "{text}: {mistakes:?}");
    }
}

#[test]
fn views_and_sinks() {
    let tumble = "(SELECT *, herald_tumble_start(at, 3600000000) AS window_start, herald_tumble_end(at, 3600000000) AS window_end FROM t WHERE at IS NOT NULL)";
    for form in [
        "TUMBLE(t, at, INTERVAL '1 hour')",
        "TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' HOUR)",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1 h'))",
    ] {
        golden(
            &format!(
                "CREATE MATERIALIZED VIEW v AS\n SELECT a,  count(*) FROM {form}\nGROUP BY a EMIT ON WINDOW CLOSE;"
            ),
            &[
                "MATERIALIZED v",
                &format!("[SELECT a,  count(*) FROM {form}\nGROUP BY a]"),
                &format!("SELECT a, count(*) FROM {tumble} AS t GROUP BY a"),
                "emit 3:12",
            ],
        );
    }
    golden(
        "CREATE VIEW p AS SELECT m.id, p.*, j -> 'a' ->> 'b' FROM m, UNNEST(m.ps) AS p;\n\
         CREATE SINK o FROM v WITH (connector='blackhole') FORMAT UPSERT ENCODE JSON KEY ENCODE AVRO (a.b='c');\n\
         CREATE SINK q AS WITH c AS (SELECT a FROM v) SELECT a FROM c WITH (connector='file') FORMAT DEBEZIUM ENCODE JSON;",
        &[
            "VIEW p",
            "[SELECT m.id, p.*, j -> 'a' ->> 'b' FROM m, UNNEST(m.ps) AS p]",
            "SELECT m.id, p.*, j -> 'a' ->> 'b' FROM m, UNNEST(m.ps) AS p",
            "SINK o from v",
            "with connector=blackhole",
            "Upsert Json",
            "key Avro a.b=c",
            "SINK q as [WITH c AS (SELECT a FROM v) SELECT a FROM c] WITH c AS (SELECT a FROM v) SELECT a FROM c",
            "with connector=file",
            "Debezium Json",
        ],
    );
    assert_eq!(read(" -- nothing\n;").unwrap().len(), 0);
}

#[test]
fn views_are_declared_and_filled() {
    golden(
        "CREATE VIEW v (a INT, \"B\" STRUCT<x INT, y VARCHAR>[], unique BOOLEAN);\n\
         CREATE MATERIALIZED VIEW w (a JSONB) WITH (history = '1 day');\n\
         INSERT INTO v (a, \"B\") SELECT 1, b FROM t;\n\
         insert into w (SELECT 1);\n\
         INSERT INTO w WITH c AS (SELECT 1) SELECT * FROM c;\n\
         INSERT INTO w VALUES (1), (2)",
        &[
            "VIEW v",
            "a INT",
            "B STRUCT<x INT, y VARCHAR>[]",
            "unique BOOLEAN",
            "with",
            "MATERIALIZED w",
            "a JSONB",
            "with history=1 day",
            "INSERT v a,B [SELECT 1, b FROM t] SELECT 1, b FROM t",
            "INSERT w all [(SELECT 1)] (SELECT 1)",
            "INSERT w all [WITH c AS (SELECT 1) SELECT * FROM c] WITH c AS (SELECT 1) SELECT * FROM c",
            "INSERT w all [VALUES (1), (2)] VALUES (1), (2)",
        ],
    );
}

/// ENCODE ends the query of a sink as FORMAT and WITH do; in a SELECT list the word is a column.
#[test]
fn the_clauses_of_a_sink_come_in_any_order() {
    golden(
        "CREATE SINK o AS SELECT encode json FROM t ENCODE JSON (a='b') FORMAT PLAIN WITH (connector='file')",
        &[
            "SINK o as [SELECT encode json FROM t] SELECT encode AS json FROM t",
            "with connector=file",
            "Plain Json a=b",
        ],
    );
}

#[test]
fn what_is_to_be_written_instead_of_a_type_is_one() {
    let source =
        |of: &str| format!("CREATE SOURCE s (a {of}) WITH (connector='file') FORMAT PLAIN ENCODE JSON");
    for theirs in
        ["MONEY", "SERIAL", "INET", "CIDR", "POINT", "POLYGON", "CIRCLE", "BOX", "XML", "TSVECTOR", "HSTORE"]
    {
        let told = read(&source(theirs)).unwrap_err();
        let (_, ours) = told[0].split_once("\n  write ").unwrap();
        assert!(read(&source(ours)).is_ok(), "{theirs}: {ours}");
    }
}

/// Every mistake of a file is reported, in the order of the text.
#[test]
fn all_mistakes_are_reported() {
    let text = "CREATE SOURCE s (a STRUCT<x INTT, y INT>[], b, a TEXT, a INT) WITH (conector='x') FORMAT PLAIN ENCODE JSON;\nSELECT 1;\nCREATE VIEW v AS SELECT a FROM;\nCREATE VIEW w AS SELECT 'x";
    let errors = read(text).unwrap_err();
    let lines: Vec<&str> = errors.iter().map(|e| e.lines().next().unwrap_or("")).collect();
    assert_eq!(
        lines,
        [
            "t.sql:1:29: unknown type INTT",
            "t.sql:1:46: column b has no type",
            "t.sql:1:56: column a is declared twice",
            "t.sql:1:69: unknown option conector",
            "t.sql:2:1: SELECT is not a statement of a topology",
            "t.sql:3:31: expected identifier, found the end of the statement",
            "t.sql:4:25: a string is not closed",
        ]
    );
}

#[test]
fn a_variable_that_is_not_set_is_reported_once() {
    let source = |name: &str, other: &str| {
        format!(
            "CREATE SOURCE {name} (a INT) WITH (connector='kafka', topic='${{T}}', b='${{{other}}}') \
             FORMAT PLAIN ENCODE JSON;\n"
        )
    };
    let told = read(&[source("a", "T"), source("b", "U")].concat()).unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("t.sql:1:") && told[0].contains("variable T is not set"), "{told:?}");
    assert!(told[1].starts_with("t.sql:2:") && told[1].contains("variable U is not set"), "{told:?}");
}

/// Cutting or garbling a topology anywhere must yield mistakes or statements, never a panic.
#[test]
fn any_text_is_answered() {
    let text = "CREATE TABLE t (a STRUCT<b INT[]>[], é TEXT AS (x), PRIMARY KEY (a), WATERMARK FOR a AS a - INTERVAL '1 h') \
                ON CONFLICT OVERWRITE INCLUDE header 'h' WITH (a.b = '${K}') FORMAT PLAIN ENCODE JSON; \
                CREATE VIEW v AS SELECT * FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1 m', INTERVAL '1 h')) EMIT ON WINDOW CLOSE";
    let chars: Vec<char> = text.chars().collect();
    for cut in 0..chars.len() {
        let _ = read(&chars[..cut].iter().collect::<String>());
        let _ = read(&chars[cut..].iter().collect::<String>());
        for put in ['(', ')', '\'', ';', '<', '"', '\n'] {
            let mut changed = chars.clone();
            changed[cut] = put;
            let _ = read(&changed.into_iter().collect::<String>());
        }
    }
    let deep = format!("CREATE SOURCE s (a {}", "STRUCT<a ".repeat(10_000));
    assert!(read(&deep).is_err());
    let deep = format!("CREATE VIEW v AS SELECT {}1", "(".repeat(10_000));
    assert!(read(&deep).is_err());
}
