//! Forms of SQL's grammar that are calls: LIKE, SIMILAR TO, `~ n`, `|/ x`.
//!
//! They are written as calls of functions before a query is planned, so that their arguments are
//! converted by the rules of calls and no rule of the optimiser takes them for its own.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Spanned, Subscript, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut,
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
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => match (period(&left), period(&right))
        {
            (Some(own), Some(other)) => overlaps(own, other),
            _ => Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right },
        },
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => call("bit_not", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGAbs, expr } => call("abs", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGSquareRoot, expr } => call("sqrt", span, vec![*expr]),
        Expr::UnaryOp { op: UnaryOperator::PGCubeRoot, expr } => call("cbrt", span, vec![*expr]),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let access_chain = access_chain.into_iter().map(bounded).collect();
            Expr::CompoundFieldAccess { root, access_chain }
        }
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("row") => as_struct(f, span),
        other => other,
    }
}

/// A period of OVERLAPS: where it begins, and its end or its length.
fn period(expr: &Expr) -> Option<[Expr; 2]> {
    let Expr::Tuple(parts) = expr else { return None };
    let [from, to] = parts.as_slice() else { return None };
    let to = match to {
        Expr::Interval(_) => Expr::Nested(Box::new(binary(from.clone(), BinaryOperator::Plus, to.clone()))),
        to => to.clone(),
    };
    Some([from.clone(), to])
}

/// Tells whether two periods have a time in common, as PostgreSQL has it: their ends in any order, a period without
/// length as one time, and NULL where an unknown end decides.
fn overlaps(own: [Expr; 2], other: [Expr; 2]) -> Expr {
    use BinaryOperator::{Eq, Gt, Lt, Or};
    let first = |ends: &[Expr; 2]| call("least", Span::empty(), ends.to_vec());
    let last = |ends: &[Expr; 2]| call("greatest", Span::empty(), ends.to_vec());
    let unknown = |ends: &[Expr; 2]| {
        let [from, to] = ends.clone().map(|end| Expr::IsNull(Box::new(end)));
        binary(from, Or, to)
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
    let either = || binary(unknown(&own), Or, unknown(&other));
    // The later one begins before the earlier one ends.
    let within = |later: &[Expr; 2], earlier: &[Expr; 2]| {
        let [from, to] = earlier.clone().map(|end| Expr::IsNotNull(Box::new(end)));
        let begins = binary(first(later), Lt, last(earlier));
        let begins = binary(begins, BinaryOperator::And, binary(from, BinaryOperator::And, to));
        case(vec![(begins, known(true)), (either(), null())], known(false))
    };
    let order = |op| binary(first(&own), op, first(&other));
    let together = case(vec![(either(), null())], known(true));
    let cases =
        vec![(order(Gt), within(&own, &other)), (order(Lt), within(&other, &own)), (order(Eq), together)];
    case(cases, null())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// `ROW(a, b)` as a struct of f1 and f2.
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
