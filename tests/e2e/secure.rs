//! A broker with authentication: SASL over TLS, mutual TLS, and the errors for clients that are refused.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::child::{self, Ended};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);

/// A topology whose source and sink are on Kafka with these options.
fn topology(dir: &Path, out: &str, options: &[(&str, &str)]) {
    let options: String =
        options.iter().map(|(name, value)| format!(",\n  properties.{name} = '{value}'")).collect();
    let text = format!(
        "CREATE SOURCE scores (player VARCHAR NOT NULL, points BIGINT NOT NULL) WITH (
  connector = 'kafka', topic = 'scores', dead_letter.topic = '{out}.dead',
  properties.bootstrap.server = '${{KAFKA_BOOTSTRAP}}'{options}
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW totals AS SELECT player, sum(points) AS points FROM scores GROUP BY player;
CREATE SINK totals_out FROM totals WITH (
  connector = 'kafka', topic = '{out}', primary_key = 'player',
  properties.bootstrap.server = '${{KAFKA_BOOTSTRAP}}'{options}
) FORMAT UPSERT ENCODE JSON;
"
    );
    std::fs::write(dir.join("secure.sql"), text).expect("a file");
}

fn run(dir: &Path, name: &str, bootstrap: &str, password: &str) -> Ended {
    let env = [("KAFKA_BOOTSTRAP", bootstrap), ("KAFKA_PASSWORD", password)];
    let args = ["run", "secure.sql", "--name", name, "--state", name, "--once", "--listen", "off"];
    child::herald(dir, &args, &env, PATIENCE)
}

#[test]
fn who_shows_a_password_or_a_certificate_gets_in() {
    let kafka = tempfile::tempdir().expect("a directory");
    let secure = servers::start_secure_kafka(kafka.path());
    let broker = Broker { bootstrap: &secure.plain };
    broker.create_topic("scores", 2);
    broker.produce("scores", [("a", &br#"{"player":"a","points":3}"#[..]), ("b", b"{oops")]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| kafka.path().join(name).to_string_lossy().into_owned();
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let sasl = |mechanism: &'static str| {
        vec![
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", &ca),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "herald"),
            ("sasl.password", "${KAFKA_PASSWORD}"),
        ]
    };
    let mutual = vec![
        ("security.protocol", "SSL"),
        ("ssl.ca.location", &ca),
        ("ssl.certificate.location", &certificate),
        ("ssl.key.location", &key),
    ];
    let gets_in = [
        ("plain", sasl("PLAIN"), &secure.sasl),
        ("scram", sasl("SCRAM-SHA-512"), &secure.sasl),
        ("mutual", mutual.clone(), &secure.mutual),
    ];
    for (name, options, bootstrap) in &gets_in {
        topology(dir.path(), name, options);
        // A second start finds the first one's marker and publishes nothing again.
        for _ in 0..2 {
            let ended = run(dir.path(), name, bootstrap, "herald-secret");
            assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
            let out = broker.read_committed(name);
            let values: Vec<&[u8]> = out.iter().filter_map(|read| read.value.as_deref()).collect();
            assert_eq!(values, [br#"{"player":"a","points":3}"#], "{name}");
            assert_eq!(broker.read_committed(&format!("{name}.dead")).len(), 1, "{name}");
            assert!(!ended.stderr.contains("herald-secret"), "{}", ended.stderr);
        }
    }

    // `herald topics` reads the same options from a file.
    let topics = |password: &str| {
        let settings: String =
            sasl("SCRAM-SHA-512").iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(dir.path().join("client.properties"), format!("# Of the client.\n{settings}"))
            .expect("a file");
        std::fs::write(dir.path().join("topics.sql"), "CREATE TOPIC scores WITH (partitions = 2);")
            .expect("a file");
        let args = ["topics", "plan", "topics.sql", "--properties", "client.properties"];
        let env = [("KAFKA_BOOTSTRAP", secure.sasl.as_str()), ("KAFKA_PASSWORD", password)];
        child::herald(dir.path(), &args, &env, PATIENCE)
    };
    let planned = topics("herald-secret");
    assert!(planned.code == Some(0) && planned.stdout.starts_with("nothing     scores\n"), "{planned:?}");
    let refused = topics("guessed");
    assert!(refused.code == Some(2) && refused.stderr.contains("Authentication failed"), "{refused:?}");

    // Name, missing options, password, and the expected error.
    let refused = [
        ("wrong-plain", &[][..], sasl("PLAIN"), &secure.sasl, "guessed", "Authentication failed"),
        ("wrong-scram", &[], sasl("SCRAM-SHA-512"), &secure.sasl, "guessed", "Authentication failed"),
        ("no-authority", &["ssl.ca.location"], sasl("PLAIN"), &secure.sasl, "herald-secret", "certificate"),
        (
            "no-certificate",
            &["ssl.certificate.location", "ssl.key.location"],
            mutual,
            &secure.mutual,
            "",
            "ertificate",
        ),
        ("no-tls", &["security.protocol"], sasl("PLAIN"), &secure.sasl, "herald-secret", "security.protocol"),
    ];
    for (name, leave_out, options, bootstrap, password, said) in refused {
        let left: Vec<(&str, &str)> =
            options.into_iter().filter(|(option, _)| !leave_out.contains(option)).collect();
        topology(dir.path(), name, &left);
        let ended = run(dir.path(), name, bootstrap, password);
        assert!(matches!(ended.code, Some(1 | 2)), "{name}: {:?}\n{}", ended.code, ended.stderr);
        assert!(ended.stderr.contains(said), "{name}: {}", ended.stderr);
        assert!(password.is_empty() || !ended.stderr.contains(password), "{name}: {}", ended.stderr);
    }
    let check = Command::new(env!("CARGO_BIN_EXE_herald"))
        .args(["explain", "secure.sql"])
        .current_dir(dir.path())
        .env("KAFKA_BOOTSTRAP", "b:9092")
        .env("KAFKA_PASSWORD", "herald-secret")
        .output()
        .expect("herald runs");
    let said = [check.stdout, check.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("herald-secret"), "{}", String::from_utf8_lossy(&said));
    servers::kill_kafka(kafka.path());
}
