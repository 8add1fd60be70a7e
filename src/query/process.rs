//! A query's process, as the one that asked sees it: started with limits, read from, and ended.
//!
//! Every query runs in a process of its own, whoever asks (docs/decisions/0015): its memory is bounded by the
//! kernel, functions and stacks included, and what it runs into ends nothing but itself. It is killed when its
//! time is over or when who asked has gone, and it ends by itself when this process is no more.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use serde::{Deserialize, Serialize};

use crate::cli::{OutputFormat, QueryLimits};
use crate::exit::Told;

/// The hidden command that a query's process is started with.
pub const COMMAND: &str = "answer-query";
/// Seconds of CPU beyond the time a query has: the last resort, should nobody end its process.
const SPARE_CPU: u64 = 10;
/// Bytes of stacks, that of the answer's thread and the one that planning grows: they count whole, used or not.
const STACKS: u64 = 320 << 20;
/// Bytes of a query's text, at most.
pub const TEXT: usize = 256 << 10;
/// Bytes of what a dying process says that are kept.
const SAID: u64 = 16 << 10;

/// What a query's process is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Where the state is.
    pub state: PathBuf,
    /// The query.
    pub sql: String,
    /// The form of the answer.
    pub format: OutputFormat,
    /// Bytes its process may take.
    pub memory: u64,
    /// How long it may take.
    pub time: Duration,
    /// A directory for the database's logs.
    scratch: PathBuf,
}

/// What comes before an answer: its epoch, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub enum Head {
    /// The committed epoch that the rows are of.
    Epoch(u64),
    /// Why there are no rows.
    Failed(Told),
}

/// A bound that ended a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Its time was over.
    #[error("the query took longer than {} s and was stopped", .0.as_secs_f64())]
    Time(Duration),
    /// It took too much memory.
    #[error("the query took more memory than the {} MiB it may take and was stopped", .0 >> 20)]
    Memory(u64),
    /// It was too deep for its stack.
    #[error("the query is nested too deeply and was stopped")]
    Depth,
    /// Its answer is too large to be held.
    #[error("the answer is larger than {} MiB: add LIMIT, or aggregate", .0 >> 20)]
    Answer(usize),
    /// Too many answers are held already.
    #[error("too many answers wait to be read: ask again later")]
    Answers,
    /// Whoever asked has gone.
    #[error("whoever asked has gone")]
    Left,
}

impl Stopped {
    /// What to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Stopped::Time(_) => Some("ask for less, keep a view for this question, or grant --query-time"),
            Stopped::Memory(_) => {
                Some("ask for less, keep a view for this question, or grant --query-memory")
            }
            _ => None,
        }
    }
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
        (state, sql, format): (&Path, &str, OutputFormat),
        limits: &QueryLimits,
        left: Receiver<()>,
    ) -> Result<Running> {
        let scratch = tempfile::Builder::new()
            .prefix("herald-query-")
            .tempdir()
            .context("cannot create a temporary directory for the query")?;
        let asked = Asked {
            state: state.to_owned(),
            sql: sql.to_owned(),
            format,
            memory: limits.query_memory,
            time: limits.query_time,
            scratch: scratch.path().to_owned(),
        };
        let mut child = spawn(&asked).context("cannot start the query's process")?;
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
            .spawn(move || timer.watch(&ended, &left))
            .context("cannot watch the query's time")?;
        // One that dies at once is told by its end.
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
    pub fn head(&mut self) -> Result<u64> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        match read.map(|_| serde_json::from_str(&line)) {
            Ok(Ok(Head::Epoch(epoch))) => Ok(epoch),
            Ok(Ok(Head::Failed(told))) => Err(told.into_error()),
            _ => Err(self.end().err().unwrap_or_else(|| anyhow!("the query ended without a word"))),
        }
    }

    /// The next bytes of the answer; none at its end.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stdout.read(into)
    }

    /// Waits for the process, whose answer has been read to its end.
    ///
    /// # Errors
    /// When the answer is not whole: the bound that ended the query, or what its process died of.
    pub fn end(&mut self) -> Result<()> {
        let mut said = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.take(SAID).read_to_end(&mut said);
        }
        drop(self.stdin.take());
        let status = locked(&self.child).wait().context("the query's process is lost")?;
        if let Some(stopped) = locked(&self.stopped).take() {
            return Err(stopped.into());
        }
        if status.success() {
            return Ok(());
        }
        Err(self.died(status, &String::from_utf8_lossy(&said)))
    }

    /// What a process has died of that nobody has ended.
    fn died(&self, status: ExitStatus, said: &str) -> anyhow::Error {
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
        let mut child = locked(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a query whose time is over, or whose asker has gone.
struct Timer {
    child: Arc<Mutex<Child>>,
    stopped: Arc<Mutex<Option<Stopped>>>,
    time: Duration,
}

impl Timer {
    fn watch(&self, ended: &Receiver<()>, left: &Receiver<()>) {
        let why = select! {
            recv(ended) -> _ => return,
            recv(left) -> _ => Stopped::Left,
            default(self.time) => Stopped::Time(self.time),
        };
        *locked(&self.stopped) = Some(why);
        let _ = locked(&self.child).kill();
    }
}

/// Starts this same program, even if its file has been replaced meanwhile, within the limits. A shell sets
/// them, as only a process can limit itself: data (allocations, stacks), CPU, and no core file.
fn spawn(asked: &Asked) -> std::io::Result<Child> {
    const LIMITED: &str = r#"ulimit -c 0; ulimit -d "$1"; ulimit -S -t "$2"; shift 2; exec "$@""#;
    let data = (asked.memory + STACKS + 2 * log_bytes(&asked.state)) >> 10;
    let cpu = asked.time.as_secs() + SPARE_CPU;
    Command::new("/bin/sh")
        .args(["-c", LIMITED, "herald-query", &data.to_string(), &cpu.to_string()])
        .arg(format!("/proc/{}/exe", std::process::id()))
        .arg(COMMAND)
        .env_clear()
        // Memory counts when it is used, not when the allocator reserves it.
        .envs([("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MALLOC_ARENA_MAX", "2"), ("RUST_BACKTRACE", "0")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the one that asked.
        .process_group(0)
        .spawn()
}

/// Bytes of the database's write-ahead logs: whoever reads a state beside its process holds them in memory.
fn log_bytes(state: &Path) -> u64 {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.path().extension().is_some_and(|e| e == "log") {
        true => entry.metadata().map_or(0, |file| file.len()),
        false => 0,
    };
    let below = entries(state).filter(|entry| entry.path().is_dir());
    below.flat_map(|dir| entries(&dir.path())).chain(entries(state)).map(of).sum()
}

impl Asked {
    /// Where the database may log.
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
