//! When rows of sessions leave their partitions.
//!
//! A session has ended once the watermark is at or beyond its end: no row comes that is less than the gap
//! after its last. All its rows go together, and what they were shown as stays. A partition is looked at when
//! its first session may have ended; if rows have come meanwhile it is looked at again at its end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use differential_dataflow::trace::{Cursor, Navigable};
use schemas::RowCodec;

use super::expire::{Rule, named};
use super::watermark::time_in;
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedBatch, PackedTrace};
use crate::arrange::updates::Outgoing;
use crate::error::RunError;
use crate::plan::window::Session;
use crate::render::collect::Shared;
use crate::render::windows::operator::split;

/// Lets sessions that have ended leave.
pub struct Sessions {
    session: Session,
    /// Packed form of the rows.
    row: RowCodec,
    peers: usize,
    name: String,
    collector: Shared,
    /// When each partition is looked at next, both ways round.
    due: BTreeMap<i64, BTreeSet<Vec<u8>>>,
    next: HashMap<Vec<u8>, i64>,
    /// Removals that have not come back yet.
    removed: HashSet<(Vec<u8>, Vec<u8>)>,
    /// Sessions that end below are dropped.
    passed: Option<i64>,
}

/// A row of a partition: its value, its time and its count, negated.
type Held = (Vec<u8>, i64, i64);

impl Sessions {
    /// Nothing is due yet.
    pub fn new(
        session: Session,
        row: RowCodec,
        peers: usize,
        (name, collector): (String, Shared),
    ) -> Sessions {
        let (due, next, removed) = (BTreeMap::new(), HashMap::new(), HashSet::new());
        Sessions { session, row, peers, name, collector, due, next, removed, passed: None }
    }

    fn time(&self, value: &[u8]) -> Result<Option<i64>, RunError> {
        time_in(&self.row, split(value)?.1, self.session.time)
    }

    fn look_at(&mut self, key: &[u8], time: i64) {
        if let Some(next) = self.next.get(key) {
            if *next <= time {
                return;
            }
            let keys = self.due.entry(*next).or_default();
            keys.remove(key);
        }
        self.next.insert(key.to_vec(), time);
        self.due.entry(time).or_default().insert(key.to_vec());
    }

    /// The partition's rows with a time, in order, as of `epoch`.
    fn rows(&self, seek: &mut Seek<i64>, epoch: u64) -> Result<Vec<Held>, RunError> {
        let mut rows = Vec::new();
        seek.value(&[]);
        while let Some(value) = seek.get().map(<[u8]>::to_vec) {
            let mut count = 0;
            seek.updates(&value, |time, diff| count += if time <= epoch { *diff } else { 0 });
            seek.step(&value);
            if let (true, Some(time)) = (count != 0, self.time(&value)?) {
                rows.push((value, time, -count));
            }
        }
        Ok(rows)
    }
}

impl Rule<i64> for Sessions {
    fn note(&mut self, batch: &PackedBatch<i64>) -> Result<(), RunError> {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            while let Some(value) = cursor.get_val(batch) {
                if let Some(time) = self.time(value)? {
                    // A row that is allowed is not below the watermark, one microsecond below the horizon.
                    if self.passed.is_none_or(|passed| time >= passed - 1) {
                        self.look_at(key, time.saturating_add(self.session.gap_us));
                    } else if !self.removed.remove(&(key.to_vec(), value.to_vec())) {
                        let what = "a row reached what was final";
                        return Err(named(&self.name, RunError::Broken(what.into())));
                    }
                }
                cursor.step_val(batch);
            }
            cursor.step_key(batch);
        }
        Ok(())
    }

    fn remove(
        &mut self,
        trace: &PackedTrace<i64>,
        epoch: u64,
        horizon: Option<i64>,
    ) -> Result<Outgoing<i64>, RunError> {
        let mut outgoing = Outgoing::new(epoch + 1, self.peers);
        let Some(horizon) = horizon else { return Ok(outgoing) };
        self.passed = self.passed.max(Some(horizon));
        let later = self.due.split_off(&horizon);
        let mut keys: Vec<Vec<u8>> =
            std::mem::replace(&mut self.due, later).into_values().flatten().collect();
        if keys.is_empty() {
            return Ok(outgoing);
        }
        keys.sort_unstable();
        let (mut seek, mut removed) = (Seek::new(trace), 0);
        for key in keys {
            self.next.remove(&key);
            seek.key(&key);
            let rows = self.rows(&mut seek, epoch)?;
            let gap = self.session.gap_us;
            let near = |pair: &[Held]| i128::from(pair[1].1) - i128::from(pair[0].1) < i128::from(gap);
            let mut rest = rows.as_slice();
            let mut begun = false;
            while !rest.is_empty() {
                let length = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
                let (session, later) = rest.split_at(length);
                let end = session[length - 1].1.saturating_add(gap);
                if end >= horizon {
                    self.look_at(&key, end);
                    break;
                }
                if !std::mem::replace(&mut begun, true) {
                    outgoing.key(&key);
                }
                for (value, _, count) in session {
                    outgoing.value(value, *count);
                    self.removed.insert((key.clone(), value.clone()));
                    removed += 1;
                }
                rest = later;
            }
        }
        if removed > 0 {
            self.collector.borrow_mut().at(epoch + 1).touch(&format!("{} expired", self.name), removed);
        }
        Ok(outgoing)
    }

    fn collector(&self) -> &Shared {
        &self.collector
    }
}
