//! Kills at failpoints: every one of driver, workers, committer, store, publisher and recovery.
//!
//! A round arms one failpoint, waits for it to end the process, and starts the next process on the same state
//! with another number of workers. A kill counts only if the process reported an epoch in flight. After ten
//! rounds the input ends and the checker of `exactly` validates the sinks. `HERALD_KILLS=200` sets the number
//! of kills, `HERALD_SEED` draws others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::child::number;
use crate::exactly::Stream;
use crate::{broker, servers};

/// Default number of kills of a run.
const KILLS: usize = 24;
/// Kills before a stream is checked.
const ROUNDS: usize = 10;
/// Longest time until a failpoint is passed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The failpoints in the sources of some folders, sorted.
pub fn named_failpoints(folders: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    for dir in folders {
        crate::tidy::rust_files(&servers::root().join(dir), &mut files);
    }
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
    let names = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<String> = names.map(ToOwned::to_owned).collect();
    names.sort();
    names
}

/// All failpoints at which a topology over Kafka is killed.
fn all_failpoints() -> Vec<String> {
    let mut names = named_failpoints(&["src", "state/src", "connectors/src"]);
    names.retain(|name| name != "publish.marker.ignored" && !runs_beside_driver(name));
    names
}

/// Tells whether a failpoint is in a task beside the driver or in a command, where no epoch is in flight, or is passed
/// for a new index, for an export or for an edit alone.
fn runs_beside_driver(point: &str) -> bool {
    ["serve.", "watch.", "replay.", "state.migrate.", "state.index.", "export.", "fill."]
        .iter()
        .any(|start| point.starts_with(start))
}

/// Tells whether a start passes the failpoint before any epoch of its own.
fn passed_at_start(point: &str) -> bool {
    ["recover.", "store.open.", "publish.init.", "publish.settle.", "publish.read."]
        .iter()
        .any(|start| point.starts_with(start))
}

/// Tells whether no epoch can be in flight at the failpoint, or the process cannot know it yet: the state is
/// not open, or all of its output is published.
fn has_no_epoch(point: &str) -> bool {
    point.starts_with("store.catalogue.")
        || point.starts_with("store.open.")
        || ["recover.outbox.after", "recover.restore.before"].contains(&point)
}

/// Kills by failpoint: all, and those with an epoch in flight.
#[derive(Default)]
struct Tally(BTreeMap<String, (usize, usize)>);

impl Tally {
    fn counted(&self) -> usize {
        self.0.values().map(|(_, counted)| counted).sum()
    }

    /// Runs the topology until a failpoint is passed. Returns true if it was.
    fn kill(&mut self, stream: &Stream, point: &str, action: &str, workers: usize, more: &str) -> bool {
        let armed = format!("{point}={action};{more}");
        let mut herald =
            stream.run(&["--workers", &workers.to_string()], &[("HERALD_FAILPOINTS", armed.as_str())]);
        let started = Instant::now();
        while herald.running() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if herald.running() {
            // It may pass the failpoint now: it is killed either way.
            drop(herald);
            return false;
        }
        let ended = herald.wait(PATIENCE);
        let said = format!("failpoint {point}: ");
        let line = ended.stderr.lines().find_map(|line| line.strip_prefix(&said));
        let Some(line) = line.filter(|_| ended.code.is_none()) else {
            panic!("it ended by itself ({point}):\n{}\n{}", ended.stdout, ended.stderr);
        };
        let in_flight: u64 = line.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        let tally = self.0.entry(point.to_owned()).or_default();
        *tally = (tally.0 + 1, tally.1 + usize::from(in_flight > 0));
        true
    }
}

#[test]
fn kills_at_every_failpoint_lose_and_double_nothing() {
    let (kills, seed) = (number("HERALD_KILLS", KILLS as u64) as usize, number("HERALD_SEED", 1));
    let (points, begun) = (all_failpoints(), Instant::now());
    assert!(points.len() > 40, "failpoints are found: {points:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let (mut left, mut unmet, mut batch) = (Vec::new(), Vec::new(), 0);
    while tally.counted() < kills {
        batch += 1;
        let name = format!("kills-{seed}-{batch}");
        let mut stream = Stream::start(&name, rng.random(), broker::shared());
        // The catalogue is written only once, before the first epoch.
        let once = ["store.catalogue.before", "store.catalogue.after"][batch % 2];
        tally.kill(&stream, once, "kill@1", 1, "");
        for _ in 0..ROUNDS {
            if left.is_empty() {
                left = points.iter().filter(|point| !point.starts_with("store.catalogue")).cloned().collect();
                left.shuffle(&mut rng);
            }
            let point = left.pop().expect("a failpoint");
            let action = if rng.random_bool(0.5) { "kill" } else { "abort" };
            let workers = rng.random_range(1..=3);
            let nth = match point.as_str() {
                "driver.poll.after" => rng.random_range(1..60),
                point if passed_at_start(point) => 1,
                _ => rng.random_range(1..6),
            };
            if passed_at_start(&point) {
                // An epoch must be in flight when the process starts.
                let before = ["store.write.after", "publish.begin.after", "publish.commit.after"];
                let before = before[rng.random_range(0..before.len())];
                tally.kill(&stream, before, &format!("kill@{}", rng.random_range(2..5)), workers, "");
            }
            if !tally.kill(&stream, &point, &format!("{action}@{nth}"), workers, "") {
                unmet.push(point);
            }
        }
        let found = stream.check_results(broker::shared(), &[]);
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
    println!("{:28} {:>6} {:>10}", "failpoint", "kills", "in flight");
    for (point, (all, counted)) in &tally.0 {
        println!("{point:28} {all:>6} {counted:>10}");
    }
    println!(
        "{} kills with an epoch in flight, seed {seed}, {batch} streams, {:?}; not met in time: {unmet:?}",
        tally.counted(),
        begun.elapsed()
    );
    if kills >= 4 * points.len() {
        let (met, counted) = (|point: &str| tally.0.contains_key(point), |point: &str| tally.0[point].1 > 0);
        let never: Vec<&String> =
            points.iter().filter(|point| !met(point) || !(counted(point) || has_no_epoch(point))).collect();
        assert!(never.is_empty(), "never, or never with an epoch in flight: {never:?}");
    }
}

/// The negative control: without the marker, a kill after the transaction publishes it twice, and the checker
/// must find that.
#[test]
fn without_the_marker_the_checker_finds_duplicates() {
    let mut stream = Stream::start("kills-control", 7, broker::shared());
    let ignored = "publish.marker.ignored=return";
    let mut tally = Tally::default();
    for _ in 0..2 {
        assert!(tally.kill(&stream, "publish.commit.after", "kill@4", 1, ignored));
    }
    let found = stream.check_results(broker::shared(), &[("HERALD_FAILPOINTS", ignored)]);
    assert!(found.iter().any(|found| found.contains("twice")), "{found:?}");
    assert!(Path::new(stream.dir()).join("state").exists());
}
