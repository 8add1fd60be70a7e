//! Additions of an edit over an append-only source get the source's records again, beside the run, and end as those of a
//! fresh run of the new text: through kills, while records come, and where the topic has lost records.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::broker::{self, Broker};
use crate::child::{self, Ended, Herald};
use crate::{input, servers};

const PATIENCE: Duration = Duration::from_secs(90);

const PLAYS: &str = "
CREATE SOURCE plays (id BIGINT NOT NULL, player VARCHAR, points BIGINT, at TIMESTAMPTZ,
  CONSTRAINT fair CHECK (points >= 0), WATERMARK FOR at AS at - INTERVAL '1 minute')
WITH (connector = 'kafka', topic = 'PREFIX.plays', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      watermark.max_ahead = '4000 days')
FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (player VARCHAR, team VARCHAR, PRIMARY KEY (player))
WITH (connector = 'file', path = 'teams.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE VIEW scored AS SELECT id, player, points, at, 100 / (points - 7) AS share FROM plays WHERE points > 2;
CREATE MATERIALIZED VIEW shares AS SELECT id, share FROM scored;
CREATE MATERIALIZED VIEW totals AS SELECT player, sum(points) AS points FROM scored GROUP BY player;
CREATE SINK totals_out FROM totals
WITH (connector = 'kafka', topic = 'SENT.totals', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'player')
FORMAT UPSERT ENCODE JSON;
";

/// Views of all kinds over the source, beside those that stay.
const ADDED: &str = "
CREATE MATERIALIZED VIEW by_team AS SELECT t.team, count(*) AS n, max(p.points) AS best
FROM scored AS p JOIN teams AS t ON t.player = p.player GROUP BY t.team;
CREATE MATERIALIZED VIEW minutes AS SELECT window_start, window_end, count(*) AS n, sum(share) AS shares
FROM TUMBLE(scored, at, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW doubled AS SELECT a.id, b.id AS other FROM plays AS a JOIN plays AS b
ON a.player = b.player AND b.id = a.id + 9;
CREATE SINK by_team_out FROM by_team
WITH (connector = 'kafka', topic = 'SENT.teams', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'team')
FORMAT UPSERT ENCODE JSON;
CREATE SINK ids_out AS SELECT id FROM scored WHERE points > 8
WITH (connector = 'kafka', topic = 'SENT.ids', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
";

/// All that must be as in a fresh run.
const ASKED: [&str; 9] = [
    "SELECT * FROM shares",
    "SELECT * FROM totals",
    "SELECT * FROM by_team",
    "SELECT * FROM minutes",
    "SELECT * FROM doubled",
    // The texts of rows that failed before the edit have the columns that were read then.
    "SELECT view, expression, message, count(*) AS n FROM herald.errors GROUP BY view, expression, message",
    "SELECT source, partition, \"offset\", outcome FROM herald.dead_letter",
    "SELECT name, partition, next_offset, watermark, read, accepted, \"constraint\", decode, late FROM herald.sources",
    "SELECT view, is_whole, gap FROM herald.views",
];

struct Plays {
    prefix: &'static str,
    dir: tempfile::TempDir,
    broker: Broker<'static>,
    sent: i64,
}

impl Plays {
    fn new(prefix: &'static str, partitions: i32) -> Plays {
        let (dir, broker) = (tempfile::tempdir().expect("a directory"), broker::shared());
        broker.create_topic(&format!("{prefix}.plays"), partitions);
        let teams: Vec<String> =
            (0..9).map(|n| format!("{{\"player\":\"p{n}\",\"team\":\"t{}\"}}\n", n % 4)).collect();
        fs::write(dir.path().join("teams.jsonl"), teams.concat()).expect("a file");
        Plays { prefix, dir, broker, sent: 0 }
    }

    /// Produces plays, one a second of event time; some are late, some unfair, some no JSON.
    fn produce(&mut self, plays: i64) {
        let mut records = Vec::new();
        for id in self.sent..self.sent + plays {
            let second = if id % 50 == 49 { id / 8 - 300 } else { id / 8 };
            let at = format!(
                "2026-01-{:02}T{:02}:{:02}:{:02}Z",
                2 + second.div_euclid(86_400),
                second.rem_euclid(86_400) / 3600,
                second.rem_euclid(3600) / 60,
                second.rem_euclid(60)
            );
            let points = if id % 31 == 30 { -1 } else { id % 11 };
            let record =
                format!("{{\"id\":{id},\"player\":\"p{}\",\"points\":{points},\"at\":\"{at}\"}}", id % 9);
            records.push((format!("k{id}"), if id % 97 == 96 { "{".to_owned() } else { record }));
        }
        self.sent += plays;
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
        self.broker.produce(&format!("{}.plays", self.prefix), records);
    }

    fn write(&self, name: &str, text: &str) {
        let text = text.replace("PREFIX", self.prefix).replace("SENT", &format!("{}.{name}", self.prefix));
        fs::write(self.dir.path().join(format!("{name}.sql")), text).expect("a file");
    }

    /// The name of a topology in the broker that all tests share.
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn start(&self, name: &str, failpoints: &str, more: &[&str]) -> Herald {
        let (file, own) = (format!("{name}.sql"), self.name(name));
        let args = ["run", &file, "--name", &own, "--state", name, "--epoch-interval", "5ms"];
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        Herald::start(self.dir.path(), &[&args[..], more].concat(), &env)
    }

    fn once(&self, name: &str, failpoints: &str) -> Ended {
        self.start(name, failpoints, &["--once", "--listen", "off"]).wait(PATIENCE)
    }

    fn command(&self, args: &[&str]) -> Ended {
        child::herald(self.dir.path(), args, &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE)
    }

    /// The rows of a query, in order.
    fn rows(&self, name: &str, sql: &str) -> Vec<String> {
        let ended = self.command(&["query", sql, "--state", name, "--format", "csv"]);
        assert_eq!(ended.code, Some(0), "{sql}: {}", ended.stderr);
        let mut rows: Vec<String> = ended.stdout.lines().skip(1).map(str::to_owned).collect();
        rows.sort();
        rows
    }

    /// The rows that a sink's topic folds to; of one that only appends, all.
    fn folded(&self, name: &str, topic: &str) -> Vec<String> {
        let topic = format!("{}.{name}.{topic}", self.prefix);
        let mut rows: Vec<String> = if topic.ends_with("ids") {
            let read = self.broker.read_committed(&topic).into_iter();
            read.map(|read| String::from_utf8_lossy(&read.value.unwrap_or_default()).into_owned()).collect()
        } else {
            input::upserted(&topic, input::Encode::Json).iter().map(ToString::to_string).collect()
        };
        rows.sort();
        rows
    }

    /// Compares everything with a fresh run of the new text.
    fn compare(&self) {
        ok(&self.once("old", ""));
        ok(&self.once("fresh", ""));
        for sql in ASKED {
            let (found, expected) = (self.rows("old", sql), self.rows("fresh", sql));
            assert!(!expected.is_empty(), "{sql}");
            assert_same(sql, &found, &expected);
        }
        for topic in ["totals", "teams", "ids"] {
            let (found, expected) = (self.folded("old", topic), self.folded("fresh", topic));
            assert!(!expected.is_empty(), "{topic}");
            assert_same(topic, &found, &expected);
        }
        ok(&self.command(&["state", "verify", "old", "old.sql"]));
    }
}

/// Asserts that rows are the same; tells the first that is not.
fn assert_same(what: &str, found: &[String], expected: &[String]) {
    let first = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at));
    let differing = first.map(|at| (at, found.get(at), expected.get(at)));
    assert_eq!(differing, None, "{what}: {} rows, and {} in the fresh run", found.len(), expected.len());
}

fn ok(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// The text with the added views and another `totals`, whose sink has the difference to send.
fn edited() -> String {
    let totals = "SELECT player, sum(points) AS points FROM scored GROUP BY player";
    assert!(PLAYS.contains(totals));
    let sums = totals.replace("sum(points)", "sum(points) + count(DISTINCT share)");
    [&PLAYS.replace(totals, &sums), ADDED].concat()
}

/// Runs the old text over some plays, and edits it.
fn begun(prefix: &'static str, partitions: i32, plays: i64) -> Plays {
    let mut place = Plays::new(prefix, partitions);
    place.produce(plays);
    place.write("old", PLAYS);
    ok(&place.once("old", ""));
    let text = edited();
    place.write("old", &text);
    place.write("fresh", &text);
    place
}

#[test]
fn records_are_read_again_for_what_is_new() {
    let place = begun("again-once", 3, 3000);
    let planned = place.command(&[
        "plan",
        "old.sql",
        "--name",
        &place.name("old"),
        "--state",
        "old",
        "--format",
        "json",
    ]);
    assert_eq!(planned.code, Some(3), "{}{}", planned.stdout, planned.stderr);
    let plan: serde_json::Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let parts = plan["parts"].as_array().expect("parts");
    let told: BTreeMap<&str, bool> = parts
        .iter()
        .filter(|part| part["kind"] == "view")
        .map(|part| {
            (
                part["name"].as_str().expect("a name"),
                !part["read_again"].as_array().expect("texts").is_empty(),
            )
        })
        .collect();
    let again =
        [("by_team", true), ("doubled", true), ("minutes", true), ("shares", false), ("totals", true)];
    assert_eq!(told, again.into());
    assert_eq!(plan["records_unknown"], serde_json::Value::Null);
    place.compare();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_second_reading_goes_on_where_it_was_killed() {
    let mut place = begun("again-kills", 2, 4000);
    let points = [
        "driver.close.before=kill@2",
        "store.write.after=kill@3",
        "fill.piece.closed=kill@3",
        "commit.visible=kill@4",
        "worker.step.before=kill@9",
        "fill.end.closed=kill",
    ];
    let mut killed = 0;
    for point in points {
        place.produce(40);
        let ended =
            place.once("old", &format!("edition.again=return(20);driver.poll.after=sleep(1);{point}"));
        killed += usize::from(ended.code.is_none());
        if ended.code.is_some() {
            ok(&ended);
        }
    }
    assert!(killed >= 5, "{killed} kills");
    place.produce(100);
    place.compare();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_goes_on_while_records_are_read_again() {
    let mut place = begun("again-beside", 3, 6000);
    let slow = "edition.again=return(20);driver.poll.after=sleep(30)";
    let mut running = place.start("old", slow, &["--listen", "127.0.0.1:0"]);
    let filling = "SELECT gap FROM herald.views WHERE view = 'by_team' AND gap LIKE '%read again'";
    let whole = "SELECT view FROM herald.views WHERE is_whole";
    let shares = "SELECT count(*) AS n FROM shares";
    let (begun, mut seen) = (Instant::now(), Vec::new());
    let mut while_filling = Vec::new();
    while place.rows("old", whole).len() < 5 {
        assert!(running.running() && begun.elapsed() < PATIENCE, "{}", running.said());
        place.produce(30);
        let gap = place.rows("old", filling);
        if !gap.is_empty() {
            while_filling.extend(place.rows("old", shares));
            seen.extend(gap);
        }
    }
    seen.dedup();
    while_filling.dedup();
    assert!(seen.len() > 1, "how far it is: {seen:?}");
    assert!(while_filling.len() > 1, "the rest goes on: {while_filling:?}");
    // The two readers are one now.
    place.produce(500);
    let until = Instant::now();
    let total = format!("SELECT name FROM herald.sources WHERE name = 'plays' AND read = {}", place.sent);
    while place.rows("old", &total).is_empty() {
        assert!(running.running() && until.elapsed() < PATIENCE, "{}", running.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    ok(&running.terminate(PATIENCE));
    place.compare();
}

/// A file that has an end, which moves its watermark beyond all time.
const ENDED: &str = "
CREATE SOURCE shots (id BIGINT, player VARCHAR, at TIMESTAMPTZ, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'shots.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW ids AS SELECT id FROM shots;
";

/// Windows that the end closes, and a look-up in a table that is read before.
const AFTER_THE_END: &str = "
CREATE TABLE teams (player VARCHAR, team VARCHAR, PRIMARY KEY (player))
WITH (connector = 'file', path = 'teams.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n
FROM TUMBLE(shots, at, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW looked_up AS SELECT s.id, t.team FROM shots AS s
LEFT JOIN teams FOR SYSTEM_TIME AS OF PROCTIME() AS t ON t.player = s.player;
";

#[cfg(feature = "failpoints")]
#[test]
fn a_source_that_has_ended_ends_again_behind_its_last_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let shots = |id: usize| {
        format!("{{\"id\":{id},\"player\":\"p{}\",\"at\":\"2026-01-02T00:{:02}:00Z\"}}\n", id % 9, id % 60)
    };
    let write = |count| fs::write(dir.join("shots.jsonl"), (0..count).map(shots).collect::<String>());
    let teams = |n: usize| format!("{{\"player\":\"p{n}\",\"team\":\"t{}\"}}\n", n % 4);
    fs::write(dir.join("teams.jsonl"), (0..9).map(teams).collect::<String>()).expect("a file");
    let run = |state: &str, failpoints: &str| {
        let args = ["run", "t.sql", "--once", "--state", state, "--listen", "off", "--epoch-interval", "1ms"];
        child::herald(dir, &args, &[("HERALD_FAILPOINTS", failpoints)], PATIENCE)
    };
    let rows = |state: &str, sql: &str| {
        let ended = child::succeed(dir, &["query", sql, "--state", state, "--format", "csv"], &[], PATIENCE);
        let mut rows: Vec<String> = ended.stdout.lines().skip(1).map(str::to_owned).collect();
        rows.sort();
        rows
    };
    for (kill, state) in
        [("", "whole"), ("fill.piece.closed=kill@3", "killed"), ("fill.end.closed=kill", "late")]
    {
        write(60).expect("a file");
        fs::write(dir.join("t.sql"), ENDED).expect("a file");
        ok(&run(state, ""));
        fs::write(dir.join("t.sql"), [ENDED, AFTER_THE_END].concat()).expect("a file");
        let fresh = format!("{state}-fresh");
        ok(&run(&fresh, ""));
        // The source has ended: these are late, also for what is new.
        write(75).expect("a file");
        let slow = "edition.again=return(7);driver.poll.after=sleep(5)";
        if !kill.is_empty() {
            assert_eq!(run(state, &format!("{slow};{kill}")).code, None, "{kill}");
        }
        ok(&run(state, slow));
        ok(&run(&fresh, ""));
        for sql in [
            "SELECT * FROM minutes",
            "SELECT * FROM looked_up",
            "SELECT name, read, accepted, late FROM herald.sources",
        ] {
            assert_same(sql, &rows(state, sql), &rows(&fresh, sql));
        }
        assert_eq!(
            (
                rows(state, "SELECT n FROM minutes").len(),
                rows(state, "SELECT id FROM looked_up WHERE team IS NULL").len()
            ),
            (60, 0)
        );
    }
}

/// Rows that the operators of a view have touched, as the metrics tell.
fn touched(listen: &str, view: &str) -> f64 {
    let Ok((_, text)) = servers::http("GET", &format!("http://{listen}/metrics"), None) else { return 0.0 };
    let of_view = format!("herald_operator_touched_rows_total{{operator=\"{view}/");
    let lines = text.lines().filter(|line| line.starts_with(&of_view));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn the_operators_of_what_stays_have_nothing_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let shots = |id: usize| format!("{{\"id\":{id},\"player\":\"p{}\"}}\n", id % 9);
    fs::write(dir.join("shots.jsonl"), (0..700).map(shots).collect::<String>()).expect("a file");
    let source = "CREATE SOURCE shots (id BIGINT, player VARCHAR)
        WITH (connector = 'file', path = 'shots.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
        CREATE MATERIALIZED VIEW players AS SELECT player, count(*) AS n FROM shots GROUP BY player;";
    let added = "CREATE MATERIALIZED VIEW digits AS SELECT id % 10 AS digit, count(*) AS n FROM shots GROUP BY id % 10;";
    fs::write(dir.join("t.sql"), source).expect("a file");
    let run = ["run", "t.sql", "--state", "state", "--listen"];
    child::succeed(dir, &[&run[..], &["off", "--once"]].concat(), &[], PATIENCE);
    fs::write(dir.join("t.sql"), [source, added].concat()).expect("a file");
    let listen = servers::free_address();
    let mut running = Herald::start(dir, &[&run[..], &[&listen]].concat(), &[]);
    let (begun, whole) = (Instant::now(), "SELECT count(*) AS n FROM herald.views WHERE is_whole");
    while child::herald(dir, &["query", whole, "--state", "state", "--format", "csv"], &[], PATIENCE).stdout
        != "n\n2\n"
    {
        assert!(running.running() && begun.elapsed() < PATIENCE, "{}", running.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(touched(&listen, "players"), 0.0);
    assert!(touched(&listen, "digits") >= 10.0, "{}", touched(&listen, "digits"));
    // What comes then is for both.
    let more = fs::OpenOptions::new().append(true).open(dir.join("shots.jsonl")).expect("a file");
    (&more).write_all((700..720).map(shots).collect::<String>().as_bytes()).expect("records");
    while touched(&listen, "players") == 0.0 {
        assert!(running.running() && begun.elapsed() < PATIENCE, "{}", running.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    ok(&running.terminate(PATIENCE));
    let sql = "SELECT a.n, b.n AS m FROM (SELECT sum(n) AS n FROM players) AS a, (SELECT sum(n) AS n FROM digits) AS b";
    let told = child::succeed(dir, &["query", sql, "--state", "state", "--format", "csv"], &[], PATIENCE);
    assert_eq!(told.stdout, "n,m\n720,720\n");
}

#[test]
fn records_that_are_gone_are_told_and_left_out_if_they_may_be() {
    let mut place = begun("again-gone", 1, 600);
    place.broker.delete_all_records("again-gone.plays");
    place.produce(200);
    let planned = place.command(&["plan", "old.sql", "--name", &place.name("old"), "--state", "old"]);
    assert_eq!(planned.code, Some(4), "{}{}", planned.stdout, planned.stderr);
    let words = planned.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = "view totals cannot be filled as a whole: 600 records are gone from kafka again-gone.plays";
    assert!(words.contains(told), "{}", planned.stdout);
    let refused = place.once("old", "");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("600 records are gone") && refused.stderr.contains("--allow-gap"),
        "{}",
        refused.stderr
    );
    ok(&place.start("old", "", &["--once", "--listen", "off", "--allow-gap"]).wait(PATIENCE));
    let gap = "SELECT view, is_whole FROM herald.views WHERE gap LIKE '600 records are gone%'";
    let lacking = ["by_team", "doubled", "minutes", "totals"].map(|view| format!("{view},false"));
    assert_eq!(place.rows("old", gap), lacking);
    ok(&place.once("old", ""));
    assert_eq!(place.rows("old", gap), lacking);
}
