//! Readers of Herald's own statements: sources, tables, views, sinks and indexes.

pub mod columns;
pub mod index;
pub mod options;
pub mod relation;
pub mod sink;
pub mod types;
pub mod view;
