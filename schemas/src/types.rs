//! Column types and their values: definitions, text forms, and columns.

pub mod canonical;
pub mod columns;
pub mod decimal;
pub mod float;
pub mod jsonb;
pub mod relation;
#[cfg(test)]
pub(crate) mod sample;
pub mod span;
pub mod time;
pub mod uuid;
pub mod view;
