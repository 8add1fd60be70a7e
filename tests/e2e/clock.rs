//! A machine whose clock is far ahead: brokers refuse records with future timestamps, and committed output
//! must be published nevertheless.

use std::time::Duration;

use serde_json::Value;

use crate::child::{self, Ended};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);
/// 25 hours; by default a broker accepts timestamps up to one hour ahead.
const AHEAD: &str = "clock.ahead_ms=return(90000000)";

const LINES: &str = "
CREATE SOURCE lines (n BIGINT)
WITH (connector = 'kafka', topic = 'PREFIX.in', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE SINK lines_out FROM lines
WITH (connector = 'kafka', topic = 'PREFIX.out', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
}

impl Place {
    fn new(prefix: &'static str) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("t.sql"), LINES.replace("PREFIX", prefix)).expect("a file");
        broker::shared().create_topic(&format!("{prefix}.in"), 1);
        Place { prefix, dir }
    }

    fn feed(&self, n: i64) {
        let record = format!("{{\"n\": {n}}}");
        broker::shared().produce(&format!("{}.in", self.prefix), [("k", record.as_bytes())]);
    }

    fn once(&self, failpoints: &str) -> Ended {
        let args = ["run", "t.sql", "--name", self.prefix, "--listen", "off", "--once"];
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        child::herald(self.dir.path(), &args, &env, PATIENCE)
    }

    fn sent(&self) -> Vec<i64> {
        let read = broker::shared().read_committed(&format!("{}.out", self.prefix));
        let n = |value: &[u8]| serde_json::from_slice::<Value>(value).expect("JSON")["n"].as_i64();
        read.iter().map(|r| n(r.value.as_deref().unwrap_or_default()).expect("a number")).collect()
    }
}

#[test]
fn output_goes_out_while_the_clock_is_ahead() {
    let place = Place::new("clock-ahead");
    place.feed(1);
    let ended = place.once(AHEAD);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("takes no records of this time"), "{}", ended.stderr);
    place.feed(2);
    let ended = place.once("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("takes no records of this time"), "{}", ended.stderr);
    assert_eq!(place.sent(), [1, 2]);
}

#[test]
fn output_that_was_committed_in_the_future_goes_out() {
    let place = Place::new("clock-was-ahead");
    place.feed(1);
    let killed = place.once(&format!("{AHEAD};publish.before=kill"));
    assert_eq!(killed.code, None, "{}", killed.stderr);
    assert_eq!(place.sent(), [0_i64; 0]);
    let ended = place.once("");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("publishing what was left in the outbox"), "{}", ended.stderr);
    assert_eq!(place.sent(), [1]);
}
