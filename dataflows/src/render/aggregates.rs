//! GROUP BY with aggregates kept in accumulators.

pub mod accum;
pub mod finish;
pub mod float_sum;
pub mod input;
pub mod moments;
pub mod operator;
pub mod product_sum;
