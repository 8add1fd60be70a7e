//! Corner cases of topologies, run as a user runs them: totals over no rows.

use std::fs;
use std::time::Duration;

use crate::child::{self, Ended};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);

/// Copies the fixtures to a new directory.
fn corners() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(servers::root().join("tests/fixtures/corners")).expect("the fixtures") {
        let file = file.expect("a file");
        fs::copy(file.path(), dir.path().join(file.file_name())).expect("a copy");
    }
    dir
}

fn passes(script: &str) {
    let dir = corners();
    let env = [("HERALD_LOG_LEVEL", "off"), ("NO_COLOR", "1")];
    let Ended { code, stdout, stderr, .. } = child::herald(dir.path(), &["test", script], &env, PATIENCE);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
}

#[test]
fn a_total_over_nothing_is_a_row_in_every_way() {
    passes("totals.test.sql");
}

#[test]
fn a_total_is_there_before_the_first_record() {
    let dir = corners();
    let dir = dir.path();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    write("t.jsonl", "");
    write("u.jsonl", "");
    let run = ["run", "totals.sql", "--once"];
    let query = ["query", "SELECT c, s FROM total", "--state", ".herald/totals", "--format", "csv"];
    let sent = || {
        let text = fs::read_to_string(dir.join("total.jsonl")).expect("the sink's file");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // A second start without records adds nothing either.
    for _ in 0..2 {
        child::succeed(dir, &run, &[], PATIENCE);
        assert_eq!(child::succeed(dir, &query, &[], PATIENCE).stdout, "c,s\n0,\n");
        assert_eq!(sent().len(), 1, "{:?}", sent());
        assert!(sent()[0].contains(r#""after":{"id":"all","c":0,"s":null,"l":null}"#), "{:?}", sent());
    }
    write("t.jsonl", "{\"key\":{\"id\":1},\"value\":{\"k\":1,\"n\":4}}\n");
    child::succeed(dir, &run, &[], PATIENCE);
    assert_eq!(child::succeed(dir, &query, &[], PATIENCE).stdout, "c,s\n1,4\n");
    assert_eq!(sent().len(), 2, "{:?}", sent());
}
