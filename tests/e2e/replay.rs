//! `herald dead-letter replay`: rejected records are sent again, each once, also when a replay is killed or
//! suspended in the middle and another one follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::producer::Producer;
use serde_json::Value;

use crate::broker::{self, Read};
use crate::child::{self, Herald};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(90);
/// Records that the first edition rejects; a transaction of a replay takes 1,000.
const REJECTED: usize = 2500;

const PLAYS: &str = "
CREATE SOURCE plays (id BIGINT NOT NULL, points BIGINT, CONSTRAINT enough CHECK (points > LEAST))
WITH (connector = 'kafka', topic = 'PREFIX.plays', scan.startup.mode = 'START',
      dead_letter.topic = 'PREFIX.rejected', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW totals AS
  SELECT points, count(*) AS n, count(DISTINCT id) AS ids FROM plays GROUP BY points;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
}

impl Place {
    /// Two editions of a topology: the first has run, and has rejected most of the records; the fixed one
    /// accepts them, and reads what is sent from its start on.
    fn new(prefix: &'static str) -> Place {
        let place = Place::empty(prefix);
        let record = |n: usize, points: i64| (format!("k{n}"), format!("{{\"id\":{n},\"points\":{points}}}"));
        let rejected = (0..REJECTED).map(|n| record(n, -1));
        let records: Vec<(String, String)> = rejected.chain((0..10).map(|n| record(n, 1))).collect();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
        broker::shared().produce(&place.topic("plays"), records);
        place.run_old();
        assert_eq!(broker::shared().read_committed(&place.topic("rejected")).len(), REJECTED);
        place
    }

    /// The two editions and a topic without records.
    fn empty(prefix: &'static str) -> Place {
        let place = Place { prefix, dir: tempfile::tempdir().expect("a directory") };
        for (file, least, start) in [("old.sql", "0", "earliest"), ("new.sql", "-9", "latest")] {
            let text = PLAYS.replace("PREFIX", prefix).replace("LEAST", least).replace("START", start);
            std::fs::write(place.dir.path().join(file), text).expect("a file");
        }
        broker::shared().create_topic(&place.topic("plays"), 2);
        place
    }

    fn run_old(&self) {
        let run = ["run", "old.sql", "--once", "--name", self.prefix, "--state", "old", "--listen", "off"];
        child::succeed(self.dir.path(), &run, &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE);
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn herald(&self, args: &[&str], failpoints: &str) -> Herald {
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        Herald::start(self.dir.path(), args, &env)
    }

    /// A replay, which is to end by itself.
    fn start(&self, more: &[&str], failpoints: &str) -> Herald {
        let args = ["dead-letter", "replay", "new.sql", "--format", "json"];
        self.herald(&[&args[..], more].concat(), failpoints)
    }

    /// The numbers that a replay prints: one JSON object a source and outcome.
    fn replay(&self, more: &[&str]) -> Vec<Value> {
        let ended = self.start(more, "").wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        let printed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        printed["counts"].as_array().expect("an array").clone()
    }

    /// The records that were sent again, as a reader of committed records sees them.
    fn replayed(&self) -> Vec<Read> {
        let mut read = broker::shared().read_committed(&self.topic("plays"));
        read.retain(|record| record.headers.contains_key("herald.replay"));
        read
    }

    /// Waits until a reader sees so many records that were sent again: the broker shows a commit a moment after it
    /// has taken it. Returns all that it sees.
    fn wait_for_replayed(&self, count: usize) -> Vec<Read> {
        let started = Instant::now();
        loop {
            let replayed = self.replayed();
            if replayed.len() >= count || started.elapsed() > PATIENCE {
                return replayed;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The digest of the marker of the record at this place.
    fn marker_digest(&self, place: &str) -> String {
        let held = broker::shared().read_committed(&self.topic("rejected"));
        let marker = held.iter().find(|read| read.key.as_deref() == Some(place.as_bytes()));
        marker.expect("a marker").headers["herald.digest"].clone()
    }

    /// Asserts that each rejected record was sent again once, with its bytes, to its partition.
    fn assert_once(&self) {
        let replayed = self.wait_for_replayed(REJECTED);
        let all = broker::shared().read_committed(&self.topic("plays"));
        assert_eq!(replayed.len(), REJECTED);
        let places: BTreeSet<&String> = replayed.iter().map(|read| &read.headers["herald.replay"]).collect();
        assert_eq!(places.len(), REJECTED, "each once");
        let place = |of: &Read| format!("{}/{}/{}", self.topic("plays"), of.partition, of.offset);
        let rejected: BTreeMap<String, &Read> = all.iter().map(|read| (place(read), read)).collect();
        for read in &replayed {
            let first = rejected[&read.headers["herald.replay"]];
            assert_eq!((&read.key, &read.value, read.partition), (&first.key, &first.value, first.partition));
        }
        let held = broker::shared().read_committed(&self.topic("rejected"));
        let markers = held.iter().filter(|read| read.headers["herald.outcome"] == "replayed");
        assert_eq!(markers.clone().count(), REJECTED);
        assert!(markers.clone().all(|marker| marker.value.is_none()), "a marker has no value");
    }
}

/// Asserts the numbers of the only source and outcome.
fn assert_counts(counts: &[Value], sent: &str, numbers: [usize; 3]) {
    let [one] = counts else { panic!("one source and outcome: {counts:?}") };
    assert_eq!(one["source"], "plays");
    assert_eq!(one["outcome"], "constraint");
    let found = ["selected", sent, "already"].map(|name| one[name].as_u64().expect("a number") as usize);
    assert_eq!(found, numbers, "{one}");
    assert_eq!([&one["cut"], &one["elsewhere"]].map(Value::as_u64), [Some(0), Some(0)]);
}

fn wait(herald: &Herald, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rejected_records_come_again_once_and_the_fixed_topology_accepts_them() {
    let place = Place::new("replay");
    let listen = servers::free_address();
    let args = ["run", "new.sql", "--name", "replay-new", "--state", "new", "--listen", &listen];
    let fixed = place.herald(&args, "");
    let ready = format!("http://{listen}/readyz");
    wait(&fixed, || matches!(servers::http("GET", &ready, None), Ok((200, _))));

    assert_counts(&place.replay(&["--dry-run"]), "to_replay", [REJECTED, REJECTED, 0]);
    assert_eq!(place.replay(&["--outcome", "decode"]), [] as [Value; 0]);
    assert_eq!(place.replay(&["--since", "2100-01-01T00:00:00Z"]), [] as [Value; 0]);
    assert_eq!(place.replayed().len(), 0, "nothing is sent so far");
    assert_counts(&place.replay(&["--source", "plays"]), "replayed", [REJECTED, REJECTED, 0]);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 0, REJECTED]);
    assert_counts(&place.replay(&["--dry-run"]), "to_replay", [REJECTED, 0, REJECTED]);
    place.assert_once();

    let totals = || {
        let query = "SELECT n, ids FROM totals WHERE points = -1";
        let args = ["query", query, "--url", &listen, "--format", "json"];
        let rows: Value = serde_json::from_str(&place.herald(&args, "").wait(PATIENCE).stdout).expect("JSON");
        [&rows[0]["n"], &rows[0]["ids"]].map(|number| number.as_u64().unwrap_or(0) as usize)
    };
    wait(&fixed, || totals()[0] >= REJECTED);
    assert_eq!(totals(), [REJECTED, REJECTED]);
    let ended = fixed.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn the_headers_of_a_rejected_record_are_kept_shown_and_sent_again() {
    let place = Place::empty("replay-headers");
    let (plays, rejected) = (place.topic("plays"), place.topic("rejected"));
    let headers = [
        ("trace", Some("00-af-01")),
        ("herald.topology", Some("elsewhere")),
        ("herald.replay", Some("old/0/1")),
        ("nothing", None),
        ("trace", Some("second")),
    ];
    let record = ("k", "{\"id\":1,\"points\":-1}");
    broker::shared().produce_with_headers(&plays, record, &headers);
    broker::shared().produce_with_headers(&plays, record, &[]);
    let long = "x".repeat(20_000);
    broker::shared().produce_with_headers(&plays, record, &[("long", Some(long.as_str())), ("trace", None)]);
    place.run_old();

    let read = broker::shared().read_committed(&rejected);
    assert_eq!(read.len(), 3);
    let header = |at: usize, name: &str| read[at].headers.get(name).map(String::as_str);
    assert_eq!(header(0, "herald.topology"), Some("replay-headers"));
    assert_eq!(header(0, "herald.header.herald.topology"), Some("elsewhere"));
    assert_eq!(header(0, "herald.header.herald.replay"), Some("old/0/1"));
    assert_eq!([header(0, "trace"), header(0, "herald.null.nothing")], [Some("second"), Some("")]);
    assert_eq!(read[0].header_count, read[1].header_count + headers.len());
    assert_eq!(header(2, "herald.cut"), Some("key 1, value 20, headers 2"));
    assert_eq!([header(2, "long"), header(2, "herald.null.trace")], [None, Some("")]);

    let show = |sequence: &str, format: &str| {
        let args = ["dead-letter", "show", sequence, "--state", "old", "--format", format];
        child::succeed(place.dir.path(), &args, &[], PATIENCE).stdout
    };
    let shown: Value = serde_json::from_str(&show("0", "json")).expect("JSON");
    let mut expected = Vec::new();
    for (name, value) in headers {
        expected.push(serde_json::json!({"name": name, "value": value, "bytes": null}));
    }
    assert_eq!(shown[0]["headers"], Value::Array(expected));
    assert_eq!(shown[0]["headers_cut"], 0);
    let shown: Value = serde_json::from_str(&show("1", "json")).expect("JSON");
    assert_eq!(shown[0]["headers"], serde_json::json!([]));
    let shown: Value = serde_json::from_str(&show("2", "json")).expect("JSON");
    assert_eq!(shown[0]["headers"], serde_json::json!([{"name": "trace", "value": null, "bytes": null}]));
    assert_eq!(shown[0]["headers_cut"], 1);
    let text = show("0", "table");
    assert!(text.contains("header (text) | trace: 00-af-01\n"), "{text}");
    assert!(text.contains("header        | nothing: NULL\n"), "{text}");

    // A record that is not whole is not sent.
    let ended = place.start(&[], "").wait(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    let printed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let [replayed, cut] = ["replayed", "cut"].map(|name| printed["counts"][0][name].as_u64());
    assert_eq!((replayed, cut), (Some(2), Some(1)), "{printed}");
    let read = broker::shared().read_committed(&plays);
    assert_eq!(read.len(), 5);
    let sent: Vec<&Read> = read
        .iter()
        .filter(|read| read.headers.get("herald.replay").is_some_and(|at| at != "old/0/1"))
        .collect();
    let [full, bare] = sent[..] else { panic!("{sent:?}") };
    // The place of an earlier replay has given way.
    assert_eq!((full.header_count, bare.header_count), (headers.len() + 1, 2));
    let expected = [("trace", "second"), ("herald.topology", "elsewhere"), ("nothing", "")];
    for (name, value) in expected {
        assert_eq!(full.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(full.headers["herald.replay"], format!("{plays}/{}/0", full.partition));
    let digest = place.marker_digest(&full.headers["herald.replay"]);
    assert_eq!(full.headers["herald.replay.marker"], format!("{rejected}/{digest}"));
}

#[test]
fn transactions_that_are_open_where_a_replay_sends_are_looked_at() {
    let place = Place::new("replay-open");
    let plays = place.topic("plays");
    // One of another program holds nothing up.
    let open = broker::shared().open_transaction(&plays, &[("trace", Some("1"))]);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, REJECTED, 0]);
    open.abort_transaction(PATIENCE).expect("the abort");
    drop(open);
    // Nor does a replay of another dead-letter topic.
    let sent_for = format!("{plays}/0/999999");
    let other = [("herald.replay", Some(sent_for.as_str())), ("herald.replay.marker", Some("other/2a"))];
    let open = broker::shared().open_transaction(&plays, &other);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 0, REJECTED]);
    open.abort_transaction(PATIENCE).expect("the abort");
    drop(open);
    // One that might be of a replay that died does, unless its record was committed.
    for (offset, code) in [(0, 0), (999_999, 1)] {
        let sent_for = format!("{plays}/0/{offset}");
        let open = broker::shared().open_transaction(&plays, &[("herald.replay", Some(sent_for.as_str()))]);
        let ended = place.start(&[], "").wait(PATIENCE);
        assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stderr.contains("is still open"), code == 1, "{}", ended.stderr);
        open.abort_transaction(PATIENCE).expect("the abort");
    }
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 0, REJECTED]);
    place.assert_once();
}

/// The record that hangs is another producer's here, so it hangs on until that one aborts it, and the one that was
/// replayed is still there.
#[test]
fn a_record_of_a_committed_replay_that_hangs_is_sent_again() {
    let place = Place::new("replay-hangs");
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, REJECTED, 0]);
    let (plays, rejected) = (place.topic("plays"), place.topic("rejected"));
    let sent_for = format!("{plays}/0/0");
    let marker = format!("{rejected}/{}", place.marker_digest(&sent_for));
    let headers =
        [("herald.replay", Some(sent_for.as_str())), ("herald.replay.marker", Some(marker.as_str()))];
    let open = broker::shared().open_transaction(&plays, &headers);
    let ended = place.start(&[], "").wait(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("is still open"), "{}", ended.stderr);
    open.abort_transaction(PATIENCE).expect("the abort");

    // Its marker was taken back once, before the attempts to end it.
    let held = broker::shared().read_committed(&rejected);
    assert_eq!(held.iter().filter(|read| read.headers["herald.outcome"] == "recalled").count(), 1);
    assert_counts(&place.replay(&["--dry-run"]), "to_replay", [REJECTED, 1, REJECTED - 1]);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 1, REJECTED - 1]);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 0, REJECTED]);
    let replayed = place.wait_for_replayed(REJECTED + 1);
    assert_eq!(replayed.len(), REJECTED + 1);
    assert_eq!(replayed.iter().filter(|read| read.headers["herald.replay"] == sent_for).count(), 2);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_replay_that_is_killed_is_continued_by_the_next() {
    let place = Place::new("replay-killed");
    // Within the second transaction, then after the first one of the next replay.
    for (armed, committed) in [("replay.commit.before=kill@2", 1000), ("replay.commit.after=kill@1", 2000)] {
        let ended = place.start(&[], armed).wait(PATIENCE);
        assert_eq!(ended.code, None, "it is not killed:\n{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(place.wait_for_replayed(committed).len(), committed, "{armed}");
    }
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 500, 2000]);
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, 0, REJECTED]);
    place.assert_once();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_replay_that_is_suspended_sends_nothing_after_another_one() {
    let place = Place::new("replay-suspended");
    let first = place.start(&[], "replay.commit.before=stop@1");
    wait(&first, || first.said().contains("failpoint replay.commit.before"));
    assert_counts(&place.replay(&[]), "replayed", [REJECTED, REJECTED, 0]);
    let resumed = std::process::Command::new("kill").args(["-CONT", &first.pid().to_string()]).status();
    assert!(resumed.expect("kill runs").success());
    let ended = first.wait(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("another replay of topic replay-suspended.rejected"), "{}", ended.stderr);
    place.assert_once();
}
