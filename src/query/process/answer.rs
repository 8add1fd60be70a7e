//! The query process: `herald answer-query`, started by [`super`] within its limits.
//!
//! It takes queries from the connection that is its standard input, one after the other, and writes each answer to
//! standard output: a line with the epoch or the failure, then, for an epoch, pieces of the answer with their lengths. It
//! exits when the connection ends, because its parent process is then gone, and when nobody asks for a while.

use std::io::{BufWriter, StdoutLock, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use state::Store;

use super::remote::Connection;
use super::{AnswerHead, END_AND_EXIT, END_AND_WAIT, MAX_TEXT_BYTES, QueryRequest};
use crate::cli::OutputFormat;
use crate::driver::Fate;
use crate::exit::{self, RelayedFailure, Stopped, mistake};
use crate::query::{Allowance, Answer, Spill, answer_over, format};

/// Stack bytes of the thread that plans and runs: DataFusion walks plans recursively.
const STACK_BYTES: usize = 64 << 20;
/// Time after which a process that nobody asks exits.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of memory of its own beyond which a process takes no other query, if they are less than a quarter of what the
/// query may take.
const MAX_IDLE_BYTES: u64 = 256 << 20;
/// Most bytes of a piece of an answer.
const PIECE_BYTES: usize = 64 << 10;

/// `herald answer-query`.
///
/// # Errors
/// When there is no connection, or an answer cannot be written. A failed query is an answer, not an error.
pub fn command() -> Result<()> {
    let for_herald = || mistake("this command is for herald itself: ask with herald query");
    let connection = Arc::new(Connection::from_stdin().map_err(|_| for_herald())?);
    // If memory runs out, the kernel should kill this process, not the topology.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Ok(asked) = connection.orders().recv_timeout(IDLE_TIMEOUT) {
        let asked: QueryRequest = serde_json::from_slice(&asked).map_err(|_| for_herald())?;
        let (format, memory) = (asked.format, asked.memory);
        let lent = connection.clone();
        let thread = std::thread::Builder::new().name("herald-answer".to_owned()).stack_size(STACK_BYTES);
        let answered = thread.spawn(move || Fate::run("query", || run_query(&lent, &asked)))?;
        let answered = answered.join().unwrap_or_else(|_| Err(anyhow!("the query failed unexpectedly")));
        let waits = match answered.map_err(|error| without_memory(error, memory)) {
            Ok(answer) => write_answer(&answer, (format, memory), &mut out)?,
            Err(error) => {
                let waits = left_nothing(&error) && has_room(memory);
                let failed = AnswerHead::Failed { failure: RelayedFailure::of(&error), waits };
                writeln!(out, "{}", serde_json::to_string(&failed)?)?;
                waits
            }
        };
        out.flush()?;
        if !waits {
            break;
        }
    }
    Ok(())
}

/// Writes an answer; returns true if this process waits for another query.
fn write_answer(
    answer: &Answer,
    (format, memory): (OutputFormat, u64),
    out: &mut BufWriter<StdoutLock<'_>>,
) -> Result<bool> {
    writeln!(out, "{}", serde_json::to_string(&AnswerHead::Epoch(answer.epoch))?)?;
    let mut pieces = BufWriter::with_capacity(PIECE_BYTES, Pieces { out });
    format::write_answer(answer, format, &mut pieces)?;
    pieces.flush()?;
    drop(pieces);
    let waits = has_room(memory);
    out.write_all(&if waits { END_AND_WAIT } else { END_AND_EXIT }.to_le_bytes())?;
    Ok(waits)
}

/// Tells whether a failed query has ended as one that is answered: it was a mistake, or met a bound of its own operators.
/// After a panic, a state that cannot be read, or the end of its time, something of it may still run.
fn left_nothing(error: &Error) -> bool {
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(Stopped::Work | Stopped::Disk(_) | Stopped::Rows(_)) => true,
        Some(_) => false,
        None => exit::code(error) == 2,
    }
}

/// Tells whether this process is small enough to wait for another query, which may take so much memory.
fn has_room(memory: u64) -> bool {
    own_bytes().is_some_and(|bytes| bytes < MAX_IDLE_BYTES.min(memory / 4))
}

/// The failure of a query; a panic for want of memory, as where a stack cannot grow, is its bound.
fn without_memory(error: Error, memory: u64) -> Error {
    if format!("{error:#}").contains("Cannot allocate memory") {
        Stopped::Memory(memory).into()
    } else {
        error
    }
}

/// Writer of an answer in pieces with their lengths.
struct Pieces<'o, 's> {
    out: &'o mut BufWriter<StdoutLock<'s>>,
}

impl Write for Pieces<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        // An empty piece would be the end.
        if !piece.is_empty() {
            self.out.write_all(&(piece.len() as u32).to_le_bytes())?;
            self.out.write_all(piece)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the resident bytes of this process that are no pages of files.
fn own_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut counts = pages.split(' ').skip(1);
    let resident: u64 = counts.next()?.parse().ok()?;
    let of_files: u64 = counts.next()?.parse().ok()?;
    Some(resident.saturating_sub(of_files) * 4096)
}

/// Runs the query of a request.
fn run_query(connection: &Connection, asked: &QueryRequest) -> Result<Answer> {
    check_bounds(&asked.sql)?;
    // One third each for system tables and the query's work; the last is for the database, rows on their way, plans
    // and the answer's text.
    let spill = (asked.disk > 0).then(|| Spill { dir: asked.scratch.clone(), bytes: asked.disk });
    let allowed =
        Allowance { memory: (asked.memory / 3) as usize, time: asked.time, rows: asked.rows, spill };
    match &asked.state {
        None => answer_over(&connection.hold_epoch()?, &asked.sql, &allowed),
        Some(state) => {
            let reader = Store::open_secondary(state, &asked.scratch)?;
            answer_over(&reader.snapshot(), &asked.sql, &allowed)
        }
    }
}

/// Refuses a query text that is too long or nested too deeply to be planned.
pub(crate) fn check_bounds(sql: &str) -> Result<()> {
    if sql.len() > MAX_TEXT_BYTES {
        return Err(mistake(format!("the query has more than {} KiB", MAX_TEXT_BYTES >> 10)));
    }
    dataflows::sql::bounded(sql).map_err(|(line, column, why)| mistake(format!("{line}:{column}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_waits_after_mistakes_and_bounds_that_end_nothing_else() {
        let minute = Duration::from_secs(60);
        for (error, waits) in [
            (mistake("there is no view v"), true),
            (mistake("no").context("the query cannot be run"), true),
            (Stopped::Work.into(), true),
            (Stopped::Disk(1).into(), true),
            (Stopped::Rows(1).into(), true),
            (Stopped::Time(minute).into(), false),
            (Stopped::Memory(1).into(), false),
            (Stopped::Ending.into(), false),
            (anyhow!("the query panicked"), false),
        ] {
            assert_eq!(left_nothing(&error), waits, "{error:#}");
        }
    }

    #[test]
    fn a_text_has_bounds() {
        for good in ["SELECT 1", "SELECT * FROM v WHERE a = 1 AND (b = 2 OR c = 3)", "", "no SQL at all '"] {
            assert!(check_bounds(good).is_ok(), "{good}");
        }
        let chain = |word: &str, n: usize| format!("SELECT {}", vec!["1"; n].join(word));
        let nested = format!("{}SELECT 1{}", "SELECT * FROM (".repeat(40), ") t".repeat(40));
        let long = format!("SELECT '{}'", "x".repeat(MAX_TEXT_BYTES));
        for bad in [chain("+", 2500), chain(" AND ", 2500), chain(" UNION ALL SELECT ", 2500), nested, long] {
            let error = check_bounds(&bad).err().map(|error| crate::exit::code(&error));
            assert_eq!(error, Some(2), "{}", &bad[..60]);
        }
    }
}
