//! `herald demo`: the whole engine at work, without any installation.
//!
//! It starts an in-process Kafka (librdkafka's mock, which has no transactions: the sinks are exactly-once on
//! a real one only), a thread that produces generated matches into it, and the shipped match topology, run by
//! the same driver as `herald run`. A view of the results is read from the state as by any query. On a
//! terminal the view is redrawn until Ctrl-C; elsewhere it is printed once.

mod eject;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use connectors::generate::matches::champion_record;
use connectors::kafka::Feed;
use connectors::{MatchOptions, Matches, MockKafka, murmur2_partition};
use dataflows::sql::SqlFile;

use crate::cli::{DemoArgs, OutputFormat};
use crate::driver::{self, DriverConfig, DriverHandle, Status, Summary};
use crate::metrics::Metrics;
use crate::query::{InProcessQueries, format};
use crate::topology::Network;
use crate::{run, topology};

/// The topology of the demo.
pub(crate) const SQL: &str = include_str!("../../dataflows/topologies/match_analytics.sql");
/// The query whose rows are shown.
const QUESTION: &str = "SELECT window_start AS hour, platform, coalesce(champion_name, 'unknown') AS champion, games, wins, \
     round(win_rate, 3) AS win_rate, round(avg_kills, 1) AS kills, round(avg_deaths, 1) AS deaths, round(avg_assists, 1) AS assists \
     FROM champion_hourly ORDER BY games DESC, window_start DESC, platform, champion_id LIMIT 10";
const PARTITIONS: i32 = 4;
/// Default duration of a demo whose output is no terminal.
const UNWATCHED_TIME: Duration = Duration::from_secs(10);
/// Most records that the generator may be ahead of the topology: the mock keeps only 5 MiB per partition.
const MAX_LAG: i64 = 2_000;

/// `herald demo`.
pub fn command(args: &DemoArgs) -> Result<()> {
    if let Some(dir) = &args.eject {
        return eject::write_files(dir);
    }
    let watched = std::io::stdout().is_terminal();
    let time = args.time.or((!watched).then_some(UNWATCHED_TIME));
    let kafka = MockKafka::start().context("cannot start the in-process Kafka")?;
    for topic in ["match.completed", "champion"] {
        kafka.create_topic(topic, PARTITIONS)?;
    }
    let scratch = tempfile::Builder::new()
        .prefix("herald-demo-")
        .tempdir()
        .context("cannot create a temporary directory for the state")?;
    let handle = DriverHandle::default();
    let runtime = run::create_runtime()?;
    run::stop_on_signals(&runtime, handle.clone(), scratch.path().to_owned())?;
    let metrics = Arc::new(Metrics::new("demo")?);
    let feed = Feed::open(&kafka.cluster())?;
    let engine = start_engine(&kafka.bootstrap(), scratch.path(), metrics.clone(), handle.clone())?;
    let generator = Generator::start(feed, args.rate, handle.clone());
    let shown = draw_results(
        &Scene { watched, time, state: scratch.path(), metrics: &metrics, handle: &handle },
        &engine,
    );
    handle.stop();
    generator.stop();
    let ended = engine.join().map_err(|_| anyhow!("the engine failed unexpectedly"))?;
    ended?;
    shown
}

/// Starts the topology on a thread of its own.
fn start_engine(
    bootstrap: &str,
    state: &Path,
    metrics: Arc<Metrics>,
    handle: DriverHandle,
) -> Result<JoinHandle<Result<Summary>>> {
    let file = SqlFile { name: "match_analytics.sql".to_owned(), text: SQL.to_owned() };
    let variables = topology::Variables::only(&[("KAFKA_BOOTSTRAP", bootstrap)]);
    let config = DriverConfig {
        plan: topology::plan_topology(&[file], &variables, Network::Refused)?,
        name: "demo".to_owned(),
        state_dir: state.to_owned(),
        workers: run::default_workers().min(2),
        epoch_interval: Duration::from_millis(100),
        once: false,
        close_windows: false,
        fresh: false,
        skip_lost_records: false,
        memory: crate::driver::budget::DEFAULT_BYTES,
    };
    std::thread::Builder::new()
        .name("herald-engine".to_owned())
        .spawn(move || driver::run(config, metrics, handle))
        .context("cannot start the engine's thread")
}

/// A thread that produces matches at a steady rate until it is stopped.
struct Generator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    fn start(feed: Feed, rate: u64, handle: DriverHandle) -> Generator {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("herald-matches".to_owned()).spawn(move || {
            if let Err(error) = generate_records(&feed, rate, &handle, &seen) {
                tracing::error!("the generator stopped: {error}");
                handle.stop();
            }
        });
        Generator { stop, thread: thread.ok() }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

/// Properties of the generated matches: some are repeated, some corrected, a few are late or malformed.
pub(crate) fn match_options(start_ms: i64) -> MatchOptions {
    MatchOptions {
        seed: 42,
        champions: 24,
        players: 2_000,
        start_ms,
        duplicates: 0.10,
        corrections: 0.05,
        late: 0.01,
        broken: 0.002,
        ..MatchOptions::default()
    }
}

/// Produces all champions, then matches at the given rate until `stop` is set.
fn generate_records(feed: &Feed, rate: u64, handle: &DriverHandle, stop: &AtomicBool) -> Result<()> {
    let options = match_options(now_ms() - 7 * 86_400_000);
    for number in 1..=options.champions {
        let (key, value) = champion_record(number);
        send_record(feed, "champion", &key, value.as_bytes())?;
    }
    let matches = Matches::new(options);
    let (began, mut sent, mut value) = (Instant::now(), 0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        let lag: i64 = handle.status().sources.iter().map(|source| source.lag).sum();
        if sent >= due || lag > MAX_LAG {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        // Bounds the burst after a pause, so that the generator does not exceed the maximal lag by much.
        let until = due.min(sent + MAX_LAG as u64 / 4);
        for offset in sent..until {
            value.clear();
            matches.write_record(offset, &mut value);
            let key = matches.match_id(offset);
            send_record(feed, "match.completed", &key, &value)?;
        }
        sent = until;
    }
    feed.flush(Duration::from_secs(5))?;
    Ok(())
}

fn send_record(feed: &Feed, topic: &str, key: &str, value: &[u8]) -> Result<()> {
    let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
    let now = Some(now_ms());
    Ok(feed.send((topic, partition), Some(key.as_bytes()), Some(value), now)?)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Inputs of the drawing.
struct Scene<'a> {
    watched: bool,
    time: Option<Duration>,
    state: &'a Path,
    metrics: &'a Metrics,
    handle: &'a DriverHandle,
}

/// Draws the results until the time is over or the engine ends.
fn draw_results(scene: &Scene<'_>, engine: &JoinHandle<Result<Summary>>) -> Result<()> {
    let began = Instant::now();
    let over = || engine.is_finished() || scene.time.is_some_and(|time| began.elapsed() >= time);
    let mut out = std::io::stdout();
    let clear = if scene.watched { "\x1b[H\x1b[J" } else { "" };
    writeln!(out, "{clear}{TITLE}\n")?;
    out.flush()?;
    let mut states = None;
    while !over() {
        std::thread::sleep(Duration::from_millis(if scene.watched { 500 } else { 100 }));
        let status = scene.handle.status();
        if scene.watched && status.epoch > 0 {
            let frame = draw_frame(scene, &status, &mut states)?;
            write!(out, "{clear}{TITLE}\n\n{frame}\nCtrl-C ends the demo.\n")?;
            out.flush()?;
        }
    }
    let status = scene.handle.status();
    if !scene.watched && status.epoch > 0 {
        write!(out, "{}", draw_frame(scene, &status, &mut states)?)?;
        out.flush()?;
    }
    Ok(())
}

const TITLE: &str = "Herald demo: generated matches -> Kafka -> match_analytics.sql -> Kafka, all in this process.\n\
     This Kafka is librdkafka's mock, which is without transactions: exactly-once takes a real one.";

/// One frame: the numbers, and the rows of the query.
fn draw_frame(scene: &Scene<'_>, status: &Status, states: &mut Option<InProcessQueries>) -> Result<String> {
    let open = match states.take() {
        Some(open) => open,
        None => InProcessQueries::open(scene.state)?,
    };
    let answer = states.insert(open).answer(QUESTION)?;
    let mut text = status_text(scene.metrics, status);
    text.push_str("\nchampion_hourly, the most played champions of an hour:\n");
    text.push_str(&format::answer_text(&answer, OutputFormat::Table)?);
    Ok(text)
}

/// The epoch, the latency, and the outcomes of each source's records.
fn status_text(metrics: &Metrics, status: &Status) -> String {
    let latency = |q| match metrics.latency_quantile(q) {
        Some(seconds) => format!("{:.0} ms", seconds * 1e3),
        None => "unknown".to_owned(),
    };
    let mut text = format!(
        "epoch {} (published {}); from record to published sink, half within {}, 99% within {}\n",
        status.epoch,
        status.published,
        latency(0.5),
        latency(0.99)
    );
    for source in &status.sources {
        let read: u64 = source.outcomes.values().sum();
        let parts: Vec<String> = schemas::Outcome::ALL
            .iter()
            .map(|outcome| {
                let count = source.outcomes.get(outcome.name()).copied().unwrap_or(0);
                format!("{count} {}", outcome.name())
            })
            .collect();
        text.push_str(&format!("{}: {read} read = {}\n", source.name, parts.join(" + ")));
    }
    if let Some(error) = &status.last_error {
        text.push_str(&format!("last error: {error}\n"));
    }
    text
}
