//! Changed topics of sinks: deleted, recreated, with more partitions, or written by another topology. Each is
//! refused, at a start and while the topology runs, and the advice in the error resolves it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{self, Broker};
use crate::child::{self, Ended, Herald};
use crate::{input, servers};

const PATIENCE: Duration = Duration::from_secs(90);

const SCORES: &str = "
CREATE TABLE scores (player VARCHAR, points BIGINT, team VARCHAR, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.scores', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW teams AS SELECT team, sum(points) AS points FROM scores GROUP BY team;
CREATE SINK teams_out FROM teams
WITH (connector = 'kafka', topic = 'PREFIX.teams', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'team')
FORMAT UPSERT ENCODE JSON;
";

/// A log whose rows only a view keeps, and a sink whose rows no view holds.
const LOG: &str = "
CREATE SOURCE log (id BIGINT, line VARCHAR)
WITH (connector = 'kafka', topic = 'PREFIX.scores', dead_letter.topic = 'PREFIX.dead', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW lines AS SELECT line FROM log;
CREATE SINK lines_out FROM lines
WITH (connector = 'kafka', topic = 'PREFIX.lines', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE SINK counts_out AS SELECT line, count(*) AS n FROM log GROUP BY line
WITH (connector = 'kafka', topic = 'PREFIX.counts', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'line')
FORMAT DEBEZIUM ENCODE JSON;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
    broker: Broker<'static>,
}

impl Place {
    fn new(prefix: &'static str, topology: &str) -> Place {
        let (dir, broker) = (tempfile::tempdir().expect("a directory"), broker::shared());
        std::fs::write(dir.path().join("t.sql"), topology.replace("PREFIX", prefix)).expect("a file");
        broker.create_topic(&format!("{prefix}.scores"), 1);
        Place { prefix, dir, broker }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn feed(&self, records: &[Value]) {
        let records: Vec<String> = records.iter().map(Value::to_string).collect();
        self.broker.produce(&self.topic("scores"), records.iter().map(|r| ("k", r.as_bytes())));
    }

    fn score(&self, player: &str, points: i64, team: &str) {
        self.feed(&[json!({"player": player, "points": points, "team": team})]);
    }

    fn herald(&self, args: &[&str]) -> Ended {
        self.armed(args, "")
    }

    fn armed(&self, args: &[&str], failpoints: &str) -> Ended {
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        child::herald(self.dir.path(), args, &env, PATIENCE)
    }

    fn args(&self) -> Vec<&str> {
        vec!["run", "t.sql", "--name", self.prefix, "--listen", "off"]
    }

    fn once(&self) -> Ended {
        self.herald(&[self.args(), vec!["--once"]].concat())
    }

    fn start(&self) -> Herald {
        Herald::start(self.dir.path(), &self.args(), &[("KAFKA_BOOTSTRAP", servers::kafka())])
    }

    fn resend(&self, sink: &str) -> Ended {
        self.herald(&["sink", "resend", sink, "--name", self.prefix])
    }

    fn teams(&self) -> Vec<String> {
        let rows = input::upserted(&self.topic("teams"), input::Encode::Json);
        let points = |row: &Value| row["points"].as_f64().unwrap_or(f64::NAN) as i64;
        let mut teams: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["team"], points(row))).collect();
        teams.sort();
        teams
    }

    fn sent(&self, topic: &str) -> usize {
        self.broker.read_committed(&self.topic(topic)).len()
    }
}

fn ok(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

fn refused(ended: &Ended, code: i32, said: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for said in said {
        assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
    }
}

fn wait(herald: &Herald, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{}", herald.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_topic_that_was_deleted_is_refused_and_sent_again_on_purpose() {
    let place = Place::new("sink-gone", SCORES);
    place.score("a", 3, "red");
    place.score("b", 4, "blue");
    ok(&place.once());
    place.broker.delete_topic(&place.topic("teams"));
    place.score("c", 5, "blue");
    for _ in 0..2 {
        let told = ["sink teams_out", "\"sink-gone.teams\" was deleted", "herald sink resend NAME"];
        refused(&place.once(), 2, &told);
    }
    assert_eq!(place.broker.end_of(&place.topic("teams")), 0, "it is not made");
    refused(&place.resend("teams"), 2, &["has no sink teams: it has teams_out"]);
    let ordered = place.resend("teams_out");
    ok(&ordered);
    assert!(
        ordered.stdout.contains("Sink teams_out gets its content of epoch 1 again"),
        "{}",
        ordered.stdout
    );
    ok(&place.once());
    // Both teams as before, then the one that has changed since.
    assert_eq!((place.teams(), place.sent("teams")), (vec!["\"blue\" 9".into(), "\"red\" 3".into()], 3));
    ok(&place.once());
    assert_eq!(place.sent("teams"), 3, "once");
}

#[test]
fn a_topic_that_is_deleted_while_it_is_written_ends_the_run() {
    let place = Place::new("sink-going", SCORES);
    place.score("a", 3, "red");
    let herald = place.start();
    wait(&herald, || place.broker.end_of(&place.topic("teams")) > 0);
    place.broker.delete_topic(&place.topic("teams"));
    place.score("b", 4, "blue");
    refused(&herald.wait(PATIENCE), 2, &["\"sink-going.teams\" was deleted", "herald sink resend"]);
    ok(&place.resend("teams_out"));
    ok(&place.once());
    assert_eq!(place.teams(), ["\"blue\" 4", "\"red\" 3"]);
}

#[test]
fn a_topic_that_is_made_anew_is_refused() {
    let place = Place::new("sink-anew", SCORES);
    let teams = place.topic("teams");
    let anew = || {
        place.broker.delete_topic(&teams);
        place.broker.create_topic_with(&teams, 1, &[("cleanup.policy", "compact")]);
    };
    (0..5).for_each(|n| place.score(&format!("p{n}"), 1, "red"));
    let herald = place.start();
    wait(&herald, || place.broker.end_of(&teams) > 0);
    // While the topology runs: no later record is committed.
    anew();
    place.score("b", 4, "blue");
    refused(&herald.wait(PATIENCE), 1, &["made anew"]);
    assert_eq!(place.sent("teams"), 0);
    // The records of the failed attempt do not hide the change.
    refused(&place.once(), 2, &["\"sink-anew.teams\" was deleted", "resend"]);
    ok(&place.resend("teams_out"));
    ok(&place.once());
    assert_eq!(place.teams(), ["\"blue\" 4", "\"red\" 5"]);
    // At the start.
    anew();
    refused(&place.once(), 1, &["\"sink-anew.teams\" partition 0 ends at offset 0", "made anew", "resend"]);
    ok(&place.resend("teams_out"));
    ok(&place.once());
    assert_eq!(place.teams(), ["\"blue\" 4", "\"red\" 5"]);
}

#[test]
fn a_topic_with_more_partitions_than_it_had_is_refused() {
    let place = Place::new("sink-grown", SCORES);
    place.score("a", 3, "red");
    ok(&place.once());
    place.broker.set_partitions(&place.topic("teams"), 3);
    place.score("b", 4, "blue");
    refused(&place.once(), 2, &["has 3 partitions, and had 1", "two of them"]);
    // A resend would not delete the records in the wrong partition.
    ok(&place.resend("teams_out"));
    refused(&place.once(), 2, &["has 3 partitions, and had 1"]);
    place.broker.delete_topic(&place.topic("teams"));
    place.broker.create_topic_with(&place.topic("teams"), 3, &[("cleanup.policy", "compact")]);
    ok(&place.once());
    assert_eq!(place.teams(), ["\"blue\" 4", "\"red\" 3"]);
    ok(&place.once());
}

#[test]
fn a_topic_that_another_topology_wrote_is_refused() {
    let place = Place::new("sink-other", SCORES);
    place.score("a", 3, "red");
    ok(&place.once());
    let other = ["run", "t.sql", "--name", "sink-stranger", "--listen", "off", "--once"];
    let told = ["sink teams_out", "last written by another topology, sink-other", "--fresh"];
    refused(&place.herald(&other), 2, &told);
    ok(&place.once());
    ok(&place.herald(&[&other[..], &["--fresh"]].concat()));
    refused(&place.once(), 2, &["last written by another topology, sink-stranger"]);
    ok(&place.herald(&other));
}

#[test]
fn what_is_sent_again_is_all_that_is_held() {
    let place = Place::new("sink-again", LOG);
    let line = |id: i64, line: &str| json!({"id": id, "line": line});
    place.feed(&[line(1, "x"), line(2, "y"), line(3, "x")]);
    ok(&place.once());
    place.feed(&[line(4, "z")]);
    ok(&place.once());
    ok(&place.resend("lines_out"));
    ok(&place.resend("counts_out"));
    place.feed(&[line(5, "y")]);
    let workers = ["--once", "--workers", "3"];
    ok(&place.herald(&[place.args(), workers.to_vec()].concat()));
    let values = |topic: &str| -> Vec<String> {
        let read = place.broker.read_committed(&place.topic(topic));
        read.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or(b"")).into_owned()).collect()
    };
    let mut lines = values("lines");
    assert_eq!(lines.pop().as_deref(), Some(r#"{"line":"y"}"#), "what came then");
    let (first, again) = lines.split_at(4);
    let sorted = |lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.sort();
        lines
    };
    assert_eq!(sorted(first), sorted(again));
    let counts = values("counts");
    let again = counts.iter().filter(|v| v.contains(r#""before":null"#) && v.contains(r#""line":"x","n":2"#));
    assert_eq!(again.count(), 2, "{counts:?}");
    ok(&place.once());
    assert_eq!((values("lines").len(), values("counts").len()), (9, counts.len()), "once");
}

#[test]
fn a_dead_letter_topic_that_was_deleted_is_made_anew() {
    let place = Place::new("sink-letters", LOG);
    place.feed(&[json!({"id": "no number"})]);
    ok(&place.once());
    assert_eq!(place.sent("dead"), 1);
    place.broker.delete_topic(&place.topic("dead"));
    place.feed(&[json!({"id": "nor this"})]);
    let ended = place.once();
    ok(&ended);
    assert!(ended.stderr.contains("\"sink-letters.dead\" was deleted"), "{}", ended.stderr);
    assert_eq!(place.sent("dead"), 1);
    let held = ["query", "SELECT count(*) AS n FROM herald.dead_letter", "--format", "csv", "--name"];
    assert_eq!(place.herald(&[&held[..], &[place.prefix]].concat()).stdout, "n\n2\n");
}

#[cfg(feature = "failpoints")]
#[test]
fn what_waited_for_a_topic_that_is_gone_is_not_sent_beside_its_content() {
    let place = Place::new("sink-waits", SCORES);
    place.score("a", 3, "red");
    ok(&place.once());
    place.score("b", 4, "blue");
    let killed = place.armed(&[place.args(), vec!["--once"]].concat(), "publish.before=kill");
    assert_eq!(killed.code, None, "{}", killed.stderr);
    place.broker.delete_topic(&place.topic("teams"));
    refused(&place.once(), 2, &["was deleted"]);
    ok(&place.resend("teams_out"));
    // Killed again when the epoch is committed and not published.
    let killed = place.armed(&[place.args(), vec!["--once"]].concat(), "commit.after=kill");
    assert_eq!(killed.code, None, "{}", killed.stderr);
    ok(&place.once());
    assert_eq!((place.teams(), place.sent("teams")), (vec!["\"blue\" 4".into(), "\"red\" 3".into()], 2));
}

#[cfg(feature = "failpoints")]
#[test]
fn what_waits_for_a_topic_that_is_there_is_sent_before_its_content() {
    let place = Place::new("sink-stays", SCORES);
    place.score("a", 3, "red");
    place.score("b", 4, "blue");
    ok(&place.once());
    // Team blue has no players any more; its deletion is committed and not published.
    place.score("b", 4, "red");
    let killed = place.armed(&[place.args(), vec!["--once"]].concat(), "publish.before=kill");
    assert_eq!(killed.code, None, "{}", killed.stderr);
    ok(&place.resend("teams_out"));
    ok(&place.once());
    assert_eq!(place.teams(), ["\"red\" 7"]);
}
