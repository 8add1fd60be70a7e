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
use datafusion_common::{DFSchema, DataFusionError, JoinType, Result, plan_err};
use datafusion_expr::expr::{GroupingSet, InSubquery};
use datafusion_expr::logical_plan::{Distinct, Filter, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::{OptimizerContext, OptimizerRule};
use datafusion_sql::sqlparser::ast::{self, Query, Select, SelectItem, Visit, Visitor};

use super::firsts;
use super::lateral;
use crate::functions::planning::may_be_null;
use crate::sql::catalog::RelSource;
use crate::sql::diagnostics::unsupported_plan::Unsupported;

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
    let joined = joined.transform_up(|node| node.recompute_schema().map(Transformed::yes))?.data;
    if holds_subquery(&joined)? { Err(Unsupported::NotJoinable.into()) } else { Ok(joined) }
}

/// Replaces EXISTS by TRUE (NOT EXISTS by FALSE) over a subquery that always has a row: an aggregate without
/// GROUP BY, or by grouping sets of which one is empty.
fn settle_exists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let said = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| match &e {
                Expr::Exists(exists) if has_row(&exists.subquery.subquery) => {
                    Ok(Transformed::yes(lit(!exists.negated)))
                }
                _ => Ok(Transformed::no(e)),
            })
        })
    })?;
    Ok(said.data)
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
        let parts = split_conjunction_owned(filter.predicate).into_iter().map(|part| match part {
            Expr::BinaryExpr(b) if b.op == Operator::Eq && b.left == b.right => b.left.is_not_null(),
            other => other,
        });
        let Some(predicate) = conjunction(parts) else { return plan_err!("a filter without a condition") };
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    })?;
    Ok(said.data)
}

/// Marks the set of `expression IN (subquery)` as nullable: the rules look at columns only, and assume that
/// an expression over NOT NULL columns is never NULL.
fn knows_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    let said = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
                Expr::InSubquery(InSubquery { expr, subquery, negated })
                    if !matches!(*expr, Expr::Column(_)) =>
                {
                    let subquery = with_nullable_set(subquery)?;
                    Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(said.data)
}

/// A subquery of one column with its value marked as nullable.
fn with_nullable_set(mut subquery: Subquery) -> Result<Subquery> {
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let [column] = <[_; 1]>::try_from(plan.schema().columns())
        .map_err(|_| DataFusionError::from(Unsupported::NotJoinable))?;
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
    plan.exists(|node| {
        Ok(node.expressions().iter().any(|e| e.exists(|e| Ok(is_subquery(e))).unwrap_or(true)))
    })
}

/// Refuses subqueries, at any depth, whose join would have other rows.
fn check_subqueries(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                match e {
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
        })
    })?;
    Ok(())
}

/// Refuses correlated subqueries that pulling the condition out would change: more than `totals` aggregates
/// without GROUP BY, which have a row over no rows, too, and outer joins, which keep rows that a condition
/// above them drops.
fn pulls_out(subquery: &Subquery, totals: usize) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    let outer = |node: &LogicalPlan| Ok(node.expressions().iter().any(Expr::contains_outer));
    let (mut found, mut kept) = (0, false);
    subquery.subquery.apply(|node| {
        match node {
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => found += 1,
            // One of the sets may be the empty one, which has a row over no rows, too.
            LogicalPlan::Aggregate(a) if a.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) => {
                kept = true;
            }
            LogicalPlan::Join(j) if j.join_type != JoinType::Inner => kept |= node.exists(outer)?,
            LogicalPlan::Unnest(_) => kept |= node.exists(outer)?,
            // Their numbers and choices depend on all rows that they read.
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => kept |= node.exists(outer)?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if kept || found > totals { Err(Unsupported::NotJoinable.into()) } else { Ok(()) }
}

/// Refuses a correlated NOT IN.
fn check_uncorrelated(subquery: &Subquery) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() { Ok(()) } else { Err(Unsupported::NotIn.into()) }
}

/// Refuses a subquery unless it has at most one row for any data: an aggregate without GROUP BY, an
/// uncorrelated LIMIT 1, or rows of a relation with a key that the subquery's condition fixes.
pub(in crate::sql) fn one_row(subquery: &Subquery) -> Result<()> {
    pulls_out(subquery, 1)?;
    let correlated = !subquery.outer_ref_columns.is_empty();
    let mut node = subquery.subquery.as_ref();
    loop {
        node = match node {
            LogicalPlan::Projection(p) => &p.input,
            LogicalPlan::SubqueryAlias(a) => &a.input,
            _ if fixes_key(node)? => return Ok(()),
            LogicalPlan::Filter(f) if !correlated => &f.input,
            LogicalPlan::Limit(l) if !correlated && firsts::keeps_one(l)? => return Ok(()),
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
                return if correlated { check_ties(&a.input) } else { Ok(()) };
            }
            _ => return Err(Unsupported::NotOneRow.into()),
        };
    }
}

/// Tells whether the conditions of a subquery fix a key of the one relation it reads: each column of the key
/// equals an expression that is constant for all its rows.
fn fixes_key(mut node: &LogicalPlan) -> Result<bool> {
    let mut fixed: Vec<&Expr> = Vec::new();
    while let LogicalPlan::Filter(filter) = node {
        for part in split_conjunction(&filter.predicate) {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { continue };
            for (inner, other) in [(left, right), (right, left)] {
                if other.column_refs().is_empty() && !inner.contains_outer() {
                    fixed.push(inner);
                }
            }
        }
        node = &filter.input;
    }
    if let LogicalPlan::Distinct(Distinct::On(on)) = node {
        return Ok(on.on_expr.iter().all(|e| fixed.contains(&e)));
    }
    while let LogicalPlan::SubqueryAlias(alias) = node {
        node = &alias.input;
    }
    let LogicalPlan::TableScan(scan) = node else { return Ok(false) };
    let Some(source) = scan.source.downcast_ref::<RelSource>() else { return Ok(false) };
    let column = |e: &Expr| match e {
        Expr::Column(c) => Some(c.name.clone()),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            // The cast must map different values to different values.
            Expr::Column(c) if is_plain_column(e, &scan.projected_schema) => Some(c.name.clone()),
            _ => None,
        },
        _ => None,
    };
    let names: Vec<String> = fixed.into_iter().filter_map(column).collect();
    let holds = |key: &Vec<usize>| key.iter().all(|at| names.contains(source.schema.field(*at).name()));
    Ok(source.unique.iter().any(holds))
}

/// Refuses a correlated aggregate unless its correlation fixes its group: only equalities of plain columns
/// do.
fn check_ties(input: &LogicalPlan) -> Result<()> {
    input.apply(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        let schema = filter.input.schema();
        let fixes = |part: &Expr| match part {
            Expr::BinaryExpr(b) if b.op == Operator::Eq => {
                is_plain_column(&b.left, schema) || is_plain_column(&b.right, schema)
            }
            _ => false,
        };
        let mut outer = split_conjunction(&filter.predicate).into_iter().filter(|p| p.contains_outer());
        if outer.all(fixes) { Ok(TreeNodeRecursion::Continue) } else { Err(Unsupported::NotJoinable.into()) }
    })?;
    Ok(())
}

/// Tells whether an expression is a column, or a column cast to an integer type that holds all of its values.
fn is_plain_column(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(cast) if matches!(cast.expr.as_ref(), Expr::Column(_)) => {
            let types = cast.expr.get_type(schema).ok().zip(expr.get_type(schema).ok());
            types.is_some_and(|(from, to)| {
                from.is_signed_integer()
                    && to.is_signed_integer()
                    && from.primitive_width() <= to.primitive_width()
            })
        }
        _ => false,
    }
}

/// Subqueries of one SELECT at places where they can become joins: values in SELECT, WHERE and HAVING; IN and
/// EXISTS as a condition of WHERE or HAVING, combined with others by AND and OR. NOT IN only with AND: under
/// OR a join would have to distinguish FALSE from NULL. Returned as addresses, which are valid while the tree
/// is not modified.
pub(crate) fn joinable_subqueries(select: &Select) -> Vec<*const ast::Expr> {
    let mut out = Vec::new();
    let conditions = select.selection.iter().chain(&select.having);
    conditions.clone().for_each(|c| collect_conditions(c, true, &mut out));
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
        _ => None,
    });
    for expr in items.chain(conditions) {
        let _ = expr.visit(&mut ScalarSubqueries { depth: 0, out: &mut out });
    }
    out
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
