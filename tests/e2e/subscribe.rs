//! Subscribers of views: the rows that they make of snapshot and changes are those of the view, at every mark
//! of progress, through kills and reconnections; one that reads too slowly is cut off, and one that comes
//! back too late is told.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::child::{self, Herald};
use crate::servers;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const READER: &str = "reads-and-no-more";
/// Notes that outrun a slow reader.
pub const NOTES: usize = 50_000;
/// Longest time between two events of a busy view.
const SILENCE: Duration = PATIENCE;

const KILLS: &str = "
CREATE SOURCE kills (team VARCHAR NOT NULL, gold BIGINT, note VARCHAR)
WITH (connector = 'file', path = 'kills.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW teams AS
SELECT team, count(*) AS kills, sum(gold) AS gold, max(gold) AS most FROM kills GROUP BY team;
CREATE MATERIALIZED VIEW golds AS SELECT gold FROM kills WHERE gold > 10;
CREATE MATERIALIZED VIEW leaders AS
SELECT team, gold FROM teams WHERE gold = (SELECT max(gold) FROM teams);
CREATE MATERIALIZED VIEW notes AS SELECT note FROM kills WHERE note IS NOT NULL;
CREATE MATERIALIZED VIEW brief WITH (history = '1 second') AS SELECT team, count(*) AS n FROM kills GROUP BY team;
CREATE MATERIALIZED VIEW off WITH (history = '0 seconds') AS SELECT team, count(*) AS n FROM kills GROUP BY team;
";

/// A running topology, and its address.
pub struct Topology {
    pub herald: Herald,
    listen: String,
}

impl Topology {
    pub fn start(dir: &Path, listen: &str, more: &[&str]) -> Topology {
        let args = [
            &["run", "kills.sql", "--state", "state", "--workers", "2", "--listen", listen],
            &["--epoch-interval", "20ms"][..],
            more,
        ];
        let herald = Herald::start(dir, &args.concat(), &[("HERALD_READ_TOKEN", READER)]);
        let topology = Topology { herald, listen: listen.to_owned() };
        topology
            .wait("it is ready", || topology.ask("/readyz", "").is_some_and(|answer| answer.status == 200));
        topology
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < PATIENCE, "{what}:\n{}", self.herald.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The whole answer to a request; one with a body is a POST. Asks again when it asked too often.
    pub fn ask(&self, path: &str, body: &str) -> Option<Answer> {
        loop {
            let mut stream = request(&self.listen, path, ("", body))?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            let answer = Answer::of(&text)?;
            if !answer.body.contains("too many requests") {
                return Some(answer);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The rows of a query with their numbers, and the epoch that they are of.
    fn rows(&self, sql: &str) -> (u64, BTreeMap<String, i64>) {
        let answer = self.ask("/v1/query", sql).expect("an answer");
        assert_eq!(answer.status, 200, "{sql}: {}\n{}", answer.body, self.herald.said());
        let (rows, mut counted) = (serde_json::from_str::<Vec<Value>>(&answer.body), BTreeMap::new());
        for row in rows.expect("JSON") {
            *counted.entry(row.to_string()).or_default() += 1;
        }
        (answer.epoch.expect("an epoch"), counted)
    }

    /// Waits until so many kills are committed.
    pub fn committed(&self, kills: usize) {
        let expected = BTreeMap::from([(format!("{{\"read\":{kills}}}"), 1)]);
        let read = || self.rows("SELECT read FROM herald.sources WHERE name = 'kills'").1 == expected;
        self.wait("the kills are committed", read);
    }

    /// Checks that a follower has the rows of a query, at the epoch of its answer.
    pub fn compare(&self, follower: &mut Follower, sql: &str) {
        let (epoch, expected) = self.rows(sql);
        follower.read_until(epoch);
        assert_eq!(follower.at(epoch), &expected, "{sql} at epoch {epoch}");
    }

    /// Commits more notes than the ring of the feed and the buffers of both ends hold, while one reads slowly
    /// and another follows the teams. Returns everything that the slow one read.
    pub fn outrun(&self, slow: TcpStream, input: &mut Input, quick: &mut Follower) -> Vec<u8> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| read_slowly(slow, &done));
            let mut lines = String::new();
            for note in 0..NOTES {
                lines.push_str(&format!("{{\"team\":\"a\",\"gold\":1,\"note\":\"{note:01000}\"}}\n"));
            }
            input.append(&lines);
            self.committed(input.kills);
            self.compare(quick, "SELECT * FROM teams");
            done.store(true, Ordering::Release);
            slow.join().expect("it reads to the end")
        })
    }
}

/// The answer to a request.
pub struct Answer {
    pub status: u16,
    epoch: Option<u64>,
    pub body: String,
}

impl Answer {
    pub fn of(text: &str) -> Option<Answer> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let epoch = head.lines().find_map(|line| line.strip_prefix("herald-epoch: "));
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, epoch: epoch.and_then(|epoch| epoch.parse().ok()), body: body.to_owned() })
    }
}

/// Sends a request with the token and another header.
pub fn request(listen: &str, path: &str, (header, body): (&str, &str)) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(listen).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (method, length) = (if body.is_empty() { "GET" } else { "POST" }, body.len());
    let head = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {READER}\r\n");
    write!(stream, "{head}{header}Content-Length: {length}\r\n\r\n{body}").ok()?;
    Some(stream)
}

/// An event of a subscription.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// Reads the next event; None at the end of the stream.
fn next_event(lines: &mut impl BufRead) -> Option<Event> {
    let (mut name, mut id, mut data) = (None, None, Value::Null);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches('\n');
        match line.split_once(": ") {
            Some(("event", text)) => name = Some(text.to_owned()),
            Some(("id", text)) => id = Some(text.to_owned()),
            Some(("data", text)) => data = serde_json::from_str(text).expect("JSON"),
            _ if line.is_empty() => {
                if let Some(name) = name.take() {
                    return Some(Event { name, id, data });
                }
            }
            _ => assert_eq!(line, ": heartbeat"),
        }
    }
}

/// A connection that ends when it is dropped, also while it is read.
pub struct Wire(pub TcpStream);

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A client that follows a view, with the rows that it makes of the events.
pub struct Follower {
    events: Receiver<Event>,
    _wire: Wire,
    /// Rows with their numbers at every mark of progress.
    states: BTreeMap<u64, BTreeMap<String, i64>>,
    rows: BTreeMap<String, i64>,
    /// Changes since the last mark.
    open: Vec<(String, i64)>,
    pub last_id: Option<String>,
    pub resets: Vec<String>,
}

impl Follower {
    /// Subscribes and takes the first mark of progress.
    fn begin(listen: &str, path: &str) -> Follower {
        let mut follower = Follower::start(listen, path, None);
        follower.read_until(0);
        follower
    }

    /// Subscribes; goes on from another follower's last mark, if there is one.
    fn start(listen: &str, path: &str, from: Option<Follower>) -> Follower {
        let id = from.as_ref().and_then(|from| from.last_id.clone());
        let header = id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let (mut lines, mut head) = subscription(listen, path, &header);
        while head.contains(" 429 ") {
            std::thread::sleep(Duration::from_millis(100));
            (lines, head) = subscription(listen, path, &header);
        }
        assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        let wire = Wire(lines.get_ref().try_clone().expect("another handle"));
        Follower::of(wire, from, move || next_event(&mut lines))
    }

    /// Follows the events of a connection; has the rows of another follower's last mark, if there is one.
    pub fn of(
        wire: Wire,
        from: Option<Follower>,
        mut next: impl FnMut() -> Option<Event> + Send + 'static,
    ) -> Follower {
        let (sender, events) = channel();
        std::thread::spawn(move || {
            while let Some(event) = next() {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let (states, rows, last_id) = match from {
            Some(from) => {
                let rows = from.states.last_key_value().map(|(_, rows)| rows.clone()).unwrap_or_default();
                (from.states, rows, from.last_id)
            }
            None => Default::default(),
        };
        Follower { events, _wire: wire, states, rows, open: Vec::new(), last_id, resets: Vec::new() }
    }

    /// Takes the next event.
    pub fn take(&mut self) -> Event {
        let event = self.events.recv_timeout(SILENCE).expect("an event");
        let data = &event.data;
        match event.name.as_str() {
            "reset" => {
                self.resets.push(data["why"].as_str().expect("a reason").to_owned());
                self.rows.clear();
                self.open.clear();
            }
            "snapshot" | "delta" => {
                self.open.push((data["row"].to_string(), data["diff"].as_i64().expect("a number")));
            }
            "progress" => {
                let epoch = data["epoch"].as_u64().expect("an epoch");
                assert!(data["commit_ms"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{data}");
                assert!(
                    event.id.as_ref().is_some_and(|id| id.starts_with(&format!("{epoch}-"))),
                    "{event:?}"
                );
                for (row, diff) in self.open.drain(..) {
                    let held = self.rows.entry(row.clone()).or_default();
                    *held += diff;
                    if *held == 0 {
                        self.rows.remove(&row);
                    }
                }
                assert!(self.rows.values().all(|held| *held > 0), "{:?}", self.rows);
                self.states.insert(epoch, self.rows.clone());
                self.last_id = event.id.clone();
            }
            _ => {}
        }
        event
    }

    /// Reads until all changes up to an epoch are there.
    pub fn read_until(&mut self, epoch: u64) {
        while self.states.last_key_value().is_none_or(|(last, _)| *last < epoch) {
            let event = self.take();
            assert_ne!(event.name, "end", "{event:?}");
        }
    }

    /// The rows at an epoch.
    fn at(&self, epoch: u64) -> &BTreeMap<String, i64> {
        self.states.range(..=epoch).next_back().expect("a mark of progress").1
    }
}

/// Subscribes with a header; returns the events and the head before them.
fn subscription(listen: &str, path: &str, header: &str) -> (BufReader<TcpStream>, String) {
    let stream = request(listen, &format!("/v1/subscribe/{path}"), (header, "")).expect("a connection");
    let (mut lines, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    (lines, head)
}

pub fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        encoded.push_str(&format!("%{byte:02X}"));
    }
    encoded
}

/// A topology's directory, whose source grows.
pub struct Input {
    pub dir: tempfile::TempDir,
    rng: ChaCha8Rng,
    pub kills: usize,
}

impl Input {
    pub fn new() -> Input {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("kills.sql"), KILLS).expect("a file");
        fs::write(dir.path().join("kills.jsonl"), "").expect("a file");
        Input { dir, rng: ChaCha8Rng::seed_from_u64(27), kills: 0 }
    }

    pub fn append(&mut self, lines: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.dir.path().join("kills.jsonl"))
            .expect("the source's file");
        file.write_all(lines.as_bytes()).expect("lines");
        self.kills += lines.lines().count();
    }

    /// Adds some kills of a few teams.
    pub fn add_kills(&mut self, count: usize) {
        let mut lines = String::new();
        for _ in 0..count {
            let (team, gold) = (self.rng.random_range(0..5), self.rng.random_range(0..30));
            lines.push_str(&format!("{{\"team\":\"team {team}\",\"gold\":{gold}}}\n"));
        }
        self.append(&lines);
    }
}

/// The views that are followed, each with the query that has the same rows.
pub fn followed() -> Vec<(String, &'static str)> {
    let of_team = format!("teams?where={}&columns=kills,team", percent("team <> 'team 3' AND kills > 2"));
    vec![
        ("teams".to_owned(), "SELECT * FROM teams"),
        ("golds".to_owned(), "SELECT * FROM golds"),
        ("leaders".to_owned(), "SELECT * FROM leaders"),
        (of_team, "SELECT kills, team FROM teams WHERE team <> 'team 3' AND kills > 2"),
        ("teams?columns=most".to_owned(), "SELECT most FROM teams"),
    ]
}

#[test]
fn subscribers_have_the_rows_of_the_view_through_kills() {
    let mut input = Input::new();
    input.add_kills(20);
    let listen = servers::free_address();
    let mut topology = Topology::start(input.dir.path(), &listen, &[]);
    topology.committed(input.kills);
    let mut followers = Vec::new();
    for (path, sql) in followed() {
        followers.push((Follower::begin(&listen, &path), path, sql));
    }
    for round in 0..child::number("HERALD_KILLS", 4) {
        for _ in 0..6 {
            input.add_kills(7);
            for (follower, _, sql) in &mut followers {
                topology.compare(follower, sql);
            }
        }
        topology.committed(input.kills);
        // The next kills are committed while the process dies, or are not.
        input.add_kills(50);
        std::thread::sleep(Duration::from_millis(10 * round % 90));
        topology.herald.kill();
        topology = Topology::start(input.dir.path(), &listen, &[]);
        let mut again = Vec::new();
        for (follower, path, sql) in followers {
            let mut follower = Follower::start(&listen, &path, Some(follower));
            topology.compare(&mut follower, sql);
            assert!(follower.resets.is_empty(), "{path}: {:?}", follower.resets);
            again.push((follower, path, sql));
        }
        followers = again;
    }
    // From an early epoch on, with the rows of that time, to the same end.
    let (first, _, sql) = followers.swap_remove(0);
    let (early, rows) = first.states.iter().nth(1).expect("two marks of progress");
    let mut late = Follower::start(&listen, &format!("teams?as_of={early}"), None);
    late.rows = rows.clone();
    topology.compare(&mut late, sql);
    assert!(late.resets.is_empty());
    // With no snapshot the first mark is of an epoch that is there.
    let mut from_now = Follower::start(&listen, "teams?snapshot=false", None);
    assert_eq!(from_now.take().name, "progress");
    drop((followers, late, from_now));
    let ended = topology.herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let dir = input.dir.path();
    let verified = child::succeed(dir, &["state", "verify", "state", "kills.sql"], &[], PATIENCE).stdout;
    assert!(verified.contains("every block was read"), "{verified}");
}

#[test]
fn subscribers_that_come_too_late_or_ask_wrongly_are_told() {
    let mut input = Input::new();
    input.add_kills(20);
    let listen = servers::free_address();
    let topology = Topology::start(input.dir.path(), &listen, &["--max-subscribers", "2"]);
    topology.committed(input.kills);
    let mut first = Follower::begin(&listen, "brief");
    topology.compare(&mut first, "SELECT * FROM brief");
    assert_eq!(first.resets, ["the subscription begins"]);
    let early = first.last_id.clone().expect("a mark of progress");
    let epoch = early.split_once('-').expect("an epoch and a state").0.to_owned();
    // The changes are kept for a second.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1200));
        input.add_kills(5);
        topology.committed(input.kills);
    }
    let mut late = Follower::begin(&listen, &format!("brief?as_of={epoch}"));
    topology.compare(&mut late, "SELECT * FROM brief");
    let told = format!("the changes after epoch {epoch} are not kept: those after epoch ");
    assert!(late.resets.len() == 1 && late.resets[0].starts_with(&told), "{:?}", late.resets);

    // The third is one too many.
    let refused = topology.ask("/v1/subscribe/brief", "").expect("an answer");
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.body.contains("there are 2 subscribers already"), "{}", refused.body);
    let metrics = topology.ask("/metrics", "").expect("metrics").body;
    for line in [
        "herald_subscribers_number{kind=\"open\",topology=\"kills\"} 2",
        "herald_subscribers_number{kind=\"limit\",topology=\"kills\"} 2",
        "herald_http_requests_refused_total{reason=\"subscribers\",topology=\"kills\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    drop((first, late));
    topology.wait("they have left", || {
        let metrics = topology.ask("/metrics", "").expect("metrics").body;
        metrics.contains("herald_subscribers_number{kind=\"open\",topology=\"kills\"} 0")
    });
    for (path, status, told) in [
        (format!("brief?as_of={epoch}&snapshot=false"), 410, "are not kept"),
        ("off".to_owned(), 400, "view off keeps no changes to follow"),
        ("tems".to_owned(), 404, "there is no view tems"),
        ("kills".to_owned(), 404, "kills is a source or table of the topology"),
        (
            "teams?columns=team,gld".to_owned(),
            400,
            "view teams has no column \\\"gld\\\"\\n  did you mean gold?",
        ),
        (
            "teams?where=repeat(team,9)='x'".to_owned(),
            400,
            "where:1:1: the condition of a subscriber calls no function",
        ),
        ("teams?where=gld".to_owned(), 400, "where:1:1: "),
        ("teams?filter=x".to_owned(), 400, "the parameters are snapshot"),
    ] {
        let answer = topology.ask(&format!("/v1/subscribe/{path}"), "").expect("an answer");
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(told), "{path}: {}", answer.body);
    }
    let path = "/v1/subscribe/teams";
    for (header, status) in [("Last-Event-ID: x\r\n", 400), ("Accept: application/json\r\n", 406)] {
        let mut text = String::new();
        let stream = request(&listen, path, (header, ""));
        stream.expect("a connection").read_to_string(&mut text).expect("an answer");
        assert_eq!(Answer::of(&text).map(|answer| answer.status), Some(status), "{header}: {text}");
    }
    let stranger = TcpStream::connect(&listen).and_then(|mut stream| {
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    assert!(stranger.is_ok_and(|text| text.contains(" 401 ")));
    // An id of another state is none to go on from.
    let (mut lines, _) = subscription(&listen, "teams", &format!("Last-Event-ID: {epoch}-00000000\r\n"));
    let event = next_event(&mut lines).expect("an event");
    assert_eq!(event.name, "reset");
    assert!(event.data["why"].as_str().is_some_and(|why| why.contains("another state")), "{event:?}");
}

/// Reads a little now and then, so that the connection is not taken for dead, and the rest when `done` is
/// set.
fn read_slowly(mut stream: TcpStream, done: &AtomicBool) -> Vec<u8> {
    let (mut read, mut some) = (Vec::new(), vec![0; 128 << 10]);
    while !done.load(Ordering::Acquire) {
        let count = stream.read(&mut some).expect("some events");
        read.extend_from_slice(&some[..count]);
        std::thread::sleep(Duration::from_millis(200));
    }
    stream.read_to_end(&mut read).expect("the rest");
    read
}

#[test]
fn a_slow_subscriber_is_cut_off_with_a_reason() {
    let mut input = Input::new();
    input.add_kills(1);
    let listen = servers::free_address();
    let topology = Topology::start(input.dir.path(), &listen, &[]);
    topology.committed(input.kills);
    let mut quick = Follower::begin(&listen, "teams");
    let (slow, head) = subscription(&listen, "notes", "");
    assert!(head.contains(" 200 "), "{head}");
    // The first mark may have come with the head.
    let mut read = slow.buffer().to_vec();
    read.extend(topology.outrun(slow.into_inner(), &mut input, &mut quick));
    let read = String::from_utf8_lossy(&read);
    let (_, last) = read.rsplit_once("event: ").expect("events");
    assert!(last.starts_with("end\ndata: {\"reason\":\"slow\","), "{last}");
    let metrics = topology.ask("/metrics", "").expect("metrics").body;
    let counted = "herald_subscriptions_ended_total{reason=\"slow\",topology=\"kills\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    // It goes on from its last mark, and misses nothing.
    let ids = read.split("event: progress\nid: ").skip(1).filter_map(|rest| rest.split('\n').next());
    let (last_id, sent) = (ids.last().expect("a mark of progress"), read.matches("event: delta").count());
    let open =
        read.rsplit_once("event: progress").map_or(0, |(_, open)| open.matches("event: delta").count());
    let (mut lines, _) = subscription(&listen, "notes", &format!("Last-Event-ID: {last_id}\r\n"));
    let mut notes = sent - open;
    while notes < NOTES {
        let event = next_event(&mut lines).expect("an event");
        assert_ne!(event.name, "reset", "{event:?}");
        notes += usize::from(event.name == "delta");
    }
    drop(lines);

    let ended = topology.herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // The quick one is told that the topology has stopped.
    loop {
        let event = quick.take();
        if event.name == "end" {
            assert_eq!(event.data["reason"], "ending");
            return;
        }
    }
}
