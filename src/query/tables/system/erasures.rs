//! The system table `herald.erasures`: receipts of erased persons.

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::scalar::ScalarValue;
use schemas::timestamptz;

use super::{schema_of, text, time_ms, time_us, to_batch, whole};
use crate::query::budget::TableBudget;
use crate::query::tables::epoch::EpochReads;

/// The meaning of the table.
pub(super) const ABOUT: &str = "Receipts of erased persons, by the digest of each. `epoch` and `committed_at` are those of the \
     commit that took the person out of all views and upsert sinks; `status` is `rewriting` until no file of the state \
     holds the identity any more, and then `finished`. `tables` tells the rows that lost an element and stay, and those that \
     are gone; `dead_letters` counts those that lost their bytes, and `errors` the rows of `herald.errors` that were removed. \
     `left_behind` names the places that may hold the identity and are not the state's.";

/// The columns.
pub(super) fn table_schema() -> SchemaRef {
    let texts = || DataType::new_list(DataType::Utf8, true);
    schema_of(vec![
        Field::new("digest", DataType::Utf8, false),
        Field::new("status", DataType::Utf8, false),
        Field::new("ordered_in", DataType::Utf8, false),
        Field::new("orders", DataType::Int64, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("requested_at", timestamptz(), true),
        Field::new("committed_at", timestamptz(), true),
        Field::new("finished_at", timestamptz(), true),
        Field::new("tables", texts(), false),
        Field::new("dead_letters", DataType::Int64, false),
        Field::new("errors", DataType::Int64, false),
        Field::new("left_behind", texts(), false),
    ])
}

/// The rows.
pub(super) fn read_all(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for erasure in epoch.erasures()? {
        let mut tables = Vec::with_capacity(erasure.tables.len());
        for (table, taken) in &erasure.tables {
            tables.push(format!("{table}: {} rewritten, {} removed", taken.rewritten, taken.removed));
        }
        let status = if erasure.finished_ms.is_some() { "finished" } else { "rewriting" };
        rows.push(vec![
            text(Some(&erasure.digest.to_string())),
            text(Some(status)),
            text(Some(&erasure.ordered_in)),
            whole(Some(erasure.orders)),
            whole(Some(erasure.epoch)),
            time_us(erasure.requested_us),
            time_ms(erasure.committed_ms),
            time_ms(erasure.finished_ms.unwrap_or(0)),
            texts(&tables),
            whole(Some(erasure.dead_letters)),
            whole(Some(erasure.errors)),
            texts(&erasure.left),
        ]);
    }
    to_batch(table_schema(), &rows, budget, "herald.erasures")
}

/// A list of texts.
fn texts(texts: &[String]) -> ScalarValue {
    let texts: Vec<ScalarValue> = texts.iter().map(|one| text(Some(one))).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8))
}
