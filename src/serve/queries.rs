//! Admission of queries over HTTP: bounds on running and waiting queries, their waiting time, and buffered
//! answers.
//!
//! A query runs in a process of its own, and a thread reads its answer. The thread holds the query's turn until it has
//! the answer; a client that disconnects ends the process. A process that has answered, or told of a mistake, waits
//! for the next query, so that most queries need not start one. The answer is buffered until the client has read it, so
//! that a slow client holds no turn; the bytes of all buffered answers are bounded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use crossbeam_channel::{Receiver, bounded};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cli::{OutputFormat, QueryLimits};
use crate::exit;
use crate::exit::Stopped;
use crate::metrics::Serving;
use crate::query::process::reads::Lender;
use crate::query::process::{QueryProcess, ReadFrom, Running};

/// Most queries that run at a time, unless a flag says otherwise.
const DEFAULT_RUNNING: usize = 2;
/// Queries that wait for their turn, at most, for each that runs.
const MAX_WAITING: usize = 16;
/// Longest time for which a query waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of one answer.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Most bytes of all buffered answers.
const MAX_BUFFERED_BYTES: usize = 192 << 20;
/// Bytes that are read from a query's process at a time, and the unit of the permits for buffered bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs queries within bounds.
pub struct Queries {
    processes: Arc<Processes>,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    held: Arc<Semaphore>,
    metrics: Serving,
}

/// A refusal or failure: its HTTP status and message.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// Maps a failure to its HTTP status.
    pub fn of(error: &Error) -> Refusal {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let status = match find_stopped(error) {
            Some(Stopped::Time(_)) => StatusCode::GATEWAY_TIMEOUT,
            Some(
                Stopped::Memory(_) | Stopped::Work | Stopped::Disk(_) | Stopped::Rows(_) | Stopped::Answer(_),
            ) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(Stopped::Answers | Stopped::Ending | Stopped::Left) => StatusCode::SERVICE_UNAVAILABLE,
            Some(Stopped::Depth) => StatusCode::BAD_REQUEST,
            None if exit::code(error) == 2 => StatusCode::BAD_REQUEST,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal(status, chain.join(": "))
    }
}

/// An answer that is ready to be read.
pub struct Answered {
    /// The committed epoch.
    pub epoch: u64,
    /// Its bytes.
    pub body: AnswerBody,
}

impl Queries {
    /// Creates the admission for queries of a running topology.
    pub fn new(
        lender: Arc<Lender>,
        (running, limits): (Option<u16>, QueryLimits),
        metrics: Serving,
    ) -> Queries {
        let running = running.map_or(DEFAULT_RUNNING, usize::from);
        metrics.change_running(0);
        metrics.change_waiting(0);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (places, turns, held) = (
            semaphore(running * (1 + MAX_WAITING)),
            semaphore(running),
            semaphore(MAX_BUFFERED_BYTES / CHUNK_BYTES),
        );
        let processes = Arc::new(Processes { lender, limits, running, idle: Mutex::default() });
        Queries { processes, places, turns, held, metrics }
    }

    /// Runs a query when it is its turn. Dropping the future ends the query.
    ///
    /// # Errors
    /// The query's own failure, or the bound it met.
    pub async fn ask(&self, sql: String, format: OutputFormat) -> Result<Answered, Refusal> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.count_refused("queries");
            return Err(Refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "too many queries wait: ask again in a second".into(),
            ));
        };
        let turn = {
            let _waiting = Counted::new(&self.metrics, Serving::change_waiting);
            tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned()).await
        };
        let Ok(Ok(turn)) = turn else {
            self.metrics.count_refused("query_turn");
            let why = format!("no query has ended for {} s: ask again later", TURN_TIMEOUT.as_secs());
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        // The sender is dropped with this future, which ends the query when the client disconnects.
        let (_here, left) = bounded(0);
        let job = self.query_job(sql, format, left);
        let work = tokio::task::spawn_blocking(move || {
            let answered = job.run();
            drop((turn, place));
            answered
        });
        match work.await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(Refusal::of(&error)),
            Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the query failed unexpectedly".into())),
        }
    }

    /// The job of the query's thread.
    fn query_job(&self, sql: String, format: OutputFormat, left: Receiver<()>) -> QueryJob {
        let (processes, held) = (self.processes.clone(), self.held.clone());
        QueryJob { processes, held, metrics: self.metrics.clone(), sql, format, left }
    }
}

/// A query for a thread of its own.
struct QueryJob {
    processes: Arc<Processes>,
    held: Arc<Semaphore>,
    metrics: Serving,
    sql: String,
    format: OutputFormat,
    left: Receiver<()>,
}

impl QueryJob {
    /// Runs the query, and counts it while it runs and by its outcome.
    fn run(self) -> Result<Answered> {
        let metrics = self.metrics.clone();
        let _running = Counted::new(&metrics, Serving::change_running);
        let answered = self.read();
        metrics.count_query(outcome_label(answered.as_ref().err()));
        answered
    }

    /// Asks a process and reads its answer.
    fn read(self) -> Result<Answered> {
        let process = self.processes.take_process()?;
        let mut running = Running::start(process, (&self.sql, self.format), self.left)?;
        let answered = read_answered(&mut running, &self.held, &self.metrics);
        if let Some(process) = running.finish() {
            self.processes.keep_process(process);
        }
        answered
    }
}

/// Processes that wait for a query, at most as many as run at a time.
struct Processes {
    lender: Arc<Lender>,
    limits: QueryLimits,
    /// Most queries that run at a time.
    running: usize,
    idle: Mutex<Vec<QueryProcess>>,
}

impl Processes {
    /// Returns a process that waits, or a new one.
    ///
    /// # Errors
    /// When none can be started.
    fn take_process(&self) -> Result<QueryProcess> {
        loop {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match waiting {
                // It may have waited too long, and ended.
                Some(process) if !process.waits() => {}
                Some(process) => return Ok(process),
                None => return QueryProcess::start(ReadFrom::Topology(&self.lender), &self.limits),
            }
        }
    }

    fn keep_process(&self, process: QueryProcess) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.running {
            idle.push(process);
        }
    }
}

/// The bound that ended a query, if one did.
fn find_stopped(error: &Error) -> Option<&Stopped> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// The outcome of a query as a metric label.
pub(super) fn outcome_label(error: Option<&Error>) -> &'static str {
    let Some(error) = error else { return "answered" };
    match find_stopped(error) {
        Some(Stopped::Time(_)) => "time",
        Some(Stopped::Memory(_) | Stopped::Work) => "memory",
        Some(Stopped::Disk(_)) => "disk",
        Some(Stopped::Rows(_)) => "rows",
        Some(Stopped::Depth) => "depth",
        Some(Stopped::Answer(_)) => "answer_size",
        Some(Stopped::Answers) => "answers",
        Some(Stopped::Ending) => "ending",
        Some(Stopped::Left) => "left",
        None if exit::code(error) == 2 => "mistake",
        None => "failed",
    }
}

/// Reads the epoch of an answer, and the answer.
fn read_answered(running: &mut Running, held: &Arc<Semaphore>, metrics: &Serving) -> Result<Answered> {
    Ok(Answered { epoch: running.read_epoch()?, body: read_answer(running, held, metrics)? })
}

/// Reads an answer into memory, within the bounds of one answer and of all buffered ones.
fn read_answer(running: &mut Running, held: &Arc<Semaphore>, metrics: &Serving) -> Result<AnswerBody> {
    let mut body = AnswerBody { left: 0, chunks: VecDeque::new() };
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        let mut filled = 0;
        while filled < CHUNK_BYTES {
            match running.read(&mut bytes[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if filled == 0 {
            return Ok(body);
        }
        bytes.truncate(filled);
        if body.left + filled > MAX_ANSWER_BYTES {
            return Err(Stopped::Answer(MAX_ANSWER_BYTES).into());
        }
        let permit = held.clone().try_acquire_owned().map_err(|_| Stopped::Answers)?;
        body.left += filled;
        metrics.change_answer_bytes(filled as i64);
        let chunk = AnswerChunk { bytes, metrics: metrics.clone(), _permit: permit };
        body.chunks.push_back(Bytes::from_owner(chunk));
    }
}

/// A part of an answer, with its permit for buffered bytes until it is sent.
struct AnswerChunk {
    bytes: Vec<u8>,
    metrics: Serving,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for AnswerChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for AnswerChunk {
    fn drop(&mut self) {
        self.metrics.change_answer_bytes(-(self.bytes.len() as i64));
    }
}

/// The bytes of an answer, as the body of a response.
pub struct AnswerBody {
    left: usize,
    chunks: VecDeque<Bytes>,
}

impl AnswerBody {
    /// The whole answer as text; for short answers.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn into_text(self) -> Result<String> {
        let mut bytes = Vec::new();
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk);
        }
        String::from_utf8(bytes).map_err(|_| anyhow!("the answer is no text"))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.pop_front();
        self.left -= chunk.as_ref().map_or(0, Bytes::len);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// Guard that counts a query as waiting or running while it lives.
pub(super) struct Counted<'a>(&'a Serving, fn(&Serving, i64));

impl<'a> Counted<'a> {
    /// Counts it.
    pub(super) fn new(metrics: &'a Serving, count: fn(&Serving, i64)) -> Counted<'a> {
        count(metrics, 1);
        Counted(metrics, count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        (self.1)(self.0, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_their_status_and_their_label() {
        let minute = Duration::from_secs(60);
        for (stopped, status, label) in [
            (Stopped::Time(minute), 504, "time"),
            (Stopped::Memory(1 << 30), 413, "memory"),
            (Stopped::Answer(MAX_ANSWER_BYTES), 413, "answer_size"),
            (Stopped::Answers, 503, "answers"),
            (Stopped::Depth, 400, "depth"),
            (Stopped::Ending, 503, "ending"),
        ] {
            let error = Error::from(stopped);
            let Refusal(found, words) = Refusal::of(&error);
            assert_eq!((found.as_u16(), outcome_label(Some(&error))), (status, label), "{words}");
            assert!(!words.is_empty());
        }
        let mistake = exit::mistake("no such view");
        assert_eq!((Refusal::of(&mistake).0.as_u16(), outcome_label(Some(&mistake))), (400, "mistake"));
        assert_eq!(
            (Refusal::of(&anyhow!("lost")).0.as_u16(), outcome_label(Some(&anyhow!("lost")))),
            (500, "failed")
        );
        assert_eq!(outcome_label(None), "answered");
    }
}
