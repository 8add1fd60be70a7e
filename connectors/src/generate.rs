//! Sources that generate their records; [`reader`] reads all of them.

pub mod datagen;
pub mod matches;
pub mod nexmark;
pub(crate) mod pace;
pub mod random;
pub mod reader;
