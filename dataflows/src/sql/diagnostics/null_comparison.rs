//! Warnings of comparisons with NULL, which are never true.
//!
//! `x = NULL` is valid and NULL for every x, so a condition of it passes no row, silently. A CHECK of it refuses
//! none, and `CASE x WHEN NULL` never takes its branch.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Value, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::site::Site;
use crate::mistake::Mistake;
use crate::sql::parse::walk::Walk;

/// Warns of every `= NULL`, `<> NULL` and `CASE x WHEN NULL` in `tree`, at its NULL.
pub(crate) fn null_comparisons(tree: &dyn Walk, site: Site) -> Vec<Mistake> {
    let mut search = NullComparisons { site, found: vec![] };
    let _ = tree.walk(&mut search);
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
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                self.warn(null_span(right).or_else(|| null_span(left)), "= NULL", "write IS NULL");
            }
            Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => {
                self.warn(null_span(right).or_else(|| null_span(left)), "<> NULL", "write IS NOT NULL");
            }
            Expr::Case { operand: Some(_), conditions, .. } => {
                for when in conditions {
                    self.warn(null_span(&when.condition), "WHEN NULL", "write CASE WHEN x IS NULL THEN ...");
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl NullComparisons {
    /// Warns of a NULL at `span`, if there is one, that `what` compares with.
    fn warn(&mut self, span: Option<Span>, what: &str, hint: &str) {
        let Some(span) = span else { return };
        let pos = self.site.place(span);
        // Rows that are compared column by column repeat their columns.
        if !self.found.iter().any(|known| known.pos == pos) {
            let message = format!("{what} is never true: a comparison with NULL is unknown");
            self.found.push(Mistake::new(pos, message).hint(hint));
        }
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
