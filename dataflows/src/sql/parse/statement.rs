//! Readers of Herald's own statements: sources, tables, views, sinks, indexes and insertions.

pub mod columns;
pub mod declared;
pub mod index;
pub mod insert;
pub mod options;
pub mod relation;
pub mod sink;
pub mod types;
pub mod view;
