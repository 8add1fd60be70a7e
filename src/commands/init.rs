//! `herald init`: generates a topology from a sample of the user's records.
//!
//! Records are read from a topic or a file as a source would read them, and the columns are inferred
//! ([`columns`]). The directory gets a topology (source, view, sink) and a test with some of the records and
//! the view's rows for them. Existing files are not overwritten.

mod columns;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use connectors::{Reader, SourceConfig, SourceConnector};

use crate::cli::InitArgs;
use crate::exit::mistake;
use columns::Sample;

/// Most records of the sample.
const SAMPLE_RECORDS: usize = 1000;
/// Most bytes that one poll reads.
const POLL_BYTES: usize = 16 << 20;
/// Longest time for which the sample is read.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most records that the test feeds.
const TEST_RECORDS: usize = 5;
/// Sample records if the user names none.
const STARTER_RECORDS: &str = r#"{"match_id":"m1","player":"anna","champion":"Ahri","kills":7,"win":true,"ended_at":"2026-01-01T10:05:00Z"}
{"match_id":"m2","player":"ben","champion":"Annie","kills":2,"win":false,"ended_at":"2026-01-01T10:20:00Z"}
{"match_id":"m3","player":"anna","champion":"Annie","kills":4,"win":true,"ended_at":"2026-01-01T11:02:00Z"}
"#;

/// `herald init`.
///
/// # Errors
/// When the records cannot be read or are no JSON objects, or when a file to be written exists.
pub fn command(args: &InitArgs) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let origin = match (&args.topic, &args.from) {
        (Some(topic), _) => {
            Origin::Topic { topic: topic.clone(), bootstrap: args.bootstrap.clone().unwrap_or_default() }
        }
        (None, Some(file)) => {
            Origin::File(file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?)
        }
        (None, None) => {
            let file = dir.join("matches.jsonl");
            write_new(&file, STARTER_RECORDS)?;
            Origin::File(file.canonicalize()?)
        }
    };
    let records = origin.read_sample()?;
    let sample = Sample::of(records.iter().map(Vec::as_slice)).map_err(mistake)?;
    let name = args.name.clone().unwrap_or_else(|| origin.relation_name());
    if !columns::is_plain_name(&name) {
        return Err(mistake(format!(
            "--name {name:?}: write a name of lower-case letters, digits and _ that is no word of SQL"
        )));
    }
    let (topology, test) = (dir.join(format!("{name}.sql")), dir.join(format!("{name}.test.sql")));
    for file in [&topology, &test] {
        if file.exists() {
            return Err(mistake(format!("{} exists. Name another topology with --name", file.display())));
        }
    }
    write_new(&topology, &topology_sql(&name, &origin, &sample, records.len() - sample.fitting.len()))?;
    let fitting: Vec<&[u8]> = sample.fitting.iter().map(|at| records[*at].as_slice()).collect();
    write_new(&test, &test_script(&name, &fitting))?;
    // Fills in the view's rows as the test's expectation.
    let filled = super::test::fill_expectations(&test);
    if filled.is_err() {
        // Half a topology would be in the way of the next try.
        let _ = (std::fs::remove_file(&topology), std::fs::remove_file(&test));
    }
    filled.context("the topology that was made does not run: please report it")?;
    let (topology, test) = (topology.display(), test.display());
    println!(
        "Wrote {topology} and {test}, from {} records. Next:\n  \
         herald check {topology}        every mistake, with its place\n  \
         herald test {test}    what the view must hold for the records in it\n  \
         herald run {topology}          keep the view up to date\n  \
         herald query \"SELECT * FROM {name}_totals\"",
        records.len()
    );
    Ok(())
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// The origin of the sample.
enum Origin {
    Topic { topic: String, bootstrap: String },
    File(PathBuf),
}

impl Origin {
    /// The options of a source that reads the origin.
    fn source_options(&self) -> BTreeMap<String, String> {
        let pairs = match self {
            Origin::Topic { topic, bootstrap } => vec![
                ("connector", "kafka".to_owned()),
                ("topic", topic.clone()),
                ("properties.bootstrap.server", bootstrap.clone()),
            ],
            Origin::File(path) => {
                vec![("connector", "file".to_owned()), ("path", path.display().to_string())]
            }
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The values of the first records, in the order they were read.
    fn read_sample(&self) -> Result<Vec<Vec<u8>>> {
        let connector = SourceConnector::from_options(&self.source_options())?;
        let config =
            SourceConfig { name: "init".to_owned(), connector, want_headers: false, want_keys: false };
        let mut reader = Reader::open(&config, &BTreeMap::new())?;
        reader.stop_at_end()?;
        let (mut found, begun) = (Vec::new(), Instant::now());
        while found.len() < SAMPLE_RECORDS && !reader.bounded_done() && begun.elapsed() < SAMPLE_TIMEOUT {
            for records in reader.poll(SAMPLE_RECORDS, POLL_BYTES, Duration::from_millis(200))? {
                found.extend((0..records.len()).filter_map(|at| records.values.get(at).map(<[u8]>::to_vec)));
            }
        }
        found.truncate(SAMPLE_RECORDS);
        if found.is_empty() {
            return Err(mistake(format!("there are no records in {}", reader.topic())));
        }
        Ok(found)
    }

    /// A name for the relation, from the topic's or file's.
    fn relation_name(&self) -> String {
        let given = match self {
            Origin::Topic { topic, .. } => topic.clone(),
            Origin::File(path) => {
                path.file_stem().map_or("events".to_owned(), |stem| stem.to_string_lossy().into_owned())
            }
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let name: String = given.chars().map(plain).collect();
        let name = name.trim_matches('_');
        if columns::is_plain_name(name) { name.to_owned() } else { format!("t_{name}") }
    }
}

/// The topology: a source with the inferred columns, a view that counts its records, and a sink of the view.
fn topology_sql(name: &str, origin: &Origin, sample: &Sample, others: usize) -> String {
    let (what, from) = match origin {
        Origin::Topic { topic, .. } => (format!("topic {topic}"), kafka_options(origin, topic, "")),
        Origin::File(path) => {
            (format!("file {}", path.display()), format!("connector = 'file', path = '{}'", quote_path(path)))
        }
    };
    let (create, conflict) = match &sample.key {
        Some(_) => ("TABLE", "\n) ON CONFLICT OVERWRITE"),
        None => ("SOURCE", "\n)"),
    };
    let mut lines: Vec<String> = sample.columns.iter().map(|column| format!("  {}", column.sql())).collect();
    lines.extend(sample.key.iter().map(|key| format!("  PRIMARY KEY ({key})")));
    lines.extend(
        sample.time.iter().map(|time| format!("  WATERMARK FOR {time} AS {time} - INTERVAL '1 minute'")),
    );
    // A column of the records that is called as a window's would be ambiguous.
    let windows = |column: &str| ["window_start", "window_end"].contains(&column);
    let (columns, relation, groups, key) = match &sample.time {
        Some(time) if !sample.columns.iter().any(|column| windows(&column.name)) => (
            "window_start, window_end, count(*) AS records",
            format!("TUMBLE({name}, {time}, INTERVAL '1 hour')"),
            "\n  GROUP BY window_start, window_end",
            "window_start",
        ),
        _ => ("'all' AS part, count(*) AS records", name.to_owned(), "\n  GROUP BY 1", "part"),
    };
    let to = match origin {
        Origin::Topic { .. } => {
            kafka_options(origin, &format!("{name}_totals"), &format!(", primary_key = '{key}'"))
        }
        Origin::File(_) => {
            format!("connector = 'file', path = '{name}_totals.out.jsonl', primary_key = '{key}'")
        }
    };
    let passed_over = match others {
        0 => String::new(),
        n => format!("-- {n} more were no JSON objects: they become dead letters.\n"),
    };
    let records = sample.fitting.len();
    format!(
        "-- Columns from {records} records of {what}. Look them over: a column that was never null may still be so.\n\
         {passed_over}\
         CREATE {create} {name} (\n{}{conflict}\nWITH ({from})\nFORMAT PLAIN ENCODE JSON;\n\n\
         CREATE MATERIALIZED VIEW {name}_totals AS\n  SELECT {columns}\n  FROM {relation}{groups};\n\n\
         CREATE SINK {name}_totals_out FROM {name}_totals\nWITH ({to})\nFORMAT UPSERT ENCODE JSON;\n",
        lines.join(",\n")
    )
}

fn quote_path(path: &Path) -> String {
    path.display().to_string().replace('\'', "''")
}

fn kafka_options(origin: &Origin, topic: &str, more: &str) -> String {
    let Origin::Topic { bootstrap, .. } = origin else { return String::new() };
    format!(
        "connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '${{KAFKA_BOOTSTRAP:-{bootstrap}}}'{more}"
    )
}

/// A test that feeds the first records, with expectations that have no rows yet.
fn test_script(name: &str, records: &[&[u8]]) -> String {
    let lines =
        records.iter().take(TEST_RECORDS).map(|record| String::from_utf8_lossy(record).replace('\n', " "));
    format!(
        "-- topology {name}.sql\n\n-- feed {name}\n{}\n-- expect outcomes {name}\n-- expect {name}_totals\n",
        lines.collect::<Vec<_>>().join("\n")
    )
}
