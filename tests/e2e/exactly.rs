//! A stream whose correct results are known, and a checker of a topology's output for it.
//!
//! A thread produces events, players and malformed records while tests inject faults into the topology. Every
//! event has a key and the next number of that key, and each key one partition. A reader of the sinks can
//! therefore detect lost, duplicate, wrong and reordered records from the topics alone:
//!
//! - `events_out` (PLAIN) holds each event once, and a key's numbers grow from epoch to epoch;
//! - `totals_out` (UPSERT) holds for each key only sums of prefixes of its events, of growing length;
//! - `teams_out` (UPSERT over a join with a keyed table) ends with the rows of the last version of each player;
//! - the dead letters are the malformed records, each once, and the file sink has the lines of `events_out`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::broker::{Broker, Read};
use crate::child::{Ended, Herald};

const TOPOLOGY: &str = include_str!("exactly.sql");
const KEYS: usize = 40;
const PARTITIONS: i32 = 3;
/// Records that are produced every 20 ms.
const BURST: usize = 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// The records that were produced.
#[derive(Default)]
struct Sent {
    /// The values of each key's events, by their numbers.
    events: BTreeMap<String, Vec<i64>>,
    /// The team of the newest version of each player.
    players: BTreeMap<String, (i64, String)>,
    broken: usize,
    updates: u64,
    /// Partitions that were added during the run; each has a key of its own.
    grown: usize,
}

/// A topology under another name, and its input.
pub struct Stream {
    name: String,
    bootstrap: String,
    dir: tempfile::TempDir,
    sent: Arc<Mutex<Sent>>,
    stop: Arc<AtomicBool>,
    feeder: Option<JoinHandle<()>>,
}

impl Stream {
    /// Creates the topics and starts producing.
    pub fn start(name: &str, seed: u64, broker: Broker<'_>) -> Stream {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("exactly.sql"), TOPOLOGY.replace("PREFIX", name)).expect("a file");
        broker.create_topic(&format!("{name}.events"), PARTITIONS);
        broker.create_topic(&format!("{name}.players"), 1);
        let (sent, stop) = (Arc::new(Mutex::new(Sent::default())), Arc::new(AtomicBool::new(false)));
        let mut stream = Stream {
            name: name.to_owned(),
            bootstrap: broker.bootstrap.to_owned(),
            dir,
            sent: sent.clone(),
            stop: stop.clone(),
            feeder: None,
        };
        let (name, producer) = (stream.name.clone(), broker.patient_producer());
        let feeder = std::thread::spawn(move || {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            while !stop.load(Ordering::Relaxed) {
                sent.lock().expect("no panic").send_burst(&name, &producer, &mut rng);
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(20));
            }
            producer.flush(PATIENCE).expect("the broker takes all records");
        });
        stream.feeder = Some(feeder);
        stream
    }

    /// The topology's working directory; its state is in `state` there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The full name of a topic of the stream.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Starts the topology.
    pub fn run(&self, more: &[&str], env: &[(&str, &str)]) -> Herald {
        self.run_in(self.dir(), more, env)
    }

    /// Starts the topology in another directory, which may hold a copy of the state.
    pub fn run_in(&self, dir: &Path, more: &[&str], env: &[(&str, &str)]) -> Herald {
        let topology = self.dir().join("exactly.sql");
        let topology = topology.to_string_lossy();
        let mut args = vec!["run", &topology, "--name", &self.name, "--state", "state"];
        args.extend(["--epoch-interval", "20ms", "--listen", "off"]);
        args.extend(more);
        let mut all = vec![("KAFKA_BOOTSTRAP", self.bootstrap.as_str())];
        all.extend(env);
        Herald::start(dir, &args, &all)
    }

    /// Adds a partition, with a key of its own, to the topic of the events.
    pub fn add_partition(&self) {
        let mut sent = self.sent.lock().expect("no panic");
        let partitions = PARTITIONS as usize + sent.grown + 1;
        Broker { bootstrap: &self.bootstrap }.set_partitions(&self.topic("events"), partitions);
        sent.grown += 1;
    }

    /// The number of lines with these words in the output of all runs so far.
    pub fn said(&self, words: &str) -> usize {
        let files = std::fs::read_dir(self.dir()).expect("the directory").flatten();
        let said = files.filter(|file| file.file_name().to_string_lossy().starts_with("err-"));
        said.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default())
            .map(|text| text.lines().filter(|line| line.contains(words)).count())
            .sum()
    }

    /// The number of events handed to the producer.
    pub fn sent(&self) -> usize {
        self.sent.lock().expect("no panic").events.values().map(Vec::len).sum()
    }

    /// Ends the input.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            feeder.join().expect("all is produced");
        }
    }

    /// Ends the input, lets the topology read all of it, and fails the test if the sinks are wrong.
    pub fn check_results(&mut self, broker: Broker<'_>, env: &[(&str, &str)]) -> Vec<String> {
        self.stop();
        let ended = self.run(&["--once"], env).wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        self.findings(broker, &ended)
    }

    /// The errors found in the sinks after all input was read; none if the topology is correct.
    fn findings(&self, broker: Broker<'_>, ended: &Ended) -> Vec<String> {
        let sent = self.sent.lock().expect("no panic");
        let mut found = Vec::new();
        events(&sent, &broker.read_committed(&self.topic("events_out")), &mut found);
        totals(&sent, &broker.read_committed(&self.topic("totals_out")), &mut found);
        teams(&sent, &broker.read_committed(&self.topic("teams_out")), &mut found);
        let mut places = BTreeSet::new();
        let dead = broker.read_committed(&self.topic("dead"));
        for dead_letter in &dead {
            let place = ["herald.partition", "herald.offset"].map(|name| dead_letter.headers.get(name));
            if !places.insert(place) {
                found.push(format!("the dead letter of {place:?} is there twice"));
            }
        }
        if dead.len() != sent.broken {
            found.push(format!("{} dead letters for {} broken records", dead.len(), sent.broken));
        }
        let lines = std::fs::read_to_string(self.dir().join("events.jsonl")).unwrap_or_default();
        let once: BTreeSet<&str> = lines.lines().collect();
        let valid: usize = sent.events.values().map(Vec::len).sum();
        if lines.lines().count() != valid || once.len() != valid {
            let held = lines.lines().count();
            found.push(format!(
                "the file has {held} lines, {} of them different, for {valid} events",
                once.len()
            ));
        }
        for (source, accepted, read) in
            [("events", Some(valid), valid as u64 + sent.broken as u64), ("players", None, sent.updates)]
        {
            let line = ended.stdout.lines().find(|line| line.starts_with(&format!("{source}: ")));
            let line = line.unwrap_or_default();
            let count = |word: &str| -> Option<u64> {
                let parts: Vec<&str> = line.split([' ', ':']).collect();
                parts[parts.iter().position(|p| *p == word)?.checked_sub(1)?].parse().ok()
            };
            if count("read") != Some(read) || accepted.is_some_and(|n| count("accepted") != Some(n as u64)) {
                found.push(format!("{read} records of {source} were produced, and the count is {line:?}"));
            }
        }
        found
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Sent {
    fn send_burst(&mut self, name: &str, producer: &BaseProducer, rng: &mut ChaCha8Rng) {
        for _ in 0..BURST {
            let at = rng.random_range(0..KEYS + self.grown);
            let key = format!("k{at}");
            let partition = if at < KEYS { at as i32 % PARTITIONS } else { PARTITIONS + (at - KEYS) as i32 };
            if rng.random_bool(0.04) {
                let version = rng.random_range(0..1_000_000_i64);
                let team = format!("t{}", rng.random_range(0..5));
                let player = json!({"id": key, "team": team, "version": version}).to_string();
                send(producer, &format!("{name}.players"), 0, &key, &player);
                self.updates += 1;
                let held = self.players.entry(key.clone()).or_insert((version, team.clone()));
                if version >= held.0 {
                    *held = (version, team);
                }
            }
            let broken = rng.random_bool(0.02);
            let text = if broken {
                self.broken += 1;
                format!("{{oops {}", self.broken)
            } else {
                let values = self.events.entry(key.clone()).or_default();
                values.push(rng.random_range(0..100));
                json!({"k": key, "seq": values.len() - 1, "v": values.last()}).to_string()
            };
            send(producer, &format!("{name}.events"), partition, &key, &text);
        }
    }
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    while let Err((_, back)) = producer.send(record) {
        producer.poll(Duration::from_millis(20));
        record = back;
    }
}

fn row(read: &Read) -> Option<(u64, Value)> {
    let epoch = read.headers.get("herald.epoch").and_then(|epoch| epoch.parse().ok())?;
    Some((epoch, serde_json::from_slice(read.value.as_deref()?).ok()?))
}

/// Checks that each event is there once, and that the epochs of each key ascend.
fn events(sent: &Sent, read: &[Read], found: &mut Vec<String>) {
    let mut held: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    let mut last: BTreeMap<i32, u64> = BTreeMap::new();
    for read in read {
        let Some((epoch, row)) = row(read) else {
            found.push(format!("events_out holds {read:?}"));
            continue;
        };
        if last.insert(read.partition, epoch).is_some_and(|before| before > epoch) {
            found
                .push(format!("events_out goes back to epoch {epoch} at {}/{}", read.partition, read.offset));
        }
        let (key, seq) = (row["k"].as_str().unwrap_or_default(), row["seq"].as_i64().unwrap_or(-1));
        if sent.events.get(key).and_then(|values| values.get(seq as usize)).copied() != row["v"].as_i64() {
            found.push(format!("events_out holds {row}, which was never sent"));
        }
        if let Some(before) = held.entry(key.to_owned()).or_default().insert(seq, epoch) {
            found.push(format!("events_out holds {row} twice: in epochs {before} and {epoch}"));
        }
    }
    for (key, values) in &sent.events {
        let held = held.remove(key).unwrap_or_default();
        if held.len() != values.len() {
            found.push(format!(
                "events_out lacks {} of {} events of {key}",
                values.len() - held.len(),
                values.len()
            ));
        }
        if !held.values().is_sorted() {
            found.push(format!("events_out has events of {key} in an earlier epoch than those before them"));
        }
    }
}

/// Checks that the sums of each key are those of growing prefixes, the last one of all events.
fn totals(sent: &Sent, read: &[Read], found: &mut Vec<String>) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for read in read {
        let Some((_, row)) = row(read) else {
            found.push(format!("totals_out holds {read:?}"));
            continue;
        };
        let key = row["k"].as_str().unwrap_or_default().to_owned();
        let n = row["n"].as_u64().unwrap_or(0) as usize;
        let values = sent.events.get(&key).map(Vec::as_slice).unwrap_or_default();
        let sum: i64 = values.iter().take(n).sum();
        if n > values.len() || row["s"].as_i64() != Some(sum) || row["last"].as_u64() != Some(n as u64 - 1) {
            found.push(format!("totals_out holds {row}, which no prefix of the events gives ({sum})"));
        }
        if last.insert(key, n).is_some_and(|before| before >= n) {
            found.push(format!("totals_out goes back to {row}"));
        }
    }
    for (key, values) in &sent.events {
        if last.get(key) != Some(&values.len()) {
            found.push(format!(
                "totals_out ends with {:?} of {} events of {key}",
                last.get(key),
                values.len()
            ));
        }
    }
}

/// Checks the last row of each team.
fn teams(sent: &Sent, read: &[Read], found: &mut Vec<String>) {
    let mut held: BTreeMap<Vec<u8>, Option<Value>> = BTreeMap::new();
    for read in read {
        held.insert(read.key.clone().unwrap_or_default(), row(read).map(|(_, row)| row));
    }
    let mut wanted: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for (key, (_, team)) in &sent.players {
        let Some(values) = sent.events.get(key) else { continue };
        let entry = wanted.entry(team).or_default();
        *entry = (entry.0 + values.len(), entry.1 + values.iter().sum::<i64>());
    }
    let number = |row: &Value, name: &str| row[name].as_i64().unwrap_or(-1);
    let held: BTreeMap<&str, (usize, i64)> = held
        .values()
        .flatten()
        .map(|row| (row["team"].as_str().unwrap_or_default(), (number(row, "n") as usize, number(row, "s"))))
        .collect();
    if held != wanted {
        found.push(format!("teams_out ends with {held:?}, not with {wanted:?}"));
    }
}
