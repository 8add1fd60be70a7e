//! `herald demo`: the whole engine at work, without any installation.
//!
//! It starts an in-process Kafka (librdkafka's mock, which has no transactions: the sinks are exactly-once on
//! a real one only), a thread that produces what happens in a made-up [`world`] into it, and the shipped match
//! domain, run by the same driver as `herald run`. [`frame`] reads the views from the state as any query does.
//! On a terminal they are redrawn until Ctrl-C; elsewhere they are printed once.

mod domain;
mod eject;
mod frame;
mod notes;
mod screen;
mod world;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use connectors::clock::now_ms;
use connectors::kafka::Feed;
use connectors::{MockKafka, murmur2_partition};
use dataflows::plan::Plan;
use dataflows::sql::SqlFile;
use tokio::runtime::Runtime;

use crate::cli::{DemoArgs, ServeArgs};
use crate::driver::{self, DriverConfig, DriverHandle, Summary};
use crate::metrics::Metrics;
use crate::query::process::reads::Lender;
use crate::serve::{self, Served};
use crate::topology::Network;
use crate::{run, topology};
use notes::{Notes, Pending};
use world::{World, hour_of};

const PARTITIONS: i32 = 1;
/// Game time from which the world begins, before now.
const WORLD_AGE_MS: i64 = 7 * 86_400_000;
/// Default duration of a demo whose output is no terminal.
const UNWATCHED_TIME: Duration = Duration::from_secs(10);
/// Most records that the generator may be ahead of the topology: the mock keeps only 5 MiB per partition.
const MAX_LAG: i64 = 500;
/// Most records that the generator may be ahead when it does something on the way, so that the views have what it
/// is done to.
const SETTLED_LAG: i64 = 20;

/// `herald demo`.
pub fn command(args: &DemoArgs) -> Result<()> {
    if let Some(dir) = &args.eject {
        return eject::write_files(dir);
    }
    let watched = std::io::stdout().is_terminal();
    let time = args.time.or((!watched).then_some(UNWATCHED_TIME));
    let kafka = MockKafka::start().context("cannot start the in-process Kafka")?;
    for topic in world::TOPICS {
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
    let plan = plan_domain(&kafka.bootstrap())?;
    let title = frame::title(plan.views.len());
    let (engine, url) = start_engine(plan, scratch.path(), metrics.clone(), (&runtime, handle.clone()))?;
    let pending = Pending::default();
    let generator = Generator::start(feed, args.rate, handle.clone(), pending.clone());
    let scene = Scene { title, watched, time, metrics: &metrics, handle: &handle, url };
    let shown = frame::draw_results(&scene, Notes::new(pending), &engine);
    handle.stop();
    generator.stop();
    let ended = engine.join().map_err(|_| anyhow!("the engine failed unexpectedly"))?;
    ended?;
    shown
}

/// The shipped domain over a broker.
fn plan_domain(bootstrap: &str) -> Result<Arc<Plan>> {
    let file = |(name, text): (&str, &str)| SqlFile { name: name.to_owned(), text: text.to_owned() };
    let variables = topology::Variables::only(&[("KAFKA_BOOTSTRAP", bootstrap)]);
    topology::plan_topology(&domain::FILES.map(file), &variables, Network::Refused)
}

/// Starts the topology on a thread of its own, served on the default port if that is free; returns where.
fn start_engine(
    plan: Arc<Plan>,
    state: &Path,
    metrics: Arc<Metrics>,
    (runtime, handle): (&Runtime, DriverHandle),
) -> Result<(JoinHandle<Result<Summary>>, Option<String>)> {
    let config = DriverConfig {
        plan,
        name: "demo".to_owned(),
        state_dir: state.to_owned(),
        workers: run::default_workers().min(2),
        pace: crate::driver::budget::Pace::Fixed(Duration::from_millis(100)),
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

/// A thread that produces the records of a world until it is stopped.
struct Generator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    fn start(feed: Feed, rate: u64, handle: DriverHandle, notes: Pending) -> Generator {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("herald-matches".to_owned()).spawn(move || {
            if let Err(error) = generate_records(&feed, rate, (&handle, &notes), &seen) {
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

/// Produces all that happens in a world until `stop` is set. Its time stands still while the topology lags.
fn generate_records(
    feed: &Feed,
    rate: u64,
    (handle, notes): (&DriverHandle, &Pending),
    stop: &AtomicBool,
) -> Result<()> {
    let start = hour_of(now_ms() - WORLD_AGE_MS);
    let mut world = World::new(start, rate);
    let (mut game_ms, mut last) = (start, Instant::now());
    let mut lag = i64::MAX;
    while !stop.load(Ordering::Relaxed) {
        let is_free = lag <= SETTLED_LAG && notes.lock().is_ok_and(|pending| pending.is_none());
        let note = if is_free { world.act(game_ms) } else { None };
        for record in world.advance(game_ms) {
            send_record(feed, &record)?;
        }
        if let (Some(note), Ok(mut pending)) = (note, notes.lock()) {
            *pending = Some(note);
        }
        std::thread::sleep(Duration::from_millis(50));
        let status = handle.status();
        lag = status.sources.iter().map(|source| source.lag).sum();
        let passed = last.elapsed().as_millis().min(1_000) as i64;
        last = Instant::now();
        if status.epoch > 0 && lag <= MAX_LAG {
            game_ms += passed * world::SPEED;
        }
    }
    feed.flush(Duration::from_secs(5))?;
    Ok(())
}

/// Sends a record as of now, which is when a match was fetched; times within bodies are game time.
fn send_record(feed: &Feed, record: &world::WorldRecord) -> Result<()> {
    let key = record.key.as_bytes();
    let partition = murmur2_partition(key, PARTITIONS);
    Ok(feed.send((record.topic, partition), Some(key), Some(record.value.as_bytes()), Some(now_ms()))?)
}

/// Inputs of the drawing.
struct Scene<'a> {
    title: String,
    watched: bool,
    time: Option<Duration>,
    metrics: &'a Metrics,
    handle: &'a DriverHandle,
    url: Option<String>,
}
