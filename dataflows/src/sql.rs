//! From text to plan: parse, bind, plan with DataFusion's parts, lower.
//!
//! [`parse()`] reads topology files into [`ast::Statement`]s, each name with its place in the text;
//! variables are replaced and windows rewritten on the way. The binder resolves the statements
//! against each other; queries go through DataFusion's planner and optimiser and come out as
//! relations of [`crate::plan::Plan`]. Every mistake of every file is collected as an
//! [`error::SqlError`]; no DataFusion plan type leaves this module.

mod abreast;
mod aggregates;
pub mod ast;
pub(crate) mod average;
mod bags;
mod bind;
mod catalog;
mod close;
mod coerce;
mod compile;
mod constants;
mod dependents;
mod dialects;
pub mod env;
pub mod error;
mod event_time;
mod exact_sum;
pub(crate) mod fallible;
mod filtered;
mod firsts;
mod fold;
mod functions;
mod guard;
pub(crate) mod interval;
mod interval_sum;
mod intervals;
mod jsonb;
mod keyed;
mod lambda;
mod lateral;
mod lower;
mod meaning;
mod mistakes;
pub mod nearest;
mod now;
mod ordinality;
pub mod parse;
mod percentile;
mod picks;
mod places;
mod properties;
mod prune;
mod query;
pub mod question;
mod ranks;
mod recursion;
mod refuse;
mod repeated;
mod rewrite;
pub(crate) mod session;
mod sink;
mod subquery;
mod sugar;
mod temporal;
mod times;
mod total;
mod trial;
mod using;
mod window;

#[cfg(test)]
mod tests;

pub use ast::SqlFile;
pub use bind::ColumnsOf;
pub use compile::compile;
pub use error::{Mistake, SqlError};
pub(crate) use functions::time::FIRST_US;
pub use parse::bounds::bounded;
pub use parse::parse;

/// Names of the scalar functions that a query may call, aliases included. A test of each can be told by it.
pub fn scalar_functions() -> Vec<String> {
    functions::FUNCTIONS.scalar_names()
}

/// Names of the aggregates that a query may call, aliases included.
pub fn aggregate_functions() -> Vec<String> {
    functions::FUNCTIONS.aggregate_names()
}
