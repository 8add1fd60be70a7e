//! Rewrites and checks of a query's syntax tree before DataFusion plans it.

pub(crate) mod constants;
pub(crate) mod grammar;
pub(crate) mod lambda;
pub(crate) mod names;
pub(crate) mod now;
pub(crate) mod parts;
pub(crate) mod recursion;
pub(crate) mod sugar;
pub(crate) mod times;
