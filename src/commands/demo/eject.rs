//! `herald demo --eject DIR`: writes the demo as files, to read, change and run.
//!
//! `match_analytics.sql` is the topology as shipped, for Kafka. `demo.sql` is the same over files:
//! `matches.jsonl` and `champions.jsonl` in, one JSON Lines file per sink out. `expected.csv` is the expected
//! content of a view, and `test.sh` runs the topology and compares. A directory that is not empty is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use connectors::Matches;
use connectors::generate::matches::champion_record;
use dataflows::sql::SqlFile;

use super::SQL;
use crate::cli::OutputFormat;
use crate::driver::{self, DriverConfig, DriverHandle};
use crate::exit::mistake;
use crate::metrics::Metrics;
use crate::query::{InProcessQueries, format};
use crate::topology::Network;
use crate::{run, topology};

/// 2026-01-01T00:00:00Z, a fixed start of the matches: the files do not depend on the day.
const START_MS: i64 = 1_767_225_600_000;
const MATCHES: u64 = 2_000;
const QUESTION: &str = "SELECT * FROM champion_hourly ORDER BY window_start, platform, champion_id";

const TEST: &str = r#"#!/bin/sh
# Runs demo.sql over the data beside it and compares a view with expected.csv.
# After a change that is meant: mv .herald-test.csv expected.csv
set -eu
cd "$(dirname "$0")"
HERALD=${HERALD:-herald}
"$HERALD" run demo.sql --once --fresh --listen off --log-level error
"$HERALD" query --name demo --format csv \
  "QUESTION" > .herald-test.csv
diff -u expected.csv .herald-test.csv
rm .herald-test.csv
echo "champion_hourly is as expected."
"#;

/// Writes the demo to `dir`.
pub fn write_files(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut held = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    if held.next().is_some() {
        return Err(mistake(format!(
            "{} is not empty. Name a directory that is, or does not exist yet",
            dir.display()
        )));
    }
    let sql = replace_kafka_by_files(SQL);
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("match_analytics.sql", SQL.as_bytes())?;
    write("demo.sql", sql.as_bytes())?;
    write("matches.jsonl", &generate_matches())?;
    write("champions.jsonl", &generate_champions())?;
    write("test.sh", TEST.replace("QUESTION", QUESTION).as_bytes())?;
    make_executable(&dir.join("test.sh"))?;
    write("expected.csv", expected_csv(dir, &sql)?.as_bytes())?;
    println!(
        "The demo is in {0}. Try:\n  cd {0}\n  ./test.sh\n  herald explain demo.sql\n  herald query --name demo \"SELECT * FROM player_alltime ORDER BY kills DESC LIMIT 10\"",
        dir.display()
    );
    Ok(())
}

/// The topology with files in place of Kafka topics. `${DATA:-.}` is the directory of the data.
fn replace_kafka_by_files(sql: &str) -> String {
    const BOOTSTRAP: &str = "\n  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',";
    let mut sql = sql
        .replace(BOOTSTRAP, "")
        .replace(",\n  dead_letter.topic = 'herald.dead_letter'", "")
        .replace("\n  topic.partitions = '4',", "");
    for (topic, file) in [
        ("match.completed", "matches.jsonl"),
        ("champion", "champions.jsonl"),
        ("analytics.computed.champion_hourly", "champion_hourly.out.jsonl"),
        ("analytics.computed.player_alltime", "player_alltime.out.jsonl"),
    ] {
        sql = sql.replace(
            &format!("connector = 'kafka', topic = '{topic}'"),
            &format!("connector = 'file', path = '${{DATA:-.}}/{file}'"),
        );
    }
    sql
}

fn generate_matches() -> Vec<u8> {
    let matches = Matches::new(super::match_options(START_MS));
    let mut lines = Vec::new();
    for offset in 0..MATCHES {
        matches.write_record(offset, &mut lines);
        lines.push(b'\n');
    }
    lines
}

fn generate_champions() -> Vec<u8> {
    let count = super::match_options(START_MS).champions;
    let lines: Vec<String> = (1..=count).map(|number| champion_record(number).1 + "\n").collect();
    lines.concat().into_bytes()
}

/// Runs the ejected topology once and queries the view that the test compares.
fn expected_csv(dir: &Path, sql: &str) -> Result<String> {
    let scratch = tempfile::tempdir().context("cannot create a temporary directory")?;
    let data = scratch.path().join("data");
    std::fs::create_dir(&data).context("cannot create a temporary directory")?;
    for name in ["matches.jsonl", "champions.jsonl"] {
        std::fs::copy(dir.join(name), data.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let file = SqlFile { name: "demo.sql".to_owned(), text: sql.to_owned() };
    let variables = topology::Variables::only(&[("DATA", &data.display().to_string())]);
    let state_dir = scratch.path().join("state");
    let config = DriverConfig {
        plan: topology::plan_topology(&[file], &variables, Network::Refused)?,
        name: "demo".to_owned(),
        state_dir: state_dir.clone(),
        workers: run::default_workers().min(2),
        epoch_interval: Duration::from_millis(100),
        once: true,
        close_windows: false,
        fresh: false,
        skip_lost_records: false,
        memory: crate::driver::budget::DEFAULT_BYTES,
    };
    driver::run(config, Arc::new(Metrics::new("demo")?), DriverHandle::default())?;
    let answer = InProcessQueries::open(&state_dir)?.answer(QUESTION)?;
    format::answer_text(&answer, OutputFormat::Csv)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ejected_topology_knows_nothing_of_kafka() -> Result<()> {
        let sql = replace_kafka_by_files(SQL);
        assert!(!sql.contains("KAFKA") && !sql.contains("'kafka'"), "{sql}");
        let file = SqlFile { name: "demo.sql".to_owned(), text: sql };
        let plan = topology::plan_topology(&[file], &topology::Variables::only(&[]), Network::Refused)?;
        assert_eq!(plan.sources.len() + plan.sinks.len(), 4);
        Ok(())
    }
}
