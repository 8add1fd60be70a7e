//! Operators driven by watermarks: final rows are emitted, leave a filter, or are removed from state.

pub(crate) mod emit_on_close;
pub mod expire;
pub(crate) mod rule;
pub mod sessions;
pub(crate) mod temporal_filter;
pub mod watermark;
