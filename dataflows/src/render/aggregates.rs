//! GROUP BY with aggregates kept in accumulators: in an arrangement, or as totals in the state behind a cache.

pub mod cache;
mod earlier;
pub mod finish;
pub mod input;
pub mod operator;
pub mod totals;
