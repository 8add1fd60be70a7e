//! Rows that a running query makes, on their way into its channel.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, collect};
use datafusion::prelude::DataFrame;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::running::Produced;
use crate::pg::errors::{PgError, PgResult};
use crate::query::Spill;
use crate::query::catalog::Catalogue;
use crate::query::explain;

/// Facts on which the end of a query's rows depends.
pub(super) struct Ending {
    /// Place of its files.
    pub spill: Option<Spill>,
    /// Has the settings that the query changes.
    pub catalogue: Option<Catalogue>,
}

/// Rows of a query as they come, or all of them.
pub(super) enum Produce {
    /// Rows as they come.
    Stream(SendableRecordBatchStream),
    /// Rows that are known.
    Batches(Vec<RecordBatch>),
    /// The figures of a plan, which runs for them alone.
    Measured(Arc<dyn ExecutionPlan>, Arc<TaskContext>),
    /// All rows of a statement; true for those of EXPLAIN.
    Collected(Box<DataFrame>, bool),
}

/// Sends the rows of a query, and their end.
pub(super) async fn send_batches(rows: Produce, sender: mpsc::Sender<Produced>, ending: Ending) {
    match rows {
        Produce::Stream(mut stream) => {
            while let Some(batch) = stream.next().await {
                let produced = match batch {
                    Ok(batch) => Produced::Batch(batch),
                    Err(error) => Produced::Failed(PgError::of_running(error, ending.spill.as_ref())),
                };
                let failed = matches!(produced, Produced::Failed(_));
                if sender.send(produced).await.is_err() || failed {
                    return;
                }
            }
        }
        rows => {
            let batches = match whole_rows(rows, ending.spill.as_ref()).await {
                Ok(batches) => batches,
                Err(error) => return drop(sender.send(Produced::Failed(error)).await),
            };
            for batch in batches {
                if sender.send(Produced::Batch(batch)).await.is_err() {
                    return;
                }
            }
        }
    }
    let changes = ending.catalogue.map(|catalogue| catalogue.take_changes()).unwrap_or_default();
    let _ = sender.send(Produced::End(changes)).await;
}

/// Rows that are known as a whole only.
async fn whole_rows(rows: Produce, spill: Option<&Spill>) -> PgResult<Vec<RecordBatch>> {
    match rows {
        Produce::Stream(_) => Ok(Vec::new()),
        Produce::Batches(batches) => Ok(batches),
        Produce::Measured(plan, context) => {
            let ran = collect(Arc::clone(&plan), context).await;
            ran.map_err(|error| PgError::of_running(error, spill))?;
            let figures = explain::measured_rows(plan.as_ref());
            figures.map(|batch| vec![batch]).map_err(|error| PgError::of(&error))
        }
        Produce::Collected(frame, explains) => {
            let batches = frame.collect().await.map_err(|error| PgError::of_running(error, spill))?;
            if !explains {
                return Ok(batches);
            }
            let spelt: Result<Vec<RecordBatch>> = batches.iter().map(explain::spell_plan).collect();
            spelt.map_err(|error| PgError::of(&error))
        }
    }
}

/// A plan whose joins let the thread go now and then. Scans do so by themselves, but a join can make much of
/// little: a filter above it that no row passes would keep the thread, and the query could not be stopped.
pub(super) fn yielding(plan: Arc<dyn ExecutionPlan>) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        let node: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
        Ok(Transformed::yes(node))
    });
    wrapped.map(|done| done.data)
}
