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

/// Rewrite of one expression, whose parts have been rewritten already.
pub(crate) type PartRewrite<'a> = dyn Fn(Expr) -> Result<Transformed<Expr>> + 'a;

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
    let named = NamedRewrite { names: NamePreserver::new(&node), schema, rewrite };
    let done = node.map_expressions(|expr| match expr {
        Expr::GroupingSet(set) => named.rewrite_set(set),
        other => named.rewrite_expression(other),
    })?;
    done.map_data(LogicalPlan::recompute_schema)
}

/// Applies `change` to every part of every expression of `plan`, subqueries included, parts before the whole.
/// Names and schemas are left as they come out.
///
/// # Errors
/// If `change` fails.
pub(crate) fn plan_parts(plan: LogicalPlan, change: &PartRewrite<'_>) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|node| node_parts(node, change))?.data)
}

/// Applies `change` to every part of the expressions of one node.
///
/// # Errors
/// As [`plan_parts`].
pub(crate) fn node_parts(node: LogicalPlan, change: &PartRewrite<'_>) -> Result<Transformed<LogicalPlan>> {
    node.map_expressions(|expr| expr.transform_up(change))
}

/// The plan of a rewrite, with its schemas recomputed if it changed.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn recompute_schemas(done: Transformed<LogicalPlan>) -> Result<LogicalPlan> {
    if done.transformed { Ok(done.data.transform_up(recompute_schema)?.data) } else { Ok(done.data) }
}

/// The plan of a rewrite, with its schemas and those of its subqueries recomputed if it changed.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn recompute_all_schemas(done: Transformed<LogicalPlan>) -> Result<LogicalPlan> {
    if done.transformed {
        Ok(done.data.transform_up_with_subqueries(recompute_schema)?.data)
    } else {
        Ok(done.data)
    }
}

/// Recomputes the schema of one node, whose inputs have theirs.
///
/// # Errors
/// If the node is inconsistent.
pub(crate) fn recompute_schema(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    node.recompute_schema().map(Transformed::yes)
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

/// A rewrite of the expressions of one node that restores their names.
struct NamedRewrite<'a> {
    names: NamePreserver,
    /// Columns that the expressions may read.
    schema: DFSchema,
    rewrite: &'a ExprRewrite<'a>,
}

impl NamedRewrite<'_> {
    /// Rewrites one expression and its parts.
    fn rewrite_expression(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let (saved, before) = (self.names.save(&expr), expr.clone());
        let after = saved.restore(expr.transform_up(|e| (self.rewrite)(e, &self.schema))?.data);
        // A rewrite may change an expression and another change it back: compare the results.
        let changed = after != before;
        Ok(Transformed::new_transformed(after, changed))
    }

    /// Rewrites the members of grouping sets, which have names; the sets themselves have none.
    fn rewrite_set(&self, set: GroupingSet) -> Result<Transformed<Expr>> {
        let mut changed = false;
        let set = match set {
            GroupingSet::Rollup(list) => GroupingSet::Rollup(self.rewrite_members(list, &mut changed)?),
            GroupingSet::Cube(list) => GroupingSet::Cube(self.rewrite_members(list, &mut changed)?),
            GroupingSet::GroupingSets(lists) => {
                let mut sets = Vec::with_capacity(lists.len());
                for list in lists {
                    sets.push(self.rewrite_members(list, &mut changed)?);
                }
                GroupingSet::GroupingSets(sets)
            }
        };
        Ok(Transformed::new_transformed(Expr::GroupingSet(set), changed))
    }

    /// Rewrites the members of one set; `changed` becomes true if one changes.
    fn rewrite_members(&self, list: Vec<Expr>, changed: &mut bool) -> Result<Vec<Expr>> {
        let mut members = Vec::with_capacity(list.len());
        for member in list {
            let done = self.rewrite_expression(member)?;
            *changed |= done.transformed;
            members.push(done.data);
        }
        Ok(members)
    }
}
