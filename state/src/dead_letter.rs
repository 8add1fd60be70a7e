//! The dead letter table `herald.dead_letter`: rejected records, in the order of their rejection, bounded.
//!
//! A letter is an opaque string of bytes under a sequence number. The bound counts the bytes of letters; when
//! an epoch's letters would exceed it, the oldest are dropped in that epoch's own batch, or the commit is
//! refused and the topology stops, as declared.

use rocksdb::{Direction, IteratorMode, WriteBatch};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::space;
use crate::store::Store;
use crate::store::read::Reads;

/// What happens when the dead letter table reaches its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterPolicy {
    /// The oldest letters make room.
    #[default]
    DropOldest,
    /// The commit is refused, so the topology stops.
    Stop,
}

/// From which end the table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first rejected first.
    Oldest,
    /// The last rejected first.
    Newest,
}

/// How much the dead letter table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterTotals {
    /// The sequence number of the oldest letter held.
    pub first: u64,
    /// The sequence number of the next letter: `next - first` are held.
    pub next: u64,
    /// Bytes of the letters held.
    pub bytes: u64,
    /// Letters dropped to keep the bound, since the state began.
    pub dropped: u64,
}

impl Store {
    /// Adds an epoch's letters to its batch; the totals that hold once it is written.
    pub(crate) fn add_dead_letters(
        &self,
        batch: &mut WriteBatch,
        held: &DeadLetterTotals,
        letters: &[Vec<u8>],
    ) -> Result<DeadLetterTotals, StateError> {
        let mut totals = held.clone();
        if letters.is_empty() {
            return Ok(totals);
        }
        let limit = self.dead_letter_bytes;
        let added: u64 = letters.iter().map(|letter| letter.len() as u64).sum();
        if held.bytes + added > limit && self.dead_letter_policy == DeadLetterPolicy::Stop {
            return Err(StateError::DeadLetterFull { bytes: held.bytes + added, limit });
        }
        let family = space::family(&self.db, space::DEAD_LETTER)?;
        self.drop_oldest(batch, &mut totals, limit.saturating_sub(added))?;
        let mut too_many = (totals.bytes + added).saturating_sub(limit);
        for letter in letters {
            if too_many > 0 {
                // The epoch alone is above the bound: its own oldest letters go as well.
                too_many = too_many.saturating_sub(letter.len() as u64);
                totals.dropped += 1;
                totals.first = totals.next + 1;
            } else {
                batch.put_cf(family, totals.next.to_be_bytes(), letter);
                totals.bytes += letter.len() as u64;
            }
            totals.next += 1;
        }
        self.put_meta_json(batch, "dead_letter", &totals)?;
        Ok(totals)
    }

    fn drop_oldest(
        &self,
        batch: &mut WriteBatch,
        totals: &mut DeadLetterTotals,
        bound: u64,
    ) -> Result<(), StateError> {
        if totals.bytes <= bound {
            return Ok(());
        }
        let family = space::family(&self.db, space::DEAD_LETTER)?;
        let first = totals.first.to_be_bytes();
        // Starting at the first number held skips the tombstones of those dropped before.
        for entry in self.db.iterator_cf(family, IteratorMode::From(&first, Direction::Forward)) {
            if totals.bytes <= bound {
                break;
            }
            let (key, letter) = entry.map_err(|source| StateError::database(&self.dir, source))?;
            totals.first = sequence(&self.reads(), &key)? + 1;
            totals.bytes = totals.bytes.saturating_sub(letter.len() as u64);
            totals.dropped += 1;
            batch.delete_cf(family, key);
        }
        Ok(())
    }
}

impl Reads<'_> {
    /// Visits up to `limit` letters with their sequence numbers.
    pub(crate) fn dead_letters<E: From<StateError>>(
        &self,
        order: Order,
        limit: usize,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let family = self.family(space::DEAD_LETTER)?;
        let totals: DeadLetterTotals = self.meta_json("dead_letter")?.unwrap_or_default();
        let mut letters = self.db.raw_iterator_cf_opt(family, self.options());
        match order {
            Order::Oldest => letters.seek(totals.first.to_be_bytes()),
            Order::Newest => letters.seek_to_last(),
        }
        for _ in 0..limit {
            let Some((key, letter)) = letters.item() else {
                break;
            };
            visit(sequence(self, key)?, letter)?;
            match order {
                Order::Oldest => letters.next(),
                Order::Newest => letters.prev(),
            }
        }
        letters.status().map_err(|error| self.failed(error))?;
        Ok(())
    }
}

fn sequence(reads: &Reads<'_>, key: &[u8]) -> Result<u64, StateError> {
    let number = key.try_into().map(u64::from_be_bytes);
    number.map_err(|_| StateError::corrupt(reads.dir, "a dead letter has no sequence number"))
}
