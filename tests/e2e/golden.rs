//! `herald test`: the shipped scripts pass in every way; failures and mistakes are reported with their line.
//!
//! No server is needed. Paths are shown relative to the directory of each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{self, Ended};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(240);
/// Time for all shipped scripts, each of which is run in twelve ways.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(1200);
const SHIPPED: &str = "dataflows/topologies";
const SCRIPT: &str = "match_analytics.test.sql";

/// Runs `herald test` in a directory.
fn test(dir: &Path, args: &[&str]) -> Ended {
    let args: Vec<&str> = ["test"].iter().chain(args).copied().collect();
    child::herald(dir, &args, &[("HERALD_LOG_LEVEL", "off"), ("NO_COLOR", "1")], PATIENCE)
}

/// A directory with the shipped topology and a script made of the shipped one.
fn copied(change: impl Fn(&str) -> String) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let from = servers::root().join(SHIPPED);
    let topology = from.join("match_analytics.sql");
    fs::copy(topology, dir.path().join("match_analytics.sql")).expect("a copy");
    let script = dir.path().join(SCRIPT);
    fs::write(&script, change(&shipped())).expect("a script");
    (dir, script)
}

fn shipped() -> String {
    fs::read_to_string(servers::root().join(SHIPPED).join(SCRIPT)).expect("the script")
}

/// A small topology with a script.
fn small(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let sql = "CREATE TABLE games (id BIGINT NOT NULL, player VARCHAR, points BIGINT, PRIMARY KEY (id),\n  \
               CONSTRAINT sane CHECK (points < 100))\n\
               ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'nowhere') FORMAT PLAIN ENCODE JSON;\n\
               CREATE MATERIALIZED VIEW totals AS\n  \
               SELECT player, count(*) AS games, sum(points) AS points FROM games GROUP BY player;\n\
               CREATE SINK totals_out FROM totals WITH (connector = 'blackhole', primary_key = 'player')\n\
               FORMAT UPSERT ENCODE JSON;\n";
    fs::write(dir.path().join("games.sql"), sql).expect("a topology");
    fs::write(dir.path().join("games.test.sql"), script).expect("a script");
    dir
}

#[test]
fn the_shipped_scripts_pass_in_every_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = servers::root().join(SHIPPED);
    let mut scripts = Vec::new();
    find_scripts(&root, &mut scripts);
    assert!(scripts.len() > 12, "{scripts:?}");
    let root = root.to_str().expect("a path");
    let env = [("HERALD_LOG_LEVEL", "off"), ("NO_COLOR", "1")];
    let ended = child::herald(dir.path(), &["test", root], &env, PATIENCE_FOR_ALL);
    let said = ended.stdout.replace(root, SHIPPED);
    assert_eq!(ended.code, Some(0), "{said}\n{}", ended.stderr);
    assert!(said.contains(" (5 steps, 12 ways)\n"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok   ")).count(), scripts.len(), "{said}");
    assert!(said.ends_with(&format!("{} scripts passed\n", scripts.len())), "{said}");
}

/// The test scripts below a directory.
fn find_scripts(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find_scripts(&path, found);
        } else if path.to_string_lossy().ends_with(".test.sql") {
            found.push(path);
        }
    }
}

#[test]
fn update_writes_what_the_shipped_script_holds() {
    // All rows of expectations are removed; `--update` must restore the reviewed ones.
    let rows_out = |text: &str| {
        let mut below = false;
        let kept = text.lines().filter(|line| {
            if line.starts_with("-- ") {
                below = line.starts_with("-- expect");
            }
            !(below && line.starts_with('{'))
        });
        kept.map(|line| format!("{line}\n")).collect::<String>()
    };
    let (dir, script) = copied(rows_out);
    let ended = test(dir.path(), &[SCRIPT]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let ended = test(dir.path(), &[SCRIPT, "--update"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.starts_with("new  match_analytics.test.sql: "), "{}", ended.stdout);
    assert_eq!(fs::read_to_string(script).expect("the script"), shipped());
}

#[test]
fn one_changed_expectation_fails() {
    let (wanted, changed) = ("\"games\":2,\"wins\":1,", "\"games\":3,\"wins\":1,");
    let text = shipped();
    let lines = || text.lines().enumerate();
    let (row, _) = lines().find(|(_, line)| line.contains(wanted)).expect("a row to change");
    let directive = lines().take(row).filter(|(_, line)| line.starts_with("-- expect")).last();
    let (line, _) = directive.expect("an expectation above the row");
    let (dir, _) = copied(|text| text.replacen(wanted, changed, 1));
    let ended = test(dir.path(), &[SCRIPT]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("not so").count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("\n{SCRIPT}:{}: expect ", line + 1)), "{}", ended.stdout);
    assert!(ended.stdout.contains("      - games: 3\n      + games: 2\n"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "error: the script failed.\n");
}

#[test]
fn sums_of_the_largest_decimals_do_not_stop_a_worker() {
    let nines = "9".repeat(38);
    let dir = small("");
    let sql = "CREATE SOURCE s (id BIGINT, d DECIMAL(38,0)) WITH (connector = 'file', path = 'nowhere')\n\
               FORMAT PLAIN ENCODE JSON;\n\
               CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(d) AS total FROM s;\n";
    let script = format!(
        "-- topology games.sql\n-- feed s\n{{\"id\":1,\"d\":\"{nines}\"}}\n{{\"id\":2,\"d\":\"{nines}\"}}\n\
         -- expect v\n-- feed s\n{{\"id\":3,\"d\":\"-{nines}\"}}\n\
         -- expect v\n{{\"n\":3,\"total\":\"{nines}\"}}\n"
    );
    fs::write(dir.path().join("games.sql"), sql).expect("a topology");
    fs::write(dir.path().join("games.test.sql"), script).expect("a script");
    let ended = test(dir.path(), &["games.test.sql"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn a_failed_script_tells_the_difference() {
    let script = "-- topology games.sql\n\
                  -- feed games\n\
                  {\"id\":1,\"player\":\"anna\",\"points\":5}\n\
                  {\"id\":2,\"player\":\"ben\",\"points\":7}\n\
                  {\"id\":3,\"player\":\"anna\",\"points\":500}\n\
                  -- expect totals\n\
                  {\"player\":\"anna\",\"games\":2,\"points\":5}\n\
                  {\"player\":\"cleo\",\"games\":1,\"points\":7}\n\
                  -- expect outcomes games\n\
                  {\"read\":3,\"accepted\":2,\"duplicate\":0,\"superseded\":0,\"constraint\":1,\"decode\":0,\"late\":0}\n\
                  -- feed games\n\
                  {\"id\":2,\"player\":\"anna\",\"points\":8}\n\
                  -- expect changes totals_out\n";
    let dir = small(script);
    let ended = test(dir.path(), &["."]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stderr, "error: the script failed.\n");
    let expected = fs::read_to_string(servers::root().join("tests/e2e/golden_failure.txt")).expect("a text");
    assert_eq!(ended.stdout, expected, "{}", ended.stdout);
}

#[test]
fn mistakes_in_a_script_are_told_with_their_places() {
    let script = "-- topology games.sql\n\
                  -- feed gamse\n\
                  {}\n\
                  -- feed games\n\
                  timestamp=soon {\"id\":1}\n\
                  -- expect total\n\
                  -- expect totals\n\
                  {\"player\":\"anna\", \"game\":2}\n\
                  {\"games\":\"two\"}\n\
                  -- expect totals_out\n";
    let dir = small(script);
    let ended = test(dir.path(), &["games.test.sql"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert_eq!(
        ended.stderr,
        "games.test.sql:5:1: \"soon\" is no timestamp\n  write [partition=N] [timestamp=T] [key=K] [header.NAME=V] VALUE; \
         T is ISO-8601, or milliseconds since 1970\n1 mistake found.\n"
    );
    let script = script.replace("timestamp=soon ", "");
    let dir = small(&script);
    let ended = test(dir.path(), &["games.test.sql"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert_eq!(
        ended.stderr,
        "games.test.sql:2:9: there is no source gamse\n  did you mean games?\n\
         games.test.sql:6:11: there is no materialized view total\n  did you mean totals?\n\
         games.test.sql:8:19: there is no column game; did you mean games?\n\
         games.test.sql:9:1: field games: a string does not fit BIGINT\n\
         games.test.sql:10:11: totals_out is a sink and not a view\n  write expect changes totals_out, or expect the view it shows\n\
         5 mistakes found.\n"
    );
    let dir = small("-- topology none.sql\n");
    let ended = test(dir.path(), &["games.test.sql"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.starts_with("games.test.sql:1:13: cannot read the topology none.sql: "),
        "{}",
        ended.stderr
    );
    let dir = tempfile::tempdir().expect("a directory");
    let ended = test(dir.path(), &["."]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr, "error: the directory . has no script: a script's name ends with .test.sql.\n");
}
