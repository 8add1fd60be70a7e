//! `herald run`: runs a topology from its flags until a signal ends it.
//!
//! The driver runs on the calling thread. A small runtime beside it serves HTTP, watches for
//! stalled watermarks, and waits for signals. The first SIGTERM or Ctrl-C asks the driver to
//! finish its epoch and publish it; a second one, or 30 s without the broker or the schema registry,
//! ends the process with exit code 1. Nothing is lost: the outbox is kept and published at the next start.

pub(crate) mod backfill;
pub(crate) mod failpoints;
pub(crate) mod monitor;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use dataflows::plan::Plan;
use dataflows::plan::formats::Format;
use dataflows::sql::SqlFile;
use fail::fail_point;
use schemas::Outcome;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{self, EngineArgs, RunArgs, ServeArgs};
use crate::driver::budget::Pace;
use crate::driver::{self, DriverConfig, DriverHandle, Summary};
use crate::exit::{Interrupted, RefusedEdition};
use crate::metrics::Metrics;
use crate::pg;
use crate::pg::sessions::Sessions;
use crate::query::process::reads::Lender;
use crate::query::process::scratch::remove_abandoned;
use crate::serve::{self, Served, descriptors};
use crate::{query, topology};

/// Time that tasks beside the driver have to finish at the end.
const TASKS_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a stopping topology waits for a broker or schema registry that does not answer.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// `herald run`.
pub fn command(args: &RunArgs) -> Result<()> {
    let (config, texts) = configure(&args.files, &args.engine, pace_of(args))?;
    let config = DriverConfig {
        once: args.once,
        close_windows: args.close_windows,
        fresh: args.fresh,
        skip_lost_records: args.skip_lost_records,
        allow_gap: args.allow_gap,
        ..config
    };
    descriptors::raise_limit();
    let runtime = create_runtime()?;
    let listeners = Listeners { http: serve::bind(&args.serve)?, pg: pg::listener::bind(&args.serve)? };
    if args.fresh && config.state_dir.exists() {
        say_what_fresh_means(&config);
    }
    let once = args.once;
    let ended = supervise(&runtime, config, listeners, &args.serve);
    // Tasks beside the driver have nothing to finish, and a slow query must not delay the end for long.
    runtime.shutdown_timeout(TASKS_TIMEOUT);
    let summary = match ended {
        // One that runs on has no end to reach: a stop while it starts is as good as a later one.
        Err(error) if !once && error.is::<Interrupted>() => {
            tracing::info!("{error}");
            return Ok(());
        }
        ended => ended.map_err(|error| texts.place(error))?,
    };
    if once {
        let mut out = std::io::stdout().lock();
        out.write_all(summary_text(&summary).as_bytes())?;
    } else {
        tracing::info!(epoch = summary.epoch, "stopped; everything committed is published");
    }
    Ok(())
}

/// The texts of a topology that runs.
struct Texts {
    files: Vec<SqlFile>,
    variables: topology::Variables,
}

impl Texts {
    /// The failure of a run; the refusals of an edited topology are told with their places in its text.
    fn place(&self, error: Error) -> Error {
        match error.downcast::<RefusedEdition>() {
            Ok(RefusedEdition(refusals)) => {
                topology::edition::locate_obstacles(&refusals, &self.files, &self.variables)
            }
            Err(error) => error,
        }
    }
}

/// Addresses that are listened on.
struct Listeners {
    http: Option<serve::HttpListener>,
    pg: Option<pg::listener::PgListener>,
}

/// Runs the driver to its end, with the tasks beside it: signals, monitor and servers.
fn supervise(
    runtime: &Runtime,
    config: DriverConfig,
    listeners: Listeners,
    args: &ServeArgs,
) -> Result<Summary> {
    let metrics = Arc::new(Metrics::new(&config.name)?);
    let handle = DriverHandle::default();
    stop_on_signals(runtime, handle.clone(), config.state_dir.clone())?;
    let lender = Lender::of(&handle);
    let fate = handle.fate().clone();
    fate.spawn_task(runtime, "watch", monitor::monitor_status(handle.clone(), metrics.clone()));
    let answering = listeners.http.as_ref().map(serve::HttpListener::answering).unwrap_or_default();
    let mut subscriptions = None;
    remove_abandoned();
    if let Some(http) = listeners.http {
        let served = Served::new(&config, args, (handle.clone(), lender.clone()), metrics.clone());
        subscriptions = Some(served.subscriptions());
        tracing::info!("serving on {}", http.url()?);
        fate.spawn_task(runtime, "HTTP server", serve::serve(http, served));
    }
    if let Some(pg) = listeners.pg {
        tracing::info!("serving PostgreSQL's protocol on {}", pg.address()?);
        let sessions = Sessions::new(args.limits.clone(), metrics.pg().clone());
        let listed = sessions.clone();
        lender.list_sessions_by(move || listed.list());
        let topology = (handle.clone(), lender.clone());
        fate.spawn_task(runtime, "PostgreSQL server", pg::listener::serve(pg, sessions, topology));
    }
    let ended = driver::run(config, metrics, handle);
    if let Some(subscriptions) = subscriptions {
        subscriptions.end();
    }
    lender.end();
    fail_point!("serve.ended");
    answering.wait_for_none();
    ended
}

/// Creates the runtime of everything but the dataflow.
pub fn create_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("herald-serve")
        .enable_all()
        .build()
        .context("cannot start the threads that serve")
}

/// The time for which epochs collect records.
fn pace_of(args: &RunArgs) -> Pace {
    args.latency_target.map_or(Pace::Fixed(args.epoch_interval), Pace::Within)
}

/// The default number of workers: one per core of this machine or container.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(cli::MAX_WORKERS)
}

/// Plans the topology in some files, for a run without an end over the state that it has.
///
/// # Errors
/// When the files cannot be read, or the topology has mistakes.
fn configure(files: &[PathBuf], engine: &EngineArgs, pace: Pace) -> Result<(DriverConfig, Texts)> {
    let texts = Texts {
        files: topology::read_files(files)?,
        variables: topology::Variables::read(engine.env_file.as_deref())?,
    };
    let name = topology::topology_name(engine.name.as_deref(), files)?;
    let config = DriverConfig {
        plan: topology::plan_topology(&texts.files, &texts.variables, topology::Network::Allowed)?,
        state_dir: state_dir(engine.state.as_deref(), &name),
        workers: engine.workers.unwrap_or_else(default_workers),
        pace,
        once: false,
        close_windows: false,
        fresh: false,
        skip_lost_records: false,
        allow_gap: false,
        backfill: None,
        memory: engine.memory,
        name,
    };
    Ok((config, texts))
}

/// The directory of a topology's state: the one that is named, or the default of its name.
fn state_dir(named: Option<&Path>, name: &str) -> PathBuf {
    match named {
        Some(dir) => dir.to_owned(),
        None => Path::new(query::STATES).join(name),
    }
}

/// Starts to wait for SIGTERM and Ctrl-C; from here on they no longer kill the process at once.
pub fn stop_on_signals(runtime: &Runtime, handle: DriverHandle, state_dir: PathBuf) -> Result<()> {
    let _inside = runtime.enter();
    let terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    handle.fate().clone().spawn_task(
        runtime,
        "wait for signals",
        wait_for_signals(terminate, interrupt, handle, state_dir),
    );
    Ok(())
}

/// Waits for the first signal and stops the driver; ends the process at a second one, or when the end is held
/// up by an outage.
async fn wait_for_signals(
    mut terminate: Signal,
    mut interrupt: Signal,
    handle: DriverHandle,
    dir: PathBuf,
) -> Result<()> {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: the epoch is finished and published; a second signal stops at once");
    handle.stop();
    let outage = async {
        let (mut broker, mut registry) = (Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if handle.status().broker_ok {
                broker = Instant::now();
            }
            if schemas::registry_last_error().is_none() {
                registry = Instant::now();
            }
            match (broker.elapsed() >= OUTAGE_TIMEOUT, registry.elapsed() >= OUTAGE_TIMEOUT) {
                (true, _) => break "broker",
                (_, true) => break "schema registry",
                _ => {}
            }
        }
    };
    let why = tokio::select! {
        _ = terminate.recv() => "stopped at once by a second signal".to_owned(),
        _ = interrupt.recv() => "stopped at once by a second signal".to_owned(),
        who = outage => format!("stopped: the {who} did not answer for {} s", OUTAGE_TIMEOUT.as_secs()),
    };
    eprintln!(
        "error: {why}. What is committed and not published is kept in {} and published at the next start.",
        dir.display()
    );
    std::process::exit(1);
}

/// Warns of the effects of `--fresh` on the sinks' topics before it takes effect: the flag's name is only
/// about the state.
fn say_what_fresh_means(config: &DriverConfig) {
    tracing::warn!(
        "--fresh: once nothing is found wrong, the state in {} is dropped and every source is read again from where it starts",
        config.state_dir.display()
    );
    for line in fresh_notes(&config.plan) {
        tracing::warn!("--fresh: {line}");
    }
}

/// The effect of `--fresh` on each sink.
fn fresh_notes(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    for sink in &plan.sinks {
        let what = match sink.format {
            Format::Upsert => "gets every row again; a key that no longer has a row keeps its last value",
            Format::Plain => "gets every row a second time",
            Format::Debezium => "gets every row as an insert again, and no delete for the old ones",
        };
        notes.push(format!("sink {} {what}", sink.name));
    }
    notes
}

/// The output of a run that ends by itself: the last epoch, and the outcomes of each source.
fn summary_text(summary: &Summary) -> String {
    let mut text = format!("Epoch {} is committed and published.\n", summary.epoch);
    for (source, counts) in &summary.outcomes {
        let read: u64 = counts.iter().sum();
        let parts: Vec<String> = Outcome::told(counts)
            .map(|outcome| format!("{} {}", counts[outcome.index()], outcome.name()))
            .collect();
        text.push_str(&format!("{source}: {read} read = {}\n", parts.join(" + ")));
    }
    text.push_str(&summary.failing.line(""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::FailingRows;

    #[test]
    fn a_summary_adds_up_before_the_readers_eyes() {
        let (view, message) = (Some("ratios".to_owned()), Some("division by zero".to_owned()));
        let failing = FailingRows { rows: 2, view, message };
        let summary =
            Summary { epoch: 7, outcomes: [("matches".to_owned(), [5, 3, 1, 0, 1, 0, 0])].into(), failing };
        assert_eq!(
            summary_text(&summary),
            "Epoch 7 is committed and published.\n\
             matches: 10 read = 5 accepted + 3 duplicate + 1 superseded + 0 constraint + 1 decode + 0 late\n\
             An expression fails on 2 rows, which are left out (view ratios: division by zero): \
             herald query \"SELECT * FROM herald.errors\"\n"
        );
        assert_eq!(FailingRows::default().line(""), "");
    }
}
