//! Servers shared by the tests: started once by the project's own scripts, and stopped when this process
//! ends. Also a small HTTP client for the registry and `--listen`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// Longest time for which an answer over HTTP is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The shared store with S3's API: its `HOST:PORT`, and the file of DuckDB's extension that reads it.
#[cfg(feature = "cloud")]
pub fn store() -> &'static (String, String) {
    static STORE: OnceLock<(String, String)> = OnceLock::new();
    STORE.get_or_init(|| {
        let said = started("stores", &scratch().join("stores"), &[]);
        (value(&said, "s3="), value(&said, "httpfs="))
    })
}

/// A directory that exists as long as this process; it holds the servers' data.
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

/// Removes the directories of earlier runs: a static is never dropped, so a run cannot remove its own.
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

/// Starts a Kafka for one test, or restarts it on its data and port. Returns `host:port`.
pub fn start_kafka(dir: &Path) -> String {
    start_in("kafka", "bootstrap=", dir)
}

/// Starts a Kafka that advertises `port`, behind which a proxy forwards. Returns that address and the
/// listener's own.
pub fn start_kafka_behind(dir: &Path, port: u16) -> (String, String) {
    let said = started("kafka", dir, &["--proxy", &port.to_string()]);
    (value(&said, "bootstrap="), value(&said, "proxied="))
}

/// The listeners of a Kafka with authentication.
pub struct SecureKafka {
    /// The listener without authentication.
    pub plain: String,
    /// The listener with SASL over TLS.
    pub sasl: String,
    /// The listener with mutual TLS.
    pub mutual: String,
}

/// Starts a Kafka with authentication; its certificates are in `dir`.
pub fn start_secure_kafka(dir: &Path) -> SecureKafka {
    let said = started("kafka", dir, &["--secure"]);
    let of = |prefix| value(&said, prefix);
    SecureKafka { plain: of("bootstrap="), sasl: of("sasl="), mutual: of("mutual=") }
}

/// Stops a test's own Kafka and waits for its end.
pub fn stop_kafka(dir: &Path) {
    let script = root().join("scripts/kafka.sh");
    let status = Command::new(script).arg("stop").arg(dir).status().expect("the script runs");
    assert!(status.success(), "scripts/kafka.sh stop");
}

/// Kills a test's own Kafka.
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
    // The process is alive at the first check and has ended when it is signalled.
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
        // Written by another thread than the one that reads: both pipes have bounded buffers.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("python3 ends")
    });
    assert!(output.status.success(), "tests/oracle/{program} {args:?} failed");
    String::from_utf8(output.stdout).expect("text")
}

/// Sends one HTTP request. Returns the status and the body. HTTP/1.0 avoids chunked bodies.
pub fn http(method: &str, url: &str, body: Option<&str>) -> std::io::Result<(u16, String)> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
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

/// Registers a schema and returns its id.
pub fn register(subject: &str, schema: &str) -> u64 {
    let body = serde_json::json!({ "schema": schema }).to_string();
    let url = format!("{}/subjects/{subject}/versions", registry());
    let (status, answer) = http("POST", &url, Some(&body)).expect("the registry answers");
    assert_eq!(status, 200, "registering {subject}: {answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["id"].as_u64().expect("an id")
}
