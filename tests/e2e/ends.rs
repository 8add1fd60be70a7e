//! The end of a run one of whose threads fails: for every kind of thread and any number of workers, the
//! process ends with exit code 1 and the reason. Queries that a run's end meets are told of it.

use std::fs;
use std::time::{Duration, Instant};

use crate::steady::Steady;
use crate::{child, servers};

const PATIENCE: Duration = Duration::from_secs(60);

/// A failpoint in each kind of thread, with the thread's name.
const THREADS: [(&str, &str); 10] = [
    ("recover.sources.before", "driver"),
    ("driver.poll.after", "driver"),
    ("driver.close.halfway", "driver"),
    ("recover.restore.before", "worker"),
    ("worker.step.before", "worker"),
    ("worker.encode.after", "worker"),
    ("commit.gathered", "committer"),
    ("publish.before", "publisher"),
    ("serve.accept", "HTTP server"),
    ("watch.look", "watch"),
];

#[test]
fn whatever_thread_panics_the_run_ends_with_the_reason() {
    for (at, (point, thread)) in THREADS.iter().enumerate() {
        // Only one of several workers fails; the others must not wait for it. It fails after a few passes,
        // while running.
        let action = match point.starts_with("recover.") {
            true => "1*panic->off",
            false => "5*off->1*panic->off",
        };
        let workers = ["1", "2", "3"][at % 3];
        for workers in if *thread == "worker" { vec!["1", "2", "3"] } else { vec![workers] } {
            let armed = format!("{point}={action}");
            let steady =
                Steady::start(&["--workers", workers], &[("HERALD_FAILPOINTS", armed.as_str())], false);
            if *thread == "HTTP server" {
                // The failpoint needs a few connections to be passed; others may have made some of them.
                let (mut connected, begun) = (false, Instant::now());
                while begun.elapsed() < PATIENCE {
                    match std::net::TcpStream::connect(steady.listen) {
                        Ok(_) => connected = true,
                        Err(_) if connected => break,
                        Err(_) => {}
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                assert!(connected, "{}", steady.said());
            }
            let ended = steady.wait();
            let said = format!("{point} on {workers} workers:\n{}", ended.stderr);
            assert_eq!(ended.code, Some(1), "{said}");
            let told = ended.stderr.lines().any(|line| {
                line.starts_with("error: ") && line.contains(thread) && line.contains("panicked")
            });
            assert!(told, "{said}");
        }
    }
}

#[test]
fn a_restart_tells_the_committed_epoch_before_it_is_ready() {
    let steady = Steady::start(&[], &[], true);
    let before = steady.epoch();
    // The delay keeps the workers from being ready, for longer than a slow machine takes to tell.
    let mut steady = steady.restart(&[], &[("HERALD_FAILPOINTS", "recover.restore.before=sleep(20000)")]);
    steady.wait_until("it answers", |at| at.get("/healthz").is_ok_and(|(status, _)| status == 200));
    steady.wait_until("it tells the epoch", |at| at.epoch() >= before);
    let topology = |at: &Steady| {
        let (_, body) = at.get("/v1/topology").expect("an answer");
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")
    };
    steady.wait_until("it tells what is published", |at| {
        let status = &topology(at)["status"];
        status["epoch"].as_f64() >= Some(before) && status["published"] == status["epoch"]
    });
    let told = topology(&steady);
    assert_eq!(told["status"]["started"], false, "{told}");
    assert!(told["status"]["sources"][0]["outcomes"]["accepted"].as_u64() > Some(0), "{told}");
    steady.assert_alive("after the restart");
    steady.stop();
}

/// A query that goes on until something ends it.
const LONG: &str = "SELECT count(*) AS n FROM wide a CROSS JOIN wide b CROSS JOIN wide c CROSS JOIN wide d \
                    WHERE a.n + b.n + c.n + d.n < 0";

/// A query that runs when its topology stops, and one that waits for its turn, end with it; who asked is told, and the
/// topology's own end is none of an error.
#[test]
fn queries_end_with_their_topology_and_say_so() {
    for delay in [0, 15_000] {
        let armed = format!("serve.ended=sleep({delay})");
        let env = if delay > 0 { vec![("HERALD_FAILPOINTS", armed.as_str())] } else { vec![] };
        let mut steady = Steady::start(&["--max-queries", "1", "--query-time", "50s"], &env, true);
        let (pid, url) = (steady.pid().to_string(), format!("http://{}", steady.listen));
        let ask = || {
            let url = format!("{url}/v1/query");
            std::thread::spawn(move || servers::http("POST", &url, Some(LONG)))
        };
        let asked = [ask(), ask()];
        steady.wait_until("one runs and one waits", |at| {
            let number = |state: &str| at.metric(&format!("herald_queries_number{{state=\"{state}\""));
            (number("running"), number("waiting")) == (Some(1.0), Some(1.0))
        });
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM");
        for asked in asked {
            let (status, body) = asked.join().expect("a thread").expect("an answer");
            let told = body.contains("the topology is stopping: ask again when it runs");
            assert!(status == 503 && told, "{status} {body}\n{}", steady.said());
        }
        if delay > 0 {
            // Its end is held up, so that its metrics can still be read.
            assert_eq!(steady.metric("herald_queries_total{outcome=\"ending\""), Some(2.0));
        }
        let ended = steady.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

const COUNTS: &str = "
CREATE SOURCE words (word VARCHAR NOT NULL) WITH (connector = 'file', path = 'words.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW counts AS SELECT word, count(*) AS n FROM words GROUP BY word;
";
const SCRIPT: &str = "-- topology counts.sql
-- feed words
{\"word\": \"a\"}
{\"word\": \"b\"}
-- expect counts
{\"word\":\"a\",\"n\":1}
{\"word\":\"b\",\"n\":1}
";

#[test]
fn a_script_ends_when_one_of_its_workers_does() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("counts.sql"), COUNTS).expect("a file");
    fs::write(dir.path().join("counts.test.sql"), SCRIPT).expect("a file");
    child::succeed(dir.path(), &["test", "counts.test.sql"], &[], PATIENCE);
    // Fails one of the workers that start, or that close an epoch: the ways of a script use 1, 2 and 3
    // workers in turn.
    for (passes, point) in [1, 2, 4].into_iter().flat_map(|n| [(n, "engine.close"), (n, "engine.build")]) {
        let armed = format!("{point}={passes}*off->1*panic->off");
        let env = [("HERALD_FAILPOINTS", armed.as_str())];
        let ended = child::herald(dir.path(), &["test", "counts.test.sql"], &env, PATIENCE);
        assert_eq!(ended.code, Some(1), "{armed}:\n{}\n{}", ended.stdout, ended.stderr);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("a worker panicked"), "{armed}:\n{said}");
    }
}
