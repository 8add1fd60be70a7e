//! The servers that tests share: started by the project's own scripts, once, and stopped when this
//! process ends. Also the small HTTP client that tests talk to a registry and to `--listen` with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `host:port` of the shared Kafka.
pub fn kafka() -> &'static str {
    static BOOTSTRAP: OnceLock<String> = OnceLock::new();
    BOOTSTRAP.get_or_init(|| start("kafka", "bootstrap="))
}

/// Base URL of the shared registry's Confluent API.
pub fn registry() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| start("registry", "registry="))
}

/// A directory that lives as long as this process; the servers' data are in it.
pub fn scratch() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let base = std::env::temp_dir();
        sweep(&base);
        let dir = base.join(format!("herald-e2e-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        dir
    })
    .clone()
}

/// A static is never dropped, so each run removes what ended runs have left.
fn sweep(base: &Path) {
    let left = std::fs::read_dir(base).into_iter().flatten().flatten();
    for entry in left {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("herald-e2e-")
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Starts a Kafka of a test's own, or starts it again on its data and port; gives `host:port`.
pub fn start_kafka(dir: &Path) -> String {
    start_in("kafka", "bootstrap=", dir)
}

/// The same with a listener that is reached through `port`; gives it, and the listener's own address.
pub fn start_kafka_behind(dir: &Path, port: u16) -> (String, String) {
    let said = started("kafka", dir, &["--proxy", &port.to_string()]);
    (value(&said, "bootstrap="), value(&said, "proxied="))
}

/// The listeners of a Kafka that wants to know who is there, and one that does not.
pub struct SecureKafka {
    /// Open to everybody.
    pub plain: String,
    /// SASL over TLS.
    pub sasl: String,
    /// TLS with a certificate from either side.
    pub mutual: String,
}

/// Starts a Kafka that wants to know who is there; certificates are in `dir`.
pub fn start_secure_kafka(dir: &Path) -> SecureKafka {
    let said = started("kafka", dir, &["--secure"]);
    let of = |prefix| value(&said, prefix);
    SecureKafka { plain: of("bootstrap="), sasl: of("sasl="), mutual: of("mutual=") }
}

/// Asks a test's own Kafka to end, and waits.
pub fn stop_kafka(dir: &Path) {
    let script = root().join("scripts/kafka.sh");
    let status = Command::new(script).arg("stop").arg(dir).status().expect("the script runs");
    assert!(status.success(), "scripts/kafka.sh stop");
}

/// Ends a test's own Kafka without a word.
pub fn kill_kafka(dir: &Path) {
    let script = root().join("scripts/kafka.sh");
    let status = Command::new(script).arg("stop").arg(dir).arg("--now").status().expect("the script runs");
    assert!(status.success(), "scripts/kafka.sh stop");
}

fn start(name: &str, prefix: &str) -> String {
    start_in(name, prefix, &scratch().join(name))
}

fn start_in(name: &str, prefix: &str, dir: &Path) -> String {
    value(&started(name, dir, &[]), prefix)
}

fn value(said: &str, prefix: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix(prefix));
    line.unwrap_or_else(|| panic!("the script said {said:?}")).to_owned()
}

fn started(name: &str, dir: &Path, more: &[&str]) -> String {
    let script = root().join("scripts").join(format!("{name}.sh"));
    let output = Command::new(script)
        .arg("start")
        .arg(dir)
        .args(["--watch", &std::process::id().to_string()])
        .args(more)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "scripts/{name}.sh could not start it: run scripts/setup.sh");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_broker_that_ends_before_it_is_killed_is_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("pid"), "999999999").expect("a file");
    // Alive when first asked, gone when the signal comes.
    let kill = "() { [ \"$1\" = -0 ] && [ ! -e \"$SEEN\" ] && : >\"$SEEN\"; }";
    let status = Command::new(root().join("scripts/kafka.sh"))
        .arg("stop")
        .arg(dir.path())
        .arg("--now")
        .env("BASH_FUNC_kill%%", kill)
        .env("SEEN", dir.path().join("seen"))
        .status();
    assert!(status.expect("the script runs").success() && !dir.path().join("pid").exists());
}

/// An address of the loopback interface that nobody listens on.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Runs a Python program of `tests/oracle` over lines on its standard input and gives its output.
pub fn python(program: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new("python3")
        .arg(root().join("tests/oracle").join(program))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // Written beside the reading: both pipes have bounds.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("python3 ends")
    });
    assert!(output.status.success(), "tests/oracle/{program} {args:?} failed");
    String::from_utf8(output.stdout).expect("text")
}

/// One HTTP request; the status and the body. HTTP/1.0, so that the body comes in one piece.
pub fn http(method: &str, url: &str, body: Option<&str>) -> std::io::Result<(u16, String)> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let body = body.unwrap_or_default();
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

/// Registers a schema and gives its id.
pub fn register(subject: &str, schema: &str) -> u64 {
    let body = serde_json::json!({ "schema": schema }).to_string();
    let url = format!("{}/subjects/{subject}/versions", registry());
    let (status, answer) = http("POST", &url, Some(&body)).expect("the registry answers");
    assert_eq!(status, 200, "registering {subject}: {answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["id"].as_u64().expect("an id")
}
