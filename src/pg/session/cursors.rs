//! Cursors and COPY: rows of a query in parts, and all of them as a file.

use std::time::Instant;

use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::copy_options::CopyOptions;
use super::super::sql::cursors::{Declaration, Fetch, RowCount};
use super::super::sql::statement::Statement;
use super::super::sql::subscription::RowSource;
use super::super::values::copy::{CopyWriter, write_message};
use super::super::wire::gone;
use super::Session;
use super::portals::{Portal, Prepared};
use super::rows::{OpenRows, Patience, Use};
use super::statements::{Given, tag_of_rows};
use super::transaction::Status;

impl Session {
    /// DECLARE.
    ///
    /// # Errors
    /// When there is no transaction, the name is taken, or the query has mistakes.
    pub(super) async fn declare_cursor(
        &mut self,
        declaration: &Declaration,
        values: Vec<Option<String>>,
    ) -> PgResult<()> {
        if self.transaction.status == Status::Idle && !self.transaction.several {
            self.transaction.require("DECLARE CURSOR")?;
        }
        let running = self.start_rows(&declaration.rows, values).await?;
        let formats = vec![i16::from(declaration.binary)];
        let (statement, text) = match &declaration.rows {
            RowSource::Query(query) => (Statement::Query(query.clone(), "SELECT"), query.text.clone()),
            RowSource::Changes(followed) => {
                (Statement::Subscribe(followed.clone()), format!("SUBSCRIBE TO {}", followed.view.name))
            }
        };
        let prepared = Prepared {
            statement: Some(statement),
            text,
            parameters: Vec::new(),
            given: Vec::new(),
            columns: Some(running.columns.clone()),
        };
        let rows = Some(OpenRows::new(running, &formats)?);
        let portal = Portal { prepared, values: Vec::new(), formats, rows, tag: "SELECT", done: false };
        self.portals.insert(&declaration.name, portal)
    }

    /// FETCH, and MOVE, which passes over the rows. Returns the tag.
    ///
    /// # Errors
    /// When there is no such cursor, or its query fails.
    pub(super) async fn fetch(&mut self, fetch: &Fetch, given: &Given) -> PgResult<String> {
        let Fetch { name, count, moves, timeout } = fetch;
        let limit = match *count {
            RowCount::Rows(rows) => rows,
            RowCount::All => usize::MAX,
        };
        let mut portal = self.portals.take(name)?;
        let Some(rows) = portal.rows.as_mut() else {
            self.portals.put_back(name, portal);
            let message = format!("portal \"{name}\" cannot be run");
            return Err(PgError::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        };
        let (purpose, tag) = if *moves { (Use::Skip, "MOVE") } else { (Use::Send, "FETCH") };
        if given.described {
            // The extended protocol has formats of its own for each FETCH.
            rows.set_formats(&given.formats)?;
        } else if !*moves {
            let description = rows.columns().description(rows.forms());
            self.wire.send(PgWireBackendMessage::RowDescription(description));
        }
        if rows.is_lasting() {
            rows.set_patience(Patience::First(timeout.map(|timeout| Instant::now() + timeout)));
        }
        // A cursor whose query fails is gone with its transaction.
        let (fetched, _) = self.use_rows(rows, purpose, limit).await?;
        self.portals.put_back(name, portal);
        Ok(tag_of_rows(tag, fetched))
    }

    /// CLOSE. Returns the tag.
    ///
    /// # Errors
    /// When there is no such cursor.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> PgResult<String> {
        match name {
            Some(name) => {
                self.portals.find(name)?;
                self.portals.close(name);
                Ok("CLOSE CURSOR".to_owned())
            }
            None => {
                self.portals.clear();
                Ok("CLOSE CURSOR ALL".to_owned())
            }
        }
    }

    /// COPY ... TO STDOUT. Returns the tag.
    ///
    /// # Errors
    /// When the query has mistakes or fails.
    pub(super) async fn copy_out(
        &mut self,
        source: &RowSource,
        options: &CopyOptions,
        values: Vec<Option<String>>,
    ) -> PgResult<String> {
        let running = self.start_rows(source, values).await?;
        let columns = running.columns.clone();
        let writer = CopyWriter::new(options.clone(), &columns, self.settings.zone());
        let width = i16::try_from(writer.width()).unwrap_or(i16::MAX);
        let codes = vec![i16::from(writer.code()); writer.width()];
        let begin = CopyOutResponse::new(writer.code(), width, codes);
        self.wire.send(PgWireBackendMessage::CopyOutResponse(begin));
        let mut out = Vec::new();
        let mut names = Vec::new();
        writer.write_names(&mut names, &columns);
        if !names.is_empty() {
            append_message(&mut out, &names)?;
        }
        self.wire.send_bytes(&mut out);
        let mut rows = OpenRows::new(running, &[])?;
        let (count, _) = self.use_rows(&mut rows, Use::Copy(&writer), usize::MAX).await?;
        let mut tail = Vec::new();
        writer.write_tail(&mut tail);
        if !tail.is_empty() {
            append_message(&mut out, &tail)?;
        }
        self.wire.send_bytes(&mut out);
        self.wire.send(PgWireBackendMessage::CopyDone(CopyDone::new()));
        self.wire.flush_if_full().await.map_err(|_| gone())?;
        Ok(tag_of_rows("COPY", count))
    }
}

/// Appends a CopyData message with this content.
fn append_message(out: &mut Vec<u8>, content: &[u8]) -> PgResult<()> {
    write_message(out, |out| {
        out.extend_from_slice(content);
        Ok(())
    })
}
