//! Check for constants that always fail: `1 / 0`, `9223372036854775807 + 1`.
//!
//! The optimiser would fold an overflow into the wrapped value, and leave a division by zero to fail
//! for every row. Each constant of a query is therefore evaluated here first, with checked arithmetic,
//! and a failure is a mistake at the constant's place, even if no row would ever reach it.

use std::ops::ControlFlow;

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{Expr, Spanned, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::mistake::Mistake;
use crate::sql::catalog::Catalog;
use crate::sql::diagnostics::site::Site;
use crate::sql::parse::walk::Walk;

/// Evaluates a constant: its error, if it has one.
pub(crate) type ConstantError = fn(&Catalog, &Expr) -> Option<DataFusionError>;

/// Reports every constant in `node` that fails.
pub(crate) fn failing_constants(
    catalog: &Catalog,
    node: &impl Visit,
    site: Site,
    error_of: ConstantError,
) -> Vec<Mistake> {
    let mut walk = FailingConstants { catalog, site, error_of, failed: Vec::new(), mistakes: Vec::new() };
    let _ = node.walk(&mut walk);
    walk.mistakes
}

struct FailingConstants<'a> {
    catalog: &'a Catalog,
    site: Site,
    error_of: ConstantError,
    failed: Vec<Span>,
    mistakes: Vec<Mistake>,
}

impl Visitor for FailingConstants<'_> {
    type Break = ();

    /// Visits parts before the whole, which fails with them and is not reported again.
    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let span = expr.span();
        let reported = self.failed.iter().any(|part| span.start <= part.start && part.end <= span.end);
        if matches!(expr, Expr::Value(_) | Expr::Nested(_)) || reported || !is_constant(expr) {
            return ControlFlow::Continue(());
        }
        if let Some(error) = (self.error_of)(self.catalog, expr) {
            let (why, hint) = failure_reason(&error);
            let message = format!("{expr} always fails: {why}");
            self.mistakes.push(Mistake::new(self.site.place(span), message).hint(hint));
            self.failed.push(span);
        }
        ControlFlow::Continue(())
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } | Expr::Cast { expr: inner, .. } => {
            is_constant(inner)
        }
        Expr::BinaryOp { left, right, .. } => is_constant(left) && is_constant(right),
        _ => false,
    }
}

/// Reason of a failure, and a hint.
fn failure_reason(error: &DataFusionError) -> (String, &'static str) {
    match error {
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ArithmeticOverflow(_) => (
                "the result does not fit its type".to_owned(),
                "use a wider type: CAST(x AS DECIMAL(38, 0)) or CAST(x AS DOUBLE PRECISION)",
            ),
            ArrowError::DivideByZero => {
                ("it divides by zero".to_owned(), "write another divisor, or NULL for no value")
            }
            ArrowError::CastError(message) | ArrowError::ParseError(message) => {
                (query_words(message), "write a value of that type")
            }
            other => (query_words(&other.to_string()), "write a constant that has a value"),
        },
        DataFusionError::Execution(message) => (query_words(message), "write a value of that type"),
        other => (query_words(&other.strip_backtrace()), "write a constant that has a value"),
    }
}

fn query_words(message: &str) -> String {
    crate::sql::diagnostics::text::clean_message(message)
}
