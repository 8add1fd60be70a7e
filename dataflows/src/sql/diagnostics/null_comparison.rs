//! Warnings of comparisons with NULL, which are never true.
//!
//! `x = NULL` is valid and NULL for every x, so a condition of it passes no row, silently.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Query, Value, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::site::Site;
use crate::mistake::Mistake;
use crate::sql::parse::walk::Walk;

/// Warns of every `= NULL` and `<> NULL` in `query`, at its NULL.
pub(crate) fn null_comparisons(query: &Query, site: Site) -> Vec<Mistake> {
    let mut search = NullComparisons { site, found: vec![] };
    let _ = query.walk(&mut search);
    search.found
}

/// Visitor that collects warnings.
struct NullComparisons {
    site: Site,
    found: Vec<Mistake>,
}

impl Visitor for NullComparisons {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { left, op, right } = expr else { return ControlFlow::Continue(()) };
        let hint = match op {
            BinaryOperator::Eq => "write IS NULL",
            BinaryOperator::NotEq => "write IS NOT NULL",
            _ => return ControlFlow::Continue(()),
        };
        if let Some(span) = null_span(right).or_else(|| null_span(left)) {
            let pos = self.site.place(span);
            // Rows that are compared column by column repeat their columns.
            if !self.found.iter().any(|known| known.pos == pos) {
                let message = format!("{op} NULL is never true: a comparison with NULL is unknown");
                self.found.push(Mistake::new(pos, message).hint(hint));
            }
        }
        ControlFlow::Continue(())
    }
}

/// Place of the NULL that an expression is, in parentheses or a cast, too.
fn null_span(expr: &Expr) -> Option<Span> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => null_span(inner),
        Expr::Value(value) if value.value == Value::Null => Some(value.span),
        _ => None,
    }
}
