//! Texts made from the definitions of commands and flags: completions, the manual page, the reference pages.

pub(crate) mod manual;
pub(crate) mod reference;
