//! Kafka operations of tests: create topics, produce, read committed records, delete records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::servers;

const PATIENCE: Duration = Duration::from_secs(30);

/// A record that was read back.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers as text; of one name the last.
    pub headers: BTreeMap<String, String>,
    /// Their number, also of those of one name.
    pub header_count: usize,
}

/// A Kafka cluster, by its address.
#[derive(Clone, Copy, Debug)]
pub struct Broker<'a> {
    /// `host:port`.
    pub bootstrap: &'a str,
}

/// The Kafka shared by the tests.
pub fn shared() -> Broker<'static> {
    Broker { bootstrap: servers::kafka() }
}

impl Broker<'_> {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// Creates a topic with configurations of its own.
    pub fn create_topic_with(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = block_on(self.admin().create_topics([&topic], &AdminOptions::new())).expect("an answer");
        made[0].as_ref().unwrap_or_else(|e| panic!("creating {name}: {e:?}"));
    }

    /// Raises the partition count of a topic.
    pub fn set_partitions(&self, name: &str, partitions: usize) {
        let more = NewPartitions::new(name, partitions);
        let made =
            block_on(self.admin().create_partitions([&more], &AdminOptions::new())).expect("an answer");
        made[0].as_ref().unwrap_or_else(|e| panic!("more partitions for {name}: {e:?}"));
    }

    /// Gives a topic these configurations and no others.
    pub fn set_configs(&self, name: &str, configs: &[(&str, &str)]) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name));
        let change = configs.iter().fold(change, |change, (key, value)| change.set(key, value));
        let set = block_on(self.admin().alter_configs([&change], &AdminOptions::new())).expect("an answer");
        set[0].as_ref().unwrap_or_else(|e| panic!("configuring {name}: {e:?}"));
        let wanted = |held: &BTreeMap<String, String>| {
            configs.iter().all(|(key, value)| held.get(*key).is_some_and(|held| held == value))
        };
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.configs(name)) {
            assert!(Instant::now() < until, "{name} has other configurations");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The configurations of a topic, defaults included.
    pub fn configs(&self, name: &str) -> BTreeMap<String, String> {
        let topic = ResourceSpecifier::Topic(name);
        let mut told =
            block_on(self.admin().describe_configs([&topic], &AdminOptions::new())).expect("an answer");
        let entries = told.remove(0).unwrap_or_else(|e| panic!("configurations of {name}: {e:?}")).entries;
        entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
    }

    /// Number of partitions of a topic.
    pub fn partitions(&self, name: &str) -> usize {
        let metadata = self.admin().inner().fetch_metadata(Some(name), PATIENCE).expect("metadata");
        metadata.topics()[0].partitions().len()
    }

    /// The names of the topics with this word in their name, sorted.
    pub fn topics_with(&self, word: &str) -> Vec<String> {
        let metadata = self.admin().inner().fetch_metadata(None, PATIENCE).expect("metadata");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.contains(word)).collect();
        names.sort();
        names
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let gone = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).expect("an answer");
        gone[0].as_ref().unwrap_or_else(|e| panic!("deleting {name}: {e:?}"));
    }

    /// Produces records with keys, tombstones included, in order, and waits until the broker has acknowledged
    /// all.
    pub fn produce<'r, V: Into<Option<&'r [u8]>>>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (&'r str, V)>,
    ) {
        let producer: BaseProducer = self
            .config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()
            .expect("a producer");
        for (key, value) in records {
            let mut record = BaseRecord::to(topic).key(key);
            record.payload = value.into();
            while let Err((KafkaError::MessageProduction(code), back)) = producer.send(record) {
                assert_eq!(code, rdkafka::types::RDKafkaErrorCode::QueueFull, "producing to {topic}");
                producer.poll(Duration::from_millis(20));
                record = back;
            }
        }
        producer.flush(PATIENCE).expect("the broker took all records");
    }

    /// Produces records that all have the same timestamp.
    pub fn produce_at<'r>(&self, topic: &str, at_ms: i64, records: impl IntoIterator<Item = &'r [u8]>) {
        let producer: BaseProducer = self.config().create().expect("a producer");
        for value in records {
            let sent = producer.send(BaseRecord::to(topic).key("k").payload(value).timestamp(at_ms));
            assert!(sent.is_ok(), "producing to {topic}");
        }
        producer.flush(PATIENCE).expect("the broker took all records");
    }

    /// Produces a record with a key and headers.
    pub fn produce_with_headers(
        &self,
        topic: &str,
        (key, value): (&str, &str),
        headers: &[(&str, Option<&str>)],
    ) {
        let producer: BaseProducer = self.config().create().expect("a producer");
        let record = BaseRecord::to(topic).key(key).payload(value).headers(owned_headers(headers));
        assert!(producer.send(record).is_ok(), "producing to {topic}");
        producer.flush(PATIENCE).expect("the broker took the record");
    }

    /// Begins a transaction with one record, which stays open until the producer aborts it.
    pub fn open_transaction(&self, topic: &str, headers: &[(&str, Option<&str>)]) -> BaseProducer {
        let mut config = self.config();
        config.set("transactional.id", format!("e2e-open-{topic}"));
        config.set("transaction.timeout.ms", "180000");
        let producer: BaseProducer = config.create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("the transactional id");
        producer.begin_transaction().expect("a transaction");
        let record = BaseRecord::to(topic).key("open").payload("{}").headers(owned_headers(headers));
        assert!(producer.send(record).is_ok(), "producing to {topic}");
        producer.flush(PATIENCE).expect("the broker took the record");
        producer
    }

    /// Produces records with keys in one transaction.
    pub fn produce_in_a_transaction<'r>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (&'r str, &'r [u8])>,
    ) {
        let mut config = self.config();
        config.set("transactional.id", format!("e2e-{topic}"));
        let producer: BaseProducer = config.create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("the transactional id");
        producer.begin_transaction().expect("a transaction");
        for (key, value) in records {
            let sent = producer.send(BaseRecord::to(topic).key(key).payload(value));
            assert!(sent.is_ok(), "producing to {topic}");
        }
        producer.commit_transaction(PATIENCE).expect("the commit");
    }

    /// A producer that keeps retrying while the broker is away.
    pub fn patient_producer(&self) -> BaseProducer {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("linger.ms", "2").set("message.timeout.ms", "300000");
        config.set("reconnect.backoff.max.ms", "500").set("topic.metadata.refresh.interval.ms", "1000");
        config.create().expect("a producer")
    }

    fn consumer(&self) -> BaseConsumer {
        self.config()
            .set("group.id", "herald-e2e")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer")
    }

    /// All records of a topic for a read_committed reader, by partition, each in order.
    pub fn read_committed(&self, topic: &str) -> Vec<Read> {
        let consumer = self.consumer();
        let ids = partitions(&consumer, topic);
        let mut assignment = TopicPartitionList::new();
        for id in &ids {
            assignment.add_partition_offset(topic, *id, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let (mut read, mut ended, started) = (Vec::new(), 0, Instant::now());
        while ended < ids.len() {
            assert!(started.elapsed() < PATIENCE, "reading {topic} takes too long");
            match consumer.poll(Duration::from_millis(200)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                Some(Ok(message)) => read.push(Read {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers(&message),
                    header_count: message.headers().map_or(0, Headers::count),
                }),
            }
        }
        read.sort_by_key(|r| (r.partition, r.offset));
        read
    }

    /// The sum of a topic's high watermarks, which grows with every record and transaction; 0 if the topic is
    /// missing.
    pub fn end_of(&self, topic: &str) -> i64 {
        let consumer = self.consumer();
        let watermark = |id| consumer.fetch_watermarks(topic, id, PATIENCE).map_or(0, |(_, high)| high);
        partitions(&consumer, topic).into_iter().map(watermark).sum()
    }

    /// Deletes all present records of a topic; later readers start at its end.
    pub fn delete_all_records(&self, topic: &str) {
        let consumer = self.consumer();
        let mut before = TopicPartitionList::new();
        for id in partitions(&consumer, topic) {
            let (_, high) = consumer.fetch_watermarks(topic, id, PATIENCE).expect("watermarks");
            before.add_partition_offset(topic, id, Offset::Offset(high)).expect("an offset");
        }
        block_on(self.admin().delete_records(&before, &AdminOptions::new())).expect("records deleted");
        for id in partitions(&consumer, topic) {
            let (low, high) = consumer.fetch_watermarks(topic, id, PATIENCE).expect("watermarks");
            assert_eq!(low, high, "{topic} {id} still holds records");
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    metadata.topics()[0].partitions().iter().map(|p| p.id()).collect()
}

fn owned_headers(headers: &[(&str, Option<&str>)]) -> OwnedHeaders {
    let mut owned = OwnedHeaders::new();
    for (key, value) in headers {
        owned = owned.insert(Header { key, value: *value });
    }
    owned
}

fn headers(message: &impl Message) -> BTreeMap<String, String> {
    let Some(headers) = message.headers() else { return BTreeMap::new() };
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}
