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
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use crate::functions::time::{self, in_days, length, negative};
use crate::functions::types::herald_type;

/// Message for an interval that cannot be compared.
pub(crate) const NOT_HERE: &str = "an INTERVAL cannot be compared here";

/// Rewrites `plan` to compare and group intervals by length.
///
/// # Errors
/// If an interval is compared in a way that is not supported.
pub(crate) fn by_value(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| {
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
                if on.on_expr.iter().any(|e| is_interval(e, &schema)) {
                    return plan_err!("{NOT_HERE}: DISTINCT ON over an INTERVAL");
                }
                Transformed::no(LogicalPlan::Distinct(Distinct::On(on)))
            }
            other => Transformed::no(other),
        };
        keyed.transform_data(|node| {
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let saved = names.save(&expr);
                let by_length = expr.transform_up(|e| {
                    in_microseconds(e, &schema)?.transform_data(|e| compare_by_length(e, &schema))
                })?;
                Ok(by_length.update_data(|e| saved.restore(e)))
            })
        })
    })
    .and_then(|done| if done.transformed { recompute_schemas(done.data) } else { Ok(done.data) })
}

/// Recomputes the schemas of a changed plan.
fn recompute_schemas(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up(|node| node.recompute_schema().map(Transformed::yes))?.data)
}

/// A plan with the flag whether it changed.
fn transformed_if(plan: LogicalPlan, changed: bool) -> Transformed<LogicalPlan> {
    if changed { Transformed::yes(plan) } else { Transformed::no(plan) }
}

/// Tells whether an expression is an interval.
fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(IntervalUnit::MonthDayNano)))
}

/// Rewrites a comparison of intervals to one of lengths.
fn compare_by_length(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is = |e: &Expr| is_interval(e, schema);
    let boxed = |e: Box<Expr>| Box::new(length(*e));
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op) && (is(&left) || is(&right)) =>
        {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(boxed(left), op, boxed(right))))
        }
        Expr::Between(Between { expr, negated, low, high }) if is(&expr) => {
            Transformed::yes(Expr::Between(Between::new(boxed(expr), negated, boxed(low), boxed(high))))
        }
        Expr::InList(InList { expr, list, negated }) if is(&expr) => {
            let list = list.into_iter().map(length).collect();
            Transformed::yes(Expr::InList(InList::new(boxed(expr), list, negated)))
        }
        Expr::Case(Case { expr: Some(of), when_then_expr, else_expr }) if is(&of) => {
            let when = when_then_expr.into_iter().map(|(when, then)| (boxed(when), then)).collect();
            Transformed::yes(Expr::Case(Case { expr: Some(boxed(of)), when_then_expr: when, else_expr }))
        }
        Expr::Negative(of) if is(&of) => Transformed::yes(negative(*of)),
        Expr::ScalarFunction(ScalarFunction { func, args }) if args.iter().any(is) => match func.name() {
            "nullif" if args.len() == 2 => {
                let same = length(args[0].clone()).eq(length(args[1].clone()));
                let null = Expr::Literal(ScalarValue::IntervalMonthDayNano(None), None);
                let when = vec![(Box::new(same), Box::new(null))];
                Transformed::yes(Expr::Case(Case::new(None, when, Some(Box::new(args[0].clone())))))
            }
            name @ ("greatest" | "least") => return plan_err!("{NOT_HERE}: {name} over INTERVAL"),
            _ => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
        },
        Expr::AggregateFunction(f) => {
            let compared = f.params.distinct && !matches!(f.func.name(), "min" | "max");
            let of = f.params.args.iter().filter(|_| compared);
            if of.chain(f.params.order_by.iter().map(|sort| &sort.expr)).any(is) {
                let name = f.func.name();
                return plan_err!("{NOT_HERE}: DISTINCT or ORDER BY in '{name}' over an INTERVAL");
            }
            Transformed::no(Expr::AggregateFunction(f))
        }
        Expr::WindowFunction(f) => {
            let keys = f.params.partition_by.iter().chain(f.params.order_by.iter().map(|sort| &sort.expr));
            if keys.chain(f.params.args.iter()).any(is) {
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
    let Some(target) = herald_type(to).filter(|target| time && target != to) else {
        return Ok(Transformed::no(expr));
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
            && sets.distinct_expr().into_iter().any(|e| is_interval(e, schema))
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
    let is = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
    if !schema.fields().iter().any(|f| is(f.data_type())) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let columns = schema.iter().map(|(relation, field)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        match is(field.data_type()) {
            true => in_days(column).alias_qualified(relation.cloned(), field.name()),
            false => column,
        }
    });
    let shared = Projection::try_new(columns.collect(), input)?;
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
