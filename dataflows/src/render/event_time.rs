//! Operators that follow the watermark: what is final is dropped, emitted or let go.

pub(crate) mod emit_on_close;
pub mod expire;
pub mod sessions;
pub(crate) mod temporal_filter;
pub mod watermark;
