//! The match domain as it is shipped: a further game is one file more, and no other file knows of a game's own tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dataflows::plan::Plan;
use dataflows::sql::{SqlFile, compile};

/// Directory of the domain's files.
fn domain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/domain")
}

/// The files of the domain, in the order of their names.
fn shipped() -> Vec<SqlFile> {
    let mut files = Vec::new();
    for entry in fs::read_dir(domain()).expect("the domain") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(read(&path));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn read(path: &Path) -> SqlFile {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    SqlFile { name, text: fs::read_to_string(path).expect("a file") }
}

fn plan(files: &[SqlFile]) -> Plan {
    let compiled = compile(files, &|_| None, &|_| Err(std::io::ErrorKind::NotFound.into()), &|_| Ok(None));
    compiled.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn view_names(plan: &Plan) -> BTreeSet<&str> {
    plan.views.iter().map(|view| view.name.as_str()).collect()
}

#[test]
fn a_third_game_is_one_file_more() {
    let files = shipped();
    let before = plan(&files);
    let mut more = files.clone();
    let last_adapter = more.iter().rposition(|file| file.name.starts_with('2')).expect("an adapter");
    more.insert(last_adapter + 1, read(&domain().join("tests/emberfall.sql")));
    let after = plan(&more);

    // One file more, and no word of it in the others.
    assert_eq!(more.len(), files.len() + 1);
    for file in &files {
        assert!(!file.text.to_lowercase().contains("emberfall"), "{} knows of the third game", file.name);
    }
    // One table more; the views and sinks are those that were there, with the same columns.
    assert_eq!(after.sources.len(), before.sources.len() + 1);
    assert_eq!(view_names(&after), view_names(&before));
    assert_eq!(after.sinks.len(), before.sinks.len());
    for (one, other) in before.views.iter().zip(&after.views) {
        assert_eq!(before.rels[one.rel].schema, after.rels[other.rel].schema, "{}", one.name);
    }
}

#[test]
fn a_game_may_be_left_out() {
    for adapter in ["20_riot.sql", "21_halo.sql"] {
        let files: Vec<SqlFile> = shipped().into_iter().filter(|file| file.name != adapter).collect();
        assert!(view_names(&plan(&files)).contains("mv_global_stats"), "without {adapter}");
    }
}

#[test]
fn views_by_theme_read_the_model_alone() {
    let games = ["riot_", "halo_"];
    for file in shipped() {
        let adapter = file.name.starts_with('2');
        for game in games {
            assert!(adapter || !file.text.contains(game), "{} reads a table of one game: {game}", file.name);
        }
    }
}
