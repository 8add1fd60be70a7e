//! DuckDB in a process beside, asked for many queries at once; each answer or refusal stands for itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::judge::Verdict;
use crate::rows::{Row, sort};

/// Accepted rows by table, with their columns' names and DuckDB types.
pub type Tables = BTreeMap<String, (Vec<(String, String)>, Vec<Row>)>;

/// The process.
pub struct Duck {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Duck {
    /// Starts it.
    pub fn new() -> Duck {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/duck.sh");
        let mut child = Command::new(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} did not start: {e}", script.display()));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Duck { child, input, output }
    }

    /// All queries over these tables; later ones may read earlier ones.
    pub fn answer(&mut self, tables: &Tables, queries: &[(String, String)]) -> Vec<Verdict> {
        let tables: Map<_, _> = tables
            .iter()
            .map(|(name, (columns, rows))| (name.clone(), json!({"columns": columns, "rows": rows})))
            .collect();
        let asked: Map<_, _> = queries.iter().map(|(name, sql)| (name.clone(), json!(sql))).collect();
        let question = json!({"each": true, "tables": tables, "queries": asked});
        writeln!(self.input, "{question}").expect("DuckDB ended; has scripts/setup.sh been run?");
        self.input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("DuckDB said {line:?}: {e}"));
        if let Some(error) = answer.get("error") {
            panic!("DuckDB: {}", error.as_str().unwrap_or_default());
        }
        let verdict = |(name, _): &(String, String)| -> Verdict {
            let mut view = answer["views"][name].take();
            if let Some(error) = view["error"].as_str() {
                return Err(error.to_string());
            }
            let mut rows: Vec<Row> = serde_json::from_value(view["rows"].take()).unwrap();
            sort(&mut rows);
            Ok(rows)
        };
        queries.iter().map(verdict).collect()
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
