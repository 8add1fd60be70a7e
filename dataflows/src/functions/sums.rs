//! Exact sums: what was added can be removed again, and nothing of it is left.

pub mod accum;
pub mod float_sum;
pub mod moments;
pub mod product_sum;
