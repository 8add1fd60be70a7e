//! Conditions on now() in a query's text: which there may be, and their calls.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self as sql, BinaryOperator, FunctionArguments, JoinConstraint, JoinOperator, Select, Spanned, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::grammar;
use super::times;
use crate::sql::logical::now::{NOW, SINCE, UNTIL};

/// A mistake in a condition: its place, its message and the remedy.
pub(in crate::sql) type Wrong = (Span, String, &'static str);

/// Tells whether a function is the clock.
pub(in crate::sql) fn is_clock(name: &str) -> bool {
    matches!(name, "now" | "current_timestamp")
}

/// The calls of now() that stand in conditions of `select` as they may, and what is wrong with others.
pub(in crate::sql) fn placed(select: &Select) -> (Vec<*const sql::Expr>, Vec<Wrong>) {
    let (mut placed, mut wrong) = (Vec::new(), Vec::new());
    for condition in conditions(select) {
        each(condition, &mut |part| match parts(part) {
            Ok(None) => {}
            Ok(Some(_)) => placed.extend(calls(part)),
            Err(why) => {
                placed.extend(calls(part));
                wrong.push(why);
            }
        });
    }
    (placed, wrong)
}

/// Writes the conditions on now() in `node` as calls.
pub(in crate::sql) fn marked(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Rewrite);
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let own = [&mut select.selection, &mut select.having, &mut select.qualify];
        own.into_iter().flatten().for_each(rewrite);
        let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
        joins.filter_map(|join| on_mut(&mut join.join_operator)).for_each(rewrite);
        ControlFlow::Continue(())
    }
}

/// Writes a condition's parts on now() as calls.
fn rewrite(condition: &mut sql::Expr) {
    match condition {
        sql::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            rewrite(left);
            rewrite(right);
        }
        sql::Expr::Nested(inner) => rewrite(inner),
        _ => {
            let Ok(Some(parts)) = parts(condition) else { return };
            let written = parts.into_iter().map(Part::written);
            let and = |left, right| sql::Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::And,
                right: Box::new(right),
            };
            if let Some(written) = written.reduce(and) {
                *condition = sql::Expr::Nested(Box::new(written));
            }
        }
    }
}

/// WHERE, HAVING, QUALIFY and ON.
fn conditions(select: &Select) -> impl Iterator<Item = &sql::Expr> {
    let own = [&select.selection, &select.having, &select.qualify].into_iter().flatten();
    let joins = select.from.iter().flat_map(|from| &from.joins);
    own.chain(joins.filter_map(|join| on(&join.join_operator)))
}

fn on(join: &JoinOperator) -> Option<&sql::Expr> {
    match join {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

fn on_mut(join: &mut JoinOperator) -> Option<&mut sql::Expr> {
    match join {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

/// Visits the parts of a condition that AND joins.
fn each<'a>(condition: &'a sql::Expr, visit: &mut dyn FnMut(&'a sql::Expr)) {
    match condition {
        sql::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            each(left, visit);
            each(right, visit);
        }
        sql::Expr::Nested(inner) => each(inner, visit),
        part => visit(part),
    }
}

/// A part of a condition.
enum Part<'a> {
    /// A row's time and now().
    Timed { time: &'a sql::Expr, until: bool, us: i64, at: Span },
    /// A comparison without now(), of a BETWEEN that has it on its other side.
    Plain(&'a sql::Expr, BinaryOperator, &'a sql::Expr),
}

impl Part<'_> {
    fn written(self) -> sql::Expr {
        let text = |of: String| sql::Expr::Value(Value::SingleQuotedString(of).with_empty_span());
        match self {
            Part::Timed { time, until, us, at } => {
                let side = if until { UNTIL } else { SINCE };
                grammar::call(NOW, at, vec![time.clone(), text(side.to_owned()), text(us.to_string())])
            }
            Part::Plain(left, op, right) => {
                sql::Expr::BinaryOp { left: Box::new(left.clone()), op, right: Box::new(right.clone()) }
            }
        }
    }
}

/// Bounds that a condition sets by now(); None where it is not of a form that does.
fn parts(condition: &sql::Expr) -> std::result::Result<Option<Vec<Part<'_>>>, Wrong> {
    match condition {
        sql::Expr::BinaryOp { left, op, right } => Ok(compared(left, op, right)?.map(|part| vec![part])),
        sql::Expr::Between { expr, negated: false, low, high } => {
            let sides = [(low, BinaryOperator::GtEq), (high, BinaryOperator::LtEq)];
            let mut parts = Vec::new();
            for (bound, op) in sides {
                match compared(expr, &op, bound)? {
                    Some(part) => parts.push(part),
                    None if calls(expr).is_empty() && calls(bound).is_empty() => {
                        parts.push(Part::Plain(expr, op, bound));
                    }
                    None => return Ok(None),
                }
            }
            let timed = parts.iter().any(|part| matches!(part, Part::Timed { .. }));
            Ok(timed.then_some(parts))
        }
        _ => Ok(None),
    }
}

/// `left op right` where one side is now() and the other is not.
fn compared<'a>(
    left: &'a sql::Expr,
    op: &BinaryOperator,
    right: &'a sql::Expr,
) -> std::result::Result<Option<Part<'a>>, Wrong> {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    if !matches!(op, Gt | GtEq | Lt | LtEq) {
        return Ok(None);
    }
    let (time, now, op) = match (clock(left)?, clock(right)?) {
        (None, Some(now)) => (left, now, op.clone()),
        (Some(now), None) => {
            let swapped = match op {
                Gt => Lt,
                GtEq => LtEq,
                Lt => Gt,
                _ => GtEq,
            };
            (right, now, swapped)
        }
        _ => return Ok(None),
    };
    if !calls(time).is_empty() {
        return Ok(None);
    }
    // The time against now() + us is now() against the time - us; one microsecond is the least step.
    let (until, more): (bool, i64) = match op {
        Gt => (true, 0),
        GtEq => (true, 1),
        Lt => (false, 1),
        _ => (false, 0),
    };
    match more.checked_sub(now.us) {
        Some(us) => Ok(Some(Part::Timed { time, until, us, at: now.at })),
        None => Err(too_long(now.at)),
    }
}

/// now(), so many microseconds later.
struct Clock {
    us: i64,
    at: Span,
}

/// now() with constant intervals added and subtracted; None where an expression is something else.
fn clock(expr: &sql::Expr) -> std::result::Result<Option<Clock>, Wrong> {
    match expr {
        sql::Expr::Nested(inner) => clock(inner),
        // The session's time zone is UTC.
        sql::Expr::Cast { expr, data_type: sql::DataType::Timestamp(None, _), .. } => clock(expr),
        sql::Expr::Function(f) if is_clock(&f.name.to_string().to_lowercase()) => {
            let bare = match &f.args {
                FunctionArguments::None => true,
                FunctionArguments::List(list) => list.args.is_empty() && list.clauses.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
            Ok((bare && f.over.is_none() && f.filter.is_none()).then(|| Clock { us: 0, at: f.name.span() }))
        }
        sql::Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            match (clock(left)?, clock(right)?) {
                (Some(now), None) => later(now, right, 1),
                (None, Some(now)) => later(now, left, 1),
                _ => Ok(None),
            }
        }
        sql::Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => match clock(left)? {
            Some(now) => later(now, right, -1),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// now() moved by a constant interval, forward or back.
fn later(now: Clock, by: &sql::Expr, sign: i64) -> std::result::Result<Option<Clock>, Wrong> {
    let span = match by {
        sql::Expr::Nested(inner) => return later(now, inner, sign),
        sql::Expr::Interval(interval) => times::read(interval).ok().flatten(),
        sql::Expr::Cast { expr, data_type: sql::DataType::Interval { .. }, .. } => match expr.as_ref() {
            sql::Expr::Value(sql::ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
                schemas::types::span::Span::parse(text)
            }
            _ => None,
        },
        _ => None,
    };
    let Some(span) = span else { return Ok(None) };
    if span.months != 0 {
        let message = "months and years have no fixed length, so a row has no one time at which it leaves";
        return Err((by.span(), message.to_owned(), "write it in days, such as INTERVAL '30 days'"));
    }
    let us = i64::try_from(span.length()).ok().and_then(|us| us.checked_mul(sign)?.checked_add(now.us));
    match us {
        Some(us) => Ok(Some(Clock { us, ..now })),
        None => Err(too_long(by.span())),
    }
}

fn too_long(at: Span) -> Wrong {
    (at, "the interval is too long".to_owned(), "write a shorter one")
}

/// The calls of now() in an expression.
fn calls(expr: &sql::Expr) -> Vec<*const sql::Expr> {
    struct Calls(Vec<*const sql::Expr>);
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &sql::Expr) -> ControlFlow<()> {
            if matches!(expr, sql::Expr::Function(f) if is_clock(&f.name.to_string().to_lowercase())) {
                self.0.push(expr);
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls(Vec::new());
    let _ = expr.visit(&mut calls);
    calls.0
}
