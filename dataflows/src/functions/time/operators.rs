//! Operators over times, planned as functions.
//!
//! `timestamp + interval` stays DataFusion's: its value is right, and what is known of event time is
//! read off it. Sums and differences that DataFusion has otherwise become functions here, and the two
//! sides of a comparison one type: a DATE becomes what it is compared with, a TIMESTAMP beside a
//! TIMESTAMPTZ is one in UTC, a text constant is read. Intervals are compared by a later pass
//! ([`crate::sql::logical::types::intervals`]), which sees every place where they are.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, lit};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::casts::{cast, read_interval};
use super::read::{read_date, read_time, read_timestamp, read_timestamptz};
use super::udf::{Outcome, Overload, Ty, function, made};
use super::{LENGTH, part, span};

/// The functions behind the operators.
struct Known {
    length: Arc<ScalarUDF>,
    in_days: Arc<ScalarUDF>,
    negative: Arc<ScalarUDF>,
    difference: Arc<ScalarUDF>,
    date_plus: Arc<ScalarUDF>,
    date_minus: Arc<ScalarUDF>,
    plus: Arc<ScalarUDF>,
    less: Arc<ScalarUDF>,
    times: Arc<ScalarUDF>,
    over: Arc<ScalarUDF>,
    extract: Arc<ScalarUDF>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let of = |name, overloads: &'static [Overload]| function(name, overloads);
    Known {
        length: of(LENGTH, span::LENGTH),
        in_days: of("herald_interval_in_days", span::IN_DAYS),
        negative: of("herald_interval_negative", span::NEGATIVE),
        difference: of("herald_time_difference", span::DIFFERENCE),
        date_plus: of("herald_date_plus", span::DATE_PLUS),
        date_minus: of("herald_date_minus", span::DATE_MINUS),
        plus: of("herald_time_plus", span::PLUS),
        less: of("herald_time_minus", span::LESS),
        times: of("herald_interval_times", span::TIMES),
        over: of("herald_interval_over", span::OVER),
        extract: made("extract", &[], part::EXTRACT, Some(part::CHECK_EXTRACT)),
    }
});

/// All of them.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let k = &*KNOWN;
    [
        &k.length,
        &k.in_days,
        &k.negative,
        &k.difference,
        &k.date_plus,
        &k.date_minus,
        &k.plus,
        &k.less,
        &k.times,
        &k.over,
    ]
    .map(Arc::clone)
    .into()
}

/// The length of an interval, by which it is compared.
pub(crate) fn length(of: Expr) -> Expr {
    KNOWN.length.call(vec![of])
}

/// The one form of intervals that are equal.
pub(crate) fn in_days(of: Expr) -> Expr {
    KNOWN.in_days.call(vec![of])
}

/// An interval turned around.
pub(crate) fn negative(of: Expr) -> Expr {
    KNOWN.negative.call(vec![of])
}

/// Plans operators and EXTRACT over times.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = raw.left.get_type(schema).ok().zip(raw.right.get_type(schema).ok());
        let Some((left, right)) = types.map(|(l, r)| (kind(&l), kind(&r))) else {
            return Ok(PlannerResult::Original(raw));
        };
        if !left.is_time() && !right.is_time() {
            return Ok(PlannerResult::Original(raw));
        }
        if let Some(operator) = comparison(&raw.op) {
            return compared(raw, operator, (left, right));
        }
        Ok(match arithmetic(&raw, left, right)? {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(raw),
        })
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(KNOWN.extract.call(args)))
    }
}

/// What matters of a type here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Whole,
    Number,
    Text,
    Other,
}

impl Kind {
    fn is_time(self) -> bool {
        matches!(self, Kind::Date | Kind::Time | Kind::Timestamp | Kind::Timestamptz | Kind::Interval)
    }
}

fn kind(of: &DataType) -> Kind {
    match of {
        DataType::Date32 => Kind::Date,
        DataType::Time64(TimeUnit::Microsecond) => Kind::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => Kind::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::Timestamptz,
        DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Interval,
        of if of.is_integer() => Kind::Whole,
        of if of.is_numeric() => Kind::Number,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Kind::Text,
        _ => Kind::Other,
    }
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// A comparison whose sides are of one type.
fn compared(raw: RawBinaryExpr, op: Operator, kinds: (Kind, Kind)) -> Result<PlannerResult<RawBinaryExpr>> {
    let target = match kinds {
        (Kind::Date, Kind::Timestamp) | (Kind::Timestamp, Kind::Date) => Kind::Timestamp,
        (Kind::Date | Kind::Timestamp, Kind::Timestamptz)
        | (Kind::Timestamptz, Kind::Date | Kind::Timestamp) => Kind::Timestamptz,
        (time, Kind::Text) if time.is_time() && is_text(&raw.right) => time,
        (Kind::Text, time) if time.is_time() && is_text(&raw.left) => time,
        _ => return Ok(PlannerResult::Original(raw)),
    };
    let (left, right) = (converted(raw.left, kinds.0, target)?, converted(raw.right, kinds.1, target)?);
    Ok(PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))))
}

fn is_text(of: &Expr) -> bool {
    text(of).is_some()
}

fn text(of: &Expr) -> Option<&str> {
    match of {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// `of` as `to`; a text constant is read now.
fn converted(of: Expr, from: Kind, to: Kind) -> Result<Expr> {
    if from == to {
        return Ok(of);
    }
    if let Some(text) = text(&of) {
        return constant(text, to).map(lit).map_err(DataFusionError::Plan);
    }
    let (from, to) = (arrow(from), arrow(to));
    Ok(match from.zip(to) {
        Some((from, to)) => match cast(&from, &to) {
            Some(function) => function.call(vec![of]),
            None => datafusion_expr::cast(of, to),
        },
        None => of,
    })
}

fn arrow(of: Kind) -> Option<DataType> {
    Some(match of {
        Kind::Date => Ty::Date.arrow(),
        Kind::Time => Ty::Time.arrow(),
        Kind::Timestamp => Ty::Timestamp.arrow(),
        Kind::Timestamptz => Ty::Timestamptz.arrow(),
        Kind::Interval => Ty::Interval.arrow(),
        _ => return None,
    })
}

fn constant(text: &str, as_a: Kind) -> Outcome<ScalarValue> {
    Ok(match as_a {
        Kind::Date => ScalarValue::Date32(Some(read_date(text)?)),
        Kind::Time => ScalarValue::Time64Microsecond(Some(read_time(text)?)),
        Kind::Timestamp => ScalarValue::TimestampMicrosecond(Some(read_timestamp(text)?), None),
        Kind::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(read_timestamptz(text)?), Some("UTC".into()))
        }
        _ => ScalarValue::IntervalMonthDayNano(Some(read_interval(text)?)),
    })
}

/// A sum, difference, product or quotient with times in it; None where DataFusion's is right, or none.
fn arithmetic(raw: &RawBinaryExpr, left: Kind, right: Kind) -> Result<Option<Expr>> {
    use BinaryOperator as B;
    use Kind as K;
    let k = &*KNOWN;
    let call = |f: &Arc<ScalarUDF>, l: &Expr, r: &Expr| Some(f.call(vec![l.clone(), r.clone()]));
    let (l, r) = (&raw.left, &raw.right);
    let number = |kind: Kind| matches!(kind, K::Whole | K::Number);
    Ok(match (&raw.op, left, right) {
        // A text constant beside a time is what makes sense there.
        (B::Plus | B::Minus, time, K::Text) if is_text(r) && time.is_time() => {
            let like = if raw.op == B::Minus || time == K::Interval { time } else { K::Interval };
            let read = RawBinaryExpr {
                op: raw.op.clone(),
                left: l.clone(),
                right: converted(r.clone(), right, like)?,
            };
            Some(arithmetic(&read, left, like)?.unwrap_or_else(|| plain(&read)))
        }
        (B::Plus, K::Date, K::Whole) => call(&k.date_plus, l, r),
        (B::Plus, K::Whole, K::Date) => call(&k.date_plus, r, l),
        (B::Minus, K::Date, K::Whole) => call(&k.date_minus, l, r),
        (B::Plus, K::Date, K::Interval | K::Time) | (B::Plus, K::Time, K::Interval) => call(&k.plus, l, r),
        (B::Plus, K::Interval | K::Time, K::Date) | (B::Plus, K::Interval, K::Time) => call(&k.plus, r, l),
        (B::Minus, K::Date | K::Time, K::Interval) => call(&k.less, l, r),
        (B::Minus, a, b) if a == b && a != K::Interval => call(&k.difference, l, r),
        (B::Minus, K::Date | K::Timestamp | K::Timestamptz, K::Date | K::Timestamp | K::Timestamptz) => {
            let zoned = [left, right].contains(&K::Timestamptz);
            let target = if zoned { K::Timestamptz } else { K::Timestamp };
            let (l, r) = (converted(l.clone(), left, target)?, converted(r.clone(), right, target)?);
            call(&k.difference, &l, &r)
        }
        (B::Multiply, K::Interval, of) if number(of) => call(&k.times, l, r),
        (B::Multiply, of, K::Interval) if number(of) => call(&k.times, r, l),
        (B::Divide, K::Interval, of) if number(of) => call(&k.over, l, r),
        _ => None,
    })
}

fn plain(raw: &RawBinaryExpr) -> Expr {
    let op = if raw.op == BinaryOperator::Minus { Operator::Minus } else { Operator::Plus };
    Expr::BinaryExpr(BinaryExpr::new(Box::new(raw.left.clone()), op, Box::new(raw.right.clone())))
}
