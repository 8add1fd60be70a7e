//! The parent's side of a query process: starts it with limits, reads its answer, and ends it.
//!
//! Every query runs in a process of its own (docs/decisions/0015): the kernel bounds its memory, functions
//! and stacks included, and a crash ends nothing but the query. The process is killed when its time is over
//! or when the client has gone, and it exits by itself when this process dies.

use std::fs::DirEntry;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use serde::{Deserialize, Serialize};

use crate::cli::{COMMAND, OutputFormat, QueryLimits};
use crate::exit::{RelayedFailure, Stopped};

/// Seconds of CPU beyond the query's time: the kernel's limit, should this process fail to end it.
const SPARE_CPU_SECONDS: u64 = 10;
/// Bytes of the stacks of the answering thread and of planning: the limit counts them whole, used or not. Those of
/// scans come when planning has given back its own.
const STACKS_BYTES: u64 = 320 << 20;
/// Most bytes of a query's text.
pub const MAX_TEXT_BYTES: usize = 256 << 10;
/// Most bytes of a failed process' standard error that are kept.
const MAX_STDERR_BYTES: u64 = 16 << 10;

/// A request to the query process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The state's directory.
    pub state: PathBuf,
    /// The query.
    pub sql: String,
    /// Output format of the answer.
    pub format: OutputFormat,
    /// Most bytes of memory of its process.
    pub memory: u64,
    /// Its longest time.
    pub time: Duration,
    /// Directory for the database's log files.
    scratch: PathBuf,
}

/// The line before an answer: its epoch, or the failure.
#[derive(Debug, Serialize, Deserialize)]
pub enum AnswerHead {
    /// The committed epoch that the rows are of.
    Epoch(u64),
    /// The failure of the query.
    Failed(RelayedFailure),
}

/// A running query. Dropping it ends its process.
pub struct Running {
    child: Arc<Mutex<Child>>,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
    stopped: Arc<Mutex<Option<Stopped>>>,
    memory: u64,
    time: Duration,
    _done: Sender<()>,
    _scratch: tempfile::TempDir,
}

impl Running {
    /// Starts a query. Its process is killed when its time is over or when all senders of `left` are gone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        state: &Path,
        (sql, format): (&str, OutputFormat),
        limits: &QueryLimits,
        left: Receiver<()>,
    ) -> Result<Running> {
        let scratch = tempfile::Builder::new()
            .prefix("herald-query-")
            .tempdir()
            .context("cannot create a temporary directory for the query")?;
        let asked = QueryRequest {
            state: state.to_owned(),
            sql: sql.to_owned(),
            format,
            memory: limits.query_memory,
            time: limits.query_time,
            scratch: scratch.path().to_owned(),
        };
        let mut child = spawn_limited(&asked).context("cannot start the query's process")?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(anyhow!("the query's process has no pipes"));
        };
        let child = Arc::new(Mutex::new(child));
        let stopped = Arc::new(Mutex::new(None));
        let (done, ended) = bounded(0);
        let timer = Timer { child: child.clone(), stopped: stopped.clone(), time: asked.time };
        std::thread::Builder::new()
            .name("herald-query-timer".to_owned())
            .spawn(move || timer.wait_and_kill(&ended, &left))
            .context("cannot watch the query's time")?;
        // A write to a process that died at once fails; `end` reports its failure.
        let _ = stdin.write_all(format!("{}\n", serde_json::to_string(&asked)?).as_bytes());
        Ok(Running {
            child,
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            stderr: Some(stderr),
            stopped,
            memory: asked.memory,
            time: asked.time,
            _done: done,
            _scratch: scratch,
        })
    }

    /// Waits for the epoch of the answer.
    ///
    /// # Errors
    /// The query's own failure, or the bound that ended it.
    pub fn read_epoch(&mut self) -> Result<u64> {
        let mut line = String::new();
        let head = match self.stdout.read_line(&mut line) {
            Ok(_) => serde_json::from_str(&line).ok(),
            Err(_) => None,
        };
        match head {
            Some(AnswerHead::Epoch(epoch)) => Ok(epoch),
            Some(AnswerHead::Failed(failure)) => Err(failure.into_error()),
            None => Err(self.finish().err().unwrap_or_else(|| anyhow!("the query ended without a word"))),
        }
    }

    /// Reads the next bytes of the answer; 0 at its end.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stdout.read(into)
    }

    /// Waits for the process to exit, after its answer was read to the end.
    ///
    /// # Errors
    /// When the answer is incomplete: the bound that ended the query, or the cause of its process' death.
    pub fn finish(&mut self) -> Result<()> {
        let mut said = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.take(MAX_STDERR_BYTES).read_to_end(&mut said);
        }
        drop(self.stdin.take());
        let status = lock_shared(&self.child).wait().context("the query's process is lost")?;
        if let Some(stopped) = lock_shared(&self.stopped).take() {
            return Err(stopped.into());
        }
        if status.success() {
            return Ok(());
        }
        Err(self.cause_of_death(status, &String::from_utf8_lossy(&said)))
    }

    /// The cause of death of a process that this one did not kill. Some signals have several causes, so the
    /// words on standard error are consulted first.
    fn cause_of_death(&self, status: ExitStatus, said: &str) -> anyhow::Error {
        let memory = ["memory allocation of", "bad_alloc", "Cannot allocate memory", "out of memory"];
        match status.signal() {
            _ if said.contains("overflowed its stack") => Stopped::Depth.into(),
            Some(SIGSEGV) => Stopped::Depth.into(),
            Some(SIGXCPU) => Stopped::Time(self.time).into(),
            _ if memory.iter().any(|words| said.contains(words)) => Stopped::Memory(self.memory).into(),
            Some(SIGKILL | SIGABRT) => Stopped::Memory(self.memory).into(),
            _ => anyhow!("the query's process ended unexpectedly ({status}): {}", said.trim()),
        }
    }
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = lock_shared(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn lock_shared<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a query whose time is over, or whose client has gone.
struct Timer {
    child: Arc<Mutex<Child>>,
    stopped: Arc<Mutex<Option<Stopped>>>,
    time: Duration,
}

impl Timer {
    fn wait_and_kill(&self, ended: &Receiver<()>, left: &Receiver<()>) {
        let why = select! {
            recv(ended) -> _ => return,
            recv(left) -> _ => Stopped::Left,
            default(self.time) => Stopped::Time(self.time),
        };
        *lock_shared(&self.stopped) = Some(why);
        let _ = lock_shared(&self.child).kill();
    }
}

/// Starts the running program, even if its file has been replaced, within the limits. A shell sets them
/// first, because a process can only limit itself: data (allocations, stacks), CPU, and no core file.
fn spawn_limited(asked: &QueryRequest) -> std::io::Result<Child> {
    const LIMITED: &str = r#"ulimit -c 0; ulimit -d "$1"; ulimit -S -t "$2"; shift 2; exec "$@""#;
    let data = (asked.memory + STACKS_BYTES + 2 * log_bytes(&asked.state)) >> 10;
    let cpu = asked.time.as_secs() + SPARE_CPU_SECONDS;
    Command::new("/bin/sh")
        .args(["-c", LIMITED, "herald-query", &data.to_string(), &cpu.to_string()])
        .arg(format!("/proc/{}/exe", std::process::id()))
        .arg(COMMAND)
        .env_clear()
        // The data limit counts reserved memory, so the allocators must not reserve more than they use.
        .envs([("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MALLOC_ARENA_MAX", "2"), ("RUST_BACKTRACE", "0")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C must reach only the parent process.
        .process_group(0)
        .spawn()
}

/// Bytes of the database's write-ahead logs: a secondary reader holds them in memory.
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

impl QueryRequest {
    /// Directory for the database's log files.
    pub fn scratch(&self) -> &Path {
        &self.scratch
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
