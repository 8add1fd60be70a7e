//! Operators over times, planned as functions.
//!
//! `timestamp + interval` stays DataFusion's: its value is right, and the analysis of event time recognizes
//! it. Sums and differences that DataFusion computes otherwise become functions here, and the two sides of a
//! comparison get one type: a DATE is cast to the other side's type, a TIMESTAMP next to a TIMESTAMPTZ counts
//! as UTC, a text constant is parsed. Intervals are compared by a later pass
//! ([`crate::sql::logical::types::intervals`]), which sees every place where they occur.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, lit};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::casts::{cast, read_interval};
use super::read::{read_date, read_time, read_timestamp, read_timestamptz};
use super::udf::{TimeResult, Ty, checked_function, function};
use super::{LENGTH, part, span};

/// The functions behind the operators.
struct OperatorFunctions {
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

static OPERATOR_FUNCTIONS: LazyLock<OperatorFunctions> = LazyLock::new(|| OperatorFunctions {
    length: function(LENGTH, span::LENGTH),
    in_days: function("herald_interval_in_days", span::IN_DAYS),
    negative: function("herald_interval_negative", span::NEGATIVE),
    difference: function("herald_time_difference", span::DIFFERENCE),
    date_plus: function("herald_date_plus", span::DATE_PLUS),
    date_minus: function("herald_date_minus", span::DATE_MINUS),
    plus: function("herald_time_plus", span::PLUS),
    less: function("herald_time_minus", span::LESS),
    times: function("herald_interval_times", span::TIMES),
    over: function("herald_interval_over", span::OVER),
    extract: checked_function("extract", &[], part::EXTRACT, Some(part::check_extract)),
});

/// Returns these functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let k = &*OPERATOR_FUNCTIONS;
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

/// Calls the function for an interval's length, by which intervals are compared.
pub(crate) fn length(of: Expr) -> Expr {
    OPERATOR_FUNCTIONS.length.call(vec![of])
}

/// Calls the function for the canonical form of an interval: equal intervals become identical.
pub(crate) fn in_days(of: Expr) -> Expr {
    OPERATOR_FUNCTIONS.in_days.call(vec![of])
}

/// Calls the function that negates an interval.
pub(crate) fn negative(of: Expr) -> Expr {
    OPERATOR_FUNCTIONS.negative.call(vec![of])
}

/// Planner of operators and EXTRACT over times.
#[derive(Debug)]
pub(crate) struct TimeOperators;

impl ExprPlanner for TimeOperators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = raw.left.get_type(schema).ok().zip(raw.right.get_type(schema).ok());
        let Some((left, right)) = types else { return Ok(PlannerResult::Original(raw)) };
        let (left, right) = (time_kind(&left), time_kind(&right));
        if !left.is_time() && !right.is_time() {
            return Ok(PlannerResult::Original(raw));
        }
        if let Some(operator) = comparison_operator(&raw.op) {
            return plan_comparison(raw, operator, (left, right));
        }
        Ok(match plan_arithmetic(&raw, left, right)? {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(raw),
        })
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(OPERATOR_FUNCTIONS.extract.call(args)))
    }
}

/// The kind of a type, as far as these operators distinguish types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeKind {
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

impl TimeKind {
    fn is_time(self) -> bool {
        matches!(
            self,
            TimeKind::Date
                | TimeKind::Time
                | TimeKind::Timestamp
                | TimeKind::Timestamptz
                | TimeKind::Interval
        )
    }

    fn is_number(self) -> bool {
        matches!(self, TimeKind::Whole | TimeKind::Number)
    }
}

fn time_kind(of: &DataType) -> TimeKind {
    match of {
        DataType::Date32 => TimeKind::Date,
        DataType::Time64(TimeUnit::Microsecond) => TimeKind::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => TimeKind::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => TimeKind::Timestamptz,
        DataType::Interval(IntervalUnit::MonthDayNano) => TimeKind::Interval,
        of if of.is_integer() => TimeKind::Whole,
        of if of.is_numeric() => TimeKind::Number,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => TimeKind::Text,
        _ => TimeKind::Other,
    }
}

fn comparison_operator(op: &BinaryOperator) -> Option<Operator> {
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

/// Plans a comparison whose sides are converted to one type.
fn plan_comparison(
    raw: RawBinaryExpr,
    op: Operator,
    kinds: (TimeKind, TimeKind),
) -> Result<PlannerResult<RawBinaryExpr>> {
    let target = match kinds {
        (TimeKind::Date, TimeKind::Timestamp) | (TimeKind::Timestamp, TimeKind::Date) => TimeKind::Timestamp,
        (TimeKind::Date | TimeKind::Timestamp, TimeKind::Timestamptz)
        | (TimeKind::Timestamptz, TimeKind::Date | TimeKind::Timestamp) => TimeKind::Timestamptz,
        (time, TimeKind::Text) if time.is_time() && is_text(&raw.right) => time,
        (TimeKind::Text, time) if time.is_time() && is_text(&raw.left) => time,
        _ => return Ok(PlannerResult::Original(raw)),
    };
    let (left, right) = (convert_to(raw.left, kinds.0, target)?, convert_to(raw.right, kinds.1, target)?);
    Ok(PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))))
}

fn is_text(of: &Expr) -> bool {
    constant_text(of).is_some()
}

fn constant_text(of: &Expr) -> Option<&str> {
    match of {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// Converts `of` to the kind `to`; a text constant is parsed now.
fn convert_to(of: Expr, from: TimeKind, to: TimeKind) -> Result<Expr> {
    if from == to {
        return Ok(of);
    }
    if let Some(text) = constant_text(&of) {
        return parse_constant(text, to).map(lit).map_err(DataFusionError::Plan);
    }
    let (from, to) = (arrow_type(from), arrow_type(to));
    Ok(match from.zip(to) {
        Some((from, to)) => match cast(&from, &to) {
            Some(function) => function.call(vec![of]),
            None => datafusion_expr::cast(of, to),
        },
        None => of,
    })
}

fn arrow_type(of: TimeKind) -> Option<DataType> {
    Some(match of {
        TimeKind::Date => Ty::Date.arrow(),
        TimeKind::Time => Ty::Time.arrow(),
        TimeKind::Timestamp => Ty::Timestamp.arrow(),
        TimeKind::Timestamptz => Ty::Timestamptz.arrow(),
        TimeKind::Interval => Ty::Interval.arrow(),
        _ => return None,
    })
}

fn parse_constant(text: &str, as_a: TimeKind) -> TimeResult<ScalarValue> {
    Ok(match as_a {
        TimeKind::Date => ScalarValue::Date32(Some(read_date(text)?)),
        TimeKind::Time => ScalarValue::Time64Microsecond(Some(read_time(text)?)),
        TimeKind::Timestamp => ScalarValue::TimestampMicrosecond(Some(read_timestamp(text)?), None),
        TimeKind::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(read_timestamptz(text)?), Some("UTC".into()))
        }
        _ => ScalarValue::IntervalMonthDayNano(Some(read_interval(text)?)),
    })
}

/// Plans a sum, difference, product or quotient with times in it; None where DataFusion's is right or there
/// is none.
fn plan_arithmetic(raw: &RawBinaryExpr, left: TimeKind, right: TimeKind) -> Result<Option<Expr>> {
    use BinaryOperator as B;
    use TimeKind as K;
    let k = &*OPERATOR_FUNCTIONS;
    let (l, r) = (&raw.left, &raw.right);
    Ok(match (&raw.op, left, right) {
        // A text constant next to a time is parsed as the type that the operator needs there.
        (B::Plus | B::Minus, time, K::Text) if is_text(r) && time.is_time() => {
            let like = if raw.op == B::Minus || time == K::Interval { time } else { K::Interval };
            let read = RawBinaryExpr {
                op: raw.op.clone(),
                left: l.clone(),
                right: convert_to(r.clone(), right, like)?,
            };
            Some(plan_arithmetic(&read, left, like)?.unwrap_or_else(|| datafusion_operator(&read)))
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
            let (l, r) = (convert_to(l.clone(), left, target)?, convert_to(r.clone(), right, target)?);
            call(&k.difference, &l, &r)
        }
        (B::Multiply, K::Interval, of) if of.is_number() => call(&k.times, l, r),
        (B::Multiply, of, K::Interval) if of.is_number() => call(&k.times, r, l),
        (B::Divide, K::Interval, of) if of.is_number() => call(&k.over, l, r),
        _ => None,
    })
}

fn call(function: &ScalarUDF, left: &Expr, right: &Expr) -> Option<Expr> {
    Some(function.call(vec![left.clone(), right.clone()]))
}

fn datafusion_operator(raw: &RawBinaryExpr) -> Expr {
    let op = if raw.op == BinaryOperator::Minus { Operator::Minus } else { Operator::Plus };
    Expr::BinaryExpr(BinaryExpr::new(Box::new(raw.left.clone()), op, Box::new(raw.right.clone())))
}
