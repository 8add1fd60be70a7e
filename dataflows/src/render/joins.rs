//! Joins, including temporal joins.

pub(crate) mod band;
pub(crate) mod kinds;
pub mod pairs;
pub(crate) mod proctime;
pub(crate) mod temporal;
mod timed_rows;
