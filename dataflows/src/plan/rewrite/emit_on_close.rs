//! EMIT ON WINDOW CLOSE: the place in a view's plan at which rows wait to be final, or the reason why they
//! never are.
//!
//! The rows wait above the uppermost relation that has a column with a bound: the end of a window or, without
//! windows, any time. Filters and projections above that relation are copied above the wait. A view without
//! such a relation is refused; the message names the operator that lost the watermark, and the hint an
//! alternative.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::prune::columns_read;
use crate::mistake::{Mistake, Pos};
use crate::plan::analysis::event_time::{self, Bound, ColumnBounds};
use crate::plan::canonical::is_time;
use crate::plan::{Horizon, Op, Plan, Rel, RelId, Source};

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
    if let Some(mistake) = source_never_final(plan, rel, pos) {
        return mistake;
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

/// The reason why rows of a source are never final, if times of `rel` come from it: it has no watermark, or is a
/// table without a retention.
fn source_never_final(plan: &Plan, rel: RelId, pos: Pos) -> Option<Mistake> {
    let sources = blamed_sources(plan, rel);
    if let Some(source) = sources.iter().find(|source| source.watermark.is_none()) {
        let message = format!("EMIT ON WINDOW CLOSE needs a watermark, and {} has none", source.name);
        let items = event_time::watermark_items(&source.schema);
        let hint = if is_corrected_forever(source) {
            format!(
                "add {items} to the columns of {}, and retention = '1 day' to its WITH (...)",
                source.name
            )
        } else {
            format!("add {items} to the columns of {}", source.name)
        };
        return Some(Mistake::new(pos, message).hint(hint));
    }
    let source = sources.iter().find(|source| is_corrected_forever(source))?;
    let message =
        format!("EMIT ON WINDOW CLOSE never comes: rows of {} may be corrected for ever", source.name);
    let hint = format!(
        "add retention = '1 day' to the WITH (...) of CREATE TABLE {0}: windows then close a day later; or write \
         CREATE SOURCE {0} if its rows are never corrected, or leave EMIT ON WINDOW CLOSE out",
        source.name
    );
    Some(Mistake::new(pos, message).hint(hint))
}

/// The sources that times of `rel` come from, or all below it where it has no time. None if a time comes from
/// sources whose rows are all final at some time: then an operator has lost their watermarks.
fn blamed_sources(plan: &Plan, rel: RelId) -> Vec<&Source> {
    let mut blamed = BTreeSet::new();
    for (column, field) in plan.rels[rel].schema.fields().iter().enumerate() {
        if !is_time(field.data_type()) {
            continue;
        }
        let of_time = sources_of_column(plan, rel, column);
        if !of_time.is_empty() && of_time.iter().all(|at| is_final_once(&plan.sources[*at])) {
            return vec![];
        }
        blamed.extend(of_time);
    }
    if blamed.is_empty() {
        blamed = plan.sources_of(rel);
    }
    blamed.into_iter().map(|at| &plan.sources[at]).collect()
}

/// Returns true if the watermark says of each row when it is final.
fn is_final_once(source: &Source) -> bool {
    source.watermark.is_some() && !is_corrected_forever(source)
}

/// Returns true for a table without a retention.
fn is_corrected_forever(source: &Source) -> bool {
    matches!(&source.keyed, Some(keyed) if keyed.retention_us.is_none())
}

/// The sources whose columns a column of `rel` is made of.
fn sources_of_column(plan: &Plan, rel: RelId, column: usize) -> BTreeSet<usize> {
    let (mut seen, mut open, mut sources) = (BTreeSet::new(), vec![(rel, column)], BTreeSet::new());
    while let Some((rel, column)) = open.pop() {
        if !seen.insert((rel, column)) {
            continue;
        }
        if let Op::Source(at) = plan.rels[rel].op {
            sources.insert(at);
        } else {
            open.extend(columns_below(plan, &plan.rels[rel].op, column));
        }
    }
    sources
}

/// The columns of its inputs that an operator's column is made of; none for the values of aggregates and functions.
fn columns_below(plan: &Plan, op: &Op, column: usize) -> Vec<(RelId, usize)> {
    match op {
        Op::Source(_) | Op::Values(_) | Op::Given(_) | Op::Recursive(_) => vec![],
        Op::Filter { input, .. }
        | Op::TemporalFilter { input, .. }
        | Op::Unnest { input, .. }
        | Op::Distinct { input }
        | Op::EmitOnClose { input, .. } => vec![(*input, column)],
        Op::Project { input, exprs: made }
        | Op::Aggregate { input, keys: made, .. }
        | Op::GroupRows { input, keys: made, .. } => {
            let read = made.get(column).map(columns_read).unwrap_or_default();
            read.into_iter().map(|column| (*input, column)).collect()
        }
        Op::Window { input, window } => {
            let own = column >= plan.rels[*input].schema.fields().len();
            match (own, window.session()) {
                (false, _) => vec![(*input, column)],
                (true, Some(session)) => vec![(*input, session.time)],
                (true, None) => vec![],
            }
        }
        Op::Union { inputs } => inputs.iter().map(|input| (*input, column)).collect(),
        Op::Join { left, right, .. } | Op::TemporalJoin { left, right, .. } => {
            match column.checked_sub(plan.rels[*left].schema.fields().len()) {
                Some(of_right) => vec![(*right, of_right)],
                None => vec![(*left, column)],
            }
        }
    }
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
