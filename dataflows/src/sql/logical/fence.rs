//! Fences that keep fallible expressions at their place in the query.
//!
//! `WHERE 10 / n > 1` over a join must not divide for a row without a match, nor may a condition over
//! `10 / n AS q` take that division below the join. The optimiser would move both. Before it runs, the
//! fallible parts of a filter are therefore moved into an [`OptimizationFence`] above it, and a projection or
//! grouping that can fail gets a fence that no condition over its failing columns passes. Conditions that
//! cannot fail pass all fences: the rows that they drop are not evaluated. An equality between the sides of
//! a join is not fenced, because the join needs it as a key.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, JoinType, Result};
use datafusion_expr::logical_plan::{Extension, Filter, Join, LogicalPlan};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, Operator};

use super::fence_node::OptimizationFence;
use crate::plan::analysis::fallible::fallible;
use crate::sql::lower;

/// Adds fences for every fallible expression of `plan`.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn add_fences(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up(add_fence)?.data)
}

/// Adds a fence above one node if it needs one.
fn add_fence(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let closed = match &node {
        LogicalPlan::Projection(p) => failing_columns(&p.expr, p.input.schema(), &p.schema),
        LogicalPlan::Aggregate(a) => failing_columns(&a.group_expr, a.input.schema(), &a.schema),
        LogicalPlan::Filter(_) => return fence_filter(node),
        LogicalPlan::Join(_) => return fence_inner_join(node),
        _ => return Ok(Transformed::no(node)),
    };
    Ok(if closed.is_empty() { Transformed::no(node) } else { fence_above(node, None, closed) })
}

/// A fence over `input`.
fn fence_above(input: LogicalPlan, predicate: Option<Expr>, closed: Vec<String>) -> Transformed<LogicalPlan> {
    let node = Arc::new(OptimizationFence { input, predicate, closed });
    Transformed::yes(LogicalPlan::Extension(Extension { node }))
}

/// Columns of `schema` whose expressions over `input` can fail.
fn failing_columns(exprs: &[Expr], input: &DFSchema, schema: &DFSchema) -> Vec<String> {
    let mut failing = Vec::new();
    for (expr, field) in exprs.iter().zip(schema.fields()) {
        if can_fail(expr, input) {
            failing.push(field.name().clone());
        }
    }
    failing
}

/// Tells whether an expression can fail. One that cannot be lowered counts as infallible: it is refused later
/// anyway.
pub(in crate::sql) fn can_fail(expr: &Expr, input: &DFSchema) -> bool {
    lower::lower_scalar(expr, input).is_ok_and(|scalar| fallible(scalar.expr(), input.as_arrow()))
}

/// Moves the fallible parts of a filter into a fence above it.
fn fence_filter(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    let over_join = matches!(*filter.input, LogicalPlan::Join(_));
    let (above, below): (Vec<Expr>, Vec<Expr>) = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .partition(|e| can_fail(e, filter.input.schema()) && !(over_join && links_relations(e)));
    let Some(predicate) = conjunction(above) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let input = match conjunction(below) {
        Some(below) => LogicalPlan::Filter(Filter::try_new(below, filter.input)?),
        None => Arc::unwrap_or_clone(filter.input),
    };
    Ok(fence_above(input, Some(predicate), vec![]))
}

/// Tells whether `expr` is an equality between columns of different relations.
fn links_relations(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    let (left, right) = (left.column_refs(), right.column_refs());
    let of_right: HashSet<_> = right.iter().map(|c| &c.relation).collect();
    !left.is_empty() && !right.is_empty() && left.iter().all(|c| !of_right.contains(&c.relation))
}

/// Tells whether one side of a join has all columns that an expression reads.
fn is_one_sided(expr: &Expr, join: &Join) -> bool {
    let columns = expr.column_refs();
    has_columns(join.left.schema(), &columns) || has_columns(join.right.schema(), &columns)
}

/// Tells whether a schema has all of `columns`.
fn has_columns(schema: &DFSchema, columns: &HashSet<&Column>) -> bool {
    columns.iter().all(|column| schema.has_column(column))
}

/// Moves the fallible one-sided conditions of an inner join's ON into a fence above it, as if they were in
/// WHERE.
fn fence_inner_join(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
    let Some(filter) = join.filter.take_if(|_| join.join_type == JoinType::Inner) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let (above, on): (Vec<Expr>, Vec<Expr>) = split_conjunction_owned(filter)
        .into_iter()
        .partition(|e| is_one_sided(e, &join) && can_fail(e, &join.schema));
    join.filter = conjunction(on);
    Ok(match conjunction(above) {
        Some(predicate) => fence_above(LogicalPlan::Join(join), Some(predicate), vec![]),
        None => Transformed::no(LogicalPlan::Join(join)),
    })
}
