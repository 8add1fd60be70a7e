//! `herald fmt`: SQL files in one layout, in which `herald init` and `herald demo --eject` write theirs.
//!
//! The layout is made of the tokens of the text, without a parser. Tokens and comments must be those of before, else
//! the file is left alone. So is a test script, which has no SQL.
//!
//! | file | content |
//! | --- | --- |
//! | `tokens` | tokens, comments and the white space between them |
//! | `clauses` | places at which a statement may be broken |
//! | `lines` | what stands on one line, and how far in |

mod clauses;
mod lines;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::Result;
use dataflows::sql::same_tokens;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

use crate::exit::mistake;
use crate::topology::read_text;

/// Deepest nesting of brackets that is laid out.
const MAX_DEPTH: usize = 200;

/// `herald fmt`. A file that fails does not keep the others from being laid out. A test script is left as it is, which
/// is told on standard error.
///
/// # Errors
/// All files that cannot be read, laid out or written, and, with `check`, those that are laid out otherwise.
pub fn command(files: &[PathBuf], check: bool) -> Result<()> {
    let (mut other, mut failed) = (Vec::new(), Vec::new());
    for path in files {
        if is_script(path) {
            let file = path.display();
            eprintln!("left as it is: {file}: a test script has no SQL, its lines are records and rows");
            continue;
        }
        match format_file(path, check) {
            Ok(false) => {}
            Ok(true) if check => other.push(path.display().to_string()),
            Ok(true) => println!("{}", path.display()),
            Err(why) => failed.push(why),
        }
    }
    if !other.is_empty() {
        failed.push(format!("not formatted: {}. Run herald fmt", other.join(", ")));
    }
    if failed.is_empty() { Ok(()) } else { Err(mistake(failed.join("\n"))) }
}

/// Lays a file out, unless `check` is set. Returns true if it was laid out otherwise.
///
/// # Errors
/// The file, and the reason why it cannot be read, laid out or written.
fn format_file(path: &Path, check: bool) -> Result<bool, String> {
    let file = path.display();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(why) => return Err(format!("cannot read {file}: {why}")),
    };
    let formatted = match layout(&text) {
        Ok(formatted) => formatted,
        Err(why) => return Err(format!("{file}: {why}")),
    };
    if formatted == text {
        return Ok(false);
    }
    if !check && let Err(error) = std::fs::write(path, formatted) {
        return Err(format!("cannot write {file}: {error}"));
    }
    Ok(true)
}

/// Tells whether a file is a test script. Directives, records and rows stand a line each: it has no SQL to lay out.
fn is_script(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".test.sql")
}

/// Lays a text out. What is laid out stays as it is.
///
/// # Errors
/// The reason why the text is left as it is: it has no tokens, with the place; its tokens would be others; or its
/// brackets are nested too deeply.
pub fn layout(text: &str) -> Result<String, String> {
    let (mut tokens, behind) = tokens::read(text);
    if tokens::pair(&mut tokens) > MAX_DEPTH {
        return Err(format!("it has more than {MAX_DEPTH} brackets within each other; it is left as it is"));
    }
    let formatted = lines::lay_out(&tokens, &behind);
    if same_tokens(text, &formatted) { Ok(formatted) } else { Err(refusal(text)) }
}

/// The reason why a text cannot be laid out: the place at which it has no tokens, such as a quote that is not closed,
/// if there is one.
fn refusal(text: &str) -> String {
    match Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() {
        Ok(_) => "its layout cannot be changed without changing its meaning; it is left as it is".to_owned(),
        Err(error) => {
            let (place, message) = (error.location, error.message);
            format!("line {}, column {}: {message}", place.line, place.column)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statements as they are laid out.
    const LAID_OUT: &str = r#"CREATE TABLE orders (
  id VARCHAR NOT NULL,
  price DECIMAL(10, 2),
  lines STRUCT<
    sku VARCHAR,
    warehouse STRUCT<name VARCHAR, street VARCHAR, town VARCHAR, country VARCHAR, latitude DOUBLE>
  >[],
  PRIMARY KEY (id),
  CONSTRAINT sane CHECK (price BETWEEN 0 AND 1000)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (changed_at)
INCLUDE timestamp AS sent_at
WITH (
  connector = 'kafka',
  topic = 'orders',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE JSON (timestamp.unit = 'ms');

CREATE MATERIALIZED VIEW busy WITH (retention = '90 days') AS
  WITH recent AS (SELECT * FROM orders WHERE id <> 'x')
  SELECT
    window_start,
    window_end,
    CASE
      WHEN count(*) FILTER (WHERE price > 100) > 10 OR sum(price) > 10000 THEN 'many expensive ones'
      ELSE 'few'
    END AS kind,
    row_number() OVER (PARTITION BY window_start ORDER BY count(*) DESC) AS place
  FROM TUMBLE(recent, sent_at, INTERVAL '1 hour') AS o
    LEFT JOIN customers AS c ON o.customer = c.id
      AND c.since BETWEEN o.sent_at - INTERVAL '1 year' AND o.sent_at
  WHERE detail->>'kind' IS DISTINCT FROM 'test'
    AND (country IN ('NL', 'BE') OR tags[1] = 'a')
    AND extract(hour FROM sent_at) > 5
  GROUP BY window_start, window_end
  UNION ALL
  SELECT *
  FROM others
  LIMIT 10
  EMIT ON WINDOW CLOSE;

CREATE INDEX busy_by_kind ON busy (kind, window_start);

CREATE MATERIALIZED VIEW matches (game VARCHAR, match_id VARCHAR) WITH (retention = '90 days');

INSERT INTO matches (match_id, game)
  SELECT match_id, 'lol'
  FROM riot_matches
  WHERE queue = 420;

INSERT INTO matches
  SELECT 'halo', id
  FROM halo_matches;

CREATE SINK busy_out AS
  SELECT * EXCEPT (kind)
  FROM busy
WITH (connector = 'blackhole', primary_key = 'window_start,window_end')
FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;

CREATE TOPIC "match.completed"
WITH (
  partitions = '${PARTITIONS:-12}',
  replication.factor = '1',
  retention = '30 days',
  value.schema = 'avro/match.completed.avsc'
);
"#;

    fn laid_out(text: &str) -> String {
        let once = layout(text).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert_eq!(layout(&once).as_ref(), Ok(&once), "{text}");
        once
    }

    #[test]
    fn a_layout_is_that_of_the_tokens() {
        assert_eq!(laid_out(LAID_OUT), LAID_OUT);
        // Whatever the lines of the text are.
        assert_eq!(laid_out(&LAID_OUT.split_whitespace().collect::<Vec<_>>().join(" ")), LAID_OUT);
        assert_eq!(laid_out(&LAID_OUT.replace(", ", ",\n")), LAID_OUT);
        assert_eq!(laid_out(" \n"), "");
    }

    #[test]
    fn a_layout_keeps_tokens_and_comments() {
        let text = "-- Of the file.\n\n\n-- Of s.\ncreate source s(a int,-- of a\n -- of b\n b jsonb /* and */ null) \
                    with (connector='file',path='x') format plain encode json; -- behind\nselect a->>'k', b @> \
                    '{}'::jsonb from s where a<>1;\n-- The end.";
        let expected = "-- Of the file.\n\n-- Of s.\ncreate source s(\n  a int, -- of a\n  -- of b\n  b jsonb \
                        /* and */ null\n)\nwith (connector='file', path='x')\nformat plain encode json; -- behind\n\n\
                        select a->>'k', b @> '{}'::jsonb\nfrom s\nwhere a<>1;\n-- The end.\n";
        assert_eq!(laid_out(text), expected);
    }

    #[test]
    fn odd_texts_keep_their_tokens() {
        for text in [
            ";;",
            "select (a, b]) from case",
            "CREATE TABLE t (a STRUCT<b STRUCT<c STRUCT<d INT>>>) WITH (x = 'y')",
            "CREATE SOURCE t (a STRUCT<bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb INT, ccccccccccccccccccc \
             STRUCT<ddddddddddddddddddddddddddddddddddddd INT>>)",
            "SELECT E'it\\'s', $$a ( b$$, $q$ ( $q$, \"a\"\"b\", 'it''s' FROM t /* a /* b */ c */ WHERE a > b",
            "SELECT x FROM a, -- one\n b -- two\n, c",
            "SELECT (/* alone */) FROM t WHERE ( -- why\n a = 1 -- so\n)",
            "SELECT 'two\nlines', a FROM t",
            "END > ) AND , CASE",
        ] {
            laid_out(text);
        }
        let deep = format!("SELECT {}1{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
        assert!(layout(&deep).is_err_and(|why| why.contains("left as it is")));
        let why = layout("SELECT 1,\n  'open").unwrap_err();
        assert!(why.starts_with("line 2, column 3: Unterminated string"), "{why}");
    }

    #[test]
    fn comparisons_are_no_brackets() {
        for text in [
            "SELECT 1 FROM t WHERE map < 3 AND map > 1",
            "SELECT array < a AND struct > b FROM t",
            "SELECT map < a, b > 1 FROM t",
            "SELECT CASE WHEN map < 3 THEN struct > 1 END FROM t",
        ] {
            assert_eq!(laid_out(text).split_whitespace().collect::<Vec<_>>().join(" "), text);
        }
        let types =
            "CREATE TABLE t (\n  a STRUCT<end INT, q DECIMAL(18, 1)[], \"B\" STRUCT<c MAP<INT, INT>>>\n)\n";
        assert_eq!(laid_out(&types.replace('<', "< ")), types);
        assert_eq!(laid_out("SELECT a::STRUCT< /* x */ b INT>"), "SELECT a::STRUCT< /* x */ b INT>\n");
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        let begun = std::time::Instant::now();
        assert!(layout(&format!("SELECT {}1", "a + ".repeat(50_000))).is_ok());
        assert!(layout(&format!("SELECT {}{}", "CASE ".repeat(50_000), ") ".repeat(50_000))).is_err());
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_file_that_fails_leaves_the_others_to_be_laid_out() {
        let dir = tempfile::tempdir().unwrap();
        let texts = [("a.sql", "SELECT 'open"), ("b.sql", "\u{feff}SELECT  1"), ("c.sql", "SELECT  2")];
        let mut files = vec![dir.path().join("none.sql")];
        for (name, text) in texts {
            std::fs::write(dir.path().join(name), text).unwrap();
            files.push(dir.path().join(name));
        }
        let said = command(&files, true).unwrap_err().to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("cannot read ") && lines[0].contains("none.sql"), "{said}");
        assert!(lines[1].contains("a.sql: line 1, column 8: "), "{said}");
        assert!(lines[2].starts_with("not formatted: ") && lines[2].contains("c.sql. Run"), "{said}");
        assert!(command(&files, false).is_err());
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read("b.sql"), read("c.sql")), ("SELECT 1\n".to_owned(), "SELECT 2\n".to_owned()));
        assert_eq!(read("a.sql"), "SELECT 'open");
    }

    #[test]
    fn a_test_script_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (script, topology) = (dir.path().join("a.test.sql"), dir.path().join("a.sql"));
        let lines = "-- topology a.sql\n-- feed s\n{\"a\":  1}\n";
        std::fs::write(&script, lines).unwrap();
        std::fs::write(&topology, "SELECT  1").unwrap();
        command(std::slice::from_ref(&script), true).unwrap();
        command(&[script.clone(), topology.clone()], false).unwrap();
        assert_eq!(std::fs::read_to_string(&script).unwrap(), lines);
        assert_eq!(std::fs::read_to_string(&topology).unwrap(), "SELECT 1\n");
    }

    #[test]
    fn shipped_topologies_are_laid_out() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/topologies");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if is_script(&path) || path.extension().is_none_or(|extension| extension != "sql") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(laid_out(&text), text, "{}: run herald fmt on it", path.display());
            count += 1;
        }
        assert!(count > 0);
    }
}
