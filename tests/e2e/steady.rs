//! A topology on generated records, without a broker, for tests of the server beside it: all of them check
//! that its epochs continue.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::child::{Ended, Herald};
use crate::servers;

/// Longest time for something that must happen.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longest time for an answer of a server that is held up by nobody, on a machine that is busy with other tests. Whoever
/// holds it up does so for longer: until a query of minutes ends, or hundreds of connections time out in turn.
pub const SOON: Duration = Duration::from_secs(30);

const SQL: &str = "
CREATE SOURCE events (id BIGINT NOT NULL, k VARCHAR NOT NULL, n BIGINT NOT NULL) WITH (
  connector = 'datagen', rows.per.second = '500', seed = '3', fields.id.kind = 'sequence',
  fields.k.kind = 'choice', fields.k.values = 'a, b, c, d', fields.n.kind = 'random'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW wide AS SELECT id, k, n FROM events;
CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS events, sum(n) AS total FROM events GROUP BY k;
CREATE SINK totals_out FROM totals WITH (connector = 'file', path = 'totals.jsonl', primary_key = 'k')
FORMAT UPSERT ENCODE JSON;
";

/// The topology as a running process, with its directory and address.
pub struct Steady {
    dir: tempfile::TempDir,
    /// The address it listens on.
    pub listen: SocketAddr,
    herald: Herald,
}

impl Steady {
    /// Starts it and waits until it is ready, if it can become ready.
    pub fn start(args: &[&str], env: &[(&str, &str)], ready: bool) -> Steady {
        Steady::start_in(tempfile::tempdir().expect("a directory"), args, env, ready)
    }

    /// Stops it, which must succeed, and starts it again without waiting until it is ready.
    pub fn restart(self, args: &[&str], env: &[(&str, &str)]) -> Steady {
        let Steady { dir, herald, .. } = self;
        ended_well(&herald.terminate(PATIENCE));
        Steady::start_in(dir, args, env, false)
    }

    fn start_in(dir: tempfile::TempDir, args: &[&str], env: &[(&str, &str)], ready: bool) -> Steady {
        fs::write(dir.path().join("steady.sql"), SQL).expect("a file");
        let listen = servers::free_address();
        let all = ["run", "steady.sql", "--state", "state", "--listen", &listen, "--memory", "256MiB"];
        let herald = Herald::start(dir.path(), &[&all[..], args].concat(), env);
        let mut steady = Steady { dir, listen: listen.parse().expect("an address"), herald };
        if ready {
            steady.wait_until("it is ready", |at| at.get("/readyz").is_ok_and(|(status, _)| status == 200));
            steady.assert_alive("at the start");
        }
        steady
    }

    /// Its directory.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Waits until a condition on the running process holds.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Steady) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(self.herald.running(), "{what}: it has ended:\n{}", self.herald.said());
            assert!(started.elapsed() < PATIENCE, "{what}:\n{}", self.herald.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a GET request. Returns status and body.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        servers::http("GET", &format!("http://{}{path}", self.listen), None)
    }

    /// A query over HTTP.
    pub fn query(&self, sql: &str) -> std::io::Result<(u16, String)> {
        servers::http("POST", &format!("http://{}/v1/query", self.listen), Some(sql))
    }

    /// The committed epoch, as the metrics have it.
    pub fn epoch(&self) -> f64 {
        self.metric("herald_committed_epoch_number{").expect("the epoch")
    }

    /// The value of the first metric line with this prefix.
    pub fn metric(&self, start: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics").ok()?;
        assert_eq!(status, 200, "{text}");
        text.lines().find(|line| line.starts_with(start))?.rsplit(' ').next()?.parse().ok()
    }

    /// Asserts that an epoch is committed and that health and metrics answer, both within the limit.
    pub fn assert_alive(&mut self, when: &str) {
        let asked = Instant::now();
        let health = self.get("/healthz");
        assert!(health.is_ok_and(|(status, _)| status == 200), "{when}: health:\n{}", self.herald.said());
        let before = self.epoch();
        assert!(asked.elapsed() < SOON, "{when}: health and metrics took {:?}", asked.elapsed());
        self.wait_until(&format!("{when}: epochs after {before}"), |at| at.epoch() > before + 2.0);
    }

    /// Opens a connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listen).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends raw bytes on a new connection. Returns the response; empty if the connection is closed.
    pub fn send_raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close the connection before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.herald.pid()
    }

    /// Its child processes that are still running.
    pub fn children(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let all: String = tasks.map(|task| of(task) + " ").collect();
        all.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Its output so far.
    pub fn said(&self) -> String {
        self.herald.said()
    }

    /// Waits until it exits by itself.
    pub fn wait(self) -> Ended {
        self.herald.wait(PATIENCE)
    }

    /// Stops it and asserts that it ends without an error.
    pub fn stop(self) {
        ended_well(&self.herald.terminate(PATIENCE));
    }
}

fn ended_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

/// Resident memory of a process in MiB; 0 if it has ended.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
