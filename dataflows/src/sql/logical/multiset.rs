//! INTERSECT ALL and EXCEPT ALL, which count equal rows.
//!
//! DataFusion plans them as semi and anti joins, which test only whether the other side has the row. Here
//! equal rows are numbered on both sides, and the number is one more join key: the third copy on the left
//! matches if the right has three. Without ALL the left side is DISTINCT already and needs no numbers.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, JoinType, NullEquality, Result};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::logical_plan::{Join, LogicalPlan, LogicalPlanBuilder};
use datafusion_expr::{Expr, ExprFunctionExt, WindowFunctionDefinition};

use super::rewrite::recompute_schemas;

/// Name of the column of numbers.
const NUMBER: &str = "herald_number";

/// Numbers equal rows below every set operation with ALL. `plan` must be as the planner made it.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn number_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let numbered = plan.transform_up(|node| match &node {
        LogicalPlan::Join(join) if counts_rows(join) => join_numbered(join).map(Transformed::yes),
        _ => Ok(Transformed::no(node)),
    })?;
    recompute_schemas(numbered)
}

/// Tells whether a join is a set operation with ALL: before optimisation no other semi or anti join has NULLs
/// equal.
fn counts_rows(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

/// The join with the row number as one more key, and its own columns as result.
fn join_numbered(join: &Join) -> Result<LogicalPlan> {
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

/// A side with equal rows numbered, and its columns without the number.
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
