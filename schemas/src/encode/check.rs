//! Checks of a relation's columns before they are encoded.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use crate::error::SchemaError;

/// Refuses batches whose column types differ from those of the encoder.
pub(crate) fn check_types(batch: &RecordBatch, types: &[DataType]) -> Result<(), SchemaError> {
    let same = batch.num_columns() == types.len()
        && batch.columns().iter().zip(types).all(|(c, t)| c.data_type().equals_datatype(t));
    if same {
        return Ok(());
    }
    let found: Vec<String> = batch.columns().iter().map(|c| c.data_type().to_string()).collect();
    let wanted: Vec<String> = types.iter().map(ToString::to_string).collect();
    Err(SchemaError::Mismatch(format!("({}) for ({})", found.join(", "), wanted.join(", "))))
}
