//! A state that a release of format version 1 wrote is rewritten by the first run of its topology, once, and
//! then goes on as if this release had written it.
//!
//! `tests/fixtures/format-1/state` was written by such a release from the records beside it. The judge is a
//! state that this release makes of the same records in the same steps.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child;

const PATIENCE: Duration = Duration::from_secs(60);
const VIEWS: [&str; 12] = [
    "by_player",
    "totals",
    "by_team",
    "victims",
    "never_hit",
    "farthest",
    "minutes",
    "streaks",
    "recent",
    "as_they_came",
    "ratios",
    "herald.errors",
];

/// A directory with the topology and its first records, and with the old state if `with_state`.
fn scene(with_state: bool) -> tempfile::TempDir {
    let (from, dir) =
        (Path::new("tests/fixtures/format-1"), tempfile::tempdir().expect("a temporary directory"));
    for file in ["topology.sql", "players.jsonl", "kills.jsonl"] {
        fs::copy(from.join(file), dir.path().join(file)).expect("a fixture");
    }
    if with_state {
        fs::create_dir_all(dir.path().join("state/db")).expect("a folder");
        fs::copy(from.join("state/HERALD"), dir.path().join("state/HERALD")).expect("a marker");
        for file in fs::read_dir(from.join("state/db")).expect("a database").flatten() {
            fs::copy(file.path(), dir.path().join("state/db").join(file.file_name())).expect("a copy");
        }
    }
    dir
}

fn run(dir: &Path, workers: &str, failpoints: &str) -> child::Ended {
    let args = ["run", "topology.sql", "--once", "--listen", "off", "--state", "state", "--workers", workers];
    child::herald(dir, &args, &[("HERALD_FAILPOINTS", failpoints)], PATIENCE)
}

fn run_well(dir: &Path, workers: &str) {
    let ended = run(dir, workers, "");
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// Appends the later records of a source.
fn append(dir: &Path, name: &str) {
    let more = fs::read_to_string(format!("tests/fixtures/format-1/{name}.more.jsonl")).expect("a fixture");
    let path = dir.join(format!("{name}.jsonl"));
    let text = fs::read_to_string(&path).expect("records");
    fs::write(path, text + &more).expect("records");
}

/// The rows of each view, sorted.
fn rows(dir: &Path) -> Vec<(&'static str, Vec<String>)> {
    let rows = |view: &&'static str| {
        let sql = format!("SELECT * FROM {view}");
        let args = ["query", &sql, "--state", "state", "--format", "csv"];
        let ended = child::succeed(dir, &args, &[], PATIENCE);
        let mut rows: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        rows.sort();
        (*view, rows)
    };
    VIEWS.iter().map(rows).collect()
}

fn verify(dir: &Path) {
    let ended = child::herald(dir, &["state", "verify", "state", "topology.sql"], &[], PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// A state of this release made in the same steps: the old records, then the later players, then the kills.
fn judged() -> tempfile::TempDir {
    let dir = scene(false);
    run_well(dir.path(), "1");
    for more in ["players", "kills"] {
        append(dir.path(), more);
        run_well(dir.path(), "2");
    }
    dir
}

#[test]
fn an_old_state_is_rewritten_and_goes_on() {
    let judged = judged();
    let expected = rows(judged.path());
    assert!(expected.iter().all(|(_, rows)| rows.len() > 1), "a view without rows shows nothing");
    for workers in ["1", "3"] {
        let dir = scene(true);
        // Another command does not rewrite it, and says who does.
        let asked = ["query", "SELECT * FROM totals", "--state", "state"];
        let refused = child::herald(dir.path(), &asked, &[], PATIENCE);
        assert_ne!(refused.code, Some(0));
        assert!(refused.stderr.contains("format version 1"), "{}", refused.stderr);
        assert!(refused.stderr.contains("`herald run`"), "{}", refused.stderr);
        append(dir.path(), "players");
        if workers == "3" {
            // As a wipe or a creation that was killed leaves it.
            fs::remove_file(dir.path().join("state/HERALD")).expect("the marker");
        }
        let first = run(dir.path(), workers, "");
        assert_eq!(first.code, Some(0), "{}\n{}", first.stdout, first.stderr);
        assert!(first.stderr.contains("rewritten"), "{}", first.stderr);
        assert!(dir.path().join("state/format-1/CURRENT").exists(), "the old database is kept");
        append(dir.path(), "kills");
        let second = run(dir.path(), "2", "");
        assert_eq!(second.code, Some(0), "{}\n{}", second.stdout, second.stderr);
        assert!(!second.stderr.contains("rewritten"), "{}", second.stderr);
        assert_eq!(rows(dir.path()), expected, "{workers} workers");
        verify(dir.path());
    }
}

#[test]
#[cfg(feature = "failpoints")]
fn a_migration_that_is_killed_is_done_again() {
    let judged = judged();
    let expected = rows(judged.path());
    for place in ["state.migrate.written", "state.migrate.moved", "state.migrate.swapped"] {
        let dir = scene(true);
        append(dir.path(), "players");
        let killed = run(dir.path(), "1", &format!("{place}=kill"));
        assert_eq!(killed.code, None, "{place}: {}\n{}", killed.stdout, killed.stderr);
        run_well(dir.path(), "2");
        append(dir.path(), "kills");
        run_well(dir.path(), "1");
        assert_eq!(rows(dir.path()), expected, "{place}");
        verify(dir.path());
    }
}

#[test]
fn an_old_state_of_another_edition_is_left_as_it_is() {
    let dir = scene(true);
    let path = dir.path().join("topology.sql");
    let edited = fs::read_to_string(&path).expect("the topology").replace("place <= 2", "place <= 3");
    fs::write(&path, edited).expect("the topology");
    let refused = run(dir.path(), "1", "");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("changed: farthest"), "{}", refused.stderr);
    let marker = fs::read_to_string(dir.path().join("state/HERALD")).expect("the marker");
    assert!(marker.contains("\"format_version\":1"), "{marker}");
}
