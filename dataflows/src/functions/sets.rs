//! Functions that give several rows.

pub(crate) mod abreast;
pub(crate) mod ordinality;
pub(crate) mod series;
