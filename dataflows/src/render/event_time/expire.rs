//! State that is final is dropped: rows leave an arrangement without a trace in what it shows.
//!
//! `expire` keeps a list of what an arrangement holds, ordered by time. When the horizon passes a
//! time at the end of an epoch, it reads what is held there and sends its removal back into the
//! arrangement, one epoch later, so that merging frees the memory and the operator that owns the
//! state deletes it there as it would anything else that is gone. A GROUP BY is told which groups go and
//! shows nothing of it; below a join `freeze` holds back what that changes: by the plan's promise
//! nothing else can change a row that was final before. A row that reaches what was dropped breaks
//! the promise and stops the worker. What is due when, a `Rule` says: here groups and rows by a time they
//! hold, in `sessions` rows of sessions that have ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::TimestampMicrosecondType;
use differential_dataflow::difference::Abelian;
use differential_dataflow::trace::{BatchReader, Cursor, Navigable, TraceReader};
use schemas::{RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::feedback::{ConnectLoop, Feedback, Handle};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, Concat, Concatenate};
use timely::progress::Antichain;

use super::sessions::Sessions;
use super::watermark::{Levels, Reach, time_in};
use crate::arrange::seek::Seek;
use crate::arrange::trace::{Diff, PackedArranged, PackedBatch, PackedTrace};
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Horizon, RelId};
use crate::render::Renderer;
use crate::render::batch::{Data, DeltaBatch, Shape, select};
use crate::render::collect::Shared;
use crate::render::joins::band::{self, Placing};
use crate::render::linear::Deltas;

/// What takes state away.
type Removals<'s, R> = Stream<'s, u64, Vec<Updates<R>>>;

/// The way back into an arrangement.
pub struct Back<'s, R: Diff> {
    handle: Handle<'s, u64, Vec<Updates<R>>>,
    horizon: Horizon,
    gone: Gone,
}

/// Keys of groups that are removed, by the epoch they are removed at.
#[derive(Clone, Default)]
pub struct Gone(Rc<RefCell<BTreeMap<u64, HashSet<Vec<u8>>>>>);

impl Gone {
    fn put(&self, epoch: u64, key: &[u8]) {
        self.0.borrow_mut().entry(epoch).or_default().insert(key.to_vec());
    }

    /// Whether what changes of `key` at `epoch` is its removal; it is told once.
    pub fn take(&self, epoch: u64, key: &[u8]) -> bool {
        let mut epochs = self.0.borrow_mut();
        let Some(keys) = epochs.get_mut(&epoch) else { return false };
        let gone = keys.remove(key);
        if keys.is_empty() {
            epochs.remove(&epoch);
        }
        gone
    }
}

impl<'s> Renderer<'s, '_> {
    /// Updates of a part of an operator's state and, where that expires, what will be removed of it: to be
    /// tied to the arrangement of them with [`Renderer::tie`].
    pub(in crate::render) fn expiring<R: Diff>(
        &self,
        updates: Removals<'s, R>,
        of: (RelId, Part),
    ) -> (Removals<'s, R>, Option<Back<'s, R>>) {
        let Some(horizon) = self.plan.expiry.get(&of).cloned() else { return (updates, None) };
        let (handle, removals) = self.scope.feedback(1);
        (updates.concat(removals), Some(Back { handle, horizon, gone: Gone::default() }))
    }

    /// Lets what is final expire from `arranged`, which together hold the part, and gives the keys that are
    /// removed as they are. `codec` is of its keys, or of its values for a part that holds rows.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn tie<R: Diff + Abelian>(
        &self,
        arranged: &[&PackedArranged<'s, R>],
        back: Option<Back<'s, R>>,
        (name, part, codec): (&str, Part, RowCodec),
    ) -> Result<Option<Gone>, RunError> {
        self.tie_placed(arranged, back, (name, part, codec), None)
    }

    /// The same for rows that are placed by time.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn tie_placed<R: Diff + Abelian>(
        &self,
        arranged: &[&PackedArranged<'s, R>],
        back: Option<Back<'s, R>>,
        (name, part, codec): (&str, Part, RowCodec),
        placing: Option<&Placing>,
    ) -> Result<Option<Gone>, RunError> {
        let Some(back) = back else { return Ok(None) };
        let expiry = || Expiry {
            column: back.horizon.column,
            codec: codec.clone(),
            by_row: matches!(part, Part::Left | Part::Right),
            placing: placing.cloned(),
            peers: self.scope.peers(),
            gone: back.gone.clone(),
            name: name.to_string(),
            collector: self.collector.clone(),
        };
        let levels = self.levels()?;
        let removals = arranged.iter().map(|arranged| {
            let by_time = ByTime { expiry: expiry(), due: Due::default() };
            expire(arranged, levels.clone(), Reach::new(&back.horizon), by_time)
        });
        self.scope.concatenate(removals.collect::<Vec<_>>()).connect_loop(back.handle);
        Ok(Some(back.gone))
    }

    /// The same for the rows of sessions.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn tie_sessions(
        &self,
        arranged: &PackedArranged<'s, i64>,
        back: Option<Back<'s, i64>>,
        sessions: Sessions,
    ) -> Result<(), RunError> {
        let Some(back) = back else { return Ok(()) };
        let removals = expire(arranged, self.levels()?, Reach::new(&back.horizon), sessions);
        removals.connect_loop(back.handle);
        Ok(())
    }

    /// Holds back what expiry changes of an operator's output.
    ///
    /// # Errors
    /// When no watermarks flow.
    pub(in crate::render) fn frozen(
        &self,
        id: RelId,
        stream: Deltas<'s>,
        shape: Shape,
    ) -> Result<Deltas<'s>, RunError> {
        let Some(horizons) = self.plan.settled.get(&id).cloned() else { return Ok(stream) };
        Ok(freeze(stream, self.levels()?, shape, (horizons, self.collector.clone())))
    }
}

/// What leaves an arrangement, and when.
pub(in crate::render) trait Rule<R: Diff> {
    /// Notes what a batch changed.
    fn note(&mut self, batch: &PackedBatch<R>) -> Result<(), RunError>;

    /// The removals of what is below the horizon, as of `epoch`.
    fn remove(
        &mut self,
        trace: &PackedTrace<R>,
        epoch: u64,
        horizon: Option<i64>,
    ) -> Result<Outgoing<R>, RunError>;

    /// Where failures go.
    fn collector(&self) -> &Shared;
}

/// Groups and rows that hold their time.
struct ByTime {
    expiry: Expiry,
    due: Due,
}

/// What is needed to let state expire.
struct Expiry {
    column: usize,
    codec: RowCodec,
    by_row: bool,
    /// Where rows stand that are placed.
    placing: Option<Placing>,
    peers: usize,
    gone: Gone,
    name: String,
    collector: Shared,
}

/// A key, and the row under it where rows expire one by one.
type Item = (Vec<u8>, Vec<u8>);

/// What an arrangement holds, by time.
#[derive(Default)]
struct Due {
    items: BTreeMap<i64, BTreeSet<Item>>,
    /// Removals that have not come back yet.
    removed: HashSet<Item>,
    /// Everything below is dropped.
    passed: Option<i64>,
}

/// Watermarks that moved in an epoch, and the right to emit at it.
type Moved = (Capability<u64>, Vec<(usize, i64)>);

fn expire<'s, R: Diff + Abelian>(
    arranged: &PackedArranged<'s, R>,
    levels: Levels<'s>,
    mut reach: Reach,
    mut rule: impl Rule<R> + 'static,
) -> Removals<'s, R> {
    let mut trace: PackedTrace<R> = arranged.trace.clone();
    arranged.stream.clone().binary_frontier::<_, CapacityContainerBuilder<Vec<Updates<R>>>, _, _, _, _>(
        levels,
        Pipeline,
        Pipeline,
        "Expire",
        move |_, _| {
            let mut epochs: BTreeMap<u64, Moved> = BTreeMap::new();
            let mut upper = Antichain::from_elem(0u64);
            move |(batches, frontier), (levels, levels_frontier), output| {
                batches.for_each(|_, data: &mut Vec<PackedBatch<R>>| {
                    for batch in data.drain(..) {
                        upper.clone_from(batch.upper());
                        if let Err(error) = rule.note(&batch) {
                            rule.collector().borrow_mut().fail(error);
                        }
                    }
                });
                levels.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let entry = epochs.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                    entry.1.append(moved);
                });
                while let Some(entry) = epochs.first_entry() {
                    if frontier.less_equal(entry.key()) || levels_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, (capability, moved)) = entry.remove_entry();
                    moved.into_iter().for_each(|level| reach.raise(level));
                    let mut session = output.session(&capability);
                    match rule.remove(&trace, epoch, reach.now()) {
                        Ok(removed) => removed.finish().for_each(|updates| session.give(updates)),
                        Err(error) => rule.collector().borrow_mut().fail(error),
                    }
                }
                trace.advance_upper(&mut upper);
                // What is read next is what stood at the next epoch whose watermarks are not in yet.
                let next = epochs.keys().next().copied().or(levels_frontier.frontier().first().copied());
                let since: Antichain<u64> = next.into_iter().collect();
                trace.set_logical_compaction(since.borrow());
                trace.set_physical_compaction(upper.borrow());
            }
        },
    )
}

impl Due {
    /// Notes an item, unless it is a removal that comes back.
    fn note(&mut self, time: Option<i64>, item: Item) -> Result<(), RunError> {
        let Some(time) = time else { return Ok(()) };
        if self.passed.is_none_or(|passed| time >= passed) {
            self.items.entry(time).or_default().insert(item);
            return Ok(());
        }
        match self.removed.remove(&item) {
            true => Ok(()),
            false => Err(RunError::Broken("a row reached what was final".into())),
        }
    }

    /// Takes out what is below the horizon, in order of key.
    fn pass(&mut self, horizon: Option<i64>) -> Vec<Item> {
        let Some(horizon) = horizon else { return vec![] };
        self.passed = self.passed.max(Some(horizon));
        let later = self.items.split_off(&horizon);
        let done = std::mem::replace(&mut self.items, later);
        let mut items: Vec<Item> = done.into_values().flatten().collect();
        items.sort_unstable();
        items
    }
}

impl<R: Diff + Abelian> Rule<R> for ByTime {
    fn note(&mut self, batch: &PackedBatch<R>) -> Result<(), RunError> {
        self.expiry.note(batch, &mut self.due)
    }

    fn remove(
        &mut self,
        trace: &PackedTrace<R>,
        epoch: u64,
        horizon: Option<i64>,
    ) -> Result<Outgoing<R>, RunError> {
        Ok(self.expiry.remove(trace, epoch, (&mut self.due, horizon)))
    }

    fn collector(&self) -> &Shared {
        &self.expiry.collector
    }
}

/// A failure with the name of the arrangement it is of.
pub(in crate::render) fn named(name: &str, error: RunError) -> RunError {
    match error {
        RunError::Broken(what) => RunError::Broken(format!("{name}: {what}")),
        other => other,
    }
}

impl Expiry {
    /// Notes what a batch changed.
    fn note<R: Diff>(&self, batch: &PackedBatch<R>, due: &mut Due) -> Result<(), RunError> {
        let named = |error| named(&self.name, error);
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            if self.by_row {
                while let Some(value) = cursor.get_val(batch) {
                    if self.placing.as_ref().is_none_or(|placing| placing.first(key, value)) {
                        let time = time_in(&self.codec, self.row(value), self.column)?;
                        due.note(time, (key.to_vec(), value.to_vec())).map_err(named)?;
                    }
                    cursor.step_val(batch);
                }
            } else {
                let time = time_in(&self.codec, key, self.column)?;
                due.note(time, (key.to_vec(), vec![])).map_err(named)?;
            }
            cursor.step_key(batch);
        }
        Ok(())
    }
}

impl Expiry {
    /// The removals of what is below the horizon, as of `epoch`.
    fn remove<R: Diff + Abelian>(
        &self,
        trace: &PackedTrace<R>,
        epoch: u64,
        (due, horizon): (&mut Due, Option<i64>),
    ) -> Outgoing<R> {
        let items = due.pass(horizon);
        let mut outgoing = Outgoing::new(epoch + 1, self.peers);
        // An empty list is the rule: most epochs close nothing.
        let mut seek = (!items.is_empty()).then(|| Seek::new(trace));
        let mut removed = 0;
        for (key, row) in items {
            let Some(seek) = &mut seek else { break };
            let held = self.held(seek, epoch, (&key, &row));
            removed += held.len() as u64;
            if !held.is_empty() {
                outgoing.key(self.placing.as_ref().map_or(&key[..], |placing| placing.key(&key)));
                held.into_iter().for_each(|(value, total)| outgoing.value(self.row(&value), total));
                if !self.by_row {
                    self.gone.put(epoch + 1, &key);
                }
                due.removed.insert((key, row));
            }
        }
        if removed > 0 {
            // The removals are work of the next epoch; this one may be complete for all others.
            self.collector.borrow_mut().at(epoch + 1).touch(&format!("{} expired", self.name), removed);
        }
        outgoing
    }

    /// The value as the part has it.
    fn row<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        if self.placing.is_some() { band::row(value) } else { value }
    }

    /// What is held of an item as of `epoch`, negated.
    fn held<R: Diff + Abelian>(
        &self,
        seek: &mut Seek<R>,
        epoch: u64,
        (key, row): (&[u8], &[u8]),
    ) -> Vec<(Vec<u8>, R)> {
        let mut held = Vec::new();
        seek.key(key);
        seek.value(row);
        while let Some(value) = seek.get().map(<[u8]>::to_vec) {
            if self.by_row && value != row {
                break;
            }
            let mut total: Option<R> = None;
            seek.updates(&value, |time, diff| {
                if time > epoch {
                    return;
                }
                match &mut total {
                    Some(total) => total.plus_equals(diff),
                    None => total = Some(diff.clone()),
                }
            });
            seek.step(&value);
            if let Some(mut total) = total.filter(|total| !total.is_zero()) {
                total.negate();
                held.push((value, total));
            }
        }
        held
    }
}

/// Horizons of an operator's output as they stood at the end of each epoch that may still be asked for.
struct Frozen {
    horizons: Vec<(usize, Reach, BTreeMap<u64, i64>)>,
    shape: Shape,
}

/// Holds back rows that were final before their epoch.
fn freeze<'s>(
    stream: Deltas<'s>,
    levels: Levels<'s>,
    shape: Shape,
    (horizons, collector): (Vec<Horizon>, Shared),
) -> Deltas<'s> {
    let horizons = horizons.iter().map(|h| (h.column, Reach::new(h), BTreeMap::new())).collect();
    let mut frozen = Frozen { horizons, shape };
    stream.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        levels,
        Pipeline,
        Pipeline,
        "Freeze",
        move |_, _| {
            let mut epochs: BTreeMap<u64, (Capability<u64>, Vec<DeltaBatch>)> = BTreeMap::new();
            move |(rows, rows_frontier), (levels, levels_frontier), output| {
                rows.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                    let entry = epochs.entry(*time.time()).or_insert_with(|| (time.retain(0), Vec::new()));
                    entry.1.append(batches);
                });
                levels.for_each(|time, moved: &mut Vec<(usize, i64)>| frozen.raise(*time.time(), moved));
                while let Some(entry) = epochs.first_entry() {
                    if entry.key().checked_sub(1).is_some_and(|before| levels_frontier.less_equal(&before)) {
                        break;
                    }
                    let (epoch, (capability, batches)) = entry.remove_entry();
                    let mut session = output.session(&capability);
                    for batch in batches {
                        match frozen.thaw(epoch, batch) {
                            Ok(batch) if batch.is_empty() => {}
                            Ok(batch) => session.give(batch),
                            Err(error) => collector.borrow_mut().fail(error),
                        }
                    }
                }
                let next = epochs.keys().next().copied().or(rows_frontier.frontier().first().copied());
                frozen.forget(next.unwrap_or(u64::MAX));
            }
        },
    )
}

impl Frozen {
    fn raise(&mut self, epoch: u64, moved: &[(usize, i64)]) {
        for (_, reach, history) in &mut self.horizons {
            moved.iter().for_each(|level| reach.raise(*level));
            history.extend(reach.now().map(|horizon| (epoch, horizon)));
        }
    }

    /// Forgets horizons that no epoch from `next` on asks for.
    fn forget(&mut self, next: u64) {
        for (_, _, history) in &mut self.horizons {
            if let Some((needed, _)) = history.range(..next).next_back().map(|(e, h)| (*e, *h)) {
                *history = history.split_off(&needed);
            }
        }
    }

    /// The rows of a batch that were not final before `epoch`.
    fn thaw(&self, epoch: u64, batch: DeltaBatch) -> Result<DeltaBatch, RunError> {
        let mut keep = vec![true; batch.len()];
        for (column, _, history) in &self.horizons {
            let Some((_, horizon)) = history.range(..epoch).next_back() else { continue };
            match &batch.data {
                Data::Arrow(columns) => {
                    let times = columns.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
                    let times =
                        times.ok_or_else(|| RunError::Broken("a horizon of what is no time".into()))?;
                    for (row, keep) in keep.iter_mut().enumerate() {
                        *keep &= times.is_null(row) || times.value(row) >= *horizon;
                    }
                }
                Data::Packed(rows) => {
                    for (row, keep) in rows.iter().zip(&mut keep) {
                        let time = time_in(&self.shape.codec, row, *column)?;
                        *keep &= time.is_none_or(|time| time >= *horizon);
                    }
                }
            }
        }
        if keep.iter().all(|keep| *keep) {
            return Ok(batch);
        }
        match batch.data {
            Data::Arrow(columns) => {
                let (columns, diffs) = select(&columns, &batch.diffs, &BooleanArray::from(keep))?;
                Ok(DeltaBatch::arrow(columns, diffs))
            }
            Data::Packed(rows) => {
                let (mut kept, mut diffs) = (Rows::new(), Vec::new());
                for ((row, diff), _) in rows.iter().zip(batch.diffs).zip(keep).filter(|(_, keep)| *keep) {
                    kept.push(row);
                    diffs.push(diff);
                }
                Ok(DeltaBatch { data: Data::Packed(kept), diffs })
            }
        }
    }
}
