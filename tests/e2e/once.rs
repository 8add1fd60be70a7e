//! `run` from an operator's view: bounded input ends by itself, SIGTERM ends cleanly, and the endpoints
//! answer.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::{self, Herald};
use crate::input::{self, Encode};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);

/// Words counted from one file to another.
const WORDS: &str = "
CREATE TABLE words (
  id INT NOT NULL, word VARCHAR NOT NULL, PRIMARY KEY (id)
) ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'words.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW counts AS SELECT word, count(*) AS n FROM words GROUP BY word;
CREATE SINK counts_out FROM counts WITH (connector = 'file', path = 'counts.jsonl', primary_key = 'word')
FORMAT UPSERT ENCODE JSON;
";

fn words(dir: &Path, lines: &[&str]) {
    fs::write(dir.join("words.jsonl"), lines.iter().map(|l| format!("{l}\n")).collect::<String>())
        .expect("a file");
}

fn counts(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("counts.jsonl")).expect("the sink's file");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn once_over_files_ends_and_goes_on_with_what_is_new() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("words.sql"), WORDS).expect("a file");
    let run = ["run", "words.sql", "--once"];
    let mut lines = vec![r#"{"id":1,"word":"ace"}"#, r#"{"id":2,"word":"gank"}"#, r#"{"id":3,"word":"ace"}"#];
    words(dir, &lines);
    child::succeed(dir, &run, &[], PATIENCE);
    let mut first = counts(dir);
    first.sort();
    assert_eq!(
        first,
        [
            r#"{"key":{"word":"ace"},"value":{"word":"ace","n":2}}"#,
            r#"{"key":{"word":"gank"},"value":{"word":"gank","n":1}}"#
        ]
    );

    child::succeed(dir, &run, &[], PATIENCE);
    assert_eq!(counts(dir).len(), 2, "nothing new in, nothing new out");

    lines.push(r#"{"id":2,"word":"ace"}"#);
    words(dir, &lines);
    child::succeed(dir, &run, &[], PATIENCE);
    let mut added = counts(dir).split_off(2);
    added.sort();
    assert_eq!(
        added,
        [r#"{"key":{"word":"ace"},"value":{"word":"ace","n":3}}"#, r#"{"key":{"word":"gank"},"value":null}"#]
    );

    let answer = child::succeed(
        dir,
        &["query", "SELECT word, n FROM counts", "--state", ".herald/words", "--format", "csv"],
        &[],
        PATIENCE,
    );
    assert!(answer.stdout.contains("ace,3"), "{}", answer.stdout);
}

#[test]
fn of_two_copies_of_a_state_that_both_ran_one_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("words.sql"), WORDS).expect("a file");
    let run = |state: &str| {
        let args = ["run", "words.sql", "--once", "--listen", "off", "--state", state];
        child::herald(dir, &args, &[], PATIENCE)
    };
    let first = r#"{"id":1,"word":"ace"}"#;
    let (own, other) = ([first, r#"{"id":2,"word":"gank"}"#], [first, r#"{"id":2,"word":"baron"}"#]);
    words(dir, &[first]);
    assert_eq!(run("one").code, Some(0));
    child::succeed(dir, &["state", "backup", "one", "--to", "copy"], &[], PATIENCE);
    child::succeed(dir, &["state", "restore", "copy", "--to", "two"], &[], PATIENCE);
    let before =
        ["counts.jsonl", "counts.jsonl.herald"].map(|name| (name, fs::read(dir.join(name)).expect("a file")));
    words(dir, &own);
    assert_eq!(run("one").code, Some(0));
    // The other copy publishes an epoch of the same number.
    for (name, content) in before {
        fs::write(dir.join(name), content).expect("a file");
    }
    words(dir, &other);
    for _ in 0..2 {
        let ended = run("two");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    words(dir, &own);
    let refused = run("one");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("both copies ran"), "{}", refused.stderr);
}

/// Counts of kills by hour, emitted when the hour closes.
const HOURS: &str = "
CREATE SOURCE kills (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '10 minutes')
WITH (connector = 'file', path = 'kills.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW hours AS
SELECT window_start, window_end, count(*) AS n FROM TUMBLE(kills, at, INTERVAL '1 hour')
GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE SINK hours_out FROM hours WITH (connector = 'file', path = 'hours.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW recent WITH (retention = '1 hour') AS
SELECT window_end, count(*) AS n FROM TUMBLE(kills, at, INTERVAL '1 hour') GROUP BY window_end;
";

#[test]
fn a_bounded_source_closes_its_windows_at_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let kill = |id: u32, time: &str| format!("{{\"id\":{id},\"at\":\"2026-01-31T{time}Z\"}}\n");
    let mut kills = kill(1, "09:10:00") + &kill(2, "12:20:00") + &kill(3, "12:59:00");
    fs::write(dir.join("hours.sql"), HOURS).expect("a file");
    fs::write(dir.join("kills.jsonl"), &kills).expect("a file");
    let run = ["run", "hours.sql", "--once"];
    let told = child::succeed(dir, &run, &[], PATIENCE).stdout;
    assert!(told.contains("kills: 3 read = 3 accepted"), "{told}");
    let sent = || fs::read_to_string(dir.join("hours.jsonl")).expect("the sink's file");
    let first = sent();
    assert_eq!(first.lines().count(), 2, "{first}");
    assert!(first.contains(r#""window_end":"2026-01-31T13:00:00.000000Z","n":2"#), "{first}");

    // The hour that ended at ten had been closed for more than an hour when the last kill arrived.
    let query = ["query", "SELECT * FROM recent", "--state", ".herald/hours", "--format", "csv"];
    let answer = child::succeed(dir, &query, &[], PATIENCE).stdout;
    assert!(answer.contains(",2") && !answer.contains("10:00:00"), "{answer}");

    // Records after the end are late, and no window closes twice.
    kills += &kill(4, "12:30:00");
    fs::write(dir.join("kills.jsonl"), kills).expect("a file");
    let told = child::succeed(dir, &run, &[], PATIENCE);
    assert!(
        told.stdout.contains("kills: 4 read = 3 accepted") && told.stdout.contains("1 late"),
        "{}",
        told.stdout
    );
    assert_eq!(sent(), first);
}

/// Kills of the last hour by the time of the records, and those before now.
const RECENT: &str = "
CREATE SOURCE kills (id INT, at TIMESTAMPTZ, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'kills.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW last_hour AS SELECT id FROM kills WHERE at > now() - INTERVAL '1 hour';
CREATE MATERIALIZED VIEW until_now AS SELECT id FROM kills WHERE at <= now();
";

#[test]
fn a_view_that_the_end_of_its_source_empties_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("recent.sql"), RECENT).expect("a file");
    let kills = "{\"id\":1,\"at\":\"2026-01-31T09:10:00Z\"}\n{\"id\":2,\"at\":\"2026-01-31T12:20:00Z\"}\n";
    fs::write(dir.join("kills.jsonl"), kills).expect("a file");
    // The source ends in the first run, and has ended before the second.
    for run in ["first", "second"] {
        let told = child::succeed(dir, &["run", "recent.sql", "--once"], &[], PATIENCE).stderr;
        let warned: Vec<&str> = told.lines().filter(|line| line.contains("no row passes")).collect();
        assert_eq!(warned.len(), 1, "{run}: {told}");
        assert!(warned[0].contains("last_hour") && !warned[0].contains("until_now"), "{run}: {told}");
    }
    let rows = |view: &str| {
        let query = format!("SELECT count(*) AS n FROM {view}");
        let args = ["query", query.as_str(), "--state", ".herald/recent", "--format", "csv"];
        child::succeed(dir, &args, &[], PATIENCE).stdout
    };
    assert_eq!((rows("last_hour").trim(), rows("until_now").trim()), ("n\n0", "n\n2"));
}

/// Ratios, of which the one with b = 1 fails.
const RATIOS: &str = "
CREATE SOURCE pairs (id INT, b INT) WITH (connector = 'file', path = 'pairs.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW ratios AS SELECT id, 10 / (b - 1) AS ratio FROM pairs;
";

#[test]
fn rows_that_fail_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("ratios.sql"), RATIOS).expect("a file");
    let run = ["run", "ratios.sql", "--once"];
    let missing = child::herald(dir, &run, &[], PATIENCE);
    assert_eq!(missing.code, Some(2), "{}", missing.stderr);
    assert!(missing.stderr.contains("error: source pairs: /"), "{}", missing.stderr);
    assert!(missing.stderr.contains("pairs.jsonl is not there\n"), "{}", missing.stderr);

    fs::write(dir.join("pairs.jsonl"), "{\"id\":1,\"b\":1}\n{\"id\":2,\"b\":3}\n").expect("a file");
    let told = child::succeed(dir, &run, &[], PATIENCE);
    assert!(told.stdout.contains("pairs: 2 read = 2 accepted"), "{}", told.stdout);
    let said = "An expression fails on 1 row, which is left out (view ratios: ";
    assert!(told.stdout.contains(said), "{}", told.stdout);
    let warned = |stderr: &str| stderr.lines().filter(|line| line.contains(said)).count();
    assert_eq!(warned(&told.stderr), 1, "{}", told.stderr);

    // It fails still, and is no news.
    let again = child::succeed(dir, &run, &[], PATIENCE);
    assert!(again.stdout.contains(said), "{}", again.stdout);
    assert_eq!(warned(&again.stderr), 0, "{}", again.stderr);
    for (query, told) in [
        ("SELECT * FROM ratio", "did you mean ratios?"),
        ("SELECT * FROM pairs", "CREATE MATERIALIZED VIEW over pairs"),
        ("DELETE FROM ratios", "queries only read"),
    ] {
        let refused = child::herald(dir, &["query", query], &[], PATIENCE);
        assert_eq!(refused.code, Some(2), "{query}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{query}: {}", refused.stderr);
    }
}

/// Kills joined with the champions' names at their arrival.
const NAMED: &str = "
CREATE SOURCE kills (champion INT) WITH (connector = 'file', path = 'kills.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE TABLE champions (id INT, name VARCHAR, PRIMARY KEY (id)) ON CONFLICT OVERWRITE
WITH (connector = 'file', path = 'champions.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW named AS
SELECT c.name, count(*) AS n FROM kills AS k JOIN champions FOR SYSTEM_TIME AS OF PROCTIME() AS c
ON k.champion = c.id GROUP BY c.name;
";

#[test]
fn a_dimension_is_read_before_what_looks_it_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    // More rows than an epoch holds: without waiting for the dimension the kill would find no match.
    const LAST: u32 = 300_000;
    let champions: String = (1..=LAST).map(|id| format!("{{\"id\":{id},\"name\":\"c{id}\"}}\n")).collect();
    fs::write(dir.join("named.sql"), NAMED).expect("a file");
    fs::write(dir.join("champions.jsonl"), champions).expect("a file");
    fs::write(dir.join("kills.jsonl"), format!("{{\"champion\":{LAST}}}\n")).expect("a file");
    child::succeed(dir, &["run", "named.sql", "--once"], &[], PATIENCE);
    let query = ["query", "SELECT * FROM named", "--state", ".herald/named", "--format", "csv"];
    let answer = child::succeed(dir, &query, &[], PATIENCE).stdout;
    assert!(answer.contains(&format!("c{LAST},1")), "{answer}");
}

/// Waits until an endpoint answers 200. Returns the body.
fn answer(herald: &Herald, url: &str) -> String {
    let started = Instant::now();
    loop {
        if let Ok((200, body)) = servers::http("GET", url, None) {
            return body;
        }
        assert!(started.elapsed() < PATIENCE, "{url} does not answer:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn endpoints_answer_and_sigterm_ends_in_order() {
    let prefix = "once-serve";
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = servers::root().join("tests/fixtures/matches.jsonl");
    let matches = input::matches(&fixture, &["--revisions", "--broken"], Encode::Json, prefix);
    let champions = input::champions(Encode::Json, prefix, "");
    broker::shared().create_topic(&format!("{prefix}.match.completed"), 2);
    broker::shared().create_topic(&format!("{prefix}.champion"), 1);
    broker::shared().produce(&format!("{prefix}.match.completed"), input::pairs(&matches));
    broker::shared().produce(&format!("{prefix}.champion"), input::pairs(&champions));

    let topology = child::topology(dir.path(), "dataflows/topologies/match_analytics.sql", prefix);
    let listen = free_address();
    let args =
        ["run", &*topology.to_string_lossy(), "--name", prefix, "--state", "state", "--listen", &listen];
    let herald = Herald::start(dir.path(), &args, &[("KAFKA_BOOTSTRAP", servers::kafka())]);
    answer(&herald, &format!("http://{listen}/healthz"));
    answer(&herald, &format!("http://{listen}/readyz"));

    // Every record has one outcome: the metrics' counts add up to what was produced.
    let started = Instant::now();
    loop {
        let metrics = answer(&herald, &format!("http://{listen}/metrics"));
        let rows = metrics.lines().filter(|l| l.contains(r#"source="matches""#) && l.contains("outcome=\""));
        let count: f64 = rows.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if count as usize == matches.len() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{} produced, metrics:\n{metrics}", matches.len());
        std::thread::sleep(Duration::from_millis(100));
    }

    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    for (view, rows) in input::expected(&matches, &champions) {
        let topic = format!("{prefix}.analytics.computed.{view}");
        input::assert_same(&topic, &input::upserted(&topic, Encode::Json), &rows);
    }
}

#[test]
fn demo_off_a_terminal_prints_and_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    // A busy machine may need longer for the first results.
    for time in ["3s", "10s", "40s"] {
        let ended = child::succeed(dir.path(), &["demo", "--for", time], &[], 2 * PATIENCE);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        if ended.stdout.contains(" kda ") {
            return;
        }
        println!("no results in {time}:\n{}", ended.stdout);
    }
    panic!("the demo gives no results");
}
