//! Rewriting of every expression of a plan that keeps the names of columns.
//!
//! A plan refers to columns by name, and an expression without an alias is named by its text. A rewrite
//! therefore restores the names, or the nodes above would no longer find their columns. Inputs are rewritten
//! before the nodes that read them, so that each rewrite sees the types that the one below gave.

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::Expr;
use datafusion_expr::expr::GroupingSet;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::utils::merge_schema;

/// Rewrite of one expression over the columns of a schema; its parts have been rewritten already.
pub(crate) type ExprRewrite<'a> = dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>> + 'a;

/// Applies `rewrite` to every expression of `plan`, subqueries included, parts before the whole.
///
/// # Errors
/// If `rewrite` fails, or the changed plan is inconsistent.
pub(crate) fn expressions(plan: LogicalPlan, rewrite: &ExprRewrite<'_>) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(|node| node_expressions(node, rewrite))
}

/// Applies `rewrite` to the expressions of one node.
///
/// # Errors
/// As [`expressions`].
pub(crate) fn node_expressions(
    node: LogicalPlan,
    rewrite: &ExprRewrite<'_>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = input_schema(&node)?;
    let names = NamePreserver::new(&node);
    let renamed = |expr: Expr| {
        let (saved, before) = (names.save(&expr), expr.clone());
        let after = saved.restore(expr.transform_up(|e| rewrite(e, &schema))?.data);
        // A rewrite may change an expression and another change it back: compare the results.
        let changed = after != before;
        Ok(Transformed::new_transformed(after, changed))
    };
    let done = node.map_expressions(|expr| match expr {
        Expr::GroupingSet(set) => grouping_set(set, &renamed),
        other => renamed(other),
    })?;
    done.map_data(LogicalPlan::recompute_schema)
}

/// Columns that expressions of `node` may read: those of its inputs, or of the table it scans.
fn input_schema(node: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = node {
        let source: &Schema = &scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), source)?);
    }
    Ok(schema)
}

/// Rewrites the members of grouping sets, which have names; the sets themselves have none.
fn grouping_set(
    set: GroupingSet,
    renamed: &dyn Fn(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<Expr>> {
    let mut changed = false;
    let mut each = |list: Vec<Expr>| -> Result<Vec<Expr>> {
        list.into_iter()
            .map(|e| {
                let done = renamed(e)?;
                changed |= done.transformed;
                Ok(done.data)
            })
            .collect()
    };
    let set = match set {
        GroupingSet::Rollup(list) => GroupingSet::Rollup(each(list)?),
        GroupingSet::Cube(list) => GroupingSet::Cube(each(list)?),
        GroupingSet::GroupingSets(lists) => {
            GroupingSet::GroupingSets(lists.into_iter().map(each).collect::<Result<_>>()?)
        }
    };
    Ok(Transformed::new_transformed(Expr::GroupingSet(set), changed))
}
