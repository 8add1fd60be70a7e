//! How the memory that `--memory` grants is shared: caches, epochs and queues obey it. What the topology itself
//! keeps in memory, its arrangements, comes on top: `explain` says what that is, and a metric how many rows.

use state::StoreOptions;

/// Bytes, all together, when nothing is said.
pub const DEFAULT: u64 = 2 << 30;
/// Below this nothing runs well.
pub const LEAST: u64 = 128 << 20;

/// Shares of a grant, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks, indexes and filters of the state: an eighth.
    pub cache: usize,
    /// Writes of the state that are not in files yet: three sixteenths.
    pub writes: usize,
    /// Records of one epoch as they came: a sixteenth. Decoded they take a few times as much, and up to four
    /// epochs are in flight.
    pub epoch: usize,
    /// Rows that the joins of an epoch make, all workers together: as much again as the grant, for they are there
    /// for a moment only. What is more is refused.
    pub joined: u64,
    /// Output that is committed and not published, beyond one epoch's: an eighth. Behind it commits wait.
    pub unpublished: u64,
}

impl Budget {
    /// The shares of so many bytes.
    pub fn of(bytes: u64) -> Budget {
        let share = |sixteenths: u64| bytes / 16 * sixteenths;
        Budget {
            cache: share(2) as usize,
            writes: share(3) as usize,
            epoch: share(1) as usize,
            joined: bytes,
            unpublished: share(2),
        }
    }

    /// How a state is opened within it.
    pub fn store(&self) -> StoreOptions {
        StoreOptions {
            write_buffer_bytes: self.writes,
            block_cache_bytes: self.cache,
            ..StoreOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_a_state_takes_by_itself() {
        let (budget, usual) = (Budget::of(DEFAULT), StoreOptions::default());
        assert_eq!((budget.writes, budget.cache), (usual.write_buffer_bytes, usual.block_cache_bytes));
        assert_eq!((budget.epoch, budget.unpublished), (128 << 20, 256 << 20));
    }
}
