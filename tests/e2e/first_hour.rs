//! The first hour of a new user: the README's quickstart line by line, `herald demo --eject`, `init`, `status`
//! and `dead-letter`, and the packages, each installed in a clean root.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker;
use crate::child::{self, Herald};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);

/// A command of a `console` block, with the lines of a here-document, and the output that the block shows
/// below it.
#[derive(Debug, Default)]
pub struct Line {
    pub command: String,
    pub shown: Vec<String>,
}

fn quickstart() -> Vec<Line> {
    let readme = fs::read_to_string(servers::root().join("README.md")).expect("README.md");
    let section = readme.split("\n## Quickstart\n").nth(1).expect("a quickstart");
    console_lines(section.split("\n## ").next().expect("its text"))
}

/// The commands of a text's `console` blocks.
pub fn console_lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let mut document = false;
        for text in block.lines() {
            match (document, text.strip_prefix("$ ")) {
                (false, Some(command)) => {
                    document = command.contains("<<'END'");
                    lines.push(Line { command: command.to_owned(), shown: Vec::new() });
                }
                (true, _) => {
                    let line = lines.last_mut().expect("a command");
                    line.command.push('\n');
                    line.command.push_str(text);
                    document = text != "END";
                }
                (false, None) => lines.last_mut().expect("a command").shown.push(text.to_owned()),
            }
        }
    }
    lines
}

/// Commands whose output the README does not show, with what it has once results are published.
const AWAITED: [(&str, &str); 2] =
    [("kafka.sh consume", "2026-01-05T10:00:00.000000Z"), ("herald status", "all published")];

/// Runs all lines in one bash, as a user does. A query is repeated until its output is that of the README,
/// because results take an epoch or two. Ports and directories are the test's own.
#[test]
fn the_quickstart_runs_line_by_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let ports: Vec<String> = (0..3).map(|_| free_port()).collect();
    let place = dir.path().display().to_string();
    let own = |text: &str| {
        let text = text.replace("/tmp/", &format!("{place}/")).replace("9092", &ports[0]);
        text.replace("7414", &ports[1]).replace("5433", &ports[2])
    };
    let has_psql = Command::new("psql").arg("--version").output().is_ok();
    let mut script = String::from("set -eu\n");
    let binary = Path::new(env!("CARGO_BIN_EXE_herald")).parent().expect("a folder");
    script.push_str(&format!(
        "export PATH=\"{}:$PATH\" HERALD_URL=127.0.0.1:{} HERALD_LISTEN_PG=127.0.0.1:{} PSQLRC=/dev/null\n",
        binary.display(),
        ports[1],
        ports[2]
    ));
    for line in quickstart() {
        let (command, shown) = (own(&line.command), own(&line.shown.join("\n")));
        if command.starts_with("psql") && !has_psql {
            eprintln!("psql is missing, and is not tried: {command}");
            continue;
        }
        script.push_str(&format!("echo '+ '{}\n", quoted(&command)));
        if let Some((_, sign)) = AWAITED.iter().find(|(part, _)| command.contains(part)) {
            script.push_str(&format!(
                "for try in $(seq 300); do got=$({command} 2>&1) || true; case $got in *{}*) break;; esac; sleep 0.2; done\n\
                 echo \"$got\"\n",
                quoted(sign)
            ));
        } else if shown.is_empty() {
            script.push_str(&format!("{command}\n"));
        } else {
            script.push_str(&format!(
                "want={}\nfor try in $(seq 300); do got=$({command} 2>&1) || true; [ \"$got\" = \"$want\" ] && break; sleep 0.2; done\n\
                 [ \"$got\" = \"$want\" ] || {{ echo \"got: $got\"; cat {place}/shop/log; exit 1; }}\n",
                quoted(&shown)
            ));
        }
    }
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(servers::root())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let _ = Command::new(servers::root().join("scripts/kafka.sh"))
        .args(["stop", &format!("{place}/broker")])
        .status();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // The sink's topic has both hours, and the status tells that all is well.
    assert!(said.contains(r#"{"window_start":"2026-01-05T10:00:00.000000Z"}"#), "{said}");
    assert!(said.contains("running") && said.contains("all published"), "{said}");
}

fn free_port() -> String {
    servers::free_address().rsplit(':').next().unwrap_or_default().to_owned()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The project of `demo --eject`: all of its SQL passes `check`, over files and over Kafka, the data have records
/// of every outcome, and the README's commands run line by line, the edit of the SQL among them.
#[test]
fn the_ejected_demo_runs_as_its_readme_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = child::succeed(dir.path(), &["demo", "--eject", "project"], &[], PATIENCE).stdout;
    assert!(said.contains("cd project") && said.contains("herald test domain/tests"), "{said}");
    let project = dir.path().join("project");
    let read = |name: &str| fs::read_to_string(project.join(name)).expect("a file");
    let kafka = files_of(&project, "kafka");
    for (command, option) in [("check", None), ("fmt", Some("--check"))] {
        let args: Vec<&str> =
            [command].into_iter().chain(option).chain(kafka.iter().map(String::as_str)).collect();
        child::succeed(&project, &args, &[], PATIENCE);
    }
    let left = child::succeed(&project, &["fmt", "domain/tests/live.test.sql"], &[], PATIENCE);
    assert!(
        left.stderr.starts_with("left as it is: domain/tests/live.test.sql: a test script has no SQL"),
        "{}",
        left.stderr
    );

    // Nothing is overwritten.
    let again = child::herald(&project, &["demo", "--eject"], &[], PATIENCE);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("README.md exists"), "{}", again.stderr);

    let binary = Path::new(env!("CARGO_BIN_EXE_herald")).parent().expect("a folder");
    let mut script = format!("set -eu\nexport PATH=\"{}:$PATH\" HERALD_LISTEN=off\n", binary.display());
    for line in console_lines(&read("README.md")) {
        assert!(line.shown.is_empty(), "{line:?}");
        script.push_str(&format!("echo '+ '{}\n{}\n", quoted(&line.command), line.command));
    }
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(&project)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");

    // The first run has records of every outcome, in one table or another.
    let first = said.split("--once\n").nth(1).expect("a run").split("\n+ ").next().expect("its output");
    let outcomes = ["accepted", "duplicate", "superseded", "constraint", "decode", "late", "erased"];
    for outcome in outcomes {
        let word = format!(" {outcome}");
        let counts = first.match_indices(&word).map(|(at, _)| &first[..at]);
        let most = counts.filter_map(|before| before.rsplit(' ').next()?.parse::<u64>().ok()).max();
        assert!(most.is_some_and(|most| most > 0), "no record is {outcome}:\n{first}");
    }
    // Views show a change of form, the receipts of who was erased, the later capture, and the edit's column.
    for shown in ["| up ", "| down ", "| finished ", " | 30 ", "most_kills"] {
        assert!(said.contains(shown), "{shown} is missing:\n{said}");
    }
    let sent = read("results/trend.detected.jsonl");
    assert!(sent.contains("\"direction\":\"up\""), "{sent}");
}

/// The SQL files of a folder of a project, in the order of their names.
fn files_of(project: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(project.join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned());
    let mut files: Vec<String> =
        names.filter(|name| name.ends_with(".sql")).map(|name| format!("{folder}/{name}")).collect();
    files.sort();
    files
}

/// Checks that the files written by `init` pass `check` and their own test: from a file, the starter and
/// nested records.
#[test]
fn init_writes_a_topology_that_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let records = r#"{"id":7,"select":"x","when":{"at":"2026-01-01T00:00:00Z"},"scores":[1,2.5],"tags":[],"mixed":1}
{"id":8,"select":null,"when":{"at":null},"scores":[],"tags":["a"],"mixed":"b","price":"3.00","version":1}
{"id":8,"select":null,"when":{"at":null},"scores":[],"tags":["a"],"mixed":"b","price":"3.10","version":2}
"#;
    fs::write(dir.path().join("Game-Events.jsonl"), records).expect("records");
    child::succeed(dir.path(), &["init", "--from", "Game-Events.jsonl"], &[], PATIENCE);
    let sql = fs::read_to_string(dir.path().join("game_events.sql")).expect("a topology");
    for column in [
        "id BIGINT NOT NULL",
        "\"select\" VARCHAR",
        "scores DOUBLE PRECISION[]",
        "mixed JSONB",
        "price DECIMAL(18, 2)",
        "-- PRIMARY KEY: 1 record has the id of an earlier one",
        "PRIMARY KEY (id)",
        "path = 'Game-Events.jsonl'",
    ] {
        assert!(sql.contains(column), "{column}:\n{sql}");
    }
    child::succeed(dir.path(), &["check", "game_events.sql"], &[], PATIENCE);
    let tested = child::succeed(dir.path(), &["test", "game_events.test.sql"], &[], PATIENCE).stdout;
    assert!(tested.starts_with("ok "), "{tested}");
    let test = fs::read_to_string(dir.path().join("game_events.test.sql")).expect("a test");
    assert!(test.contains("{\"read\":3,\"accepted\":3,\"duplicate\":0,"), "{test}");
    // It is laid out as `fmt` lays it out.
    child::succeed(dir.path(), &["fmt", "--check", "game_events.sql"], &[], PATIENCE);
    // Nothing is overwritten.
    let again = child::herald(dir.path(), &["init", "--from", "Game-Events.jsonl"], &[], PATIENCE);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("game_events.sql exists"), "{}", again.stderr);

    child::succeed(dir.path(), &["init", "starter"], &[], PATIENCE);
    let starter = dir.path().join("starter");
    child::succeed(&starter, &["run", "matches.sql", "--once", "--listen", "off"], &[], PATIENCE);
    let rows = child::succeed(
        &starter,
        &["query", "SELECT sum(records) AS n FROM matches_totals", "--format", "csv"],
        &[],
        PATIENCE,
    );
    assert_eq!(rows.stdout, "n\n3\n");

    // Records that do not fit are passed over, and told of; without one that fits there are no columns.
    fs::write(dir.path().join("mixed.jsonl"), "nope\n{\"order\":1}\n[1]\n").expect("records");
    child::succeed(dir.path(), &["init", "--from", "mixed.jsonl"], &[], PATIENCE);
    let mixed = fs::read_to_string(dir.path().join("mixed.sql")).expect("a topology");
    assert!(mixed.contains("-- 2 more were no JSON objects"), "{mixed}");
    let named =
        child::herald(dir.path(), &["init", "--from", "mixed.jsonl", "--name", "my orders"], &[], PATIENCE);
    assert!(named.code == Some(2) && named.stderr.contains("no word of SQL"), "{}", named.stderr);
    fs::write(dir.path().join("bad.jsonl"), "[1]\n").expect("records");
    let bad = child::herald(dir.path(), &["init", "--from", "bad.jsonl"], &[], PATIENCE);
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    assert!(bad.stderr.contains("record 1 is no JSON object"), "{}", bad.stderr);
}

/// A topic whose records have keys, and a null value, becomes a table that deletes by key; one odd value in a
/// hundred changes no type.
#[test]
fn init_declares_the_keys_of_a_topic() {
    let dir = tempfile::tempdir().expect("a directory");
    let (topic, broker) = ("first-hour.users", broker::shared());
    broker.create_topic(topic, 1);
    let user = |n: usize| match n {
        7 => r#"{"id":"u7","points":"many"}"#.to_owned(),
        n => format!(r#"{{"id":"u{n}","points":{n}}}"#),
    };
    let users: Vec<(String, String)> = (0..200).map(|n| (format!("u{n}"), user(n))).collect();
    broker.produce(topic, users.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
    broker.produce(topic, [("u3", None)]);
    let args = ["init", "--topic", topic, "--bootstrap", servers::kafka(), "--name", "hour_users"];
    child::succeed(dir.path(), &args, &[], PATIENCE);
    let sql = fs::read_to_string(dir.path().join("hour_users.sql")).expect("a topology");
    for part in [
        "-- 1 more has a value of another type",
        "-- FORMAT UPSERT: the key of every record is its id.",
        "-- 1 record of the sample has no value",
        "  id VARCHAR NOT NULL,\n",
        "  points BIGINT,\n  PRIMARY KEY (id)\n)\nWITH (",
        "FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;",
    ] {
        assert!(sql.contains(part), "{part}:\n{sql}");
    }
    child::succeed(dir.path(), &["check", "hour_users.sql"], &[], PATIENCE);
    child::succeed(dir.path(), &["test", "hour_users.test.sql"], &[], PATIENCE);
    let script = fs::read_to_string(dir.path().join("hour_users.test.sql")).expect("a test");
    assert!(script.contains("\n{\"key\":\"u3\",\"value\":null}\n"), "{script}");
    let said =
        child::succeed(dir.path(), &["run", "hour_users.sql", "--once", "--listen", "off"], &[], PATIENCE)
            .stdout;
    assert!(said.contains("hour_users: 201 read = 200 accepted") && said.contains(" 1 decode "), "{said}");
    let query = ["query", "SELECT sum(records) AS n FROM hour_users_totals", "--format", "csv"];
    assert_eq!(child::succeed(dir.path(), &query, &[], PATIENCE).stdout, "n\n198\n");
}

/// Rejected records are counted by reason in the status and listed with where they came from.
#[test]
fn status_and_dead_letter_tell_of_rejected_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let topic = "first-hour.payments";
    let broker = servers::scratch().join("kafka");
    let kafka = |command: &str, input: &str| {
        let script = servers::root().join("scripts/kafka.sh");
        let mut child = Command::new(script)
            .arg(command)
            .arg(&broker)
            .arg(topic)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the script runs");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("input");
        assert!(child.wait().expect("a status").success(), "scripts/kafka.sh {command}");
    };
    let sql = format!(
        "CREATE SOURCE payments (id BIGINT NOT NULL, cents BIGINT, CONSTRAINT positive CHECK (cents > 0))\n\
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{}') FORMAT PLAIN ENCODE JSON;\n\
         CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM payments;\n",
        servers::kafka()
    );
    fs::write(dir.path().join("payments.sql"), sql).expect("a topology");
    kafka("topic", "");
    kafka("produce", "{\"id\":1,\"cents\":5}\n{\"id\":2,\"cents\":-5}\nnope\n");
    let port = free_port();
    let mut herald = Herald::start(dir.path(), &["run", "payments.sql", "--listen", &port], &[]);
    let url = format!("127.0.0.1:{port}");
    let until = Instant::now() + PATIENCE;
    let status = loop {
        let status = child::herald(dir.path(), &["status", "--url", &url], &[], PATIENCE);
        if status.stdout.contains("rejected 1 constraint, 1 decode") {
            break status.stdout;
        }
        assert!(herald.running() && Instant::now() < until, "{}\n{}", status.stdout, herald.said());
    };
    assert!(status.contains("payments at http://127.0.0.1:") && status.contains(": running"), "{status}");
    assert!(status.contains("herald dead-letter list --source payments --url http://127.0.0.1:"), "{status}");
    let list = ["dead-letter", "list", "--url", &url, "--format", "json"];
    let all = child::succeed(dir.path(), &list, &[], PATIENCE).stdout;
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().expect("rows").len(), 2, "{all}");
    let one = [&list[..], &["--outcome", "constraint"]].concat();
    let one: serde_json::Value =
        serde_json::from_str(&child::succeed(dir.path(), &one, &[], PATIENCE).stdout).expect("JSON");
    assert_eq!((&one[0]["offset"], one.as_array().map(Vec::len)), (&serde_json::json!(1), Some(1)), "{one}");
    let sequence = one[0]["sequence"].to_string();
    let shown =
        child::succeed(dir.path(), &["dead-letter", "show", &sequence, "--url", &url], &[], PATIENCE).stdout;
    assert!(shown.contains("positive"), "{shown}");
    assert!(shown.contains("value (text) | {\"id\":2,\"cents\":-5}\n"), "{shown}");
    // A source without such records is no mistake; one that is not there is.
    let none = [&list[..], &["--source", "payments", "--outcome", "late"]].concat();
    assert_eq!(child::succeed(dir.path(), &none, &[], PATIENCE).stdout, "[]\n");
    let wrong = child::herald(dir.path(), &[&list[..], &["--source", "payment"]].concat(), &[], PATIENCE);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("did you mean payments?"), "{}", wrong.stderr);
    herald.terminate(PATIENCE);
    // The same from the state, with the topology at rest.
    let state = child::succeed(dir.path(), &["dead-letter", "list", "--format", "csv"], &[], PATIENCE).stdout;
    assert_eq!(state.lines().count(), 3, "{state}");
}

/// Answers for programs: `check`, `explain`, `state inspect` and `status` as JSON; queries from a file and
/// standard input.
#[test]
fn programs_get_json() {
    let dir = tempfile::tempdir().expect("a directory");
    child::succeed(dir.path(), &["init"], &[], PATIENCE);
    let json = |args: &[&str], code: i32| -> serde_json::Value {
        let ended = child::herald(dir.path(), args, &[], PATIENCE);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ended.stdout))
    };
    assert_eq!(json(&["check", "matches.sql", "--format", "json"], 0)["mistakes"], serde_json::json!([]));
    fs::write(
        dir.path().join("bad.sql"),
        "CREATE SOURCE s (a INTT) WITH (connector = 'datagen') FORMAT PLAIN ENCODE JSON;\n",
    )
    .expect("a topology");
    let bad = json(&["check", "bad.sql", "--format", "json"], 2);
    assert_eq!(
        (&bad["mistakes"][0]["line"], &bad["mistakes"][0]["column"]),
        (&1.into(), &20.into()),
        "{bad}"
    );
    fs::write(
        dir.path().join("gone.sql"),
        "CREATE SOURCE s (a INT) WITH (connector = 'file', path = 'gone.jsonl') FORMAT PLAIN ENCODE JSON;\n\
         CREATE MATERIALIZED VIEW v AS SELECT a FROM s;\n",
    )
    .expect("a topology");
    let gone = json(&["check", "gone.sql", "--format", "json"], 0);
    let warning = gone["warnings"][0]["message"].as_str().unwrap_or_default();
    assert!(warning.starts_with("source s: /") && warning.ends_with("/gone.jsonl is not there"), "{gone}");
    let connected = child::herald(dir.path(), &["check", "gone.sql", "--connect"], &[], PATIENCE);
    assert_eq!(connected.code, Some(1), "{}", connected.stdout);
    assert!(connected.stdout.contains("`herald run` would not start"), "{}", connected.stdout);
    assert!(json(&["explain", "matches.sql", "--format", "json"], 0).is_object());
    child::succeed(dir.path(), &["run", "matches.sql", "--once", "--listen", "off"], &[], PATIENCE);
    let state = json(&["state", "inspect", ".herald/matches", "--format", "json"], 0);
    assert_eq!((&state["sources"][0]["read"], &state["topology"]), (&3.into(), &"matches".into()), "{state}");
    fs::write(dir.path().join("q.sql"), "SELECT sum(records) AS n FROM matches_totals\n").expect("a query");
    assert_eq!(json(&["query", "-f", "q.sql", "--format", "json"], 0), serde_json::json!([{"n": 3}]));
    assert!(child::succeed(dir.path(), &["completions", "bash"], &[], PATIENCE).stdout.contains("_herald"));
    let manual = child::succeed(dir.path(), &["man"], &[], PATIENCE).stdout;
    assert!(manual.contains(".SH \"HERALD RUN\"") || manual.contains(".SH HERALD RUN"), "{manual}");
}

/// The shell of `herald query` on a pseudo terminal: a statement of two lines, a failure after which it goes on,
/// backslash commands, the exit code and the history.
#[test]
fn the_shell_answers_on_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    child::succeed(dir.path(), &["init"], &[], PATIENCE);
    let mut topology = fs::read_to_string(dir.path().join("matches.sql")).expect("a topology");
    topology.push_str("\nCREATE INDEX totals_by_records ON matches_totals (records);\n");
    fs::write(dir.path().join("matches.sql"), topology).expect("a topology");
    child::succeed(dir.path(), &["run", "matches.sql", "--once", "--listen", "off"], &[], PATIENCE);
    let mut shell = Shell::open(dir.path());
    let lines = [
        "SELECT sum(records)",
        "AS n FROM matches_totals; SELECT nothing FROM matches_totals;",
        "\\d",
        "\\d matches_totals",
        "\\x",
        "SELECT sum(records) AS answer FROM matches_totals;",
        "\\nonsense",
        "\\q",
    ];
    for line in lines {
        // As a person would: each line after the prompt, which is there once the editor has the terminal.
        shell.wait_for(&["herald=> ", "herald-> "]);
        shell.write(&format!("{line}\n"));
        // The editor shows a prompt anew for each key: the next one is that behind its end.
        shell.wait_for(&[GIVEN_BACK]);
    }
    let said = shell.end();
    for part in [
        "herald=> ",
        "herald-> ",
        "1 row at epoch",
        "error: the query cannot be run: query:1:8: there is no column nothing",
        "MATERIALIZED VIEW",
        "BIGINT",
        "Indexes:\n  totals_by_records (records)\n",
        "Expanded output is on.",
        "-[ RECORD 1 ]-\nanswer | 3\n",
        "error: there is no command \\nonsense: \\? lists the commands.",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let history = dir.path().join("home/herald/query_history");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&history).expect("a history")) & 0o777;
    assert_eq!(mode, 0o600);
    let history = fs::read_to_string(history).expect("a history");
    assert!(history.contains("SELECT sum(records)\\nAS n FROM matches_totals;"), "{history}");
    // Without a terminal and without a query there is no shell.
    let none = child::herald(dir.path(), &["query"], &[], PATIENCE);
    assert!(none.code == Some(2) && none.stderr.contains("there is no query"), "{}", none.stderr);
}

/// Lines that are pasted while a statement runs are answered after it, in their order.
#[test]
fn the_shell_keeps_what_is_typed_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    child::succeed(dir.path(), &["init"], &[], PATIENCE);
    child::succeed(dir.path(), &["run", "matches.sql", "--once", "--listen", "off"], &[], PATIENCE);
    let mut shell = Shell::open(dir.path());
    shell.wait_for(&["herald=> "]);
    shell.write("SELECT count(*) AS n FROM generate_series(1, 3000) AS a, generate_series(1, 3000) AS b;\n");
    // The statement begins.
    shell.wait_for(&[GIVEN_BACK]);
    shell.write("SELECT 123456 * sum(records)\nAS one FROM matches_totals;\n\\x\n");
    shell.write("SELECT 7000 + sum(records) AS two FROM matches_totals;\n\\q\n");
    let said = shell.end();
    // None of the answers stands in a statement, which the terminal shows when it is typed.
    let mut rest = said.as_str();
    for answer in ["herald=> ", "370368", "Expanded output is on.", "two | 7003"] {
        let Some((_, after)) = rest.split_once(answer) else {
            panic!("{answer} is missing, or too early:\n{said}")
        };
        rest = after;
    }
}

/// Bytes that the editor writes when it gives the terminal back.
const GIVEN_BACK: &str = "\u{1b}[?2004l";

/// A shell of `herald query` on a pseudo terminal.
struct Shell {
    terminal: Child,
    /// Its keyboard, open until the shell has ended: the pipe's end would be a Ctrl-D.
    keys: ChildStdin,
    screen: ChildStdout,
    said: String,
    /// Bytes of it that were waited for.
    seen: usize,
}

impl Shell {
    fn open(dir: &Path) -> Shell {
        let shell = format!("{} query", quoted(env!("CARGO_BIN_EXE_herald")));
        let mut terminal = Command::new("timeout")
            .args(["300", "script", "-qec", &shell, "/dev/null"])
            .current_dir(dir)
            .env("TERM", "xterm")
            .env("XDG_STATE_HOME", dir.join("home"))
            .env_remove("HERALD_URL")
            .env_remove("HERALD_STATE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        let (keys, screen) =
            (terminal.stdin.take().expect("a pipe"), terminal.stdout.take().expect("a pipe"));
        Shell { terminal, keys, screen, said: String::new(), seen: 0 }
    }

    /// Waits until one of these texts is on the screen, behind what was waited for before.
    fn wait_for(&mut self, texts: &[&str]) {
        loop {
            let since = &self.said[self.seen..];
            let ends = texts.iter().filter_map(|text| since.find(text).map(|at| at + text.len()));
            if let Some(end) = ends.min() {
                self.seen += end;
                return;
            }
            let mut bytes = [0; 4096];
            let read = self.screen.read(&mut bytes).expect("a screen");
            assert!(read > 0, "the shell has ended before {texts:?}:\n{}", self.said);
            self.said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    fn write(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("input");
    }

    /// Waits until the shell has ended well. Returns all that was on the screen.
    fn end(mut self) -> String {
        self.screen.read_to_string(&mut self.said).expect("a screen");
        let status = self.terminal.wait().expect("a status");
        let said = self.said.replace('\r', "");
        assert!(status.success(), "{said}");
        said
    }
}

/// Every package, made of this binary, is installed in a clean root and shows the demo there.
#[test]
fn packages_install_in_a_clean_root() {
    // Changing roots takes root. CI is; who is not runs `sudo make dist-test`.
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("/proc")) != 0 {
        return eprintln!("not root: the packages are not installed");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let run = |script: &str, args: &[&Path]| {
        let output =
            Command::new(servers::root().join("scripts").join(script)).args(args).output().expect("a script");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}:\n{said}");
        said
    };
    run("dist.py", &[Path::new(env!("CARGO_BIN_EXE_herald")), dir.path()]);
    let said = run("try_dist.sh", &[dir.path()]);
    for package in ["tarball", "Debian package", "wheel", "OCI image"] {
        assert!(said.contains(&format!("{package}: ")), "{package}:\n{said}");
    }
}
