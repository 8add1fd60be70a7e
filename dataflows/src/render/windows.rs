//! Functions over ordered partitions, and top-N.

pub mod operator;
pub(crate) mod ranks;
