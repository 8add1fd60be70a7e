//! Rows of a running statement on their way from the engine to the session.

use arrow::array::RecordBatch;
use arrow::datatypes::Fields;
use tokio::sync::mpsc;

use super::super::errors::PgError;
use super::super::values::rows::Columns;
use crate::query::catalog::SettingChange;

/// Batches that wait until the client takes them.
pub const BATCHES_AHEAD: usize = 2;

/// Rows of a running query.
#[derive(Debug)]
pub struct RunningRows {
    /// Its columns as the engine has them.
    pub fields: Fields,
    /// Its columns as clients see them.
    pub columns: Columns,
    /// Its batches.
    pub batches: mpsc::Receiver<Produced>,
    /// Set for those of a subscription, which have no end.
    pub lasting: bool,
}

impl RunningRows {
    /// Rows that are known already.
    pub fn of_batch(batch: RecordBatch, columns: Columns) -> RunningRows {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let fields = batch.schema_ref().fields().clone();
        // There is room for both.
        let _ = sender.try_send(Produced::Batch(batch));
        let _ = sender.try_send(Produced::End(Vec::new()));
        RunningRows { fields, columns, batches, lasting: false }
    }
}

/// A part of a query's rows.
#[derive(Debug)]
pub enum Produced {
    /// Some rows.
    Batch(RecordBatch),
    /// The failure of the query.
    Failed(PgError),
    /// A word to the client, which fails nothing.
    Notice(PgError),
    /// There are no other rows for now.
    Pause,
    /// The end of the rows, with the settings that the query has changed.
    End(Vec<SettingChange>),
}
