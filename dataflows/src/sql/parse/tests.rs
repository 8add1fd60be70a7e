//! Good statements as text, and a table of bad ones with the exact message, place and hint.

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

/// Statement, then the whole message with its place and hint. TAIL stands for a complete tail.
const BAD: &[(&str, &str)] = &[
    (
        "DROP TABLE t",
        "1:1: DROP is not a statement of a topology\n  a topology is the whole of its files: edit or remove the CREATE statement",
    ),
    (
        "INSERT INTO t VALUES (1)",
        "1:1: INSERT is not a statement of a topology\n  rows come from connectors: write CREATE SOURCE or CREATE TABLE ... WITH (connector = ...)",
    ),
    ("CREAT TABLE t", "1:1: unknown statement CREAT\n  did you mean CREATE?"),
    (
        "CREATE VIEW v AS SELECT a FROM s\nCREATE INDEX i ON v (a)",
        "2:1: expected `;` before this statement\n  end the one before it with ;",
    ),
    ("CREATE INDEX ON v (a)", "1:14: expected an index name, found `ON`"),
    ("CREATE INDEX i v (a)", "1:16: expected ON, found `v`\n  write CREATE INDEX i ON view (column, ...)"),
    (
        "CREATE INDEX i ON v",
        "1:20: expected the columns of the index, found the end of the statement\n  write CREATE INDEX i ON view (column, ...)",
    ),
    ("CREATE INDEX i ON v ()", "1:22: expected a column name, found `)`"),
    ("CREATE INDEX i ON v (a b)", "1:24: expected `,` or `)` after a column, found `b`"),
    ("CREATE INDEX i ON v (a) x", "1:25: expected the end of the statement, found `x`"),
    (
        "CREATE UNIQUE INDEX i ON v (a)",
        "1:8: UNIQUE is not supported\n  leave it out: the keys of a view are proven, not declared (`herald explain`)",
    ),
    (
        "CREATE INDEX IF NOT EXISTS i ON v (a)",
        "1:8: CREATE INDEX IF NOT EXISTS is not supported\n  leave IF NOT EXISTS out",
    ),
    ("CREATE INDEX i ON v (a ASC)", "1:24: an index has no direction\n  leave ASC out"),
    (
        "CREATE INDEX i ON v (a, b DESC)",
        "1:27: an index has no direction\n  leave DESC out: an index finds rows by values and ranges of its columns",
    ),
    (
        "CREATE INDEX i ON v USING btree (a)",
        "1:21: USING is not supported: every index is an ordered one\n  leave it out",
    ),
    (
        "CREATE INDEX i ON v (a) WHERE a > 1",
        "1:25: WHERE is not supported: an index has all rows of its view\n  write another materialized view with the condition, and index that",
    ),
    (
        "CREATE INDEX i ON v (a) INCLUDE (b)",
        "1:25: INCLUDE is not supported: an index has whole rows\n  leave it out",
    ),
    (
        "CREATE INDEX i ON v (a, lower(b))",
        "1:25: an index is over columns, not over expressions\n  make the expression a column of the view, and index that",
    ),
    ("CREATE SINC s FROM v", "1:8: CREATE SINC is not a statement of a topology\n  did you mean SINK?"),
    (
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "1:1: OR REPLACE is not supported\n  leave it out: a topology is the whole of its files",
    ),
    (
        "CREATE TABLE IF NOT EXISTS t (a INT PRIMARY KEY) TAIL",
        "1:8: CREATE TABLE IF NOT EXISTS is not supported\n  leave IF NOT EXISTS out",
    ),
    ("CREATE TABLE (a INT) TAIL", "1:14: expected a table name, found `(`"),
    (
        "CREATE TABLE s.t (a INT PRIMARY KEY) TAIL",
        "1:14: a table name has no schema: found `s.`\n  write the name alone, or quote a name that contains a dot",
    ),
    (
        "CREATE TABLE t AS SELECT 1",
        "1:16: a table has no query: its rows come from a connector\n  write CREATE MATERIALIZED VIEW t AS SELECT ...",
    ),
    (
        "CREATE TABLE t (a INT) TAIL",
        "1:14: table t has no PRIMARY KEY\n  add PRIMARY KEY (column), or write CREATE SOURCE if every record is a row of its own",
    ),
    (
        "CREATE SOURCE s (a INT PRIMARY KEY) TAIL",
        "1:18: a source is append-only and has no PRIMARY KEY\n  write CREATE TABLE for rows that replace each other by key",
    ),
    (
        "CREATE SOURCE s (a INT) ON CONFLICT OVERWRITE TAIL",
        "1:25: a source is append-only and has no ON CONFLICT\n  write CREATE TABLE for rows that replace each other by key",
    ),
    (
        "CREATE TABLE t (a INT PRIMARY KEY) ON CONFLICT IGNORE TAIL",
        "1:48: expected DO NOTHING or OVERWRITE after ON CONFLICT, found `IGNORE`\n  write ON CONFLICT DO NOTHING (the first wins) or ON CONFLICT OVERWRITE [WITH VERSION COLUMN (c)] (the last wins)",
    ),
    (
        "CREATE TABLE t (a INT PRIMARY KEY, PRIMARY KEY (a)) TAIL",
        "1:36: PRIMARY KEY is given twice\n  write PRIMARY KEY (a, b) for a key of two columns",
    ),
    (
        "CREATE SOURCE s (a INT, A TEXT) TAIL",
        "1:25: column a is declared twice\n  names fold to lower case unless quoted",
    ),
    (
        "CREATE SOURCE s (a INT) INCLUDE offset AS a TAIL",
        "1:43: column a is declared twice\n  names fold to lower case unless quoted",
    ),
    (
        "CREATE SOURCE s (a INT) INCLUDE ofset TAIL",
        "1:33: expected timestamp, key, partition, offset, header or payload after INCLUDE, found `ofset`\n  did you mean offset?",
    ),
    (
        "CREATE SOURCE s (a INT) INCLUDE header TAIL",
        "1:40: expected a header's name in single quotes, found `WITH`\n  write INCLUDE header 'name' AS column",
    ),
    ("CREATE SOURCE s (a XML) TAIL", "1:20: unknown type XML\n  write VARCHAR"),
    ("CREATE SOURCE s (a MONEY) TAIL", "1:20: unknown type MONEY\n  write DECIMAL(19, 2)"),
    ("CREATE SOURCE s (a INET) TAIL", "1:20: unknown type INET\n  write VARCHAR"),
    (
        "CREATE SOURCE s (a VARCHAR(10)) TAIL",
        "1:27: VARCHAR has no length here\n  leave the length out and write CHECK (char_length(c) <= n)",
    ),
    (
        "CREATE SOURCE s (a NUMERIC) TAIL",
        "1:27: NUMERIC needs precision and scale\n  write NUMERIC(18, 2): digits in all, and digits after the point",
    ),
    (
        "CREATE SOURCE s (a NUMERIC(40, 2)) TAIL",
        "1:28: NUMERIC(40, 2) does not exist\n  precision is 1 to 38, and scale is 0 to the precision",
    ),
    ("CREATE SOURCE s (a STRUCT<b INT) TAIL", "1:32: expected `>`, found `)`"),
    (
        "CREATE SOURCE s (a INT DEFAULT 1) TAIL",
        "1:24: a column has no DEFAULT\n  write it as `column TYPE AS (coalesce(...))`",
    ),
    (
        "CREATE SOURCE s (a INT AS b + 1) TAIL",
        "1:27: expected `(` after AS, found `b`\n  write `a TYPE AS (expression)`",
    ),
    ("CREATE SOURCE s (a INT AS (b +)) TAIL", "1:31: expected an expression, found `)`"),
    (
        "CREATE SOURCE s (a DATE, CHECK (a > 1) CHECK (a < 2)) TAIL",
        "1:40: expected `,` or `)`, found `CHECK`",
    ),
    (
        "CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS a + INTERVAL '1 hour') TAIL",
        "1:50: a watermark is a, or a less a constant INTERVAL\n  write WATERMARK FOR a AS a - INTERVAL '1 hour'",
    ),
    (
        "CREATE SOURCE s (a TIMESTAMP, WATERMARK FOR a AS a - INTERVAL '1 month') TAIL",
        "1:50: '1 month' has no fixed length: a month may be shorter or longer\n  write WATERMARK FOR a AS a - INTERVAL '1 hour'",
    ),
    (
        "CREATE SOURCE s (a INT) FORMAT PLAIN ENCODE JSON",
        "1:15: source s has no connector\n  write WITH (connector = 'kafka', topic = '...', ...)",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file')",
        "1:15: source s has no FORMAT\n  end it with FORMAT PLAIN ENCODE JSON, or as the topic's records are",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') FORMAT PLAIN",
        "1:56: FORMAT without ENCODE\n  write FORMAT ... ENCODE JSON or ENCODE AVRO (schema.registry = '...')",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') FORMAT PLAIN ENCODE CSV",
        "1:69: expected JSON or AVRO after ENCODE, found `CSV`",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') FORMAT JSON ENCODE PLAIN",
        "1:56: expected PLAIN, UPSERT or DEBEZIUM after FORMAT, found `JSON`\n  write FORMAT PLAIN ENCODE JSON, in this order",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') ENCODE UPSERT FORMAT JSON",
        "1:56: expected JSON or AVRO after ENCODE, found `UPSERT`\n  write FORMAT UPSERT ENCODE JSON, in this order",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') ENCODE JSON PLAIN",
        "1:61: expected ON CONFLICT, INCLUDE, WITH or FORMAT, found `PLAIN`\n  write FORMAT PLAIN ENCODE JSON, in this order",
    ),
    (
        "CREATE SINK s AS SELECT 1 FROM t WITH (connector='file') PLAIN JSON",
        "1:58: expected WITH, FORMAT or ENCODE, found `PLAIN`\n  write FORMAT PLAIN ENCODE JSON, in this order",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') FORMAT PLAIN ENCODE TEXT",
        "1:69: ENCODE TEXT is for keys only\n  write ENCODE JSON or ENCODE AVRO; KEY ENCODE may be TEXT or BYTES",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file') FORMAT UPSERT ENCODE JSON",
        "1:56: a source is append-only, and FORMAT UPSERT replaces and deletes rows by key\n  write CREATE TABLE with a PRIMARY KEY, or FORMAT PLAIN if every record is a row of its own",
    ),
    (
        "CREATE SOURCE t (a INT) WITH (connector='file') FORMAT DEBEZIUM ENCODE JSON",
        "1:56: a source is append-only, and FORMAT DEBEZIUM replaces and deletes rows by key\n  write CREATE TABLE with a PRIMARY KEY, or FORMAT PLAIN if every record is a row of its own",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='file', connector='kafka') FORMAT PLAIN ENCODE JSON",
        "1:49: option connector is given twice",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector=kafka) FORMAT PLAIN ENCODE JSON",
        "1:41: expected a value for option connector, found `kafka`\n  write the value in single quotes",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='${HOST}') FORMAT PLAIN ENCODE JSON",
        "1:41: option connector: variable HOST is not set\n  set HOST, or write ${HOST:-default}",
    ),
    (
        "CREATE SOURCE s (a INT) WITH (connector='kafka', p='${file:/p}') FORMAT PLAIN ENCODE JSON",
        "1:52: option p: cannot read file /p: no files here\n  ${file:PATH} is replaced by the content of the file PATH",
    ),
    (
        "CREATE SOURCE s (a INT) WTIH (connector='kafka')",
        "1:25: expected ON CONFLICT, INCLUDE, WITH or FORMAT, found `WTIH`\n  did you mean WITH?",
    ),
    ("CREATE VIEW v (a b) AS SELECT 1", "1:18: expected `)`, found `b`"),
    (
        "CREATE MATERIALIZED VIEW v WITH (ttl='1 day') AS SELECT 1",
        "1:34: unknown option ttl\n  a view takes the options retention, history and history_size only",
    ),
    (
        "CREATE VIEW v WITH (retention='1 day') AS SELECT 1",
        "1:21: a view that is not materialized keeps nothing to retain\n  leave the option out",
    ),
    (
        "CREATE VIEW v WITH (history='1 day') AS SELECT 1",
        "1:21: a view that is not materialized keeps nothing to retain\n  leave the option out",
    ),
    (
        "CREATE MATERIALIZED VIEW v WITH (histroy='1 day') AS SELECT 1",
        "1:34: unknown option histroy\n  did you mean history?",
    ),
    ("CREATE VIEW v SELECT 1", "1:15: expected AS, found `SELECT`\n  write CREATE VIEW v AS SELECT ..."),
    ("CREATE VIEW v AS SELECT a b c FROM t", "1:29: unexpected `c`"),
    (
        "CREATE VIEW v AS SELECT a FROM t WHERE",
        "1:39: expected an expression, found the end of the statement",
    ),
    (
        "CREATE VIEW v AS SELECT a FROM t EMIT ON UPDATE",
        "1:42: expected WINDOW CLOSE after EMIT ON, found `UPDATE`\n  leave EMIT out: a view emits changes",
    ),
    (
        "CREATE VIEW v AS SELECT a FROM SESSION(t PARTITION BY k)",
        "1:32: SESSION takes a table, a time and a gap, found 2 arguments\n  write SESSION(t PARTITION BY k, ts, INTERVAL '10 minutes')",
    ),
    (
        "CREATE VIEW v AS SELECT a FROM t JOIN d FOR SYSTEM_TIME AS OF t.ts ON t.a = d.a",
        "1:41: FOR SYSTEM_TIME AS OF a time is not supported\n  write FOR SYSTEM_TIME AS OF PROCTIME(), or ASOF JOIN for the row that was valid at a time",
    ),
    (
        "CREATE VIEW v AS SELECT a FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 year')",
        "1:73: TUMBLE size: '1 year' has no fixed length: a year may be shorter or longer\n  write INTERVAL '1 hour', or another length in days or less",
    ),
    (
        "CREATE SINK s WITH (connector='file') FORMAT PLAIN ENCODE JSON",
        "1:15: expected FROM or AS, found `WITH`\n  write CREATE SINK s FROM view, or CREATE SINK s AS SELECT ...",
    ),
    (
        "CREATE SINK s FROM v",
        "1:13: sink s has no connector\n  write WITH (connector = 'kafka', topic = '...', ...)",
    ),
    (
        "CREATE SINK s AS SELECT 1 FROM t EMIT ON WINDOW CLOSE TAIL",
        "1:34: EMIT belongs to a view\n  write it at the end of CREATE MATERIALIZED VIEW",
    ),
    (
        "CREATE SINK s FROM v WITH (connector='file') FORMAT UPSRET ENCODE JSON",
        "1:53: expected PLAIN, UPSERT or DEBEZIUM after FORMAT, found `UPSRET`\n  did you mean UPSERT?",
    ),
    ("CREATE VIEW v AS SELECT 1 /* open", "1:27: a comment is not closed\n  close it with */"),
];

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

#[test]
fn bad_statements_are_refused_by_name_and_place() {
    let mut wrong = Vec::new();
    for (text, expected) in BAD {
        let text = text.replace("TAIL", "WITH (connector='kafka') FORMAT PLAIN ENCODE JSON");
        let found = match read(&text) {
            Ok(_) => "accepted".to_owned(),
            Err(errors) => errors[0].trim_start_matches("t.sql:").to_owned(),
        };
        if found != *expected {
            wrong.push(format!("{text}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
