//! Records to rows: the semantics of a source (DESIGN.md 1.1 "What becomes of a record").
//!
//! [`ingest`] applies the rules that need only the record's own bytes and its partition's watermark:
//! decoding, constraints, lateness. It runs on the worker that reads the partition, in record order.
//! [`table`] applies the rules that need the key's held row: duplicate, superseded, accepted. It runs on the
//! worker that owns the key. Every record gets exactly one outcome, counted in the epoch it was read in;
//! [`progress`] adds up. [`watermark`] has the formula of watermarks.

pub mod decoder;
pub mod erasure;
mod evaluate;
pub mod held;
pub mod ingest;
pub mod progress;
pub mod table;
pub mod watermark;
