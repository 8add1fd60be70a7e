//! Edited topologies: `herald plan` tells what a run then does, the sinks of a real Kafka get the difference alone, and a
//! run that is killed in the middle leaves the old text or the new one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
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
CREATE MATERIALIZED VIEW players AS SELECT player, points FROM scores;
CREATE SINK teams_out FROM teams
WITH (connector = 'kafka', topic = 'PREFIX.teams', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'team')
FORMAT UPSERT ENCODE JSON;
CREATE SINK players_out FROM players
WITH (connector = 'kafka', topic = 'PREFIX.players', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'player')
FORMAT UPSERT ENCODE JSON;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
    broker: Broker<'static>,
}

impl Place {
    fn new(prefix: &'static str) -> Place {
        let (dir, broker) = (tempfile::tempdir().expect("a directory"), broker::shared());
        broker.create_topic(&format!("{prefix}.scores"), 1);
        Place { prefix, dir, broker }
    }

    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("t.sql"), text.replace("PREFIX", self.prefix)).expect("a file");
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn feed(&self, scores: &[(&str, i64, &str)]) {
        let mut records = Vec::new();
        for (player, points, team) in scores {
            records.push(json!({"player": player, "points": points, "team": team}).to_string());
        }
        self.broker.produce(&self.topic("scores"), records.iter().map(|record| ("k", record.as_bytes())));
    }

    fn herald(&self, args: &[&str], failpoints: &str) -> Ended {
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", failpoints)];
        child::herald(self.dir.path(), args, &env, PATIENCE)
    }

    fn once(&self, failpoints: &str) -> Ended {
        let args = ["run", "t.sql", "--name", self.prefix, "--listen", "off", "--state", "state", "--once"];
        self.herald(&args, failpoints)
    }

    fn teams(&self) -> Vec<String> {
        let rows = input::upserted(&self.topic("teams"), input::Encode::Json);
        let points = |row: &Value| row["points"].as_f64().unwrap_or(f64::NAN) as i64;
        let mut teams: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row["team"].as_str().unwrap_or(""), points(row)))
            .collect();
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

/// Runs the first text over three scores, then edits it.
fn edited(prefix: &'static str) -> Place {
    let place = Place::new(prefix);
    place.write(SCORES);
    place.feed(&[("a", 3, "red"), ("b", 4, "blue"), ("c", 1, "blue"), ("d", 2, "green")]);
    ok(&place.once(""));
    assert_eq!(place.teams(), ["blue 5", "green 2", "red 3"]);
    let names = SCORES.replace("VIEW players", "VIEW names").replace("FROM players", "FROM names");
    place.write(&names.replace("FROM scores GROUP BY team", "FROM scores WHERE points > 2 GROUP BY team"));
    place
}

#[test]
fn sinks_get_the_difference_and_tombstones() {
    let place = edited("edits-difference");
    let (teams, players) = (place.sent("teams"), place.sent("players"));
    ok(&place.once(""));
    assert_eq!(place.teams(), ["blue 4", "red 3"], "blue has less, green is gone");
    assert_eq!(place.sent("teams") - teams, 2, "red is as it was");
    assert_eq!(place.sent("players"), players, "a view with another name");
    place.feed(&[("d", 9, "green"), ("b", 1, "blue")]);
    ok(&place.once(""));
    assert_eq!(place.teams(), ["green 9", "red 3"]);
    ok(&place.herald(&["state", "verify", "state", "t.sql"], ""));
    let gone = place.herald(&["query", "SELECT * FROM players", "--state", "state"], "");
    assert_eq!(gone.code, Some(2), "{}", gone.stderr);
}

#[cfg(feature = "failpoints")]
#[test]
fn an_edit_takes_effect_as_a_whole() {
    for (prefix, failpoint) in
        [("edits-before", "store.write.before=kill"), ("edits-after", "store.write.after=kill")]
    {
        let place = edited(prefix);
        let (teams, players) = (place.sent("teams"), place.sent("players"));
        let ended = place.once(failpoint);
        assert_eq!(ended.code, None, "{failpoint}: {}", ended.stderr);
        let view = if failpoint.contains("before") { "players" } else { "names" };
        let sql = format!("SELECT count(*) AS n FROM {view}");
        let told = place.herald(&["query", &sql, "--state", "state", "--format", "csv"], "");
        assert_eq!(told.stdout, "n\n4\n", "{failpoint}: {}", told.stderr);
        ok(&place.once(""));
        assert_eq!(place.teams(), ["blue 4", "red 3"], "{failpoint}");
        assert_eq!(place.sent("teams") - teams, 2, "{failpoint}: sent once");
        assert_eq!(place.sent("players"), players, "{failpoint}");
    }
}

/// Writes 120 players of 60 teams, a goal and the topology over them.
fn write_scores(dir: &Path) {
    let scores: Vec<String> = (0..120)
        .map(|n| json!({"player": format!("p{n}"), "points": n, "team": format!("t{}", n % 60)}).to_string())
        .collect();
    fs::write(dir.join("scores.jsonl"), scores.join("\n") + "\n").expect("a file");
    fs::write(dir.join("goals.jsonl"), "{\"team\":\"t0\"}\n").expect("a file");
    fs::write(dir.join("points.sql"), POINTS).expect("a file");
}

/// The topology with other teams, whose view and sink are filled anew.
fn fewer_players() -> String {
    POINTS.replace("FROM scores GROUP BY", "FROM scores WHERE points > 6 GROUP BY")
}

#[cfg(feature = "failpoints")]
#[test]
fn a_killed_filling_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write_scores(dir);
    let run = |failpoints: &str| {
        let args = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
        child::herald(dir, &args, &[("HERALD_FAILPOINTS", failpoints)], PATIENCE)
    };
    let query =
        |sql: &str| child::herald(dir, &["query", sql, "--state", "state", "--format", "csv"], &[], PATIENCE);
    ok(&run(""));
    let sent = || fs::read_to_string(dir.join("teams.jsonl")).expect("the sink's file");
    let before = sent();
    fs::write(dir.join("points.sql"), fewer_players()).expect("a file");
    let mut open = 0;
    for _ in 0..3 {
        let ended = run("edition.pieces=return(4);fill.piece.closed=kill@4");
        assert_eq!(ended.code, None, "{}\n{}", ended.stdout, ended.stderr);
        let refused = query("SELECT * FROM teams");
        assert_eq!(refused.code, Some(2), "{}", refused.stdout);
        assert!(refused.stderr.contains("view teams is being filled: "), "{}", refused.stderr);
        let told = query("SELECT is_whole, gap FROM herald.views WHERE view = 'teams'");
        let words = told.stdout.strip_prefix("is_whole,gap\nfalse,being filled: ").expect("how far it is");
        let percent: u32 = words.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(percent > open && percent < 100, "{open} % and then {percent} %");
        open = percent;
        assert_eq!(query("SELECT n FROM goals_by_team").stdout, "n\n1\n", "the rest is served");
        assert_eq!(sent(), before, "nothing is sent before all is filled");
        let verified = child::herald(dir, &["state", "verify", "state", "points.sql"], &[], PATIENCE);
        assert_eq!(verified.code, Some(2), "{}", verified.stderr);
    }
    let ended = run("edition.pieces=return(4);fill.end.closed=kill");
    assert_eq!(ended.code, None, "{}", ended.stderr);
    ok(&run(""));
    let told = query("SELECT sum(points) AS points FROM teams");
    assert_eq!(told.stdout, format!("points\n{}\n", (7..120).sum::<u32>()));
    let after = sent();
    // Seven teams have lost a player, and six of them points.
    assert_eq!(after.strip_prefix(&before).map(|lines| lines.lines().count()), Some(6), "{after}");
    child::succeed(dir, &["state", "verify", "state", "points.sql"], &[], PATIENCE);
}

#[cfg(feature = "failpoints")]
#[test]
fn the_earlier_text_comes_back_in_the_middle_of_a_filling() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write_scores(dir);
    let run = |failpoints: &str| {
        let args = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
        child::herald(dir, &args, &[("HERALD_FAILPOINTS", failpoints)], PATIENCE)
    };
    ok(&run(""));
    fs::write(dir.join("points.sql"), fewer_players()).expect("a file");
    let killed = "edition.pieces=return(4);fill.piece.closed=kill@4";
    assert_eq!(run(killed).code, None);
    // Records that come while the sink waits: of a team that it has sent, and of one that is new.
    let scores = fs::read_to_string(dir.join("scores.jsonl")).expect("the scores");
    let more = "{\"player\":\"p7\",\"points\":700,\"team\":\"t7\"}\n{\"player\":\"q\",\"points\":5,\"team\":\"new\"}\n";
    fs::write(dir.join("scores.jsonl"), scores + more).expect("a file");
    assert_eq!(run(killed).code, None);
    fs::write(dir.join("points.sql"), POINTS).expect("a file");
    let told = planned(dir, POINTS, 3);
    assert!(told.contains("changed    sink teams_out: sends the difference"), "{told}");
    ok(&run(""));
    let query = ["query", "SELECT team, points FROM teams", "--state", "state", "--format", "csv"];
    let mut rows: Vec<String> =
        child::succeed(dir, &query, &[], PATIENCE).stdout.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    let mut sent = std::collections::BTreeMap::new();
    for line in fs::read_to_string(dir.join("teams.jsonl")).expect("the sink's file").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        sent.insert(line["key"]["team"].to_string(), line["value"]["points"].to_string().replace('"', ""));
    }
    let sent: Vec<String> =
        sent.iter().map(|(team, points)| format!("{},{points}", team.replace('"', ""))).collect();
    assert_eq!(sent, rows);
    assert!(rows.iter().any(|row| row == "new,5") && rows.len() == 61, "{rows:?}");
    child::succeed(dir, &["state", "verify", "state", "points.sql"], &[], PATIENCE);
}

#[test]
fn a_stopped_filling_is_no_end_and_its_backup_no_beginning() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write_scores(dir);
    let args = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
    child::succeed(dir, &args, &[], PATIENCE);
    fs::write(dir.join("points.sql"), fewer_players()).expect("a file");
    let slow = [("HERALD_FAILPOINTS", "edition.pieces=return(1);fill.piece.closed=sleep(1000)")];
    let mut running = Herald::start(dir, &args, &slow);
    let told = "SELECT gap FROM herald.views WHERE view = 'teams'";
    // Sources are looked at between the pieces: after some of them all records are read.
    let (begun, mut seen) = (Instant::now(), BTreeSet::new());
    while seen.len() < 4 {
        assert!(running.running() && begun.elapsed() < PATIENCE, "{}", running.said());
        let gap = child::herald(dir, &["query", told, "--state", "state"], &[], PATIENCE).stdout;
        if gap.contains("filled: ") {
            seen.insert(gap);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = running.terminate(PATIENCE);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stderr.contains("before all that the edit added was filled"), "{}", ended.stderr);

    child::succeed(dir, &["state", "backup", "state", "--to", "copy"], &[], PATIENCE);
    let refused =
        child::herald(dir, &["state", "restore", "copy", "--to", "own", "--as", "own"], &[], PATIENCE);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("restore it without --as"), "{}", refused.stderr);
    child::succeed(dir, &["state", "restore", "copy", "--to", "again"], &[], PATIENCE);
    child::succeed(dir, &args, &[], PATIENCE);
    child::succeed(dir, &["state", "verify", "state", "points.sql"], &[], PATIENCE);
}

const POINTS: &str = "\
CREATE TABLE scores (player VARCHAR, points BIGINT, team VARCHAR, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'file', path = 'scores.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE goals (team VARCHAR) WITH (connector = 'file', path = 'goals.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW teams AS SELECT team, sum(points) AS points FROM scores GROUP BY team;
CREATE MATERIALIZED VIEW best AS SELECT player FROM scores WHERE points > 3;
CREATE MATERIALIZED VIEW goals_by_team AS SELECT team, count(*) AS n FROM goals GROUP BY team;
CREATE SINK teams_out FROM teams WITH (connector = 'file', path = 'teams.jsonl', primary_key = 'team') FORMAT UPSERT ENCODE JSON;
";

/// The output of `herald plan`, an object a line, with `N` for numbers of bytes and epochs.
fn planned(dir: &Path, text: &str, code: i32) -> String {
    fs::write(dir.join("points.sql"), text).expect("a file");
    let ended = child::herald(dir, &["plan", "points.sql", "--state", "state"], &[], PATIENCE);
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
    let joined = ended.stdout.replace("\n           ", " ").replace("\n  ", " ");
    let mut words: Vec<String> = joined.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let number = if words[at - 1] == "epoch" { at } else { at - 1 };
        let masked = words[at].starts_with("bytes") || words[at - 1] == "epoch";
        if masked && words[number].chars().all(|c| c.is_ascii_digit()) {
            words[number] = "N".to_owned();
        }
    }
    words.join(" ")
}

#[test]
fn a_plan_tells_what_a_run_would_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let scores = [("a", 3, "red"), ("b", 4, "blue")];
    let lines = scores
        .map(|(player, points, team)| json!({"player": player, "points": points, "team": team}).to_string());
    fs::write(dir.join("scores.jsonl"), lines.join("\n") + "\n").expect("a file");
    fs::write(dir.join("goals.jsonl"), "{\"team\":\"red\"}\n").expect("a file");
    let none = planned(dir, POINTS, 0);
    assert!(none.starts_with("There is no state in state: a run makes it"), "{none}");
    let run = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
    child::succeed(dir, &run, &[], PATIENCE);
    assert!(planned(dir, POINTS, 0).ends_with("\nThere is nothing to do.\n"));

    let renamed = POINTS.replace("VIEW best", "VIEW winners");
    let safe = planned(dir, &[&renamed, "CREATE INDEX by_n ON goals_by_team (n);"].concat(), 0);
    assert_eq!(
        safe,
        "Topology points, epoch N of state\n\n\
         unchanged  table scores\n\
         unchanged  source goals\n\
         unchanged  view teams\n\
         renamed    view winners: was best\n\
         unchanged  view goals_by_team\n\
         unchanged  sink teams_out: sends nothing\n\
         new        index by_n\n\n\
         A run does this. It is safe: nothing is rebuilt, removed or sent again.\n"
    );
    let changed = POINTS
        .replace("FROM scores GROUP BY", "FROM scores WHERE points > 3 GROUP BY")
        .replace("CREATE MATERIALIZED VIEW best AS SELECT player FROM scores WHERE points > 3;", "");
    let told = planned(dir, &changed, 3);
    assert_eq!(
        told,
        "Topology points, epoch N of state\n\n\
         unchanged  table scores\n\
         unchanged  source goals\n\
         changed    view teams: filled from table scores (2 rows, N bytes)\n\
         unchanged  view goals_by_team\n\
         changed    sink teams_out: sends the difference; filled from table scores (2 rows, N bytes)\n\
         removed    view best: its rows are deleted\n\n\
         2 rows, N bytes are read, piece by piece while the rest goes on.\n\
         A run does this. Look at all that is changed or removed first.\n"
    );
    // The same again as a run: what was told is done, and nothing is left.
    child::succeed(dir, &run, &[], PATIENCE);
    assert!(planned(dir, &changed, 0).ends_with("\nThere is nothing to do.\n"));
    let sent = fs::read_to_string(dir.join("teams.jsonl")).expect("the sink's file");
    assert!(sent.lines().any(|line| line.contains("red") && line.contains("null")), "{sent}");

    let all = [&changed, "CREATE MATERIALIZED VIEW all_goals AS SELECT count(*) AS n FROM goals;"].concat();
    let told = planned(dir, &all, 0);
    let again = "new        view all_goals: filled from 1 record of file goals.jsonl (offsets 0: 0 to 0), read again\n";
    assert!(told.contains(again), "{told}");
    child::succeed(dir, &run, &[], PATIENCE);
    let sql = "SELECT n, is_whole, gap FROM all_goals, herald.views WHERE view = 'all_goals'";
    let told = child::succeed(dir, &["query", sql, "--state", "state", "--format", "csv"], &[], PATIENCE);
    assert_eq!(told.stdout, "n,is_whole,gap\n1,true,\n");
    assert!(planned(dir, &all, 0).ends_with("\nThere is nothing to do.\n"));
}

#[test]
fn a_debezium_sink_gets_a_column_that_is_never_null() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("goals.jsonl"), "").expect("a file");
    let scores = "{\"player\":\"a\",\"points\":3,\"team\":\"red\"}\n{\"player\":\"b\",\"points\":4,\"team\":\"blue\"}\n";
    fs::write(dir.join("scores.jsonl"), scores).expect("a file");
    let text = POINTS.replace("UPSERT", "DEBEZIUM");
    let counted = text.replace("sum(points) AS points FROM", "sum(points) AS points, count(*) AS n FROM");
    let run = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
    for text in [&text, &counted] {
        fs::write(dir.join("points.sql"), text).expect("a file");
        child::succeed(dir, &run, &[], PATIENCE);
    }
    let sent = fs::read_to_string(dir.join("teams.jsonl")).expect("the sink's file");
    let mut updates = 0;
    for line in sent.lines() {
        let change: Value = serde_json::from_str(line).expect("JSON");
        if change["op"] == "u" {
            assert!(change["before"].is_null() && change["after"]["n"] == 1, "{line}");
            updates += 1;
        }
    }
    assert_eq!(updates, 2, "{sent}");
}

#[test]
fn a_sink_comes_back_to_its_file_once_that_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("goals.jsonl"), "").expect("a file");
    fs::write(dir.join("scores.jsonl"), "{\"player\":\"a\",\"points\":3,\"team\":\"red\"}\n")
        .expect("a file");
    let run = ["run", "points.sql", "--once", "--state", "state", "--listen", "off"];
    let without = POINTS.split("CREATE SINK").next().expect("the text before it");
    for text in [POINTS, without] {
        fs::write(dir.join("points.sql"), text).expect("a file");
        child::succeed(dir, &run, &[], PATIENCE);
    }
    let told = planned(dir, POINTS, 4);
    assert!(told.contains("a sink has written there before: remove the file first"), "{told}");
    let refused = child::herald(dir, &run, &[], PATIENCE);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("remove the file first"), "{}", refused.stderr);
    for name in ["teams.jsonl", "teams.jsonl.herald"] {
        fs::remove_file(dir.join(name)).expect("a file");
    }
    child::succeed(dir, &run, &[], PATIENCE);
    let sent = fs::read_to_string(dir.join("teams.jsonl")).expect("the sink's file");
    assert_eq!(sent.lines().count(), 1, "{sent}");
}
