//! `herald backfill`: a range that was never read is read once, one that was read changes nothing, also when the
//! backfill is killed in the middle; and what would undo later records is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::child::{self, Ended, Herald};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(90);

/// An append-only source and two tables of one topic; reading of all begins at START.
const PLAYS: &str = "
CREATE SOURCE plays (id BIGINT NOT NULL, player VARCHAR, points BIGINT, CONSTRAINT fair CHECK (points >= 0))
WITH (connector = 'kafka', topic = 'PREFIX.plays', scan.startup.timestamp.millis = 'START',
      properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE latest (id BIGINT, player VARCHAR NOT NULL, points BIGINT, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.plays', scan.startup.timestamp.millis = 'START',
      properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE best (id BIGINT, player VARCHAR NOT NULL, points BIGINT, PRIMARY KEY (player))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (points)
WITH (connector = 'kafka', topic = 'PREFIX.plays', scan.startup.timestamp.millis = 'START',
      properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE players (player VARCHAR, id BIGINT, PRIMARY KEY (player))
WITH (connector = 'kafka', topic = 'PREFIX.plays', scan.startup.timestamp.millis = 'START',
      properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n, sum(id) AS ids, sum(points) AS points FROM plays;
CREATE MATERIALIZED VIEW latest_plays AS SELECT player, id FROM latest;
CREATE MATERIALIZED VIEW best_plays AS SELECT player, id FROM best;
CREATE MATERIALIZED VIEW all_players AS SELECT count(*) AS n FROM players;
CREATE SINK plays_out AS SELECT id, points FROM plays
WITH (connector = 'kafka', topic = 'PREFIX.out', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
";

fn now_ms() -> u64 {
    // Records of one part have timestamps that are apart from those of the next.
    std::thread::sleep(Duration::from_millis(50));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    std::thread::sleep(Duration::from_millis(50));
    now
}

/// A time as a flag takes it.
fn time_text(ms: u64) -> String {
    format!("{}.{:03}Z", utc_second(ms / 1000), ms % 1000)
}

/// A second since 1970 in UTC, by GNU date.
fn utc_second(second: u64) -> String {
    let asked = ["-u", "-d", &format!("@{second}"), "+%Y-%m-%dT%H:%M:%S"].map(str::to_owned);
    let told = std::process::Command::new("date").args(asked).output().expect("date runs");
    String::from_utf8(told.stdout).expect("text").trim().to_owned()
}

/// A topology that began late: records of its topic lie before its start.
struct Late {
    prefix: &'static str,
    dir: tempfile::TempDir,
}

impl Late {
    /// The topic, empty.
    fn new(prefix: &'static str, partitions: i32) -> Late {
        let late = Late { prefix, dir: tempfile::tempdir().expect("a directory") };
        broker::shared().create_topic(&late.topic("plays"), partitions);
        late
    }

    /// Writes the topology, which begins at `start`, and reads what is there.
    fn begin(&self, start: u64) {
        let text = PLAYS.replace("PREFIX", self.prefix).replace("START", &start.to_string());
        fs::write(self.dir.path().join("t.sql"), text).expect("a file");
        self.once();
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Produces records with these numbers and points; there are seven players.
    fn produce(&self, records: impl Iterator<Item = (usize, i64)>) {
        let record = |(id, points): (usize, i64)| {
            let player = format!("p{}", id % 7);
            let value = format!("{{\"id\":{id},\"player\":\"{player}\",\"points\":{points}}}");
            (player, value)
        };
        let records: Vec<(String, String)> = records.map(record).collect();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
        broker::shared().produce(&self.topic("plays"), records);
    }

    fn start(&self, args: &[&str], failpoints: &str) -> Herald {
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        Herald::start(self.dir.path(), args, &env)
    }

    fn herald(&self, args: &[&str]) -> Ended {
        self.start(args, "").wait(PATIENCE)
    }

    fn once(&self) {
        let run = ["run", "t.sql", "--name", self.prefix, "--state", "state", "--listen", "off", "--once"];
        succeeded(&self.herald(&run));
    }

    fn backfill_args<'a>(&'a self, source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let args = ["backfill", "t.sql", source, "--name", self.prefix, "--state", "state"];
        [&args[..], more].concat()
    }

    /// Backfills and returns the numbers of its table: read, accepted, duplicate, superseded, invalid, late.
    fn backfill(&self, source: &str, more: &[&str]) -> [u64; 6] {
        let ended = self.herald(&self.backfill_args(source, more));
        succeeded(&ended);
        numbers(&ended)
    }

    fn query(&self, sql: &str) -> String {
        let ended = self.herald(&["query", sql, "--state", "state", "--format", "csv"]);
        succeeded(&ended);
        ended.stdout.lines().skip(1).collect::<Vec<_>>().join(" ")
    }

    /// The numbers of the sink's records, in order; asserts that each is there once.
    fn sent(&self) -> BTreeSet<u64> {
        let mut sent = BTreeSet::new();
        for read in broker::shared().read_committed(&self.topic("out")) {
            let row: Value = serde_json::from_slice(&read.value.expect("a value")).expect("JSON");
            assert!(sent.insert(row["id"].as_u64().expect("a number")), "{row} twice");
        }
        sent
    }
}

fn succeeded(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// Asserts that a command was refused as a mistake, in these words.
fn refused(ended: &Ended, said: &[&str]) {
    assert_eq!(ended.code, Some(2), "{}\n{}", ended.stdout, ended.stderr);
    for said in said {
        assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
    }
}

/// The numbers of a backfill's table.
fn numbers(ended: &Ended) -> [u64; 6] {
    let mut lines = ended.stdout.lines();
    let head = lines.next().unwrap_or_default();
    let names: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(names, ["SOURCE", "READ", "ACCEPTED", "DUPLICATE", "SUPERSEDED", "INVALID", "LATE"]);
    let row = lines.next().unwrap_or_default();
    let found: Vec<u64> = row.split_whitespace().skip(1).map(|word| word.parse().expect(row)).collect();
    let found: [u64; 6] = found.try_into().expect("six numbers");
    assert_eq!(found[0], found[1..].iter().sum::<u64>(), "{row}");
    assert!(!ended.stderr.contains('\r'), "no bar off a terminal: {}", ended.stderr);
    found
}

/// The sum of numbers below `end`.
fn sum_below(end: u64) -> u64 {
    end * (end - 1) / 2
}

#[test]
fn what_lies_before_the_start_is_read_once_and_what_was_read_is_a_duplicate() {
    let late = Late::new("backfill-late", 2);
    late.produce((0..400).map(|id| (id, 1)));
    let middle = now_ms();
    // Of these, every tenth violates a constraint.
    late.produce((400..1000).map(|id| (id, if id % 10 == 0 { -1 } else { 1 })));
    let start = now_ms();
    late.produce((1000..1500).map(|id| (id, 1)));
    late.begin(start);
    assert_eq!(late.query("SELECT n FROM totals"), "500");

    // A part by time, then all: the part and what the topology has read are duplicates.
    let to_middle = late.backfill("plays", &["--to", &time_text(middle)]);
    assert_eq!(to_middle, [400, 400, 0, 0, 0, 0]);
    assert_eq!(late.backfill("plays", &["--from", "offset:0"]), [1500, 540, 900, 0, 60, 0]);
    let accepted = sum_below(1500) - (40..100).map(|tens| tens * 10).sum::<u64>();
    assert_eq!(late.query("SELECT n, ids, points FROM totals"), format!("1440,{accepted},1440"));
    let sent = late.sent();
    assert_eq!(sent.len(), 1440);
    assert_eq!(sent.iter().sum::<u64>(), accepted);

    // Again: nothing changes, nothing is sent, and no record is rejected twice.
    assert_eq!(late.backfill("plays", &[]), [1500, 0, 1500, 0, 0, 0]);
    assert_eq!(late.query("SELECT n, ids FROM totals"), format!("1440,{accepted}"));
    assert_eq!(late.sent(), sent);
    assert_eq!(late.query("SELECT count(*) FROM herald.dead_letter WHERE source = 'plays'"), "60");

    // The topology reads on from where it was.
    late.produce((1500..1600).map(|id| (id, 1)));
    late.once();
    assert_eq!(late.query("SELECT n FROM totals"), "1540");
    assert_eq!(late.sent().len(), 1540);
    let read =
        "SELECT DISTINCT read, accepted, duplicate, \"constraint\" FROM herald.sources WHERE name = 'plays'";
    assert_eq!(late.query(read), "4000,1540,2400,60");
    let verified = late.herald(&["state", "verify", "state", "t.sql"]);
    succeeded(&verified);
}

#[test]
fn older_records_of_a_table_do_not_replace_newer_rows() {
    let late = Late::new("backfill-tables", 2);
    // Player p0 has its best play before the start, p6 plays only there.
    late.produce([(0, 90), (1, 2), (6, 5)].into_iter());
    let start = now_ms();
    late.produce([(7, 3), (8, 4)].into_iter());
    late.begin(start);
    // Player by player the later record of the partition wins, or the one with most points.
    assert_eq!(late.backfill("latest", &[]), [5, 1, 2, 2, 0, 0]);
    assert_eq!(late.backfill("best", &[]), [5, 2, 2, 1, 0, 0]);
    let rows = |view: &str| late.query(&format!("SELECT player, id FROM {view} ORDER BY player"));
    assert_eq!(rows("latest_plays"), "p0,7 p1,8 p6,6");
    assert_eq!(rows("best_plays"), "p0,0 p1,8 p6,6");

    // A table that takes deletes could get rows back that were deleted since.
    let ended = late.herald(&late.backfill_args("players", &[]));
    refused(&ended, &["source players: partition", "the rows would come back", "--fresh"]);
    assert_eq!(late.query("SELECT n FROM all_players"), "2");
    // The range that it has read is fine.
    assert_eq!(late.backfill("players", &["--from", &time_text(start)]), [2, 0, 2, 0, 0, 0]);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_backfill_that_is_killed_is_given_again() {
    const EARLY: usize = 60_000;
    let late = Late::new("backfill-kill", 3);
    late.produce((0..EARLY).map(|id| (id, 1)));
    let start = now_ms();
    late.produce((EARLY..EARLY + 100).map(|id| (id, 1)));
    late.begin(start);
    // Each poll takes a part of the records, and longer than an epoch.
    let slow = "driver.poll.after=sleep(600)";
    for point in ["commit.gathered=kill@2", "commit.visible=kill@1", "commit.after=kill@1"] {
        let armed = format!("{slow};{point}");
        let ended = late.start(&late.backfill_args("plays", &[]), &armed).wait(PATIENCE);
        assert_eq!(ended.code, None, "{point}: {}\n{}", ended.stdout, ended.stderr);
    }
    let read: u64 = late.query("SELECT n FROM totals").parse().expect("a number");
    assert!(read > 100 && read < (EARLY + 100) as u64, "{read} rows: killed in the middle");
    let all = (EARLY + 100) as u64;
    assert_eq!(late.backfill("plays", &[]), [all, all - read, read, 0, 0, 0]);
    assert_eq!(late.query("SELECT n, ids FROM totals"), format!("{all},{}", sum_below(all)));
    assert_eq!(late.sent().len() as u64, all);
}

/// A table without a version, one with, and an append-only source, of files.
const WORDS: &str = "
CREATE TABLE words (id INT NOT NULL, word VARCHAR NOT NULL, PRIMARY KEY (id)) ON CONFLICT OVERWRITE
WITH (connector = 'file', path = 'words.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE TABLE names (id INT NOT NULL, name VARCHAR NOT NULL, v INT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (v)
WITH (connector = 'file', path = 'names.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE kills (id INT) WITH (connector = 'file', path = 'words.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW counts AS SELECT word, count(*) AS n FROM words GROUP BY word;
CREATE MATERIALIZED VIEW named AS SELECT id, name FROM names;
CREATE MATERIALIZED VIEW killed AS SELECT count(*) AS n FROM kills;
CREATE SINK counts_out FROM counts WITH (connector = 'file', path = 'counts.jsonl', primary_key = 'word')
FORMAT UPSERT ENCODE JSON;
CREATE SINK named_out FROM named WITH (connector = 'file', path = 'named.jsonl', primary_key = 'id')
FORMAT UPSERT ENCODE JSON;
";

/// A directory with the topology and its files.
fn words() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file");
    put("words.sql", WORDS);
    let lines =
        ["{\"id\":1,\"word\":\"ace\"}", "{\"id\":2,\"word\":\"gank\"}", "no", "{\"id\":1,\"word\":\"pick\"}"];
    put("words.jsonl", &lines.map(|line| format!("{line}\n")).concat());
    put("names.jsonl", "{\"id\":1,\"name\":\"Ann\",\"v\":5}\n{\"id\":2,\"name\":\"Bob\",\"v\":5}\n");
    dir
}

fn backfill(dir: &Path, args: &[&str]) -> Ended {
    child::herald(dir, &[&["backfill", "words.sql"], args].concat(), &[], PATIENCE)
}

/// The content of a file.
fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect("a file")
}

#[test]
fn lines_that_were_read_change_nothing_and_newer_lines_of_other_files_do() {
    let dir = words();
    let dir = dir.path();
    child::succeed(dir, &["run", "words.sql", "--once"], &[], PATIENCE);
    let sent = (text(dir, "counts.jsonl"), text(dir, "named.jsonl"));
    for (source, range, read) in [
        ("words", &[][..], 4),
        ("words", &["--from", "offset:1", "--to", "offset:3"][..], 2),
        ("kills", &["--to", "offset:100"][..], 4),
        ("names", &["--from", "offset:1"][..], 1),
    ] {
        let ended = backfill(dir, &[&[source], range].concat());
        succeeded(&ended);
        assert_eq!(numbers(&ended), [read, 0, read, 0, 0, 0], "{source} {range:?}");
    }
    assert_eq!((text(dir, "counts.jsonl"), text(dir, "named.jsonl")), sent);

    let history = [
        "{\"id\":1,\"name\":\"Anna\",\"v\":4}",
        "{\"id\":2,\"name\":\"Bob\",\"v\":5}",
        "{\"id\":2,\"name\":\"Rob\",\"v\":6}",
        "{\"id\":3,\"name\":\"Cyd\",\"v\":1}",
        "{\"id\":4}",
    ];
    fs::write(dir.join("history.jsonl"), history.map(|line| format!("{line}\n")).concat()).expect("a file");
    let ended = backfill(dir, &["names", "--files", "history.jsonl", "names.jsonl"]);
    succeeded(&ended);
    assert_eq!(numbers(&ended), [7, 2, 2, 2, 1, 0]);
    let named = || {
        let query = [
            "query",
            "SELECT id, name FROM named ORDER BY id",
            "--state",
            ".herald/words",
            "--format",
            "csv",
        ];
        child::succeed(dir, &query, &[], PATIENCE).stdout
    };
    assert_eq!(named(), "id,name\n1,Ann\n2,Rob\n3,Cyd\n");
    let sent = text(dir, "named.jsonl");
    let ended = backfill(dir, &["names", "--files", "history.jsonl"]);
    succeeded(&ended);
    assert_eq!(numbers(&ended), [5, 0, 2, 2, 1, 0]);
    assert_eq!((named().as_str(), text(dir, "named.jsonl")), ("id,name\n1,Ann\n2,Rob\n3,Cyd\n", sent));

    // The topology goes on where it was.
    let more = text(dir, "names.jsonl") + "{\"id\":5,\"name\":\"Eve\",\"v\":1}\n";
    fs::write(dir.join("names.jsonl"), more).expect("a file");
    child::succeed(dir, &["run", "words.sql", "--once"], &[], PATIENCE);
    assert_eq!(named(), "id,name\n1,Ann\n2,Rob\n3,Cyd\n5,Eve\n");
}

#[test]
fn what_cannot_be_backfilled_is_refused_in_words() {
    let dir = words();
    let dir = dir.path();
    let nothing = backfill(dir, &["words"]);
    refused(&nothing, &["nothing of source words was read yet", "herald run"]);
    assert!(!dir.join(".herald/words").exists(), "a refusal makes no state");

    let mut run = Herald::start(dir, &["run", "words.sql", "--listen", "off"], &[]);
    let started = Instant::now();
    while !dir.join("counts.jsonl").exists() || text(dir, "counts.jsonl").is_empty() {
        assert!(started.elapsed() < PATIENCE, "{}", run.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = backfill(dir, &["words"]);
    refused(&ended, &["a backfill needs the state for itself: stop the topology", "is in use by"]);
    assert!(run.running(), "{}", run.said());
    succeeded(&run.terminate(PATIENCE));

    let sent = text(dir, "counts.jsonl");
    refused(&backfill(dir, &["word"]), &["there is no source word", "did you mean words?"]);
    refused(
        &backfill(dir, &["words", "--from", "yesterday"]),
        &["--from yesterday: write an offset such as"],
    );
    refused(
        &backfill(dir, &["words", "--from", "offset:3", "--to", "offset:3"]),
        &["--from is not before --to"],
    );
    let timed = backfill(dir, &["words", "--from", "2026-01-01T00:00:00Z"]);
    refused(&timed, &["source words", "have no timestamps", "Give offsets"]);
    let files = |source: &str, path: &str| backfill(dir, &[source, "--files", path]);
    refused(
        &files("words", "names.jsonl"),
        &["it has no version column", "an older line would take the place"],
    );
    refused(&files("kills", "names.jsonl"), &["it is append-only", "rows would count twice"]);
    refused(&files("names", "none.jsonl"), &["none.jsonl is not there"]);
    assert_eq!(text(dir, "counts.jsonl"), sent);
}
