//! A state with many keys: its memory and disk, and the time from a start after a kill to answers.
//!
//! Each key is a player with one game: an entry of the keyed table of games and a group of the aggregate over players.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Bench;
use super::contender::{Contender, PATIENCE, Run};
use super::options::Measure;
use super::report::Part;
use crate::child;
use crate::peers::games::Law;
use crate::peers::systems::System;
use crate::table::short;

/// Records a second of the slow producer.
const SLOW: f64 = 1000.0;
/// Time for which it sends before the kill, and between the kill and the start.
const BEFORE: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_secs(1);
/// A system has caught up when no record has waited longer.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// Longest time that is waited for that; on a busy machine each record may wait longer than a second.
const GIVEN_UP: Duration = Duration::from_secs(300);
/// A session that ends soon lets a group of consumers go on soon after a kill.
const SHORT_SESSION: &str = "session.timeout.ms=6000";
/// A static member is known by its name, so that it joins at once, whether its session has ended or not (KIP-345).
const STATIC_MEMBER: &str = "group.instance.id=bench";
/// Threads that restore state.
const TWO_THREADS: &str = "num.stream.threads=2";

/// Memory and disk of an idle process, in bytes.
#[derive(Clone, Copy)]
struct Held {
    keys: u64,
    memory: u64,
    disk: u64,
}

impl Held {
    /// The difference to a state with fewer keys, divided by the difference of keys: memory and disk.
    fn per_key(self, fewer: Held) -> [f64; 2] {
        let keys = (self.keys - fewer.keys) as f64;
        [self.memory as f64 - fewer.memory as f64, self.disk as f64 - fewer.disk as f64]
            .map(|more| more / keys)
    }
}

/// Seconds from a start to answers.
struct Recovered {
    first_s: Option<f64>,
    caught_up_s: Option<f64>,
}

/// Measures the states that are asked for, and adds their tables.
///
/// # Errors
/// When a run fails.
pub fn measure(bench: &Bench, parts: &mut Vec<Part>) -> Result<()> {
    let options = &bench.options;
    let figures = [("first new answer, s", 2), ("caught up, s", 2)];
    let mut recovery = Part::new("Recovery: start after SIGKILL", &["system", "settings", "keys"], &figures);
    let figures = [("memory MiB", 0), ("disk MiB", 0), ("memory bytes/key", 0), ("disk bytes/key", 0)];
    let mut bytes = Part::new("Bytes of a key, Herald idle", &["keys"], &figures);
    let mut contenders = vec![Contender::herald(&[])];
    if options.peers {
        contenders.push(Contender::streams(&[SHORT_SESSION]));
        contenders.push(Contender::streams(&[SHORT_SESSION, STATIC_MEMBER, TWO_THREADS]));
    }
    for turn in 0..options.repeat {
        let mut fewest: Option<Held> = None;
        for keys in &options.keys {
            for contender in &contenders {
                let title = contender.system.title();
                eprintln!("{} keys, turn {}: {title}", short(*keys), turn + 1);
                let mut run = fill(bench, contender, *keys)?;
                if contender.system == System::Herald {
                    let held = look_at(&mut run, *keys)?;
                    let more = fewest.map(|fewer| held.per_key(fewer));
                    fewest = fewest.or(Some(held));
                    let mib = |bytes: u64| Some(bytes as f64 / f64::from(1 << 20));
                    let [memory, disk] = [0, 1].map(|at| more.map(|more| more[at]));
                    bytes.add(&[&short(*keys)], &[mib(held.memory), mib(held.disk), memory, disk]);
                }
                if options.measures(Measure::Recovery) {
                    let Recovered { first_s, caught_up_s } = recover(&mut run)?;
                    recovery.add(&[title, &contender.shown(), &short(*keys)], &[first_s, caught_up_s]);
                }
                run.finish()?;
            }
        }
    }
    if options.measures(Measure::Recovery) {
        parts.push(recovery);
    }
    if options.measures(Measure::Bytes) {
        parts.push(bytes);
    }
    Ok(())
}

/// Starts a contender over so many players with a game each, and waits until all are answered and it is idle.
fn fill<'a>(bench: &'a Bench, contender: &'a Contender, keys: u64) -> Result<Run<'a>> {
    let mut run = Run::prepare(bench, contender, keys, Law::InTurn)?;
    run.load.fill(keys)?;
    run.start()?;
    ensure!(run.drain(PATIENCE, |_| ())?, "{} keys were not answered", short(keys));
    run.process()?.wait_idle()?;
    Ok(run)
}

/// Looks at an idle process.
fn look_at(run: &mut Run<'_>, keys: u64) -> Result<Held> {
    let memory = child::resident_bytes(run.process()?.pid());
    Ok(Held { keys, memory, disk: child::disk_bytes(&run.place.state) })
}

/// Kills a process while records come, starts it again, and waits until it has caught up.
fn recover(run: &mut Run<'_>) -> Result<Recovered> {
    run.drive(SLOW, BEFORE, |_| Ok(true))?;
    run.kill();
    // Answers that were committed before the kill may still come to the consumer.
    run.drive(SLOW, AWAY, |_| Ok(true))?;
    let (before, begun) = (run.load.ledger().seen(), run.start()?);
    let mut first = None;
    let mut caught_up = None;
    run.drive(SLOW, GIVEN_UP, |ledger| {
        if first.is_none() && ledger.seen() > before {
            first = Some(Instant::now());
        }
        if first.is_some() && ledger.oldest().is_none_or(|since| since.elapsed() < CAUGHT_UP) {
            caught_up = Some(Instant::now());
        }
        Ok(caught_up.is_none())
    })?;
    let seconds = |at: Option<Instant>| at.map(|at| at.duration_since(begun).as_secs_f64());
    Ok(Recovered { first_s: seconds(first), caught_up_s: seconds(caught_up) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_key_leave_out_what_every_process_has() {
        let fewer = Held { keys: 10_000, memory: 50_000_000, disk: 2_000_000 };
        let more = Held { keys: 110_000, memory: 70_000_000, disk: 12_000_000 };
        assert_eq!(more.per_key(fewer), [200.0, 100.0]);
    }
}
