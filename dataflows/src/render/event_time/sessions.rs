//! Expiry of the rows of ended sessions.
//!
//! A session has ended once the watermark is at or beyond its end: no future row is less than the gap after
//! its last row. All its rows are removed together, while their output stays. A partition is checked when its
//! first session may have ended; if rows have extended it meanwhile, it is checked again at the new end.

use differential_dataflow::trace::{Cursor, Navigable};
use schemas::{MemoryPart, MemoryShare, RowCodec};

use super::rule::{ExpiryRule, SentRemovals, with_name};
use super::time_index::KeySchedule;
use super::watermark::time_in;
use crate::arrange::seek::Seek;
use crate::arrange::trace::{PackedTrace, SharedBatch};
use crate::arrange::updates::ExchangeBuffer;
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::window::Session;
use crate::render::windows::operator::split_value;

/// Expiry rule for sessions.
pub struct Sessions {
    session: Session,
    /// Packed form of the rows.
    row: RowCodec,
    name: String,
    collector: Shared,
    /// Partitions by the time of their next check.
    due: KeySchedule,
    removed: SentRemovals,
    /// Time below which ended sessions are dropped.
    passed: Option<i64>,
    memory: MemoryShare,
}

/// Row of a partition: its value, its time and its negated count.
type SessionRow = (Vec<u8>, i64, i64);

impl Sessions {
    /// Creates the rule without any rows.
    pub fn new(session: Session, row: RowCodec, (name, collector): (String, Shared)) -> Sessions {
        let (due, removed, memory) =
            (KeySchedule::default(), SentRemovals::default(), MemoryShare::default());
        Sessions { session, row, name, collector, due, removed, passed: None, memory }
    }

    fn row_time(&self, value: &[u8]) -> Result<Option<i64>, RunError> {
        time_in(&self.row, split_value(value)?.1, self.session.time)
    }

    fn report_memory(&mut self) {
        self.memory.set(MemoryPart::Sessions, self.due.held_bytes() + self.removed.held_bytes());
    }

    /// Returns the partition's rows that have a time, in order, as of `epoch`.
    fn partition_rows(&self, seek: &mut Seek<i64>, epoch: u64) -> Result<Vec<SessionRow>, RunError> {
        let mut rows = Vec::new();
        seek.rewind_values();
        while let Some(value) = seek.current_value().map(<[u8]>::to_vec) {
            let mut count = 0;
            seek.visit_updates(&value, |time, diff| count += if time <= epoch { *diff } else { 0 });
            seek.step_past(&value);
            if let (true, Some(time)) = (count != 0, self.row_time(&value)?) {
                rows.push((value, time, -count));
            }
        }
        Ok(rows)
    }
}

/// Returns true if two rows, one after the other, belong to one session: they are less than the gap apart.
fn are_near(pair: &[SessionRow], gap_us: i64) -> bool {
    // `i128` holds any distance of times.
    i128::from(pair[1].1) - i128::from(pair[0].1) < i128::from(gap_us)
}

impl ExpiryRule<i64> for Sessions {
    fn note_batch(&mut self, batch: &SharedBatch<i64>) -> Result<(), RunError> {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            while let Some(value) = cursor.get_val(batch) {
                if let Some(time) = self.row_time(value)? {
                    // A row that is not late is at or above the watermark, one microsecond below the horizon.
                    if self.passed.is_none_or(|passed| time >= passed - 1) {
                        self.due.schedule_key(key, time.saturating_add(self.session.gap_us));
                    } else if !self.removed.take(key, value) {
                        let what = "a row reached what was final";
                        return Err(with_name(&self.name, RunError::Broken(what.into())));
                    }
                }
                cursor.step_val(batch);
            }
            cursor.step_key(batch);
        }
        self.report_memory();
        Ok(())
    }

    fn remove_due(
        &mut self,
        trace: &PackedTrace<i64>,
        epoch: u64,
        horizon: Option<i64>,
    ) -> Result<ExchangeBuffer<i64>, RunError> {
        let mut outgoing = ExchangeBuffer::new(epoch + 1, &self.collector.borrow().ownership());
        let Some(horizon) = horizon else { return Ok(outgoing) };
        self.passed = self.passed.max(Some(horizon));
        let keys = self.due.take_below(horizon);
        if keys.is_empty() {
            return Ok(outgoing);
        }
        let (mut seek, mut removed) = (Seek::new(trace), 0);
        for key in keys {
            seek.seek_key(&key);
            let rows = self.partition_rows(&mut seek, epoch)?;
            let gap = self.session.gap_us;
            let mut rest = rows.as_slice();
            let mut begun = false;
            while !rest.is_empty() {
                let length = 1 + rest.windows(2).take_while(|pair| are_near(pair, gap)).count();
                let (session, later) = rest.split_at(length);
                let end = session[length - 1].1.saturating_add(gap);
                // Later sessions of the partition end later still.
                if end >= horizon {
                    self.due.schedule_key(&key, end);
                    break;
                }
                // The key is pushed only if a value follows.
                if !std::mem::replace(&mut begun, true) {
                    outgoing.push_key(&key);
                }
                for (value, _, count) in session {
                    outgoing.push_value(value, *count);
                    self.removed.insert(&key, value);
                    removed += 1;
                }
                rest = later;
            }
        }
        if removed > 0 {
            self.collector
                .borrow_mut()
                .at(epoch + 1)
                .count_touched(&format!("{} expired", self.name), removed);
        }
        self.report_memory();
        Ok(outgoing)
    }

    fn collector(&self) -> &Shared {
        &self.collector
    }
}
