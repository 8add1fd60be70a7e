//! Exit codes and the text of failures.
//!
//! 0 is success, 1 a failed run, 2 a user's mistake: something to change in a file, a flag or the
//! environment before trying again; 130 is a run to the end of its input that a signal ended before. Library
//! errors are mistakes by their variant, and [`Mistake`] marks those that this crate finds itself. An error
//! chain is printed as one sentence a line, the outermost first; nothing prints a backtrace or a type name.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Error;
use connectors::ConnectorError;
use dataflows::error::RunError;
use dataflows::runtime::edition::Obstacle;
use dataflows::sql::diagnostics::did_you_mean::did_you_mean;
use dataflows::sql::{SqlError, SqlFile};
use schemas::SchemaError;
use state::StateError;

/// A user's mistake, with the message to print; ends the process with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

/// Obstacles that keep an edited topology from going on from its state.
#[derive(Debug, thiserror::Error)]
#[error("{}", obstacle_text(.0))]
pub struct RefusedEdition(pub Vec<Obstacle>);

/// The obstacles, each with the advice on a line of its own.
fn obstacle_text(obstacles: &[Obstacle]) -> String {
    let mut lines = Vec::with_capacity(obstacles.len());
    for obstacle in obstacles {
        lines.push(format!("{}\n  {}", obstacle.message, obstacle.hint));
    }
    lines.join("\n")
}

/// All mistakes found in the text of a topology.
#[derive(Debug, thiserror::Error)]
pub struct SqlMistakes {
    /// The printed form of each: on a terminal with its source line and a caret.
    rendered: Vec<String>,
    /// The same, in parts.
    pub found: Vec<SqlError>,
}

impl SqlMistakes {
    /// Mistakes found in `files`.
    pub fn new(errors: Vec<SqlError>, files: &[SqlFile]) -> SqlMistakes {
        let terminal = std::io::stderr().is_terminal();
        let render = |error: &SqlError| if terminal { error.render(files) } else { error.to_string() };
        SqlMistakes { rendered: errors.iter().map(render).collect(), found: errors }
    }
}

impl std::fmt::Display for SqlMistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for mistake in &self.rendered {
            writeln!(f, "{mistake}")?;
        }
        match self.rendered.len() {
            1 => write!(f, "1 mistake found."),
            n => write!(f, "{n} mistakes found."),
        }
    }
}

/// A failure in serialised form: passed from one Herald process to another, it prints the same there.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct RelayedFailure {
    chain: Vec<String>,
    advice: Option<String>,
    mistake: bool,
    /// The bound that ended a query, where one did.
    #[serde(default)]
    stopped: Option<Stopped>,
}

impl RelayedFailure {
    /// Captures an error's messages, advice and exit code.
    pub fn of(error: &Error) -> RelayedFailure {
        RelayedFailure {
            chain: error.chain().map(ToString::to_string).collect(),
            advice: error.chain().find_map(advice_of).map(str::to_owned),
            mistake: code(error) == 2,
            stopped: error.chain().find_map(|cause| cause.downcast_ref::<Stopped>().cloned()),
        }
    }

    /// Turns the failure back into an error chain.
    pub fn into_error(mut self) -> Error {
        if let Some(stopped) = self.stopped {
            return stopped.into();
        }
        let said = self.chain.pop().unwrap_or_default();
        let cause = RelayedCause { said, advice: self.advice, mistake: self.mistake };
        self.chain.into_iter().rev().fold(Error::new(cause), Error::context)
    }
}

/// Root cause of a failure that another process reported.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
struct RelayedCause {
    said: String,
    advice: Option<String>,
    mistake: bool,
}

/// A [`Mistake`] as an error.
pub fn mistake(message: impl Into<String>) -> Error {
    Error::new(Mistake(message.into()))
}

/// The mistake of a name that is none of the `known` ones: `said`, then the name that was meant, if one is near, and
/// the names there are.
pub fn unknown_name(said: &str, name: &str, known: &[&str]) -> Error {
    let hint = match (did_you_mean(name, known.iter().copied()), known) {
        (_, []) => "there is none".to_owned(),
        (Some(near), [_]) => near,
        (None, [only]) => format!("there is only {only}"),
        (Some(near), all) => format!("{near} There are {}", all.join(", ")),
        (None, all) => format!("there are {}", all.join(", ")),
    };
    mistake(format!("{said}\n  {hint}"))
}

/// Prints the failure, if there is one, and returns the exit code.
pub fn report(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", sentences(&error));
            ExitCode::from(code(&error))
        }
    }
}

/// A run that a signal ended before it had done what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// It was to read to the end of the input.
    #[error("stopped by a signal before the end of the input; epoch {epoch} is committed and published{}", left_text(*.left))]
    Input {
        /// The last committed epoch.
        epoch: u64,
        /// Records of Kafka and generators that were not read.
        left: i64,
    },
    /// It was filling the additions of an edited topology.
    #[error(
        "stopped by a signal before all that the edit added was filled; epoch {epoch} is committed, and the next start goes on with it"
    )]
    Pieces {
        /// The last committed epoch.
        epoch: u64,
    },
    /// It was starting, and filled a new index.
    #[error("stopped by a signal before index {index} was filled; the next start goes on with it")]
    Filling {
        /// The name of the index.
        index: String,
    },
}

impl Interrupted {
    /// Refuses to call a run done that was to read to the end of the input and was stopped. `left` are the records that
    /// it has not read, None at the end.
    ///
    /// # Errors
    /// When input is left, or views that are not filled.
    pub fn refuse_early_end(epoch: u64, left: Option<i64>, is_filling: bool) -> Result<(), Interrupted> {
        match left {
            Some(left) => Err(Interrupted::Input { epoch, left }),
            None if is_filling => Err(Interrupted::Pieces { epoch }),
            None => Ok(()),
        }
    }
}

fn left_text(left: i64) -> String {
    match left {
        ..=0 => String::new(),
        1 => ", and 1 record is not read".to_owned(),
        _ => format!(", and {left} records are not read"),
    }
}

/// The exit code an error ends the process with.
pub fn code(error: &Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Interrupted>()) {
        return 130;
    }
    if error.chain().any(is_mistake) { 2 } else { 1 }
}

/// Tells whether one cause of a failure is a user's mistake.
fn is_mistake(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Mistake>()
        || cause.is::<SqlMistakes>()
        || cause.is::<SqlError>()
        || cause.is::<RefusedEdition>()
        || cause.is::<Stopped>()
        || cause.downcast_ref::<RelayedCause>().is_some_and(|relayed| relayed.mistake)
        || cause.downcast_ref::<StateError>().is_some_and(is_state_mistake)
        || cause.downcast_ref::<ConnectorError>().is_some_and(is_connector_mistake)
        || cause.downcast_ref::<SchemaError>().is_some_and(is_schema_mistake)
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
    let mut sentences = Vec::new();
    for (depth, line) in lines.iter().enumerate() {
        let before = if depth == 0 { "error:" } else { "  because" };
        sentences.push(format!("{before} {}", end_sentence(line)));
    }
    if let Some(advice) = error.chain().find_map(advice_of) {
        sentences.push(format!("  {}", end_sentence(&capitalise_first(advice))));
    }
    sentences.join("\n")
}

/// Advice of the failed library for the user, if the cause has any.
fn advice_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    if let Some(relayed) = cause.downcast_ref::<RelayedCause>() {
        return relayed.advice.as_deref();
    }
    if let Some(stopped) = cause.downcast_ref::<Stopped>() {
        return stopped.advice();
    }
    let state = cause.downcast_ref::<StateError>().and_then(StateError::advice);
    let run = cause.downcast_ref::<RunError>().and_then(RunError::advice);
    state.or(run).or_else(|| cause.downcast_ref::<ConnectorError>().and_then(ConnectorError::hint))
}

fn capitalise_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The text with a full stop, unless it ends with punctuation already.
fn end_sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', ':', '`']) { text.to_owned() } else { format!("{text}.") }
}

/// Tells whether the reader of standard output closed the pipe (`herald query ... | head`), which is no
/// failure.
fn is_closed_pipe(error: &Error) -> bool {
    error.chain().any(is_broken_pipe)
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn is_state_mistake(error: &StateError) -> bool {
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

/// Tells whether a connector's error is a mistake. The wrong state directory for the sinks is one; a broker
/// that lost data is not.
fn is_connector_mistake(error: &ConnectorError) -> bool {
    use connectors::Mismatch;
    match error {
        ConnectorError::StateMismatch(mismatch)
        | ConnectorError::FileMismatch { mismatch, .. }
        | ConnectorError::ExportMismatch { mismatch, .. } => !matches!(mismatch, Mismatch::LostData { .. }),
        other => other.is_mistake(),
    }
}

fn is_schema_mistake(error: &SchemaError) -> bool {
    matches!(
        error,
        SchemaError::Config { .. }
            | SchemaError::Unreadable { .. }
            | SchemaError::RegistryRefused { .. }
            | SchemaError::NotFound(_)
    )
}

/// A bound that ended a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Stopped {
    /// It exceeded its time.
    #[error("the query took longer than {} s and was stopped", .0.as_secs_f64())]
    Time(Duration),
    /// It exceeded its memory.
    #[error("the query took more memory than the {} MiB it may take and was stopped", .0 >> 20)]
    Memory(u64),
    /// Its groups, sorted rows and joins did not fit into the part of its memory that is for them.
    #[error("the query needs more memory than it may take")]
    Work,
    /// It wrote more temporary files than it may.
    #[error("the query needs more temporary files than the {} MiB it may write", .0 >> 20)]
    Disk(u64),
    /// Its answer has too many rows.
    #[error("the answer has more than {0} rows")]
    Rows(u64),
    /// It was nested too deeply for its stack.
    #[error("the query is nested too deeply and was stopped")]
    Depth,
    /// Its answer is too large to be buffered.
    #[error("the answer is larger than {} MiB: add LIMIT, or aggregate", .0 >> 20)]
    Answer(usize),
    /// Too many answers are buffered already.
    #[error("too many answers wait to be read: ask again later")]
    Answers,
    /// The topology ends, and its queries with it.
    #[error("the topology is stopping: ask again when it runs")]
    Ending,
    /// The client has gone.
    #[error("whoever asked has gone")]
    Left,
}

impl Stopped {
    /// Advice for the user.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Stopped::Time(_) => Some("ask for less, keep a view for this question, or grant --query-time"),
            Stopped::Memory(_) | Stopped::Work => {
                Some("ask for less, keep a view for this question, or grant --query-memory")
            }
            Stopped::Disk(_) => Some("ask for less, keep a view for this question, or grant --query-disk"),
            Stopped::Rows(_) => Some("add LIMIT, aggregate, or grant --query-rows"),
            _ => None,
        }
    }
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
    fn an_interrupted_run_says_what_is_left() {
        let error = Error::new(Interrupted::Input { epoch: 7, left: 2 });
        assert_eq!(code(&error), 130);
        let said = "error: stopped by a signal before the end of the input; epoch 7 is committed and published, \
                    and 2 records are not read.";
        assert_eq!(sentences(&error), said);
        let ended = |left, is_filling| Interrupted::refuse_early_end(7, left, is_filling);
        assert!(matches!(ended(Some(2), true), Err(Interrupted::Input { epoch: 7, left: 2 })));
        assert!(matches!(ended(None, true), Err(Interrupted::Pieces { epoch: 7 })));
        assert!(ended(None, false).is_ok());
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
    fn a_name_that_is_unknown_is_told_with_those_there_are() {
        let told =
            |name: &str, known: &[&str]| sentences(&unknown_name("--source: no such source", name, known));
        let error = "error: --source: no such source\n  ";
        assert_eq!(
            told("matchs", &["clicks", "matches"]),
            format!("{error}did you mean matches? There are clicks, matches.")
        );
        assert_eq!(told("Clicks", &["clicks"]), format!("{error}did you mean clicks?"));
        assert_eq!(told("views", &["clicks", "matches"]), format!("{error}there are clicks, matches."));
        assert_eq!(told("views", &["clicks"]), format!("{error}there is only clicks."));
        assert_eq!(told("views", &[]), format!("{error}there is none."));
    }

    #[test]
    fn a_failure_reads_the_same_in_another_process() -> Result<(), Error> {
        let missing = StateError::Missing { dir: "here".into() };
        for error in [Error::new(missing).context("cannot query"), mistake("no"), anyhow::anyhow!("lost")] {
            let passed = serde_json::to_string(&RelayedFailure::of(&error))?;
            let again = serde_json::from_str::<RelayedFailure>(&passed)?.into_error();
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
