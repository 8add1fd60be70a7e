//! Sources that generate their records.

pub mod datagen;
pub mod matches;
pub mod nexmark;
pub(crate) mod pace;
pub mod random;
