//! A topology at work: the worker's dataflow, the assembly of epochs, and the state tables they fill.

pub mod edition;
pub mod engine;
pub mod epoch;
pub mod fill;
pub(crate) mod restore;
pub mod retention;
pub mod state_tables;
pub mod worker;
