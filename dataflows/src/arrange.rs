//! Arrangements of packed rows: differential's batches and traces over byte strings.

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod rows;
pub mod seek;
pub mod trace;
pub mod updates;
