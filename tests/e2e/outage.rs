//! Outages around a running topology: the broker goes away and comes back, and a second process takes the
//! topology over.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::child::Herald;
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(90);

/// A topology that passes numbers through unchanged.
const THROUGH: &str = "
CREATE SOURCE numbers (n INT) WITH (
  connector = 'kafka', topic = 'PREFIX.in', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
CREATE SINK numbers_out FROM numbers WITH (
  connector = 'kafka', topic = 'PREFIX.out', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
";

fn start(dir: &Path, prefix: &str, broker: Broker<'_>, more: &[&str]) -> (Herald, String) {
    std::fs::write(dir.join("through.sql"), THROUGH.replace("PREFIX", prefix)).expect("a file");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let mut args = vec!["run", "through.sql", "--name", prefix, "--listen", &listen];
    args.extend(more);
    (Herald::start(dir, &args, &[("KAFKA_BOOTSTRAP", broker.bootstrap)]), listen)
}

fn produce(broker: Broker<'_>, prefix: &str, numbers: std::ops::Range<i32>) {
    let records: Vec<(String, String)> = numbers.map(|n| (n.to_string(), format!("{{\"n\":{n}}}"))).collect();
    let pairs = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
    broker.produce(&format!("{prefix}.in"), pairs);
}

fn wait_until(herald: &Herald, what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what} does not come:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn answers(listen: &str, path: &str) -> Option<u16> {
    servers::http("GET", &format!("http://{listen}/{path}"), None).ok().map(|(status, _)| status)
}

/// The numbers in the sink, in order; asserts that each is there once.
fn numbers(broker: Broker<'_>, prefix: &str) -> Vec<i32> {
    let read = broker.read_committed(&format!("{prefix}.out"));
    let number = |value: &Vec<u8>| -> i32 {
        let row: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        row["n"].as_i64().and_then(|n| n.try_into().ok()).expect("a number")
    };
    let mut numbers: Vec<i32> = read.iter().filter_map(|r| r.value.as_ref()).map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_broker_that_goes_away_is_waited_for() {
    let kafka = tempfile::tempdir().expect("a directory");
    let bootstrap = servers::start_kafka(kafka.path());
    let broker = Broker { bootstrap: &bootstrap };
    let dir = tempfile::tempdir().expect("a directory");
    broker.create_topic("outage.in", 2);
    produce(broker, "outage", 0..50);
    let (herald, listen) = start(dir.path(), "outage", broker, &[]);
    wait_until(&herald, "the first output", || broker.end_of("outage.out") > 0);
    wait_until(&herald, "readiness", || answers(&listen, "readyz") == Some(200));

    servers::kill_kafka(kafka.path());
    wait_until(&herald, "unreadiness", || answers(&listen, "readyz").is_some_and(|status| status != 200));
    assert_eq!(answers(&listen, "healthz"), Some(200), "an outage is no reason to restart the process");

    servers::start_kafka(kafka.path());
    // No record comes to show that the outage is over.
    wait_until(&herald, "readiness again", || answers(&listen, "readyz") == Some(200));
    produce(broker, "outage", 50..100);
    wait_until(&herald, "the output after the outage", || numbers(broker, "outage").len() >= 100);
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(numbers(broker, "outage"), (0..100).collect::<Vec<i32>>());
    servers::kill_kafka(kafka.path());
}

#[test]
fn the_process_that_is_fenced_ends() {
    let (prefix, broker) = ("fenced", broker::shared());
    broker.create_topic("fenced.in", 1);
    let (first_dir, second_dir) = (tempfile::tempdir(), tempfile::tempdir());
    let (first_dir, second_dir) = (first_dir.expect("a directory"), second_dir.expect("a directory"));
    produce(broker, prefix, 0..10);
    let (first, _) = start(first_dir.path(), prefix, broker, &[]);
    wait_until(&first, "the first output", || broker.end_of("fenced.out") > 0);

    let (second, listen) = start(second_dir.path(), prefix, broker, &["--fresh"]);
    wait_until(&second, "readiness", || answers(&listen, "readyz") == Some(200));
    produce(broker, prefix, 10..20);
    let ended = first.wait(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("another process"), "{}", ended.stderr);
    assert_eq!(second.terminate(PATIENCE).code, Some(0));
}
