//! Changelogs as input: tables from UPSERT and Debezium records, in files, scripts and topics.
//!
//! The topology reads and writes files, its script feeds it in process, and one test reads and writes topics,
//! where deletes are tombstones.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::{self, Ended};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(240);

fn herald(dir: &Path, args: &[&str]) -> Ended {
    child::herald(dir, args, &[("HERALD_LOG_LEVEL", "off"), ("NO_COLOR", "1")], PATIENCE)
}

/// Creates a directory with the topology and its script.
fn shop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let from = servers::root().join("tests/fixtures/keyed");
    for name in ["shop.sql", "shop.test.sql"] {
        fs::copy(from.join(name), dir.path().join(name)).expect("a copy");
    }
    dir
}

#[test]
fn rows_are_replaced_and_deleted_in_every_way() {
    let dir = shop();
    let ended = herald(dir.path(), &["test", "shop.test.sql"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stdout, "ok   shop.test.sql (5 steps, 12 ways)\n");
}

#[test]
fn files_hold_keys_and_events() {
    let dir = shop();
    let write = |name: &str, lines: &[&str]| {
        fs::write(dir.path().join(name), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("a file");
    };
    write(
        "customers.jsonl",
        &[
            r#"{"key":{"id":1},"value":{"country":"de"}}"#,
            r#"{"key":{"id":2},"value":{"country":"fr"}}"#,
            r#"{"key":2,"value":null}"#,
            r#"{"country":"pl"}"#,
        ],
    );
    write(
        "orders.jsonl",
        &[
            r#"{"after":{"id":10,"customer":1,"cents":5,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"after":{"id":11,"customer":1,"cents":6,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"after":{"id":12,"customer":2,"cents":7,"placed_at":"2026-01-31T10:00:00Z"},"op":"c"}"#,
            r#"{"before":{"id":11},"op":"d"}"#,
        ],
    );
    let ended = herald(dir.path(), &["run", "shop.sql", "--once"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let said = |sql: &str| {
        let ended = herald(dir.path(), &["query", sql, "--state", ".herald/shop", "--format", "csv"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert_eq!(said("SELECT country, orders, cents FROM spent"), "country,orders,cents\nde,1,5\n");
    let dead_letters =
        said("SELECT source, outcome, message, CAST(value AS VARCHAR) AS value FROM herald.dead_letter");
    assert_eq!(
        dead_letters,
        "source,outcome,message,value\ncustomers,decode,the record has no key,\\x7b22636f756e747279223a22706c227d\n"
    );
}

/// A table over an upsert topic, one over a Debezium topic, and an upsert sink of their join.
const TOPICS: &str = "
CREATE TABLE customers (id BIGINT, country VARCHAR NOT NULL, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = '${PREFIX}.customers', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT UPSERT ENCODE JSON;
CREATE TABLE orders (id BIGINT, customer BIGINT, cents BIGINT, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = '${PREFIX}.orders', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT DEBEZIUM ENCODE JSON;
CREATE MATERIALIZED VIEW spent AS
SELECT c.country, count(*) AS orders, sum(o.cents) AS cents
FROM orders AS o JOIN customers AS c ON o.customer = c.id GROUP BY c.country;
CREATE SINK spent_out FROM spent
WITH (connector = 'kafka', topic = '${PREFIX}.spent', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
      primary_key = 'country')
FORMAT UPSERT ENCODE JSON;
";

#[test]
fn tombstones_go_through_kafka() {
    let prefix = "keyed-tombstones";
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("spent.sql"), TOPICS).expect("a file");
    let topic = |name: &str| format!("{prefix}.{name}");
    let broker = broker::shared();
    for (name, partitions) in [("customers", 2), ("orders", 2)] {
        broker.create_topic(&topic(name), partitions);
    }
    let customer = |id: u32| format!(r#"{{"id":{id}}}"#);
    let run = || {
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("PREFIX", prefix)];
        child::succeed(dir.path(), &["run", "spent.sql", "--once", "--listen", "off"], &env, PATIENCE).stdout
    };
    let sent = || -> Vec<String> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("text");
        let read = broker.read_committed(&topic("spent")).into_iter();
        let mut sent: Vec<String> = read.map(|r| format!("{}={}", text(r.key), text(r.value))).collect();
        sent.sort();
        sent
    };

    let (one, two, three) = (customer(1), customer(2), customer(3));
    let countries = [(&one, "de"), (&two, "fr"), (&three, "fr")];
    let rows: Vec<(String, String)> =
        countries.map(|(key, country)| (key.clone(), format!(r#"{{"country":"{country}"}}"#))).into();
    broker.produce(&topic("customers"), rows.iter().map(|(key, row)| (key.as_str(), row.as_bytes())));
    let change = |id: u32, customer: u32| {
        format!(
            r#"{{"before":null,"after":{{"id":{id},"customer":{customer},"cents":{}}},"op":"c"}}"#,
            id * 10
        )
    };
    let changes: Vec<(String, String)> =
        [(10, 1), (11, 2), (12, 3)].map(|(id, by)| (customer(id), change(id, by))).into();
    broker.produce(&topic("orders"), changes.iter().map(|(key, row)| (key.as_str(), row.as_bytes())));
    run();
    let first = sent();
    let de = r#"{"country":"de"}={"country":"de","orders":1,"cents":100}"#;
    assert_eq!(first, [de, r#"{"country":"fr"}={"country":"fr","orders":2,"cents":230}"#]);

    // Deletes a customer and an order: the order's change event, and the tombstone that follows it in the
    // topic.
    broker.produce(&topic("customers"), [(three.as_str(), None), (one.as_str(), None)]);
    let order = customer(11);
    let gone = format!(r#"{{"before":{order},"after":null,"op":"d"}}"#);
    broker.produce(&topic("orders"), [(order.as_str(), Some(gone.as_bytes())), (order.as_str(), None)]);
    let told = run();
    assert!(told.contains("orders: 5 read = 4 accepted + 1 duplicate"), "{told}");
    assert!(told.contains("customers: 5 read = 5 accepted"), "{told}");
    let mut last = sent();
    last.retain(|record| !first.contains(record));
    assert_eq!(
        last,
        [r#"{"country":"de"}="#, r#"{"country":"fr"}="#],
        "nothing is left, and both keys are told"
    );
}
