//! Exports in Parquet: DuckDB, pyarrow and pandas read them as they are and find the rows of the views with their types;
//! partitions, sizes and compaction; and kills, after which every row is in the files once and no file is there that no
//! manifest names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
#[cfg(feature = "failpoints")]
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::child::{self, Herald};
use crate::exports::{self, Export, PATIENCE, Part, assert_read, count, files_below};
use crate::input::{self, Encode};
use crate::{broker, servers};

/// A column of every type, as `tests/clients/records/readings.jsonl` has them. Parquet has no INTERVAL that readers know: it
/// is exported as text.
const EVERY_TYPE: [(&str, &str); 20] = [
    ("id", "BIGINT"),
    ("ok", "BOOLEAN"),
    ("small", "SMALLINT"),
    ("n", "INT"),
    ("r", "REAL"),
    ("d", "DOUBLE"),
    ("price", "DECIMAL(10, 2)"),
    ("name", "VARCHAR"),
    ("raw", "BYTEA"),
    ("day", "DATE"),
    ("clock", "TIME"),
    ("wall", "TIMESTAMP"),
    ("moment", "TIMESTAMPTZ"),
    ("span", "VARCHAR"),
    ("uid", "UUID"),
    ("doc", "JSONB"),
    ("tags", "VARCHAR[]"),
    ("xs", "BIGINT[]"),
    ("moments", "TIMESTAMPTZ[]"),
    ("who", "STRUCT<name VARCHAR, age INT>"),
];

/// The same rows as a log and by key, in all modes.
const ALL_MODES: &str = "
CREATE SOURCE log (COLUMNS) WITH (connector = 'file', path = 'log.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE TABLE readings (COLUMNS, PRIMARY KEY (id))
WITH (connector = 'file', path = 'readings.jsonl') FORMAT UPSERT ENCODE JSON;
CREATE MATERIALIZED VIEW logged AS SELECT SHOWN FROM log;
CREATE MATERIALIZED VIEW newest AS SELECT SHOWN FROM readings;
CREATE SINK logged_files FROM logged WITH (connector = 'parquet', path = 'exports/logged')
FORMAT PLAIN ENCODE PARQUET;
CREATE SINK changed_files FROM newest
WITH (connector = 'parquet', path = 'exports/changed', primary_key = 'id') FORMAT UPSERT ENCODE PARQUET;
CREATE SINK current_files FROM newest
WITH (connector = 'parquet', path = 'exports/current', mode = 'current', primary_key = 'id')
FORMAT UPSERT ENCODE PARQUET;
";

/// Runs the topology to its end.
pub fn run_once(dir: &Path, more: &[&str]) {
    let args = ["run", "t.sql", "--once", "--state", "state", "--listen", "off"];
    child::succeed(dir, &[&args[..], more].concat(), &[], PATIENCE);
}

fn append(path: &Path, lines: &[String]) {
    let mut file = fs::File::options().create(true).append(true).open(path).expect("a file");
    for line in lines {
        writeln!(file, "{line}").expect("a line");
    }
}

/// A record of an upsert file.
fn upsert(row: &Value) -> String {
    json!({"key": {"id": row["id"]}, "value": row}).to_string()
}

#[test]
fn every_type_is_read_in_all_modes() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let columns: Vec<String> = EVERY_TYPE.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    let columns = columns.join(", ").replace("span VARCHAR", "span INTERVAL");
    let shown: Vec<&str> = EVERY_TYPE.iter().map(|(name, _)| *name).collect();
    let shown = shown.join(", ").replace("span", "CAST(span AS VARCHAR) AS span");
    fs::write(dir.join("t.sql"), ALL_MODES.replace("COLUMNS", &columns).replace("SHOWN", &shown))
        .expect("a file");
    let records = servers::root().join("tests/clients/records/readings.jsonl");
    let text = fs::read_to_string(records).expect("the records");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let upserts: Vec<String> = rows.iter().map(upsert).collect();
    append(&dir.join("log.jsonl"), &text.lines().map(str::to_owned).collect::<Vec<_>>());
    append(&dir.join("readings.jsonl"), &upserts);
    let exports = [
        Export {
            path: "exports/logged",
            mode: "append",
            view: "logged",
            columns: &EVERY_TYPE,
            ..Export::default()
        },
        Export {
            path: "exports/changed",
            mode: "changes",
            view: "newest",
            columns: &EVERY_TYPE,
            key: &["id"],
            ..Export::default()
        },
        Export {
            path: "exports/current",
            mode: "current",
            view: "newest",
            columns: &EVERY_TYPE,
            ..Export::default()
        },
    ];
    run_once(dir, &[]);
    assert_eq!(count(dir, "SELECT count(*) AS n FROM newest"), rows.len() as u64);
    let before = assert_read(dir, &exports, &Value::Null).remove(0);

    // A row is deleted, one gets the values of another, and one that had none gets some.
    let (mut moved, mut filled) = (rows[3].clone(), rows[4].clone());
    (moved["id"], filled["id"]) = (rows[0]["id"].clone(), rows[1]["id"].clone());
    let deleted = json!({"key": {"id": rows[2]["id"]}, "value": null}).to_string();
    append(&dir.join("readings.jsonl"), &[upsert(&moved), upsert(&filled), deleted]);
    append(&dir.join("log.jsonl"), &[rows[1].to_string(), moved.to_string()]);
    run_once(dir, &[]);
    assert_eq!(count(dir, "SELECT count(*) AS n FROM newest"), rows.len() as u64 - 1);
    let after = assert_read(dir, &exports, &Value::Null).remove(0);
    assert!(before.iter().all(|part| after.contains(part)), "files stay: {before:?}\n{after:?}");
    assert_eq!(after.iter().map(|part| part.rows).sum::<u64>(), rows.len() as u64 + 2);

    // A run without records adds nothing.
    let files = files_below(&dir.join("exports"));
    run_once(dir, &[]);
    assert_eq!(files_below(&dir.join("exports")), files);
}

/// Generated rows that come within some seconds, in many epochs, and totals of them that change.
const STREAM: &str = "
CREATE SOURCE numbers (id BIGINT NOT NULL, k VARCHAR NOT NULL, v BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL, note VARCHAR)
WITH (connector = 'datagen', rows.total = 'ROWS', rows.per.second = '4000', seed = '7', fields.id.kind = 'sequence',
  fields.k.kind = 'choice', fields.k.values = 'a b,c/d,e', fields.v.kind = 'random', fields.at.kind = 'timestamp',
  fields.at.step.ms = '10000', fields.note.kind = 'text', fields.note.length = '40') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW lines AS SELECT id, k, v, at, note FROM numbers;
CREATE MATERIALIZED VIEW totals AS SELECT k, id % 40 AS bucket, count(*) AS n, sum(v) AS s FROM numbers
GROUP BY k, id % 40;
";
const STREAM_SINKS: &str = "
CREATE SINK lines_files FROM lines
WITH (connector = 'parquet', path = 'exports/lines', partition_by = 'k, at', target_size = '16KiB')
FORMAT PLAIN ENCODE PARQUET;
CREATE SINK merged_files FROM lines
WITH (connector = 'parquet', path = 'exports/merged', target_size = '1MiB', max_age = '100 milliseconds',
  compaction = 'on') FORMAT PLAIN ENCODE PARQUET;
CREATE SINK changed_files FROM totals
WITH (connector = 'parquet', path = 'exports/changed', primary_key = 'k, bucket', target_size = '16KiB')
FORMAT UPSERT ENCODE PARQUET;
CREATE SINK current_files FROM totals
WITH (connector = 'parquet', path = 'exports/current', mode = 'current', primary_key = 'k, bucket',
  max_age = '300 milliseconds') FORMAT UPSERT ENCODE PARQUET;
";
const LINES: [(&str, &str); 5] =
    [("id", "BIGINT"), ("k", "VARCHAR"), ("v", "BIGINT"), ("at", "TIMESTAMPTZ"), ("note", "VARCHAR")];
const TOTALS: [(&str, &str); 4] = [("k", "VARCHAR"), ("bucket", "BIGINT"), ("n", "BIGINT"), ("s", "BIGINT")];
pub const STREAM_EXPORTS: [Export<'static>; 4] = [
    Export {
        path: "exports/lines",
        mode: "append",
        view: "lines",
        columns: &LINES,
        key: &[],
        dated: Some("at"),
        folders: &["k"],
    },
    Export {
        path: "exports/merged",
        mode: "append",
        view: "lines",
        columns: &LINES,
        key: &[],
        dated: None,
        folders: &[],
    },
    Export {
        path: "exports/changed",
        mode: "changes",
        view: "totals",
        columns: &TOTALS,
        key: &["k", "bucket"],
        dated: None,
        folders: &[],
    },
    Export {
        path: "exports/current",
        mode: "current",
        view: "totals",
        columns: &TOTALS,
        key: &[],
        dated: None,
        folders: &[],
    },
];

/// A directory with the topology of a stream, `t.sql`.
pub fn stream(rows: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let text = [STREAM, STREAM_SINKS].concat().replace("ROWS", &rows.to_string());
    fs::write(dir.path().join("t.sql"), text).expect("a file");
    dir
}

/// Asserts that the exports of a stream hold its rows once each, and that they have no other files. Returns the files.
pub fn assert_stream(dir: &Path, rows: u64, exports: &[Export<'_>], store: &Value) -> Vec<Vec<Part>> {
    let ids = "SELECT count(DISTINCT id) AS n FROM lines";
    assert_eq!((count(dir, "SELECT count(*) AS n FROM lines"), count(dir, ids)), (rows, rows));
    assert_eq!(count(dir, "SELECT CAST(sum(n) AS BIGINT) AS n FROM totals"), rows);
    let files = assert_read(dir, exports, store);
    for parts in &files[..2] {
        assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), rows, "{parts:?}");
    }
    files
}

#[test]
fn partitions_and_sizes_give_several_files_and_compaction_merges_them() {
    let rows = 20_000;
    let dir = stream(rows);
    let dir = dir.path();
    run_once(dir, &["--epoch-interval", "20ms"]);
    let files = assert_stream(dir, rows, &STREAM_EXPORTS, &Value::Null);
    let (lines, merged) = (&files[0], &files[1]);
    let mut folders: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in lines {
        folders.entry(part.path.rsplit_once('/').expect("a folder").0).or_default().push(part);
    }
    // Three texts, and 200,000 seconds from the first to the last row.
    let dates = ["2026-01-01", "2026-01-02", "2026-01-03"];
    let keys = ["data/k=a%20b", "data/k=c%2Fd", "data/k=e"];
    let expected: BTreeSet<String> =
        keys.iter().flat_map(|key| dates.iter().map(move |date| format!("{key}/date={date}"))).collect();
    assert_eq!(folders.keys().map(|folder| (*folder).to_owned()).collect::<BTreeSet<_>>(), expected);
    assert!(lines.len() > folders.len() + 3, "the size closes files: {lines:?}");
    // Every step has a manifest and made a file, and later ones took the place of some.
    let steps = files_below(&dir.join("exports/merged/_manifests")).len();
    assert!(merged.len() < steps, "{steps} steps: {merged:?}");
}

/// Runs the topology, which does not end by itself, and kills it after some time.
pub fn run_and_kill(dir: &Path, workers: usize, after: Duration) {
    let workers = workers.to_string();
    let args = ["run", "t.sql", "--state", "state", "--listen", "off", "--epoch-interval", "10ms"];
    let herald = Herald::start(dir, &[&args[..], &["--workers", &workers]].concat(), &[]);
    std::thread::sleep(after);
    herald.kill();
}

/// Kills the topology so many times, each after a random time.
pub fn kill_at_random(dir: &Path, kills: usize) {
    let seed = std::env::var("HERALD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("HERALD_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for kill in 0..kills {
        run_and_kill(dir, 1 + kill % 3, Duration::from_millis(random.random_range(50..1200)));
    }
}

#[test]
fn kills_at_any_time_leave_every_row_in_the_files_once() {
    let rows = 16_000;
    let dir = stream(rows);
    kill_at_random(dir.path(), 8);
    run_once(dir.path(), &[]);
    assert_stream(dir.path(), rows, &STREAM_EXPORTS, &Value::Null);
}

/// The failpoints of this sink, in its sources.
#[cfg(feature = "failpoints")]
fn failpoints() -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["connectors/src/export", "src/driver"] {
        crate::tidy::rust_files(&servers::root().join(folder), &mut files);
    }
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let names = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let names: BTreeSet<String> =
        names.filter(|name| name.starts_with("export.")).map(str::to_owned).collect();
    names.into_iter().collect()
}

/// Runs the topology to its end with an armed failpoint. Returns true if the failpoint has killed it.
#[cfg(feature = "failpoints")]
fn killed_at(dir: &Path, armed: &str) -> bool {
    let args = ["run", "t.sql", "--once", "--state", "state", "--listen", "off", "--epoch-interval", "10ms"];
    let ended = child::herald(dir, &args, &[("HERALD_FAILPOINTS", armed)], PATIENCE);
    assert!(ended.code.is_none() || ended.code == Some(0), "{armed}:\n{}", ended.stderr);
    ended.code.is_none()
}

#[cfg(feature = "failpoints")]
#[test]
fn kills_at_every_failpoint_leave_every_row_in_the_files_once() {
    let (points, begun, rows) = (failpoints(), Instant::now(), 8_000);
    assert!(points.len() > 3, "failpoints are found: {points:?}");
    let mut unmet = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let dir = stream(rows);
        let dir = dir.path();
        // What is passed at a start alone needs a run before.
        run_and_kill(dir, 1 + at % 3, Duration::from_millis(400));
        let first = killed_at(dir, &format!("{point}=kill@1"));
        let second = killed_at(dir, &format!("{point}=abort@2"));
        if !first && !second {
            unmet.push(point);
        }
        run_once(dir, &[]);
        assert_stream(dir, rows, &STREAM_EXPORTS, &Value::Null);
        println!("{point}: killed {first} {second}, {:?}", begun.elapsed());
    }
    assert!(unmet.is_empty(), "never passed: {unmet:?}");
}

#[test]
fn an_export_belongs_to_one_state_and_has_no_other_files() {
    let rows = 2_000;
    let dir = stream(rows);
    let dir = dir.path();
    run_once(dir, &[]);
    let before = assert_stream(dir, rows, &STREAM_EXPORTS, &Value::Null);

    // A file above the last manifest is one that a crash left.
    let (data, part) = (dir.join("exports/merged"), &before[1][0].path);
    let stray = data.join("data/part-000000009000-000000009001.parquet");
    fs::copy(data.join(part), &stray).expect("a copy");
    run_once(dir, &[]);
    assert!(!stray.exists());
    assert_eq!(assert_stream(dir, rows, &STREAM_EXPORTS, &Value::Null), before, "nothing is written twice");

    // Another state is refused, and nothing is touched; with --fresh it writes everything again.
    let files = files_below(&dir.join("exports"));
    let other = ["run", "t.sql", "--once", "--state", "other", "--listen", "off"];
    let refused = child::herald(dir, &other, &[], PATIENCE);
    assert!(matches!(refused.code, Some(1 | 2)), "{:?}\n{}", refused.code, refused.stderr);
    assert!(refused.stderr.contains("exports/") && refused.stderr.contains("--fresh"), "{}", refused.stderr);
    assert_eq!(files_below(&dir.join("exports")), files);
    child::succeed(dir, &[&other[..], &["--fresh"]].concat(), &[], PATIENCE);
    fs::remove_dir_all(dir.join("state")).expect("the state");
    fs::rename(dir.join("other"), dir.join("state")).expect("the other state");
    assert_stream(dir, rows, &STREAM_EXPORTS, &Value::Null);
}

/// Views that hold what the sinks of `match_exports.sql` are given.
const LAYERS: &str = "
CREATE MATERIALIZED VIEW raw_rows AS SELECT event_id, kafka_partition, kafka_offset, received_at, body FROM raw_matches;
";
const RAW: [(&str, &str); 5] = [
    ("event_id", "VARCHAR"),
    ("kafka_partition", "INT"),
    ("kafka_offset", "BIGINT"),
    ("received_at", "TIMESTAMPTZ"),
    ("body", "BYTEA"),
];
const VALIDATED: [(&str, &str); 6] = [
    ("match_id", "VARCHAR"),
    ("platform", "VARCHAR"),
    ("ended_at", "TIMESTAMPTZ"),
    ("duration_s", "BIGINT"),
    ("fetched_at", "TIMESTAMPTZ"),
    ("players", "STRUCT<puuid VARCHAR, championid INT, kills INT, deaths INT, assists INT, win BOOLEAN>[]"),
];
const AGGREGATED: [(&str, &str); 11] = [
    ("window_start", "TIMESTAMPTZ"),
    ("window_end", "TIMESTAMPTZ"),
    ("platform", "VARCHAR"),
    ("champion_id", "INT"),
    ("champion_name", "VARCHAR"),
    ("games", "BIGINT"),
    ("wins", "BIGINT"),
    ("win_rate", "DOUBLE"),
    ("avg_kills", "DOUBLE"),
    ("avg_deaths", "DOUBLE"),
    ("avg_assists", "DOUBLE"),
];
/// The three layers.
const LAYER_EXPORTS: [Export<'static>; 3] = [
    Export {
        path: "exports/raw",
        mode: "append",
        view: "raw_rows",
        columns: &RAW,
        key: &[],
        dated: Some("received_at"),
        folders: &[],
    },
    Export {
        path: "exports/validated",
        mode: "changes",
        view: "validated_matches",
        columns: &VALIDATED,
        key: &["match_id"],
        dated: None,
        folders: &[],
    },
    Export {
        path: "exports/aggregated",
        mode: "current",
        view: "champion_hourly",
        columns: &AGGREGATED,
        key: &[],
        dated: None,
        folders: &[],
    },
];

/// Captured matches through Kafka: the raw layer has every record that is JSON, the validated one the newest of each
/// match, the aggregated one what Python computes.
#[test]
fn three_layers_of_matches_are_three_exports() {
    let mut captures = vec![("fixture", servers::root().join("tests/fixtures/matches.jsonl"))];
    let shared = servers::root().join("../shared/data/riot_match_v5.jsonl");
    if shared.exists() {
        captures.push(("captured", shared));
    }
    for (name, file) in captures {
        let prefix = format!("layers-{name}");
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        let matches = input::matches(&file, &["--revisions", "--broken"], Encode::Json, &prefix);
        let champions = input::champions(Encode::Json, &prefix, "");
        broker::shared().create_topic(&format!("{prefix}.match.completed"), 2);
        broker::shared().create_topic(&format!("{prefix}.champion"), 1);
        broker::shared().produce(&format!("{prefix}.match.completed"), input::pairs(&matches));
        broker::shared().produce(&format!("{prefix}.champion"), input::pairs(&champions));
        for file in ["match_analytics.sql", "match_exports.sql"] {
            child::topology(dir, &format!("dataflows/topologies/{file}"), &prefix);
        }
        fs::write(dir.join("layers.sql"), LAYERS).expect("a file");
        let args = ["run", "match_analytics.sql", "match_exports.sql", "layers.sql", "--name", &prefix];
        let args = [&args[..], &["--state", "state", "--once", "--listen", "off"]].concat();
        child::succeed(dir, &args, &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE);

        let expected = input::expected(&matches, &champions);
        let hourly = input::sorted(exports::query(dir, "SELECT * FROM champion_hourly"));
        input::assert_same("champion_hourly", &hourly, &expected["champion_hourly"]);
        // One record is broken; the revision is a match that is there.
        assert_eq!(count(dir, "SELECT count(*) AS n FROM raw_rows"), matches.len() as u64 - 1);
        let ids = matches.iter().map(|record| record.key.as_str()).collect::<BTreeSet<_>>().len();
        assert_eq!(count(dir, "SELECT count(*) AS n FROM validated_matches"), ids as u64);
        assert_read(dir, &LAYER_EXPORTS, &Value::Null);
    }
}

/// The blocks of a language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for block in page.split(&format!("```{language}\n")).skip(1) {
        found.push(block.split("\n```").next().unwrap_or_default());
    }
    found
}

/// Runs a program of the clients' Python in a directory, over some input, and returns its output.
fn python(dir: &Path, program: &str, input: &str) -> String {
    fs::write(dir.join("input"), input).expect("a file");
    let output = Command::new(servers::root().join("scripts/clients.sh"))
        .args(["python", "-c", program])
        .current_dir(dir)
        .stdin(fs::File::open(dir.join("input")).expect("the file"))
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "{program}\n{input}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// All statements and programs of docs/export.md, in the directory of its topology.
#[test]
fn the_guide_reads_what_its_topology_writes() {
    let page = fs::read_to_string(servers::root().join("docs/export.md")).expect("the page");
    let (dir, sql) = (tempfile::tempdir().expect("a directory"), blocks(&page, "sql"));
    let dir = dir.path();
    fs::write(dir.join("t.sql"), sql[0]).expect("a file");
    run_once(dir, &[]);
    let typed = page.split("duckdb -c \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a command");
    let ask = "import duckdb, sys\nwith duckdb.connect() as c:\n  for s in duckdb.extract_statements(sys.stdin.read()):\n    \
               print(len(c.execute(s.query).fetchall()))";
    assert_eq!(python(dir, ask, typed), "3\n");
    let questions: Vec<&&str> = sql[1..].iter().filter(|block| block.contains("read_parquet")).collect();
    assert_eq!(questions.len(), 1);
    let counts = python(dir, ask, questions[0]);
    // A total; three players; the variable, which has no rows or one; three players.
    let counts: Vec<&str> = counts.lines().collect();
    assert_eq!((counts.len(), counts[0], counts[1], counts[3]), (4, "1", "3", "3"), "{counts:?}");
    let programs = blocks(&page, "python");
    assert!(programs.len() >= 3);
    for program in programs {
        python(dir, program, "");
    }
    let counted = python(dir, &format!("{}\nprint(len(games), len(totals))", blocks(&page, "python")[0]), "");
    let played = count(dir, "SELECT games AS n FROM totals WHERE player = 'anna'");
    assert_eq!(counted, format!("{played} 3\n"));
}
