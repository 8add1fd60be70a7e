//! Types of expressions as PostgreSQL has them.

pub(crate) mod coerce;
pub(crate) mod intervals;
pub(crate) mod jsonb;
pub(crate) mod meaning;
