//! The bank test over Kafka: a read_committed reader that folds the sinks' topics epoch by epoch finds the
//! same total of money in every epoch, and a client of PostgreSQL's protocol in every transaction.
//!
//! Transfers arrive out of order, repeated and corrected, while the process is killed and restarted with
//! another number of workers, and once with an edited topology. `tests/random/bank.rs` checks the same for every epoch in process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::Herald;
use crate::{broker, servers};

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "bank";
const TRANSFERS: u64 = 3_000;
const ACCOUNTS: u64 = 40;
const SINKS: [&str; 4] = ["credits", "debits", "balance", "total"];
const TOPOLOGY: &str = "
CREATE TABLE transfers (
  id BIGINT, payer BIGINT NOT NULL, payee BIGINT NOT NULL, amount BIGINT NOT NULL, version BIGINT, PRIMARY KEY (id)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (version)
WITH (connector = 'kafka', topic = 'bank.transfers', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW credits AS SELECT payee AS account, sum(amount) AS amount FROM transfers GROUP BY payee;
CREATE MATERIALIZED VIEW debits AS SELECT payer AS account, sum(amount) AS amount FROM transfers GROUP BY payer;
CREATE MATERIALIZED VIEW balance AS
  SELECT c.account AS payee, d.account AS payer, coalesce(c.amount, 0) - coalesce(d.amount, 0) AS amount
  FROM credits AS c FULL JOIN debits AS d ON c.account = d.account;
CREATE MATERIALIZED VIEW total AS SELECT 'all' AS id, sum(amount) AS amount, count(*) AS accounts FROM balance;
";

/// The topology as it is edited in the middle: one view gets a column, one is new, and the others stay.
fn edited(text: &str) -> String {
    let column = "AS amount, d.account IS NULL AS unpaid\n  FROM credits AS c";
    let text = text.replace("AS amount\n  FROM credits AS c", column);
    assert!(text.contains(column));
    text + "CREATE MATERIALIZED VIEW largest AS SELECT max(amount) AS amount FROM credits;\n"
}

/// The n-th transfer, which depends only on `n`. One in four is a correction of an earlier one; some
/// corrections are older than the transfer they would correct.
fn transfer(n: u64) -> (String, Vec<u8>) {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 27;
    let id = if n % 4 == 3 { z % n } else { n };
    let (payer, payee) = (z / 7 % ACCOUNTS, z / 311 % ACCOUNTS);
    let value = json!({
        "id": id, "payer": payer, "payee": payee, "amount": 1 + z / 1009 % 500, "version": z / 65_537 % 16,
    });
    (id.to_string(), value.to_string().into_bytes())
}

fn produce(range: std::ops::Range<u64>) {
    let records: Vec<(String, Vec<u8>)> = range.map(transfer).collect();
    // All once more, as a producer does that did not get its acknowledgements.
    let again = records.iter().step_by(3);
    let all = records.iter().chain(again).map(|(key, value)| (key.as_str(), value.as_slice()));
    broker::shared().produce("bank.transfers", all);
}

/// A client that reads the views in transactions until a file appears (`pg/bank.py`).
struct Client {
    child: Child,
    stop: PathBuf,
}

impl Client {
    fn start(dir: &Path, address: &str) -> Client {
        let (host, port) = address.rsplit_once(':').expect("an address");
        let stop = dir.join("stop");
        let child = Command::new(servers::root().join("scripts/clients.sh"))
            .arg("python")
            .arg(servers::root().join("tests/e2e/pg/bank.py"))
            .arg(format!("host={host} port={port} user=anna dbname=bank"))
            .arg(&stop)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script runs");
        Client { child, stop }
    }

    /// The number of different amounts that it has seen so far.
    fn amounts(&self) -> u64 {
        let told = std::fs::read_to_string(self.stop.with_extension("amounts"));
        told.ok().and_then(|told| told.parse().ok()).unwrap_or(0)
    }

    /// Stops it; returns the numbers of transactions, of sessions and of different amounts.
    fn finish(self) -> Vec<u64> {
        std::fs::write(&self.stop, "").expect("a file");
        let output = self.child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    }
}

fn run(dir: &std::path::Path, workers: u64, more: &[&str]) -> Herald {
    let workers = workers.to_string();
    let mut args = vec!["run", "bank.sql", "--name", NAME, "--state", "state", "--workers", &workers];
    args.extend(["--epoch-interval", "20ms"]);
    args.extend(more);
    Herald::start(dir, &args, &[("KAFKA_BOOTSTRAP", servers::kafka())])
}

/// The content of the topics: by epoch, the changes of each sink, as key and row.
type Epochs = BTreeMap<u64, Vec<(usize, String, Value)>>;

fn epochs() -> Epochs {
    let mut epochs = Epochs::new();
    for (sink, name) in SINKS.iter().enumerate() {
        for record in broker::shared().read_committed(&format!("{NAME}.{name}")) {
            let epoch = record.headers["herald.epoch"].parse().expect("an epoch");
            let key = String::from_utf8(record.key.expect("a key")).expect("text");
            let row = record.value.map_or(Value::Null, |v| serde_json::from_slice(&v).expect("JSON"));
            epochs.entry(epoch).or_default().push((sink, key, row));
        }
    }
    epochs
}

#[test]
fn readers_of_the_topics_see_no_money_made_or_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let sinks = SINKS.map(|name| {
        let key = match name {
            "total" => "id",
            "balance" => "payee,payer",
            _ => "account",
        };
        format!(
            "CREATE SINK {name}_out FROM {name} WITH (connector = 'kafka', topic = '{NAME}.{name}', properties.bootstrap.server = '${{KAFKA_BOOTSTRAP}}', primary_key = '{key}') FORMAT UPSERT ENCODE JSON;\n"
        )
    });
    let text = format!("{TOPOLOGY}{}", sinks.concat());
    let file = dir.path().join("bank.sql");
    std::fs::write(&file, &text).expect("a file");
    broker::shared().create_topic("bank.transfers", 3);

    let address = servers::free_address();
    let client = Client::start(dir.path(), &address);
    let rounds = 5;
    for round in 0..rounds {
        if round == 3 {
            // What the kill left unpublished goes out as it was made; then the view and its sink change.
            let ended = run(dir.path(), 2, &["--once"]).wait(PATIENCE);
            assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
            std::fs::write(&file, edited(&text)).expect("a file");
        }
        // Progress is measured on the sink of credits, because the total never changes again.
        let credits = format!("{NAME}.credits");
        let herald = run(dir.path(), 1 + round % 3, &["--listen-pg", &address]);
        let part = TRANSFERS / rounds;
        for some in 0..20 {
            let before = if round + some == 0 { 0 } else { broker::shared().end_of(&credits) };
            let amounts = client.amounts();
            let start = round * part + some * part / 20;
            produce(start..round * part + (some + 1) * part / 20);
            // Both readers see states of the bank in between, however slow they are; the last ones are on their way.
            let started = Instant::now();
            while some % 4 == 0
                && (broker::shared().end_of(&credits) == before || client.amounts() == amounts)
            {
                assert!(started.elapsed() < PATIENCE, "no output appears:\n{}", herald.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        std::thread::sleep(Duration::from_millis(37 * round));
        herald.kill();
    }
    let [transactions, sessions, amounts] = client.finish()[..] else { panic!("three numbers") };
    assert!(transactions > 20 && sessions >= rounds && amounts > 5, "{transactions} {sessions} {amounts}");
    let ended = run(dir.path(), 2, &["--once"]).wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);

    let mut held: [BTreeMap<String, Value>; 4] = Default::default();
    let epochs = epochs();
    let mut totals = BTreeSet::new();
    for (epoch, changes) in &epochs {
        for (sink, key, row) in changes {
            match row {
                Value::Null => {
                    assert!(held[*sink].remove(key).is_some(), "epoch {epoch}: {key} was not there")
                }
                row => drop(held[*sink].insert(key.clone(), row.clone())),
            }
        }
        let sum = |sink: usize| held[sink].values().filter_map(|row| row["amount"].as_i64()).sum::<i64>();
        assert_eq!(sum(0), sum(1), "credits and debits in epoch {epoch}");
        assert_eq!(sum(2), 0, "balances in epoch {epoch}");
        assert_eq!(sum(3), 0, "the total in epoch {epoch}");
        let accounts = held[3].values().next().and_then(|row| row["accounts"].as_u64());
        assert_eq!(accounts, Some(held[2].len() as u64), "accounts in epoch {epoch}");
        totals.insert(sum(0));
    }
    let unpaid = held[2].values().filter(|row| row["unpaid"].is_boolean()).count();
    assert_eq!(unpaid, held[2].len(), "balances without the column that the edit added");
    assert!(
        totals.len() > 10,
        "only {} states of the bank were seen in {} epochs",
        totals.len(),
        epochs.len()
    );
}
