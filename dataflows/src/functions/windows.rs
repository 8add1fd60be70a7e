//! Functions over ordered partitions and over time windows.

pub(crate) mod event_windows;
pub mod exact;
pub(crate) mod ranks;
pub(crate) mod session;
pub mod slide;
