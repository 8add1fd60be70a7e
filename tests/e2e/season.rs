//! A synthetic season of the match domain over Kafka, through kills at random times, before an independent judge.
//!
//! `tests/domain/season.py` makes the records: skewed, late, corrected, doubled, broken, with orders to erase persons who
//! go on playing. They are produced with their keys, timestamps and partitions while `herald run` on all files of the
//! domain is killed and restarted. At ten moments all views are read from the committed state, and `judge.py` compares
//! them with its own computation (Python and DuckDB). At the end each upsert topic, folded by key, is its view, no record
//! is there twice, and no byte of an erased id is left in views, in sinks as a reader of compacted topics holds them, and
//! in the state.
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

const DOMAIN: &str = "dataflows/topologies/domain";
/// As many as season.py spreads records over.
const PARTITIONS: i32 = 4;
const MOMENTS: usize = 10;
/// Processes that read views at the same time.
const READERS: usize = 2;
/// Longest time until the records of a moment are read; a season of a million matches takes hours.
const PATIENCE: Duration = Duration::from_secs(600);

/// A record as season.py writes it.
struct Record {
    at_ms: i64,
    key: Option<String>,
    partition: i32,
    value: Option<String>,
}

/// A sink and the query whose rows it sends, which reads materialized views alone.
struct Sink {
    topic: String,
    query: String,
    upsert: bool,
}

/// A season, the topology that reads it, and how far it is.
struct Season {
    name: String,
    dir: tempfile::TempDir,
    files: Vec<String>,
    records: BTreeMap<String, Vec<Record>>,
    /// Records of each topic up to each moment.
    moments: Vec<BTreeMap<String, usize>>,
    produced: BTreeMap<String, usize>,
    /// Tables and sources, and their topics.
    tables: Vec<(String, String)>,
    sinks: Vec<Sink>,
    views: Vec<String>,
    producer: BaseProducer,
    rng: ChaCha8Rng,
    /// The time that the last restart took until all was read: kills fall into it.
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

/// The text between two others.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// The files of the domain in the order of their names, and their whole text.
fn shipped() -> (Vec<String>, String) {
    let entries = fs::read_dir(servers::root().join(DOMAIN)).expect("the domain").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".sql")).collect();
    names.sort();
    let read = |name: &String| fs::read_to_string(servers::root().join(DOMAIN).join(name)).expect("text");
    let text = names.iter().map(read).collect::<Vec<_>>().join("\n");
    (names, text)
}

/// Tables with their topics, and sinks.
fn declared(sql: &str) -> (Vec<(String, String)>, Vec<Sink>) {
    let (mut tables, mut sinks) = (Vec::new(), Vec::new());
    for statement in sql.split("\nCREATE ").skip(1) {
        let (kind, rest) = statement.split_once(' ').expect("a statement");
        let name = rest.split([' ', '(']).next().expect("a name").to_owned();
        let Some(topic) = between(rest, " topic = '", "'") else { continue };
        match kind {
            "TABLE" | "SOURCE" => tables.push((name, topic.to_owned())),
            "SINK" => {
                let rows = between(rest, &format!("{name} "), "\nWITH (").expect("rows");
                let query = match rows.strip_prefix("FROM ") {
                    Some(view) => format!("SELECT * FROM {view}"),
                    None => rows.strip_prefix("AS").expect("a query").to_owned(),
                };
                sinks.push(Sink { topic: topic.to_owned(), query, upsert: rest.contains("FORMAT UPSERT") });
            }
            _ => {}
        }
    }
    (tables, sinks)
}

/// A file with a view of the rows of each sink that has a query, for that may read views which are not kept.
fn sent_views(dir: &Path, sinks: &mut [Sink]) -> String {
    let mut text = String::new();
    for (at, sink) in sinks.iter_mut().filter(|sink| !sink.query.starts_with("SELECT *")).enumerate() {
        text += &format!("CREATE MATERIALIZED VIEW sent_{at} AS {};\n\n", sink.query.trim());
        sink.query = format!("SELECT * FROM sent_{at}");
    }
    let path = dir.join("sent.sql");
    fs::write(&path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

impl Season {
    fn new(name: &str, matches: u64, seed: u64) -> Season {
        let dir = tempfile::tempdir().expect("a directory");
        let season = dir.path().join("season");
        let season = season.to_string_lossy();
        let (drawn, players) = (seed.to_string(), (matches / 3).max(60).to_string());
        let matches = matches.to_string();
        told("season.py", &[&*season, "--seed", &drawn, "--matches", &matches, "--players", &players]);

        let (files, sql) = shipped();
        let (tables, mut sinks) = declared(&sql);
        let paths = files.iter().map(|file| child::topology(dir.path(), &format!("{DOMAIN}/{file}"), name));
        let mut paths: Vec<String> = paths.map(|path| path.to_string_lossy().into_owned()).collect();
        paths.push(sent_views(dir.path(), &mut sinks));
        let mut records = BTreeMap::new();
        for topic in tables.iter().map(|(_, topic)| topic).collect::<BTreeSet<_>>() {
            broker::shared().create_topic(&format!("{name}.{topic}"), PARTITIONS);
            let text = fs::read_to_string(dir.path().join(format!("season/{topic}.jsonl"))).expect("records");
            records.insert(topic.clone(), text.lines().map(record).collect());
        }
        let moments = json_file(&dir.path().join("season/moments.json"))["moments"].take();
        Season {
            name: name.to_owned(),
            files: paths,
            produced: records.keys().map(|topic: &String| (topic.clone(), 0)).collect(),
            records,
            moments: serde_json::from_value(moments).expect("counts by topic"),
            tables,
            sinks,
            views: told("judge.py", &["--views"]).lines().map(ToOwned::to_owned).collect(),
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

    /// Starts the topology. Files of the state are not compressed, so that bytes are found.
    fn run(&mut self, more: &[&str]) -> Herald {
        let workers = self.rng.random_range(1..=3).to_string();
        let mut args = vec!["run"];
        args.extend(self.files.iter().map(String::as_str));
        args.extend(["--name", &self.name, "--state", "state", "--listen", "off", "--workers", &workers]);
        args.extend(["--epoch-interval", "100ms"]);
        args.extend(more);
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", "store.plain=return")];
        Herald::start(self.dir.path(), &args, &env)
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

    /// The answer to a query over the committed state, or the mistake; at first there is no state.
    fn query(&self, sql: &str) -> Result<Value, String> {
        let limits = ["--query-rows", "100000000", "--query-memory", "4GiB", "--query-time", "600s"];
        let args = [&["query", sql, "--state", "state", "--format", "json"][..], &limits].concat();
        let started = Instant::now();
        loop {
            let ended = child::herald(self.dir.path(), &args, &[], PATIENCE);
            if ended.code == Some(0) {
                return serde_json::from_str(&ended.stdout).map_err(|e| e.to_string());
            }
            if !ended.stderr.contains("changes too fast") || started.elapsed() > PATIENCE {
                return Err(ended.stderr);
            }
        }
    }

    fn rows(&self, sql: &str) -> Vec<Value> {
        match self.query(sql) {
            Ok(Value::Array(rows)) => rows,
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Tells whether all records that were produced are in the committed state.
    fn has_read_all(&self) -> bool {
        let counts = "SELECT name, max(read) AS read FROM herald.sources GROUP BY name";
        let Ok(rows) = self.query(counts) else { return false };
        let rows = rows.as_array().expect("rows").iter();
        let read: BTreeMap<&str, u64> =
            rows.filter_map(|row| Some((row["name"].as_str()?, row["read"].as_u64()?))).collect();
        let all = |(table, topic): &(String, String)| {
            read.get(table.as_str()).copied().unwrap_or(0) >= self.produced[topic] as u64
        };
        self.tables.iter().all(all)
    }

    /// Produces the records of a moment while the topology is killed, and waits until the last start has read them.
    fn reach(&mut self, moment: usize) -> Herald {
        for _ in 0..child::number("HERALD_SEASON_KILLS", 1) {
            let part = self.rng.random_range(0.0..0.6);
            self.produce(moment, part);
            let herald = self.run(&[]);
            let at = self.took.mul_f64(self.rng.random_range(0.0..1.2));
            std::thread::sleep(at.min(Duration::from_secs(60)));
            herald.kill();
            self.kills += 1;
        }
        self.produce(moment, 1.0);
        let started = Instant::now();
        let mut herald = self.run(&[]);
        while !self.has_read_all() {
            assert!(herald.running(), "herald ended by itself:\n{}", herald.said());
            assert!(started.elapsed() < PATIENCE, "the records are not read:\n{}", herald.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        self.took = started.elapsed();
        herald
    }

    /// Writes the rows of all views to files for the judge.
    fn read_views(&self, moment: usize) -> PathBuf {
        let found = self.dir.path().join(format!("found-{}", moment + 1));
        fs::create_dir(&found).expect("a directory");
        let tables = ["herald.sources".to_owned(), "herald.errors".to_owned()];
        let names: Vec<&String> = self.views.iter().chain(&tables).collect();
        std::thread::scope(|scope| {
            for part in names.chunks(names.len().div_ceil(READERS)) {
                let found = &found;
                scope.spawn(move || {
                    for name in part {
                        let rows = Value::Array(self.rows(&format!("SELECT * FROM {name}")));
                        fs::write(found.join(format!("{name}.json")), rows.to_string()).expect("a file");
                    }
                });
            }
        });
        found
    }

    /// Starts the judge of a moment; its words go to a file beside the rows that were found.
    fn judge(&self, moment: usize, found: &Path) -> (Child, PathBuf) {
        let season = self.dir.path().join("season");
        let (season, rows) = (season.to_string_lossy(), found.to_string_lossy());
        let said = found.join("said");
        let out = fs::File::create(&said).expect("a file");
        let moment = (moment + 1).to_string();
        let mut command = python("judge.py", &[&*season, "--moment", &moment, "--found", &*rows]);
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
        for sink in &self.sinks {
            let topic = self.topic(&sink.topic);
            let rows = if sink.upsert { input::upserted(&topic, Encode::Json) } else { folded(&topic) };
            let wanted = if sink.upsert { input::sorted(self.rows(&sink.query)) } else { rows.clone() };
            if rows != wanted {
                input::assert_same(&topic, &rows, &wanted);
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
        let receipts = self.rows("SELECT status, count(*) AS n FROM herald.erasures GROUP BY status");
        assert_eq!(receipts, [json!({"status": "finished", "n": erased.len()})]);
        let played = json_file(&views.join("player_performance.json"));
        let ids = played.as_array().expect("rows").iter().filter_map(|row| row["player_id"].as_str());
        let others: BTreeSet<String> = ids.map(ToOwned::to_owned).collect();
        let views = views.file_name().expect("a name").to_string_lossy();
        let none = BTreeSet::new();
        for place in [&*views, "state"] {
            assert_eq!(self.ids_in(&erased, place), none, "{place} holds ids that were erased");
            let found = self.ids_in(&others, place);
            assert!(found == others, "the control is found in {place}: {} of {}", found.len(), others.len());
        }
        for id in &erased {
            assert!(!sinks.contains(id.as_str()), "a sink holds {id}, which was erased");
        }
        assert!(
            others.iter().filter(|id| sinks.contains(id.as_str())).count() > others.len() / 2,
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
        let herald = season.reach(moment);
        found = season.read_views(moment);
        herald.kill();
        season.kills += 1;
        // One judge at a time, beside the next moment.
        if let Some(before) = judge.replace(season.judge(moment, &found)) {
            judged(before);
        }
    }
    if let Some(last) = judge {
        judged(last);
    }
    let ended = season.run(&["--once"]).wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
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
