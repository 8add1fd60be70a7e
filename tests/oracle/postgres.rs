//! PostgreSQL, the judge: a server started by `scripts/postgres.sh`, asked through `psql`.
//!
//! One server a process, and a `psql` that lives as long as its [`Postgres`]. Each has a schema of its own, so
//! that tables of the same name do not meet. Answers are PostgreSQL's texts of values.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A row: PostgreSQL's text of each value, None for NULL.
pub type Texts = Vec<Option<String>>;

/// Between values, between rows, for NULL, and before the end: bytes that no text in a test has.
const FIELD: u8 = 0x1f;
const RECORD: u8 = 0x1e;
const NULL: u8 = 0x1c;
const END: u8 = 0x1d;

/// A connection.
pub struct Postgres {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Postgres {
    /// A connection to the server of this process, in a schema of its own.
    pub fn new() -> Postgres {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (host, port) = server().split_once(':').expect("host:port");
        let shown = |byte: u8| char::from(byte).to_string();
        let mut child = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-h", host, "-p", port, "-U", "postgres", "-d", "postgres"])
            .args(["-F", &shown(FIELD), "-R", &shown(RECORD), "-P", &format!("null={}", shown(NULL))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("psql did not start; has scripts/setup.sh been run? {e}"));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut made = Postgres { child, input, output };
        let schema = format!("judge_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        for setting in [
            format!("DROP SCHEMA IF EXISTS {schema} CASCADE"),
            format!("CREATE SCHEMA {schema}"),
            format!("SET search_path = {schema}"),
            "SET timezone = 'UTC'".to_owned(),
            "SET client_min_messages = error".to_owned(),
            "SET statement_timeout = '120s'".to_owned(),
        ] {
            made.told(&setting);
        }
        made
    }

    /// Runs a statement that must not fail.
    pub fn told(&mut self, sql: &str) -> Vec<Texts> {
        self.ask(sql).unwrap_or_else(|error| panic!("PostgreSQL: {error}\n{sql}"))
    }

    /// Runs one statement: its rows, or what PostgreSQL said.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<Texts>, String> {
        let end = char::from(END);
        writeln!(self.input, "{sql}\n;\n\\echo {end} :ERROR :SQLSTATE :LAST_ERROR_MESSAGE {end}").unwrap();
        self.input.flush().unwrap();
        let mut all = Vec::new();
        let mut until = |all: &mut Vec<u8>| {
            all.clear();
            self.output.read_until(END, all).expect("psql ended");
            assert_eq!(all.pop(), Some(END), "psql ended");
        };
        until(&mut all);
        let rows = rows(&all);
        until(&mut all);
        let mut newline = String::new();
        self.output.read_line(&mut newline).expect("psql ended");
        let said = String::from_utf8_lossy(&all).trim().to_owned();
        match said.strip_prefix("true ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(rows),
        }
    }
}

fn rows(bytes: &[u8]) -> Vec<Texts> {
    // A newline ends what was printed; nothing is printed where there is no row.
    let Some(bytes) = bytes.strip_suffix(b"\n") else { return vec![] };
    let value = |value: &[u8]| match value {
        [NULL] => None,
        text => Some(String::from_utf8(text.to_vec()).expect("UTF-8")),
    };
    let row = |row: &[u8]| row.split(|b| *b == FIELD).map(value).collect();
    bytes.split(|b| *b == RECORD).map(row).collect()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `host:port` of this process's server; `HERALD_POSTGRES` names one that runs already.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| std::env::var("HERALD_POSTGRES").unwrap_or_else(|_| started()))
}

fn started() -> String {
    let base = std::env::temp_dir();
    // A static is never dropped, so each run removes what ended runs have left.
    for entry in std::fs::read_dir(&base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("herald-postgres-")
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
    let own = std::process::id().to_string();
    let output = Command::new(script)
        .arg("start")
        .arg(base.join(format!("herald-postgres-{own}")))
        .args(["--watch", &own])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let server = said.lines().find_map(|line| line.strip_prefix("postgres="));
    server.expect("scripts/postgres.sh could not start it: run scripts/setup.sh").to_owned()
}

/// Parts of a literal of an array, as PostgreSQL prints it: texts, None for NULL. None where it is none.
pub fn array_items(text: &str) -> Option<Texts> {
    // Bounds stand before an array that does not begin at 1.
    let inner = text.split_once('=').filter(|_| text.starts_with('[')).map_or(text, |(_, rest)| rest);
    let inner = inner.strip_prefix('{')?.strip_suffix('}')?;
    let (mut items, mut item, mut quoted, mut inside, mut depth) = (vec![], String::new(), false, false, 0);
    if inner.is_empty() {
        return Some(items);
    }
    let finish = |item: &mut String, quoted: &mut bool, items: &mut Texts| {
        let null = !*quoted && item == "NULL";
        items.push(Some(std::mem::take(item)).filter(|_| !null));
        *quoted = false;
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if depth == 0 => item.extend(chars.next()),
            '"' if depth == 0 => (inside, quoted) = (!inside, true),
            '"' => {
                inside = !inside;
                item.push(c);
            }
            '\\' => {
                item.push(c);
                item.extend(chars.next());
            }
            ',' if !inside && depth == 0 => finish(&mut item, &mut quoted, &mut items),
            _ => {
                depth += i32::from(!inside && c == '{') - i32::from(!inside && c == '}');
                item.push(c);
            }
        }
    }
    finish(&mut item, &mut quoted, &mut items);
    Some(items)
}
