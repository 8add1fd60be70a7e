//! Rewrite of special syntax to function calls: LIKE, SIMILAR TO, `~ n`, `|/ x`.
//!
//! It comes before planning, so that arguments are coerced by the rules of calls and no rule of the
//! optimiser applies DataFusion's meaning of the syntax.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Spanned, Subscript, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::sql::parse::walk::WalkMut;

/// Rewrites such syntax in `node` to calls.
pub(in crate::sql) fn as_calls(node: &mut impl VisitMut) {
    let _ = node.walk_mut(&mut GrammarRewrite);
}

struct GrammarRewrite;

impl VisitorMut for GrammarRewrite {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let span = expr.span();
        let taken = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = rewrite_expr(taken, span);
        ControlFlow::Continue(())
    }
}

fn rewrite_expr(expr: Expr, span: Span) -> Expr {
    match expr {
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            match_call("like", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            match_call("ilike", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            match_call("similar_to", span, negated, [*expr, *pattern], escape_char)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => {
            match (period_ends(&left), period_ends(&right)) {
                (Some(own), Some(other)) => overlaps_expr(own, other),
                _ => Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right },
            }
        }
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => call("bit_not", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGAbs, expr } => call("abs", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGSquareRoot, expr } => call("sqrt", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGCubeRoot, expr } => call("cbrt", span, vec![*expr]),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("nvl2") => {
            nvl2_expr(function)
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let access_chain = access_chain.into_iter().map(bounded_slice).collect();
            Expr::CompoundFieldAccess { root, access_chain }
        }
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("row") => as_struct(f, span),
        other => other,
    }
}

/// Start and end of a period of OVERLAPS; a period given by its length ends at start + length.
fn period_ends(expr: &Expr) -> Option<[Expr; 2]> {
    let Expr::Tuple(parts) = expr else { return None };
    let [from, to] = parts.as_slice() else { return None };
    let to = match to {
        Expr::Interval(_) => {
            Expr::Nested(Box::new(binary_op(from.clone(), BinaryOperator::Plus, to.clone())))
        }
        to => to.clone(),
    };
    Some([from.clone(), to])
}

/// Builds OVERLAPS with PostgreSQL's meaning: the ends of a period are in any order, a period without length
/// is one point in time, and the result is NULL where an unknown end decides.
fn overlaps_expr(own: [Expr; 2], other: [Expr; 2]) -> Expr {
    use BinaryOperator::{Eq, Gt, Lt, Or};
    let unknown = binary_op(any_null(&own), Or, any_null(&other));
    let later_own = overlap_of_later(&own, &other, &unknown);
    let later_other = overlap_of_later(&other, &own, &unknown);
    let together = case(vec![when(unknown, null())], truth(true));
    let (own, other) = (first_end(&own), first_end(&other));
    let cases = vec![
        when(binary_op(own.clone(), Gt, other.clone()), later_own),
        when(binary_op(own.clone(), Lt, other.clone()), later_other),
        when(binary_op(own, Eq, other), together),
    ];
    case(cases, null())
}

/// Condition that the later of two periods begins before the earlier ends; NULL where that is `unknown`.
fn overlap_of_later(later: &[Expr; 2], earlier: &[Expr; 2], unknown: &Expr) -> Expr {
    use BinaryOperator::{And, Lt};
    let [from, to] = earlier.clone().map(Box::new);
    let known = binary_op(Expr::IsNotNull(from), And, Expr::IsNotNull(to));
    let last = call("greatest", Span::empty(), earlier.to_vec());
    let begins = binary_op(binary_op(first_end(later), Lt, last), And, known);
    case(vec![when(begins, truth(true)), when(unknown.clone(), null())], truth(false))
}

/// The earlier end of a period.
fn first_end(ends: &[Expr; 2]) -> Expr {
    call("least", Span::empty(), ends.to_vec())
}

/// Condition that an end of a period is NULL.
fn any_null(ends: &[Expr; 2]) -> Expr {
    let [from, to] = ends.clone().map(Box::new);
    binary_op(Expr::IsNull(from), BinaryOperator::Or, Expr::IsNull(to))
}

fn truth(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).with_empty_span())
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn when(condition: Expr, result: Expr) -> CaseWhen {
    CaseWhen { condition, result }
}

/// Builds a constant text, which does not stand in the file.
pub(in crate::sql) fn text_value(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).with_empty_span())
}

/// Builds a CASE without an operand.
pub(in crate::sql) fn case(conditions: Vec<CaseWhen>, otherwise: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(otherwise)),
    }
}

/// Builds `left op right`.
pub(in crate::sql) fn binary_op(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Turns `ROW(a, b)` into a struct of f1 and f2.
fn as_struct(f: Function, span: Span) -> Expr {
    let FunctionArguments::List(list) = &f.args else { return Expr::Function(f) };
    let mut args = Vec::with_capacity(2 * list.args.len());
    for (at, arg) in list.args.iter().enumerate() {
        let Some(value) = plain_argument(arg) else { return Expr::Function(f) };
        args.extend([text_value(format!("f{}", at + 1)), value.clone()]);
    }
    call("named_struct", span, args)
}

/// Gives an array slice both of its bounds.
fn bounded_slice(access: AccessExpr) -> AccessExpr {
    match access {
        AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
            let lower_bound = lower_bound.or(Some(number(1)));
            let upper_bound = upper_bound.or(Some(number(i64::MAX)));
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride })
        }
        other => other,
    }
}

fn number(n: i64) -> Expr {
    Expr::Value(Value::Number(n.to_string(), false).with_empty_span())
}

/// Rewrites `nvl2(a, b, c)` to `CASE WHEN a IS NOT NULL THEN b ELSE c END`; a call with other arguments is left to the
/// planner, which tells what it takes.
fn nvl2_expr(function: Function) -> Expr {
    let plain = function.filter.is_none() && function.over.is_none() && function.within_group.is_empty();
    let (true, Some(args)) = (plain, plain_arguments(&function)) else { return Expr::Function(function) };
    let Ok([known, then, otherwise]) = <[Expr; 3]>::try_from(args) else {
        return Expr::Function(function);
    };
    case(vec![when(Expr::IsNotNull(Box::new(known)), then)], otherwise)
}

/// Value of an argument that has no name and is no wildcard.
pub(in crate::sql) fn plain_argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    }
}

/// Arguments of a call; None if one of them has a name or is a wildcard, or the call has no list of them.
pub(in crate::sql) fn plain_arguments(f: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &f.args else { return None };
    list.args.iter().map(|arg| plain_argument(arg).cloned()).collect()
}

/// Builds the call of a pattern match, negated if need be.
fn match_call(name: &str, span: Span, negated: bool, args: [Expr; 2], escape: Option<ValueWithSpan>) -> Expr {
    let call = call(name, span, args.into_iter().chain(escape.map(Expr::Value)).collect());
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) } } else { call }
}

/// Builds a call of `name`; mistakes in it are reported at `span`.
pub(in crate::sql) fn call(name: &str, span: Span, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(FunctionArgExpr::Expr).map(FunctionArg::Unnamed).collect();
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
