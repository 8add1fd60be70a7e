//! Rewrite of syntax whose meaning in PostgreSQL the planner lacks to function calls.
//!
//! A cast becomes a marker call ([`crate::functions::eval::cast`]); LIKE with an ESCAPE, SIMILAR TO, and ANY and
//! ALL over an array become functions with PostgreSQL's meaning, since the planner has another or none. Every
//! column of a SELECT gets the name that PostgreSQL gives it, so that an outer query can use it. This comes
//! after every check of the text as written.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self as sql, BinaryOperator, CastKind, Expr, Ident, Query, Select, SelectItem, Value, ValueWithSpan,
    VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::grammar::{self, text_value};
use super::names::natural_name;
use crate::functions::planning::quantified::{ALL, ANY};
use crate::functions::planning::written_cast::CAST;
use crate::sql::diagnostics::unsupported;
use crate::sql::logical::joins::using;
use crate::sql::parse::tokens::fold_ident;
use crate::sql::parse::walk::WalkMut;

/// PostgreSQL's name of a column whose expression has none.
pub(crate) const UNNAMED: &str = "?column?";

/// Rewrites such syntax in `node` to calls.
pub(crate) fn to_plain_calls(node: &mut impl VisitMut) {
    grammar::as_calls(node);
    let _ = node.walk_mut(&mut SyntaxRewrite);
}

struct SyntaxRewrite;

impl VisitorMut for SyntaxRewrite {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_columns(&mut query.body);
        if unsupported::order::is_idle(query) {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        using::qualify_chained(select);
        tell_apart(select);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_sugar(expr) {
            let taken = std::mem::replace(expr, Expr::Value(Value::Null.into()));
            *expr = as_call(taken);
        }
        ControlFlow::Continue(())
    }
}

fn is_sugar(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, array: false, format: None, .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::Collate { .. }
    )
}

fn as_call(expr: Expr) -> Expr {
    match expr {
        Expr::Cast { kind, expr, data_type, array, format } => {
            if matches!(expr.as_ref(), Expr::Value(ValueWithSpan { value: Value::Null, .. })) {
                return Expr::Cast { kind, expr, data_type, array, format };
            }
            let written = text_value(data_type.to_string());
            let null = Box::new(Expr::Value(Value::Null.into()));
            let typed =
                Expr::Cast { kind: CastKind::Cast, expr: null, data_type, array: false, format: None };
            call(CAST, vec![*expr, typed, written])
        }
        // Other collations than the order of bytes were refused, and text has that order anyway.
        Expr::Collate { expr, .. } => *expr,
        Expr::AnyOp { left, compare_op, right, .. } => quantified_call(ANY, *left, &compare_op, *right),
        Expr::AllOp { left, compare_op, right } => quantified_call(ALL, *left, &compare_op, *right),
        other => other,
    }
}

fn quantified_call(function: &str, left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    call(function, vec![left, right, text_value(op.to_string())])
}

/// Builds a call whose name has no place, because it does not stand in the file.
pub(crate) fn call(function: &str, args: Vec<Expr>) -> Expr {
    grammar::call(function, Span::empty(), args)
}

/// Names the columns of a query's first SELECT, which are those of the query.
pub(crate) fn name_columns(body: &mut sql::SetExpr) {
    match body {
        sql::SetExpr::SetOperation { left, .. } => name_columns(left),
        sql::SetExpr::Query(query) => name_columns(&mut query.body),
        sql::SetExpr::Select(select) => name_items(select),
        _ => {}
    }
}

/// Names the columns of a SELECT as PostgreSQL does: a call by its function, a field by itself, anything else
/// `?column?`. A further `?column?` gets a number, because the planner needs distinct names.
fn name_items(select: &mut Select) {
    let mut unnamed = 0;
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_)) {
            continue;
        }
        let alias = match natural_name(expr) {
            Some(name) => name,
            None => {
                unnamed += 1;
                let name = if unnamed == 1 { UNNAMED.to_owned() } else { format!("{UNNAMED}{unnamed}") };
                Ident::with_quote('"', name)
            }
        };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// Renames a column `k` to `k:1` if the list has that name already, as the planner does where tables of a
/// join have a column in common; [`crate::sql::logical::repeated`] restores the name. `a.k` and `b.k` are
/// left alone: the planner distinguishes them by their tables.
fn tell_apart(select: &mut Select) {
    let mut seen: Vec<(Option<String>, String)> = Vec::new();
    for item in &mut select.projection {
        let (expr, name) = match &*item {
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(name)) => (expr, fold_ident(name)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, fold_ident(alias)),
            SelectItem::UnnamedExpr(expr) => (expr, expr.to_string()),
            _ => continue,
        };
        let of = table_of(expr, &name);
        let (mut number, mut clashes) = (0, false);
        for (other, known) in &seen {
            if *known == name {
                number += 1;
                clashes |= of.is_none() || other.is_none() || of == *other;
            }
        }
        if clashes {
            let alias = Ident::with_quote('"', format!("{name}:{number}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
        seen.push((of, name));
    }
}

/// Table that stands before a column called `name`; None for another expression.
fn table_of(expr: &Expr, name: &str) -> Option<String> {
    let Expr::CompoundIdentifier(parts) = expr else { return None };
    if fold_ident(&natural_name(expr)?) != name {
        return None;
    }
    parts.first().map(fold_ident)
}
