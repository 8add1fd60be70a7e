//! A scalar expression: vectorised over a batch, checked, and with a canonical text.
//!
//! Wraps DataFusion's physical expression; evaluation takes a [`RecordBatch`] and yields one array
//! of the batch's length. Integer arithmetic fails on overflow. Fingerprints and
//! `explain` use the text: columns are written by name and position, so two plans with the same text compute
//! the same thing.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::canonical;

/// An expression over the columns of one relation.
#[derive(Clone)]
pub struct Scalar {
    expr: Arc<dyn PhysicalExpr>,
}

impl Scalar {
    /// Wraps a physical expression whose columns are positions in the input.
    pub fn new(expr: Arc<dyn PhysicalExpr>) -> Scalar {
        Scalar { expr }
    }

    /// The column at `index`, called `name` in texts.
    pub fn column(name: &str, index: usize) -> Scalar {
        Scalar { expr: Arc::new(Column::new(name, index)) }
    }

    /// The physical expression.
    pub fn expr(&self) -> &Arc<dyn PhysicalExpr> {
        &self.expr
    }

    /// The position, when the expression is a plain column.
    pub fn as_column(&self) -> Option<usize> {
        self.expr.downcast_ref::<Column>().map(Column::index)
    }

    /// Type over `input`.
    ///
    /// # Errors
    /// When a column does not exist in `input`.
    pub fn data_type(&self, input: &Schema) -> Result<DataType, DataFusionError> {
        self.expr.data_type(input)
    }

    /// Returns true if it can be NULL over `input`.
    ///
    /// # Errors
    /// When a column does not exist in `input`.
    pub fn nullable(&self, input: &Schema) -> Result<bool, DataFusionError> {
        self.expr.nullable(input)
    }

    /// Evaluates over every row of `batch`. Computed values come in canonical form: a row is retracted
    /// by its packed bytes, which have one zero and one NaN.
    ///
    /// # Errors
    /// When any row fails (overflow, division by zero, bad cast).
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        let array = self.expr.evaluate(batch)?.into_array(batch.num_rows())?;
        match self.as_column() {
            Some(_) => Ok(array),
            None => canonical::canonical_values(array),
        }
    }

    /// One array of the values of single rows, for rows of `input` that were evaluated one by one.
    ///
    /// # Errors
    /// When `values` are not of the expression's type.
    pub fn concat_values(&self, input: &Schema, values: &[ArrayRef]) -> Result<ArrayRef, DataFusionError> {
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        if values.is_empty() { Ok(new_empty_array(&self.data_type(input)?)) } else { Ok(concat(&values)?) }
    }

    /// Evaluates a condition; NULL stays NULL.
    ///
    /// # Errors
    /// As [`Scalar::evaluate`], and when the result is not boolean.
    pub fn evaluate_bool(&self, batch: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
        let array = self.evaluate(batch)?;
        array
            .as_any()
            .downcast_ref::<BooleanArray>()
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("{self} is not boolean")))
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)
    }
}
