//! Reading from real Kafka: ends made of transaction markers, deleted records, topics that grow.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use connectors::kafka::client::{Context, block_on};
use connectors::kafka::{KafkaReader, KafkaSource, Publisher, PublisherConfig, Startup, TopicSpec, Topics};
use connectors::{ConnectorError, Place, RangeReader, ReadRange, SourceConfig, SourceConnector};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{chunks, feed, kafka, name, noise, open, read_all, topic, values};

fn admin() -> AdminClient<Context> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka().bootstrap);
    config.create_with_context(Context::default()).unwrap()
}

#[test]
fn an_end_of_transaction_markers_is_an_end() {
    let (cluster, stop) = (kafka(), AtomicBool::new(false));
    let out = topic(&cluster, "marked", 2);
    let (mut publisher, _) =
        Publisher::open(PublisherConfig::new(cluster.clone(), &name("t"), "s"), &stop).unwrap();
    for (epoch, value) in ["a", "b", "c"].iter().enumerate() {
        publisher.publish(epoch as u64 + 1, &chunks(&out, &[value]), 0, &stop).unwrap();
    }
    let mut reader = open(&cluster, &out, &BTreeMap::new());
    assert_eq!(values(&read_all(&mut reader)), ["a", "b", "c"]);
    // The offsets between the last record and the end belong to markers.
    assert_eq!(reader.positions(), BTreeMap::from([(0, 6), (1, 0)]));
    assert_eq!(reader.lag(), BTreeMap::from([(0, 0), (1, 0)]));
    // Nothing more to read: the end is reached at once, again by the broker's end event.
    assert!(read_all(&mut open(&cluster, &out, &reader.positions())).is_empty());
}

#[test]
fn deleted_records_are_told() {
    let cluster = kafka();
    let input = topic(&cluster, "deleted", 1);
    feed(&cluster, (&input, 0), (0..100).map(|i| i.to_string()));
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&input, 0, Offset::Offset(60)).unwrap();
    block_on(admin().delete_records(&below, &AdminOptions::new())).unwrap();
    let source = KafkaSource::new(cluster.clone(), &input);
    let opened = KafkaReader::open(&source, "g", &BTreeMap::from([(0, 40)]), (false, false));
    let error = opened.err().unwrap();
    assert!(matches!(error, ConnectorError::LostRecords { next: 40, low: 60, .. }));
    assert!(error.to_string().contains("20 records from offset 40 on were deleted"), "{error}");
    assert_eq!(read_all(&mut open(&cluster, &input, &BTreeMap::from([(0, 60)])))[0].offsets[0], 60);
    assert_eq!(read_all(&mut open(&cluster, &input, &BTreeMap::new()))[0].offsets[0], 60);
}

#[test]
fn records_deleted_while_waiting_are_told() {
    let cluster = kafka();
    let input = topic(&cluster, "deleted-later", 1);
    feed(&cluster, (&input, 0), (0..10).map(|_| noise(600_000)));
    // The queue is kept small, so that most records are not fetched when they are deleted.
    let mut source = KafkaSource::new(cluster.clone(), &input);
    for (option, value) in [
        ("queued.max.messages.kbytes", "600"),
        ("queued.min.messages", "1"),
        ("fetch.max.bytes", "700000"),
        ("message.max.bytes", "700000"),
        ("max.partition.fetch.bytes", "100000"),
    ] {
        source.cluster.properties.insert(option.into(), value.into());
    }
    let mut reader = KafkaReader::open(&source, "g", &BTreeMap::new(), (false, false)).unwrap();
    while reader.poll(1, usize::MAX, Duration::from_secs(1)).unwrap().is_empty() {}
    feed(&cluster, (&input, 0), ["last".to_string()]);
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&input, 0, Offset::Offset(10)).unwrap();
    block_on(admin().delete_records(&below, &AdminOptions::new())).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let error = loop {
        assert!(Instant::now() < until);
        match reader.poll(1, usize::MAX, Duration::from_millis(200)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ConnectorError::LostRecords { low: 10, .. }), "{error}");
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    let cluster = kafka();
    let input = topic(&cluster, "growing", 1);
    feed(&cluster, (&input, 0), ["a".to_string()]);
    let source = KafkaSource { startup: Startup::Latest, ..KafkaSource::new(cluster.clone(), &input) };
    let mut reader = KafkaReader::open(&source, "g", &BTreeMap::new(), (false, false)).unwrap();
    assert!(reader.poll(10, 1000, Duration::from_millis(200)).unwrap().is_empty());
    block_on(admin().create_partitions(&[NewPartitions::new(&input, 3)], &AdminOptions::new())).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    feed(&cluster, (&input, 2), ["b".to_string()]);
    feed(&cluster, (&input, 0), ["c".to_string()]);
    let (mut all, until) = (Vec::new(), Instant::now() + Duration::from_secs(40));
    while all.iter().map(|r: &schemas::Records| r.len()).sum::<usize>() < 2 {
        assert!(Instant::now() < until, "{all:?}");
        all.extend(reader.poll(10, 1000, Duration::from_millis(100)).unwrap());
    }
    let mut found = values(&all);
    found.sort();
    assert_eq!((found, reader.partitions()), (vec!["b".to_string(), "c".to_string()], vec![0, 1, 2]));
}

#[test]
fn reading_starts_at_a_time() {
    let cluster = kafka();
    let input = topic(&cluster, "timed", 2);
    feed(&cluster, (&input, 0), ["old".to_string()]);
    let startup = Startup::Timestamp(8);
    let source = KafkaSource { startup, ..KafkaSource::new(cluster.clone(), &input) };
    let reader = KafkaReader::open(&source, "g", &BTreeMap::new(), (false, false)).unwrap();
    assert_eq!(reader.positions(), BTreeMap::from([(0, 1), (1, 0)]));
}

#[test]
fn a_range_begins_and_ends_at_times() {
    let cluster = kafka();
    let input = topic(&cluster, "range", 2);
    // All have the timestamp 7.
    feed(&cluster, (&input, 0), ["a".to_string(), "b".to_string()]);
    let config = SourceConfig {
        name: "t".to_owned(),
        connector: SourceConnector::Kafka(KafkaSource::new(cluster.clone(), &input)),
        want_headers: false,
        want_keys: true,
    };
    let ranges = |from: i64, to: i64| {
        let range =
            ReadRange { from: Some(Place::Time(from)), to: Some(Place::Time(to)), ..ReadRange::default() };
        let reader = RangeReader::open(&config, range, &BTreeMap::from([(0, 2), (1, 0)])).unwrap();
        reader.ranges().clone()
    };
    assert_eq!(ranges(7, 8), BTreeMap::from([(0, 0..2), (1, 0..0)]));
    assert_eq!(ranges(8, 9), BTreeMap::from([(0, 2..2), (1, 0..0)]));
    assert_eq!(ranges(5, 7), BTreeMap::from([(0, 0..0), (1, 0..0)]));
}

#[test]
fn topics_are_created_and_verified() {
    let cluster = kafka();
    let topics = Topics::open(&cluster, Duration::from_secs(20)).unwrap();
    let spec = TopicSpec {
        name: name("spec"),
        partitions: Some(3),
        replication: Some(1),
        compacted: true,
        configs: vec![("max.message.bytes".into(), "5000".into())],
    };
    let info = topics.ensure(&spec).unwrap();
    assert_eq!((info.partitions, info.max_message_bytes, info.created), (3, 5000, true));
    assert!(!topics.ensure(&spec).unwrap().created);
    assert_eq!(topics.max_message_bytes(&spec.name).unwrap(), 5000);
    let plain = TopicSpec { compacted: false, ..spec.clone() };
    assert!(topics.ensure(&plain).unwrap_err().to_string().contains("cleanup.policy=compact"));
    let more = TopicSpec { partitions: Some(4), ..spec };
    assert!(topics.ensure(&more).unwrap_err().to_string().contains("3 partitions, not the 4"));
    let broken = TopicSpec { name: name("many"), replication: Some(7), ..TopicSpec::default() };
    assert!(matches!(topics.ensure(&broken), Err(ConnectorError::Refused { .. })));
}

/// Polls until `done` and returns the records read.
fn poll_until(reader: &mut KafkaReader, done: impl Fn(&KafkaReader, usize) -> bool) -> Vec<schemas::Records> {
    let (mut all, until) = (Vec::<schemas::Records>::new(), Instant::now() + Duration::from_secs(40));
    while !done(reader, all.iter().map(|records| records.len()).sum()) {
        assert!(Instant::now() < until, "{:?} {all:?}", reader.positions());
        all.extend(reader.poll(1000, 1 << 20, Duration::from_millis(20)).unwrap());
    }
    all
}

#[test]
fn markers_at_an_end_are_read_and_may_be_deleted() {
    let (cluster, stop) = (kafka(), AtomicBool::new(false));
    let out = topic(&cluster, "marked-later", 1);
    let (mut publisher, _) =
        Publisher::open(PublisherConfig::new(cluster.clone(), &name("t"), "s"), &stop).unwrap();
    let mut reader = open(&cluster, &out, &BTreeMap::new());
    // They come while it reads, so the reader does not know their end yet.
    publisher.publish(1, &chunks(&out, &["a", "b"]), 0, &stop).unwrap();
    let read = poll_until(&mut reader, |_, read| read == 2);
    assert_eq!(values(&read), ["a", "b"]);
    assert_eq!(reader.positions(), BTreeMap::from([(0, 2)]));
    let more = poll_until(&mut reader, |reader, _| reader.moved());
    assert!(more.is_empty());
    let held = (reader.positions(), reader.last());
    assert_eq!((&held.0, reader.lag()), (&BTreeMap::from([(0, 3)]), BTreeMap::from([(0, 0)])));
    assert_eq!(held.1[&0].offset, 1);
    // Records after them are read as usual,
    publisher.publish(2, &chunks(&out, &["c"]), 0, &stop).unwrap();
    let read = poll_until(&mut reader, |_, read| read == 1);
    assert_eq!(read[0].offsets, [3]);
    // and where all of it is deleted up to a marker, nothing is lost.
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&out, 0, Offset::Offset(3)).unwrap();
    block_on(admin().delete_records(&below, &AdminOptions::new())).unwrap();
    assert_eq!(values(&read_all(&mut open(&cluster, &out, &held.0))), ["c"]);
    let source = KafkaSource { last: held.1, ..KafkaSource::new(cluster.clone(), &out) };
    let mut reader = KafkaReader::open(&source, "g", &held.0, (false, true)).unwrap();
    assert_eq!(values(&read_all(&mut reader)), ["c"]);
}

#[test]
fn a_topic_made_anew_with_the_same_times_is_told() {
    let cluster = kafka();
    let input = topic(&cluster, "same-times", 2);
    let fill = |values: [&str; 3]| {
        for partition in 0..2 {
            feed(&cluster, (&input, partition), values.map(String::from));
        }
    };
    fill(["a", "b", "c"]);
    let mut reader = open(&cluster, &input, &BTreeMap::new());
    read_all(&mut reader);
    let source = KafkaSource { last: reader.last(), ..KafkaSource::new(cluster.clone(), &input) };
    let again = || KafkaReader::open(&source, "g", &reader.positions(), (false, true)).unwrap();
    assert!(read_all(&mut again()).is_empty());
    let config = SourceConfig {
        name: "g".to_owned(),
        connector: SourceConnector::Kafka(source.clone()),
        want_headers: false,
        want_keys: true,
    };
    let read = reader.positions();
    let range = || RangeReader::open(&config, ReadRange::default(), &read);
    assert_eq!(range().map(|range| range.total()).unwrap(), 6);
    block_on(admin().delete_topics(&[&input], &AdminOptions::new())).unwrap();
    let spec = TopicSpec { name: input.clone(), partitions: Some(2), ..TopicSpec::default() };
    Topics::open(&cluster, Duration::from_secs(20)).unwrap().ensure(&spec).unwrap();
    fill(["d", "e", "f"]);
    feed(&cluster, (&input, 0), ["g".to_string()]);
    let Err(error) = range() else { panic!("a backfill would read other records as those that were read") };
    assert!(matches!(error, ConnectorError::RemadeTopic { offset: 2, .. }), "{error}");
    let (mut other, until) = (again(), Instant::now() + Duration::from_secs(20));
    let error = loop {
        assert!(Instant::now() < until);
        match other.poll(10, 1000, Duration::from_millis(100)) {
            Ok(read) => assert!(read.iter().all(|records| records.partition == 0), "{read:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ConnectorError::RemadeTopic { offset: 2, .. }), "{error}");
}

#[test]
fn any_number_of_new_partitions_is_read() {
    const PARTITIONS: i32 = 1100;
    let cluster = kafka();
    let input = topic(&cluster, "many", 1);
    let mut reader = open(&cluster, &input, &BTreeMap::new());
    let more = NewPartitions::new(&input, PARTITIONS as usize);
    block_on(admin().create_partitions(&[more], &AdminOptions::new())).unwrap();
    let grown = |reader: &KafkaReader, _| reader.partition_count() == PARTITIONS as usize;
    assert!(poll_until(&mut reader, grown).is_empty());
    for partition in [0, 600, PARTITIONS - 1] {
        feed(&cluster, (&input, partition), [partition.to_string()]);
    }
    let mut found = values(&poll_until(&mut reader, |_, read| read == 3));
    found.sort();
    assert_eq!(found, ["0", "1099", "600"]);
    assert_eq!(reader.positions().values().sum::<i64>(), 3);
    block_on(admin().delete_topics(&[&input], &AdminOptions::new())).unwrap();
}
