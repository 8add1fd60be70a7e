//! Commands of the command line, one module each.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod sink;
pub(crate) mod state;
pub(crate) mod test;
