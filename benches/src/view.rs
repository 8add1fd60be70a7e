//! Queries of a large view: rows by their keys, a few rows of all, and aggregates in bounded memory.
//!
//! A process fills a view from generated records and then answers, with nothing else to do. Times are those that a client
//! sees on this machine, over one connection. What a query read of the state is told by EXPLAIN ANALYZE, and the memory of
//! its process by the kernel. Two lines have a bound: a LIMIT reads no more entries than rows, and no query takes more
//! memory than it may.

pub mod http;
pub mod pg;
mod report;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use connectors::generate::random::Random;

use crate::child::{self, Running};
use crate::options::Options;
use crate::paths::Paths;
use crate::spine::herald;
use http::Http;
use pg::Pg;
use report::Line;
pub use report::Report;

/// Memory that a query may take.
const QUERY_MIB: u64 = 256;
/// Times that a row is looked up, and that a few rows are asked for.
const LOOKUPS: u64 = 400;
/// Times that an aggregate is asked for.
const AGGREGATES: u64 = 3;
/// Rows of a LIMIT.
const LIMIT: u64 = 10;
/// Time between two requests by HTTP: one address may send 50 a second.
const GAP: Duration = Duration::from_millis(25);
/// Time between two looks at the memory of the processes that answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A keyed table of generated rows and its view: the key is the number of a row.
const TOPOLOGY: &str = "
CREATE TABLE players (
  player BIGINT NOT NULL, region VARCHAR, games BIGINT, points BIGINT, name VARCHAR, PRIMARY KEY (player)
) ON CONFLICT OVERWRITE WITH (
  connector = 'datagen', rows.total = '${ROWS}', seed = '5',
  fields.player.kind = 'sequence', fields.region.kind = 'choice', fields.region.values = 'EUW1, KR, NA1, BR1',
  fields.games.kind = 'random', fields.games.max = '500', fields.points.kind = 'random', fields.points.max = '100000',
  fields.name.kind = 'text', fields.name.length = '24'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW scores AS SELECT player, region, games, points, name FROM players;
";

/// A way to ask: it takes a query and returns the answer as text.
type Ask<'a> = dyn FnMut(&str) -> Result<String> + 'a;

/// Measures the queries of a view.
///
/// # Errors
/// When the run fails, or an answer is wrong.
pub fn measure(paths: &Paths, options: &Options) -> Result<Report> {
    let rows = options.rows;
    let (name, topology) = ("view", paths.work_path("view.sql"));
    fs::write(&topology, TOPOLOGY)?;
    eprintln!("a view of {rows} rows");
    let (port, pg_port) = (child::free_port()?, child::free_port()?);
    let mut command = herald(paths, options, &topology, name);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--query-time", "600s"]);
    command.args(["--listen-pg", &format!("127.0.0.1:{pg_port}"), "--query-memory"]);
    command.arg(format!("{QUERY_MIB}MiB")).env("ROWS", rows.to_string());
    let begun = Instant::now();
    let mut running = Running::start(&mut command, &paths.work_path("view.log"), port)?;
    running.wait_until(|metrics| committed_rows(metrics) >= rows)?;
    eprintln!("filled after {:.0} s", begun.elapsed().as_secs_f64());

    let mut asked = Asked { pid: running.pid(), rows, gap: GAP };
    let mut connection = Http::connect(port)?;
    let by_key = look_up(&asked, |player| connection.get(&format!("/v1/views/scores/{player}")))?;
    let mut lines = vec![Line::new("one row by its key", "`/v1/views/VIEW/KEY`", by_key).reading("1 entry")];
    lines.extend(asked.measure("`/v1/query`", &mut |sql| connection.query(sql))?);
    drop(connection);
    let mut connection = Pg::connect(pg_port)?;
    asked.gap = Duration::ZERO;
    // The first query of a session makes what the others use.
    connection.query("SELECT * FROM scores WHERE player = 0")?;
    lines.extend(asked.measure("PostgreSQL's protocol", &mut |sql| connection.query(sql))?);
    drop(running);
    fs::remove_dir_all(paths.work_path(name))?;
    Ok(Report::new(rows, QUERY_MIB, lines))
}

/// Rows committed, with any outcome.
fn committed_rows(metrics: &str) -> u64 {
    let counts = metrics.lines().filter(|line| {
        line.starts_with("herald_source_records_total{") && line.contains("source=\"players\"")
    });
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Times of look-ups of rows that are drawn from all.
fn look_up(asked: &Asked, mut find: impl FnMut(u64) -> Result<String>) -> Result<Vec<Duration>> {
    let mut random = Random::new(7, 0);
    timed((LOOKUPS, asked.gap), || {
        let player = random.below(asked.rows);
        let row = find(player)?;
        ensure!(row.contains(&player.to_string()), "the row of player {player} is {row}");
        Ok(())
    })
}

/// The times that something takes, again and again, with at least a time from one begin to the next.
fn timed((times, gap): (u64, Duration), mut work: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        work()?;
        took.push(begun.elapsed());
        std::thread::sleep(gap.saturating_sub(begun.elapsed()));
    }
    Ok(took)
}

/// The process that is asked, and the rows of its view.
struct Asked {
    pid: u32,
    rows: u64,
    /// Least time between the begins of two queries.
    gap: Duration,
}

impl Asked {
    /// Measures all queries, asked in one way.
    fn measure(&self, by: &str, ask: &mut Ask<'_>) -> Result<Vec<Line>> {
        let of_player = |player: u64| format!("SELECT * FROM scores WHERE player = {player}");
        let times = look_up(self, |player| ask(&of_player(player)))?;
        let mut lines =
            vec![Line::new("one row by its key", by, times).reading(&Reads::of(ask, &of_player(1))?.text())];

        let few = format!("SELECT player, region, points FROM scores LIMIT {LIMIT}");
        let times = timed((LOOKUPS, self.gap), || {
            let answer = ask(&few)?;
            ensure!(!answer.is_empty(), "no answer to {few}");
            Ok(())
        })?;
        let reads = Reads::of(ask, &few)?;
        let line = Line::new(&format!("`SELECT a, b, c ... LIMIT {LIMIT}`"), by, times);
        lines.push(line.reading(&reads.text()).within(reads.entries.number <= LIMIT as f64));

        let count = self.rows.to_string();
        for (what, sql, part) in [
            ("`count(*)`", "SELECT count(*) AS n FROM scores", count.as_str()),
            ("`sum(points)`", "SELECT sum(points) AS n FROM scores", ""),
            ("`count(*), sum(points) ... GROUP BY region`", GROUPED, "KR"),
        ] {
            let (memory, times) = self.watch(|| {
                timed((AGGREGATES, self.gap), || {
                    let answer = ask(sql)?;
                    ensure!(answer.contains(part), "the answer to {sql} is {answer}");
                    Ok(())
                })
            })?;
            let line = Line::new(what, by, times).reading(&Reads::of(ask, sql)?.text());
            lines.push(line.holding(&memory.text()).within(memory.most <= QUERY_MIB));
        }
        Ok(lines)
    }

    /// Does something, and looks at the memory of the processes that answer before, meanwhile and after.
    fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(Memory, T)> {
        let (before, most, done) = (self.largest_mib(), AtomicU64::new(0), AtomicBool::new(false));
        let worked = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(self.largest_mib(), Ordering::Relaxed);
                    std::thread::sleep(LOOK_INTERVAL);
                }
            });
            let worked = work();
            done.store(true, Ordering::Relaxed);
            worked
        })?;
        Ok((Memory { before, most: most.into_inner(), after: self.largest_mib() }, worked))
    }

    /// Resident memory of the largest process that answers queries, in MiB; 0 without one.
    fn largest_mib(&self) -> u64 {
        child::children_of(self.pid).into_iter().map(child::resident_bytes).max().unwrap_or(0) >> 20
    }
}

/// An aggregate with a few groups.
const GROUPED: &str =
    "SELECT region, count(*) AS players, sum(points) AS points FROM scores GROUP BY region ORDER BY region";

/// Entries of the state that a query reads, and places that it looks up.
struct Reads {
    entries: Amount,
    seeks: Amount,
}

impl Reads {
    /// The entries and places that a query reads, by EXPLAIN ANALYZE.
    fn of(ask: &mut Ask<'_>, sql: &str) -> Result<Reads> {
        let plan = ask(&format!("EXPLAIN ANALYZE {sql}"))?;
        std::thread::sleep(GAP);
        Reads::in_plan(&plan).with_context(|| format!("no scan of a view in the plan of {sql}: {plan}"))
    }

    /// The figures that a plan tells of its only scan.
    fn in_plan(plan: &str) -> Option<Reads> {
        let (_, scan) = plan.split_once("ViewScan")?;
        let entries = Amount::behind(scan, "entries_read=")?;
        Some(Reads { entries, seeks: Amount::behind(scan, "seeks=")? })
    }

    fn text(&self) -> String {
        let entries = if self.entries.number == 1.0 { "entry" } else { "entries" };
        let seeks = if self.seeks.number == 1.0 { "look-up" } else { "look-ups" };
        format!("{} {entries}, {} {seeks}", self.entries.shown, self.seeks.shown)
    }
}

/// A number of a plan: from a thousand on it is shown rounded, with a unit.
#[derive(Debug, PartialEq)]
struct Amount {
    shown: String,
    number: f64,
}

impl Amount {
    /// The number behind a name.
    fn behind(scan: &str, name: &str) -> Option<Amount> {
        let (_, rest) = scan.split_once(name)?;
        let shown = rest.split([',', ']']).next()?.trim();
        let (digits, unit) = shown.split_once(' ').unwrap_or((shown, ""));
        let factor = match unit {
            "K" => 1e3,
            "M" => 1e6,
            "B" => 1e9,
            _ => 1.0,
        };
        Some(Amount { shown: shown.to_owned(), number: digits.parse::<f64>().ok()? * factor })
    }
}

/// Resident memory of the process that answers, in MiB.
struct Memory {
    before: u64,
    most: u64,
    after: u64,
}

impl Memory {
    fn text(&self) -> String {
        format!("{} MiB before, {} at most, {} after", self.before, self.most, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_was_read() {
        let plan = |read: &str| {
            format!(
                "AggregateExec: mode=Single, metrics=[output_rows=1]\n  ViewScan: view=scores, columns=[], \
                 metrics=[output_rows=7, {read}]"
            )
        };
        for (read, entries, text) in [
            ("entries_read=12, seeks=1", 12.0, "12 entries, 1 look-up"),
            ("entries_read=1, seeks=1", 1.0, "1 entry, 1 look-up"),
            ("seeks=4.10 K, entries_read=5.00 M", 5e6, "5.00 M entries, 4.10 K look-ups"),
        ] {
            let reads = Reads::in_plan(&plan(read)).map(|reads| (reads.entries.number, reads.text()));
            assert_eq!(reads, Some((entries, text.to_owned())));
        }
        assert!(Reads::in_plan("AggregateExec").is_none());
    }

    #[test]
    fn rows_are_counted_with_any_outcome() {
        let metrics = "herald_source_records_total{outcome=\"accepted\",source=\"players\",topology=\"view\"} 40\n\
                       herald_source_records_total{outcome=\"late\",source=\"players\",topology=\"view\"} 2\n\
                       herald_source_records_total{outcome=\"late\",source=\"others\",topology=\"view\"} 9\n";
        assert_eq!(committed_rows(metrics), 42);
    }
}
