//! The shell of `herald query`: statements and backslash commands from a terminal, as in psql.
//!
//! Each statement is one query, answered as `herald query SQL` answers it. Its failure is printed, and the shell
//! goes on; Ctrl-C gives it up. The history is a convenience: where it cannot be read or written, the shell does
//! without it.

mod ahead;
mod completion;
mod input;

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Error, Result};
use crossbeam_channel::bounded;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::catalog::DEFAULT_SCHEMA;
use super::{Place, query_over_http, write_from_state};
use crate::cli::{OutputFormat, QueryLimits};
use crate::exit::{Stopped, sentences};
use ahead::TypedAhead;
use completion::{RELATIONS_QUERY, Relation, Suggester, find_relation, quoted, relations};
use input::{Backslash, COMMANDS, Entered, Input, RelationName};

/// The prompt where a statement begins.
const PROMPT: &str = "herald=> ";
/// The prompt where one goes on.
const CONTINUED: &str = "herald-> ";
/// Most entries of the history.
const MAX_HISTORY: usize = 1000;
/// The answer to `\d`.
const LIST_QUERY: &str = "SELECT table_schema AS \"schema\", table_name AS \"name\", \
                          CASE table_schema WHEN 'herald' THEN 'SYSTEM TABLE' ELSE table_type END AS \"type\" \
                          FROM information_schema.tables WHERE table_schema IN ('public', 'herald') ORDER BY 1, 2";

type LineEditor = Editor<Suggester, DefaultHistory>;

/// Runs the shell until `\q` or Ctrl-D.
///
/// # Errors
/// When nothing can be asked, or the terminal cannot be read.
pub(super) fn run(place: Place, format: OutputFormat, limits: &QueryLimits) -> Result<()> {
    let asker = Asker::new(place, limits.clone())?;
    let known = asker.read_relations()?;
    println!("herald {} at {}. \\? helps, \\q ends it.", env!("CARGO_PKG_VERSION"), asker.place_name());
    let mut shell = Shell::new(asker, known, format)?;
    loop {
        match shell.read_line() {
            Ok(typed) => {
                if !shell.enter(&typed) {
                    return Ok(());
                }
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted) => shell.drop_input(),
            Err(error) => return Err(error).context("the terminal cannot be read"),
        }
    }
}

/// A place that is asked, and the means to give up a query at Ctrl-C.
struct Asker {
    place: Place,
    limits: QueryLimits,
    runtime: Runtime,
}

impl Asker {
    fn new(place: Place, limits: QueryLimits) -> Result<Asker> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("herald-shell")
            .enable_all()
            .build()
            .context("cannot start the shell")?;
        Ok(Asker { place, limits, runtime })
    }

    fn place_name(&self) -> String {
        match &self.place {
            Place::Topology(base) => base.clone(),
            Place::State(dir) => dir.display().to_string(),
        }
    }

    /// Writes the answer to a query.
    ///
    /// # Errors
    /// The failure of the query; [`Stopped::Left`] after Ctrl-C.
    fn write_answer(&self, query: (&str, OutputFormat), out: &mut dyn Write) -> Result<()> {
        let mut pressed = self.watch_interrupts()?;
        match &self.place {
            Place::Topology(base) => {
                let answer = self.runtime.block_on(async {
                    tokio::select! {
                        answer = query_over_http(base, query.0, query.1) => answer,
                        _ = pressed.recv() => Err(Error::from(Stopped::Left)),
                    }
                })?;
                out.write_all(answer.as_bytes())?;
            }
            Place::State(dir) => {
                let (here, left) = bounded::<()>(0);
                let watch = self.runtime.spawn(async move {
                    pressed.recv().await;
                    drop(here);
                });
                let answered = write_from_state(dir, query, &self.limits, left, out);
                watch.abort();
                answered?;
            }
        }
        out.flush()?;
        Ok(())
    }

    /// Starts to notice Ctrl-C: from now on it does not end the process.
    fn watch_interrupts(&self) -> Result<Signal> {
        let _context = self.runtime.enter();
        signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")
    }

    /// Reads the relations and their columns.
    fn read_relations(&self) -> Result<Vec<Relation>> {
        Ok(relations(&self.read_rows(RELATIONS_QUERY)?))
    }

    /// Reads the rows of a query as JSON.
    fn read_rows(&self, sql: &str) -> Result<Vec<Value>> {
        let mut answer = Vec::new();
        self.write_answer((sql, OutputFormat::Json), &mut answer)?;
        serde_json::from_slice(&answer).context("the list of views cannot be read")
    }
}

/// State of the shell.
struct Shell {
    asker: Asker,
    editor: LineEditor,
    ahead: TypedAhead,
    history: Option<PathBuf>,
    input: Input,
    /// Lines of the history's next entry.
    typed: String,
    /// Output format while `expanded` is off.
    format: OutputFormat,
    expanded: bool,
    timing: bool,
}

impl Shell {
    fn new(asker: Asker, known: Vec<Relation>, format: OutputFormat) -> Result<Shell> {
        let mut editor = create_editor()?;
        editor.set_helper(Some(Suggester { relations: known, pending: String::new() }));
        let history = history_path(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"));
        if let Some(path) = &history {
            load_history(&mut editor, path);
        }
        let expanded = format == OutputFormat::Expanded;
        let format = if expanded { OutputFormat::Table } else { format };
        let (ahead, input, typed) = (TypedAhead::open(), Input::default(), String::new());
        Ok(Shell { asker, editor, ahead, history, input, typed, format, expanded, timing: false })
    }

    /// Reads a line: one that was typed ahead, which is printed behind the prompt as if it were typed there, else
    /// the next of the editor.
    fn read_line(&mut self) -> Result<String, ReadlineError> {
        let prompt = self.prepare_prompt();
        if let Some(line) = self.ahead.next_line()? {
            println!("{prompt}{line}");
            return Ok(line);
        }
        let begun = self.ahead.take_begun();
        self.editor.readline_with_initial(prompt, (begun.as_str(), ""))
    }

    /// The prompt of the next line. Tells the completion which lines came before it.
    fn prepare_prompt(&mut self) -> &'static str {
        if let Some(suggester) = self.editor.helper_mut() {
            suggester.pending = self.input.text().to_owned();
        }
        if self.input.is_empty() { PROMPT } else { CONTINUED }
    }

    /// Drops the lines of a statement that has not ended.
    fn drop_input(&mut self) {
        self.input.clear();
        self.typed.clear();
    }

    /// Carries out the statements and commands that the typed lines complete. Returns false at `\q`.
    fn enter(&mut self, typed: &str) -> bool {
        for line in typed.split('\n') {
            self.typed.push_str(line);
            self.typed.push('\n');
            for entered in self.input.push_line(line) {
                match entered {
                    Entered::Statement(sql) => self.run_statement(&sql),
                    Entered::Command(text) => {
                        match Backslash::parse(&text).and_then(|command| self.run_command(command)) {
                            Ok(true) => {}
                            Ok(false) => return false,
                            Err(error) => print_failure(&error),
                        }
                    }
                }
            }
        }
        if self.input.is_empty() {
            let entry = std::mem::take(&mut self.typed);
            remember(&mut self.editor, self.history.as_deref(), entry.trim_end());
        }
        true
    }

    /// Prints the answer to a statement, and the time it took if that is wanted.
    fn run_statement(&self, sql: &str) {
        let begun = Instant::now();
        if let Err(error) = self.print_answer(sql) {
            print_failure(&error);
        }
        if self.timing {
            println!("Time: {:.3} ms", begun.elapsed().as_secs_f64() * 1e3);
        }
    }

    fn print_answer(&self, sql: &str) -> Result<()> {
        let format = if self.expanded { OutputFormat::Expanded } else { self.format };
        self.asker.write_answer((sql, format), &mut std::io::stdout().lock())
    }

    /// Carries out a backslash command. Returns false if it ends the shell.
    fn run_command(&mut self, command: Backslash) -> Result<bool> {
        match command {
            Backslash::Quit => return Ok(false),
            Backslash::Help => print!("{}", help_text()),
            Backslash::Relations => self.describe(None)?,
            Backslash::Columns(name) => self.describe(Some(&name))?,
            Backslash::Expanded(wanted) => {
                self.expanded = wanted.unwrap_or(!self.expanded);
                println!("Expanded output is {}.", on_or_off(self.expanded));
            }
            Backslash::Timing(wanted) => {
                self.timing = wanted.unwrap_or(!self.timing);
                println!("Timing is {}.", on_or_off(self.timing));
            }
        }
        Ok(true)
    }

    /// Lists the relations, or the columns and indexes of one. The completion learns the relations anew.
    fn describe(&mut self, name: Option<&RelationName>) -> Result<()> {
        let known = self.asker.read_relations()?;
        let queries = match name {
            None => Ok((LIST_QUERY.to_owned(), None)),
            Some(name) => find_relation(&known, name)
                .map(|relation| (columns_query(relation), indexes_query(relation, &known))),
        };
        if let Some(suggester) = self.editor.helper_mut() {
            suggester.relations = known;
        }
        let (sql, indexes) = queries?;
        self.print_answer(&sql)?;
        if let Some(sql) = indexes {
            print!("{}", index_lines(&self.asker.read_rows(&sql)?));
        }
        Ok(())
    }
}

/// The query for the columns of a relation.
fn columns_query(relation: &Relation) -> String {
    format!("DESCRIBE {}", relation.written())
}

/// The query for the indexes of a relation; None for one that has none, and where there is no list of them: a topology
/// that an earlier release runs.
fn indexes_query(relation: &Relation, known: &[Relation]) -> Option<String> {
    let listed =
        known.iter().any(|other| (other.schema.as_str(), other.name.as_str()) == ("herald", "indexes"));
    if relation.schema != DEFAULT_SCHEMA || !listed {
        return None;
    }
    let name = relation.name.replace('\'', "''");
    Some(format!("SELECT name, columns FROM herald.indexes WHERE view = '{name}' ORDER BY name"))
}

/// The lines below the columns of a view that show its indexes; nothing without any.
fn index_lines(rows: &[Value]) -> String {
    let mut lines = String::new();
    for row in rows {
        let columns = row["columns"].as_array().map_or(&[][..], Vec::as_slice);
        let columns: Vec<String> = columns.iter().filter_map(Value::as_str).map(quoted).collect();
        let name = quoted(row["name"].as_str().unwrap_or_default());
        lines.push_str(&format!("  {name} ({})\n", columns.join(", ")));
    }
    if lines.is_empty() { lines } else { format!("Indexes:\n{lines}") }
}

/// Prints the failure of a statement as a command prints its own.
fn print_failure(error: &Error) {
    match error.downcast_ref::<Stopped>() {
        Some(Stopped::Left) => eprintln!("The query was cancelled."),
        _ => eprintln!("{}", sentences(error)),
    }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn help_text() -> String {
    let mut text = "Statements end with ;\n".to_owned();
    for (name, argument, meaning) in COMMANDS {
        let usage = format!("{name} {argument}");
        text.push_str(&format!("  {usage:<18}{meaning}\n"));
    }
    text
}

fn create_editor() -> Result<LineEditor> {
    let config =
        Config::builder().max_history_size(MAX_HISTORY)?.completion_type(CompletionType::List).build();
    LineEditor::with_config(config).context("the terminal cannot be used")
}

/// The history's file: in $XDG_STATE_HOME, else in ~/.local/state. None if neither is a whole path.
fn history_path(state_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let state_home = match state_home.and_then(whole_path) {
        Some(dir) => dir,
        None => home.and_then(whole_path)?.join(".local/state"),
    };
    Some(state_home.join("herald/query_history"))
}

fn whole_path(dir: OsString) -> Option<PathBuf> {
    let dir = PathBuf::from(dir);
    dir.is_absolute().then_some(dir)
}

/// Reads the history, and creates its directory where it is missing, for its owner alone.
fn load_history(editor: &mut LineEditor, path: &Path) {
    if let Some(dir) = path.parent() {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    }
    let _ = editor.load_history(path);
}

/// Adds an entry to the history and its file. The editor makes the file readable by its owner alone.
fn remember(editor: &mut LineEditor, path: Option<&Path>, entry: &str) {
    let added = editor.add_history_entry(entry).unwrap_or(false);
    if let Some(path) = path.filter(|_| added) {
        let _ = editor.append_history(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::query::tests::ask;

    #[test]
    fn its_own_queries_are_answered() -> Result<()> {
        let rows: Vec<Value> = serde_json::from_str(&ask(RELATIONS_QUERY, OutputFormat::Json)?)?;
        let known = relations(&rows);
        let views = known.iter().find(|relation| relation.name == "views").context("herald.views")?;
        assert_eq!(views.columns[..4], ["view", "epoch", "committed_at", "watermark"]);
        let list = ask(LIST_QUERY, OutputFormat::Csv)?;
        assert!(list.starts_with("schema,name,type\nherald,arrangements,SYSTEM TABLE\n"), "{list}");
        assert!(
            list.ends_with("public,champions,MATERIALIZED VIEW\npublic,flags,MATERIALIZED VIEW\n"),
            "{list}"
        );
        let flags = known.iter().find(|relation| relation.name == "flags").context("flags")?;
        let columns = ask(&columns_query(flags), OutputFormat::Csv)?;
        assert_eq!(columns, "column_name,data_type,is_nullable\non,BOOLEAN,NO\n");
        assert!(ask(&columns_query(views), OutputFormat::Csv)?.contains("\nfinal_until,TIMESTAMPTZ,YES\n"));
        let indexes = indexes_query(flags, &known).context("herald.indexes")?;
        assert_eq!(ask(&indexes, OutputFormat::Json)?, "[]\n");
        assert_eq!((indexes_query(views, &known), indexes_query(flags, &[])), (None, None));
        Ok(())
    }

    #[test]
    fn indexes_are_lines_below_the_columns() {
        let rows = [
            serde_json::json!({"name": "by_games", "columns": ["games", "Champion"]}),
            serde_json::json!({"name": "By seen", "columns": ["seen"]}),
        ];
        let lines = "Indexes:\n  by_games (games, \"Champion\")\n  \"By seen\" (seen)\n";
        assert_eq!((index_lines(&rows).as_str(), index_lines(&[]).as_str()), (lines, ""));
    }

    #[test]
    fn the_history_has_its_place() {
        let path = |state_home: Option<&str>, home: Option<&str>| {
            history_path(state_home.map(OsString::from), home.map(OsString::from))
        };
        let of = |path: &str| Some(PathBuf::from(path));
        assert_eq!(path(Some("/state"), Some("/home/me")), of("/state/herald/query_history"));
        assert_eq!(path(None, Some("/home/me")), of("/home/me/.local/state/herald/query_history"));
        assert_eq!(path(Some("state"), Some("/home/me")), of("/home/me/.local/state/herald/query_history"));
        assert_eq!(path(Some(""), None), None);
    }

    #[test]
    fn the_history_is_bounded_and_its_owners_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("herald/query_history");
        let mut editor = create_editor()?;
        load_history(&mut editor, &path);
        for n in 0..MAX_HISTORY + 5 {
            remember(&mut editor, Some(&path), &format!("SELECT\n{n};"));
        }
        let mode = |path: &Path| std::fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
        assert_eq!((mode(&path)?, mode(&dir.path().join("herald"))?), (0o600, 0o700));
        let mut again = create_editor()?;
        load_history(&mut again, &path);
        let entries: Vec<&String> = again.history().iter().collect();
        assert_eq!(entries.len(), MAX_HISTORY);
        assert_eq!(entries.last().map(|entry| entry.as_str()), Some("SELECT\n1004;"));
        Ok(())
    }

    #[test]
    fn a_history_that_cannot_be_written_is_none() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("herald"), "a file where the directory would be")?;
        let mut editor = create_editor()?;
        let path = dir.path().join("herald/query_history");
        load_history(&mut editor, &path);
        remember(&mut editor, Some(&path), "SELECT 1;");
        assert_eq!(editor.history().iter().count(), 1);
        Ok(())
    }

    #[test]
    fn the_help_names_every_command() {
        let help = help_text();
        for (name, _, meaning) in COMMANDS {
            assert!(help.contains(name) && help.contains(meaning), "{help}");
        }
        assert!(help.contains("  \\d NAME           show the columns"), "{help}");
    }
}
