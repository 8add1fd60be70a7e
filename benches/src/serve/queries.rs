//! Queries while records come, and the cost of a record with and without them.
//!
//! Three clients ask, each over one connection and at most forty times a second (one address may send fifty requests
//! by HTTP): a player by the key over HTTP, the same over PostgreSQL's protocol, and ten players over PostgreSQL's protocol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use connectors::generate::random::Random;

use super::Bench;
use super::contender::{Contender, PATIENCE, Ports, Run};
use super::latency::PLAYERS;
use super::report::Part;
use crate::child;
use crate::peers::games::{Law, player_name};
use crate::table::spread::quantile_ms;
use crate::view::http::Http;
use crate::view::pg::Pg;

/// Least time between the begins of two queries of a client.
const GAP: Duration = Duration::from_millis(25);

/// Queries that are asked, as tables show them.
const QUERIES: [&str; 3] = [
    "one row by its key, `/v1/views/VIEW/KEY`",
    "one row by its key, PostgreSQL's protocol",
    "`LIMIT 10`, PostgreSQL's protocol",
];

/// Times of the queries of each client.
type Times = [Vec<Duration>; 3];

/// CPU seconds of the process, and of the processes that answer queries.
#[derive(Clone, Copy)]
struct Spent {
    engine_s: f64,
    queries_s: f64,
}

impl Spent {
    fn now(pid: u32) -> Result<Spent> {
        let queries = child::children_of(pid).into_iter().map(|id| child::process_s(id).unwrap_or(0.0));
        Ok(Spent { engine_s: child::process_s(pid)?, queries_s: queries.sum() })
    }
}

/// Measures queries at rest and beside a load, and the load with and without them.
///
/// # Errors
/// When a run fails.
pub fn measure(bench: &Bench, rate: f64) -> Result<[Part; 2]> {
    let figures = [("queries", 0), ("p50 ms", 1), ("p99 ms", 1)];
    let mut times = Part::new("Queries beside a load", &["query", "records/s"], &figures);
    let figures = [("records/s", 0), ("engine CPU s", 2), ("queries' CPU s", 2), ("records/engine CPU s", 0)];
    let mut cost = Part::new("A load beside queries", &["load", "held"], &figures);
    let herald = Contender::herald(&[]);
    for turn in 0..bench.options.repeat {
        eprintln!("queries, turn {}", turn + 1);
        let mut run = Run::prepare(bench, &herald, PLAYERS, Law::Alike)?;
        // Games of most players, so that there is a row of nearly every key.
        run.load.fill(PLAYERS * 2)?;
        run.start()?;
        ensure!(run.drain(PATIENCE, |_| ())?, "the players were not answered");
        run.process()?.wait_idle()?;
        for (rate, asked) in [(0.0, true), (rate, false), (rate, true)] {
            load(&mut run, bench.options.length, (rate, asked), &mut [&mut times, &mut cost])?;
        }
        run.finish()?;
    }
    Ok([times, cost])
}

/// Runs a load, with clients or without, and adds its lines. At a rate of 0 nothing is sent.
fn load(
    run: &mut Run<'_>,
    length: Duration,
    (rate, asked): (f64, bool),
    [times, cost]: &mut [&mut Part; 2],
) -> Result<()> {
    let (done, ports, pid) = (AtomicBool::new(false), run.ports, run.process()?.pid());
    let (driven, spent, asked_times) = std::thread::scope(|scope| {
        let clients = asked.then(|| scope.spawn(|| ask_all(ports, &done)));
        // Sessions are started before the first look.
        std::thread::sleep(Duration::from_secs(1));
        let worked = Spent::now(pid).and_then(|before| {
            let driven = run.drive(rate, length, |_| Ok(true))?;
            run.drain(PATIENCE, |_| ())?;
            Ok((driven, before, Spent::now(pid)?))
        });
        done.store(true, Ordering::Relaxed);
        let times = clients.map(|clients| clients.join()).transpose();
        let times = times.map_err(|_| anyhow::anyhow!("a client ended"))?.transpose()?;
        let (driven, before, after) = worked?;
        let engine_s = after.engine_s - before.engine_s;
        Ok::<_, anyhow::Error>((
            driven,
            Spent { engine_s, queries_s: after.queries_s - before.queries_s },
            times,
        ))
    })?;
    let sent = if rate > 0.0 { format!("{rate:.0}") } else { "none".to_owned() };
    for (query, mut took) in QUERIES.iter().zip(asked_times.unwrap_or_default()) {
        took.sort_unstable();
        let quantiles = [0.5, 0.99].map(|share| Some(quantile_ms(&took, share)));
        if asked {
            times.add(&[query, &sent], &[Some(took.len() as f64), quantiles[0], quantiles[1]]);
        }
    }
    if rate > 0.0 {
        let labels = [if asked { "with queries" } else { "alone" }, if driven.steady { "yes" } else { "no" }];
        let per_cpu = driven.records as f64 / spent.engine_s.max(0.01);
        let figures = [driven.rate(), spent.engine_s, spent.queries_s, per_cpu];
        cost.add(&labels, &figures.map(Some));
    }
    Ok(())
}

/// Asks with all clients until it is done.
fn ask_all(ports: Ports, done: &AtomicBool) -> Result<Times> {
    let of_player = |player: u64| format!("SELECT * FROM players WHERE player = '{}'", player_name(player));
    std::thread::scope(|scope| {
        let clients = [
            scope.spawn(move || {
                let mut http = Http::connect(ports.http)?;
                ask(done, |player| http.get(&format!("/v1/views/players/{}", player_name(player))))
            }),
            scope.spawn(move || {
                let mut pg = Pg::connect(ports.pg)?;
                ask(done, |player| pg.query(&of_player(player)))
            }),
            scope.spawn(move || {
                let mut pg = Pg::connect(ports.pg)?;
                ask(done, |_| pg.query("SELECT player, games, wins FROM players LIMIT 10"))
            }),
        ];
        let mut times = Times::default();
        for (times, client) in times.iter_mut().zip(clients) {
            *times = client.join().ok().context("a client ended")??;
        }
        Ok(times)
    })
}

/// Asks again and again, for a player drawn from all, and returns the times. The first query, for which a session is
/// made ready, does not count. A player without a row is an answer as well.
fn ask(done: &AtomicBool, mut query: impl FnMut(u64) -> Result<String>) -> Result<Vec<Duration>> {
    let (mut random, mut times) = (Random::new(7, 0), vec![]);
    // Player 0 has a game among twice as many games as there are players, or the first answer is an error.
    let _ = query(0);
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = query(random.below(PLAYERS));
        let took = begun.elapsed();
        ensure!(
            answer.as_ref().map_or_else(|error| error.to_string().contains(" 404 "), |_| true),
            "{answer:?}"
        );
        times.push(took);
        std::thread::sleep(GAP.saturating_sub(begun.elapsed()));
    }
    Ok(times)
}
