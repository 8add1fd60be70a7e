//! Internal functions that mark joins as of a time and conditions on now(). None is evaluated.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::mistake::unsupported::Unsupported;

/// Function that marks a join. It is never evaluated.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinMark {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for JoinMark {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is no function to call", self.name)
    }
}

/// Internal functions that mark joins.
pub(crate) fn mark_functions() -> Vec<Arc<ScalarUDF>> {
    vec![join_mark(ASOF), join_mark(LOOKUP)]
}

fn join_mark(name: &'static str) -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::Boolean], Volatility::Immutable);
    Arc::new(ScalarUDF::from(JoinMark { name, signature }))
}

/// Function that marks the match condition of an as-of join.
pub(crate) const ASOF: &str = "herald_asof";

/// Function that marks the condition of a join with the current rows of a table.
pub(crate) const LOOKUP: &str = "herald_lookup";

/// Implementation of the internal function. It is never evaluated.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    signature: Signature,
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        NOW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let mut args = args.to_vec();
        match args.first() {
            Some(DataType::Timestamp(_, zone)) => {
                args[0] = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            }
            Some(DataType::Date32 | DataType::Null) => {
                args[0] = DataType::Timestamp(TimeUnit::Microsecond, None);
            }
            Some(other) => return plan_err!("now() is compared with a time, and this is {other}"),
            None => return Err(Unsupported::NowHere.into()),
        }
        Ok(args)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Unsupported::NowHere.into())
    }
}

/// The internal function that stands for a condition.
pub(crate) fn now_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Now { signature: Signature::user_defined(Volatility::Immutable) }))
}

/// Name of the internal function that stands for a condition.
pub(crate) const NOW: &str = "herald_now";

/// Side argument of a row that is in until its time.
pub(crate) const UNTIL: &str = "until";

/// Side argument of a row that is in since its time.
pub(crate) const SINCE: &str = "since";
