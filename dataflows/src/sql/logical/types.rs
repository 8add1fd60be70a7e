//! Passes that give expressions the types and conversions of PostgreSQL.

pub(crate) mod coerce;
pub(crate) mod intervals;
pub(crate) mod jsonb;
pub(crate) mod meaning;
pub(crate) mod parameters;
