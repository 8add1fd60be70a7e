//! A process that is measured: its CPU time, its wall time, its output, and on request samples of its
//! threads and metrics.
//!
//! CPU time is user and system time as the kernel counts it for a child that was waited for. Children
//! run one at a time, so the difference around a wait is that child's alone. Threads are sampled while
//! the child runs: their CPU time between the last sample and the end is not seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Kernel ticks in a second, as every Linux reports them to processes.
const TICKS: f64 = 100.0;
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
const SCRAPE_EVERY: Duration = Duration::from_millis(250);
/// Interval at which metrics are awaited: reading them costs some ten milliseconds for each gigabyte that a process holds.
const POLL_EVERY: Duration = Duration::from_millis(400);
/// Interval in which an idle process uses less than a tenth of a core.
const IDLE_INTERVAL: Duration = Duration::from_millis(400);
/// Bytes of a block, as the file system counts them.
const BLOCK: u64 = 512;
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;
/// Time that a child may take, and the default for each wait on a running one.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Cost and output of a child.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// From start to end, seconds.
    pub wall_s: f64,
    /// Its standard output.
    pub said: String,
}

/// Events and their cost.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Events.
    pub events: u64,
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Wall time, seconds.
    pub wall_s: f64,
}

impl Measured {
    /// Events per CPU-second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.cpu_s.max(1.0 / TICKS)
    }

    /// The cheaper of two runs of the same kind.
    pub fn better(self, other: Measured) -> Measured {
        if other.rate() > self.rate() { other } else { self }
    }
}

/// Samples of a child while it ran.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// CPU seconds by thread.
    pub threads: BTreeMap<(String, String), f64>,
    /// The last answer of `/metrics`.
    pub metrics: String,
}

/// Resources a running process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Most memory it held at a time, KiB.
    pub peak_kib: u64,
}

/// A process that runs until it is dropped.
pub struct Running {
    child: std::process::Child,
    port: u16,
    log: PathBuf,
    /// Time that any wait for it may take.
    pub patience: Duration,
}

impl Running {
    /// Starts a command that listens on `port`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path, port: u16) -> Result<Running> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
        let child = command.spawn().context("cannot start what is to be measured")?;
        Ok(Running { child, port, log: log.to_owned(), patience: TIMEOUT })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resources it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn used(&mut self) -> Result<Used> {
        self.verify_alive()?;
        let peak_kib = peak_kib(self.child.id()).context("a process' status is not as expected")?;
        Ok(Used { cpu_s: process_s(self.child.id())?, peak_kib })
    }

    /// Verifies that it has not ended.
    ///
    /// # Errors
    /// When it has; with the end of its log.
    pub fn verify_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("a run ended ({status}): {}", log_tail(&self.log)),
            None => Ok(()),
        }
    }

    /// Waits until `/metrics` satisfies `done`, then until the process is idle: no thread works on
    /// a merge or a compaction. Returns CPU seconds so far, and the time at which `done` was first seen.
    ///
    /// # Errors
    /// When the process ends, or takes too long.
    pub fn wait_until(&mut self, mut done: impl FnMut(&str) -> bool) -> Result<(f64, Instant)> {
        let begun = Instant::now();
        while !fetch_metrics(self.port).is_ok_and(|metrics| done(&metrics)) {
            self.verify_within(begun)?;
            std::thread::sleep(POLL_EVERY);
        }
        let at = Instant::now();
        Ok((self.wait_idle()?, at))
    }

    /// Waits until the process is idle, and returns its CPU seconds so far.
    ///
    /// # Errors
    /// When the process ends, or takes too long.
    pub fn wait_idle(&mut self) -> Result<f64> {
        let (begun, mut spent) = (Instant::now(), f64::MAX);
        loop {
            self.verify_within(begun)?;
            std::thread::sleep(IDLE_INTERVAL);
            let now = process_s(self.child.id())?;
            if now - spent < IDLE_INTERVAL.as_secs_f64() * 0.1 {
                return Ok(now);
            }
            spent = now;
        }
    }

    /// Verifies that it has not ended, and that the time has not passed that it may take from `begun` on.
    fn verify_within(&mut self, begun: Instant) -> Result<()> {
        self.verify_alive()?;
        if begun.elapsed() > self.patience {
            bail!("a run took longer than {} s: {}", self.patience.as_secs(), log_tail(&self.log));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its state is deleted, so it need not end gracefully.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, fails, or takes too long; with the end of its log.
pub fn run(command: &mut Command, log: &Path) -> Result<Cost> {
    run_watched(command, log, |_| {})
}

/// The most memory that a process held at a time, in KiB.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    peak?.parse().ok()
}

/// Runs a command that listens on `port`, and samples its threads and metrics while it runs.
///
/// # Errors
/// As [`run`].
pub fn run_sampled(command: &mut Command, log: &Path, port: u16) -> Result<(Cost, Samples)> {
    let (mut seen, mut scraped) = (Samples::default(), Instant::now());
    let cost = run_watched(command, log, |pid| {
        sample_threads(pid, &mut seen.threads);
        if scraped.elapsed() >= SCRAPE_EVERY {
            scraped = Instant::now();
            if let Ok(text) = fetch_metrics(port) {
                seen.metrics = text;
            }
        }
    })?;
    Ok((cost, seen))
}

/// Runs a command to its end and calls `look` with its process id at every interval.
fn run_watched(command: &mut Command, log: &Path, mut look: impl FnMut(u32)) -> Result<Cost> {
    let said = log.with_extension("out");
    // A backtrace would push the error message out of the end of the log.
    command
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(File::create(&said)?)
        .stderr(File::create(log)?);
    let (before, begun) = (children_s()?, Instant::now());
    let mut child = command.spawn().context("cannot start what is to be measured")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > TIMEOUT {
            child.kill()?;
            child.wait()?;
            bail!("a run took longer than {} s: {}", TIMEOUT.as_secs(), log_tail(log));
        }
        look(child.id());
        std::thread::sleep(SAMPLE_EVERY);
    };
    let wall_s = begun.elapsed().as_secs_f64();
    if !status.success() {
        bail!("a run failed ({status}): {}", log_tail(log));
    }
    Ok(Cost { cpu_s: children_s()? - before, wall_s, said: std::fs::read_to_string(said)? })
}

/// The last twelve lines of a log.
pub fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// CPU seconds of all children that were waited for.
fn children_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("this bench needs Linux's /proc")?;
    let (_, fields) = parse_stat(&text).context("/proc/self/stat is not as expected")?;
    // cutime and cstime, fields 16 and 17 of proc_pid_stat(5).
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(13) + ticks(14)) / TICKS)
}

/// CPU seconds of a running process.
///
/// # Errors
/// When it has ended.
pub fn process_s(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = parse_stat(&text).context("a process' stat is not as expected")?;
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS)
}

/// Processes that a process has started and that still run.
pub fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Resident memory of a process; 0 when it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

/// Bytes of the blocks of all files below a directory. A file that is deleted meanwhile does not count.
pub fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => disk_bytes(&entry.path()),
        Ok(of) => of.blocks() * BLOCK,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Updates the CPU time of every thread of a process; threads that ended keep their last value.
fn sample_threads(pid: u32, seen: &mut BTreeMap<(String, String), f64>) {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for task in tasks.flatten() {
        let Ok(text) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((name, fields)) = parse_stat(&text) else { continue };
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let id = task.file_name().to_string_lossy().into_owned();
        seen.insert((id, name.to_owned()), (ticks(11) + ticks(12)) / TICKS);
    }
}

/// Parses `/proc/PID/stat`: the name and the fields from `state` on. The name may hold spaces and
/// parentheses.
fn parse_stat(text: &str) -> Option<(&str, Vec<&str>)> {
    let (_, after) = text.split_once('(')?;
    let (name, fields) = after.rsplit_once(") ")?;
    Some((name, fields.split_whitespace().collect()))
}

/// A port of the loopback interface that was free just now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Fetches `/metrics`.
///
/// # Errors
/// When nobody answers.
pub fn fetch_metrics(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let (name, fields) = parse_stat("12 (a) b) S 1 2").unwrap_or_default();
        assert_eq!((name, fields), ("a) b", vec!["S", "1", "2"]));
    }

    #[test]
    fn files_below_a_directory_count() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("a"))?;
        std::fs::write(dir.path().join("a/b"), vec![1; 100_000])?;
        assert!((100_000..200_000).contains(&disk_bytes(dir.path())));
        Ok(())
    }
}
