//! Lineage from outside: the examples of docs/lineage.md, and the version that the records of sinks carry.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{self, Read};
use crate::child::{self, Herald};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(90);

/// Every command of the page prints what the page shows; with HERALD_UPDATE=1 the page is written anew.
#[test]
fn the_guide_shows_what_is_printed() {
    let path = servers::root().join("docs/lineage.md");
    let page = fs::read_to_string(&path).expect("the page");
    let dir = tempfile::tempdir().expect("a directory");
    let sql = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a topology");
    fs::write(dir.path().join("shop.sql"), sql).expect("a file");
    let mut found = String::new();
    for (at, part) in page.split("```console\n").enumerate() {
        let Some((block, rest)) = part.split_once("```").filter(|_| at > 0) else {
            found.push_str(part);
            continue;
        };
        let command = block.lines().next().and_then(|line| line.strip_prefix("$ ")).expect("a command");
        let ran = Command::new("bash")
            .args(["-c", &format!("herald() {{ '{}' \"$@\"; }}; {command}", env!("CARGO_BIN_EXE_herald"))])
            .current_dir(dir.path())
            .output()
            .expect("bash runs");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
        let shown = String::from_utf8(ran.stdout).expect("text");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        found.push_str(&format!("```console\n$ {command}\n{shown}```{rest}"));
    }
    if std::env::var_os("HERALD_UPDATE").is_some() {
        fs::write(&path, &found).expect("the page is written");
    }
    assert_eq!(found, fs::read_to_string(&path).expect("the page"));
}

#[test]
fn a_name_that_is_not_there_is_a_mistake() {
    let dir = tempfile::tempdir().expect("a directory");
    child::succeed(dir.path(), &["init"], &[], PATIENCE);
    let wrong =
        child::herald(dir.path(), &["explain", "matches.sql", "--lineage", "matches.nobody"], &[], PATIENCE);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("matches has no column nobody"), "{}", wrong.stderr);
}

const TEXT: &str = "
CREATE TABLE scores (player VARCHAR, points BIGINT, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.scores', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW players AS SELECT player, points FROM scores;
CREATE SINK players_out FROM players
WITH (connector = 'kafka', topic = 'PREFIX.players', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'player')
FORMAT UPSERT ENCODE JSON;
";

/// Records carry the version of the text that made them: also those which that text has committed, and which the
/// next one publishes.
#[test]
#[cfg(feature = "failpoints")]
fn records_carry_the_version_of_their_text() {
    let (prefix, broker, dir) = ("lineage", broker::shared(), tempfile::tempdir().expect("a directory"));
    let topic = |name: &str| format!("{prefix}.{name}");
    broker.create_topic(&topic("scores"), 1);
    let bootstrap = ("KAFKA_BOOTSTRAP", servers::kafka());
    let version = |text: &str| {
        fs::write(dir.path().join("t.sql"), text.replace("PREFIX", prefix)).expect("a file");
        let told = child::succeed(dir.path(), &["explain", "t.sql"], &[bootstrap], PATIENCE).stdout;
        let last = told.lines().last().and_then(|line| line.strip_prefix("version ")).expect("a version");
        last.to_owned()
    };
    let feed = |player: &str| {
        let record = json!({"player": player, "points": 1}).to_string();
        broker.produce(&topic("scores"), [("k", record.as_bytes())]);
    };
    let once = |failpoints: &str| {
        let args = ["run", "t.sql", "--name", prefix, "--listen", "off", "--state", "state", "--once"];
        child::herald(dir.path(), &args, &[bootstrap, ("HERALD_FAILPOINTS", failpoints)], PATIENCE)
    };
    let first = version(TEXT);
    feed("a");
    let ended = once("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    feed("b");
    let killed = once("store.write.after=kill");
    assert_eq!(killed.code, None, "{}", killed.stderr);

    let second = version(&format!("{TEXT}CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM scores;\n"));
    assert_ne!(first, second);
    feed("c");
    let ended = once("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = |read: &Read| {
        let row: Value = serde_json::from_slice(read.value.as_deref().expect("a row")).expect("JSON");
        (row["player"].as_str().expect("a player").to_owned(), read.headers["herald.version"].clone())
    };
    let read = broker.read_committed(&topic("players"));
    let found: Vec<(String, String)> = read.iter().map(told).collect();
    let is = |player: &str, version: &str| (player.to_owned(), version.to_owned());
    assert_eq!(found, [is("a", &first), is("b", &first), is("c", &second)]);
    // Whoever asks the process is told the same.
    let address = servers::free_address();
    let args = ["run", "t.sql", "--name", prefix, "--listen", &address, "--state", "state"];
    let herald = Herald::start(dir.path(), &args, &[bootstrap]);
    let url = format!("http://{address}/v1/topology");
    let deadline = std::time::Instant::now() + PATIENCE;
    let body = loop {
        match servers::http("GET", &url, None) {
            Ok((200, body)) => break body,
            _ => assert!(std::time::Instant::now() < deadline, "{}", herald.said()),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["version"], json!(second));
    let shown = child::succeed(dir.path(), &["status", "--url", &address], &[], PATIENCE).stdout;
    assert!(shown.contains(&format!("version {second}\n")), "{shown}");
    herald.terminate(PATIENCE);
}
