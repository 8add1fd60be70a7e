//! Functions over ordered partitions and over windows of time.

pub(crate) mod event_windows;
pub mod exact;
pub(crate) mod ranks;
pub(crate) mod session;
pub mod slide;
