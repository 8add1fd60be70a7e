//! Temporal filters: the conditions on now() that a query may have, and their rewrite to calls.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self as sql, BinaryOperator, FunctionArguments, JoinConstraint, JoinOperator, Select, Spanned, Value,
    VisitMut, Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::grammar::{self, binary_op, text_value};
use super::times;
use crate::functions::planning::marks::{NOW, SINCE, UNTIL};
use crate::sql::parse::walk::{Walk, WalkMut};

/// Mistake in a condition: its place, message and hint.
pub(in crate::sql) type ConditionMistake = (Span, String, &'static str);

/// Tells whether a function returns the current time.
pub(in crate::sql) fn is_clock(name: &str) -> bool {
    matches!(name, "now" | "current_timestamp")
}

/// Calls of now() in conditions of `select` that are handled here, and mistakes in some of these conditions.
pub(in crate::sql) fn placed_calls(select: &Select) -> (Vec<*const sql::Expr>, Vec<ConditionMistake>) {
    let (mut placed, mut wrong) = (Vec::new(), Vec::new());
    for condition in select_conditions(select) {
        visit_conjuncts(condition, &mut |part| match read_comparisons(part) {
            Ok(None) => {}
            Ok(Some(_)) => placed.extend(now_calls(part)),
            Err(why) => {
                placed.extend(now_calls(part));
                wrong.push(why);
            }
        });
    }
    (placed, wrong)
}

/// Rewrites the conditions on now() in `node` to calls of [`NOW`].
pub(in crate::sql) fn rewrite_conditions(node: &mut impl VisitMut) {
    let _ = node.walk_mut(&mut ConditionRewrite);
}

struct ConditionRewrite;

impl VisitorMut for ConditionRewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let own = [&mut select.selection, &mut select.having, &mut select.qualify];
        own.into_iter().flatten().for_each(rewrite_condition);
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            if let Some(condition) = join_condition_mut(&mut join.join_operator) {
                rewrite_condition(condition);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Rewrites the conjuncts of a condition that compare with now() to calls.
fn rewrite_condition(condition: &mut sql::Expr) {
    match condition {
        sql::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            rewrite_condition(left);
            rewrite_condition(right);
        }
        sql::Expr::Nested(inner) => rewrite_condition(inner),
        _ => {
            let Ok(Some(parts)) = read_comparisons(condition) else { return };
            let written = parts.into_iter().map(Comparison::into_expr);
            if let Some(written) = written.reduce(|left, right| binary_op(left, BinaryOperator::And, right)) {
                *condition = sql::Expr::Nested(Box::new(written));
            }
        }
    }
}

/// Conditions of WHERE, HAVING, QUALIFY and ON.
fn select_conditions(select: &Select) -> impl Iterator<Item = &sql::Expr> {
    let own = [&select.selection, &select.having, &select.qualify].into_iter().flatten();
    let joins = select.from.iter().flat_map(|from| &from.joins);
    own.chain(joins.filter_map(|join| join_condition(&join.join_operator)))
}

fn join_condition(join: &JoinOperator) -> Option<&sql::Expr> {
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

fn join_condition_mut(join: &mut JoinOperator) -> Option<&mut sql::Expr> {
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

/// Visits the conjuncts of a condition.
fn visit_conjuncts<'a>(condition: &'a sql::Expr, visit: &mut dyn FnMut(&'a sql::Expr)) {
    match condition {
        sql::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            visit_conjuncts(left, visit);
            visit_conjuncts(right, visit);
        }
        sql::Expr::Nested(inner) => visit_conjuncts(inner, visit),
        part => visit(part),
    }
}

/// Comparison that a condition consists of.
enum Comparison<'a> {
    /// Comparison of a row's time with now().
    Timed { time: &'a sql::Expr, until: bool, us: i64, at: Span },
    /// Comparison without now(): one bound of a BETWEEN whose other bound has it.
    Plain(&'a sql::Expr, BinaryOperator, &'a sql::Expr),
}

impl Comparison<'_> {
    fn is_timed(&self) -> bool {
        matches!(self, Comparison::Timed { .. })
    }

    fn into_expr(self) -> sql::Expr {
        match self {
            Comparison::Timed { time, until, us, at } => {
                let side = if until { UNTIL } else { SINCE };
                let args = vec![time.clone(), text_value(side.to_owned()), text_value(us.to_string())];
                grammar::call(NOW, at, args)
            }
            Comparison::Plain(left, op, right) => binary_op(left.clone(), op, right.clone()),
        }
    }
}

/// Comparisons of a condition that sets a bound by now(); None for a condition of another form.
fn read_comparisons(
    condition: &sql::Expr,
) -> std::result::Result<Option<Vec<Comparison<'_>>>, ConditionMistake> {
    match condition {
        sql::Expr::BinaryOp { left, op, right } => {
            Ok(read_comparison(left, op, right)?.map(|part| vec![part]))
        }
        sql::Expr::Between { expr, negated: false, low, high } => {
            let sides = [(low, BinaryOperator::GtEq), (high, BinaryOperator::LtEq)];
            let mut parts = Vec::new();
            for (bound, op) in sides {
                match read_comparison(expr, &op, bound)? {
                    Some(part) => parts.push(part),
                    None if now_calls(expr).is_empty() && now_calls(bound).is_empty() => {
                        parts.push(Comparison::Plain(expr, op, bound));
                    }
                    // now() in a form that cannot be rewritten: the caller leaves the whole condition.
                    None => return Ok(None),
                }
            }
            Ok(parts.iter().any(Comparison::is_timed).then_some(parts))
        }
        _ => Ok(None),
    }
}

/// Reads `left op right` where exactly one side is now(); None for anything else.
fn read_comparison<'a>(
    left: &'a sql::Expr,
    op: &BinaryOperator,
    right: &'a sql::Expr,
) -> std::result::Result<Option<Comparison<'a>>, ConditionMistake> {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    if !matches!(op, Gt | GtEq | Lt | LtEq) {
        return Ok(None);
    }
    let (time, now, op) = match (read_clock(left)?, read_clock(right)?) {
        (None, Some(now)) => (left, now, op.clone()),
        (Some(now), None) => {
            // `now() < t` is `t > now()`.
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
    if !now_calls(time).is_empty() {
        return Ok(None);
    }
    // `time op now() + us` becomes a strict or inclusive bound on now() against `time - us`; times are whole
    // microseconds, so one microsecond turns one kind of bound into the other.
    let (until, more): (bool, i64) = match op {
        Gt => (true, 0),
        GtEq => (true, 1),
        Lt => (false, 1),
        _ => (false, 0),
    };
    match more.checked_sub(now.us) {
        Some(us) => Ok(Some(Comparison::Timed { time, until, us, at: now.at })),
        None => Err(too_long(now.at)),
    }
}

/// now() plus a constant number of microseconds.
struct ShiftedNow {
    us: i64,
    at: Span,
}

/// Reads now() with constant intervals added and subtracted; None for another expression.
fn read_clock(expr: &sql::Expr) -> std::result::Result<Option<ShiftedNow>, ConditionMistake> {
    match expr {
        sql::Expr::Nested(inner) => read_clock(inner),
        // The session's time zone is UTC.
        sql::Expr::Cast { expr, data_type: sql::DataType::Timestamp(None, _), .. } => read_clock(expr),
        sql::Expr::Function(f) if is_clock(&f.name.to_string().to_lowercase()) => {
            let bare = match &f.args {
                FunctionArguments::None => true,
                FunctionArguments::List(list) => list.args.is_empty() && list.clauses.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
            let plain = bare && f.over.is_none() && f.filter.is_none();
            Ok(plain.then_some(ShiftedNow { us: 0, at: f.name.span() }))
        }
        sql::Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            match (read_clock(left)?, read_clock(right)?) {
                (Some(now), None) => shift_clock(now, right, 1),
                (None, Some(now)) => shift_clock(now, left, 1),
                _ => Ok(None),
            }
        }
        sql::Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => match read_clock(left)? {
            Some(now) => shift_clock(now, right, -1),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Adds a constant interval to now(), or subtracts it if `sign` is -1.
fn shift_clock(
    now: ShiftedNow,
    by: &sql::Expr,
    sign: i64,
) -> std::result::Result<Option<ShiftedNow>, ConditionMistake> {
    let span = match by {
        sql::Expr::Nested(inner) => return shift_clock(now, inner, sign),
        sql::Expr::Interval(interval) => times::read_interval(interval).ok().flatten(),
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
    match shift_us(now.us, span.length(), sign) {
        Some(us) => Ok(Some(ShiftedNow { us, ..now })),
        None => Err(too_long(by.span())),
    }
}

/// Adds a length to a number of microseconds, or subtracts it if `sign` is -1.
fn shift_us(us: i64, length: i128, sign: i64) -> Option<i64> {
    i64::try_from(length).ok()?.checked_mul(sign)?.checked_add(us)
}

fn too_long(at: Span) -> ConditionMistake {
    (at, "the interval is too long".to_owned(), "write a shorter one")
}

/// Calls of now() in an expression.
fn now_calls(expr: &sql::Expr) -> Vec<*const sql::Expr> {
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
    let _ = expr.walk(&mut calls);
    calls.0
}
