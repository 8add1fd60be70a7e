//! `row_number`, `rank` and `dense_rank` as BIGINT, which they are elsewhere. DataFusion's are unsigned, and a
//! BIGINT beside an unsigned number makes a DECIMAL: `row_number() OVER (...) - 1` would be one.
//!
//! They are functions of the planner alone: the renderer numbers rows itself.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, plan_err};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{PartitionEvaluator, Signature, WindowUDF, WindowUDFImpl};
use datafusion_functions_window::rank::{dense_rank_udwf, rank_udwf};
use datafusion_functions_window::row_number::row_number_udwf;

/// All three.
pub(crate) fn functions() -> Vec<Arc<WindowUDF>> {
    vec![row_number(), signed(rank_udwf()), signed(dense_rank_udwf())]
}

/// `row_number`.
pub(crate) fn row_number() -> Arc<WindowUDF> {
    signed(row_number_udwf())
}

fn signed(like: Arc<WindowUDF>) -> Arc<WindowUDF> {
    Arc::new(WindowUDF::new_from_impl(Signed { like }))
}

/// A rank that is BIGINT.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed {
    like: Arc<WindowUDF>,
}

impl WindowUDFImpl for Signed {
    fn name(&self) -> &str {
        self.like.name()
    }

    fn signature(&self) -> &Signature {
        self.like.signature()
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        plan_err!("{} is not computed by itself", self.like.name())
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Int64, false)))
    }
}
