//! Which columns carry a watermark through a plan, and what can therefore be dropped.
//!
//! A [`Bound`] of a column is a promise: after an epoch no row comes, and none is taken back, whose
//! time there is below every named source's watermark at that epoch less its lag. Event-time columns
//! of append-only sources have one, those of tables only within their retention. It survives filters,
//! projections, UNNEST, windows, GROUP BY and DISTINCT over the column, unions (the least of the
//! inputs), functions OVER an ascending time that look back only, and joins that equate two such columns or
//! bound their distance. Every other join loses it: old rows can come out of it at any time. "At or below" is written as a lag of one microsecond less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::interval;
use crate::functions::windows::event_windows::{HOP_END, HOP_STARTS, TUMBLE_END, TUMBLE_START};
use crate::plan::canonical::bare;
use crate::plan::state_role::Part;
use crate::plan::{Horizon, JoinKind, Nearest, Op, Plan, Rel, RelId, Scalar, When};

/// What is promised of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Sources and their lags in microseconds.
    pub marks: Vec<(usize, i64)>,
    /// Whether the column is an end of a window.
    pub window: bool,
    /// Whether an outer join fills the column with NULL, which is never final, in rows that are.
    pub filled: bool,
}

impl Bound {
    /// The same promise of a time that is `us` later.
    fn later(&self, us: i64) -> Option<Bound> {
        let marks = self.marks.iter().map(|(s, lag)| Some((*s, lag.checked_sub(us)?)));
        Some(Bound { marks: marks.collect::<Option<_>>()?, ..*self })
    }

    fn window(self) -> Bound {
        Bound { window: true, ..self }
    }

    /// The weaker of two promises.
    fn and(&self, other: &Bound) -> Bound {
        let mut marks: BTreeMap<usize, i64> = self.marks.iter().copied().collect();
        for (source, lag) in &other.marks {
            let held = marks.entry(*source).or_insert(*lag);
            *held = (*held).max(*lag);
        }
        Bound {
            marks: marks.into_iter().collect(),
            window: self.window && other.window,
            filled: self.filled || other.filled,
        }
    }

    fn lag(&self) -> i64 {
        self.marks.iter().map(|(_, lag)| *lag).max().unwrap_or(0)
    }
}

/// The bounds of a relation's columns.
pub(crate) type Bounds = Vec<Option<Bound>>;

/// The bounds of every relation.
pub(crate) fn bounds(plan: &Plan) -> Vec<Bounds> {
    let mut known: Vec<Bounds> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let bounds = of(plan, id, &known);
        known.push(bounds);
    }
    known
}

fn of(plan: &Plan, id: RelId, known: &[Bounds]) -> Bounds {
    let rel = &plan.rels[id];
    let none = || vec![None; rel.schema.fields().len()];
    match &rel.op {
        Op::Source(at) => {
            let mut bounds = none();
            let source = &plan.sources[*at];
            // A table's rows may be corrected for as long as they are held.
            let lag = source.keyed.as_ref().map_or(Some(0), |keyed| keyed.retention_us);
            if let (Some(watermark), Some(lag)) = (source.watermark, lag) {
                bounds[watermark.column] =
                    Some(Bound { marks: vec![(*at, lag)], window: false, filled: false });
            }
            bounds
        }
        // A row of a side changes what followed from rows of any age.
        Op::Values(_) | Op::Recursive(_) | Op::Given(_) => none(),
        // Rows leave when now() has passed them, and rows of the future come in when it has come to them.
        Op::Within { until, .. } if !until.is_empty() => none(),
        Op::Within { input, since, clock, .. } => {
            let mut bounds = none();
            let [edge] = since.as_slice() else { return bounds };
            let Some(column) = edge.time.as_column() else { return bounds };
            let marks: Option<_> = clock.iter().map(|s| Some((*s, edge.us.checked_sub(1)?))).collect();
            let comes = marks.map(|marks| Bound { marks, window: true, filled: false });
            bounds[column] = known[*input][column].as_ref().zip(comes).map(|(a, b)| a.and(&b));
            bounds
        }
        Op::Filter { input, .. } | Op::Unnest { input, .. } | Op::Distinct { input } => known[*input].clone(),
        Op::Project { input, exprs } => exprs.iter().map(|e| through(e.expr(), &known[*input])).collect(),
        Op::Union { inputs } => {
            let mut bounds = none();
            for (column, bound) in bounds.iter_mut().enumerate() {
                let all = inputs.iter().map(|input| known[*input][column].clone());
                let all: Option<Vec<Bound>> = all.collect();
                *bound = all.and_then(|all| all.into_iter().reduce(|a, b| a.and(&b)));
            }
            bounds
        }
        Op::Aggregate { input, keys, .. } | Op::Fold { input, keys, .. } => {
            let mut bounds = none();
            for (bound, key) in bounds.iter_mut().zip(keys) {
                *bound = through(key.expr(), &known[*input]);
            }
            bounds
        }
        Op::Window { input, window } => {
            // A new row may change every row of its partition, and no other.
            let mut bounds = none();
            for column in window.partition.iter().filter_map(Scalar::as_column) {
                bounds[column].clone_from(&known[*input][column]);
            }
            // Or, where all functions look back in time, rows of its own time and after it.
            if let Some(column) = window.looks_back() {
                bounds[column].clone_from(&known[*input][column]);
            }
            // A row changes the sessions that end after it, and no other.
            if let Some(session) = window.session() {
                let end = known[*input].len() + session.end;
                let ended = known[*input][session.time].clone().and_then(|bound| bound.later(1));
                bounds[end] = ended.map(Bound::window);
            }
            bounds
        }
        Op::Close { input, horizon } => {
            // What else was promised of the input may come late now: rows waited.
            let mut bounds = none();
            let filled = known[*input][horizon.column].as_ref().is_some_and(|bound| bound.filled);
            bounds[horizon.column] = Some(Bound { marks: horizon.marks.clone(), window: true, filled });
            bounds
        }
        Op::Lookup { left, when: When::Now, .. } => {
            let mut bounds = known[*left].clone();
            bounds.resize(rel.schema.fields().len(), None);
            bounds
        }
        // A row of the right changes what rows of the left found that are before it, however long.
        Op::Lookup { when: When::Time { nearest: Nearest { forward: true, .. }, .. }, .. } => none(),
        Op::Lookup { left, right, when: When::Time { left: l, right: r, .. }, .. } => {
            let mut bounds = none();
            // A row of the right changes what rows of the left found that are not before it.
            bounds[*l] = known[*left][*l].as_ref().zip(known[*right][*r].as_ref()).map(|(a, b)| a.and(b));
            bounds
        }
        Op::Join { left, right, kind, .. } => {
            let mut bounds = none();
            let width = plan.rels[*left].schema.fields().len();
            for pair in pairs(plan, id, known) {
                let filled = |bound: Bound, by: bool| Bound { filled: bound.filled || by, ..bound };
                let mut side = |side: RelId, (column, bound): (usize, Bound), first: usize| {
                    for (at, bound) in beside(plan, side, (column, &bound), &known[side]) {
                        bounds[first + at].get_or_insert(bound);
                    }
                    bounds[first + column] = Some(bound);
                };
                side(*left, (pair.columns.0, filled(pair.bounds.0, *kind == JoinKind::Full)), 0);
                if kind.pairs() {
                    side(*right, (pair.columns.1, filled(pair.bounds.1, *kind != JoinKind::Inner)), width);
                }
            }
            bounds
        }
    }
}

/// A time of either side of a join such that rows meet only within a bounded distance of each other.
struct Pair {
    /// Left's and right's column.
    columns: (usize, usize),
    /// What is promised of them in the output.
    bounds: (Bound, Bound),
    /// From when on rows of the sides are needed no more.
    kept: (Bound, Bound),
}

/// The pairs of a join: times that are equal, and times whose distance its condition bounds.
fn pairs(plan: &Plan, id: RelId, known: &[Bounds]) -> Vec<Pair> {
    let Op::Join { left, right, kind, left_keys, right_keys, residual, .. } = &plan.rels[id].op else {
        return vec![];
    };
    let mut found = Vec::new();
    for (l, r) in left_keys.iter().zip(right_keys) {
        let (Some(l), Some(r)) = (l.as_column(), r.as_column()) else { continue };
        let (Some(a), Some(b)) = (&known[*left][l], &known[*right][r]) else { continue };
        // A change of either side changes rows of its own time only.
        let bounds = (a.and(b), a.and(b));
        found.push(Pair { columns: (l, r), kept: bounds.clone(), bounds });
    }
    let Some(residual) = residual else { return found };
    let width = plan.rels[*left].schema.fields().len();
    for ((l, r), between) in interval::of(residual, width) {
        let (Some(a), Some(b)) = (&known[*left][l], &known[*right][r]) else { continue };
        // A right row not below b meets left rows not below b and the least distance, and so on.
        let far = |of: &Bound, us: Option<i64>| of.later(us?);
        let behind = between.most.and_then(i64::checked_neg);
        let earliest = far(b, between.least).map(|b| a.and(&b));
        let latest = far(a, behind).map(|a| b.and(&a));
        let (Some(earliest), Some(latest)) = (earliest, latest) else { continue };
        // A row that loses its last partner comes back alone: partners go when all they met are settled.
        let mut kept = (earliest.clone(), latest.clone());
        if *kind != JoinKind::Inner {
            let Some(met) = far(&earliest, behind) else { continue };
            kept.1 = latest.and(&met);
        }
        if *kind == JoinKind::Full {
            let Some(met) = far(&latest, between.least) else { continue };
            kept.0 = earliest.and(&met);
        }
        found.push(Pair { columns: (l, r), bounds: (earliest, latest), kept });
    }
    found
}

/// What is promised of the other times of a relation when `bound` is of `column`: windows of a time are never
/// far below it.
fn beside(plan: &Plan, rel: RelId, (column, bound): (usize, &Bound), known: &Bounds) -> Vec<(usize, Bound)> {
    let others = known.iter().enumerate().filter(|(at, _)| *at != column);
    let others = others.filter_map(|(at, other)| {
        let below = below(plan, rel, (column, at))?;
        Some((at, Bound { window: other.as_ref()?.window, ..bound.later(below.checked_neg()?)? }))
    });
    others.collect()
}

/// How far `other` is below `column` at most in every row of `rel`, where it is computed from it.
fn below(plan: &Plan, mut rel: RelId, (mut column, mut other): (usize, usize)) -> Option<i64> {
    let mut below = 0i64;
    loop {
        let (input, exprs) = match &plan.rels[rel].op {
            Op::Filter { input, .. }
            | Op::Within { input, .. }
            | Op::Distinct { input }
            | Op::Close { input, .. } => {
                rel = *input;
                continue;
            }
            // An item of a list of times is bounded as the list is.
            Op::Unnest { input, .. } => {
                rel = *input;
                continue;
            }
            Op::Project { input, exprs } => (*input, exprs),
            Op::Aggregate { input, keys, .. } | Op::Fold { input, keys, .. } => (*input, keys),
            _ => return None,
        };
        let base = exprs.get(column)?.as_column()?;
        let expr = exprs.get(other)?.expr();
        let mut at = collect_columns(expr).into_iter().map(|c| c.index());
        let (Some(from), None) = (at.next(), at.next()) else { return None };
        let mut bounds: Bounds = vec![None; plan.rels[input].schema.fields().len()];
        *bounds.get_mut(from)? = Some(Bound { marks: vec![(0, 0)], window: false, filled: false });
        below = below.checked_add(through(expr, &bounds)?.lag())?;
        if from == base {
            return Some(below);
        }
        (rel, column, other) = (input, base, from);
    }
}

/// The bound of an expression over columns with bounds.
fn through(expr: &Arc<dyn PhysicalExpr>, input: &Bounds) -> Option<Bound> {
    let expr = bare(expr);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return input.get(column.index())?.clone();
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let time = matches!(cast.cast_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        return through(cast.expr(), input).filter(|_| time);
    }
    if let Some(sum) = expr.downcast_ref::<BinaryExpr>() {
        let length = |of: &Arc<dyn PhysicalExpr>| interval::literal_us(of.downcast_ref::<Literal>()?.value());
        return match sum.op() {
            Operator::Plus => match length(sum.right()) {
                Some(us) => through(sum.left(), input)?.later(us),
                None => through(sum.right(), input)?.later(length(sum.left())?),
            },
            Operator::Minus => through(sum.left(), input)?.later(length(sum.right())?.checked_neg()?),
            _ => None,
        };
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let argument = |at: usize| call.args().get(at).and_then(|of| through(of, input));
    let length = |at: usize| call.args().get(at).and_then(constant).filter(|us| *us > 0);
    // A time not below b is in a window that starts after b less its length, and ends after b.
    match call.name() {
        TUMBLE_START => argument(0)?.later(1 - length(1)?).map(Bound::window),
        TUMBLE_END => argument(0)?.later(1).map(Bound::window),
        HOP_STARTS => argument(0)?.later(1 - length(2)?).map(Bound::window),
        HOP_END => argument(0)?.later(length(1)?),
        "date_bin" if call.args().len() == 2 => {
            let width = interval::literal_us(call.args().first()?.downcast_ref::<Literal>()?.value())?;
            argument(1)?.later(1i64.checked_sub(width)?).map(Bound::window)
        }
        // With a zone a day may have 25 hours.
        "date_trunc" if call.args().len() == 2 => {
            argument(1)?.later(1 - unit_us(call.args().first()?)?).map(Bound::window)
        }
        _ => None,
    }
}

/// A constant length in microseconds.
pub(crate) fn constant(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(us) => *us,
        _ => None,
    }
}

/// The longest a unit of `date_trunc` is.
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
pub(crate) fn soonest(bounds: &Bounds, fits: impl Fn(&Bound) -> bool) -> Option<Horizon> {
    let bounded = bounds.iter().enumerate().filter_map(|(column, bound)| Some((column, bound.as_ref()?)));
    let fit = bounded.filter(|(_, bound)| fits(bound));
    let (column, bound) = fit.min_by_key(|(_, bound)| (bound.filled, bound.lag()))?;
    Some(Horizon { column, marks: bound.marks.clone() })
}

/// Fills in which state ends with the watermark: of groups and partitions by a bounded time, and of joins
/// by two.
pub(crate) fn expire(plan: &mut Plan) {
    let known = bounds(plan);
    let (mut expiry, mut settled) = (BTreeMap::new(), BTreeMap::new());
    // What a recursion reads must be whole on a restart, however old.
    let recursive = |rel: &Rel| matches!(rel.op, Op::Recursive(_)).then(|| rel.op.inputs());
    let whole: BTreeSet<RelId> = plan.rels.iter().filter_map(recursive).flatten().collect();
    for (id, rel) in plan.rels.iter().enumerate().filter(|(id, _)| !whole.contains(id)) {
        let mut part = |part, horizon: Option<Horizon>| {
            expiry.extend(horizon.map(|horizon| ((id, part), horizon)));
        };
        let horizon = |column, bound: Bound| Horizon { column, marks: bound.marks };
        match &rel.op {
            Op::Aggregate { keys, .. } | Op::Fold { keys, .. } if keys.is_empty() => {}
            Op::Aggregate { .. } | Op::Fold { .. } | Op::Distinct { .. } => {
                part(Part::Groups, soonest(&known[id], |_| true));
            }
            Op::Window { window, .. } => {
                let keys = window.partition.iter().map(|p| known[id].get(p.as_column()?)?.clone());
                let key = soonest(&keys.collect(), |_| true);
                let session = window.session().filter(|_| key.is_none());
                let end =
                    session.map(|session| plan.rels[rel.op.inputs()[0]].schema.fields().len() + session.end);
                let ended = end.and_then(|end| Some(horizon(end, known[id][end].clone()?)));
                settled.extend(ended.clone().map(|ended| (id, vec![ended])));
                part(Part::Partitions, key.or(ended));
            }
            Op::Lookup { when: When::Time { left, right, .. }, .. } => {
                let Some(bound) = known[id][*left].clone() else { continue };
                part(Part::Left, Some(horizon(*left, bound.clone())));
                part(Part::Right, Some(horizon(*right, bound)));
            }
            Op::Join { left, kind, .. } => {
                let pair = pairs(plan, id, &known).into_iter().min_by_key(|pair| pair.bounds.0.lag());
                let Some(Pair { columns, bounds, kept }) = pair else { continue };
                part(Part::Left, Some(horizon(columns.0, kept.0)));
                part(Part::Right, Some(horizon(columns.1, kept.1)));
                let mut out = vec![horizon(columns.0, bounds.0)];
                if kind.pairs() {
                    let width = plan.rels[*left].schema.fields().len();
                    out.push(horizon(width + columns.1, bounds.1));
                }
                settled.insert(id, out);
            }
            _ => {}
        }
    }
    (plan.expiry, plan.settled) = (expiry, settled);
}
