//! Temporal filters: conditions that compare a time of a row with now(), the watermark.
//!
//! `ts > now() - INTERVAL '1 hour'` holds for a row until the watermark is an hour after `ts`. In the syntax
//! tree such a condition, standing alone or joined with others by AND, becomes a call of an internal function
//! with three arguments: the time, the side (since then or until then), and an offset in microseconds. The
//! sources whose watermarks count are added to the call before the optimiser moves it, so that now() means
//! the same wherever it ends up, and lowering makes a [`crate::plan::Op::TemporalFilter`] of it. Anywhere
//! else now() is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{JoinType, Result, ScalarValue};
use datafusion_expr::logical_plan::{Filter, LogicalPlan};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, lit};

use super::rewrite::node_parts;
use crate::functions::planning::marks::{NOW, UNTIL};
use crate::mistake::unsupported::Unsupported;
use crate::sql::catalog::RelSource;

pub(in crate::sql) use crate::sql::syntax::now::{is_clock, placed_calls, rewrite_conditions};

/// Adds to every condition of `plan` the sources whose watermarks are its now(): all below it that have one.
///
/// # Errors
/// If there are none.
pub(crate) fn assign_clocks(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(assign_clock)?.data)
}

/// Adds to every condition of one node the sources whose watermarks are its now().
fn assign_clock(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !node.expressions().iter().any(calls_now) {
        return Ok(Transformed::no(node));
    }
    let clock = clocks_below(&node)?;
    if clock.is_empty() {
        return Err(Unsupported::NoWatermark.into());
    }
    let clock = clock.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match node_parts(node, &|e| with_clock(e, &clock))?.data {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            lift_conditions(join).map(Transformed::yes)
        }
        other => Ok(Transformed::yes(other)),
    }
}

/// Adds the sources in `clock` to a condition on now() that has none.
fn with_clock(expr: Expr, clock: &str) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(mut call) if call.name() == NOW && call.args.len() == 3 => {
            call.args.push(lit(clock));
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Tells whether an expression has a condition on now() without sources.
fn calls_now(expr: &Expr) -> bool {
    expr.exists(|e| Ok(lacks_sources(e))).unwrap_or(false)
}

/// Tells whether an expression is a condition on now() that has no sources yet.
fn lacks_sources(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.name() == NOW && call.args.len() == 3)
}

/// Sources with a watermark below a node.
fn clocks_below(node: &LogicalPlan) -> Result<BTreeSet<usize>> {
    let mut sources = BTreeSet::new();
    node.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<RelSource>()
        {
            sources.extend(&source.clock);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(sources)
}

/// Moves the conditions on now() of an inner join into a filter above it, where they mean the same.
fn lift_conditions(mut join: datafusion_expr::logical_plan::Join) -> Result<LogicalPlan> {
    let parts: Vec<Expr> = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
    let (above, on): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(is_now_condition);
    join.filter = conjunction(on);
    let join = LogicalPlan::Join(join);
    match conjunction(above) {
        Some(above) => Ok(LogicalPlan::Filter(Filter::try_new(above, Arc::new(join))?)),
        None => Ok(join),
    }
}

/// Tells whether an expression is a condition on now().
fn is_now_condition(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.name() == NOW)
}

/// Arguments of a condition on now(), for lowering.
pub(crate) struct NowCondition<'a> {
    /// The row's time.
    pub time: &'a Expr,
    /// True if the row is in until that time, false if since that time.
    pub until: bool,
    /// Offset in microseconds, added to the time.
    pub us: i64,
    /// Sources; the least of their watermarks is now().
    pub clock: Vec<usize>,
}

/// Arguments of a condition on now(); None for any other condition.
///
/// # Errors
/// If its sources have not been added.
pub(crate) fn now_condition(expr: &Expr) -> Result<Option<NowCondition<'_>>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(None) };
    if call.name() != NOW {
        return Ok(None);
    }
    let [time, side, us, clock] = call.args.as_slice() else { return Err(Unsupported::NowHere.into()) };
    let clock: Result<Vec<usize>, _> = literal_text(clock).split(',').map(str::parse::<usize>).collect();
    let (Ok(us), Ok(clock)) = (literal_text(us).parse(), clock) else {
        return Err(Unsupported::NowHere.into());
    };
    Ok(Some(NowCondition { time, until: literal_text(side) == UNTIL, us, clock }))
}

/// Text of a text literal; empty for any other expression.
fn literal_text(expr: &Expr) -> &str {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text,
        _ => "",
    }
}
