//! Rewriting of every expression of a plan, with the names of its columns kept.
//!
//! A plan refers to columns by name, and an expression without an alias is named by its text. Whoever
//! changes expressions therefore restores the names, or what stands above no longer finds its columns.
//! Inputs come before what reads them, so that each rewriting sees the types that the one below gave.

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::Expr;
use datafusion_expr::expr::GroupingSet;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::utils::merge_schema;

/// Rewrites one expression, its parts done, over the columns of a schema.
pub(crate) type Rewrite<'a> = dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>> + 'a;

/// Applies `rewrite` to every expression of `plan`, subqueries included, parts before the whole.
///
/// # Errors
/// When `rewrite` fails, or the plan does not fit together afterwards.
pub(crate) fn expressions(plan: LogicalPlan, rewrite: &Rewrite<'_>) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(|node| node_expressions(node, rewrite))
}

/// Applies `rewrite` to the expressions of one node.
///
/// # Errors
/// As [`expressions`].
pub(crate) fn node_expressions(node: LogicalPlan, rewrite: &Rewrite<'_>) -> Result<Transformed<LogicalPlan>> {
    let schema = below(&node)?;
    let names = NamePreserver::new(&node);
    let renamed = |expr: Expr| {
        let (saved, before) = (names.save(&expr), expr.clone());
        let after = saved.restore(expr.transform_up(|e| rewrite(e, &schema))?.data);
        // A rewriting may do and undo: what counts is the outcome.
        let changed = after != before;
        Ok(Transformed::new_transformed(after, changed))
    };
    let done = node.map_expressions(|expr| match expr {
        Expr::GroupingSet(set) => grouping_set(set, &renamed),
        other => renamed(other),
    })?;
    done.map_data(LogicalPlan::recompute_schema)
}

/// The columns that expressions of `node` may read.
fn below(node: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = node {
        let source: &Schema = &scan.source.schema();
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), source)?);
    }
    Ok(schema)
}

/// Grouping sets have no name; their members have.
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
