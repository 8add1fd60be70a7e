//! Scalar subqueries with LIMIT 1: `(SELECT x FROM t WHERE t.k = o.k ORDER BY y LIMIT 1)`.
//!
//! Decorrelation pulls the condition above the LIMIT, which would then take the first of all rows. So
//! DISTINCT ON below the condition takes the first row of each `k` instead, and the condition matches at most
//! one row. The correlation must consist of equalities, which determine `k`.

use std::sync::Arc;

use crate::mistake::unsupported::Unsupported;
use crate::sql::logical::rewrite::plan_parts;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::logical_plan::{
    Distinct, DistinctOn, FetchType, Filter, Limit, LogicalPlan, Projection, SkipType, Sort, Subquery,
};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, Operator, SortExpr, lit};

/// Puts a LIMIT 1 on every correlated scalar subquery: the analyser refuses subqueries that it cannot prove
/// to have one row, and it knows nothing of keys. [`as_written`] removes the LIMIT again.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn admit_correlated(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_correlated(plan, &with_limit)
}

/// `plan` with LIMIT 1.
fn with_limit(plan: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let (input, fetch) = (Arc::clone(plan), Some(Box::new(lit(1i64))));
    Ok(Some(LogicalPlan::Limit(Limit { skip: None, fetch, input })))
}

/// Removes the LIMITs that [`admit_correlated`] added.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn as_written(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_correlated(plan, &without_limit)
}

/// The input of a LIMIT; None for any other plan.
fn without_limit(plan: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    match plan.as_ref() {
        LogicalPlan::Limit(limit) => Ok(Some(limit.input.as_ref().clone())),
        _ => Ok(None),
    }
}

/// Replaces the LIMIT of every correlated scalar subquery by DISTINCT ON.
///
/// # Errors
/// If a subquery is correlated by anything else than equalities.
pub(crate) fn by_key(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_correlated(plan, &|plan| first_of_each_key(plan))
}

/// Applies `change` to every correlated scalar subquery; None keeps the subquery.
fn map_correlated(
    plan: LogicalPlan,
    change: &dyn Fn(&Arc<LogicalPlan>) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    plan_parts(plan, &|e| match e {
        Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
            Ok(match change(&subquery.subquery)? {
                Some(plan) => {
                    let subquery = Subquery { subquery: Arc::new(plan), ..subquery };
                    Transformed::yes(Expr::ScalarSubquery(subquery))
                }
                None => Transformed::no(Expr::ScalarSubquery(subquery)),
            })
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Tells whether a LIMIT keeps at most one row.
pub(crate) fn keeps_one(limit: &Limit) -> Result<bool> {
    Ok(matches!(limit.get_fetch_type()?, FetchType::Literal(Some(0 | 1))))
}

/// Subquery that takes the first row of each key in place of its LIMIT; None if it has no LIMIT.
fn first_of_each_key(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(p) => match first_of_each_key(&p.input)? {
            Some(input) => {
                let made = Projection::try_new(p.expr.clone(), Arc::new(input))?;
                Ok(Some(LogicalPlan::Projection(made)))
            }
            None => Ok(None),
        },
        LogicalPlan::Limit(limit) => {
            let whole = matches!(limit.get_skip_type()?, SkipType::Literal(0));
            if !(whole && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)))) {
                return Err(Unsupported::NotJoinable.into());
            }
            first_in_order(&limit.input, vec![]).map(Some)
        }
        _ => Ok(None),
    }
}

/// First rows of each key by `order`, or by the order of a Sort below.
fn first_in_order(plan: &LogicalPlan, order: Vec<SortExpr>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(Sort { expr, input, fetch: None }) if order.is_empty() => {
            first_in_order(input, expr.clone())
        }
        LogicalPlan::Projection(p) => {
            // The projection is passed on the way down: express the order over its input.
            let mut below = Vec::with_capacity(order.len());
            for sort in order {
                below.push(SortExpr { expr: over_input(sort.expr, p)?, ..sort });
            }
            let input = first_in_order(&p.input, below)?;
            Ok(LogicalPlan::Projection(Projection::try_new(p.expr.clone(), Arc::new(input))?))
        }
        LogicalPlan::Filter(filter) => distinct_on_ties(filter, order),
        _ => Err(Unsupported::NotJoinable.into()),
    }
}

/// An expression over the columns of a projection, expressed over its input.
fn over_input(expr: Expr, projection: &Projection) -> Result<Expr> {
    let done = expr.transform_up(|e| match &e {
        Expr::Column(c) => {
            let at = projection.schema.index_of_column(c)?;
            Ok(Transformed::yes(projection.expr[at].clone().unalias_nested().data))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(done.data)
}

/// Filter over the first row of each combination of the values that its correlated equalities compare.
fn distinct_on_ties(filter: &Filter, order: Vec<SortExpr>) -> Result<LogicalPlan> {
    let parts = split_conjunction_owned(filter.predicate.clone());
    // Uncorrelated conditions filter before the first row is chosen, correlated ones after.
    let (ties, rest): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(Expr::contains_outer);
    let mut on = Vec::with_capacity(ties.len());
    for tie in &ties {
        match tie {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left, right) {
                (inner, outer) | (outer, inner)
                    if !inner.contains_outer() && outer.column_refs().is_empty() =>
                {
                    on.push(inner.as_ref().clone());
                }
                _ => return Err(Unsupported::NotJoinable.into()),
            },
            _ => return Err(Unsupported::NotJoinable.into()),
        }
    }
    let input = match conjunction(rest) {
        Some(rest) => Arc::new(LogicalPlan::Filter(Filter::try_new(rest, Arc::clone(&filter.input))?)),
        None => Arc::clone(&filter.input),
    };
    if input.exists(|node| Ok(node.contains_outer_reference()))? {
        return Err(Unsupported::NotJoinable.into());
    }
    let all = input.schema().columns().into_iter().map(Expr::Column).collect();
    let sorts = on.iter().map(|e| e.clone().sort(true, false)).chain(order).collect();
    let firsts = LogicalPlan::Distinct(Distinct::On(DistinctOn::try_new(on, all, Some(sorts), input)?));
    let Some(ties) = conjunction(ties) else { return Err(Unsupported::NotJoinable.into()) };
    Ok(LogicalPlan::Filter(Filter::try_new(ties, Arc::new(firsts))?))
}
