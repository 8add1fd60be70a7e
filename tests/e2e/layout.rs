//! `herald topics`: a file of CREATE TOPIC compared with a real Kafka and a schema registry, and applied.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{self, Ended};
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `herald topics ORDER topics.sql` over the shared broker.
fn topics(dir: &Path, order: &str, more: &[&str]) -> Ended {
    let args = [&["topics", order, "topics.sql"], more].concat();
    child::herald(dir, &args, &[("KAFKA_BOOTSTRAP", servers::kafka())], PATIENCE)
}

/// The topic's part of a plan in JSON.
fn planned(dir: &Path, topic: &str, more: &[&str]) -> (Option<i32>, Value) {
    let ended = topics(dir, "plan", &[&["--format", "json"], more].concat());
    let plan: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let of_topic = plan["topics"].as_array().and_then(|all| all.iter().find(|one| one["topic"] == topic));
    (ended.code, of_topic.unwrap_or_else(|| panic!("{plan}")).clone())
}

fn write(dir: &Path, text: &str) {
    std::fs::write(dir.join("topics.sql"), text).expect("a file");
}

#[test]
fn topics_are_made_and_put_back_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, broker) = (dir.path(), broker::shared());
    let layout = |partitions: &str, more: &str| {
        write(
            dir,
            &format!(
                "CREATE TOPIC \"layout.a\" WITH (partitions = '{partitions}', replication.factor = '1', \
                 key = 'match_id', cleanup.policy = 'delete', retention = '30 days'{more});\n\
                 CREATE TOPIC \"layout.b\" WITH (partitions = '${{PARTS:-1}}', cleanup.policy = 'compact');\n"
            ),
        );
    };
    layout("2", "");
    broker.create_topic("layout.other", 1);

    let plan = topics(dir, "plan", &[]);
    assert_eq!(plan.code, Some(3), "{plan:?}");
    let first = "create      layout.a, 2 partitions, replication factor 1, key match_id\n            \
                 cleanup.policy = delete\n            retention.ms = 2592000000 (30 days)\ncreate      layout.b, 1";
    assert!(plan.stdout.starts_with(first), "{}", plan.stdout);
    assert!(plan.stdout.contains("Not in the file, and left alone: "), "{}", plan.stdout);
    assert!(plan.stdout.contains("layout.other") && !plan.stdout.contains("__consumer"), "{}", plan.stdout);
    assert!(broker.topics_with("layout.a").is_empty(), "plan changes nothing");
    let applied = topics(dir, "apply", &[]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(applied.stdout.ends_with("2 steps done.\n"), "{}", applied.stdout);
    for order in ["plan", "apply"] {
        let again = topics(dir, order, &[]);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert!(
            again.stdout.starts_with("nothing     layout.a, key match_id\nnothing     layout.b\n"),
            "{again:?}"
        );
        assert!(again.stdout.contains("\nNothing to do: Kafka at "), "{}", again.stdout);
    }

    // One option that the file names is changed by hand, and one that it does not name is set.
    let by_hand = [("cleanup.policy", "delete"), ("retention.ms", "7000"), ("max.message.bytes", "2000000")];
    broker.set_configs("layout.a", &by_hand);
    let (code, a) = planned(dir, "layout.a", &[]);
    let change = json!({"retention.ms": {"from": "7000", "to": "2592000000"}});
    assert_eq!((code, &a["fate"]), (Some(3), &json!("change")));
    assert_eq!(a["steps"], json!([{"step": "configure", "configs": change}]));
    let applied = topics(dir, "apply", &["--format", "json"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let line: Value = serde_json::from_str(applied.stdout.trim_end()).expect("a line");
    assert_eq!(line, json!({"topic": "layout.a", "done": {"step": "configure", "configs": change}}));
    let held = broker.configs("layout.a");
    assert_eq!(
        (held["retention.ms"].as_str(), held["max.message.bytes"].as_str()),
        ("2592000000", "2000000")
    );
    assert_eq!(held["cleanup.policy"], "delete");

    // Partitions grow, with a warning for the keys.
    layout("4", ", max.message.bytes = 3000000");
    let plan = topics(dir, "plan", &[]);
    assert_eq!(plan.code, Some(3), "{plan:?}");
    for part in
        ["max.message.bytes 2000000 -> 3000000\n", "partitions 2 -> 4\n", "Warning: it is keyed by match_id"]
    {
        assert!(plan.stdout.contains(part), "{part}: {}", plan.stdout);
    }
    assert!(plan.stdout.lines().all(|line| line.chars().count() <= 80), "{}", plan.stdout);
    let applied = topics(dir, "apply", &[]);
    assert_eq!((applied.code, broker.partitions("layout.a")), (Some(0), 4), "{applied:?}");

    // They do not shrink, and then nothing is applied at all.
    layout("3", ", max.message.bytes = 5000000");
    for order in ["plan", "apply"] {
        let refused = topics(dir, order, &[]);
        assert_eq!(refused.code, Some(4), "{refused:?}");
        assert!(
            refused.stdout.contains("impossible  layout.a, key match_id\n            it has 4 partitions"),
            "{refused:?}"
        );
    }
    assert_eq!(broker.configs("layout.a")["max.message.bytes"], "3000000");
    assert!(!broker.topics_with("layout.other").is_empty());
}

#[test]
fn refusals_of_the_broker_are_told_before_anything_is_done() {
    let dir = tempfile::tempdir().expect("a directory");
    broker::shared().create_topic("layout.refused", 1);
    write(
        dir.path(),
        "CREATE TOPIC \"layout.refused\" WITH (retention.ms = 'soon');
         CREATE TOPIC \"layout.refused.too\" WITH (retentoin.ms = '5');
         CREATE TOPIC \"layout.refused.three\" WITH (replication.factor = '3');",
    );
    let (code, topic) = planned(dir.path(), "layout.refused", &[]);
    assert_eq!(code, Some(4));
    let why = topic["obstacles"][0].as_str().unwrap_or_default();
    assert!(why.contains("Invalid value soon for configuration retention.ms"), "{why}");
    let (_, topic) = planned(dir.path(), "layout.refused.too", &[]);
    let why = topic["obstacles"][0].as_str().unwrap_or_default();
    assert!(why.contains("Unknown topic config name: retentoin.ms"), "{why}");
    let (_, topic) = planned(dir.path(), "layout.refused.three", &[]);
    let why = topic["obstacles"][0].as_str().unwrap_or_default();
    assert!(why.contains("to create topic \"layout.refused.three\": Unable to replicate"), "{why}");
    assert_eq!(broker::shared().topics_with("layout.refused"), ["layout.refused"]);

    write(dir.path(), "CREATE TOPIC \"layout.refused\" WITH (partitions = '0');");
    let wrong = topics(dir.path(), "plan", &[]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        wrong.stderr.starts_with("topics.sql:1:37: topic \"layout.refused\": option partitions: '0' is"),
        "{wrong:?}"
    );
    write(dir.path(), "CREATE TOPIC \"layout.refused\";");
    let nobody = child::herald(
        dir.path(),
        &["topics", "plan", "topics.sql", "--bootstrap", "127.0.0.1:9"],
        &[],
        PATIENCE,
    );
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.starts_with("error: Kafka at 127.0.0.1:9 cannot be reached: "), "{nobody:?}");
    // A topology has no topics.
    let check = child::herald(dir.path(), &["check", "topics.sql"], &[], PATIENCE);
    assert_eq!(check.code, Some(2));
    assert!(check.stderr.contains("CREATE TOPIC is not a statement of a topology"), "{check:?}");
    assert!(check.stderr.contains("herald topics plan"), "{check:?}");
}

#[test]
#[cfg(feature = "failpoints")]
fn an_interrupted_apply_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let names: Vec<String> = (0..4).map(|n| format!("layout.halfway.{n}")).collect();
    let text: String =
        names.iter().map(|name| format!("CREATE TOPIC \"{name}\" WITH (partitions = 2);\n")).collect();
    write(dir.path(), &text);
    let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("HERALD_FAILPOINTS", "topics.step.done=kill@2")];
    let killed = child::herald(dir.path(), &["topics", "apply", "topics.sql"], &env, PATIENCE);
    assert_eq!(killed.code, None, "{killed:?}");
    assert_eq!(broker::shared().topics_with("layout.halfway"), names[..2]);
    let rest = topics(dir.path(), "apply", &[]);
    assert_eq!(rest.code, Some(0), "{rest:?}");
    assert!(
        rest.stdout.starts_with("layout.halfway.2: created, 2 partitions")
            && rest.stdout.ends_with("2 steps done.\n")
    );
    assert_eq!(broker::shared().topics_with("layout.halfway"), names);
    assert_eq!(topics(dir.path(), "plan", &[]).code, Some(0));
}

#[test]
fn subjects_are_registered_and_refused_schemas_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, registry) = (dir.path(), ["--registry", servers::registry()]);
    let schema = |fields: Value| {
        let text = format!("{:#}", json!({"type": "record", "name": "score", "fields": fields}));
        std::fs::write(dir.join("score.avsc"), text).expect("a file");
    };
    let player = json!({"name": "player", "type": "string"});
    schema(json!([player]));
    write(
        dir,
        "CREATE TOPIC \"layout.scores\" WITH (partitions = 1, value.schema = 'score.avsc', compatibility = 'full_transitive');",
    );
    let (code, topic) = planned(dir, "layout.scores", &registry);
    assert_eq!(code, Some(3), "{topic}");
    let steps: Vec<&str> =
        topic["steps"].as_array().into_iter().flatten().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(steps, ["create", "set_compatibility", "register"]);
    let applied = topics(dir, "apply", &registry);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let last = "layout.scores: score.avsc registered under subject layout.scores-value\n3 steps done.\n";
    assert!(applied.stdout.ends_with(last), "{applied:?}");
    let url = format!("{}/subjects/layout.scores-value/versions/latest", servers::registry());
    let (status, held) = servers::http("GET", &url, None).expect("the registry answers");
    assert!(status == 200 && held.contains("player"), "{held}");
    let again = topics(dir, "plan", &registry);
    assert_eq!(again.code, Some(0), "{again:?}");

    // A field without a default fits no reader of before.
    schema(json!([player, {"name": "points", "type": "long"}]));
    let (code, topic) = planned(dir, "layout.scores", &registry);
    let why = topic["obstacles"][0].as_str().unwrap_or_default();
    assert_eq!(code, Some(4), "{topic}");
    assert!(
        why.starts_with("the registry would refuse score.avsc for subject layout.scores-value: "),
        "{why}"
    );
    assert!(why.contains("not compatible"), "{why}");
    schema(json!([player, {"name": "points", "type": "long", "default": 0}]));
    let (code, topic) = planned(dir, "layout.scores", &registry);
    let register = json!([{"step": "register", "subject": "layout.scores-value", "schema": "score.avsc"}]);
    assert_eq!((code, &topic["steps"]), (Some(3), &register));
    assert_eq!(topics(dir, "apply", &registry).code, Some(0));
    assert_eq!(topics(dir, "plan", &registry).code, Some(0));

    let without = topics(dir, "plan", &[]);
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("option value.schema: there is no registry for it"), "{without:?}");
    let down = topics(dir, "plan", &["--registry", "http://127.0.0.1:9"]);
    assert_eq!(down.code, Some(1), "{down:?}");
    assert!(down.stderr.contains("the schema registry at http://127.0.0.1:9 does not answer"), "{down:?}");
}
