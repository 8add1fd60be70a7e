//! Work on a state at rest: verification against a new derivation, repair, and sending sinks again.

pub mod migrate;
pub mod repair;
pub mod verify;
