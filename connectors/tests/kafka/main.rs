//! The Kafka clients against brokers: librdkafka's mock for what needs none of Kafka's guarantees,
//! and a real one, started by the project's own script, for everything that does.

mod mock;
mod outages;
mod protocol;
mod reading;
mod support;
