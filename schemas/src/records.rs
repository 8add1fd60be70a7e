//! Records and rows as bytes: what is read, what is sent, heaps of byte strings, and the memory that they and
//! other structures hold.

pub mod blobs;
pub mod erased;
pub mod headers;
pub mod memory;
pub mod out;
pub mod record;
