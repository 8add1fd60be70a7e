//! Budgets of a run: shares of the memory that `--memory` grants to caches, epochs and queues, and the time for which
//! epochs collect records. The topology's own arrangements come on top of the memory: `explain` lists them, and
//! metrics count their rows and bytes. Groups whose totals live in the state have a share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use state::StoreOptions;

/// Bytes granted by default.
pub const DEFAULT_BYTES: u64 = 2 << 30;
/// Smallest grant that is accepted, in bytes.
pub const MIN_BYTES: u64 = 128 << 20;

/// Rows after which a short epoch is closed, and a long one at most, although its interval is not over.
const SHORT_EPOCH_ROWS: usize = 100_000;
const LONG_EPOCH_ROWS: usize = 250_000;
/// Memory of a grant for each row of a long epoch.
const BYTES_PER_EPOCH_ROW: u64 = 8 << 10;

/// Shares of a grant, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks, indexes and filters of the state: an eighth.
    pub cache: usize,
    /// Writes of the state that are not in files yet: three sixteenths.
    pub writes: usize,
    /// Cached totals of groups, over all workers: six sixteenths. Those of epochs in flight stay beyond it.
    pub totals: usize,
    /// Undecoded records of one epoch: a sixteenth. Decoded they take a few times as much, and up to four
    /// epochs are in flight.
    pub epoch: usize,
    /// Rows that the joins of an epoch produce, over all workers: as many bytes as the whole grant, because
    /// they exist for a moment only. An epoch with more fails.
    pub joined: u64,
    /// Output that is committed and not published, beyond one epoch's: an eighth. Beyond it commits wait.
    pub unpublished: u64,
}

impl Budget {
    /// The shares of a grant of `bytes`.
    pub fn of(bytes: u64) -> Budget {
        let share = |sixteenths: u64| bytes / 16 * sixteenths;
        Budget {
            cache: share(2) as usize,
            writes: share(3) as usize,
            totals: share(6) as usize,
            epoch: share(1) as usize,
            joined: bytes,
            unpublished: share(2),
        }
    }

    /// Options to open a state within this budget.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            write_buffer_bytes: self.writes,
            block_cache_bytes: self.cache,
            ..StoreOptions::default()
        }
    }
}

/// Most rows of an epoch. Long epochs write and send a key that changes often only once, so a backlog costs less in them.
/// Epochs stay short where joins make more than an eighth of the bytes that they may make, and after a start, so that one
/// which failed because of its joins is tried again with fewer rows.
pub struct RowLimit {
    /// Rows of a long epoch.
    long: usize,
    /// Bytes that joins may make in an epoch at each worker.
    joined_bytes: u64,
    now: AtomicUsize,
}

impl RowLimit {
    /// Begins with short epochs. `memory` and `joined_bytes`, of joins at each worker, are grants in bytes.
    pub fn new(memory: u64, joined_bytes: u64) -> RowLimit {
        let long = ((memory / BYTES_PER_EPOCH_ROW) as usize).clamp(SHORT_EPOCH_ROWS, LONG_EPOCH_ROWS);
        RowLimit { long, joined_bytes, now: AtomicUsize::new(SHORT_EPOCH_ROWS) }
    }

    /// Returns the rows after which an epoch is closed.
    pub fn get(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Notes the rows of an epoch, and the bytes that joins made at the worker where they made most.
    pub fn note(&self, rows: u64, joined_bytes: u64) {
        // Joins of few rows say little of joins of many.
        if rows < SHORT_EPOCH_ROWS as u64 / 2 {
            return;
        }
        let is_long = joined_bytes < self.joined_bytes / 8;
        self.now.store(if is_long { self.long } else { SHORT_EPOCH_ROWS }, Ordering::Relaxed);
    }
}

/// Time for which an epoch collects records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Always the same.
    Fixed(Duration),
    /// As long as a goal for the time from a record's arrival to its output leaves: longer epochs cost less a record.
    Within(Duration),
}

/// Most epochs that are looked at until they are published; those in flight and those that wait are fewer.
const MAX_WATCHED: usize = 256;

/// Times of the last epochs, by which the next ones collect for longer or shorter.
pub struct PaceKeeper {
    pace: Pace,
    /// The last epoch that is published to all sinks.
    published: Arc<AtomicU64>,
    /// Epochs that are closed and not known to be published, with the times of their close.
    closed: VecDeque<(u64, Instant)>,
    /// Time that an epoch takes from its close to its output: the longest of late, slowly forgotten.
    took: Duration,
}

impl PaceKeeper {
    /// Begins with epochs as short as the goal permits.
    pub fn new(pace: Pace, published: Arc<AtomicU64>) -> PaceKeeper {
        let took = if let Pace::Within(goal) = pace { goal } else { Duration::ZERO };
        PaceKeeper { pace, published, closed: VecDeque::new(), took }
    }

    /// Returns the time for which the open epoch collects records: at least a twentieth of the goal.
    pub fn interval(&mut self) -> Duration {
        match self.pace {
            Pace::Fixed(interval) => interval,
            Pace::Within(goal) => {
                self.note_published();
                goal.saturating_sub(self.took).max(goal / 20)
            }
        }
    }

    /// Notes that an epoch is closed.
    pub fn note_closed(&mut self, epoch: u64) {
        if matches!(self.pace, Pace::Within(_)) && self.closed.len() < MAX_WATCHED {
            self.closed.push_back((epoch, Instant::now()));
        }
    }

    /// Takes the times of the epochs that have been published.
    fn note_published(&mut self) {
        let published = self.published.load(Ordering::Acquire);
        while let Some((_, closed)) = self.closed.pop_front_if(|(epoch, _)| *epoch <= published) {
            self.took = closed.elapsed().max(self.took - self.took / 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use dataflows::render::aggregates::cache::CacheRoom;

    use super::*;

    #[test]
    fn epochs_collect_for_as_long_as_the_goal_leaves_them() {
        let (goal, published) = (Duration::from_secs(100), Arc::new(AtomicU64::new(0)));
        let mut pace = PaceKeeper::new(Pace::Within(goal), published.clone());
        assert_eq!(pace.interval(), goal / 20, "nothing is known");
        // Epochs that are published at once leave more and more of the goal.
        let mut last = Duration::ZERO;
        for epoch in 1..60 {
            pace.note_closed(epoch);
            published.store(epoch, Ordering::Release);
            let interval = pace.interval();
            assert!(interval >= last && interval <= goal, "{interval:?} after {last:?}");
            last = interval;
        }
        assert!(last > goal * 99 / 100, "{last:?}");
        // One that takes longer than the goal leaves the least.
        pace.closed.push_back((60, Instant::now() - goal * 2));
        published.store(60, Ordering::Release);
        assert_eq!(pace.interval(), goal / 20);
        let mut fixed = PaceKeeper::new(Pace::Fixed(goal), published);
        fixed.note_closed(1);
        assert_eq!((fixed.interval(), fixed.closed.len()), (goal, 0));
    }

    #[test]
    fn the_default_is_what_a_state_takes_by_itself() {
        let (budget, usual) = (Budget::of(DEFAULT_BYTES), StoreOptions::default());
        assert_eq!((budget.writes, budget.cache), (usual.write_buffer_bytes, usual.block_cache_bytes));
        assert_eq!((budget.epoch, budget.unpublished), (128 << 20, 256 << 20));
        assert_eq!(budget.totals, CacheRoom::DEFAULT_BYTES);
    }

    #[test]
    fn epochs_grow_unless_joins_make_much_of_them() {
        let limit = RowLimit::new(DEFAULT_BYTES, 8000);
        let rows = |read: u64, joined: u64| {
            limit.note(read, joined);
            limit.get()
        };
        assert_eq!((limit.get(), rows(100, 0)), (100_000, 100_000));
        assert_eq!((rows(100_000, 999), rows(10, 5000)), (250_000, 250_000));
        assert_eq!((rows(250_000, 1000), rows(100_000, 0)), (100_000, 250_000));
        let small = RowLimit::new(MIN_BYTES, 8000);
        small.note(100_000, 0);
        assert_eq!(small.get(), 100_000);
    }
}
