//! Rewriting of subqueries in conditions and values to joins.
//!
//! DataFusion's decorrelation makes a semi join of IN and EXISTS, an anti join of their negations, and a left
//! join of a scalar subquery. It assumes that a scalar subquery has at most one row, so only subqueries with
//! a proof of that are accepted here ([`one_row`]). Subqueries that it does not rewrite, or would evaluate
//! wrongly over NULLs, are refused. Afterwards no expression of a plan contains a subquery.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Result, plan_err};
use datafusion_expr::expr::{GroupingSet, InSubquery};
use datafusion_expr::logical_plan::{Filter, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Operator, lit};
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::{OptimizerContext, OptimizerRule};
use datafusion_sql::sqlparser::ast::{self, Query, Select, SelectItem, Visitor};

use super::one_row::{one_row, pulls_out};
use super::{firsts, lateral};
use crate::functions::planning::may_be_null;
use crate::mistake::unsupported::Unsupported;
use crate::sql::logical::rewrite::{plan_parts, recompute_schema};
use crate::sql::parse::walk::Walk;

/// Rewrites the subqueries of `plan`, whose types are coerced, to joins.
///
/// # Errors
/// If a subquery cannot become a join.
pub(crate) fn decorrelate(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = lateral::join_subqueries(plan)?;
    if !holds_subquery(&plan)? {
        return Ok(plan);
    }
    let plan = lateral::join_values(firsts::by_key(firsts::as_written(settle_exists(plan)?)?)?)?;
    check_subqueries(&plan)?;
    let mut options = ConfigOptions::new();
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(options))
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    let rules: [Arc<dyn OptimizerRule>; 2] =
        [Arc::new(DecorrelatePredicateSubquery::new()), Arc::new(ScalarSubqueryToJoin::new())];
    // The rules are applied here and not by the optimiser, whose checks refuse scalar subqueries that have
    // one row by a key.
    let mut joined = knows_nulls(settle_self_equality(plan)?)?;
    for _ in 0..8 {
        let mut changed = false;
        for rule in &rules {
            let done = joined.transform_down_with_subqueries(|node| rule.rewrite(node, &context))?;
            changed |= done.transformed;
            joined = done.data;
        }
        if !changed {
            break;
        }
    }
    let joined = joined.transform_up(recompute_schema)?.data;
    if holds_subquery(&joined)? { Err(Unsupported::NotJoinable.into()) } else { Ok(joined) }
}

/// Replaces EXISTS by TRUE (NOT EXISTS by FALSE) over a subquery that always has a row: an aggregate without
/// GROUP BY, or by grouping sets of which one is empty.
fn settle_exists(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan_parts(plan, &|e| match &e {
        Expr::Exists(exists) if has_row(&exists.subquery.subquery) => {
            Ok(Transformed::yes(lit(!exists.negated)))
        }
        _ => Ok(Transformed::no(e)),
    })
}

/// Tells whether a subquery always has a row.
fn has_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => has_row(&p.input),
        LogicalPlan::SubqueryAlias(a) => has_row(&a.input),
        LogicalPlan::Aggregate(a) => match a.group_expr.as_slice() {
            [] => true,
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().any(Vec::is_empty),
            [Expr::GroupingSet(_)] => true,
            _ => false,
        },
        _ => false,
    }
}

/// Replaces `x = x` by `x IS NOT NULL`: in a correlated condition the rules take it for TRUE, which is wrong
/// if `x` is NULL.
fn settle_self_equality(plan: LogicalPlan) -> Result<LogicalPlan> {
    let said = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
        let parts = split_conjunction_owned(filter.predicate).into_iter().map(self_equality_as_known);
        let Some(predicate) = conjunction(parts) else { return plan_err!("a filter without a condition") };
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    })?;
    Ok(said.data)
}

/// `x IS NOT NULL` in place of `x = x`; any other condition as it is.
fn self_equality_as_known(part: Expr) -> Expr {
    match part {
        Expr::BinaryExpr(b) if b.op == Operator::Eq && b.left == b.right => b.left.is_not_null(),
        other => other,
    }
}

/// Marks the set of `expression IN (subquery)` as nullable: the rules look at columns only, and assume that
/// an expression over NOT NULL columns is never NULL.
fn knows_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan_parts(plan, &|e| match e {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if !matches!(*expr, Expr::Column(_)) => {
            let subquery = with_nullable_set(subquery)?;
            Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// A subquery of one column with its value marked as nullable.
fn with_nullable_set(mut subquery: Subquery) -> Result<Subquery> {
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let Ok([column]) = <[_; 1]>::try_from(plan.schema().columns()) else {
        return Err(Unsupported::NotJoinable.into());
    };
    let name = column.name.clone();
    let value = may_be_null::function().call(vec![Expr::Column(column)]).alias(name);
    subquery.subquery = Arc::new(LogicalPlanBuilder::from(plan).project([value])?.build()?);
    Ok(subquery)
}

/// Tells whether an expression is a subquery of any form.
pub(in crate::sql) fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_))
}

/// Tells whether an expression of `plan` contains a subquery.
fn holds_subquery(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(node.expressions().iter().any(contains_subquery)))
}

/// Tells whether an expression is or contains a subquery.
fn contains_subquery(expr: &Expr) -> bool {
    expr.exists(|e| Ok(is_subquery(e))).unwrap_or(true)
}

/// Refuses subqueries, at any depth, whose join would have other rows.
fn check_subqueries(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| node.apply_expressions(check_expression))?;
    Ok(())
}

/// Refuses the subqueries of one expression whose join would have other rows.
fn check_expression(expr: &Expr) -> Result<TreeNodeRecursion> {
    expr.apply(|part| {
        match part {
            Expr::ScalarSubquery(subquery) => one_row(subquery)?,
            Expr::Exists(e) => pulls_out(&e.subquery, 0)?,
            Expr::InSubquery(i) if i.negated => check_uncorrelated(&i.subquery)?,
            Expr::InSubquery(i) => pulls_out(&i.subquery, 0)?,
            Expr::Not(inner) => {
                if let Expr::InSubquery(i) = inner.as_ref() {
                    check_uncorrelated(&i.subquery)?;
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })
}

/// Refuses a correlated NOT IN.
fn check_uncorrelated(subquery: &Subquery) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() { Ok(()) } else { Err(Unsupported::NotIn.into()) }
}

/// Subqueries of one SELECT at places where they can become joins: values in SELECT, WHERE and HAVING; IN and
/// EXISTS as a condition of WHERE or HAVING, combined with others by AND and OR. NOT IN only with AND: under
/// OR a join would have to distinguish FALSE from NULL. Returned as addresses, which are valid while the tree
/// is not modified.
pub(crate) fn joinable_subqueries(select: &Select) -> Vec<*const ast::Expr> {
    let mut out = Vec::new();
    let conditions = select.selection.iter().chain(&select.having);
    for condition in conditions.clone() {
        collect_conditions(condition, true, &mut out);
    }
    let items = select.projection.iter().filter_map(item_value);
    for expr in items.chain(conditions) {
        let _ = expr.walk(&mut ScalarSubqueries { depth: 0, out: &mut out });
    }
    out
}

/// Expression of an item of SELECT; None for `*`.
fn item_value(item: &SelectItem) -> Option<&ast::Expr> {
    match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
        _ => None,
    }
}

/// Collects IN and EXISTS from the parts of a condition that AND and OR combine; `alone` is true while no OR
/// has been passed.
fn collect_conditions(expr: &ast::Expr, alone: bool, out: &mut Vec<*const ast::Expr>) {
    use ast::{BinaryOperator, Expr, UnaryOperator};
    match expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            let alone = alone && *op == BinaryOperator::And;
            collect_conditions(left, alone, out);
            collect_conditions(right, alone, out);
        }
        Expr::Nested(inner) => collect_conditions(inner, alone, out),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            let mut inner = expr.as_ref();
            while let Expr::Nested(deeper) = inner {
                inner = deeper;
            }
            match inner {
                Expr::Exists { .. } => out.push(inner),
                Expr::InSubquery { negated, .. } if alone || *negated => out.push(inner),
                _ => {}
            }
        }
        Expr::InSubquery { negated, .. } if alone || !negated => out.push(expr),
        Expr::Exists { .. } => out.push(expr),
        _ => {}
    }
}

/// Visitor that collects the scalar subqueries of an expression, without those nested in its subqueries.
struct ScalarSubqueries<'a> {
    depth: usize,
    out: &'a mut Vec<*const ast::Expr>,
}

impl Visitor for ScalarSubqueries<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if self.depth == 0 && matches!(expr, ast::Expr::Subquery(_)) {
            self.out.push(expr);
        }
        ControlFlow::Continue(())
    }
}
