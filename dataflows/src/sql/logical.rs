//! Rewrites of DataFusion's logical plan before and during optimisation.

pub(crate) mod constant_folding;
pub(crate) mod dependents;
pub(crate) mod fence;
pub(crate) mod fence_node;
pub(crate) mod filtered;
pub(crate) mod global_aggregate;
pub(crate) mod joins;
pub(crate) mod multiset;
pub(crate) mod now;
pub(crate) mod repeated;
pub(crate) mod rewrite;
pub(crate) mod types;
