//! Schemas that change in mid-stream: a producer moves to a compatible version while others still write the one
//! before, then somebody writes an incompatible one. The run goes on, with a kill in between, and every record is
//! accounted for. Records are encoded by `tests/oracle/avro.py`; the expected rows of the views are computed here,
//! record by record, by the rules of docs/schemas.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::broker::{self, Read};
use crate::child::{self, Ended, Herald};
use crate::{input, servers};

const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than any match: the topology refuses it, whatever the version.
const TOO_LONG: i64 = 20_000;
/// Beyond INT: only version 2 can write it as a queue.
const WIDE: i64 = 3_000_000_000;

/// One topic read twice: by columns that are written out, some of them ahead of their version, and by those of a file
/// with version 1.
const TOPOLOGY: &str = include_str!("evolution.sql");
const FEED: &str = "
CREATE SOURCE feed (*, WATERMARK FOR fetched_at AS fetched_at - INTERVAL '1 hour')
WITH (
  connector = 'kafka', topic = 'TOPIC', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  dead_letter.topic = '${DEAD:-evolution.dead}'
) FORMAT PLAIN ENCODE AVRO (schema.registry = '${REGISTRY}', schema.file = 'v1.avsc');

CREATE MATERIALIZED VIEW seen AS
  SELECT event_id, source, \"match\"['info']['queueId'] AS queue FROM feed;
";
/// The columns of the newest version that the registry has at the start.
const NEWEST: &str = "
CREATE SOURCE newest (*)
WITH (connector = 'kafka', topic = 'TOPIC', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE AVRO (schema.registry = '${REGISTRY}');
CREATE MATERIALIZED VIEW sources AS SELECT source, count(*) AS n FROM newest GROUP BY source;
";

/// The field of a record's definition.
fn field<'a>(record: &'a mut Value, name: &str) -> &'a mut Value {
    let fields = record["fields"].as_array_mut().expect("fields");
    fields.iter_mut().find(|field| field["name"] == name).expect(name)
}

/// The definition of the record `info`.
fn info(schema: &mut Value) -> &mut Value {
    &mut field(&mut field(schema, "match")["type"], "info")["type"]
}

fn add(record: &mut Value, added: Value) {
    record["fields"].as_array_mut().expect("fields").push(added);
}

/// The schema of `match.completed` as it is shipped, a compatible edit of it, and one that breaks its readers.
fn versions() -> [Value; 3] {
    let path = servers::root().join("schemas/avro/match.completed.avsc");
    let first: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema")).expect("JSON");
    // Version 2: a field with a default is new, one that had a default is gone, two ints are longs.
    let mut second = first.clone();
    add(&mut second, json!({"name": "shard", "type": "string", "default": "main"}));
    second["fields"].as_array_mut().expect("fields").retain(|field| field["name"] != "source");
    let of_match = info(&mut second);
    field(of_match, "queueId")["type"] = json!("long");
    let player = &mut field(of_match, "participants")["type"]["items"];
    field(player, "goldEarned")["type"] = json!("long");
    // Version 3: a field has another type, one without a default is new, and two may hold more than before.
    let mut third = second.clone();
    add(&mut third, json!({"name": "season", "type": "int"}));
    let fetched = field(&mut third, "fetched_at");
    fetched["type"] = json!(["null", fetched["type"]]);
    let of_match = info(&mut third);
    field(of_match, "gameVersion")["type"] = json!("int");
    field(of_match, "gameDuration")["type"] = json!(["string", "long"]);
    [first, second, third]
}

/// A match as one fetch of it told it.
fn envelope(n: usize, version: usize, minute: usize) -> Value {
    let player = |slot: usize| {
        json!({
            "puuid": format!("p{}", (n + slot) % 17), "championId": 1, "championName": "Annie", "champLevel": 18,
            "kills": (n + minute) % 13, "deaths": 1, "assists": 2, "goldEarned": 9000 + n, "teamId": 100, "win": true,
        })
    };
    let mut envelope = json!({
        "event_id": format!("00000000-0000-4000-8000-{:04}{version:04}{minute:04}", n),
        "fetched_at": format!("2026-01-31T12:{minute:02}:00.000000Z"),
        "match": {
            "metadata": {"dataVersion": "2", "matchId": format!("EUW1_{n}"), "participants": []},
            "info": {
                "gameCreation": 1, "gameDuration": 1500 + n, "gameId": n, "gameMode": "CLASSIC",
                "gameStartTimestamp": 1, "gameVersion": "15.1", "platformId": "EUW1", "queueId": 420,
                "participants": [player(0), player(1)],
            },
        },
        "event_version": version,
    });
    match version {
        1 => envelope["source"] = json!(format!("collector-{}", n % 3)),
        _ => envelope["shard"] = json!(format!("shard-{}", n % 4)),
    }
    if version == 3 {
        envelope["season"] = json!(16);
        envelope["match"]["info"]["gameVersion"] = json!(15);
    }
    envelope
}

/// A record that was produced.
#[derive(Clone)]
struct Sent {
    version: usize,
    envelope: Value,
    wire: Vec<u8>,
    late: bool,
}

impl Sent {
    fn key(&self) -> &str {
        self.envelope["match"]["metadata"]["matchId"].as_str().expect("an id")
    }

    fn info(&self, name: &str) -> &Value {
        &self.envelope["match"]["info"][name]
    }

    /// The outcome and reason with which the table `matches` refuses it.
    fn refused_by_matches(&self) -> Option<(&'static str, &'static str)> {
        let duration = self.info("gameDuration");
        if duration.is_string() {
            return Some(("decode", "field match.info.gameDuration: "));
        }
        if self.envelope["fetched_at"].is_null() {
            return Some(("constraint", "fetched_at is NULL"));
        }
        (duration == TOO_LONG).then_some(("constraint", "is false"))
    }

    /// The same of the source `feed`, which has the columns of version 1.
    fn refused_by_feed(&self) -> Option<(&'static str, &'static str)> {
        if self.version == 3 {
            return Some(("decode", "field match.info.game"));
        }
        if self.info("queueId") == WIDE {
            return Some(("decode", "field match.info.queueId: 3000000000 does not fit its column"));
        }
        self.late.then_some(("late", ""))
    }
}

/// The numbers of a source: each outcome with its records.
type Counts = BTreeMap<&'static str, usize>;

/// The expected rows of `held` and `players`, and how the table takes the records.
fn expected_of_matches(sent: &[Sent]) -> (Vec<Value>, Vec<Value>, Counts) {
    let mut rows: BTreeMap<&str, &Sent> = BTreeMap::new();
    let mut counts = Counts::new();
    for record in sent {
        let at = |of: &Sent| of.envelope["fetched_at"].as_str().expect("a time").to_owned();
        let outcome = match (record.refused_by_matches(), rows.get(record.key())) {
            (Some((outcome, _)), _) => outcome,
            (None, Some(before)) if at(before) > at(record) => "superseded",
            (None, Some(before)) if before.envelope == record.envelope => "duplicate",
            (None, _) => {
                rows.insert(record.key(), record);
                "accepted"
            }
        };
        *counts.entry(outcome).or_default() += 1;
    }
    let mut players: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    let mut held = Vec::new();
    for record in rows.into_values() {
        held.push(json!({
            "match_id": record.key(), "source": record.envelope["source"], "shard": record.envelope["shard"],
            "queue": record.info("queueId"), "duration_s": record.info("gameDuration"),
        }));
        for player in record.info("participants").as_array().expect("players") {
            let number = |name: &str| player[name].as_i64().expect("a number");
            let sums = players.entry(player["puuid"].as_str().expect("an id").to_owned()).or_default();
            for (sum, more) in sums.iter_mut().zip([1, number("kills"), number("goldEarned")]) {
                *sum += more;
            }
        }
    }
    let mut sums = Vec::new();
    for (puuid, [games, kills, gold]) in players {
        sums.push(json!({"puuid": puuid, "games": games, "kills": kills, "gold": gold}));
    }
    (input::sorted(held), input::sorted(sums), counts)
}

/// The expected rows of `seen`, and how the source takes the records. A field that version 2 has no more reads as its
/// default.
fn expected_of_feed(sent: &[Sent]) -> (Vec<Value>, Counts) {
    let (mut rows, mut counts) = (Vec::new(), Counts::new());
    for record in sent {
        let outcome = record.refused_by_feed().map_or("accepted", |(outcome, _)| outcome);
        *counts.entry(outcome).or_default() += 1;
        if outcome == "accepted" {
            let source = record.envelope.get("source").cloned().unwrap_or(json!("riot"));
            let id = &record.envelope["event_id"];
            rows.push(json!({"event_id": id, "source": source, "queue": record.info("queueId")}));
        }
    }
    (input::sorted(rows), counts)
}

/// The topology in a directory, with the schemas and the records produced so far.
struct Place {
    dir: tempfile::TempDir,
    topic: String,
    listen: String,
    schemas: [Value; 3],
    ids: Vec<u64>,
    sent: Vec<Sent>,
}

impl Place {
    fn new(prefix: &str) -> Place {
        let (dir, topic) = (tempfile::tempdir().expect("a directory"), format!("{prefix}.match.completed"));
        let schemas = versions();
        for (n, schema) in schemas.iter().enumerate() {
            std::fs::write(dir.path().join(format!("v{}.avsc", n + 1)), format!("{schema:#}"))
                .expect("a file");
        }
        let text = |duration: &str, seconds: &str| {
            TOPOLOGY.replace("DURATION_TYPE", duration).replace("DURATION_S", seconds)
        };
        let in_json =
            "CAST(trim(BOTH '\"' FROM CAST(\"match\"['info']['gameduration'] AS VARCHAR)) AS BIGINT)";
        let files = [
            ("matches.sql", text("BIGINT", "\"match\"['info']['gameduration']") + FEED),
            ("mended.sql", text("JSONB", in_json)),
            ("newest.sql", NEWEST.to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text.replace("TOPIC", &topic)).expect("a file");
        }
        broker::shared().create_topic(&topic, 2);
        Place { dir, topic, listen: servers::free_address(), schemas, ids: Vec::new(), sent: Vec::new() }
    }

    fn subject(&self) -> String {
        format!("{}-value", self.topic)
    }

    fn set_level(&self, level: &str) {
        let config = format!("{}/config/{}", servers::registry(), self.subject());
        let body = json!({"compatibility": level}).to_string();
        let (status, answer) = servers::http("PUT", &config, Some(&body)).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    }

    /// Registers the next version.
    fn register(&mut self) {
        let schema = self.schemas[self.ids.len()].to_string();
        self.ids.push(servers::register(&self.subject(), &schema));
    }

    /// Encodes envelopes of one version.
    fn encode(&self, version: usize, envelopes: Vec<Value>) -> Vec<Sent> {
        let file = self.dir.path().join(format!("v{version}.avsc"));
        let lines: String = envelopes.iter().map(|envelope| format!("{envelope}\n")).collect();
        let args = [&*file.to_string_lossy(), &*self.ids[version - 1].to_string()];
        let encoded = servers::python("encode_avro.py", &args, &lines);
        let wires = encoded.lines().map(|line| STANDARD.decode(line).expect("base64"));
        let sent = envelopes.into_iter().zip(wires);
        sent.map(|(envelope, wire)| Sent { version, envelope, wire, late: false }).collect()
    }

    /// Produces records in this order.
    fn produce(&mut self, records: Vec<Sent>) {
        broker::shared().produce(&self.topic, records.iter().map(|sent| (sent.key(), sent.wire.as_slice())));
        self.sent.extend(records);
    }

    fn env(&self) -> [(&'static str, &'static str); 2] {
        [("KAFKA_BOOTSTRAP", servers::kafka()), ("REGISTRY", servers::registry())]
    }

    fn start(&self, file: &str, name: &str, more: &[(&str, &str)]) -> Herald {
        let args = ["run", file, "--name", name, "--state", name, "--listen", &self.listen];
        let herald = Herald::start(self.dir.path(), &args, &[&self.env()[..], more].concat());
        let ready = format!("http://{}/readyz", self.listen);
        wait(&herald, || matches!(servers::http("GET", &ready, None), Ok((200, _))));
        herald
    }

    /// The rows of a query to the running topology, or to a state.
    fn query(&self, sql: &str, of: &[&str]) -> Vec<Value> {
        let args = [&["query", sql, "--format", "json"], of].concat();
        let asked = child::succeed(self.dir.path(), &args, &self.env(), PATIENCE);
        input::sorted(serde_json::from_str(&asked.stdout).expect("JSON"))
    }

    /// Waits until both sources have read all, and compares views and numbers with the expected ones.
    fn check(&self, herald: &Herald, step: &str) {
        let url = ["--url", self.listen.as_str()];
        let numbers = "SELECT DISTINCT name, read, accepted, duplicate, superseded, \"constraint\", decode, late \
                       FROM herald.sources";
        let all_read = || {
            let found = self.query(numbers, &url);
            found.len() == 2 && found.iter().all(|row| row["read"] == self.sent.len() as f64)
        };
        wait(herald, all_read);
        let (held, players, of_matches) = expected_of_matches(&self.sent);
        let (seen, of_feed) = expected_of_feed(&self.sent);
        input::assert_same(&format!("{step}: held"), &self.query("SELECT * FROM held", &url), &held);
        input::assert_same(&format!("{step}: players"), &self.query("SELECT * FROM players", &url), &players);
        input::assert_same(&format!("{step}: seen"), &self.query("SELECT * FROM seen", &url), &seen);
        for row in self.query(numbers, &url) {
            let counts = if row["name"] == "matches" { &of_matches } else { &of_feed };
            for outcome in ["accepted", "duplicate", "superseded", "constraint", "decode", "late"] {
                let expected = counts.get(outcome).copied().unwrap_or(0);
                assert_eq!(row[outcome], expected as f64, "{step}: {outcome} of {row}");
            }
            assert_eq!(
                counts.values().sum::<usize>(),
                self.sent.len(),
                "{step}: every record has an outcome"
            );
        }
    }

    /// Asserts that a source's dead letters are the records that it refuses: each once, with its place, its reason and
    /// its bytes.
    fn check_dead_letters(
        &self,
        source: &str,
        refused: impl Fn(&Sent) -> Option<(&'static str, &'static str)>,
    ) {
        let mut places: BTreeMap<Vec<u8>, Vec<Read>> = BTreeMap::new();
        for read in broker::shared().read_committed(&self.topic) {
            places.entry(read.value.clone().expect("a value")).or_default().push(read);
        }
        let dead = broker::shared().read_committed("evolution.dead");
        let mut dead: BTreeMap<String, Read> = dead
            .into_iter()
            .filter(|read| read.headers["herald.source"] == source)
            .map(|read| {
                (format!("{}/{}", read.headers["herald.partition"], read.headers["herald.offset"]), read)
            })
            .collect();
        for sent in &self.sent {
            let Some((outcome, reason)) = refused(sent) else { continue };
            let [place] = places[&sent.wire].as_slice() else { panic!("one record of {}", sent.envelope) };
            let read = dead.remove(&format!("{}/{}", place.partition, place.offset));
            let read = read.unwrap_or_else(|| panic!("{source}: no dead letter of {}", sent.envelope));
            assert_eq!((&read.key, &read.value), (&place.key, &place.value), "raw bytes");
            assert_eq!(read.headers["herald.topic"], self.topic);
            assert_eq!(read.headers["herald.outcome"], outcome, "{}", sent.envelope);
            let said = &read.headers["herald.message"];
            assert!(said.contains(reason), "{said:?} should have {reason:?}");
            if outcome == "decode" {
                let id = self.ids[sent.version - 1].to_string();
                assert_eq!(read.headers["herald.schema_id"], id);
            }
        }
        assert!(dead.is_empty(), "{source}: dead letters of good records: {:?}", dead.values());
    }

    fn schema_check(&self, file: &str) -> Ended {
        let (registry, subject) = (servers::registry(), self.subject());
        let args = ["schema", "check", file, "--registry", registry, "--subject", &subject];
        child::herald(self.dir.path(), &args, &[], PATIENCE)
    }
}

fn wait(herald: &Herald, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Records one from each list in turn, as producers of several versions write them.
fn interleaved(lists: Vec<Vec<Sent>>) -> Vec<Sent> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let turn = |n: usize| lists.iter().filter_map(move |list| list.get(n).cloned());
    (0..longest).flat_map(turn).collect()
}

/// Version 2 beside version 1, with numbers that only a long holds, a duplicate, an older fetch and a late record.
fn move_to_version_2(place: &mut Place) {
    let new = (50..150).map(|n| {
        let mut envelope = envelope(n, 2, 1);
        if n % 10 == 0 {
            envelope["match"]["info"]["queueId"] = json!(WIDE);
        }
        envelope
    });
    let mut old: Vec<Value> = (100..180).map(|n| envelope(n, 1, 2)).collect();
    // Fetched before the matches that version 2 has told.
    old.extend((60..65).map(|n| envelope(n, 1, 0)));
    let mut refused = envelope(200, 1, 2);
    refused["match"]["info"]["gameDuration"] = json!(TOO_LONG);
    old.push(refused);
    let lists = vec![place.encode(2, new.collect()), place.encode(1, old)];
    place.produce(interleaved(lists));
}

/// A record two days behind all others, once these are read.
fn send_late(place: &mut Place, n: usize, version: usize) {
    let mut late = envelope(n, version, 0);
    late["fetched_at"] = json!("2026-01-29T12:00:00.000000Z");
    let mut late = place.encode(version, vec![late]);
    late[0].late = true;
    place.produce(late);
}

/// Version 3 beside version 2: of three records one has a duration that is text, one has no fetched_at, and one can be
/// read as before.
fn version_3(place: &Place, numbers: std::ops::Range<usize>) -> Vec<Sent> {
    let broken = numbers.clone().map(|n| {
        let mut envelope = envelope(n, 3, 3);
        match n % 3 {
            0 => envelope["match"]["info"]["gameDuration"] = json!((1500 + n).to_string()),
            1 => envelope["fetched_at"] = Value::Null,
            _ => {}
        }
        envelope
    });
    let good = numbers.map(|n| envelope(n - 100, 2, 3));
    interleaved(vec![place.encode(3, broken.collect()), place.encode(2, good.collect())])
}

/// `herald schema check` names the fields of version 3 before anyone deploys it, and the registry refuses it.
fn check_version_3(place: &Place) {
    let checked = place.schema_check("v3.avsc");
    assert_eq!(checked.code, Some(3), "{checked:?}");
    for part in
        ["match.info.gameVersion", "season", "added without a default", "by backward, the registry's level"]
    {
        assert!(checked.stdout.contains(part), "{part}: {}", checked.stdout);
    }
    assert!(!checked.stdout.contains("shard"), "what version 2 has added breaks nobody: {}", checked.stdout);
    let url = format!("{}/subjects/{}/versions", servers::registry(), place.subject());
    let body = json!({"schema": place.schemas[2].to_string()}).to_string();
    let (status, answer) = servers::http("POST", &url, Some(&body)).expect("an answer");
    assert_eq!(status, 409, "{answer}");
}

#[test]
fn a_producer_moves_to_a_compatible_version_and_to_an_incompatible_one() {
    let mut place = Place::new("evolution");
    place.set_level("BACKWARD");
    place.register();
    let mut herald = place.start("matches.sql", "evolution", &[]);
    let mut first: Vec<Value> = (0..100).map(|n| envelope(n, 1, 0)).collect();
    // Sent twice.
    first.extend((0..5).map(|n| envelope(n, 1, 0)));
    let first = place.encode(1, first);
    place.produce(first);
    place.check(&herald, "version 1");

    let checked = place.schema_check("v2.avsc");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    place.register();
    move_to_version_2(&mut place);
    place.check(&herald, "version 2 beside version 1");
    send_late(&mut place, 300, 1);
    send_late(&mut place, 301, 2);
    place.check(&herald, "late records of both");
    assert!(herald.running(), "without a restart");

    check_version_3(&place);
    place.set_level("NONE");
    place.register();
    let records = version_3(&place, 100..140);
    place.produce(records);
    let ended = herald.kill();
    assert_eq!(ended.code, None);
    let records = version_3(&place, 140..180);
    place.produce(records);
    let herald = place.start("matches.sql", "evolution", &[]);
    place.check(&herald, "version 3, with a kill within it");
    let later = place.encode(2, (400..420).map(|n| envelope(n, 2, 4)).collect());
    place.produce(later);
    place.check(&herald, "version 2 after it");
    let (_, _, of_matches) = expected_of_matches(&place.sent);
    let (_, of_feed) = expected_of_feed(&place.sent);
    assert_eq!(of_matches.len(), 5, "the table has every outcome but late: {of_matches:?}");
    assert_eq!(of_feed.len(), 3, "the source has accepted, decode and late: {of_feed:?}");
    println!("{} records: matches {of_matches:?}, feed {of_feed:?}", place.sent.len());
    place.check_dead_letters("matches", Sent::refused_by_matches);
    place.check_dead_letters("feed", Sent::refused_by_feed);
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    a_topology_without_a_kill_has_the_same_rows(&place);
    a_mended_topology_takes_what_was_rejected(&place);
}

/// A topology that begins now and reads all at once, over versions that are mixed from its first record on.
fn a_topology_without_a_kill_has_the_same_rows(place: &Place) {
    let env = [&place.env()[..], &[("DEAD", "evolution.dead.again")]].concat();
    let args =
        ["run", "matches.sql", "--once", "--name", "evolution-again", "--state", "again", "--listen", "off"];
    child::succeed(place.dir.path(), &args, &env, PATIENCE);
    let (held, players, _) = expected_of_matches(&place.sent);
    let state = ["--state", "again"];
    input::assert_same("held at once", &place.query("SELECT * FROM held", &state), &held);
    input::assert_same("players at once", &place.query("SELECT * FROM players", &state), &players);
}

/// Durations of both types in a column that takes any: the records come again by a replay.
fn a_mended_topology_takes_what_was_rejected(place: &Place) {
    let herald = place.start("mended.sql", "evolution-mended", &[("FROM", "latest")]);
    let args = ["dead-letter", "replay", "mended.sql", "--outcome", "decode", "--format", "json"];
    let ended = child::succeed(place.dir.path(), &args, &place.env(), PATIENCE);
    let printed: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let mut expected = Vec::new();
    for sent in place.sent.iter().filter(|sent| sent.info("gameDuration").is_string()) {
        let seconds: i64 =
            sent.info("gameDuration").as_str().and_then(|text| text.parse().ok()).expect("seconds");
        expected
            .push(json!({"match_id": sent.key(), "shard": sent.envelope["shard"], "duration_s": seconds}));
    }
    assert_eq!(printed["counts"][0]["replayed"], expected.len(), "{printed}");
    let url = ["--url", place.listen.as_str()];
    let held = || place.query("SELECT match_id, shard, duration_s FROM held", &url);
    wait(&herald, || held().len() >= expected.len());
    input::assert_same("replayed", &held(), &input::sorted(expected));
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn columns_from_the_registry_are_those_of_the_start() {
    let mut place = Place::new("evolution-newest");
    place.register();
    let first = place.encode(1, (0..6).map(|n| envelope(n, 1, 0)).collect());
    place.produce(first);
    let args = |name: &'static str| {
        ["run", "newest.sql", "--once", "--name", name, "--state", name, "--listen", "off"]
    };
    let run = |place: &Place, name| child::herald(place.dir.path(), &args(name), &place.env(), PATIENCE);
    let ended = run(&place, "evolution-star");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    place.register();
    let second = place.encode(2, (6..10).map(|n| envelope(n, 2, 0)).collect());
    place.produce(second);
    // Version 2 has no column `source`, which the view reads.
    let refused = run(&place, "evolution-star");
    assert_eq!(refused.code, Some(2), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("source"), "{}", refused.stderr);
    // With the file of version 1 the same state goes on, and the removed field has its default.
    pin(place.dir.path());
    let ended = run(&place, "evolution-star");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = place.query("SELECT source, n FROM sources", &["--state", "evolution-star"]);
    let expected = [("collector-0", 2), ("collector-1", 2), ("collector-2", 2), ("riot", 4)];
    let expected = expected.map(|(source, n)| json!({"source": source, "n": n}));
    input::assert_same("sources", &rows, &input::sorted(expected.to_vec()));
}

/// Takes the columns of the topology from the file of version 1.
fn pin(dir: &Path) {
    let path = dir.join("newest.sql");
    let text = std::fs::read_to_string(&path).expect("the topology");
    let pinned = text.replace("'${REGISTRY}'", "'${REGISTRY}', schema.file = 'v1.avsc'");
    assert_ne!(text, pinned);
    std::fs::write(path, pinned).expect("the topology");
}
