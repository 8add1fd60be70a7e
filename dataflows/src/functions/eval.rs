//! Evaluation of functions, row by row, and their values as text.

pub(crate) mod about;
pub(crate) mod by_row;
pub(crate) mod cast;
pub(crate) mod own;
pub(crate) mod print;
pub(crate) mod registry;
#[cfg(test)]
pub(crate) mod row_by_row;
pub(crate) mod value;
