//! Rewrite of time syntax that the planner reads otherwise than PostgreSQL.
//!
//! - An INTERVAL constant is parsed by PostgreSQL's rules and written back in a form with one meaning for
//!   both.
//! - `t AT TIME ZONE z` becomes `timezone(z, t)`, as in PostgreSQL.
//! - `make_interval(days => 3)` gets all its arguments.
//! - The unit in `timestampdiff(DAY, a, b)` becomes a string.
//!
//! Unreadable constants are mistakes at their place.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Interval, Spanned, UnaryOperator, Value, VisitMut, VisitorMut,
};
use schemas::types::span::Span;

use super::grammar::call;
use crate::mistake::Mistake;
use crate::sql::diagnostics::site::Site;
use crate::sql::parse::walk::WalkMut;

/// Rewrites a copy of a query or expression.
///
/// # Errors
/// Constants that are no intervals, and casts that are not supported.
pub(crate) fn rewrite_times<T: VisitMut + Clone>(node: &T, site: Site) -> Result<T, Vec<Mistake>> {
    let mut node = node.clone();
    let mut rewrite = TimeRewrite { site, mistakes: vec![] };
    let _ = node.walk_mut(&mut rewrite);
    if rewrite.mistakes.is_empty() { Ok(node) } else { Err(rewrite.mistakes) }
}

struct TimeRewrite {
    site: Site,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for TimeRewrite {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let span = expr.span();
        match expr {
            Expr::Interval(interval) => {
                if let Err((message, hint)) = rewrite_interval(interval) {
                    self.mistakes.push(Mistake::new(self.site.place(span), message).hint(hint));
                }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: of }
                if matches!(of.as_ref(), Expr::Interval(_)) =>
            {
                // The planner would apply the sign to the first part of the text only.
                let mut of = of.as_ref().clone();
                if let Expr::Interval(interval) = &mut of
                    && negate_interval(interval).is_some()
                {
                    *expr = of;
                }
            }
            Expr::Cast { data_type, .. } if is_coarse(data_type) => {
                let message = format!("a cast to {data_type} does not round");
                let mistake = Mistake::new(self.site.place(span), message);
                self.mistakes
                    .push(mistake.hint("write date_trunc('milliseconds', x), or cast without a precision"));
            }
            Expr::Cast { data_type: data_type @ (DataType::Char(_) | DataType::Character(_)), .. } => {
                let message = format!("{data_type} is not supported");
                let mistake = Mistake::new(self.site.place(span), message);
                self.mistakes
                    .push(mistake.hint("write VARCHAR(3): CHAR(3) has spaces at its end that count nowhere"));
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let args = vec![time_zone.as_ref().clone(), timestamp.as_ref().clone()];
                *expr = call("timezone", span, args);
            }
            Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("make_interval") => {
                fill_make_interval(f)
            }
            Expr::Function(f) => unit_as_text(f),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Tells whether a time type keeps fewer than six digits of a second.
fn is_coarse(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(Some(digits), _) | DataType::Time(Some(digits), _) if *digits < 6)
}

/// Rewrites an interval constant as months, days and microseconds.
fn rewrite_interval(interval: &mut Interval) -> Result<(), (String, &'static str)> {
    let Some(span) = read_interval(interval)? else { return Ok(()) };
    *interval.value = Expr::value(Value::SingleQuotedString(interval_text(span)));
    (interval.leading_field, interval.last_field) = (None, None);
    Ok(())
}

/// Reads an interval constant; None for a sum of constants and other expressions.
///
/// # Errors
/// A message and a hint.
pub(crate) fn read_interval(interval: &Interval) -> Result<Option<Span>, (String, &'static str)> {
    const WRITE: &str = "write INTERVAL '1 day 2 hours'";
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
            other => return Err((format!("INTERVAL {other} is no length of time"), WRITE)),
        },
        // Sums of constants and other expressions are left to the planner.
        _ => return Ok(None),
    };
    let unit = interval.leading_field.as_ref().map(lower_field);
    let parts = interval.last_field.as_ref().map(lower_field);
    if unit.as_deref() == Some("minute") && parts.is_some() {
        return Err((format!("INTERVAL '{text}' MINUTE TO SECOND is not supported"), WRITE));
    }
    let span = match (&unit, &parts) {
        (Some(unit), None) => Span::parse_in(&text, unit),
        _ => Span::parse(&text),
    };
    match span.filter(|span| span.to_arrow().is_some()) {
        Some(span) => Ok(Some(span)),
        None => Err((format!("'{text}' is no length of time"), WRITE)),
    }
}

fn lower_field(field: &DateTimeField) -> String {
    field.to_string().to_lowercase()
}

/// Negates a constant that was rewritten as months, days and microseconds.
fn negate_interval(interval: &mut Interval) -> Option<()> {
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    *interval.value =
        Expr::value(Value::SingleQuotedString(interval_text(Span::parse(text)?.checked_neg()?)));
    Some(())
}

fn interval_text(span: Span) -> String {
    format!("{} mons {} days {} microseconds", span.months, span.days, span.us)
}

/// Turns the unit of a call into a string: `timestampdiff(DAY, a, b)` is `timestampdiff('DAY', a, b)`.
fn unit_as_text(f: &mut Function) {
    let FunctionArguments::List(list) = &mut f.args else { return };
    let at = match (f.name.to_string().to_lowercase().as_str(), list.args.len()) {
        ("timestampdiff" | "datediff" | "date_diff", 3) => 0,
        ("timestamp_trunc", 2) => 1,
        _ => return,
    };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))) = list.args.get_mut(at)
        && let Expr::Identifier(name) = arg
        && name.quote_style.is_none()
    {
        *arg = Expr::Value(Value::SingleQuotedString(name.value.clone()).with_span(name.span));
    }
}

/// Gives make_interval its seven arguments, with 0 for omitted ones.
fn fill_make_interval(f: &mut Function) {
    const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let given = match &f.args {
        FunctionArguments::List(list) => list.args.clone(),
        _ => vec![],
    };
    let mut args = vec![Expr::value(Value::Number("0".into(), false)); NAMES.len()];
    for (at, arg) in given.into_iter().enumerate() {
        let (slot, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(at), value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (NAMES.iter().position(|known| name.value.eq_ignore_ascii_case(known)), value),
            _ => return,
        };
        // An unknown name or an argument too many: the planner reports it.
        let Some(slot) = slot else { return };
        let Some(slot) = args.get_mut(slot) else { return };
        *slot = value;
    }
    let args = args.into_iter().map(FunctionArgExpr::Expr).map(FunctionArg::Unnamed).collect();
    f.args =
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] });
}
