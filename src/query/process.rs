//! Processes that answer queries: the side of the process that asks.
//!
//! Every query runs in a process of its own (docs/decisions/0015): the kernel bounds its memory, functions
//! and stacks included, and a crash ends nothing but the query. The process is killed when its time is over
//! or when the client has gone, and it exits by itself when this process dies. It reads the state by way of
//! the topology's process, which lends it a snapshot ([`reads`]), or opens the files of a state by itself. One that
//! has answered, or told of a mistake, may be asked again, so that the next query need not wait for its start.

pub mod answer;
mod messages;
pub mod reads;
pub mod remote;
pub mod scratch;

use std::fs::DirEntry;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use serde::{Deserialize, Serialize};

use crate::cli::{COMMAND, OutputFormat, QueryLimits};
use crate::exit::{RelayedFailure, Stopped};
use reads::{Lender, ToProcess};
use scratch::Scratch;

/// Seconds of CPU beyond those of the queries' time: the kernel's limit, should this process fail to end one.
const SPARE_CPU_SECONDS: u64 = 10;
/// Bytes of the stacks of the answering thread and of planning: the limit counts them whole, used or not. Those of
/// scans come when planning has given back its own.
const STACKS_BYTES: u64 = 320 << 20;
/// Bytes of a session beside its queries: buffers, TLS, and prepared statements.
const SESSION_BYTES: u64 = 192 << 20;
/// Most bytes of a query's text.
pub const MAX_TEXT_BYTES: usize = 256 << 10;
/// Most bytes of a failed process' standard error that are kept.
const MAX_STDERR_BYTES: u64 = 16 << 10;

/// A request to a query process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryRequest {
    /// Directory of the state that it opens; None to read from the topology that asks.
    state: Option<PathBuf>,
    /// The query.
    pub sql: String,
    /// Output format of the answer.
    pub format: OutputFormat,
    /// Most bytes of memory of its process.
    pub memory: u64,
    /// Its longest time.
    pub time: Duration,
    /// Most rows of its answer.
    pub rows: u64,
    /// Most bytes of its files; 0 for none.
    pub disk: u64,
    /// Directory for its files.
    scratch: PathBuf,
}

/// The line before an answer: its epoch, or the failure.
#[derive(Debug, Serialize, Deserialize)]
pub enum AnswerHead {
    /// The committed epoch that the rows are of.
    Epoch(u64),
    /// The failure of the query.
    Failed {
        /// Its words.
        failure: RelayedFailure,
        /// True if the process waits for another query.
        waits: bool,
    },
}

/// Length that ends an answer whose process waits for another query.
const END_AND_WAIT: u32 = 0;
/// Length that ends an answer whose process exits.
const END_AND_EXIT: u32 = u32::MAX;

/// Source of the rows of a process' queries.
pub enum ReadFrom<'s> {
    /// A state, by its directory.
    State(&'s Path),
    /// The topology that runs in this process.
    Topology(&'s Arc<Lender>),
}

/// A process that waits for a query. Dropping it ends the process.
pub struct QueryProcess {
    child: Arc<Mutex<Child>>,
    requests: ToProcess,
    answers: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
    state: Option<PathBuf>,
    limits: QueryLimits,
    scratch: Scratch,
    /// Time that its queries took.
    used: Duration,
    /// Time of its start, or of the end of its last query.
    idle_since: Instant,
}

impl QueryProcess {
    /// Starts a process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(from: ReadFrom<'_>, limits: &QueryLimits) -> Result<QueryProcess> {
        let scratch = Scratch::new()?;
        let (requests, theirs) = UnixStream::pair().context("cannot connect to the query's process")?;
        let requests = ToProcess::of(requests);
        let (state, logs) = match &from {
            // A secondary holds the database's write-ahead logs in memory, and reads them twice.
            ReadFrom::State(dir) => (Some(dir.to_path_buf()), 2 * log_bytes(dir)),
            ReadFrom::Topology(_) => (None, 0),
        };
        let mut child = spawn_limited(limits, logs, theirs).context("cannot start the query's process")?;
        let (Some(stdout), stderr) = (child.stdout.take(), child.stderr.take()) else {
            return Err(anyhow!("the query's process has no pipes"));
        };
        if let ReadFrom::Topology(lender) = from {
            lender.serve(requests.clone())?;
        }
        Ok(QueryProcess {
            child: Arc::new(Mutex::new(child)),
            requests,
            answers: BufReader::new(stdout),
            stderr,
            state,
            limits: limits.clone(),
            scratch,
            used: Duration::ZERO,
            idle_since: Instant::now(),
        })
    }

    /// Returns true if the process still waits, and will for a while.
    pub fn waits(&self) -> bool {
        self.idle_since.elapsed() < answer::IDLE_TIMEOUT / 2
            && matches!(lock_shared(&self.child).try_wait(), Ok(None))
    }
}

impl Drop for QueryProcess {
    fn drop(&mut self) {
        let mut child = lock_shared(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Course of a query. Its timer and its end decide under one lock: a process that has answered is not killed.
#[derive(Debug)]
enum Course {
    Runs,
    /// Answered, so that its process belongs to the next query.
    Answered,
    /// Ended by a bound, which killed its process.
    Stopped(Stopped),
}

/// A running query. Dropping it ends its process.
pub struct Running {
    process: QueryProcess,
    course: Arc<Mutex<Course>>,
    begun: Instant,
    /// Bytes of the answer's current piece that are not read yet.
    piece: usize,
    /// Set at the end of the answer, and at a failure: true if the process waits for another query.
    ended: Option<bool>,
    _done: Sender<()>,
}

impl Running {
    /// Starts a query. Its process is killed when its time is over or when all senders of `left` are gone.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn start(
        process: QueryProcess,
        (sql, format): (&str, OutputFormat),
        left: Receiver<()>,
    ) -> Result<Running> {
        let asked = QueryRequest {
            state: process.state.clone(),
            sql: sql.to_owned(),
            format,
            memory: process.limits.query_memory,
            time: process.limits.query_time,
            rows: process.limits.query_rows,
            disk: process.limits.query_disk,
            scratch: process.scratch.path().to_owned(),
        };
        let course = Arc::new(Mutex::new(Course::Runs));
        let (done, ended) = bounded(0);
        let timer = Timer { child: process.child.clone(), course: course.clone(), time: asked.time };
        std::thread::Builder::new()
            .name("herald-query-timer".to_owned())
            .spawn(move || timer.wait_and_kill(&ended, &left))
            .context("cannot watch the query's time")?;
        // A write to a process that died at once fails; `finish` reports its failure.
        let _ = process.requests.send(&serde_json::to_vec(&asked)?);
        Ok(Running { process, course, begun: Instant::now(), piece: 0, ended: None, _done: done })
    }

    /// Waits for the epoch of the answer.
    ///
    /// # Errors
    /// The query's own failure, or the bound that ended it.
    pub fn read_epoch(&mut self) -> Result<u64> {
        let mut line = String::new();
        let head = match self.process.answers.read_line(&mut line) {
            Ok(_) => serde_json::from_str(&line).ok(),
            Err(_) => None,
        };
        match head {
            Some(AnswerHead::Epoch(epoch)) => Ok(epoch),
            Some(AnswerHead::Failed { failure, waits }) => {
                self.ended = Some(waits);
                Err(failure.into_error())
            }
            None => Err(self.death()),
        }
    }

    /// Reads the next bytes of the answer; 0 at its end.
    ///
    /// # Errors
    /// When the answer is incomplete: the bound that ended the query, or the cause of its process' death.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.piece == 0 && self.ended.is_none() {
            let mut length = [0; 4];
            if self.process.answers.read_exact(&mut length).is_err() {
                return Err(self.death());
            }
            match u32::from_le_bytes(length) {
                END_AND_WAIT => self.ended = Some(true),
                END_AND_EXIT => self.ended = Some(false),
                length => self.piece = length as usize,
            }
        }
        let wanted = into.len().min(self.piece);
        if wanted == 0 {
            return Ok(0);
        }
        match self.process.answers.read(&mut into[..wanted]) {
            Ok(read) if read > 0 => {
                self.piece -= read;
                Ok(read)
            }
            Ok(_) | Err(_) => Err(self.death()),
        }
    }

    /// Ends a query whose answer or failure was read; returns its process if it can be asked again.
    pub fn finish(mut self) -> Option<QueryProcess> {
        let answered = match &mut *lock_shared(&self.course) {
            course @ Course::Runs => {
                *course = Course::Answered;
                self.ended == Some(true)
            }
            Course::Answered | Course::Stopped(_) => false,
        };
        self.process.used += self.begun.elapsed();
        self.process.idle_since = Instant::now();
        let reusable = answered && self.process.used < self.process.limits.query_time;
        reusable.then_some(self.process)
    }

    /// Waits for a process that ended without a complete answer, and returns the cause.
    fn death(&mut self) -> anyhow::Error {
        let mut said = Vec::new();
        if let Some(stderr) = self.process.stderr.take() {
            let _ = stderr.take(MAX_STDERR_BYTES).read_to_end(&mut said);
        }
        let Ok(status) = lock_shared(&self.process.child).wait() else {
            return anyhow!("the query's process is lost");
        };
        let course = std::mem::replace(&mut *lock_shared(&self.course), Course::Answered);
        if let Course::Stopped(stopped) = course {
            return stopped.into();
        }
        let said = String::from_utf8_lossy(&said);
        tracing::warn!("a query's process ended ({status}): {}", said.trim());
        let limits = &self.process.limits;
        cause_of_death(status, &said, (limits.query_memory, limits.query_time))
    }
}

/// The cause of death of a query's process, within these limits, that this one did not kill. Some signals have several
/// causes, so the words on standard error are consulted first.
pub(crate) fn cause_of_death(
    status: ExitStatus,
    said: &str,
    (most_bytes, most_time): (u64, Duration),
) -> anyhow::Error {
    let memory = ["memory allocation of", "bad_alloc", "Cannot allocate memory", "out of memory"];
    match status.signal() {
        _ if said.contains(remote::CONNECTION_ENDED) => Stopped::Ending.into(),
        _ if said.contains("overflowed its stack") => Stopped::Depth.into(),
        Some(SIGSEGV) => Stopped::Depth.into(),
        Some(SIGXCPU) => Stopped::Time(most_time).into(),
        _ if memory.iter().any(|words| said.contains(words)) => Stopped::Memory(most_bytes).into(),
        Some(SIGKILL | SIGABRT) => Stopped::Memory(most_bytes).into(),
        _ => anyhow!("the query's process ended unexpectedly ({status}): {}", said.trim()),
    }
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;

fn lock_shared<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a query whose time is over, or whose client has gone.
struct Timer {
    child: Arc<Mutex<Child>>,
    course: Arc<Mutex<Course>>,
    time: Duration,
}

impl Timer {
    fn wait_and_kill(&self, ended: &Receiver<()>, left: &Receiver<()>) {
        let why = select! {
            recv(ended) -> _ => return,
            recv(left) -> _ => Stopped::Left,
            default(self.time) => Stopped::Time(self.time),
        };
        let mut course = lock_shared(&self.course);
        if matches!(*course, Course::Runs) {
            *course = Course::Stopped(why);
            let _ = lock_shared(&self.child).kill();
        }
    }
}

/// Starts a query process within the limits.
fn spawn_limited(limits: &QueryLimits, logs: u64, requests: UnixStream) -> std::io::Result<Child> {
    let data = limits.query_memory + STACKS_BYTES + logs;
    // A process is asked again until its queries took the time of one; their scans have threads of their own.
    let cpu = 4 * limits.query_time.as_secs() + SPARE_CPU_SECONDS;
    limited_command(COMMAND, data, Some(cpu))
        .stdin(Stdio::from(OwnedFd::from(requests)))
        .stdout(Stdio::piped())
        .spawn()
}

/// The running program with a hidden command, even if its file has been replaced, within limits on bytes of data and,
/// if there is one, seconds of CPU, and with a low priority: a topology goes before its queries. A shell sets the limits
/// first, because a process can only limit itself: data (allocations, stacks), CPU, and no core file.
pub(crate) fn limited_command(hidden: &str, data: u64, cpu: Option<u64>) -> Command {
    const LIMITED: &str = r#"ulimit -c 0; ulimit -d "$1"; if [ -n "$2" ]; then ulimit -S -t "$2"; fi; shift 2
        PATH=/usr/bin:/bin; if command -v nice >/dev/null; then exec nice -n 10 "$@"; fi; exec "$@""#;
    let cpu = cpu.map_or_else(String::new, |seconds| seconds.to_string());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", LIMITED, "herald-query", &(data >> 10).to_string(), &cpu])
        .arg(format!("/proc/{}/exe", std::process::id()))
        .arg(hidden)
        .env_clear()
        // The data limit counts reserved memory, so the allocators must not reserve more than they use.
        .envs([("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MALLOC_ARENA_MAX", "2"), ("RUST_BACKTRACE", "0")])
        .stderr(Stdio::piped())
        // Ctrl-C must reach only the parent process.
        .process_group(0);
    command
}

/// Bytes of data that the process of a session may have whose queries take at most `memory`.
pub(crate) fn session_bytes(memory: u64) -> u64 {
    memory + STACKS_BYTES + SESSION_BYTES
}

/// Bytes of the database's write-ahead logs.
fn log_bytes(state: &Path) -> u64 {
    let mut bytes = 0;
    for entry in dir_entries(state) {
        bytes += log_length(&entry);
        if entry.path().is_dir() {
            for below in dir_entries(&entry.path()) {
                bytes += log_length(&below);
            }
        }
    }
    bytes
}

/// The entries of a directory that can be read.
fn dir_entries(dir: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(dir).into_iter().flatten().flatten()
}

/// Bytes of a file if it is a log, else 0.
fn log_length(entry: &DirEntry) -> u64 {
    match entry.path().extension() {
        Some(extension) if extension == "log" => entry.metadata().map_or(0, |file| file.len()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_counted_and_nothing_else() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("db"))?;
        for (name, bytes) in [("db/000007.log", 300), ("db/000008.sst", 5000), ("db/000009.log", 4), ("x", 9)]
        {
            std::fs::write(dir.path().join(name), vec![0; bytes])?;
        }
        assert_eq!(log_bytes(dir.path()), 304);
        assert_eq!(log_bytes(Path::new("no/such/state")), 0);
        Ok(())
    }
}
