//! End-to-end tests: the `herald` binary as a child process, beside a real Kafka and a real schema
//! registry, judged by computations that share no code with it (`tests/oracle`).
//!
//! All are one test binary, so that the servers start once. They start when the first test needs
//! them, on free ports, with their data in a temporary directory, and `--watch` ends them with this
//! process, however it ends. Every test has topics of its own (a prefix) and waits no longer than
//! its bounds say.

mod bank;
mod broker;
mod child;
#[cfg(feature = "failpoints")]
mod clock;
mod corners;
#[cfg(feature = "failpoints")]
mod ends;
#[cfg(feature = "failpoints")]
mod exactly;
mod failures;
#[cfg(feature = "failpoints")]
mod faults;
mod golden;
mod hostile;
mod input;
mod keyed;
#[cfg(feature = "failpoints")]
mod kills;
mod limits;
mod mistakes;
mod once;
mod operations;
mod outage;
#[cfg(feature = "failpoints")]
mod proxy;
mod real_input;
mod registry;
mod restart;
mod secure;
mod servers;
mod sinks;
mod steady;
mod storage;
mod tidy;
mod topics;
