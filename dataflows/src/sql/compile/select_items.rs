//! Items of the SELECT of an INSERT, with the columns that they fill.
//!
//! A constant in quotes has no type of its own: as in PostgreSQL it takes that of its column, and so does NULL, and a
//! number that is written in the query. That holds for the items of one SELECT, or the rows of one VALUES; in a UNION
//! its parts decide on types together.

use arrow::datatypes::{DataType, Field};
use datafusion_sql::sqlparser::ast as sql;
use datafusion_sql::sqlparser::ast::Spanned;
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Span;

/// An item of a SELECT or of the first row of VALUES.
pub(super) struct Item {
    /// Its place in the text.
    pub span: Span,
    /// Its expression as written; None for a wildcard.
    pub text: Option<String>,
}

/// The item that fills column `at` of the `width` columns of a query; the first SELECT of a UNION names them.
pub(super) fn item_of(query: &sql::Query, at: usize, width: usize) -> Option<Item> {
    let mut body = query.body.as_ref();
    loop {
        body = match body {
            sql::SetExpr::Query(inner) => inner.body.as_ref(),
            sql::SetExpr::SetOperation { left, .. } => left.as_ref(),
            sql::SetExpr::Select(select) => {
                let at = item_index(&select.projection, at, width)?;
                let item = &select.projection[at];
                let text = item_expr(item).map(ToString::to_string);
                return Some(Item { span: item.span(), text });
            }
            sql::SetExpr::Values(values) => {
                let value = values.rows.first()?.get(at)?;
                return Some(Item { span: value.span(), text: Some(value.to_string()) });
            }
            _ => return None,
        };
    }
}

/// Index of the item that fills column `at`; None if two wildcards leave it open.
fn item_index(items: &[sql::SelectItem], at: usize, width: usize) -> Option<usize> {
    let is_wild = |item: &sql::SelectItem| item_expr(item).is_none();
    let Some(first) = items.iter().position(is_wild) else {
        return (at < items.len()).then_some(at);
    };
    if at < first {
        return Some(at);
    }
    if items[first + 1..].iter().any(is_wild) {
        return None;
    }
    let behind = items.len() - first - 1;
    let left = width.saturating_sub(at);
    if left <= behind { Some(items.len() - left) } else { Some(first) }
}

/// The expression of an item that is no wildcard.
fn item_expr(item: &sql::SelectItem) -> Option<&sql::Expr> {
    match item {
        sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Gives the constants of a query the types of the columns that they fill, and names to items without one, which
/// may repeat. Returns for each column whether NULL is written for it, and nothing else.
pub(super) fn type_constants(query: &mut sql::Query, view: &str, targets: &[&Field]) -> Vec<bool> {
    let mut nulls = vec![false; targets.len()];
    let mut body = query.body.as_mut();
    while let sql::SetExpr::Query(inner) = body {
        body = inner.body.as_mut();
    }
    match body {
        sql::SetExpr::Select(select) => {
            for (at, target) in targets.iter().enumerate() {
                let Some(index) = item_index(&select.projection, at, targets.len()) else { continue };
                let name = format!("{view}.{}", target.name());
                nulls[at] = type_item(&mut select.projection, index, target, name);
            }
        }
        sql::SetExpr::Values(values) => {
            for (at, target) in targets.iter().enumerate() {
                let mut column: Vec<&mut sql::Expr> =
                    values.rows.iter_mut().filter_map(|row| row.content.get_mut(at)).collect();
                nulls[at] = !column.is_empty() && column.iter().all(|value| is_null(value));
                column.iter_mut().for_each(|value| type_constant(value, target));
            }
        }
        _ => {}
    }
    nulls
}

/// Gives one item the type of its column and a name, where it has none; true for NULL.
fn type_item(items: &mut [sql::SelectItem], index: usize, target: &Field, name: String) -> bool {
    let own = item_expr(&items[index]);
    // A wildcard may have any column.
    let repeated = items
        .iter()
        .enumerate()
        .any(|(at, other)| item_expr(other).is_none() || (at < index && item_expr(other) == own));
    let expr = match &mut items[index] {
        sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. } => expr,
        _ => return false,
    };
    let null = is_null(expr);
    type_constant(expr, target);
    // A column keeps its name, by which ORDER BY may know it.
    let is_column = matches!(expr, sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_));
    if let sql::SelectItem::UnnamedExpr(expr) = &items[index]
        && (repeated || !is_column)
    {
        let alias = sql::Ident::with_quote('"', name);
        items[index] = sql::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
    null
}

/// Tells whether an expression is the word NULL.
fn is_null(expr: &sql::Expr) -> bool {
    matches!(expr, sql::Expr::Value(sql::ValueWithSpan { value: sql::Value::Null, .. }))
}

/// Puts a CAST to the type of `target` around a constant that takes its type.
fn type_constant(expr: &mut sql::Expr, target: &Field) {
    let takes = match expr {
        sql::Expr::Value(value) => match value.value {
            sql::Value::SingleQuotedString(_) => {
                *target.data_type() != DataType::Utf8 || schemas::is_jsonb(target)
            }
            sql::Value::Number(..) => target.data_type().is_numeric(),
            _ => false,
        },
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr } => {
            let number = matches!(expr.as_ref(), sql::Expr::Value(value) if matches!(value.value, sql::Value::Number(..)));
            number && target.data_type().is_numeric()
        }
        _ => false,
    };
    if !takes {
        return;
    }
    if let Some(mut cast) = cast_of("NULL", target)
        && let sql::Expr::Cast { expr: inner, .. } = &mut cast
    {
        **inner = expr.clone();
        *expr = cast;
    }
}

/// The expression `CAST(text AS type)`; None if the type cannot be written in a CAST.
pub(super) fn cast_of(text: &str, target: &Field) -> Option<sql::Expr> {
    let written = schemas::sql_type(target);
    if written.contains('<') {
        return None;
    }
    let text = format!("CAST({text} AS {written})");
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).ok()?;
    parser.parse_expr().ok()
}
