//! Exports in Parquet for tests: they are compared with their views by `tests/oracle/exports.py`, which reads them with
//! DuckDB, pyarrow and pandas.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{child, servers};

pub const PATIENCE: Duration = Duration::from_secs(240);

/// An export and the view that it must equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Export<'a> {
    /// The sink's path: below the topology's directory, or of a store.
    pub path: &'a str,
    /// The mode: append, changes or current.
    pub mode: &'a str,
    /// The view.
    pub view: &'a str,
    /// Names and types of the view's columns.
    pub columns: &'a [(&'a str, &'a str)],
    /// The key's columns, of mode changes.
    pub key: &'a [&'a str],
    /// The view's column whose day is a folder's `date`.
    pub dated: Option<&'a str>,
    /// Columns that stand in the names of folders alone.
    pub folders: &'a [&'a str],
}

impl Export<'_> {
    /// The export as a question to `exports.py`, with the rows that the view has at the last epoch.
    fn question(&self, dir: &Path) -> Value {
        let path = match self.path.contains("://") {
            true => self.path.to_owned(),
            false => dir.join(self.path).to_string_lossy().into_owned(),
        };
        let dates = self.dated.map_or(json!({}), |column| json!({ "date": column }));
        json!({
            "path": path, "mode": self.mode, "columns": self.columns, "key": self.key, "dates": dates,
            "folders": self.folders, "rows": query(dir, &format!("SELECT * FROM {}", self.view)),
        })
    }
}

/// A query's rows, each an object, at the last epoch of the state `state`.
pub fn query(dir: &Path, sql: &str) -> Vec<Value> {
    let args = ["query", sql, "--state", "state", "--format", "json"];
    let answer = child::succeed(dir, &args, &[], PATIENCE).stdout;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer.as_array().expect("rows").clone()
}

/// The number that a query gives, whose only column is `n`.
pub fn count(dir: &Path, sql: &str) -> u64 {
    query(dir, sql)[0]["n"].as_u64().expect("a number")
}

/// Asserts that all readers find in each export the rows of its view, with their types, that its manifests name each file
/// once, and that there is no other file. `store` has the members of a question that tell where a store is. Returns the
/// files of each export, in the order of their epochs.
pub fn assert_read(dir: &Path, exports: &[Export<'_>], store: &Value) -> Vec<Vec<Part>> {
    let mut question = store.as_object().cloned().unwrap_or_default();
    question.insert("exports".to_owned(), exports.iter().map(|export| export.question(dir)).collect());
    let answer = ask(&Value::from(question).to_string());
    let differences: Vec<&str> =
        answer["differences"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let files = answer["files"].as_array().expect("a list").clone();
    files.into_iter().map(|parts| serde_json::from_value(parts).expect("files of an export")).collect()
}

/// The answer of `exports.py` to a question.
fn ask(question: &str) -> Value {
    let mut python = Command::new(servers::root().join("scripts/clients.sh"))
        .args(["python", "-B"])
        .arg(servers::root().join("tests/oracle/exports.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the script runs");
    let mut input = python.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // Written by another thread than the one that reads: both pipes have bounded buffers.
        scope.spawn(move || input.write_all(question.as_bytes()));
        python.wait_with_output().expect("Python ends")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).expect("JSON")
}

/// A file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Part {
    /// Its path below that of the sink.
    pub path: String,
    /// The first epoch of its rows.
    pub first: u64,
    /// The last epoch of its rows.
    pub last: u64,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// All files below a folder, by their paths there.
pub fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.insert(name);
        }
    }
    found
}
