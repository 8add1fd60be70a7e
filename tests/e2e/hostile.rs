//! Hostile clients of a running topology: a corpus of queries (`hostile/queries.txt`), requests and
//! connections that are malformed, slow or too many, and clients that vanish. Each is refused or bounded in
//! time and memory, and the topology's epochs continue.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::child::number;
use crate::servers;
use crate::steady::{SOON, Steady, resident};

/// Limits of a query in these tests.
const TIME: Duration = Duration::from_secs(3);
const MEMORY_MIB: u64 = 256;
const LIMITS: [&str; 4] = ["--query-time", "3s", "--query-memory", "256MiB"];
/// A query that runs into its time limit.
const LONG: &str = "SELECT count(*) AS n FROM wide a CROSS JOIN wide b CROSS JOIN wide c CROSS JOIN wide d CROSS JOIN wide e \
                    WHERE a.n + b.n + c.n + d.n + e.n < 0";

struct Query {
    name: String,
    statuses: Vec<u16>,
    sql: String,
}

fn corpus() -> Vec<Query> {
    let text =
        std::fs::read_to_string(servers::root().join("tests/e2e/hostile/queries.txt")).expect("the corpus");
    text.split("\n## ")
        .skip(1)
        .map(|entry| {
            let (head, sql) = entry.split_once('\n').expect("a query");
            let (statuses, name): (Vec<_>, Vec<_>) =
                head.split(' ').partition(|word| word.parse::<u16>().is_ok());
            let statuses = statuses.iter().map(|status| status.parse().expect("a status")).collect();
            Query { name: name.join(" "), statuses, sql: expand_repeats(sql.trim()) }
        })
        .collect()
}

/// Expands each `${N*TEXT}` of a text.
fn expand_repeats(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (macro_, left) = after.split_once('}').expect("a closing brace");
        let (count, part) = macro_.split_once('*').expect("a count");
        out.push_str(before);
        out.push_str(&part.repeat(count.parse().expect("a number")));
        rest = left;
    }
    out + rest
}

/// Guard that sets a flag when it is dropped, also by a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures the peak memory of a topology's child processes while something is done.
fn peak_child_memory<T>(steady: &mut Steady, work: impl FnOnce(&mut Steady) -> T) -> (T, u64) {
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let pid = steady.pid();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
                let children: String = tasks
                    .map(|t| std::fs::read_to_string(t.path().join("children")).unwrap_or_default())
                    .collect();
                for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                    most.fetch_max(resident(child), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = {
            let _done = Done(&done);
            work(steady)
        };
        watching.join().expect("the watcher");
        (result, most.load(Ordering::Relaxed))
    })
}

#[test]
fn hostile_queries_are_bounded_and_the_topology_goes_on() {
    let queries = corpus();
    assert!(queries.len() > 50, "{} queries", queries.len());
    let mut steady = Steady::start(&LIMITS, &[], true);
    let before = resident(steady.pid());
    let (mut wrong, mut slowest) = (Vec::new(), Duration::ZERO);
    let ((), most) = peak_child_memory(&mut steady, |steady| {
        for query in &queries {
            let begun = Instant::now();
            let (status, body) = steady.query(&query.sql).expect("an answer");
            let took = begun.elapsed();
            slowest = slowest.max(took);
            let told = serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|told| {
                status == 200 || told["error"].as_str().is_some_and(|words| words.len() > 10)
            });
            if !query.statuses.contains(&status) || took > TIME + SOON || !told {
                let body: String = body.chars().take(300).collect();
                wrong.push(format!("{} ({took:?}): {status} {body}", query.name));
            }
            steady.assert_alive(&query.name);
        }
    });
    let after = resident(steady.pid());
    println!(
        "{} queries; slowest {slowest:?}; the topology {before} MiB before and {after} after; a query {most} MiB at most",
        queries.len()
    );
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), steady.said());
    // Stacks and the part of the database's log that the query reads come on top of its own limit.
    assert!(most < MEMORY_MIB + 448, "a query had {most} MiB");
    assert!(after < before + 400, "{before} MiB before, {after} after");
    let (status, body) = steady.query("SELECT count(*) AS n FROM totals").expect("an answer");
    assert_eq!((status, body.contains("\"n\":4")), (200, true), "{body}");
    steady.stop();
}

#[test]
fn a_query_without_a_running_process_has_the_same_bounds() {
    let steady = Steady::start(&[], &[], true);
    let dir = steady.dir().to_owned();
    let ask = |sql: &str| {
        let args = ["query", sql, "--state", "state", "--format", "json"];
        crate::child::herald(&dir, &[&args[..], &LIMITS].concat(), &[], TIME + SOON + SOON)
    };
    for (sql, code, said) in [
        ("SELECT count(*) AS n FROM totals", 0, ""),
        (&expand_repeats("SELECT 1${3000*+1}"), 2, "more than 2000 operators"),
        (LONG, 2, "took longer than 3 s"),
        ("SELECT generate_series(1, 2000000000) AS s", 2, ""),
        ("SELECT repeat('a', 2000000000) AS s", 2, ""),
        ("SELECT * FROM nothing", 2, "nothing"),
    ] {
        let ended = ask(sql);
        assert_eq!(ended.code, Some(code), "{sql}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(said), "{sql}: {}", ended.stderr);
    }
    steady.stop();
}

/// A process that was asked for what cannot be answered answers the next query: after mistakes, and after bounds that it
/// meets by itself.
#[test]
fn a_process_answers_after_a_mistake() {
    let args = ["--max-queries", "1", "--query-rows", "3", "--query-time", "50s", "--query-memory", "256MiB"];
    let mut steady = Steady::start(&args, &[], true);
    let answered = |steady: &Steady| {
        let (status, body) = steady.query("SELECT k FROM totals ORDER BY k LIMIT 2").expect("an answer");
        assert_eq!((status, body.contains("\"k\":\"a\"")), (200, true), "{body}\n{}", steady.said());
        steady.children()
    };
    let first = answered(&steady);
    assert_eq!(first.len(), 1, "{first:?}");
    for (sql, expected) in [
        ("SELECT nothing FROM totals", 400),
        ("SELECT * FROM nothing", 400),
        ("SELECT (", 400),
        ("DELETE FROM totals", 400),
        ("EXPLAIN SELECT nothing FROM totals", 400),
        ("SELECT 1 / (n - n) AS x FROM wide", 400),
        ("SELECT id FROM wide LIMIT 4", 413),
    ] {
        let (status, body) = steady.query(sql).expect("an answer");
        assert_eq!(status, expected, "{sql}: {body}");
        assert_eq!(steady.children(), first, "{sql}");
        assert_eq!(answered(&steady), first, "{sql}");
    }
    let mistakes = steady.metric("herald_queries_total{outcome=\"mistake\"");
    assert_eq!((mistakes, steady.metric("herald_queries_total{outcome=\"rows\"")), (Some(6.0), Some(1.0)));
    let killed = Command::new("kill").args(["-KILL", &first[0].to_string()]).status().expect("kill runs");
    assert!(killed.success());
    // Its parent sees its end at the next query, once all of its threads have ended: the first of them may be a zombie before.
    let (stat, threads) = (format!("/proc/{}/stat", first[0]), format!("/proc/{}/task", first[0]));
    steady.wait_until("it has ended", |_| {
        let is_alive = fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        !is_alive && fs::read_dir(&threads).map_or(0, Iterator::count) < 2
    });
    assert_ne!(answered(&steady), first, "another answers in its place");
    steady.assert_alive("after all");
    steady.stop();
}

/// A query does not outlive a topology that is killed, whatever it is doing, and its directory not the next start.
#[test]
fn a_query_ends_with_a_topology_that_is_killed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let left = || fs::read_dir(scratch.path()).expect("a directory").count();
    let env = [("TMPDIR", scratch.path().to_str().expect("text"))];
    let mut steady = Steady::start(&["--query-time", "50m"], &env, true);
    let mut asked = steady.connect();
    let request = "POST /v1/query HTTP/1.0\r\nHost: localhost\r\nContent-Length: ";
    write!(asked, "{request}{}\r\n\r\n{LONG}", LONG.len()).expect("a request");
    steady.wait_until("it runs", |at| {
        at.children().len() == 1 && at.metric("herald_queries_number{state=\"running\"") == Some(1.0)
    });
    // Until it computes.
    std::thread::sleep(Duration::from_millis(500));
    let child = steady.children()[0];
    assert!(resident(child) > 0);
    let pid = steady.pid().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs").success());
    let begun = Instant::now();
    while resident(child) > 0 {
        assert!(begun.elapsed() < SOON, "the query of a topology that is gone still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(left() > 0, "nobody was there to remove it");
    let next = Steady::start(&[], &env, true);
    assert_eq!(left(), 0, "directories of queries are left:\n{}", next.said());
    next.stop();
}

/// Requests, malformed ones included, with their expected statuses; 0 is a connection closed without a
/// response.
fn requests() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let text = |head: &str| head.replace('\n', "\r\n").into_bytes();
    let host = "Host: localhost\nConnection: close\n";
    let long = "x".repeat(200_000);
    let many: String = (0..2000).map(|n| format!("A{n}: b\n")).collect();
    vec![
        ("garbage", vec![0xff; 4096], &[0, 400]),
        ("a TLS hello", [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 400]].concat(), &[0, 400]),
        ("HTTP/2", text("PRI * HTTP/2.0\n\nSM\n\n"), &[0, 400, 505]),
        ("a long path", text(&format!("GET /{long} HTTP/1.1\n{host}\n")), &[0, 400, 414, 431]),
        ("a long header", text(&format!("GET /healthz HTTP/1.1\n{host}A: {long}\n\n")), &[0, 400, 431]),
        ("many headers", text(&format!("GET /healthz HTTP/1.1\n{host}{many}\n")), &[0, 400, 431]),
        ("no version", text("GET /healthz\n\n"), &[0, 400]),
        ("a strange method", text(&format!("EVIL /v1/query HTTP/1.1\n{host}\n")), &[405]),
        ("a path upwards", text(&format!("GET /v1/../../etc/passwd HTTP/1.1\n{host}\n")), &[404]),
        (
            "another's name",
            text("GET /v1/topology HTTP/1.1\nHost: evil.example\nConnection: close\n\n"),
            &[421],
        ),
        (
            "another's name for metrics",
            text("GET /metrics HTTP/1.1\nHost: evil.example:80\nConnection: close\n\n"),
            &[421],
        ),
        (
            "a length below zero",
            text(&format!("POST /v1/query HTTP/1.1\n{host}Content-Length: -1\n\nSELECT 1")),
            &[0, 400],
        ),
        (
            "two lengths",
            text(&format!("POST /v1/query HTTP/1.1\n{host}Content-Length: 8\nContent-Length: 9\n\nSELECT 1")),
            &[0, 400],
        ),
        (
            "a length and chunks",
            text(&format!(
                "POST /v1/query HTTP/1.1\n{host}Content-Length: 8\nTransfer-Encoding: chunked\n\n8\nSELECT 1\n0\n\n"
            )),
            &[0, 200, 400],
        ),
        (
            "chunks that are none",
            text(&format!("POST /v1/query HTTP/1.1\n{host}Transfer-Encoding: chunked\n\nzz\n")),
            &[0, 400, 413],
        ),
        (
            "a body that is too long",
            text(&format!("POST /v1/query HTTP/1.1\n{host}Content-Length: 99999999999\n\nSELECT")),
            &[413],
        ),
        (
            "a body that never ends",
            text(&format!("POST /v1/query HTTP/1.1\n{host}Content-Length: 1000\n\nSELECT")),
            &[408],
        ),
        (
            "a query that is no text",
            [text(&format!("POST /v1/query HTTP/1.1\n{host}Content-Length: 4\n\n")), vec![0xff; 4]].concat(),
            &[400],
        ),
        ("escapes that are none", text(&format!("GET /v1/query?sql=%ff%zz HTTP/1.1\n{host}\n")), &[400]),
        ("no query", text(&format!("GET /v1/query HTTP/1.1\n{host}\n")), &[400]),
        (
            "a format that is none",
            text(&format!("GET /v1/query?sql=SELECT%201&format=exe HTTP/1.1\n{host}\n")),
            &[400],
        ),
        ("a copy without a token", text(&format!("POST /v1/backup?to=/tmp/x HTTP/1.1\n{host}\n")), &[403]),
    ]
}

/// Statuses of many requests of one address, from several threads: one alone may ask too slowly for the limit.
fn flood_of_requests(steady: &Steady) -> Vec<u16> {
    let ask = || -> Vec<u16> {
        (0..100).filter_map(|_| steady.get("/v1/topology").ok().map(|(status, _)| status)).collect()
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().flat_map(|asked| asked.join().expect("a thread")).collect()
    })
}

#[test]
fn hostile_requests_are_refused_and_the_topology_goes_on() {
    let mut steady = Steady::start(&LIMITS, &[], true);
    for (name, bytes, statuses) in requests() {
        let answer = steady.send_raw(&bytes);
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        assert!(statuses.contains(&status), "{name}: {status} {answer}\n{}", steady.said());
        steady.assert_alive(name);
    }
    // One address has a limited rate of requests; health and metrics do not count.
    let mut flood = Vec::new();
    steady.wait_until("a request is one too many", |at| {
        flood.extend(flood_of_requests(at));
        flood.contains(&429)
    });
    assert!(flood.contains(&200), "{flood:?}");
    for _ in 0..300 {
        assert_eq!(steady.get("/metrics").map(|(status, _)| status).ok(), Some(200));
        assert_eq!(steady.get("/healthz").map(|(status, _)| status).ok(), Some(200));
    }
    assert!(steady.metric("herald_http_requests_refused_total{reason=\"rate\"") > Some(0.0));
    assert!(steady.metric("herald_http_requests_refused_total{reason=\"host\"") > Some(0.0));
    steady.stop();
}

#[test]
fn connections_that_say_nothing_hold_up_nobody() {
    // Enough time for each of the large answers below, two of which are made at once.
    let args = ["--query-time", "50s", "--query-memory", "256MiB", "--max-connections", "64"];
    let mut steady = Steady::start(&args, &[], true);
    let halves: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut stream = steady.connect();
            if n % 2 == 0 {
                let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localh");
            }
            stream
        })
        .collect();
    steady.assert_alive("400 connections that say nothing");
    assert!(steady.metric("herald_http_connections_number{kind=\"open\"") <= Some(96.0));
    steady.wait_until("those that say nothing make room", |at| {
        at.metric("herald_http_connections_ended_total{reason=\"idle_for_another\"") >= Some(300.0)
    });
    let (status, body) = steady.query("SELECT 1 AS one").expect("an answer");
    assert_eq!(status, 200, "{body}");
    drop(halves);

    // Clients that read nothing occupy buffer space for their answers, but no turn.
    let before = resident(steady.pid());
    let request = "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    let large =
        "SELECT repeat('x', 1000) AS x FROM generate_series(1, 1000) AS n, generate_series(1, 20) AS m";
    let readers: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = steady.connect();
            let _ = stream.write_all(format!("{request}{}\r\n\r\n{large}", large.len()).as_bytes());
            stream
        })
        .collect();
    steady.wait_until("they are answered, or told that too much waits", |at| {
        at.metric("herald_queries_number{state=\"running\"") == Some(0.0)
            && at.metric("herald_query_answers_bytes{") > Some(100e6)
    });
    steady.assert_alive("12 that read nothing");
    assert!(steady.metric("herald_query_answers_bytes{") <= Some(192.0 * 1048576.0));
    let after = resident(steady.pid());
    println!("{before} MiB before, {after} MiB with 12 answers of 20 MB that nobody reads");
    assert!(after < before + 400, "{before} MiB before, {after} after");
    steady.wait_until("they are given up", |at| at.metric("herald_query_answers_bytes{") == Some(0.0));
    drop(readers);
    steady.stop();
}

/// The number of cuts of each kind, from HERALD_CUTS.
fn cut_count() -> u64 {
    number("HERALD_CUTS", 10)
}

#[test]
fn clients_queries_and_connections_that_are_killed_leave_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a directory");
    let env = [("TMPDIR", scratch.path().to_str().expect("text"))];
    let mut steady = Steady::start(&["--query-time", "50m", "--query-memory", "256MiB"], &env, true);
    let (url, dir) = (format!("http://{}", steady.listen), steady.dir().to_owned());
    let running = |at: &Steady| at.metric("herald_queries_number{state=\"running\"");
    for n in 0..cut_count() {
        let pause = Duration::from_millis(40 + (n * 37) % 400);
        // Kills a client in the middle of its query.
        let mut client = Command::new(env!("CARGO_BIN_EXE_herald"))
            .args(["query", LONG, "--url", &url])
            .current_dir(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a client");
        std::thread::sleep(pause);
        client.kill().and_then(|()| client.wait()).expect("it is killed");
        // Closes a connection during a query, and one after half a request.
        let mut query = steady.connect();
        let _ = write!(
            query,
            "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{LONG}",
            LONG.len()
        );
        let mut half = steady.connect();
        let _ =
            half.write_all(b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nSEL");
        std::thread::sleep(pause);
        if n % 2 == 0 {
            // On a busy machine it may not run yet.
            steady.wait_until("a query runs", |at| running(at) >= Some(1.0));
        }
        drop((query, half));
        steady.wait_until("both are gone", |at| at.children().is_empty() && running(at) == Some(0.0));
        // Kills a query's process; its client gets an error.
        let mut asked = steady.connect();
        let _ = write!(
            asked,
            "POST /v1/query HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{LONG}",
            LONG.len()
        );
        steady.wait_until("the query runs alone", |at| at.children().len() == 1 && running(at) == Some(1.0));
        for child in steady.children() {
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).status();
        }
        let mut told = String::new();
        let _ = asked.read_to_string(&mut told);
        assert!(told.contains("\"error\""), "{told}");
        steady.wait_until("nothing of it is left", |at| at.children().is_empty() && running(at) == Some(0.0));
        let begun = Instant::now();
        let (status, body) = steady.query("SELECT 1 AS one").expect("an answer");
        assert!(status == 200 && begun.elapsed() < 3 * SOON, "{status} {body} {:?}", begun.elapsed());
        steady.assert_alive(&format!("cut {n}"));
    }
    println!("{} clients, queries and connections were cut, each", cut_count());
    let ran = cut_count().div_ceil(2);
    assert!(steady.metric("herald_queries_total{outcome=\"left\"") >= Some(ran as f64));
    steady.stop();
    let left = std::fs::read_dir(scratch.path()).expect("a directory").count();
    assert_eq!(left, 0, "directories of queries are left");
}
