//! Subqueries that are never asked: those of a SELECT from a table that is always empty, and those in a
//! branch of CASE for kinds of objects that Herald does not have. They are replaced by NULL, as what they
//! hold is beyond the engine.

use std::ops::ControlFlow;

use dataflows::sql::walk_expr;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArguments, JoinOperator, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, VisitorMut,
};

use super::aggregates::{array_subquery, is_aggregated};
use super::build::{
    array_type, call, call_arguments, column_name, item_expr, last_part, literal_text, null_of, peeled,
};
use super::expressions::{builtin_name, engine_type};
use super::scopes::Scopes;
use super::sources::catalogue_name;
use crate::query::catalog::is_filled;
use crate::query::catalog::lookups::{CAST, NO_OIDS};
use crate::query::catalog::relations::column_type;

/// Kinds that no row of the catalogue has, by column: Herald has no foreign keys, domains or composite types.
const MISSING_KINDS: [(&str, &[&str]); 2] =
    [("contype", &["c", "f", "n", "t", "u", "x"]), ("typtype", &["c", "d", "e", "m", "r"])];

/// Tells whether a condition holds of no row, as it asks for a kind that there is none of.
fn is_never(condition: &Expr, scopes: &Scopes) -> bool {
    match peeled(condition) {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (Some(column), Some(kind)) = (column_name(left), literal_text(right)) else { return false };
            let is_missing = |(name, kinds): &(&str, &[&str])| *name == column && kinds.contains(&kind);
            MISSING_KINDS.iter().any(is_missing) && scopes.relation_of(left).is_some()
        }
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            is_never(left, scopes) || is_never(right, scopes)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            is_never(left, scopes) && is_never(right, scopes)
        }
        _ => false,
    }
}

/// Removes the branches of a CASE that no row takes.
pub(super) fn drop_branches(expr: &mut Expr, scopes: &Scopes) {
    let Expr::Case { operand: None, conditions, else_result, .. } = expr else { return };
    let dropped = conditions.iter().find(|branch| is_never(&branch.condition, scopes));
    let Some(null) = dropped.map(|branch| null_like(&branch.result)) else { return };
    conditions.retain(|branch| !is_never(&branch.condition, scopes));
    if conditions.is_empty() {
        let rest = else_result.take().map(|rest| *rest);
        *expr = match rest {
            Some(rest) if !matches!(&rest, Expr::Value(value) if value.value == Value::Null) => rest,
            _ => null,
        };
    }
}

/// NULL of an expression's type, as far as the catalogue's columns tell it; of text if they do not.
fn null_like(expr: &Expr) -> Expr {
    let name = type_of_value(expr);
    match name.as_str() {
        "oid" | "xid" | "name" | "char" => call(&format!("{CAST}{name}"), vec![Expr::value(Value::Null)]),
        "_oid" => call(NO_OIDS, Vec::new()),
        name => match name.strip_prefix('_') {
            Some(item) => null_of(array_type(engine_type(item).unwrap_or(DataType::Text))),
            None => null_of(engine_type(name).unwrap_or(DataType::Text)),
        },
    }
}

/// Name of the builtin type of an expression's value.
fn type_of_value(expr: &Expr) -> String {
    let of_output = |query| first_output(query).map_or_else(|| "text".to_owned(), type_of_value);
    match peeled(expr) {
        Expr::Subquery(query) => of_output(query),
        Expr::Cast { data_type, .. } => {
            let item = builtin_name(data_type).unwrap_or_else(|| "text".to_owned());
            if matches!(data_type, DataType::Array(_)) { format!("_{item}") } else { item }
        }
        Expr::Function(function) => match (last_part(&function.name).as_deref(), &function.args) {
            (Some("array_agg"), _) => {
                let first = call_arguments(function).first().map(|first| type_of_value(first));
                format!("_{}", first.as_deref().unwrap_or("text"))
            }
            (Some("array"), FunctionArguments::Subquery(query)) => format!("_{}", of_output(query)),
            _ => "text".to_owned(),
        },
        other => {
            let column = column_name(other);
            column.as_deref().and_then(column_type).unwrap_or("text").to_owned()
        }
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
pub(super) fn drop_unasked(select: &mut Select, scopes: &Scopes) {
    if let Some(condition) = &mut select.selection
        && is_never(condition, scopes)
        && walk_expr(&mut condition.clone(), &mut FindSubquery).is_break()
    {
        *condition = Expr::value(Value::Boolean(false));
    } else if !is_void(select, scopes) {
        return;
    }
    if is_aggregated(select) {
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
            *expr = null_like(expr);
        }
        ControlFlow::Continue(())
    }
}

/// Tells whether a SELECT has no rows, whatever the catalogue holds.
fn is_void(select: &Select, scopes: &Scopes) -> bool {
    if is_aggregated(select) {
        return false;
    }
    select.selection.as_ref().is_some_and(|condition| is_never(condition, scopes))
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
