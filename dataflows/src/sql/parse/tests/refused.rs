//! A table of bad statements with the exact message, place and hint of each.

use super::read;

/// Statement, then the whole message with its place and hint. TAIL stands for a complete tail.
const BAD: &[(&str, &str)] = &[
    (
        "DROP TABLE t",
        "1:1: DROP is not a statement of a topology\n  a topology is the whole of its files: edit or remove the CREATE statement",
    ),
    ("INSERT t VALUES (1)", "1:8: expected INTO, found `t`\n  write INSERT INTO view SELECT ..."),
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
        "CREATE SINK s FROM v WITH (connector='file') FORMAT PLAIN ENCODE TEXT",
        "1:66: ENCODE TEXT is for sources, and for keys\n  write ENCODE JSON or ENCODE AVRO; KEY ENCODE may be TEXT or BYTES",
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
    ("CREATE VIEW v (a b) AS SELECT 1", "1:18: unknown type B"),
    (
        "CREATE MATERIALIZED VIEW v WITH (ttl='1 day') AS SELECT 1",
        "1:34: unknown option ttl\n  a view takes the options retention, history, history_size and metrics only",
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
    (
        "CREATE VIEW v SELECT 1",
        "1:15: expected AS, found `SELECT`\n  write CREATE VIEW v AS SELECT ..., or CREATE VIEW v (column TYPE, ...) and INSERT INTO v SELECT ...",
    ),
    (
        "CREATE VIEW v (a INT NOT NULL)",
        "1:22: the view v is declared with names and types alone, without NOT NULL\n  leave it out, and write WHERE ... IS NOT NULL in the INSERTs",
    ),
    (
        "CREATE VIEW v (a INT, PRIMARY KEY (a))",
        "1:23: the view v is declared with names and types alone, without PRIMARY KEY\n  leave it out: the keys of a view are proven (`herald explain`)",
    ),
    (
        "CREATE VIEW v (a INT PRIMARY KEY)",
        "1:22: the view v is declared with names and types alone, without PRIMARY KEY\n  leave it out: the keys of a view are proven (`herald explain`)",
    ),
    (
        "CREATE VIEW v (a INT, WATERMARK FOR a AS a)",
        "1:23: the view v is declared with names and types alone, without WATERMARK FOR\n  leave it out: watermarks are those of the sources and tables below",
    ),
    (
        "CREATE VIEW v (a INT DEFAULT 0)",
        "1:22: the view v is declared with names and types alone, without DEFAULT\n  leave it out: a column that an INSERT does not name is NULL",
    ),
    (
        "CREATE VIEW v (a INT, CONSTRAINT c CHECK (a > 0))",
        "1:23: the view v is declared with names and types alone, without CONSTRAINT\n  leave it out: constraints are those of sources and tables",
    ),
    ("CREATE VIEW v (a INT, A BIGINT)", "1:23: column a is declared twice"),
    ("CREATE VIEW v (a, b INT)", "1:17: column a has no type\n  write `a VARCHAR`, or the type it has"),
    (
        "CREATE VIEW v (a INT) AS SELECT 1",
        "1:23: the view v has typed columns and a query\n  leave the types out, as the query has them; or leave the query out here, and write INSERT INTO v SELECT ...",
    ),
    (
        "CREATE MATERIALIZED VIEW v (a INT) EMIT ON WINDOW CLOSE",
        "1:36: EMIT ON WINDOW CLOSE stands behind a query, and this view is declared without one\n  write it in a view that reads v",
    ),
    (
        "CREATE VIEW v (a INT) WITH (retention = '1 day')",
        "1:29: a view that is not materialized keeps nothing to retain\n  leave the option out",
    ),
    (
        "CREATE VIEW v (a INT) FORMAT PLAIN ENCODE JSON",
        "1:23: expected the end of the statement, found `FORMAT`\n  a view is filled by INSERT INTO; rows from a connector are those of CREATE SOURCE or CREATE TABLE",
    ),
    (
        "INSERT OVERWRITE v SELECT 1",
        "1:8: INSERT OVERWRITE is not supported\n  write INSERT INTO: the view has the rows of the query at any time, and takes back those that are gone",
    ),
    ("INSERT INTO v", "1:14: expected SELECT, found the end of the statement"),
    (
        "INSERT INTO v DEFAULT VALUES",
        "1:15: DEFAULT VALUES is not supported\n  write VALUES (...), or SELECT ...",
    ),
    (
        "INSERT INTO v SELECT 1 ON CONFLICT DO NOTHING",
        "1:24: ON CONFLICT does not belong to an INSERT here\n  leave it out: rows that agree in all columns stand as often as they are selected",
    ),
    (
        "INSERT INTO v SELECT 1 RETURNING a",
        "1:24: RETURNING does not belong to an INSERT here\n  leave it out, and read the view",
    ),
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
