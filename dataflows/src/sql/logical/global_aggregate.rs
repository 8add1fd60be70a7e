//! Totals (aggregates without GROUP BY, or by grouping sets), which no condition may pass on its way down.
//!
//! A total over no rows is a row, so `SELECT count(*) FROM t HAVING FALSE` is not a total over no rows: it
//! is no row. The optimiser moves a condition without columns below a total all the same, whether it stands
//! so in the query or simplifies to it. Each total is therefore a plan of its own while what is above it is
//! optimised.

use std::fmt;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchemaRef, Result, plan_err};
use datafusion_expr::logical_plan::{Extension, LogicalPlan};
use datafusion_expr::{Expr, UserDefinedLogicalNodeCore};

/// A total that stands for itself: to the optimiser it has no inputs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Hash)]
struct Total(LogicalPlan);

/// Optimises every total by itself, and then what is above them all.
///
/// # Errors
/// When `optimise` fails, or the plan does not fit together.
pub(crate) fn apart(
    plan: LogicalPlan,
    optimise: &dyn Fn(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    let above = plan.map_children(|input| {
        input.transform_down(|node| {
            if !is_total(&node) {
                return Ok(Transformed::no(node));
            }
            let node = std::sync::Arc::new(Total(apart(node, optimise)?));
            let leaf = LogicalPlan::Extension(Extension { node });
            Ok(Transformed::new(leaf, true, TreeNodeRecursion::Jump))
        })
    })?;
    let whole = optimise(above.data)?.transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<Total>() {
            Some(total) => Ok(Transformed::yes(total.0.clone())),
            None => Ok(Transformed::no(node)),
        }
    })?;
    Ok(whole.data)
}

fn is_total(node: &LogicalPlan) -> bool {
    // One of the sets of a GROUPING SETS may be the empty one.
    let set = |e: &Expr| matches!(e, Expr::GroupingSet(_));
    matches!(node, LogicalPlan::Aggregate(a) if a.group_expr.is_empty() || a.group_expr.iter().any(set))
}

impl UserDefinedLogicalNodeCore for Total {
    fn name(&self) -> &str {
        "Total"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.0.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Total")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Total> {
        if !exprs.is_empty() || !inputs.is_empty() {
            return plan_err!("a total has no inputs");
        }
        Ok(Total(self.0.clone()))
    }
}
