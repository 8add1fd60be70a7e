//! The engine of a session: a thread that plans and runs its queries over one pinned epoch.
//!
//! The thread has a deep stack, as planning recurses, and a runtime of its own, so that a query that computes
//! for long keeps nobody from answering the client. Each running query is a task that sends batches through a
//! bounded channel and waits when two are not taken yet. A channel that ends without [`running::Produced::End`] has
//! lost rows, and is an error.

pub mod changes;
pub mod follow;
mod produce;
pub mod running;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields};
use dataflows::sql::SqlError;
use dataflows::sql::question::{self, Question};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::follow::{FollowRequest, Follower};
use self::produce::{Ending, Produce, send_batches, yielding};
use self::running::{BATCHES_AHEAD, RunningRows};
use super::errors::{PgError, PgResult, codes};
use super::reader::EpochReader;
use super::sql::subscription::Subscription;
use super::values::kind::Kind;
use super::values::parameters::unknown_value;
use super::values::rows::Columns;
use crate::query::catalog::{Catalogue, MAX_PARAMETERS, SessionQuery, SessionValues};
use crate::query::explain::{self, Statement, Wanted};
use crate::query::process::answer::check_bounds;
use crate::query::tables::Tables;
use crate::query::{self, Spill};

/// Stack bytes of the thread.
const STACK_BYTES: usize = 64 << 20;
/// Jobs that wait for the thread.
const MAX_JOBS: usize = 4;

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
    /// Values of the session, which the catalogue tells.
    pub session: SessionValues,
}

/// Description of a query.
#[derive(Clone, Debug)]
pub struct Described {
    /// Types of its parameters.
    pub parameters: Vec<Kind>,
    /// Its columns.
    pub columns: Columns,
}

/// A job for the engine.
enum Job {
    Describe {
        text: String,
        given: Vec<Option<Kind>>,
        session: SessionValues,
        reply: oneshot::Sender<PgResult<Described>>,
    },
    Run {
        query: EngineQuery,
        reply: oneshot::Sender<PgResult<RunningRows>>,
    },
    Follow {
        subscription: Box<Subscription>,
        values: Vec<Option<String>>,
        reply: oneshot::Sender<PgResult<RunningRows>>,
    },
    Stop {
        release: bool,
        reply: oneshot::Sender<()>,
    },
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
                runtime.block_on(
                    Thread { reader, limits, running: JoinSet::new(), shared: None }.serve(received),
                )
            })
            .context("cannot start the query engine")?;
        Ok(Engine { jobs })
    }

    /// Describes a query, some of whose parameters have types that the client gives.
    ///
    /// # Errors
    /// The mistakes of the query.
    pub async fn describe(
        &self,
        text: String,
        given: Vec<Option<Kind>>,
        session: SessionValues,
    ) -> PgResult<Described> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Describe { text, given, session, reply }, answer).await?
    }

    /// Starts a query.
    ///
    /// # Errors
    /// The mistakes of the query.
    pub async fn run(&self, query: EngineQuery) -> PgResult<RunningRows> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Run { query, reply }, answer).await?
    }

    /// Begins to follow a view, with values of the parameters of its condition.
    ///
    /// # Errors
    /// The mistakes of the subscription, or changes that are not kept.
    pub async fn follow(
        &self,
        subscription: Box<Subscription>,
        values: Vec<Option<String>>,
    ) -> PgResult<RunningRows> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Follow { subscription, values, reply }, answer).await?
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
    /// Context of the queries that read views alone.
    shared: Option<SessionContext>,
}

impl Thread {
    /// Carries out jobs until nobody sends any.
    async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            while self.running.try_join_next().is_some() {}
            match job {
                Job::Describe { text, given, session, reply } => {
                    let described = self.describe(&text, given, &session).await;
                    let _ = reply.send(described);
                }
                Job::Run { query, reply } => {
                    let started = self.run(&query).await;
                    let _ = reply.send(started);
                }
                Job::Follow { subscription, values, reply } => {
                    let followed = self.follow(subscription, values);
                    let _ = reply.send(followed);
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
    async fn describe(
        &mut self,
        text: &str,
        given: Vec<Option<Kind>>,
        session: &SessionValues,
    ) -> PgResult<Described> {
        let statement = Statement::of(text);
        let tables = self.load_tables(&statement.text)?;
        if !query::is_select(&statement.text) {
            let context = self.create_context()?;
            let fields = other_fields(&plan_other(&tables, &statement.text, session, &context).await?);
            return Ok(Described { parameters: Vec::new(), columns: own_columns(&fields)? });
        }
        let asked = SessionQuery::read(&statement.text, session);
        let context = self.context_of(&asked)?;
        let parameters = parameter_kinds(&tables, (&statement.text, &asked), given)?;
        let values: Vec<Option<String>> = parameters.iter().map(|kind| Some(unknown_value(kind))).collect();
        let columns = match statement.wanted {
            Wanted::Rows => {
                let select = Select { text: &statement.text, asked: &asked, values: &values, session };
                select.plan(&tables, &context).await?.columns
            }
            Wanted::Plan | Wanted::Measured => own_columns(&plan_fields())?,
        };
        Ok(Described { parameters, columns })
    }

    fn create_context(&self) -> PgResult<SessionContext> {
        let Limits { memory, spill } = &self.limits;
        query::create_session(*memory, spill.as_ref()).map_err(|error| PgError::of(&error))
    }

    /// A context for a query. Those of views alone share one, in which nothing is registered: to make it costs as
    /// much as to find a row.
    fn context_of(&mut self, asked: &SessionQuery<'_>) -> PgResult<SessionContext> {
        if asked.reads_catalogue() {
            return self.create_context();
        }
        let shared = match self.shared.take() {
            Some(shared) => shared,
            None => self.create_context()?,
        };
        Ok(self.shared.insert(shared).clone())
    }

    /// Starts a query.
    async fn run(&mut self, query: &EngineQuery) -> PgResult<RunningRows> {
        let statement = Statement::of(&query.text);
        let tables = self.load_tables(&statement.text)?;
        let Started { fields, columns, rows, catalogue } = if query::is_select(&statement.text) {
            let asked = SessionQuery::read(&statement.text, &query.session);
            let context = self.context_of(&asked)?;
            let (values, session) = (query.values.as_slice(), &query.session);
            let select = Select { text: &statement.text, asked: &asked, values, session };
            select.start(&tables, statement.wanted, &context).await?
        } else {
            let context = self.create_context()?;
            other_rows(&tables, &statement.text, &query.session, &context).await?
        };
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let ending = Ending { spill: self.limits.spill.clone(), catalogue };
        self.running.spawn(send_batches(rows, sender, ending));
        Ok(RunningRows { fields, columns, batches, lasting: false })
    }

    /// Begins to follow a view.
    fn follow(
        &mut self,
        subscription: Box<Subscription>,
        values: Vec<Option<String>>,
    ) -> PgResult<RunningRows> {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let asked = FollowRequest { subscription, values, out: sender.clone() };
        let followed = self.reader.follow(asked).map_err(|error| PgError::of(&error))??;
        let fields = followed.fields();
        let columns = own_columns(&fields)?;
        let follower = Follower::new(followed, (self.reader.connection(), sender), self.limits.memory);
        self.running.spawn(follower.run());
        Ok(RunningRows { fields, columns, batches, lasting: true })
    }
}

/// A query that has started.
struct Started {
    fields: Fields,
    columns: Columns,
    rows: Produce,
    catalogue: Option<Catalogue>,
}

/// Columns under the names that they have.
fn own_columns(fields: &Fields) -> PgResult<Columns> {
    Columns::new(fields, fields.iter().map(|field| field.name().clone()).collect())
}

/// Types of a query's parameters: those that the client gives, and those of the expressions around the
/// others. One that stands alone is text.
fn parameter_kinds(
    tables: &Tables,
    (text, asked): (&str, &SessionQuery<'_>),
    given: Vec<Option<Kind>>,
) -> PgResult<Vec<Kind>> {
    let (count, known) = if asked.reads_catalogue() {
        let types = asked.parameter_types();
        (types.len(), types.into_iter().map(Kind::of_oid).collect())
    } else {
        let counted = question::parameter_count(text);
        (counted.map_err(|found| PgError::of_mistakes(&found, text))?, Vec::new())
    };
    if count > MAX_PARAMETERS {
        let message = format!("a query has at most {MAX_PARAMETERS} parameters");
        return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let mut kinds = given;
    if kinds.len() < count {
        kinds.resize(count, None);
    }
    for (kind, known) in kinds.iter_mut().zip(known) {
        *kind = kind.take().or(known);
    }
    if !asked.reads_catalogue() && kinds.iter().any(Option::is_none) {
        let values: Vec<Option<String>> = kinds.iter().map(|kind| kind.as_ref().map(unknown_value)).collect();
        let found = column_types(tables, Question { text: asked.text(), values: &values })?;
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
            let reserved = told.position.and_then(|position| PgError::of_reserved(text, position));
            if let Some(error) = reserved {
                return error;
            }
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

/// A SELECT of a session.
struct Select<'a> {
    text: &'a str,
    asked: &'a SessionQuery<'a>,
    values: &'a [Option<String>],
    session: &'a SessionValues,
}

/// A plan of a SELECT, with its columns as clients see them and the catalogue that it may read.
struct SelectPlan {
    plan: LogicalPlan,
    columns: Columns,
    catalogue: Catalogue,
}

impl Select<'_> {
    /// Plans it: in the way of a view's query, or, if it reads the catalogue of PostgreSQL, as the query engine
    /// does.
    async fn plan(&self, tables: &Tables, context: &SessionContext) -> PgResult<SelectPlan> {
        let (plan, catalogue) = if self.asked.reads_catalogue() {
            self.plan_of_catalogue(tables, context).await?
        } else {
            let planned = plan_query(tables, Question { text: self.asked.text(), values: self.values });
            // The place of a mistake is of no use in another text.
            let planned = planned.map_err(|error| {
                let position = error.position.filter(|_| self.asked.text() == self.text);
                PgError { position, ..error }
            });
            (planned?, Catalogue::new(tables.objects(), self.session.clone()))
        };
        let fields = plan.schema().as_arrow().fields();
        let columns = Columns::of_outputs(fields, catalogue.outputs(self.asked, fields))?;
        Ok(SelectPlan { plan, columns, catalogue })
    }

    async fn plan_of_catalogue(
        &self,
        tables: &Tables,
        context: &SessionContext,
    ) -> PgResult<(LogicalPlan, Catalogue)> {
        let catalogue = query::register_tables(tables, self.session.clone(), context)
            .map_err(|error| PgError::of(&error))?;
        let planned = catalogue.plan(context, self.asked, self.values).await;
        match planned.and_then(|plan| context.state().optimize(&plan)) {
            Ok(plan) => Ok((plan, catalogue)),
            Err(error) => Err(unknown_or(tables, error)),
        }
    }

    /// Starts it, or tells its plan.
    async fn start(&self, tables: &Tables, wanted: Wanted, context: &SessionContext) -> PgResult<Started> {
        let SelectPlan { plan, columns, catalogue } = self.plan(tables, context).await?;
        let state = context.state();
        let physical =
            state.query_planner().create_physical_plan(&plan, &state).await.map_err(PgError::of_engine)?;
        match wanted {
            Wanted::Rows => {
                let fields = plan.schema().as_arrow().fields().clone();
                let physical = yielding(physical).map_err(PgError::of_engine)?;
                let stream = execute_stream(physical, context.task_ctx()).map_err(PgError::of_engine)?;
                Ok(Started { fields, columns, rows: Produce::Stream(stream), catalogue: Some(catalogue) })
            }
            Wanted::Plan => started(explain::plan_rows(&plan, physical.as_ref())),
            Wanted::Measured => {
                let (fields, physical) = (plan_fields(), yielding(physical).map_err(PgError::of_engine)?);
                let columns = own_columns(&fields)?;
                let rows = Produce::Measured(physical, context.task_ctx());
                Ok(Started { fields, columns, rows, catalogue: None })
            }
        }
    }
}

/// The error of the query engine, or one that tells the views there are if a view is unknown.
fn unknown_or(tables: &Tables, error: DataFusionError) -> PgError {
    let told = query::query_mistake(error);
    match tables.unknown.first() {
        Some(name) if query::names_unknown(&told, name) => {
            PgError::of(&query::unknown_view(name, &tables.names(), &tables.sources))
        }
        _ => PgError::of(&told),
    }
}

/// Rows that are known already.
fn started(batch: Result<RecordBatch>) -> PgResult<Started> {
    let batch = batch.map_err(|error| PgError::of(&error))?;
    let fields = batch.schema_ref().fields().clone();
    let columns = own_columns(&fields)?;
    Ok(Started { fields, columns, rows: Produce::Batches(vec![batch]), catalogue: None })
}

/// Plans a statement that is no SELECT, as DataFusion does.
async fn plan_other(
    tables: &Tables,
    text: &str,
    session: &SessionValues,
    context: &SessionContext,
) -> PgResult<LogicalPlan> {
    query::register_tables(tables, session.clone(), context).map_err(|error| PgError::of(&error))?;
    query::plan_statement(context, text).await.map_err(|error| unknown_or(tables, error))
}

/// The columns of a statement that is no SELECT.
fn other_fields(plan: &LogicalPlan) -> Fields {
    match plan {
        LogicalPlan::DescribeTable(_) => LogicalPlan::describe_schema().fields().clone(),
        other => other.schema().as_arrow().fields().clone(),
    }
}

/// Rows of a statement that is no SELECT.
async fn other_rows(
    tables: &Tables,
    text: &str,
    session: &SessionValues,
    context: &SessionContext,
) -> PgResult<Started> {
    let plan = plan_other(tables, text, session, context).await?;
    if let LogicalPlan::DescribeTable(described) = &plan {
        return started(explain::describe(&described.schema));
    }
    let explains = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    let frame = context.execute_logical_plan(plan).await.map_err(PgError::of_engine)?;
    let fields = frame.schema().as_arrow().fields().clone();
    let columns = own_columns(&fields)?;
    let rows = Produce::Collected(Box::new(frame), explains);
    Ok(Started { fields, columns, rows, catalogue: None })
}
