//! Rows of a running query on their way to the client: batch by batch, each written straight into the output.

use std::time::Instant;

use arrow::array::ArrayRef;

use super::super::engine::running::{Produced, RunningRows};
use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::zone::Zone;
use super::super::values::copy::{CopyWriter, write_message};
use super::super::values::rows::{Columns, Form, held_columns, views, write_rows};
use super::super::wire::{ENOUGH_BYTES, Interrupt};
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
    patience: Patience,
}

/// Patience with rows that are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// All that are wanted are waited for.
    All,
    /// The first of them are waited for, until a time if there is one; then those that are there.
    First(Option<Instant>),
}

impl Patience {
    /// The earlier one of a time and the end of the patience.
    fn bound(self, until: Option<Instant>) -> Option<Instant> {
        match self {
            Patience::First(Some(end)) => Some(until.map_or(end, |until| until.min(end))),
            Patience::First(None) | Patience::All => until,
        }
    }

    /// Tells whether it has ended, and not the time of the statement.
    fn is_over(self, until: Option<Instant>) -> bool {
        let Patience::First(Some(end)) = self else { return false };
        end <= Instant::now() && until.is_none_or(|until| end <= until)
    }
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
            patience: Patience::All,
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

    /// Tells whether they are those of a subscription, which have no end.
    pub fn is_lasting(&self) -> bool {
        self.running.lasting
    }

    /// Changes the patience with rows that are to come.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
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
            Some(Produced::Notice(_) | Produced::Pause) => Ok(()),
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
        if rows.is_lasting() {
            self.lift_limit();
        }
        while count < limit {
            if rows.at == rows.length {
                if rows.ended {
                    return Ok((count, true));
                }
                if !self.await_rows(rows, count).await? {
                    return Ok((count, false));
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
            if let Err(interrupt) = self.wire.flush_running(self.until, ENOUGH_BYTES).await {
                return Err(self.stopped_by(interrupt).await);
            }
            if let Some(interrupt) = self.wire.interrupted() {
                return Err(self.stopped_by(interrupt).await);
            }
        }
        Ok((count, false))
    }

    /// Waits for the next batch of rows, or their end; false if so many rows are all that a FETCH gets.
    async fn await_rows(&mut self, rows: &mut OpenRows, count: usize) -> PgResult<bool> {
        let patience = rows.patience;
        if rows.is_lasting() && patience == Patience::All && rows.running.batches.is_empty() {
            // Rows must not wait for those of a later epoch.
            if let Err(interrupt) = self.wire.flush_running(self.until, 1).await {
                return Err(self.stopped_by(interrupt).await);
            }
        }
        let until = patience.bound(self.until);
        let produced = match self.wire.wait(rows.running.batches.recv(), until).await {
            Ok(produced) => produced,
            Err(Interrupt::TimedOut) if patience.is_over(self.until) => return Ok(false),
            Err(interrupt) => return Err(self.stopped_by(interrupt).await),
        };
        match produced {
            Some(Produced::Pause) => return Ok(count == 0 || patience == Patience::All),
            Some(Produced::Notice(notice)) => self.notice(&notice),
            produced => rows.take(produced)?,
        }
        for change in rows.changes.drain(..) {
            self.set(&change.name, Some(&change.value), change.is_local)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fetch_waits_until_its_time_or_that_of_the_statement() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(5), now + Duration::from_secs(9));
        assert_eq!(Patience::All.bound(Some(soon)), Some(soon));
        assert_eq!(Patience::First(None).bound(None), None);
        assert_eq!(Patience::First(Some(late)).bound(Some(soon)), Some(soon));
        assert_eq!(Patience::First(Some(soon)).bound(Some(late)), Some(soon));
        assert!(Patience::First(Some(now)).is_over(None));
        assert!(!Patience::First(Some(soon)).is_over(None), "it has not ended");
        let before = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        assert!(before == now || !Patience::First(Some(now)).is_over(Some(before)), "the statement has");
        assert!(!Patience::All.is_over(Some(before)) && !Patience::First(None).is_over(Some(before)));
    }
}
