//! Columns that carry a watermark through a plan, and the state that can therefore be dropped.
//!
//! A [`Bound`] of a column is a promise: after an epoch no row is inserted or retracted whose time there is
//! below every named source's watermark at that epoch less its lag. Event-time columns of append-only sources
//! have one, those of tables only within their retention. It survives filters, projections, UNNEST, windows,
//! GROUP BY and DISTINCT over the column, unions (the least of the inputs), functions OVER an ascending time
//! that look back only, and joins that equate two such columns or bound their distance. Every other join
//! loses it: it can emit old rows at any time. "At or below" is written as a lag of one microsecond less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::interval::{self, literal_length};
use crate::functions::text::format::quote_identifier;
use crate::functions::windows::event_windows::{HOP_END, HOP_STARTS, TUMBLE_END, TUMBLE_START};
use crate::plan::canonical::{is_time, strip_canonical};
use crate::plan::state_role::StateRole;
use crate::plan::window::Window;
use crate::plan::{Edge, Horizon, JoinKind, Nearest, Op, Plan, Rel, RelId, Scalar, When};

/// The promise about a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Sources and their lags in microseconds.
    pub marks: Vec<(usize, i64)>,
    /// True when the column is an end of a window.
    pub window: bool,
    /// Microseconds from the column's time to the end of the window that it tells of: 0 for an end, the
    /// length for a beginning, 1 for the time of a row.
    pub ahead: i64,
    /// True when an outer join fills the column with NULL, which is never final, in rows that are final.
    pub filled: bool,
}

impl Bound {
    /// The same promise about a time that is `us` later.
    fn shifted_later(&self, us: i64) -> Option<Bound> {
        let mut marks = Vec::with_capacity(self.marks.len());
        for (source, lag) in &self.marks {
            marks.push((*source, lag.checked_sub(us)?));
        }
        // The end of a window stays where it is when another time tells of it.
        let ahead = if self.window { self.ahead.checked_sub(us)? } else { self.ahead };
        Some(Bound { marks, ahead, ..*self })
    }

    /// The same promise about a time that is later by a length, if there is one.
    fn shifted_by(&self, us: Option<i64>) -> Option<Bound> {
        self.shifted_later(us?)
    }

    /// The promise about a time of the window that the column's time is in: its bound is `later` than the
    /// column's, and the time is `ahead` of the window's end.
    fn of_window(&self, later: i64, ahead: i64) -> Option<Bound> {
        Some(Bound { window: true, ahead, ..self.shifted_later(later)? })
    }

    /// The same promise about a column that an outer join fills with NULL if `filled`.
    fn filled_if(self, filled: bool) -> Bound {
        Bound { filled: self.filled || filled, ..self }
    }

    /// Returns true if some row is final once the column's time has passed.
    pub(crate) fn becomes_final(&self) -> bool {
        !self.filled
    }

    /// Returns true for an end of a window with which its rows become final.
    pub(crate) fn ends_window(&self) -> bool {
        self.window && !self.filled
    }

    /// The promise about `column` as a horizon.
    fn into_horizon(self, column: usize) -> Horizon {
        Horizon { column, marks: self.marks }
    }

    /// The weaker of two promises.
    fn weaker(&self, other: &Bound) -> Bound {
        let mut marks: BTreeMap<usize, i64> = self.marks.iter().copied().collect();
        for (source, lag) in &other.marks {
            let held = marks.entry(*source).or_insert(*lag);
            *held = (*held).max(*lag);
        }
        Bound {
            marks: marks.into_iter().collect(),
            window: self.window && other.window,
            ahead: self.ahead.min(other.ahead),
            filled: self.filled || other.filled,
        }
    }

    /// The greatest lag: of two bounds the one with less is reached sooner.
    fn max_lag(&self) -> i64 {
        self.marks.iter().map(|(_, lag)| *lag).max().unwrap_or(0)
    }
}

/// Items of a column list that give a relation a watermark, for hints: over its first time, or over a column to
/// add. That is computed from a column of numbers called `ts`, if there is one.
pub(crate) fn watermark_items(schema: &Schema) -> String {
    if let Some(time) = schema.fields().iter().find(|field| is_time(field.data_type())) {
        return format!("WATERMARK FOR {0} AS {0} - INTERVAL '1 hour'", quote_identifier(time.name()));
    }
    let mut name = "ts".to_owned();
    let mut tried = 0;
    while schema.column_with_name(&name).is_some() {
        name = if tried == 0 { "event_time".to_owned() } else { format!("event_time_{tried}") };
        tried += 1;
    }
    let column = match schema.column_with_name("ts") {
        Some((_, field)) if field.data_type().is_integer() => "TIMESTAMP AS (to_timestamp_millis(ts))",
        _ => "TIMESTAMPTZ",
    };
    format!("{name} {column}, WATERMARK FOR {name} AS {name} - INTERVAL '1 hour'")
}

/// The bound of each of a relation's columns.
pub(crate) type ColumnBounds = Vec<Option<Bound>>;

/// The bounds of every relation.
pub(crate) fn column_bounds(plan: &Plan) -> Vec<ColumnBounds> {
    let mut known: Vec<ColumnBounds> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let bounds = bounds_of(plan, id, &known);
        known.push(bounds);
    }
    known
}

/// The bounds of one relation's columns, from those of its inputs.
fn bounds_of(plan: &Plan, id: RelId, known: &[ColumnBounds]) -> ColumnBounds {
    let rel = &plan.rels[id];
    match &rel.op {
        Op::Source(at) => {
            let mut bounds = no_bounds(rel);
            let source = &plan.sources[*at];
            // A table's rows may be corrected for as long as they are held.
            let lag = match &source.keyed {
                Some(keyed) => keyed.retention_us,
                None => Some(0),
            };
            if let (Some(watermark), Some(lag)) = (source.watermark, lag) {
                bounds[watermark.column] =
                    Some(Bound { marks: vec![(*at, lag)], window: false, ahead: 1, filled: false });
            }
            bounds
        }
        // A row of a side changes results that follow from rows of any age.
        Op::Values(_) | Op::Recursive(_) | Op::Given(_) => no_bounds(rel),
        // Rows leave when now() has passed their times: old rows are retracted.
        Op::TemporalFilter { until, .. } if !until.is_empty() => no_bounds(rel),
        Op::TemporalFilter { input, since, clock, .. } => {
            let mut bounds = no_bounds(rel);
            if let Some((column, enters)) = entry_bound(since, clock) {
                bounds[column] = weakest([known[*input][column].as_ref(), enters.as_ref()]);
            }
            bounds
        }
        Op::Filter { input, .. } | Op::Unnest { input, .. } | Op::Distinct { input } => known[*input].clone(),
        Op::Project { input, exprs } => bounds_of_exprs(exprs, &known[*input]),
        Op::Union { inputs } => {
            let mut bounds = no_bounds(rel);
            for (column, bound) in bounds.iter_mut().enumerate() {
                *bound = weakest(inputs.iter().map(|input| known[*input][column].as_ref()));
            }
            bounds
        }
        Op::Aggregate { input, keys, .. } | Op::GroupRows { input, keys, .. } => {
            let mut bounds = bounds_of_exprs(keys, &known[*input]);
            bounds.resize(rel.schema.fields().len(), None);
            bounds
        }
        Op::Window { input, window } => window_bounds(rel, window, &known[*input]),
        Op::EmitOnClose { input, horizon } => waited_bounds(rel, horizon, &known[*input]),
        Op::TemporalJoin { left, when: When::ProcTime, .. } => {
            let mut bounds = known[*left].clone();
            bounds.resize(rel.schema.fields().len(), None);
            bounds
        }
        // A row of the right changes the matches of left rows before it, however old they are.
        Op::TemporalJoin { when: When::AsOf { nearest: Nearest { forward: true, .. }, .. }, .. } => {
            no_bounds(rel)
        }
        Op::TemporalJoin { left, right, when: When::AsOf { left: l, right: r, .. }, .. } => {
            let mut bounds = no_bounds(rel);
            // A row of the right changes the matches of left rows that are not before it, so both sides bound
            // them.
            bounds[*l] = weakest([known[*left][*l].as_ref(), known[*right][*r].as_ref()]);
            bounds
        }
        Op::Join { .. } => join_bounds(plan, id, known),
    }
}

/// The bounds of rows that have waited until they are below a horizon.
fn waited_bounds(rel: &Rel, horizon: &Horizon, input: &ColumnBounds) -> ColumnBounds {
    // Bounds of the input's other columns do not hold any more.
    let mut bounds = no_bounds(rel);
    let (ahead, filled) = match &input[horizon.column] {
        Some(bound) => (bound.ahead, bound.filled),
        None => (0, false),
    };
    let marks = horizon.marks.clone();
    bounds[horizon.column] = Some(Bound { marks, window: true, ahead, filled });
    bounds
}

/// No bound of any column of `rel`.
fn no_bounds(rel: &Rel) -> ColumnBounds {
    vec![None; rel.schema.fields().len()]
}

/// The bounds of expressions over columns with bounds.
fn bounds_of_exprs(exprs: &[Scalar], input: &ColumnBounds) -> ColumnBounds {
    exprs.iter().map(|expr| bound_of_expr(expr.expr(), input)).collect()
}

/// The weakest of some promises; None where one is missing, and of none.
fn weakest<'a>(bounds: impl IntoIterator<Item = Option<&'a Bound>>) -> Option<Bound> {
    let mut weakest: Option<Bound> = None;
    for bound in bounds {
        let bound = bound?;
        weakest = Some(match weakest {
            Some(held) => held.weaker(bound),
            None => bound.clone(),
        });
    }
    weakest
}

/// The time column of a temporal filter without an end, and the bound of the rows that enter: each enters
/// when now() reaches its time plus the edge.
fn entry_bound(since: &[Edge], clock: &[usize]) -> Option<(usize, Option<Bound>)> {
    let [edge] = since else { return None };
    let column = edge.time.as_column()?;
    let Some(lag) = edge.us.checked_sub(1) else { return Some((column, None)) };
    let marks = clock.iter().map(|source| (*source, lag)).collect();
    Some((column, Some(Bound { marks, window: true, ahead: 0, filled: false })))
}

/// The bounds of a join's columns: times that bound each other, and other times of their sides.
fn join_bounds(plan: &Plan, id: RelId, known: &[ColumnBounds]) -> ColumnBounds {
    let mut bounds = no_bounds(&plan.rels[id]);
    let Op::Join { left, right, kind, .. } = &plan.rels[id].op else { return bounds };
    let width = plan.rels[*left].schema.fields().len();
    for pair in time_pairs(plan, id, known) {
        let of_left = pair.bounds.0.filled_if(*kind == JoinKind::Full);
        add_side(plan, *left, (pair.columns.0, of_left), &known[*left], &mut bounds);
        if kind.outputs_pairs() {
            let of_right = pair.bounds.1.filled_if(*kind != JoinKind::Inner);
            add_side(plan, *right, (pair.columns.1, of_right), &known[*right], &mut bounds[width..]);
        }
    }
    bounds
}

/// Adds the bound of a column of one side of a join, and those that follow from it, to the bounds of the output's
/// columns of that side.
fn add_side(
    plan: &Plan,
    side: RelId,
    (column, bound): (usize, Bound),
    known: &ColumnBounds,
    bounds: &mut [Option<Bound>],
) {
    for (at, beside) in bounds_beside(plan, side, (column, &bound), known) {
        bounds[at].get_or_insert(beside);
    }
    bounds[column] = Some(bound);
}

/// The bounds of a window operator's columns.
fn window_bounds(rel: &Rel, window: &Window, input: &ColumnBounds) -> ColumnBounds {
    // A new row may change every row of its partition, and no others.
    let mut bounds = no_bounds(rel);
    for column in window.partition.iter().filter_map(Scalar::as_column) {
        bounds[column].clone_from(&input[column]);
    }
    // Where all functions look back in time, it changes rows of its own time and later ones only.
    if let Some(column) = window.looks_back() {
        bounds[column].clone_from(&input[column]);
    }
    // A row changes the sessions that end after it, and no others.
    if let Some(session) = window.session() {
        let end = input.len() + session.end;
        bounds[end] = input[session.time].as_ref().and_then(|bound| bound.of_window(1, 0));
    }
    bounds
}

/// A time of either side of a join, such that rows match only within a bounded distance of each other.
struct TimePair {
    /// Column of the left and of the right.
    columns: (usize, usize),
    /// Their bounds in the output.
    bounds: (Bound, Bound),
    /// Bounds below which rows of the sides are not needed any more.
    kept: (Bound, Bound),
}

/// The pairs of a join: times that are equal, and times whose distance its condition bounds.
fn time_pairs(plan: &Plan, id: RelId, known: &[ColumnBounds]) -> Vec<TimePair> {
    let Op::Join { left, right, kind, left_keys, right_keys, residual, .. } = &plan.rels[id].op else {
        return vec![];
    };
    let mut found = Vec::new();
    for (l, r) in left_keys.iter().zip(right_keys) {
        let (Some(l), Some(r)) = (l.as_column(), r.as_column()) else { continue };
        let (Some(a), Some(b)) = (&known[*left][l], &known[*right][r]) else { continue };
        // A change of either side changes rows of its own time only.
        let bounds = (a.weaker(b), a.weaker(b));
        found.push(TimePair { columns: (l, r), kept: bounds.clone(), bounds });
    }
    let Some(residual) = residual else { return found };
    let width = plan.rels[*left].schema.fields().len();
    for ((l, r), between) in interval::distances(residual, width) {
        let (Some(a), Some(b)) = (&known[*left][l], &known[*right][r]) else { continue };
        // A right row at or above its bound b matches left rows at or above b plus the least distance: later
        // rows of the right change no older left rows. The same holds for the other side with the greatest
        // distance.
        let behind = between.most.and_then(i64::checked_neg);
        let (Some(from_right), Some(from_left)) = (b.shifted_by(between.least), a.shifted_by(behind)) else {
            continue;
        };
        let (earliest, latest) = (a.weaker(&from_right), b.weaker(&from_left));
        // In an outer join a row without matches is emitted with NULLs, so a match must not be dropped while
        // a row of the other side that it matched can still change.
        let mut kept = (earliest.clone(), latest.clone());
        if *kind != JoinKind::Inner {
            let Some(met) = earliest.shifted_by(behind) else { continue };
            kept.1 = latest.weaker(&met);
        }
        if *kind == JoinKind::Full {
            let Some(met) = latest.shifted_by(between.least) else { continue };
            kept.0 = earliest.weaker(&met);
        }
        found.push(TimePair { columns: (l, r), bounds: (earliest, latest), kept });
    }
    found
}

/// Bounds of other times of a relation that follow from `bound` of `column`: a window of a time starts at
/// most its length below the time.
fn bounds_beside(
    plan: &Plan,
    rel: RelId,
    (column, bound): (usize, &Bound),
    known: &ColumnBounds,
) -> Vec<(usize, Bound)> {
    let mut found = Vec::new();
    for (at, other) in known.iter().enumerate().filter(|(at, _)| *at != column) {
        let Some(other) = other else { continue };
        let later = distance_below(plan, rel, (column, at)).and_then(i64::checked_neg);
        if let Some(shifted) = bound.shifted_by(later) {
            found.push((at, Bound { window: other.window, ahead: other.ahead, ..shifted }));
        }
    }
    found
}

/// The greatest distance of `other` below `column` in every row of `rel`, where both are computed from one
/// column.
fn distance_below(plan: &Plan, mut rel: RelId, (mut column, mut other): (usize, usize)) -> Option<i64> {
    let mut below = 0i64;
    loop {
        let (input, exprs) = match &plan.rels[rel].op {
            Op::Filter { input, .. }
            | Op::TemporalFilter { input, .. }
            | Op::Distinct { input }
            | Op::EmitOnClose { input, .. } => {
                rel = *input;
                continue;
            }
            // An item of a list of times is bounded like the list.
            Op::Unnest { input, .. } => {
                rel = *input;
                continue;
            }
            Op::Project { input, exprs } => (*input, exprs),
            Op::Aggregate { input, keys, .. } | Op::GroupRows { input, keys, .. } => (*input, keys),
            _ => return None,
        };
        let base = exprs.get(column)?.as_column()?;
        let expr = exprs.get(other)?.expr();
        // `other` must read exactly one column of the input.
        let mut at = collect_columns(expr).into_iter().map(|c| c.index());
        let (Some(from), None) = (at.next(), at.next()) else { return None };
        let mut bounds: ColumnBounds = vec![None; plan.rels[input].schema.fields().len()];
        // The lag that the expression adds to a bound of lag 0 is its distance below the column.
        *bounds.get_mut(from)? = Some(Bound { marks: vec![(0, 0)], window: false, ahead: 1, filled: false });
        below = below.checked_add(bound_of_expr(expr, &bounds)?.max_lag())?;
        if from == base {
            return Some(below);
        }
        (rel, column, other) = (input, base, from);
    }
}

/// The bound of an expression over columns with bounds; None where it has none.
fn bound_of_expr(expr: &Arc<dyn PhysicalExpr>, input: &ColumnBounds) -> Option<Bound> {
    let expr = strip_canonical(expr);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return input.get(column.index())?.clone();
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return if is_time(cast.cast_type()) { bound_of_expr(cast.expr(), input) } else { None };
    }
    if let Some(sum) = expr.downcast_ref::<BinaryExpr>() {
        return match sum.op() {
            Operator::Plus => match literal_length(sum.right()) {
                Some(us) => bound_of_expr(sum.left(), input)?.shifted_later(us),
                None => bound_of_expr(sum.right(), input)?.shifted_later(literal_length(sum.left())?),
            },
            Operator::Minus => {
                bound_of_expr(sum.left(), input)?.shifted_later(literal_length(sum.right())?.checked_neg()?)
            }
            _ => None,
        };
    }
    bound_of_call(expr.downcast_ref::<ScalarFunctionExpr>()?, input)
}

/// The bound of the times that a function makes of columns with bounds; None where they have none.
fn bound_of_call(call: &ScalarFunctionExpr, input: &ColumnBounds) -> Option<Bound> {
    // A time not below b is in a window that starts after b less its length, and ends after b.
    match call.name() {
        TUMBLE_START => {
            let length = length_arg(call, 1)?;
            bound_of_arg(call, 0, input)?.of_window(1 - length, length)
        }
        TUMBLE_END => bound_of_arg(call, 0, input)?.of_window(1, 0),
        HOP_STARTS => {
            let length = length_arg(call, 2)?;
            bound_of_arg(call, 0, input)?.of_window(1 - length, length)
        }
        HOP_END => bound_of_arg(call, 0, input)?.shifted_later(length_arg(call, 1)?),
        "date_bin" if call.args().len() == 2 => {
            let width = literal_length(call.args().first()?)?;
            bound_of_arg(call, 1, input)?.of_window(1i64.checked_sub(width)?, width)
        }
        // Without a time zone: with one a day may have 25 hours.
        "date_trunc" if call.args().len() == 2 => {
            let length = unit_us(call.args().first()?)?;
            bound_of_arg(call, 1, input)?.of_window(1 - length, length)
        }
        _ => None,
    }
}

/// The bound of a function's argument.
fn bound_of_arg(call: &ScalarFunctionExpr, at: usize, input: &ColumnBounds) -> Option<Bound> {
    bound_of_expr(call.args().get(at)?, input)
}

/// A function's argument that is a constant length above 0, microseconds.
fn length_arg(call: &ScalarFunctionExpr, at: usize) -> Option<i64> {
    let us = constant_us(call.args().get(at)?)?;
    (us > 0).then_some(us)
}

/// A constant length in microseconds.
pub(crate) fn constant_us(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(us) => *us,
        _ => None,
    }
}

/// The greatest length of a unit of `date_trunc`, microseconds.
fn unit_us(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    let ScalarValue::Utf8(Some(unit)) = expr.downcast_ref::<Literal>()?.value() else { return None };
    const DAY_US: i64 = 86_400_000_000;
    Some(match unit.to_lowercase().as_str() {
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => DAY_US,
        "week" => 7 * DAY_US,
        "month" => 31 * DAY_US,
        "quarter" => 92 * DAY_US,
        "year" => 366 * DAY_US,
        _ => return None,
    })
}

/// The column of a relation by which its rows are final soonest, of those that `fits`.
pub(crate) fn soonest_horizon(bounds: &ColumnBounds, fits: impl Fn(&Bound) -> bool) -> Option<Horizon> {
    let mut fit = Vec::new();
    for (column, bound) in bounds.iter().enumerate() {
        if let Some(bound) = bound
            && fits(bound)
        {
            fit.push((column, bound));
        }
    }
    let (column, bound) = fit.into_iter().min_by_key(|(_, bound)| (bound.filled, bound.max_lag()))?;
    Some(bound.clone().into_horizon(column))
}

/// Sets `expiry` and `settled` of the plan: groups and partitions expire by one bounded time, the sides of
/// joins by two.
pub(crate) fn set_expiry(plan: &mut Plan) {
    let known = column_bounds(plan);
    let (mut expiry, mut settled) = (BTreeMap::new(), BTreeMap::new());
    // The inputs of a recursion must come whole on a restart, however old their rows are: their state never
    // expires.
    let mut whole: BTreeSet<RelId> = BTreeSet::new();
    for rel in &plan.rels {
        if matches!(rel.op, Op::Recursive(_)) {
            whole.extend(rel.op.inputs());
        }
    }
    for (id, rel) in plan.rels.iter().enumerate().filter(|(id, _)| !whole.contains(id)) {
        match &rel.op {
            Op::Aggregate { keys, .. } | Op::GroupRows { keys, .. } if keys.is_empty() => {}
            Op::Aggregate { .. } | Op::GroupRows { .. } | Op::Distinct { .. } => {
                if let Some(horizon) = soonest_horizon(&known[id], |_| true) {
                    expiry.insert((id, StateRole::Groups), horizon);
                }
            }
            Op::Window { window, .. } => {
                let keys = window.partition.iter().map(|p| known[id].get(p.as_column()?)?.clone());
                if let Some(key) = soonest_horizon(&keys.collect(), |_| true) {
                    expiry.insert((id, StateRole::Partitions), key);
                    continue;
                }
                let Some(session) = window.session() else { continue };
                let end = plan.rels[rel.op.inputs()[0]].schema.fields().len() + session.end;
                let Some(bound) = known[id][end].clone() else { continue };
                let horizon = bound.into_horizon(end);
                settled.insert(id, vec![horizon.clone()]);
                expiry.insert((id, StateRole::Partitions), horizon);
            }
            Op::TemporalJoin { when: When::AsOf { left, right, .. }, .. } => {
                let Some(bound) = known[id][*left].clone() else { continue };
                expiry.insert((id, StateRole::Left), bound.clone().into_horizon(*left));
                expiry.insert((id, StateRole::Right), bound.into_horizon(*right));
            }
            Op::Join { left, kind, .. } => {
                let pair =
                    time_pairs(plan, id, &known).into_iter().min_by_key(|pair| pair.bounds.0.max_lag());
                let Some(TimePair { columns, bounds, kept }) = pair else { continue };
                expiry.insert((id, StateRole::Left), kept.0.into_horizon(columns.0));
                expiry.insert((id, StateRole::Right), kept.1.into_horizon(columns.1));
                let mut out = vec![bounds.0.into_horizon(columns.0)];
                if kind.outputs_pairs() {
                    let width = plan.rels[*left].schema.fields().len();
                    out.push(bounds.1.into_horizon(width + columns.1));
                }
                settled.insert(id, out);
            }
            _ => {}
        }
    }
    (plan.expiry, plan.settled) = (expiry, settled);
}
