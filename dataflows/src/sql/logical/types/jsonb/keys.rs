//! JSONB in the keys of groups, DISTINCT and joins, where equal values must have one spelling.
//!
//! The key is the result's value, so a group of `1.0` and `1.00` is shown as `1`, where PostgreSQL shows the
//! spelling of the first row. Columns that are not keys keep their spelling.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::logical_plan::{
    Aggregate, Distinct, DistinctOn, Join, LogicalPlan, LogicalPlanBuilder, Union,
};
use datafusion_expr::{BinaryExpr, Expr, Operator};

use super::compare::as_keys;
use super::{any_may_hold_jsonb, call, holds_jsonb, key, may_hold_jsonb, rewrite_node};
use crate::sql::logical::rewrite::recompute_schemas;

/// Rewrites all keys of JSONB in `plan` to their normal form, by [`key`].
///
/// # Errors
/// If JSONB is a key where that is not supported.
pub(crate) fn canonical_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    recompute_schemas(plan.transform_up_with_subqueries(rewrite_keys)?)
}

/// Rewrites the keys of one node to their normal form.
fn rewrite_keys(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Aggregate(aggregate) => group_by_keys(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct_by_keys(input),
        LogicalPlan::Distinct(Distinct::On(on)) => check_distinct_on(on),
        LogicalPlan::Join(join) => join_by_keys(join),
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses a UNION of JSONB with another type.
pub(super) fn check_union(union: &Union) -> Result<()> {
    let Some(first) = union.inputs.first() else { return Ok(()) };
    for (at, field) in first.schema().fields().iter().enumerate() {
        let of_first = schemas::is_jsonb(field);
        if union.inputs.iter().any(|input| has_jsonb_at(input, at) != of_first) {
            return plan_err!(
                "the sides of UNION differ in column {}: JSONB and another type: write CAST(x AS JSONB)",
                field.name()
            );
        }
    }
    Ok(())
}

/// Tells whether a column of an input is JSONB.
fn has_jsonb_at(input: &LogicalPlan, at: usize) -> bool {
    input.schema().fields().get(at).is_some_and(|field| schemas::is_jsonb(field))
}

/// Rewrites one key and keeps its name.
fn canonical_key(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !may_hold_jsonb(&expr, schema) || key::is_key(&expr) {
        return Ok(Transformed::no(expr));
    }
    let (relation, name) = expr.qualified_name();
    Ok(Transformed::yes(call(key::NAME, vec![expr.unalias()])?.alias_qualified(relation, name)))
}

/// Rewrites the keys of a GROUP BY.
fn group_by_keys(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(aggregate.input.schema());
    if let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() {
        if any_may_hold_jsonb(set.distinct_expr(), &schema) {
            return plan_err!(
                "GROUPING SETS, ROLLUP and CUBE over JSONB are not supported: \
                 write GROUP BY, or CAST(x AS VARCHAR)"
            );
        }
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut changed = false;
    let mut keys = Vec::with_capacity(aggregate.group_expr.len());
    for expr in &aggregate.group_expr {
        let done = canonical_key(expr.clone(), &schema)?;
        changed |= done.transformed;
        keys.push(done.data);
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let grouped = Aggregate::try_new(aggregate.input, keys, aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(grouped)))
}

/// Projects JSONB below a DISTINCT to keys.
fn distinct_by_keys(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    if !schema.fields().iter().any(|field| holds_jsonb(field)) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for column in schema.columns() {
        columns.push(canonical_key(Expr::Column(column), &schema)?.data);
    }
    let keyed = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(columns)?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(keyed.build()?)))))
}

/// Refuses DISTINCT ON of JSONB.
fn check_distinct_on(on: DistinctOn) -> Result<Transformed<LogicalPlan>> {
    if any_may_hold_jsonb(&on.on_expr, on.input.schema()) {
        plan_err!("DISTINCT ON of JSONB is not supported: name a part of it, or CAST(x AS VARCHAR)")
    } else {
        Ok(Transformed::no(LogicalPlan::Distinct(Distinct::On(on))))
    }
}

/// Rewrites a join's equalities over JSONB that decorrelation made after expressions were rewritten.
fn join_by_keys(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let (left, right) = (Arc::clone(join.left.schema()), Arc::clone(join.right.schema()));
    for (l, r) in &mut join.on {
        if (may_hold_jsonb(l, &left) || may_hold_jsonb(r, &right)) && !(key::is_key(l) && key::is_key(r)) {
            changed = true;
            let mut sides = as_keys(vec![std::mem::take(l), std::mem::take(r)])?.into_iter();
            (*l, *r) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
        }
    }
    let done = rewrite_node(LogicalPlan::Join(join), &equality_of_keys)?;
    Ok(Transformed::new_transformed(done.data, done.transformed || changed))
}

/// Rewrites an equality over JSONB to one of keys.
fn equality_of_keys(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::Eq | Operator::IsNotDistinctFrom),
            right,
        }) if may_hold_jsonb(&left, schema)
            && may_hold_jsonb(&right, schema)
            && !(key::is_key(&left) && key::is_key(&right)) =>
        {
            let mut sides = as_keys(vec![*left, *right])?.into_iter().map(Box::new);
            match (sides.next(), sides.next()) {
                (Some(left), Some(right)) => {
                    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
                }
                _ => plan_err!("{op} takes two operands"),
            }
        }
        other => Ok(Transformed::no(other)),
    }
}
