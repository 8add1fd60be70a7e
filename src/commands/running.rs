//! Commands for a topology that runs: its state of affairs, and content sent again.

pub(crate) mod sink;
pub(crate) mod status;
