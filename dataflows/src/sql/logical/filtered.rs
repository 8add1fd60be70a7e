//! FILTER guards its own argument: `sum(a / b) FILTER (WHERE b <> 0)` divides only where `b` is not 0.
//!
//! Arguments are evaluated for every row of a group before FILTER is applied, and one that fails would remove
//! the row from all other aggregates, too. A fallible argument is therefore rewritten to `CASE WHEN filter
//! THEN argument END`, before the optimiser computes parts of it elsewhere. A row that passes the filter and
//! still fails is an error of the row.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::{AggregateFunction, Case, WindowFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::{Aggregate, LogicalPlan, Window};
use datafusion_expr::{Expr, SortExpr};

use super::fence::can_fail;

/// Guards every fallible argument of `plan` by its FILTER.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn guard_arguments(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up(guard_node)?.data)
}

/// Guards the fallible arguments of one node's calls.
fn guard_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match &node {
        LogicalPlan::Aggregate(a) => {
            if let Some(exprs) = guard_calls(&a.aggr_expr, a.input.schema())? {
                let made = Aggregate::try_new(Arc::clone(&a.input), a.group_expr.clone(), exprs)?;
                return Ok(Transformed::yes(LogicalPlan::Aggregate(made)));
            }
        }
        LogicalPlan::Window(w) => {
            if let Some(exprs) = guard_calls(&w.window_expr, w.input.schema())? {
                let made = Window::try_new(exprs, Arc::clone(&w.input))?;
                return Ok(Transformed::yes(LogicalPlan::Window(made)));
            }
        }
        _ => {}
    }
    Ok(Transformed::no(node))
}

/// Calls with their arguments guarded, their names kept; None if nothing changes.
fn guard_calls(exprs: &[Expr], input: &DFSchema) -> Result<Option<Vec<Expr>>> {
    let names = NamePreserver::new_for_projection();
    let mut changed = false;
    let mut guarded = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let one = expr.clone().transform_up(|e| guard_call(e, input))?;
        changed |= one.transformed;
        guarded.push(if one.transformed { names.save(expr).restore(one.data) } else { one.data });
    }
    Ok(changed.then_some(guarded))
}

/// Guards the fallible arguments and order of a call by its FILTER, if it has one.
fn guard_call(expr: Expr, input: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            let Some(filter) = params.filter.clone() else {
                return Ok(Transformed::no(Expr::AggregateFunction(AggregateFunction { func, params })));
            };
            let args = params.args.iter_mut();
            let order = params.order_by.iter_mut().map(|sort: &mut SortExpr| &mut sort.expr);
            let changed = put_behind_filter(args.chain(order), &filter, input);
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            Ok(Transformed::new_transformed(call, changed))
        }
        Expr::WindowFunction(mut call) => {
            let WindowFunction { params, .. } = call.as_mut();
            let Some(filter) = params.filter.clone() else {
                return Ok(Transformed::no(Expr::WindowFunction(call)));
            };
            let changed = put_behind_filter(params.args.iter_mut(), &filter, input);
            Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Wraps the fallible ones of `exprs` in a CASE on the filter; true if there are any.
fn put_behind_filter<'a>(exprs: impl Iterator<Item = &'a mut Expr>, filter: &Expr, input: &DFSchema) -> bool {
    let mut changed = false;
    for expr in exprs.filter(|e| can_fail(e, input)) {
        let when = vec![(Box::new(filter.clone()), Box::new(std::mem::take(expr)))];
        *expr = Expr::Case(Case::new(None, when, None));
        changed = true;
    }
    changed
}
