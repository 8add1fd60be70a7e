//! The statements of a topology: grammar, clauses, options, and an example of each.
//!
//! The words behind FORMAT, ENCODE and INCLUDE come from the parser. The examples are one topology, each
//! statement in the place of its entry: tests give them to `herald check`.

use crate::plan::formats::{Encoding, IncludeKind};
use crate::sql::parse::statement::options::{ENCODINGS, FORMATS};
use crate::sql::parse::statement::relation::INCLUDES;

/// A statement as the reference pages show it.
#[derive(Clone, Debug)]
pub struct StatementEntry {
    /// Its words.
    pub name: &'static str,
    /// Its purpose, in a few sentences.
    pub purpose: &'static str,
    /// Its grammar: words of SQL in capitals, `[...]` may be left out, `{a | b}` is one of these.
    pub grammar: String,
    /// Its clauses, each with its meaning.
    pub clauses: &'static [Meaning],
    /// Its own options in WITH, each with its meaning; a connector has more.
    pub options: &'static [Meaning],
    /// An example, which may read the relations of the examples before it.
    pub example: &'static str,
}

/// A clause or an option, and its meaning.
type Meaning = (&'static str, &'static str);

/// Returns every statement.
pub fn statements() -> Vec<StatementEntry> {
    vec![create_type(), source(), table(), view(), materialized_view(), insert(), index(), sink(), query()]
}

/// Puts the parser's words in place of `$FORMAT`, `$ENCODE`, `$SINK_ENCODE`, `$KEY_ENCODE` and `$INCLUDE`.
fn fill(grammar: &str) -> String {
    let formats: Vec<String> = FORMATS.iter().map(|(word, _)| word.to_uppercase()).collect();
    let (mut of_sinks, mut of_keys, mut included) = (vec![], vec![], vec![]);
    for (word, encoding) in ENCODINGS {
        if encoding != Encoding::Parquet {
            of_keys.push(word.to_uppercase());
        }
        if matches!(encoding, Encoding::Json | Encoding::Avro | Encoding::Parquet) {
            of_sinks.push(word.to_uppercase());
        }
    }
    for (word, kind) in INCLUDES {
        included.push(match kind {
            IncludeKind::Header(_) => format!("{word} 'NAME'"),
            _ => word.to_owned(),
        });
    }
    grammar
        .replace("$FORMAT", &one_of(&formats))
        .replace("$ENCODE", &one_of(&of_keys))
        .replace("$SINK_ENCODE", &one_of(&of_sinks))
        .replace("$KEY_ENCODE", &one_of(&of_keys))
        .replace("$INCLUDE", &one_of(&included))
}

/// Writes a choice between words.
fn one_of(words: &[String]) -> String {
    format!("{{{}}}", words.join(" | "))
}

const CONNECTOR: Meaning = ("connector", "What the records come from, or where they go. Required.");
const MAX_AHEAD: Meaning = (
    "watermark.max_ahead",
    "How far a row's time may be beyond the timestamp of its record, one day without it; else it is refused.",
);
const PERSONAL: Meaning = (
    "personal",
    "Paths of columns whose values tell of a person, with commas between: 'puuid, players[].name'.",
);
const DEAD_LETTERS: Meaning = ("dead_letter.topic", "The topic that rejected records are sent to.");

const DECLARED: Meaning = (
    "(column TYPE, ...)",
    "The columns of a view without a query: its rows are those of the INSERTs into it.",
);
const ERASE: Meaning =
    ("erase", "The VARCHAR key column that names a person: each record is an order to erase that one.");
const ERASE_BY: Meaning = (
    "erase.by",
    "Where the rows hold persons who may be erased: paths of columns and fields, `[]` into an array, with commas between.",
);

const GENERATED: Meaning = ("AS (expression)", "A column computed from the others of the record.");
const NOT_NULL: Meaning = ("NOT NULL", "A record without the value is refused. NULL says the opposite.");
const CHECK: Meaning =
    ("CHECK (condition)", "A record for which it is false is refused, with the constraint's name.");
const STAR: Meaning = ("*", "The columns of the Avro schema. Without a list, all of them.");
const WATERMARK: Meaning = (
    "WATERMARK FOR column AS ...",
    "The time of the rows, and by how much they may come late. Rows that come later are refused.",
);
const WHOLE: Meaning = (
    "ENCODE BYTES",
    "The value as it is, in one column of BYTEA; TEXT: of VARCHAR. With FORMAT PLAIN; a null value is NULL.",
);
const INCLUDE: Meaning =
    ("INCLUDE", "A part of the record as a column; without AS its name is `_herald_` and the word.");

fn create_type() -> StatementEntry {
    StatementEntry {
        name: "CREATE TYPE",
        purpose: "Gives a type a name, for the columns of sources and tables behind it, in this file and the following \
                  ones. It creates nothing else: a column of the type is one of what stands for it.",
        grammar: fill("CREATE TYPE name AS {(field TYPE, ...) | TYPE}"),
        clauses: &[
            ("(field TYPE, ...)", "A STRUCT of these fields."),
            ("TYPE", "Any type, an array or a STRUCT of other created types among them."),
        ],
        options: &[],
        example: "CREATE TYPE browser AS (name VARCHAR, version VARCHAR);",
    }
}

fn source() -> StatementEntry {
    StatementEntry {
        name: "CREATE SOURCE",
        purpose: "Rows that are added and never change: every record is a row of its own.",
        grammar: fill(
            "CREATE SOURCE name [(item, ...)]
  [INCLUDE $INCLUDE [AS column]] ...
  WITH (option = value, ...)
  FORMAT PLAIN
  ENCODE $ENCODE [(option = value, ...)]

item:
  *
  column TYPE [AS (expression)] [NOT NULL | NULL] [CHECK (condition)]
  [CONSTRAINT name] CHECK (condition)
  WATERMARK FOR column AS column [- INTERVAL 'length']",
        ),
        clauses: &[STAR, GENERATED, NOT_NULL, CHECK, WATERMARK, INCLUDE, WHOLE],
        options: &[CONNECTOR, MAX_AHEAD, DEAD_LETTERS, PERSONAL],
        example: "CREATE SOURCE clicks (
  visitor BIGINT NOT NULL,
  page VARCHAR,
  at TIMESTAMPTZ,
  path VARCHAR AS (split_part(page, '?', 1)),
  CONSTRAINT has_page CHECK (page <> ''),
  WATERMARK FOR at AS at - INTERVAL '1 minute'
)
INCLUDE timestamp AS sent_at
INCLUDE header 'agent' AS agent
WITH (connector = 'kafka', topic = 'clicks', properties.bootstrap.server = 'localhost:9092')
FORMAT PLAIN ENCODE JSON;",
    }
}

fn table() -> StatementEntry {
    StatementEntry {
        name: "CREATE TABLE",
        purpose: "Rows by key: a record adds, replaces or deletes the row of its key.",
        grammar: fill(
            "CREATE TABLE name [(item, ...)]
  [ON CONFLICT {DO NOTHING | {OVERWRITE | DO UPDATE FULL} [WITH VERSION COLUMN (column)]}]
  [INCLUDE $INCLUDE [AS column]] ...
  WITH (option = value, ...)
  FORMAT $FORMAT
  ENCODE $ENCODE [(option = value, ...)]
  [KEY ENCODE $KEY_ENCODE [(option = value, ...)]]

item: as of CREATE SOURCE, and
  column TYPE PRIMARY KEY
  [CONSTRAINT name] PRIMARY KEY (column, ...)",
        ),
        clauses: &[
            ("PRIMARY KEY", "The columns that identify a row. Required."),
            ("ON CONFLICT DO NOTHING", "The first row of a key stays."),
            (
                "ON CONFLICT OVERWRITE",
                "The last row of a key stays, as without it. DO UPDATE FULL is the same.",
            ),
            (
                "WITH VERSION COLUMN (column)",
                "The row with the greatest version stays, whichever came last; of equal versions the one that came last.",
            ),
            ("KEY ENCODE", "Encoding of the record's key, with FORMAT UPSERT or DEBEZIUM."),
        ],
        options: &[
            CONNECTOR,
            MAX_AHEAD,
            ("retention", "Length of time for which rows are kept, behind the watermark; else for ever."),
            ERASE,
            ERASE_BY,
            DEAD_LETTERS,
            PERSONAL,
        ],
        example: "CREATE TABLE visitors (
  visitor BIGINT,
  name VARCHAR,
  changed_at TIMESTAMPTZ,
  PRIMARY KEY (visitor)
)
ON CONFLICT OVERWRITE WITH VERSION COLUMN (changed_at)
WITH (connector = 'kafka', topic = 'visitors', properties.bootstrap.server = 'localhost:9092')
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;",
    }
}

fn view() -> StatementEntry {
    StatementEntry {
        name: "CREATE VIEW",
        purpose: "A name for a query. It keeps no rows: what reads it has a copy of it.",
        grammar: fill(
            "CREATE VIEW name [(column, ...)] AS query [EMIT ON WINDOW CLOSE]
CREATE VIEW name (column TYPE, ...)",
        ),
        clauses: &[("(column, ...)", "Other names for the query's columns."), DECLARED],
        options: &[],
        example: "CREATE VIEW visits (visitor, name, page, at) AS
SELECT c.visitor, v.name, c.page, c.at
FROM clicks AS c LEFT JOIN visitors AS v ON v.visitor = c.visitor;",
    }
}

fn materialized_view() -> StatementEntry {
    StatementEntry {
        name: "CREATE MATERIALIZED VIEW",
        purpose: "The rows of a query, kept up to date with each record, for `herald query` and for sinks.",
        grammar: fill(
            "CREATE MATERIALIZED VIEW name [(column, ...)] [WITH (option = value, ...)]
  AS query
  [EMIT ON WINDOW CLOSE]
CREATE MATERIALIZED VIEW name (column TYPE, ...) [WITH (option = value, ...)]",
        ),
        clauses: &[
            (
                "EMIT ON WINDOW CLOSE",
                "Every row comes once, when it is final; without it rows come at once and are corrected.",
            ),
            DECLARED,
        ],
        options: &[
            ("retention", "Length of time for which rows are served once they are final; else for ever."),
            (
                "history",
                "Length of time for which changes are kept for subscribers that come back; `0 seconds` for \
                 no subscribers. Else 5 minutes. It may be changed at any start.",
            ),
            ("history_size", "Most bytes of these changes, such as `256 MiB`. Else 64 MiB."),
            (
                "metrics",
                "Columns of numbers, with commas between, that `/metrics` shows as `herald_view_value`; the other columns are the labels, and must be a key. At most 1,000 series. It may be changed at any start.",
            ),
        ],
        example: "CREATE MATERIALIZED VIEW hourly WITH (retention = '90 days', history = '15 minutes') AS
SELECT window_start, window_end, page, count(*) AS clicks
FROM TUMBLE(clicks, at, INTERVAL '1 hour')
GROUP BY window_start, window_end, page
EMIT ON WINDOW CLOSE;",
    }
}

fn insert() -> StatementEntry {
    StatementEntry {
        name: "INSERT INTO",
        purpose: "A query whose rows are in a view, beside those of its other INSERTs, and are kept up to date there.",
        grammar: fill("INSERT INTO view [(column, ...)] query"),
        clauses: &[
            (
                "view",
                "A view that is declared without a query, in any file. What reads it stands behind its last INSERT.",
            ),
            (
                "(column, ...)",
                "The columns that the query fills, in its order; others are NULL. Without a list, all of them.",
            ),
            (
                "query",
                "Its columns have the types of the view, or narrower ones: INT in a BIGINT or DOUBLE, DATE in a TIMESTAMP. A constant takes the type of its column; for all else write a CAST.",
            ),
        ],
        options: &[],
        example: "CREATE MATERIALIZED VIEW seen (visitor BIGINT, name VARCHAR, page VARCHAR, at TIMESTAMPTZ);

INSERT INTO seen (visitor, page, at) SELECT visitor, page, at FROM clicks;

INSERT INTO seen SELECT visitor, name, 'profile', changed_at FROM visitors;",
    }
}

fn index() -> StatementEntry {
    StatementEntry {
        name: "CREATE INDEX",
        purpose: "A second order of a materialized view's rows, by which `herald query` finds them.",
        grammar: fill("CREATE INDEX name ON view (column, ...)"),
        clauses: &[
            (
                "view",
                "A materialized view. An index can be added and left out later: the state follows at the next start.",
            ),
            (
                "(column, ...)",
                "Columns of the view, none twice, of any type but REAL, DOUBLE, INTERVAL, JSONB, arrays and structs.",
            ),
        ],
        options: &[],
        example: "CREATE INDEX hourly_by_page ON hourly (page, window_start);",
    }
}

fn sink() -> StatementEntry {
    StatementEntry {
        name: "CREATE SINK",
        purpose: "Sends every change of a relation, or of a query of its own, exactly once.",
        grammar: fill(
            "CREATE SINK name {FROM relation | AS query}
  WITH (option = value, ...)
  FORMAT $FORMAT
  ENCODE $SINK_ENCODE [(option = value, ...)]
  [KEY ENCODE $KEY_ENCODE [(option = value, ...)]]",
        ),
        clauses: &[
            ("FORMAT PLAIN", "Rows alone, of a query that takes none back."),
            ("FORMAT UPSERT", "The row of each key that changed, and null where it is gone."),
            ("FORMAT DEBEZIUM", "The row before and after each change."),
            ("ENCODE PARQUET", "Files of the connector `parquet`, with FORMAT PLAIN or UPSERT."),
            ("KEY ENCODE", "Encoding of the record's key; else that of the value."),
        ],
        options: &[
            CONNECTOR,
            (
                "primary_key",
                "With FORMAT UPSERT or DEBEZIUM, the key: columns with commas between, proven unique.",
            ),
            ("key", "With FORMAT PLAIN, the key of the records, which need not be unique."),
            (
                "pseudonyms",
                "VARCHAR columns, with commas between, that leave as keyed hashes (docs/privacy.md).",
            ),
            (
                "pseudonym.key",
                "The key of the pseudonyms, at least 32 bytes, as `'${HERALD_PSEUDONYM_KEY}'`.",
            ),
        ],
        example: "CREATE SINK hourly_out FROM hourly
WITH (connector = 'kafka', topic = 'hourly', properties.bootstrap.server = 'localhost:9092',
      primary_key = 'window_start, window_end, page')
FORMAT UPSERT ENCODE JSON;

CREATE SINK pages_out AS SELECT page, count(*) AS clicks FROM clicks GROUP BY page
WITH (connector = 'kafka', topic = 'pages', properties.bootstrap.server = 'localhost:9092',
      primary_key = 'page')
FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;",
    }
}

fn query() -> StatementEntry {
    StatementEntry {
        name: "Queries",
        purpose: "In views and sinks, and asked of a running topology with `herald query`.",
        grammar: fill(
            "[WITH [RECURSIVE] name [(column, ...)] AS (query), ...]
SELECT [DISTINCT [ON (expression, ...)]] {expression [[AS] name] | [table.]* [EXCLUDE (column, ...)]}, ...
[FROM item [, item | join] ...]
[WHERE condition]
[GROUP BY {expression | ROLLUP (...) | CUBE (...) | GROUPING SETS (...)}, ...]
[HAVING condition]
[WINDOW name AS (...), ...]
[QUALIFY condition]
[{UNION | INTERSECT | EXCEPT} [ALL] query]
[ORDER BY expression [ASC | DESC] [NULLS {FIRST | LAST}], ...] [LIMIT n] [OFFSET n]

item:
  {name | (query) | VALUES (...), ... | UNNEST(array) [WITH ORDINALITY]} [[AS] name [(column, ...)]]
  {TUMBLE | HOP | SESSION} (...) [[AS] name]
  LATERAL (query) [AS] name

join:
  [INNER | LEFT | RIGHT | FULL] JOIN item {ON condition | USING (column, ...)}
  {CROSS JOIN | NATURAL JOIN} item
  LEFT {SEMI | ANTI} JOIN item ON condition
  [LEFT] ASOF JOIN item MATCH_CONDITION (condition) ON condition
  [LEFT] JOIN name FOR SYSTEM_TIME AS OF PROCTIME() [AS name] ON condition",
        ),
        clauses: &[
            ("ORDER BY", "In a view it stands with LIMIT, or has no effect: rows have no order."),
            ("QUALIFY", "A condition on functions OVER (...)."),
        ],
        options: &[],
        example: "CREATE MATERIALIZED VIEW last_pages AS
SELECT visitor, page, at FROM clicks
QUALIFY row_number() OVER (PARTITION BY visitor ORDER BY at DESC) <= 3;

CREATE MATERIALIZED VIEW pages_by_name AS
WITH named AS (SELECT c.page, v.name FROM clicks AS c JOIN visitors AS v USING (visitor))
SELECT name, count(DISTINCT page) AS pages FROM named GROUP BY name HAVING count(*) > 1;",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{SqlFile, compile};

    #[test]
    fn examples_are_one_topology() {
        let examples: Vec<&str> = statements().iter().map(|entry| entry.example).collect();
        let file = SqlFile { name: "examples.sql".to_owned(), text: examples.join("\n") };
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let plan = compile(&[file], &|_| None, &no_file, &|_| Ok(None)).unwrap();
        assert_eq!((plan.sources.len(), plan.views.len(), plan.sinks.len()), (2, 4, 2));
    }

    #[test]
    fn grammar_has_the_words_of_the_parser() {
        let statements = statements();
        assert!(statements.iter().all(|entry| !entry.grammar.contains('$')));
        let sink = statements.iter().find(|entry| entry.name == "CREATE SINK").unwrap();
        assert!(
            sink.grammar.contains("FORMAT {PLAIN | UPSERT | DEBEZIUM}\n  ENCODE {JSON | AVRO | PARQUET} ")
        );
        assert!(sink.grammar.contains("KEY ENCODE {JSON | AVRO | TEXT | BYTES} "));
    }
}
