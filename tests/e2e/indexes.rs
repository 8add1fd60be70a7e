//! Indexes of views: they hold the rows of their views after updates, deletions, expiry and kills; they come and go
//! with editions of the topology; and one that is damaged is found and mended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
#[cfg(feature = "failpoints")]
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{Blobs, Rows};
use state::{Commit, StateTableKind, Store, StoreOptions, Writes};

use crate::child::{self, Herald};

const PATIENCE: Duration = Duration::from_secs(60);

/// Scores by player and goals by time, views of them with a key, without one and with a retention, and indexes.
const SCORES: &str = "
CREATE TABLE scores (player VARCHAR, team VARCHAR, points BIGINT, PRIMARY KEY (player))
WITH (connector = 'file', path = 'scores.jsonl', follow = 'true') FORMAT UPSERT ENCODE JSON;
CREATE SOURCE goals (team VARCHAR, at TIMESTAMPTZ, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'goals.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW winners AS SELECT player, team, points FROM scores WHERE points > 2;
CREATE MATERIALIZED VIEW teams AS SELECT team, points FROM scores;
CREATE MATERIALIZED VIEW recent WITH (retention = '10 minutes') AS
  SELECT window_end, team, count(*) AS n FROM TUMBLE(goals, at, INTERVAL '5 minutes') GROUP BY window_end, team;
";
const INDEXES: &str = "
CREATE INDEX winners_by_team ON winners (team, points);
CREATE INDEX winners_by_points ON winners (points);
CREATE INDEX teams_by_points ON teams (points);
CREATE INDEX recent_by_team ON recent (team);
";

/// Runs `herald` to a successful end, and returns its standard output.
fn succeed(dir: &Path, args: &[&str]) -> String {
    child::succeed(dir, args, &[], PATIENCE).stdout
}

fn write_topology(dir: &Path, text: &str) {
    fs::write(dir.join("scores.sql"), text).expect("a file");
}

fn run_once(dir: &Path) {
    succeed(dir, &["run", "scores.sql", "--once", "--state", "state", "--listen", "off"]);
}

fn ask(dir: &Path, sql: &str) -> String {
    succeed(dir, &["query", sql, "--state", "state", "--format", "csv"])
}

/// Appends goals, one a second, and changes of random players, which are made in `held` as well.
fn append(dir: &Path, random: &mut ChaCha8Rng, clock: &mut u32, held: &mut BTreeMap<String, (String, i64)>) {
    let open = |name: &str| File::options().create(true).append(true).open(dir.join(name)).expect("a file");
    let (mut scores, mut goals) = (open("scores.jsonl"), open("goals.jsonl"));
    for _ in 0..300 {
        *clock += 1;
        let (player, team) = (format!("p{}", random.random_range(0..60)), random.random_range(0..5));
        let at = format!("2026-01-05T{:02}:{:02}:{:02}Z", *clock / 3600, *clock / 60 % 60, *clock % 60);
        writeln!(goals, r#"{{"team":"t{team}","at":"{at}"}}"#).expect("a line");
        let key = format!(r#"{{"player":"{player}"}}"#);
        if random.random_bool(0.2) {
            writeln!(scores, r#"{{"key":{key},"value":null}}"#).expect("a line");
            held.remove(&player);
            continue;
        }
        let (team, points) = (format!("t{team}"), random.random_range(0..10));
        writeln!(scores, r#"{{"key":{key},"value":{{"team":"{team}","points":{points}}}}}"#).expect("a line");
        held.insert(player, (team, points));
    }
}

/// Asserts that a query is answered by an index, and as without: a condition on an expression reads the whole view.
fn assert_indexed(dir: &Path, index: &str, sql: &str, (condition, unbounded): (&str, &str)) -> String {
    let sql = |condition: &str| format!("SELECT * FROM ({sql}) AS q WHERE {condition} ORDER BY 1, 2, 3");
    let plan = ask(dir, &format!("EXPLAIN {}", sql(condition)));
    assert!(plan.contains(&format!("index={index}")), "{plan}");
    let answer = ask(dir, &sql(condition));
    assert_eq!(answer, ask(dir, &sql(unbounded)), "{condition}");
    answer
}

#[test]
fn an_index_follows_its_view_through_updates_deletions_expiry_and_kills() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write_topology(dir, &[SCORES, INDEXES].concat());
    let seed = child::number("HERALD_SEED", 5);
    println!("HERALD_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut clock, mut held) = (0, BTreeMap::new());
    for round in 0..6 {
        append(dir, &mut random, &mut clock, &mut held);
        let workers = (1 + round % 3).to_string();
        let args = ["run", "scores.sql", "--state", "state", "--listen", "off", "--epoch-interval", "5ms"];
        let herald = Herald::start(dir, &[&args[..], &["--workers", &workers]].concat(), &[]);
        std::thread::sleep(Duration::from_millis(random.random_range(100..900)));
        append(dir, &mut random, &mut clock, &mut held);
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        herald.kill();
    }
    run_once(dir);
    let verified = succeed(dir, &["state", "verify", "state", "scores.sql"]);
    assert!(verified.contains("derived again and equal"), "{verified}");

    let winners = "SELECT team, points, player FROM winners";
    let found = assert_indexed(dir, "winners_by_team", winners, ("team = 't1'", "lower(team) = 't1'"));
    let mut expected = Vec::new();
    for (player, (team, points)) in &held {
        if team == "t1" && *points > 2 {
            expected.push(format!("{team},{points},{player}"));
        }
    }
    expected.sort();
    assert!(!expected.is_empty());
    assert_eq!(found.lines().skip(1).collect::<Vec<_>>(), expected);
    let ranges = ("points > 7", "abs(points) > 7");
    assert_indexed(dir, "winners_by_points", winners, ranges);
    assert_indexed(dir, "teams_by_points", "SELECT team, points, 0 AS x FROM teams", ranges);
    let recent = "SELECT team, window_end, n FROM recent";
    let left = assert_indexed(dir, "recent_by_team", recent, ("team = 't2'", "lower(team) = 't2'"));
    // An hour has passed, of which the windows that ended less than ten minutes ago and the open one are served.
    assert!((3..=5).contains(&left.lines().count()), "{left}");
}

/// Asserts that the state is sound, and that its indexes are these.
fn assert_indexes(dir: &Path, expected: &[&str]) {
    succeed(dir, &["state", "verify", "state"]);
    let told = succeed(dir, &["state", "inspect", "state"]);
    let mut names = Vec::new();
    for line in told.lines() {
        names.extend(line.strip_prefix("index ").and_then(|rest| rest.trim().split(':').next()));
    }
    assert_eq!(names, expected, "{told}");
}

#[test]
fn an_index_comes_and_goes_with_the_edition() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (mut clock, mut held) = (0, BTreeMap::new());
    append(dir, &mut ChaCha8Rng::seed_from_u64(1), &mut clock, &mut held);
    write_topology(dir, SCORES);
    run_once(dir);
    assert_indexes(dir, &[]);
    let query = "SELECT team, points, player FROM winners WHERE team = 't3' ORDER BY 1, 2, 3";
    let answer = ask(dir, query);
    let plan = || ask(dir, &format!("EXPLAIN {query}"));
    assert!(!plan().contains("index="), "{}", plan());

    write_topology(dir, &[SCORES, INDEXES].concat());
    // A state without the index, and then one in which filling it was interrupted, are as they were.
    #[cfg(feature = "failpoints")]
    {
        let killed = [("HERALD_FAILPOINTS", "state.index.last=kill@2")];
        let args = ["run", "scores.sql", "--once", "--state", "state", "--listen", "off"];
        let ended = child::herald(dir, &args, &killed, PATIENCE);
        assert_eq!(ended.code, None, "{}", ended.stderr);
        assert_indexes(dir, &["winners_by_team"]);
        assert_eq!(ask(dir, query), answer);
    }
    run_once(dir);
    assert_indexes(dir, &["winners_by_team", "winners_by_points", "teams_by_points", "recent_by_team"]);
    assert!(plan().contains("index=winners_by_team"), "{}", plan());
    assert_eq!(ask(dir, query), answer);

    // Other columns under the same name, one index less; changes go on in both.
    append(dir, &mut ChaCha8Rng::seed_from_u64(2), &mut clock, &mut held);
    let edited = INDEXES
        .replace("(team, points)", "(player, team)")
        .replace("CREATE INDEX teams_by_points ON teams (points);", "");
    write_topology(dir, &[SCORES, &edited].concat());
    run_once(dir);
    assert_indexes(dir, &["winners_by_team", "winners_by_points", "recent_by_team"]);
    assert!(!plan().contains("index="), "{}", plan());

    write_topology(dir, SCORES);
    run_once(dir);
    assert_indexes(dir, &[]);
    // With a changed view and with one that stays; the changed one is filled with its indexes.
    write_topology(dir, &[&SCORES.replace("points > 2", "points > 3"), INDEXES].concat());
    run_once(dir);
    assert_indexes(dir, &["winners_by_team", "winners_by_points", "teams_by_points", "recent_by_team"]);
    let winners = "SELECT team, points, player FROM winners";
    assert_indexed(dir, "winners_by_team", winners, ("team = 't1'", "lower(team) = 't1'"));
    assert!(!ask(dir, winners).contains(",3,"), "a row of the earlier text");
}

/// A view whose index takes several pieces, and the index.
#[cfg(feature = "failpoints")]
const NOTES: &str = "
CREATE TABLE notes (player VARCHAR, note VARCHAR, points BIGINT, PRIMARY KEY (player))
WITH (connector = 'file', path = 'notes.jsonl', follow = 'true') FORMAT UPSERT ENCODE JSON;
CREATE MATERIALIZED VIEW kept AS SELECT player, note, points FROM notes;
";
#[cfg(feature = "failpoints")]
const NOTES_INDEX: &str = "CREATE INDEX kept_by_points ON kept (points);";

/// Starts a topology that takes seconds for each piece of an index, waits until it fills one, and stops it.
#[cfg(feature = "failpoints")]
fn stop_while_filling(dir: &Path, args: &[&str]) -> child::Ended {
    let slow = [("HERALD_FAILPOINTS", "state.index.piece=sleep(4000)")];
    let args = [&["run", "scores.sql", "--state", "state", "--listen", "off"], args].concat();
    let mut herald = Herald::start(dir, &args, &slow);
    let until = Instant::now() + PATIENCE;
    while !herald.said().contains("an index is being filled") {
        assert!(herald.running() && Instant::now() < until, "{}", herald.said());
        std::thread::sleep(Duration::from_millis(10));
    }
    herald.terminate(PATIENCE)
}

/// The number of entries that an index had when a start began to fill it, as its log tells.
#[cfg(feature = "failpoints")]
fn entries_at_start(ended: &child::Ended) -> u64 {
    let line = ended.stderr.lines().find(|line| line.contains("an index is being filled"));
    let number = line.and_then(|line| line.split_once("entries=")).map(|(_, rest)| rest.trim());
    number.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {}", ended.stderr))
}

/// SIGTERM is heard between two pieces of an index, also of a run to the end of its input; each start goes on where
/// the one before it ended.
#[cfg(feature = "failpoints")]
#[test]
fn a_stop_is_heard_while_an_index_is_filled() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (players, note) = (4000, "x".repeat(8 << 10));
    let mut notes = String::new();
    for player in 0..players {
        let value = format!(r#"{{"note":"{note}","points":{}}}"#, player % 7);
        notes.push_str(&format!("{{\"key\":{{\"player\":\"p{player}\"}},\"value\":{value}}}\n"));
    }
    fs::write(dir.join("notes.jsonl"), notes).expect("a file");
    write_topology(dir, NOTES);
    run_once(dir);
    write_topology(dir, &[NOTES, NOTES_INDEX].concat());
    let query = "SELECT count(*) AS n FROM kept WHERE points = 3";

    let said = "before index kept_by_points was filled; the next start goes on with it";
    let stopped = stop_while_filling(dir, &[]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert!(stopped.stderr.contains(said), "{}", stopped.stderr);
    assert_eq!(entries_at_start(&stopped), 0);
    assert_indexes(dir, &[]);
    assert_eq!(ask(dir, query), "n\n571\n");
    let again = stop_while_filling(dir, &["--once"]);
    assert_eq!(again.code, Some(130), "{}", again.stderr);
    assert!(again.stderr.contains(said), "{}", again.stderr);
    let entries = entries_at_start(&again);
    assert!((1..players).contains(&entries), "{entries}");
    assert_indexes(dir, &[]);

    // Killed behind the next piece.
    let killed = [("HERALD_FAILPOINTS", "state.index.piece=kill")];
    let args = ["run", "scores.sql", "--once", "--state", "state", "--listen", "off"];
    let ended = child::herald(dir, &args, &killed, PATIENCE);
    assert_eq!(ended.code, None, "{}", ended.stderr);
    let ended = child::succeed(dir, &args, &[], PATIENCE);
    assert!(entries_at_start(&ended) > entries, "{}", ended.stderr);
    assert_indexes(dir, &["kept_by_points"]);
    let plan = ask(dir, &format!("EXPLAIN {query}"));
    assert!(plan.contains("index=kept_by_points"), "{plan}");
    assert_eq!(ask(dir, query), "n\n571\n");
}

#[test]
fn a_damaged_index_is_found_and_mended() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    append(dir, &mut ChaCha8Rng::seed_from_u64(3), &mut 0, &mut BTreeMap::new());
    write_topology(dir, &[SCORES, INDEXES].concat());
    run_once(dir);
    let store = Store::open(&dir.join("state"), &StoreOptions::default()).expect("a state");
    let catalogue = store.catalogue().expect("a catalogue").expect("it has run");
    let index = catalogue.find(StateTableKind::Index, "winners_by_team").expect("an index");
    let mut keys = Rows::new();
    let mut scan = store.iter(index.id, &[]).expect("a table");
    keys.push(scan.next_entry().expect("it reads").expect("an entry").0);
    drop(scan);
    let mut values = Blobs::new();
    values.push(None);
    let held = store.meta();
    let commit = Commit {
        epoch: held.epoch + 1,
        commit_ms: held.commit_ms,
        progress: held.progress,
        writes: vec![Writes { table_id: index.id, keys, values }],
        ..Commit::default()
    };
    store.commit(commit).expect("a commit");
    drop(store);

    let told = child::herald(dir, &["state", "verify", "state"], &[], PATIENCE);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    let lacks =
        r#"index "winners_by_team" lacks 1 of the rows of view "winners", and holds 0 that it has not"#;
    assert!(told.stderr.contains(lacks), "{}", told.stderr);
    let mended = succeed(dir, &["state", "repair", "state", "scores.sql"]);
    assert!(
        mended.contains("index winners_by_team: 0 wrong entries replaced, 1 missing entry added"),
        "{mended}"
    );
    succeed(dir, &["state", "verify", "state", "scores.sql"]);
    let again = succeed(dir, &["state", "repair", "state", "scores.sql"]);
    assert!(again.contains("nothing had to be repaired"), "{again}");
}
