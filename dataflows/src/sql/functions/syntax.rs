//! Forms of SQL's grammar that are calls: LIKE, SIMILAR TO, `~ n`, `|/ x`.
//!
//! They are written as calls of functions before a query is planned, so that their arguments are
//! converted by the rules of calls and no rule of the optimiser takes them for its own.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Spanned, Subscript, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

/// Writes such forms in `node` as calls.
pub(in crate::sql) fn as_calls(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Rewrite);
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let span = expr.span();
        let taken = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = rewritten(taken, span);
        ControlFlow::Continue(())
    }
}

fn rewritten(expr: Expr, span: Span) -> Expr {
    match expr {
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            matching("like", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            matching("ilike", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            matching("similar_to", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => call("bit_not", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGAbs, expr } => call("abs", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGSquareRoot, expr } => call("sqrt", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGCubeRoot, expr } => call("cbrt", span, vec![*expr]),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let access_chain = access_chain.into_iter().map(bounded).collect();
            Expr::CompoundFieldAccess { root, access_chain }
        }
        other => other,
    }
}

/// A slice with both of its bounds.
fn bounded(access: AccessExpr) -> AccessExpr {
    let number = |n: i64| Expr::Value(Value::Number(n.to_string(), false).with_empty_span());
    match access {
        AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
            let lower_bound = Some(lower_bound.unwrap_or_else(|| number(1)));
            let upper_bound = Some(upper_bound.unwrap_or_else(|| number(i64::MAX)));
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride })
        }
        other => other,
    }
}

fn matching(name: &str, span: Span, negated: bool, args: [Expr; 2], escape: Option<ValueWithSpan>) -> Expr {
    let call = call(name, span, args.into_iter().chain(escape.map(Expr::Value)).collect());
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) },
        false => call,
    }
}

/// A call of `name`, whose mistakes are told at `span`.
pub(in crate::sql) fn call(name: &str, span: Span, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
