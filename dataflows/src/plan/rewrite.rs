//! Plans as smaller plans with the same rows, and with their emission at the close of windows.

pub(crate) mod emit_on_close;
pub(crate) mod names;
pub(crate) mod prune;
