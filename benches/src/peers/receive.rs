//! The bare limit: librdkafka receives a topic, and its records and bytes are counted.
//!
//! No engine over this client can be cheaper. The JVM's client is another one: for the peers it is a mark, not a
//! bound.

use std::time::Duration;

use anyhow::{Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::games::PARTITIONS;

/// Time that an answer of the broker may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A consumer of the first `partitions` partitions of the topics, from their beginnings.
///
/// # Errors
/// When the client cannot be made.
pub fn consumer(bootstrap: &str, topics: &[&str]) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "herald-bench");
    config.set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut places = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..PARTITIONS {
            places.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

/// Runs in the child, with `BOOTSTRAP TOPIC`. Prints the records and bytes of their values.
///
/// # Errors
/// When the topic cannot be read.
pub fn run_child(arguments: &[String]) -> Result<()> {
    let [bootstrap, topic] = arguments else { bail!("receive needs a broker and a topic") };
    let consumer = consumer(bootstrap, &[topic])?;
    let (mut records, mut bytes, mut ended) = (0u64, 0u64, 0);
    while ended < PARTITIONS {
        match consumer.poll(TIMEOUT) {
            Some(Ok(message)) => {
                records += 1;
                bytes += message.payload_len() as u64;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the broker does not answer"),
        }
    }
    println!("{records} records, {bytes} bytes");
    Ok(())
}
