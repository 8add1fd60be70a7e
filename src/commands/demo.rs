//! `herald demo`: the whole engine with nothing installed.
//!
//! An in-process Kafka (librdkafka's mock, which is without transactions: the sinks are exactly-once
//! on a real one only), a thread that produces generated matches into it, the shipped match
//! topology run by the same driver as `herald run`, and a view of the results read from the state
//! as any query does. On a terminal the view is redrawn until Ctrl-C; elsewhere it is printed once.

mod eject;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use connectors::generate::matches::champion;
use connectors::kafka::Feed;
use connectors::{MatchOptions, Matches, MockKafka, murmur2_partition};
use dataflows::sql::SqlFile;

use crate::cli::{DemoArgs, OutputFormat};
use crate::driver::{self, DriverConfig, DriverHandle, Status, Summary};
use crate::metrics::Metrics;
use crate::query::{States, format};
use crate::topology::Network;
use crate::{run, topology};

/// The topology that is shown.
pub(crate) const SQL: &str = include_str!("../../dataflows/topologies/match_analytics.sql");
/// What is asked of its state.
const QUESTION: &str = "SELECT window_start AS hour, platform, coalesce(champion_name, 'unknown') AS champion, games, wins, \
     round(win_rate, 3) AS win_rate, round(avg_kills, 1) AS kills, round(avg_deaths, 1) AS deaths, round(avg_assists, 1) AS assists \
     FROM champion_hourly ORDER BY games DESC, window_start DESC, platform, champion_id LIMIT 10";
const PARTITIONS: i32 = 4;
/// How long a demo that nobody watches lasts.
const UNWATCHED: Duration = Duration::from_secs(10);
/// Records the generator may be ahead of the topology: the mock keeps only 5 MiB a partition.
const AHEAD: i64 = 2_000;

/// `herald demo`.
pub fn command(args: &DemoArgs) -> Result<()> {
    if let Some(dir) = &args.eject {
        return eject::eject(dir);
    }
    let watched = std::io::stdout().is_terminal();
    let time = args.time.or((!watched).then_some(UNWATCHED));
    let kafka = MockKafka::start().context("cannot start the in-process Kafka")?;
    for topic in ["match.completed", "champion"] {
        kafka.create_topic(topic, PARTITIONS)?;
    }
    let scratch = tempfile::Builder::new()
        .prefix("herald-demo-")
        .tempdir()
        .context("cannot create a temporary directory for the state")?;
    let handle = DriverHandle::default();
    let runtime = run::runtime()?;
    run::stop_on_signals(&runtime, handle.clone(), scratch.path().to_owned())?;
    let metrics = Arc::new(Metrics::new("demo")?);
    let feed = Feed::open(&kafka.cluster())?;
    let engine = start(&kafka.bootstrap(), scratch.path(), metrics.clone(), handle.clone())?;
    let generator = Generator::start(feed, args.rate, handle.clone());
    let shown =
        show(&Scene { watched, time, state: scratch.path(), metrics: &metrics, handle: &handle }, &engine);
    handle.stop();
    generator.stop();
    let ended = engine.join().map_err(|_| anyhow!("the engine failed unexpectedly"))?;
    ended?;
    shown
}

/// Runs the topology on a thread of its own.
fn start(
    bootstrap: &str,
    state: &Path,
    metrics: Arc<Metrics>,
    handle: DriverHandle,
) -> Result<JoinHandle<Result<Summary>>> {
    let file = SqlFile { name: "match_analytics.sql".to_owned(), text: SQL.to_owned() };
    let variables = topology::Variables::only(&[("KAFKA_BOOTSTRAP", bootstrap)]);
    let config = DriverConfig {
        plan: topology::plan(&[file], &variables, Network::Refused)?,
        name: "demo".to_owned(),
        state_dir: state.to_owned(),
        workers: run::cores().min(2),
        epoch_interval: Duration::from_millis(100),
        once: false,
        close_windows: false,
        fresh: false,
        skip_lost_records: false,
        memory: crate::driver::budget::DEFAULT,
    };
    std::thread::Builder::new()
        .name("herald-engine".to_owned())
        .spawn(move || driver::run(config, metrics, handle))
        .context("cannot start the engine's thread")
}

/// Produces matches at a steady rate until told to stop.
struct Generator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    fn start(feed: Feed, rate: u64, handle: DriverHandle) -> Generator {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("herald-matches".to_owned()).spawn(move || {
            if let Err(error) = generate(&feed, rate, &handle, &seen) {
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

/// What the matches are like: some come twice, some are corrected, a few are broken or very long.
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

fn generate(feed: &Feed, rate: u64, handle: &DriverHandle, stop: &AtomicBool) -> Result<()> {
    let options = match_options(now_ms() - 7 * 86_400_000);
    for number in 1..=options.champions {
        let (key, value) = champion(number);
        send(feed, "champion", &key, value.as_bytes())?;
    }
    let matches = Matches::new(options);
    let (began, mut sent, mut value) = (Instant::now(), 0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        let lag: i64 = handle.status().sources.iter().map(|source| source.lag).sum();
        if sent >= due || lag > AHEAD {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        // A burst after a pause must not exceed what may be ahead.
        let until = due.min(sent + AHEAD as u64 / 4);
        for offset in sent..until {
            value.clear();
            matches.write(offset, &mut value);
            let key = matches.match_id(offset);
            send(feed, "match.completed", &key, &value)?;
        }
        sent = until;
    }
    feed.flush(Duration::from_secs(5))?;
    Ok(())
}

fn send(feed: &Feed, topic: &str, key: &str, value: &[u8]) -> Result<()> {
    let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
    let now = Some(now_ms());
    Ok(feed.send((topic, partition), Some(key.as_bytes()), Some(value), now)?)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// What a frame is drawn from.
struct Scene<'a> {
    watched: bool,
    time: Option<Duration>,
    state: &'a Path,
    metrics: &'a Metrics,
    handle: &'a DriverHandle,
}

/// Draws until the time is over or the engine ends.
fn show(scene: &Scene<'_>, engine: &JoinHandle<Result<Summary>>) -> Result<()> {
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
            let frame = frame(scene, &status, &mut states)?;
            write!(out, "{clear}{TITLE}\n\n{frame}\nCtrl-C ends the demo.\n")?;
            out.flush()?;
        }
    }
    let status = scene.handle.status();
    if !scene.watched && status.epoch > 0 {
        write!(out, "{}", frame(scene, &status, &mut states)?)?;
        out.flush()?;
    }
    Ok(())
}

const TITLE: &str = "Herald demo: generated matches -> Kafka -> match_analytics.sql -> Kafka, all in this process.\n\
     This Kafka is librdkafka's mock, which is without transactions: exactly-once takes a real one.";

fn frame(scene: &Scene<'_>, status: &Status, states: &mut Option<States>) -> Result<String> {
    let open = match states.take() {
        Some(open) => open,
        None => States::open(scene.state)?,
    };
    let answer = states.insert(open).answer(QUESTION)?;
    let mut text = numbers(scene.metrics, status);
    text.push_str("\nchampion_hourly, the most played champions of an hour:\n");
    text.push_str(&format::write(&answer, OutputFormat::Table)?);
    Ok(text)
}

/// Epoch, latency, and what became of the records of each source.
fn numbers(metrics: &Metrics, status: &Status) -> String {
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
