//! The identity function whose result counts as nullable in planning.
//!
//! DataFusion decides by the nullability of columns whether `x NOT IN (SELECT y ...)` must handle NULLs: an
//! expression over columns that are NOT NULL, such as `nullif(x, 1)`, counts as never NULL. `subquery` wraps
//! `y` in this function, so that the join handles NULLs.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function.
pub(crate) const MAY_BE_NULL: &str = "herald_may_be_null";

/// Returns the function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(MayBeNull { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MayBeNull {
    signature: Signature,
}

impl ScalarUDFImpl for MayBeNull {
    fn name(&self) -> &str {
        MAY_BE_NULL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args.first() {
            Some(of) => Ok(of.clone()),
            None => plan_err!("{MAY_BE_NULL} takes a value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields.first() {
            Some(field) => Ok(Arc::new(field.as_ref().clone().with_nullable(true))),
            None => plan_err!("{MAY_BE_NULL} takes a value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => exec_err!("{MAY_BE_NULL} takes a value"),
        }
    }
}
