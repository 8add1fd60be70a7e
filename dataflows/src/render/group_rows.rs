//! GROUP BY with aggregates that need the rows of their group.

pub(crate) mod input;
pub(crate) mod layout;
pub(crate) mod operator;
