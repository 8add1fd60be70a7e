//! SQL topologies as differential dataflows: parse, plan, render.
//!
//! [`sql`] turns text into a [`plan::Plan`]; `render` turns a plan into timely operators whose state is
//! differential arrangements of packed rows; `worker` runs them epoch by epoch, and [`runtime::epoch`] makes one
//! commit of the workers' reports. This crate knows no clock, no network and no async runtime: records,
//! epochs and time are arguments. `engine` runs a topology in process, as tests do.
#![deny(missing_docs)]

pub mod arrange;
pub mod collect;
pub mod error;
pub(crate) mod functions;
pub mod maintenance;
pub mod mistake;
pub mod plan;
pub mod render;
pub mod runtime;
pub mod source;
pub mod sql;
