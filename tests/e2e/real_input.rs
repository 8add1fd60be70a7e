//! Captured matches through Kafka and `match_analytics.sql`: the sinks hold exactly the rows that plain
//! Python computes from the file.
//!
//! Each record is produced twice, all are shuffled, and among them are one that does not decode and
//! one older revision of a match. Every capture but the broken one is accepted. The project's own
//! fixture is always used; captures that may not be distributed are used where they are present.

use std::path::PathBuf;
use std::time::Duration;

use crate::input::{self, Encode};
use crate::{broker, child, servers};

const PATIENCE: Duration = Duration::from_secs(90);

fn captures() -> Vec<(&'static str, PathBuf)> {
    let root = servers::root();
    let shared = root.join("../shared/data/riot_match_v5.jsonl");
    let mut files = vec![("fixture", root.join("tests/fixtures/matches.jsonl"))];
    if shared.exists() {
        files.push(("captured", shared));
    }
    files
}

fn through(encode: Encode, file: &str) {
    for (name, path) in captures() {
        for seed in ["1", "2"] {
            let prefix = format!("real-{name}-{encode:?}-{seed}").to_lowercase();
            let dir = tempfile::tempdir().expect("a directory");
            let options = ["--seed", seed, "--revisions", "--broken"];
            let matches = input::matches(&path, &options, encode, &prefix);
            let champions = input::champions(encode, &prefix, "");
            broker::shared().create_topic(&format!("{prefix}.match.completed"), 3);
            broker::shared().create_topic(&format!("{prefix}.champion"), 2);
            broker::shared().produce(&format!("{prefix}.match.completed"), input::pairs(&matches));
            broker::shared().produce(&format!("{prefix}.champion"), input::pairs(&champions));

            let topology = child::topology(dir.path(), file, &prefix);
            let topology = topology.to_string_lossy();
            let args =
                ["run", &*topology, "--name", &*prefix, "--state", "state", "--workers", seed, "--once"];
            let mut env = vec![("KAFKA_BOOTSTRAP", servers::kafka())];
            if encode == Encode::Avro {
                env.push(("SCHEMA_REGISTRY", servers::registry()));
            }
            child::succeed(dir.path(), &args, &env, PATIENCE);

            let expected = input::expected(&matches, &champions);
            for (view, rows) in &expected {
                let topic = format!("{prefix}.analytics.computed.{view}");
                input::assert_same(&topic, &input::upserted(&topic, encode), rows);
            }
            let rejected = broker::shared().read_committed(&format!("{prefix}.herald.dead_letter"));
            assert_eq!(rejected.len(), 1, "only the broken record is rejected: {rejected:?}");
            let broken = matches.iter().find(|r| Some(&r.value) == rejected[0].value.as_ref());
            assert!(broken.is_some(), "the dead letter's bytes are those produced");
        }
    }
}

#[test]
fn captured_matches_in_json_give_what_python_computes() {
    through(Encode::Json, "dataflows/topologies/match_analytics.sql");
}

#[test]
fn captured_matches_in_avro_give_what_python_computes() {
    through(Encode::Avro, "dataflows/topologies/match_analytics_avro.sql");
}
