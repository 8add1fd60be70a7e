//! Records and rows as bytes: what is read, what is sent, and heaps of byte strings.

pub mod blobs;
pub mod out;
pub mod record;
