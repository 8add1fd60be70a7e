//! Evaluation of functions, row by row, and their values as text.

pub(crate) mod by_row;
#[cfg(test)]
pub(crate) mod judged;
pub(crate) mod own;
pub(crate) mod print;
#[cfg(test)]
pub(crate) mod row_by_row;
pub(crate) mod value;
