//! Evaluation of expressions over records, of which some may fail.

use arrow::array::{ArrayRef, RecordBatch, new_null_array};

use crate::error::RunError;
use crate::plan::Scalar;

/// The constraint that a row violates, by name, and the message; None while it passes.
pub(super) type Verdict = Option<(Option<String>, String)>;

/// Evaluates over all rows; where that fails, row by row, with NULL and a verdict for each row that fails.
pub(super) fn evaluate_or_reject(
    expr: &Scalar,
    batch: &RecordBatch,
    name: &str,
    verdicts: &mut [Verdict],
) -> Result<ArrayRef, RunError> {
    if let Ok(array) = expr.evaluate(batch) {
        return Ok(array);
    }
    let schema = batch.schema();
    let null = new_null_array(&expr.data_type(&schema)?, 1);
    let mut values = Vec::with_capacity(batch.num_rows());
    for (row, verdict) in verdicts.iter_mut().enumerate() {
        match expr.evaluate(&batch.slice(row, 1)) {
            Ok(value) => values.push(value),
            Err(error) => {
                values.push(null.clone());
                if verdict.is_none() {
                    *verdict = Some((Some(name.to_string()), format!("{expr}: {}", error.strip_backtrace())));
                }
            }
        }
    }
    Ok(expr.concat_values(&schema, &values)?)
}
