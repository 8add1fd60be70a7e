//! DuckDB in a process beside: an answer to all queries for each state of the tables.
//!
//! One JSON line each way, as `duck.py` describes. A view's answer is kept by the content of the
//! tables it reads, so that ways which pass through the same states ask once; only tables that
//! changed are sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rows::{Row, sort};

/// Accepted rows by table, with their columns' names and DuckDB types.
pub type Tables = BTreeMap<String, (Vec<(String, String)>, Vec<Row>)>;
/// Rows by view, sorted.
pub type Answer = BTreeMap<String, Arc<Vec<Row>>>;

/// A view and the tables it reads, through other views too.
struct Query {
    view: String,
    sql: String,
    reads: BTreeSet<String>,
}

/// The process.
pub struct Duck {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    queries: Vec<Query>,
    sent: HashMap<String, u64>,
    known: HashMap<u64, Arc<Vec<Row>>>,
    /// Questions that were really asked.
    pub asked: usize,
    /// Time they took.
    pub waited: Duration,
}

impl Duck {
    /// A process that answers `queries`, each a view that later ones may read.
    pub fn new(queries: &[(String, String)]) -> Duck {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/duck.sh");
        let mut child = Command::new(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} did not start: {e}", script.display()));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut known: Vec<Query> = Vec::new();
        for (view, sql) in queries {
            let words = sql.split(|c: char| !c.is_alphanumeric() && c != '_').map(ToString::to_string);
            let mut reads: BTreeSet<String> = words.collect();
            let through: Vec<String> =
                known.iter().filter(|q| reads.contains(&q.view)).flat_map(|q| q.reads.clone()).collect();
            reads.extend(through);
            known.push(Query { view: view.clone(), sql: sql.clone(), reads });
        }
        let (sent, answers) = Default::default();
        Duck { child, input, output, queries: known, sent, known: answers, asked: 0, waited: Duration::ZERO }
    }

    /// All views over these tables.
    pub fn answer(&mut self, tables: &Tables) -> Answer {
        let mut digests = BTreeMap::new();
        for (name, (_, rows)) in tables {
            let mut lines: Vec<String> =
                rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
            lines.sort_unstable();
            digests.insert(name, schemas::hash(lines.join("\n").as_bytes()));
        }
        let key = |query: &Query| {
            let read = digests.iter().filter(|(name, _)| query.reads.contains(**name));
            let text: String = read.map(|(name, digest)| format!("{name} {digest} ")).collect();
            schemas::hash(format!("{} {text}", query.view).as_bytes())
        };
        let keys: Vec<u64> = self.queries.iter().map(key).collect();
        let unknown = self.queries.iter().zip(&keys).filter(|(_, key)| !self.known.contains_key(key));
        let queries: serde_json::Map<_, _> = unknown.map(|(q, _)| (q.view.clone(), json!(q.sql))).collect();
        if !queries.is_empty() {
            let changed = tables.iter().filter(|(name, _)| self.sent.get(*name) != digests.get(name));
            let changed: serde_json::Map<_, _> = changed
                .map(|(name, (columns, rows))| (name.clone(), json!({"columns": columns, "rows": rows})))
                .collect();
            self.sent = digests.iter().map(|(name, digest)| (name.to_string(), *digest)).collect();
            let question = json!({"tables": changed, "queries": queries});
            let mut answer = self.ask(&question).unwrap_or_else(|error| panic!("DuckDB: {error}"));
            for (query, key) in self.queries.iter().zip(&keys) {
                if let Some(rows) = answer.remove(&query.view) {
                    self.known.insert(*key, Arc::new(rows));
                }
            }
        }
        self.queries.iter().zip(&keys).map(|(q, key)| (q.view.clone(), self.known[key].clone())).collect()
    }

    /// Puts one question as `duck.py` describes it; gives the sorted rows of each of its queries.
    pub fn ask(&mut self, question: &Value) -> Result<BTreeMap<String, Vec<Row>>, String> {
        self.asked += 1;
        let begun = Instant::now();
        writeln!(self.input, "{question}").expect("DuckDB ended; has scripts/setup.sh been run?");
        self.input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        self.waited += begun.elapsed();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("DuckDB said {line:?}: {e}"));
        if let Some(error) = answer.get("error") {
            return Err(error.as_str().unwrap_or_default().to_owned());
        }
        let Value::Object(views) = answer["views"].take() else { panic!("DuckDB said {line}") };
        let rows = |mut view: Value| -> Vec<Row> {
            let mut rows: Vec<Row> = serde_json::from_value(view["rows"].take()).unwrap();
            sort(&mut rows);
            rows
        };
        Ok(views.into_iter().map(|(name, view)| (name, rows(view))).collect())
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
