//! Readers of Herald's own statements: sources, tables, views and sinks.

pub mod columns;
pub mod options;
pub mod relation;
pub mod sink;
pub mod types;
pub mod view;
