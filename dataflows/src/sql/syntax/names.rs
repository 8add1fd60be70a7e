//! Names that PostgreSQL gives to unnamed columns.

use datafusion_sql::sqlparser::ast as sql;

/// Name that PostgreSQL gives to the column of an expression; None where that is `?column?`.
pub(crate) fn natural_name(expr: &sql::Expr) -> Option<sql::Ident> {
    match expr {
        sql::Expr::Identifier(name) => Some(name.clone()),
        sql::Expr::CompoundIdentifier(names) => names.last().cloned(),
        sql::Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            sql::AccessExpr::Dot(field) => natural_name(field),
            sql::AccessExpr::Subscript(sql::Subscript::Index { index: sql::Expr::Value(v) }) => {
                match &v.value {
                    sql::Value::SingleQuotedString(name) => Some(sql::Ident::with_quote('"', name)),
                    _ => None,
                }
            }
            sql::AccessExpr::Subscript(_) => None,
        },
        sql::Expr::Nested(inner) => natural_name(inner),
        sql::Expr::Cast { expr, .. } => natural_name(expr),
        sql::Expr::Function(f) => Some(lower_ident(&f.name.0.last()?.as_ident()?.value)),
        sql::Expr::Case { .. } => Some(lower_ident("case")),
        sql::Expr::Extract { .. } => Some(lower_ident("extract")),
        _ => None,
    }
}

fn lower_ident(name: &str) -> sql::Ident {
    sql::Ident::with_quote('"', name.to_lowercase())
}
