//! Subqueries, LATERAL and joins as of a time, as joins.

pub(crate) mod firsts;
pub(crate) mod lateral;
pub(crate) mod subquery;
pub(crate) mod temporal;
pub(crate) mod using;
