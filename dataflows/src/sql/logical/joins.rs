//! Rewrites to joins: of subqueries, LATERAL, USING, and joins as of a time.

pub(crate) mod firsts;
pub(crate) mod lateral;
pub(crate) mod one_row;
pub(crate) mod subquery;
pub(crate) mod temporal;
pub(crate) mod using;
