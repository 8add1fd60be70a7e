//! Subqueries of the forms that the engine does not run.
//!
//! The engine runs a scalar subquery with columns of the outer query only if it aggregates and compares them
//! by `=`. Any other is asked for all its rows once, as an array of structs, and each outer row takes those
//! that fit: `array_transform(array_filter(rows, row -> condition), row -> output)`. The catalogue is small
//! enough for that.
//!
//! EXISTS is run in conditions alone: among the outputs of a SELECT it becomes a count of such an array.
//!
//! A subquery whose meaning these forms would change stays as it is: the engine runs it, or refuses it.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Distinct, Expr, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
};

use super::aggregates::{Effects, array_subquery, is_aggregated, is_grouped};
use super::build::{
    array_of, boolean_literal, call, call_ordered, case, column_of, conjunction, item_expr, lambda, null_of,
    number_literal, plain_select, plain_select_mut, quoted, split_conjunction, visit_outside_queries,
};
use super::rows::{Bounds, RowColumns, joins_read_outer, order_of, query_reads_outer, reads_outer};
use super::scopes::{ScopeTable, tables_of};
use super::sources::{catalogue_name, select_of, table_alias};
use crate::query::catalog::call::ONLY_ROW;

/// Name of a table that is made of a subquery, and of its column.
const ROWS: &str = "__rows";
const VALUE: &str = "__value";

/// Counts the rows of each EXISTS among the outputs of a SELECT.
pub(super) fn count_existing(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            visit_outside_queries(expr, count_if_existing);
        }
    }
}

/// Replaces EXISTS by the number of its rows.
fn count_if_existing(expr: &mut Expr) {
    if let Expr::Exists { subquery, negated } = &*expr
        && let Some(counted) = counted_rows(subquery, *negated)
    {
        *expr = counted;
    }
}

/// EXISTS of a query, or NOT EXISTS, by the number of its rows; None for a query that is not one SELECT.
fn counted_rows(query: &Query, negated: bool) -> Option<Expr> {
    let mut query = query.clone();
    query.order_by = None;
    let is_part = !Bounds::of(&query)?.is_all();
    let select = plain_select_mut(&mut query)?;
    match select.distinct {
        None => {}
        // There are as many rows as without it, or fewer, but none only if there are none.
        Some(Distinct::Distinct) if !is_part => select.distinct = None,
        Some(_) => return None,
    }
    let outputs = select.projection.iter().filter_map(item_expr).map(Effects::of);
    let (mut aggregates, mut sets) = (false, false);
    for effects in outputs {
        aggregates |= effects.aggregates;
        sets |= effects.sets;
    }
    // Without its aggregates a SELECT that has nothing else of a group would have other rows.
    let is_one_row = aggregates && !is_grouped(select) && select.having.is_none();
    if sets || select.qualify.is_some() || is_one_row {
        return None;
    }
    select.projection = vec![SelectItem::UnnamedExpr(number_literal(1))];
    let count = call("cardinality", vec![array_of(query)]);
    let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    Some(Expr::BinaryOp { left: Box::new(count), op, right: Box::new(number_literal(0)) })
}

/// Tells whether a query has rows, if its form tells it: one that aggregates all its rows has one.
fn known_existence(query: &Query) -> Option<bool> {
    let select = plain_select(query)?;
    let is_one_row = is_aggregated(select) && !is_grouped(select) && select.having.is_none();
    let is_plain = select.qualify.is_none() && select.projection.iter().filter_map(item_expr).all(has_no_set);
    if is_one_row && is_plain { Some(Bounds::of(query)?.has_first()) } else { None }
}

fn has_no_set(expr: &Expr) -> bool {
    !Effects::of(expr).sets
}

/// Rewrites a subquery in an expression whose parts are rewritten. `lambdas` counts those that are made.
pub(super) fn rewrite_subquery(expr: &mut Expr, lambdas: &mut usize) {
    let rewritten = match &*expr {
        Expr::Exists { subquery, negated } => {
            known_existence(subquery).map(|exists| boolean_literal(exists != *negated))
        }
        Expr::InSubquery { expr, subquery, negated } => {
            constant_rows(subquery).map(|rows| found_in(rows, expr, *negated, lambdas))
        }
        Expr::Subquery(query) => correlated_rows(query, lambdas).map(|rows| call(ONLY_ROW, vec![rows])),
        other => array_subquery(other).and_then(|query| {
            let rows = correlated_rows(query, lambdas).or_else(|| all_rows(query))?;
            Some(or_empty(rows))
        }),
    };
    if let Some(rewritten) = rewritten {
        *expr = rewritten;
    }
}

/// An array, or an empty one for NULL.
fn or_empty(rows: Expr) -> Expr {
    call("coalesce", vec![rows, call("make_array", Vec::new())])
}

/// A parameter for a lambda that no other has.
fn new_parameter(lambdas: &mut usize) -> String {
    *lambdas += 1;
    format!("__row{lambdas}")
}

/// IN of an array, or NOT IN: NULL for a value that is not found beside a NULL, or is one.
fn found_in(rows: Expr, value: &Expr, negated: bool, lambdas: &mut usize) -> Expr {
    let item = new_parameter(lambdas);
    let is_null = Expr::IsNull(Box::new(Expr::Identifier(quoted(&item))));
    let nulls = call("array_filter", vec![rows.clone(), lambda(&item, is_null)]);
    let count = |rows: Expr, op: BinaryOperator| {
        let (left, right) = (Box::new(call("cardinality", vec![rows])), Box::new(number_literal(0)));
        Expr::BinaryOp { left, op, right }
    };
    let unknown = Expr::BinaryOp {
        left: Box::new(Expr::IsNull(Box::new(Expr::Nested(Box::new(value.clone()))))),
        op: BinaryOperator::Or,
        right: Box::new(count(nulls, BinaryOperator::Gt)),
    };
    let no_rows = count(rows.clone(), BinaryOperator::Eq);
    let found = call("array_has", vec![rows, value.clone()]);
    case(
        vec![
            (no_rows, boolean_literal(negated)),
            (found, boolean_literal(!negated)),
            (unknown, null_of(DataType::Boolean)),
        ],
        boolean_literal(negated),
    )
}

/// The output of the subquery of IN as an array, if the subquery reads only the catalogue and nothing of the
/// outer query: the engine runs IN with a subquery in conditions alone.
fn constant_rows(query: &Query) -> Option<Expr> {
    let select = plain_select(query)?;
    let tables = named_tables(select)?;
    let reads_views = select
        .from
        .iter()
        .any(|source| is_view(&source.relation) || source.joins.iter().any(|join| is_view(&join.relation)));
    if reads_views || query_reads_outer(query, &tables) {
        return None;
    }
    all_rows(query).map(or_empty)
}

/// Tells whether a table is none of the catalogue.
fn is_view(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, args: None, .. } if catalogue_name(name).is_none())
}

/// The tables of a SELECT; None if it has none, or one without a name.
fn named_tables(select: &Select) -> Option<Vec<ScopeTable>> {
    let tables = tables_of(select);
    let is_named = !tables.is_empty() && tables.iter().all(|table| !table.alias.is_empty());
    is_named.then_some(tables)
}

/// The output of a SELECT that has one row for each that it reads, in any number.
fn plain_output(select: &Select) -> Option<&Expr> {
    let [item] = select.projection.as_slice() else { return None };
    let output = item_expr(item)?;
    let is_plain = !is_aggregated(select) && select.qualify.is_none() && Effects::of(output).is_plain();
    is_plain.then_some(output)
}

/// The output of a subquery without columns of the outer query, as an array.
fn all_rows(query: &Query) -> Option<Expr> {
    let Some(select) = plain_select(query) else { return wrapped_rows(query) };
    let is_whole = select.distinct.is_none() && Bounds::of(query).is_some_and(Bounds::is_all);
    let Some(output) = plain_output(select).filter(|_| is_whole).cloned() else { return wrapped_rows(query) };
    let order = order_of(query)?;
    let mut query = query.clone();
    query.order_by = None;
    let packed = call_ordered("array_agg", output, order);
    plain_select_mut(&mut query)?.projection = vec![SelectItem::UnnamedExpr(packed)];
    Some(Expr::Subquery(Box::new(query)))
}

/// The output of any subquery as an array: an aggregate over the subquery as a table, which has its order as
/// further columns.
fn wrapped_rows(query: &Query) -> Option<Expr> {
    let mut inner = query.clone();
    let mut columns = vec![VALUE.to_owned()];
    let mut order = order_of(query)?;
    for by in &mut order {
        let SetExpr::Select(select) = inner.body.as_mut() else { return None };
        let output = item_expr(select.projection.first()?)?;
        if by.expr == *output {
            by.expr = column_of(ROWS, VALUE);
            continue;
        }
        if select.distinct.is_some() {
            return None;
        }
        let name = format!("__order{}", columns.len());
        let key = std::mem::replace(&mut by.expr, column_of(ROWS, &name));
        select.projection.push(SelectItem::ExprWithAlias { expr: key, alias: quoted(&name) });
        columns.push(name);
    }
    let packed = call_ordered("array_agg", column_of(ROWS, VALUE), order);
    let mut outer = select_of(vec![SelectItem::UnnamedExpr(packed)])?;
    let alias = Some(table_alias(ROWS, columns.iter().map(String::as_str).collect()));
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias, sample: None };
    plain_select_mut(&mut outer)?.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    Some(Expr::Subquery(Box::new(outer)))
}

/// The output of a subquery with columns of the outer query, as an array for each outer row. None if it has
/// none, or a form that the engine runs, or one that neither can.
fn correlated_rows(query: &Query, lambdas: &mut usize) -> Option<Expr> {
    let select = plain_select(query)?;
    let output = plain_output(select)?.clone();
    let bounds = Bounds::of(query)?;
    let order = order_of(query)?;
    let is_distinct = match select.distinct {
        None => false,
        Some(Distinct::Distinct) => true,
        Some(_) => return None,
    };
    let is_orderly = |by: &Expr| Effects::of(by).is_plain() && (!is_distinct || *by == output);
    if bounds.is_nothing() || !order.iter().all(|by| is_orderly(&by.expr)) {
        return None;
    }
    let row = new_parameter(lambdas);
    let (kept, output) = match only_array(select) {
        Some(array) if order.is_empty() => {
            let mut columns = RowColumns::of_item(tables_of(select), &row);
            let condition = select.selection.clone().map(|condition| columns.replace(condition)).transpose();
            (filtered(array, &row, condition.ok()?), columns.replace(output).ok()?)
        }
        _ => fitting_rows(query, output, &row)?,
    };
    let kept = if is_distinct { kept } else { bounds.part_of(kept) };
    let values = match &output {
        Expr::Identifier(name) if name.value == row => kept,
        _ => call("array_transform", vec![kept, lambda(&row, output)]),
    };
    Some(if is_distinct { bounds.part_of(call("array_distinct", vec![values])) } else { values })
}

/// The items of an array that fit a condition.
fn filtered(array: Expr, item: &str, condition: Option<Expr>) -> Expr {
    match condition {
        Some(condition) => call("array_filter", vec![array, lambda(item, condition)]),
        None => array,
    }
}

/// The rows of a subquery that fit an outer row, as structs in their order, and its output over such a row.
fn fitting_rows(query: &Query, output: Expr, row: &str) -> Option<(Expr, Expr)> {
    let select = plain_select(query)?;
    let tables = named_tables(select)?;
    let order = order_of(query)?;
    let is_ordered_by_outer = order.iter().any(|by| reads_outer(&by.expr, &tables));
    if is_ordered_by_outer || joins_read_outer(select, &tables) {
        return None;
    }
    let mut parts = Vec::new();
    if let Some(condition) = select.selection.clone() {
        split_conjunction(condition, &mut parts);
    }
    let (inner, mixed): (Vec<Expr>, Vec<Expr>) =
        parts.into_iter().partition(|part| !reads_outer(part, &tables));
    if mixed.is_empty() && !reads_outer(&output, &tables) {
        return None;
    }
    let mut columns = RowColumns::of_rows(tables, row);
    let mixed: Result<Vec<Expr>, _> = mixed.into_iter().map(|part| columns.replace(part)).collect();
    let mixed = conjunction(mixed.ok()?);
    let output = columns.replace(output).ok()?;
    let mut rows = query.clone();
    (rows.order_by, rows.limit_clause) = (None, None);
    let inner_select = plain_select_mut(&mut rows)?;
    inner_select.selection = conjunction(inner);
    inner_select.distinct = None;
    let packed = call_ordered("array_agg", columns.packed(), order);
    inner_select.projection = vec![SelectItem::UnnamedExpr(packed)];
    Some((filtered(Expr::Subquery(Box::new(rows)), row, mixed), output))
}

/// The array of a SELECT from an unnested array alone.
fn only_array(select: &Select) -> Option<Expr> {
    let [source] = select.from.as_slice() else { return None };
    let TableFactor::UNNEST { array_exprs, alias: Some(_), with_ordinality: false, .. } = &source.relation
    else {
        return None;
    };
    let [array] = array_exprs.as_slice() else { return None };
    source.joins.is_empty().then(|| array.clone())
}
