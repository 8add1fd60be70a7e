//! Conditions that bound the distance of two times: `b.ts BETWEEN a.ts - INTERVAL '5 minutes' AND a.ts`.
//!
//! A condition of a join is read as a conjunction of comparisons of a column of the left, moved by
//! constant intervals, with one of the right. Other conditions bound nothing and are left to
//! the join. Lengths are microseconds; intervals with months have no fixed length.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};

use crate::plan::Scalar;
use crate::plan::canonical::{is_time, strip_canonical};

/// Distance of a time of the left from one of the right: left less right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distance {
    /// At least, microseconds.
    pub least: Option<i64>,
    /// At most, microseconds.
    pub most: Option<i64>,
}

/// The narrowest distance, bounded on both sides, that a join's condition requires of two columns of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// Column of the left and of the right.
    pub columns: (usize, usize),
    /// Left less right at least, microseconds.
    pub least: i64,
    /// Left less right at most, microseconds.
    pub most: i64,
}

/// The band of a join of `left` and `right` whose condition is `residual`: that of the `preferred` columns if they
/// have one, else the narrowest.
pub(crate) fn band(
    residual: &Scalar,
    left: &Schema,
    right: &Schema,
    preferred: Option<(usize, usize)>,
) -> Option<Band> {
    let mut bands = Vec::new();
    for (columns, distance) in distances(residual, left.fields().len()) {
        let (Some(least), Some(most)) = (distance.least, distance.most) else { continue };
        if has_time_at(left, columns.0) && has_time_at(right, columns.1) {
            bands.push(Band { columns, least, most });
        }
    }
    bands
        .into_iter()
        .min_by_key(|band| (Some(band.columns) != preferred, i128::from(band.most) - i128::from(band.least)))
}

/// Returns true if the column at `at` is a TIMESTAMP or TIMESTAMPTZ.
fn has_time_at(schema: &Schema, at: usize) -> bool {
    schema.fields().get(at).is_some_and(|field| is_time(field.data_type()))
}

/// The distances that `condition` bounds, by column of the left and of the right. Its columns are `width` of
/// the left, then the right's.
pub(crate) fn distances(condition: &Scalar, width: usize) -> BTreeMap<(usize, usize), Distance> {
    let mut found = BTreeMap::new();
    collect_distances(condition.expr(), width, &mut found);
    found
}

/// Adds the distances that the comparisons of a conjunction bound.
fn collect_distances(
    expr: &Arc<dyn PhysicalExpr>,
    width: usize,
    found: &mut BTreeMap<(usize, usize), Distance>,
) {
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else { return };
    if *binary.op() == Operator::And {
        collect_distances(binary.left(), width, found);
        collect_distances(binary.right(), width, found);
        return;
    }
    let (Some((a, x)), Some((b, y))) = (shifted_column(binary.left()), shifted_column(binary.right())) else {
        return;
    };
    let (op, (l, x), (r, y)) = match (a < width, b < width) {
        (true, false) => (*binary.op(), (a, x), (b - width, y)),
        (false, true) => match binary.op().swap() {
            Some(op) => (op, (b, y), (a - width, x)),
            None => return,
        },
        _ => return,
    };
    // l + x op r + y is the same as l - r op y - x.
    let Some(us) = y.checked_sub(x) else { return };
    let (least, most) = match op {
        Operator::Eq => (Some(us), Some(us)),
        Operator::GtEq => (Some(us), None),
        Operator::Gt => (us.checked_add(1), None),
        Operator::LtEq => (None, Some(us)),
        Operator::Lt => (None, us.checked_sub(1)),
        _ => return,
    };
    let held = found.entry((l, r)).or_default();
    held.least = held.least.max(least);
    held.most = [held.most, most].into_iter().flatten().min();
}

/// A column of times and the constant by which an expression is later than it.
fn shifted_column(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, i64)> {
    let expr = strip_canonical(expr);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some((column.index(), 0));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return if is_time(cast.cast_type()) { shifted_column(cast.expr()) } else { None };
    }
    let sum = expr.downcast_ref::<BinaryExpr>()?;
    let (from, us) = match (sum.op(), literal_length(sum.right())) {
        (Operator::Plus, Some(us)) => (sum.left(), us),
        (Operator::Minus, Some(us)) => (sum.left(), us.checked_neg()?),
        (Operator::Plus, None) => (sum.right(), literal_length(sum.left())?),
        _ => return None,
    };
    let (column, before) = shifted_column(from)?;
    Some((column, before.checked_add(us)?))
}

/// The microseconds of a constant interval of fixed length.
pub(crate) fn literal_length(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    literal_us(expr.downcast_ref::<Literal>()?.value())
}

/// The microseconds of an interval of fixed length.
fn literal_us(value: &ScalarValue) -> Option<i64> {
    const DAY_US: i64 = 86_400_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 && v.nanoseconds % 1000 == 0 => {
            i64::from(v.days).checked_mul(DAY_US)?.checked_add(v.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            i64::from(v.days).checked_mul(DAY_US)?.checked_add(i64::from(v.milliseconds) * 1000)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => Some(*us),
        ScalarValue::DurationNanosecond(Some(ns)) if ns % 1000 == 0 => Some(ns / 1000),
        _ => None,
    }
}
