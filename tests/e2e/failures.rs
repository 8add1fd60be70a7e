//! Failing expressions: a row on which an expression of a view fails becomes a dead letter, and its
//! correction deletes it, each in the transaction of its epoch.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{broker, child, servers};

const PATIENCE: Duration = Duration::from_secs(60);

const RATIOS: &str = "
CREATE TABLE parts (id INT NOT NULL, n INT, PRIMARY KEY (id)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'failures.parts', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      dead_letter.topic = 'failures.dead') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW ratios AS SELECT id, 12 / n AS ratio FROM parts;
CREATE SINK ratios_out FROM ratios
WITH (connector = 'kafka', topic = 'failures.ratios', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      primary_key = 'id') FORMAT UPSERT ENCODE JSON;
";

fn feed(dir: &Path, records: &[&str]) {
    let records = records.iter().map(|value| ("k", value.as_bytes()));
    broker::shared().produce("failures.parts", records);
    child::succeed(dir, &["run", "ratios.sql", "--once"], &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE);
}

/// Key and value of the dead letters so far, in order.
fn dead() -> Vec<(Value, Value)> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => serde_json::from_slice(bytes).expect("JSON"),
        None => Value::Null,
    };
    broker::shared().read_committed("failures.dead").iter().map(|r| (text(&r.key), text(&r.value))).collect()
}

#[test]
fn a_failed_row_is_a_dead_letter_until_it_is_corrected() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("ratios.sql"), RATIOS).expect("a file");
    broker::shared().create_topic("failures.parts", 1);
    feed(dir.path(), &[r#"{"id":1,"n":0}"#, r#"{"id":2,"n":3}"#, r#"{"id":3}"#]);
    let [(key, value)] = &dead()[..] else { panic!("one dead letter: {:?}", dead()) };
    assert_eq!(key["view"], "ratios");
    assert_eq!(key["row"], "id=1, n=0");
    assert!(key["message"].as_str().is_some_and(|m| m.contains("ivide by zero")), "{key}");
    assert_eq!(value["times"], 1);

    feed(dir.path(), &[r#"{"id":1,"n":4}"#]);
    let dead_letters = dead();
    assert_eq!(dead_letters.len(), 2, "{dead_letters:?}");
    assert_eq!(dead_letters[1], (key.clone(), Value::Null));
    let ratios = broker::shared().read_committed("failures.ratios");
    let rows: Vec<Value> =
        ratios.iter().filter_map(|r| serde_json::from_slice(r.value.as_deref()?).ok()).collect();
    for row in [json!({"id": 2, "ratio": 4}), json!({"id": 3, "ratio": null}), json!({"id": 1, "ratio": 3})] {
        assert!(rows.contains(&row), "{row} is not in {rows:?}");
    }
}
