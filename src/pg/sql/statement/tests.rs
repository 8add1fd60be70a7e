//! Tests of reading statements.

use super::*;
use crate::pg::sql::copy_options::CopyFormat;
use crate::pg::sql::cursors::RowCount;

fn read(text: &str) -> Statement {
    Statement::read(text, 0).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn code(text: &str) -> &'static str {
    match Statement::read(text, 0) {
        Err(error) => error.code,
        Ok(statement) => panic!("{text}: {statement:?}"),
    }
}

fn query_of(text: &str, before: usize) -> QueryText {
    QueryText { text: text.to_owned(), before }
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn queries_are_passed_on_as_they_are() {
    for text in ["SELECT 1", "with t AS (SELECT 1) SELECT * FROM t", "(SELECT 1)", "VALUES (1)"] {
        assert_eq!(read(text), Statement::Query(query_of(text, 0), "SELECT"));
    }
    assert_eq!(
        Statement::read(" -- x\n EXPLAIN SELECT 1", 3),
        Ok(Statement::Query(query_of("EXPLAIN SELECT 1", 10), "EXPLAIN"))
    );
    assert_eq!(read("SHOW TABLES"), Statement::Query(query_of("SHOW TABLES", 0), "SHOW"));
    assert_eq!(
        read("TABLE herald.\"Views\""),
        Statement::Query(query_of("SELECT * FROM herald.\"Views\"", 0), "SELECT")
    );
}

#[test]
fn transactions_are_read() {
    let modes = |isolation| TransactionModes { isolation };
    for (text, statement) in [
        ("BEGIN", Statement::Begin(modes(None))),
        ("begin work READ ONLY, DEFERRABLE", Statement::Begin(modes(None))),
        (
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Statement::Begin(modes(Some("repeatable read"))),
        ),
        ("COMMIT AND NO CHAIN", Statement::Commit(false)),
        ("END TRANSACTION AND CHAIN", Statement::Commit(true)),
        ("ROLLBACK", Statement::Rollback(false)),
        ("ABORT", Statement::Rollback(false)),
        ("ROLLBACK TO SAVEPOINT \"A\"", Statement::RollbackTo("A".into())),
        ("SAVEPOINT a", Statement::Savepoint("a".into())),
        ("RELEASE SAVEPOINT a", Statement::Release("a".into())),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            Statement::SetTransaction(modes(None), true),
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            Statement::SetTransaction(modes(Some("serializable")), false),
        ),
    ] {
        assert_eq!(read(text), statement, "{text}");
    }
    assert_eq!(code("SET TRANSACTION SNAPSHOT 'x'"), "0A000");
    assert_eq!(code("COMMIT nothing"), "42601");
}

#[test]
fn settings_are_read() {
    let set = |name: &str, value: Option<&str>, local| Statement::Set {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        local,
    };
    for (text, statement) in [
        ("SET a = 5", set("a", Some("5"), false)),
        ("SET LOCAL a TO 'x'", set("a", Some("x"), true)),
        ("SET SESSION a.b TO DEFAULT", set("a.b", None, false)),
        ("SET datestyle TO ISO, MDY", set("datestyle", Some("ISO, MDY"), false)),
        ("SET search_path = \"$user\", public", set("search_path", Some("\"$user\", public"), false)),
        ("SET TIME ZONE 'Europe/Berlin'", set("timezone", Some("Europe/Berlin"), false)),
        ("SET time zone -3", set("timezone", Some("-3"), false)),
        ("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE", set("timezone", Some("+02:00"), false)),
        ("SET NAMES 'UTF8'", set("client_encoding", Some("UTF8"), false)),
        ("RESET ALL", Statement::Reset(None)),
        ("RESET TIME ZONE", Statement::Reset(named("timezone"))),
        ("SHOW ALL", Statement::Show(None)),
        ("SHOW TRANSACTION ISOLATION LEVEL", Statement::Show(named("transaction_isolation"))),
        ("show \"Server_Version\"", Statement::Show(named("Server_Version"))),
        ("DISCARD ALL", Statement::Discard(true)),
        ("SET ROLE NONE", Statement::Idle("SET")),
        ("UNLISTEN *", Statement::Idle("UNLISTEN")),
    ] {
        assert_eq!(read(text), statement, "{text}");
    }
    for (text, wrong) in [("SET a", "42601"), ("SET ROLE boss", "0A000"), ("SHOW", "42601")] {
        assert_eq!(code(text), wrong, "{text}");
    }
}

#[test]
fn prepared_statements_and_cursors_are_read() {
    assert_eq!(
        read("PREPARE p (int, numeric(10,2)) AS SELECT $1"),
        Statement::Prepare {
            name: "p".into(),
            types: vec!["int".into(), "numeric(10,2)".into()],
            query: query_of("SELECT $1", 34),
        }
    );
    assert_eq!(
        read("EXECUTE p (1 + 2, 'a,b', ARRAY[1, 2])"),
        Statement::Execute {
            name: "p".into(),
            arguments: vec!["1 + 2".into(), "'a,b'".into(), "ARRAY[1, 2]".into()],
        }
    );
    assert_eq!(read("DEALLOCATE PREPARE ALL"), Statement::Deallocate(None));
    assert_eq!(read("DEALLOCATE p"), Statement::Deallocate(named("p")));
    assert_eq!(
        read("DECLARE c BINARY NO SCROLL CURSOR FOR SELECT 1"),
        Statement::Declare(Declaration {
            name: "c".into(),
            binary: true,
            rows: RowSource::Query(query_of("SELECT 1", 38)),
        })
    );
    for (text, count, moves) in [
        ("FETCH c", RowCount::Rows(1), false),
        ("FETCH NEXT FROM c", RowCount::Rows(1), false),
        ("FETCH 100 FROM c", RowCount::Rows(100), false),
        ("FETCH FORWARD 5 IN c", RowCount::Rows(5), false),
        ("FETCH FORWARD ALL c", RowCount::All, false),
        ("FETCH ALL FROM c", RowCount::All, false),
        ("MOVE 3 c", RowCount::Rows(3), true),
    ] {
        let fetch = Fetch { name: "c".into(), count, moves, timeout: None };
        assert_eq!(read(text), Statement::Fetch(fetch), "{text}");
    }
    assert_eq!(read("CLOSE ALL"), Statement::Close(None));
    for text in ["FETCH BACKWARD 1 FROM c", "FETCH -1 c", "FETCH FIRST c", "MOVE ABSOLUTE 3 c"] {
        assert_eq!(code(text), "55000", "{text}");
    }
    assert_eq!(code("DECLARE c SCROLL CURSOR FOR SELECT 1"), "0A000");
    assert_eq!(code("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), "0A000");
}

#[test]
fn copies_are_read() {
    let Statement::Copy(RowSource::Query(query), options) =
        read("COPY (SELECT a, (b) FROM t WHERE c = ')') TO STDOUT (FORMAT csv, HEADER)")
    else {
        panic!("no COPY")
    };
    assert_eq!(query, query_of("SELECT a, (b) FROM t WHERE c = ')'", 6));
    assert_eq!((options.format, options.header), (CopyFormat::Csv, true));
    let Statement::Copy(RowSource::Query(query), options) = read("copy s.t (a, b) to stdout with binary")
    else {
        panic!("no COPY")
    };
    assert_eq!(query.text, "SELECT a, b FROM s.t");
    assert_eq!(options.format, CopyFormat::Binary);
    assert_eq!(code("COPY t FROM STDIN"), "25006");
    assert_eq!(code("COPY t TO '/tmp/x'"), "0A000");
    assert_eq!(code("COPY t TO STDOUT (FORMAT xml)"), "22023");
}

#[test]
fn writing_is_refused_in_words() {
    for text in ["INSERT INTO t VALUES (1)", "update t set a = 1", "CREATE TABLE t (a INT)", "DROP VIEW v"] {
        assert_eq!(code(text), "25006", "{text}");
    }
    for text in ["LISTEN x", "DO $$ $$", "LOCK TABLE t"] {
        assert_eq!(code(text), "0A000", "{text}");
    }
    assert_eq!(code("frobnicate"), "42601");
    assert_eq!(code("'text'"), "42601");
}
