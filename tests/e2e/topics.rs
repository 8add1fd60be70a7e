//! Changed source topics, and sink topics with small record limits or slow brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::broker::{self, Broker, Read};
use crate::child::{self, Ended, Herald};
use crate::proxy::Proxy;
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(90);

const PLAYERS: &str = "
CREATE TABLE players (id VARCHAR, team VARCHAR, about VARCHAR, PRIMARY KEY (id)) ON CONFLICT OVERWRITE WITH (
  connector = 'kafka', topic = 'PREFIX.players', dead_letter.topic = 'PREFIX.dead',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, name VARCHAR, PRIMARY KEY (team)) ON CONFLICT OVERWRITE WITH (
  connector = 'kafka', topic = 'PREFIX.teams', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW named AS
  SELECT p.id, p.about, t.name FROM players AS p JOIN teams AS t ON p.team = t.team;
CREATE SINK named_out FROM named WITH (
  connector = 'kafka', topic = 'PREFIX.named', primary_key = 'id',
  properties.transaction.timeout.ms = '${TRANSACTION_MS:-60000}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT UPSERT ENCODE JSON;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
    broker: Broker<'static>,
}

impl Place {
    fn new(prefix: &'static str, broker: Broker<'static>) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("players.sql"), PLAYERS.replace("PREFIX", prefix)).expect("a file");
        let place = Place { prefix, dir, broker };
        broker.create_topic(&place.topic("players"), 1);
        broker.create_topic(&place.topic("teams"), 1);
        place
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn feed(&self, topic: &str, records: &[String]) {
        self.broker.produce(&self.topic(topic), records.iter().map(|r| ("k", r.as_bytes())));
    }

    fn args(&self) -> Vec<&str> {
        vec!["run", "players.sql", "--name", self.prefix, "--state", "state", "--listen", "off"]
    }

    fn start(&self, env: &[(&str, &str)]) -> Herald {
        let mut all = vec![("KAFKA_BOOTSTRAP", self.broker.bootstrap)];
        all.extend(env);
        Herald::start(self.dir.path(), &self.args(), &all)
    }

    fn once(&self) -> Ended {
        let args = [self.args(), vec!["--once"]].concat();
        child::herald(self.dir.path(), &args, &[("KAFKA_BOOTSTRAP", self.broker.bootstrap)], PATIENCE)
    }

    fn named(&self) -> Vec<Value> {
        let value =
            |read: &Read| serde_json::from_slice(read.value.as_deref().unwrap_or(b"null")).expect("JSON");
        self.broker.read_committed(&self.topic("named")).iter().map(value).collect()
    }
}

fn player(id: &str, about: &str) -> String {
    json!({"id": id, "team": "t", "about": about}).to_string()
}

fn team(name: &str) -> String {
    json!({"team": "t", "name": name}).to_string()
}

#[test]
fn a_topic_made_anew_is_refused_even_when_it_is_longer() {
    let place = Place::new("anew", broker::shared());
    let players = place.topic("players");
    place.feed("teams", &[team("red")]);
    place.feed("players", &[player("a", ""), player("b", "")]);
    let first = place.once();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_eq!(place.named().len(), 2);

    place.broker.delete_topic(&players);
    place.broker.create_topic(&players, 1);
    std::thread::sleep(Duration::from_millis(10));
    place.feed("players", &[player("c", ""), player("d", ""), player("e", "")]);
    let refused = place.once();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("at offset 1 another record"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--fresh"), "{}", refused.stderr);
    assert_eq!(place.named().len(), 2, "nothing of it is published");
}

#[test]
fn a_topic_written_in_transactions_and_emptied_after_it_was_read_has_lost_nothing() {
    let place = Place::new("emptied", broker::shared());
    let players = place.topic("players");
    place.feed("teams", &[team("red")]);
    let transact = |ids: &[&str]| {
        let records: Vec<String> = ids.iter().map(|id| player(id, "")).collect();
        place
            .broker
            .produce_in_a_transaction(&players, records.iter().map(|record| ("k", record.as_bytes())));
    };
    // Read to the end offsets at the start.
    transact(&["a", "b"]);
    assert_eq!(place.once().code, Some(0));
    place.broker.delete_all_records(&players);
    transact(&["c"]);
    let ended = place.once();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // And to a later end, once the reader has seen it.
    let herald = place.start(&[]);
    transact(&["d", "e"]);
    wait(&herald, || place.named().len() == 5);
    let inspect = || child::succeed(place.dir.path(), &["state", "inspect", "state"], &[], PATIENCE).stdout;
    wait(&herald, || inspect().contains("partition 0 goes on at offset 8"));
    assert_eq!(herald.terminate(PATIENCE).code, Some(0));
    place.broker.delete_all_records(&players);
    transact(&["f"]);
    let ended = place.once();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut ids: Vec<String> =
        place.named().iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect();
    // Rows of one epoch come in the order of the workers that own them.
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_topic_made_anew_with_the_same_times_is_refused() {
    let place = Place::new("same-times", broker::shared());
    let players = place.topic("players");
    place.feed("teams", &[team("red")]);
    let feed = |ids: &[&str]| {
        let records: Vec<String> = ids.iter().map(|id| player(id, "")).collect();
        place.broker.produce_at(&players, 1_700_000_000_000, records.iter().map(|record| record.as_bytes()));
    };
    feed(&["a", "b"]);
    assert_eq!(place.once().code, Some(0));
    place.broker.delete_topic(&players);
    place.broker.create_topic(&players, 1);
    feed(&["c", "d", "e"]);
    let refused = place.once();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("at offset 1 another record"), "{}", refused.stderr);
    assert_eq!(place.named().len(), 2, "nothing of it is published");
}

#[test]
fn a_topic_deleted_while_it_is_read_ends_the_run() {
    let place = Place::new("gone", broker::shared());
    place.feed("teams", &[team("red")]);
    place.feed("players", &[player("a", "")]);
    let herald = place.start(&[]);
    wait(&herald, || place.broker.end_of(&place.topic("named")) > 0);
    place.broker.delete_topic(&place.topic("players"));
    let ended = herald.wait(PATIENCE);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("topic \"gone.players\" does not exist"), "{}", ended.stderr);
}

#[test]
fn a_topic_made_anew_while_it_is_read_ends_the_run() {
    let place = Place::new("swapped", broker::shared());
    let players = place.topic("players");
    place.feed("teams", &[team("red")]);
    place.feed("players", &[player("a", "")]);
    let herald = place.start(&[]);
    wait(&herald, || place.broker.end_of(&place.topic("named")) > 0);
    place.broker.delete_topic(&players);
    place.broker.create_topic(&players, 1);
    place.feed("players", &[player("b", ""), player("c", ""), player("d", "")]);
    let ended = herald.wait(PATIENCE);
    assert!(matches!(ended.code, Some(1 | 2)), "{:?} {}", ended.code, ended.stderr);
    let told = ["made anew", "does not exist"].iter().any(|said| ended.stderr.contains(said));
    assert!(told, "{}", ended.stderr);
}

#[test]
fn what_a_topic_does_not_take_is_an_error_of_the_view_and_holds_nothing_up() {
    let place = Place::new("limits", broker::shared());
    let limit = [("max.message.bytes", "20000")];
    place.broker.create_topic_with(&place.topic("named"), 2, &[limit[0], ("cleanup.policy", "compact")]);
    place.broker.create_topic_with(&place.topic("dead"), 2, &limit);
    let long = |bytes: usize| incompressible_text(7, bytes);
    let mut records: Vec<String> = (0..200).map(|n| player(&format!("p{n}"), &long(900))).collect();
    // Just below the limit, and above it.
    records.push(player("below", &long(18_800)));
    records.push(player("beyond", &long(20_500)));
    records.push(format!("{{broken {}", long(30_000)));
    records.push(player("last", ""));
    place.feed("teams", &[team("red")]);
    place.feed("players", &records);
    let ended = place.once();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ids: BTreeSet<String> =
        place.named().iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(ids.len(), 202, "{ids:?}");
    assert!(ids.contains("below") && ids.contains("last") && !ids.contains("beyond"));
    let query = |sql: &str| {
        let args = ["query", "--state", "state", "--format", "json", sql];
        let asked = child::succeed(place.dir.path(), &args, &[], PATIENCE);
        serde_json::from_str::<Value>(&asked.stdout).expect("JSON")
    };
    let errors = query("SELECT view, message FROM herald.errors");
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
    assert!(errors[0]["message"].as_str().unwrap_or_default().contains("20"), "{errors}");
    // The dead letter is truncated in the topic, and complete in the table.
    let dead_letters = place.broker.read_committed(&place.topic("dead"));
    let cut: Vec<&Read> =
        dead_letters.iter().filter(|read| read.headers.contains_key("herald.cut")).collect();
    assert_eq!(cut.len(), 1, "{:?}", dead_letters.iter().map(|read| &read.headers).collect::<Vec<_>>());
    assert_eq!(cut[0].headers["herald.cut"], "key 1, value 30008");
    let held = query("SELECT length(value) AS n FROM herald.dead_letter WHERE outcome = 'decode'");
    assert_eq!(held[0]["n"], 30_008, "{held}");
}

/// Incompressible text.
fn incompressible_text(seed: u64, bytes: usize) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..bytes).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

fn wait(herald: &Herald, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{}", herald.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_epoch_that_no_transaction_would_take_in_time_goes_out_in_parts_through_a_kill() {
    const PLAYERS: usize = 10_000;
    let (kafka, proxy) = (tempfile::tempdir().expect("a directory"), Proxy::start());
    let (bootstrap, behind) = servers::start_kafka_behind(kafka.path(), proxy.port);
    proxy.set_target(&behind);
    let place = Place::new("parts", Broker { bootstrap: bootstrap.leak() });
    place.feed("teams", &[team("red")]);
    let records: Vec<String> =
        (0..PLAYERS).map(|n| player(&format!("p{n}"), &incompressible_text(n as u64, 600))).collect();
    place.feed("players", &records);
    let through = format!("127.0.0.1:{}", proxy.port);
    let env = [("KAFKA_BOOTSTRAP", through.as_str()), ("TRANSACTION_MS", "4000")];
    let named = place.topic("named");
    let herald = place.start(&env);
    wait(&herald, || place.broker.read_committed(&named).len() == PLAYERS);
    // One row changes all output rows: 6 MB in one epoch, at about 1 MB per second.
    proxy.set_delay(Duration::from_millis(60));
    place.feed("teams", &[team("blue")]);
    wait(&herald, || herald.said().contains("published in parts"));
    herald.kill();
    // The broker shows a commit a moment after it has taken it, and reading takes longer than a part.
    let (mut seen, started) = (0, Instant::now());
    while seen <= PLAYERS && started.elapsed() < PATIENCE {
        seen = place.broker.read_committed(&named).len();
    }
    assert!((PLAYERS + 1..PLAYERS * 2).contains(&seen), "{seen}: killed between two parts");
    let herald = place.start(&env);
    wait(&herald, || place.broker.read_committed(&named).len() >= 2 * PLAYERS);
    proxy.set_delay(Duration::ZERO);
    place.feed("players", &[player("last", "")]);
    wait(&herald, || place.broker.read_committed(&named).len() > 2 * PLAYERS);
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in place.named() {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        held.entry(text("id")).or_default().push(text("name"));
    }
    assert_eq!(held.remove("last"), Some(vec!["blue".to_owned()]));
    assert_eq!(held.len(), PLAYERS);
    let wrong = held.iter().find(|(_, names)| **names != ["red", "blue"]);
    assert_eq!(wrong, None, "each player's two rows, once each and in order");
    servers::kill_kafka(kafka.path());
}
