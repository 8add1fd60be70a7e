//! A session: messages of a client that has logged in, one after the other.
//!
//! A transaction reads one epoch, which its first query pins. So do the statements of one simple query, and
//! those of the extended protocol up to a Sync. An error makes a transaction fail until it is rolled back.

mod cursors;
mod extended;
mod portals;
mod rows;
mod statements;
mod transaction;

use std::time::{Duration, Instant};

use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::control::{FromSession, Parent, SessionConfig, SessionState};
use super::engine::running::RunningRows;
use super::engine::{Engine, EngineQuery};
use super::errors::{PgError, PgResult, codes};
use super::login::send_untold;
use super::sql::settings::Settings;
use super::sql::statement::Statement;
use super::sql::subscription::{RowSource, Subscription};
use super::sql::words::QueryText;
use super::wire::{Interrupt, Received, Wire, gone};
use crate::query::catalog::SessionValues;
use crate::query::statements::{self as texts, skip_blank};
use portals::{Portals, PreparedStatements};
use transaction::{Reading, Status, Transaction};

/// Time in which a query must end once it is to be stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Most characters of a statement that the topology's process is told.
const TOLD_CHARS: usize = 1000;
/// Most statements of one simple query.
const MAX_STATEMENTS: usize = 10_000;

/// A session.
pub struct Session {
    wire: Wire,
    engine: Engine,
    parent: Parent,
    about: About,
    settings: Settings,
    prepared: PreparedStatements,
    portals: Portals,
    transaction: Transaction,
    /// Set while messages up to a Sync are passed over, after an error.
    skipping: bool,
    /// Set if the engine may hold an epoch.
    reads: bool,
    /// Time at which the statement is stopped.
    until: Option<Instant>,
}

/// Facts of a session that do not change.
struct About {
    pid: i32,
    client: String,
    started_us: i64,
}

impl Session {
    /// A session whose client has logged in.
    pub fn new(
        wire: Wire,
        engine: Engine,
        parent: Parent,
        (settings, config): (Settings, &SessionConfig),
    ) -> Session {
        Session {
            about: About {
                pid: config.pid,
                client: config.client.clone(),
                started_us: config.begun_ms.saturating_mul(1000),
            },
            wire,
            engine,
            parent,
            settings,
            prepared: PreparedStatements::default(),
            portals: Portals::default(),
            transaction: Transaction::default(),
            skipping: false,
            reads: false,
            until: None,
        }
    }

    /// Answers messages until the client goes, or an error ends the session.
    pub async fn serve(mut self) {
        let ended = self.answer_messages().await;
        if let Err(error) = ended
            && error.code != gone().code
        {
            self.wire.send(PgWireBackendMessage::ErrorResponse(error.response()));
        }
        self.wire.close().await;
    }

    /// Answers messages; Ok when the client says goodbye.
    async fn answer_messages(&mut self) -> PgResult<()> {
        self.ready().await?;
        loop {
            let message = match self.wire.receive(self.patience()).await? {
                Received::Message(message) => message,
                // Passed over like any other message up to a Sync.
                Received::NoText(..) if self.skipping => continue,
                Received::NoText(error, extended) => {
                    self.fail(error).await?;
                    self.skipping = extended;
                    if !extended {
                        self.ready().await?;
                    }
                    continue;
                }
                Received::None(Interrupt::Gone) => return Ok(()),
                Received::None(Interrupt::TimedOut) => return Err(self.idled()),
                Received::None(_) => return Err(shut_down()),
            };
            match message {
                PgWireFrontendMessage::Terminate(_) => return Ok(()),
                PgWireFrontendMessage::Sync(_) => {
                    self.skipping = false;
                    self.finish_implicit().await?;
                    self.ready().await?;
                }
                _ if self.skipping => {}
                PgWireFrontendMessage::Query(query) => {
                    self.answer_simple(&query.query).await?;
                    self.ready().await?;
                }
                message => self.answer_extended(message).await?,
            }
        }
    }

    /// The time for which the session waits for the client.
    fn patience(&self) -> Option<Duration> {
        match self.transaction.status {
            Status::Idle if !self.reads => self.settings.limit("idle_session_timeout"),
            // Statements up to a Sync are a transaction as well.
            _ => self.settings.limit("idle_in_transaction_session_timeout"),
        }
    }

    /// The error for a client that has said nothing for too long.
    fn idled(&self) -> PgError {
        match self.transaction.status {
            Status::Idle if !self.reads => {
                let message = "terminating connection due to idle-session timeout";
                PgError::fatal(codes::IDLE_SESSION_TIMEOUT, message)
            }
            _ => {
                let message = "terminating connection due to idle-in-transaction timeout";
                PgError::fatal(codes::IDLE_IN_TRANSACTION_TIMEOUT, message)
            }
        }
    }

    /// Tells the client that the session waits for it.
    async fn ready(&mut self) -> PgResult<()> {
        send_untold(&mut self.wire, &mut self.settings);
        let status = self.transaction.status;
        self.wire.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status.on_wire())));
        self.wire.flush().await.map_err(|_| gone())?;
        self.parent.tell(&FromSession::State(status.session_state(), None));
        Ok(())
    }

    /// Answers a simple query: its statements one after the other, up to the first that fails.
    async fn answer_simple(&mut self, text: &str) -> PgResult<()> {
        self.portals.close("");
        let answered = self.answer_statements(text).await;
        if let Err(error) = answered {
            self.fail(error).await?;
        }
        self.finish_implicit().await
    }

    /// Answers the statements of a text.
    async fn answer_statements(&mut self, text: &str) -> PgResult<()> {
        let split = texts::split(text);
        let mut found = split.statements;
        if !split.rest.is_empty() {
            found.push(split.rest);
        }
        if found.len() > MAX_STATEMENTS {
            let message = format!("a query has at most {MAX_STATEMENTS} statements");
            return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if found.is_empty() {
            self.wire.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
            return Ok(());
        }
        self.transaction.several = found.len() > 1;
        for one in found {
            // The statement is a part of the text.
            let before = text[..one.as_ptr().addr() - text.as_ptr().addr()].chars().count();
            self.begin_statement(one);
            let answered = match Statement::read(one, before) {
                Ok(statement) => self.answer_statement(&statement).await,
                Err(error) => self.transaction.check_alive(false).and(Err(error)),
            };
            self.end_statement(answered.as_ref().err());
            answered?;
        }
        Ok(())
    }

    /// Begins a statement: its time runs from now on.
    fn begin_statement(&mut self, text: &str) {
        self.wire.begin_statement();
        self.until = self.settings.limit("statement_timeout").map(|limit| Instant::now() + limit);
        let told: String = skip_blank(text).chars().take(TOLD_CHARS).collect();
        self.parent.tell(&FromSession::State(SessionState::Active, Some(told)));
    }

    /// Tells the topology's process how a statement has ended.
    fn end_statement(&mut self, error: Option<&PgError>) {
        self.parent.tell(&FromSession::Ended(outcome_label(error).to_owned()));
    }

    /// Tells the client of an error, and makes the transaction fail.
    ///
    /// # Errors
    /// The error, if it ends the session.
    async fn fail(&mut self, error: PgError) -> PgResult<()> {
        self.portals.clear();
        if self.parent.0.is_lost() {
            return Err(shut_down());
        }
        if error.is_fatal() {
            return Err(error);
        }
        self.stop_queries(false).await?;
        self.wire.send(PgWireBackendMessage::ErrorResponse(error.response()));
        self.transaction.fail();
        // A client that has sent no Sync yet may wait for it.
        self.wire.flush().await.map_err(|_| gone())
    }

    /// Ends the transaction of statements outside of BEGIN and COMMIT: their epoch is let go.
    async fn finish_implicit(&mut self) -> PgResult<()> {
        self.transaction.several = false;
        if self.transaction.status != Status::Idle {
            return Ok(());
        }
        self.portals.clear();
        self.stop_queries(true).await
    }

    /// Ends all running queries; with `release` the epoch is let go.
    async fn stop_queries(&mut self, release: bool) -> PgResult<()> {
        if release {
            self.transaction.reading = Reading::Nothing;
        }
        if !self.reads {
            return Ok(());
        }
        self.reads = !release;
        let stopped = tokio::time::timeout(STOP_TIMEOUT, self.engine.stop(release)).await;
        stopped.unwrap_or_else(|_| Err(unstoppable()))
    }

    /// Waits for the engine, unless the statement is stopped before.
    async fn await_engine<T>(&mut self, job: impl Future<Output = PgResult<T>>) -> PgResult<T> {
        self.reads = true;
        match self.wire.wait(job, self.until).await {
            Ok(done) => done,
            Err(interrupt) => Err(self.stopped_by(interrupt).await),
        }
    }

    /// Stops the statement that runs. Returns the error to tell.
    async fn stopped_by(&mut self, interrupt: Interrupt) -> PgError {
        let message = match interrupt {
            Interrupt::Gone => return gone(),
            Interrupt::Ending => return shut_down(),
            Interrupt::Cancelled => "canceling statement due to user request",
            Interrupt::TimedOut => "canceling statement due to statement timeout",
        };
        self.portals.clear();
        match self.stop_queries(false).await {
            Ok(()) => PgError::new(codes::QUERY_CANCELED, message),
            Err(error) => error,
        }
    }

    /// The values of the session that functions and tables of the catalogue tell.
    fn values(&self) -> SessionValues {
        SessionValues {
            database: self.settings.database().to_owned(),
            user: self.settings.user().to_owned(),
            process_id: self.about.pid,
            application_name: self.settings.application().to_owned(),
            client_address: Some(self.about.client.clone()),
            started_us: self.about.started_us,
            settings: self.settings.shown_values(),
        }
    }

    /// Starts a query with values of its parameters.
    async fn start_query(&mut self, query: &QueryText, values: Vec<Option<String>>) -> PgResult<RunningRows> {
        self.transaction.note_reading(Reading::Epoch)?;
        let engine = self.engine.clone();
        let asked = EngineQuery { text: query.text.clone(), values, session: self.values() };
        let started = self.await_engine(engine.run(asked)).await;
        started.map_err(|error| placed(error, query))
    }

    /// Begins to follow a view, with values of the parameters of its condition.
    async fn start_following(
        &mut self,
        subscription: &Subscription,
        values: Vec<Option<String>>,
    ) -> PgResult<RunningRows> {
        self.transaction.note_reading(Reading::Changes)?;
        let engine = self.engine.clone();
        self.await_engine(engine.follow(Box::new(subscription.clone()), values)).await
    }

    /// Starts to read rows with values of their parameters.
    async fn start_rows(&mut self, source: &RowSource, values: Vec<Option<String>>) -> PgResult<RunningRows> {
        match source {
            RowSource::Query(query) => self.start_query(query, values).await,
            RowSource::Changes(subscription) => self.start_following(subscription, values).await,
        }
    }

    /// Lifts the server's time limit from a statement that has no end of its own. One that the client has set
    /// runs from now on.
    fn lift_limit(&mut self) {
        self.until = self.settings.own_limit("statement_timeout").map(|limit| Instant::now() + limit);
    }

    /// Tells the client that a statement is done.
    fn complete(&mut self, tag: String) {
        self.wire.send(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag)));
    }

    /// Tells the client something that fails nothing.
    fn notice(&mut self, notice: &PgError) {
        self.wire.send(PgWireBackendMessage::NoticeResponse(notice.notice()));
    }
}

/// An error in a query with its place in the text that the client sent.
fn placed(mut error: PgError, query: &QueryText) -> PgError {
    error.position = error.position.map(|position| position + query.before);
    error
}

/// The end of a session with the topology's process.
fn shut_down() -> PgError {
    PgError::fatal(codes::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// The end of a session whose query goes on computing.
fn unstoppable() -> PgError {
    PgError::fatal(codes::QUERY_CANCELED, "the statement did not stop in time: the connection ends")
}

/// The outcome of a statement as a metric label.
fn outcome_label(error: Option<&PgError>) -> &'static str {
    let Some(error) = error else { return "answered" };
    match error.code {
        codes::QUERY_CANCELED if error.message.contains("timeout") => "time",
        codes::QUERY_CANCELED => "cancelled",
        codes::CONFIGURATION_LIMIT_EXCEEDED | codes::OUT_OF_MEMORY => "memory",
        codes::STATEMENT_TOO_COMPLEX => "depth",
        codes::INTERNAL_ERROR => "failed",
        code if code == gone().code => "left",
        codes::ADMIN_SHUTDOWN => "left",
        _ => "mistake",
    }
}
