//! Canonical form of computed values inside an expression.
//!
//! A computation may give `-0.0`, or a NaN with its sign bit set, which Arrow compares as a value of its own:
//! below every number, and unequal to another NaN. [`Canonical`] wraps every subexpression that computes a
//! DOUBLE or REAL for another expression, so that comparisons, lists and functions see one zero and one NaN,
//! which is the greatest value; and every sum of a time and an INTERVAL, which has to be in the range of
//! times. It has no text of its own: it prints as the expression it wraps.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DataFusionError, Result, exec_err, plan_err};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};

use crate::functions::time::FIRST_US;

/// An expression whose values are brought into canonical form.
#[derive(Debug, Eq)]
pub struct Canonical {
    of: Arc<dyn PhysicalExpr>,
}

// Derived, it would move the expression: see rust-lang/rust#78808.
impl PartialEq for Canonical {
    fn eq(&self, other: &Canonical) -> bool {
        self.of.eq(&other.of)
    }
}

impl Hash for Canonical {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.hash(state);
    }
}

/// Wraps every subexpression of `expr` that computes a float or a time. The value of `expr` itself stays as
/// it is: its reader brings it into canonical form.
///
/// # Errors
/// When an expression does not fit `input`.
pub fn with_canonical_inputs(expr: Arc<dyn PhysicalExpr>, input: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(expr.transform_up(|e| with_canonical_children(e, input))?.data)
}

/// Wraps every operand of `expr` that computes a float or a time.
fn with_canonical_children(
    expr: Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let mut changed = false;
    let mut children: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for child in expr.children() {
        let computed = !child.is::<Column>() && !child.is::<Literal>() && !child.is::<Canonical>();
        let data_type = child.data_type(input)?;
        if computed && (data_type.is_floating() || (is_time(&data_type) && child.is::<BinaryExpr>())) {
            changed = true;
            children.push(Arc::new(Canonical { of: Arc::clone(child) }));
        } else {
            children.push(Arc::clone(child));
        }
    }
    if changed { Ok(Transformed::yes(expr.with_new_children(children)?)) } else { Ok(Transformed::no(expr)) }
}

/// Brings computed values into canonical form.
///
/// # Errors
/// When a sum of a TIMESTAMP and an INTERVAL is out of range.
pub fn canonical_values(array: ArrayRef) -> Result<ArrayRef> {
    if is_time(array.data_type()) {
        let times = array.as_primitive::<TimestampMicrosecondType>();
        if arrow::compute::min(times).is_some_and(|least| least < FIRST_US) {
            return exec_err!("timestamp out of range");
        }
        return Ok(array);
    }
    schemas::canonical(array).map_err(|e| DataFusionError::External(Box::new(e)))
}

/// Returns true for TIMESTAMP and TIMESTAMPTZ.
pub(crate) fn is_time(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// The expression without the wrappers around it.
pub fn strip_canonical(expr: &Arc<dyn PhysicalExpr>) -> &Arc<dyn PhysicalExpr> {
    match expr.downcast_ref::<Canonical>() {
        Some(canonical) => strip_canonical(&canonical.of),
        None => expr,
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.of)
    }
}

impl PhysicalExpr for Canonical {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.of.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.of.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.of.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.of.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(canonical_values(array)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.of]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match <[Arc<dyn PhysicalExpr>; 1]>::try_from(children) {
            Ok([of]) => Ok(Arc::new(Canonical { of })),
            Err(_) => plan_err!("a value has one expression"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.fmt_sql(f)
    }
}
