//! sqllogictest: the scripts `tests/slt/*.slt`, run by Herald, by PostgreSQL and by DuckDB.
//!
//! A script declares sources with `statement ok` and CREATE, feeds them with INSERT, and says with
//! `query` what a view must hold: each query is planned as a materialized view of the topology
//! declared so far, over all rows fed so far, and read from the committed state. `statement error`
//! and `query error` hold words of a refusal. PostgreSQL and DuckDB must give the same rows, so that what a
//! script expects was not merely copied from Herald.
//!
//! | in a script | what it means |
//! | --- | --- |
//! | `CREATE ...` | joins the topology; refused as `herald check` refuses it |
//! | `INSERT INTO source VALUES (...)` | records, one a row; each INSERT is an epoch. Arrays, structs and JSONB are text that holds their JSON |
//! | `SELECT ...` | the content of `CREATE MATERIALIZED VIEW ... AS SELECT ...` |
//! | `-- duckdb: SELECT ...` | in a query or view: what DuckDB is asked instead |
//! | `-- not in duckdb` | in a query: DuckDB is not asked, because it does not have the thing |
//! | `-- postgres: SELECT ...`, `-- not in postgres` | the same for PostgreSQL |
//! | `-- not yet` | in a query: it must fail today; one that holds fails the test, so that the mark is taken off |
//!
//! `HERALD_UPDATE=1 cargo test --release --test slt` writes what Herald gives into the scripts;
//! the judges are asked all the same. Of a script with `-- not yet` it takes off the marks of
//! queries that hold, and leaves the rest as it is.

mod answer;
mod beside;
mod coverage;
mod database;
#[path = "../oracle/duck.rs"]
#[allow(dead_code, reason = "the oracle asks in another way")]
mod duck;
#[path = "../oracle/engine.rs"]
#[allow(dead_code, reason = "partitions join in the oracle alone")]
mod engine;
mod insert;
mod lineage;
#[path = "../oracle/postgres.rs"]
mod postgres;
#[path = "../oracle/rows.rs"]
#[allow(dead_code, reason = "sinks are compared in the oracle")]
mod rows;
#[path = "../oracle/texts.rs"]
#[allow(dead_code, reason = "types have other names in random queries")]
mod texts;
#[path = "../scalar/value.rs"]
#[allow(dead_code, reason = "values are compared as texts there")]
mod value;

use std::path::{Path, PathBuf};

use database::{Database, Wrong};
use sqllogictest::{DefaultColumnType, Record, Runner};

fn scripts() -> Vec<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let files = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "slt")).collect();
    scripts.sort_unstable();
    scripts
}

#[test]
fn scripts_hold() {
    let scripts = scripts();
    assert!(!scripts.is_empty());
    let mut failures = Vec::new();
    for script in &scripts {
        let mut runner = Runner::new(|| async { Ok::<_, Wrong>(Database::of(script)) });
        runner.with_column_validator(sqllogictest::strict_column_validator);
        let updating = std::env::var_os("HERALD_UPDATE").is_some();
        let marked = std::fs::read_to_string(script).unwrap().contains("-- not yet");
        if updating && !marked {
            let updating = runner.update_test_file(
                script,
                " ",
                sqllogictest::default_validator,
                sqllogictest::default_normalizer,
                sqllogictest::strict_column_validator,
            );
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Err(error) = runtime.block_on(updating) {
                failures.push(error.to_string());
            }
            // An expected error has words; one without is a query that failed just now.
            let text = std::fs::read_to_string(script).unwrap();
            if text.lines().any(|line| line.trim_end() == "query error") {
                failures.push(format!("{}: a query failed; see `query error` in it", script.display()));
            }
            continue;
        }
        for record in sqllogictest::parse_file::<DefaultColumnType>(script).unwrap() {
            let failing = matches!(&record, Record::Query { sql, .. } if not_yet(sql));
            match runner.run(record.clone()) {
                Ok(_) if failing && updating => unmark(script, &record),
                Ok(_) if failing => failures.push(format!("it holds: take `-- not yet` off\n{record}")),
                Err(error) if !failing => failures.push(error.to_string()),
                _ => {}
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures in {} scripts:\n{}",
        failures.len(),
        scripts.len(),
        failures.join("\n")
    );
}

fn not_yet(sql: &str) -> bool {
    sql.lines().any(|line| line.trim() == "-- not yet")
}

/// Takes the mark off a query.
fn unmark(script: &Path, record: &Record<DefaultColumnType>) {
    let Record::Query { sql, .. } = record else { return };
    let lines: Vec<&str> = sql.lines().filter(|line| line.trim() != "-- not yet").collect();
    let text = std::fs::read_to_string(script).unwrap();
    std::fs::write(script, text.replacen(sql.trim_end(), &lines.join("\n"), 1)).unwrap();
}
