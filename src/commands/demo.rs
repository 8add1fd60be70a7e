//! `herald demo`: the whole engine at work, without any installation.
//!
//! It starts an in-process Kafka (librdkafka's mock, which has no transactions: the sinks are exactly-once on
//! a real one only), a thread that produces generated matches into it, and the shipped match topology, run by
//! the same driver as `herald run`. A view of the results is read from the state as by any query. On a
//! terminal the view is redrawn until Ctrl-C; elsewhere it is printed once.

mod eject;
mod screen;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use connectors::clock::now_ms;
use connectors::generate::matches::champion_record;
use connectors::kafka::Feed;
use connectors::{MatchOptions, Matches, MockKafka, murmur2_partition};
use dataflows::sql::SqlFile;
use tokio::runtime::Runtime;

use crate::cli::{DemoArgs, OutputFormat, ServeArgs};
use crate::driver::{self, DriverConfig, DriverHandle, Status, Summary};
use crate::metrics::Metrics;
use crate::query::process::reads::Lender;
use crate::query::{self, format};
use crate::serve::{self, Served};
use crate::topology::Network;
use crate::{run, topology};
use screen::Screen;

/// The topology of the demo.
pub(crate) const SQL: &str = include_str!("../../dataflows/topologies/match_analytics.sql");
/// The query whose rows are shown, on a screen of 100 columns and more.
const WIDE: &str = "SELECT window_start AS hour, platform, coalesce(champion_name, 'unknown') AS champion, games, wins, \
     round(win_rate, 3) AS win_rate, round(avg_kills, 1) AS kills, round(avg_deaths, 1) AS deaths, round(avg_assists, 1) AS assists \
     FROM champion_hourly ORDER BY games DESC, window_start DESC, platform, champion_id LIMIT ";
/// The same on a narrower one.
const NARROW: &str = "SELECT to_char(window_start, 'Mon DD HH24:MI') AS hour, platform, coalesce(champion_name, 'unknown') AS champion, \
     games, round(win_rate, 3) AS win_rate, round(avg_kills, 1) AS kills \
     FROM champion_hourly ORDER BY games DESC, window_start DESC, platform, champion_id LIMIT ";
/// Lines of a frame that are not rows of the query.
const FRAME_LINES: usize = 16;
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
    let (engine, url) =
        start_engine(&kafka.bootstrap(), scratch.path(), metrics.clone(), (&runtime, handle.clone()))?;
    let generator = Generator::start(feed, args.rate, handle.clone());
    let scene = Scene { watched, time, metrics: &metrics, handle: &handle, url };
    let shown = draw_results(&scene, &engine);
    handle.stop();
    generator.stop();
    let ended = engine.join().map_err(|_| anyhow!("the engine failed unexpectedly"))?;
    ended?;
    shown
}

/// Starts the topology on a thread of its own, served on the default port if that is free; returns where.
fn start_engine(
    bootstrap: &str,
    state: &Path,
    metrics: Arc<Metrics>,
    (runtime, handle): (&Runtime, DriverHandle),
) -> Result<(JoinHandle<Result<Summary>>, Option<String>)> {
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
        allow_gap: false,
        backfill: None,
        memory: crate::driver::budget::DEFAULT_BYTES,
    };
    let args = ServeArgs::default();
    let lender = Lender::of(&handle);
    let lent = lender.clone();
    let http = serve::bind(&args)?;
    let url = http.as_ref().map(serve::HttpListener::url).transpose()?;
    if let Some(http) = http {
        let served = Served::new(&config, &args, (handle.clone(), lender), metrics.clone());
        handle.fate().clone().spawn_task(runtime, "HTTP server", serve::serve(http, served));
    }
    let engine = std::thread::Builder::new()
        .name("herald-engine".to_owned())
        .spawn(move || {
            let ended = driver::run(config, metrics, handle);
            lent.end();
            ended
        })
        .context("cannot start the engine's thread")?;
    Ok((engine, url))
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

/// Inputs of the drawing.
struct Scene<'a> {
    watched: bool,
    time: Option<Duration>,
    metrics: &'a Metrics,
    handle: &'a DriverHandle,
    url: Option<String>,
}

/// Draws the results until the time is over or the engine ends, and says what comes next.
fn draw_results(scene: &Scene<'_>, engine: &JoinHandle<Result<Summary>>) -> Result<()> {
    let began = Instant::now();
    let screen = Screen::open(scene.watched);
    let mut last = String::new();
    while !engine.is_finished() && scene.time.is_none_or(|time| began.elapsed() < time) {
        let status = scene.handle.status();
        if scene.watched {
            last = match status.epoch {
                0 => format!("{TITLE}\n\nstarting"),
                _ => frame(scene, &status, screen.size())?,
            };
            screen.draw(&format!("{last}\n{}", hint(scene.url.as_deref())))?;
        }
        std::thread::sleep(Duration::from_millis(if scene.watched { 500 } else { 100 }));
    }
    let status = scene.handle.status();
    if !scene.watched && status.epoch > 0 {
        last = frame(scene, &status, screen.size())?;
    }
    drop(screen);
    println!("{last}\n{NEXT}");
    Ok(())
}

const TITLE: &str = "Herald demo: generated matches -> Kafka -> SQL -> Kafka, in this process";
/// Next steps after the demo.
const NEXT: &str = "This Kafka was librdkafka's mock, which has no transactions: exactly-once\n\
     takes a real one. What next:\n  \
     herald demo --eject DIR   this topology as a project, with data and tests\n  \
     herald init               a topology of yours from a sample of your records\n  \
     herald --help             all commands";

fn hint(url: Option<&str>) -> String {
    match url {
        Some(url) => format!(
            "Elsewhere: herald status; herald query \"SHOW TABLES\" --url {url}\nCtrl-C ends the demo."
        ),
        None => "Ctrl-C ends the demo.".to_owned(),
    }
}

/// One frame for a screen of so many columns and lines: the numbers, and the rows of the query.
fn frame(scene: &Scene<'_>, status: &Status, (columns, lines): (usize, usize)) -> Result<String> {
    let store = scene.handle.store().context("the engine has not opened its state")?;
    let rows = lines.saturating_sub(FRAME_LINES).clamp(3, 20);
    let question = if columns < 100 { NARROW } else { WIDE };
    let answer = query::answer_here(&store.snapshot()?, &format!("{question}{rows}"))?;
    let mut text = format!("{TITLE}\n\n{}", status_text(scene.metrics, status));
    text.push_str("\nMost played champions of an hour (champion_hourly):\n");
    text.push_str(&format::answer_text(&answer, OutputFormat::Table)?);
    Ok(text)
}

/// A quantile of the latency, as text.
fn latency_text(metrics: &Metrics, quantile: f64) -> String {
    match metrics.latency_quantile(quantile) {
        Some(seconds) => format!("{:.0} ms", seconds * 1e3),
        None => "unknown".to_owned(),
    }
}

/// The epoch, the latency, and the outcomes of each source's records.
fn status_text(metrics: &Metrics, status: &Status) -> String {
    let mut text = format!(
        "epoch {}, published {}; record to sink {} in the middle, {} at 99%\n",
        status.epoch,
        status.published,
        latency_text(metrics, 0.5),
        latency_text(metrics, 0.99)
    );
    for source in &status.sources {
        let read: u64 = source.outcomes.values().sum();
        let mut parts = Vec::new();
        for outcome in schemas::Outcome::ALL {
            let count = source.outcomes.get(outcome.name()).copied().unwrap_or(0);
            if count > 0 {
                parts.push(format!("{count} {}", outcome.name()));
            }
        }
        text.push_str(&format!("{}: {read} read = {}\n", source.name, parts.join(" + ")));
    }
    if let Some(error) = &status.last_error {
        text.push_str(&format!("last error: {error}\n"));
    }
    text
}
