//! DuckDB in a process beside: an answer to all queries for each state of the tables.
//!
//! One JSON line each way, as `duck.py` describes. Answers are kept by the content of the tables, so
//! that ways which pass through the same states ask once; only tables that changed are sent.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rows::{Row, sort};

/// Accepted rows by table, with their columns' names and DuckDB types.
pub type Tables = BTreeMap<String, (Vec<(String, String)>, Vec<Row>)>;
/// Rows by view, sorted.
pub type Answer = BTreeMap<String, Vec<Row>>;

/// The process.
pub struct Duck {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    queries: Value,
    sent: HashMap<String, u64>,
    known: HashMap<u64, Rc<Answer>>,
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
        let queries =
            queries.iter().map(|(view, sql)| (view.clone(), json!(sql))).collect::<serde_json::Map<_, _>>();
        let (sent, known) = Default::default();
        Duck { child, input, output, queries: queries.into(), sent, known, asked: 0, waited: Duration::ZERO }
    }

    /// All views over these tables.
    pub fn answer(&mut self, tables: &Tables) -> Rc<Answer> {
        let (mut whole, mut changed) = (String::new(), serde_json::Map::new());
        for (name, (columns, rows)) in tables {
            let mut lines: Vec<String> =
                rows.iter().map(|row| Value::from(row.clone()).to_string()).collect();
            lines.sort_unstable();
            let digest = schemas::hash(lines.join("\n").as_bytes());
            whole.push_str(&format!("{name} {digest} "));
            if self.sent.get(name) != Some(&digest) {
                changed.insert(name.clone(), json!({"columns": columns, "rows": rows}));
            }
        }
        let key = schemas::hash(whole.as_bytes());
        if let Some(answer) = self.known.get(&key) {
            return answer.clone();
        }
        let digests = whole.split_whitespace().collect::<Vec<_>>();
        for pair in digests.chunks(2) {
            self.sent.insert(pair[0].to_string(), pair[1].parse().unwrap());
        }
        let answer = Rc::new(self.ask(&json!({"tables": changed, "queries": self.queries})));
        self.known.insert(key, answer.clone());
        answer
    }

    fn ask(&mut self, question: &Value) -> Answer {
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
            panic!("DuckDB: {}", error.as_str().unwrap_or_default());
        }
        let Value::Object(views) = answer["views"].take() else { panic!("DuckDB said {line}") };
        let rows = |mut view: Value| -> Vec<Row> {
            let mut rows: Vec<Row> = serde_json::from_value(view["rows"].take()).unwrap();
            sort(&mut rows);
            rows
        };
        views.into_iter().map(|(name, view)| (name, rows(view))).collect()
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
