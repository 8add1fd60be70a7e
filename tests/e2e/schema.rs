//! `herald schema check`: the example of docs/schemas.md line by line, and the versions of a subject in a real registry.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child;
use crate::first_hour::console_lines;
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);

/// Each command of the page prints what the page shows. `HERALD_UPDATE=1` writes the output into the page.
#[test]
fn the_schema_guides_example_is_what_is_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let page = servers::root().join("docs/schemas.md");
    let text = fs::read_to_string(&page).expect("docs/schemas.md");
    let binary = Path::new(env!("CARGO_BIN_EXE_herald")).parent().expect("a folder");
    let mut updated = text.clone();
    for line in console_lines(&text) {
        let script = format!("export PATH=\"{}:$PATH\"\n{}", binary.display(), line.command);
        let ran = Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output().expect("bash");
        let printed =
            String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
        let shown = line.shown.iter().map(|line| format!("{line}\n")).collect::<String>();
        if std::env::var_os("HERALD_UPDATE").is_some() {
            let before = format!("$ {}\n{shown}", line.command);
            assert!(updated.contains(&before), "{before}");
            updated = updated.replacen(&before, &format!("$ {}\n{printed}", line.command), 1);
        } else {
            assert_eq!(printed, shown, "{}", line.command);
        }
    }
    if updated != text {
        fs::write(&page, updated).expect("docs/schemas.md");
    }
}

fn score(fields: Value) -> String {
    json!({"type": "record", "name": "score", "fields": fields}).to_string()
}

#[test]
fn old_versions_come_from_a_registry() {
    let dir = tempfile::tempdir().expect("a directory");
    let subject = "schema.check-value";
    let player = json!({"name": "player", "type": "string"});
    let first = json!([player, {"name": "points", "type": "string"}]);
    let second = json!([player, {"name": "points", "type": "int"}]);
    let config = format!("{}/config/{subject}", servers::registry());
    let set = |level: &str| {
        let body = json!({"compatibility": level}).to_string();
        let (status, answer) = servers::http("PUT", &config, Some(&body)).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    };
    servers::register(subject, &score(first));
    set("NONE");
    servers::register(subject, &score(second));
    fs::write(dir.path().join("new.avsc"), score(json!([player, {"name": "points", "type": "long"}])))
        .expect("a file");
    let check = |more: &[&str]| {
        let registry = servers::registry();
        let args =
            [&["schema", "check", "new.avsc", "--registry", registry, "--subject", subject], more].concat();
        child::herald(dir.path(), &args, &[], PATIENCE)
    };
    // The registry checks nothing, so that it is the default.
    let ended = check(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("by backward, the default"), "{ended:?}");
    set("BACKWARD_TRANSITIVE");
    let ended = check(&[]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("by backward-transitive, the registry's level"), "{ended:?}");
    assert!(ended.stdout.contains("Against version 1."), "{ended:?}");
    let ended = check(&["--level", "backward", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = child::herald(
        dir.path(),
        &["schema", "check", "new.avsc", "--registry", servers::registry(), "--subject", "nobody-value"],
        &[],
        PATIENCE,
    );
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("does not know subject \"nobody-value\""), "{ended:?}");
}

#[test]
fn mistakes_of_a_schema_end_with_2() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("old.avsc"), "\"int\"").expect("a file");
    fs::write(dir.path().join("bad.avsc"), "{\"type\": \"record\",\n \"name\": \"R\"}").expect("a file");
    let check = |args: &[&str]| {
        let ended = child::herald(dir.path(), &[&["schema", "check"], args].concat(), &[], PATIENCE);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.stderr
    };
    let said = check(&["old.avsc", "bad.avsc"]);
    assert!(said.contains("bad.avsc:1:1: a record needs \"fields\""), "{said}");
    let said = check(&["old.avsc"]);
    assert!(said.contains("there is only one schema"), "{said}");
    let said = check(&["old.avsc", "missing.avsc"]);
    assert!(said.contains("missing.avsc cannot be read"), "{said}");
}
