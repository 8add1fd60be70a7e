//! SQL over the views of one committed epoch: `herald query` and `/v1/query`.
//!
//! DataFusion runs a query on one thread over one committed epoch, so that all views are of that epoch. Views are
//! read by threads beside it, while the query runs and as far as it needs them. Queries are read-only: statements
//! that change data are refused, and so is access to files. Each query runs in a process of its own with
//! bounds on memory and time ([`process`]), so that none can bring down a topology or its machine.
//! A running topology lends its queries a snapshot ([`process::reads`]); the state of any other is opened as a secondary,
//! without its lock. Without a query,
//! on a terminal, `herald query` is a [`shell`].

pub(crate) mod budget;
pub mod catalog;
mod client;
mod dead_letters;
pub(crate) mod explain;
pub mod format;
mod mistakes;
pub mod process;
mod shell;
pub(crate) mod statements;
pub mod tables;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use dataflows::sql::question;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use state::{Reader, StateTableKind, Store};

use crate::cli::{Asked, OutputFormat, QueryArgs, QueryLimits};
use crate::exit::{Stopped, mistake, unknown_name};
use catalog::{CATALOG, Catalogue, DEFAULT_SCHEMA, SessionQuery, SessionValues};
pub use client::{base_url, read_token, send_get, send_post};
use client::{query_over_http, wait_for};
use explain::{Statement, Wanted};
use mistakes::sql_mistakes;
pub(crate) use mistakes::{query_mistake, refuse_writing, unknown_view};
use process::scratch::Scratch;
use process::{QueryProcess, ReadFrom, Running};
use tables::Tables;
use tables::epoch::EpochReads;
use tables::scans::{EpochRequest, ScanServer};

/// Most bytes of the tables of a query in this process, and again of its own work.
const IN_PROCESS_BYTES: usize = 1 << 30;
/// Longest time of a query in this process.
const IN_PROCESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Default directory of states.
pub const STATES: &str = ".herald";

/// Bounds of a query.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// Most bytes of its work, and again of its system tables.
    pub memory: usize,
    /// Its longest time.
    pub time: Duration,
    /// Most rows of its answer.
    pub rows: u64,
    /// Place for what does not fit into the memory; None without one.
    pub spill: Option<Spill>,
}

/// Place on the disk for what does not fit into a query's memory.
#[derive(Clone, Debug)]
pub struct Spill {
    /// Directory of its files, of no other query.
    pub dir: PathBuf,
    /// Most bytes of them.
    pub bytes: u64,
}

impl Allowance {
    /// Bounds of a query that writes nothing to the disk.
    pub fn in_memory(memory: usize, time: Duration) -> Allowance {
        Allowance { memory, time, rows: u64::MAX, spill: None }
    }
}

/// The rows of a query, and the epoch they are of.
pub struct Answer {
    /// The committed epoch.
    pub epoch: u64,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// The source of answers.
enum Place {
    /// A running topology, by its base URL.
    Topology(String),
    /// A state, by its directory.
    State(PathBuf),
}

impl Place {
    fn of(asked: &Asked) -> Result<Place> {
        match &asked.url {
            Some(url) => Ok(Place::Topology(base_url(url))),
            None => Ok(Place::State(state_dir(asked.state.as_deref(), asked.name.as_deref())?)),
        }
    }

    /// Writes the answer to a query.
    fn write_answer(
        &self,
        query: (&str, OutputFormat),
        limits: &QueryLimits,
        out: &mut dyn Write,
    ) -> Result<()> {
        match self {
            Place::Topology(base) => {
                out.write_all(wait_for(query_over_http(base, query.0, query.1))?.as_bytes())?;
            }
            Place::State(dir) => {
                // The sender lives as long as this block: the query is never abandoned by the one that asked.
                let (_here, left) = bounded(0);
                write_from_state(dir, query, limits, left, out)?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// `herald query`.
pub fn command(args: &QueryArgs) -> Result<()> {
    let text = query_text(args)?;
    let asked = args.asked.clone().or_environment();
    let place = Place::of(&asked)?;
    let Some(sql) = text else { return shell::run(place, asked.format, &args.limits) };
    place.write_answer((&sql, asked.format), &args.limits, &mut std::io::stdout().lock())
}

/// The answer to a query of the state or running topology that `asked` names, as text.
///
/// # Errors
/// When neither can be asked, or the query fails.
pub fn answer_of(asked: &Asked, sql: &str, format: OutputFormat) -> Result<String> {
    let mut text = Vec::new();
    Place::of(asked)?.write_answer((sql, format), &QueryLimits::default(), &mut text)?;
    String::from_utf8(text).context("the answer is no text")
}

/// The names of the sources of the state or running topology that `asked` names, those of earlier editions included;
/// none where nothing has run yet.
///
/// # Errors
/// When neither can be asked.
pub fn source_names(asked: &Asked) -> Result<Vec<String>> {
    match Place::of(asked)? {
        Place::Topology(base) => {
            let text = send_get(&base, "/v1/topology", read_token()?)?;
            served_sources(&text).with_context(|| format!("{base} is no topology of this version"))
        }
        Place::State(dir) => stored_sources(&OpenedState::open(&dir)?.reader.snapshot()),
    }
}

/// The names of the sources in an answer of `/v1/topology`.
fn served_sources(text: &str) -> Result<Vec<String>> {
    let topology: serde_json::Value = serde_json::from_str(text)?;
    let sources = topology["sources"].as_array().context("it names no sources")?;
    Ok(sources.iter().filter_map(|source| source["name"].as_str().map(str::to_owned)).collect())
}

/// The names of the sources in a state.
fn stored_sources(epoch: &dyn EpochReads) -> Result<Vec<String>> {
    let mut names: BTreeSet<String> = epoch.committed().progress.sources.keys().cloned().collect();
    // Before the first commit only the catalogue has them.
    for entry in epoch.catalogue()?.entries {
        match entry.kind {
            StateTableKind::Table => {
                names.insert(entry.name);
            }
            // A source that is no table has an entry among the sinks.
            StateTableKind::Sink => names.extend(entry.name.strip_prefix("source ").map(str::to_owned)),
            StateTableKind::Arrangement | StateTableKind::View | StateTableKind::Index => {}
        }
    }
    Ok(names.into_iter().collect())
}

/// Writes the answer to a query of the state in `dir`, run in a process of its own. That process is killed when
/// all senders of `left` are gone.
fn write_from_state(
    dir: &Path,
    query: (&str, OutputFormat),
    limits: &QueryLimits,
    left: Receiver<()>,
    out: &mut dyn Write,
) -> Result<()> {
    let process = QueryProcess::start(ReadFrom::State(dir), limits)?;
    let mut running = Running::start(process, query, left)?;
    running.read_epoch()?;
    let mut bytes = vec![0; 64 << 10];
    loop {
        match running.read(&mut bytes)? {
            0 => return Ok(()),
            read => out.write_all(&bytes[..read])?,
        }
    }
}

/// The query's text: the argument, a file, or standard input. None asks for the shell: there is no text, and
/// standard input is a terminal.
fn query_text(args: &QueryArgs) -> Result<Option<String>> {
    match (&args.file, args.sql.as_deref()) {
        (Some(file), _) => {
            std::fs::read_to_string(file).map(Some).with_context(|| format!("cannot read {}", file.display()))
        }
        (None, Some("-")) => {
            std::io::read_to_string(std::io::stdin()).map(Some).context("cannot read standard input")
        }
        (None, Some(sql)) => Ok(Some(sql.to_owned())),
        (None, None) if std::io::stdin().is_terminal() => Ok(None),
        (None, None) => Err(mistake(
            "there is no query. Write herald query \"SELECT ...\", name a file with -f, or write - to read standard input",
        )),
    }
}

/// The directory of a state: from the flags, else from the environment, else the only state in [`STATES`].
pub fn state_dir(state: Option<&Path>, name: Option<&str>) -> Result<PathBuf> {
    match (state, name, std::env::var_os("HERALD_STATE")) {
        (Some(dir), _, _) => Ok(dir.to_owned()),
        (None, Some(name), _) => named_state(Path::new(STATES), name),
        (None, None, Some(dir)) => Ok(PathBuf::from(dir)),
        (None, None, None) => only_state(Path::new(STATES)),
    }
}

/// A state opened for reading in this process, with the scratch directory that this takes.
struct OpenedState {
    reader: Reader,
    _scratch: Scratch,
}

impl OpenedState {
    /// Opens the state in `dir`, which may be in use by a running process.
    fn open(dir: &Path) -> Result<OpenedState> {
        let scratch = Scratch::new()?;
        let reader = Store::open_secondary(dir, scratch.path())?;
        Ok(OpenedState { reader, _scratch: scratch })
    }
}

/// Runs a query of this program's own in this process, without the bounds that other queries have.
///
/// # Errors
/// When the query cannot be run, or the state cannot be read.
pub fn answer_here(epoch: &dyn EpochReads, sql: &str) -> Result<Answer> {
    answer_over(epoch, sql, &Allowance::in_memory(IN_PROCESS_BYTES, IN_PROCESS_TIMEOUT))
}

/// Runs `sql` over an epoch within what is allowed, as far as the query engine accounts for it. Blocks: not
/// to be called from async code.
///
/// # Errors
/// When the query cannot be run, or the state cannot be read.
pub fn answer_over(epoch: &dyn EpochReads, sql: &str, allowed: &Allowance) -> Result<Answer> {
    let (scans, requests) = unbounded();
    let server = &ScanServer::new(epoch);
    let answered = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("herald-scans".to_owned())
            .spawn_scoped(scope, move || server.serve(scope, requests))
            .context("the scans of the query cannot be started")?;
        // The server ends when the query has dropped its tables, and with them all senders of requests.
        answer_within(epoch, scans, sql, allowed)
    });
    match answered {
        Ok(answer) => Ok(answer),
        // The query engine tells that a scan failed, but not as which kind of error.
        Err(error) => Err(server.take_failure().unwrap_or(error)),
    }
}

/// Runs `sql` over the tables of an epoch whose views are read by way of `scans`.
fn answer_within(
    epoch: &dyn EpochReads,
    scans: Sender<EpochRequest>,
    sql: &str,
    allowed: &Allowance,
) -> Result<Answer> {
    let statement = Statement::of(sql);
    refuse_writing(&statement.text)?;
    let tables = Tables::load(epoch, &statement.text, allowed.memory, &scans)?;
    drop(scans);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the query's runtime")?;
    runtime.block_on(async {
        match tokio::time::timeout(allowed.time, execute_query(tables, &statement, allowed)).await {
            Ok(answer) => answer,
            Err(_) => Err(Stopped::Time(allowed.time).into()),
        }
    })
}

/// Runs a statement: SELECT as a view's query would be planned, and EXPLAIN of it; other statements as DataFusion plans
/// them, read-only.
async fn execute_query(tables: Tables, statement: &Statement<'_>, allowed: &Allowance) -> Result<Answer> {
    let context = create_session(allowed.memory, allowed.spill.as_ref())?;
    if is_select(&statement.text) {
        answer_select(&tables, statement, (&context, allowed)).await
    } else {
        answer_other(&tables, &statement.text, (&context, allowed)).await
    }
}

/// Runs a SELECT, or tells its plan.
async fn answer_select(
    tables: &Tables,
    statement: &Statement<'_>,
    (context, allowed): (&SessionContext, &Allowance),
) -> Result<Answer> {
    let plan = plan_select(tables, &statement.text, context).await?;
    let state = context.state();
    let physical = state.query_planner().create_physical_plan(&plan, &state).await.map_err(query_mistake)?;
    match statement.wanted {
        Wanted::Rows => {
            let schema = Arc::new(plan.schema().as_arrow().clone());
            let batches = read_rows(physical, context, allowed).await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            Ok(Answer { epoch: tables.epoch, schema, batches })
        }
        Wanted::Plan => one_batch(tables.epoch, explain::plan_rows(&plan, physical.as_ref())?),
        Wanted::Measured => {
            read_rows(Arc::clone(&physical), context, allowed).await?;
            one_batch(tables.epoch, explain::measured_rows(physical.as_ref())?)
        }
    }
}

/// Runs a plan, and returns its rows.
///
/// # Errors
/// When it fails, or has more rows than are allowed.
async fn read_rows(
    plan: Arc<dyn ExecutionPlan>,
    context: &SessionContext,
    allowed: &Allowance,
) -> Result<Vec<RecordBatch>> {
    let one: Arc<dyn ExecutionPlan> = match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    };
    // One more than are allowed tells that there are too many.
    let most = usize::try_from(allowed.rows).unwrap_or(usize::MAX).saturating_add(1);
    let limited = Arc::new(GlobalLimitExec::new(one, 0, Some(most)));
    let batches =
        collect(limited, context.task_ctx()).await.map_err(|error| failed_within(error, allowed))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows as u64 > allowed.rows { Err(Stopped::Rows(allowed.rows).into()) } else { Ok(batches) }
}

/// The failure of a running query.
fn failed_within(error: DataFusionError, allowed: &Allowance) -> Error {
    match allowed.spill.as_ref().and_then(|spill| over_disk(&error, spill)) {
        Some(stopped) => stopped.into(),
        None => query_mistake(error),
    }
}

/// Returns the bound on temporary files if a query failed for it. That comes as an error of input and output, and is
/// known by its words alone.
pub(crate) fn over_disk(error: &DataFusionError, spill: &Spill) -> Option<Stopped> {
    let exceeded = "used disk space during the spilling process has exceeded";
    error.to_string().contains(exceeded).then_some(Stopped::Disk(spill.bytes))
}

/// An answer of one batch.
fn one_batch(epoch: u64, batch: RecordBatch) -> Result<Answer> {
    Ok(Answer { epoch, schema: batch.schema(), batches: vec![batch] })
}

/// Runs a statement that is no SELECT.
async fn answer_other(
    tables: &Tables,
    sql: &str,
    (context, allowed): (&SessionContext, &Allowance),
) -> Result<Answer> {
    if begins_with(sql, &["show"]) {
        return Err(mistake(
            "the query cannot be run: write SHOW TABLES, SHOW COLUMNS FROM view or DESCRIBE view",
        ));
    }
    register_tables(tables, SessionValues::none(), context)?;
    let plan = match (plan_statement(context, sql).await, tables.unknown.first()) {
        (Ok(plan), _) => plan,
        (Err(error), Some(name)) if error.to_string().contains("not found") => {
            return Err(unknown_view(name, &tables.names(), &tables.sources));
        }
        (Err(error), _) => return Err(query_mistake(error)),
    };
    if let LogicalPlan::DescribeTable(described) = &plan {
        return one_batch(tables.epoch, explain::describe(&described.schema)?);
    }
    let explains = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    let frame = context.execute_logical_plan(plan).await.map_err(query_mistake)?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let physical = frame.create_physical_plan().await.map_err(query_mistake)?;
    let mut batches = read_rows(physical, context, allowed).await?;
    if explains {
        batches = batches.iter().map(explain::spell_plan).collect::<Result<_>>()?;
    }
    // The batches' own schema is more exact than the plan's: a plan may say Utf8 for Utf8View.
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    Ok(Answer { epoch: tables.epoch, schema, batches })
}

/// Tells whether `sql` selects rows, rather than names (SHOW, DESCRIBE).
pub(crate) fn is_select(sql: &str) -> bool {
    begins_with(sql, &["select", "with", "values"])
}

/// Tells whether `sql` begins with one of these words, in any case.
fn begins_with(sql: &str, words: &[&str]) -> bool {
    let first = statements::skip_blank(sql).trim_start_matches('(').trim_start();
    words.iter().any(|word| statements::begins(first, word))
}

/// Plans a statement that is no SELECT as DataFusion does; one that changes something is refused.
pub(crate) async fn plan_statement(
    context: &SessionContext,
    sql: &str,
) -> datafusion::error::Result<LogicalPlan> {
    let plan = context.state().create_logical_plan(sql).await?;
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&plan)?;
    Ok(plan)
}

/// Plans a SELECT. One that reads PostgreSQL's catalogue is planned as the query engine does.
async fn plan_select(tables: &Tables, sql: &str, context: &SessionContext) -> Result<LogicalPlan> {
    let session = SessionValues::none();
    let query = SessionQuery::read(sql, &session);
    let planned = if query.reads_catalogue() {
        let catalogue = register_tables(tables, session, context)?;
        let planned = catalogue.plan(context, &query, &[]).await;
        planned.and_then(|plan| context.state().optimize(&plan)).map_err(query_mistake)
    } else {
        plan_view_query(tables, query.text())
    };
    match (planned, tables.unknown.first()) {
        (Err(error), Some(name)) if names_unknown(&error, name) => {
            Err(unknown_view(name, &tables.names(), &tables.sources))
        }
        (planned, _) => planned,
    }
}

/// Tells whether an error is about a table that does not exist.
pub(crate) fn names_unknown(error: &Error, name: &str) -> bool {
    let text = error.to_string();
    text.contains("there is no source, table or view called ") || text.contains(&format!("{name}' not found"))
}

/// Plans a SELECT in the way of a view's query: with the same refusals, types and semantics.
fn plan_view_query(tables: &Tables, sql: &str) -> Result<LogicalPlan> {
    let sources = tables.table_sources()?;
    let columns = sources.iter().map(|(name, source)| (name.clone(), source.schema())).collect();
    let planned = question::plan(sql, &columns, &|name| sources.get(name).cloned(), tables.finality);
    planned.map_err(|found| sql_mistakes(&found))
}

/// Puts the tables of a query and PostgreSQL's catalogue of them into a session of the query engine.
pub(crate) fn register_tables(
    tables: &Tables,
    session: SessionValues,
    context: &SessionContext,
) -> Result<Catalogue> {
    let catalogue = Catalogue::new(tables.objects(), session);
    tables.register(context)?;
    catalogue.register(context)?;
    Ok(catalogue)
}

/// Creates a session that reads registered tables only, on one thread, in bounded memory. What does not fit is written to
/// the disk, where that is allowed: sorted rows and groups.
pub(crate) fn create_session(memory: usize, spill: Option<&Spill>) -> Result<SessionContext> {
    let disk = match spill {
        Some(spill) => DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill.dir.clone()]))
            .with_max_temp_directory_size(spill.bytes),
        None => DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory, 1.0)
        .with_disk_manager_builder(disk)
        .build_arc()
        .context("cannot start the query engine")?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        .set_str("datafusion.sql_parser.dialect", "postgres");
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// The directories below `dir`, each a topology's state, by name.
fn states_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The error for a directory without states.
fn no_state(dir: &Path) -> Error {
    mistake(format!(
        "there is no state in {}. Run a topology first, or name its state with --state DIR or its address with --url URL",
        dir.display()
    ))
}

/// The state of the topology `name` below `dir`; without it, a mistake that names those there are.
fn named_state(dir: &Path, name: &str) -> Result<PathBuf> {
    let wanted = dir.join(name);
    if wanted.is_dir() {
        return Ok(wanted);
    }
    let states = states_below(dir);
    if states.is_empty() {
        return Err(no_state(dir));
    }
    let known: Vec<&str> = states.iter().filter_map(|state| state.file_name()?.to_str()).collect();
    let said = format!("--name {name}: {} has no state of this name", dir.display());
    Err(unknown_name(&said, name, &known))
}

/// The only state below `dir`; with none or several, a mistake that lists them.
pub fn only_state(dir: &Path) -> Result<PathBuf> {
    match states_below(dir).as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(no_state(dir)),
        many => {
            let names: Vec<String> = many.iter().map(|path| path.display().to_string()).collect();
            Err(mistake(format!(
                "there are several states: {}. Say which with --state DIR or --name NAME",
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests;
