//! Queries of a running topology: how many run, how many wait and for how long, and how much of their answers
//! is held.
//!
//! A query runs in a process of its own, and a thread reads its answer. The thread holds the turn: it is given
//! back when the process has ended, not when who asked has lost patience; and who has gone ends the process. The
//! answer is held until it is read, so that a client that reads slowly holds no turn; all that is held is bounded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
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
use crate::metrics::Serving;
use crate::query::process::{Running, Stopped};

/// Queries that run at a time.
const QUERIES: usize = 2;
/// Queries that run or wait for their turn.
const WAITING: usize = 34;
/// How long a query waits for its turn.
const TURN: Duration = Duration::from_secs(30);
/// Bytes of one answer, and of all that are held.
const ANSWER: usize = 64 << 20;
const ANSWERS: usize = 192 << 20;
/// Bytes that are read from a query's process at a time; permits are counted in as many.
const CHUNK: usize = 64 << 10;

/// Runs queries within bounds.
pub struct Queries {
    state: PathBuf,
    limits: QueryLimits,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    held: Arc<Semaphore>,
    metrics: Serving,
}

/// Why there is no answer: the status it has in HTTP, and words.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// A failure in HTTP's terms.
    pub fn of(error: &Error) -> Refusal {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let status = match error.chain().find_map(|cause| cause.downcast_ref::<Stopped>()) {
            Some(Stopped::Time(_)) => StatusCode::GATEWAY_TIMEOUT,
            Some(Stopped::Memory(_) | Stopped::Answer(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(Stopped::Answers | Stopped::Left) => StatusCode::SERVICE_UNAVAILABLE,
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
    pub body: Chunks,
}

impl Queries {
    /// Queries of the state in a directory.
    pub fn new(state: PathBuf, limits: QueryLimits, metrics: Serving) -> Queries {
        metrics.running(0);
        metrics.waiting(0);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (places, turns, held) = (semaphore(WAITING), semaphore(QUERIES), semaphore(ANSWERS / CHUNK));
        Queries { state, limits, places, turns, held, metrics }
    }

    /// Runs a query when it is its turn. Dropping the future ends the query.
    ///
    /// # Errors
    /// The query's own failure, or the bound it met.
    pub async fn ask(&self, sql: String, format: OutputFormat) -> Result<Answered, Refusal> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.refused("queries");
            return Err(Refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "too many queries wait: ask again in a second".into(),
            ));
        };
        let turn = {
            let _waiting = Counted::new(&self.metrics, Serving::waiting);
            tokio::time::timeout(TURN, self.turns.clone().acquire_owned()).await
        };
        let Ok(Ok(turn)) = turn else {
            self.metrics.refused("query_turn");
            let why = format!("no query has ended for {} s: ask again later", TURN.as_secs());
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        // Its sender is gone with this future.
        let (_here, left) = bounded(0);
        let work = self.work(sql, format, left);
        let work = tokio::task::spawn_blocking(move || {
            let answered = work();
            drop((turn, place));
            answered
        });
        match work.await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(Refusal::of(&error)),
            Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the query failed unexpectedly".into())),
        }
    }

    /// What a thread does for a query.
    fn work(
        &self,
        sql: String,
        format: OutputFormat,
        left: Receiver<()>,
    ) -> impl FnOnce() -> Result<Answered> + Send + use<> {
        let (state, limits, held) = (self.state.clone(), self.limits.clone(), self.held.clone());
        let metrics = self.metrics.clone();
        move || {
            let _running = Counted::new(&metrics, Serving::running);
            let read = || -> Result<Answered> {
                let mut running = Running::start((&state, &sql, format), &limits, left)?;
                let epoch = running.head()?;
                let body = read(&mut running, &held, &metrics)?;
                running.end()?;
                Ok(Answered { epoch, body })
            };
            let answered = read();
            metrics.query_ended(outcome(answered.as_ref().err()));
            answered
        }
    }
}

/// How a query ended, as a label.
fn outcome(error: Option<&Error>) -> &'static str {
    let Some(error) = error else { return "answered" };
    match error.chain().find_map(|cause| cause.downcast_ref::<Stopped>()) {
        Some(Stopped::Time(_)) => "time",
        Some(Stopped::Memory(_)) => "memory",
        Some(Stopped::Depth) => "depth",
        Some(Stopped::Answer(_)) => "answer_size",
        Some(Stopped::Answers) => "answers",
        Some(Stopped::Left) => "left",
        None if exit::code(error) == 2 => "mistake",
        None => "failed",
    }
}

/// Reads an answer, as far as there is room for it.
fn read(running: &mut Running, held: &Arc<Semaphore>, metrics: &Serving) -> Result<Chunks> {
    let mut body = Chunks { left: 0, chunks: VecDeque::new() };
    loop {
        let mut bytes = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match running.read(&mut bytes[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if filled == 0 {
            return Ok(body);
        }
        bytes.truncate(filled);
        if body.left + filled > ANSWER {
            return Err(Stopped::Answer(ANSWER).into());
        }
        let permit = held.clone().try_acquire_owned().map_err(|_| Stopped::Answers)?;
        body.left += filled;
        metrics.answer_bytes(filled as i64);
        let chunk = Chunk { bytes, metrics: metrics.clone(), _permit: permit };
        body.chunks.push_back(Bytes::from_owner(chunk));
    }
}

/// A part of an answer, and the room it takes until it is sent.
struct Chunk {
    bytes: Vec<u8>,
    metrics: Serving,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.metrics.answer_bytes(-(self.bytes.len() as i64));
    }
}

/// An answer's bytes, as the body of a response.
pub struct Chunks {
    left: usize,
    chunks: VecDeque<Bytes>,
}

impl Chunks {
    /// All of it in one piece; for answers that are short.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(self) -> Result<String> {
        let bytes: Vec<u8> = self.chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        String::from_utf8(bytes).map_err(|_| anyhow!("the answer is no text"))
    }
}

impl HttpBody for Chunks {
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

/// Counts something while it lasts.
struct Counted<'a>(&'a Serving, fn(&Serving, i64));

impl<'a> Counted<'a> {
    fn new(metrics: &'a Serving, count: fn(&Serving, i64)) -> Counted<'a> {
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
            (Stopped::Answer(ANSWER), 413, "answer_size"),
            (Stopped::Answers, 503, "answers"),
            (Stopped::Depth, 400, "depth"),
        ] {
            let error = Error::from(stopped);
            let Refusal(found, words) = Refusal::of(&error);
            assert_eq!((found.as_u16(), outcome(Some(&error))), (status, label), "{words}");
            assert!(!words.is_empty());
        }
        let mistake = exit::mistake("no such view");
        assert_eq!((Refusal::of(&mistake).0.as_u16(), outcome(Some(&mistake))), (400, "mistake"));
        assert_eq!(
            (Refusal::of(&anyhow!("lost")).0.as_u16(), outcome(Some(&anyhow!("lost")))),
            (500, "failed")
        );
        assert_eq!(outcome(None), "answered");
    }
}
