//! SUBSCRIBE over PostgreSQL's protocol, by psycopg 3 (`pg/subscribe.py`) and psql: the rows that a client
//! makes of snapshot and changes are those of the view, and the money of a bank adds up at every mark of
//! progress, through kills.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::child::{Herald, number};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);
const TOPOLOGY: &str = "
CREATE SOURCE transfers (payer BIGINT NOT NULL, payee BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH (connector = 'file', path = 'transfers.jsonl', follow = 'true') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW credits AS
  SELECT payee AS account, sum(amount) AS amount FROM transfers GROUP BY payee;
CREATE MATERIALIZED VIEW debits AS
  SELECT payer AS account, sum(amount) AS amount FROM transfers GROUP BY payer;
CREATE MATERIALIZED VIEW balance AS
  SELECT c.account AS payee, d.account AS payer, coalesce(c.amount, 0) - coalesce(d.amount, 0) AS amount
  FROM credits AS c FULL JOIN debits AS d ON c.account = d.account;
CREATE MATERIALIZED VIEW brief WITH (history = '3 seconds') AS
  SELECT payee, count(*) AS n FROM transfers GROUP BY payee;
CREATE MATERIALIZED VIEW off WITH (history = '0 seconds') AS
  SELECT payee, count(*) AS n FROM transfers GROUP BY payee;
";

/// A bank whose transfers are a file that grows.
struct Bank {
    dir: tempfile::TempDir,
    rng: ChaCha8Rng,
    http: String,
    address: String,
}

impl Bank {
    fn new() -> Bank {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("bank.sql"), TOPOLOGY).expect("a file");
        fs::write(dir.path().join("transfers.jsonl"), "").expect("a file");
        let mut bank = Bank {
            dir,
            rng: ChaCha8Rng::seed_from_u64(30),
            http: servers::free_address(),
            address: servers::free_address(),
        };
        bank.add_transfers(200);
        bank
    }

    /// Adds some transfers between a few accounts.
    fn add_transfers(&mut self, count: usize) {
        let mut lines = String::new();
        for _ in 0..count {
            let (payer, payee) = (self.rng.random_range(0..12), self.rng.random_range(0..12));
            let amount = self.rng.random_range(1..100);
            lines.push_str(&format!("{{\"payer\":{payer},\"payee\":{payee},\"amount\":{amount}}}\n"));
        }
        let file = OpenOptions::new().append(true).open(self.dir.path().join("transfers.jsonl"));
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("lines");
    }

    /// Starts the topology with a number of workers, and waits until it listens.
    fn start(&self, workers: u64) -> Herald {
        let workers = workers.to_string();
        let args = ["run", "bank.sql", "--state", "state", "--workers", &workers, "--epoch-interval", "20ms"];
        let listen = ["--listen", &self.http, "--listen-pg", &self.address];
        let mut herald = Herald::start(self.dir.path(), &[&args[..], &listen].concat(), &[]);
        let begun = Instant::now();
        let ready = format!("http://{}/readyz", self.http);
        while servers::http("GET", &ready, None).map_or(0, |(status, _)| status) != 200 {
            assert!(herald.running() && begun.elapsed() < PATIENCE, "{}", herald.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        herald
    }

    fn conninfo(&self) -> String {
        let (host, port) = self.address.rsplit_once(':').expect("an address");
        format!("host={host} port={port} user=anna dbname=bank")
    }

    /// Starts the client's program.
    fn client(&self, stop: Option<&Path>) -> Child {
        Command::new(servers::root().join("scripts/clients.sh"))
            .arg("python")
            .arg(servers::root().join("tests/e2e/pg/subscribe.py"))
            .arg(self.conninfo())
            .args(stop)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script runs")
    }

    /// Adds transfers for a time, and until enough is done or the client has ended.
    fn transfer_for(&mut self, time: Duration, client: &mut Child, enough: impl Fn(&Bank) -> bool) {
        let begun = Instant::now();
        while client.try_wait().expect("a status").is_none() && (begun.elapsed() < time || !enough(self)) {
            assert!(begun.elapsed() < 4 * PATIENCE, "the client does not come along: {:?}", self.told());
            self.add_transfers(5);
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// The file at whose appearance the client that follows the bank stops.
    fn stop(&self) -> PathBuf {
        self.dir.path().join("stop")
    }

    /// Progress that the client tells: numbers of marks, of sessions, of comparisons and of amounts.
    fn told(&self) -> [u64; 4] {
        let told = fs::read_to_string(self.stop().with_extension("marks")).unwrap_or_default();
        numbers(&told).try_into().unwrap_or_default()
    }

    /// The value of the first metric line with this prefix.
    fn metric(&self, start: &str) -> f64 {
        let answer = servers::http("GET", &format!("http://{}/metrics", self.http), None);
        let text = answer.map_or_else(|_| String::new(), |answer| answer.1);
        let line = text.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
    }
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Waits until a client has ended.
fn finish(mut client: Child, herald: &Herald) -> Output {
    let begun = Instant::now();
    while client.try_wait().expect("a status").is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = client.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = client.wait_with_output().expect("an output");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{why}\n{}", herald.said());
    output
}

#[test]
fn a_subscriber_sees_no_money_made_or_lost_through_kills() {
    let mut bank = Bank::new();
    let mut client = bank.client(Some(&bank.stop()));
    let rounds = number("HERALD_KILLS", 5);
    for round in 0..rounds {
        let herald = bank.start(1 + round % 3);
        let [before, ..] = bank.told();
        let time = Duration::from_millis(3000 + 137 * round % 700);
        bank.transfer_for(time, &mut client, |bank| bank.told()[0] >= before + 12);
        assert!(client.try_wait().expect("a status").is_none(), "the client ended early in round {round}");
        herald.kill();
        bank.add_transfers(20);
    }
    let herald = bank.start(2);
    bank.transfer_for(Duration::ZERO, &mut client, |bank| {
        let [marks, sessions, comparisons, amounts] = bank.told();
        marks > 50 && sessions > rounds && comparisons >= 5 && amounts > 20
    });
    fs::write(bank.stop(), "").expect("a file");
    let output = finish(client, &herald);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let [marks, sessions, comparisons, amounts] = numbers(&said)[..] else { panic!("{said}") };
    assert!(marks > 50 && sessions > rounds && comparisons >= 5 && amounts > 20, "{said}");
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn statements_of_subscribers_are_answered() {
    let mut bank = Bank::new();
    let herald = bank.start(2);
    let mut client = bank.client(None);
    bank.transfer_for(3 * PATIENCE, &mut client, |_| true);
    let output = finish(client, &herald);
    assert!(String::from_utf8_lossy(&output.stdout).contains("fine"));
    // Sessions tell of their statements beside what they send to clients.
    let begun = Instant::now();
    for outcome in ["cancelled", "time"] {
        while bank.metric(&format!("herald_pg_statements_total{{outcome=\"{outcome}\"")) < 1.0 {
            assert!(begun.elapsed() < PATIENCE, "{outcome}: {}", herald.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let mut psql = Command::new("psql")
        .arg(bank.conninfo())
        .args(["-X", "-c", "COPY (SUBSCRIBE TO credits WITH (progress)) TO STDOUT (FORMAT csv)"])
        .env_remove("PGPASSWORD")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    // psql writes to a pipe when it has some thousands of bytes: changes go on until a mark of progress is there.
    let mut rows = BufReader::new(psql.stdout.take().expect("a pipe"));
    let begun = Instant::now();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        while !said.ends_with(",,t,,\n") && rows.read_line(&mut said).expect("a row") > 0 {}
        (said, rows)
    });
    while !reading.is_finished() {
        assert!(begun.elapsed() < PATIENCE, "{}", herald.said());
        bank.add_transfers(50);
        std::thread::sleep(Duration::from_millis(25));
    }
    let (mut said, mut rows) = reading.join().expect("a reader");
    // The end of the topology is the end of the subscription.
    let rest = std::thread::spawn(move || {
        let mut said = String::new();
        rows.read_to_string(&mut said).map(|_| said)
    });
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let output = psql.wait_with_output().expect("an output");
    said.push_str(&rest.join().expect("a reader").expect("the rest"));
    let why = String::from_utf8_lossy(&output.stderr);
    let told = why.contains("terminating connection") || why.contains("the topology is stopping");
    assert!(!output.status.success() && told, "{why}");
    let first = said.lines().next().expect("a row");
    assert_eq!(first.split(',').skip(2).take(2).collect::<Vec<_>>(), ["1", "f"], "{said}");
    assert!(said.lines().any(|line| line.ends_with(",,t,,")), "a mark of progress: {said}");
}
