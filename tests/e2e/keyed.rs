//! Topics of changes as files and in scripts: what UPSERT and Debezium records make of tables.
//!
//! No server takes part: the topology reads files and writes one, and its script feeds it in process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::{self, Ended};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(240);

fn herald(dir: &Path, args: &[&str]) -> Ended {
    child::herald(dir, args, &[("HERALD_LOG_LEVEL", "off"), ("NO_COLOR", "1")], PATIENCE)
}

/// A directory with the topology and its script.
fn shop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let from = servers::root().join("tests/fixtures/keyed");
    for name in ["shop.sql", "shop.test.sql"] {
        fs::copy(from.join(name), dir.path().join(name)).expect("a copy");
    }
    dir
}

#[test]
fn rows_are_replaced_and_deleted_in_every_way() {
    let dir = shop();
    let ended = herald(dir.path(), &["test", "shop.test.sql"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout, "ok   shop.test.sql (5 steps, 12 ways)\n");
}

#[test]
fn files_hold_keys_and_events() {
    let dir = shop();
    let write = |name: &str, lines: &[&str]| {
        fs::write(dir.path().join(name), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("a file");
    };
    write(
        "customers.jsonl",
        &[
            r#"{"key":{"id":1},"value":{"country":"de"}}"#,
            r#"{"key":{"id":2},"value":{"country":"fr"}}"#,
            r#"{"key":2,"value":null}"#,
            r#"{"country":"pl"}"#,
        ],
    );
    write(
        "orders.jsonl",
        &[
            r#"{"after":{"id":10,"customer":1,"cents":5,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"after":{"id":11,"customer":1,"cents":6,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"after":{"id":12,"customer":2,"cents":7,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"before":{"id":11},"op":"d"}"#,
        ],
    );
    let ended = herald(dir.path(), &["run", "shop.sql", "--once"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let said = |sql: &str| {
        let ended = herald(dir.path(), &["query", sql, "--state", ".herald/shop", "--format", "csv"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert_eq!(said("SELECT country, orders, cents FROM spent"), "country,orders,cents\nde,1,5\n");
    let letters =
        said("SELECT source, outcome, message, CAST(value AS VARCHAR) AS value FROM herald.dead_letter");
    assert_eq!(
        letters,
        "source,outcome,message,value\ncustomers,decode,the record has no key,\"{\"\"country\"\":\"\"pl\"\"}\"\n"
    );
}
