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
    let first = |ends: &[Expr; 2]| call("least", Span::empty(), ends.to_vec());
    let last = |ends: &[Expr; 2]| call("greatest", Span::empty(), ends.to_vec());
    let unknown = |ends: &[Expr; 2]| {
        let [from, to] = ends.clone().map(|end| Expr::IsNull(Box::new(end)));
        binary_op(from, Or, to)
    };
    let known = |truth: bool| Expr::Value(Value::Boolean(truth).with_empty_span());
    let null = || Expr::Value(Value::Null.with_empty_span());
    let case = |whens: Vec<(Expr, Expr)>, otherwise: Expr| Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: whens.into_iter().map(|(condition, result)| CaseWhen { condition, result }).collect(),
        else_result: Some(Box::new(otherwise)),
    };
    let either = || binary_op(unknown(&own), Or, unknown(&other));
    // The later period begins before the earlier one ends.
    let within = |later: &[Expr; 2], earlier: &[Expr; 2]| {
        let [from, to] = earlier.clone().map(|end| Expr::IsNotNull(Box::new(end)));
        let begins = binary_op(first(later), Lt, last(earlier));
        let begins = binary_op(begins, BinaryOperator::And, binary_op(from, BinaryOperator::And, to));
        case(vec![(begins, known(true)), (either(), null())], known(false))
    };
    let order = |op| binary_op(first(&own), op, first(&other));
    let together = case(vec![(either(), null())], known(true));
    let cases =
        vec![(order(Gt), within(&own, &other)), (order(Lt), within(&other, &own)), (order(Eq), together)];
    case(cases, null())
}

fn binary_op(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Turns `ROW(a, b)` into a struct of f1 and f2.
fn as_struct(f: Function, span: Span) -> Expr {
    let FunctionArguments::List(list) = &f.args else { return Expr::Function(f) };
    let mut args = Vec::with_capacity(2 * list.args.len());
    for (at, arg) in list.args.iter().enumerate() {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = arg else { return Expr::Function(f) };
        let name = Value::SingleQuotedString(format!("f{}", at + 1));
        args.extend([Expr::Value(name.with_empty_span()), value.clone()]);
    }
    call("named_struct", span, args)
}

/// Gives an array slice both of its bounds.
fn bounded_slice(access: AccessExpr) -> AccessExpr {
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

/// Rewrites `nvl2(a, b, c)` to `CASE WHEN a IS NOT NULL THEN b ELSE c END`; a call with other arguments is left to the
/// planner, which tells what it takes.
fn nvl2_expr(function: Function) -> Expr {
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let plain = function.filter.is_none() && function.over.is_none() && function.within_group.is_empty();
    let ([known, then, otherwise], true) = (args, plain) else { return Expr::Function(function) };
    let value = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let (Some(known), Some(then), Some(otherwise)) = (value(known), value(then), value(otherwise)) else {
        return Expr::Function(function);
    };
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: Expr::IsNotNull(Box::new(known)), result: then }],
        else_result: Some(Box::new(otherwise)),
    }
}

/// Builds the call of a pattern match, negated if need be.
fn match_call(name: &str, span: Span, negated: bool, args: [Expr; 2], escape: Option<ValueWithSpan>) -> Expr {
    let call = call(name, span, args.into_iter().chain(escape.map(Expr::Value)).collect());
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) },
        false => call,
    }
}

/// Builds a call of `name`; mistakes in it are reported at `span`.
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
