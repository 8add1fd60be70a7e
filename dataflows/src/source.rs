//! Where records become rows: the semantics of a source (DESIGN.md 1.1 "What becomes of a record").
//!
//! [`ingest`] judges what a record's own bytes and its partition's watermark decide: decoding,
//! constraints, lateness. It runs where the partition is read, in record order. [`table`] judges what
//! the key's held row decides: duplicate, superseded, accepted. It runs where the key lives.
//! Every record gets exactly one outcome, counted in the epoch it was read in; [`progress`] adds up.

pub mod decoder;
pub mod held;
pub mod ingest;
pub mod progress;
pub mod table;
