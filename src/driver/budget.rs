//! Shares of the memory that `--memory` grants to caches, epochs and queues. The topology's own arrangements
//! come on top: `explain` lists them, and metrics count their rows and bytes.

use state::StoreOptions;

/// Bytes granted by default.
pub const DEFAULT_BYTES: u64 = 2 << 30;
/// Smallest grant that is accepted, in bytes.
pub const MIN_BYTES: u64 = 128 << 20;

/// Shares of a grant, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks, indexes and filters of the state: an eighth.
    pub cache: usize,
    /// Writes of the state that are not in files yet: three sixteenths.
    pub writes: usize,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_a_state_takes_by_itself() {
        let (budget, usual) = (Budget::of(DEFAULT_BYTES), StoreOptions::default());
        assert_eq!((budget.writes, budget.cache), (usual.write_buffer_bytes, usual.block_cache_bytes));
        assert_eq!((budget.epoch, budget.unpublished), (128 << 20, 256 << 20));
    }
}
