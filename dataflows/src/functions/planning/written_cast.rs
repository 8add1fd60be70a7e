//! The placeholder for a written cast until its types are known.
//!
//! DataFusion names `CAST(n AS DOUBLE)` after `n` alone, so that `sum(n)` and `sum(CAST(n AS DOUBLE))` are
//! two columns of one name, and moves casts from one side of a comparison to the other, which changes the
//! result where the cast rounds. `sugar` therefore writes `herald_cast(n, CAST(NULL AS DOUBLE), 'DOUBLE')`,
//! and `meaning` replaces it by the conversion. The placeholder is never evaluated.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the placeholder function.
pub(crate) const CAST: &str = "herald_cast";

/// Returns the placeholder function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(WrittenCast { signature: Signature::any(3, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WrittenCast {
    signature: Signature,
}

impl ScalarUDFImpl for WrittenCast {
    fn name(&self) -> &str {
        CAST
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args.get(1) {
            Some(target) => Ok(target.clone()),
            None => plan_err!("a cast has a type"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let (Some(value), Some(target)) = (args.arg_fields.first(), args.arg_fields.get(1)) else {
            return plan_err!("a cast has a value and a type");
        };
        let field = target.as_ref().clone().with_name(self.name()).with_nullable(value.is_nullable());
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{CAST} is no function to call")
    }
}
