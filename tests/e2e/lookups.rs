//! A running topology that is asked about itself: rows by their keys over HTTP, windows that are final, and
//! the system tables, each beside what queries, records and the other views say.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{self, Herald};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);
const READER: &str = "reads-and-no-more";

const KILLS: &str = "
CREATE SOURCE kills (
  team VARCHAR NOT NULL, gold BIGINT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '10 minutes'
) WITH (connector = 'file', path = 'kills.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, founded TIMESTAMPTZ, PRIMARY KEY (team), WATERMARK FOR founded AS founded)
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW hours AS
SELECT window_start, window_end, team, count(*) AS kills, sum(gold) AS gold, avg(gold) AS mean
FROM TUMBLE(kills, at, INTERVAL '1 hour') GROUP BY window_start, window_end, team;
CREATE MATERIALIZED VIEW closed AS
SELECT window_start, window_end, team, count(*) AS kills
FROM TUMBLE(kills, at, INTERVAL '1 hour') GROUP BY window_start, window_end, team EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW golds AS SELECT gold FROM kills;
CREATE MATERIALIZED VIEW founded AS
SELECT window_end, count(*) AS teams FROM TUMBLE(teams, founded, INTERVAL '1 day') GROUP BY window_end;
CREATE SINK hours_out FROM hours
WITH (connector = 'file', path = 'out.jsonl', primary_key = 'window_start,team') FORMAT UPSERT ENCODE JSON;
";

/// The answer to a request: status, the value of `herald-epoch`, body.
struct Answer {
    status: u16,
    epoch: Option<u64>,
    body: String,
}

/// A running topology, and its address.
struct Topology {
    herald: Herald,
    listen: String,
}

impl Topology {
    fn start(dir: &Path) -> Topology {
        let listen = servers::free_address();
        let args = ["run", "kills.sql", "--state", "state", "--workers", "2", "--listen", &listen];
        let herald = Herald::start(dir, &args, &[("HERALD_READ_TOKEN", READER)]);
        let topology = Topology { herald, listen };
        topology.wait("it is ready", || topology.get("/readyz").is_some_and(|answer| answer.status == 200));
        topology
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < PATIENCE, "{what}:\n{}", self.herald.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The answer to a request with a token.
    fn get(&self, path: &str) -> Option<Answer> {
        self.send(path, &format!("Authorization: Bearer {READER}\r\n"), "")
    }

    /// The answer to a request; one with a body is a POST.
    fn send(&self, path: &str, header: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.listen).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let (method, length) = (if body.is_empty() { "GET" } else { "POST" }, body.len());
        let head = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{header}Content-Length: {length}");
        write!(stream, "{head}\r\n\r\n{body}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let epoch = head.lines().find_map(|line| line.strip_prefix("herald-epoch: "));
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            epoch: epoch.and_then(|epoch| epoch.parse().ok()),
            body: body.to_owned(),
        })
    }

    /// The rows of a query, a line of JSON each.
    fn rows(&self, sql: &str) -> Vec<String> {
        let answer =
            self.send("/v1/query", &format!("Authorization: Bearer {READER}\r\n"), sql).expect("an answer");
        assert_eq!(answer.status, 200, "{sql}: {}\n{}", answer.body, self.herald.said());
        let rows = answer.body.lines().filter(|line| line.starts_with('{'));
        rows.map(|line| line.trim_end_matches(',').to_owned()).collect()
    }

    /// Waits until so many kills are committed.
    fn committed(&self, kills: u64) {
        let read = || self.rows("SELECT read FROM herald.sources WHERE name = 'kills'");
        self.wait("the kills are committed", || read() == [format!("{{\"read\":{kills}}}")]);
    }
}

fn kill(team: &str, gold: u32, time: &str) -> String {
    format!("{{\"team\":\"{team}\",\"gold\":{gold},\"at\":\"2026-01-31T{time}Z\"}}\n")
}

fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        encoded.push_str(&format!("%{byte:02X}"));
    }
    encoded
}

/// Each row of the view is found by its key, as the query has it.
fn every_row_is_found(topology: &Topology) {
    let views = topology.rows("SELECT key FROM herald.views WHERE view = 'hours'");
    let key: Value = serde_json::from_str(&views[0]).expect("JSON");
    let key: Vec<&str> = key["key"].as_array().expect("a key").iter().filter_map(Value::as_str).collect();
    let rows = topology.rows("SELECT * FROM hours");
    assert!(!rows.is_empty());
    for row in rows {
        let values: Value = serde_json::from_str(&row).expect("JSON");
        let path: String =
            key.iter().map(|name| format!("/{}", percent(values[name].as_str().expect("text")))).collect();
        let found = topology.get(&format!("/v1/views/hours{path}")).expect("an answer");
        assert_eq!((found.status, found.body.as_str()), (200, format!("{row}\n").as_str()), "{path}");
        assert!(found.epoch.is_some_and(|epoch| epoch > 0));
    }
}

fn mistakes_are_told(topology: &Topology) {
    for (path, status, told) in [
        ("hours/2026-01-31T03:00:00Z/red", 404, "view hours has no row with ("),
        ("hours/2026-01-31T09:00:00Z", 400, "and the path has 1 value"),
        ("hours/nine/red", 400, "of the key of view hours is TIMESTAMPTZ: "),
        ("hours/%zz/red", 400, "%zz of the path has a % without two hexadecimal digits"),
        ("hour/2026-01-31T09:00:00Z/red", 404, "there is no view hour\\n  did you mean hours?"),
        ("kills/red", 404, "kills is a source or table of the topology"),
        ("golds/5", 400, "view golds has no key by which a row is looked up"),
        ("herald.errors/x", 404, "there is no view herald.errors"),
    ] {
        let answer = topology.get(&format!("/v1/views/{path}")).expect("an answer");
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(told), "{path}: {}", answer.body);
    }
    let absent = topology.get("/v1/views/hours/2026-01-31T03:00:00Z/red").expect("an answer");
    assert!(absent.epoch.is_some_and(|epoch| epoch > 0));
    let stranger = topology.send("/v1/views/hours/2026-01-31T09:00:00Z/red", "", "").expect("an answer");
    assert_eq!(stranger.status, 401, "{}", stranger.body);
}

/// The rows that are final are those that EMIT ON WINDOW CLOSE has sent, and there are `count` of them.
fn final_rows_are_those_that_closed(topology: &Topology, count: usize) {
    let columns = "window_start, window_end, team, kills";
    let closed = topology.rows(&format!("SELECT {columns} FROM closed ORDER BY 1, 3"));
    let by_function =
        topology.rows(&format!("SELECT {columns} FROM hours WHERE is_final(window_end) ORDER BY 1, 3"));
    assert_eq!(by_function, closed);
    assert_eq!(closed.len(), count, "{closed:?}");
}

#[test]
fn a_running_topology_tells_of_its_rows_and_of_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("kills.sql"), KILLS).expect("a file");
    fs::write(dir.join("teams.jsonl"), "{\"team\":\"red\",\"founded\":\"2020-01-01T00:00:00Z\"}\n")
        .expect("a file");
    let mut kills =
        kill("red", 300, "09:10:00") + &kill("a/b %c", 500, "09:50:00") + &kill("red", 7, "10:20:00");
    kills += &kill("red", 20, "11:30:00");
    fs::write(dir.join("kills.jsonl"), &kills).expect("a file");
    let topology = Topology::start(dir);
    topology.committed(4);
    every_row_is_found(&topology);
    mistakes_are_told(&topology);

    // The watermark is at 11:20: three rows of two hours are final. Those of a table that keeps all rows
    // never are.
    final_rows_are_those_that_closed(&topology, 3);
    let until = "SELECT view, final_until FROM herald.views WHERE view IN ('hours', 'founded') ORDER BY 1";
    let expected = [
        r#"{"view":"founded","final_until":null}"#,
        r#"{"view":"hours","final_until":"2026-01-31T11:20:00.000000Z"}"#,
    ];
    assert_eq!(topology.rows(until), expected);
    assert_eq!(topology.rows("SELECT count(*) AS n FROM founded WHERE is_final(window_end)"), [r#"{"n":0}"#]);

    let more = kill("red", 1, "13:30:00") + &kill("red", 1, "10:30:00");
    let mut file = fs::OpenOptions::new().append(true).open(dir.join("kills.jsonl")).expect("the file");
    file.write_all(more.as_bytes()).expect("two lines");
    topology.committed(6);
    every_row_is_found(&topology);
    final_rows_are_those_that_closed(&topology, 4);
    let source = "SELECT connector, watermark, accepted, late FROM herald.sources WHERE name = 'kills'";
    let expected = r#"{"connector":"file","watermark":"2026-01-31T13:20:00.000000Z","accepted":5,"late":1}"#;
    assert_eq!(topology.rows(source), [expected]);

    // The history adds up to what was read, and has the times of all epochs but the last.
    let history = "SELECT sum(input_rows) AS input, sum(output_rows) > 0 AS output, \
                   count(*) > count(commit_ms) AS waits, min(commit_ms) > 0 AS timed FROM herald.epochs";
    assert_eq!(topology.rows(history), [r#"{"input":7,"output":true,"waits":true,"timed":true}"#]);
    let published = "SELECT s.name, s.view, s.connector, s.published_epoch = v.epoch AS published \
                     FROM herald.sinks AS s JOIN herald.views AS v ON v.view = s.view";
    let expected = [r#"{"name":"hours_out","view":"hours","connector":"file","published":true}"#];
    topology.wait("all is published", || topology.rows(published) == expected);
    let kinds = "SELECT kind, count(*) AS n FROM herald.arrangements WHERE kind <> 'arrangement' GROUP BY 1 ORDER BY 1";
    assert_eq!(topology.rows(kinds), [r#"{"kind":"table","n":1}"#, r#"{"kind":"view","n":5}"#]);
    let operators = "SELECT DISTINCT operator FROM herald.arrangements WHERE operator = 'Aggregate'";
    assert_eq!(topology.rows(operators), [r#"{"operator":"Aggregate"}"#]);
    let metrics = topology.get("/metrics").expect("metrics").body;
    let counted = "herald_queries_total{outcome=\"mistake\",topology=\"kills\"} 7";
    assert!(metrics.contains(counted), "{metrics}");

    let ended = topology.herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let verified = child::succeed(dir, &["state", "verify", "state", "kills.sql"], &[], PATIENCE).stdout;
    assert!(verified.contains("every block was read"), "{verified}");
    let query =
        ["query", "SELECT count(*) > 1 AS c FROM herald.epochs", "--state", "state", "--format", "csv"];
    assert_eq!(child::succeed(dir, &query, &[], PATIENCE).stdout, "c\ntrue\n");
}
