//! GROUP BY with aggregates kept in accumulators.

pub mod finish;
pub mod input;
pub mod operator;
