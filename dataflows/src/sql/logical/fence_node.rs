//! The plan node of an optimization fence.

use std::collections::HashSet;
use std::fmt;

use datafusion_common::{DFSchemaRef, Result, plan_err};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::{Expr, UserDefinedLogicalNodeCore};

/// Filter (or without a condition, a mere barrier) below which the optimiser pushes no fallible expression.
#[derive(Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct OptimizationFence {
    /// Input.
    pub input: LogicalPlan,
    /// Condition that can fail; None for a barrier.
    pub predicate: Option<Expr>,
    /// Columns over which conditions are not pushed below the fence.
    pub closed: Vec<String>,
}

impl UserDefinedLogicalNodeCore for OptimizationFence {
    fn name(&self) -> &str {
        "Fence"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.predicate.iter().cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.closed.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence")
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> Result<OptimizationFence> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return plan_err!("a fence has one input");
        };
        Ok(OptimizationFence { input, predicate: exprs.pop(), closed: self.closed.clone() })
    }
}
