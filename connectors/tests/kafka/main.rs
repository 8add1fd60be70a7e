//! The Kafka clients against brokers: librdkafka's mock for tests that need none of Kafka's guarantees,
//! and a real one, started by the project's own script, for all others.

mod mock;
mod outages;
mod protocol;
mod reading;
mod support;
