//! Pseudonyms: columns that leave every kind of sink as keyed hashes, and keys that change. Python's `hmac` says which
//! hash is right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::child::{self, Ended};
use crate::exports::PATIENCE;
use crate::{broker, input, servers};

const KEY: &str = "0123456789abcdef-the-first-key-of-a-test";
const OTHER_KEY: &str = "0123456789abcdef-another-key-of-a-test";

const USERS: &str = "
CREATE TABLE users (id BIGINT, puuid VARCHAR, riot_id VARCHAR, points BIGINT, PRIMARY KEY (id)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.users', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE SOURCE seen (puuid VARCHAR, page VARCHAR) WITH (connector = 'file', path = 'seen.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW people AS
  SELECT puuid, max(riot_id) AS riot_id, sum(points) AS points FROM users GROUP BY puuid;
CREATE MATERIALIZED VIEW rows AS SELECT id, puuid, points FROM users;
";
/// Sinks whose key has no pseudonyms.
const BY_ID: &str = "
CREATE SINK by_id FROM rows
WITH (connector = 'kafka', topic = 'PREFIX.by_id', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'id',
      pseudonyms = 'puuid', pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT UPSERT ENCODE JSON;
CREATE SINK changes_of_rows FROM rows
WITH (connector = 'kafka', topic = 'PREFIX.changes', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'id',
      pseudonyms = 'puuid', pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT DEBEZIUM ENCODE JSON;
CREATE SINK copied FROM rows
WITH (connector = 'parquet', path = 'exports/copied', mode = 'current', primary_key = 'id', pseudonyms = 'puuid',
      pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT UPSERT ENCODE PARQUET;
CREATE SINK lines FROM rows
WITH (connector = 'file', path = 'lines.jsonl', primary_key = 'id', pseudonyms = 'puuid',
      pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT UPSERT ENCODE JSON;
";
/// Sinks whose key has pseudonyms, and those that append.
const BY_PERSON: &str = "
CREATE SINK by_person FROM people
WITH (connector = 'kafka', topic = 'PREFIX.people', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      primary_key = 'puuid', pseudonyms = 'puuid, riot_id', pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;
CREATE SINK changed FROM people
WITH (connector = 'parquet', path = 'exports/changed', primary_key = 'puuid', pseudonyms = 'puuid, riot_id',
      pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT UPSERT ENCODE PARQUET;
CREATE SINK appended FROM seen
WITH (connector = 'parquet', path = 'exports/appended', partition_by = 'puuid', pseudonyms = 'puuid',
      pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT PLAIN ENCODE PARQUET;
CREATE SINK seen_out FROM seen
WITH (connector = 'kafka', topic = 'PREFIX.seen', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', key = 'puuid',
      pseudonyms = 'puuid', pseudonym.key = '${HERALD_PSEUDONYM_KEY}')
FORMAT PLAIN ENCODE JSON KEY ENCODE TEXT;
";

/// A directory with a topology of these sinks, three users and two views of a page.
fn place(prefix: &str, sinks: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("t.sql"), [USERS, sinks].concat().replace("PREFIX", prefix)).expect("a file");
    let seen = "{\"puuid\":\"anna\",\"page\":\"a\"}\n{\"puuid\":\"ben\",\"page\":\"b\"}\n";
    fs::write(dir.path().join("seen.jsonl"), seen).expect("a file");
    let broker = broker::shared();
    broker.create_topic(&format!("{prefix}.users"), 1);
    let users = [
        json!({"id": 1, "puuid": "anna", "riot_id": "Anna#EUW", "points": 3}),
        json!({"id": 2, "puuid": "anna", "riot_id": "Anna#EUW", "points": 4}),
        json!({"id": 3, "puuid": "ben", "riot_id": null, "points": 5}),
    ]
    .map(|user| user.to_string());
    broker.produce(&format!("{prefix}.users"), users.iter().map(|user| ("k", user.as_bytes())));
    dir
}

fn herald(dir: &Path, args: &[&str], key: &str) -> Ended {
    let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_PSEUDONYM_KEY", key)];
    let ended = child::herald(dir, args, &env, PATIENCE);
    assert!(!format!("{ended:?}").contains("0123456789abcdef"), "the key is shown: {ended:?}");
    ended
}

fn once(dir: &Path, name: &str, key: &str) -> Ended {
    herald(dir, &["run", "t.sql", "--name", name, "--once", "--state", "state", "--listen", "off"], key)
}

/// Runs a Python program, and reads its output as JSON.
fn python(program: &str, args: &[&str]) -> Value {
    let script = servers::root().join("scripts/clients.sh");
    let ran = Command::new(script).args(["python", "-B", "-c", program]).args(args).output();
    let ran = ran.expect("the script runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// The pseudonyms of some values, as Python computes them.
fn pseudonyms<const N: usize>(key: &str, values: [&str; N]) -> [String; N] {
    let program = "import hashlib, hmac, json, sys
print(json.dumps([hmac.new(sys.argv[1].encode(), v.encode(), hashlib.sha256).hexdigest() for v in sys.argv[2:]]))";
    let told = python(program, &[&[key][..], &values].concat());
    values.map(|value| {
        let at = values.iter().position(|other| *other == value).unwrap_or_default();
        told[at].as_str().expect("a text").to_owned()
    })
}

/// The rows of Parquet files, as text, sorted.
fn parquet(dir: &Path, columns: &str, files: &str) -> Vec<String> {
    let program = "import duckdb, json, sys
print(json.dumps(sorted(' '.join(map(str, row)) for row in duckdb.sql(sys.argv[1]).fetchall())))";
    let path = dir.join(files);
    let query = format!("SELECT {columns} FROM read_parquet('{}', hive_partitioning = true)", path.display());
    let rows = python(program, &[&query]);
    rows.as_array().expect("rows").iter().map(|row| row.as_str().unwrap_or_default().to_owned()).collect()
}

/// The ids and persons of the newest copy of a view.
fn newest_copy(dir: &Path) -> Vec<String> {
    let newest = fs::read(dir.join("exports/copied/latest.json")).expect("latest.json");
    let newest: Value = serde_json::from_slice(&newest).expect("JSON");
    let path = newest["path"].as_str().expect("a path");
    parquet(dir, "id, puuid", &format!("exports/copied/{path}/*.parquet"))
}

fn sorted<const N: usize>(mut rows: [String; N]) -> Vec<String> {
    rows.sort();
    rows.into()
}

/// The value of each key in an upsert topic.
fn by_id(topic: &str) -> BTreeMap<i64, String> {
    let rows = input::upserted(topic, input::Encode::Json);
    let pair = |row: &Value| {
        (row["id"].as_f64().unwrap_or(0.0) as i64, row["puuid"].as_str().unwrap_or("").to_owned())
    };
    rows.iter().map(pair).collect()
}

#[test]
fn every_sink_sends_pseudonyms() {
    const NAME: &str = "pseudonyms";
    let dir = place(NAME, &[BY_ID, BY_PERSON].concat());
    let dir = dir.path();
    let ended = once(dir, NAME, KEY);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let [anna, ben, riot_id] = pseudonyms(KEY, ["anna", "ben", "Anna#EUW"]);
    let broker = broker::shared();

    let people = broker.read_committed("pseudonyms.people");
    let mut found: Vec<(String, Value)> = people
        .iter()
        .map(|read| {
            let key = String::from_utf8_lossy(read.key.as_deref().unwrap_or_default()).into_owned();
            (key, serde_json::from_slice(read.value.as_deref().unwrap_or(b"null")).expect("JSON"))
        })
        .collect();
    found.sort_by_key(|(_, value)| value["riot_id"].is_null());
    let points = |row: &Value| row["points"].as_f64().or(row["points"].as_str().and_then(|p| p.parse().ok()));
    assert_eq!((found[0].0.as_str(), &found[0].1["puuid"]), (anna.as_str(), &json!(anna)));
    assert_eq!((&found[0].1["riot_id"], points(&found[0].1)), (&json!(riot_id), Some(7.0)));
    assert_eq!((found[1].0.as_str(), &found[1].1["riot_id"]), (ben.as_str(), &Value::Null));
    assert_eq!(by_id("pseudonyms.by_id"), [(1, anna.clone()), (2, anna.clone()), (3, ben.clone())].into());
    let mut changes: Vec<String> = Vec::new();
    for read in broker.read_committed("pseudonyms.changes") {
        let value: Value = serde_json::from_slice(read.value.as_deref().unwrap_or(b"null")).expect("JSON");
        changes.push(format!("{} {}", value["op"], value["after"]["puuid"]));
    }
    changes.sort();
    assert_eq!(
        changes,
        sorted([format!("\"c\" \"{anna}\""), format!("\"c\" \"{anna}\""), format!("\"c\" \"{ben}\"")])
    );
    let mut seen: Vec<String> = Vec::new();
    for read in broker.read_committed("pseudonyms.seen") {
        seen.push(String::from_utf8(read.key.expect("a key")).expect("text"));
    }
    seen.sort();
    assert_eq!(seen, sorted([anna.clone(), ben.clone()]));

    assert_eq!(
        parquet(dir, "op, puuid, riot_id", "exports/changed/changes/**/*.parquet"),
        sorted([format!("insert {anna} {riot_id}"), format!("insert {ben} None")])
    );
    assert_eq!(
        parquet(dir, "puuid, page", "exports/appended/data/**/*.parquet"),
        sorted([format!("{anna} a"), format!("{ben} b")])
    );
    let copied = sorted([format!("1 {anna}"), format!("2 {anna}"), format!("3 {ben}")]);
    assert_eq!(newest_copy(dir), copied);
    let lines = fs::read_to_string(dir.join("lines.jsonl")).expect("lines");
    assert_eq!((lines.matches(anna.as_str()).count(), lines.contains("anna")), (2, false), "{lines}");
    for args in [
        &["explain", "t.sql"][..],
        &["check", "t.sql"],
        &["plan", "t.sql", "--name", NAME, "--state", "state"],
    ] {
        assert_eq!(herald(dir, args, KEY).code, Some(0), "{args:?}");
    }
    let explained = herald(dir, &["explain", "t.sql", "--only", "by_id"], KEY).stdout;
    assert!(explained.contains(", pseudonyms (puuid) by key "), "{explained}");

    // By another key some pseudonyms would stay: those in keys, and those that were appended.
    let refused = once(dir, NAME, OTHER_KEY);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for sink in ["by_person", "changed", "appended", "seen_out"] {
        assert!(refused.stderr.contains(&format!("sink {sink} has other pseudonyms")), "{}", refused.stderr);
    }
    assert!(!refused.stderr.contains("sink by_id has other"), "{}", refused.stderr);
    assert_eq!(once(dir, NAME, KEY).code, Some(0), "the earlier key goes on");
    assert_eq!(broker.read_committed("pseudonyms.people").len(), 2, "nothing is sent again");
    let short = once(dir, NAME, "hunter2hunter2");
    assert_eq!(short.code, Some(2));
    assert!(short.stderr.contains("option pseudonym.key: has fewer than 32 bytes"), "{}", short.stderr);
    assert!(!short.stderr.contains("hunter2"), "{}", short.stderr);
}

#[test]
fn another_key_replaces_every_pseudonym() {
    const NAME: &str = "pseudonyms-again";
    let dir = place(NAME, BY_ID);
    let dir = dir.path();
    assert_eq!(once(dir, NAME, KEY).code, Some(0));
    let [anna, ben] = pseudonyms(KEY, ["anna", "ben"]);
    assert_eq!(by_id("pseudonyms-again.by_id"), [(1, anna.clone()), (2, anna), (3, ben)].into());
    let plan = herald(dir, &["plan", "t.sql", "--name", NAME, "--state", "state"], OTHER_KEY);
    assert_eq!(plan.code, Some(3), "{}\n{}", plan.stdout, plan.stderr);
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected =
        "changed sink by_id: sends all rows, as it has other pseudonyms, by another key or of other columns";
    assert!(said.contains(expected), "{}", plan.stdout);

    let ended = once(dir, NAME, OTHER_KEY);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let [anna, ben] = pseudonyms(OTHER_KEY, ["anna", "ben"]);
    let expected: BTreeMap<i64, String> = [(1, anna.clone()), (2, anna.clone()), (3, ben.clone())].into();
    assert_eq!(by_id("pseudonyms-again.by_id"), expected);
    assert_eq!(broker::shared().read_committed("pseudonyms-again.by_id").len(), 6);
    let changes = broker::shared().read_committed("pseudonyms-again.changes");
    let sent =
        |read: &broker::Read| String::from_utf8_lossy(read.value.as_deref().unwrap_or_default()).into_owned();
    assert!(changes[3..].iter().all(|read| sent(read).contains(&anna) || sent(read).contains(&ben)));
    assert_eq!(changes.len(), 6);
    let copied = sorted([format!("1 {anna}"), format!("2 {anna}"), format!("3 {ben}")]);
    assert_eq!(newest_copy(dir), copied);
    assert_eq!(once(dir, NAME, OTHER_KEY).code, Some(0));
    assert_eq!(
        broker::shared().read_committed("pseudonyms-again.by_id").len(),
        6,
        "a start sends nothing again"
    );
}
