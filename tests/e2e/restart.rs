//! Ten random crashes while consuming: the results equal those of a run without crashes.
//!
//! The topology is `match_analytics.sql` with an additional PLAIN sink over an append-only source, which
//! shows both lost and duplicate records. After every SIGKILL another number of workers continues. Halfway,
//! with everything committed, all records are deleted from Kafka and the champions are renamed: correct
//! results can then only come from the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{self, Herald};
use crate::input::{self, Encode, Record};
use crate::{broker, servers};

const ROUNDS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);
const SINKS: [&str; 3] =
    ["analytics.computed.champion_hourly", "analytics.computed.player_alltime", "arrivals"];

/// A topology under a name and topics of its own, with its state.
struct Topology {
    name: String,
    dir: tempfile::TempDir,
    files: Vec<String>,
}

impl Topology {
    fn new(name: &str) -> Topology {
        let dir = tempfile::tempdir().expect("a directory");
        let files = ["dataflows/topologies/match_analytics.sql", "tests/e2e/arrivals.sql"];
        let files = files.map(|f| child::topology(dir.path(), f, name).to_string_lossy().into_owned());
        broker::shared().create_topic(&format!("{name}.match.completed"), 3);
        broker::shared().create_topic(&format!("{name}.champion"), 1);
        Topology { name: name.to_owned(), dir, files: files.to_vec() }
    }

    fn run(&self, workers: usize, more: &[&str]) -> Herald {
        let workers = workers.to_string();
        let mut args = vec!["run"];
        args.extend(self.files.iter().map(String::as_str));
        args.extend(["--name", &self.name, "--state", "state", "--workers", &workers]);
        args.extend(["--epoch-interval", "50ms"]);
        args.extend(more);
        Herald::start(self.path(), &args, &[("KAFKA_BOOTSTRAP", servers::kafka())])
    }

    fn once(&self, workers: usize) {
        let ended = self.run(workers, &["--once"]).wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn produce(&self, matches: &[Record], champions: &[Record]) {
        broker::shared().produce(&self.topic("champion"), input::pairs(champions));
        broker::shared().produce(&self.topic("match.completed"), input::pairs(matches));
    }

    /// The content of all sinks; keyed ones are folded by key.
    fn content(&self) -> BTreeMap<String, Vec<Value>> {
        let view = |sink: &str| {
            let topic = self.topic(sink);
            if sink == "arrivals" { arrivals(&topic) } else { input::upserted(&topic, Encode::Json) }
        };
        SINKS.iter().map(|sink| ((*sink).to_owned(), view(sink))).collect()
    }
}

/// The PLAIN sink's rows; asserts that each record's coordinates are there once.
fn arrivals(topic: &str) -> Vec<Value> {
    let read = broker::shared().read_committed(topic);
    let row = |value: &Vec<u8>| serde_json::from_slice::<Value>(value).expect("JSON");
    let rows: Vec<Value> = read.iter().filter_map(|r| r.value.as_ref()).map(row).collect();
    let mut seen = BTreeMap::new();
    for row in &rows {
        let place = format!("{} {}", row["source_partition"], row["source_offset"]);
        assert!(seen.insert(place, row).is_none(), "{topic}: {row} twice");
    }
    input::sorted(rows)
}

/// One round: restarts on the state, feeds records, and kills the process at a random time.
fn crash(topology: &Topology, workers: usize, records: &[Record], mut random: u64) {
    let sink = topology.topic(SINKS[0]);
    let before = broker::shared().end_of(&sink);
    let herald = topology.run(workers, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for some in records.chunks(records.len().div_ceil(20).max(1)) {
                broker::shared().produce(&topology.topic("match.completed"), input::pairs(some));
            }
        });
        // Two rounds of five are killed before or while the state comes back; the others after output
        // appeared.
        if random % 5 > 1 {
            let started = Instant::now();
            while broker::shared().end_of(&sink) == before {
                assert!(started.elapsed() < PATIENCE, "no output appears:\n{}", herald.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        random /= 5;
        std::thread::sleep(Duration::from_millis(random % 600));
        herald.kill();
    });
}

/// Random numbers (SplitMix64): the same in every run, unless HERALD_SEED is set.
fn randoms() -> impl Iterator<Item = u64> {
    let seed = child::number("HERALD_SEED", 1);
    (1..).map(move |n: u64| {
        let mut z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

#[test]
fn ten_kills_and_deleted_history_change_nothing() {
    let fixture = servers::root().join("tests/fixtures/matches.jsonl");
    let options = ["--seed", "3", "--repeat", "40", "--revisions", "--broken"];
    let matches = input::matches(&fixture, &options, Encode::Json, "restart");
    let first = input::champions(Encode::Json, "restart", "");
    let renamed = input::champions(Encode::Json, "restart", " the Renamed");

    let calm = Topology::new("restart-calm");
    calm.produce(&matches, &first);
    calm.produce(&[], &renamed);
    calm.once(1);

    let rough = Topology::new("restart-rough");
    rough.produce(&[], &first);
    let chunks = matches.chunks(matches.len().div_ceil(ROUNDS));
    for (round, (records, random)) in chunks.zip(randoms()).enumerate() {
        crash(&rough, 1 + round % 3, records, random);
        if round == ROUNDS / 2 {
            rough.once(2);
            broker::shared().delete_all_records(&rough.topic("match.completed"));
            broker::shared().delete_all_records(&rough.topic("champion"));
            rough.produce(&[], &renamed);
        }
    }
    rough.once(3);

    let (rough_content, calm_content) = (rough.content(), calm.content());
    let champions: Vec<Record> = first.into_iter().chain(renamed).collect();
    for (view, rows) in input::expected(&matches, &champions) {
        let sink = format!("analytics.computed.{view}");
        input::assert_same("the uninterrupted run", &calm_content[&sink], &rows);
        input::assert_same("the run with ten kills", &rough_content[&sink], &rows);
    }
    // Offsets differ between the topics, but the records and their counts must be equal.
    let events = |content: &BTreeMap<String, Vec<Value>>| {
        let mut events: Vec<String> = content["arrivals"].iter().map(|r| r["event_id"].to_string()).collect();
        events.sort();
        events
    };
    assert_eq!(
        events(&rough_content).len(),
        matches.len() - 1,
        "every record but the broken one arrives once"
    );
    assert_eq!(events(&rough_content), events(&calm_content));
    let rejected = broker::shared().read_committed(&rough.topic("herald.dead_letter"));
    assert_eq!(rejected.len(), 1, "the broken record is reported once: {rejected:?}");
}
