//! Milliseconds from the start of a process on an empty state to its first answers.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use super::contender::{Contender, Run};
use super::report::Part;
use crate::child::{self, Running};
use crate::peers::games::Law;
use crate::view::http::Http;

/// Records of the topic that the first epoch reads.
const RECORDS: u64 = 1000;
/// Longest time of a start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Things that are waited for, in the order in which they are looked at.
const REACHED: [&str; 4] = ["/healthz, ms", "/readyz, ms", "first epoch, ms", "first answer, ms"];

/// Measures starts of Herald.
///
/// # Errors
/// When a run fails.
pub fn measure(bench: &Bench) -> Result<Part> {
    let mut part =
        Part::new("Start on an empty state", &["system", "settings"], &REACHED.map(|name| (name, 0)));
    let herald = Contender::herald(&[]);
    for turn in 0..bench.options.repeat {
        eprintln!("start, turn {}", turn + 1);
        let mut run = Run::prepare(bench, &herald, RECORDS, Law::InTurn)?;
        run.load.fill(RECORDS)?;
        let reached = start(&mut run)?;
        part.add(&[herald.system.title(), &herald.shown()], &reached.map(Some));
        run.finish()?;
    }
    Ok(part)
}

/// Starts the process, and returns the milliseconds until each thing was reached.
fn start(run: &mut Run<'_>) -> Result<[f64; 4]> {
    let begun = run.start()?;
    let port = run.ports.http;
    let mut reached = [None; 4];
    while reached.contains(&None) {
        run.process().map(Running::verify_alive)??;
        ensure!(begun.elapsed() < PATIENCE, "the first answers did not come");
        let has = [
            reached[0].is_some() || answers(port, "/healthz"),
            reached[1].is_some() || answers(port, "/readyz"),
            reached[2].is_some() || child::fetch_metrics(port).is_ok_and(|text| committed_epoch(&text) > 0.0),
            run.load.drain(Duration::from_millis(1), &mut |_| Ok(true))? || run.load.ledger().seen() > 0,
        ];
        let now = begun.elapsed().as_secs_f64() * 1e3;
        for (at, has) in reached.iter_mut().zip(has) {
            *at = at.or(has.then_some(now));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(reached.map(Option::unwrap_or_default))
}

/// Tells whether a path is answered with success.
fn answers(port: u16, path: &str) -> bool {
    Http::connect(port).and_then(|mut connection| connection.get(path)).is_ok()
}

/// The last committed epoch; 0 if there is none.
fn committed_epoch(metrics: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with("herald_committed_epoch_number"));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_epoch_is_read() {
        let metrics =
            "# TYPE herald_committed_epoch_number gauge\nherald_committed_epoch_number{topology=\"a\"} 7\n";
        assert_eq!((committed_epoch(metrics), committed_epoch("")), (7.0, 0.0));
    }
}
