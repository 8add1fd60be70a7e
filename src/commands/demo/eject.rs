//! `herald demo --eject [DIR]`: writes the demo as a project, to read, change and run.
//!
//! `domain/` is the match domain over files, so that it runs with nothing installed, with its golden tests;
//! `kafka/` is the domain as shipped. `data/` has what happened in an hour and a half of the demo's world, records of
//! every outcome among it. Existing files are not overwritten.

use std::path::Path;

use anyhow::{Context, Result};

use super::domain;
use super::world::{TOPICS, World, WorldRecord};
use crate::commands::init::write_new;
use crate::exit::mistake;

/// 2026-01-01T12:00:00Z, a fixed start of the world: the files do not depend on the day.
const START_MS: i64 = 1_767_268_800_000;
const MINUTE_MS: i64 = 60_000;
/// Game time of the records, with a match a minute.
const MINUTES: i64 = 90;
/// Game time between two things done on the way: a correction, an erasure, a consent withdrawn and given again.
const SCENE_MINUTES: i64 = 20;

const README: &str = include_str!("project/README.md");
/// Keeps the folder where there are no results yet, and results out of a repository.
const IGNORED_RESULTS: &str = "*\n!.gitignore\n";
const FOLDERS: [&str; 5] = ["domain", "domain/tests", "kafka", "data", "results"];

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
    for folder in FOLDERS {
        let path = dir.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    for (name, text) in &files {
        write_new(&dir.join(name), text)?;
    }
    let (place, cd) = if dir == Path::new(".") {
        ("this directory".to_owned(), String::new())
    } else {
        (dir.display().to_string(), format!("  cd {}\n", dir.display()))
    };
    println!(
        "The demo is a project in {place}.\n\
         README.md says what is there and what to edit first. Next:\n{cd}  \
         herald check domain/*.sql                        every mistake, with its place\n  \
         herald test domain/tests                         the golden tests, a minute or two\n  \
         herald run domain/*.sql --name domain --once     all results of what is in data/\n  \
         herald query \"SELECT * FROM trends_detected\"     the views, by SQL"
    );
    Ok(())
}

/// The files of the project, by their path in it.
fn project_files() -> Vec<(String, String)> {
    let mut files = vec![
        ("README.md".to_owned(), README.to_owned()),
        ("results/.gitignore".to_owned(), IGNORED_RESULTS.to_owned()),
    ];
    for (name, text) in domain::FILES {
        files.push((format!("domain/{name}"), domain::over_files(text)));
        files.push((format!("kafka/{name}"), text.to_owned()));
    }
    for (name, text) in domain::TESTS {
        let text = if name.ends_with(".test.sql") { text.to_owned() } else { domain::over_files(text) };
        files.push((format!("domain/tests/{name}"), text));
    }
    let records = world_records();
    for topic in TOPICS {
        let mut lines = String::new();
        for record in &records {
            if record.topic == topic {
                lines.push_str(&line(record));
            }
        }
        files.push((format!("data/{topic}.jsonl"), lines));
    }
    files
}

/// All that happens in the world while the project's time passes.
fn world_records() -> Vec<WorldRecord> {
    let mut world = World::new(START_MS, 1);
    let mut records = Vec::new();
    for minute in 0..=MINUTES {
        let now = START_MS + minute * MINUTE_MS;
        if minute % SCENE_MINUTES == 0 {
            world.act(now);
        }
        records.extend(world.advance(now));
    }
    records
}

/// A record as a line of its file: with its key where the table takes its own from there.
fn line(record: &WorldRecord) -> String {
    match record.topic {
        "halo.skill" => {
            let key = serde_json::json!({"match_id": record.key});
            format!("{{\"key\":{key},\"value\":{}}}\n", record.value)
        }
        _ => format!("{}\n", record.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_folder() {
        for folder in FOLDERS {
            assert!(README.contains(&format!("`{folder}/")), "{folder}");
        }
    }

    #[test]
    fn every_source_has_its_data() {
        let files = project_files();
        for (name, text) in
            files.iter().filter(|(name, _)| name.starts_with("domain/") && !name.contains("tests"))
        {
            for path in text.split("path = '").skip(1).filter_map(|rest| rest.split('\'').next()) {
                let known = path.starts_with("results/") || files.iter().any(|(name, _)| name == path);
                assert!(known, "{name}: {path}");
            }
        }
        assert!(files.iter().all(|(name, text)| !text.contains('\t') || !name.ends_with(".jsonl")));
    }
}
