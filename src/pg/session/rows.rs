//! Rows of a running query on their way to the client: batch by batch, each written straight into the output.

use arrow::array::ArrayRef;

use super::super::engine::{Produced, RunningRows};
use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::zone::Zone;
use super::super::values::copy::{CopyWriter, write_message};
use super::super::values::rows::{Columns, Form, held_columns, views, write_rows};
use super::super::wire::ENOUGH_BYTES;
use super::Session;
use crate::query::catalog::SettingChange;

/// A query that runs, and the batch whose rows are sent next.
#[derive(Debug)]
pub struct OpenRows {
    running: RunningRows,
    forms: Vec<Form>,
    batch: Vec<ArrayRef>,
    /// Rows of the batch.
    length: usize,
    /// The next row of the batch.
    at: usize,
    ended: bool,
    /// Settings that the query has changed, at its end.
    changes: Vec<SettingChange>,
}

impl OpenRows {
    /// The rows of a query in the formats that the client wants.
    ///
    /// # Errors
    /// When the formats do not fit the columns.
    pub fn new(running: RunningRows, formats: &[i16]) -> PgResult<OpenRows> {
        let forms = running.columns.forms(formats)?;
        Ok(OpenRows {
            running,
            forms,
            batch: Vec::new(),
            length: 0,
            at: 0,
            ended: false,
            changes: Vec::new(),
        })
    }

    /// Its columns.
    pub fn columns(&self) -> &Columns {
        &self.running.columns
    }

    /// The forms of its columns.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Changes the formats in which the rows that follow are sent.
    ///
    /// # Errors
    /// When the formats do not fit the columns.
    pub fn set_formats(&mut self, formats: &[i16]) -> PgResult<()> {
        self.forms = self.running.columns.forms(formats)?;
        Ok(())
    }

    /// Takes a batch, or the end.
    fn take(&mut self, produced: Option<Produced>) -> PgResult<()> {
        match produced {
            Some(Produced::Batch(batch)) => {
                if batch.num_columns() != self.forms.len() {
                    let message = "the rows of the query do not fit its columns";
                    return Err(PgError::new(codes::INTERNAL_ERROR, message));
                }
                self.batch = held_columns(&batch, &self.running.fields)?;
                (self.length, self.at) = (batch.num_rows(), 0);
                Ok(())
            }
            Some(Produced::End(changes)) => {
                self.ended = true;
                self.changes = changes;
                Ok(())
            }
            Some(Produced::Failed(error)) => Err(error),
            None => Err(PgError::new(codes::INTERNAL_ERROR, "the query failed unexpectedly")),
        }
    }

    /// Writes rows of the batch, at most `limit` of them and about as many bytes as are sent at once. Returns
    /// their number.
    fn write(&mut self, out: &mut Vec<u8>, zone: Zone, limit: usize) -> PgResult<usize> {
        let views = views(&self.batch)?;
        let end = self.length.min(self.at.saturating_add(limit));
        let next = write_rows(out, (&views, &self.forms), zone, self.at..end, ENOUGH_BYTES)?;
        let written = next - self.at;
        self.at = next;
        Ok(written)
    }

    /// Writes all rows of the batch for COPY.
    fn copy(&mut self, out: &mut Vec<u8>, writer: &CopyWriter) -> PgResult<usize> {
        let views = views(&self.batch)?;
        let begin = self.at;
        while self.at < self.length && out.len() < ENOUGH_BYTES {
            let row = self.at;
            write_message(out, |out| writer.write_row(out, &views, row))?;
            self.at += 1;
        }
        Ok(self.at - begin)
    }

    /// Passes over rows of the batch. Returns their number.
    fn pass_over(&mut self, limit: usize) -> usize {
        let passed = (self.length - self.at).min(limit);
        self.at += passed;
        passed
    }
}

/// Use that is made of rows.
#[derive(Clone, Copy)]
pub enum Use<'w> {
    /// They are sent.
    Send,
    /// They are copied.
    Copy(&'w CopyWriter),
    /// They are passed over.
    Skip,
}

impl Session {
    /// Sends, copies or passes over at most `limit` rows. Returns their number, and true if there are no
    /// more.
    ///
    /// # Errors
    /// The failure of the query, or the reason for which it was stopped.
    pub(super) async fn use_rows(
        &mut self,
        rows: &mut OpenRows,
        purpose: Use<'_>,
        limit: usize,
    ) -> PgResult<(usize, bool)> {
        let zone = self.settings.zone();
        let mut out = Vec::new();
        let mut count = 0;
        while count < limit {
            if rows.at == rows.length {
                if rows.ended {
                    return Ok((count, true));
                }
                let produced = match self.wire.wait(rows.running.batches.recv(), self.until).await {
                    Ok(produced) => produced,
                    Err(interrupt) => return Err(self.stopped_by(interrupt).await),
                };
                rows.take(produced)?;
                for change in rows.changes.drain(..) {
                    self.set(&change.name, Some(&change.value), change.is_local)?;
                }
                continue;
            }
            let written = match purpose {
                Use::Send => rows.write(&mut out, zone, limit - count),
                Use::Copy(writer) => rows.copy(&mut out, writer),
                Use::Skip => Ok(rows.pass_over(limit - count)),
            };
            // Rows before one that fails are sent, as PostgreSQL sends them.
            self.wire.send_bytes(&mut out);
            count += written?;
            if let Err(interrupt) = self.wire.flush_running(self.until).await {
                return Err(self.stopped_by(interrupt).await);
            }
            if let Some(interrupt) = self.wire.interrupted() {
                return Err(self.stopped_by(interrupt).await);
            }
        }
        Ok((count, false))
    }
}
