//! Totals (aggregates without GROUP BY, or by grouping sets), below which no condition may be pushed.
//!
//! A total over zero rows is still one row, so pushing `HAVING FALSE` of `SELECT count(*) FROM t HAVING
//! FALSE` below the total would give one row instead of none. The optimiser pushes a condition without
//! columns down all the same, be it written so or simplified to it. Each total is therefore optimised as a
//! plan of its own and is a leaf while the nodes above it are optimised.

use std::fmt;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchemaRef, Result, plan_err};
use datafusion_expr::logical_plan::{Extension, LogicalPlan};
use datafusion_expr::{Expr, UserDefinedLogicalNodeCore};

/// Leaf that holds a total: the optimiser sees a node without inputs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Hash)]
struct Total(LogicalPlan);

/// Optimises every total as a plan of its own, and then the nodes above them.
///
/// # Errors
/// If `optimise` fails, or the changed plan is inconsistent.
pub(crate) fn optimise_apart(
    plan: LogicalPlan,
    optimise: &dyn Fn(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    // The root is not replaced, even if it is a total itself: this call optimises it.
    let above = plan.map_children(|input| hide_totals(input, optimise))?;
    Ok(optimise(above.data)?.transform_up(show_total)?.data)
}

/// Replaces every total that is below no other by a leaf with the optimised total.
fn hide_totals(
    plan: LogicalPlan,
    optimise: &dyn Fn(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down(|node| {
        if !is_total(&node) {
            return Ok(Transformed::no(node));
        }
        let node = std::sync::Arc::new(Total(optimise_apart(node, optimise)?));
        let leaf = LogicalPlan::Extension(Extension { node });
        Ok(Transformed::new(leaf, true, TreeNodeRecursion::Jump))
    })
}

/// Replaces a leaf by the total that it holds.
fn show_total(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
    match extension.node.as_any().downcast_ref::<Total>() {
        Some(total) => Ok(Transformed::yes(total.0.clone())),
        None => Ok(Transformed::no(node)),
    }
}

/// Tells whether a node is an aggregate that has a row over no rows.
fn is_total(node: &LogicalPlan) -> bool {
    // One of the sets of a GROUPING SETS may be the empty one.
    matches!(node, LogicalPlan::Aggregate(a) if a.group_expr.is_empty() || groups_by_sets(&a.group_expr))
}

/// Tells whether a GROUP BY has GROUPING SETS, ROLLUP or CUBE.
pub(super) fn groups_by_sets(group_by: &[Expr]) -> bool {
    group_by.iter().any(|e| matches!(e, Expr::GroupingSet(_)))
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
