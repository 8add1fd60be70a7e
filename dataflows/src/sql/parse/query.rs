//! Rewrites of query forms that `sqlparser` does not parse, or parses otherwise than PostgreSQL.

pub mod flink;
pub mod jsonb;
pub mod lambda;
pub mod reading;
pub mod rows;
pub mod series;
pub mod structs;
pub mod temporal;
pub mod unnest;
pub mod wildcard;
pub mod window;
