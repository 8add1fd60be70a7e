//! Fences that keep expressions which can fail where the query has them.
//!
//! `WHERE 10 / n > 1` over a join must not divide for a row that finds no partner, nor may a
//! condition over `10 / n AS q` take that division below the join. The optimiser moves conditions
//! without regard to that, so before it runs, what can fail of a filter leaves it for a [`Fence`]
//! above it, and a projection or grouping that can fail gets a fence which no condition over its
//! failing columns passes. Conditions that cannot fail pass all fences: what they drop is not
//! evaluated. An equality between the sides of a join stays: it is how partners are found.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, JoinType, Result, plan_err};
use datafusion_expr::logical_plan::{Extension, Filter, LogicalPlan};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, Operator, UserDefinedLogicalNodeCore};

use crate::plan::analysis::fallible::fallible;
use crate::sql::lower;

/// The rows of its input for which its condition, where it has one, is true.
#[derive(Debug, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct Fence {
    /// What stays below.
    pub input: LogicalPlan,
    /// A condition that can fail.
    pub predicate: Option<Expr>,
    /// Columns whose conditions stay above.
    closed: Vec<String>,
}

/// Fences everything in `plan` that can fail.
///
/// # Errors
/// When the plan does not fit together.
pub(crate) fn fence(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
        let closed = match &node {
            LogicalPlan::Projection(p) => closed(&p.expr, p.input.schema(), &p.schema),
            LogicalPlan::Aggregate(a) => closed(&a.group_expr, a.input.schema(), &a.schema),
            LogicalPlan::Filter(_) => return filter(node),
            LogicalPlan::Join(_) => return inner_join(node),
            _ => return Ok(Transformed::no(node)),
        };
        Ok(if closed.is_empty() { Transformed::no(node) } else { fenced(node, None, closed) })
    })
    .map(|fenced| fenced.data)
}

fn fenced(input: LogicalPlan, predicate: Option<Expr>, closed: Vec<String>) -> Transformed<LogicalPlan> {
    let node = Arc::new(Fence { input, predicate, closed });
    Transformed::yes(LogicalPlan::Extension(Extension { node }))
}

/// The columns of `schema` whose expressions over `input` can fail.
fn closed(exprs: &[Expr], input: &DFSchema, schema: &DFSchema) -> Vec<String> {
    let failing = exprs.iter().zip(schema.fields()).filter(|(e, _)| can_fail(e, input));
    failing.map(|(_, field)| field.name().clone()).collect()
}

/// What cannot be lowered is refused later, wherever it stands.
pub(in crate::sql) fn can_fail(expr: &Expr, input: &DFSchema) -> bool {
    lower::scalar(expr, input).is_ok_and(|scalar| fallible(scalar.expr(), input.as_arrow()))
}

fn filter(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    let over_join = matches!(*filter.input, LogicalPlan::Join(_));
    let (above, below): (Vec<Expr>, Vec<Expr>) = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .partition(|e| can_fail(e, filter.input.schema()) && !(over_join && links(e)));
    let Some(predicate) = conjunction(above) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let input = match conjunction(below) {
        Some(below) => LogicalPlan::Filter(Filter::try_new(below, filter.input)?),
        None => Arc::unwrap_or_clone(filter.input),
    };
    Ok(fenced(input, Some(predicate), vec![]))
}

/// Whether `expr` is an equality between different relations.
fn links(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    let (left, right) = (left.column_refs(), right.column_refs());
    let of_right: HashSet<_> = right.iter().map(|c| &c.relation).collect();
    !left.is_empty() && !right.is_empty() && left.iter().all(|c| !of_right.contains(&c.relation))
}

/// A condition in ON over one side of an inner join is one of WHERE.
fn inner_join(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
    let Some(filter) = join.filter.take_if(|_| join.join_type == JoinType::Inner) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let one_sided = |e: &Expr| {
        let columns = e.column_refs();
        [&join.left, &join.right].iter().any(|side| columns.iter().all(|c| side.schema().has_column(c)))
    };
    let (above, on): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter).into_iter().partition(|e| one_sided(e) && can_fail(e, &join.schema));
    join.filter = conjunction(on);
    Ok(match conjunction(above) {
        Some(predicate) => fenced(LogicalPlan::Join(join), Some(predicate), vec![]),
        None => Transformed::no(LogicalPlan::Join(join)),
    })
}

impl UserDefinedLogicalNodeCore for Fence {
    fn name(&self) -> &str {
        "Fence"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.predicate.iter().cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.closed.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence")
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Fence> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return plan_err!("a fence has one input");
        };
        Ok(Fence { input, predicate: exprs.pop(), closed: self.closed.clone() })
    }
}
