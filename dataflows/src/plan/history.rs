//! Bounds on the changes of a materialized view that the state keeps for those who follow it.

/// Bounds on the changes of a view that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Age up to which they are kept, microseconds.
    pub age_us: i64,
    /// Most bytes of them.
    pub bytes: u64,
}

impl Default for History {
    fn default() -> History {
        History { age_us: 300_000_000, bytes: 64 << 20 }
    }
}
