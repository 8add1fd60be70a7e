//! Mistakes of a topology's text: what is refused, where, and what to write instead.

pub(crate) mod dialects;
pub mod did_you_mean;
pub mod error;
pub(crate) mod explain_error;
pub(crate) mod site;
pub(crate) mod text;
pub(crate) mod unsupported;
