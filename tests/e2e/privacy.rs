//! `herald check --sample`: personal values that no tag covers, in files as a source would read them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{self, Ended};

const PATIENCE: Duration = Duration::from_secs(60);

const RECORDS: &str = r#"{"match_id":"b4be1c44-5782-42b3-8cf8-0d76dd87230c","ended_at":1700000000000,"version":"14.7.57.95","players":[{"id":"xuid(2533277490754884)","kills":3},{"id":"xuid(2533276639874242)","kills":5}],"body":{"chat":["gg","ask anna.berg@example.com"],"from":"203.0.113.7"},"secret":"ben@example.org"}
{"match_id":"4b64348e-5897-4028-856d-44c7955c83e3","ended_at":1700000000001,"version":"14.7.57.96","players":[],"body":{"chat":[],"from":"203.0.113.9"},"secret":null}
"#;

/// Checks a topology of one source with this option of WITH.
fn check(dir: &Path, tags: &str, more: &[&str]) -> Ended {
    fs::write(dir.join("matches.jsonl"), RECORDS).expect("a file");
    let sql = format!(
        "CREATE SOURCE matches (match_id VARCHAR, ended_at BIGINT, version VARCHAR, \
           players STRUCT<id VARCHAR, kills INT>[], body JSONB) \
         WITH (connector = 'file', path = 'matches.jsonl'{tags}) FORMAT PLAIN ENCODE JSON;\n\
         CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM matches;\n"
    );
    fs::write(dir.join("t.sql"), sql).expect("a file");
    child::herald(dir, &[&["check", "t.sql", "--sample"], more].concat(), &[], PATIENCE)
}

#[test]
fn untagged_personal_values_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = check(dir.path(), "", &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let expected = "warning: source matches: body.chat[]
  1 of 2 values (50%) looks like mail addresses, as a***@e***.com.
  Tag it: personal = 'body.chat[]' in WITH.
  Or leave it out of the columns.
warning: source matches: body.from
  all 2 values look like IPv4 addresses, as 20***.
  Tag it: personal = 'body.from' in WITH.
  Or leave it out of the columns.
warning: source matches: players[].id
  all 2 values look like player ids (xuid), as xuid(25***).
  Tag it: personal = 'players[].id' in WITH.
  Or leave it out of the columns.
source matches: 3 paths without a tag look personal in 2 records.
";
    assert!(ended.stdout.ends_with(expected), "{}", ended.stdout);
    // A field that no column has is not kept, and values are masked.
    assert!(!ended.stdout.contains("secret") && !ended.stdout.contains("anna"), "{}", ended.stdout);

    let tags = ", personal = 'players[].id, body.chat[], body.from, body.gone'";
    let ended = check(dir.path(), tags, &["1", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        answer["samples"],
        json!([{"source": "matches", "records": 1, "not_sampled": null, "personal": [],
                "tags_without_values": ["body.gone"]}])
    );
}

#[test]
fn a_tag_that_names_nothing_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = check(dir.path(), ", personal = 'players[].idd, body.any, match_id'", &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("t.sql:1:"), "{ended:?}");
    assert!(
        ended.stderr.contains("personal: \"players[].idd\" names nothing: there is no idd in players"),
        "{ended:?}"
    );
}
