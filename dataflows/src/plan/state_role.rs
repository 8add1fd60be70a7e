//! Roles of the state tables of an operator.
//!
//! The `Debug` names are part of the stored names of state tables.

/// The part of an operator's state that a state table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateRole {
    /// Groups of an aggregate, or the rows of its groups.
    Groups,
    /// Left rows of a join; of a join as of PROCTIME(), with the rows they found.
    Left,
    /// Right rows of a join.
    Right,
    /// Rows of ordered partitions.
    Partitions,
    /// Rows that wait for the watermark.
    Waiting,
}
