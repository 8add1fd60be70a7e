//! Statements of a session: queries are run, others are carried out here.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use pgwire::messages::PgWireBackendMessage;

use super::super::engine::Described;
use super::super::engine::changes::described_columns;
use super::super::engine::running::RunningRows;
use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::statement::{Statement, TransactionModes};
use super::super::sql::subscription::{RowSource, Subscription};
use super::super::sql::words::QueryText;
use super::super::values::kind::Kind;
use super::super::values::parameters::numeric_sql;
use super::super::values::rows::Columns;
use super::Session;
use super::portals::Prepared;
use super::rows::{OpenRows, Use};
use super::transaction::{Reading, Status};

/// The outcome of a statement.
pub enum Performed {
    /// Rows to send, and the tag of their completion.
    Rows(Box<OpenRows>, &'static str),
    /// It is done; its tag.
    Done(String),
}

/// The way a statement came.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// SQL of the values of its parameters.
    pub values: Vec<Option<String>>,
    /// Codes of the formats of its columns.
    pub formats: Vec<i16>,
    /// Set if the client has been told the columns already.
    pub described: bool,
}

impl Session {
    /// Answers a statement of a simple query.
    ///
    /// # Errors
    /// The failure of the statement.
    pub(super) async fn answer_statement(&mut self, statement: &Statement) -> PgResult<()> {
        match self.perform(statement, &Given::default()).await? {
            Performed::Done(tag) => self.complete(tag),
            Performed::Rows(mut rows, tag) => {
                let description = rows.columns().description(rows.forms());
                self.wire.send(PgWireBackendMessage::RowDescription(description));
                let (count, _) = self.use_rows(&mut rows, Use::Send, usize::MAX).await?;
                self.complete(tag_of_rows(tag, count));
            }
        }
        Ok(())
    }

    /// Carries out a statement.
    ///
    /// # Errors
    /// Its failure.
    pub(super) async fn perform(&mut self, statement: &Statement, given: &Given) -> PgResult<Performed> {
        self.transaction.check_alive(statement.ends_failure())?;
        let tag = match statement {
            Statement::Query(query, tag) => {
                let rows = self.start_query(query, given.values.clone()).await?;
                return Ok(Performed::Rows(Box::new(OpenRows::new(rows, &given.formats)?), tag));
            }
            Statement::Subscribe(subscription) => {
                let rows = self.start_following(subscription, given.values.clone()).await?;
                return Ok(Performed::Rows(Box::new(OpenRows::new(rows, &given.formats)?), "SUBSCRIBE"));
            }
            Statement::Show(name) => {
                let rows = self.show(name.as_deref())?;
                return Ok(Performed::Rows(Box::new(OpenRows::new(rows, &given.formats)?), "SHOW"));
            }
            Statement::Execute { name, arguments } => {
                return self.execute_prepared(name, arguments, given).await;
            }
            Statement::Prepare { name, types, query } => {
                self.prepare_statement(name, types, query).await?;
                "PREPARE".to_owned()
            }
            Statement::Declare(declaration) => {
                self.declare_cursor(declaration, given.values.clone()).await?;
                "DECLARE CURSOR".to_owned()
            }
            Statement::Fetch(fetch) => self.fetch(fetch, given).await?,
            Statement::Copy(source, options) => self.copy_out(source, options, given.values.clone()).await?,
            Statement::Close(name) => self.close_cursor(name.as_deref())?,
            other => self.perform_quick(other).await?,
        };
        Ok(Performed::Done(tag))
    }

    /// Carries out a statement that reads no rows. Returns its tag.
    async fn perform_quick(&mut self, statement: &Statement) -> PgResult<String> {
        let tag = match statement {
            Statement::Begin(modes) => {
                self.begin(modes.isolation);
                "BEGIN"
            }
            Statement::Commit(chain) => self.end_transaction(true, *chain).await?,
            Statement::Rollback(chain) => self.end_transaction(false, *chain).await?,
            Statement::Savepoint(name) => {
                self.transaction.save(name.clone(), &self.settings)?;
                "SAVEPOINT"
            }
            Statement::Release(name) => {
                self.transaction.release(name)?;
                "RELEASE"
            }
            Statement::RollbackTo(name) => {
                let settings = self.transaction.roll_back_to(name)?;
                self.settings.roll_back(settings);
                "ROLLBACK"
            }
            Statement::SetTransaction(modes, session) => {
                self.set_modes(modes, *session)?;
                "SET"
            }
            Statement::Set { name, value, local } => {
                self.set(name, value.as_deref(), *local)?;
                "SET"
            }
            Statement::Reset(Some(name)) => {
                self.set(name, None, false)?;
                "RESET"
            }
            Statement::Reset(None) => {
                self.settings.reset_all();
                "RESET"
            }
            Statement::Discard(all) => {
                self.discard(*all).await?;
                if *all { "DISCARD ALL" } else { "DISCARD" }
            }
            Statement::Deallocate(Some(name)) => {
                self.prepared.find(name)?;
                self.prepared.remove(name);
                "DEALLOCATE"
            }
            Statement::Deallocate(None) => {
                self.prepared.clear();
                "DEALLOCATE ALL"
            }
            Statement::Idle(tag) => tag,
            other => return Err(PgError::unsupported(format!("{other:?} cannot be carried out"))),
        };
        Ok(tag.to_owned())
    }

    /// BEGIN.
    fn begin(&mut self, isolation: Option<&'static str>) {
        if self.transaction.status == Status::Open {
            let notice = PgError::warning("there is already a transaction in progress");
            self.notice(&PgError { code: codes::ACTIVE_SQL_TRANSACTION, ..notice });
            return;
        }
        self.transaction.begin(&self.settings);
        self.set_isolation(isolation);
    }

    /// Shows a level of isolation until the transaction ends. All levels are one: a transaction reads one
    /// epoch.
    fn set_isolation(&mut self, isolation: Option<&'static str>) {
        if let Some(level) = isolation {
            // It is one of the levels that the setting takes.
            let _ = self.settings.set("transaction_isolation", Some(level), true);
        }
    }

    /// COMMIT and ROLLBACK. Returns the tag.
    async fn end_transaction(&mut self, commits: bool, chain: bool) -> PgResult<&'static str> {
        let status = self.transaction.status;
        if status == Status::Idle && !self.transaction.several {
            if chain {
                self.transaction.require(if commits { "COMMIT AND CHAIN" } else { "ROLLBACK AND CHAIN" })?;
            }
            let notice = PgError::warning("there is no transaction in progress");
            self.notice(&PgError { code: codes::NO_ACTIVE_SQL_TRANSACTION, ..notice });
        }
        self.portals.clear();
        self.stop_queries(true).await?;
        let committed = commits && status != Status::Failed;
        match self.transaction.end() {
            Some(begun) if !committed => self.settings.roll_back(begun),
            _ => self.settings.commit(),
        }
        if chain {
            self.transaction.begin(&self.settings);
        }
        Ok(if committed { "COMMIT" } else { "ROLLBACK" })
    }

    /// SET TRANSACTION, and SET SESSION CHARACTERISTICS.
    fn set_modes(&mut self, modes: &TransactionModes, session: bool) -> PgResult<()> {
        let Some(level) = modes.isolation else { return Ok(()) };
        if session {
            return self.settings.set("default_transaction_isolation", Some(level), false);
        }
        if self.transaction.status == Status::Idle {
            self.notice(&PgError::warning("SET TRANSACTION can only be used in transaction blocks"));
            return Ok(());
        }
        self.set_isolation(Some(level));
        Ok(())
    }

    /// SET and RESET.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> PgResult<()> {
        if local && self.transaction.status == Status::Idle {
            self.notice(&PgError::warning("SET LOCAL can only be used in transaction blocks"));
            // The value is checked all the same.
            return self.settings.clone().set(name, value, true);
        }
        self.settings.set(name, value, local)?;
        if name.eq_ignore_ascii_case("application_name") {
            let (user, application) =
                (self.settings.user().to_owned(), self.settings.application().to_owned());
            self.parent.tell(&super::FromSession::Client { user, application });
        }
        Ok(())
    }

    /// DISCARD.
    async fn discard(&mut self, all: bool) -> PgResult<()> {
        if !all {
            return Ok(());
        }
        if self.transaction.status != Status::Idle || self.transaction.several {
            let message = "DISCARD ALL cannot run inside a transaction block";
            return Err(PgError::new(codes::ACTIVE_SQL_TRANSACTION, message));
        }
        self.portals.clear();
        self.prepared.clear();
        self.settings.reset_all();
        self.stop_queries(true).await
    }

    /// SHOW.
    fn show(&self, name: Option<&str>) -> PgResult<RunningRows> {
        match name {
            Some(name) => {
                let (name, value) = self.settings.show(name)?;
                text_rows(&[&name], vec![vec![value]])
            }
            None => {
                let (names, values): (Vec<String>, Vec<String>) =
                    self.settings.show_all().into_iter().unzip();
                let described = vec![String::new(); names.len()];
                text_rows(&["name", "setting", "description"], vec![names, values, described])
            }
        }
    }

    /// PREPARE.
    async fn prepare_statement(&mut self, name: &str, types: &[String], query: &QueryText) -> PgResult<()> {
        let mut given = Vec::with_capacity(types.len());
        for written in types {
            given.push(Some(Kind::of_name(written).ok_or_else(|| {
                PgError::new(codes::UNDEFINED_OBJECT, format!("type \"{written}\" does not exist"))
            })?));
        }
        let prepared = self.describe_text(&query.text, query.before, given).await?;
        self.prepared.insert(name, prepared)
    }

    /// EXECUTE.
    async fn execute_prepared(
        &mut self,
        name: &str,
        arguments: &[String],
        given: &Given,
    ) -> PgResult<Performed> {
        let Prepared { statement, parameters, .. } = self.prepared.find(name)?.clone();
        if arguments.len() != parameters.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let hint = format!("expected {} parameters but got {}", parameters.len(), arguments.len());
            return Err(PgError::syntax(message).hint(hint));
        }
        let mut values = Vec::with_capacity(arguments.len());
        for (sql, kind) in arguments.iter().zip(&parameters) {
            // A number that is written out keeps its digits.
            let exact = if matches!(kind, Kind::Numeric(..)) { numeric_sql(sql) } else { None };
            values.push(exact.or_else(|| Some(format!("CAST(({sql}) AS {})", kind.sql_name()))));
        }
        match statement {
            None => Ok(Performed::Done(String::new())),
            // One of a simple query cannot be an EXECUTE again: PREPARE takes queries.
            Some(Statement::Query(query, tag)) => {
                let rows = self.start_query(&query, values).await?;
                Ok(Performed::Rows(Box::new(OpenRows::new(rows, &given.formats)?), tag))
            }
            Some(_) => Err(PgError::unsupported("EXECUTE takes a prepared query")),
        }
    }

    /// Describes a statement, for a prepared one.
    ///
    /// # Errors
    /// Its mistakes.
    pub(super) async fn describe_text(
        &mut self,
        text: &str,
        before: usize,
        given: Vec<Option<Kind>>,
    ) -> PgResult<Prepared> {
        let statement = Statement::read(text, before)?;
        self.transaction.check_alive(statement.ends_failure())?;
        let mut columns = self.known_columns(&statement)?;
        let mut parameters: Vec<Kind> = given.iter().flatten().cloned().collect();
        if let Some(source) = source_of(&statement) {
            let described = match &source {
                RowSource::Query(query) => self.describe_query(query, given).await?,
                RowSource::Changes(subscription) => self.describe_changes(subscription, given).await?,
            };
            parameters = described.parameters;
            if matches!(statement, Statement::Query(..) | Statement::Subscribe(_)) {
                columns = Some(described.columns);
            }
        }
        Ok(Prepared {
            statement: Some(statement),
            text: text.to_owned(),
            parameters,
            given: Vec::new(),
            columns,
        })
    }

    /// Describes a query.
    async fn describe_query(&mut self, query: &QueryText, given: Vec<Option<Kind>>) -> PgResult<Described> {
        self.transaction.check_reading(Reading::Epoch)?;
        let (engine, session) = (self.engine.clone(), self.values());
        let described = self.await_engine(engine.describe(query.text.clone(), given, session)).await;
        described.map_err(|error| super::placed(error, query))
    }

    /// Describes a subscription, by the query for the rows that it wants.
    async fn describe_changes(
        &mut self,
        subscription: &Subscription,
        given: Vec<Option<Kind>>,
    ) -> PgResult<Described> {
        self.transaction.check_reading(Reading::Changes)?;
        let query = subscription.query();
        let (engine, session) = (self.engine.clone(), self.values());
        let described = self.await_engine(engine.describe(query.text.clone(), given, session)).await;
        let Described { parameters, columns } = described.map_err(|error| match &subscription.select {
            Some(select) => super::placed(error, select),
            None => PgError { position: Some(subscription.view.position), ..error },
        })?;
        Ok(Described { parameters, columns: described_columns(columns, subscription)? })
    }

    /// The columns of a statement that are known without planning it.
    fn known_columns(&self, statement: &Statement) -> PgResult<Option<Columns>> {
        Ok(match statement {
            Statement::Show(name) => Some(self.show(name.as_deref())?.columns),
            Statement::Execute { name, .. } => self.prepared.find(name)?.columns.clone(),
            Statement::Fetch(fetch) if !fetch.moves => {
                self.portals.find(&fetch.name)?.prepared.columns.clone()
            }
            _ => None,
        })
    }
}

/// The rows that a statement reads, or will; None if it reads none.
fn source_of(statement: &Statement) -> Option<RowSource> {
    match statement {
        Statement::Query(query, _) => Some(RowSource::Query(query.clone())),
        Statement::Subscribe(subscription) => Some(RowSource::Changes(subscription.clone())),
        Statement::Copy(source, _) => Some(source.clone()),
        Statement::Declare(declaration) => Some(declaration.rows.clone()),
        _ => None,
    }
}

/// The tag of a statement that gave so many rows.
pub(super) fn tag_of_rows(tag: &str, count: usize) -> String {
    match tag {
        "SELECT" | "FETCH" | "MOVE" | "COPY" => format!("{tag} {count}"),
        other => other.to_owned(),
    }
}

/// Rows of columns of text.
fn text_rows(names: &[&str], columns: Vec<Vec<String>>) -> PgResult<RunningRows> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = std::sync::Arc::new(Schema::new(fields));
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for column in columns {
        arrays.push(std::sync::Arc::new(StringArray::from(column)));
    }
    let told = Columns::new(schema.fields(), names.iter().map(|name| (*name).to_owned()).collect())?;
    match RecordBatch::try_new(schema, arrays) {
        Ok(batch) => Ok(RunningRows::of_batch(batch, told)),
        Err(error) => Err(PgError::new(codes::INTERNAL_ERROR, error.to_string())),
    }
}
