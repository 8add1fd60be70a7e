//! Operators driven by watermarks: final rows are emitted, leave a filter, or are removed from state.

pub(crate) mod emit_on_close;
mod epochs;
pub mod expire;
mod hold_back;
pub(crate) mod rule;
pub mod sessions;
pub(crate) mod temporal_filter;
pub(crate) mod time_index;
pub mod watermark;
