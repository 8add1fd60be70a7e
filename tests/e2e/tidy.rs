//! House rules that are checked by a test: file headers, lengths, names, and dependencies between crates.

use std::fs;
use std::path::{Path, PathBuf};

use crate::servers;

/// Crate folders with the own crates that each may depend on.
const MAY_KNOW: [(&str, &[&str]); 4] = [
    ("schemas", &[]),
    ("state", &["schemas"]),
    ("connectors", &["schemas"]),
    ("dataflows", &["schemas", "state"]),
];

pub fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_open_with_a_header_and_stay_short() {
    let mut files = Vec::new();
    rust_files(servers::root(), &mut files);
    let mut broken = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("text");
        let name = path.strip_prefix(servers::root()).expect("a path below the root").display();
        let header = text.lines().take_while(|l| l.starts_with("//!")).count();
        if header == 0 {
            broken.push(format!("{name}: does not open with //!"));
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        if code > 600 {
            broken.push(format!("{name}: {code} lines without its tests; 600 is the limit"));
        }
        if ["mod.rs", "util.rs", "utils.rs", "common.rs", "manager.rs"].iter().any(|n| path.ends_with(n)) {
            broken.push(format!("{name}: name it for what is in it"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    for (name, _) in MAY_KNOW.iter().chain(&[("benches", &[][..]), (".", &[][..])]) {
        let home = servers::root().join(name);
        let mut files = Vec::new();
        for dir in ["src", "tests"].iter().map(|dir| home.join(dir)).filter(|dir| dir.is_dir()) {
            rust_files(&dir, &mut files);
        }
        let code: String = files.iter().map(|path| fs::read_to_string(path).expect("text")).collect();
        let manifest = fs::read_to_string(home.join("Cargo.toml")).expect("a manifest");
        for line in manifest.lines().skip_while(|l| *l != "[dependencies]") {
            let Some(dependency) = line.strip_suffix(".workspace = true") else { continue };
            let name_in_code = dependency.replace('-', "_");
            // Attributes name a crate as text.
            let forms = [format!("{name_in_code}::"), format!("\"{name_in_code}\"")];
            let used = forms.iter().any(|form| code.contains(form));
            assert!(used, "{name} does not use {dependency}");
        }
    }
}

#[test]
fn crates_know_only_those_below_them() {
    for (name, may_know) in MAY_KNOW {
        let path = servers::root().join(name).join("Cargo.toml");
        let text = fs::read_to_string(path).expect("a manifest");
        for other in ["schemas", "state", "connectors", "dataflows"] {
            let knows = text
                .lines()
                .any(|l| l.starts_with(&format!("{other}.")) || l.starts_with(&format!("{other} =")));
            assert!(!knows || may_know.contains(&other), "{name} depends on {other}");
        }
    }
}

/// Language and structure, by the script that also prints their figures: words, doc comments, names, import
/// circles, the order of stages, sizes of functions, parameters and folders.
#[test]
fn the_house_rules_hold() {
    let script = servers::root().join("scripts/house.py");
    let answer =
        std::process::Command::new("python3").arg(script).arg("--check").output().expect("python3 runs");
    let figures = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success(), "{figures}{}", String::from_utf8_lossy(&answer.stderr));
}
