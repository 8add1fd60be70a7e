//! How a command ends: exit codes and the words a failure is told in.
//!
//! 0 is success, 1 a failed run, 2 a user's mistake: something to change in a file, a flag or the
//! environment before trying again. Library errors decide by their variant, and [`Mistake`] marks
//! what this crate finds itself. An error chain is printed as one sentence a line, the outermost
//! first; nothing prints a backtrace or a type name.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Error;
use connectors::ConnectorError;
use dataflows::error::RunError;
use dataflows::sql::{SqlError, SqlFile};
use schemas::SchemaError;
use state::StateError;

use crate::query::process::Stopped;

/// A user's mistake, told in the words given; ends the process with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

/// Mistakes in the text of a topology, all of them.
#[derive(Debug, thiserror::Error)]
pub struct SqlMistakes {
    /// Each as it is told: on a terminal with its line and a caret.
    told: Vec<String>,
}

impl SqlMistakes {
    /// Mistakes found in `files`.
    pub fn new(errors: Vec<SqlError>, files: &[SqlFile]) -> SqlMistakes {
        let terminal = std::io::stderr().is_terminal();
        let tell = |error: SqlError| if terminal { error.render(files) } else { error.to_string() };
        SqlMistakes { told: errors.into_iter().map(tell).collect() }
    }
}

impl std::fmt::Display for SqlMistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for mistake in &self.told {
            writeln!(f, "{mistake}")?;
        }
        match self.told.len() {
            1 => write!(f, "1 mistake found."),
            n => write!(f, "{n} mistakes found."),
        }
    }
}

/// A failure in a form that passes from one process of ours to another and reads the same there.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Told {
    chain: Vec<String>,
    advice: Option<String>,
    mistake: bool,
}

impl Told {
    /// What an error tells.
    pub fn of(error: &Error) -> Told {
        Told {
            chain: error.chain().map(ToString::to_string).collect(),
            advice: error.chain().find_map(advice).map(str::to_owned),
            mistake: code(error) == 2,
        }
    }

    /// The failure as an error again.
    pub fn into_error(mut self) -> Error {
        let said = self.chain.pop().unwrap_or_default();
        let cause = Relayed { said, advice: self.advice, mistake: self.mistake };
        self.chain.into_iter().rev().fold(Error::new(cause), Error::context)
    }
}

/// The root of a failure that another process has told.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
struct Relayed {
    said: String,
    advice: Option<String>,
    mistake: bool,
}

/// A [`Mistake`] as an error.
pub fn mistake(message: impl Into<String>) -> Error {
    Error::new(Mistake(message.into()))
}

/// Prints what went wrong, if anything did, and gives the exit code.
pub fn report(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", sentences(&error));
            ExitCode::from(code(&error))
        }
    }
}

/// The exit code an error ends the process with.
pub fn code(error: &Error) -> u8 {
    let mistaken = error.chain().any(|cause| {
        cause.is::<Mistake>()
            || cause.is::<SqlMistakes>()
            || cause.is::<SqlError>()
            || cause.is::<Stopped>()
            || cause.downcast_ref::<Relayed>().is_some_and(|told| told.mistake)
            || cause.downcast_ref::<StateError>().is_some_and(state_mistake)
            || cause.downcast_ref::<ConnectorError>().is_some_and(connector_mistake)
            || cause.downcast_ref::<SchemaError>().is_some_and(schema_mistake)
    });
    if mistaken { 2 } else { 1 }
}

/// The chain of an error, one sentence a line.
pub fn sentences(error: &Error) -> String {
    if let Some(mistakes) = error.downcast_ref::<SqlMistakes>() {
        return mistakes.to_string();
    }
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let said = cause.to_string();
        // Some libraries repeat their cause in their own text; saying it twice helps nobody.
        if lines.last().is_some_and(|last| last.contains(&said)) {
            continue;
        }
        lines.push(said);
    }
    let mut told: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(depth, line)| match depth {
            0 => format!("error: {}", sentence(line)),
            _ => format!("  because {}", sentence(line)),
        })
        .collect();
    if let Some(advice) = error.chain().find_map(advice) {
        told.push(format!("  {}", sentence(&capitalised(advice))));
    }
    told.join("\n")
}

/// What the library that failed says to do next.
fn advice<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    if let Some(told) = cause.downcast_ref::<Relayed>() {
        return told.advice.as_deref();
    }
    if let Some(stopped) = cause.downcast_ref::<Stopped>() {
        return stopped.advice();
    }
    let state = cause.downcast_ref::<StateError>().and_then(StateError::advice);
    let run = cause.downcast_ref::<RunError>().and_then(RunError::advice);
    state.or(run).or_else(|| cause.downcast_ref::<ConnectorError>().and_then(ConnectorError::hint))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', ':', '`']) { text.to_owned() } else { format!("{text}.") }
}

/// Whoever read our output has gone (`herald query ... | head`): that is not a failure.
fn closed_pipe(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

fn state_mistake(error: &StateError) -> bool {
    matches!(
        error,
        StateError::Locked { .. }
            | StateError::WrongVersion { .. }
            | StateError::Foreign { .. }
            | StateError::NotHerald { .. }
            | StateError::Missing { .. }
            | StateError::Occupied { .. }
    )
}

/// Also the wrong state directory for the sinks; a broker that lost data is nobody's mistake here.
fn connector_mistake(error: &ConnectorError) -> bool {
    use connectors::Mismatch;
    match error {
        ConnectorError::StateMismatch(mismatch) => !matches!(mismatch, Mismatch::LostData { .. }),
        other => other.is_mistake(),
    }
}

fn schema_mistake(error: &SchemaError) -> bool {
    matches!(
        error,
        SchemaError::Config { .. } | SchemaError::RegistryRefused { .. } | SchemaError::NotFound(_)
    )
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_mistake_anywhere_in_the_chain_exits_with_2() {
        let error = Err::<(), _>(mistake("the file has no statements"))
            .context("cannot read the topology")
            .unwrap_err();
        assert_eq!(code(&error), 2);
        assert_eq!(
            sentences(&error),
            "error: cannot read the topology.\n  because the file has no statements."
        );
    }

    #[test]
    fn anything_else_exits_with_1() {
        let error = anyhow::anyhow!("the broker went away");
        assert_eq!(code(&error), 1);
        assert_eq!(sentences(&error), "error: the broker went away.");
    }

    #[test]
    fn what_to_do_next_comes_last() {
        let missing = StateError::Missing { dir: "here".into() };
        let error = Error::new(missing).context("cannot query");
        assert_eq!(code(&error), 2);
        assert_eq!(
            sentences(&error),
            "error: cannot query.\n  because there is no state in here.\n  Name the directory of a topology that has run, or run the topology first."
        );
    }

    #[test]
    fn a_failure_reads_the_same_in_another_process() -> Result<(), Error> {
        let missing = StateError::Missing { dir: "here".into() };
        for error in [Error::new(missing).context("cannot query"), mistake("no"), anyhow::anyhow!("lost")] {
            let passed = serde_json::to_string(&Told::of(&error))?;
            let again = serde_json::from_str::<Told>(&passed)?.into_error();
            assert_eq!((code(&again), sentences(&again)), (code(&error), sentences(&error)));
        }
        Ok(())
    }

    #[test]
    fn a_cause_that_was_already_said_is_not_said_again() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::new(io).context("cannot commit: disk on fire");
        assert_eq!(sentences(&error), "error: cannot commit: disk on fire.");
    }
}
