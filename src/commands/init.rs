//! `herald init`: generates a topology from a sample of the user's records.
//!
//! Records are read from a topic or a file as a source would read them, and the columns and the key are
//! inferred ([`columns`]). The directory gets a topology (source, view, sink) and a test with some of the records
//! and the view's rows for them. Existing files are not overwritten.
//!
//! | file | content |
//! | --- | --- |
//! | `columns` | the sample: columns, key, event time, records that fit |
//! | `disorder` | the distance by which records come out of order, and the watermark for it |
//! | `ids` | the field that identifies a row |
//! | `kinds` | the type of a field, by the majority of its values |
//! | `keys` | the records' own keys: columns, form, deletes |
//! | `names` | quotes around names |

mod columns;
mod disorder;
mod ids;
mod keys;
mod kinds;
mod names;
mod record;
pub(crate) mod sample;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::InitArgs;
use crate::commands::fmt::layout;
use crate::commands::init::sample::read_sample;
use crate::exit::mistake;
use columns::{Column, Sample};
use ids::NearId;
use keys::RecordKey;
use record::SampleRecord;

/// Most records of the sample.
const SAMPLE_RECORDS: usize = 1000;
/// Most records that the test feeds.
const TEST_RECORDS: usize = 5;
/// File of the sample if the user names none.
const STARTER_FILE: &str = "matches.jsonl";
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
    let dir = args.dir.as_deref().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let origin = match (&args.topic, &args.from) {
        (Some(topic), _) => {
            Origin::Topic { topic: topic.clone(), bootstrap: args.bootstrap.clone().unwrap_or_default() }
        }
        (None, Some(file)) => {
            file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
            Origin::File(file.clone())
        }
        (None, None) => {
            let file = dir.join(STARTER_FILE);
            write_new(&file, STARTER_RECORDS)?;
            // Nobody named the path: in a directory of its own it must be found from everywhere.
            Origin::File(if args.dir.is_none() { PathBuf::from(STARTER_FILE) } else { file.canonicalize()? })
        }
    };
    let records = origin.read_sample()?;
    let sample = Sample::of(&records).map_err(mistake)?;
    let name = args.name.clone().unwrap_or_else(|| origin.relation_name());
    if !names::is_plain_name(&name) {
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
    write_new(&topology, &topology_sql(&name, &origin, &sample))?;
    write_new(&test, &test_script(&name, &sample, &records))?;
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
///
/// # Errors
/// When it exists, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> Result<()> {
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

    /// The first records, in the order they were read.
    fn read_sample(&self) -> Result<Vec<SampleRecord>> {
        let mut found = Vec::new();
        for records in read_sample("init", &self.source_options(), SAMPLE_RECORDS)? {
            for at in 0..records.len() {
                found.push(SampleRecord {
                    key: records.keys.get(at).map(<[u8]>::to_vec),
                    value: records.values.get(at).map(<[u8]>::to_vec),
                    partition: records.partition,
                });
            }
        }
        found.truncate(SAMPLE_RECORDS);
        if found.is_empty() {
            let place = match self {
                Origin::Topic { topic, .. } => topic.clone(),
                Origin::File(path) => path.display().to_string(),
            };
            return Err(mistake(format!("there are no records in {place}")));
        }
        Ok(found)
    }

    /// A name for the relation, from the topic's or file's.
    fn relation_name(&self) -> String {
        let given = match self {
            Origin::Topic { topic, .. } => topic.clone(),
            Origin::File(path) => match path.file_stem() {
                Some(stem) => stem.to_string_lossy().into_owned(),
                None => "events".to_owned(),
            },
        };
        let name = given.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_lowercase();
        let name = name.trim_matches('_');
        if names::is_plain_name(name) { name.to_owned() } else { format!("t_{name}") }
    }
}

/// The topology: a source with the inferred columns, a view that counts its records, and a sink of the view.
fn topology_sql(name: &str, origin: &Origin, sample: &Sample) -> String {
    let (what, from) = match origin {
        Origin::Topic { topic, .. } => {
            (format!("topic {}", names::one_line(topic)), kafka_options(origin, topic, ""))
        }
        Origin::File(path) => (
            format!("file {}", names::one_line(&path.display().to_string())),
            format!("connector = 'file', path = '{}'", quote_path(path)),
        ),
    };
    // A column of the records that is called as a window's would be ambiguous.
    let windows = ["window_start", "window_end"];
    let (columns, relation, groups, key) = match &sample.time {
        Some(time) if !sample.columns.iter().any(|column| windows.contains(&column.name.as_str())) => (
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
    let sql = format!(
        "{}{}\n\
         CREATE MATERIALIZED VIEW {name}_totals AS\n  SELECT {columns}\n  FROM {relation}{groups};\n\n\
         CREATE SINK {name}_totals_out FROM {name}_totals\nWITH ({to})\nFORMAT UPSERT ENCODE JSON;\n",
        sample_notes(sample, &what),
        source_sql(name, sample, &from)
    );
    layout(&sql).unwrap_or(sql)
}

/// The source, or the table of a sample with a key, that reads from these options.
fn source_sql(name: &str, sample: &Sample, from: &str) -> String {
    let mut lines: Vec<String> = sample.columns.iter().map(Column::sql).collect();
    if !sample.key.is_empty() {
        lines.push(format!("  PRIMARY KEY ({})", sample.key.join(", ")));
    }
    if let Some(time) = &sample.time {
        lines.push(format!("  WATERMARK FOR {time} AS {time} - INTERVAL '{}'", sample.disorder.interval()));
    }
    let create = if sample.key.is_empty() { "SOURCE" } else { "TABLE" };
    let (before, format) = match &sample.record_key {
        Some(key) => key.clauses(),
        None => (String::new(), "FORMAT PLAIN ENCODE JSON"),
    };
    let conflict = match (&sample.record_key, sample.key.is_empty()) {
        (None, false) => " ON CONFLICT OVERWRITE",
        _ => "",
    };
    format!(
        "CREATE {create} {name} (\n{}\n){conflict}\n{before}WITH ({from})\n{format};\n",
        lines.join(",\n")
    )
}

/// A comment on the columns: the records they come from, those that do not fit, and the reason for the key.
fn sample_notes(sample: &Sample, what: &str) -> String {
    let mut notes = format!(
        "-- Columns from {} records of {what}. Look them over: a column that was never null may still be so.\n",
        sample.fitting.len()
    );
    let odd = "a value of another type than almost all others";
    notes.push_str(&match sample.misfits {
        0 => String::new(),
        1 => format!("-- 1 more has {odd}: it becomes a dead letter.\n"),
        n => format!("-- {n} more have {odd}: they become dead letters.\n"),
    });
    notes.push_str(&match sample.others {
        0 => String::new(),
        1 => "-- 1 more was no JSON object: it becomes a dead letter.\n".to_owned(),
        n => format!("-- {n} more were no JSON objects: they become dead letters.\n"),
    });
    if sample.nameless {
        notes.push_str("-- A field with an empty name is left out: a column must have one.\n");
    }
    notes.push_str(&sample.record_key.as_ref().map(RecordKey::comment).unwrap_or_default());
    if sample.repeats > 0 {
        let records = if sample.repeats == 1 {
            "1 record has".to_owned()
        } else {
            format!("{} records have", sample.repeats)
        };
        notes.push_str(&format!(
            "-- PRIMARY KEY: {records} the {} of an earlier one, as a duplicate or a later version of it,\n\
             -- and the last one counts. If each is a row of its own, write CREATE SOURCE without PRIMARY KEY\n\
             -- and ON CONFLICT.\n",
            names::one_line(&sample.key.join(", "))
        ));
    }
    notes.push_str(&sample.near_id.as_ref().map(NearId::comment).unwrap_or_default());
    if sample.time.is_some() {
        notes.push_str(&sample.disorder.comment(sample.key.is_empty()));
    }
    notes
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

/// A test that feeds the first records, and the first one that deletes, with expectations that have no rows
/// yet.
fn test_script(name: &str, sample: &Sample, records: &[SampleRecord]) -> String {
    let mut places: Vec<usize> = sample.fitting.iter().copied().take(TEST_RECORDS).collect();
    if sample.record_key.is_some() {
        places.extend(records.iter().position(|record| record.value.is_none()));
        places.sort_unstable();
    }
    let lines: Vec<String> =
        places.iter().map(|at| feed_line(&records[*at], sample.record_key.as_ref())).collect();
    format!(
        "-- topology {name}.sql\n\n-- feed {name}\n{}\n-- expect outcomes {name}\n-- expect {name}_totals\n",
        lines.join("\n")
    )
}

/// A record as a line of a test: its value, with the key around it where the table has the records' keys.
fn feed_line(record: &SampleRecord, key: Option<&RecordKey>) -> String {
    let value = record.value.as_deref().map_or("null".into(), String::from_utf8_lossy);
    let line = match (key, &record.key) {
        (Some(key), Some(bytes)) => format!("{{\"key\":{},\"value\":{value}}}", key.to_json(bytes)),
        _ => value.into_owned(),
    };
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_of(records: &[(Option<&str>, Option<&str>)]) -> (Sample, Vec<SampleRecord>) {
        let bytes = |text: &Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let records: Vec<SampleRecord> = records
            .iter()
            .map(|(key, value)| SampleRecord { key: bytes(key), value: bytes(value), partition: 0 })
            .collect();
        (Sample::of(&records).unwrap(), records)
    }

    fn topic() -> Origin {
        Origin::Topic { topic: "users".to_owned(), bootstrap: "broker:9092".to_owned() }
    }

    /// The plan that a topology has.
    fn plan(sql: &str) -> std::sync::Arc<dataflows::plan::Plan> {
        use crate::topology::{Network, Variables, plan_topology};
        let file = dataflows::sql::SqlFile { name: "users.sql".to_owned(), text: sql.to_owned() };
        plan_topology(&[file], &Variables::only(&[]), Network::Refused)
            .unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    #[test]
    fn keys_and_deletes_make_an_upsert_table() {
        use dataflows::plan::formats::{Encoding, Format};
        let value = |id: &str| format!(r#"{{"id":"{id}","at":"2026-01-01T00:00:00Z"}}"#);
        let (a, b) = (value("a"), value("b"));
        let json = [r#"{"id":"a"}"#, r#"{"id":"b"}"#];
        for (keys, encoding, key) in [
            (["a", "b"], Encoding::Text, "id"),
            (json, Encoding::Json, "id"),
            (["k1", "k2"], Encoding::Bytes, "record_key"),
        ] {
            let (sample, records) = sample_of(&[
                (Some(keys[0]), Some(a.as_str())),
                (Some(keys[1]), Some(b.as_str())),
                (Some(keys[0]), None),
            ]);
            let sql = topology_sql("users", &topic(), &sample);
            assert!(
                sql.contains("-- FORMAT UPSERT: ") && sql.contains("-- 1 record of the sample has no value"),
                "{sql}"
            );
            assert_eq!(layout(&sql).as_ref(), Ok(&sql));
            let plan = plan(&sql);
            let source = &plan.sources[0];
            assert_eq!((source.format, source.key_encoding), (Format::Upsert, encoding), "{sql}");
            let columns = source.keyed.iter().flat_map(|keyed| &keyed.key);
            let names: Vec<&str> = columns.map(|at| source.schema.field(*at).name().as_str()).collect();
            assert_eq!(names, [key], "{sql}");
            let script = test_script("users", &sample, &records);
            assert_eq!(script.lines().filter(|line| line.starts_with("{\"key\":")).count(), 3, "{script}");
            assert!(script.contains(",\"value\":null}"), "{script}");
        }
    }

    #[test]
    fn without_keys_a_topology_stays_plain() {
        let (sample, records) = sample_of(&[(None, Some(r#"{"order_id":"a","n":1}"#)), (None, Some("nope"))]);
        let sql = topology_sql("orders", &topic(), &sample);
        for part in
            ["-- 1 more was no JSON object", "ON CONFLICT OVERWRITE\nWITH (", "FORMAT PLAIN ENCODE JSON;"]
        {
            assert!(sql.contains(part), "{part}: {sql}");
        }
        assert!(plan(&sql).sources[0].keyed.is_some());
        assert!(test_script("orders", &sample, &records).contains("\n{\"order_id\":\"a\",\"n\":1}\n"));
    }

    #[test]
    fn records_that_do_not_fit_are_told() {
        let values: Vec<String> =
            (0..200).map(|n| format!(r#"{{"n":{}}}"#, if n == 7 { "\"x\"" } else { "1" })).collect();
        let records: Vec<(Option<&str>, Option<&str>)> =
            values.iter().map(|value| (None, Some(value.as_str()))).collect();
        let (sample, _) = sample_of(&records);
        let sql = topology_sql("numbers", &topic(), &sample);
        assert!(sql.contains("-- 1 more has a value of another type"), "{sql}");
        assert!(
            sql.contains(
                "  -- In 1 record of the sample it has another type: that record is rejected.\n  n BIGINT\n"
            ),
            "{sql}"
        );
        assert_eq!(layout(&sql).as_ref(), Ok(&sql));
        assert!(plan(&sql).sources[0].keyed.is_none());
    }

    #[test]
    fn an_id_that_comes_again_is_a_key() {
        let order = |id: usize, price: &str, at: &str| {
            format!(r#"{{"order_id":{id},"customer":"anna","price":"{price}","updated_at":"{at}"}}"#)
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let values =
            [order(1, "12.55", early), order(2, "3", early), order(3, "4", early), order(2, "3.25", late)];
        let records: Vec<(Option<&str>, Option<&str>)> =
            values.iter().map(|value| (None, Some(value.as_str()))).collect();
        let (sample, _) = sample_of(&records);
        let sql = topology_sql("orders", &topic(), &sample);
        assert!(sql.contains("-- PRIMARY KEY: 1 record has the order_id of an earlier one"), "{sql}");
        assert!(sql.contains("\n  price DECIMAL(18, 2),\n"), "{sql}");
        assert_eq!(layout(&sql).as_ref(), Ok(&sql));
        assert!(plan(&sql).sources[0].keyed.is_some());
    }

    #[test]
    fn records_out_of_order_widen_the_watermark() {
        let at = |minute: usize| format!(r#"{{"at":"2026-01-01T00:{minute:02}:00Z"}}"#);
        let values = [at(50), at(20), at(55)];
        let records: Vec<(Option<&str>, Option<&str>)> =
            values.iter().map(|value| (None, Some(value.as_str()))).collect();
        let (sample, _) = sample_of(&records);
        let sql = topology_sql("events", &topic(), &sample);
        for part in [
            "-- WATERMARK: measured on 3 records",
            "are counted as late",
            "WATERMARK FOR at AS at - INTERVAL '1 hour'\n",
        ] {
            assert!(sql.contains(part), "{part}: {sql}");
        }
        assert_eq!(layout(&sql).as_ref(), Ok(&sql));
        assert_eq!(plan(&sql).sources.len(), 1);
    }

    #[test]
    fn a_key_that_is_left_out_is_told() {
        let values = [r#"{"id":1,"x":1}"#, r#"{"id":2,"x":2}"#, r#"{"id":1,"x":3}"#];
        let (sample, _) = sample_of(&values.map(|value| (None::<&str>, Some(value))));
        let sql = topology_sql("events", &Origin::File(PathBuf::from("data/events.jsonl")), &sample);
        let comment = "-- No PRIMARY KEY: id nearly is one, but 1 record of the sample has the id of an earlier one.\n\
                       -- If later records correct earlier ones, write CREATE TABLE with PRIMARY KEY (id) and\n\
                       -- ON CONFLICT OVERWRITE.\nCREATE SOURCE events (";
        assert!(sql.contains(comment), "{sql}");
        assert!(sql.contains("path = 'data/events.jsonl'"), "{sql}");
        assert_eq!(layout(&sql).as_ref(), Ok(&sql));
    }

    #[test]
    fn names_from_outside_stay_within_their_comment() {
        let (sample, _) = sample_of(&[(None, Some(r#"{"":1,"order_id":"a"}"#))]);
        let sql = topology_sql("orders", &Origin::File(PathBuf::from("a\nb\rc.jsonl")), &sample);
        let comments: Vec<&str> = sql.lines().take_while(|line| line.starts_with("--")).collect();
        assert_eq!(
            comments,
            [
                "-- Columns from 1 records of file a\\nb\\rc.jsonl. Look them over: a column that was never null may \
                 still be so.",
                "-- A field with an empty name is left out: a column must have one."
            ],
            "{sql}"
        );
        assert!(sql.contains("\nCREATE TABLE orders (\n  order_id VARCHAR NOT NULL,\n"), "{sql}");
    }
}
