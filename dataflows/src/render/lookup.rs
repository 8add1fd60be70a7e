//! Joins as of a time: each row of the left finds rows of the right.
//!
//! Both sides stand in ordered maps by key, at the key's owner, and are changed an epoch at a time
//! when the epoch is complete. As of now, the left row is given what the key has at the end of the
//! epoch it comes in, and is not kept. As of a time, it finds the latest row that is not after it;
//! when the right changes at a time, only the rows of the left from there to the right's next time
//! are looked at again. A row of the right counts while its multiplicity is positive; a left row is
//! given out as often as it is there.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{RowCodec, Rows};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::Renderer;
use super::batch::{Data, DeltaBatch, Shape};
use super::collect::Shared;
use super::joins::{Keyed, key_columns, one_key};
use super::linear::Deltas;
use super::updates::{Updates, by_key};
use crate::error::RunError;
use crate::plan::{Op, RelId, Scalar, When};
use crate::spaces::Part;

impl<'s> Renderer<'s, '_> {
    /// A join as of a time.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(super) fn lookup(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Lookup { left, right, left_keys, right_keys, outer, when } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a lookup".into()));
        };
        let nulls = self.plan.rels[*right].schema.fields().len();
        let finder = Finder {
            left: self.shapes[*left].codec.clone(),
            right: self.shapes[*right].codec.clone(),
            key: RowCodec::of(&key_columns(&self.plan.rels[*left].schema, &keys_of(left_keys))?)?,
            when: *when,
            outer: *outer,
            nulls,
            name: self.named(id, "lookup"),
            collector: self.collector.clone(),
        };
        let codec = finder.key.clone();
        let found = match when {
            When::Now => {
                // What came before the restart has found what it did.
                let stream = self.input(true, self.streams[*left].clone());
                let shape: Shape = self.shapes[*left].clone();
                let side = super::join::Side {
                    shape,
                    keys: keys_of(left_keys),
                    key_codec: codec.clone(),
                    keep_null_keys: *outer,
                };
                super::join::keyed(stream, side, self.errors(id)?, self.collector.clone())
            }
            When::Time { .. } => {
                self.side(id, (*left, None), (keys_of(left_keys), codec.clone()), (Part::Left, *outer))?
            }
        };
        let right = self.side(id, (*right, None), (keys_of(right_keys), codec), (Part::Right, false))?;
        Ok(find(found, right, finder))
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
    name: String,
    collector: Shared,
}

/// Rows by packed time, and how often each is there. As of now all rows have one time.
type Side = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, i64>>;

/// Both sides of a key.
#[derive(Default)]
struct Group {
    left: Side,
    right: Side,
}

/// All keys.
#[derive(Default)]
struct Groups {
    groups: BTreeMap<Vec<u8>, Group>,
    /// Rows of both sides.
    held: i64,
}

/// Changes of a key in an epoch: rows and diffs.
#[derive(Default)]
struct Changes {
    left: Vec<(Vec<u8>, i64)>,
    right: Vec<(Vec<u8>, i64)>,
}

/// What came for an epoch.
struct Arrived {
    capability: Capability<u64>,
    left: Vec<Updates<i64>>,
    right: Vec<Updates<i64>>,
}

fn find<'s>(left: Keyed<'s>, right: Keyed<'s>, finder: Finder) -> Deltas<'s> {
    let owner = |updates: &Updates<i64>| updates.owner;
    left.binary_frontier::<_, CapacityContainerBuilder<Vec<DeltaBatch>>, _, _, _, _>(
        right,
        Exchange::new(owner),
        Exchange::new(owner),
        "Lookup",
        move |_, _| {
            let mut groups = Groups::default();
            let mut epochs: BTreeMap<u64, Arrived> = BTreeMap::new();
            move |(left, left_frontier), (right, right_frontier), output| {
                let new = |capability| Arrived { capability, left: vec![], right: vec![] };
                left.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let arrived = epochs.entry(*time.time()).or_insert_with(|| new(time.retain(0)));
                    arrived.left.append(updates);
                });
                right.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let arrived = epochs.entry(*time.time()).or_insert_with(|| new(time.retain(0)));
                    arrived.right.append(updates);
                });
                while let Some(entry) = epochs.first_entry() {
                    if left_frontier.less_equal(entry.key()) || right_frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (epoch, arrived) = entry.remove_entry();
                    match finder.epoch(&mut groups, (arrived.left, arrived.right)) {
                        Ok(out) if out.diffs.is_empty() => {}
                        Ok(out) => {
                            let touched = out.diffs.len() as u64;
                            finder.collector.borrow_mut().at(epoch).touch(&finder.name, touched);
                            let batch = DeltaBatch { data: Data::Packed(out.rows), diffs: out.diffs };
                            output.session(&arrived.capability).give(batch);
                        }
                        Err(error) => finder.collector.borrow_mut().fail(error),
                    }
                }
            }
        },
    )
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
        (mut left, mut right): (Vec<Updates<i64>>, Vec<Updates<i64>>),
    ) -> Result<Found, RunError> {
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
                When::Now => self.now(group, changes, &mut out),
                When::Time { left, right, strict } => {
                    self.as_of(group, (left, right, strict), changes, (self.null_key(&key)?, &mut out))?
                }
            };
            if group.left.is_empty() && group.right.is_empty() {
                all.groups.remove(&key);
            }
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

    /// Rows of the left that come in this epoch, with the right as it is at its end. Gives how many
    /// more rows are held.
    fn now(&self, group: &mut Group, changes: Changes, out: &mut Found) -> i64 {
        let more =
            changes.right.into_iter().map(|(row, diff)| change(&mut group.right, vec![], row, diff)).sum();
        for (row, diff) in changes.left {
            let found = group.right.values().flatten().filter(|(_, count)| **count > 0);
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
        }
        more
    }

    /// What changes for rows of the left, whichever side changed. Gives how many more rows are held.
    fn as_of(
        &self,
        group: &mut Group,
        (left, right, strict): (usize, usize, bool),
        changes: Changes,
        (null_key, out): (bool, &mut Found),
    ) -> Result<i64, RunError> {
        let timed = |codec: &RowCodec, column: usize, rows: Vec<(Vec<u8>, i64)>| {
            let timed =
                rows.into_iter().map(|(row, diff)| Ok((packed_time(codec, &row, column)?, row, diff)));
            timed.collect::<Result<Vec<_>, RunError>>()
        };
        let (lefts, mut rights) =
            (timed(&self.left, left, changes.left)?, timed(&self.right, right, changes.right)?);
        // A row without a time, or a key with a NULL, finds nothing.
        rights.retain(|(time, ..)| time != &[0] && !null_key);
        let mut again: BTreeSet<(Vec<u8>, Vec<u8>)> = BTreeSet::new();
        let times: BTreeSet<&Vec<u8>> = rights.iter().map(|(time, ..)| time).collect();
        for time in times {
            let next = group
                .right
                .range::<Vec<u8>, _>((std::ops::Bound::Excluded(time), std::ops::Bound::Unbounded));
            let next = next.map(|(time, _)| time).next();
            for (at, rows) in group.left.range::<Vec<u8>, _>(time..) {
                // Equal times find the next one only where they match.
                if next.is_some_and(|next| if strict { at > next } else { at >= next }) {
                    break;
                }
                again.extend(rows.keys().map(|row| (at.clone(), row.clone())));
            }
        }
        again.extend(lefts.iter().map(|(time, row, _)| (time.clone(), row.clone())));
        let before: Vec<_> = again.iter().map(|row| self.found(group, row, strict)).collect();
        let mut more = 0;
        lefts.into_iter().for_each(|(time, row, diff)| more += change(&mut group.left, time, row, diff));
        rights.into_iter().for_each(|(time, row, diff)| more += change(&mut group.right, time, row, diff));
        for (row, before) in again.iter().zip(before) {
            let after = self.found(group, row, strict);
            if before != after {
                for (found, sign) in [(before, -1), (after, 1)] {
                    let Some((found, count)) = found else { continue };
                    out.rows.push_joined(&row.1, &found);
                    out.diffs.push(sign * count);
                }
            }
        }
        Ok(more)
    }

    /// What a row of the left finds, and how often the row is there; None where it gives nothing.
    fn found(&self, group: &Group, (time, row): &(Vec<u8>, Vec<u8>), strict: bool) -> Option<(Vec<u8>, i64)> {
        let count = *group.left.get(time)?.get(row)?;
        let upto = if strict { std::ops::Bound::Excluded(time) } else { std::ops::Bound::Included(time) };
        let latest = group.right.range::<Vec<u8>, _>((std::ops::Bound::Unbounded, upto)).next_back();
        let found = latest.and_then(|(_, rows)| rows.keys().next_back()).filter(|_| time != &[0]);
        match found {
            Some(found) => Some((found.clone(), count)),
            None => self.outer.then(|| (vec![0; self.nulls], count)),
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
