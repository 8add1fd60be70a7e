//! A query's process itself: `herald answer-query`, started by [`super::process`] within its limits.
//!
//! It reads what it is asked from standard input, one line, and writes its epoch or its failure, one line,
//! and the answer to standard output. When standard input ends, whoever asked is gone, and so is this process.

use std::io::{BufRead, Read, Write};

use anyhow::{Context, Result, anyhow};
use state::Store;

use super::process::{Asked, Head, TEXT};
use super::tables::Tables;
use super::{Answer, execute_within, format};
use crate::driver::Fate;
use crate::exit::{Told, mistake};

/// Stack of the thread that plans and runs: DataFusion walks plans recursively.
const STACK: usize = 64 << 20;

/// `herald answer-query`.
///
/// # Errors
/// When nobody asks, or the answer cannot be written. That a query fails is its answer.
pub fn command() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().take(4 << 20).read_line(&mut line).context("nothing was asked")?;
    let asked: Asked = serde_json::from_str(&line)
        .map_err(|_| mistake("this command is for herald itself: ask with herald query"))?;
    // Where memory runs short, this process is the one to go.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    std::thread::Builder::new().name("herald-asked".to_owned()).spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::abort();
    })?;
    let thread = std::thread::Builder::new().name("herald-answer".to_owned()).stack_size(STACK);
    let answered =
        thread.spawn(move || Fate::run("query", || answer(&asked)).map(|answer| (answer, asked)))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match answered.join().unwrap_or_else(|_| Err(anyhow!("the query failed unexpectedly"))) {
        Ok((answer, asked)) => {
            writeln!(out, "{}", serde_json::to_string(&Head::Epoch(answer.epoch))?)?;
            format::write_to(&answer, asked.format, &mut out)?;
        }
        Err(error) => writeln!(out, "{}", serde_json::to_string(&Head::Failed(Told::of(&error)))?)?,
    }
    out.flush()?;
    Ok(())
}

fn answer(asked: &Asked) -> Result<Answer> {
    bounded(&asked.sql)?;
    let reader = Store::open_secondary(&asked.state, asked.scratch())?;
    // The rest is for the database, for plans and for the answer as text.
    let share = (asked.memory / 3) as usize;
    let tables = Tables::load(&reader.snapshot(), &asked.sql, share)?;
    drop(reader);
    execute_within(tables, &asked.sql, share, asked.time)
}

/// Refuses a text that is too long or too deep to be planned.
fn bounded(sql: &str) -> Result<()> {
    if sql.len() > TEXT {
        return Err(mistake(format!("the query has more than {} KiB", TEXT >> 10)));
    }
    dataflows::sql::bounded(sql).map_err(|(line, column, why)| mistake(format!("{line}:{column}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_bounds() {
        for good in ["SELECT 1", "SELECT * FROM v WHERE a = 1 AND (b = 2 OR c = 3)", "", "no SQL at all '"] {
            assert!(bounded(good).is_ok(), "{good}");
        }
        let chain = |word: &str, n: usize| format!("SELECT {}", vec!["1"; n].join(word));
        let nested = format!("{}SELECT 1{}", "SELECT * FROM (".repeat(40), ") t".repeat(40));
        let long = format!("SELECT '{}'", "x".repeat(TEXT));
        for bad in [chain("+", 2500), chain(" AND ", 2500), chain(" UNION ALL SELECT ", 2500), nested, long] {
            let error = bounded(&bad).err().map(|error| crate::exit::code(&error));
            assert_eq!(error, Some(2), "{}", &bad[..60]);
        }
    }
}
