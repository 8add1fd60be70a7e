//! Mistakes in a topology's text: refusals with their place and their replacement.

pub(crate) mod dialects;
pub mod did_you_mean;
pub(crate) mod explain_error;
mod name_search;
pub(crate) mod null_comparison;
pub(crate) mod site;
pub(crate) mod text;
pub(crate) mod unsupported;
