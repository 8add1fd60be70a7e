//! Functions over ordered partitions, and top-N.

pub(crate) mod first_rows;
pub mod operator;
pub(crate) mod ranks;
