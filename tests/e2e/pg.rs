//! PostgreSQL's protocol, spoken by its own clients: psql, and psycopg 3 (`pg/client.py`).
//!
//! The topology has a view with a column of every type, and one that grows. Sessions are processes of their
//! own: what befalls them leaves the topology's epochs alone.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::child::Herald;
use crate::servers;

/// Longest time for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// A query that runs into any limit of time.
const LONG: &str = "SELECT count(*) AS n FROM wide a CROSS JOIN wide b CROSS JOIN wide c CROSS JOIN wide d \
                    WHERE a.n + b.n + c.n + d.n < 0";

/// A running topology that speaks PostgreSQL's protocol.
struct Served {
    dir: tempfile::TempDir,
    herald: Herald,
    http: String,
    port: u16,
}

impl Served {
    /// Starts it and waits until it listens.
    fn start(args: &[&str], env: &[(&str, &str)]) -> Served {
        let dir = tempfile::tempdir().expect("a directory");
        for file in ["readings.sql", "readings.jsonl"] {
            let from = servers::root().join("tests/e2e/pg").join(file);
            fs::copy(from, dir.path().join(file)).expect("a file");
        }
        let (http, pg) = (servers::free_address(), servers::free_address());
        let port = pg.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let all = ["run", "readings.sql", "--listen", &http, "--listen-pg", &pg, "--memory", "256MiB"];
        let herald = Herald::start(dir.path(), &[&all[..], args].concat(), env);
        let mut served = Served { dir, herald, http, port };
        // It listens before, and asks those who come to come again.
        served.wait_until("it has started", |at| at.herald.said().contains("running epoch="));
        served
    }

    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Served) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(self.herald.running(), "{what}: it has ended:\n{}", self.herald.said());
            assert!(begun.elapsed() < PATIENCE, "{what}:\n{}", self.herald.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The answer to a GET request without a token.
    fn get(&self, path: &str) -> String {
        servers::http("GET", &format!("http://{}{path}", self.http), None)
            .map_or_else(|_| String::new(), |a| a.1)
    }

    /// The value of the first metric line with this prefix.
    fn metric(&self, start: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
    }

    /// Asserts that epochs go on.
    fn assert_alive(&mut self, when: &str) {
        let before = self.metric("herald_committed_epoch_number{");
        self.wait_until(when, |at| at.metric("herald_committed_epoch_number{") > before + 1.0);
    }

    /// psql with options.
    fn psql(&self, connection: &str, args: &[&str]) -> Command {
        let mut psql = Command::new("psql");
        psql.arg(format!("host=127.0.0.1 port={} user=anna dbname=anything {connection}", self.port))
            .args(["-X", "-A", "-t", "-v", "VERBOSITY=sqlstate"])
            .args(args)
            .env_remove("PGPASSWORD")
            .stdin(Stdio::null());
        psql
    }

    /// The output of psql for commands, one -c each.
    fn ask(&self, commands: &[&str]) -> String {
        let args: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
        told(&self.psql("", &args).output().expect("psql runs"))
    }

    /// Waits until the records of the file are in the view.
    fn wait_for_rows(&mut self) {
        self.wait_until("the rows", |at| at.ask(&["SELECT count(*) FROM every_type"]).trim() == "3");
    }
}

/// The output of a client and, behind it, its errors.
fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[test]
fn psql_reads_views() {
    let mut served = Served::start(&[], &[]);
    served.wait_for_rows();
    for (commands, expected) in [
        (
            &["SELECT id, name, price, at FROM every_type ORDER BY id"][..],
            "1|it's \"é\"|123.40|2026-01-05 10:00:00.25+00\n2|||\n3||-0.05|1999-12-31 23:59:59.999999+00\n",
        ),
        (
            &["SELECT tags, xs, who, doc, span, raw FROM every_type WHERE id = 1"],
            "{\"a b\",NULL,c}|{1,2,3}|{\"age\": 30, \"name\": \"anna\"}|{\"b\": 1, \"aa\": [1.50, null]}|1 day 02:03:04|\\x00ff41\n",
        ),
        (
            &["SET timezone = 'Europe/Berlin'", "SELECT at FROM every_type WHERE id = 1"],
            "SET\n2026-01-05 11:00:00.25+01\n",
        ),
        (&["SELECT 1; SELECT nothing; SELECT 2"], "1\nERROR:  42703\n"),
        (
            &["BEGIN", "SELECT 1 / 0", "SELECT 1", "ROLLBACK", "SELECT 2"],
            "BEGIN\nROLLBACK\n2\nERROR:  22012\nERROR:  25P02\n",
        ),
        (
            &["BEGIN", "SAVEPOINT a", "SELECT * FROM nothing", "ROLLBACK TO a", "SELECT 3", "COMMIT"],
            "BEGIN\nSAVEPOINT\nROLLBACK\n3\nCOMMIT\nERROR:  42P01\n",
        ),
        (&["DELETE FROM every_type"], "ERROR:  25006\n"),
        (
            &["\\copy (SELECT id, ok FROM every_type ORDER BY id) TO STDOUT CSV HEADER"],
            "id,ok\n1,t\n2,\n3,f\n",
        ),
        (&["\\set FETCH_COUNT 2", "SELECT id FROM every_type ORDER BY id"], "1\n2\n3\n"),
        (&["SHOW server_version_num", "SHOW datestyle"], "160004\nISO, MDY\n"),
        (&["EXPLAIN SELECT id FROM every_type WHERE id = 1 LIMIT 1"], "ViewScan"),
    ] {
        let said = served.ask(commands);
        assert!(
            said == expected || (expected == "ViewScan" && said.contains(expected)),
            "{commands:?}: {said}"
        );
    }
    let listed = "SELECT user_name, application_name, state, query LIKE 'SELECT user_name%', \
                  client LIKE '127.0.0.1:%', began_at IS NOT NULL \
                  FROM herald.sessions WHERE application_name = 'board'";
    let sessions = served.psql("application_name=board", &["-c", listed]).output().expect("psql runs");
    assert_eq!(told(&sessions), "anna|board|active|t|t|t\n");
    served.wait_until("rows of a view that grows", |at| {
        at.ask(&["SELECT id, k FROM wide WHERE id < 20000"]).lines().count() > 100
    });
    served.assert_alive("after psql");
    let ended = served.herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn psycopg_reads_views() {
    let mut served = Served::start(&[], &[]);
    served.wait_for_rows();
    let program = servers::root().join("tests/e2e/pg/client.py");
    let connection = format!("host=127.0.0.1 port={} user=anna dbname=herald", served.port);
    let output = Command::new(servers::root().join("scripts/clients.sh"))
        .arg("python")
        .arg(program)
        .arg(connection)
        .output()
        .expect("the script runs");
    let said = told(&output);
    assert!(output.status.success() && said.contains("fine"), "{said}\n{}", served.herald.said());
    // Sessions tell of their statements beside what they send to clients.
    for (outcome, least) in [("answered", 100.0), ("cancelled", 1.0), ("time", 1.0)] {
        let counted = format!("herald_pg_statements_total{{outcome=\"{outcome}\"");
        served.wait_until(&counted, |at| at.metric(&counted) >= least);
    }
    served.assert_alive("after psycopg");
}

/// Makes a certificate for 127.0.0.1 and its key.
fn make_certificate(dir: &Path) {
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("openssl runs").success());
}

#[test]
fn who_shows_a_token_gets_in() {
    let dir = tempfile::tempdir().expect("a directory");
    make_certificate(dir.path());
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let tokens = [("HERALD_READ_TOKEN", "the reader's token"), ("HERALD_ADMIN_TOKEN", "the admin's token")];
    let mut served =
        Served::start(&["--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")], &tokens);
    let root = format!("sslmode=verify-full sslrootcert={}", file("cert.pem"));
    let log_in = |served: &Served, connection: &str, password: &str| {
        let mut psql = served.psql(connection, &["-c", "SELECT 1"]);
        psql.env("PGPASSWORD", password).output().expect("psql runs")
    };
    served.wait_until("it has started", |at| {
        log_in(at, "sslmode=require", "the reader's token").status.success()
    });
    for (connection, password, gets_in) in [
        ("sslmode=require", "the reader's token", true),
        ("sslmode=require channel_binding=require", "the reader's token", true),
        (&root, "the reader's token", true),
        ("sslmode=disable", "the reader's token", true),
        ("sslmode=require user=admin", "the admin's token", true),
        ("sslmode=require user=admin", "the reader's token", false),
        ("sslmode=require", "the admin's token", false),
        ("sslmode=require", "the reader's token ", false),
        ("sslmode=disable", "", false),
    ] {
        let output = log_in(&served, connection, password);
        let said = told(&output);
        assert_eq!(output.status.success(), gets_in, "{connection} {password:?}: {said}");
        assert!(gets_in == (said == "1\n"), "{connection}: {said}");
    }
    let log = served.herald.said();
    assert!(!log.contains("the reader's token"), "{log}");
    assert!(served.herald.running());
}

#[test]
fn connections_are_bounded_and_hostile_ones_hurt_nobody() {
    let mut served = Served::start(&["--pg-connections", "8", "--query-memory", "256MiB"], &[]);
    served.wait_for_rows();
    let connect = |served: &Served| {
        let stream = TcpStream::connect(("127.0.0.1", served.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    };
    // Silent connections take all places.
    let silent: Vec<TcpStream> = (0..8).map(|_| connect(&served)).collect();
    served.wait_until("all places are taken", |at| {
        at.metric("herald_pg_connections_number{kind=\"open\"") >= 8.0
    });
    let refused = served.ask(&["SELECT 1"]);
    assert!(refused.contains("too many clients"), "{refused}");
    drop(silent);
    served.wait_until("the places are free", |at| at.ask(&["SELECT 1"]) == "1\n");
    // Bytes that are no messages, and messages that lie about their lengths.
    let startup = b"\0\0\0\x15\0\x03\0\0user\0anna\0\0\0";
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"[..],
        b"\0\0\0\x04",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\0\x05hello",
        &[&startup[..], b"B\0\0\0\x0a\0\0\xff\xff\0\0"].concat(),
        &[&startup[..], b"Q\x7f\xff\xff\xff"].concat(),
        &[&startup[..], b"P\0\0\0\x08a\0b\0"].concat(),
        &[&startup[..], b"Q\0\0\0\x0dSELECT"].concat(),
    ] {
        let mut stream = connect(&served);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    served.assert_alive("after bytes that are no messages");
    // Queries that take all they can get.
    served.wait_until("rows to make more of", |at| {
        at.ask(&["SELECT count(*) FROM wide"]).trim().parse().is_ok_and(|rows: u64| rows > 500)
    });
    for query in [
        "SELECT array_agg(a.k || b.k || c.k) FROM wide a CROSS JOIN wide b CROSS JOIN wide c",
        LONG,
        &format!("SELECT {}1", "1 + (".repeat(3000)),
    ] {
        let said = served.ask(&["SET statement_timeout = '10s'", query]);
        assert!(
            said.contains("ERROR") || said.contains("closed") || said.contains("lost"),
            "{query:.60}: {said:.300}"
        );
    }
    served.assert_alive("after queries without bounds");
    // A client that goes ends its query.
    let mut gone = served.psql("", &["-c", LONG]).spawn().expect("psql runs");
    served.wait_until("the query runs", |at| at.metric("herald_pg_sessions_number{state=\"active\"") >= 1.0);
    gone.kill().expect("a kill");
    gone.wait().expect("an end");
    served.wait_until("the query ends", |at| at.metric("herald_pg_sessions_number{state=\"active\"") < 1.0);
    assert_eq!(served.ask(&["SELECT 1"]), "1\n");
    served.assert_alive("at the end");
    assert!(served.dir.path().exists());
}
