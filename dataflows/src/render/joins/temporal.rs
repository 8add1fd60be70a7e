//! Joins as of a time: each row of the left finds rows of the right.
//!
//! Both sides stand in ordered maps by key, at the key's owner, and are changed an epoch at a time
//! when the epoch is complete. As of now, the left row is given what the key has at the end of the
//! epoch it comes in, and is not kept unless it may be taken back. As of a time, it finds the latest row that
//! is not after it, or the first that is not before; when the right changes at a time, only the rows of the left from there to the
//! right's next time on that side are looked at again. A row of the right counts while its multiplicity is positive; a left row is
//! given out as often as it is there. What no row to come can find or be found by is dropped: rows of the left
//! below the horizon, and of the right all but the latest before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use schemas::{RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concat, Input};

use super::kinds::{Keyed, key_columns, one_key};
use super::proctime::{Place, Remembered};
use crate::arrange::updates::{Updates, by_key};
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Nearest, Op, RelId, Scalar, When};
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::{Shared, stored_key};
use crate::render::event_time::expire::named;
use crate::render::event_time::watermark::{Levels, Reach};
use crate::render::linear::Deltas;
use crate::render::{Renderer, Restore};

impl<'s> Renderer<'s, '_> {
    /// A join as of a time.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(in crate::render) fn lookup(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Lookup { left, right, left_keys, right_keys, outer, when } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a lookup".into()));
        };
        let nulls = self.plan.rels[*right].schema.fields().len();
        let mut finder = Finder {
            left: self.shapes[*left].codec.clone(),
            right: self.shapes[*right].codec.clone(),
            key: RowCodec::of(&key_columns(&self.plan.rels[*left].schema, &keys_of(left_keys))?)?,
            when: *when,
            outer: *outer,
            nulls,
            looked: None,
            after: self.start.epoch,
            name: self.named(id, "lookup"),
            collector: self.collector.clone(),
        };
        let codec = finder.key.clone();
        let keys = (keys_of(left_keys), codec.clone());
        let durable = self.plan.rels[id].durable;
        let found = match when {
            When::Now => {
                // What came before the restart has found what it did.
                let stream = self.input(true, self.streams[*left].clone());
                let shape: Shape = self.shapes[*left].clone();
                let side =
                    super::pairs::Side { shape, keys: keys.0, key_codec: keys.1, keep_null_keys: *outer };
                let mut keyed = super::pairs::keyed(stream, side, self.errors(id)?, self.collector.clone());
                if !self.plan.rels[*left].append_only {
                    let space = self.spaces.part(id, Part::Left)?;
                    finder.looked = Some(space);
                    if self.start.restored() {
                        let (handle, restored) = self.scope.new_input();
                        self.restores.push(Restore::Rows { space, key: codec.clone(), handle });
                        keyed = keyed.concat(restored);
                    }
                }
                keyed
            }
            When::Time { .. } => {
                let updates = self.keyed((id, Part::Left), *left, keys, *outer)?;
                self.kept(updates, (id, durable, Part::Left), &codec)?
            }
        };
        let right = self.keyed((id, Part::Right), *right, (keys_of(right_keys), codec.clone()), false)?;
        let right = self.kept(right, (id, durable, Part::Right), &codec)?;
        let space = |part| if durable { self.spaces.part(id, part).map(Some) } else { Ok(None) };
        let due = match self.plan.expiry.get(&(id, Part::Left)) {
            Some(horizon) => {
                let spaces = [space(Part::Left)?, space(Part::Right)?];
                Some((self.levels()?, Due { reach: Reach::new(horizon), spaces, ..Due::default() }))
            }
            None => None,
        };
        Ok(find(found, right, due, finder))
    }
}

/// The keys, or the one key of all rows.
fn keys_of(keys: &[Scalar]) -> Vec<Scalar> {
    if keys.is_empty() { vec![one_key()] } else { keys.to_vec() }
}

/// What the operator needs.
struct Finder {
    left: RowCodec,
    right: RowCodec,
    key: RowCodec,
    when: When,
    outer: bool,
    /// Columns of the right.
    nulls: usize,
    /// Where is kept what rows of the left found as of now, if they may be taken back.
    looked: Option<u32>,
    /// Epoch at or before which rows are restored ones.
    after: u64,
    name: String,
    collector: Shared,
}

/// Rows by packed time, and how often each is there. As of now all rows have one time.
type Side = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, i64>>;

/// Time, row and diff of changes of the left and the right.
type Timed = (Vec<(Vec<u8>, Vec<u8>, i64)>, Vec<(Vec<u8>, Vec<u8>, i64)>);

/// Both sides of a key.
#[derive(Default)]
struct Group {
    left: Side,
    right: Side,
    /// Rows of the left that were looked up as of now.
    looked: Remembered,
}

/// All keys.
#[derive(Default)]
struct Groups {
    groups: BTreeMap<Vec<u8>, Group>,
    /// Rows of both sides.
    held: i64,
}

impl Groups {
    /// Forgets a key that has no rows.
    fn forget(&mut self, key: &[u8]) {
        let empty =
            |group: &Group| group.left.is_empty() && group.right.is_empty() && group.looked.is_empty();
        if self.groups.get(key).is_some_and(empty) {
            self.groups.remove(key);
        }
    }
}

/// Changes of a key in an epoch: rows and diffs.
#[derive(Default)]
struct Changes {
    left: Vec<(Vec<u8>, i64)>,
    right: Vec<(Vec<u8>, i64)>,
}

/// What will be dropped: keys by the time of a row, of either side.
#[derive(Default)]
struct Due {
    reach: Reach,
    /// Where rows of the sides are durable.
    spaces: [Option<u32>; 2],
    left: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    right: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Everything below is dropped.
    passed: Option<Vec<u8>>,
}

impl Due {
    /// Notes the time of a row; one that comes after what it belongs to was dropped breaks the plan's promise.
    fn note(&mut self, side: Part, time: &[u8], key: &[u8]) -> Result<(), RunError> {
        if time == [0] {
            return Ok(());
        }
        if self.passed.as_deref().is_some_and(|passed| time < passed) {
            return Err(RunError::Broken("a row reached what was final".into()));
        }
        let times = if side == Part::Left { &mut self.left } else { &mut self.right };
        times.entry(time.to_vec()).or_default().insert(key.to_vec());
        Ok(())
    }

    /// Takes out what is below the horizon.
    fn pass(&mut self, moved: Vec<(usize, i64)>) -> [Vec<(Vec<u8>, Vec<u8>)>; 2] {
        moved.into_iter().for_each(|level| self.reach.raise(level));
        let Some(horizon) = self.reach.now() else { return [vec![], vec![]] };
        let horizon = [&[1], &(horizon ^ i64::MIN).to_be_bytes()[..]].concat();
        let take = |times: &mut BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>| {
            let later = times.split_off(&horizon);
            let done = std::mem::replace(times, later).into_iter();
            done.flat_map(|(time, keys)| keys.into_iter().map(move |key| (key, time.clone()))).collect()
        };
        let done = [take(&mut self.left), take(&mut self.right)];
        self.passed = self.passed.take().max(Some(horizon));
        done
    }
}

/// What came for an epoch.
struct Arrived {
    capability: Capability<u64>,
    /// Watermarks that moved in the epoch before.
    moved: Vec<(usize, i64)>,
    left: Vec<Updates<i64>>,
    right: Vec<Updates<i64>>,
}

fn find<'s>(left: Keyed<'s>, right: Keyed<'s>, due: Option<(Levels<'s>, Due)>, finder: Finder) -> Deltas<'s> {
    let owner = |updates: &Updates<i64>| updates.owner;
    let (levels, mut due) = due.map_or((None, None), |(levels, due)| (Some(levels), Some(due)));
    let mut builder = OperatorBuilder::new("Lookup".to_owned(), left.scope());
    let mut left = builder.new_input(left, Exchange::new(owner));
    let mut right = builder.new_input(right, Exchange::new(owner));
    let mut levels = levels.map(|levels| builder.new_input(levels, Pipeline));
    let (output, found) = builder.new_output::<Vec<DeltaBatch>>();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<DeltaBatch>>>::from(output);
    builder.build(move |_| {
        let mut groups = Groups::default();
        let mut epochs: BTreeMap<u64, Arrived> = BTreeMap::new();
        move |frontiers| {
            let mut output = output.activate();
            let new = |capability| Arrived { capability, moved: vec![], left: vec![], right: vec![] };
            left.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                let arrived = epochs.entry(*time.time()).or_insert_with(|| new(time.retain(0)));
                arrived.left.append(updates);
            });
            right.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                let arrived = epochs.entry(*time.time()).or_insert_with(|| new(time.retain(0)));
                arrived.right.append(updates);
            });
            if let Some(levels) = &mut levels {
                levels.for_each(|time, moved: &mut Vec<(usize, i64)>| {
                    let next = *time.time() + 1;
                    let arrived = epochs.entry(next).or_insert_with(|| new(time.retain(0).delayed(&next)));
                    arrived.moved.append(moved);
                });
            }
            while let Some(entry) = epochs.first_entry() {
                // Rows of the epoch, and watermarks of the one before.
                let (rows, marks) = frontiers.split_at(2);
                let before = entry.key().checked_sub(1);
                if rows.iter().any(|frontier| frontier.less_equal(entry.key()))
                    || before.is_some_and(|before| marks.iter().any(|frontier| frontier.less_equal(&before)))
                {
                    break;
                }
                let (epoch, arrived) = entry.remove_entry();
                let capability = arrived.capability.clone();
                match finder.epoch(&mut groups, due.as_mut(), (epoch, arrived)) {
                    Ok(out) if out.diffs.is_empty() => {}
                    Ok(out) => {
                        let touched = out.diffs.len() as u64;
                        finder.collector.borrow_mut().at(epoch).touch(&finder.name, touched);
                        let batch = DeltaBatch { data: Data::Packed(out.rows), diffs: out.diffs };
                        output.session(&capability).give(batch);
                    }
                    Err(error) => finder.collector.borrow_mut().fail(error),
                }
            }
        }
    });
    found
}

/// Output rows.
#[derive(Default)]
struct Found {
    rows: Rows,
    diffs: Vec<i64>,
}

impl Finder {
    fn epoch(
        &self,
        all: &mut Groups,
        mut due: Option<&mut Due>,
        (epoch, arrived): (u64, Arrived),
    ) -> Result<Found, RunError> {
        let Arrived { moved, mut left, mut right, .. } = arrived;
        if let Some(due) = due.as_deref_mut() {
            self.drop(all, due, (epoch, moved));
        }
        let mut changed: BTreeMap<Vec<u8>, Changes> = BTreeMap::new();
        by_key(&mut left, |key, rows| {
            let changes = changed.entry(key.to_vec()).or_default();
            changes.left.extend(rows.iter().map(|row| (row.0.to_vec(), row.2)));
        });
        by_key(&mut right, |key, rows| {
            let changes = changed.entry(key.to_vec()).or_default();
            changes.right.extend(rows.iter().map(|row| (row.0.to_vec(), row.2)));
        });
        let mut out = Found::default();
        for (key, changes) in changed {
            let group = all.groups.entry(key.clone()).or_default();
            all.held += match self.when {
                When::Now => self.now(group, changes, (epoch, &key), &mut out)?,
                When::Time { left, right, nearest } => {
                    let timed = self.timed((left, right), changes, (&key, due.as_deref_mut()))?;
                    self.as_of(group, nearest, timed, &mut out)
                }
            };
            all.forget(&key);
        }
        self.collector.borrow_mut().held(&self.name, all.held.unsigned_abs());
        Ok(out)
    }

    /// Whether a key has a NULL in it, which is a zero byte where a column starts.
    fn null_key(&self, key: &[u8]) -> Result<bool, RunError> {
        for column in 0..self.key.columns() {
            if key.get(self.key.prefix_len(key, column)?) == Some(&0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rows of the left that come in this epoch, with the right as it is at its end; of rows that are taken back
    /// what they found. Gives how many more rows are held.
    fn now(
        &self,
        group: &mut Group,
        changes: Changes,
        (epoch, key): (u64, &[u8]),
        out: &mut Found,
    ) -> Result<i64, RunError> {
        let mut more: i64 =
            changes.right.into_iter().map(|(row, diff)| change(&mut group.right, vec![], row, diff)).sum();
        let mut collector = self.collector.borrow_mut();
        for (row, diff) in changes.left {
            if self.looked.is_some() && epoch <= self.after {
                let (row, rest) = row.split_at(self.left.prefix_len(&row, self.left.columns())?);
                more += group.looked.restore(row, rest, diff)?;
                continue;
            }
            let mut show = |found: &mut dyn Iterator<Item = (&Vec<u8>, &i64)>, diff: i64| {
                let mut none = true;
                for (right, count) in found {
                    none = false;
                    out.rows.push_joined(&row, right);
                    out.diffs.push(diff * count);
                }
                if none && self.outer {
                    out.rows.push_joined(&row, &vec![0; self.nulls]);
                    out.diffs.push(diff);
                }
            };
            let mut found = group.right.values().flatten().filter(|(_, count)| **count > 0);
            let place = self.looked.map(|space| Place { out: collector.at(epoch), space, key });
            match place {
                None => show(&mut found, diff),
                Some(mut place) if diff < 0 => {
                    let show = |found: &[(Vec<u8>, i64)], n: i64| show(&mut pairs(found), -n);
                    let taken = group.looked.take(&row, -diff, &mut place, show);
                    more += taken.map_err(|error| named(&self.name, error))?;
                }
                Some(mut place) => {
                    let found: Vec<_> = found.map(|(row, count)| (row.clone(), *count)).collect();
                    show(&mut pairs(&found), diff);
                    more += group.looked.put(&row, (epoch, diff), found, &mut place);
                }
            }
        }
        Ok(more)
    }

    /// Drops what is final by the watermarks that moved: of the left all, of the right what is before another
    /// such row of its key.
    fn drop(&self, all: &mut Groups, due: &mut Due, (epoch, moved): (u64, Vec<(usize, i64)>)) {
        let [lefts, rights] = due.pass(moved);
        let mut collector = self.collector.borrow_mut();
        let mut dropped = 0;
        let mut gone = |key: &[u8], rows: BTreeMap<Vec<u8>, i64>, space: Option<u32>| {
            dropped += rows.len() as u64;
            for (row, count) in rows {
                if let Some(space) = space {
                    let stored = [stored_key(key), row].concat();
                    collector.at(epoch).count(space, &stored, -count);
                }
            }
        };
        for (key, time) in lefts {
            let Some(group) = all.groups.get_mut(&key) else { continue };
            gone(&key, group.left.remove(&time).unwrap_or_default(), due.spaces[0]);
            all.forget(&key);
        }
        for (key, time) in rights {
            let Some(group) = all.groups.get_mut(&key).filter(|group| group.right.contains_key(&time)) else {
                continue;
            };
            let later = group.right.split_off(&time);
            let before = std::mem::replace(&mut group.right, later);
            before.into_values().for_each(|rows| gone(&key, rows, due.spaces[1]));
        }
        all.held -= dropped.cast_signed();
        if dropped > 0 {
            collector.at(epoch).touch(&format!("{} expired", self.name), dropped);
        }
    }

    /// Rows of both sides with their times, noted for when they are due.
    fn timed(
        &self,
        (left, right): (usize, usize),
        changes: Changes,
        (key, mut due): (&[u8], Option<&mut Due>),
    ) -> Result<Timed, RunError> {
        let mut timed = |codec: &RowCodec, column: usize, rows: Vec<(Vec<u8>, i64)>, side: Part| {
            let timed = rows.into_iter().map(|(row, diff)| {
                let time = packed_time(codec, &row, column)?;
                due.as_deref_mut().map_or(Ok(()), |due| due.note(side, &time, key))?;
                Ok((time, row, diff))
            });
            timed.collect::<Result<Vec<_>, RunError>>()
        };
        let lefts = timed(&self.left, left, changes.left, Part::Left)?;
        let mut rights = timed(&self.right, right, changes.right, Part::Right)?;
        // A row without a time, or a key with a NULL, finds nothing.
        let null_key = self.null_key(key)?;
        rights.retain(|(time, ..)| time != &[0] && !null_key);
        Ok((lefts, rights))
    }

    /// What changes for rows of the left, whichever side changed. Gives how many more rows are held.
    fn as_of(&self, group: &mut Group, nearest: Nearest, (lefts, rights): Timed, out: &mut Found) -> i64 {
        let mut again: BTreeSet<(Vec<u8>, Vec<u8>)> = BTreeSet::new();
        let times: BTreeSet<&Vec<u8>> = rights.iter().map(|(time, ..)| time).collect();
        for time in times {
            for (at, rows) in group.left.range::<Vec<u8>, _>(near(&group.right, time, nearest)) {
                again.extend(rows.keys().map(|row| (at.clone(), row.clone())));
            }
        }
        again.extend(lefts.iter().map(|(time, row, _)| (time.clone(), row.clone())));
        let before: Vec<_> = again.iter().map(|row| self.found(group, row, nearest)).collect();
        let mut more = 0;
        lefts.into_iter().for_each(|(time, row, diff)| more += change(&mut group.left, time, row, diff));
        rights.into_iter().for_each(|(time, row, diff)| more += change(&mut group.right, time, row, diff));
        for (row, before) in again.iter().zip(before) {
            let after = self.found(group, row, nearest);
            if before != after {
                for (found, sign) in [(before, -1), (after, 1)] {
                    let Some((found, count)) = found else { continue };
                    out.rows.push_joined(&row.1, &found);
                    out.diffs.push(sign * count);
                }
            }
        }
        more
    }

    /// What a row of the left finds, and how often the row is there; None where it gives nothing.
    fn found(
        &self,
        group: &Group,
        (time, row): &(Vec<u8>, Vec<u8>),
        nearest: Nearest,
    ) -> Option<(Vec<u8>, i64)> {
        let count = *group.left.get(time)?.get(row)?;
        let own = if nearest.strict { Bound::Excluded(time) } else { Bound::Included(time) };
        let found = match nearest.forward {
            false => group.right.range::<Vec<u8>, _>((Bound::Unbounded, own)).next_back(),
            true => group.right.range::<Vec<u8>, _>((own, Bound::Unbounded)).next(),
        };
        let found = found.and_then(|(_, rows)| rows.keys().next_back()).filter(|_| time != &[0]);
        match found {
            Some(found) => Some((found.clone(), count)),
            None => self.outer.then(|| (vec![0; self.nulls], count)),
        }
    }
}

fn pairs(rows: &[(Vec<u8>, i64)]) -> impl Iterator<Item = (&Vec<u8>, &i64)> {
    rows.iter().map(|(row, count)| (row, count))
}

/// The times of the left whose nearest time of the right may be `time`.
fn near<'a>(
    right: &'a Side,
    time: &'a Vec<u8>,
    nearest: Nearest,
) -> (Bound<&'a Vec<u8>>, Bound<&'a Vec<u8>>) {
    // Equal times find each other unless they must not: then the one beyond them is the nearest.
    let own = if nearest.strict { Bound::Excluded(time) } else { Bound::Included(time) };
    let beyond = |next: Option<&'a Vec<u8>>| match next {
        Some(next) if nearest.strict => Bound::Included(next),
        Some(next) => Bound::Excluded(next),
        None => Bound::Unbounded,
    };
    match nearest.forward {
        false => {
            let next = right.range::<Vec<u8>, _>((Bound::Excluded(time), Bound::Unbounded)).next();
            (own, beyond(next.map(|(time, _)| time)))
        }
        true => {
            let next = right.range::<Vec<u8>, _>((Bound::Unbounded, Bound::Excluded(time))).next_back();
            (beyond(next.map(|(time, _)| time)), own)
        }
    }
}

/// Adds to the multiplicity of a row; gives how many more rows there are.
fn change(side: &mut Side, time: Vec<u8>, row: Vec<u8>, diff: i64) -> i64 {
    let rows = side.entry(time.clone()).or_default();
    let before = rows.len() as i64;
    let count = rows.entry(row.clone()).or_insert(0);
    *count += diff;
    if *count == 0 {
        rows.remove(&row);
    }
    let after = rows.len() as i64;
    if rows.is_empty() {
        side.remove(&time);
    }
    after - before
}

/// The bytes of the time in a packed row, which sort as times do; one zero byte for NULL.
fn packed_time(codec: &RowCodec, row: &[u8], column: usize) -> Result<Vec<u8>, RunError> {
    let (start, end) = (codec.prefix_len(row, column)?, codec.prefix_len(row, column + 1)?);
    row.get(start..end)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| RunError::Broken("a packed row has no time where the plan says".into()))
}
