//! Resource limits: unreachable sinks, skewed keys, and joins with too many rows.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::broker::{self, Broker};
use crate::child::{self, Herald};
use crate::proxy::Proxy;
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(120);

fn incompressible_text(rng: &mut ChaCha8Rng, bytes: usize) -> String {
    (0..bytes).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

/// The peak memory of a process, in MiB.
fn peak_memory(herald: &Herald) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", herald.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}

/// The greatest value of a metric.
fn metric(listen: &str, name: &str) -> Option<f64> {
    let (_, text) = servers::http("GET", &format!("http://{listen}/metrics"), None).ok()?;
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).max_by(f64::total_cmp)
}

fn wait(herald: &mut Herald, what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(herald.running(), "{what}: it has ended:\n{}", herald.said());
        assert!(started.elapsed() < PATIENCE, "{what}:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

const COPY: &str = "
CREATE SOURCE events (k VARCHAR NOT NULL, pad VARCHAR) WITH (
  connector = 'kafka', topic = 'away.events', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE SINK copy FROM events WITH (
  connector = 'kafka', topic = 'away.copy', properties.bootstrap.server = '${SINK_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
";

#[test]
fn while_the_sink_is_away_what_waits_is_bounded_and_nothing_is_lost() {
    const RECORDS: usize = 350_000;
    let (kafka, proxy) = (tempfile::tempdir().expect("a directory"), Proxy::start());
    let (bootstrap, behind) = servers::start_kafka_behind(kafka.path(), proxy.port);
    proxy.set_target(&behind);
    let sink = Broker { bootstrap: &bootstrap };
    let source = broker::shared();
    // All records are in one of the partitions, far ahead of the other.
    source.create_topic("away.events", 2);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let pads: Vec<String> = (0..100).map(|_| incompressible_text(&mut rng, 1000)).collect();
    let record = |n: usize| json!({"k": format!("k{n}"), "pad": pads[n % 100]}).to_string();
    source.produce("away.events", [("k", record(0).as_bytes())]);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("copy.sql"), COPY).expect("a file");
    let (through, listen) = (format!("127.0.0.1:{}", proxy.port), servers::free_address());
    let env = [("KAFKA_BOOTSTRAP", source.bootstrap), ("SINK_BOOTSTRAP", through.as_str())];
    let args = ["run", "copy.sql", "--name", "away", "--state", "state", "--listen", &listen];
    let args = [&args[..], &["--memory", "256MiB", "--workers", "2"]].concat();
    let mut herald = Herald::start(dir.path(), &args, &env);
    wait(&mut herald, "the first record is out", || {
        metric(&listen, "herald_outbox_depth_epochs").is_some() && sink.end_of("away.copy") > 0
    });
    let idle = peak_memory(&herald);

    proxy.refuse_connections(true);
    let records: Vec<String> = (1..RECORDS).map(record).collect();
    source.produce("away.events", records.iter().map(|r| ("k", r.as_bytes())));
    // 350 MB of output at a bound of 32 MiB: reading must stop.
    let mut held = (0.0, Instant::now());
    wait(&mut herald, "it stops at the bound", || {
        let bytes = metric(&listen, "herald_outbox_bytes").unwrap_or(0.0);
        if bytes != held.0 {
            held = (bytes, Instant::now());
        }
        bytes > 16e6 && held.1.elapsed() > Duration::from_secs(8)
    });
    let most = peak_memory(&herald);
    println!("{} MB in the outbox; memory {idle} MiB idle, {most} MiB at most", held.0 / 1e6);
    assert!(held.0 < 100e6, "{} bytes wait", held.0);
    assert!(most < idle + 700, "{most} MiB, {idle} MiB before");
    proxy.refuse_connections(false);
    wait(&mut herald, "all is out", || {
        metric(&listen, "herald_outbox_bytes") == Some(0.0)
            && sink.read_committed("away.copy").len() >= RECORDS
    });
    println!("memory {} MiB at the end", peak_memory(&herald));
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut keys: Vec<String> = sink
        .read_committed("away.copy")
        .iter()
        .map(|read| {
            serde_json::from_slice::<serde_json::Value>(read.value.as_deref().unwrap_or_default())
                .expect("JSON")
        })
        .map(|row| row["k"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(keys.len(), RECORDS);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), RECORDS, "each once");
    servers::kill_kafka(kafka.path());
}

const VALID: &str = "
CREATE SOURCE events (k VARCHAR NOT NULL, n BIGINT NOT NULL) WITH (
  connector = 'kafka', topic = 'TOPIC', dead_letter.topic = 'TOPIC.dead',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE SINK valid FROM events WITH (
  connector = 'kafka', topic = 'TOPIC.valid', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
";

#[test]
fn of_a_little_or_nothing_but_poison_each_record_is_told() {
    const RECORDS: usize = 20_000;
    let deep = "[".repeat(5000).into_bytes();
    let poison: [&[u8]; 8] = [
        b"",
        b"{oops",
        b"\xff\xfe{}",
        br#"{"k":"a"}"#,
        br#"{"k":"a","n":null}"#,
        br#"{"k":"a","n":"twelve"}"#,
        br#"{"k":"a","n":99999999999999999999}"#,
        &deep,
    ];
    for (name, one_in) in [("poison.rare", 1000), ("poison.tenth", 10), ("poison.all", 1)] {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("valid.sql"), VALID.replace("TOPIC", name)).expect("a file");
        broker::shared().create_topic(name, 2);
        let mut broken: Vec<Vec<u8>> = Vec::new();
        let records: Vec<Vec<u8>> = (0..RECORDS)
            .map(|n| match n % one_in {
                0 => {
                    broken.push(poison[n / one_in % poison.len()].to_vec());
                    broken[broken.len() - 1].clone()
                }
                _ => json!({"k": "a", "n": n}).to_string().into_bytes(),
            })
            .collect();
        let keys: Vec<String> = (0..RECORDS).map(|n| format!("k{n}")).collect();
        broker::shared().produce(name, keys.iter().zip(&records).map(|(k, r)| (k.as_str(), r.as_slice())));
        let args = ["run", "valid.sql", "--name", name, "--state", "state", "--listen", "off", "--once"];
        let ended = child::succeed(dir.path(), &args, &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE);
        let valid = RECORDS - broken.len();
        let said = format!("events: {RECORDS} read = {valid} accepted");
        assert!(ended.stdout.contains(&said), "{name}: {}", ended.stdout);
        assert_eq!(broker::shared().read_committed(&format!("{name}.valid")).len(), valid, "{name}");
        let dead_letters = broker::shared().read_committed(&format!("{name}.dead"));
        let mut held: Vec<Vec<u8>> =
            dead_letters.iter().map(|l| l.value.clone().unwrap_or_default()).collect();
        assert!(
            dead_letters.iter().all(|dead_letter| !dead_letter.headers["herald.message"].is_empty()),
            "{name}"
        );
        held.sort_unstable();
        broken.sort_unstable();
        assert!(held == broken, "{name}: {} letters for {} broken records", held.len(), broken.len());
    }
}

const PAIRS: &str = "
CREATE SOURCE a (k VARCHAR NOT NULL, n BIGINT NOT NULL) WITH (
  connector = 'kafka', topic = 'PREFIX.a', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE SOURCE b (k VARCHAR NOT NULL, n BIGINT NOT NULL) WITH (
  connector = 'kafka', topic = 'PREFIX.b', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW pairs AS
  SELECT a.k, count(*) AS n, sum(a.n * b.n) AS s FROM a JOIN b ON a.k = b.k GROUP BY a.k;
CREATE SINK pairs_out FROM pairs WITH (
  connector = 'kafka', topic = 'PREFIX.pairs', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'k'
) FORMAT UPSERT ENCODE JSON;
";

fn pairs(prefix: &str, dir: &std::path::Path) {
    std::fs::write(dir.join("pairs.sql"), PAIRS.replace("PREFIX", prefix)).expect("a file");
    for side in ["a", "b"] {
        broker::shared().create_topic(&format!("{prefix}.{side}"), 1);
    }
}

fn feed(topic: &str, keys: impl Iterator<Item = String>) {
    let records: Vec<String> = keys.enumerate().map(|(n, k)| json!({"k": k, "n": n}).to_string()).collect();
    broker::shared().produce(topic, records.iter().map(|r| ("k", r.as_bytes())));
}

#[test]
fn a_join_that_explodes_is_named_before_memory_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    pairs("explodes", dir.path());
    feed("explodes.a", (0..30_000).map(|n| if n % 2 == 0 { "hot".to_owned() } else { format!("k{n}") }));
    let env = [("KAFKA_BOOTSTRAP", servers::kafka())];
    let args = [
        "run",
        "pairs.sql",
        "--name",
        "explodes",
        "--state",
        "state",
        "--listen",
        "off",
        "--memory",
        "128MiB",
    ];
    let once = [&args[..], &["--once"]].concat();
    let first = child::succeed(dir.path(), &once, &env, PATIENCE);
    assert!(first.stdout.contains("a: 30000 read"), "{}", first.stdout);
    // 15,000 by 6,000 rows: about three gigabytes.
    feed("explodes.b", (0..6_000).map(|_| "hot".to_owned()));
    let mut herald = Herald::start(dir.path(), &once, &env);
    let (mut most, started) = (0, Instant::now());
    while herald.running() && started.elapsed() < PATIENCE {
        // The process may have ended by now.
        if std::path::Path::new(&format!("/proc/{}/status", herald.pid())).exists() && herald.running() {
            most = most.max(
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peak_memory(&herald))).unwrap_or(0),
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = herald.wait(PATIENCE);
    println!("{}{most} MiB at most", ended.stderr);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for said in ["pairs/", "rows of epoch", "--memory", "herald_busiest_key_share_ratio"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(most < 1200, "{most} MiB");
    let out = broker::shared().read_committed("explodes.pairs");
    assert!(out.is_empty(), "nothing of it is published: {out:?}");
}

#[test]
fn a_hot_key_is_seen() {
    let dir = tempfile::tempdir().expect("a directory");
    pairs("hot", dir.path());
    let listen = servers::free_address();
    let env = [("KAFKA_BOOTSTRAP", servers::kafka())];
    let args =
        ["run", "pairs.sql", "--name", "hot", "--state", "state", "--listen", &listen, "--workers", "2"];
    let mut herald = Herald::start(dir.path(), &args, &env);
    // As many keys as rows: no key is hot.
    feed("hot.a", (0..20_000).map(|n| format!("k{n}")));
    let busiest = || metric(&listen, "herald_busiest_key_share_ratio");
    wait(&mut herald, "the first are read", || busiest().is_some_and(|share| share < 0.05));
    feed("hot.a", (0..20_000).map(|n| if n % 10 == 0 { format!("k{n}") } else { "hot".to_owned() }));
    wait(&mut herald, "the hot key shows", || busiest() > Some(0.8));
    feed("hot.b", (0..500).map(|_| "hot".to_owned()));
    wait(&mut herald, "and its worker", || metric(&listen, "herald_busiest_worker_share_ratio") > Some(0.9));
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
