//! The engine of a session: a thread that plans and runs its queries over one pinned epoch.
//!
//! The thread has a deep stack, as planning recurses, and a runtime of its own, so that a query that computes
//! for long keeps nobody from answering the client. Each running query is a task that sends batches through a
//! bounded channel and waits when two are not taken yet. A channel that ends without [`Produced::End`] has
//! lost rows, and is an error.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use dataflows::sql::SqlError;
use dataflows::sql::question::{self, Question};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, collect, execute_stream};
use datafusion::prelude::SessionContext;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::errors::{PgError, PgResult, codes};
use super::reader::EpochReader;
use super::values::kind::Kind;
use super::values::parameters::unknown_value;
use super::values::rows::Columns;
use crate::query::explain::{self, Statement, Wanted};
use crate::query::process::answer::check_bounds;
use crate::query::tables::Tables;
use crate::query::{self, Spill, information_schema};

/// Stack bytes of the thread.
const STACK_BYTES: usize = 64 << 20;
/// Jobs that wait for the thread.
const MAX_JOBS: usize = 4;
/// Batches that wait until the client takes them.
const BATCHES_AHEAD: usize = 2;
/// Most parameters of a query.
const MAX_PARAMETERS: usize = 32_767;

/// Text of a query as it is planned. The catalogue of PostgreSQL rewrites names and functions here.
fn planned_text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// Names of a query's columns as clients see them. The catalogue of PostgreSQL names unnamed ones here.
fn output_names(_text: &str, fields: &Fields) -> Vec<String> {
    fields.iter().map(|field| field.name().clone()).collect()
}

/// Limits of each query.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of its work, and again of its system tables, as far as the query engine counts them.
    pub memory: usize,
    /// Place for what does not fit into the memory; None without one.
    pub spill: Option<Spill>,
}

/// A query for the engine.
#[derive(Clone, Debug)]
pub struct EngineQuery {
    /// Its text.
    pub text: String,
    /// SQL of the values of its parameters.
    pub values: Vec<Option<String>>,
}

/// Description of a query.
#[derive(Clone, Debug)]
pub struct Described {
    /// Types of its parameters.
    pub parameters: Vec<Kind>,
    /// Its columns.
    pub columns: Columns,
}

/// Rows of a running query.
#[derive(Debug)]
pub struct RunningRows {
    /// Its columns as the engine has them.
    pub fields: Fields,
    /// Its columns as clients see them.
    pub columns: Columns,
    /// Its batches.
    pub batches: mpsc::Receiver<Produced>,
}

impl RunningRows {
    /// Rows that are known already.
    pub fn of_batch(batch: RecordBatch, columns: Columns) -> RunningRows {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let fields = batch.schema_ref().fields().clone();
        // There is room for both.
        let _ = sender.try_send(Produced::Batch(batch));
        let _ = sender.try_send(Produced::End);
        RunningRows { fields, columns, batches }
    }
}

/// A part of a query's rows.
#[derive(Debug)]
pub enum Produced {
    /// Some rows.
    Batch(RecordBatch),
    /// The failure of the query.
    Failed(PgError),
    /// The end of the rows.
    End,
}

/// A job for the engine.
enum Job {
    Describe { text: String, given: Vec<Option<Kind>>, reply: oneshot::Sender<PgResult<Described>> },
    Run { query: EngineQuery, reply: oneshot::Sender<PgResult<RunningRows>> },
    Stop { release: bool, reply: oneshot::Sender<()> },
}

/// The session's end of the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    jobs: mpsc::Sender<Job>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(reader: EpochReader, limits: Limits) -> Result<Engine> {
        let (jobs, received) = mpsc::channel(MAX_JOBS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .context("cannot start the query engine")?;
        std::thread::Builder::new()
            .name("herald-engine".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                runtime.block_on(Thread { reader, limits, running: JoinSet::new() }.serve(received))
            })
            .context("cannot start the query engine")?;
        Ok(Engine { jobs })
    }

    /// Describes a query, some of whose parameters have types that the client gives.
    ///
    /// # Errors
    /// The mistakes of the query.
    pub async fn describe(&self, text: String, given: Vec<Option<Kind>>) -> PgResult<Described> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Describe { text, given, reply }, answer).await?
    }

    /// Starts a query.
    ///
    /// # Errors
    /// The mistakes of the query.
    pub async fn run(&self, query: EngineQuery) -> PgResult<RunningRows> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Run { query, reply }, answer).await?
    }

    /// Ends all running queries, and with `release` lets the pinned epoch go.
    ///
    /// # Errors
    /// When the thread has ended.
    pub async fn stop(&self, release: bool) -> PgResult<()> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Stop { release, reply }, answer).await
    }

    async fn ask<T>(&self, job: Job, answer: oneshot::Receiver<T>) -> PgResult<T> {
        let lost = || PgError::fatal(codes::INTERNAL_ERROR, "the query engine ended unexpectedly");
        self.jobs.send(job).await.map_err(|_| lost())?;
        answer.await.map_err(|_| lost())
    }
}

/// The engine's thread.
struct Thread {
    reader: EpochReader,
    limits: Limits,
    running: JoinSet<()>,
}

impl Thread {
    /// Carries out jobs until nobody sends any.
    async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            while self.running.try_join_next().is_some() {}
            match job {
                Job::Describe { text, given, reply } => {
                    let described = self.describe(&text, given).await;
                    let _ = reply.send(described);
                }
                Job::Run { query, reply } => {
                    let started = self.run(&query).await;
                    let _ = reply.send(started);
                }
                Job::Stop { release, reply } => {
                    self.running.shutdown().await;
                    if release {
                        self.reader.release();
                    }
                    let _ = reply.send(());
                }
            }
        }
    }

    /// The tables of the pinned epoch for a query.
    fn load_tables(&mut self, text: &str) -> PgResult<Tables> {
        check_bounds(text).map_err(|error| PgError::of(&error))?;
        query::refuse_writing(text).map_err(|error| PgError::of(&error))?;
        self.reader.pin().map_err(|error| PgError::of(&error))?;
        self.reader.tables(text, self.limits.memory).map_err(|error| PgError::of(&error))
    }

    /// Describes a query.
    async fn describe(&mut self, text: &str, given: Vec<Option<Kind>>) -> PgResult<Described> {
        let text = &planned_text(text);
        let statement = Statement::of(text);
        let tables = self.load_tables(&statement.text)?;
        if !query::is_select(&statement.text) {
            let fields = self.other_fields(tables, &statement.text).await?;
            return described(text, Vec::new(), &fields);
        }
        let parameters = parameter_kinds(&tables, &statement.text, given)?;
        let values: Vec<Option<String>> = parameters.iter().map(|kind| Some(unknown_value(kind))).collect();
        let fields = match statement.wanted {
            Wanted::Rows => {
                let plan = plan_query(&tables, Question { text: &statement.text, values: &values })?;
                plan.schema().as_arrow().fields().clone()
            }
            Wanted::Plan | Wanted::Measured => plan_fields(),
        };
        described(text, parameters, &fields)
    }

    /// The columns of a statement that is no SELECT.
    async fn other_fields(&self, tables: Tables, text: &str) -> PgResult<Fields> {
        let context = query::create_session(self.limits.memory, self.limits.spill.as_ref())
            .map_err(|error| PgError::of(&error))?;
        let plan = plan_other(tables, text, &context).await?;
        Ok(match &plan {
            LogicalPlan::DescribeTable(_) => LogicalPlan::describe_schema().fields().clone(),
            other => other.schema().as_arrow().fields().clone(),
        })
    }

    /// Starts a query.
    async fn run(&mut self, query: &EngineQuery) -> PgResult<RunningRows> {
        let text = &planned_text(&query.text);
        let statement = Statement::of(text);
        let tables = self.load_tables(&statement.text)?;
        let context = query::create_session(self.limits.memory, self.limits.spill.as_ref())
            .map_err(|error| PgError::of(&error))?;
        let (fields, stream) = if query::is_select(&statement.text) {
            let question = Question { text: &statement.text, values: &query.values };
            select_rows(&tables, question, statement.wanted, &context).await?
        } else {
            other_rows(tables, &statement.text, &context).await?
        };
        let columns = Columns::new(&fields, output_names(text, &fields))?;
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        self.running.spawn(send_batches(stream, sender, self.limits.spill.clone()));
        Ok(RunningRows { fields, columns, batches })
    }
}

/// Rows of a query as they come, or all of them.
enum Produce {
    Stream(SendableRecordBatchStream),
    Batches(Vec<RecordBatch>),
}

/// Sends the rows of a query, and their end.
async fn send_batches(rows: Produce, sender: mpsc::Sender<Produced>, spill: Option<Spill>) {
    match rows {
        Produce::Stream(mut stream) => {
            while let Some(batch) = stream.next().await {
                let produced = match batch {
                    Ok(batch) => Produced::Batch(batch),
                    Err(error) => Produced::Failed(PgError::of_running(error, spill.as_ref())),
                };
                let failed = matches!(produced, Produced::Failed(_));
                if sender.send(produced).await.is_err() || failed {
                    return;
                }
            }
        }
        Produce::Batches(batches) => {
            for batch in batches {
                if sender.send(Produced::Batch(batch)).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = sender.send(Produced::End).await;
}

/// The description of a query with these columns.
fn described(text: &str, parameters: Vec<Kind>, fields: &Fields) -> PgResult<Described> {
    let columns = Columns::new(fields, output_names(text, fields))?;
    Ok(Described { parameters, columns })
}

/// Types of a query's parameters: those that the client gives, and those of the expressions around the
/// others. One that stands alone is text.
fn parameter_kinds(tables: &Tables, text: &str, given: Vec<Option<Kind>>) -> PgResult<Vec<Kind>> {
    let count = question::parameter_count(text).map_err(|found| PgError::of_mistakes(&found, text))?;
    if count > MAX_PARAMETERS {
        let message = format!("a query has at most {MAX_PARAMETERS} parameters");
        return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let mut kinds = given;
    if kinds.len() < count {
        kinds.resize(count, None);
    }
    if kinds.iter().any(Option::is_none) {
        let values: Vec<Option<String>> = kinds.iter().map(|kind| kind.as_ref().map(unknown_value)).collect();
        let found = column_types(tables, Question { text, values: &values })?;
        for (at, kind) in kinds.iter_mut().enumerate() {
            if kind.is_none() {
                *kind = found.get(&(at + 1)).map(Kind::of);
            }
        }
    }
    Ok(kinds.into_iter().map(|kind| kind.unwrap_or(Kind::Text)).collect())
}

/// Types that the expressions of a query give to its parameters.
fn column_types(
    tables: &Tables,
    question: Question<'_>,
) -> PgResult<std::collections::BTreeMap<usize, Field>> {
    let sources = tables.table_sources().map_err(|error| PgError::of(&error))?;
    let columns = sources.iter().map(|(name, source)| (name.clone(), source.schema())).collect();
    let types = question::parameter_types(question, &columns);
    types.map_err(|found| mistakes_of(tables, &found, question.text))
}

/// Plans a SELECT in the way of a view's query.
fn plan_query(tables: &Tables, question: Question<'_>) -> PgResult<LogicalPlan> {
    let sources = tables.table_sources().map_err(|error| PgError::of(&error))?;
    let columns = sources.iter().map(|(name, source)| (name.clone(), source.schema())).collect();
    let planned =
        question::plan_bound(question, &columns, &|name| sources.get(name).cloned(), tables.finality);
    planned.map_err(|found| mistakes_of(tables, &found, question.text))
}

/// The error for the mistakes of a query; one about an unknown view tells those there are.
fn mistakes_of(tables: &Tables, found: &[SqlError], text: &str) -> PgError {
    let told = PgError::of_mistakes(found, text);
    match tables.unknown.first() {
        Some(name) if told.message.starts_with("there is no source, table or view called ") => {
            let unknown = query::unknown_view(name, &tables.names(), &tables.sources);
            PgError { position: told.position, ..PgError::of(&unknown) }
        }
        _ => told,
    }
}

/// The columns of a plan as rows.
fn plan_fields() -> Fields {
    let column = |name: &str| Field::new(name, DataType::Utf8, false);
    Fields::from(vec![column("plan_type"), column("plan")])
}

/// Rows of a SELECT, or of its plan.
async fn select_rows(
    tables: &Tables,
    question: Question<'_>,
    wanted: Wanted,
    context: &SessionContext,
) -> PgResult<(Fields, Produce)> {
    let plan = plan_query(tables, question)?;
    let state = context.state();
    let physical =
        state.query_planner().create_physical_plan(&plan, &state).await.map_err(PgError::of_engine)?;
    match wanted {
        Wanted::Rows => {
            let fields = plan.schema().as_arrow().fields().clone();
            let physical = yielding(physical).map_err(PgError::of_engine)?;
            let stream = execute_stream(physical, context.task_ctx()).map_err(PgError::of_engine)?;
            Ok((fields, Produce::Stream(stream)))
        }
        Wanted::Plan => plan_batch(explain::plan_rows(&plan, physical.as_ref())),
        Wanted::Measured => {
            measure(&physical, context).await?;
            plan_batch(explain::measured_rows(physical.as_ref()))
        }
    }
}

/// A plan whose joins let the thread go now and then. Scans do so by themselves, but a join can make much of
/// little: a filter above it that no row passes would keep the thread, and the query could not be stopped.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        let node: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
        Ok(Transformed::yes(node))
    });
    wrapped.map(|done| done.data)
}

/// Runs a plan for its figures alone.
async fn measure(physical: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> PgResult<()> {
    let ran = collect(Arc::clone(physical), context.task_ctx()).await;
    ran.map(drop).map_err(PgError::of_engine)
}

fn plan_batch(batch: Result<RecordBatch>) -> PgResult<(Fields, Produce)> {
    let batch = batch.map_err(|error| PgError::of(&error))?;
    Ok((batch.schema_ref().fields().clone(), Produce::Batches(vec![batch])))
}

/// Plans a statement that is no SELECT, as DataFusion does.
async fn plan_other(tables: Tables, text: &str, context: &SessionContext) -> PgResult<LogicalPlan> {
    let names = tables.names();
    let (unknown, sources) = (tables.unknown.clone(), tables.sources.clone());
    tables.register(context).map_err(|error| PgError::of(&error))?;
    match (query::plan_statement(context, text).await, unknown.first()) {
        (Ok(plan), _) => Ok(plan),
        (Err(error), Some(name)) if error.to_string().contains("not found") => {
            Err(PgError::of(&query::unknown_view(name, &names, &sources)))
        }
        (Err(error), _) => Err(PgError::of_engine(error)),
    }
}

/// Rows of a statement that is no SELECT.
async fn other_rows(tables: Tables, text: &str, context: &SessionContext) -> PgResult<(Fields, Produce)> {
    let plan = plan_other(tables, text, context).await?;
    if let LogicalPlan::DescribeTable(described) = &plan {
        return plan_batch(information_schema::describe(&described.schema));
    }
    let explains = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    let frame = context.execute_logical_plan(plan).await.map_err(PgError::of_engine)?;
    let schema = Schema::clone(frame.schema().as_arrow());
    let mut batches = frame.collect().await.map_err(PgError::of_engine)?;
    if explains {
        let spelt: Result<Vec<RecordBatch>> = batches.iter().map(information_schema::spell_plan).collect();
        batches = spelt.map_err(|error| PgError::of(&error))?;
    }
    Ok((schema.fields().clone(), Produce::Batches(batches)))
}
