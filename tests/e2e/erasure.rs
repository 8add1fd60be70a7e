//! Erasure of persons: once a receipt says finished, the identity is in no file of the state and under no key of the
//! folded sink, also when the process is killed on the way. Files are not compressed here, so that bytes are found.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::child::{self, Ended};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(90);

const TOPOLOGY: &str = "
CREATE TABLE erasures (subject VARCHAR, requested_at TIMESTAMPTZ, PRIMARY KEY (subject))
WITH (connector = 'kafka', topic = 'PREFIX.erasures', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      erase = 'subject')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE matches (id BIGINT, version INT, players STRUCT<puuid VARCHAR, kills INT>[], PRIMARY KEY (id),
  CONSTRAINT some CHECK (cardinality(players) > 0))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (version) INCLUDE payload AS raw
WITH (connector = 'kafka', topic = 'PREFIX.matches', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      erase.by = 'players[].puuid')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE accounts (puuid VARCHAR, region VARCHAR, PRIMARY KEY (puuid)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.accounts', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      erase.by = 'puuid')
FORMAT PLAIN ENCODE JSON;
CREATE VIEW lines AS SELECT m.id, p.puuid, p.kills FROM matches AS m, UNNEST(m.players) AS p;
CREATE MATERIALIZED VIEW totals AS SELECT puuid, count(*) AS games, sum(kills) AS kills FROM lines GROUP BY puuid;
CREATE MATERIALIZED VIEW shares AS SELECT id, puuid, 100 / kills AS share FROM lines;
CREATE MATERIALIZED VIEW regions AS
SELECT a.region, sum(t.kills) AS kills FROM accounts AS a JOIN totals AS t ON t.puuid = a.puuid GROUP BY a.region;
CREATE MATERIALIZED VIEW payloads AS SELECT id, raw FROM matches;
CREATE SINK totals_out FROM totals
WITH (connector = 'kafka', topic = 'PREFIX.totals', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      primary_key = 'puuid')
FORMAT UPSERT ENCODE JSON;
";

/// A topology in which two persons have played, in everything that may hold a name.
struct Played {
    prefix: &'static str,
    dir: tempfile::TempDir,
    anna: String,
    ben: String,
}

impl Played {
    fn new(prefix: &'static str) -> Played {
        let mut drawn = ChaCha8Rng::seed_from_u64(child::number("HERALD_SEED", 7));
        let mut name = || format!("{:032x}{:032x}", drawn.random::<u128>(), drawn.random::<u128>());
        let (anna, ben) = (name(), name());
        let played = Played { prefix, dir: tempfile::tempdir().expect("a directory"), anna, ben };
        fs::write(played.dir.path().join("t.sql"), TOPOLOGY.replace("PREFIX", prefix)).expect("a topology");
        for topic in ["erasures", "matches", "accounts"] {
            broker::shared().create_topic(&played.topic(topic), 2);
        }
        let (anna, ben) = (&played.anna, &played.ben);
        let line = |puuid: &str, kills: i64| json!({"puuid": puuid, "kills": kills});
        let game = |id: i64, version: i64, players: Vec<Value>| {
            json!({"id": id, "version": version, "players": players}).to_string()
        };
        played.produce(
            "matches",
            &[
                game(1, 1, vec![line(anna, 5), line(ben, 1)]),
                game(2, 1, vec![line(anna, 3), line("cleo", 8)]),
                // Its share fails.
                game(3, 1, vec![line(anna, 0), line(ben, 0)]),
                // Rejected: a line that is no JSON, and a constraint that is false.
                format!("{{\"id\": 4, \"players\": [{{\"puuid\": \"{anna}\""),
                format!("{{\"id\": 4, \"players\": [{{\"puuid\": \"{ben}\""),
                json!({"id": 5, "version": 1, "players": [], "winner": anna}).to_string(),
            ],
        );
        played.produce(
            "accounts",
            &[
                json!({"puuid": anna, "region": "EU"}).to_string(),
                json!({"puuid": ben, "region": "EU"}).to_string(),
            ],
        );
        played
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn produce(&self, topic: &str, records: &[String]) {
        broker::shared().produce(&self.topic(topic), records.iter().map(|record| ("k", record.as_bytes())));
    }

    fn run(&self, failpoints: &str) -> Ended {
        let armed = format!("store.plain=return;{failpoints}");
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", armed.as_str())];
        let args = ["run", "t.sql", "--name", self.prefix, "--listen", "off", "--state", "state", "--once"];
        child::herald(self.dir.path(), &args, &env, PATIENCE)
    }

    fn run_well(&self) {
        let ended = self.run("");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    fn query(&self, sql: &str) -> String {
        let args = ["query", sql, "--state", "state", "--format", "csv"];
        child::succeed(self.dir.path(), &args, &[], PATIENCE).stdout
    }

    /// Names of the files of the state that hold a name.
    fn files_with(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        find(&self.dir.path().join("state"), name.as_bytes(), &mut found);
        found
    }

    /// The keys of the sink's topic that have a row.
    fn sunk(&self) -> Vec<String> {
        let mut rows = std::collections::BTreeMap::new();
        for read in broker::shared().read_committed(&self.topic("totals")) {
            let key = String::from_utf8(read.key.expect("a key")).expect("text");
            match read.value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        rows.into_keys().collect()
    }

    fn erase(&self, name: &str) {
        self.produce(
            "erasures",
            &[json!({"subject": name, "requested_at": "2026-01-01T00:00:00Z"}).to_string()],
        );
    }

    /// Anna is gone from everywhere, and Ben is not.
    fn assert_erased(&self) {
        let receipt = self.query(
            "SELECT status, orders, tables, dead_letters, finished_at IS NULL AS open FROM herald.erasures",
        );
        assert!(receipt.contains("finished") && receipt.contains("false"), "{receipt}");
        assert!(receipt.contains("matches: 3 rewritten, 0 removed"), "{receipt}");
        assert!(receipt.contains("accounts: 0 rewritten, 1 removed"), "{receipt}");
        assert_eq!(self.files_with(&self.anna), Vec::<String>::new());
        assert!(!self.files_with(&self.ben).is_empty(), "the control is found");
        assert!(!self.sunk().iter().any(|key| key.contains(&self.anna)), "{:?}", self.sunk());
        assert!(self.sunk().iter().any(|key| key.contains(&self.ben)));
        assert_eq!(self.query("SELECT region, kills FROM regions").trim(), "region,kills\nEU,1");
        let letters = self.query("SELECT outcome, message FROM herald.dead_letter");
        assert_eq!(letters.matches("who was erased").count(), 2, "{letters}");
        let env = [("KAFKA_BOOTSTRAP", servers::kafka())];
        child::succeed(self.dir.path(), &["state", "verify", "state", "t.sql"], &env, PATIENCE);
    }
}

/// Finds the files below a directory that hold some bytes.
fn find(dir: &Path, bytes: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, bytes, found);
        } else if fs::read(&path).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn nothing_of_an_erased_person_is_in_any_file() {
    let played = Played::new("erased");
    played.run_well();
    assert!(!played.files_with(&played.anna).is_empty(), "she was there");
    assert!(played.query("SELECT count(*) AS n FROM herald.errors").contains('2'));
    played.erase(&played.anna);
    played.run_well();
    played.assert_erased();
    assert!(played.query("SELECT count(*) AS n FROM herald.errors").contains('1'));
}

#[test]
fn an_erasure_that_is_killed_is_ended_by_the_next_start() {
    let points =
        ["store.write.after", "erase.rewrite.before", "erase.rewrite.halfway", "erase.rewrite.after"];
    for (at, point) in points.into_iter().enumerate() {
        let prefix = ["erased-a", "erased-b", "erased-c", "erased-d"][at];
        let played = Played::new(prefix);
        played.run_well();
        played.erase(&played.anna);
        let killed = played.run(&format!("{point}=kill"));
        assert_eq!(killed.code, None, "{point}: {}", killed.stderr);
        if at > 0 {
            let receipt = played.query("SELECT status FROM herald.erasures");
            assert!(receipt.contains("rewriting"), "{point}: {receipt}");
        }
        played.run_well();
        played.assert_erased();
    }
}

#[test]
fn records_of_an_erased_person_leave_nothing_when_they_come_later() {
    let played = Played::new("erased-late");
    played.run_well();
    played.erase(&played.anna);
    played.run_well();
    let anna = &played.anna;
    played.produce("matches", &[
        json!({"id": 7, "version": 1, "players": [{"puuid": anna, "kills": 9}, {"puuid": "cleo", "kills": 1}]}).to_string(),
        // Rejected, and its bytes are not kept either.
        format!("{{\"id\": 8, \"players\": [{{\"puuid\": \"{anna}\""),
    ]);
    played.produce("accounts", &[json!({"puuid": anna, "region": "EU"}).to_string()]);
    played.run_well();
    assert_eq!(played.files_with(anna), Vec::<String>::new());
    let cleo = played.query("SELECT games, kills FROM totals WHERE puuid = 'cleo'");
    assert_eq!(cleo.trim(), "games,kills\n2,9");
    let counts = played.query("SELECT DISTINCT erased FROM herald.sources WHERE name = 'accounts'");
    assert_eq!(counts.trim(), "erased\n1");
    // The same order once more changes nothing but its number.
    played.erase(anna);
    played.run_well();
    let receipt = played.query("SELECT status, orders FROM herald.erasures");
    assert_eq!(receipt.trim(), "status,orders\nfinished,2");
}
