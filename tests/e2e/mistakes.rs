//! `docs/mistakes.md`: every documented mistake gives the documented message and exit code.
//!
//! An example has a title, lines `- given ...` that prepare its directory, a command, an SQL block (the
//! file `mistake.sql`) and a text block (standard error). Examples of one file are
//! preceded by the relations of the document's first SQL block (`given.sql`). To rewrite the text
//! blocks and exit codes after a change of words: `HERALD_UPDATE=1 cargo test --release --test e2e mistakes`,
//! then read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::{self, Herald};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);
/// A port that nothing listens on.
const NOBODY: &str = "127.0.0.1:9";

/// One example of the document.
#[derive(Debug, Default)]
struct Example {
    title: String,
    prose: Vec<String>,
    given: Vec<String>,
    command: String,
    code: i32,
    sql: Option<String>,
    said: String,
}

#[test]
fn every_documented_mistake_is_told_as_documented() {
    let path = servers::root().join("docs/mistakes.md");
    let text = fs::read_to_string(&path).expect("the document");
    let mut parts = text.split("\n## ");
    let intro = parts.next().expect("an introduction").trim_end().to_owned();
    let relations = block(&intro, "sql").expect("the relations that examples share");
    let mut examples: Vec<Example> = parts.map(parse).collect();
    assert!(examples.len() >= 25, "the document has {} examples", examples.len());

    let mut wrong = String::new();
    for example in &mut examples {
        let (code, said) = tell(example, &relations);
        if (code, &said) != (example.code, &example.said) {
            let _ = writeln!(wrong, "## {}\nexpected exit {}\n{}", example.title, example.code, example.said);
            let _ = writeln!(wrong, "got exit {code}\n{said}\n");
            (example.code, example.said) = (code, said);
        }
    }
    if std::env::var_os("HERALD_UPDATE").is_some() {
        let examples: String = examples.iter().map(print).collect();
        fs::write(path, format!("{intro}\n{examples}")).expect("the document is written");
    } else {
        assert!(wrong.is_empty(), "{wrong}");
    }
}

fn block(text: &str, language: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    Some(rest.split_once("```")?.0.to_owned())
}

fn parse(text: &str) -> Example {
    let mut example =
        Example { title: text.lines().next().unwrap_or_default().to_owned(), ..Example::default() };
    // The text outside the blocks: every second part between fences.
    let outside = text.split("```").step_by(2).collect::<String>();
    for line in outside.lines().skip(1).filter(|l| !l.is_empty()) {
        if let Some(given) = line.strip_prefix("- given ") {
            example.given.push(given.to_owned());
        } else if let Some(rest) = line.strip_prefix("`herald ") {
            let (command, exit) = rest.split_once("` exits ").expect("a command and its exit code");
            example.command = command.to_owned();
            example.code = exit.trim_end_matches(':').parse().expect("an exit code");
        } else {
            example.prose.push(line.to_owned());
        }
    }
    example.sql = block(text, "sql");
    example.said = block(text, "text").unwrap_or_default();
    example
}

fn print(example: &Example) -> String {
    let mut text = format!("\n## {}\n\n", example.title);
    for line in &example.prose {
        let _ = writeln!(text, "{line}\n");
    }
    for given in &example.given {
        let _ = writeln!(text, "- given {given}");
    }
    if !example.given.is_empty() {
        text.push('\n');
    }
    if let Some(sql) = &example.sql {
        let _ = write!(text, "```sql\n{sql}```\n\n");
    }
    let _ = write!(
        text,
        "`herald {}` exits {}:\n\n```text\n{}```\n",
        example.command, example.code, example.said
    );
    text
}

/// Runs an example in a directory of its own. Returns the exit code and standard error.
fn tell(example: &Example, relations: &str) -> (i32, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("given.sql"), relations).expect("a file");
    if let Some(sql) = &example.sql {
        fs::write(dir.join("mistake.sql"), sql).expect("a file");
    }
    let mut running = Vec::new();
    for given in &example.given {
        running.extend(prepare(dir, given));
    }
    let ended = child::herald(dir, &words(&example.command), &env(), PATIENCE);
    (ended.code.unwrap_or(-1), settled(dir, &ended.stderr, &running))
}

fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

fn env() -> [(&'static str, &'static str); 5] {
    [
        ("HERALD_LOG_LEVEL", "off"),
        ("NO_COLOR", "1"),
        ("KAFKA_BOOTSTRAP", servers::kafka()),
        ("SCHEMA_REGISTRY", servers::registry()),
        ("NOBODY", NOBODY),
    ]
}

/// The output without the parts that differ from run to run.
fn settled(dir: &Path, said: &str, running: &[Herald]) -> String {
    let canonical = dir.canonicalize().expect("a path");
    let mut said = said
        .replace(&*canonical.to_string_lossy(), "DIR")
        .replace(&*dir.to_string_lossy(), "DIR")
        .replace(servers::kafka(), "BROKER")
        .replace(servers::registry(), "REGISTRY");
    for herald in running {
        said = said.replace(&herald.pid().to_string(), "PID");
    }
    for state_id in said.clone().split(|c: char| !c.is_ascii_hexdigit()).filter(|w| w.len() == 32) {
        said = said.replace(state_id, "STATE_ID");
    }
    let lines = said.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect::<String>().trim_start().to_owned()
}

/// Carries out one `- given` line. Returns a process that must run during the example.
fn prepare(dir: &Path, given: &str) -> Option<Herald> {
    let given = given.replace('`', "");
    let (what, rest) = given.split_once(' ').expect("given what?");
    match what {
        "topic" => broker::shared().create_topic(rest, 1),
        "deleted" => broker::shared().delete_topic(rest),
        "grown" => broker::shared().set_partitions(rest, 3),
        "file" => {
            let (name, text) = rest.split_once(": ").expect("a name and a text");
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, format!("{text}\n")).expect("a file");
        }
        "edit" => {
            let (name, change) = rest.split_once(": ").expect("a name and a change");
            let (old, new) = change.split_once(" => ").expect("old => new");
            let text = fs::read_to_string(dir.join(name)).expect("the file");
            assert!(text.contains(old), "{name} has no {old}: {text}");
            fs::write(dir.join(name), text.replace(old, new)).expect("the file");
        }
        "produced" => {
            let (topic, value) = rest.split_once(": ").expect("a topic and a value");
            broker::shared().produce(topic, [("", value.as_bytes())]);
        }
        "removed" => fs::remove_dir_all(dir.join(rest)).expect("removed"),
        "copied" => {
            let (from, to) = rest.split_once(" to ").expect("from to");
            let copied =
                std::process::Command::new("cp").arg("-r").arg(dir.join(from)).arg(dir.join(to)).status();
            assert!(copied.expect("cp runs").success());
        }
        "subject" => {
            let (subject, schema) = rest.split_once(": ").expect("a subject and a schema");
            servers::register(subject, schema);
            let (url, rule) =
                (format!("{}/config/{subject}", servers::registry()), r#"{"compatibility":"BACKWARD"}"#);
            let (status, answer) = servers::http("PUT", &url, Some(rule)).expect("the registry answers");
            assert_eq!(status, 200, "{answer}");
        }
        "ran" => drop(child::succeed(dir, &words(rest), &env(), PATIENCE)),
        "running" => return Some(run_until_ready(dir, rest)),
        _ => panic!("given {given}?"),
    }
    None
}

fn run_until_ready(dir: &Path, command: &str) -> Herald {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let args: Vec<&str> = words(command).into_iter().chain(["--listen", &listen]).collect();
    let mut herald = Herald::start(dir, &args, &env());
    let started = Instant::now();
    while !matches!(servers::http("GET", &format!("http://{listen}/readyz"), None), Ok((200, _))) {
        assert!(
            herald.running() && started.elapsed() < PATIENCE,
            "it does not get ready:\n{}",
            herald.said()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    herald
}
