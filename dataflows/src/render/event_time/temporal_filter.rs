//! Rows while now(), the least watermark of some sources, is between two times of theirs.
//!
//! Each row stands at the worker its bytes hash to, by the time of what comes next of it: that it comes in,
//! or that it leaves. At the end of an epoch the rows whose time has come are taken from the front, so that an
//! epoch costs what enters and leaves and not what is held. What has left never comes back, since watermarks
//! never go back: it is kept no longer, and a change of it changes nothing. Rows that never leave are kept only
//! until they are in. Where the state is durable, what is kept is counted in it under the same epoch.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use schemas::Rows;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, Concat, Input};

use super::watermark::{Levels, Reach};
use crate::arrange::updates::{Outgoing, Updates, by_key};
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Edge, Horizon, Op, RelId, Scalar};
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::{EpochOut, Shared, stored_key};
use crate::render::linear::{Deltas, Errors, to_updates};
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// Rows while now() is between two times of theirs.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(in crate::render) fn within(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let rel = &self.plan.rels[id];
        let Op::Within { input, since, until, clock } = &rel.op else {
            return Err(RunError::Broken("not a filter on now()".into()));
        };
        let (shape, errors) = (self.shapes[*input].clone(), self.errors(id)?);
        let stream = self.input(rel.durable, self.streams[*input].clone());
        let mut rows =
            spanned(stream, shape.clone(), (since.clone(), until.clone()), (errors, self.collector.clone()));
        let space = if rel.durable { Some(self.spaces.part(id, Part::Waiting)?) } else { None };
        if let (Some(space), true) = (space, self.start.restored()) {
            let (handle, restored) = self.scope.new_input();
            rows = rows.concat(restored);
            self.restores.push(Restore::Rows { space, key: shape.codec, handle });
        }
        let marks = clock.iter().map(|source| (*source, 0)).collect();
        let within = Within {
            leave: !until.is_empty(),
            space,
            after: self.start.epoch,
            name: self.named(id, "waiting"),
            collector: self.collector.clone(),
        };
        let held = Held { reach: Reach::new(&Horizon { column: 0, marks }), ..Held::default() };
        Ok(run(rows, self.levels()?, held, within))
    }
}

/// When a row is in: from `since` on, and below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    since: i64,
    until: i64,
}

impl Span {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.since.to_be_bytes());
        bytes[8..].copy_from_slice(&self.until.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Span, RunError> {
        let broken = || RunError::Broken("a row that waits for the watermark has no time".into());
        let (since, rest) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let until = rest.first_chunk::<8>().filter(|_| rest.len() == 8).ok_or_else(broken)?;
        Ok(Span { since: i64::from_be_bytes(*since), until: i64::from_be_bytes(*until) })
    }
}

/// Rows as keys of their spans; rows that are never in are left out.
fn spanned<'s>(
    stream: Deltas<'s>,
    shape: Shape,
    (since, until): (Vec<Edge>, Vec<Edge>),
    (errors, collector): (Errors, Shared),
) -> Stream<'s, u64, Vec<Updates<i64>>> {
    to_updates(stream, "WithinRows", collector, move |epoch, peers, delta| {
        let batch = shape.columns(&delta)?;
        let exprs: Vec<&Scalar> = since.iter().chain(&until).map(|edge| &edge.time).collect();
        let (times, batch, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        let not_times = || RunError::Broken("now() is compared with what is no time".into());
        let times = times.iter().map(|t| t.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.collect::<Option<Vec<_>>>().ok_or_else(not_times)?;
        let edge = |row: usize, at: usize, edge: &Edge| {
            (!times[at].is_null(row)).then(|| times[at].value(row).saturating_add(edge.us))
        };
        let span = |row: usize| -> Option<Span> {
            let (mut begins, mut ends) = (i64::MIN, i64::MAX);
            for (at, since) in since.iter().enumerate() {
                begins = begins.max(edge(row, at, since)?);
            }
            for (at, until) in until.iter().enumerate() {
                ends = ends.min(edge(row, since.len() + at, until)?);
            }
            (begins < ends).then_some(Span { since: begins, until: ends })
        };
        let spans: Vec<Option<Span>> = (0..diffs.len()).map(span).collect();
        let rows = shape.packed(DeltaBatch::arrow(batch, vec![]))?;
        let mut outgoing = Outgoing::new(epoch, peers);
        for ((row, span), diff) in rows.iter().zip(spans).zip(diffs) {
            if let Some(span) = span {
                outgoing.key(row);
                outgoing.value(&span.bytes(), diff);
            }
        }
        Ok(outgoing)
    })
}

/// Parts of the operator.
struct Within {
    /// Tells whether rows leave.
    leave: bool,
    space: Option<u32>,
    /// Epoch at or before which rows are in the state already.
    after: u64,
    name: String,
    collector: Shared,
}

/// Kept rows, by the time at which each comes in or leaves next.
#[derive(Default)]
struct Held {
    reach: Reach,
    /// Rows that are yet to come in, by when they do: when they leave, and how often each is there.
    coming: BTreeMap<(i64, Vec<u8>), (i64, i64)>,
    /// Rows that are in, by when they leave: when they came in, and how often each is there.
    leaving: BTreeMap<(i64, Vec<u8>), (i64, i64)>,
}

/// Input of an epoch.
struct Arrived {
    /// To emit at it.
    capability: Capability<u64>,
    rows: Vec<Updates<i64>>,
    levels: Vec<(usize, i64)>,
}

impl Arrived {
    fn new(capability: Capability<u64>) -> Arrived {
        Arrived { capability, rows: vec![], levels: vec![] }
    }
}

fn run<'s>(
    rows: Stream<'s, u64, Vec<Updates<i64>>>,
    levels: Levels<'s>,
    mut held: Held,
    within: Within,
) -> Deltas<'s> {
    let exchange = Exchange::new(|updates: &Updates<i64>| updates.owner);
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        levels,
        exchange,
        Pipeline,
        "Within",
        move |_, _| {
            let mut epochs: BTreeMap<u64, Arrived> = BTreeMap::new();
            move |(rows, rows_frontier), (levels, levels_frontier), output| {
                rows.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| Arrived::new(time.retain(0))).rows.append(updates);
                });
                levels.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let entry = epochs.entry(*time.time());
                    entry.or_insert_with(|| Arrived::new(time.retain(0))).levels.append(moved);
                });
                while let Some(entry) = epochs.first_entry() {
                    if rows_frontier.less_equal(entry.key()) || levels_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, Arrived { capability, rows, levels }) = entry.remove_entry();
                    match within.epoch(epoch, &mut held, (rows, levels)) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => output.session(&capability).give(batch),
                        Err(error) => within.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
}

/// Changes of an epoch: to the output, and to the state where it is durable.
struct Change<'a> {
    rows: Rows,
    diffs: Vec<i64>,
    /// The state, and its space.
    kept: Option<(&'a mut EpochOut, u32)>,
}

impl Change<'_> {
    fn show(&mut self, row: &[u8], diff: i64) {
        self.rows.push(row);
        self.diffs.push(diff);
    }

    fn keep(&mut self, row: &[u8], span: Span, diff: i64) {
        if let Some((out, space)) = &mut self.kept {
            let mut stored = stored_key(row);
            stored.extend_from_slice(&span.bytes());
            out.count(*space, &stored, diff);
        }
    }
}

impl Within {
    /// Works through one epoch: first what now() moves on, then what changed.
    fn epoch(
        &self,
        epoch: u64,
        held: &mut Held,
        (mut rows, levels): (Vec<Updates<i64>>, Vec<(usize, i64)>),
    ) -> Result<DeltaBatch, RunError> {
        levels.into_iter().for_each(|level| held.reach.raise(level));
        // Beyond all time is still before what never ends.
        let now = held.reach.now().map(|now| now.min(i64::MAX - 1));
        let mut collector = self.collector.borrow_mut();
        let space = self.space.filter(|_| epoch > self.after);
        let kept = space.map(|space| (collector.at(epoch), space));
        let mut change = Change { rows: Rows::new(), diffs: Vec::new(), kept };
        if let Some(now) = now {
            self.moved(held, now, &mut change);
        }
        let mut failed = None;
        by_key(&mut rows, |row, entries| {
            for (span, _, diff) in entries.drain(..) {
                match Span::read(span) {
                    Ok(span) => self.changed(held, (row, span, diff), (now, &mut change)),
                    Err(error) => failed = Some(error),
                }
            }
        });
        let Change { rows, diffs, .. } = change;
        let touched = diffs.len() as u64;
        if touched > 0 {
            collector.at(epoch).touch(&self.name, touched);
        }
        collector.held(&self.name, (held.coming.len() + held.leaving.len()) as u64);
        match failed {
            Some(error) => Err(error),
            None => Ok(DeltaBatch { data: Data::Packed(rows), diffs }),
        }
    }

    /// Takes out the rows that leave, and lets those in whose time has come.
    fn moved(&self, held: &mut Held, now: i64, change: &mut Change<'_>) {
        while let Some(entry) = held.leaving.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((until, row), (since, count)) = entry.remove_entry();
            change.show(&row, -count);
            change.keep(&row, Span { since, until }, -count);
        }
        while let Some(entry) = held.coming.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((since, row), (until, count)) = entry.remove_entry();
            let stays = until > now;
            if stays {
                change.show(&row, count);
            }
            if stays && self.leave {
                held.leaving.insert((until, row), (since, count));
            } else {
                change.keep(&row, Span { since, until }, -count);
            }
        }
    }

    /// A row that came, or is taken back; one that has left is neither.
    fn changed(
        &self,
        held: &mut Held,
        (row, span, diff): (&[u8], Span, i64),
        (now, change): (Option<i64>, &mut Change<'_>),
    ) {
        if now.is_some_and(|now| span.until <= now) {
            return;
        }
        let inside = now.is_some_and(|now| span.since <= now);
        if inside {
            change.show(row, diff);
        }
        if inside && !self.leave {
            return;
        }
        let (rows, next, other) = match inside {
            true => (&mut held.leaving, span.until, span.since),
            false => (&mut held.coming, span.since, span.until),
        };
        let key = (next, row.to_vec());
        let count = rows.get(&key).map_or(0, |(_, count)| *count) + diff;
        match count {
            0 => drop(rows.remove(&key)),
            count => drop(rows.insert(key, (other, count))),
        }
        change.keep(row, span, diff);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::render::collect::Collector;

    const SPACE: u32 = 7;

    struct Run {
        within: Within,
        held: Held,
        epoch: u64,
    }

    impl Run {
        fn new(leave: bool) -> Run {
            let collector = Rc::new(RefCell::new(Collector::default()));
            let within = Within { leave, space: Some(SPACE), after: 0, name: "w".into(), collector };
            let reach = Reach::new(&Horizon { column: 0, marks: vec![(0, 0), (1, 0)] });
            Run { within, held: Held { reach, ..Held::default() }, epoch: 0 }
        }

        /// Computes an epoch's output and its changes to the state.
        fn epoch(&mut self, rows: &[(u8, i64, i64, i64)], levels: &[(usize, i64)]) -> (Vec<(u8, i64)>, i64) {
            self.epoch += 1;
            let mut outgoing = Outgoing::new(self.epoch, 1);
            for (row, since, until, diff) in rows {
                outgoing.key(&[*row]);
                outgoing.value(&Span { since: *since, until: *until }.bytes(), *diff);
            }
            let rows = outgoing.finish().collect();
            let batch = self.within.epoch(self.epoch, &mut self.held, (rows, levels.to_vec())).unwrap();
            let Data::Packed(rows) = batch.data else { panic!("not packed") };
            let shown = rows.iter().map(|row| row[0]).zip(batch.diffs).collect();
            let out = self.within.collector.borrow_mut().take(self.epoch);
            let kept = out.counts.get(&SPACE).map_or(0, |(_, diffs)| diffs.iter().sum());
            (shown, kept)
        }
    }

    #[test]
    fn rows_come_in_and_leave_as_the_least_watermark_moves() {
        let mut run = Run::new(true);
        assert_eq!(run.epoch(&[(1, 0, 10, 1), (2, 5, 20, 2), (3, 0, 4, 1)], &[(0, 50)]), (vec![], 4));
        // Only now both sources have a watermark; row 3 was over before it.
        assert_eq!(run.epoch(&[], &[(1, 4)]), (vec![(1, 1)], -1));
        assert_eq!(run.epoch(&[(2, 5, 20, -1)], &[(1, 5)]), (vec![(2, 2), (2, -1)], -1));
        // What has left is not there to be taken back, and what is late does not come.
        assert_eq!(run.epoch(&[(1, 0, 10, -1), (4, 0, 10, 1)], &[(1, 10)]), (vec![(1, -1)], -1));
        assert_eq!(run.epoch(&[(4, 0, 10, -1), (5, 0, 30, 1)], &[]), (vec![(5, 1)], 1));
        assert_eq!(run.epoch(&[], &[(1, i64::MAX)]), (vec![(2, -1), (5, -1)], -2));
        assert_eq!(run.held.leaving.len() + run.held.coming.len(), 0);
    }

    #[test]
    fn what_never_leaves_is_kept_until_it_is_in() {
        let mut run = Run::new(false);
        assert_eq!(run.epoch(&[(1, 5, i64::MAX, 1)], &[(0, 4), (1, 4)]), (vec![], 1));
        assert_eq!(run.epoch(&[(2, 0, i64::MAX, 1)], &[(0, 9), (1, 5)]), (vec![(1, 1), (2, 1)], -1));
        assert_eq!(run.epoch(&[(1, 5, i64::MAX, -1)], &[]), (vec![(1, -1)], 0));
        assert_eq!(run.epoch(&[], &[(0, i64::MAX), (1, i64::MAX)]), (vec![], 0));
    }
}
