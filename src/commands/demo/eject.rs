//! `herald demo --eject [DIR]`: writes the demo as a project, to read, change and run.
//!
//! `matches.sql` is the shipped topology over files, so that it runs with nothing installed;
//! `matches_kafka.sql` is the same over Kafka. The data has records of every outcome. The scripts in `tests/`
//! feed records of their own, and their expectations are filled in by running them, as `herald test --update`
//! does. Existing files are not overwritten.

use std::path::Path;

use anyhow::{Context, Result};
use connectors::generate::matches::champion_record;
use connectors::{MatchOptions, Matches};

use super::SQL;
use crate::commands::fmt::layout;
use crate::commands::init::write_new;
use crate::commands::test::fill_expectations;
use crate::exit::mistake;

/// 2026-01-01T00:00:00Z, a fixed start of the matches: the files do not depend on the day.
const START_MS: i64 = 1_767_225_600_000;
/// Generated matches.
const MATCHES: u64 = 400;
/// Time from the end of one match to the end of the next: the matches span several hours.
const STEP_MS: i64 = 30_000;

const README: &str = include_str!("project/README.md");
/// The test scripts, with expectations that have no rows yet.
const SCRIPTS: [(&str, &str); 5] = [
    ("tests/duplicates.test.sql", include_str!("project/duplicates.test.sql")),
    ("tests/corrections.test.sql", include_str!("project/corrections.test.sql")),
    ("tests/late.test.sql", include_str!("project/late.test.sql")),
    ("tests/invalid.test.sql", include_str!("project/invalid.test.sql")),
    ("tests/windows.test.sql", include_str!("project/windows.test.sql")),
];
/// The beginning of both topologies.
const HEADER: &str = "\
-- Match analytics: finished League of Legends matches in, hourly champion performance and all-time
-- player performance out.
--
-- A record of a match is an envelope around the body of Riot's match-v5. Matches are fetched more than
-- once and corrected later: the greatest `fetched_at` of a match wins, whatever order its records come
-- in. Field names match columns without regard to case.
--
";

/// Writes the project to `dir`.
///
/// # Errors
/// When one of its files exists, or cannot be written.
pub fn write_files(dir: &Path) -> Result<()> {
    let files = project_files();
    if let Some(path) = files.iter().map(|(name, _)| dir.join(name)).find(|path| path.exists()) {
        return Err(mistake(format!(
            "{} exists, and nothing is overwritten. Name a directory that is empty or does not exist yet: herald demo --eject DIR",
            path.display()
        )));
    }
    for folder in ["data", "tests"] {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    for (name, text) in &files {
        write_new(&dir.join(name), text)?;
    }
    let filled = SCRIPTS.iter().try_for_each(|(name, _)| fill_expectations(&dir.join(name)));
    if filled.is_err() {
        // Half a project would be in the way of the next try.
        for (name, _) in &files {
            let _ = std::fs::remove_file(dir.join(name));
        }
    }
    filled.context("the tests of the project do not run: please report it")?;
    let (place, cd) = if dir == Path::new(".") {
        ("this directory".to_owned(), String::new())
    } else {
        (dir.display().to_string(), format!("  cd {}\n", dir.display()))
    };
    println!(
        "The demo is a project in {place}: README.md says what is there and what to edit first. Next:\n{cd}  \
         herald check matches.sql         every mistake, with its place\n  \
         herald test tests                duplicates, corrections, late and invalid records, windows\n  \
         herald run matches.sql --once    all results, and the outcome of every record\n  \
         herald query \"SELECT * FROM player_alltime ORDER BY kills DESC LIMIT 10\""
    );
    Ok(())
}

/// The files of the project, by their path in it.
fn project_files() -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("README.md", README.to_owned()),
        ("matches.sql", files_topology()),
        ("matches_kafka.sql", kafka_topology()),
        ("data/matches.jsonl", match_lines()),
        ("data/champions.jsonl", champion_lines()),
    ];
    files.extend(SCRIPTS.map(|(name, text)| (name, text.to_owned())));
    files
}

/// The statements of the shipped topology, with a bound on the time for which a match can be corrected: beyond
/// it a match is late.
fn statements() -> String {
    let begin = SQL.find("CREATE TABLE").unwrap_or_default();
    SQL[begin..].replace(
        "WITH (\n  connector = 'kafka',\n  topic = 'match.completed',\n",
        "-- A match can be corrected for a day. One that ended longer ago when it comes is late.\n\
         WITH (\n  connector = 'kafka',\n  topic = 'match.completed',\n  retention = '1 day',\n",
    )
}

/// The topology over Kafka.
fn kafka_topology() -> String {
    let sql = format!(
        "{HEADER}-- It reads from Kafka and writes to Kafka: KAFKA_BOOTSTRAP names the brokers. matches.sql is the\n\
         -- same over files.\n\n{}",
        statements()
    );
    layout(&sql).unwrap_or(sql)
}

/// The topology with files in place of topics.
fn files_topology() -> String {
    const BOOTSTRAP: &str = "\n  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',";
    let mut sql = statements()
        .replace(BOOTSTRAP, "")
        .replace(",\n  dead_letter.topic = 'herald.dead_letter'", "")
        .replace("\n  topic.partitions = '4',", "");
    for (topic, options) in [
        ("match.completed", "path = 'data/matches.jsonl', follow = 'true'"),
        ("champion", "path = 'data/champions.jsonl', follow = 'true'"),
        ("analytics.computed.champion_hourly", "path = 'champion_hourly.out.jsonl'"),
        ("analytics.computed.player_alltime", "path = 'player_alltime.out.jsonl'"),
    ] {
        let kafka = format!("connector = 'kafka',\n  topic = '{topic}'");
        sql = sql.replace(&kafka, &format!("connector = 'file', {options}"));
    }
    let sql = format!(
        "{HEADER}-- It reads files and writes files, so it runs with nothing installed. `follow` waits for lines that\n\
         -- are added. matches_kafka.sql is the same over Kafka.\n\n{sql}"
    );
    layout(&sql).unwrap_or(sql)
}

/// The matches, as lines: those of the generator, and one whose duration cannot be.
fn match_lines() -> String {
    let options = match_options();
    let sound = MatchOptions { duplicates: 0.0, corrections: 0.0, late: 0.0, broken: 0.0, ..options.clone() };
    let matches = Matches::new(options);
    let mut lines: Vec<String> = (0..MATCHES).map(|offset| match_line(&matches, offset)).collect();
    let last = match_line(&Matches::new(sound), MATCHES);
    lines.push(last.replacen("\"gameDuration\":", "\"gameDuration\":99", 1));
    lines.concat()
}

/// Matches of the demo with fewer players, farther apart, and more broken ones.
fn match_options() -> MatchOptions {
    MatchOptions { players: 200, step_ms: STEP_MS, broken: 0.01, ..super::match_options(START_MS) }
}

fn match_line(matches: &Matches, offset: u64) -> String {
    let mut line = Vec::new();
    matches.write_record(offset, &mut line);
    line.push(b'\n');
    String::from_utf8_lossy(&line).into_owned()
}

fn champion_lines() -> String {
    (1..=match_options().champions).map(|number| champion_record(number).1 + "\n").collect()
}

#[cfg(test)]
mod tests {
    use connectors::generate::matches::RecordKind;
    use dataflows::plan::Plan;
    use dataflows::sql::SqlFile;

    use super::*;
    use crate::topology::{Network, Variables, plan_topology};

    fn plan(text: String) -> Result<std::sync::Arc<Plan>> {
        let file = SqlFile { name: "matches.sql".to_owned(), text };
        plan_topology(&[file], &Variables::only(&[]), Network::Refused)
    }

    #[test]
    fn both_topologies_have_the_same_parts() -> Result<()> {
        let (files, kafka) = (files_topology(), kafka_topology());
        assert!(!files.contains("KAFKA") && !files.contains("'kafka'"), "{files}");
        assert!(!kafka.contains("'file'") && !kafka.contains("Avro"), "{kafka}");
        for sql in [files, kafka] {
            assert_eq!(layout(&sql).as_ref(), Ok(&sql));
            let plan = plan(sql)?;
            assert_eq!((plan.sources.len(), plan.views.len(), plan.sinks.len()), (2, 2, 2));
            let retained = plan.sources.iter().filter_map(|source| source.keyed.as_ref()?.retention_us);
            assert_eq!(retained.collect::<Vec<_>>(), [86_400_000_000]);
        }
        Ok(())
    }

    #[test]
    fn the_data_has_records_of_every_kind() -> Result<()> {
        let matches = Matches::new(match_options());
        let kinds: Vec<RecordKind> = (0..MATCHES).map(|offset| matches.kind_at(offset)).collect();
        let has = |wanted: fn(&RecordKind) -> bool| kinds.iter().any(wanted);
        assert!(has(|kind| matches!(kind, RecordKind::Duplicate(_))));
        assert!(has(|kind| matches!(kind, RecordKind::Correction(_))));
        assert!(has(|kind| *kind == RecordKind::Late) && has(|kind| *kind == RecordKind::Broken));
        let lines = match_lines();
        let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap_or_default())?;
        assert!(last["match"]["info"]["gameDuration"].as_i64() > Some(14_400), "{last}");
        Ok(())
    }

    #[test]
    fn the_readme_names_every_file() {
        for (name, _) in project_files() {
            assert!(name == "README.md" || README.contains(&format!("`{name}`")), "{name}");
        }
    }
}
