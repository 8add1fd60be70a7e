//! The oracle: the dataflow engine against an independent computation, without a broker.
//!
//! A history of records, drawn from a printed seed, runs through a topology in process, cut into
//! epochs and restarted in several ways. At every committed epoch each view must equal what DuckDB
//! answers over the rows that a plain model of the sources says are accepted, and at a sample of them what
//! PostgreSQL answers; outcomes, watermarks,
//! dead letters, failed expressions and folded sinks must agree with the model too.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `engine` | workers, epochs and commits under test control |
//! | `rows` | rows of the engine and of DuckDB as JSON, and their comparison |
//! | `duck`, `judge`, `postgres`, `texts` | DuckDB in a process beside; PostgreSQL, and its texts of values |
//! | `model` | what becomes of a record, written from the design alone |
//! | `history` | random histories |
//! | `games` | the topology of the oracle: sources, views, sinks |
//! | `way` | one history, run one way and compared at every epoch |
//! | `oracle`, `failing`, `retention`, `event_time`, `lookup`, `control`, `incremental`, `near`, `keyed`, `keys`, `nexmark`, `now`, `recursive`, `taken_back`, `repair`, `edits`, `earlier`, `erasure`, `top_rows` | the tests |

#[cfg(feature = "failpoints")]
mod control;
mod duck;
mod earlier;
mod edits;
mod engine;
mod erasure;
mod event_time;
mod failing;
mod games;
mod history;
mod incremental;
#[path = "../random/judge.rs"]
mod judge;
mod keyed;
mod keys;
mod lookup;
mod model;
mod near;
mod nexmark;
mod now;
mod oracle;
mod postgres;
mod recursive;
mod repair;
mod retention;
mod rows;
mod taken_back;
mod texts;
mod top_rows;
#[path = "../scalar/value.rs"]
#[allow(dead_code, reason = "of tests/scalar; not all of it is needed here")]
mod value;
mod way;
