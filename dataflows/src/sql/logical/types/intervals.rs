//! Comparison of intervals by length, and coercion of times to microseconds.
//!
//! Arrow compares intervals part by part, so that 59 days are less than a month, and 24 hours are not equal
//! to a day. After types are settled, every comparison of intervals is therefore rewritten to one of their
//! lengths in microseconds, and every key (of GROUP BY, DISTINCT, UNION) to a normal form in days and time
//! that equal intervals share. Packed rows order intervals by length themselves ([`schemas::row`]).
//! Comparisons of intervals that this pass does not rewrite are refused. Where DataFusion coerces two times
//! to nanoseconds, which end in 2262, they are coerced to microseconds instead.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::{Aggregate, Distinct, LogicalPlan, Projection, Sort};
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, SortExpr};

use crate::functions::time::{self, in_days, length, negative};
use crate::functions::types::herald_type;
use crate::sql::logical::rewrite::recompute_schemas;

/// Message for an interval that cannot be compared.
pub(crate) const NOT_HERE: &str = "an INTERVAL cannot be compared here";

/// Rewrites `plan` to compare and group intervals by length.
///
/// # Errors
/// If an interval is compared in a way that is not supported.
pub(crate) fn by_value(plan: LogicalPlan) -> Result<LogicalPlan> {
    recompute_schemas(plan.transform_up(rewrite_node)?)
}

/// Rewrites the keys of one node, and then its expressions.
fn rewrite_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    let keyed = match node {
        LogicalPlan::Aggregate(aggregate) => group_by_days(aggregate, &schema)?,
        LogicalPlan::Distinct(Distinct::All(input)) => distinct_by_days(input)?,
        LogicalPlan::Sort(sort) => sort_by_length(sort, &schema)?,
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                if is_interval(left, join.left.schema()) || is_interval(right, join.right.schema()) {
                    (*left, *right, changed) = (length(left.clone()), length(right.clone()), true);
                }
            }
            transformed_if(LogicalPlan::Join(join), changed)
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            if any_interval(&on.on_expr, &schema) {
                return plan_err!("{NOT_HERE}: DISTINCT ON over an INTERVAL");
            }
            Transformed::no(LogicalPlan::Distinct(Distinct::On(on)))
        }
        other => Transformed::no(other),
    };
    keyed.transform_data(|node| rewrite_expressions(node, &schema))
}

/// Rewrites the expressions of a node and keeps their names.
fn rewrite_expressions(node: LogicalPlan, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| rewrite_named(expr, &names, schema))
}

/// Rewrites one expression and keeps its name.
fn rewrite_named(expr: Expr, names: &NamePreserver, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let saved = names.save(&expr);
    let mut by_length = expr.transform_up(|e| rewrite_part(e, schema))?;
    by_length.data = saved.restore(by_length.data);
    Ok(by_length)
}

/// Rewrites one expression whose parts are rewritten.
fn rewrite_part(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    in_microseconds(expr, schema)?.transform_data(|e| compare_by_length(e, schema))
}

/// A plan with the flag whether it changed.
fn transformed_if(plan: LogicalPlan, changed: bool) -> Transformed<LogicalPlan> {
    if changed { Transformed::yes(plan) } else { Transformed::no(plan) }
}

/// Tells whether an expression is an interval.
fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(IntervalUnit::MonthDayNano)))
}

/// Tells whether one of `exprs` is an interval.
fn any_interval<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> bool {
    exprs.into_iter().any(|e| is_interval(e, schema))
}

/// Tells whether an ORDER BY has an interval among its keys.
fn orders_by_interval(order: &[SortExpr], schema: &DFSchema) -> bool {
    order.iter().any(|by| is_interval(&by.expr, schema))
}

/// Length of an interval, in a box.
fn boxed_length(of: Expr) -> Box<Expr> {
    Box::new(length(of))
}

/// Rewrites a comparison of intervals to one of lengths.
fn compare_by_length(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op) && (is_interval(&left, schema) || is_interval(&right, schema)) =>
        {
            let (left, right) = (boxed_length(*left), boxed_length(*right));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, op, right)))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_interval(&expr, schema) => {
            let (expr, low, high) = (boxed_length(*expr), boxed_length(*low), boxed_length(*high));
            Transformed::yes(Expr::Between(Between::new(expr, negated, low, high)))
        }
        Expr::InList(InList { expr, list, negated }) if is_interval(&expr, schema) => {
            let list = list.into_iter().map(length).collect();
            Transformed::yes(Expr::InList(InList::new(boxed_length(*expr), list, negated)))
        }
        Expr::Case(Case { expr: Some(of), when_then_expr, else_expr }) if is_interval(&of, schema) => {
            let when = when_then_expr.into_iter().map(|(when, then)| (boxed_length(*when), then)).collect();
            let of = Some(boxed_length(*of));
            Transformed::yes(Expr::Case(Case { expr: of, when_then_expr: when, else_expr }))
        }
        Expr::Negative(of) if is_interval(&of, schema) => Transformed::yes(negative(*of)),
        Expr::ScalarFunction(ScalarFunction { func, args }) if any_interval(&args, schema) => {
            match func.name() {
                "nullif" if args.len() == 2 => {
                    let same = length(args[0].clone()).eq(length(args[1].clone()));
                    let null = Expr::Literal(ScalarValue::IntervalMonthDayNano(None), None);
                    let when = vec![(Box::new(same), Box::new(null))];
                    Transformed::yes(Expr::Case(Case::new(None, when, Some(Box::new(args[0].clone())))))
                }
                name @ ("greatest" | "least") => return plan_err!("{NOT_HERE}: {name} over INTERVAL"),
                _ => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
            }
        }
        Expr::AggregateFunction(f) => {
            let name = f.func.name();
            let compared = f.params.distinct && !matches!(name, "min" | "max");
            if compared && any_interval(&f.params.args, schema)
                || orders_by_interval(&f.params.order_by, schema)
            {
                return plan_err!("{NOT_HERE}: DISTINCT or ORDER BY in '{name}' over an INTERVAL");
            }
            Transformed::no(Expr::AggregateFunction(f))
        }
        Expr::WindowFunction(f) => {
            let keys = f.params.partition_by.iter().chain(&f.params.args);
            if any_interval(keys, schema) || orders_by_interval(&f.params.order_by, schema) {
                return plan_err!("{NOT_HERE}: a window function over an INTERVAL");
            }
            Transformed::no(Expr::WindowFunction(f))
        }
        other => Transformed::no(other),
    })
}

/// Rewrites a cast to a time of a type that no column has to one of a type in microseconds.
fn in_microseconds(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(cast) = &expr else { return Ok(Transformed::no(expr)) };
    let to = cast.field.data_type();
    let time = matches!(
        to,
        DataType::Timestamp(..)
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Duration(_)
    );
    let target = match herald_type(to) {
        Some(target) if time && target != *to => target,
        _ => return Ok(Transformed::no(expr)),
    };
    let from = cast.expr.get_type(schema)?;
    let of = cast.expr.as_ref().clone();
    Ok(Transformed::yes(match time::cast(&from, &target) {
        _ if from == target => of,
        Some(function) => function.call(vec![of]),
        None => datafusion_expr::cast(of, target),
    }))
}

/// Tells whether an operator compares.
fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom
    )
}

/// Groups by the normal form of intervals.
fn group_by_days(mut aggregate: Aggregate, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for key in &mut aggregate.group_expr {
        if let Expr::GroupingSet(sets) = key
            && any_interval(sets.distinct_expr(), schema)
        {
            return plan_err!("{NOT_HERE}: GROUPING SETS, ROLLUP or CUBE over an INTERVAL");
        }
        if is_interval(key, schema) {
            let (relation, name) = key.qualified_name();
            *key = in_days(key.clone()).alias_qualified(relation, name);
            changed = true;
        }
    }
    Ok(transformed_if(LogicalPlan::Aggregate(aggregate), changed))
}

/// Projects intervals below a DISTINCT to their normal form.
fn distinct_by_days(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let mut columns = Vec::with_capacity(schema.fields().len());
    let mut changed = false;
    for (relation, field) in schema.iter() {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        columns.push(match field.data_type() {
            DataType::Interval(_) => {
                changed = true;
                in_days(column).alias_qualified(relation.cloned(), field.name())
            }
            _ => column,
        });
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let shared = Projection::try_new(columns, input)?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(LogicalPlan::Projection(shared))))))
}

/// Orders by the length of intervals.
fn sort_by_length(mut sort: Sort, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for by in sort.expr.iter_mut().filter(|by| is_interval(&by.expr, schema)) {
        by.expr = length(by.expr.clone());
        changed = true;
    }
    Ok(transformed_if(LogicalPlan::Sort(sort), changed))
}
