//! Commands of the command line, one module each.

pub(crate) mod check;
pub(crate) mod dead_letter;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod init;
pub(crate) mod pages;
pub(crate) mod running;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod test;
pub(crate) mod topics;
