//! The dead letter table `herald.dead_letter`: rejected records, in the order of their rejection, bounded.
//!
//! A dead letter is an opaque string of bytes under a sequence number. The bound counts the bytes of dead
//! letters. When an epoch's dead letters would exceed it, either the oldest are dropped in that epoch's own
//! batch, or the commit is refused and the topology stops; the policy decides.

use std::collections::BTreeMap;

use rocksdb::{Direction, IteratorMode, WriteBatch};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::store::Store;
use crate::store::read::Reads;
use crate::table;

/// Policy for a dead letter table that reaches its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterPolicy {
    /// The oldest dead letters are dropped.
    #[default]
    DropOldest,
    /// The commit is refused, so the topology stops.
    Stop,
}

/// Reading order of the dead letter table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of rejection.
    Oldest,
    /// In the order of rejection, from a sequence number on.
    From(u64),
    /// In the reverse order of rejection.
    Newest,
}

/// Totals of the dead letter table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterTotals {
    /// The sequence number of the oldest dead letter held.
    pub first: u64,
    /// The sequence number of the next dead letter: `next - first` are held.
    pub next: u64,
    /// Bytes of the dead letters held.
    pub bytes: u64,
    /// Dead letters dropped to keep the bound, since the state was created.
    pub dropped: u64,
}

impl Store {
    /// Adds an epoch's dead letters to its batch and returns the totals that hold once the batch is written.
    pub(crate) fn add_dead_letters(
        &self,
        batch: &mut WriteBatch,
        held: &DeadLetterTotals,
        dead_letters: &[Vec<u8>],
    ) -> Result<DeadLetterTotals, StateError> {
        let mut totals = held.clone();
        if dead_letters.is_empty() {
            return Ok(totals);
        }
        let limit = self.dead_letter_bytes;
        let added: u64 = dead_letters.iter().map(|dead_letter| dead_letter.len() as u64).sum();
        if held.bytes + added > limit && self.dead_letter_policy == DeadLetterPolicy::Stop {
            return Err(StateError::DeadLetterFull { bytes: held.bytes + added, limit });
        }
        let family = table::family(&self.db, table::DEAD_LETTER)?;
        self.drop_oldest(batch, &mut totals, limit.saturating_sub(added))?;
        let mut too_many = (totals.bytes + added).saturating_sub(limit);
        for dead_letter in dead_letters {
            if too_many > 0 {
                // The epoch alone exceeds the bound: its own oldest dead letters are dropped too, but
                // numbered.
                too_many = too_many.saturating_sub(dead_letter.len() as u64);
                totals.dropped += 1;
                totals.first = totals.next + 1;
            } else {
                batch.put_cf(family, totals.next.to_be_bytes(), dead_letter);
                totals.bytes += dead_letter.len() as u64;
            }
            totals.next += 1;
        }
        self.put_meta_json(batch, "dead_letter", &totals)?;
        Ok(totals)
    }

    /// Puts other bytes in the place of dead letters that are held.
    pub(crate) fn replace_dead_letters(
        &self,
        batch: &mut WriteBatch,
        totals: &mut DeadLetterTotals,
        replaced: &BTreeMap<u64, Vec<u8>>,
    ) -> Result<(), StateError> {
        let family = table::family(&self.db, table::DEAD_LETTER)?;
        for (sequence, bytes) in replaced {
            let key = sequence.to_be_bytes();
            let held = self.db.get_pinned_cf(family, key).map_err(StateError::database_in(&self.dir))?;
            let Some(held) = held else { continue };
            totals.bytes = totals.bytes.saturating_sub(held.len() as u64) + bytes.len() as u64;
            batch.put_cf(family, key, bytes);
        }
        if !replaced.is_empty() {
            self.put_meta_json(batch, "dead_letter", totals)?;
        }
        Ok(())
    }

    /// Deletes the oldest dead letters until no more than `bound` bytes are left.
    fn drop_oldest(
        &self,
        batch: &mut WriteBatch,
        totals: &mut DeadLetterTotals,
        bound: u64,
    ) -> Result<(), StateError> {
        if totals.bytes <= bound {
            return Ok(());
        }
        let family = table::family(&self.db, table::DEAD_LETTER)?;
        let first = totals.first.to_be_bytes();
        // Starting at the first number held skips RocksDB's tombstones of earlier deletions.
        for entry in self.db.iterator_cf(family, IteratorMode::From(&first, Direction::Forward)) {
            if totals.bytes <= bound {
                break;
            }
            let (key, dead_letter) = entry.map_err(StateError::database_in(&self.dir))?;
            totals.first = parse_sequence(self, &key)? + 1;
            totals.bytes = totals.bytes.saturating_sub(dead_letter.len() as u64);
            totals.dropped += 1;
            batch.delete_cf(family, key);
        }
        Ok(())
    }
}

impl Reads<'_> {
    /// Visits up to `limit` dead letters with their sequence numbers.
    pub fn dead_letters<E: From<StateError>>(
        &self,
        order: Order,
        limit: usize,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let family = self.family(table::DEAD_LETTER)?;
        let totals: DeadLetterTotals = self.meta_json("dead_letter")?.unwrap_or_default();
        let mut dead_letters = self.db.raw_iterator_cf_opt(family, self.read_options());
        match order {
            Order::Oldest => dead_letters.seek(totals.first.to_be_bytes()),
            Order::From(from) => dead_letters.seek(totals.first.max(from).to_be_bytes()),
            Order::Newest => dead_letters.seek_to_last(),
        }
        for _ in 0..limit {
            let Some((key, dead_letter)) = dead_letters.item() else {
                break;
            };
            visit(parse_sequence(self, key)?, dead_letter)?;
            match order {
                Order::Oldest | Order::From(_) => dead_letters.next(),
                Order::Newest => dead_letters.prev(),
            }
        }
        dead_letters.status().map_err(StateError::database_in(&self.dir))?;
        Ok(())
    }
}

fn parse_sequence(reads: &Reads<'_>, key: &[u8]) -> Result<u64, StateError> {
    let number = key.try_into().map(u64::from_be_bytes);
    number.map_err(|_| StateError::corrupt(&reads.dir, "a dead letter has no sequence number"))
}
