//! Column types and their values: what they are, how they are spelt, and columns of them.

pub mod canonical;
pub mod columns;
pub mod decimal;
pub mod relation;
pub mod span;
pub mod time;
pub mod uuid;
pub mod view;
