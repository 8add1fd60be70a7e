//! Joins, those as of a time too.

pub(crate) mod band;
pub(crate) mod kinds;
pub mod pairs;
pub(crate) mod proctime;
pub(crate) mod temporal;
