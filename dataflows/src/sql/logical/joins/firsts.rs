//! Value subqueries that take the first of their rows: `(SELECT x FROM t WHERE t.k = o.k ORDER BY y LIMIT 1)`.
//!
//! Decorrelation takes the condition out of a subquery, and what is first then would be first of all rows.
//! So the first row of each `k` is taken instead, with DISTINCT ON below the condition, which then finds one
//! row at most. The condition must tie the subquery by equalities, which say what `k` is.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, plan_err};
use datafusion_expr::logical_plan::{
    Distinct, DistinctOn, FetchType, Filter, Limit, LogicalPlan, Projection, SkipType, Sort, Subquery,
};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, Operator, SortExpr, lit};

use super::subquery::PLACE;

/// `plan` with every correlated value subquery under one LIMIT 1 more: the analyser takes none of which it does
/// not see that it has one row, whatever is known of keys. [`as_written`] takes it off again.
///
/// # Errors
/// When the plan does not fit together.
pub(crate) fn admitted(plan: LogicalPlan) -> Result<LogicalPlan> {
    correlated(plan, &|plan| {
        let (input, fetch) = (Arc::clone(plan), Some(Box::new(lit(1i64))));
        Ok(Some(LogicalPlan::Limit(Limit { skip: None, fetch, input })))
    })
}

/// `plan` without what [`admitted`] added.
///
/// # Errors
/// When the plan does not fit together.
pub(crate) fn as_written(plan: LogicalPlan) -> Result<LogicalPlan> {
    correlated(plan, &|plan| match plan.as_ref() {
        LogicalPlan::Limit(limit) => Ok(Some(limit.input.as_ref().clone())),
        _ => Ok(None),
    })
}

/// `plan` with DISTINCT ON for the LIMIT of every correlated value subquery.
///
/// # Errors
/// When the subquery is tied by something else than equalities.
pub(crate) fn by_key(plan: LogicalPlan) -> Result<LogicalPlan> {
    correlated(plan, &|plan| first(plan))
}

/// `plan` with correlated value subqueries as `change` makes them.
fn correlated(
    plan: LogicalPlan,
    change: &dyn Fn(&Arc<LogicalPlan>) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
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
        })
    })
    .map(|done| done.data)
}

/// Tells whether a LIMIT keeps one row, or none.
pub(crate) fn keeps_one(limit: &Limit) -> Result<bool> {
    Ok(matches!(limit.get_fetch_type()?, FetchType::Literal(Some(0 | 1))))
}

/// The subquery with the first row of each key in place of the first row; None where it has no LIMIT.
fn first(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(p) => match first(&p.input)? {
            Some(input) => {
                let made = Projection::try_new(p.expr.clone(), Arc::new(input))?;
                Ok(Some(LogicalPlan::Projection(made)))
            }
            None => Ok(None),
        },
        LogicalPlan::Limit(limit) => {
            let whole = matches!(limit.get_skip_type()?, SkipType::Literal(0));
            if !(whole && matches!(limit.get_fetch_type()?, FetchType::Literal(Some(1)))) {
                return plan_err!("{PLACE}");
            }
            ordered(&limit.input, vec![]).map(Some)
        }
        _ => Ok(None),
    }
}

/// The first rows by `order`, or by the order of a Sort on the way down.
fn ordered(plan: &LogicalPlan, order: Vec<SortExpr>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(Sort { expr, input, fetch: None }) if order.is_empty() => {
            ordered(input, expr.clone())
        }
        LogicalPlan::Projection(p) => {
            // What the order is by, in terms of the input.
            let below = |e: Expr| {
                e.transform_up(|e| match &e {
                    Expr::Column(c) => {
                        let at = p.schema.index_of_column(c)?;
                        Ok(Transformed::yes(p.expr[at].clone().unalias_nested().data))
                    }
                    _ => Ok(Transformed::no(e)),
                })
                .map(|done| done.data)
            };
            let order = order.into_iter().map(|s| Ok(SortExpr { expr: below(s.expr)?, ..s }));
            let input = ordered(&p.input, order.collect::<Result<Vec<_>>>()?)?;
            Ok(LogicalPlan::Projection(Projection::try_new(p.expr.clone(), Arc::new(input))?))
        }
        LogicalPlan::Filter(filter) => chosen(filter, order),
        _ => plan_err!("{PLACE}"),
    }
}

/// The rows a condition finds among the first of each of the values it compares.
fn chosen(filter: &Filter, order: Vec<SortExpr>) -> Result<LogicalPlan> {
    let parts = split_conjunction_owned(filter.predicate.clone());
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
                _ => return plan_err!("{PLACE}"),
            },
            _ => return plan_err!("{PLACE}"),
        }
    }
    let input = match conjunction(rest) {
        Some(rest) => Arc::new(LogicalPlan::Filter(Filter::try_new(rest, Arc::clone(&filter.input))?)),
        None => Arc::clone(&filter.input),
    };
    if input.exists(|node| Ok(node.contains_outer_reference()))? {
        return plan_err!("{PLACE}");
    }
    let all = input.schema().columns().into_iter().map(Expr::Column).collect();
    let sorts = on.iter().map(|e| e.clone().sort(true, false)).chain(order).collect();
    let firsts = LogicalPlan::Distinct(Distinct::On(DistinctOn::try_new(on, all, Some(sorts), input)?));
    let Some(ties) = conjunction(ties) else { return plan_err!("{PLACE}") };
    Ok(LogicalPlan::Filter(Filter::try_new(ties, Arc::new(firsts))?))
}
