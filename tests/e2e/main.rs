//! End-to-end tests: the `herald` binary as a child process, with a real Kafka and a real schema registry,
//! checked by computations that share no code with it (`tests/oracle`).
//!
//! All are one test binary, so that the servers start only once: when the first test needs them, on free
//! ports, with their data in a temporary directory. `--watch` stops them when this process ends for any
//! reason. Every test has topics of its own (a prefix), and all waits are bounded.

mod backfill;
mod bank;
mod broker;
mod child;
#[cfg(feature = "failpoints")]
mod clients;
mod clock;
mod corners;
#[cfg(feature = "failpoints")]
mod edit_again;
mod edit_pairs;
mod edits;
#[cfg(feature = "failpoints")]
mod ends;
#[cfg(feature = "failpoints")]
mod erasure;
mod evolution;
#[cfg(feature = "failpoints")]
mod exactly;
mod exports;
mod failures;
#[cfg(feature = "failpoints")]
mod faults;
mod first_hour;
mod golden;
mod hostile;
mod indexes;
mod input;
mod keyed;
#[cfg(feature = "failpoints")]
mod kills;
mod layout;
mod limits;
mod lineage;
mod lookups;
mod memory;
mod migration;
mod mistakes;
mod once;
mod operations;
mod outage;
mod parquet;
mod pg;
mod pg_subscribe;
mod privacy;
#[cfg(feature = "failpoints")]
mod proxy;
mod pseudonyms;
mod raw_records;
mod real_input;
mod reference;
mod registry;
mod replay;
mod restart;
mod schema;
#[cfg(feature = "failpoints")]
mod season;
mod secure;
mod servers;
mod sinks;
mod steady;
mod storage;
#[cfg(feature = "cloud")]
mod stores;
mod subscribe;
mod tidy;
mod topics;
mod websocket;
