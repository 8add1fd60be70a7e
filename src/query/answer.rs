//! The query process: `herald answer-query`, started by [`super::process`] within its limits.
//!
//! It reads the request from standard input, one line, and writes to standard output a line with the epoch or
//! the failure, then the answer. It exits when standard input ends, because its parent process is then gone.

use std::io::{BufRead, Read, Write};

use anyhow::{Context, Result, anyhow};
use state::Store;

use super::process::{AnswerHead, MAX_TEXT_BYTES, QueryRequest};
use super::{Answer, answer_over, format};
use crate::driver::Fate;
use crate::exit::{RelayedFailure, mistake};

/// Stack bytes of the thread that plans and runs: DataFusion walks plans recursively.
const STACK_BYTES: usize = 64 << 20;

/// `herald answer-query`.
///
/// # Errors
/// When there is no request, or the answer cannot be written. A failed query is an answer, not an error.
pub fn command() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().take(4 << 20).read_line(&mut line).context("nothing was asked")?;
    let asked: QueryRequest = serde_json::from_str(&line)
        .map_err(|_| mistake("this command is for herald itself: ask with herald query"))?;
    // If memory runs out, the kernel should kill this process, not the topology.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    std::thread::Builder::new().name("herald-asked".to_owned()).spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::abort();
    })?;
    let thread = std::thread::Builder::new().name("herald-answer".to_owned()).stack_size(STACK_BYTES);
    let answered = thread.spawn(move || answer_request(asked))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match answered.join().unwrap_or_else(|_| Err(anyhow!("the query failed unexpectedly"))) {
        Ok((answer, asked)) => {
            writeln!(out, "{}", serde_json::to_string(&AnswerHead::Epoch(answer.epoch))?)?;
            format::write_answer(&answer, asked.format, &mut out)?;
        }
        Err(error) => {
            writeln!(out, "{}", serde_json::to_string(&AnswerHead::Failed(RelayedFailure::of(&error)))?)?
        }
    }
    out.flush()?;
    Ok(())
}

/// Runs the query of a request, and gives the request back with the answer.
fn answer_request(asked: QueryRequest) -> Result<(Answer, QueryRequest)> {
    let answer = Fate::run("query", || run_query(&asked))?;
    Ok((answer, asked))
}

/// Runs the query of a request.
fn run_query(asked: &QueryRequest) -> Result<Answer> {
    check_bounds(&asked.sql)?;
    let reader = Store::open_secondary(&asked.state, asked.scratch())?;
    // One third each for system tables and the query's work; the last is for the database, rows on their way, plans
    // and the answer's text.
    let share = (asked.memory / 3) as usize;
    answer_over(&reader.snapshot(), &asked.sql, share, asked.time)
}

/// Refuses a query text that is too long or nested too deeply to be planned.
fn check_bounds(sql: &str) -> Result<()> {
    if sql.len() > MAX_TEXT_BYTES {
        return Err(mistake(format!("the query has more than {} KiB", MAX_TEXT_BYTES >> 10)));
    }
    dataflows::sql::bounded(sql).map_err(|(line, column, why)| mistake(format!("{line}:{column}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
