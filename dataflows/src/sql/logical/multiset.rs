//! INTERSECT ALL and EXCEPT ALL: set operations that count.
//!
//! DataFusion plans them as semi and anti joins, which ask only whether a row is on the other side. Here
//! equal rows are numbered on both sides, and the number is one more column that must be equal: the
//! third copy on the left has a partner when the right has three. Without ALL the left side is DISTINCT
//! already, and nothing is to be numbered.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, JoinType, NullEquality, Result};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::logical_plan::{Join, LogicalPlan, LogicalPlanBuilder};
use datafusion_expr::{Expr, ExprFunctionExt, WindowFunctionDefinition};

/// The column of numbers.
const NUMBER: &str = "herald_number";

/// `plan`, as the planner made it, with equal rows numbered where their count matters.
///
/// # Errors
/// When the plan does not fit together.
pub(crate) fn number(plan: LogicalPlan) -> Result<LogicalPlan> {
    let numbered = plan.transform_up(|node| match &node {
        LogicalPlan::Join(join) if counts(join) => rewritten(join).map(Transformed::yes),
        _ => Ok(Transformed::no(node)),
    })?;
    match numbered.transformed {
        true => Ok(numbered.data.transform_up(|n| n.recompute_schema().map(Transformed::yes))?.data),
        false => Ok(numbered.data),
    }
}

/// Whether a join is a set operation with ALL: no other join holds NULLs equal before it is optimised.
fn counts(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn rewritten(join: &Join) -> Result<LogicalPlan> {
    let (left, mut left_keys) = with_numbers(&join.left)?;
    let (right, mut right_keys) = with_numbers(&join.right)?;
    let own: Vec<Expr> = left_keys.iter().cloned().map(Expr::Column).collect();
    left_keys.push(Column::from_name(NUMBER));
    right_keys.push(Column::from_name(NUMBER));
    LogicalPlanBuilder::from(left)
        .join_detailed(right, join.join_type, (left_keys, right_keys), None, NullEquality::NullEqualsNull)?
        .project(own)?
        .build()
}

/// A side with its rows numbered, and its own columns.
fn with_numbers(side: &Arc<LogicalPlan>) -> Result<(LogicalPlan, Vec<Column>)> {
    let columns = side.schema().columns();
    let function = WindowFunctionDefinition::WindowUDF(crate::functions::windows::ranks::row_number());
    let number = Expr::from(WindowFunction::new(function, vec![]))
        .partition_by(columns.iter().cloned().map(Expr::Column).collect())
        .build()?
        .alias(NUMBER);
    let plan = LogicalPlanBuilder::from(side.as_ref().clone()).window([number])?.build()?;
    Ok((plan, columns))
}
