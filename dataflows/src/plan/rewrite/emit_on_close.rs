//! EMIT ON WINDOW CLOSE: the place in a view's plan at which rows wait to be final, or the reason why they
//! never are.
//!
//! The rows wait above the uppermost relation that has a column with a bound: the end of a window or, without
//! windows, any time. Filters and projections above that relation are copied above the wait. A view without
//! such a relation is refused; the message names the operator that lost the watermark, and the hint an
//! alternative.

use std::sync::Arc;

use crate::mistake::{Mistake, Pos};
use crate::plan::analysis::event_time::{self, Bound, ColumnBounds};
use crate::plan::{Horizon, Op, Plan, Rel, RelId};

/// Makes the rows of `rel` wait until they are final; returns the relation that emits them.
///
/// # Errors
/// The reason why they never are, at `pos`.
pub(crate) fn wait_until_final(plan: &mut Plan, rel: RelId, pos: Pos) -> Result<RelId, Mistake> {
    let bounds = event_time::column_bounds(plan);
    // Windows first: a row of a window is final with the window, not when its own time has passed.
    let windowed = find_wait(plan, rel, &bounds, &Bound::ends_window);
    let found = windowed.or_else(|_| find_wait(plan, rel, &bounds, &Bound::becomes_final));
    match found {
        Ok((at, above, horizon)) => {
            let close = Op::EmitOnClose { input: at, horizon };
            let mut top = push(plan, close, at, rel);
            for step in above.into_iter().rev() {
                let op = match plan.rels[step].op.clone() {
                    Op::Filter { predicate, .. } => Op::Filter { input: top, predicate },
                    Op::Project { exprs, .. } => Op::Project { input: top, exprs },
                    other => other,
                };
                top = push(plan, op, step, rel);
            }
            Ok(top)
        }
        Err(at) => Err(why_never_final(plan, &bounds, at, pos)),
    }
}

/// Finds the uppermost relation with a bound that `fits`: the relation, the filters and projections above it,
/// and the bound as a horizon. The error is the relation at which the search ended.
fn find_wait(
    plan: &Plan,
    rel: RelId,
    bounds: &[ColumnBounds],
    fits: &dyn Fn(&Bound) -> bool,
) -> Result<(RelId, Vec<RelId>, Horizon), RelId> {
    let (mut at, mut above) = (rel, Vec::new());
    loop {
        if let Some(horizon) = event_time::soonest_horizon(&bounds[at], fits) {
            return Ok((at, above, horizon));
        }
        match plan.rels[at].op {
            Op::Filter { input, .. } | Op::Project { input, .. } => {
                above.push(at);
                at = input;
            }
            _ => return Err(at),
        }
    }
}

/// Adds a relation with the columns of `like` and the view of `owner`.
fn push(plan: &mut Plan, op: Op, like: RelId, owner: RelId) -> RelId {
    let rel = Rel::new(op, Arc::clone(&plan.rels[like].schema), &plan.rels[owner].owner);
    plan.rels.push(rel);
    plan.rels.len() - 1
}

/// The reason why rows of `rel` are never final: one of the sources first, then of the query.
fn why_never_final(plan: &Plan, bounds: &[ColumnBounds], rel: RelId, pos: Pos) -> Mistake {
    let below = rels_below(plan, rel);
    if below
        .iter()
        .any(|r| matches!(&plan.rels[*r].op, Op::TemporalFilter { until, .. } if !until.is_empty()))
    {
        let message = "EMIT ON WINDOW CLOSE never comes: rows leave again as now() moves on";
        let hint =
            "leave EMIT ON WINDOW CLOSE out, or the condition on now(): either waits for the watermark";
        return Mistake::new(pos, message).hint(hint);
    }
    let mut sources = Vec::new();
    for id in &below {
        if let Op::Source(at) = plan.rels[*id].op {
            sources.push(&plan.sources[at]);
        }
    }
    if let Some(source) = sources.iter().find(|s| s.watermark.is_none()) {
        let message = format!("EMIT ON WINDOW CLOSE needs a watermark, and {} has none", source.name);
        let hint = format!("add WATERMARK FOR time AS time - INTERVAL '1 hour' to {}", source.name);
        return Mistake::new(pos, message).hint(hint);
    }
    let forever = sources.iter().find(|s| matches!(&s.keyed, Some(keyed) if keyed.retention_us.is_none()));
    if let Some(source) = forever {
        let message =
            format!("EMIT ON WINDOW CLOSE never comes: rows of {} may be corrected for ever", source.name);
        let hint = format!(
            "make {0} a SOURCE if its rows are never corrected, or add retention = '1 day' to it: windows then close a \
             day later; or leave EMIT ON WINDOW CLOSE out",
            source.name
        );
        return Mistake::new(pos, message).hint(hint);
    }
    if bounds[rel].iter().flatten().any(|bound| bound.filled) {
        let message = "EMIT ON WINDOW CLOSE never comes for rows whose window an outer join fills with NULL";
        let hint = "select the window of the side whose rows all come, as the left of a LEFT JOIN";
        return Mistake::new(pos, message).hint(hint);
    }
    let lost = below.iter().find(|rel| loses_bounds(plan, bounds, **rel));
    let (message, hint) = match lost.map(|rel| &plan.rels[*rel].op) {
        Some(Op::Join { .. }) => (
            "EMIT ON WINDOW CLOSE never comes: after the join old rows can come at any time",
            "bound the join's distance in ON, as in a.id = b.id AND b.ts BETWEEN a.ts - INTERVAL '5 minutes' \
             AND a.ts, or join after GROUP BY window_start, window_end, or leave EMIT ON WINDOW CLOSE out",
        ),
        Some(Op::Union { .. }) => (
            "EMIT ON WINDOW CLOSE never comes: not every input of the UNION has the time in one column",
            "select the time column, with a watermark, in the same place of each",
        ),
        Some(Op::Window { .. }) => (
            "EMIT ON WINDOW CLOSE never comes: a row to come may change what a function OVER (...) gives a row",
            "ORDER BY the watermark's column first, and look back only, with lag, a rank or a frame that ends at \
             CURRENT ROW; or PARTITION BY window_start",
        ),
        _ => (
            "EMIT ON WINDOW CLOSE without a time: no watermark says when a row of the view is final",
            "read FROM TUMBLE(t, ts, INTERVAL '1 hour'), ts being the watermark's column, and \
             GROUP BY window_start, window_end",
        ),
    };
    Mistake::new(pos, message).hint(hint)
}

/// Returns true if no column of `rel` has a bound, and some column of an input has.
fn loses_bounds(plan: &Plan, bounds: &[ColumnBounds], rel: RelId) -> bool {
    let inputs = plan.rels[rel].op.inputs();
    bounds[rel].iter().all(Option::is_none)
        && inputs.into_iter().any(|input| bounds[input].iter().any(Option::is_some))
}

/// A relation and all below it, users first.
fn rels_below(plan: &Plan, rel: RelId) -> Vec<RelId> {
    let mut found = vec![rel];
    let mut at = 0;
    while at < found.len() {
        for input in plan.rels[found[at]].op.inputs() {
            if !found.contains(&input) {
                found.push(input);
            }
        }
        at += 1;
    }
    found.sort_unstable();
    found.reverse();
    found
}
