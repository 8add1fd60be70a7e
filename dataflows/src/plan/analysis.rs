//! Facts about a plan's relations: keys, watermarks, finality, distances of times, the reach of rows, and conditions that can
//! fail.

pub(crate) mod constants;
pub(crate) mod emptied;
pub(crate) mod event_time;
pub(crate) mod fallible;
pub(crate) mod finality;
pub(crate) mod interval;
pub(crate) mod properties;
pub(crate) mod reach;
