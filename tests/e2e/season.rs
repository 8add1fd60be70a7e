//! A synthetic season of the match domain over Kafka, through kills at random times, before an independent judge.
//!
//! `tests/domain/season.py` makes the records: skewed, late, corrected, doubled, broken, with orders to erase persons who
//! go on playing. They are produced with their keys, timestamps and partitions while three topologies read them and each
//! other's records: `herald run` on all files of the domain, on `notifications.sql` behind it, and on `quality.sql` beside
//! it. Each is killed and restarted. At ten moments all views are read from the committed states, and `judge.py` compares
//! them with its own computation (Python and DuckDB). At the end each upsert topic, folded by key, is its view, no record
//! is there twice, and no byte of an erased id is left in views, in sinks as a reader of compacted topics holds them, and
//! in the states; that of `quality.sql` holds no id of a person at all, but for those of others in records that it rejected.
//!
//! `HERALD_MATCHES=2000` makes the season longer, `HERALD_SEASON_KILLS=3` kills so often before each moment and once at it,
//! `HERALD_SEED` draws another season and other kills. The second test runs the
//! captures that may not be distributed where they are present.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::child::{self, Herald};
use crate::input::{self, Encode};
use crate::{broker, servers};
use topology::Topology;

mod topology;

const DOMAIN: &str = "dataflows/topologies/domain";
/// As many as season.py spreads records over.
const PARTITIONS: i32 = 4;
const MOMENTS: usize = 10;
/// Topics of one partition: `now()` of notifications.sql needs a record in each.
const SINGLE: [&str; 4] =
    ["notification.delivered", "notification.failed", "notification.clicked", "quality.threshold"];
/// Topics that topologies read and others write, and their partitions.
const SENT: [(&str, i32); 2] = [("notification.trigger", 1), ("herald.dead_letter", 3)];
/// Longest time until the records of a moment are read; a season of a million matches takes hours.
const PATIENCE: Duration = Duration::from_secs(600);

/// A record as season.py writes it.
struct Record {
    at_ms: i64,
    key: Option<String>,
    partition: i32,
    value: Option<String>,
}

/// A season, the topologies that read it, and how far it is.
struct Season {
    name: String,
    dir: tempfile::TempDir,
    records: BTreeMap<String, Vec<Record>>,
    /// Records of each topic up to each moment.
    moments: Vec<BTreeMap<String, usize>>,
    produced: BTreeMap<String, usize>,
    domain: Topology,
    notifications: Topology,
    quality: Topology,
    producer: BaseProducer,
    rng: ChaCha8Rng,
    /// The time that the last restart took until the domain had read all: kills fall into it.
    took: Duration,
    kills: usize,
}

/// Runs a program of tests/domain with the Python of the clients.
fn python(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(servers::root().join("scripts/clients.sh"));
    command.args(["python", "-B"]).arg(servers::root().join("tests/domain").join(program)).args(args);
    command
}

/// Runs a program of tests/domain that must succeed.
fn told(program: &str, args: &[&str]) -> String {
    let ran = python(program, args).output().expect("python runs");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{program} {args:?}:\n{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    said
}

fn json_file(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn record(line: &str) -> Record {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let text = |name: &str| line[name].as_str().map(ToOwned::to_owned);
    let at =
        chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().expect("a time")).expect("a time");
    Record {
        at_ms: at.timestamp_millis(),
        key: text("key"),
        partition: line["partition"].as_i64().expect("a partition") as i32,
        value: text("value"),
    }
}

impl Season {
    fn new(name: &str, matches: u64, seed: u64) -> Season {
        let dir = tempfile::tempdir().expect("a directory");
        let season = dir.path().join("season");
        let season = season.to_string_lossy();
        let (drawn, players) = (seed.to_string(), (matches / 3).max(60).to_string());
        let matches = matches.to_string();
        told("season.py", &[&*season, "--seed", &drawn, "--matches", &matches, "--players", &players]);

        let said = told("judge.py", &["--views"]);
        let topology = |kind: &str| {
            let views = said.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
            Topology::new(dir.path(), name, kind, views.map(ToOwned::to_owned).collect())
        };
        let (domain, notifications, quality) =
            (topology("domain"), topology("notifications"), topology("quality"));
        for (topic, partitions) in SENT {
            broker::shared().create_topic(&format!("{name}.{topic}"), partitions);
        }
        let tables = [&domain, &notifications, &quality].into_iter().flat_map(|topology| &topology.tables);
        let topics: BTreeSet<&String> = tables.map(|(_, topic)| topic).collect();
        let mut records = BTreeMap::new();
        for topic in topics.into_iter().filter(|topic| SENT.iter().all(|(sent, _)| sent != topic)) {
            let partitions = if SINGLE.contains(&topic.as_str()) { 1 } else { PARTITIONS };
            broker::shared().create_topic(&format!("{name}.{topic}"), partitions);
            let text = fs::read_to_string(dir.path().join(format!("season/{topic}.jsonl"))).expect("records");
            records.insert(topic.clone(), text.lines().map(record).collect());
        }
        let moments = json_file(&dir.path().join("season/moments.json"))["moments"].take();
        Season {
            name: name.to_owned(),
            produced: records.keys().map(|topic: &String| (topic.clone(), 0)).collect(),
            records,
            moments: serde_json::from_value(moments).expect("counts by topic"),
            domain,
            notifications,
            quality,
            producer: broker::shared().patient_producer(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            took: Duration::from_secs(4),
            kills: 0,
            dir,
        }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn all(&self) -> [&Topology; 3] {
        [&self.domain, &self.notifications, &self.quality]
    }

    /// Starts all topologies.
    fn run(&mut self) -> [Herald; 3] {
        let workers = [(); 3].map(|()| self.rng.random_range(1..=3));
        [0, 1, 2].map(|n| self.all()[n].run(workers[n], &[]))
    }

    /// Produces records of each topic up to a part of those that a moment has more than are produced.
    fn produce(&mut self, moment: usize, part: f64) {
        for (topic, records) in &self.records {
            let (at, end) = (self.produced[topic], self.moments[moment][topic]);
            let until = at + ((end - at) as f64 * part).round() as usize;
            let full = self.topic(topic);
            for record in &records[at..until] {
                let mut next = BaseRecord::to(&full).partition(record.partition).timestamp(record.at_ms);
                next.key = record.key.as_deref();
                next.payload = record.value.as_deref();
                while let Err((_, back)) = self.producer.send(next) {
                    self.producer.poll(Duration::from_millis(20));
                    next = back;
                }
            }
            self.produced.insert(topic.clone(), until);
        }
        self.producer.flush(PATIENCE).expect("the broker takes all records");
    }

    /// Starts all topologies, and kills each at a time of its own: one of them last, the others before.
    fn run_and_kill(&mut self) {
        let longest = self.took.mul_f64(self.rng.random_range(0.0..1.2)).min(Duration::from_secs(60));
        let mut parts = [1.0, self.rng.random_range(0.2..1.0), self.rng.random_range(0.2..1.0)];
        parts.rotate_left(self.rng.random_range(0..3));
        let mut running: Vec<(f64, Herald)> = parts.into_iter().zip(self.run()).collect();
        running.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let begun = Instant::now();
        for (part, herald) in running {
            std::thread::sleep(longest.mul_f64(part).saturating_sub(begun.elapsed()));
            herald.kill();
            self.kills += 1;
        }
    }

    /// Produces the records of a moment while the topologies are killed, and waits until the last start has read them.
    /// Reads all views, and kills the topologies: one that another reads first, so that nothing is sent any more.
    fn reach(&mut self, moment: usize) -> PathBuf {
        for _ in 0..child::number("HERALD_SEASON_KILLS", 1) {
            let part = self.rng.random_range(0.0..0.6);
            self.produce(moment, part);
            self.run_and_kill();
        }
        self.produce(moment, 1.0);
        let found = self.dir.path().join(format!("found/{}", moment + 1));
        let started = Instant::now();
        let [mut domain, mut notifications, mut quality] = self.run();
        self.domain.wait(&mut domain, &self.produced);
        self.took = started.elapsed();
        self.domain.read_views(&found);
        domain.kill();
        self.sent(moment, "notification.trigger");
        self.notifications.wait(&mut notifications, &self.produced);
        self.notifications.read_views(&found.join("notifications"));
        notifications.kill();
        self.sent(moment, "herald.dead_letter");
        self.quality.wait(&mut quality, &self.produced);
        self.quality.read_views(&found.join("quality"));
        quality.kill();
        self.kills += 3;
        found
    }

    /// Writes the records that topologies have sent to a topic to a file for the judge.
    fn sent(&mut self, moment: usize, topic: &str) {
        let read = broker::shared().read_committed(&self.topic(topic));
        self.produced.insert(topic.to_owned(), read.len());
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut lines = String::new();
        for mut record in read {
            if let Some(from) = record.headers.get_mut("herald.topic") {
                *from = from.strip_prefix(&format!("{}.", self.name)).expect("the season's topic").to_owned();
            }
            let (key, value) = (text(record.key), text(record.value));
            let line = json!({"timestamp": null, "key": key, "partition": record.partition, "value": value,
                "headers": record.headers});
            lines += &format!("{line}\n");
        }
        let dir = self.dir.path().join(format!("sent/{}", moment + 1));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join(format!("{topic}.jsonl")), lines).expect("a file");
    }

    /// Starts the judge of a moment; its words go to a file.
    fn judge(&self, moment: usize) -> (Child, PathBuf) {
        let at = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        let said = self.dir.path().join(format!("said-{}", moment + 1));
        let out = fs::File::create(&said).expect("a file");
        let (season, found, sent, moment) = (at("season"), at("found"), at("sent"), (moment + 1).to_string());
        let args = [&*season, "--moment", &moment, "--found", &found, "--sent", &sent, "--name", &self.name];
        let mut command = python("judge.py", &args);
        command.stdin(Stdio::null()).stderr(out.try_clone().expect("a file")).stdout(out);
        (command.spawn().expect("python runs"), said)
    }

    /// The ids that the season orders to erase.
    fn erased(&self) -> BTreeSet<String> {
        let values = self.records["user.erased"].iter().filter_map(|record| record.value.as_deref());
        let orders = values.filter_map(|value| serde_json::from_str::<Value>(value).ok());
        orders.filter_map(|order| order["subject"].as_str().map(ToOwned::to_owned)).collect()
    }

    /// Each sink's topic holds what its query says, and no record twice. Returns all that is held, as text.
    fn check_sinks(&self) -> String {
        let mut held = String::new();
        let sinks =
            self.all().into_iter().flat_map(|topology| topology.sinks.iter().map(move |s| (topology, s)));
        for (topology, sink) in sinks {
            let topic = self.topic(&sink.topic);
            let rows = if sink.upsert { input::upserted(&topic, Encode::Json) } else { folded(&topic) };
            if sink.upsert {
                input::assert_same(&topic, &rows, &input::sorted(topology.rows(&sink.query)));
            }
            // No match may have been live whenever an epoch ended.
            let sent = broker::shared().end_of(&topic) > 0 || sink.query.contains("live_matches");
            assert!(sent, "nothing was sent to {topic}");
            held += &rows.iter().map(Value::to_string).collect::<String>();
        }
        held
    }

    /// Those of some ids that are in files of a directory.
    fn ids_in(&self, ids: &BTreeSet<String>, dir: &str) -> BTreeSet<String> {
        // Keys in a file leave out what they begin with in common with the key before: ids are told by their second half.
        let tails: BTreeMap<&str, &String> = ids.iter().map(|id| (&id[id.len() / 2..], id)).collect();
        assert_eq!(tails.len(), ids.len(), "ids have different ends");
        let patterns = self.dir.path().join("ids");
        fs::write(&patterns, tails.keys().map(|tail| format!("{tail}\n")).collect::<String>())
            .expect("a file");
        let mut grep = Command::new("grep");
        grep.args(["-raohF", "-f"]).arg(&patterns).arg(self.dir.path().join(dir)).env("LC_ALL", "C");
        let ran = grep.output().expect("grep runs");
        assert!(ran.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&ran.stderr));
        let found = String::from_utf8_lossy(&ran.stdout);
        found.lines().filter_map(|tail| tails.get(tail)).map(|id| (*id).clone()).collect()
    }

    /// Nothing of an erased person is left, and others are.
    fn check_erased(&self, views: &Path, sinks: &str) {
        let erased = self.erased();
        for topology in [&self.domain, &self.notifications, &self.quality] {
            let receipts = topology.rows("SELECT status, count(*) AS n FROM herald.erasures GROUP BY status");
            assert_eq!(receipts, [json!({"status": "finished", "n": erased.len()})], "{}", topology.name);
        }
        let ids = |view: &str, column: &str| -> BTreeSet<String> {
            let rows = json_file(&views.join(view));
            let rows = rows.as_array().expect("rows").iter();
            rows.filter_map(|row| row[column].as_str()).map(ToOwned::to_owned).collect()
        };
        let players = ids("player_performance.json", "player_id");
        let told = ids("notifications/notification_totals.json", "user_id");
        let views = views.strip_prefix(self.dir.path()).expect("a path below the season's").to_string_lossy();
        let none = BTreeSet::new();
        let (domain, notifications) = (&self.domain.state, &self.notifications.state);
        for (place, others) in [(&*views, &players), (domain, &players), (notifications, &told)] {
            assert_eq!(self.ids_in(&erased, place), none, "{place} holds ids that were erased");
            let found = self.ids_in(others, place);
            assert!(found == *others, "the control is found in {place}: {} of {}", found.len(), others.len());
        }
        // Its rejected records are kept as they were sent, less those of erased persons; nothing else of it names anyone.
        let late = self.quality.rows("SELECT encode(value, 'escape') AS body FROM herald.dead_letter");
        let late = late.iter().map(Value::to_string).collect::<String>();
        assert_eq!(self.ids_in(&erased, &self.quality.state), none, "quality.sql holds ids that were erased");
        let mut kept = self.ids_in(&players, &self.quality.state);
        kept.retain(|id| !late.contains(id.as_str()));
        assert_eq!(kept, none, "{} holds ids of persons", self.quality.state);
        for id in &erased {
            assert!(!sinks.contains(id.as_str()), "a sink holds {id}, which was erased");
        }
        assert!(
            players.iter().filter(|id| sinks.contains(id.as_str())).count() > players.len() / 2,
            "the control"
        );
    }
}

/// The rows of a DEBEZIUM topic; each change must fit what the ones before it left.
fn folded(topic: &str) -> Vec<Value> {
    let mut rows: BTreeMap<Vec<u8>, Value> = BTreeMap::new();
    for read in broker::shared().read_committed(topic) {
        // The null value after a deletion is for compaction.
        let (Some(key), Some(value)) = (read.key, read.value) else { continue };
        let change: Value = serde_json::from_slice(&value).expect("JSON");
        let before = rows.remove(&key).unwrap_or_default();
        assert_eq!(before, change["before"], "{topic}: a change of another row: {change}");
        if !change["after"].is_null() {
            rows.insert(key, change["after"].clone());
        }
    }
    input::sorted(rows.into_values().collect())
}

/// Waits for a judge, who must have found nothing.
fn judged((mut child, said): (Child, PathBuf)) {
    let status = child.wait().expect("the judge ends");
    let said = fs::read_to_string(said).unwrap_or_default();
    assert!(status.success(), "views are not those of the judge:\n{said}");
    print!("{said}");
}

#[test]
fn a_season_through_kills_is_that_of_the_judge() {
    let (matches, seed) = (child::number("HERALD_MATCHES", 150), child::number("HERALD_SEED", 1));
    let begun = Instant::now();
    let mut season = Season::new(&format!("season-{seed}"), matches, seed);
    assert!(season.erased().len() > 4, "persons are erased");
    let mut judge = None;
    let mut found = PathBuf::new();
    for moment in 0..MOMENTS {
        found = season.reach(moment);
        // One judge at a time, beside the next moment.
        if let Some(before) = judge.replace(season.judge(moment)) {
            judged(before);
        }
    }
    if let Some(last) = judge {
        judged(last);
    }
    for topology in season.all() {
        let ended = topology.run(2, &["--once"]).wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    }
    let sinks = season.check_sinks();
    season.check_erased(&found, &sinks);
    let records: usize = season.produced.values().sum();
    println!(
        "{matches} matches, seed {seed}: {records} records, {} erased, {} kills, {:?}",
        season.erased().len(),
        season.kills,
        begun.elapsed()
    );
}

/// Real matches, which may not be distributed: the judge's rows and Herald's are the same.
#[test]
fn captures_are_those_of_the_judge() {
    let captures = servers::root().join("../shared/data");
    if !captures.join("riot_match_v5.jsonl").exists() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (captures, topology) = (captures.to_string_lossy(), servers::root().join(DOMAIN));
    let (topology, work) = (topology.to_string_lossy(), dir.path().to_string_lossy());
    let herald = env!("CARGO_BIN_EXE_herald");
    let said =
        told("captures.py", &[&*captures, "--herald", herald, "--topology", &*topology, "--work", &*work]);
    assert!(said.ends_with("no differences\n"), "{said}");
}
