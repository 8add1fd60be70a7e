//! Subqueries in conditions and values, turned into joins.
//!
//! DataFusion's decorrelation makes a semi join of IN and EXISTS, an anti join of their negations, and
//! a left join of a scalar subquery. It takes on trust that a scalar subquery has one row, so only those
//! that aggregate without GROUP BY pass here; and what it leaves behind, or would answer without regard
//! to NULLs, is refused. After this no expression of a plan holds a subquery.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, JoinType, Result, plan_err};
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
use crate::sql::lower::join::NOT_IN;

/// What is told of a subquery that no join stands for.
pub(crate) const PLACE: &str = "this subquery cannot be made a join";
/// What is told of a value that may be several.
pub(crate) const ROWS: &str = "a subquery as a value must have one row";

/// `plan`, its types coerced, with joins in place of subqueries.
///
/// # Errors
/// When a subquery cannot be one.
pub(crate) fn decorrelate(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = lateral::joined(plan)?;
    if !holds_subquery(&plan)? {
        return Ok(plan);
    }
    let plan = lateral::values(firsts::by_key(firsts::as_written(certain(plan)?)?)?)?;
    judge(&plan)?;
    let mut options = ConfigOptions::new();
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let context = OptimizerContext::new_with_config_options(Arc::new(options))
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    let rules: [Arc<dyn OptimizerRule>; 2] =
        [Arc::new(DecorrelatePredicateSubquery::new()), Arc::new(ScalarSubqueryToJoin::new())];
    // The optimiser itself would refuse values of one row by key, which it does not know of.
    let mut joined = knows_nulls(known(plan)?)?;
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
    if holds_subquery(&joined)? { plan_err!("{PLACE}") } else { Ok(joined) }
}

/// Says of EXISTS over what always has a row that it holds: an aggregate without GROUP BY, or over sets of
/// which one is empty.
fn certain(plan: LogicalPlan) -> Result<LogicalPlan> {
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

/// Says of `x = x` what it asks: the rules take it for TRUE in a correlated condition, which it is not
/// where `x` is NULL.
fn known(plan: LogicalPlan) -> Result<LogicalPlan> {
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

/// Says of the set that an expression is looked for in that it may hold NULLs: the rules look at columns alone,
/// and take an expression over columns that are NOT NULL for one that is never NULL.
fn knows_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    let said = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
                Expr::InSubquery(InSubquery { expr, subquery, negated })
                    if !matches!(*expr, Expr::Column(_)) =>
                {
                    let subquery = nullable(subquery)?;
                    Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(said.data)
}

fn nullable(mut subquery: Subquery) -> Result<Subquery> {
    let plan = Arc::unwrap_or_clone(subquery.subquery);
    let [column] = <[_; 1]>::try_from(plan.schema().columns())
        .map_err(|_| datafusion_common::plan_datafusion_err!("{PLACE}"))?;
    let name = column.name.clone();
    let value = may_be_null::function().call(vec![Expr::Column(column)]).alias(name);
    subquery.subquery = Arc::new(LogicalPlanBuilder::from(plan).project([value])?.build()?);
    Ok(subquery)
}

pub(in crate::sql) fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_))
}

/// Whether an expression of `plan` has a subquery in it.
fn holds_subquery(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        Ok(node.expressions().iter().any(|e| e.exists(|e| Ok(is_subquery(e))).unwrap_or(true)))
    })
}

/// Refuses subqueries whose join would not be the same, at any depth.
fn judge(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                match e {
                    Expr::ScalarSubquery(subquery) => one_row(subquery)?,
                    Expr::Exists(e) => pulls_out(&e.subquery, 0)?,
                    Expr::InSubquery(i) if i.negated => uncorrelated(&i.subquery)?,
                    Expr::InSubquery(i) => pulls_out(&i.subquery, 0)?,
                    Expr::Not(inner) => {
                        if let Expr::InSubquery(i) = inner.as_ref() {
                            uncorrelated(&i.subquery)?;
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

/// Refuses what pulling the correlation out would change: an aggregate without GROUP BY (beyond `totals`
/// of them) has a row over nothing too, and an outer join keeps rows that a condition above it drops.
fn pulls_out(subquery: &Subquery, totals: usize) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    let outer = |node: &LogicalPlan| Ok(node.expressions().iter().any(Expr::contains_outer));
    let (mut found, mut kept) = (0, false);
    subquery.subquery.apply(|node| {
        match node {
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => found += 1,
            // One of the sets may be the empty one, which has a row over nothing too.
            LogicalPlan::Aggregate(a) if a.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) => {
                kept = true;
            }
            LogicalPlan::Join(j) if j.join_type != JoinType::Inner => kept |= node.exists(outer)?,
            LogicalPlan::Unnest(_) => kept |= node.exists(outer)?,
            // What they number or choose depends on all rows that they see.
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => kept |= node.exists(outer)?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if kept || found > totals { plan_err!("{PLACE}") } else { Ok(()) }
}

fn uncorrelated(subquery: &Subquery) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() { Ok(()) } else { plan_err!("{NOT_IN}") }
}

/// Whether a subquery has at most one row whatever the data: an aggregate without GROUP BY, a LIMIT 1, or
/// rows of a relation whose key its condition fixes.
pub(in crate::sql) fn one_row(subquery: &Subquery) -> Result<()> {
    pulls_out(subquery, 1)?;
    let correlated = !subquery.outer_ref_columns.is_empty();
    let mut node = subquery.subquery.as_ref();
    loop {
        node = match node {
            LogicalPlan::Projection(p) => &p.input,
            LogicalPlan::SubqueryAlias(a) => &a.input,
            _ if by_key(node)? => return Ok(()),
            LogicalPlan::Filter(f) if !correlated => &f.input,
            LogicalPlan::Limit(l) if !correlated && firsts::keeps_one(l)? => return Ok(()),
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
                return if correlated { by_columns(&a.input) } else { Ok(()) };
            }
            _ => return plan_err!("{ROWS}"),
        };
    }
}

/// Whether conditions of a subquery fix a key of the one relation it reads: each of the key's columns equals
/// something that is the same for all its rows.
fn by_key(mut node: &LogicalPlan) -> Result<bool> {
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
            // A cast that keeps values apart.
            Expr::Column(c) if plain(e, &scan.projected_schema) => Some(c.name.clone()),
            _ => None,
        },
        _ => None,
    };
    let names: Vec<String> = fixed.into_iter().filter_map(column).collect();
    let holds = |key: &Vec<usize>| key.iter().all(|at| names.contains(source.schema.field(*at).name()));
    Ok(source.unique.iter().any(holds))
}

/// What ties a correlated aggregate to the row outside must fix its group: equalities of plain columns.
fn by_columns(input: &LogicalPlan) -> Result<()> {
    input.apply(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        let schema = filter.input.schema();
        let fixes = |part: &Expr| match part {
            Expr::BinaryExpr(b) if b.op == Operator::Eq => plain(&b.left, schema) || plain(&b.right, schema),
            _ => false,
        };
        let mut outer = split_conjunction(&filter.predicate).into_iter().filter(|p| p.contains_outer());
        if outer.all(fixes) { Ok(TreeNodeRecursion::Continue) } else { plan_err!("{PLACE}") }
    })?;
    Ok(())
}

/// A column, or one in a type with a place for each of its values.
fn plain(expr: &Expr, schema: &DFSchema) -> bool {
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

/// The subqueries of one SELECT that stand where a join can take their place: values in SELECT, WHERE and
/// HAVING; IN and EXISTS as a condition there, joined with others by AND and OR. NOT IN stands beside AND
/// only: OR would have to know whether it is false or NULL. By address, which holds as long as the tree is
/// only looked at.
pub(crate) fn placed(select: &Select) -> Vec<*const ast::Expr> {
    let mut out = Vec::new();
    let conditions = select.selection.iter().chain(&select.having);
    conditions.clone().for_each(|c| parts(c, true, &mut out));
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
        _ => None,
    });
    for expr in items.chain(conditions) {
        let _ = expr.visit(&mut Values { depth: 0, out: &mut out });
    }
    out
}

/// The parts of a condition that only AND (while `alone`) and OR join.
fn parts(expr: &ast::Expr, alone: bool, out: &mut Vec<*const ast::Expr>) {
    use ast::{BinaryOperator, Expr, UnaryOperator};
    match expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            let alone = alone && *op == BinaryOperator::And;
            parts(left, alone, out);
            parts(right, alone, out);
        }
        Expr::Nested(inner) => parts(inner, alone, out),
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

/// Scalar subqueries of an expression, not those of its subqueries.
struct Values<'a> {
    depth: usize,
    out: &'a mut Vec<*const ast::Expr>,
}

impl Visitor for Values<'_> {
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
