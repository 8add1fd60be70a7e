//! SQL over the views of one committed epoch: `herald query` and `/v1/query`.
//!
//! The views that a query names are read from a snapshot of the state into memory, all at one
//! epoch, and DataFusion runs the query over them on one thread. Nothing is written: statements
//! that would change something are refused, as are files. Each query runs in a process of its own with
//! bounds on memory and time ([`process`]), so that none can take a topology or its machine with it.
//! The state may belong to a running process: it is read beside it, without its lock.

pub mod answer;
pub mod format;
mod letters;
pub mod process;
pub mod tables;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::bounded;
use dataflows::sql::{SqlError, question};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use state::{Reader, Store};

use crate::cli::{OutputFormat, QueryArgs};
use crate::exit::mistake;
use crate::serve::access;
use process::{Running, Stopped};
use tables::Tables;

/// Memory that the tables of a query of our own may take, and again its own work.
const MEMORY_BYTES: usize = 1 << 30;
/// Time a query of our own may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a running topology may take to answer whoever asks it: the time it grants a query, which it alone
/// knows, and the wait for a turn.
const ANSWERED: Duration = Duration::from_secs(3600);
/// Where states are when nothing else is said.
pub const STATES: &str = ".herald";

/// The rows of a query, and the epoch they are of.
pub struct Answer {
    /// The committed epoch.
    pub epoch: u64,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// `herald query`.
pub fn command(args: &QueryArgs) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match &args.url {
        Some(url) => out.write_all(ask(url, &args.sql, args.format)?.as_bytes())?,
        None => {
            let dir = place(args.state.as_deref(), args.name.as_deref())?;
            let (_here, left) = bounded(0);
            let mut running = Running::start((&dir, &args.sql, args.format), &args.limits, left)?;
            running.head()?;
            let mut bytes = vec![0; 64 << 10];
            loop {
                match running.read(&mut bytes)? {
                    0 => break,
                    read => out.write_all(&bytes[..read])?,
                }
            }
            running.end()?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The directory of a state, by what was typed, which goes before the environment.
pub fn place(state: Option<&Path>, name: Option<&str>) -> Result<PathBuf> {
    match (state, name, std::env::var_os("HERALD_STATE")) {
        (Some(dir), _, _) => Ok(dir.to_owned()),
        (None, Some(name), _) => Ok(Path::new(STATES).join(name)),
        (None, None, Some(dir)) => Ok(PathBuf::from(dir)),
        (None, None, None) => only_state(Path::new(STATES)),
    }
}

/// A state opened for reading by queries that are our own (the demo's), and the scratch directory this takes.
pub struct States {
    reader: Reader,
    /// Whether the reader stands at the newest epoch because it was opened just now.
    new: bool,
    _scratch: tempfile::TempDir,
}

impl States {
    /// Opens the state in `dir`, whether a process runs it or not.
    pub fn open(dir: &Path) -> Result<States> {
        let scratch = tempfile::Builder::new()
            .prefix("herald-query-")
            .tempdir()
            .context("cannot create a temporary directory for the query")?;
        let reader = Store::open_secondary(dir, scratch.path())?;
        Ok(States { reader, new: true, _scratch: scratch })
    }

    /// Moves on to the newest epoch and reads the tables that `sql` names. The first time after opening
    /// it is the epoch of opening: each move opens all files again.
    fn load(&mut self, sql: &str) -> Result<Tables> {
        if !std::mem::take(&mut self.new) {
            self.reader.refresh()?;
        }
        Tables::load(&self.reader.snapshot(), sql, MEMORY_BYTES)
    }

    /// Runs a query of our own at the newest epoch, in this process.
    pub fn answer(&mut self, sql: &str) -> Result<Answer> {
        execute_within(self.load(sql)?, sql, MEMORY_BYTES, PATIENCE)
    }
}

/// Runs `sql` over tables that were loaded for it, in so many bytes and so long a time, as far as the query
/// engine counts them. Blocks; not to be called from async code.
pub fn execute_within(tables: Tables, sql: &str, memory: usize, time: Duration) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the query's runtime")?;
    runtime.block_on(async {
        match tokio::time::timeout(time, execute(tables, sql, memory)).await {
            Ok(answer) => answer,
            Err(_) => Err(Stopped::Time(time).into()),
        }
    })
}

async fn execute(tables: Tables, sql: &str, memory: usize) -> Result<Answer> {
    let epoch = tables.epoch;
    let names = tables.names();
    let unknown = tables.unknown.clone();
    let context = session(memory)?;
    if is_question(sql) {
        let plan = planned(&tables, sql).map_err(|error| match unknown.first() {
            Some(name) if error.to_string().contains("there is no source, table or view called ") => {
                mistake(format!("there is no view {name}. The state has {}", names.join(", ")))
            }
            _ => error,
        })?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let state = context.state();
        let physical = state.query_planner().create_physical_plan(&plan, &state).await.map_err(refused)?;
        let batches = collect(physical, context.task_ctx()).await.map_err(refused)?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        return Ok(Answer { epoch, schema, batches });
    }
    tables.register(&context)?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(sql, read_only).await.map_err(|error| match unknown.first() {
        Some(name) if error.to_string().contains("not found") => {
            mistake(format!("there is no view {name}. The state has {}", names.join(", ")))
        }
        _ => refused(error),
    })?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.map_err(refused)?;
    // The rows are better evidence of their types than the plan: a plan may say Utf8 for Utf8View.
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    Ok(Answer { epoch, schema, batches })
}

/// Whether `sql` asks for rows, and not for names (SHOW, DESCRIBE) or a plan (EXPLAIN).
fn is_question(sql: &str) -> bool {
    let first = sql.trim_start().trim_start_matches('(').trim_start();
    let asks = |word: &str| first.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let names = sql.to_ascii_lowercase().contains("information_schema");
    !names && ["select", "with", "values"].iter().any(|word| asks(word))
}

/// A question as a view's query is planned: the same refusals, types and meaning.
fn planned(tables: &Tables, sql: &str) -> Result<LogicalPlan> {
    let sources = tables.sources()?;
    let columns = sources.iter().map(|(name, source)| (name.clone(), source.schema())).collect();
    question::plan(sql, &columns, &|name| sources.get(name).cloned()).map_err(|found| told(&found))
}

/// Mistakes in a question's text as one.
fn told(found: &[SqlError]) -> anyhow::Error {
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    mistake(format!("the query cannot be run: {}", told.join("\n")))
}

/// A session that reads registered tables and nothing else, on one thread, in bounded memory.
fn session(memory: usize) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory, 1.0)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .context("cannot start the query engine")?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(true)
        .set_str("datafusion.sql_parser.dialect", "postgres");
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// A query's failure as a user's mistake, in DataFusion's words without its prefixes.
fn refused(error: DataFusionError) -> anyhow::Error {
    let error = error.find_root().strip_backtrace();
    let mut text = error.as_str();
    for prefix in [
        "Error during planning: ",
        "SQL error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "External error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    mistake(format!("the query cannot be run: {text}"))
}

/// The only state below `dir`, or a mistake that names what there is.
pub fn only_state(dir: &Path) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(mistake(format!(
            "there is no state in {}. Run a topology first, or name its state with --state DIR or its address with --url URL",
            dir.display()
        ))),
        many => {
            let names: Vec<String> = many.iter().map(|path| path.display().to_string()).collect();
            Err(mistake(format!(
                "there are several states: {}. Say which with --state DIR or --name NAME",
                names.join(", ")
            )))
        }
    }
}

/// Asks a running `herald run --listen`.
fn ask(url: &str, sql: &str, format: OutputFormat) -> Result<String> {
    let base = base(url);
    let token = access::token("HERALD_READ_TOKEN", None)?;
    let token = token.map_or_else(|| access::token("HERALD_ADMIN_TOKEN", None), |token| Ok(Some(token)))?;
    post(&base, &format!("/v1/query?format={}", format.name()), sql, token)
}

/// Where a running topology is, `http://` where nothing is said.
pub fn base(url: &str) -> String {
    match url.contains("://") {
        true => url.trim_end_matches('/').to_owned(),
        false => format!("http://{}", url.trim_end_matches('/')),
    }
}

/// Asks a running topology; its refusal is an error in its own words.
pub fn post(base: &str, path: &str, body: &str, token: Option<String>) -> Result<String> {
    let client = reqwest::blocking::Client::builder()
        .timeout(ANSWERED)
        .build()
        .context("cannot start the HTTP client")?;
    let mut request = client.post(format!("{base}{path}")).body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().with_context(|| format!("{base} does not answer"))?;
    let status = response.status();
    let text = response.text().with_context(|| format!("the answer of {base} cannot be read"))?;
    if status.is_success() {
        return Ok(text);
    }
    let told = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|body| body.get("error")?.as_str().map(str::to_owned));
    match (told, status.is_client_error()) {
        (Some(told), true) => Err(mistake(told)),
        (Some(told), false) => Err(anyhow!(told)),
        (None, _) => Err(anyhow!("{base} answered {status}: is it a herald run with --listen?")),
    }
}

#[cfg(test)]
mod tests;
