//! Roles of an operator's states: which part of the operator each state table holds.

/// A part of an operator's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Groups of an aggregate, or the rows of its groups.
    Groups,
    /// Left rows of a join; of one as of now, with what they found.
    Left,
    /// Right rows of a join.
    Right,
    /// Rows of ordered partitions.
    Partitions,
    /// Rows that wait for the watermark.
    Waiting,
}
