//! The memory ledger: on a topology with much state, the parts that `herald_memory_bytes` names explain the
//! resident memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::child::Herald;
use crate::servers;
use crate::steady::resident;

const PATIENCE: Duration = Duration::from_secs(120);
/// The least part of the resident memory, as 1 of so many, that may stay unexplained.
const UNEXPLAINED: i64 = 10;
/// Players of the table; each has a text of a thousand letters.
const PLAYERS: usize = 48_000;

/// Joins, a GROUP BY, a top-N and a time window. The texts are compared and not shown, so that arrangements
/// hold them and views do not. Visits go on after the table is read: allocators return memory while they are
/// used.
const FILLED: &str = "
CREATE TABLE players (id BIGINT NOT NULL, team BIGINT NOT NULL, bio VARCHAR NOT NULL, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH (
  connector = 'datagen', rows.total = '48000', rows.per.second = '6000', seed = '5',
  fields.id.kind = 'sequence', fields.team.kind = 'random', fields.team.min = '0', fields.team.max = '4999',
  fields.bio.kind = 'text', fields.bio.length = '1000'
) FORMAT PLAIN ENCODE JSON;
CREATE SOURCE visits (
  team BIGINT NOT NULL, at TIMESTAMPTZ NOT NULL, WATERMARK FOR at AS at - INTERVAL '5 seconds'
) WITH (
  connector = 'datagen', rows.per.second = '2000', seed = '6', fields.team.kind = 'random',
  fields.team.min = '0', fields.team.max = '99', fields.at.kind = 'timestamp', fields.at.step.ms = '1'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW next_less AS
  SELECT a.id, a.bio < b.bio AS less FROM players AS a JOIN players AS b ON a.id = b.id - 1;
CREATE MATERIALIZED VIEW tenth_less AS
  SELECT a.id, a.bio < b.bio AS less FROM players AS a JOIN players AS b ON a.id = b.id - 10;
CREATE MATERIALIZED VIEW hundredth_less AS
  SELECT a.id, a.bio < b.bio AS less FROM players AS a JOIN players AS b ON a.id = b.id - 100;
CREATE MATERIALIZED VIEW ends AS
  SELECT team, length(min(bio)) AS low, length(max(bio)) AS high FROM players GROUP BY team;
CREATE MATERIALIZED VIEW best AS
  SELECT team, id, place
  FROM (SELECT *, row_number() OVER (PARTITION BY team ORDER BY bio DESC, id) AS place FROM players) AS x
  WHERE place <= 3;
CREATE MATERIALIZED VIEW rushes AS
  SELECT window_start, window_end, team, count(*) AS n
  FROM TUMBLE(visits, at, INTERVAL '10 seconds') GROUP BY window_start, window_end, team;
";

/// The metrics as text; empty while nothing is served.
fn metrics_text(listen: &str) -> String {
    servers::http("GET", &format!("http://{listen}/metrics"), None).map(|(_, text)| text).unwrap_or_default()
}

/// The values of the series of a metric, by the value of a label.
fn values_by_label(text: &str, name: &str, label: &str) -> BTreeMap<String, i64> {
    let series = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{")));
    let value_of = |line: &str| {
        let (labels, value) = line.rsplit_once("} ")?;
        let (_, of_label) = labels.split_once(&format!("{label}=\""))?;
        Some((of_label.split('"').next()?.to_owned(), value.parse::<f64>().ok()? as i64))
    };
    series.filter_map(value_of).collect()
}

/// The accepted records of the table.
fn accepted_players(text: &str) -> i64 {
    let start = "herald_source_records_total{outcome=\"accepted\",source=\"players\"";
    let line = text.lines().find(|line| line.starts_with(start));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn the_parts_explain_the_resident_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("filled.sql"), FILLED).expect("a file");
    let listen = servers::free_address();
    let args = ["run", "filled.sql", "--state", "state", "--listen", &listen, "--workers", "2"];
    // The allocator gives back what is freed, and does not hold it for later: the ledger is of memory in use.
    let env =
        [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_PAGE_FULL_RETAIN", "0")];
    let mut herald = Herald::start(dir.path(), &args, &env);
    let started = Instant::now();
    while accepted_players(&metrics_text(&listen)) < PLAYERS as i64 {
        assert!(herald.running(), "it has ended:\n{}", herald.said());
        assert!(started.elapsed() < PATIENCE, "the table is not read:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{PLAYERS} players after {:?}", started.elapsed());

    // Epochs in flight end, and the allocators return what they held for them.
    let filled = Instant::now();
    let (text, parts, whole) = loop {
        std::thread::sleep(Duration::from_millis(500));
        let text = metrics_text(&listen);
        let parts = values_by_label(&text, "herald_memory_bytes", "part");
        let whole = values_by_label(&text, "herald_resident_memory_bytes", "topology")["filled"];
        let explained = parts["unaccounted"].abs() * UNEXPLAINED <= whole;
        if explained || filled.elapsed() > Duration::from_secs(90) {
            break (text, parts, whole);
        }
    };
    let told: Vec<String> = parts.iter().map(|(part, bytes)| format!("{part} {} MiB", bytes >> 20)).collect();
    println!("{} MiB resident after {:?}: {}", whole >> 20, filled.elapsed(), told.join(", "));
    assert_eq!(parts.values().sum::<i64>(), whole, "the parts add up\n{text}");
    assert!(parts["unaccounted"].abs() * UNEXPLAINED <= whole, "of {whole} bytes: {told:?}");
    // Six sides of joins, two indexes, and ranked rows behind their order hold each text ten times.
    let copies = (PLAYERS * 1000 * 10) as i64;
    assert!(parts["arrangements"] > copies * 8 / 10, "{told:?}");
    assert!(parts["memtables"] > 0 && parts["program"] > 0 && parts["stacks"] > 0, "{told:?}");
    let kernel = resident(herald.pid()) as i64;
    assert!((kernel - (whole >> 20)).abs() * 10 < kernel, "{kernel} MiB, says the kernel");
    let ended = herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
