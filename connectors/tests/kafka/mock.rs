//! Against the mock: reading, the form of published records, and injected errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::kafka::settle;
use connectors::kafka::{
    EpochOutput, KafkaReader, KafkaSource, Marker, Publisher, PublisherConfig, Startup, TopicSpec, Topics,
};
use connectors::{ConnectorError, MockKafka, Place, RangeReader, ReadRange, SourceConfig, SourceConnector};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use schemas::HEADER_BYTES;

use crate::support::{chunks, content, feed, open, read_all, values};

fn mock(topic: &str, partitions: i32) -> MockKafka {
    let mock = MockKafka::start().unwrap();
    mock.create_topic(topic, partitions).unwrap();
    mock
}

fn publisher(mock: &MockKafka) -> (Publisher, Option<Marker>) {
    let config = PublisherConfig::new(mock.cluster(), "t", "state");
    Publisher::open(config, &AtomicBool::new(false)).unwrap()
}

#[test]
fn every_partition_is_read_in_order_and_bounded() {
    let mock = mock("in", 3);
    for partition in 0..3 {
        feed(&mock.cluster(), ("in", partition), (0..500).map(|i| format!("{partition}-{i}")));
    }
    let mut reader = open(&mock.cluster(), "in", &BTreeMap::new());
    assert_eq!(reader.partitions(), [0, 1, 2]);
    let mut first = Vec::new();
    while first.is_empty() {
        first = reader.poll(10, usize::MAX, Duration::from_secs(5)).unwrap();
    }
    assert!(first.iter().map(|records| records.len()).sum::<usize>() <= 10);
    let mut all = first;
    all.extend(read_all(&mut reader));
    for partition in 0..3 {
        let of: Vec<_> = all.iter().filter(|records| records.partition == partition).cloned().collect();
        let expected: Vec<String> = (0..500).map(|i| format!("{partition}-{i}")).collect();
        assert_eq!(values(&of), expected);
        let offsets: Vec<i64> = of.iter().flat_map(|records| records.offsets.clone()).collect();
        assert_eq!(offsets, (0..500).collect::<Vec<i64>>());
        assert_eq!((of[0].keys.get(0), of[0].timestamps[0]), (Some(&b"k"[..]), Some(7)));
    }
    assert_eq!(reader.positions(), BTreeMap::from([(0, 500), (1, 500), (2, 500)]));
    assert!(reader.lag().values().all(|lag| *lag == 0));
    reader.commit_offsets(&reader.positions());
}

#[test]
fn headers_without_content_fill_a_batch_as_well() {
    let mock = mock("in", 1);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", mock.bootstrap()).create().unwrap();
    for _ in 0..3 {
        let mut headers = OwnedHeaders::new();
        for _ in 0..10 {
            headers = headers.insert(Header { key: "h", value: None::<&str> });
        }
        let record = BaseRecord::to("in").partition(0).key("k").payload("v").headers(headers);
        assert!(producer.send(record).is_ok());
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut reader = open(&mock.cluster(), "in", &BTreeMap::new());
    let mut first = Vec::new();
    while first.is_empty() {
        first = reader.poll(10, 200, Duration::from_secs(5)).unwrap();
    }
    assert_eq!((first[0].len(), first[0].bytes_len()), (1, 2 + 10 * (1 + HEADER_BYTES)));
    assert_eq!(read_all(&mut reader).iter().map(|records| records.len()).sum::<usize>(), 2);
}

#[test]
fn topics_of_any_number_of_partitions_are_read() {
    const PARTITIONS: i32 = 5000;
    let mock = mock("in", PARTITIONS);
    for partition in [0, 4095, 4096, PARTITIONS - 1] {
        feed(&mock.cluster(), ("in", partition), [partition.to_string()]);
    }
    let mut reader = open(&mock.cluster(), "in", &BTreeMap::new());
    assert_eq!(reader.partition_count(), PARTITIONS as usize);
    let mut found = values(&read_all(&mut reader));
    found.sort();
    assert_eq!(found, ["0", "4095", "4096", "4999"]);
    let positions = reader.positions();
    assert_eq!((positions.len(), positions.values().sum::<i64>()), (PARTITIONS as usize, 4));
    assert!(read_all(&mut open(&mock.cluster(), "in", &positions)).is_empty());
}

#[test]
fn reading_goes_on_where_the_state_is() {
    let mock = mock("in", 2);
    feed(&mock.cluster(), ("in", 0), (0..10).map(|i| i.to_string()));
    let all = read_all(&mut open(&mock.cluster(), "in", &BTreeMap::from([(0, 7), (1, 0)])));
    assert_eq!(values(&all), ["7", "8", "9"]);
    let source = KafkaSource { startup: Startup::Latest, ..KafkaSource::new(mock.cluster(), "in") };
    let latest = KafkaReader::open(&source, "g", &BTreeMap::new(), (false, false)).unwrap();
    assert_eq!(latest.positions(), BTreeMap::from([(0, 10), (1, 0)]));
    // A partition the state does not know is a new one: it starts at its beginning.
    let new = KafkaReader::open(&source, "g", &BTreeMap::from([(1, 0)]), (false, false)).unwrap();
    assert_eq!(new.positions(), BTreeMap::from([(0, 0), (1, 0)]));
}

#[test]
fn a_range_is_read_to_its_end_or_to_where_the_state_is() {
    let mock = mock("in", 4);
    for partition in 0..4 {
        feed(&mock.cluster(), ("in", partition), (0..500).map(|i| i.to_string()));
    }
    let config = SourceConfig {
        name: "t".to_owned(),
        connector: SourceConnector::Kafka(KafkaSource::new(mock.cluster(), "in")),
        want_headers: false,
        want_keys: true,
    };
    let range =
        ReadRange { from: Some(Place::Offset(5)), to: Some(Place::Offset(300)), ..ReadRange::default() };
    // The last partition is new: its own reader begins with its first record.
    let next = BTreeMap::from([(0, 400), (1, 10), (2, 3)]);
    let mut reader = RangeReader::open(&config, range.clone(), &next).unwrap();
    let ranges = BTreeMap::from([(0, 5..300), (1, 5..10), (2, 3..3), (3, 0..0)]);
    assert_eq!((reader.ranges(), reader.total()), (&ranges, 300));
    let (mut read, until) = (BTreeMap::new(), Instant::now() + Duration::from_secs(60));
    while !reader.is_done() {
        assert!(Instant::now() < until, "{} are left", reader.left());
        for records in reader.poll(70, usize::MAX, Duration::from_millis(100)).unwrap() {
            let offsets: &mut Vec<i64> = read.entry(records.partition).or_default();
            offsets.extend(&records.offsets);
        }
        for (partition, part) in reader.read_ranges() {
            let last = read.get(&partition).and_then(|offsets| offsets.last());
            assert!(part.end <= last.map_or(part.start, |last| last + 1), "{part:?} are not all read");
        }
    }
    assert_eq!(read, BTreeMap::from([(0, (5..300).collect()), (1, (5..10).collect())]));
    let beyond = RangeReader::open(&config, range, &BTreeMap::from([(0, 501)]));
    assert!(matches!(beyond.err().unwrap(), ConnectorError::ShrunkTopic { next: 501, high: 500, .. }));
}

#[test]
fn topics_that_are_not_what_they_were_are_refused() {
    let mock = mock("in", 1);
    let open = |topic: &str, start: &[(i32, i64)]| {
        let source = KafkaSource::new(mock.cluster(), topic);
        let opened = KafkaReader::open(&source, "g", &start.iter().copied().collect(), (false, false));
        opened.err().unwrap()
    };
    assert!(matches!(open("in", &[(0, 5)]), ConnectorError::ShrunkTopic { next: 5, high: 0, .. }));
    assert!(
        open("in", &[(3, 5)]).to_string().contains("has 1 partitions, but the state has read partition 3")
    );
    assert!(matches!(open("not-there", &[]), ConnectorError::MissingTopic { .. }));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let cluster = connectors::kafka::KafkaCluster::new("127.0.0.1:1");
    let source =
        KafkaSource { open_timeout: Duration::from_millis(1500), ..KafkaSource::new(cluster.clone(), "t") };
    let opened = KafkaReader::open(&source, "g", &BTreeMap::new(), (false, false));
    let error = opened.err().unwrap();
    assert!(matches!(error, ConnectorError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let config =
        PublisherConfig { timeout: Duration::from_millis(1500), ..PublisherConfig::new(cluster, "t", "s") };
    let opened = Publisher::open(config, &AtomicBool::new(false));
    assert!(matches!(opened, Err(ConnectorError::Unreachable { .. })));
}

#[test]
fn published_records_say_where_they_come_from() {
    let mock = mock("out", 1);
    let stop = AtomicBool::new(false);
    let (mut publisher, marker) = publisher(&mock);
    assert_eq!(marker, None);
    publisher.publish(3, &chunks("out", &["a", "b"]), 1_700_000_000_000, &stop).unwrap();
    let all = read_all(&mut open(&mock.cluster(), "out", &BTreeMap::new()));
    assert_eq!(values(&all), ["a", "b"]);
    assert_eq!(all[0].timestamps[0], Some(1_700_000_000_000));
    let headers: Vec<_> = all[0].headers.of_record(0).collect();
    let expected = [("herald.topology", "t"), ("herald.epoch", "3")];
    assert_eq!(headers, expected.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
}

#[test]
fn records_have_their_own_commits_time_and_none_of_the_future() {
    let mock = mock("out", 1);
    let stop = AtomicBool::new(false);
    let (mut publisher, _) = publisher(&mock);
    let now_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let outbox = [chunks("out", &["a"]), chunks("out", &["b"]), chunks("out", &["c"])];
    let before = now_ms();
    let times = [1_700_000_000_000, before + 90_000_000, 1_600_000_000_000];
    let epoch =
        |(at, commit_ms): (usize, i64)| EpochOutput { epoch: at as u64 + 1, commit_ms, chunks: &outbox[at] };
    let epochs: Vec<EpochOutput<'_>> = times.into_iter().enumerate().map(epoch).collect();
    publisher.publish_all(&epochs, &stop).unwrap();
    let all = read_all(&mut open(&mock.cluster(), "out", &BTreeMap::new()));
    let found: Vec<i64> =
        all.iter().flat_map(|records| records.timestamps.iter().flatten().copied()).collect();
    assert_eq!((found[0], found[2]), (times[0], times[2]));
    assert!((before..=now_ms()).contains(&found[1]), "{found:?}");
}

#[test]
fn a_second_start_goes_on_after_the_marker() {
    let mock = mock("out", 1);
    let stop = AtomicBool::new(false);
    let outbox: Vec<Vec<Vec<u8>>> = ["a", "b", "c"].iter().map(|value| chunks("out", &[value])).collect();
    let (mut first, _) = publisher(&mock);
    first.publish(1, &outbox[0], 0, &stop).unwrap();
    first.publish(2, &outbox[1], 0, &stop).unwrap();
    drop(first);
    let (mut second, marker) = publisher(&mock);
    let marker = marker.unwrap();
    assert_eq!(marker, Marker::whole("state", 2, &outbox[1]));
    assert_eq!(settle(Some(&marker), "state", 3, 1, |_| Some(marker.digest)).unwrap(), 2);
    // All epochs are passed again, and only the missing one is published.
    for (epoch, chunks) in outbox.iter().enumerate() {
        second.publish(epoch as u64 + 1, chunks, 0, &stop).unwrap();
    }
    assert_eq!(content(&mock.cluster(), "out"), ["a", "b", "c"]);
}

#[test]
fn an_error_opens_a_new_producer() {
    let mock = mock("out", 1);
    let stop = AtomicBool::new(false);
    let (mut publisher, _) = publisher(&mock);
    publisher.publish(1, &chunks("out", &["a"]), 0, &stop).unwrap();
    let inner: &MockCluster<'static, DefaultProducerContext> = mock.inner();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE;
    inner.request_errors(RDKafkaApiKey::EndTxn, &[refused]);
    publisher.publish(2, &chunks("out", &["b"]), 0, &stop).unwrap();
    assert_eq!(publisher.marker().unwrap().epoch, 2);
    assert_eq!(publisher.status().reopened.load(Ordering::Relaxed), 1);
    publisher.publish(3, &chunks("out", &["c"]), 0, &stop).unwrap();
    assert_eq!(content(&mock.cluster(), "out").last().unwrap(), "c");
}

#[test]
fn a_stop_is_heard_while_the_broker_is_away() {
    let mock = mock("out", 1);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut publisher, _) = publisher(&mock);
    publisher.publish(1, &chunks("out", &["a"]), 0, &stop).unwrap();
    mock.set_up(false).unwrap();
    let flag = stop.clone();
    let status = publisher.status();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        flag.store(true, Ordering::Relaxed);
        Instant::now()
    });
    let published = publisher.publish(2, &chunks("out", &["b"]), 0, &stop);
    let heard = stopper.join().unwrap().elapsed();
    assert!(matches!(published, Err(ConnectorError::Stopped)), "{published:?}");
    assert!(heard < Duration::from_secs(20), "it took {heard:?}");
    drop(status);
    mock.set_up(true).unwrap();
    publisher.publish(2, &chunks("out", &["b"]), 0, &AtomicBool::new(false)).unwrap();
    assert_eq!(content(&mock.cluster(), "out").last().unwrap(), "b");
}

#[test]
fn an_outage_is_waited_for() {
    let mock = mock("out", 1);
    let stop = AtomicBool::new(false);
    let (mut publisher, _) = publisher(&mock);
    mock.set_up(false).unwrap();
    let waiting = std::thread::spawn(move || {
        publisher.publish(1, &chunks("out", &["a"]), 0, &stop).unwrap();
    });
    std::thread::sleep(Duration::from_secs(2));
    assert!(!waiting.is_finished());
    mock.set_up(true).unwrap();
    waiting.join().unwrap();
    assert_eq!(content(&mock.cluster(), "out").last().unwrap(), "a");
}

#[test]
fn topics_come_into_being() {
    let mock = MockKafka::start().unwrap();
    let topics = Topics::open(&mock.cluster(), Duration::from_secs(10)).unwrap();
    assert_eq!(topics.partition_count("new").unwrap(), None);
    let info = topics.ensure(&TopicSpec { name: "new".into(), ..TopicSpec::default() }).unwrap();
    assert!(info.created && info.partitions > 0 && info.max_message_bytes > 1_000_000);
    assert!(!topics.ensure(&TopicSpec { name: "new".into(), ..TopicSpec::default() }).unwrap().created);
}
