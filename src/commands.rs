//! Commands of the command line, one module each.

pub(crate) mod check;
pub(crate) mod dead_letter;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod init;
pub(crate) mod manual;
pub(crate) mod reference;
pub(crate) mod sink;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod test;
