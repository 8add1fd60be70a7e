//! Schema registry outages, and schemas that change while a topology runs: which records wait, which are
//! refused, and the messages about them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::{self, Herald};
use crate::proxy::Proxy;
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);
const BROKEN: &str =
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops";

const SCORES: &str = "
CREATE SOURCE scores (player VARCHAR, points BIGINT, team VARCHAR) WITH (
  connector = 'kafka', topic = 'registry.scores', dead_letter.topic = 'registry.dead',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE AVRO (schema.registry = '${REGISTRY}');
CREATE SINK scores_out FROM scores WITH (
  connector = 'kafka', topic = 'registry.out', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
";

/// A number in Avro's variable-length encoding.
fn long(n: i64) -> Vec<u8> {
    let (mut rest, mut out) = (((n << 1) ^ (n >> 63)) as u64, Vec::new());
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

/// An Avro message with its schema id.
fn message(id: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![0], (id as u32).to_be_bytes().to_vec(), fields.concat()].concat()
}

fn schema(fields: Value) -> String {
    json!({"type": "record", "name": "score", "fields": fields}).to_string()
}

fn feed(messages: &[Vec<u8>]) {
    broker::shared().produce("registry.scores", messages.iter().map(|m| ("k", m.as_slice())));
}

fn wait(herald: &Herald, what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn out() -> Vec<Value> {
    let read = broker::shared().read_committed("registry.out");
    read.iter()
        .map(|r| serde_json::from_slice(r.value.as_deref().unwrap_or(b"null")).expect("JSON"))
        .collect()
}

#[test]
fn a_registry_that_is_away_is_waited_for_and_schemas_may_change() {
    let proxy = Proxy::start();
    let real = servers::registry();
    let (host, path) = real.strip_prefix("http://").and_then(|r| r.split_once('/')).expect("an address");
    proxy.set_target(host);
    let registry = format!("http://127.0.0.1:{}/{path}", proxy.port);
    let (player, points) =
        (json!({"name": "player", "type": "string"}), json!({"name": "points", "type": "long"}));
    let first = servers::register("registry.scores-value", &schema(json!([player, points])));
    let team = json!({"name": "team", "type": ["null", "string"], "default": null});
    let wider = servers::register("registry.scores-value", &schema(json!([player, points, team])));
    // Registered under another subject, because the registry would refuse the schema for this one.
    let other = schema(json!([player, {"name": "points", "type": {"type": "array", "items": "long"}}]));
    let unreadable = servers::register("registry.other-value", &other);
    broker::shared().create_topic("registry.scores", 1);

    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("scores.sql"), SCORES).expect("a file");
    let listen = servers::free_address();
    let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("REGISTRY", registry.as_str())];
    let args = ["run", "scores.sql", "--name", "registry", "--state", "state", "--listen", &listen];
    let herald = Herald::start(dir.path(), &args, &env);
    let ask = |path: &str| servers::http("GET", &format!("http://{listen}{path}"), None).unwrap_or_default();
    let open = || ask("/metrics").1.contains("herald_registry_circuit_open_boolean{topology=\"registry\"} 1");

    feed(&[message(first, &[text("a"), long(1)])]);
    wait(&herald, "the first schema is read", || out().len() == 1);
    assert_eq!(ask("/readyz").0, 200);

    // Status 500, then no server, then a closed connection: none is an answer about the schema, so the record
    // waits.
    proxy.set_answer(Some(BROKEN));
    feed(&[message(wider, &[text("b"), long(2), long(1), text("red")])]);
    wait(&herald, "it says that it waits", || ask("/readyz").0 == 503);
    let said = ask("/readyz").1;
    assert!(said.contains("schema registry") && said.contains(&registry), "{said}");
    wait(&herald, "the metric tells", open);
    proxy.refuse_connections(true);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((out().len(), ask("/healthz").0), (1, 200));
    proxy.set_answer(None);
    proxy.refuse_connections(false);
    wait(&herald, "it goes on", || out().len() == 2);
    assert_eq!(out()[1], json!({"player": "b", "points": 2, "team": "red"}));
    wait(&herald, "it is ready again", || ask("/readyz").0 == 200 && !open());

    // A record that waiting cannot fix is refused; the records after it are read.
    feed(&[
        message(unreadable, &[text("c"), long(0)]),
        message(1_000_000, &[text("d"), long(4)]),
        message(first, &[text("e"), long(5)]),
        message(wider, &[text("f"), long(6), long(0)]),
    ]);
    wait(&herald, "the others are read", || out().len() == 4);
    let rows = out();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["player"].as_str()).collect();
    assert_eq!(names, ["a", "b", "e", "f"]);
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let dead_letters = broker::shared().read_committed("registry.dead");
    let reasons: Vec<&str> =
        dead_letters.iter().map(|dead_letter| dead_letter.headers["herald.message"].as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(reasons[0], "field points: Avro array does not fit BIGINT");
    assert!(reasons[1].contains("does not know schema id 1000000"), "{reasons:?}");
    assert_eq!(dead_letters[0].headers["herald.schema_id"], unreadable.to_string());

    // A start waits for the registry for a while, and then names it in the error.
    proxy.refuse_connections(true);
    let sink = SCORES
        .replace("FORMAT PLAIN ENCODE JSON", "FORMAT PLAIN ENCODE AVRO (schema.registry = '${REGISTRY}')");
    std::fs::write(dir.path().join("avro.sql"), sink.replace("registry.out", "registry.avro"))
        .expect("a file");
    let args =
        ["run", "avro.sql", "--name", "registry-avro", "--state", "other", "--once", "--listen", "off"];
    let refused = child::herald(dir.path(), &args, &env, PATIENCE);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains(&registry), "{}", refused.stderr);
    proxy.refuse_connections(false);
    child::succeed(dir.path(), &args, &env, PATIENCE);
}

#[test]
fn a_stop_ends_while_the_registry_is_away() {
    let proxy = Proxy::start();
    let real = servers::registry();
    let (host, path) = real.strip_prefix("http://").and_then(|r| r.split_once('/')).expect("an address");
    proxy.set_target(host);
    let registry = format!("http://127.0.0.1:{}/{path}", proxy.port);
    let fields = json!([{"name": "player", "type": "string"}, {"name": "points", "type": "long"}]);
    let id = servers::register("registry.stopped-value", &schema(fields));
    broker::shared().create_topic("registry.stopped", 1);
    let dir = tempfile::tempdir().expect("a directory");
    let sql =
        SCORES.replace("registry.scores", "registry.stopped").replace("registry.out", "registry.stopped.out");
    std::fs::write(dir.path().join("scores.sql"), sql).expect("a file");
    let listen = servers::free_address();
    let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("REGISTRY", registry.as_str())];
    let args = ["run", "scores.sql", "--name", "stopped", "--state", "state", "--listen", &listen];
    let herald = Herald::start(dir.path(), &args, &env);
    let ready = || servers::http("GET", &format!("http://{listen}/readyz"), None).unwrap_or_default();
    wait(&herald, "it starts", || ready().0 == 200);
    proxy.refuse_connections(true);
    broker::shared().produce("registry.stopped", [("k", message(id, &[text("a"), long(1)]).as_slice())]);
    wait(&herald, "it waits for the registry", || ready().0 == 503);
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the schema registry did not answer for 30 s"), "{}", ended.stderr);
}

#[test]
fn a_sink_writes_under_the_schema_of_an_event_by_its_name() {
    let subject = "registry.named-value";
    let fields = json!([
        {"name": "player", "type": "string"},
        {"name": "points", "type": ["null", "long"], "default": null},
    ]);
    let event = json!({"type": "record", "name": "ScoreMade", "namespace": "gg.example", "fields": fields});
    servers::register(subject, &event.to_string());
    let config = format!("{}/config/{subject}", servers::registry());
    let level = json!({"compatibility": "FULL_TRANSITIVE"}).to_string();
    let (status, answer) = servers::http("PUT", &config, Some(&level)).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("in.jsonl"), "{\"player\":\"ann\",\"points\":3}\n").expect("a file");
    let run = |more: &str| {
        let sql = format!(
            "CREATE TABLE scores (player VARCHAR NOT NULL, points BIGINT, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
             WITH (connector = 'file', path = 'in.jsonl') FORMAT PLAIN ENCODE JSON;
             CREATE SINK named FROM scores WITH (
               connector = 'kafka', topic = 'registry.named', primary_key = 'player',
               properties.bootstrap.server = '${{KAFKA_BOOTSTRAP}}'
             ) FORMAT UPSERT ENCODE AVRO (schema.registry = '${{REGISTRY}}'{more});"
        );
        std::fs::write(dir.path().join("named.sql"), sql).expect("a file");
        let env = [("KAFKA_BOOTSTRAP", servers::kafka()), ("REGISTRY", servers::registry())];
        let args = ["run", "named.sql", "--name", "registry-named", "--state", "state", "--once"];
        child::herald(dir.path(), &[&args[..], &["--listen", "off"]].concat(), &env, PATIENCE)
    };
    // Named after its table the record is another one.
    let refused = run("");
    assert_eq!(refused.code, Some(2), "{}{}", refused.stdout, refused.stderr);
    let ended = run(", record.name = 'gg.example.ScoreMade'");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let read = broker::shared().read_committed("registry.named");
    assert_eq!(read.len(), 1);
    let value = read[0].value.as_deref().expect("a value");
    assert_eq!(value[5..], message(0, &[text("ann"), long(1), long(3)])[5..]);
    let schema_of = |side: &[u8]| {
        let id = u32::from_be_bytes(side[1..5].try_into().expect("four bytes"));
        let url = format!("{}/schemas/ids/{id}", servers::registry());
        let (_, answer) = servers::http("GET", &url, None).expect("the registry answers");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        serde_json::from_str::<Value>(answer["schema"].as_str().expect("a schema")).expect("JSON")
    };
    assert_eq!(schema_of(value), event, "the schema that was there");
    let of_key = schema_of(read[0].key.as_deref().expect("a key"));
    assert_eq!((&of_key["namespace"], &of_key["name"]), (&json!("gg.example"), &json!("ScoreMade_key")));
}

/// Runs openssl in a directory.
fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output();
    let output = output.expect("openssl runs");
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A registry over TLS that knows one subject. Dropping it ends it.
struct TlsRegistry {
    server: Child,
    url: String,
}

impl TlsRegistry {
    /// Starts it in a directory, with a certificate that the authority of `authority.pem` there signs.
    fn start(dir: &Path, subject: &str) -> TlsRegistry {
        let authority = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority";
        openssl(dir, &format!("{authority} -keyout authority.key -out authority.pem"));
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key";
        openssl(dir, &format!("req {key} -subj /CN=registry -out server.csr"));
        let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        std::fs::write(dir.join("extensions"), extensions).expect("a file");
        let signed =
            "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2";
        openssl(dir, &format!("{signed} -extfile extensions -out server.pem"));
        // The server of openssl answers with files that are whole answers.
        let versions = dir.join("subjects").join(subject).join("versions");
        std::fs::create_dir_all(&versions).expect("a directory");
        let schema = schema(json!([{"name": "player", "type": "string"}]));
        let body = json!({"subject": subject, "version": 1, "id": 7, "schema": schema}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close", body.len());
        std::fs::write(versions.join("latest"), format!("{head}\r\n\r\n{body}")).expect("a file");
        let address = servers::free_address();
        let server = Command::new("openssl")
            .args(["s_server", "-accept", &address, "-HTTP", "-quiet"])
            .args(["-cert", "server.pem", "-key", "server.key"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let started = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < PATIENCE, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        TlsRegistry { server, url: format!("https://{address}") }
    }
}

impl Drop for TlsRegistry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_registry_over_tls_is_trusted_by_its_authority() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = TlsRegistry::start(dir.path(), "registry.tls-value");
    broker::shared().create_topic("registry.tls", 1);
    let sql = SCORES.replace("registry.scores", "registry.tls").replace("registry.out", "registry.tls.out");
    std::fs::write(dir.path().join("scores.sql"), sql).expect("a file");
    let check = |variable: &str, value: &str| {
        let addresses = [("KAFKA_BOOTSTRAP", servers::kafka()), ("REGISTRY", registry.url.as_str())];
        let env = [&addresses[..], &[(variable, value)]].concat();
        child::herald(dir.path(), &["check", "scores.sql", "--connect"], &env, PATIENCE)
    };
    std::fs::create_dir(dir.path().join("trusted")).expect("a directory");
    std::fs::copy(dir.path().join("authority.pem"), dir.path().join("trusted/authority.crt"))
        .expect("a file");
    for (variable, value) in [("SSL_CERT_FILE", "authority.pem"), ("SSL_CERT_DIR", "trusted")] {
        let trusting = check(variable, value);
        assert_eq!(trusting.code, Some(0), "{}{}", trusting.stdout, trusting.stderr);
        let found = "the registry has subject registry.tls-value (schema 7)";
        assert!(trusting.stdout.contains(found), "{}", trusting.stdout);
    }
    let distrusting = check("SSL_CERT_FILE", "server.csr");
    assert_eq!(distrusting.code, Some(1), "{}", distrusting.stdout);
    for part in [registry.url.as_str(), "signed by no authority that is trusted here", "in SSL_CERT_FILE"] {
        assert!(distrusting.stdout.contains(part), "{part}: {}", distrusting.stdout);
    }
}
