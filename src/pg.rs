//! The protocol of PostgreSQL: `herald run --listen-pg` serves the views of committed epochs to psql, drivers
//! and tools.
//!
//! As in PostgreSQL each connection has a process of its own, so that no query can hurt the topology
//! (docs/decisions/0015). The topology's process ([`listener`]) accepts connections, bounds them and starts
//! for each the program anew with a hidden command ([`child`]); the client's socket is that process' standard
//! output, and its standard input leads back to the topology's process ([`control`]).
//!
//! | file | content |
//! | --- | --- |
//! | `listener`, `sessions` | the topology's side: listening, starting processes, cancel requests |
//! | `control` | messages between the two processes |
//! | `child` | the process of a connection: its threads |
//! | `wire` | bytes to and from the client, with and without TLS; waiting for the engine |
//! | `login` | the first messages: TLS, parameters, SCRAM |
//! | `session/` | messages of a session: queries, transactions, cursors, COPY |
//! | `sql/` | statements of a session and its settings |
//! | `engine`, `reader` | the thread that plans and runs queries and follows views, and the epoch they read |
//! | `values/` | types and values: rows as text and binary, parameters, formats of COPY |
//! | `errors` | errors with their SQLSTATE |

pub mod child;
pub mod control;
mod engine;
mod errors;
pub mod listener;
mod login;
mod reader;
mod session;
pub mod sessions;
mod sql;
mod values;
mod wire;
