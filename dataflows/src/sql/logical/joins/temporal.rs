//! Temporal joins (as of a time), between planning and lowering.
//!
//! [`crate::sql::parse::query::temporal`] writes them as plain joins whose condition calls an internal
//! function, the mark. Before the optimiser runs, each becomes a [`Temporal`] node, below which no condition
//! is pushed: filtering a side first would change which of its rows is the latest. The equalities of the
//! condition are the key; an as-of join allows no other conditions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchemaRef, JoinType, Result, plan_err};
use datafusion_expr::logical_plan::{Extension, Filter, Join, LogicalPlan};
use datafusion_expr::utils::{conjunction, find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, Operator, UserDefinedLogicalNodeCore};

use crate::functions::planning::marks::{ASOF, LOOKUP};
use crate::mistake::unsupported::Unsupported;
use crate::plan::Nearest;

/// Join of each left row with right rows as of a time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Temporal {
    /// Left input.
    pub left: LogicalPlan,
    /// Right input.
    pub right: LogicalPlan,
    /// Keys: pairs of equal expressions, of left and right.
    pub on: Vec<(Expr, Expr)>,
    /// Times of left and right, and which right time is the nearest; None looks up the right's current row.
    pub times: Option<(Expr, Expr, Nearest)>,
    /// True if a left row without a match is kept.
    pub outer: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for Temporal {
    fn partial_cmp(&self, other: &Temporal) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

/// Replaces every marked join of `plan` by a [`Temporal`] node.
///
/// # Errors
/// If a marked join has a condition that it does not support.
pub(crate) fn extract_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up(extract_join)?.data)
}

/// Replaces a marked join by a [`Temporal`] node.
fn extract_join(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(is_marked) => {
            Ok(Transformed::yes(temporal_join(join)?))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Tells whether a join's condition calls a mark.
fn is_marked(filter: &Expr) -> bool {
    filter.exists(|e| Ok(mark_call(e).is_some())).unwrap_or(false)
}

/// Name and argument of the mark that an expression calls.
fn mark_call(expr: &Expr) -> Option<(&str, &Expr)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let name = [ASOF, LOOKUP].into_iter().find(|name| *name == function.name())?;
    Some((name, function.args.first()?))
}

/// Temporal node of a marked join. An inner lookup's other conditions become a filter above it.
fn temporal_join(join: Join) -> Result<LogicalPlan> {
    let Join { left, right, mut on, filter, join_type, schema, .. } = join;
    let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
    let (mut times, mut rest) = (None, Vec::new());
    let mut parts: Vec<Expr> = filter.into_iter().flat_map(split_conjunction_owned).collect();
    // The argument of a lookup's mark is a condition itself: its parts are appended and visited, too.
    let mut at = 0;
    while at < parts.len() {
        let part = parts[at].clone();
        at += 1;
        match mark_call(&part) {
            Some((LOOKUP, condition)) => parts.extend(split_conjunction_owned(condition.clone())),
            Some((_, condition)) => times = Some(match_times(condition, &left, &right)?),
            None => match equality_pair(&part, &left, &right)? {
                Some(pair) => on.push(pair),
                None => rest.push(part),
            },
        }
    }
    let outer = join_type == JoinType::Left;
    match (&times, rest.is_empty(), outer) {
        (Some(_), false, _) => return Err(Unsupported::AsofCondition.into()),
        (None, false, true) => return Err(Unsupported::LookupCondition.into()),
        _ => {}
    }
    let node = Arc::new(Temporal { left, right, on, times, outer, schema });
    let node = LogicalPlan::Extension(Extension { node });
    Ok(match conjunction(rest) {
        Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(node))?),
        None => node,
    })
}

/// Left and right side of a condition that is an equality between the join's sides.
fn equality_pair(part: &Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) = part else { return Ok(None) };
    find_valid_equijoin_key_pair(a, b, left.schema(), right.schema())
}

/// Left and right time of a match condition, and which right time is the nearest.
fn match_times(condition: &Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<(Expr, Expr, Nearest)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = condition else {
        return Err(Unsupported::MatchCondition.into());
    };
    let Some((l, r)) = find_valid_equijoin_key_pair(a, b, left.schema(), right.schema())? else {
        return Err(Unsupported::MatchCondition.into());
    };
    let op = if l == **a { Some(*op) } else { op.swap() };
    let (strict, forward) = match op {
        Some(Operator::GtEq) => (false, false),
        Some(Operator::Gt) => (true, false),
        Some(Operator::LtEq) => (false, true),
        Some(Operator::Lt) => (true, true),
        _ => return Err(Unsupported::MatchCondition.into()),
    };
    match (&l, &r) {
        (Expr::Column(_), Expr::Column(_)) => Ok((l, r, Nearest { strict, forward })),
        _ => Err(Unsupported::MatchCondition.into()),
    }
}

/// The next two of a node's expressions.
fn next_pair(exprs: &mut std::vec::IntoIter<Expr>) -> Result<(Expr, Expr)> {
    match exprs.next().zip(exprs.next()) {
        Some(pair) => Ok(pair),
        None => plan_err!("a join as of a time lost its condition"),
    }
}

impl UserDefinedLogicalNodeCore for Temporal {
    fn name(&self) -> &str {
        "Temporal"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut exprs = Vec::with_capacity(2 * self.on.len() + 2);
        for (left, right) in &self.on {
            exprs.extend([left.clone(), right.clone()]);
        }
        if let Some((left, right, _)) = &self.times {
            exprs.extend([left.clone(), right.clone()]);
        }
        exprs
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Temporal")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Temporal> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return plan_err!("a join as of a time has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut on = Vec::with_capacity(self.on.len());
        for _ in &self.on {
            on.push(next_pair(&mut exprs)?);
        }
        let times = match &self.times {
            Some((.., nearest)) => {
                let (l, r) = next_pair(&mut exprs)?;
                Some((l, r, *nearest))
            }
            None => None,
        };
        Ok(Temporal { left, right, on, times, outer: self.outer, schema: Arc::clone(&self.schema) })
    }
}
