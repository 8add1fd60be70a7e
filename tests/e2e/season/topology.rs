//! A topology that reads a season: its files with the season's names of topics, its state, and the tables and sinks
//! that it declares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use crate::child::{self, Herald};
use crate::servers;

const SHIPPED: &str = "dataflows/topologies";
/// Processes that read views at the same time.
const READERS: usize = 2;

/// A sink and the query whose rows it sends, which reads materialized views alone.
pub struct Sink {
    /// Its topic, without the season's name.
    pub topic: String,
    /// The query.
    pub query: String,
    /// True where a null value takes a row away.
    pub upsert: bool,
}

/// A topology with a state of its own.
pub struct Topology {
    /// The season's directory.
    dir: PathBuf,
    files: Vec<String>,
    /// Its name, which its dead letters bear.
    pub name: String,
    /// Its state's directory, below the season's.
    pub state: String,
    /// Tables and sources, and their topics.
    pub tables: Vec<(String, String)>,
    /// Its sinks.
    pub sinks: Vec<Sink>,
    /// The views that the judge knows.
    pub views: Vec<String>,
}

impl Topology {
    /// Copies the files of one, `domain` or the name of a file, for a season.
    pub fn new(dir: &Path, season: &str, kind: &str, views: Vec<String>) -> Topology {
        let (mut paths, mut sql) = (Vec::new(), String::new());
        for file in shipped(kind) {
            let path = child::topology(dir, &format!("{SHIPPED}/{file}"), season);
            let text = fs::read_to_string(&path).expect("the copy");
            // A source of quality.sql is called by its topic: by that of the shipped files.
            let called = format!("substr(encode(topic, 'escape'), {}) AS source", season.len() + 2);
            fs::write(&path, text.replace("encode(topic, 'escape') AS source", &called)).expect("a copy");
            sql += &fs::read_to_string(servers::root().join(SHIPPED).join(file)).expect("text");
            sql.push('\n');
            paths.push(path.to_string_lossy().into_owned());
        }
        let (tables, mut sinks) = declared(&sql);
        paths.extend(sent_views(dir, kind, &mut sinks));
        let name = if kind == "domain" { season.to_owned() } else { format!("{season}-{kind}") };
        Topology {
            dir: dir.to_owned(),
            files: paths,
            name,
            state: format!("state-{kind}"),
            tables,
            sinks,
            views,
        }
    }

    /// Starts it. Files of the state are not compressed, so that bytes are found.
    pub fn run(&self, workers: u32, more: &[&str]) -> Herald {
        let workers = workers.to_string();
        let mut args = vec!["run"];
        args.extend(self.files.iter().map(String::as_str));
        args.extend(["--name", &self.name, "--state", &self.state, "--listen", "off", "--workers", &workers]);
        args.extend(["--epoch-interval", "100ms"]);
        args.extend(more);
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", "store.plain=return")];
        Herald::start(&self.dir, &args, &env)
    }

    /// The answer to a query over the committed state, or the mistake; at first there is no state.
    pub fn query(&self, sql: &str) -> Result<Value, String> {
        let limits = ["--query-rows", "100000000", "--query-memory", "4GiB", "--query-time", "600s"];
        let args = [&["query", sql, "--state", &self.state, "--format", "json"][..], &limits].concat();
        let started = Instant::now();
        loop {
            let ended = child::herald(&self.dir, &args, &[], PATIENCE);
            if ended.code == Some(0) {
                return serde_json::from_str(&ended.stdout).map_err(|e| e.to_string());
            }
            if !ended.stderr.contains("changes too fast") || started.elapsed() > PATIENCE {
                return Err(ended.stderr);
            }
        }
    }

    /// The rows of a query that must succeed.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        match self.query(sql) {
            Ok(Value::Array(rows)) => rows,
            other => panic!("{}: {sql}: {other:?}", self.name),
        }
    }

    /// Waits until all of these numbers of records, by topic, are in the committed state.
    pub fn wait(&self, herald: &mut Herald, produced: &BTreeMap<String, usize>) {
        let started = Instant::now();
        let mut asked = Instant::now();
        while !self.has_read(produced) {
            assert!(herald.running(), "herald ended by itself:\n{}", herald.said());
            assert!(started.elapsed() < PATIENCE, "the records are not read:\n{}", herald.said());
            // A query takes longer where the machine is busy, and should not keep it so.
            std::thread::sleep(asked.elapsed().max(Duration::from_millis(100)));
            asked = Instant::now();
        }
    }

    fn has_read(&self, produced: &BTreeMap<String, usize>) -> bool {
        let counts = "SELECT name, max(read) AS read FROM herald.sources GROUP BY name";
        let Ok(rows) = self.query(counts) else { return false };
        let rows = rows.as_array().expect("rows").iter();
        let read: BTreeMap<&str, u64> =
            rows.filter_map(|row| Some((row["name"].as_str()?, row["read"].as_u64()?))).collect();
        let all = |(table, topic): &(String, String)| {
            read.get(table.as_str()).copied().unwrap_or(0) >= produced[topic] as u64
        };
        self.tables.iter().all(all)
    }

    /// Writes the rows of all views to files for the judge.
    pub fn read_views(&self, to: &Path) {
        fs::create_dir_all(to).expect("a directory");
        let tables = ["herald.sources".to_owned(), "herald.errors".to_owned()];
        let names: Vec<&String> = self.views.iter().chain(&tables).collect();
        std::thread::scope(|scope| {
            for part in names.chunks(names.len().div_ceil(READERS)) {
                scope.spawn(move || {
                    for name in part {
                        let rows = Value::Array(self.rows(&format!("SELECT * FROM {name}")));
                        fs::write(to.join(format!("{name}.json")), rows.to_string()).expect("a file");
                    }
                });
            }
        });
    }
}

/// The files of a topology below the shipped ones, in the order of their names.
fn shipped(kind: &str) -> Vec<String> {
    if kind != "domain" {
        return vec![format!("{kind}.sql")];
    }
    let entries = fs::read_dir(servers::root().join(SHIPPED).join(kind)).expect("the domain").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".sql")).collect();
    names.sort();
    names.into_iter().map(|name| format!("{kind}/{name}")).collect()
}

/// The text between two others.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// Tables with their topics, and sinks.
fn declared(sql: &str) -> (Vec<(String, String)>, Vec<Sink>) {
    let (mut tables, mut sinks) = (Vec::new(), Vec::new());
    for statement in sql.split("\nCREATE ").skip(1) {
        let (kind, rest) = statement.split_once(' ').expect("a statement");
        let name = rest.split([' ', '(']).next().expect("a name").to_owned();
        let Some(topic) = between(rest, "\n  topic = '", "'") else { continue };
        match kind {
            "TABLE" | "SOURCE" => tables.push((name, topic.to_owned())),
            "SINK" => {
                let rows = between(rest, &format!("{name} "), "\nWITH (").expect("rows");
                let query = match rows.strip_prefix("FROM ") {
                    Some(view) => format!("SELECT * FROM {view}"),
                    None => rows.strip_prefix("AS").expect("a query").to_owned(),
                };
                sinks.push(Sink { topic: topic.to_owned(), query, upsert: rest.contains("FORMAT UPSERT") });
            }
            _ => {}
        }
    }
    (tables, sinks)
}

/// A file with a view of the rows of each sink that has a query, for that may read views which are not kept.
fn sent_views(dir: &Path, kind: &str, sinks: &mut [Sink]) -> Option<String> {
    let mut text = String::new();
    for (at, sink) in sinks.iter_mut().filter(|sink| !sink.query.starts_with("SELECT *")).enumerate() {
        text += &format!("CREATE MATERIALIZED VIEW sent_{at} AS {};\n\n", sink.query.trim());
        sink.query = format!("SELECT * FROM sent_{at}");
    }
    let path = dir.join(format!("sent-{kind}.sql"));
    fs::write(&path, &text).expect("a file");
    (!text.is_empty()).then(|| path.to_string_lossy().into_owned())
}
