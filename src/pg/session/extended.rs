//! The extended protocol: statements are parsed, bound to values, described and executed by messages of their
//! own.

use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::EmptyQueryResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::super::errors::{PgError, PgResult, codes};
use super::super::values::kind::{Kind, UNKNOWN_OID};
use super::super::values::parameters::values_sql;
use super::super::values::rows::Columns;
use super::super::wire::gone;
use super::Session;
use super::portals::{Portal, Prepared};
use super::rows::Use;
use super::statements::{Given, Performed, tag_of_rows};
use super::texts;

impl Session {
    /// Answers a message of the extended protocol. After a failure, messages up to a Sync are passed over.
    ///
    /// # Errors
    /// An error that ends the session.
    pub(super) async fn answer_extended(&mut self, message: PgWireFrontendMessage) -> PgResult<()> {
        let answered = match message {
            PgWireFrontendMessage::Parse(parse) => self.parse(parse).await,
            PgWireFrontendMessage::Bind(bind) => self.bind(bind),
            PgWireFrontendMessage::Describe(describe) => self.describe(describe),
            PgWireFrontendMessage::Execute(execute) => self.execute(execute).await,
            PgWireFrontendMessage::Close(close) => self.close(close),
            PgWireFrontendMessage::Flush(_) => return self.wire.flush().await.map_err(|_| gone()),
            // Left over from a COPY that was refused.
            PgWireFrontendMessage::CopyData(_)
            | PgWireFrontendMessage::CopyDone(_)
            | PgWireFrontendMessage::CopyFail(_) => return Ok(()),
            _ => Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "unexpected message")),
        };
        if let Err(error) = answered {
            self.fail(error).await?;
            self.skipping = true;
        }
        self.wire.flush_if_full().await.map_err(|_| gone())
    }

    /// Parse: a statement is prepared.
    async fn parse(&mut self, parse: Parse) -> PgResult<()> {
        let split = texts::split(&parse.query);
        let statements = split.statements.len() + usize::from(!split.rest.is_empty());
        if statements > 1 {
            return Err(PgError::syntax("cannot insert multiple commands into a prepared statement"));
        }
        let text = split.statements.first().copied().unwrap_or(split.rest);
        let name = parse.name.unwrap_or_default();
        let mut given = Vec::with_capacity(parse.type_oids.len());
        for oid in &parse.type_oids {
            given.push(match *oid {
                0 | UNKNOWN_OID => None,
                oid => Some(Kind::of_oid(oid).ok_or_else(|| unknown_type(oid))?),
            });
        }
        let prepared = if text.is_empty() {
            Prepared {
                statement: None,
                text: String::new(),
                parameters: Vec::new(),
                given: Vec::new(),
                columns: None,
            }
        } else {
            let before = parse.query[..text.as_ptr().addr() - parse.query.as_ptr().addr()].chars().count();
            self.begin_statement(text);
            let described = self.describe_text(text, before, given).await;
            if let Err(error) = &described {
                self.end_statement(Some(error));
            }
            Prepared { given: parse.type_oids, ..described? }
        };
        if name.is_empty() {
            self.prepared.remove("");
        }
        self.prepared.insert(&name, prepared)?;
        self.wire.send(PgWireBackendMessage::ParseComplete(ParseComplete::new()));
        Ok(())
    }

    /// Bind: a statement and values make a portal.
    fn bind(&mut self, bind: Bind) -> PgResult<()> {
        let (statement, portal) =
            (bind.statement_name.unwrap_or_default(), bind.portal_name.unwrap_or_default());
        let prepared = self.prepared.find(&statement)?.clone();
        if let Some(known) = &prepared.statement {
            self.transaction.check_alive(known.ends_failure())?;
        }
        if bind.parameters.len() != prepared.parameters.len() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{statement}\" requires {}",
                bind.parameters.len(),
                prepared.parameters.len()
            );
            return Err(PgError::new(codes::PROTOCOL_VIOLATION, message));
        }
        let formats = bind.parameter_format_codes;
        if formats.len() > 1 && formats.len() != bind.parameters.len() {
            let message = format!(
                "bind message has {} parameter formats but {} parameters",
                formats.len(),
                bind.parameters.len()
            );
            return Err(PgError::new(codes::PROTOCOL_VIOLATION, message));
        }
        let values = values_sql(&bind.parameters, &formats, &prepared.parameters, self.settings.zone())?;
        let formats = bind.result_column_format_codes;
        if let Some(columns) = &prepared.columns {
            columns.forms(&formats)?;
        }
        if portal.is_empty() {
            self.portals.close("");
        }
        self.portals.insert(&portal, portal_of(prepared, values, formats))?;
        self.wire.send(PgWireBackendMessage::BindComplete(BindComplete::new()));
        Ok(())
    }

    /// Describe: the columns of a statement or a portal.
    fn describe(&mut self, describe: Describe) -> PgResult<()> {
        let name = describe.name.unwrap_or_default();
        let (columns, formats) = match describe.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                let prepared = self.prepared.find(&name)?;
                let (oids, columns) = (parameter_oids(prepared), prepared.columns.clone());
                let told = ParameterDescription::new(oids);
                self.wire.send(PgWireBackendMessage::ParameterDescription(told));
                (columns, Vec::new())
            }
            TARGET_TYPE_BYTE_PORTAL => {
                let portal = self.portals.find(&name)?;
                (portal.prepared.columns.clone(), portal.formats.clone())
            }
            _ => return Err(PgError::new(codes::PROTOCOL_VIOLATION, "invalid DESCRIBE message subtype")),
        };
        let message = match columns {
            Some(columns) => {
                PgWireBackendMessage::RowDescription(columns.description(&columns.forms(&formats)?))
            }
            None => PgWireBackendMessage::NoData(NoData::new()),
        };
        self.wire.send(message);
        Ok(())
    }

    /// Execute: rows of a portal, at most so many.
    async fn execute(&mut self, execute: Execute) -> PgResult<()> {
        let name = execute.name.unwrap_or_default();
        let limit = usize::try_from(execute.max_rows).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut portal = self.portals.take(&name)?;
        self.begin_statement(&portal.prepared.text);
        let executed = self.execute_portal(&mut portal, limit).await;
        self.end_statement(executed.as_ref().err());
        // After a failure no portal is left.
        executed?;
        self.portals.put_back(&name, portal);
        Ok(())
    }

    /// Begins a portal, or goes on with it.
    async fn execute_portal(&mut self, portal: &mut Portal, limit: usize) -> PgResult<()> {
        let Some(statement) = portal.prepared.statement.clone() else {
            self.wire.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
            return Ok(());
        };
        self.transaction.check_alive(statement.ends_failure())?;
        if portal.done {
            self.complete(tag_of_rows(portal.tag, 0));
            return Ok(());
        }
        if portal.rows.is_none() {
            let (values, formats) = (portal.values.clone(), portal.formats.clone());
            let given = Given { values, formats, described: true };
            match self.perform(&statement, &given).await? {
                Performed::Done(tag) => {
                    self.complete(tag);
                    return Ok(());
                }
                Performed::Rows(rows, tag) => {
                    same_columns(portal.prepared.columns.as_ref(), rows.columns())?;
                    portal.rows = Some(*rows);
                    portal.tag = tag;
                }
            }
        }
        let Some(rows) = portal.rows.as_mut() else { return Ok(()) };
        let (count, ended) = self.use_rows(rows, Use::Send, limit).await?;
        if ended {
            portal.done = true;
            portal.rows = None;
            self.complete(tag_of_rows(portal.tag, count));
        } else {
            self.wire.send(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
        }
        Ok(())
    }

    /// Close: a statement or a portal is dropped.
    fn close(&mut self, close: Close) -> PgResult<()> {
        let name = close.name.unwrap_or_default();
        match close.target_type {
            TARGET_TYPE_BYTE_STATEMENT => drop(self.prepared.remove(&name)),
            TARGET_TYPE_BYTE_PORTAL => drop(self.portals.close(&name)),
            _ => return Err(PgError::new(codes::PROTOCOL_VIOLATION, "invalid CLOSE message subtype")),
        }
        self.wire.send(PgWireBackendMessage::CloseComplete(CloseComplete::new()));
        Ok(())
    }
}

/// A portal that has not begun.
fn portal_of(prepared: Prepared, values: Vec<Option<String>>, formats: Vec<i16>) -> Portal {
    Portal { prepared, values, formats, rows: None, tag: "SELECT", done: false }
}

/// OIDs of the types of a statement's parameters. A type that the client gave is told as it was given: drivers
/// take another one for a mistake, even if values are read alike.
fn parameter_oids(prepared: &Prepared) -> Vec<u32> {
    let given = prepared.given.iter().copied().chain(std::iter::repeat(0));
    let mut oids = Vec::with_capacity(prepared.parameters.len());
    for (kind, given) in prepared.parameters.iter().zip(given) {
        oids.push(if matches!(given, 0 | UNKNOWN_OID) { kind.oid() } else { given });
    }
    oids
}

/// The error for a type of a parameter that Herald does not have.
fn unknown_type(oid: u32) -> PgError {
    PgError::new(codes::UNDEFINED_OBJECT, format!("a parameter has a type that is not known, of OID {oid}"))
        .hint("let the server choose the type, with OID 0, or send the value as text")
}

/// Succeeds if a query's columns are those that the client was told.
fn same_columns(told: Option<&Columns>, found: &Columns) -> PgResult<()> {
    match told {
        Some(told) if !told.is_like(found) => {
            Err(PgError::unsupported("cached plan must not change result type"))
        }
        _ => Ok(()),
    }
}
