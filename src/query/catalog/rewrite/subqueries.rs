//! Subqueries of the forms that the engine does not run.
//!
//! The engine runs a scalar subquery with columns of the outer query only if it aggregates and compares them
//! by `=`. Any other is asked for all its rows once, as an array of structs, and each outer row takes those
//! that fit: `array_transform(array_filter(rows, row -> condition), row -> output)`. The catalogue is small
//! enough for that.
//!
//! EXISTS is run in conditions alone: among the outputs of a SELECT it becomes a count of such an array.
//!
//! Some subqueries are never asked: those of a SELECT from a table that is always empty, and those in a
//! branch of CASE for kinds of objects that Herald does not have. They are replaced by NULL, as what they
//! hold is beyond the engine.

use std::ops::ControlFlow;

use dataflows::sql::walk_expr;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArguments, GroupByExpr, JoinOperator, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator, Value, VisitorMut,
};

use super::build::{
    array_of, array_type, call, call_arguments, call_ordered, column_name, conjunction, folded, item_expr,
    lambda, last_part, literal_text, null_of, number_literal, peeled, plain_select, plain_select_mut, quoted,
    split_conjunction, text_literal,
};
use super::sources::{alias_of, catalogue_name};
use crate::query::catalog::is_filled;
use crate::query::catalog::relations::{column_type, relation};

/// Parameter of the lambdas that are made.
const ROW: &str = "__row";
/// Aggregates that tools call.
const AGGREGATES: [&str; 12] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "first_value",
    "json_agg",
    "max",
    "min",
    "string_agg",
    "sum",
];

/// Kinds that no row of the catalogue has, by column: Herald has no foreign keys, domains or composite types.
const MISSING_KINDS: [(&str, &[&str]); 2] =
    [("contype", &["c", "f", "n", "t", "u", "x"]), ("typtype", &["c", "d", "e", "m", "r"])];

/// Tells whether a condition holds of no row, as it asks for a kind that there is none of.
fn is_never(condition: &Expr) -> bool {
    match peeled(condition) {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (Some(column), Some(kind)) = (column_name(left), literal_text(right)) else { return false };
            MISSING_KINDS.iter().any(|(name, kinds)| *name == column && kinds.contains(&kind))
        }
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => is_never(left) || is_never(right),
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => is_never(left) && is_never(right),
        _ => false,
    }
}

/// Removes the branches of a CASE that no row takes.
pub(super) fn drop_branches(expr: &mut Expr) {
    let Expr::Case { operand: None, conditions, else_result, .. } = expr else { return };
    let dropped = conditions.iter().find(|branch| is_never(&branch.condition));
    let Some(kind) = dropped.map(|branch| result_type(&branch.result)) else { return };
    conditions.retain(|branch| !is_never(&branch.condition));
    if conditions.is_empty() {
        let rest = else_result.take().map(|rest| *rest);
        *expr = match rest {
            Some(rest) if !matches!(&rest, Expr::Value(value) if value.value == Value::Null) => rest,
            _ => null_of(kind),
        };
    }
}

/// Type of a subquery's value, as far as the catalogue's columns tell it; text if they do not.
fn result_type(expr: &Expr) -> DataType {
    match peeled(expr) {
        Expr::Subquery(query) => first_output(query).map_or(DataType::Text, result_type),
        Expr::Cast { data_type, .. } => data_type.clone(),
        Expr::Function(function) => {
            let first = call_arguments(function).first().map(|first| result_type(first));
            match (last_part(&function.name).as_deref(), &function.args) {
                (Some("array_agg"), _) => array_type(first.unwrap_or(DataType::Text)),
                (Some("array"), FunctionArguments::Subquery(query)) => {
                    array_type(first_output(query).map_or(DataType::Text, result_type))
                }
                _ => DataType::Text,
            }
        }
        other => match column_name(other).as_deref().and_then(column_type) {
            Some("oid" | "int8" | "xid") => DataType::BigInt(None),
            Some("int2" | "int4") => DataType::Integer(None),
            Some("bool") => DataType::Boolean,
            _ => DataType::Text,
        },
    }
}

/// The expression of a query's first output.
fn first_output(query: &Query) -> Option<&Expr> {
    match query.body.as_ref() {
        SetExpr::Select(select) => item_expr(select.projection.first()?),
        _ => None,
    }
}

/// Replaces the subqueries of a SELECT that has no rows: those among its outputs, and with them a condition
/// that no row meets.
pub(super) fn drop_unasked(select: &mut Select) {
    if let Some(condition) = &mut select.selection
        && is_never(condition)
        && walk_expr(&mut condition.clone(), &mut FindSubquery).is_break()
    {
        *condition = Expr::value(Value::Boolean(false));
    } else if !is_void(select) {
        return;
    }
    if select.projection.iter().filter_map(item_expr).any(is_aggregate) {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = walk_expr(expr, &mut DropSubqueries);
        }
    }
}

/// Search for a subquery.
struct FindSubquery;

impl VisitorMut for FindSubquery {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// Replacement of subqueries by NULL.
struct DropSubqueries;

impl VisitorMut for DropSubqueries {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Subquery(_)) || array_subquery(expr).is_some() {
            *expr = null_of(result_type(expr));
        }
        ControlFlow::Continue(())
    }
}

/// Counts the rows of each EXISTS among the outputs of a SELECT.
pub(super) fn count_existing(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = walk_expr(expr, &mut CountExisting { depth: 0 });
        }
    }
}

/// Replacement of EXISTS outside of subqueries.
struct CountExisting {
    depth: usize,
}

impl VisitorMut for CountExisting {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Exists { subquery, negated } = &*expr
            && let Some(counted) = counted_rows(subquery, *negated)
        {
            *expr = counted;
        }
        ControlFlow::Continue(())
    }
}

/// EXISTS of a query, or NOT EXISTS, by the number of its rows; None for a query that is not one SELECT.
fn counted_rows(query: &Query, negated: bool) -> Option<Expr> {
    let mut query = query.clone();
    plain_select_mut(&mut query)?.projection = vec![SelectItem::UnnamedExpr(number_literal(1))];
    let count = call("cardinality", vec![array_of(query)]);
    let op = if negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
    Some(Expr::BinaryOp { left: Box::new(count), op, right: Box::new(number_literal(0)) })
}

/// Tells whether a SELECT has no rows, whatever the catalogue holds.
fn is_void(select: &Select) -> bool {
    let aggregates = select.projection.iter().filter_map(item_expr).any(is_aggregate);
    if aggregates {
        return false;
    }
    select.selection.as_ref().is_some_and(is_never)
        || select.from.iter().any(|source| {
            let mut is_empty = is_always_empty(&source.relation);
            for join in &source.joins {
                match join.join_operator {
                    JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {}
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                        is_empty |= is_always_empty(&join.relation);
                    }
                    _ => return false,
                }
            }
            is_empty
        })
}

/// Tells whether a table is one of the catalogue that nothing fills.
fn is_always_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            catalogue_name(name).is_some_and(|[schema, table]| !is_filled(schema, table))
        }
        _ => false,
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    match peeled(expr) {
        Expr::Function(Function { name, over: None, .. }) => {
            last_part(name).is_some_and(|name| AGGREGATES.contains(&name.as_str()))
        }
        Expr::Cast { expr, .. } => is_aggregate(expr),
        Expr::BinaryOp { left, right, .. } => is_aggregate(left) || is_aggregate(right),
        _ => false,
    }
}

/// The subquery of `ARRAY(SELECT ..)`.
fn array_subquery(expr: &Expr) -> Option<&Query> {
    let Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. }) = expr else {
        return None;
    };
    (last_part(name)? == "array").then_some(query)
}

/// Rewrites a scalar subquery, or ARRAY of one, whose parts are rewritten.
pub(super) fn rewrite_subquery(expr: &mut Expr) {
    let rewritten = match &*expr {
        Expr::InSubquery { expr, subquery, negated } => constant_rows(subquery).map(|rows| {
            let found = call("array_has", vec![rows, expr.as_ref().clone()]);
            if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) } } else { found }
        }),
        Expr::Subquery(query) => {
            correlated_rows(query).map(|rows| call("array_element", vec![rows, number_literal(1)]))
        }
        other => array_subquery(other).and_then(|query| {
            let rows = correlated_rows(query).or_else(|| all_rows(query))?;
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

/// The output of the subquery of IN as an array, if the subquery reads only the catalogue and nothing of the
/// outer query: the engine runs IN with a subquery in conditions alone.
fn constant_rows(query: &Query) -> Option<Expr> {
    let select = plain_select(query)?;
    let [item] = select.projection.as_slice() else { return None };
    let output = item_expr(item)?;
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if is_grouped || select.having.is_some() || is_aggregate(output) {
        return None;
    }
    let tables = inner_tables(select)?;
    let mut parts = select.selection.iter().chain([output]);
    let reads_views = select
        .from
        .iter()
        .any(|source| is_view(&source.relation) || source.joins.iter().any(|join| is_view(&join.relation)));
    if reads_views || parts.any(|part| reads_outer(part, &tables)) {
        return None;
    }
    all_rows(query).map(or_empty)
}

/// Tells whether a table is none of the catalogue.
fn is_view(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, args: None, .. } if catalogue_name(name).is_none())
}

/// The output of a subquery without columns of the outer query, as an array.
fn all_rows(query: &Query) -> Option<Expr> {
    let mut query = query.clone();
    let order = take_order(&mut query)?;
    let select = plain_select_mut(&mut query)?;
    let [item] = select.projection.as_mut_slice() else { return None };
    let output = item_expr(item)?.clone();
    let order = resolve_order(order, &output);
    *item = SelectItem::UnnamedExpr(call_ordered("array_agg", output, order));
    Some(Expr::Subquery(Box::new(query)))
}

/// Takes the ORDER BY of a query; None if it has a LIMIT, or more than these.
fn take_order(query: &mut Query) -> Option<Vec<OrderByExpr>> {
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    match query.order_by.take().map(|order| order.kind) {
        None => Some(Vec::new()),
        Some(OrderByKind::Expressions(order)) => Some(order),
        Some(OrderByKind::All(_)) => None,
    }
}

/// An ORDER BY of which each number stands for the output.
fn resolve_order(mut order: Vec<OrderByExpr>, output: &Expr) -> Vec<OrderByExpr> {
    for by in &mut order {
        if matches!(&by.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
            by.expr = output.clone();
        }
    }
    order
}

/// The output of a subquery with columns of the outer query, as an array for each outer row. None if it has
/// none, or a form that the engine runs, or one that neither can.
fn correlated_rows(query: &Query) -> Option<Expr> {
    let select = plain_select(query)?;
    let [item] = select.projection.as_slice() else { return None };
    let output = item_expr(item)?.clone();
    let is_simple = select.distinct.is_none() && select.having.is_none() && !is_aggregate(&output);
    if !is_simple {
        return None;
    }
    if let Some((array, alias)) = only_array(select) {
        return Some(items_of_array(array, &alias, select.selection.clone(), output));
    }
    let tables = inner_tables(select)?;
    let mut parts = Vec::new();
    if let Some(condition) = select.selection.clone() {
        split_conjunction(condition, &mut parts);
    }
    let (inner, mixed): (Vec<Expr>, Vec<Expr>) =
        parts.into_iter().partition(|part| !reads_outer(part, &tables));
    if mixed.is_empty() && !reads_outer(&output, &tables) {
        return None;
    }
    let mut needed = NeededColumns { tables: &tables, found: Vec::new() };
    let mixed = conjunction(mixed.into_iter().map(|part| needed.replace(part)).collect());
    let output = needed.replace(output);
    let found = needed.found;
    let mut rows = query.clone();
    rows.limit_clause = None;
    let order = take_order(&mut rows)?;
    let inner_select = plain_select_mut(&mut rows)?;
    inner_select.selection = conjunction(inner);
    let order = order.into_iter().filter(|by| !matches!(by.expr, Expr::Value(_))).collect();
    let packed = call_ordered("array_agg", pack_columns(found), order);
    inner_select.projection = vec![SelectItem::UnnamedExpr(packed)];
    let rows = Expr::Subquery(Box::new(rows));
    let kept = match mixed {
        Some(mixed) => call("array_filter", vec![rows, lambda(ROW, mixed)]),
        None => rows,
    };
    Some(call("array_transform", vec![kept, lambda(ROW, output)]))
}

/// The columns of a row as a struct, with a constant so that it is never empty.
fn pack_columns(found: Vec<Expr>) -> Expr {
    let mut fields = vec![text_literal("here"), number_literal(1)];
    for (at, column) in found.into_iter().enumerate() {
        fields.extend([text_literal(&field_name(at)), column]);
    }
    call("named_struct", fields)
}

fn field_name(at: usize) -> String {
    format!("c{at}")
}

/// The array, and its alias, of a SELECT from an unnested array alone.
fn only_array(select: &Select) -> Option<(Expr, String)> {
    let [source] = select.from.as_slice() else { return None };
    let TableFactor::UNNEST { array_exprs, alias: Some(alias), .. } = &source.relation else { return None };
    let [array] = array_exprs.as_slice() else { return None };
    let column = alias.columns.first().map_or(&alias.name, |column| &column.name);
    source.joins.is_empty().then(|| (array.clone(), folded(column)))
}

/// The items of an array that fit a condition, each as the output makes it.
fn items_of_array(array: Expr, item: &str, condition: Option<Expr>, output: Expr) -> Expr {
    let kept = match condition {
        Some(condition) => call("array_filter", vec![array, lambda(item, condition)]),
        None => array,
    };
    if column_name(&output).as_deref() == Some(item) {
        return kept;
    }
    call("array_transform", vec![kept, lambda(item, output)])
}

/// Table of a subquery: its alias, and its columns if they are known.
struct InnerTable {
    alias: String,
    columns: Option<Vec<String>>,
}

impl InnerTable {
    fn of(factor: &TableFactor) -> Option<InnerTable> {
        let alias = alias_of(factor)?;
        let columns = match factor {
            TableFactor::Table { name, args: None, .. } => catalogue_name(name)
                .and_then(|[schema, table]| relation(schema, table))
                .map(|found| found.columns.iter().map(|column| column.name.to_owned()).collect()),
            TableFactor::Table { alias: Some(alias), .. } => {
                Some(alias.columns.iter().map(|column| folded(&column.name)).collect())
            }
            _ => None,
        };
        Some(InnerTable { alias, columns })
    }

    /// Tells whether this table has a column, or may have it.
    fn has(&self, column: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(|known| known == column))
    }
}

/// The tables of a subquery; None if one has no name, or a condition of a join reads the outer query.
fn inner_tables(select: &Select) -> Option<Vec<InnerTable>> {
    let mut tables = Vec::new();
    for source in &select.from {
        tables.push(InnerTable::of(&source.relation)?);
        for join in &source.joins {
            tables.push(InnerTable::of(&join.relation)?);
        }
    }
    (!tables.is_empty()).then_some(tables)
}

/// Tells whether a column is one of these tables.
fn is_inner(column: &Expr, tables: &[InnerTable]) -> bool {
    match column {
        Expr::Identifier(ident) => tables.iter().any(|table| table.has(&folded(ident))),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, _] => tables.iter().any(|inner| inner.alias == folded(table)),
            _ => false,
        },
        _ => true,
    }
}

/// Tells whether an expression reads a column that is none of these tables.
fn reads_outer(expr: &Expr, tables: &[InnerTable]) -> bool {
    let mut find = FindOuter { tables, found: false, depth: 0 };
    let _ = walk_expr(&mut expr.clone(), &mut find);
    find.found
}

struct FindOuter<'a> {
    tables: &'a [InnerTable],
    found: bool,
    /// Depth of queries within the expression, which have columns of their own.
    depth: usize,
}

impl VisitorMut for FindOuter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 && !is_inner(expr, self.tables) {
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}

/// Columns of a subquery that an expression over a row of it needs.
struct NeededColumns<'a> {
    tables: &'a [InnerTable],
    found: Vec<Expr>,
}

impl NeededColumns<'_> {
    /// The expression over a row: columns of the subquery become fields of it.
    fn replace(&mut self, mut expr: Expr) -> Expr {
        let _ = walk_expr(&mut expr, self);
        expr
    }
}

impl VisitorMut for NeededColumns<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        if is_column && is_inner(expr, self.tables) {
            let known = self.found.iter().position(|found| found == expr);
            let at = known.unwrap_or_else(|| {
                self.found.push(expr.clone());
                self.found.len() - 1
            });
            let row = Expr::Identifier(quoted(ROW));
            *expr = call("get_field", vec![row, text_literal(&field_name(at))]);
        }
        ControlFlow::Continue(())
    }
}
